"""The simulated world: organizations and their restore sessions over time."""
