"""HTTP: `/metrics`, the status page and the health endpoints."""
