"""Every way in which the API fails, and how the exporter handles it.

Each row is one test in `tests/integration/test_failures.py` and part of the table in docs/failures.md. Rows with the same
handling share one object and one line of that table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from operator import attrgetter

from exporter.vb365.errors import Reason
from exporter.vb365.records.fields import RejectionReason

NAME_NOT_RESOLVED = "name_not_resolved"
"""The one fault that the simulator cannot produce; the test's resolver does."""


_DEFAULT_TIMEOUT = "10s"


class SessionRole(Enum):
    """The sessions that exist while a failure occurs."""

    OPEN = "left open three days ago; requested by id"
    RECENT = "opened minutes before the failure and stopped during it; in every list"
    DONE = "finished minutes before the failure; in every list"
    LONG_DONE = "finished two days ago; no longer requested"
    NEW = "opened during the failure; in every list"


class Series(Enum):
    """The effect of a failure on the series of the server's sessions and organizations."""

    TRUE = "correct"
    KEPT = "kept until `stale_after`"
    STALE = "end; counters and the server's own series stay"
    FOLLOWED = (
        "running sessions correct, as they are requested by id; the others kept until `stale_after`"
    )
    ONE_KEPT = "that session's series kept until `stale_after`, all others correct"
    ONE_ABSENT = "no series for that session, all others correct"
    UNKNOWN = "correct, with `Unknown` instead of the value; the session is followed until it is `Stopped`"
    MARKED = "correct, with U+FFFD in labels"
    NO_DURATION = "correct, but without a duration"
    BY_ITS_CLOCK = "correct by the server's clock; new sessions are found regardless"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSetting:
    """A fault of the simulator (`exporter.simulator.faults.catalogue`) with its parameters."""

    name: str
    route: str | None = None
    role: SessionRole | None = None
    value: float | None = None
    from_start: bool = False
    """Whether the fault is already active before the failure begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """How the exporter handles failures of one kind, and what its operator sees."""

    action: str
    series: Series
    reason: Reason | None = None
    """The label of `vb365_poll_failures_total`; None when the poll succeeds."""
    events: tuple[str, ...] = ()
    """The events logged, once each, however many polls the failure lasts."""
    events_after: tuple[str, ...] = ()
    """The events logged when the failure is over."""
    retries: bool = False
    """Whether requests are retried within the poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way in which the API fails."""

    title: str
    faults: tuple[FaultSetting, ...]
    handling: Handling
    location: str = ""
    """The part of a response it concerns, when rows with the same handling share it."""
    rejected: RejectionReason | None = None
    """The label of `vb365_records_rejected_total`."""
    timeout: str = _DEFAULT_TIMEOUT
    api_versions: tuple[str, ...] = ("v6", "v7", "v8")
    needs_new_password: bool = False
    """Whether only a changed secret ends the failure."""

    backoff_seconds: float = 0.0
    """How long the exporter may wait until it notices that the failure is over."""

    @property
    def has_short_timeout(self) -> bool:
        """Whether the timeout is so short that a loaded machine may exceed it, too."""
        return self.timeout != _DEFAULT_TIMEOUT

    def __str__(self) -> str:
        return f"{self.location}: {self.title}" if self.location else self.title


POLL_FAILED = "poll failed, keeping unconfirmed data until it is stale"
POLL_AGAIN = "poll succeeded again"
_REJECTED = "record rejected, other records are not affected"
_UNKNOWN = "unknown enum value, exposed as Unknown"
_REFRESH_REFUSED = "refresh refused, logging in again"


def _failed(
    reason: Reason,
    action: str,
    series: Series = Series.KEPT,
    *,
    retries: bool = False,
    first: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
) -> Handling:
    """Return the handling of a failing poll; `first` is logged before its failure, `after` before its recovery."""
    return Handling(
        action=action,
        series=series,
        reason=reason,
        events=(*first, POLL_FAILED),
        events_after=(*after, POLL_AGAIN),
        retries=retries,
    )


def _of(handling: Handling, *failures: tuple[str, FaultSetting]) -> Iterator[Failure]:
    for title, fault in failures:
        yield Failure(title=title, faults=(fault,), handling=handling)


_LOCATIONS = {
    SessionRole.OPEN: "in the response for one session",
    SessionRole.NEW: "in one record of a list",
}


def _records(handling: Handling, role: SessionRole) -> Iterator[Failure]:
    """Yield the ways in which one session's record can be unreadable."""
    for title, name, rejected in (
        ("fields of other types", "wrong_type_field", RejectionReason.WRONG_TYPE),
        ("`1e999`", "huge_number", RejectionReason.WRONG_TYPE),
        ("nulls everywhere", "nulls", RejectionReason.BAD_TIME),
        ("required fields missing", "missing_fields", RejectionReason.MISSING_FIELD),
        ("id that is not a UUID", "not_uuids", RejectionReason.BAD_ID),
    ):
        yield Failure(
            location=_LOCATIONS[role],
            title=title,
            faults=(FaultSetting(name=name, role=role),),
            handling=handling,
            rejected=rejected,
        )


