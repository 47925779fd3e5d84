"""The configuration file: YAML to a frozen `Config`, or all of its problems at once.

`yaml_file` reads the text, `model` validates each key, `resolve` checks the rules between them, and `plausibility`
warns about unused settings and values that are probably mistakes.
"""

from __future__ import annotations

from exporter.config.loader import load_config, parse_config
from exporter.config.model import (
    AuthConfig,
    Config,
    Extra,
    ServerConfig,
    SessionsConfig,
    TLSConfig,
    masked_yaml,
)
from exporter.config.problems import ConfigError
from exporter.config.secrets import SecretSource, SecretUnavailableError, SecretUrl

__all__ = [
    "AuthConfig",
    "Config",
    "ConfigError",
    "Extra",
    "SecretSource",
    "SecretUnavailableError",
    "SecretUrl",
    "ServerConfig",
    "SessionsConfig",
    "TLSConfig",
    "load_config",
    "masked_yaml",
    "parse_config",
]
