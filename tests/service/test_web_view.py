"""The status page's data, from ledgers to the values that are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from exporter.config import ServerConfig, parse_config
from exporter.polling.blocks import Block
from exporter.service.server_worker import ServerWorker
from exporter.service.service import Service
from exporter.service.web_view import Overview, RecentlyFinished, ServiceBackend
from exporter.vb365.records.restore_session import RestoreSession, SessionResult
from exporter.web.status import FailedRestore, ServerCard, StatusPage
from support.fake_clocks import SystemClocks
from support.ledger_harness import LedgerHarness, sessions_config
from support.sample_sessions import NOON, finished, running
from support.status_pages import (
    DOWN,
    config_for,
    page_for,
    polled_snapshot,
    random_sessions,
    silent_snapshot,
)

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
    assert (page.running_total, page.long_running_total) == (3, 0)


def test_sessions_open_for_a_day_are_counted_however_many_run() -> None:
    day = timedelta(days=1)
    old = [running(number, creation_time=NOON - day) for number in range(1, 91)]
    young = running(99, creation_time=NOON - day + timedelta(seconds=61))

    page = page_for(polled_snapshot("hq", [*old, young]))

    assert (page.running_total, page.long_running_total) == (91, 90)
    assert len(page.running) < 91


def test_the_last_finished_of_all_servers_come_first() -> None:
    page = page_for(
        polled_snapshot("hq", [finished(5), finished(50)]), polled_snapshot("lab", [finished(20)])
    )

    assert [row.server for row in page.finished] == ["hq", "lab", "hq"]
    assert page.finished_totals == (("Success", 3),)
    first = page.finished[0]
    assert (first.type, first.result, first.duration_seconds) == ("Vex", "Success", 30.0)
    assert first.ended == NOON - timedelta(minutes=4, seconds=30)


def test_results_are_counted_beyond_those_that_have_series() -> None:
    bench = LedgerHarness(sessions_config(max_series=2))
    bench.hold(*(finished(number) for number in range(1, 8)))
    bench.hold(finished(9, result=SessionResult.FAILED))

    page = page_for(bench.poll(48.0))

    assert page.finished_totals == (("Success", 7), ("Failed", 1))
    assert (
        hq(page).sessions_known,
        hq(page).sessions_without_series,
        hq(page).sessions_stale,
    ) == (8, 6, 0)


def test_organizations_with_a_failure_within_a_day_are_listed_newest_first() -> None:
    failed = {"result": SessionResult.FAILED}
    page = page_for(
        polled_snapshot(
            "hq",
            [
                finished(30, organization="a.example", **failed),
                finished(10, organization="b.example", **failed),
                finished(40, organization="b.example", **failed),
                finished(5, organization="c.example"),
                finished(2000, organization="d.example", **failed),
            ],
        )
    )

    assert page.recent_failures == (
        FailedRestore(
            server="hq", organization="b.example", ended=NOON - timedelta(minutes=9, seconds=30)
        ),
        FailedRestore(
            server="hq", organization="a.example", ended=NOON - timedelta(minutes=29, seconds=30)
        ),
    )


def test_a_server_that_is_up_shows_for_how_long_and_the_age_of_its_data() -> None:
    server = hq(page_for(polled_snapshot("hq", [running(1), finished(2)])))

    assert (server.up, server.reason, server.detail) == (True, None, None)
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

    assert (hq(page).up, hq(page).reason) == (False, "auth")
    assert hq(page).since == NOON - timedelta(seconds=30)
    assert hq(page).data_age_seconds == 150.0
    assert page.running_total == 1


def test_stale_sessions_are_counted_and_not_shown() -> None:
    bench = LedgerHarness()
    bench.hold(running(1), finished(2), finished(3))
    stale = replace(bench.poll(0.0), status=DOWN)

    page = page_for(stale, seconds_after_noon=180.0)

    assert (hq(page).sessions_known, hq(page).sessions_stale) == (3, 3)
    assert (page.running, page.finished, page.finished_totals) == ((), (), ())
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
        config.model_copy(update={"servers": (server,)}), [], monotonic=0.0, timestamp=0.0
    )

    assert not hq(page).tls_verified


def test_a_server_removed_from_the_configuration_is_not_shown() -> None:
    page = Overview().page(
        config_for("hq"),
        [polled_snapshot("hq", []), polled_snapshot("gone", [running(1)])],
        monotonic=60.0,
        timestamp=NOON.timestamp(),
    )

    assert [server.name for server in page.servers] == ["hq"]
    assert page.running == ()


def test_personal_data_is_shown_only_where_info_labels_allow_it() -> None:
    snapshot = polled_snapshot("hq", [running(1, **PERSONAL), finished(2, **PERSONAL)])

    (row,) = page_for(snapshot).running
    assert row.info == ()
    assert not [value for value in PERSONAL.values() if value in repr(page_for(snapshot))]

    allowed = page_for(snapshot, info_labels=["reason", "name"])
    assert allowed.info_labels == ("reason", "name")
    assert [row.info for row in (*allowed.running, *allowed.finished)] == [
        ("bob asked for it", "Restore of the board")
    ] * 2
    assert "alice" not in repr(allowed)


def test_control_characters_of_organizations_and_personal_data_are_replaced() -> None:
    odd = running(1, organization="a\x1bb\ud800", name="c\x07d")

    (row,) = page_for(polled_snapshot("hq", [odd]), info_labels=["name"]).running

    assert (row.organization, row.info) == ("a\ufffdb\ufffd", ("c\ufffdd",))


def test_the_page_holds_a_bounded_part_of_a_long_history() -> None:
    page = page_for(polled_snapshot("hq", random_sessions(3000)))

    assert page.running_total == 250
    assert len(page.running) < 100
    assert len(page.finished) < 200
    assert sum(count for _, count in page.finished_totals) == 2750


def test_a_server_that_never_responded_has_no_data() -> None:
    page = page_for(silent_snapshot("hq"))

    assert (
        hq(page).up,
        hq(page).reason,
        hq(page).data_age_seconds,
    ) == (False, "connect", None)
    assert hq(page).last_success is None


def ids(sessions: Iterator[RestoreSession]) -> list[int]:
    return [int(session.id.replace("-", ""), 16) for session in sessions]


def test_the_session_that_ended_last_comes_first_whenever_it_was_created() -> None:
    newer, older = finished(2), finished(30)
    long_open = finished(
        99, creation_time=NOON - timedelta(days=3), end_time=NOON - timedelta(seconds=30)
    )

    found = RecentlyFinished(2).of([Block((newer, older)), Block((long_open,))])

    assert ids(found) == [99, 2]


def test_a_finished_session_without_an_end_time_is_sorted_by_its_creation() -> None:
    endless = finished(5, end_time=None)

    found = RecentlyFinished(9).of([Block((finished(4), endless, finished(6)))])

    assert ids(found) == [4, 5, 6]


class CountedTuple(tuple[RestoreSession, ...]):
    """Sessions that count, by their number, how often they are iterated over."""

    __slots__ = ()
    times: ClassVar[Counter[int]] = Counter()

    def __iter__(self) -> Iterator[RestoreSession]:
        self.times[len(self)] += 1
        return super().__iter__()


def test_each_block_is_searched_once() -> None:
    recent = RecentlyFinished(5)
    first = Block(CountedTuple([finished(1), finished(2)]))
    second = Block(CountedTuple([finished(3), finished(4), finished(5)]))

    list(recent.of([first]))
    list(recent.of([second, first]))

    assert CountedTuple.times == {2: 1, 3: 1}


def test_a_poll_loop_that_has_been_stuck_for_an_hour_makes_the_exporter_unhealthy() -> None:
    class IdleWorker(ServerWorker):
        def poll_until_stopped(self) -> None:
            """Do nothing: the loop never moves."""

    config = parse_config(
        "servers: [{name: hq, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]",
        directory=Path.cwd(),
    )
    clocks = SystemClocks()
    service = Service(config, clock=clocks.clock(), make_worker=IdleWorker)
    backend = ServiceBackend(service)
    service.start()
    assert backend.health_problems() == []

    clocks.passed_seconds += 3600

    assert backend.health_problems() == ["hq: its poll loop is stuck"]
    service.stop()
