"""The simulated REST API over a world."""
