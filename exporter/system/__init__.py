"""The operating system: signals, systemd, files and the interpreter."""
