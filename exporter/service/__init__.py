"""The running service: pollers, publishing, reloads, and what the web pages and the audit log get from them."""
