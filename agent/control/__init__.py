"""Other programs of the same machine in, through a Unix socket; what the running agent does for them, out."""