_CONNECT = _failed(
    Reason.CONNECT, "retries each request up to 4 times within the poll interval", retries=True
)
_TIMEOUT = _failed(
    Reason.TIMEOUT,
    "abandons a request after `timeout` without data; retries it within the poll interval",
    retries=True,
)
_DEADLINE = _failed(Reason.TIMEOUT, "abandons the whole request after 6 x `timeout`")
_TLS = _failed(
    Reason.TLS, "sends neither password nor token; reads `ca_file` again before the next poll"
)
_UNHARMED = Handling(action="skips them, or keeps no more than 4 KiB", series=Series.TRUE)
_USED_UNTIL_REFUSED = Handling(action="uses it until the server refuses it", series=Series.TRUE)
_RENEWED = Handling(
    action="renews the token once for all waiting requests, at most once a minute, and retries each of them once",
    series=Series.TRUE,
)
_LOGGED_IN = Handling(
    action="logs in with the password, within the rate limit of the token endpoint",
    series=Series.TRUE,
    events=(_REFRESH_REFUSED,),
)
_UNAUTHORIZED = _failed(
    Reason.AUTH, "renews the token once, then again after 1 min, 2 min, ... 15 min"
)
_PASSWORD = _failed(
    Reason.AUTH,
    "tries that password again after 1 min, 2 min, ... 15 min, or as soon as the secret changes; does not exit",
    first=(_REFRESH_REFUSED, "login refused"),
    after=("login accepted again",),
)
_FORBIDDEN = _failed(Reason.FORBIDDEN, "tries again at the next poll")
_GONE = _failed(
    Reason.NOT_FOUND,
    "does not believe it, as the list of the same poll shows the session",
    Series.TRUE,
)
_NOT_FOUND = _failed(
    Reason.NOT_FOUND, "treats no session as deleted; detects v8, v7 or v6 again at each poll"
)
_THROTTLED = _failed(
    Reason.THROTTLED, "sends nothing until the time has passed, for at most 15 min"
)
_THROTTLED_BARE = _failed(
    Reason.THROTTLED, "retries each request up to 4 times within the poll interval", retries=True
)
_THROTTLED_LOGIN = _failed(
    Reason.THROTTLED,
    "sends nothing until the time has passed; never more than 5 token requests a minute and 1 a second",
)
_SERVER_ERROR = _failed(
    Reason.SERVER_ERROR, "retries each request up to 4 times within the poll interval", retries=True
)
_ONE_FAILS = _failed(
    Reason.SERVER_ERROR,
    "continues with the other sessions",
    Series.ONE_KEPT,
    retries=True,
)
_BAD_RESPONSE = _failed(
    Reason.BAD_RESPONSE,
    "discards the response, of which it reads at most 16 MiB (1 MiB for one session); does not retry",
)
_BAD_LOGIN = _failed(
    Reason.BAD_RESPONSE, "logs in again at the next poll", first=(_REFRESH_REFUSED,)
)
_BAD_LIST = _failed(
    Reason.BAD_RESPONSE,
    "uses the valid pages, and requests running sessions by id",
    Series.FOLLOWED,
)
_LIST_UNREADABLE = _failed(
    Reason.BAD_RESPONSE,
    "rejects the records, counted in `vb365_records_rejected_total`; requests running sessions by id",
    Series.FOLLOWED,
    first=(_REJECTED,),
)
_ONE_UNREADABLE = _failed(
    Reason.BAD_RESPONSE,
    "rejects the record, counted in `vb365_records_rejected_total`",
    Series.ONE_KEPT,
    first=(_REJECTED,),
)
_ONE_REJECTED = Handling(
    action="rejects the record, counted in `vb365_records_rejected_total`",
    series=Series.ONE_ABSENT,
    events=(_REJECTED,),
)
_AS_UNKNOWN = Handling(
    action="counts it in `vb365_unknown_values_total`",
    series=Series.UNKNOWN,
    events=(_UNKNOWN, _UNKNOWN),
)
_AS_MARKED = Handling(action="replaces them by U+FFFD, except newlines", series=Series.MARKED)
_EMPTY = Handling(
    action="lists again in the next poll; deletes no session that exists by id",
    series=Series.ONE_ABSENT,
    events=(
        "full list is missing more than half of the known sessions, listing again in the next poll",
        "full list is missing more than half of the known sessions again, accepting it",
    ),
)
_COUNTED_ONCE = Handling(action="uses the session once", series=Series.TRUE)
_FOLLOWED_HERE = Handling(
    action="requests its path and query from the configured server", series=Series.TRUE
)
_LISTED_AGAIN = Handling(
    action="requests pages that overlap, and the whole list again if they do not",
    series=Series.TRUE,
)
_WITHOUT_DURATION = Handling(action="exposes both unchanged", series=Series.NO_DURATION)
_OTHER_CLOCK = Handling(
    action="compares the server's times only with one another", series=Series.BY_ITS_CLOCK
)
_GONE_FOR_LONG = _failed(Reason.SERVER_ERROR, "keeps polling", Series.STALE, retries=True)

