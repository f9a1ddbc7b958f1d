"""TOML files in, one typed configuration or every mistake out."""
