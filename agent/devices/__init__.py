"""Register maps of real devices."""
