"""Register maps of real devices, one TOML file a model; `device = "eastron-sdm630"` in a configuration names a file."""
