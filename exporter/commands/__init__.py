"""What the program can do, one file for each command."""
