from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from exporter.report.collect import Scope
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType
from support.sample_reports import SINCE, evidence, report
from support.sample_sessions import NOON, finished, running, session_id

WARNING, FAILED = SessionResult.WARNING, SessionResult.FAILED


def ended(moment: datetime) -> RestoreSession:
    return finished(1, creation_time=SINCE - timedelta(days=9), end_time=moment)


@pytest.mark.parametrize(
    ("session", "included"),
    [
        (ended(SINCE), True),
        (ended(SINCE - timedelta(seconds=1)), False),
        (running(1, creation_time=SINCE - timedelta(days=400)), True),
        (finished(1, creation_time=SINCE, end_time=None), True),
        (finished(1, creation_time=SINCE - timedelta(seconds=1), end_time=None), False),
    ],
    ids=[
        "ended in it",
        "ended before",
        "still open",
        "no end, opened in it",
        "no end, opened before",
    ],
)
def test_a_session_belongs_to_the_period_in_which_it_ended(
    session: RestoreSession, *, included: bool
) -> None:
    assert Scope(since=SINCE, until=NOON).is_in_period(session) == included


def test_each_type_of_an_organization_is_summed_up() -> None:
    sessions = [
        finished(100, details="4 items processed", end_time=NOON - timedelta(minutes=90)),
        finished(80, details="0 items processed", end_time=NOON - timedelta(minutes=78)),
        finished(60, details="7 items processed", result=WARNING, end_time=NOON),
        finished(50, details="2 items processed", result=FAILED, end_time=None),
        running(40),
        finished(30, type=SessionType.VET, details="1 item processed"),
    ]

    (organization,) = report(evidence(sessions)).organizations

    exchange, teams = organization.types
    assert (exchange.type, teams.type) == (SessionType.VEX, SessionType.VET)
    assert (exchange.sessions, exchange.finished, exchange.open) == (5, 4, 1)
    assert exchange.results == {"Success": 2, "Warning": 1, "Failed": 1}
    assert exchange.proven == 2
    assert exchange.items_processed == 13
    assert (exchange.median_seconds, exchange.longest_seconds) == (600.0, 3600.0)
    assert exchange.last_proven == NOON
    assert (teams.sessions, teams.proven, teams.open) == (1, 1, 0)


def test_totals_cover_all_organizations() -> None:
    totals = report(
        evidence([finished(1), running(2, organization="b")]),
        evidence([finished(3, result=FAILED)], server="branch"),
    ).totals

    assert (totals.finished, totals.proven, totals.open, totals.results[FAILED]) == (2, 1, 1, 1)


def test_a_last_proven_restore_before_the_period_is_shown_without_sessions() -> None:
    before = SINCE - timedelta(days=10)

    (one,) = report(evidence(last_proven={("a", SessionType.VESP): before})).organizations

    assert [(type_.type, type_.sessions, type_.last_proven) for type_ in one.types] == [
        (SessionType.VESP, 0, before)
    ]
    assert one.types[0].median_seconds is None


def test_organizations_without_any_restore_are_listed_in_alphabetical_order() -> None:
    organizations = report(
        evidence([finished(1, organization="b")], organizations=("C", "a"))
    ).organizations

    assert [(one.organization, len(one.types), one.has_sessions) for one in organizations] == [
        ("a", 0, False),
        ("b", 1, True),
        ("C", 0, False),
    ]


def test_organizations_that_no_server_knows_are_named() -> None:
    made = report(
        evidence([finished(1, organization="Contoso")]), organizations=["CONTOSO", "fabrikam"]
    )

    assert made.unknown_organizations == ["fabrikam"]


def test_sessions_of_all_servers_are_listed_newest_first() -> None:
    made = report(
        evidence([finished(1), finished(3)]), evidence([finished(2), finished(4)], server="branch")
    )

    assert [(server, session.id) for server, session in made.sessions()] == [
        ("hq", session_id(1)),
        ("branch", session_id(2)),
        ("hq", session_id(3)),
        ("branch", session_id(4)),
    ]
