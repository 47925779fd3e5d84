from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from web.support import NOON, FakeSite, request

from exporter.web.status import (
    STYLE_SOURCE,
    ServerStatus,
    SessionRow,
    StatusPage,
    render_status,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.web.server import WebServer

HOSTILE = "<script>alert('x')</script>\"&'><img src=x onerror=y>"

RUNNING = SessionRow(
    session_id="635b22cf-9cdc-4004-9160-9b90f90f1bbf",
    organization="contoso.onmicrosoft.com",
    type="Vex",
    state="Working",
    result=None,
    started=NOON - timedelta(days=2, hours=3),
    ended=None,
    duration_seconds=183_600.0,
)
FINISHED = replace(
    RUNNING,
    session_id="0f9c2c5e-2f3b-4a44-a7d5-6f1f9f1c0001",
    state="Stopped",
    result="Failed",
    started=NOON - timedelta(minutes=12),
    ended=NOON - timedelta(minutes=10, seconds=30),
    duration_seconds=90.0,
)
HQ = ServerStatus(
    name="hq",
    up=True,
    reason=None,
    version="8.2.0.5000",
    api_version="v8",
    tls_verified=True,
    last_poll_age_seconds=12.0,
    last_success_age_seconds=12.0,
    data_age_seconds=12.5,
    poll_interval_seconds=60.0,
    sessions_known=2,
    running=(RUNNING,),
    finished=(FINISHED,),
)


def page(*servers: ServerStatus) -> str:
    return render_status(
        StatusPage(version="1.2.3", generated=NOON, servers=servers), telemetry_path="/metrics"
    )


class Reader(HTMLParser):
    """Collects the text, the tags, the links and the attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str | None] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.links += [value for name, value in attrs if name == "href"]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_a_server_is_shown_with_its_health_and_the_age_of_its_data() -> None:
    text = Reader(page(HQ)).text
    assert "hq up" in text
    assert "Last poll 12 s ago" in text
    assert "Last successful poll 12 s ago" in text
    assert "Data confirmed 12 s ago" in text
    assert "Polled every 1 min" in text
    assert "Sessions known 2" in text
    assert "Server version 8.2.0.5000" in text
    assert "API version v8" in text
    assert "Certificate verified" in text
    assert "vb365-restore-exporter 1.2.3" in text
    assert "As of 2026-11-24 12:00:00" in text


def test_a_server_that_is_down_says_why() -> None:
    down = replace(
        HQ, up=False, reason="login refused", last_success_age_seconds=None, data_age_seconds=None
    )
    text = Reader(page(down)).text
    assert "hq down login refused" in text
    assert "Last successful poll never" in text
    assert "Data confirmed no data" in text


def test_a_server_that_was_not_polled_yet_is_neither_up_nor_down() -> None:
    fresh = replace(
        HQ,
        up=None,
        version=None,
        api_version=None,
        tls_verified=False,
        last_poll_age_seconds=None,
        running=(),
        finished=(),
    )
    text = Reader(page(fresh)).text
    assert "hq not polled yet" in text
    assert "Last poll never" in text
    assert "Server version unknown" in text
    assert "Certificate not verified" in text
    assert "No restore session is running." in text
    assert "No finished restore session is known." in text


def test_running_sessions_are_shown_with_how_long_they_have_run() -> None:
    text = Reader(page(replace(HQ, running_not_shown=7))).text
    assert (
        "2 d 3 h contoso.onmicrosoft.com Vex 635b22cf-9cdc-4004-9160-9b90f90f1bbf Working "
        "2026-11-22 09:00:00" in text
    )
    assert "and 7 more." in text


def test_finished_sessions_are_shown_with_result_and_duration() -> None:
    nameless = replace(FINISHED, organization="", result=None, ended=None, duration_seconds=None)
    text = Reader(page(replace(HQ, finished=(FINISHED, nameless)))).text
    ids = "Vex 0f9c2c5e-2f3b-4a44-a7d5-6f1f9f1c0001"
    started = "2026-11-24 11:48:00"
    assert f"Failed contoso.onmicrosoft.com {ids} 1 min 30 s {started} 2026-11-24 11:49:30" in text
    assert f"none (none) {ids} unknown {started} unknown" in text


def test_every_server_has_its_section_and_none_is_said_in_words() -> None:
    assert page(HQ, replace(HQ, name="lab")).count("<section>") == 2
    assert "No server is polled by this instance." in Reader(page()).text


def test_the_page_links_to_the_other_endpoints() -> None:
    assert Reader(page(HQ)).links == ["/metrics", "/config", "/-/healthy", "/-/ready"]


def test_hostile_values_are_text() -> None:
    row = replace(
        RUNNING,
        session_id=HOSTILE,
        organization=HOSTILE,
        type=HOSTILE,
        state=HOSTILE,
        result=HOSTILE,
    )
    server = replace(
        HQ,
        name=HOSTILE,
        up=False,
        reason=HOSTILE,
        version=HOSTILE,
        api_version=HOSTILE,
        running=(row,),
        finished=(row,),
    )
    html = page(server)
    reader = Reader(html)
    plain = Reader(page(HQ))
    assert reader.words.count(HOSTILE) == 12
    assert reader.tags - plain.tags == {"p"} - plain.tags
    assert reader.attributes == plain.attributes
    assert "<script" not in html


def test_values_that_utf_8_cannot_hold_do_not_break_the_page(
    serve: Callable[..., WebServer],
) -> None:
    strange = StatusPage(
        version="1", generated=NOON, servers=(replace(HQ, name="a\ud800\x00\u202eb"),)
    )
    answer = request(serve(FakeSite(page=strange)), "/")
    assert (answer.status, "a?" in answer.text) == (200, True)


def test_the_page_has_no_script_no_inline_style_and_nothing_from_elsewhere() -> None:
    reader = Reader(page(HQ))
    assert not reader.tags & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert "style" not in reader.attributes
    assert not any(name.startswith("on") for name in reader.attributes)
    assert "url(" not in page(HQ)
    assert "@import" not in page(HQ)
    assert reader.open == []  # every element is closed


def test_the_style_sheet_is_the_one_that_the_policy_allows(
    serve: Callable[..., WebServer],
) -> None:
    answer = request(serve(FakeSite()), "/")
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" == STYLE_SOURCE
    assert f"style-src {STYLE_SOURCE};" in answer.headers["Content-Security-Policy"]


def test_the_page_serves_narrow_screens_and_dark_rooms() -> None:
    html = page(HQ)
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in html
    assert "prefers-color-scheme: dark" in html
    assert "@media (max-width:" in html
