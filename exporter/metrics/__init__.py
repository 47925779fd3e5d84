"""From snapshots to the bytes of `/metrics`."""
