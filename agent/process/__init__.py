"""Samples in, fewer samples out: dead bands and heartbeats."""
