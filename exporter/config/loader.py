"""Loads the configuration file, with all its problems at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from exporter.config.files import Surroundings
from exporter.config.grammar import ConfigFile
from exporter.config.model import Config
from exporter.config.problems import ConfigError, Findings, Problem
from exporter.config.resolve import resolve
from exporter.config.shape import read_shape
from exporter.config.unused import advise
from exporter.config.yaml_file import parse_document, read_document

__all__ = ["check_lines", "load_config", "parse_config"]


def load_config(path: Path, *, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in that file, with its defaults resolved and its files and secrets tried.

    Args:
        path: the file; its path as given is the place of problems of the file as a whole.
        environ: the environment for `*_env` keys and CREDENTIALS_DIRECTORY.

    Raises:
        ConfigError: the file cannot be used.
    """
    document, findings = read_document(path)
    return _config(document, findings, str(path), _surroundings(path.parent, environ))


def parse_config(
    text: str,
    *,
    directory: Path,
    name: str = "config.yaml",
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """The same for the text of a file that would lie in that directory under that name."""
    document, findings = parse_document(text.encode(errors="surrogatepass"), name)
    return _config(document, findings, name, _surroundings(directory, environ))


def check_lines(
    path: Path, *, environ: Mapping[str, str] = os.environ
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What `--config.check` prints: a line per error, and a line per setting without effect.

    Settings without effect are looked for when there is no error.
    """
    try:
        config = load_config(path, environ=environ)
    except ConfigError as error:
        return tuple(map(str, error.problems)), ()
    return (), tuple(f"warning: {problem}" for problem in config.warnings)


def _surroundings(directory: Path, environ: Mapping[str, str]) -> Surroundings:
    return Surroundings(directory=directory.absolute(), environ=environ)


def _config(document: object, findings: Findings, name: str, surroundings: Surroundings) -> Config:
    if document is None:
        raise ConfigError([Problem(name, "is empty; it needs at least servers")])
    if not isinstance(document, dict):
        raise ConfigError([Problem(name, "must be a mapping of keys such as servers")])
    file = read_shape(ConfigFile, document, findings)
    config = resolve(file, findings, surroundings)
    if config is None:
        # Not inside an except block: no cause that could hold a secret hangs on it.
        raise ConfigError(findings.problems)
    return config.model_copy(update={"warnings": advise(file, config)})
