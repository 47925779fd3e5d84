from __future__ import annotations

import gc
import threading
import weakref
from collections import UserDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from exporter.config import Extra
from exporter.metrics.exposition import Publisher
from exporter.metrics.text_format import Format
from exporter.polling.blocks import Block
from exporter.polling.snapshot import ServerStatus, Snapshot
from exporter.vb365.records.restore_session import RestoreSession, SessionType
from support.expositions import body, library_body, library_text, publisher
from support.ledger_harness import LedgerHarness, sessions_config
from support.sample_sessions import finished, running, session_id


class Clock:
    """A monotonic clock that tests can set."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def polled(
    *sessions: RestoreSession, server: str = "hq", stale_after_seconds: float = 180.0
) -> Snapshot:
    """Return the snapshot of a server with these sessions, polled at 60 s."""
    ledger = LedgerHarness(sessions_config(max_series=5000), stale_after_seconds)
    ledger.hold(*sessions)
    return replace(ledger.poll(), server=server)


def chunks(made: Publisher, *, gzip: bool) -> list[bytes]:
    return list(made.exposition(Format.TEXT).chunks(gzip=gzip))


def finished_texts(made: Publisher) -> list[bytes]:
    """Scrape plain text; return the long chunks of finished sessions."""
    return [chunk for chunk in chunks(made, gzip=False) if chunk.count(b'session_id="') > 100]


@pytest.mark.parametrize("form", Format)
def test_the_body_has_the_configured_families_and_the_exporters_own_metrics_in_both_formats(
    form: Format,
) -> None:
    snapshots = [polled(running(1), finished(2)), polled(running(3), server="branch")]
    extras: tuple[Extra, ...] = ("events",)
    own = CollectorRegistry()
    Counter("polls", "Polls.", registry=own)

    rendered = body(publisher(*snapshots, info_labels=("name",), extras=extras, own=own), form)

    families = library_body(snapshots, form, ("name",), extras).removesuffix(b"# EOF\n")
    assert rendered == families + library_text(own, form)


def test_publishing_keeps_the_rendered_bytes_of_other_servers() -> None:
    made = publisher(polled(running(1), finished(2), server="branch"), polled(running(3)))
    before = {id(chunk): chunk for chunk in chunks(made, gzip=False)}

    made.publish(polled(running(4)))

    new = [chunk for chunk in chunks(made, gzip=False) if id(chunk) not in before]
    assert len(new) > 1
    assert [chunk for chunk in new if b'server="hq"' not in chunk] == []


def test_servers_keep_their_order_and_republishing_a_snapshot_changes_nothing() -> None:
    servers = [f"server{number:02}" for number in range(40)]
    snapshots = [polled(finished(1), server=server) for server in servers]
    made = publisher(*snapshots)
    first = body(made)

    made.publish(polled(finished(1), finished(2), server="server20"))
    changed = body(made)
    made.publish(snapshots[20])

    assert changed != first
    assert body(made) == first
    up = [line for line in first.decode().splitlines() if line.startswith("vb365_up{")]
    assert up == [f'vb365_up{{server="{server}"}} 1.0' for server in servers]


def test_snapshots_given_at_construction_are_served() -> None:
    snapshots = [polled(finished(1)), polled(running(2), server="branch")]

    made = Publisher(
        CollectorRegistry(), info_labels=(), monotonic=Clock(), snapshots=iter(snapshots)
    )

    assert body(made) == body(publisher(*snapshots))
    assert made.snapshots() == tuple(snapshots)


def test_blocks_of_finished_sessions_are_released_with_the_server_or_its_sessions() -> None:
    ids = [session_id(number) for number in range(1, 4)]
    blocks = [Block((finished(number),)) for number in range(1, 4)]
    references = [weakref.ref(block) for block in blocks]
    hq = Snapshot(server="hq", finished_with_series=tuple(blocks[:2]), finished_confirmed_at=0.0)
    made = publisher(hq, replace(hq, server="branch", finished_with_series=(blocks[2],)))
    text = body(made).decode()
    assert [one in text for one in ids] == [True, True, True]

    made.publish(replace(hq, finished_with_series=(blocks[1],)))
    made.remove("branch")
    del blocks, hq
    gc.collect()

    assert [reference() is None for reference in references] == [True, False, True]
    text = body(made).decode()
    assert [one in text for one in ids] == [False, True, False]


@pytest.mark.parametrize(
    ("publishes_at", "kept"),
    [
        ((1600.0, 1700.0), True),
        ((1600.0, 2199.9), True),
        ((1600.0, 2200.0), False),
        ((1599.5, 2199.5), True),
    ],
)
def test_plain_text_is_released_after_ten_minutes_without_a_scrape_of_plain_text(
    publishes_at: Iterable[float], *, kept: bool
) -> None:
    clock = Clock(1000.0)
    snapshot = polled(*map(finished, range(1, 200)), stale_after_seconds=3600)
    made = Publisher(CollectorRegistry(), info_labels=(), monotonic=clock, snapshots=[snapshot])
    before = finished_texts(made)

    for clock.seconds in publishes_at:
        chunks(made, gzip=True)
        made.publish(snapshot)

    after = finished_texts(made)
    assert after == before
    assert len(before) > 5
    assert [new is old for new, old in zip(after, before, strict=True)] == [kept] * len(before)


def test_plain_text_is_kept_while_it_is_scraped() -> None:
    clock = Clock()
    snapshot = polled(*map(finished, range(1, 200)), stale_after_seconds=36_000)
    made = publisher(snapshot, monotonic=clock)
    before = finished_texts(made)

    for clock.seconds in (600.0, 1200.0, 1800.0):
        made.publish(snapshot)
        after = finished_texts(made)
        assert [new is old for new, old in zip(after, before, strict=True)] == [True] * len(before)


def test_stale_data_disappears_without_a_publish() -> None:
    clock = Clock()
    made = publisher(polled(running(60), finished(1)), monotonic=clock)

    clock.seconds = 239.9
    fresh = body(made)
    clock.seconds = 240.0
    stale = body(made)

    for ends in (b"vb365_restore_session_state{", b"vb365_restore_sessions_working{"):
        assert ends in fresh
        assert ends not in stale
    for stays in (b"vb365_restore_sessions_finished_total{", b'vb365_up{server="hq"} '):
        assert stays in fresh
        assert stays in stale


def test_a_server_is_down_when_a_part_of_its_data_is_stale() -> None:
    clock = Clock()
    made = publisher(
        polled(running(60)), polled(server="branch", stale_after_seconds=400), monotonic=clock
    )

    clock.seconds = 240.0

    lines = body(made).decode().splitlines()
    assert 'vb365_up{server="hq"} 0.0' in lines
    assert 'vb365_up{server="branch"} 1.0' in lines


def test_data_that_became_stale_during_its_poll_is_published_with_up_0() -> None:
    made = publisher(polled(running(60)), monotonic=Clock(240.0))

    assert b'vb365_up{server="hq"} 0.0' in body(made)


def test_a_server_marked_down_keeps_its_other_metrics_until_its_next_snapshot() -> None:
    snapshot = polled(running(60), finished(1))
    made = publisher(snapshot, polled(server="branch"))
    before = body(made)

    made.mark_down("hq", "its poll cannot be published")

    assert body(made) == before.replace(b'up{server="hq"} 1.0', b'up{server="hq"} 0.0')
    assert made.snapshots()[0].status.failure_message == "its poll cannot be published"
    made.publish(snapshot)
    assert body(made) == before


def test_a_server_without_a_snapshot_can_be_marked_down() -> None:
    made = publisher()

    made.mark_down("hq", "its poll cannot be published")

    assert b'vb365_up{server="hq"} 0.0' in body(made)


def test_the_current_snapshots_contain_no_stale_data() -> None:
    clock = Clock()
    snapshot = polled(running(60), finished(1))
    made = publisher(snapshot, monotonic=clock)

    clock.seconds = 239.9
    assert made.snapshots() == (snapshot,)
    clock.seconds = 240.0
    (stale,) = made.snapshots()

    assert stale == snapshot.without_stale(240.0)
    assert stale.running == ()


def test_data_that_is_stale_when_it_is_published_is_not_served() -> None:
    made = publisher(polled(running(60)), monotonic=Clock(240.0))

    assert b"vb365_restore_session_state{" not in body(made)


def test_when_one_server_becomes_stale_the_bytes_of_the_others_are_kept() -> None:
    clock = Clock()
    made = publisher(
        polled(running(1)),
        polled(running(2), server="branch", stale_after_seconds=400),
        monotonic=clock,
    )
    before = {id(chunk): chunk for chunk in chunks(made, gzip=False)}

    clock.seconds = 240.0
    after = chunks(made, gzip=False)

    kept = b"".join(chunk for chunk in after if id(chunk) in before)
    assert b'server="branch"' in kept
    assert [one for one in after if b'server="branch"' in one and id(one) not in before] == []
    assert session_id(1).encode() not in b"".join(after)
    clock.seconds = 459.9
    assert session_id(2).encode() in body(made)
    clock.seconds = 460.0
    assert session_id(2).encode() not in body(made)


def test_only_the_stale_running_session_disappears_and_the_gauges_that_depend_on_it() -> None:
    clock = Clock()
    snapshot = polled(running(60), running(61), running(62, type=SessionType.VET), finished(1))
    (first, second, third) = snapshot.running
    made = publisher(
        replace(snapshot, running=(first, replace(second, confirmed_at=-60.0), third)),
        monotonic=clock,
    )
    clock.seconds = 120.0

    text = body(made).decode()
    lines = text.splitlines()

    assert first.session.id in text
    assert session_id(1) in text
    assert second.session.id not in text
    labels = 'organization="contoso.onmicrosoft.com",server="hq"'
    name = "vb365_restore_sessions_working"
    assert [line for line in lines if line.startswith(f"{name}{{")] == [
        f'{name}{{{labels},type="Veod"}} 0.0',
        f'{name}{{{labels},type="Vesp"}} 0.0',
        f'{name}{{{labels},type="Vet"}} 1.0',
    ]
    name = "vb365_restore_sessions_oldest_working_start_timestamp_seconds"
    assert [line.rpartition(" ")[0] for line in lines if line.startswith(f"{name}{{")] == [
        f'{name}{{{labels},type="Vet"}}'
    ]


def test_a_removed_server_disappears_and_the_others_stay() -> None:
    made = publisher(polled(finished(1)), polled(finished(2), server="branch"))

    made.remove("hq")
    made.remove("unknown")

    assert body(made) == body(publisher(polled(finished(2), server="branch")))
    assert [snapshot.server for snapshot in made.snapshots()] == ["branch"]


@pytest.mark.parametrize("server", ["hq", "branch"])
def test_a_snapshot_that_cannot_be_rendered_changes_nothing(server: str) -> None:
    made = publisher(polled(finished(1)))
    before = body(made)
    invalid: Any = 7

    with pytest.raises(TypeError):
        made.publish(Snapshot(server=server, status=ServerStatus(api_version=invalid)))

    assert body(made) == before
    made.publish(polled(finished(1), finished(2)))
    assert session_id(2) in body(made).decode()


def test_own_metrics_come_last_and_are_rendered_at_most_once_a_second() -> None:
    clock = Clock()
    own = CollectorRegistry()
    gauge = Gauge("own", "Own.", registry=own)
    made = publisher(polled(), own=own, monotonic=clock)
    assert body(made).endswith(b"own 0.0\n")

    gauge.inc()
    clock.seconds = 0.999
    assert body(made).endswith(b"own 0.0\n")
    clock.seconds = 1.0
    assert body(made).endswith(b"own 1.0\n")
    gauge.inc()
    clock.seconds = 1.999
    assert body(made).endswith(b"own 1.0\n")
    assert body(made, Format.OPENMETRICS).endswith(b"own 2.0\n# EOF\n")


def test_own_metrics_are_never_older_than_the_last_publish() -> None:
    own = CollectorRegistry()
    counter = Counter("polls", "Polls.", registry=own)
    made = publisher(polled(), own=own)
    assert b"polls_total 0.0\n" in body(made)

    counter.inc()
    made.publish(polled())

    assert b"polls_total 1.0\n" in body(made)


def test_own_metrics_that_change_while_they_are_rendered_are_current_at_the_next_scrape() -> None:
    class Changing(Collector):
        """Changes while its first scrape renders it."""

        value = 1.0

        def collect(self) -> Iterable[Metric]:
            before = self.value
            if made is not None and self.value == 1.0:
                self.value = 2.0
                made.invalidate_own_metrics()
            return (GaugeMetricFamily("level", "A level.", value=before),)

    made = None
    own = CollectorRegistry()
    own.register(Changing())
    made = publisher(own=own)

    assert b"level 1.0" in body(made)
    assert b"level 2.0" in body(made)


def test_a_scrape_does_not_wait_for_a_publish_under_way() -> None:
    scraped: list[bytes] = []
    served: list[tuple[Snapshot, ...]] = []

    def monotonic() -> float:
        """Scrape from another thread whenever the publish reads the clock."""
        if threading.current_thread() is publishing and made is not None:
            thread = threading.Thread(target=scrape, args=(made,))
            thread.start()
            thread.join()
        return 0.0

    def scrape(made: Publisher) -> None:
        scraped.append(body(made))
        served.append(made.snapshots())

    made = None
    publishing = threading.current_thread()
    old = polled(finished(1))
    made = publisher(old, monotonic=monotonic)

    made.publish(polled(finished(1), finished(2)))

    assert len(scraped) > 0
    assert session_id(1).encode() in scraped[0]
    assert session_id(2).encode() not in scraped[0]
    assert served[0] == (old,)


@pytest.mark.parametrize("publishes", [True, False])
def test_a_scrape_of_stale_data_does_not_wait_for_a_publish_under_way(*, publishes: bool) -> None:
    scraped: list[bytes] = []
    now = [0.0]

    def monotonic() -> float:
        """Scrape from another thread when the publish reads the clock, at which the old data is stale."""
        if threading.current_thread() is publishing and now == [240.0] and not scraped:
            thread = threading.Thread(target=lambda: scraped.append(body(made)), daemon=True)
            thread.start()
            thread.join(20)
        return now[0]

    publishing = threading.current_thread()
    made = publisher(polled(running(1)), monotonic=monotonic)
    now[0] = 240.0
    new = polled(running(2), stale_after_seconds=400)

    if publishes:
        made.publish(new)
    else:
        made.mark_down("hq", "its poll cannot be published")

    (text,) = scraped
    assert session_id(1).encode() not in text
    assert b'vb365_up{server="hq"} 0.0' in text
    assert (session_id(2).encode() in body(made)) is publishes


def test_a_publish_during_a_scrape_of_stale_data_is_kept() -> None:
    class Publishing(UserDict[Any, Any]):
        """A mapping; the scrape that renders it without the stale data is overtaken by a publish."""

        def __iter__(self) -> Iterator[Any]:
            if clock.seconds == 240.0:
                clock.seconds = 240.5
                made.publish(polled(running(2), stale_after_seconds=400))
            return super().__iter__()

    clock = Clock()
    snapshot = polled(running(1))
    activity = replace(snapshot.activity, started=Publishing())
    made = publisher(replace(snapshot, activity=activity), monotonic=clock)
    clock.seconds = 240.0

    body(made)

    assert clock.seconds == 240.5
    assert session_id(2).encode() in body(made)


def test_concurrent_publishes_and_removals_lose_nothing() -> None:
    servers = [f"server{number}" for number in range(8)]
    made = publisher(*(polled(server=server) for server in (*servers, "removed")))
    snapshots = [
        polled(*map(finished, range(1, sessions)), server=server)
        for sessions in range(2, 8)
        for server in servers
    ]

    with ThreadPoolExecutor(4) as threads:
        removal = threads.submit(made.remove, "removed")
        list(threads.map(made.publish, snapshots))
        removal.result()

    assert [one.server for one in made.snapshots()] == servers
    text = body(made).decode()
    assert 'server="removed"' not in text
    for server in servers:
        assert f'server="{server}",session_id="{session_id(1)}"' in text
