"""A plan in, samples of every bus out."""
