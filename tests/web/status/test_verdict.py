from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from web.status_pages import DOWN, FAILED, HQ, LEFT_OPEN, RUNNING, UNPOLLED, page
from web.support import NOON

from exporter.web.status.page import MissingSession, ServerCard, StatusPage
from exporter.web.status.verdict import (
    Level,
    absence,
    servers_without_data,
    verdict,
)

FAILED_PAGE: dict[str, Any] = {
    "failed": (FAILED,),
    "failed_total": 1,
    "recent_totals": {"Failed": 1},
}


def sentences(shown: StatusPage) -> list[str]:
    return [finding.text for finding in verdict(shown)]


def expiring(server: ServerCard, after: timedelta) -> ServerCard:
    return replace(server, certificate_not_after=NOON + after)


def test_all_is_well_when_there_is_no_finding() -> None:
    (headline,) = verdict(page(HQ, running=(RUNNING,), running_total=1))
    assert (headline.level, headline.text) == (Level.GOOD, "All is well.")


@pytest.mark.parametrize(
    ("shown", "level", "text"),
    [
        (page(DOWN), Level.BAD, "lab is down: it cannot be reached."),
        (
            page(HQ, DOWN, replace(DOWN, name="x")),
            Level.BAD,
            "2 of 3 servers are down: lab and x.",
        ),
        (page(DOWN, replace(DOWN, name="x")), Level.BAD, "All 2 servers are down."),
        (page(HQ, UNPOLLED), Level.WAIT, "new has not been polled yet."),
        (page(), Level.WAIT, "This instance polls no server."),
        (
            page(replace(HQ, sessions_stale=7)),
            Level.BAD,
            "Data for 7 sessions of hq is stale and hidden.",
        ),
        (
            page(HQ, running=(RUNNING, LEFT_OPEN), running_total=2, left_open_total=1),
            Level.WARN,
            "1 session has been left open: 2 d 3 h.",
        ),
        (
            page(HQ, running=(LEFT_OPEN,), running_total=9, left_open_total=4),
            Level.WARN,
            "4 sessions have been left open, the longest for 2 d 3 h.",
        ),
        (
            page(HQ, missing=(MissingSession(server="hq", id="1"),)),
            Level.WARN,
            "1 configured session does not exist.",
        ),
        (
            page(expiring(HQ, timedelta(days=12, hours=1))),
            Level.WARN,
            "The certificate of hq expires in 12 d 1 h.",
        ),
        (
            page(expiring(HQ, -timedelta(seconds=1))),
            Level.BAD,
            "The certificate of hq has expired.",
        ),
    ],
)
def test_each_finding_has_its_sentence(shown: StatusPage, level: Level, text: str) -> None:
    (finding,) = verdict(shown)
    assert (finding.level, finding.text) == (level, text)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (FAILED_PAGE, "A restore of fabrikam.example failed 3 h ago."),
        (
            {"failed": (replace(FAILED, organization=""),), "failed_total": 1},
            "A restore of (no organization) failed 3 h ago.",
        ),
        (
            {
                "failed": (FAILED, FAILED),
                "failed_total": 2,
                "recent_totals": {"Success": 300, "Failed": 2},
            },
            "2 of 302 restores that ended in the last 24 h failed, the last 3 h ago.",
        ),
        (
            {
                "failed": (FAILED, FAILED),
                "failed_total": 2,
                "recent_totals": {"Success": 9, "Failed": 2},
                "recent_partial": True,
            },
            "At least 2 restores failed in the last 24 h, the last 3 h ago.",
        ),
        (
            {"recent_totals": {"Success": 9, "Warning": 3}},
            "3 restores ended with warnings in the last 24 h.",
        ),
        (
            {"recent_totals": {"Warning": 1}, "recent_partial": True},
            "At least 1 restore ended with warnings in the last 24 h.",
        ),
    ],
)
def test_failures_and_warnings_of_a_normal_day_are_facts_below_a_calm_headline(
    fields: dict[str, Any], text: str
) -> None:
    headline, fact = verdict(page(HQ, **fields))
    assert (headline.level, headline.text) == (Level.GOOD, "hq responds.")
    assert (fact.level, fact.text) == (Level.NOTE, text)


def test_a_calm_headline_counts_the_servers() -> None:
    assert sentences(page(HQ, HQ, **FAILED_PAGE))[0] == "All 2 servers respond."


def test_an_unverified_certificate_is_a_fact() -> None:
    assert sentences(page(replace(HQ, tls_verified=False))) == [
        "hq responds.",
        "The certificate of hq is not verified.",
    ]


def test_many_failed_restores_within_an_hour_are_no_normal_day() -> None:
    bad = replace(HQ, ended_last_hour=12, failed_last_hour=7, organizations_failed_last_hour=4)
    headline = verdict(page(bad))[0]
    assert (headline.level, headline.text) == (
        Level.BAD,
        "Many restores are failing on hq: 7 of the 12 that ended in the last hour, of 4 organizations.",
    )


