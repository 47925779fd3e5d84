from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config import Extra
from exporter.metrics.text_format import Format
from exporter.polling.snapshot import ServerStatus, Snapshot
from exporter.vb365.records.extras import EventOperation, EventStatus, EventSummary, Statistics
from exporter.vb365.records.organization import Organization
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
OF_EXTRAS = (
    "vb365_restore_session_items",
    "vb365_restore_session_event",
    "vb365_restore_session_last_event",
    "vb365_restore_session_active",
)
INFO_LABELS = ("name", "initiated_by", "client_host", "scope_name", "reason", "details")


RESTORED = Statistics(restored=2, failed=1, skipped=0)
EXPORTED = EventSummary(
    counts={
        (EventOperation.NONE, EventStatus.SUCCESS): 1,
        (EventOperation.EXPORT, EventStatus.SUCCESS): 3,
    },
    size_bytes={EventOperation.NONE: 0, EventOperation.EXPORT: 4096},
    last_event_at=NOON,
    active_since=NOON - timedelta(seconds=90),
    active_until=NOON - timedelta(seconds=30),
)


def polled(*sessions: RestoreSession, server: str = "hq") -> Snapshot:
    ledger = LedgerHarness(sessions_config([session_id(3), session_id(999)]))
    ledger.hold(*sessions)
    return replace(ledger.poll(), server=server)


def eventful() -> Snapshot:
    """Return the snapshot of a server with sessions of every kind, some of them seen to start and to finish."""
    settings = sessions_config([session_id(3), session_id(999)], extras=get_args(Extra))
    ledger = LedgerHarness(settings)
    ledger.hold(
        running(1),
        running(4000, type=SessionType.VESP, organization='Fabrikam, "Ltd"\\Göteborg\n'),
        running(5, type=SessionType.UNKNOWN, state=SessionState.UNKNOWN, organization=""),
        finished(3, type=SessionType.VET, result=SessionResult.WARNING),
        finished(8, details="nothing to speak of", end_time=None),
        finished(9, result=SessionResult.UNKNOWN, type=SessionType.VEOD),
    )
    ledger.ledger.activity.organizations.set_listed([Organization("never.example.com")])
    ledger.poll()
    new = running(10, creation_time=NOON)
    ledger.hold(finished(1, result=SessionResult.FAILED), new)
    ledger.poll()
    extras = ledger.ledger.extras
    for request in extras.due():
        extras.accept(request, RESTORED if request.extra == "statistics" else EXPORTED, ledger.now)
    snapshot = ledger.snapshot()
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
    """Return the snapshot of a server that has never responded."""
    return Snapshot(
        server="branch",
        status=ServerStatus(up=False, tls_verified=False, last_poll_timestamp=1_772_366_400.0),
    )


@pytest.mark.parametrize(
    ("form", "name"), [(Format.TEXT, "exposition.txt"), (Format.OPENMETRICS, "exposition.om")]
)
def test_the_exposition_is_the_golden_one_byte_for_byte(form: Format, name: str) -> None:
    snapshots = (eventful(), down())
    info_labels = ("name", "client_host")
    rendered = body(publisher(*snapshots, info_labels=info_labels, extras=get_args(Extra)), form)

    assert rendered == (GOLDEN / name).read_bytes()


def test_openmetrics_names_the_unit_of_each_family_in_seconds_or_bytes() -> None:
    text = body(publisher(eventful(), extras=get_args(Extra)), Format.OPENMETRICS).decode()

    families = {
        name.removesuffix("_total") for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    }
    units = dict(re.findall(r"^# UNIT (\S+) (\S+)$", text, re.MULTILINE))
    assert units == {
        name: unit
        for name in families
        for unit in ("seconds", "bytes")
        if name.endswith(f"_{unit}")
    }


