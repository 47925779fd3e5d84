"""The running service: workers, publishing, reloads, and the views of the web server and the audit log."""
