"""The evidence report: restores of a period, from what the servers list."""
