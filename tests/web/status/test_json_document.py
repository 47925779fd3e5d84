"""The JSON form of the status page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from web.status_pages import DOWN, FAILED, FINISHED, HQ, LEFT_OPEN, UNPOLLED, page
from web.support import NOON, FakeBackend, request

from exporter.web.server import WebServer
from exporter.web.status.json_document import render_json
from exporter.web.status.page import MissingSession, Organization, StatusPage

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "status-page.md"
FULL = page(
    HQ,
    DOWN,
    UNPOLLED,
    running=(replace(LEFT_OPEN, idle_seconds=50_000.1234),),
    running_total=1,
    left_open_total=1,
    failed=(FAILED,),
    failed_total=1,
    finished=(replace(FINISHED, items_failed=2),),
    finished_totals={"Success": 7},
    recent_totals={"Success": 1, "Failed": 1},
    missing=(MissingSession(server="hq", id="1"),),
    organizations=(
        Organization(server="hq", organization="contoso", last_restored=None),
        Organization(server="hq", organization="fabrikam", last_restored=NOON - timedelta(days=1)),
    ),
    organizations_total=2,
)


def document(shown: StatusPage) -> Any:
    return json.loads(render_json(shown))


def test_the_verdict_has_a_level_and_its_findings_worst_first() -> None:
    verdict = document(FULL)["verdict"]
    assert verdict["level"] == "bad"
    assert verdict["findings"][0] == {
        "level": "bad",
        "text": "lab is down: it cannot be reached.",
    }
    assert [one["level"] for one in verdict["findings"]] == ["bad", "warn", "warn", "wait", "note"]


def test_a_failed_session_has_all_that_the_page_shows() -> None:
    (session,) = document(FULL)["failed"]["sessions"]
    assert session == {
        "server": "hq",
        "id": "0f9c2c5e-2f3b-4a44-a7d5-6f1f9f1c0002",
        "organization": "fabrikam.example",
        "type": "Vet",
        "workload": "Teams",
        "state": "Stopped",
        "result": "Failed",
        "created": "2026-11-24T08:58:00Z",
        "ended": "2026-11-24T09:00:00Z",
        "duration_seconds": 120.0,
        "idle_seconds": None,
        "left_open": False,
        "configured": False,
        "items_processed": 41,
        "items_failed": None,
    }


def test_totals_are_complete_although_lists_may_be_cut() -> None:
    found = document(replace(FULL, failed_total=480, running_total=999, organizations_total=9000))
    assert found["failed"]["total"] == 480
    assert found["running"] | {"sessions": []} == {"total": 999, "left_open": 1, "sessions": []}
    assert found["organizations"]["total"] == 9000
    assert found["finished"]["results"] == {"success": 1, "failed": 1}


def test_organizations_show_when_a_restore_was_last_proven() -> None:
    assert document(FULL)["organizations"]["organizations"] == [
        {"server": "hq", "organization": "contoso", "last_restored": None},
        {"server": "hq", "organization": "fabrikam", "last_restored": "2026-11-23T12:00:00Z"},
    ]


def test_servers_show_why_they_are_down() -> None:
    servers = document(FULL)["servers"]
    assert [(one["name"], one["up"], one["failure_reason"]) for one in servers] == [
        ("hq", True, None),
        ("lab", False, "connect"),
        ("new", None, None),
    ]
    assert servers[1]["failure_message"].endswith("Connection refused")


def test_personal_data_appears_only_if_info_labels_allow_it() -> None:
    assert "initiated_by" not in render_json(FULL)
    shown = page(
        HQ, failed=(replace(FAILED, info={"initiated_by": "alice"}),), info_labels=("initiated_by",)
    )
    assert document(shown)["failed"]["sessions"][0]["initiated_by"] == "alice"


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from keys(one)


def test_every_property_is_documented_and_no_other() -> None:
    results = {"success"}  # a name that is a value, too
    text = DOCUMENTATION.read_text(encoding="utf-8").partition("## JSON")[2]
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    documented = {
        name
        for path in re.findall(r"`([a-z_.\[\]]+)`", table)
        for name in re.split(r"[.\[\]]+", path)
    }
    assert set(keys(document(FULL))) - results == documented - {""}


@pytest.mark.parametrize(
    ("path", "accept", "content_type"),
    [
        ("/", None, "text/html; charset=utf-8"),
        ("/", "*/*", "text/html; charset=utf-8"),
        ("/", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("/", "application/json", "application/json"),
        ("/", "application/json, text/plain, */*", "application/json"),
        ("/", "text/html;q=0.5, application/json", "application/json"),
        ("/", "text/html, application/json;q=0.9", "text/html; charset=utf-8"),
        ("/", "application/json;q=0", "text/html; charset=utf-8"),
        ("/", "application/json;", "application/json"),
        ("/", "((", "text/html; charset=utf-8"),
        ("/?format=json", "text/html", "application/json"),
        ("/?format=html", "application/json", "text/html; charset=utf-8"),
    ],
)
def test_scripts_get_json_and_people_get_html(
    serve: Callable[..., WebServer], path: str, accept: str | None, content_type: str
) -> None:
    server = serve(FakeBackend(page=FULL))
    headers = [] if accept is None else [("Accept", accept)]

    response = request(server, path, headers=headers)

    assert response.headers["Content-Type"] == content_type
    assert response.headers["Vary"] == "Accept"
    if content_type == "application/json":
        assert json.loads(response.body) == document(FULL)


def test_values_that_utf_8_cannot_encode_are_valid_json(serve: Callable[..., WebServer]) -> None:
    strange = page(
        replace(HQ, name="a\ud800\x00b"), missing=(MissingSession(server="\ud800", id="1"),)
    )
    response = request(serve(FakeBackend(page=strange)), "/?format=json")
    assert json.loads(response.body)["servers"][0]["name"] == "a\ud800\x00b"
