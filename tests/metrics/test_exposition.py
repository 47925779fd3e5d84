from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from exporter.config import Extra
from exporter.metrics.catalogue import SessionFamily
from exporter.metrics.exposition import Publisher
from exporter.metrics.rendering import render_sessions
from exporter.metrics.text_format import Format
from exporter.polling.blocks import BLOCK_SESSIONS
from exporter.polling.snapshot import ServerStatus, Snapshot
from exporter.vb365.records.extras import EventOperation, EventStatus, EventSummary, Statistics
from exporter.vb365.records.restore_session import (
    RestoreSession,
    SessionResult,
    SessionState,
    SessionType,
)
from support.expositions import body, library_body, publisher
from support.ledger_harness import LedgerHarness, sessions_config
from support.sample_sessions import NOON, finished, running, session_id

GOLDEN = Path(__file__).parent / "golden"
INFO_LABELS = ("name", "initiated_by", "client_host", "scope_name", "reason", "details")


def polled(*sessions: RestoreSession, server: str = "hq") -> Snapshot:
    bench = LedgerHarness(sessions_config([session_id(3), session_id(999)]))
    bench.hold(*sessions)
    return replace(bench.poll(), server=server)


def eventful() -> Snapshot:
    """A server with some of everything, and something that happened."""
    bench = LedgerHarness(sessions_config([session_id(3), session_id(999)]))
    bench.hold(
        running(1),
        running(4000, type=SessionType.VESP, organization='Fabrikam, "Ltd"\\Göteborg\n'),
        running(5, type=SessionType.UNKNOWN, state=SessionState.UNKNOWN, organization=""),
        finished(3, type=SessionType.VET, result=SessionResult.WARNING),
        finished(8, details="nothing to speak of", end_time=None),
        finished(9, result=SessionResult.UNKNOWN, type=SessionType.VEOD),
    )
    bench.poll()
    new = running(10, creation_time=NOON)
    bench.hold(finished(1, result=SessionResult.FAILED), new)
    snapshot = bench.poll()
    status = ServerStatus(
        up=True,
        version="8.4.0.1",
        api_version="v8",
        certificate_not_after=datetime(2027, 1, 1, tzinfo=UTC),
        last_poll_timestamp=1_772_366_400.25,
        last_success_timestamp=1_772_366_400.25,
        last_poll_duration_seconds=0.125,
    )
    return replace(snapshot, status=status)


def down() -> Snapshot:
    """A server that has never answered."""
    return Snapshot(
        server="branch",
        status=ServerStatus(up=False, tls_verified=False, last_poll_timestamp=1_772_366_400.0),
    )


@pytest.mark.parametrize(
    ("form", "name"), [(Format.TEXT, "exposition.txt"), (Format.OPENMETRICS, "exposition.om")]
)
def test_the_exposition_is_the_golden_one_byte_for_byte(form: Format, name: str) -> None:
    assert (GOLDEN / name).read_bytes() == body(
        publisher(eventful(), down(), info_labels=("name", "client_host")), form
    )


@pytest.mark.parametrize("form", Format)
def test_nothing_known_is_a_valid_exposition(form: Format) -> None:
    assert library_body([], form) == body(publisher(), form)


