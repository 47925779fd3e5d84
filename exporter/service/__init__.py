"""The running service: workers, publishing, reloads, and its connections to the web server and the audit log."""
