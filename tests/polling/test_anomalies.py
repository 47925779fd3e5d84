from __future__ import annotations

from structlog.testing import capture_logs

from exporter.polling.anomalies import Anomalies
from exporter.vb365.errors import Reason
from exporter.vb365.records.fields import RejectionReason, UnknownValue
from exporter.vb365.records.restore_session import Rejection
from support.poller_harness import Counts, PollerHarness
from support.sample_sessions import session_id

SERVER = PollerHarness().server


def test_anomalies_are_counted_each_time_and_logged_once_for_each_kind() -> None:
    counts = Counts()
    anomalies = Anomalies(SERVER, counts)
    rejection = Rejection(reason=RejectionReason.BAD_ID, field="id", session_id="x")

    with capture_logs() as logs:
        for _ in range(2):
            anomalies.unknown_values([UnknownValue(field="state", value="Odd")], session_id(1))
            anomalies.rejected(rejection)
            anomalies.extra_failed(session_id(1), "events", Reason.SERVER_ERROR, "503")
            anomalies.overran(61.26)
        anomalies.unknown_values([UnknownValue(field="state", value="Odder")], session_id(1))
        anomalies.rejected(Rejection(reason=RejectionReason.BAD_ID, field="other"))
        anomalies.extra_failed(session_id(1), "statistics", Reason.SERVER_ERROR, "503")
        anomalies.extra_failed(session_id(1), "events", Reason.TIMEOUT, "slow")

    assert counts.unknown_fields == ["state"] * 3
    assert counts.rejections == ["bad_id"] * 3
    assert counts.failed_extras == [
        ("events", Reason.SERVER_ERROR),
        ("events", Reason.SERVER_ERROR),
        ("statistics", Reason.SERVER_ERROR),
        ("events", Reason.TIMEOUT),
    ]
    assert counts.overruns == 2
    hq = {"log_level": "warning", "server": "hq"}
    assert logs[:4] == [
        {
            "event": "unknown enum value, exposed as Unknown",
            "field": "state",
            "value": "Odd",
            "session_id": session_id(1),
            **hq,
        },
        {
            "event": "record rejected, other records are not affected",
            "reason": "bad_id",
            "field": "id",
            "session_id": "x",
            **hq,
        },
        {
            "event": "request for session extra failed, the session itself is not affected",
            "extra": "events",
            "reason": Reason.SERVER_ERROR,
            "session_id": session_id(1),
            "error": "503",
            **hq,
        },
        {
            "event": "poll took longer than the poll interval, starting the next poll immediately",
            "took_seconds": 61.3,
            "poll_interval_seconds": 60.0,
            **hq,
        },
    ]
    assert len(logs) == 8


def test_no_more_than_two_hundred_kinds_of_anomalies_are_logged() -> None:
    counts = Counts()
    anomalies = Anomalies(SERVER, counts)

    with capture_logs() as logs:
        for number in range(201):
            anomalies.unknown_values([UnknownValue(field="state", value=f"{number}")], "x")

    assert (len(logs), len(counts.unknown_fields)) == (200, 201)
