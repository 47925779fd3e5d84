"""Every way in which the API fails, and what the exporter makes of it.

One row is one test (`tests/integration/test_failures.py`) and a part of the table in docs/failures.md. Rows with the same answer
share it, and stand in one line of that table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from operator import attrgetter

from exporter.vb365.errors import Reason
from exporter.vb365.records.restore_session import RejectionReason

NAME_NOT_RESOLVED = "name_not_resolved"
"""The one fault that a server cannot have: the test's resolver does."""


_TIMEOUT_OF_MOST = "10s"


class Whose(Enum):
    """Sessions of the world in which failures happen."""

    OPEN = "left open three days ago; asked for by id"
    RECENT = "opened minutes before the failure, and stopped during it; in every list"
    DONE = "finished minutes before the failure; in every list"
    LONG_DONE = "finished two days ago; not asked for any more"
    NEW = "opened during the failure; in every list"


class Series(Enum):
    """What happens to the series of the server's sessions and organizations."""

    TRUE = "right"
    KEPT = "kept until `stale_after`"
    STALE = "end; counters and the series of the server itself stay"
    FOLLOWED = (
        "running sessions right, as they are asked for by id; the others kept until `stale_after`"
    )
    ONE_KEPT = "that session's kept until `stale_after`, all others right"
    ONE_ENDED = "that session's end at once, all others right"
    ONE_ABSENT = "that session has none, all others right"
    UNKNOWN = (
        "right, with `Unknown` in place of the value; the session is followed until it is `Stopped`"
    )
    MARKED = "right, with U+FFFD in labels"
    NO_DURATION = "right, but no duration"
    BY_ITS_CLOCK = "right by the server's clock; new sessions are found all the same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault of the simulator (`exporter.simulator.faults.catalogue`), and where it differs from its default."""

    name: str
    route: str | None = None
    whose: Whose | None = None
    value: float | None = None
    from_the_start: bool = False
    """Whether the server is like that before anything else fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the exporter does about failures of one kind, and what its operator sees."""

    does: str
    series: Series
    reason: Reason | None = None
    """Of `vb365_poll_failures_total`; None when the poll is a success."""
    events: tuple[str, ...] = ()
    """What is logged, once, however many polls it lasts."""
    events_after: tuple[str, ...] = ()
    """What is logged when it is over."""
    repeats: bool = False
    """Whether requests are repeated within the poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way in which the API fails."""

    what: str
    strikes: tuple[Strike, ...]
    answer: Answer
    place: str = ""
    """Where it is found, when several rows with the same answer have that in common."""
    rejected: RejectionReason | None = None
    """Of `vb365_records_rejected_total`."""
    timeout: str = _TIMEOUT_OF_MOST
    api_versions: tuple[str, ...] = ("v6", "v7", "v8")
    needs_new_password: bool = False
    """Whether it is over only when the secret changes."""

    held_off_seconds: float = 0.0
    """How long the exporter may wait before it finds out that it is over."""

    @property
    def is_hasty(self) -> bool:
        """Whether its timeout is so short that a loaded machine may exceed it too."""
        return self.timeout != _TIMEOUT_OF_MOST

    def __str__(self) -> str:
        return f"{self.place}: {self.what}" if self.place else self.what


POLL_FAILED = "poll failed, what is not confirmed stays until it is stale"
POLL_AGAIN = "poll succeeded again"
_REJECTED = "record rejected, the others are served"
_UNKNOWN = "unknown value shown as Unknown"
_REFRESH_REFUSED = "refresh refused, logging in again"


def _failed(
    reason: Reason,
    does: str,
    series: Series = Series.KEPT,
    *,
    repeats: bool = False,
    first: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
) -> Answer:
    """The answer of a poll that fails; `first` and `after` are logged before it fails, and before it succeeds again."""
    return Answer(
        does=does,
        series=series,
        reason=reason,
        events=(*first, POLL_FAILED),
        events_after=(*after, POLL_AGAIN),
        repeats=repeats,
    )


def _of(answer: Answer, *failures: tuple[str, Strike]) -> Iterator[Failure]:
    for what, strike in failures:
        yield Failure(what=what, strikes=(strike,), answer=answer)