texts = st.text(st.characters(), max_size=20) | st.sampled_from(
    [
        'a"b',
        "a\\b",
        "a\nb",
        "\\n",
        "\ud800",
        "\x00\x1b[31m",
        "x" * 600,
        "Ünïcode",
        "",
        '{a="b"} 1\n',
    ]
)
moments = st.datetimes(
    datetime(1971, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime(2200, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.just(UTC),
)


counts = st.integers(0, 2**63 - 1)
any_statistics = st.builds(
    Statistics,
    restored=st.none() | counts,
    failed=st.none() | counts,
    skipped=st.none() | counts,
)
any_events = st.builds(
    EventSummary,
    counts=st.dictionaries(
        st.tuples(st.sampled_from(EventOperation), st.sampled_from(EventStatus)), counts
    ),
    size_bytes=st.dictionaries(st.sampled_from(EventOperation), counts),
)


@st.composite
def any_sessions(draw: st.DrawFn) -> list[RestoreSession]:
    organizations = draw(st.lists(texts, min_size=1, max_size=4))
    return [
        draw(
            st.builds(
                RestoreSession,
                id=st.just(session_id(number)),
                type=st.sampled_from(SessionType),
                state=st.sampled_from(SessionState),
                result=st.sampled_from(SessionResult),
                creation_time=moments,
                end_time=st.none() | moments,
                organization=st.sampled_from(organizations),
                name=texts,
                details=texts
                | st.sampled_from(["7 items processed", "999999999999999 items processed"]),
                client_host=texts,
                statistics=st.none() | any_statistics,
                events=st.none() | any_events,
            )
        )
        for number in range(draw(st.integers(0, 6)))
    ]


@given(
    any_sessions(),
    st.sampled_from(Format),
    st.sampled_from([(), ("name",), INFO_LABELS]),
    st.sets(st.sampled_from(get_args(Extra))),
)
def test_any_sessions_are_rendered_as_the_client_library_renders_them(
    sessions: list[RestoreSession], form: Format, info_labels: tuple[str, ...], extras: set[Extra]
) -> None:
    # The API's result is only read when the session is Stopped.
    honest = [one if one.stopped else one._replace(result=None) for one in sessions]
    snapshots = [polled(*honest), polled(*honest, server='ser"ver\\2')]

    rendered = body(publisher(*snapshots, info_labels=info_labels, extras=extras), form)

    assert library_body(snapshots, form, info_labels, extras) == rendered
    parse = parse_text if form is Format.TEXT else parse_openmetrics
    series = [
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in parse(rendered.decode())
        for sample in family.samples
    ]
    assert len(series) == len(set(series))


def test_extras_are_shown_as_they_are_known_and_none_is_invented() -> None:
    known = running(
        2,
        statistics=Statistics(restored=0, failed=2),
        events=EventSummary(
            counts={(EventOperation.EXPORT, EventStatus.SUCCESS): 3},
            size_bytes={EventOperation.EXPORT: 4096},
        ),
    )
    snapshot = polled(known, running(1))

    samples = [
        (sample.name, sample.labels, sample.value)
        for family in parse_text(
            body(publisher(snapshot, extras=("statistics", "events"))).decode()
        )
        for sample in family.samples
        if sample.name.startswith(("vb365_restore_session_items", "vb365_restore_session_event"))
    ]

    shared = {
        "server": "hq",
        "session_id": session_id(2),
        "organization": "contoso.onmicrosoft.com",
        "type": "Vex",
    }
    assert [
        ("vb365_restore_session_items", {**shared, "outcome": "restored"}, 0),
        ("vb365_restore_session_items", {**shared, "outcome": "failed"}, 2),
        (
            "vb365_restore_session_events",
            {**shared, "operation": "Export", "status": "Success"},
            3,
        ),
        ("vb365_restore_session_event_bytes", {**shared, "operation": "Export"}, 4096),
    ] == samples


def test_families_of_extras_are_there_only_when_a_server_is_asked_for_them() -> None:
    rendered = body(publisher(polled(running(1)), extras=["events"]))

    assert b"vb365_restore_session_events" in rendered
    assert b"vb365_restore_session_items" not in rendered


def test_finished_sessions_are_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []

    def counted(
        server: str, sessions: Sequence[RestoreSession], families: Iterable[SessionFamily]
    ) -> list[bytes]:
        rendered.append(len(sessions))
        return render_sessions(server, sessions, families)

    monkeypatch.setattr("exporter.metrics.rendered_blocks.render_sessions", counted)
    bench = LedgerHarness(sessions_config(max_series=5000))
    bench.hold(*(finished(number) for number in range(2, 3000)))
    made = publisher(bench.poll())
    assert sum(rendered) == 2998
    rendered.clear()

    bench.hold(finished(1))
    made.publish(bench.poll())
    made.publish(bench.poll())

    assert len(rendered) == 1
    assert rendered[0] < 2 * BLOCK_SESSIONS


def test_a_publish_leaves_what_is_said_of_other_servers_as_it_is() -> None:
    made = publisher(polled(running(1), finished(2), server="branch"))
    (before,) = [said.pieces for said in made._published.of_servers.values()]

    made.publish(polled(running(3)))

    assert before is made._published.of_servers["branch"].pieces


def test_a_publish_joins_only_the_neighbours_of_its_server_again() -> None:
    made = publisher(*(polled(finished(1), server=f"server{number:02}") for number in range(40)))
    before = tuple(made._of_group.values())
    bodies = body(made)

    made.publish(polled(finished(1), finished(2), server="server20"))

    after = tuple(made._of_group.values())
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert bodies != body(made)
    made.publish(polled(finished(1), server="server20"))
    assert bodies == body(made)


def test_what_is_not_known_any_more_leaves_nothing_behind_in_memory() -> None:
    bench = LedgerHarness(sessions_config(max_series=5000))
    bench.hold(*(finished(number) for number in range(2, 3000)))
    made = publisher(bench.poll())
    assert len(made._sealed["hq"]._of_block) > 2
    bench.server = {}

    made.publish(bench.poll(3600))

    assert made._sealed["hq"]._of_block == {}
    assert made._sealed["hq"]._of_group == {}
    made.remove("hq")
    assert made._sealed == {}


def test_a_client_that_asked_once_for_plain_text_does_not_make_it_be_kept_for_good() -> None:
    now = 0.0
    bench = LedgerHarness(sessions_config(max_series=5000), stale_after_seconds=3600)
    bench.hold(*(finished(number) for number in range(1, 3000)))
    snapshot = bench.poll()
    made = Publisher(CollectorRegistry(), info_labels=(), monotonic=lambda: now)
    made.publish(snapshot)
    deflated_only = kept_plain(made)

    first = body(made)
    made.publish(snapshot)
    assert kept_plain(made) > 10 * deflated_only
    now = 600.0
    made.publish(snapshot)
    now = 1200.0
    made.publish(snapshot)

    assert deflated_only == kept_plain(made)
    assert first == body(made)


def kept_plain(made: Publisher) -> int:
    """Bytes of text that are kept as they are."""
    published = made._published.bodies[Format.TEXT]
    return sum(len(part._raw or b"") for part in published.parts)


def test_stale_data_ends_without_a_publish() -> None:
    now = 0.0
    bench = LedgerHarness(stale_after_seconds=180)
    bench.hold(running(60), finished(1))
    snapshot = bench.poll()
    made = Publisher(CollectorRegistry(), info_labels=(), monotonic=lambda: now)
    made.publish(snapshot)
    assert b'session_state{organization="contoso' in body(made)

    now = bench.seconds + 179
    assert b'session_state{organization="contoso' in body(made)
    assert b"vb365_restore_sessions_working{" in body(made)
    now = bench.seconds + 180
    stale = body(made)

    assert b"vb365_restore_session_state{" not in stale
    assert b"vb365_restore_sessions_working{" not in stale
    assert b"vb365_restore_sessions_finished_total{" in stale
    assert b'vb365_up{server="hq"} 1.0' in stale


def test_one_stale_running_session_ends_alone_and_is_no_longer_counted() -> None:
    now = 0.0
    bench = LedgerHarness(stale_after_seconds=180)
    bench.hold(running(60), running(61))
    snapshot = bench.poll()
    (first, second) = snapshot.running
    made = Publisher(CollectorRegistry(), info_labels=(), monotonic=lambda: now)
    made.publish(replace(snapshot, running=(first, replace(second, confirmed_at=-60.0))))
    now = 121.0

    text = body(made).decode()

    assert first.session.id in text
    assert second.session.id not in text
    assert (
        'vb365_restore_sessions_working{organization="contoso.onmicrosoft.com",server="hq",type="Vex"} 1.0'
        in text
    )


def test_organizations_that_are_equal_as_labels_are_summed() -> None:
    text = body(
        publisher(polled(finished(1, organization="a\x00"), finished(2, organization="a\x01")))
    ).decode()

    assert (
        'vb365_restore_sessions_stopped{organization="a\ufffd",result="Success",server="hq",type="Vex"} 2.0'
        in text
    )


def test_a_server_that_is_withdrawn_ends_and_the_others_stay() -> None:
    made = publisher(polled(finished(1)), polled(finished(2), server="branch"))

    made.remove("hq")

    text = body(made).decode()
    assert 'server="hq"' not in text
    assert 'server="branch"' in text


def test_a_snapshot_that_cannot_be_rendered_spoils_nothing_of_other_servers() -> None:
    made = publisher(polled(finished(1)))
    spoilt: Any = 7
    with pytest.raises(TypeError):
        made.publish(Snapshot(server="branch", status=ServerStatus(api_version=spoilt)))

    made.publish(polled(finished(1), finished(2)))

    assert session_id(2) in body(made).decode()


def test_the_exporters_own_metrics_close_the_body_and_are_fresh_after_a_publish() -> None:
    own = CollectorRegistry()
    gauge = Gauge("own", "Own.", registry=own)
    made = publisher(polled(), own=own)
    assert b"own 0.0\n" in body(made)

    gauge.inc()
    assert b"own 0.0\n" in body(made)
    made.publish(polled())

    assert b"own 1.0\n" in body(made)
    assert body(made, Format.OPENMETRICS).endswith(b"own 1.0\n# EOF\n")


def test_own_metrics_that_change_while_they_are_rendered_are_new_at_the_next_scrape() -> None:
    class Changing(Collector):
        """Changes behind the back of whoever renders it first."""

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
    made = publisher(polled(finished(1)))

    with made._rendering:
        assert b"vb365_restore_session_state{" in body(made)
        assert [snapshot.server for snapshot in made.snapshots()] == ["hq"]
