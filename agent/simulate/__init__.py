"""A configuration in, its devices answering on ptys and sockets."""
