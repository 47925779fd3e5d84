from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from web.status_pages import DOWN, FAILURE, HQ, RUNNING, UNPOLLED, page
from web.support import NOON

from exporter.web.status import ServerCard, StatusPage
from exporter.web.status.verdict import (
    Level,
    absence,
    servers_without_data,
    verdict,
)

LONG = replace(RUNNING, started=NOON - timedelta(hours=51), duration_seconds=183_600.0)


def sentences(shown: StatusPage) -> list[str]:
    judged = verdict(shown)
    return [judged.headline.text, *(finding.text for finding in judged.also)]


def expiring(server: ServerCard, after: timedelta) -> ServerCard:
    return replace(server, certificate_not_after=NOON + after)


def test_all_is_well_when_there_is_no_finding() -> None:
    judged = verdict(page(HQ, running=(RUNNING,), running_total=1))
    assert (
        judged.headline.level,
        judged.headline.text,
        judged.also,
    ) == (Level.GOOD, "All is well.", ())


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
            page(HQ, recent_failures=(FAILURE,)),
            Level.WARN,
            "A restore of fabrikam.example failed 3 h ago.",
        ),
        (
            page(HQ, recent_failures=(FAILURE, replace(FAILURE, organization=""))),
            Level.WARN,
            "Restores of 2 organizations failed within a day, the last 3 h ago.",
        ),
        (
            page(HQ, recent_failures=(replace(FAILURE, organization=""),)),
            Level.WARN,
            "A restore of (no organization) failed 3 h ago.",
        ),
        (
            page(HQ, running=(LONG,), running_total=1, long_running_total=1),
            Level.WARN,
            "1 session has been open for more than a day: 2 d 3 h.",
        ),
        (
            page(HQ, running=(LONG,), running_total=9, long_running_total=4),
            Level.WARN,
            "4 sessions have been open for more than a day, the longest for 2 d 3 h.",
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
    judged = verdict(shown)
    assert (judged.headline.level, judged.headline.text, judged.also) == (level, text, ())


def test_the_worst_comes_first_and_nothing_is_left_out() -> None:
    shown = page(expiring(HQ, timedelta(days=3)), UNPOLLED, DOWN, recent_failures=(FAILURE,))
    assert sentences(shown) == [
        "lab is down: it cannot be reached.",
        "A restore of fabrikam.example failed 3 h ago.",
        "The certificate of hq expires in 3 d.",
        "new has not been polled yet.",
    ]


def test_every_finding_links_to_its_details() -> None:
    shown = page(
        DOWN, recent_failures=(FAILURE,), running=(LONG,), running_total=1, long_running_total=1
    )
    judged = verdict(shown)
    assert [finding.anchor for finding in (judged.headline, *judged.also)] == [
        "servers",
        "failed",
        "running",
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
    assert sentences(page(expiring(HQ, timedelta(days=31)))) == ["All is well."]


@pytest.mark.parametrize(
    ("servers", "text"),
    [
        ([HQ], "Nothing runs."),
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


def test_names_in_the_verdict_are_harmless() -> None:
    shown = page(replace(DOWN, name="l\u202eab" + "x" * 100))
    assert sentences(shown)[0].startswith("lab")
    assert len(sentences(shown)[0]) < 110
