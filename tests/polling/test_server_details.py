from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.vb365.errors import (
    BadResponseError,
    ConnectError,
    ForbiddenError,
    NotFoundError,
    RequestTimeoutError,
    ServerError,
    StoppedError,
    Vb365Error,
)
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.organization import Organization, OrganizationRejection
from support.ledger_harness import sessions_config
from support.poller_harness import PollerHarness
from support.sample_sessions import finished, session_id

HOUR_SECONDS = 3600.0
CONTOSO = Organization("Contoso.onmicrosoft.com")
IDLE = Organization("idle.example.com", "Idle")


def harness_with(*organizations: Organization, **settings: Any) -> PollerHarness:
    harness = PollerHarness(finished(1), follow=sessions_config(**settings))
    harness.api.organizations_listed = organizations
    return harness


def poll(harness: PollerHarness, after_seconds: float = 60.0) -> tuple[str, ...]:
    """Poll, and return the organizations that are known then."""
    harness.clock.seconds += after_seconds - 60  # a poll adds the rest
    return harness.poll().activity.organizations


def test_organizations_without_sessions_are_known_after_the_first_poll() -> None:
    assert poll(harness_with(CONTOSO, IDLE)) == ("contoso.onmicrosoft.com", "idle.example.com")


def test_the_sessions_of_a_poll_are_published_before_organizations_are_requested() -> None:
    harness = harness_with(IDLE)

    poll(harness)

    assert [one.activity.organizations for one in harness.published] == [
        ("contoso.onmicrosoft.com",),
        ("contoso.onmicrosoft.com", "idle.example.com"),
    ]


def test_organizations_are_requested_once_an_hour() -> None:
    harness = harness_with(IDLE)
    for _ in range(3):
        poll(harness)
    requested = len(harness.api.organization_deadlines)
    published = len(harness.published)
    harness.api.organizations_listed = (CONTOSO,)

    known = poll(harness, HOUR_SECONDS)

    assert requested == 1
    assert published == 4  # each poll, and the organizations once
    assert len(harness.api.organization_deadlines) == 2
    assert known == ("contoso.onmicrosoft.com",)


def test_a_response_without_most_organizations_is_believed_when_the_next_poll_agrees() -> None:
    harness = harness_with(IDLE)
    poll(harness)

    harness.api.organizations_listed = ()
    blip = poll(harness, HOUR_SECONDS)
    harness.api.organizations_listed = (IDLE,)
    after = poll(harness)
    harness.api.organizations_listed = ()
    gone = [poll(harness, HOUR_SECONDS), poll(harness)]

    both, one = ("contoso.onmicrosoft.com", "idle.example.com"), ("contoso.onmicrosoft.com",)
    assert (blip, after, gone) == (both, both, [both, one])


def test_organizations_beyond_the_maximum_are_counted_every_hour_and_logged_once() -> None:
    tenants = [Organization(f"tenant-{number}") for number in range(5)]
    harness = harness_with(*tenants, max_sessions=3)

    with capture_logs() as logs:
        known = [poll(harness), poll(harness), poll(harness, HOUR_SECONDS)]

    assert known == [("contoso.onmicrosoft.com", "tenant-0", "tenant-1")] * 3
    assert harness.counts.rejections == [RejectionReason.TOO_MANY] * 6
    event = (
        "server lists more organizations than are kept, some without restore sessions are not shown"
    )
    assert [log["left_out"] for log in logs if log["event"] == event] == [3]


@pytest.mark.parametrize(
    "error", [None, BadResponseError("none can be read", operation="organizations")]
)
def test_rejected_organizations_are_counted_every_hour_and_each_kind_is_logged_once(
    error: BadResponseError | None,
) -> None:
    harness = harness_with(CONTOSO)
    harness.api.organizations_error = error
    rejection = OrganizationRejection(reason=RejectionReason.WRONG_TYPE, field="name", id="7")
    harness.api.organization_rejections = (rejection, replace(rejection, id="8"))

    with capture_logs() as logs:
        known = [poll(harness), poll(harness), poll(harness, HOUR_SECONDS)]

    assert known == [("contoso.onmicrosoft.com",)] * 3
    assert harness.counts.rejections == [RejectionReason.WRONG_TYPE] * 4
    assert [log for log in logs if "rejected" in log["event"]] == [
        {
            "event": "organization rejected, other organizations are not affected",
            "log_level": "warning",
            "server": "hq",
            "reason": "wrong_type",
            "field": "name",
            "organization_id": "7",
        }
    ]


