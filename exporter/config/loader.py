"""Loads the configuration file, with all its problems at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from exporter.config.files import LoadContext
from exporter.config.grammar import ConfigFile
from exporter.config.model import Config
from exporter.config.problems import ConfigError, Problem, ProblemCollector
from exporter.config.resolve import resolve
from exporter.config.shape import read_shape
from exporter.config.unused import unused_settings
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
    document, problems = read_document(path)
    return _config(document, problems, str(path), _context(path.parent, environ))


def parse_config(
    text: str,
    *,
    directory: Path,
    name: str = "config.yaml",
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """The same for the text of a file that would lie in that directory under that name."""
    document, problems = parse_document(text.encode(errors="surrogatepass"), name)
    return _config(document, problems, name, _context(directory, environ))


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


def _context(directory: Path, environ: Mapping[str, str]) -> LoadContext:
    return LoadContext(directory=directory.absolute(), environ=environ)


def _config(
    document: object, problems: ProblemCollector, name: str, context: LoadContext
) -> Config:
    if document is None:
        raise ConfigError([Problem(name, "is empty; it needs at least servers")])
    if not isinstance(document, dict):
        raise ConfigError([Problem(name, "must be a mapping of keys such as servers")])
    file = read_shape(ConfigFile, document, problems)
    config = resolve(file, problems, context)
    if config is None:
        # Not inside an except block: no cause that could hold a secret hangs on it.
        raise ConfigError(problems.found)
    return config.model_copy(update={"warnings": unused_settings(file, config)})
