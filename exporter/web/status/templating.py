"""The environment of the Jinja templates of the status page and the report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

from exporter.web.status import formatting

if TYPE_CHECKING:
    import jinja2


def read_template(package: str, name: str) -> str:
    """Return a file in the `templates` directory of a package."""
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def template_environment(package: str, **filters: Callable[..., object]) -> jinja2.Environment:
    """Return an environment that loads the templates of a package, escapes every value, and has additional filters."""
    # Most instances are only scraped: importing Jinja here saves their start 60 ms and 2 MiB.
    import jinja2  # noqa: PLC0415

    environment = jinja2.Environment(
        autoescape=True,
        auto_reload=False,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(partial(read_template, package)),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        heading=formatting.info_label,
        number="{:,}".format,
        precise=partial(datetime.isoformat, timespec="seconds"),
        product=formatting.product_name,
        reason=formatting.failure_reason,
        **filters,
    )
    environment.globals.update(counted=formatting.counted, listed=formatting.listed)
    return environment
