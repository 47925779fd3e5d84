"""The evidence report: the restores of a period, from the lists of the servers."""
