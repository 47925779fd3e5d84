"""A VB365 server that is not there: its REST API over TLS, for tests and for trying things out."""

from exporter.simulator.server import Simulator

__all__ = ["Simulator"]
