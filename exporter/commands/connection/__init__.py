"""The steps of `--check-connection`, and advice on those that fail."""
