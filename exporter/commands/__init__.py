"""The things the program can do, one module each."""
