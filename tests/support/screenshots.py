"""Take the documentation's screenshots of pages, the report and commands: `python -m support.screenshots`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from web.support import FakeBackend

from exporter.report.html_page import render_html
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from exporter.vb365.records.restore_session import SessionResult, SessionType
from exporter.web.status.page import StatusPage
from support.browser_process import Browser, running_browser
from support.exporter_harness import server_yaml, write_config
from support.processes import run_exporter
from support.sample_reports import sample_report
from support.sample_sessions import NOON, finished
from support.status_pages import (
    DOWN,
    forgotten_session,
    page_for,
    polled_snapshot,
    random_sessions,
    serve_page,
)

_MARGIN_PIXELS = 16
_TERMINAL = """<!doctype html><meta charset="utf-8"><title>Terminal</title>
<style>body {{ margin: 0; padding: 16px; background: #16191d; color: #e6e6e6 }}
pre {{ margin: 0; font: 14px/1.45 "DejaVu Sans Mono", monospace }}</style>
<pre>{text}</pre><p id="end"></p>"""
FOLDER = Path(__file__).parents[2] / "deploy" / "screenshots"


@dataclass(frozen=True, kw_only=True)
class Screenshot:
    """A screenshot of a page down to the element with the id `until`; `serve` yields the page's URL."""

    name: str
    serve: Callable[[], AbstractContextManager[str]]
    width: int
    scheme: str
    until: str

    @property
    def path(self) -> Path:
        """The path of the image file."""
        return FOLDER / self.name


def sample_page() -> StatusPage:
    """Return a page of two servers, one of which now refuses the login."""
    day = NOON - timedelta(hours=20)
    of_hq, of_customers = (
        [
            one
            for one in random_sessions(count, 3, seed=seed)
            if one.stopped or one.creation_time > day
        ]
        for count, seed in ((30, 3), (7, 5))
    )
    failed = finished(95, type=SessionType.VET, result=SessionResult.FAILED)
    hq = polled_snapshot("hq", [*of_hq, forgotten_session(), failed])
    organizations = (*hq.activity.organizations, "proseware.onmicrosoft.com")
    return page_for(
        replace(hq, activity=replace(hq.activity, organizations=organizations)),
        polled_snapshot("customers", of_customers, DOWN, polled_seconds_after_noon=-90.0),
    )


def serve_status_page() -> AbstractContextManager[str]:
    """Serve the sample status page."""
    return serve_page(FakeBackend(page=sample_page()))


@contextmanager
def report_file() -> Iterator[str]:
    """Write the sample report to a file."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_bytes(b"".join(render_html(sample_report())))
        yield file.as_uri()


@contextmanager
def checks_in_a_terminal() -> Iterator[str]:
    """Run both checks of a simulated server, and write what a terminal shows to a file."""
    with TemporaryDirectory() as name, Simulator(World(sessions=40, activity=False)) as simulator:
        folder = Path(name)
        config = write_config(folder, server_yaml(simulator))
        lines = []
        for flag in ("--check-connection", "--check-idle"):
            shown = run_exporter(f"--config.file={config}", flag, "--log.level=error").stdout
            lines += [f"$ vb365-restore-exporter {flag}", shown.replace(f"{folder}/", "")]
        file = folder / "terminal.html"
        file.write_text(_TERMINAL.format(text=escape("\n".join(lines))), encoding="utf-8")
        yield file.as_uri()


SCREENSHOTS = (
    Screenshot(
        name="status-page.png",
        serve=serve_status_page,
        width=1360,
        scheme="light",
        until="servers",
    ),
    Screenshot(
        name="status-page-phone.png",
        serve=serve_status_page,
        width=360,
        scheme="dark",
        until="running",
    ),
    Screenshot(
        name="report.png", serve=report_file, width=1160, scheme="light", until="organizations"
    ),
    Screenshot(
        name="report-phone.png",
        serve=report_file,
        width=360,
        scheme="dark",
        until="organizations",
    ),
    Screenshot(
        name="checks.png", serve=checks_in_a_terminal, width=1060, scheme="light", until="end"
    ),
)


def take(browser: Browser, screenshot: Screenshot) -> bytes:
    """Take the screenshot and return it as PNG."""
    with screenshot.serve() as url, browser.tab() as tab:
        tab.open(url, width=screenshot.width, scheme=screenshot.scheme)
        heading = f"document.getElementById({screenshot.until!r})"
        return tab.screenshot(tab.value(f"{heading}.getBoundingClientRect().top") - _MARGIN_PIXELS)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as profile, running_browser(Path(profile)) as chromium:
        for one in SCREENSHOTS:
            one.path.write_bytes(take(chromium, one))
