"""The status page's data, from ledgers to the values that are shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from math import inf

from exporter.config import ServerConfig
from exporter.polling.clock import Moment
from exporter.polling.snapshot import ConfiguredId, Snapshot
from exporter.service.overview import Overview
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.restore_session import SessionResult, SessionType
from exporter.web.status.page import (
    MissingSession,
    Organization,
    ServerCard,
    StatusPage,
)
from support.ledger_harness import DAY_SECONDS, LedgerHarness, sessions_config
from support.sample_sessions import NOON, finished, running, session_id
from support.status_pages import (
    DOWN,
    config_for,
    page_for,
    polled_snapshot,
    random_sessions,
    silent_snapshot,
)

FAILED = {"result": SessionResult.FAILED}
PERSONAL = {
    "name": "Restore of the board",
    "initiated_by": "CONTOSO\\alice",
    "client_host": "pc-of-alice",
    "scope_name": "Mailbox of bob",
    "reason": "bob asked for it",
    "details": "7 items processed",
}


def hq(page: StatusPage) -> ServerCard:
    (server,) = page.servers
    return server


def unverified(server: ServerConfig) -> ServerConfig:
    tls_config = server.tls_config.model_copy(update={"insecure_skip_verify": True})
    return server.model_copy(update={"tls_config": tls_config})


def test_the_longest_running_of_all_servers_come_first() -> None:
    page = page_for(
        polled_snapshot("hq", [running(5), running(50), finished(1)]),
        polled_snapshot("lab", [running(20)]),
    )

    assert [(row.server, row.duration_seconds) for row in page.running] == [
        ("hq", 51 * 60),
        ("lab", 21 * 60),
        ("hq", 6 * 60),
    ]
    assert (page.running_total, page.left_open_total) == (3, 0)


def test_sessions_open_for_more_than_a_day_are_left_open_however_many_run() -> None:
    day = timedelta(days=1)
    old = [running(number, creation_time=NOON - day) for number in range(1, 131)]
    young = running(199, creation_time=NOON - day + timedelta(seconds=61))

    page = page_for(polled_snapshot("hq", [*old, young]))

    assert (page.running_total, page.left_open_total) == (131, 130)
    assert len(page.running) < 131
    assert all(row.left_open for row in page.running)


def test_where_the_idle_time_is_known_it_decides_whether_a_session_is_left_open() -> None:
    def with_event(number: int, opened_hours: float, last_event_hours: float) -> Snapshot:
        session = running(number, creation_time=NOON - timedelta(hours=opened_hours))
        events = EventSummary(
            counts={}, size_bytes={}, last_event_at=NOON - timedelta(hours=last_event_hours)
        )
        snapshot = polled_snapshot(f"s{number}", [session])
        (one,) = snapshot.running
        return replace(
            snapshot, running=(replace(one, session=session.with_extra("events", events)),)
        )

    page = page_for(with_event(1, 30, 1), with_event(2, 14, 13), with_event(3, 13, 11))

    assert [(row.server, row.left_open) for row in page.running] == [
        ("s1", False),
        ("s2", True),
        ("s3", False),
    ]
    assert [row.idle_seconds for row in page.running] == [3660.0, 46860.0, 39660.0]
    assert page.left_open_total == 1


def test_the_last_finished_of_all_servers_come_first() -> None:
    page = page_for(
        polled_snapshot("hq", [finished(5), finished(50)]), polled_snapshot("lab", [finished(20)])
    )

    assert [row.server for row in page.finished] == ["hq", "lab", "hq"]
    assert page.finished_totals == {"Success": 3}
    first = page.finished[0]
    assert (first.type, first.result, first.duration_seconds) == ("Vex", "Success", 30.0)
    assert first.ended == NOON - timedelta(minutes=4, seconds=30)


def test_results_are_counted_beyond_those_that_have_series() -> None:
    bench = LedgerHarness(sessions_config(max_series=2))
    bench.hold(*(finished(number) for number in range(1, 8)))
    bench.hold(finished(9, result=SessionResult.FAILED))

    page = page_for(bench.poll(48.0))

    assert page.finished_totals == {"Success": 7, "Failed": 1}
    assert (
        hq(page).sessions_known,
        hq(page).sessions_without_series,
        hq(page).sessions_stale,
    ) == (8, 6, 0)


def test_failed_sessions_of_a_day_are_listed_one_by_one_newest_first() -> None:
    statistics = Statistics(restored=3, failed=2, skipped=0)
    page = page_for(
        polled_snapshot("hq", [finished(30, **FAILED), finished(5), finished(2000, **FAILED)]),
        polled_snapshot("lab", [finished(10, statistics=statistics, **FAILED)]),
    )

    assert [(row.server, row.id) for row in page.failed] == [
        ("lab", session_id(10)),
        ("hq", session_id(30)),
    ]
    assert page.failed_total == 2
    row = page.failed[0]
    assert (row.items_processed, row.items_failed) == (10, 2)
    assert (row.ended, row.duration_seconds) == (NOON - timedelta(minutes=9, seconds=30), 30.0)


def test_many_failed_sessions_are_counted_and_the_newest_are_listed() -> None:
    page = page_for(polled_snapshot("hq", [finished(n, **FAILED) for n in range(1, 301)]))

    assert page.failed_total == 300
    assert [row.id for row in page.failed] == [session_id(n) for n in range(1, 101)]


def test_sessions_that_ended_today_are_shown_however_long_ago_they_were_opened() -> None:
    harness = LedgerHarness(sessions_config(max_series=2, lookback=30 * DAY_SECONDS))
    opened = {"creation_time": NOON - timedelta(days=10), "end_time": NOON - timedelta(minutes=5)}
    results = (SessionResult.FAILED, SessionResult.SUCCESS, SessionResult.WARNING)
    harness.hold(
        *(finished(3000 + number) for number in range(8)),
        *(finished(number, result=result, **opened) for number, result in enumerate(results, 1)),
    )

    page = page_for(harness.poll(48.0))

    assert (page.recent_totals, page.recent_partial) == (
        {"Success": 1, "Warning": 1, "Failed": 1},
        False,
    )
    assert [row.id for row in page.failed] == [session_id(1)]
    assert {row.id for row in page.finished[:3]} == {session_id(number) for number in (1, 2, 3)}
    assert (hq(page).ended_last_hour, hq(page).failed_last_hour) == (3, 1)


def test_results_of_the_last_day_are_partial_if_sessions_of_that_day_may_be_unknown() -> None:
    def partial(snapshot: Snapshot, **settings: float) -> bool:
        config = config_for("hq")
        (server,) = config.servers
        sessions = server.sessions.model_copy(update=settings)
        servers = (server.model_copy(update={"sessions": sessions}),)
        moment = Moment(monotonic=60.0, wall=NOON + timedelta(seconds=60))
        return (
            Overview()
            .page(config.model_copy(update={"servers": servers}), [snapshot], moment)
            .recent_partial
        )

    complete = polled_snapshot("hq", [finished(1)])
    aborted_first_list = replace(complete, list_confirmed_at=-inf)

    assert not partial(complete)
    assert partial(replace(complete, sessions_not_kept=1))
    assert partial(complete, lookback=3600.0)
    assert partial(aborted_first_list)
    assert partial(silent_snapshot("hq"))


def test_results_of_the_last_day_are_counted() -> None:
    page = page_for(
        polled_snapshot("hq", [finished(1), finished(2, result=SessionResult.WARNING)]),
        polled_snapshot("lab", [finished(3, **FAILED), finished(1500)]),
    )

    assert page.recent_totals == {"Success": 1, "Warning": 1, "Failed": 1}
    assert not page.recent_partial


def test_each_server_has_the_results_of_its_last_hour() -> None:
    sessions = [
        finished(1, organization="a.example", **FAILED),
        finished(2, organization="b.example", **FAILED),
        finished(3, organization="b.example", **FAILED),
        finished(4),
        finished(90, **FAILED),
    ]

    server = hq(page_for(polled_snapshot("hq", sessions)))

    assert (
        server.ended_last_hour,
        server.failed_last_hour,
        server.organizations_failed_last_hour,
    ) == (4, 3, 2)


def test_configured_sessions_are_marked_and_missing_ones_are_listed() -> None:
    snapshot = replace(
        polled_snapshot("hq", [finished(1, **FAILED), finished(2, **FAILED)]),
        configured_ids=tuple(
            ConfiguredId(session_id=session_id(n), found=n == 2, confirmed_at=48.0) for n in (2, 7)
        ),
    )

    page = page_for(snapshot)

    assert [row.configured for row in page.failed] == [False, True]
    assert page.missing == (MissingSession(server="hq", id=session_id(7)),)


def test_organizations_show_their_last_proven_restore_those_without_any_first() -> None:
    sessions = [
        finished(5, organization="a.example"),
        finished(9, organization="b.example", type=SessionType.VET),
        finished(7, organization="b.example"),
        finished(1, organization="c.example", details="0 items processed"),
    ]
    snapshot = polled_snapshot("hq", sessions)
    activity = replace(
        snapshot.activity, organizations=(*snapshot.activity.organizations, "d.example")
    )

    page = page_for(replace(snapshot, activity=activity))

    def ended(number: int) -> datetime:
        return NOON - timedelta(minutes=number) + timedelta(seconds=30)

    assert page.organizations == (
        Organization(server="hq", organization="c.example", last_restored=None),
        Organization(server="hq", organization="d.example", last_restored=None),
        Organization(server="hq", organization="b.example", last_restored=ended(7)),
        Organization(server="hq", organization="a.example", last_restored=ended(5)),
    )


def test_organizations_of_a_server_whose_list_is_stale_are_unknown() -> None:
    stale = replace(polled_snapshot("hq", [finished(1)]), status=DOWN)

    assert page_for(stale, seconds_after_noon=400.0).organizations == ()


def test_the_organizations_on_the_page_are_bounded() -> None:
    snapshot = polled_snapshot("hq", [])
    names = tuple(f"{number:04}.example" for number in range(3000))

    page = page_for(replace(snapshot, activity=replace(snapshot.activity, organizations=names)))

    assert (len(page.organizations), page.organizations_total) == (2000, 3000)


def test_a_server_that_is_up_shows_for_how_long_and_the_age_of_its_data() -> None:
    server = hq(page_for(polled_snapshot("hq", [running(1), finished(2)])))

    assert (server.up, server.failure_reason, server.failure_message) == (True, None, None)
    assert server.since == NOON - timedelta(seconds=7_500)
    assert server.last_success == NOON + timedelta(seconds=48)
    assert (
        server.data_age_seconds,
        server.poll_interval_seconds,
        server.stale_after_seconds,
    ) == (12.0, 60.0, 180.0)
    assert (server.version, server.api_version, server.tls_verified) == ("8.2.0.5000", "v8", True)


def test_a_server_that_is_down_shows_for_how_long_and_why_and_keeps_its_fresh_data() -> None:
    page = page_for(polled_snapshot("hq", [running(1)], DOWN, polled_seconds_after_noon=-90.0))

    assert (hq(page).up, hq(page).failure_reason) == (False, "auth")
    assert hq(page).since == NOON - timedelta(seconds=30)
    assert hq(page).data_age_seconds == 150.0
    assert page.running_total == 1


def test_stale_sessions_are_counted_and_not_shown() -> None:
    bench = LedgerHarness()
    bench.hold(running(1), finished(2), finished(3))
    stale = replace(bench.poll(0.0), status=DOWN)

    page = page_for(stale, seconds_after_noon=180.0)

    assert (hq(page).sessions_known, hq(page).sessions_stale) == (3, 3)
    assert (page.running, page.finished, page.finished_totals) == ((), (), {})
    assert hq(page).data_age_seconds is None


def test_a_server_without_sessions_has_a_data_age() -> None:
    assert hq(page_for(polled_snapshot("hq", []))).data_age_seconds == 12.0


def test_a_server_that_has_not_been_polled_yet_has_no_values() -> None:
    server = hq(page_for(never_polled=["hq"]))

    assert (
        server.up,
        server.since,
        server.last_poll,
        server.data_age_seconds,
    ) == (None, None, None, None)


def test_an_unverified_certificate_is_shown_before_the_first_poll() -> None:
    config = config_for("hq")
    server = unverified(config.servers[0])

    page = Overview().page(
        config.model_copy(update={"servers": (server,)}), [], Moment(monotonic=0.0, wall=NOON)
    )

    assert not hq(page).tls_verified


def test_a_server_removed_from_the_configuration_is_not_shown() -> None:
    page = Overview().page(
        config_for("hq"),
        [polled_snapshot("hq", []), polled_snapshot("gone", [running(1)])],
        Moment(monotonic=60.0, wall=NOON),
    )

    assert [server.name for server in page.servers] == ["hq"]
    assert page.running == ()


def test_personal_data_is_shown_only_where_info_labels_allow_it() -> None:
    snapshot = polled_snapshot("hq", [running(1, **PERSONAL), finished(2, **PERSONAL)])

    (row,) = page_for(snapshot).running
    assert row.info == {}
    assert not [value for value in PERSONAL.values() if value in repr(page_for(snapshot))]

    allowed = page_for(snapshot, info_labels=["reason", "name"])
    assert allowed.info_labels == ("reason", "name")
    assert [[*row.info.items()] for row in (*allowed.running, *allowed.finished)] == [
        [("reason", "bob asked for it"), ("name", "Restore of the board")]
    ] * 2
    assert "alice" not in repr(allowed)


def test_control_characters_of_organizations_and_personal_data_are_replaced() -> None:
    odd = running(1, organization="a\x1bb\ud800", name="c\x07d")

    (row,) = page_for(polled_snapshot("hq", [odd]), info_labels=["name"]).running

    assert (row.organization, row.info) == ("a\ufffdb\ufffd", {"name": "c\ufffdd"})


def test_the_page_holds_a_bounded_part_of_a_long_history() -> None:
    page = page_for(polled_snapshot("hq", random_sessions(3000)))

    assert page.running_total == 250
    assert len(page.running) == 100
    assert len(page.finished) == 400
    assert sum(page.finished_totals.values()) == 2750


def test_a_server_that_never_responded_has_no_data() -> None:
    page = page_for(silent_snapshot("hq"))

    assert (
        hq(page).up,
        hq(page).failure_reason,
        hq(page).data_age_seconds,
    ) == (False, "connect", None)
    assert hq(page).last_success is None
