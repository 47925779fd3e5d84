"""Faults of the simulated server."""
