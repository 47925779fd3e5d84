"""The operating system and the interpreter: signals, systemd, files, tuning."""
