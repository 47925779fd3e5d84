from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from html.parser import HTMLParser
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from exporter.report.data import render_csv, render_json
from exporter.report.html_page import render_html
from exporter.report.summarize import FailedServer, Report
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.restore_session import SessionResult, SessionState, SessionType
from support.sample_reports import REFUSED, SINCE, evidence, report
from support.sample_sessions import NOON, finished, running, session_id

SCHEMA = Draft202012Validator(
    json.loads(
        resources.files("exporter.report").joinpath("report.schema.json").read_text("utf-8")
    ),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)
INFO = ("name", "initiated_by", "client_host", "scope_name", "reason", "details")
HOSTILE = "<script>alert(1)</script>\u202e=cmd|'/c calc'!A1\x00\t\"'&🦊" + "x" * 600


def html(made: Report) -> str:
    return b"".join(render_html(made)).decode()


def rows(made: Report) -> list[list[str]]:
    text = b"".join(render_csv(made)).decode()
    return list(csv.reader(io.StringIO(text, newline="")))


def document(made: Report) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(b"".join(render_json(made)))
    SCHEMA.validate(parsed)
    return parsed


class Text(HTMLParser):
    """Collects the text of a page, and the names of its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self._hidden = False
        self._parts: list[str] = []
        self.feed(page)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self._parts).split())

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.names.add(tag)
        self._hidden = tag == "style"

    def handle_endtag(self, _tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._parts.append(data)


def test_csv_has_a_row_for_each_session() -> None:
    opened = NOON - timedelta(minutes=5)
    extras = {
        "statistics": Statistics(restored=3, failed=1, skipped=0),
        "events": EventSummary(
            counts={},
            size_bytes={},
            active_since=opened,
            active_until=opened + timedelta(seconds=12.5),
        ),
    }

    assert rows(report(evidence([finished(5, **extras), running(2)]), info_labels=["name"])) == [
        ["server", "id", "organization", "type", "state", "result", "created", "ended",
         "duration_seconds", "active_seconds", "proves_restore",
         "items_processed", "items_restored", "items_failed", "items_skipped", "name"],
        ["hq", session_id(2), "contoso.onmicrosoft.com", "Vex", "Working", "",
         "2026-03-01T11:58:00Z", "", "", "", "false", "", "", "", "", "Exchange restore 2"],
        ["hq", session_id(5), "contoso.onmicrosoft.com", "Vex", "Stopped", "Success",
         "2026-03-01T11:55:00Z", "2026-03-01T11:55:30Z", "30.0", "12.5", "true",
         "5", "3", "1", "0", "Exchange restore 5"],
    ]  # fmt: skip


@given(st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝"]), st.text(max_size=5))
def test_no_cell_of_csv_starts_a_formula(start: str, rest: str) -> None:
    text = start + rest
    session = finished(1, organization=text, name=text)

    _, cells = rows(report(evidence([session], server=text), info_labels=["name"]))

    assert not [cell for cell in cells if cell[:1] in {*"=+-@\t\r\n＝", " "}]


def test_json_has_everything_and_matches_its_schema() -> None:
    sessions = [
        finished(5, details="4 items processed"),
        finished(9, result=SessionResult.FAILED, type=SessionType.UNKNOWN, end_time=None),
        running(2, state=SessionState.UNKNOWN),
    ]

    made = document(
        report(
            evidence(sessions, organizations=("fabrikam",), rejected=2, without_extras=1),
            failed=[REFUSED],
            organizations=["contoso.onmicrosoft.com", "fabrikam", "nobody"],
            info_labels=INFO,
        )
    )

    assert {key: made[key] for key in ("since", "until", "complete", "unknown_organizations")} == {
        "since": "2025-12-01T12:00:00Z",
        "until": "2026-03-01T12:00:00Z",
        "complete": False,
        "unknown_organizations": ["nobody"],
    }
    assert made["servers"] == [
        {
            "server": "hq",
            "error": None,
            "version": "8.2.0.5000",
            "api_version": "v8",
            "sessions_listed": 3,
            "oldest_session": "2026-03-01T11:51:00Z",
            "organizations_known": True,
            "records_rejected": 2,
            "sessions_without_extras": 1,
        },
        {"server": "branch", "error": {"reason": "auth", "message": REFUSED.message}},
    ]
    assert made["organizations"] == [
        {
            "server": "hq",
            "organization": "contoso.onmicrosoft.com",
            "types": [
                {
                    "type": "Vex",
                    "sessions": 2,
                    "open": 1,
                    "results": {"success": 1, "warning": 0, "failed": 0, "unknown": 0},
                    "proven": 1,
                    "items_processed": 4,
                    "median_duration_seconds": 30.0,
                    "longest_duration_seconds": 30.0,
                    "last_proven": "2026-03-01T11:55:30Z",
                    "last_proven_age_seconds": 270.0,
                },
                {
                    "type": "Unknown",
                    "sessions": 1,
                    "open": 0,
                    "results": {"success": 0, "warning": 0, "failed": 1, "unknown": 0},
                    "proven": 0,
                    "items_processed": 9,
                    "median_duration_seconds": None,
                    "longest_duration_seconds": None,
                    "last_proven": None,
                    "last_proven_age_seconds": None,
                },
            ],
        },
        {"server": "hq", "organization": "fabrikam", "types": []},
    ]
    assert isinstance(made["sessions"], list)
    assert [one["id"] for one in made["sessions"]] == [session_id(n) for n in (2, 5, 9)]


def test_json_without_any_session_is_valid() -> None:
    assert document(report())["sessions"] == []
    assert document(report(evidence()))["sessions"] == []


@given(st.text(st.characters(), max_size=20))
def test_json_of_any_name_is_valid(name: str) -> None:
    sessions = [finished(1, organization=name, name=name)]

    assert document(report(evidence(sessions, server=name), info_labels=INFO))["complete"]


def test_every_value_on_the_page_is_escaped() -> None:
    sessions = [
        finished(1, organization=HOSTILE, **dict.fromkeys(INFO, HOSTILE)),
        running(2, organization=HOSTILE, **dict.fromkeys(INFO, HOSTILE)),
    ]
    page = html(
        report(
            evidence(sessions, server=HOSTILE, version=HOSTILE, organizations=(HOSTILE,)),
            failed=[FailedServer(server=HOSTILE, reason="x", message=HOSTILE)],
            organizations=[HOSTILE, "<b>"],
            info_labels=INFO,
        )
    )

    assert Text(page).names.isdisjoint({"script", "b", "img", "link", "iframe"})
    assert "<script>alert(1)</script>" in Text(page).words
    assert "\x00" not in page


def test_personal_data_is_shown_only_if_it_is_allowed() -> None:
    secret = "What Alice looked for"
    made = report(evidence([finished(1, **dict.fromkeys(INFO, secret))]))
    allowed = report(evidence([finished(1, initiated_by=secret)]), info_labels=["initiated_by"])

    for render in (render_html, render_csv, render_json):
        assert secret not in b"".join(render(made)).decode()
        assert secret in b"".join(render(allowed)).decode()


def test_the_page_says_at_its_top_which_server_is_missing() -> None:
    words = Text(html(report(evidence([finished(1)]), failed=[REFUSED]))).words

    assert "1 of 2 servers did not return its list of restore sessions." in words
    assert words.index("branch : it refuses the login") < words.index("Proven restores")


def test_the_page_names_its_servers_and_their_versions() -> None:
    words = Text(
        html(report(evidence(), evidence(server="old", version=""), failed=[REFUSED]))
    ).words

    assert (
        "Created on 2026-03-01 12:00 UTC from hq (VB365 8.2.0.5000, API v8), "
        "old (version unknown, API v8), without branch" in words
    )


def test_the_page_shows_how_long_a_session_restored_items() -> None:
    events = EventSummary(
        counts={}, size_bytes={}, active_since=NOON, active_until=NOON + timedelta(seconds=12)
    )

    assert "30 s active 12 s" in Text(html(report(evidence([finished(1, events=events)])))).words


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"oldest": SINCE + timedelta(days=1)}, "after the start of the period."),
        ({"oldest": SINCE}, "still lists was opened on 2025-12-01 12:00 UTC."),
        ({"oldest": None}, "hq listed no restore sessions to its account."),
        ({"organizations_known": False}, "The organizations of hq could not be read"),
        ({"rejected": 1}, "hq listed 1 record that could not be read."),
        (
            {"without_extras": 3},
            "Statistics or events of 3 sessions of hq were not read completely.",
        ),
    ],
)
def test_the_page_says_what_it_cannot_know(fields: dict[str, object], sentence: str) -> None:
    words = Text(html(report(evidence([finished(1)], **fields)))).words  # type: ignore[arg-type]

    assert sentence in words


def test_an_organization_without_restores_is_on_the_page() -> None:
    words = Text(html(report(evidence(organizations=("fabrikam",))))).words

    assert "fabrikam No restore session is listed." in words
    assert "No session finished in the period." in words


def test_a_session_that_restored_nothing_says_so() -> None:
    words = Text(html(report(evidence([finished(1, details="0 items processed")])))).words

    assert "Success nothing restored 0" in words
