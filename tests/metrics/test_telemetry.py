from __future__ import annotations

import threading

from prometheus_client import generate_latest

from exporter.metrics.catalogue.exporter import EXPORTER_FAMILIES
from exporter.metrics.telemetry import Telemetry
from exporter.vb365.errors import Reason


def text(telemetry: Telemetry) -> str:
    return generate_latest(telemetry.registry).decode()


def feed_samples(telemetry: Telemetry) -> list[str]:
    lines = text(telemetry).splitlines()
    return sorted(line for line in lines if line.startswith("vb365_change_feed_"))


def test_counters_start_at_0_for_every_reason() -> None:
    telemetry = Telemetry()
    telemetry.server("hq")

    rendered = text(telemetry)

    for reason in Reason:
        assert f'vb365_poll_failures_total{{reason="{reason}",server="hq"}} 0.0' in rendered
    assert 'vb365_polls_total{server="hq"} 0.0' in rendered


def test_a_poll_that_was_counted_and_cannot_be_published_is_a_failed_one() -> None:
    telemetry = Telemetry()
    server = telemetry.server("hq")

    server.polled(None)
    server.poll_unpublished()

    rendered = text(telemetry)
    assert 'vb365_polls_total{server="hq"} 1.0' in rendered
    assert 'vb365_poll_failures_total{reason="internal",server="hq"} 1.0' in rendered


def test_requests_polls_and_records_are_counted() -> None:
    telemetry = Telemetry()
    server = telemetry.server("hq")

    server.request("list", "200", 0.25)
    server.retry("list")
    server.polled(None)
    server.polled(Reason.TIMEOUT)
    server.overran()
    server.rejected("bad_id")
    server.unknown_value("state")

    rendered = text(telemetry)
    for line in (
        'vb365_api_requests_total{code="200",operation="list",server="hq"} 1.0',
        'vb365_api_request_duration_seconds_sum{operation="list",server="hq"} 0.25',
        'vb365_api_retries_total{operation="list",server="hq"} 1.0',
        'vb365_polls_total{server="hq"} 2.0',
        'vb365_poll_failures_total{reason="timeout",server="hq"} 1.0',
        'vb365_polls_overrun_total{server="hq"} 1.0',
        'vb365_records_rejected_total{reason="bad_id",server="hq"} 1.0',
        'vb365_unknown_values_total{field="state",server="hq"} 1.0',
    ):
        assert line in rendered


CONNECTED = "vb365_change_feed_connected"
LAST_EVENT = "vb365_change_feed_last_event_timestamp_seconds"
EVENTS = "vb365_change_feed_events_total"


def test_a_server_has_series_of_a_change_feed_only_while_it_has_one() -> None:
    telemetry = Telemetry()
    feed = telemetry.server("hq").feed(threading.Event())
    assert f"{CONNECTED}{{" not in text(telemetry)

    feed.feed_connected(connected=False)
    assert f'{CONNECTED}{{server="hq"}} 0.0' in text(telemetry)
    assert f'{EVENTS}{{event="delete",server="hq"}} 0.0' in text(telemetry)
    feed.feed_connected(connected=True)
    feed.feed_event("update", 1000.0)
    assert f'{CONNECTED}{{server="hq"}} 1.0' in text(telemetry)
    assert f'{EVENTS}{{event="update",server="hq"}} 1.0' in text(telemetry)
    assert f'{LAST_EVENT}{{server="hq"}} 1000.0' in text(telemetry)

    feed.feed_connected(connected=None)
    assert f"{CONNECTED}{{" not in text(telemetry)
    assert f"{LAST_EVENT}{{" not in text(telemetry)


def test_a_feed_that_another_worker_continues_keeps_only_its_counters() -> None:
    telemetry = Telemetry()
    feed = telemetry.server("hq").feed(threading.Event())
    feed.feed_connected(connected=True)
    feed.feed_event("update", 1000.0)

    telemetry.server("hq").feed_ended(is_continued=True)

    assert feed_samples(telemetry) == [
        f'{EVENTS}{{event="delete",server="hq"}} 0.0',
        f'{EVENTS}{{event="update",server="hq"}} 1.0',
    ]


