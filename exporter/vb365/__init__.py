"""Talking to VB365; knows nothing of Prometheus."""
