"""`--config.check`: validate the configuration files without a connection to any server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from os import environ as process_environ
from pathlib import Path

from exporter.config import ConfigError, load_config
from exporter.system.files import OutputError, write_stdout
from exporter.system.standard_error import print_error
from exporter.web.status.formatting import counted
from exporter.web.webconfig.loader import read_web_config


def check_config(
    config_file: Path,
    web_config_file: Path | None = None,
    *,
    environ: Mapping[str, str] = process_environ,
) -> int:
    """Print what is wrong with the files, or that they are valid; return 1 if there are errors, else 0.

    Each error goes to standard error on its own line. If there are no errors, each warning goes there, and a line that
    names the valid files goes to standard output.
    """
    errors: list[str] = []
    warnings: list[str] = []
    valid: list[str] = []
    try:
        config = load_config(config_file, environ=environ)
        warnings += (f"warning: {warning}" for warning in config.warnings)
        valid.append(f"{config_file} is valid: {counted(len(config.servers), 'server')}")
    except ConfigError as error:
        errors += map(str, error.problems)
    try:
        if web_config_file is not None:
            web_warnings = read_web_config(web_config_file).warnings
            warnings += (f"warning: {warning}" for warning in web_warnings)
            valid.append(f"{web_config_file} is valid")
    except ConfigError as error:
        errors += map(str, error.problems)
    for line in errors or warnings:
        print_error(f"{line}\n")
    if errors:
        return 1
    checked = "keys, values, secrets and certificates were checked; no connection was made"
    with suppress(OutputError):  # the exit status says the same
        write_stdout([f"{'; '.join(valid)}; {checked}\n".encode(errors="surrogateescape")])
    return 0
