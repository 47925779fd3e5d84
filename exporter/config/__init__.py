"""The configuration file: read, checked, and in force."""

from exporter.config.model import AuthConfig, Config, ServerConfig, SessionsConfig, TLSConfig
from exporter.config.problems import ConfigError, Problem

__all__ = ["AuthConfig", "Config", "ConfigError", "Problem", "ServerConfig", "SessionsConfig", "TLSConfig"]
