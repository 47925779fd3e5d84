"""The faults a server can have: their names, what they do, and where they strike unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["connection", "request"]

ALL = "all"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A fault that can be set.

    `route` is where it strikes unless told otherwise: an operation, "all", or "api" for all but the token endpoint.
    `value` is what its one number is unless told otherwise, and `grant` the only kind of token request it concerns.
    """

    name: str
    help: str
    route: str = ALL
    scope: Scope = "request"
    value: float = 0.0
    target: str = ""
    grant: str = ""
    first: int | None = None


def _connection(name: str, text: str) -> Definition:
    return Definition(name=name, help=text, scope="connection")


_ELSEWHERE = "https://elsewhere.invalid"

_DEFINITIONS = (
    _connection("connection_refused", "nobody listens"),
    _connection("tls_expired", "the certificate has expired"),
    _connection("tls_wrong_host", "the certificate is for another host"),
    _connection("tls_unknown_ca", "the certificate is of another authority"),
    _connection("tls_handshake_hangs", "the handshake is never answered"),
    Definition(name="reset_before_body", help="RST after the headers"),
    Definition(name="reset_in_body", help="RST in the middle of the body"),
    Definition(name="silence", help="the request is read and never answered"),
    Definition(
        name="one_byte_per_second", help="headers and body, value seconds a byte", value=1.0
    ),
    Definition(
        name="slow_headers", help="headers at value seconds a byte, then the body", value=1.0
    ),
    Definition(name="slow_body", help="headers, then the body at value seconds a byte", value=1.0),
    Definition(name="slower_than_timeout", help="the right answer after value seconds", value=30.0),
    Definition(
        name="unauthorized_once", help="401 and the token is revoked, once", route="api", first=1
    ),
    Definition(name="unauthorized", help="401 and the token is revoked", route="api"),
    Definition(name="password_refused", help="wrong password", route="token", grant="password"),
    Definition(
        name="refresh_refused", help="refresh token refused", route="token", grant="refresh_token"
    ),
    Definition(
        name="token_expires_early",
        help="tokens are good for value requests, whatever expires_in says",
        route="token",
        value=3,
    ),
    Definition(name="token_throttle", help="the limits hold, on loopback too", route="token"),
    Definition(name="forbidden", help="403", route="api"),
    Definition(name="not_found", help="404 of a resource", route="get"),
    Definition(name="api_missing", help="404 without a body, as if the API were not there"),
    Definition(name="throttled_seconds", help="429, Retry-After: value", value=2),
    Definition(name="throttled_date", help="429, Retry-After: the date in value seconds", value=2),
    Definition(name="throttled_bare", help="429 without Retry-After"),
    Definition(name="status_500", help="500 with a message"),
    Definition(name="status_502", help="502 of a proxy"),
    Definition(name="status_503", help="503 of a proxy"),
    Definition(name="status_504", help="504 of a proxy"),
    Definition(name="html", help="200 with a login page"),
    Definition(name="empty_body", help="200 without a body"),
    Definition(name="truncated_json", help="half of the JSON", route="api"),
    Definition(name="wrong_type_top", help="a string instead of an object", route="api"),
    Definition(name="wrong_type_page", help="results is no list", route="list"),
    Definition(name="wrong_type_record", help="sessions are strings", route="list"),
    Definition(name="wrong_type_field", help="fields of sessions have other types", route="api"),
    Definition(name="nan", help="every number is NaN or Infinity", route="api"),
    Definition(name="huge_number", help="every number is 1e999", route="api"),
    Definition(name="huge_body", help="a body of value bytes", route="api", value=200 * _MIB),
    Definition(
        name="gzip_bomb", help="a small gzip body of value bytes", route="api", value=1024 * _MIB
    ),
    Definition(name="deep_nesting", help="value lists in each other", route="api", value=100_000),
    Definition(name="wrong_charset", help="Latin-1 that says it is UTF-8", route="api"),
    Definition(name="lone_surrogates", help="in every text of sessions", route="api"),
    Definition(name="control_characters", help="in every text of sessions", route="api"),
    Definition(name="nulls", help="fields of sessions are null, but the id", route="api"),
    Definition(name="missing_fields", help="sessions have nothing but the id", route="api"),
    Definition(name="unknown_enums", help="type, state and result of a newer server", route="api"),
    Definition(name="duplicate_ids", help="the first session of a page comes twice", route="list"),
    Definition(name="not_uuids", help="ids are no UUIDs", route="api"),
    Definition(name="end_before_creation", help="sessions end before they start", route="api"),
    Definition(name="clock_skew", help="the server's clock is value hours ahead", value=5),
    Definition(name="endless_paging", help="pages never end", route="list"),
    Definition(
        name="change_token_outdated",
        help="the feed does not know any more what came after a token",
        route="change_feed",
    ),
    Definition(
        name="next_to_other_host", help="next leads to target", route="list", target=_ELSEWHERE
    ),
    Definition(name="redirect_to_other_host", help="307 to target", target=_ELSEWHERE),
)

CATALOGUE = {definition.name: definition for definition in _DEFINITIONS}
