"""A simulated VB365 server: its REST API over TLS, for tests and for trying out the exporter."""

from exporter.simulator.server import Simulator

__all__ = ["Simulator"]