@pytest.mark.parametrize("form", Format)
def test_an_exposition_without_servers_is_valid(form: Format) -> None:
    assert body(publisher(), form) == library_body([], form)


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
    last_event_at=st.none() | moments,
    active_since=st.none() | moments,
    active_until=st.none() | moments,
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
    valid = [one if one.stopped else one._replace(result=None) for one in sessions]
    snapshots = [polled(*valid), polled(*valid, server='ser"ver\\2')]

    rendered = body(publisher(*snapshots, info_labels=info_labels, extras=extras), form)

    assert rendered == library_body(snapshots, form, info_labels, extras)
    parse = parse_text if form is Format.TEXT else parse_openmetrics
    series = [
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in parse(rendered.decode())
        for sample in family.samples
    ]
    assert len(series) == len(set(series))


def test_only_known_extras_have_samples() -> None:
    known = running(
        2,
        statistics=Statistics(restored=0, failed=2),
        events=EventSummary(
            counts={(EventOperation.EXPORT, EventStatus.SUCCESS): 3},
            size_bytes={EventOperation.EXPORT: 4096},
            last_event_at=NOON,
            active_since=NOON - timedelta(seconds=90),
            active_until=NOON - timedelta(seconds=30),
        ),
    )
    snapshot = polled(known, running(1))

    samples = [
        (sample.name, sample.labels, sample.value)
        for family in parse_text(
            body(publisher(snapshot, extras=("statistics", "events"))).decode()
        )
        for sample in family.samples
        if sample.name.startswith(OF_EXTRAS)
    ]

    shared = {
        "server": "hq",
        "session_id": session_id(2),
        "organization": "contoso.onmicrosoft.com",
        "type": "Vex",
    }
    assert samples == [
        ("vb365_restore_session_items", {**shared, "outcome": "restored"}, 0),
        ("vb365_restore_session_items", {**shared, "outcome": "failed"}, 2),
        (
            "vb365_restore_session_events",
            {**shared, "operation": "Export", "status": "Success"},
            3,
        ),
        ("vb365_restore_session_event_bytes", {**shared, "operation": "Export"}, 4096),
        ("vb365_restore_session_last_event_timestamp_seconds", shared, NOON.timestamp()),
        ("vb365_restore_session_active_duration_seconds", shared, 60),
    ]


def test_families_of_extras_exist_only_when_extras_are_configured() -> None:
    rendered = body(publisher(polled(running(1)), extras=["events"]))

    assert b"vb365_restore_session_events" in rendered
    assert b"vb365_restore_session_items" not in rendered


@pytest.mark.parametrize(
    ("extra", "name", "label", "values"),
    [
        ("statistics", "vb365_restored_items_total", "outcome", ["restored", "failed", "skipped"]),
        (
            "events",
            "vb365_restore_event_bytes_total",
            "operation",
            ["None", "Save", "Export", "Send", "Restore", "View"],
        ),
    ],
)
def test_the_totals_of_a_configured_extra_are_0_from_the_first_snapshot_on(
    extra: Extra, name: str, label: str, values: list[str]
) -> None:
    ledger = LedgerHarness(sessions_config(extras=[extra]))
    ledger.hold(running(1))
    snapshot = ledger.poll()

    totals = [
        (sample.name, sample.labels, sample.value)
        for family in parse_text(body(publisher(snapshot, extras=[extra])).decode())
        for sample in family.samples
        if sample.name in {"vb365_restored_items_total", "vb365_restore_event_bytes_total"}
    ]

    expected = {"server": "hq", "organization": "contoso.onmicrosoft.com"}
    assert totals == [
        (name, {**expected, "type": kind, label: value}, 0)
        for kind in ("Vex", "Veod", "Vesp", "Vet")
        for value in values
    ]


def test_organizations_that_are_equal_as_labels_are_summed() -> None:
    text = body(
        publisher(polled(finished(1, organization="a\x00"), finished(2, organization="a\x01")))
    ).decode()

    assert (
        'vb365_restore_sessions_stopped{organization="a\ufffd",result="Success",server="hq",type="Vex"} 2.0'
        in text
    )