FAILURES: tuple[Failure, ...] = (
    *_of(
        _CONNECT,
        ("connection refused", FaultSetting(name="connection_refused")),
        ("name not resolved", FaultSetting(name=NAME_NOT_RESOLVED)),
        ("reset before the body", FaultSetting(name="reset_before_body")),
        ("reset in the middle of the body", FaultSetting(name="reset_in_body")),
    ),
    *(
        Failure(title=title, faults=(FaultSetting(name=name),), handling=_TIMEOUT, timeout="200ms")
        for title, name in (
            ("TLS handshake that never completes", "tls_handshake_hangs"),
            ("silence after the request", "silence"),
            ("response slower than `timeout`", "slower_than_timeout"),
        )
    ),
    *(
        Failure(
            title=title,
            faults=(FaultSetting(name=name, value=0.03),),
            handling=_DEADLINE,
            timeout="150ms",
        )
        for title, name in (
            ("one byte a second", "one_byte_per_second"),
            ("headers at one byte a second", "slow_headers"),
            ("body at one byte a second", "slow_body"),
        )
    ),
    *_of(
        _TLS,
        ("certificate expired", FaultSetting(name="tls_expired")),
        ("certificate for another host", FaultSetting(name="tls_wrong_host")),
        ("certificate of an unknown authority", FaultSetting(name="tls_unknown_ca")),
    ),
    *_of(
        _UNHARMED,
        ("interim responses (102, 103)", FaultSetting(name="interim_responses")),
        ("more cookies than a request can carry", FaultSetting(name="cookies")),
    ),
    Failure(
        title="token whose `expires_in` is 0 or negative",
        faults=(FaultSetting(name="unauthorized_once"), FaultSetting(name="token_lifetime")),
        handling=_USED_UNTIL_REFUSED,
    ),
    *_of(_RENEWED, ("401 once", FaultSetting(name="unauthorized_once"))),
    Failure(
        title="token that expires early",
        faults=(
            FaultSetting(name="unauthorized_once"),
            FaultSetting(name="token_expires_early", value=3),
        ),
        handling=_RENEWED,
    ),
    Failure(
        title="refresh token refused",
        faults=(FaultSetting(name="unauthorized_once"), FaultSetting(name="refresh_refused")),
        handling=_LOGGED_IN,
    ),
    Failure(
        title="the same while the token endpoint accepts 1 request a second",
        faults=(
            FaultSetting(name="token_throttle"),
            FaultSetting(name="unauthorized_once"),
            FaultSetting(name="refresh_refused"),
        ),
        handling=_LOGGED_IN,
    ),
    Failure(
        title="401 persistently",
        faults=(FaultSetting(name="unauthorized"),),
        handling=_UNAUTHORIZED,
        backoff_seconds=900.0,
    ),
    *(
        Failure(
            title=f"password refused ({form})",
            faults=(
                FaultSetting(name="unauthorized_once"),
                FaultSetting(name="refresh_refused"),
                FaultSetting(name="password_refused"),
            ),
            handling=_PASSWORD,
            api_versions=versions,
            needs_new_password=True,
        )
        for form, versions in (("v6: 400", ("v6",)), ("v7 and v8: 401", ("v7", "v8")))
    ),
    *_of(_FORBIDDEN, ("403", FaultSetting(name="forbidden"))),
    *_of(_GONE, ("404 for one session", FaultSetting(name="not_found", role=SessionRole.OPEN))),
    *_of(_NOT_FOUND, ("404 for the whole API", FaultSetting(name="api_missing"))),
    *_of(
        _THROTTLED,
        ("429 with `Retry-After` in seconds", FaultSetting(name="throttled_seconds", value=30)),
        ("429 with a date", FaultSetting(name="throttled_date", value=30)),
    ),
    Failure(
        title="429 from the token endpoint",
        faults=(
            FaultSetting(name="unauthorized_once"),
            FaultSetting(name="throttled_seconds", route="token", value=30),
        ),
        handling=_THROTTLED_LOGIN,
    ),
    *_of(_THROTTLED_BARE, ("429 without `Retry-After`", FaultSetting(name="throttled_bare"))),
    *_of(
        _SERVER_ERROR,
        ("500", FaultSetting(name="status_500")),
        ("502", FaultSetting(name="status_502")),
        ("503", FaultSetting(name="status_503")),
        ("504", FaultSetting(name="status_504")),
    ),
    *_of(
        _ONE_FAILS,
        (
            "503 for one session",
            FaultSetting(name="status_503", route="get", role=SessionRole.OPEN),
        ),
    ),
    *_of(
        _BAD_RESPONSE,
        ("400 with an unknown `errorCode`", FaultSetting(name="unknown_error_code")),
        ("HTML with status 200", FaultSetting(name="html")),
        ("empty body", FaultSetting(name="empty_body")),
        ("truncated JSON", FaultSetting(name="truncated_json")),
        ("`NaN`", FaultSetting(name="nan")),
        ("wrong charset", FaultSetting(name="wrong_charset")),
        ("deep nesting", FaultSetting(name="deep_nesting")),
        ("5 MB of headers", FaultSetting(name="large_headers")),
        ("body of 200 MB", FaultSetting(name="huge_body")),
        ("gzip bomb", FaultSetting(name="gzip_bomb", value=100 * 2**20)),
        ("12 MB that only a lenient decoder accepts", FaultSetting(name="odd_json")),
        ("redirect to another host", FaultSetting(name="redirect_to_other_host")),
    ),
    Failure(
        title="HTML from the token endpoint",
        faults=(FaultSetting(name="unauthorized_once"), FaultSetting(name="html", route="token")),
        handling=_BAD_LOGIN,
    ),
    *_of(
        _BAD_LIST,
        ("endless paging", FaultSetting(name="endless_paging")),
        ("a string instead of a page", FaultSetting(name="wrong_type_top", route="list")),
        ("`results` that is not a list", FaultSetting(name="wrong_type_page")),
    ),
    Failure(
        location=_LOCATIONS[SessionRole.OPEN],
        title="a string instead of an object",
        faults=(FaultSetting(name="wrong_type_top", route="get", role=SessionRole.OPEN),),
        handling=_ONE_UNREADABLE,
        rejected=RejectionReason.NOT_AN_OBJECT,
    ),
    *_records(_ONE_UNREADABLE, SessionRole.OPEN),
    Failure(
        location=_LOCATIONS[SessionRole.NEW],
        title="a string instead of an object",
        faults=(FaultSetting(name="wrong_type_record", role=SessionRole.NEW),),
        handling=_ONE_REJECTED,
        rejected=RejectionReason.NOT_AN_OBJECT,
    ),
    *_records(_ONE_REJECTED, SessionRole.NEW),
    Failure(
        title="all records of a list are unreadable, and there is more than one",
        faults=(FaultSetting(name="wrong_type_record"),),
        handling=_LIST_UNREADABLE,
        rejected=RejectionReason.NOT_AN_OBJECT,
    ),
    *_of(_AS_UNKNOWN, ("unknown enum values", FaultSetting(name="unknown_enums"))),
    *_of(
        _AS_MARKED,
        ("lone surrogates in strings", FaultSetting(name="lone_surrogates")),
        ("control characters in strings", FaultSetting(name="control_characters")),
    ),
    *_of(_EMPTY, ("a list without sessions while one starts", FaultSetting(name="empty_list"))),
    *_of(_COUNTED_ONCE, ("duplicate ids", FaultSetting(name="duplicate_ids"))),
    *_of(
        _FOLLOWED_HERE,
        ("`next` link to another host", FaultSetting(name="next_to_other_host")),
    ),
    *_of(
        _LISTED_AGAIN,
        ("sessions deleted while a list is read", FaultSetting(name="rows_shift")),
        ("pages of a list in different orders", FaultSetting(name="shuffled_pages")),
    ),
    *_of(
        _WITHOUT_DURATION,
        ("`endTime` before `creationTime`", FaultSetting(name="end_before_creation")),
    ),
    *_of(
        _OTHER_CLOCK,
        (
            "server clock hours ahead",
            FaultSetting(name="clock_skew", value=5, from_start=True),
        ),
        (
            "server clock hours behind",
            FaultSetting(name="clock_skew", value=-5, from_start=True),
        ),
    ),
    *_of(
        _GONE_FOR_LONG,
        (
            "no usable response for longer than `stale_after`, here because of 503",
            FaultSetting(name="status_503"),
        ),
    ),
)


def failures_table() -> str:
    """Return the failures as a Markdown table, one line per handling."""
    lines = [
        "| failure | action of the exporter | `reason` | other log events | series of sessions |",
        "|---|---|---|---|---|",
    ]
    for handling, group in groupby(FAILURES, key=attrgetter("handling")):
        failures = list(group)
        titles = "; ".join(failure.title for failure in failures)
        location = failures[0].location
        other_events = dict.fromkeys((*handling.events, *handling.events_after))
        cells = (
            f"{location}: {titles}" if location else titles,
            handling.action,
            f"`{handling.reason}`" if handling.reason else "none",
            "; ".join(
                f"`{event}`" for event in other_events if event not in {POLL_FAILED, POLL_AGAIN}
            ),
            handling.series.value,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
