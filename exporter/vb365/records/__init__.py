"""Records of the VB365 API as immutable values, parsed from untrusted JSON."""
