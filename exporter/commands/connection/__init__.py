"""The steps of `--check-connection`, and what to do when one fails."""