def test_the_failure_of_a_configured_session_is_bad_for_four_hours() -> None:
    configured = replace(FAILED, configured=True)
    earlier = replace(configured, ended=NOON - timedelta(hours=5))
    headline = verdict(page(HQ, failed=(configured,), failed_total=1))[0]
    assert (headline.level, headline.text) == (
        Level.BAD,
        f"The configured session {FAILED.id} failed 3 h ago.",
    )
    assert verdict(page(HQ, failed=(earlier,), failed_total=1))[0].level is Level.GOOD
    assert sentences(page(HQ, failed=(configured, configured), failed_total=2))[0] == (
        "2 configured sessions failed within 4 h."
    )


@pytest.mark.parametrize(
    ("down", "level"),
    [
        ({"since": NOON - timedelta(seconds=299)}, Level.WARN),
        ({"since": NOON - timedelta(seconds=300)}, Level.BAD),
        ({"since": NOON - timedelta(seconds=300), "poll_interval_seconds": 600.0}, Level.WARN),
        ({"since": NOON - timedelta(seconds=600), "poll_interval_seconds": 600.0}, Level.BAD),
        ({"since": NOON - timedelta(seconds=119), "failure_reason": "auth"}, Level.WARN),
        ({"since": NOON - timedelta(seconds=120), "failure_reason": "auth"}, Level.BAD),
        ({"since": None}, Level.BAD),
    ],
)
def test_a_server_that_is_down_is_bad_after_more_than_a_single_poll(
    down: dict[str, Any], level: Level
) -> None:
    assert verdict(page(replace(DOWN, **down)))[0].level is level


def test_the_worst_comes_first_and_nothing_is_left_out() -> None:
    shown = page(expiring(HQ, timedelta(days=3)), UNPOLLED, DOWN, **FAILED_PAGE)
    assert sentences(shown) == [
        "lab is down: it cannot be reached.",
        "The certificate of hq expires in 3 d.",
        "new has not been polled yet.",
        "A restore of fabrikam.example failed 3 h ago.",
    ]


def test_every_finding_links_to_its_details() -> None:
    shown = page(
        DOWN,
        running=(LEFT_OPEN,),
        running_total=1,
        left_open_total=1,
        missing=(MissingSession(server="hq", id="1"),),
        **FAILED_PAGE,
    )
    assert [finding.anchor for finding in verdict(shown)] == [
        "servers",
        "running",
        "missing",
        "failed",
    ]


def test_certificates_of_several_servers_are_one_finding() -> None:
    lab = replace(HQ, name="lab")
    soon, sooner, past = timedelta(days=9), timedelta(days=2), timedelta(days=-2)
    assert sentences(page(expiring(HQ, soon), expiring(lab, sooner))) == [
        "The certificates of hq and lab expire soon, the first in 2 d."
    ]
    assert sentences(page(expiring(HQ, past), expiring(lab, past))) == [
        "The certificates of hq and lab have expired."
    ]


def test_a_certificate_that_is_valid_for_long_is_no_finding() -> None:
    assert sentences(page(expiring(HQ, timedelta(days=21)))) == ["All is well."]


@pytest.mark.parametrize(
    ("servers", "text"),
    [
        ([HQ], "Nothing runs."),
        ([replace(HQ, up=False, sessions_stale=1)], "Nothing runs, not counting hidden sessions."),
        ([HQ, DOWN, UNPOLLED], "Nothing runs, not counting lab and new: no data."),
        ([DOWN, UNPOLLED], "Unknown: no server responds."),
        ([UNPOLLED], "Unknown: no server has been polled yet."),
    ],
)
def test_the_absence_of_sessions_is_claimed_only_of_servers_with_data(
    servers: list[ServerCard], text: str
) -> None:
    assert absence(page(*servers), "Nothing runs") == text


def test_the_data_of_a_server_that_has_just_gone_down_still_counts() -> None:
    just_now = replace(DOWN, last_success=NOON - timedelta(seconds=100))
    assert servers_without_data(page(just_now)) == ()
    assert servers_without_data(page(replace(DOWN, data_age_seconds=170.0))) == ()
    assert servers_without_data(page(replace(DOWN, last_success=None))) == ("lab",)


def test_hidden_data_does_not_count_even_if_the_clock_was_set_back() -> None:
    ahead = replace(DOWN, last_success=NOON + timedelta(hours=1), sessions_stale=5)
    assert servers_without_data(page(ahead)) == ("lab",)


def test_names_in_the_verdict_are_harmless() -> None:
    shown = page(replace(DOWN, name="l\u202eab" + "x" * 100))
    assert sentences(shown)[0].startswith("lab")
    assert len(sentences(shown)[0]) < 110