def test_without_discovery_organizations_are_not_requested() -> None:
    harness = harness_with(IDLE, ids=[session_id(1)], discover=False)

    assert poll(harness) == ("contoso.onmicrosoft.com",)
    assert harness.api.organization_deadlines == []


def test_a_poll_that_failed_requests_no_organizations() -> None:
    harness = harness_with(IDLE)

    harness.poll(list_error=ConnectError("refused", operation="list"))

    assert harness.api.organization_deadlines == []


def test_the_request_ends_before_the_next_poll() -> None:
    harness = harness_with(IDLE)

    harness.poller.poll(end_extras_at=harness.clock.seconds + 7)

    assert harness.api.organization_deadlines == [harness.clock.seconds + 7]


def overrun(harness: PollerHarness, *, polls: int) -> list[float]:
    """Make polls, one a minute, that end when the next one is due; return when requests for organizations began."""
    requested = []
    for _ in range(polls):
        harness.clock.seconds += 60
        sent = len(harness.api.organization_deadlines)
        harness.poller.poll(end_extras_at=harness.clock.seconds)
        requested += [harness.clock.seconds] * (len(harness.api.organization_deadlines) - sent)
    return requested


def test_without_time_left_organizations_are_requested_in_the_next_poll() -> None:
    harness = harness_with(IDLE)
    poll(harness)
    harness.api.organizations_listed = (CONTOSO,)
    harness.clock.seconds += HOUR_SECONDS
    without_time = overrun(harness, polls=1)

    known = poll(harness)

    assert without_time == []
    assert known == ("contoso.onmicrosoft.com",)


def test_polls_that_always_overrun_leave_organizations_five_seconds_an_hour() -> None:
    harness = harness_with(IDLE)
    start = harness.clock.seconds

    requested = overrun(harness, polls=120)

    # The second request waits until it is more than three polls overdue.
    assert requested == [start + 60, start + 60 + HOUR_SECONDS + 4 * 60]
    assert harness.api.organization_deadlines == [began + 5 for began in requested]
    last = harness.published[-1]
    assert last.activity.organizations == ("contoso.onmicrosoft.com", "idle.example.com")
    assert last.status.up is True


def test_a_failure_delays_polls_that_overrun_only_once_an_hour() -> None:
    harness = harness_with(IDLE)
    harness.api.organizations_error = RequestTimeoutError("too slow", operation="organizations")

    requested = overrun(harness, polls=70)

    assert [began - requested[0] for began in requested] == [0, HOUR_SECONDS]
    assert harness.published[-1].status.up is True


FAILURES = [
    (ForbiddenError("answered 403", operation="organizations", status=403), HOUR_SECONDS),
    (NotFoundError("answered 404", operation="organizations", status=404), HOUR_SECONDS),
    (BadResponseError("no results", operation="organizations"), HOUR_SECONDS),
    (ServerError("answered 503", operation="organizations", status=503), 600.0),
    (RequestTimeoutError("too slow", operation="organizations"), 600.0),
    (ConnectError("refused", operation="organizations"), 600.0),
]


@pytest.mark.parametrize(
    ("error", "again_after_seconds"), FAILURES, ids=[str(error) for error, _ in FAILURES]
)
def test_a_failure_changes_nothing_but_a_line_in_the_log(
    error: Vb365Error, again_after_seconds: float
) -> None:
    harness = harness_with(IDLE)
    harness.api.organizations_error = error
    with capture_logs() as logs:
        first = harness.poll()
        published = len(harness.published)
        poll(harness, again_after_seconds - 60)
        before = len(harness.api.organization_deadlines)
        poll(harness)
        after = len(harness.api.organization_deadlines)

    assert first.status.up is True
    assert first.activity.organizations == ("contoso.onmicrosoft.com",)
    assert published == 1
    assert (before, after) == (1, 2)
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warnings == [
        {
            "event": "organizations unavailable, those without restore sessions are not shown",
            "log_level": "warning",
            "server": "hq",
            "reason": error.reason,
            "error": str(error),
        }
    ]


def test_after_a_failure_the_known_organizations_stay() -> None:
    harness = harness_with(IDLE)
    poll(harness)
    harness.api.organizations_error = ServerError("answered 503", operation="organizations")

    assert poll(harness, HOUR_SECONDS) == ("contoso.onmicrosoft.com", "idle.example.com")


def test_stopping_is_no_failure() -> None:
    harness = harness_with(IDLE)
    harness.api.organizations_error = StoppedError("stopped", operation="organizations")
    with capture_logs() as logs:
        harness.poll()

    assert [entry for entry in logs if entry["log_level"] == "warning"] == []
    assert len(harness.published) == 1
