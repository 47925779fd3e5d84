"""What a poller knows of its server when it replaces another one after a reload."""

from __future__ import annotations

from datetime import timedelta

from exporter.vb365.errors import ConnectError
from exporter.vb365.records.organization import Organization
from support.ledger_harness import shown_ids
from support.poller_harness import PollerHarness
from support.sample_sessions import NOON, finished, running, session_id

REFUSED = ConnectError("refused", operation="list")
IDLE = tuple(Organization(f"idle-{number}.example.com") for number in range(3))
ALL_KNOWN = ("contoso.onmicrosoft.com", *(one.label for one in IDLE))


def test_a_server_that_stays_down_keeps_its_version_its_certificate_and_its_last_success() -> None:
    before = PollerHarness(finished(1))
    before.api.certificate_not_after = NOON
    up = before.poll().status
    down = before.poll(list_error=REFUSED).status

    after = PollerHarness(replaces=before)
    status = after.poll(api_version=None, version_error=REFUSED, list_error=REFUSED).status

    assert (status.version, status.api_version) == ("8.4", "v8")
    assert status.certificate_not_after == NOON
    assert status.last_success_timestamp == up.last_poll_timestamp
    assert status.failing_since == down.failing_since


def test_a_server_whose_clock_is_behind_keeps_its_sessions_while_it_is_down() -> None:
    behind = timedelta(days=30)
    before = PollerHarness(finished(1, creation_time=NOON - behind, end_time=NOON - behind))
    before.api.server_time = NOON - behind
    before.poll()

    after = PollerHarness(replaces=before)
    shown = [shown_ids(after.poll(list_error=REFUSED)) for _ in range(3)]

    assert shown == [[session_id(1)]] * 3


def test_the_first_response_without_most_organizations_is_not_believed() -> None:
    before = PollerHarness(finished(1))
    before.poll(organizations_listed=IDLE)

    after = PollerHarness(finished(1), replaces=before)
    known = [after.poll(organizations_listed=()).activity.organizations for _ in range(2)]

    assert known == [ALL_KNOWN, ("contoso.onmicrosoft.com",)]


def test_a_response_without_most_organizations_is_believed_if_the_last_one_before_agrees() -> None:
    before = PollerHarness(finished(1))
    before.poll(organizations_listed=IDLE)
    before.clock.seconds += 3600
    doubted = before.poll(organizations_listed=()).activity.organizations

    after = PollerHarness(finished(1), replaces=before)

    assert doubted == ALL_KNOWN
    assert after.poll().activity.organizations == ("contoso.onmicrosoft.com",)


def test_sessions_that_could_not_be_passed_on_are_passed_on_once() -> None:
    before = PollerHarness(running(60))
    before.record_errors = [MemoryError()]
    before.clock.seconds += 60
    try:
        before.loop.poll()
    except MemoryError as error:
        before.poller.fail_uncompleted(error)

    after = PollerHarness(running(60), replaces=before)
    after.poll()
    after.poll()

    assert before.recorded == []
    assert [one.id for one in after.recorded] == [session_id(60)]
