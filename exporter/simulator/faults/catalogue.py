"""The available faults: names, descriptions and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["connection", "request"]

ALL = "all"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultDefinition:
    """A fault that can be set.

    `route` is the default route: an operation, "all", or "api" for all but the token endpoint. `value` is the default of
    its numeric parameter, `grant_type` the only kind of token request that it affects.
    """

    name: str
    help: str
    route: str = ALL
    scope: Scope = "request"
    value: float = 0.0
    target: str = ""
    grant_type: str = ""
    first: int | None = None


def _connection(name: str, text: str) -> FaultDefinition:
    return FaultDefinition(name=name, help=text, scope="connection")


_OTHER_HOST = "https://elsewhere.invalid"

_DEFINITIONS = (
    _connection("connection_refused", "connections are refused"),
    _connection("tls_expired", "the certificate has expired"),
    _connection("tls_wrong_host", "the certificate is for another host"),
    _connection("tls_unknown_ca", "the certificate is from an unknown authority"),
    _connection("tls_handshake_hangs", "the TLS handshake never completes"),
    FaultDefinition(name="reset_before_body", help="RST after the headers"),
    FaultDefinition(name="reset_in_body", help="RST in the middle of the body"),
    FaultDefinition(name="silence", help="no response to any request"),
    FaultDefinition(
        name="one_byte_per_second", help="headers and body at value seconds a byte", value=1.0
    ),
    FaultDefinition(
        name="slow_headers", help="headers at value seconds a byte, then the body", value=1.0
    ),
    FaultDefinition(
        name="slow_body", help="headers, then the body at value seconds a byte", value=1.0
    ),
    FaultDefinition(
        name="slower_than_timeout", help="the normal response after value seconds", value=30.0
    ),
    FaultDefinition(
        name="interim_responses", help="value responses 103 and 102 before the normal one", value=3
    ),
    FaultDefinition(
        name="cookies", help="value cookies, too many for the headers of a request", value=60
    ),
    FaultDefinition(
        name="large_headers", help="about value bytes of headers", route="api", value=5 * _MIB
    ),
    FaultDefinition(
        name="unauthorized_once", help="401 and the token is revoked, once", route="api", first=1
    ),
    FaultDefinition(name="unauthorized", help="401 and the token is revoked", route="api"),
    FaultDefinition(
        name="password_refused",
        help="the password is refused",
        route="token",
        grant_type="password",
    ),
    FaultDefinition(
        name="refresh_refused",
        help="the refresh token is refused",
        route="token",
        grant_type="refresh_token",
    ),
    FaultDefinition(
        name="token_expires_early",
        help="tokens expire after value requests, whatever expires_in is",
        route="token",
        value=3,
    ),
    FaultDefinition(
        name="token_lifetime", help="tokens whose expires_in is value", route="token", value=0
    ),
    FaultDefinition(
        name="token_throttle", help="the rate limits apply on loopback, too", route="token"
    ),
    FaultDefinition(name="forbidden", help="403", route="api"),
    FaultDefinition(name="not_found", help="404 for a resource", route="get"),
    FaultDefinition(name="api_missing", help="404 without a body, as if the API did not exist"),
    FaultDefinition(name="throttled_seconds", help="429, Retry-After: value", value=2),
    FaultDefinition(
        name="throttled_date", help="429, Retry-After: the date in value seconds", value=2
    ),
    FaultDefinition(name="throttled_bare", help="429 without Retry-After"),
    FaultDefinition(name="status_500", help="500 with a message"),
    FaultDefinition(name="status_502", help="502 from a proxy"),
    FaultDefinition(name="status_503", help="503 from a proxy"),
    FaultDefinition(name="status_504", help="504 from a proxy"),
    FaultDefinition(
        name="unknown_error_code",
        help="status value with an errorCode that is not in the specification",
        route="api",
        value=400,
    ),
    FaultDefinition(name="html", help="200 with a login page"),
    FaultDefinition(name="empty_body", help="200 without a body"),
    FaultDefinition(name="truncated_json", help="the JSON is cut in half", route="api"),
    FaultDefinition(name="wrong_type_top", help="a string instead of an object", route="api"),
    FaultDefinition(name="wrong_type_page", help="results is not a list", route="list"),
    FaultDefinition(name="wrong_type_record", help="sessions are strings", route="list"),
    FaultDefinition(
        name="wrong_type_field", help="fields of sessions have wrong types", route="api"
    ),
    FaultDefinition(name="nan", help="every number is NaN or Infinity", route="api"),
    FaultDefinition(name="huge_number", help="every number is 1e999", route="api"),
    FaultDefinition(name="huge_body", help="a body of value bytes", route="api", value=200 * _MIB),
    FaultDefinition(
        name="gzip_bomb", help="a small gzip body of value bytes", route="api", value=1024 * _MIB
    ),
    FaultDefinition(
        name="odd_json",
        help="value bytes of JSON that only a lenient decoder accepts",
        route="api",
        value=12 * _MIB,
    ),
    FaultDefinition(name="deep_nesting", help="value nested lists", route="api", value=100_000),
    FaultDefinition(name="wrong_charset", help="Latin-1 declared as UTF-8", route="api"),
    FaultDefinition(
        name="lone_surrogates", help="lone surrogates in every string of sessions", route="api"
    ),
    FaultDefinition(
        name="control_characters",
        help="control characters in every string of sessions",
        route="api",
    ),
    FaultDefinition(
        name="nulls", help="all fields of sessions except the id are null", route="api"
    ),
    FaultDefinition(
        name="missing_fields", help="all fields of sessions except the id are missing", route="api"
    ),
    FaultDefinition(
        name="unknown_enums", help="unknown values of type, state and result", route="api"
    ),
    FaultDefinition(name="empty_list", help="the list has no sessions", route="list"),
    FaultDefinition(
        name="duplicate_ids", help="the first session of a page appears twice", route="list"
    ),
    FaultDefinition(name="not_uuids", help="ids are not UUIDs", route="api"),
    FaultDefinition(name="end_before_creation", help="sessions end before they start", route="api"),
    FaultDefinition(name="clock_skew", help="the server's clock is value hours ahead", value=5),
    FaultDefinition(name="endless_paging", help="the list has endless pages", route="list"),
    FaultDefinition(
        name="endless_sessions",
        help="the list has endless pages of value sessions that do not exist",
        route="list",
        value=1000,
    ),
    FaultDefinition(
        name="rows_shift",
        help="later pages begin value rows late, as if sessions had been deleted meanwhile",
        route="list",
        value=1,
    ),
    FaultDefinition(
        name="shuffled_pages",
        help="each page is from the list in another order",
        route="list",
    ),
    FaultDefinition(
        name="change_token_outdated",
        help="the feed no longer knows the changes after a token",
        route="change_feed",
    ),
    FaultDefinition(
        name="feed_unknown_sessions",
        help="each response of the feed names value other sessions that do not exist, whatever the limit",
        route="change_feed",
        value=60,
    ),
    FaultDefinition(
        name="feed_repeats_deletes",
        help="each response of the feed reports the deletion of value sessions that exist",
        route="change_feed",
        value=60,
    ),
    FaultDefinition(
        name="feed_unknown_events",
        help="each response of the feed also has events of unknown types, and events of sessions without an id",
        route="change_feed",
    ),
    FaultDefinition(
        name="many_events",
        help="a session has value events, and a page of them takes 0.3 s",
        route="events",
        value=130_000,
    ),
    FaultDefinition(
        name="next_to_other_host",
        help="the next link leads to target",
        route="list",
        target=_OTHER_HOST,
    ),
    FaultDefinition(name="redirect_to_other_host", help="307 to target", target=_OTHER_HOST),
)

CATALOGUE = {definition.name: definition for definition in _DEFINITIONS}
