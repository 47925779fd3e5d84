"""Change feed events of restore sessions, parsed from untrusted JSON.

Source: `GET /v8/Events?from=…`. The `eventType` of its entries is RestoreSessionUpdate (with `id` and `eTag`) or
RestoreSessionDelete (with `id`); events of other resources are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from exporter.vb365.errors import BadResponseError
from exporter.vb365.records.fields import BadFieldError, read_integer, read_session_id

LATEST = "latest"
"""The change token of the end of the feed: only events from now on."""

EXPIRED_TOKEN = "OutdatedChangeToken"  # noqa: S105 - an error code, not a secret
"""The `errorCode` when the server no longer has the events after a change token."""

_MAX_CHANGE_TOKEN_CHARACTERS = 4096

_MAX_RESULTS = 5000
"""Five times the limit that is requested."""


class ChangeKind(StrEnum):
    """What happened to a session; the values of `vb365_change_feed_events_total{event}`."""

    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """One event of the feed."""

    kind: ChangeKind
    session_id: str
    """`id`, in lower case."""
    e_tag: int | None = None
    """`eTag`: the new one of the session; None if the event has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """One response of the feed."""

    change_token: str
    """`nextChangeToken`: where the next request continues."""
    sessions: tuple[SessionChange, ...]
    """The events of restore sessions, in order."""


_KINDS = {
    "RestoreSessionUpdate": ChangeKind.UPDATE,
    "RestoreSessionDelete": ChangeKind.DELETE,
}


def parse_changes(document: object) -> Changes:
    """Parse one response, any JSON value. Unreadable events are skipped: the next poll finds their changes.

    Raises:
        BadResponseError: there is no valid `nextChangeToken`, or there are no `results`.
    """
    fields = document if isinstance(document, dict) else {}
    change_token, results = fields.get("nextChangeToken"), fields.get("results")
    if isinstance(change_token, int) and not isinstance(change_token, bool):
        change_token = str(change_token)
    if (
        not isinstance(change_token, str)
        or not 0 < len(change_token) <= _MAX_CHANGE_TOKEN_CHARACTERS
    ):
        raise BadResponseError("the response has no nextChangeToken", operation="change_feed")
    if not isinstance(results, list):
        raise BadResponseError("the response has no results", operation="change_feed")
    if len(results) > _MAX_RESULTS:
        raise BadResponseError(
            f"the response has more than {_MAX_RESULTS} results", operation="change_feed"
        )
    changes = (_parse_change(entry) for entry in results)
    return Changes(change_token=change_token, sessions=tuple(filter(None, changes)))


def _parse_change(entry: object) -> SessionChange | None:
    if not isinstance(entry, dict):
        return None
    kind = entry.get("eventType")
    if not isinstance(kind, str) or kind not in _KINDS:
        return None
    try:
        return SessionChange(
            kind=_KINDS[kind],
            session_id=read_session_id(entry),
            e_tag=read_integer(entry, "eTag"),
        )
    except BadFieldError:
        return None
