"""The configuration file: YAML to a frozen `Config`, or all of its problems at once.

document (YAML) -> shape (the keys and values of grammar, by readers) -> resolve (model).
"""

from __future__ import annotations

from exporter.config.durations import format_duration, parse_duration
from exporter.config.loader import check_lines, load_config, parse_config
from exporter.config.masked import masked_yaml
from exporter.config.model import (
    AuthConfig,
    Config,
    Extra,
    ServerConfig,
    SessionsConfig,
    TLSConfig,
)
from exporter.config.problems import ConfigError, Problem
from exporter.config.secrets import MASK, SecretSource, SecretUnavailableError, SecretUrl

__all__ = [
    "MASK",
    "AuthConfig",
    "Config",
    "ConfigError",
    "Extra",
    "Problem",
    "SecretSource",
    "SecretUnavailableError",
    "SecretUrl",
    "ServerConfig",
    "SessionsConfig",
    "TLSConfig",
    "check_lines",
    "format_duration",
    "load_config",
    "masked_yaml",
    "parse_config",
    "parse_duration",
]
