"""The pictures of the status page in the documentation: `python -m support.screenshots` takes them anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from web.support import FakeBackend

from exporter.vb365.records.restore_session import SessionResult, SessionType
from exporter.web.status import StatusPage
from support.browser_process import Browser, running_browser
from support.sample_sessions import finished
from support.status_pages import (
    DOWN,
    forgotten_session,
    page_for,
    polled_snapshot,
    random_sessions,
    serve_page,
)

_MARGIN_PIXELS = 16
FOLDER = Path(__file__).parents[2] / "deploy" / "screenshots"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The page on one screen, down to the heading with the id `until`."""

    name: str
    width: int
    scheme: str
    until: str

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return FOLDER / self.name


PICTURES = (
    Picture(name="status-page.png", width=1160, scheme="light", until="finished"),
    Picture(name="status-page-phone.png", width=360, scheme="dark", until="running"),
)


def shown() -> StatusPage:
    """Two servers, one of which has begun to refuse the login."""
    failed = finished(195, type=SessionType.VET, result=SessionResult.FAILED)
    return page_for(
        polled_snapshot("hq", [*random_sessions(12, 2), forgotten_session(), failed]),
        polled_snapshot(
            "customers", random_sessions(8, 2, seed=5), DOWN, polled_seconds_after_noon=-90.0
        ),
    )


def take(browser: Browser, picture: Picture) -> bytes:
    """The picture as PNG."""
    with serve_page(FakeBackend(page=shown())) as url, browser.tab() as tab:
        tab.open(url, width=picture.width, scheme=picture.scheme)
        heading = f"document.getElementById({picture.until!r})"
        return tab.screenshot(tab.value(f"{heading}.getBoundingClientRect().top") - _MARGIN_PIXELS)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as profile, running_browser(Path(profile)) as chromium:
        for one in PICTURES:
            one.path.write_bytes(take(chromium, one))
