"""What the change feed of VB365 8 tells of restore sessions, read from untrusted JSON.

Source: `GET /v8/Events?from=…`, with entries whose `eventType` is RestoreSessionUpdate (`id`, `eTag`) or
RestoreSessionDelete (`id`). The feed tells of other resources too; those are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exporter.vb365.errors import BadResponseError
from exporter.vb365.records.fields import BadFieldError, read_integer, read_session_id

__all__ = [
    "EXPIRED_TOKEN",
    "LATEST",
    "ChangeKind",
    "Changes",
    "SessionChange",
    "parse_changes",
]

LATEST: Final = "latest"
"""The change_token that stands for the feed's end: what happens from now on."""

EXPIRED_TOKEN: Final = "OutdatedChangeToken"  # noqa: S105 - an error code, no secret
"""The `errorCode` of a server that does not know any more what came after a change_token."""

_MAX_CHANGE_TOKEN_CHARACTERS: Final = 4096


class ChangeKind(StrEnum):
    """What happened to a session; the values of `vb365_change_feed_events_total{event}`."""

    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """One entry of the feed."""

    kind: ChangeKind
    session_id: str
    """`id`, in lower case."""
    e_tag: int | None = None
    """`eTag` of an update: that of the session as it is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """One answer of the feed."""

    change_token: str
    """`nextChangeToken`: where to go on."""
    sessions: tuple[SessionChange, ...]
    """What happened to restore sessions, in order."""


_KINDS: Final = {
    "RestoreSessionUpdate": ChangeKind.UPDATE,
    "RestoreSessionDelete": ChangeKind.DELETE,
}


def parse_changes(answer: object) -> Changes:
    """Read one answer. An entry that cannot be read is passed over: the next poll sees what it was about.

    Args:
        answer: any value a JSON decoder can produce.

    Raises:
        BadResponseError: it is no answer of a change feed.
    """
    fields = answer if isinstance(answer, dict) else {}
    change_token, results = fields.get("nextChangeToken"), fields.get("results")
    if isinstance(change_token, int) and not isinstance(change_token, bool):
        change_token = str(change_token)
    if (
        not isinstance(change_token, str)
        or not 0 < len(change_token) <= _MAX_CHANGE_TOKEN_CHARACTERS
    ):
        raise BadResponseError("no token to go on with", operation="change_feed")
    if not isinstance(results, list):
        raise BadResponseError("an answer without results", operation="change_feed")
    changes = map(_change, results)
    return Changes(
        change_token=change_token, sessions=tuple(one for one in changes if one is not None)
    )


def _change(entry: object) -> SessionChange | None:
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
