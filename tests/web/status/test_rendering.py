from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from web.status_pages import (
    DOWN,
    FAILED,
    FINISHED,
    HQ,
    LEFT_OPEN,
    RUNNING,
    UNPOLLED,
    ended,
    page,
)
from web.support import NOON, FakeBackend, request

from exporter.web.server import WebServer
from exporter.web.status.json_document import render_json
from exporter.web.status.page import MissingSession, Organization, ServerCard, StatusPage
from exporter.web.status.rendering import STYLE_SOURCE, StatusPageCache, render_status

HOSTILE = "<script>alert('x')</script>\"&'><img src=x onerror=y>"
EVERY_INFO_LABEL = ("name", "initiated_by", "client_host", "scope_name", "reason", "details")
BUSY = page(
    HQ,
    running=(RUNNING,),
    running_total=1,
    finished=(FINISHED,),
    finished_totals={"Success": 1},
    recent_totals={"Success": 1},
)
FAILURES: dict[str, Any] = {"failed": (FAILED,), "failed_total": 1}
VOID = {"meta", "path", "circle", "rect", "line", "use"}


def render(shown: StatusPage, *, paused: bool = False) -> str:
    return render_status(shown, telemetry_path="/metrics", paused=paused)


class Reader(HTMLParser):
    """Collects the text, the tags, the links and the attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.ids: list[str | None] = []
        self.references: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.words.append(" ".join(data.split()))

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        self.ids += [value for name, value in attrs if name == "id"]
        for name, value in attrs:
            if name == "href":
                if tag == "a":
                    self.links.append(value)
                if value and value.startswith("#"):
                    self.references.add(value[1:])
            elif name in {"aria-labelledby", "aria-describedby"}:
                self.references.update((value or "").split())

    @property
    def text(self) -> str:
        return " ".join(self.words)


def text_of(shown: StatusPage) -> str:
    return Reader(render(shown)).text


def test_the_verdict_comes_first_and_is_the_title() -> None:
    html = render(page(HQ, DOWN, **FAILURES))
    assert "<title>lab is down: it cannot be reached. – vb365-restore-exporter</title>" in html
    text = Reader(html).text
    assert (
        "Readiness lab is down: it cannot be reached. A restore of fabrikam.example failed 3 h ago. "
        "As of 2026-11-24 12:00:00 ; all times are UTC." in text
    )
    parts = ["lab is down", "Servers up", "Failed in the last 24 h", "Last success"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_server_that_is_up_is_shown_with_its_health_and_the_age_of_its_data() -> None:
    text = text_of(BUSY)
    assert "Servers up 1 of 1 Running now 1 Ended in the last 24 h 1 Success 1" in text
    assert (
        "hq up Since 07:00:00 (5 h) Last success 12 s ago 11:59:48 Data shown 12 s old "
        "Sessions 2 VB365 8.2.0.5000 API v8 Certificate verified until 29 Dec 2027 "
        "Polled every 1 min" in text
    )
    assert "vb365-restore-exporter 1.2.3" in text


def test_a_server_that_is_down_says_since_when_and_why() -> None:
    text = text_of(page(DOWN))
    assert (
        "lab down Since 11:14:00 (46 min): it cannot be reached. "
        "list: the connection to lab:4443 failed: Connection refused "
        "Last success 46 min ago 11:14:00 Last poll 12 s ago 11:59:48 Data shown none" in text
    )
    assert "Running now unknown" in text
    assert "Unknown: no server responds." in text


def test_of_a_server_not_yet_polled_nothing_is_claimed() -> None:
    text = text_of(page(UNPOLLED))
    assert "new not polled yet The first poll is under way. Certificate not seen yet" in text
    assert "Running now unknown Ended in the last 24 h unknown" in text
    assert "Unknown: no server has been polled yet." in text


def test_totals_name_the_servers_without_data() -> None:
    text = text_of(page(HQ, DOWN))
    assert "Running now 0 Ended in the last 24 h 0 Not counting lab: no data." in text


def test_stale_sessions_are_counted() -> None:
    text = text_of(page(replace(DOWN, sessions_stale=12)))
    assert "12 sessions hidden: not confirmed for 3 min." in text


def test_sessions_without_series_or_evicted_are_counted() -> None:
    limited = replace(
        HQ, sessions_known=12_000, sessions_without_series=11_000, sessions_not_kept=5
    )
    assert "Sessions 12,000 11,000 without series (max_series) 5 evicted (max_sessions)" in text_of(
        page(limited)
    )


def test_unverified_and_expiring_certificates_are_described() -> None:
    unverified = replace(HQ, tls_verified=False)
    soon = replace(HQ, certificate_not_after=NOON + timedelta(days=3))
    expired = replace(HQ, certificate_not_after=NOON - timedelta(days=3))
    assert "Certificate not verified until 29 Dec 2027" in text_of(page(unverified))
    assert "Certificate verified expires 27 Nov 12:00" in text_of(page(soon))
    assert "Certificate verified expired 21 Nov 12:00" in text_of(page(expired))


def test_servers_that_are_down_come_first() -> None:
    html = render(page(HQ, UNPOLLED, DOWN, replace(HQ, name="far")))
    places = [html.index(f">{name}</bdi> ") for name in ("lab", "new", "hq", "far")]
    assert places == sorted(places)


def test_running_sessions_are_shown_with_how_long_they_have_been_open() -> None:
    text = text_of(BUSY)
    assert (
        "Longest first Open for Organization Workload Opened Session "
        "2 h contoso.onmicrosoft.com Exchange 10:00:00 635b22cf-9cdc-4004-9160-9b90f90f1bbf" in text
    )


def test_sessions_left_open_stand_out_in_words_too() -> None:
    shown = replace(BUSY, running=(LEFT_OPEN, RUNNING), running_total=2, left_open_total=1)
    html = render(shown)
    text = Reader(html).text
    assert "2 d 3 h left open contoso" in text
    assert "Left open: open for more than 24 h." in text
    assert html.count('class="long"') == 1


def test_idle_times_are_shown_where_events_are_read() -> None:
    idle = replace(RUNNING, idle_seconds=4000.0)
    text = text_of(replace(BUSY, running=(idle, LEFT_OPEN), left_open_total=1))
    assert "Open for Organization Workload Opened Idle for Session" in text
    assert "2 h contoso.onmicrosoft.com Exchange 10:00:00 1 h 6 min 635b22cf" in text
    assert "Exchange 22 Nov 09:00 unknown 635b22cf" in text
    assert "Left open: idle for more than 12 h or, where the idle time is unknown, open" in text
    assert "Idle for" not in text_of(BUSY)


def test_a_state_is_shown_when_it_is_not_the_usual_one() -> None:
    odd = replace(BUSY, running=(replace(RUNNING, state="Unknown"),))
    assert "Opened State Session 2 h contoso.onmicrosoft.com Exchange 10:00:00 Unknown" in text_of(
        odd
    )


def test_finished_sessions_are_shown_with_result_duration_and_items() -> None:
    nameless = replace(FINISHED, organization="", result=None, ended=None, duration_seconds=None)
    counted = replace(FINISHED, items_processed=1234, items_failed=5)
    text = text_of(replace(BUSY, finished=(counted, nameless)))
    ids = "0f9c2c5e-2f3b-4a44-a7d5-6f1f9f1c0001"
    assert (
        "Result Ended Organization Workload Took Items Session "
        "Success 10 min 30 s ago 11:49:30 contoso.onmicrosoft.com Teams 1 min 30 s "
        f"1,234 (5 failed) {ids} none unknown (none) Teams unknown – {ids}" in text
    )


def test_the_server_is_named_where_there_are_several() -> None:
    text = text_of(replace(BUSY, servers=(HQ, DOWN)))
    assert "Workload Opened Server Session" in text
    assert "Exchange 10:00:00 hq 635b22cf" in text
    assert "now contoso.onmicrosoft.com on hq" in text  # on the timeline


def test_failed_sessions_are_listed_one_by_one() -> None:
    shown = page(HQ, DOWN, **FAILURES)
    assert (
        "Failed in the last 24 h Newest first "
        "Ended Organization Workload Took Items Server Session "
        "3 h ago 09:00:00 fabrikam.example Teams 2 min 41 hq "
        "0f9c2c5e-2f3b-4a44-a7d5-6f1f9f1c0002" in text_of(shown)
    )
    assert "Failed in" not in text_of(BUSY)


def test_missing_configured_sessions_are_listed() -> None:
    missing = tuple(MissingSession(server="lab", id=f"id-{n}") for n in range(25))
    text = text_of(page(HQ, DOWN, missing=missing))
    assert "Configured sessions that do not exist They were deleted, or the ids" in text
    assert "id-0 on lab id-1 on lab" in text
    assert "id-19 on lab 5 more." in text


def test_long_lists_say_what_they_leave_out() -> None:
    shown = page(
        *(replace(HQ, name=f"server-{number}") for number in range(30)),
        running=(RUNNING,) * 60,
        running_total=1234,
        finished=(FINISHED,) * 160,
        finished_totals={"Success": 4000, "Failed": 500},
        failed=(FAILED,) * 100,
        failed_total=480,
        organizations=tuple(
            Organization(server="server-1", organization=f"tenant-{number}", last_restored=None)
            for number in range(250)
        ),
        organizations_total=9000,
    )
    text = text_of(shown)
    assert "The 20 open longest, of 1,234" in text
    assert "The last 20 of 4,500 within the lookback period" in text
    assert (
        "14 more servers not shown: those that are down come first. The metrics include all of them."
        in text
    )
    assert "The last 20 of 480" in text
    assert "80 earlier failed sessions" in text
    assert "380 more failed sessions not shown. The metrics include all of them." in text
    assert "1,174 more running sessions not drawn, all of them opened later." in text
    assert "Only the last 160 finished sessions are drawn." in text
    assert "9,000 organizations without sessions in this period" in text
    assert "8,800 more organizations not shown." in text


def test_a_count_that_lacks_sessions_says_so() -> None:
    assert "24 h at least 1 Success 1" in text_of(replace(BUSY, recent_partial=True))


def test_empty_lists_say_so() -> None:
    text = text_of(page(HQ))
    assert "Running now No restore session is running." in text
    assert "Last finished No restore session has finished within the lookback period." in text
    assert "Organizations" not in text
    assert "This instance polls no server." in text_of(page())


def test_the_timeline_is_drawn_and_described() -> None:
    html = render(BUSY)
    reader = Reader(html)
    assert (
        "Sessions of the last 24 hours, since 23 Nov 12:00 UTC running Success Warning Failed"
        in (reader.text)
    )
    assert "1 running, 1 Success" in reader.text  # the title of the drawing
    assert "Teams, Success, 11:48:00 to 11:49:30 (1 min 30 s)" in reader.text
    assert '<line x1="91.67%" x2="100.0%" y1="9" y2="9"/>' in html
    assert 'role="img"' in html


def test_organizations_without_trouble_are_folded() -> None:
    calm = [ended(number, organization=f"calm-{number:02}") for number in range(20)]
    failed = ended(30, organization="trouble", result="Failed")
    html = render(page(HQ, finished=(*calm, failed)))
    assert html.index("trouble") < html.index("calm-00") < html.index("calm-06")
    assert html.index("calm-06") < html.index("<details>") < html.index("calm-07")
    assert "13 more organizations without failed or left open sessions" in Reader(html).text


def test_organizations_say_when_a_restore_was_last_proven_if_the_axis_does_not_show_it() -> None:
    def organization(name: str, days: float | None) -> Organization:
        moment = None if days is None else NOON - timedelta(days=days)
        return Organization(server="hq", organization=name, last_restored=moment)

    rows = [ended(5, organization=name) for name in ("recent", "old", "never", "unlisted")]
    organizations = (
        organization("never", None),
        organization("quiet", None),
        organization("silent", 40),
        organization("old", 9),
        organization("recent", 0.1),
    )
    text = text_of(
        page(HQ, finished=tuple(rows), organizations=organizations, organizations_total=5)
    )
    assert "never 1 no proven restore" in text
    assert "old 1 last proven restore 9 d ago" in text
    assert "recent 1 1 Success" in text  # the words for screen readers follow
    assert "unlisted 1 1 Success" in text
    assert (
        "2 organizations without sessions in this period (1 without a proven restore) "
        "quiet no proven restore silent last proven restore 40 d ago" in text
    )


def test_each_organization_has_an_anchor() -> None:
    quiet = Organization(server="hq", organization="a b", last_restored=None)
    twice = Organization(server="hq", organization="a-b", last_restored=None)
    shown = replace(BUSY, organizations=(quiet, twice), organizations_total=2)
    ids = Reader(render(shown)).ids
    assert ids.count("hq/contoso.onmicrosoft.com") == 1
    assert ids.count("hq/a-b") == 1


def test_every_result_has_a_shape_of_its_own() -> None:
    results = ("Success", "Warning", "Failed", "Odd")
    html = render(replace(BUSY, finished=tuple(replace(FINISHED, result=one) for one in results)))
    legend = html.partition('class="legend"')[2].partition("</ul>")[0]
    marks = html.partition('class="lanes"')[2].partition("</ol>")[0]
    shapes = {"good", "warn", "bad", "busy", "unknown"}
    assert {shape for shape in shapes if f'href="#{shape}"' in legend} == shapes
    assert {shape for shape in shapes if f'<use href="#{shape}" x=' in marks} == shapes


def test_personal_data_is_shown_under_its_names() -> None:
    named = replace(
        BUSY,
        info_labels=("name",),
        running=(replace(RUNNING, info={"name": "Restore of the board"}),),
    )
    assert "Opened Name Session" in text_of(named)
    assert "10:00:00 Restore of the board 635b22cf" in text_of(named)

    several = replace(
        BUSY,
        info_labels=("name", "initiated_by"),
        running=(replace(RUNNING, info={"name": "Restore", "initiated_by": ""}),),
    )
    assert "Opened Personal data Session" in text_of(several)
    assert "Name Restore Initiated by –" in text_of(several)


def test_times_for_machines_and_the_date_of_the_page_are_complete() -> None:
    shown = replace(page(HQ), generated=NOON + timedelta(microseconds=5))
    assert '<time datetime="2026-11-24T12:00:00+00:00">2026-11-24 12:00:00</time>' in render(shown)


def test_the_page_links_to_the_other_endpoints_and_to_its_own_parts() -> None:
    assert Reader(render(page(DOWN, **FAILURES))).links == [
        "./metrics",
        "./?format=json",
        "./config",
        "./-/healthy",
        "./-/ready",
        "#failed",
        "./?pause",
        "#servers",
        "#running",
        "#finished",
    ]


def test_every_reference_inside_the_page_leads_somewhere() -> None:
    reader = Reader(
        render(
            replace(
                BUSY,
                servers=(HQ, DOWN, UNPOLLED),
                running=(LEFT_OPEN,),
                left_open_total=1,
                missing=(MissingSession(server="hq", id="1"),),
                **FAILURES,
            )
        )
    )
    assert reader.references - set(reader.ids) == set()
    assert len(set(reader.ids)) == len(reader.ids)


def test_the_page_refreshes_itself_unless_paused() -> None:
    refreshing, paused = render(BUSY), render(BUSY, paused=True)
    assert '<meta http-equiv="refresh" content="60">' in refreshing
    assert "Refreshes every 60 s. Pause" in Reader(refreshing).text
    assert "http-equiv" not in paused
    assert "Paused. Refresh every 60 s" in Reader(paused).text


def test_the_page_refreshes_itself_about_as_often_as_servers_are_polled() -> None:
    def every(*seconds: float) -> str:
        servers = [replace(HQ, poll_interval_seconds=each) for each in seconds]
        return render(page(*servers)).partition('"refresh" content="')[2].partition('"')[0]

    assert [every(2.0), every(600.0, 30.0), every(600.0), every()] == ["10", "30", "60", "60"]


def test_the_query_pauses_the_page(serve: Callable[..., WebServer]) -> None:
    server = serve(FakeBackend())
    assert 'http-equiv="refresh"' in request(server, "/").text
    assert 'http-equiv="refresh"' not in request(server, "/?pause").text


def hostile(server: ServerCard) -> ServerCard:
    return replace(
        server, name=HOSTILE, failure_message=HOSTILE, version=HOSTILE, api_version=HOSTILE
    )


def test_hostile_values_are_text() -> None:
    fields: dict[str, Any] = {
        "server": HOSTILE,
        "id": HOSTILE,
        "organization": HOSTILE,
        "type": HOSTILE,
        "state": HOSTILE,
        "info": {"name": HOSTILE, "reason": HOSTILE},
    }
    shown = replace(
        BUSY,
        servers=(hostile(HQ), hostile(DOWN)),
        running=(replace(RUNNING, **fields),),
        finished=(replace(FINISHED, result=HOSTILE, **fields),),
        finished_totals={HOSTILE: 1},
        recent_totals={HOSTILE: 1},
        failed=(replace(FAILED, **fields),),
        failed_total=1,
        missing=(MissingSession(server=HOSTILE, id=HOSTILE),),
        organizations=(
            Organization(server=HOSTILE, organization=HOSTILE, last_restored=None),
            Organization(server=HOSTILE, organization=f"{HOSTILE} 2", last_restored=None),
        ),
        info_labels=("name", "reason"),
    )
    harmless = replace(
        BUSY,
        servers=(HQ, DOWN),
        running=(replace(RUNNING, state="Odd", info={"name": "a", "reason": "b"}),),
        finished=(replace(FINISHED, result="Odd", info={"name": "a", "reason": "b"}),),
        recent_totals={"Odd": 1},
        failed=(replace(FAILED, info={"name": "a", "reason": "b"}),),
        failed_total=1,
        missing=(MissingSession(server="hq", id="1"),),
        organizations=(
            Organization(server="hq", organization="contoso.onmicrosoft.com", last_restored=None),
            Organization(server="hq", organization="another organization", last_restored=None),
        ),
        info_labels=("name", "reason"),
    )
    reader, plain = Reader(render(shown)), Reader(render(harmless))
    assert reader.words.count(HOSTILE) > 15
    assert reader.tags == plain.tags
    assert reader.attributes - {"title"} == plain.attributes  # long names have one
    assert "<script" not in render(shown)


def test_values_that_utf_8_cannot_encode_do_not_break_the_page(
    serve: Callable[..., WebServer],
) -> None:
    strange = page(replace(HQ, name="a\ud800\x00\u202eb"))
    response = request(serve(FakeBackend(page=strange)), "/")
    assert (response.status, "a?" in response.text) == (200, True)


def test_the_page_has_no_script_no_inline_style_and_nothing_from_elsewhere() -> None:
    html = render(BUSY)
    reader = Reader(html)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(reader.tags)
    assert "style" not in reader.attributes
    assert not any(name.startswith("on") for name in reader.attributes)
    assert "url(" not in html
    assert "@import" not in html
    assert reader.open == []  # every element is closed


def test_the_style_sheet_is_the_one_that_the_policy_allows(
    serve: Callable[..., WebServer],
) -> None:
    response = request(serve(FakeBackend()), "/")
    style = response.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" == STYLE_SOURCE
    assert f"style-src {STYLE_SOURCE};" in response.headers["Content-Security-Policy"]


def test_the_largest_page_is_bounded() -> None:
    fields: dict[str, Any] = {
        "organization": '"' * 512,
        "info": dict.fromkeys(EVERY_INFO_LABEL, '"' * 512),
        "server": '"' * 128,
    }
    shown = page(
        *(
            replace(
                DOWN, name=f"{number:03}" + '"' * 125, failure_message='"' * 400, version='"' * 400
            )
            for number in range(200)
        ),
        running=tuple(
            replace(RUNNING, **{**fields, "organization": f"{number:03}" + '"' * 509})
            for number in range(100)
        ),
        running_total=100_000,
        failed=(replace(FAILED, **fields),) * 100,
        failed_total=100_000,
        finished=tuple(
            ended(number * 3.5, **{**fields, "organization": f"{number % 90:03}" + '"' * 509})
            for number in range(400)
        ),
        finished_totals={"Success": 100_000},
        missing=(MissingSession(server='"' * 128, id="1"),) * 100,
        organizations=tuple(
            Organization(
                server='"' * 128, organization=f"{number:04}" + '"' * 508, last_restored=None
            )
            for number in range(2000)
        ),
        organizations_total=2000,
        info_labels=EVERY_INFO_LABEL,
    )
    assert len(render(shown).encode()) < 1_000_000
    assert len(render_json(shown).encode()) < 10_000_000


class Source:
    """Returns pages, and records the thread of each call."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.error: Exception | None = None

    def __call__(self) -> StatusPage:
        self.threads.append(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return page(HQ)


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_page_is_rendered_at_most_once_a_second_however_many_requests_there_are() -> None:
    source, clock = Source(), Clock()

    async def scenario() -> None:
        cache = StatusPageCache(source, telemetry_path="/metrics", monotonic=clock)
        first = await asyncio.gather(*(cache.html(paused=False) for _ in range(20)))
        assert (len(set(first)), len(source.threads)) == (1, 1)
        clock.seconds = 0.99
        await cache.html(paused=False)
        assert len(source.threads) == 1
        clock.seconds = 1.0
        await cache.html(paused=False)
        assert len(source.threads) == 2

    asyncio.run(scenario())


def test_the_page_is_rendered_in_another_thread_than_scrapes_are_served() -> None:
    source = Source()

    async def scenario() -> None:
        await StatusPageCache(source, telemetry_path="/metrics").html(paused=False)

    asyncio.run(scenario())
    assert threading.current_thread().name not in source.threads


def test_a_paused_page_is_cached_apart_from_one_that_refreshes_itself() -> None:
    async def scenario() -> tuple[str, str]:
        cache = StatusPageCache(Source(), telemetry_path="/metrics", monotonic=Clock())
        return await cache.html(paused=False), await cache.html(paused=True)

    refreshing, paused = asyncio.run(scenario())
    assert ('http-equiv="refresh"' in refreshing, 'http-equiv="refresh"' in paused) == (True, False)


def test_an_error_is_not_cached() -> None:
    source = Source()

    async def scenario() -> str:
        cache = StatusPageCache(source, telemetry_path="/metrics", monotonic=Clock())
        source.error = ValueError("broken")
        with pytest.raises(ValueError, match="broken"):
            await cache.html(paused=False)
        source.error = None
        return await cache.html(paused=False)

    assert asyncio.run(scenario()).startswith("<!DOCTYPE html>")
