"""Encoded batches in, kept through outages and power cuts, out in order until acknowledged."""
