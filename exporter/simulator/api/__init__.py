"""The REST API of the simulated server."""
