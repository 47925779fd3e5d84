"""Faults that the simulated server can be given."""