def test_a_feed_that_no_worker_continues_has_no_series() -> None:
    telemetry = Telemetry()
    for name in ("hq", "branch"):
        telemetry.server(name).feed(threading.Event()).feed_connected(connected=False)

    telemetry.server("hq").feed_ended(is_continued=False)

    assert feed_samples(telemetry) == [
        f'{CONNECTED}{{server="branch"}} 0.0',
        f'{EVENTS}{{event="delete",server="branch"}} 0.0',
        f'{EVENTS}{{event="update",server="branch"}} 0.0',
    ]


def test_what_a_stopped_worker_reports_of_its_feed_is_ignored() -> None:
    telemetry = Telemetry()
    stopped = threading.Event()
    feed = telemetry.server("hq").feed(stopped)
    stopped.set()

    feed.feed_connected(connected=True)
    feed.feed_event("update", 1000.0)
    assert feed_samples(telemetry) == []

    telemetry.server("hq").feed(threading.Event()).feed_connected(connected=True)
    feed.feed_connected(connected=None)
    assert f'{CONNECTED}{{server="hq"}} 1.0' in text(telemetry)


def test_the_end_of_a_removed_servers_feed_does_not_affect_a_new_server_of_its_name() -> None:
    telemetry = Telemetry()
    removed = telemetry.server("hq")
    telemetry.end("hq")
    telemetry.server("hq").feed(threading.Event()).feed_connected(connected=True)

    removed.feed_ended(is_continued=False)

    assert f'{CONNECTED}{{server="hq"}} 1.0' in text(telemetry)


def test_failures_of_configured_extras_start_at_0() -> None:
    telemetry = Telemetry()
    telemetry.server("hq", ["events"])

    rendered = text(telemetry)
    for reason in Reason:
        name = "vb365_extras_failures_total"
        assert f'{name}{{extra="events",reason="{reason}",server="hq"}} 0.0' in rendered
    assert 'vb365_unknown_values_total{field="event_type",server="hq"} 0.0' in rendered
    assert 'extra="statistics"' not in rendered


def test_a_removed_server_has_no_series_and_is_no_longer_counted() -> None:
    telemetry = Telemetry()
    server = telemetry.server("hq", ["events"])
    feed = server.feed(threading.Event())
    server.request("list", "200", 0.25)
    feed.feed_connected(connected=True)
    feed.feed_event("update", 1000.0)
    telemetry.server("hq").polled(None)  # after a change of its configuration
    telemetry.server("branch")

    telemetry.end("hq")
    server.request("list", "200", 0.25)
    server.retry("list")
    server.polled(Reason.TIMEOUT)
    feed.feed_connected(connected=True)
    feed.feed_connected(connected=None)
    feed.feed_event("update", 2000.0)

    assert 'server="hq"' not in text(telemetry)
    assert 'server="branch"' in text(telemetry)


def test_a_failed_reload_is_shown_until_a_reload_succeeds() -> None:
    telemetry = Telemetry()
    telemetry.configured(60.0, 1000.0)
    telemetry.reload_failed()

    assert "vb365_exporter_config_last_reload_successful 0.0" in text(telemetry)
    assert "vb365_exporter_config_last_reload_success_timestamp_seconds 1000.0" in text(telemetry)
    telemetry.configured(30.0, 2000.0)
    assert "vb365_exporter_config_last_reload_successful 1.0" in text(telemetry)
    assert "vb365_exporter_poll_interval_seconds 30.0" in text(telemetry)


def test_failures_of_the_audit_log_are_counted_from_0() -> None:
    telemetry = Telemetry()
    assert "vb365_exporter_audit_write_failures_total 0.0" in text(telemetry)

    telemetry.audit_write_failed()

    assert "vb365_exporter_audit_write_failures_total 1.0" in text(telemetry)


def test_every_family_of_the_exporter_is_served_and_none_has_a_created_series() -> None:
    telemetry = Telemetry()
    telemetry.server("hq").request("list", "200", 0.25)

    rendered = text(telemetry)

    for family in EXPORTER_FAMILIES:
        assert f"# HELP {family.name} {family.help}\n" in rendered
    assert "_created" not in rendered
