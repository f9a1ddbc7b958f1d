"""Compiled hot path: buffers in, samples and bytes out; knows nothing of the agent."""
