"""What is known of each server, and what to ask next."""