_PLACES = {
    Whose.OPEN: "in the answer for one session",
    Whose.NEW: "in one record of a list",
}


def _records(answer: Answer, whose: Whose) -> Iterator[Failure]:
    """The ways in which one session's record can be unreadable."""
    for what, name, rejected in (
        ("fields of other types", "wrong_type_field", RejectionReason.WRONG_TYPE),
        ("`1e999`", "huge_number", RejectionReason.WRONG_TYPE),
        ("nulls everywhere", "nulls", RejectionReason.BAD_TIME),
        ("required fields missing", "missing_fields", RejectionReason.MISSING_FIELD),
        ("id that is no UUID", "not_uuids", RejectionReason.BAD_ID),
    ):
        yield Failure(
            place=_PLACES[whose],
            what=what,
            strikes=(Strike(name=name, whose=whose),),
            answer=answer,
            rejected=rejected,
        )


_CONNECT = _failed(
    Reason.CONNECT, "repeats each request up to 4 times inside the poll interval", repeats=True
)
_TIMEOUT = _failed(
    Reason.TIMEOUT,
    "gives a request up after `timeout` of silence; repeats it inside the poll interval",
    repeats=True,
)
_OVERTIME = _failed(Reason.TIMEOUT, "gives the whole request up after 6 x `timeout`")
_TLS = _failed(
    Reason.TLS, "sends no password and no token; reads `ca_file` again for the next poll"
)
_RENEWED = Answer(
    does="renews the token once for all waiting requests, at most once a minute, and repeats each of them once",
    series=Series.TRUE,
)
_LOGGED_IN = Answer(
    does="logs in with the password, within the limits of the token endpoint",
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
_FORBIDDEN = _failed(Reason.FORBIDDEN, "asks again with the next poll")
_GONE = Answer(
    does="believes it, as the list has answered in the same poll", series=Series.ONE_ENDED
)
_NOT_FOUND = _failed(
    Reason.NOT_FOUND, "believes nothing is deleted; looks for v8, v7, v6 anew with each poll"
)
_THROTTLED = _failed(
    Reason.THROTTLED, "sends nothing before the time has passed, at most for 15 min"
)
_THROTTLED_BARE = _failed(
    Reason.THROTTLED, "repeats each request up to 4 times inside the poll interval", repeats=True
)
_THROTTLED_LOGIN = _failed(
    Reason.THROTTLED,
    "sends nothing before the time has passed; of itself at most 5 token requests a minute, 1 a second",
)
_SERVER_ERROR = _failed(
    Reason.SERVER_ERROR, "repeats each request up to 4 times inside the poll interval", repeats=True
)
_ONE_FAILS = _failed(
    Reason.SERVER_ERROR,
    "goes on with the other sessions",
    Series.ONE_KEPT,
    repeats=True,
)
_BAD_RESPONSE = _failed(
    Reason.BAD_RESPONSE, "takes nothing of the answer, reads at most 16 MiB of it; does not repeat"
)
_BAD_LOGIN = _failed(
    Reason.BAD_RESPONSE, "logs in again with the next poll", first=(_REFRESH_REFUSED,)
)
_BAD_LIST = _failed(
    Reason.BAD_RESPONSE,
    "takes the pages that were right, and asks for running sessions by id",
    Series.FOLLOWED,
)
_LIST_UNREADABLE = _failed(
    Reason.BAD_RESPONSE,
    "rejects the records, counted in `vb365_records_rejected_total`; asks for running sessions by id",
    Series.FOLLOWED,
    first=(_REJECTED,),
)
_ONE_UNREADABLE = _failed(
    Reason.BAD_RESPONSE,
    "rejects the record, counted in `vb365_records_rejected_total`",
    Series.ONE_KEPT,
    first=(_REJECTED,),
)
_ONE_REJECTED = Answer(
    does="rejects the record, counted in `vb365_records_rejected_total`",
    series=Series.ONE_ABSENT,
    events=(_REJECTED,),
)
_AS_UNKNOWN = Answer(
    does="counts it in `vb365_unknown_values_total`",
    series=Series.UNKNOWN,
    events=(_UNKNOWN, _UNKNOWN),
)
_AS_MARKED = Answer(does="puts U+FFFD in their place, but for newlines", series=Series.MARKED)
_COUNTED_ONCE = Answer(does="takes it once", series=Series.TRUE)
_WITHOUT_DURATION = Answer(does="shows both as they are", series=Series.NO_DURATION)
_OTHER_CLOCK = Answer(
    does="compares the server's times with the server's times only", series=Series.BY_ITS_CLOCK
)
_GONE_FOR_LONG = _failed(
    Reason.SERVER_ERROR, "goes on asking, poll by poll", Series.STALE, repeats=True
)

FAILURES: tuple[Failure, ...] = (
    *_of(
        _CONNECT,
        ("connection refused", Strike(name="connection_refused")),
        ("name not resolved", Strike(name=NAME_NOT_RESOLVED)),
        ("reset before the body", Strike(name="reset_before_body")),
        ("reset in the middle of the body", Strike(name="reset_in_body")),
    ),
    *(
        Failure(what=what, strikes=(Strike(name=name),), answer=_TIMEOUT, timeout="200ms")
        for what, name in (
            ("TLS handshake that never ends", "tls_handshake_hangs"),
            ("silence after the request", "silence"),
            ("answer slower than `timeout`", "slower_than_timeout"),
        )
    ),
    *(
        Failure(
            what=what, strikes=(Strike(name=name, value=0.03),), answer=_OVERTIME, timeout="150ms"
        )
        for what, name in (
            ("one byte a second", "one_byte_per_second"),
            ("headers at one byte a second", "slow_headers"),
            ("body at one byte a second", "slow_body"),
        )
    ),
    *_of(
        _TLS,
        ("certificate expired", Strike(name="tls_expired")),
        ("certificate for another host", Strike(name="tls_wrong_host")),
        ("certificate of an unknown authority", Strike(name="tls_unknown_ca")),
    ),
    *_of(_RENEWED, ("401 once", Strike(name="unauthorized_once"))),
    Failure(
        what="token that expires early",
        strikes=(Strike(name="unauthorized_once"), Strike(name="token_expires_early", value=3)),
        answer=_RENEWED,
    ),
    Failure(
        what="refresh token refused",
        strikes=(Strike(name="unauthorized_once"), Strike(name="refresh_refused")),
        answer=_LOGGED_IN,
    ),
    Failure(
        what="the same while the token endpoint takes 1 request a second",
        strikes=(
            Strike(name="token_throttle"),
            Strike(name="unauthorized_once"),
            Strike(name="refresh_refused"),
        ),
        answer=_LOGGED_IN,
    ),
    Failure(
        what="401 for ever",
        strikes=(Strike(name="unauthorized"),),
        answer=_UNAUTHORIZED,
        held_off_seconds=900.0,
    ),
    *(
        Failure(
            what=f"password refused ({form})",
            strikes=(
                Strike(name="unauthorized_once"),
                Strike(name="refresh_refused"),
                Strike(name="password_refused"),
            ),
            answer=_PASSWORD,
            api_versions=versions,
            needs_new_password=True,
        )
        for form, versions in (("v6: 400", ("v6",)), ("v7 and v8: 401", ("v7", "v8")))
    ),
    *_of(_FORBIDDEN, ("403", Strike(name="forbidden"))),
    *_of(_GONE, ("404 for one session", Strike(name="not_found", whose=Whose.OPEN))),
    *_of(_NOT_FOUND, ("404 for the whole API", Strike(name="api_missing"))),
    *_of(
        _THROTTLED,
        ("429 with `Retry-After` in seconds", Strike(name="throttled_seconds", value=30)),
        ("429 with a date", Strike(name="throttled_date", value=30)),
    ),
    Failure(
        what="429 of the token endpoint",
        strikes=(
            Strike(name="unauthorized_once"),
            Strike(name="throttled_seconds", route="token", value=30),
        ),
        answer=_THROTTLED_LOGIN,
    ),
    *_of(_THROTTLED_BARE, ("429 without `Retry-After`", Strike(name="throttled_bare"))),
    *_of(
        _SERVER_ERROR,
        ("500", Strike(name="status_500")),
        ("502", Strike(name="status_502")),
        ("503", Strike(name="status_503")),
        ("504", Strike(name="status_504")),
    ),
    *_of(
        _ONE_FAILS,
        ("503 for one session", Strike(name="status_503", route="get", whose=Whose.OPEN)),
    ),
    *_of(
        _BAD_RESPONSE,
        ("HTML with status 200", Strike(name="html")),
        ("empty body", Strike(name="empty_body")),
        ("truncated JSON", Strike(name="truncated_json")),
        ("`NaN`", Strike(name="nan")),
        ("wrong charset", Strike(name="wrong_charset")),
        ("deep nesting", Strike(name="deep_nesting")),
        ("body of 200 MB", Strike(name="huge_body")),
        ("gzip bomb", Strike(name="gzip_bomb", value=100 * 2**20)),
        ("redirect to another host", Strike(name="redirect_to_other_host")),
    ),
    Failure(
        what="HTML of the token endpoint",
        strikes=(Strike(name="unauthorized_once"), Strike(name="html", route="token")),
        answer=_BAD_LOGIN,
    ),
    *_of(
        _BAD_LIST,
        ("endless paging", Strike(name="endless_paging")),
        ("`next` link to another host", Strike(name="next_to_other_host")),
        ("a string instead of a page", Strike(name="wrong_type_top", route="list")),
        ("`results` that are no list", Strike(name="wrong_type_page")),
    ),
    Failure(
        place=_PLACES[Whose.OPEN],
        what="a string instead of an object",
        strikes=(Strike(name="wrong_type_top", route="get", whose=Whose.OPEN),),
        answer=_ONE_UNREADABLE,
        rejected=RejectionReason.NOT_AN_OBJECT,
    ),
    *_records(_ONE_UNREADABLE, Whose.OPEN),
    Failure(
        place=_PLACES[Whose.NEW],
        what="a string instead of an object",
        strikes=(Strike(name="wrong_type_record", whose=Whose.NEW),),
        answer=_ONE_REJECTED,
        rejected=RejectionReason.NOT_AN_OBJECT,
    ),
    *_records(_ONE_REJECTED, Whose.NEW),
    Failure(
        what="all records of a list are unreadable",
        strikes=(Strike(name="wrong_type_record"),),
        answer=_LIST_UNREADABLE,
        rejected=RejectionReason.NOT_AN_OBJECT,
    ),
    *_of(_AS_UNKNOWN, ("unknown enum values", Strike(name="unknown_enums"))),
    *_of(
        _AS_MARKED,
        ("lone surrogates in texts", Strike(name="lone_surrogates")),
        ("control characters in texts", Strike(name="control_characters")),
    ),
    *_of(_COUNTED_ONCE, ("duplicate ids", Strike(name="duplicate_ids"))),
    *_of(
        _WITHOUT_DURATION,
        ("`endTime` before `creationTime`", Strike(name="end_before_creation")),
    ),
    *_of(
        _OTHER_CLOCK,
        (
            "server clock hours ahead",
            Strike(name="clock_skew", value=5, from_the_start=True),
        ),
        (
            "server clock hours behind",
            Strike(name="clock_skew", value=-5, from_the_start=True),
        ),
    ),
    *_of(
        _GONE_FOR_LONG,
        (
            "no answer of use for longer than `stale_after`, here because of 503",
            Strike(name="status_503"),
        ),
    ),
)


def failures_table() -> str:
    """The failures as a table for people, a line for those with the same answer."""
    lines = [
        "| what fails | what the exporter does | `reason` | logged besides | series of sessions |",
        "|---|---|---|---|---|",
    ]
    for answer, group in groupby(FAILURES, key=attrgetter("answer")):
        failures = list(group)
        what = "; ".join(failure.what for failure in failures)
        place = failures[0].place
        besides = dict.fromkeys((*answer.events, *answer.events_after))
        cells = (
            f"{place}: {what}" if place else what,
            answer.does,
            f"`{answer.reason}`" if answer.reason else "none",
            "; ".join(f"`{event}`" for event in besides if event not in {POLL_FAILED, POLL_AGAIN}),
            answer.series.value,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
