"""The verdict of the status page: all is well, or what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from exporter.text import human_duration
from exporter.web.status.formatting import counted, failure_reason, in_sentence, listed
from exporter.web.status.page import ServerCard, StatusPage

LONG_RUNNING_SECONDS = 86_400.0
"""A session open for this long has probably been forgotten."""

RECENT_SECONDS = 86_400.0
"""How long a failed restore is reported."""

_CERTIFICATE_WARNING_SECONDS = 30 * 86_400


class Level(StrEnum):
    """The severity of a finding; the most severe comes first."""

    BAD = "bad"
    WARN = "warn"
    WAIT = "wait"
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence of the verdict."""

    level: Level
    text: str
    anchor: str = ""
    """The id of the section with the details."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The most severe finding, and the others in order of severity."""

    headline: Finding
    also: tuple[Finding, ...]


def verdict(page: StatusPage) -> Verdict:
    """Return the verdict on the whole page."""
    findings = [
        *_down(page),
        *_waiting(page),
        *_stale(page),
        *_failures(page),
        *_long_running(page),
        *_certificates(page),
    ]
    if not page.servers:
        findings = [Finding(level=Level.WAIT, text="This instance polls no server.")]
    elif not findings:
        findings = [Finding(level=Level.GOOD, text="All is well.")]
    findings.sort(key=lambda finding: list(Level).index(finding.level))
    return Verdict(headline=findings[0], also=tuple(findings[1:]))


def _names(servers: Sequence[ServerCard]) -> str:
    return listed([in_sentence(server.name) for server in servers])


def _down(page: StatusPage) -> Iterator[Finding]:
    down = [server for server in page.servers if server.up is False]
    if not down:
        return
    names = _names(down)
    if len(down) == 1:
        text = f"{names} is down: {failure_reason(down[0].reason)}."
    elif len(down) == len(page.servers):
        text = f"All {len(down)} servers are down."
    else:
        text = f"{len(down)} of {len(page.servers)} servers are down: {names}."
    yield Finding(level=Level.BAD, text=text, anchor="servers")


def _waiting(page: StatusPage) -> Iterator[Finding]:
    waiting = [server for server in page.servers if server.up is None]
    if waiting:
        text = f"{_names(waiting)} {'has' if len(waiting) == 1 else 'have'} not been polled yet."
        yield Finding(level=Level.WAIT, text=text, anchor="servers")


def _stale(page: StatusPage) -> Iterator[Finding]:
    stale = [server for server in page.servers if server.sessions_stale]
    if stale:
        sessions = counted(sum(server.sessions_stale for server in stale), "session")
        text = f"Data for {sessions} of {_names(stale)} is stale and hidden."
        yield Finding(level=Level.BAD, text=text, anchor="servers")


def _failures(page: StatusPage) -> Iterator[Finding]:
    failures = page.recent_failures
    if not failures:
        return
    ago = human_duration((page.generated - failures[0].ended).total_seconds())
    if len(failures) == 1:
        name = in_sentence(failures[0].organization or "(no organization)")
        text = f"A restore of {name} failed {ago} ago."
    else:
        text = f"Restores of {len(failures)} organizations failed within a day, the last {ago} ago."
    yield Finding(level=Level.WARN, text=text, anchor="failed")


def _long_running(page: StatusPage) -> Iterator[Finding]:
    count = page.long_running_total
    if count:
        longest = human_duration(page.running[0].duration_seconds)
        text = (
            f"{counted(count, 'session')} {'has' if count == 1 else 'have'} been open for more than a day"
            + (f": {longest}." if count == 1 else f", the longest for {longest}.")
        )
        yield Finding(level=Level.WARN, text=text, anchor="running")


def _certificates(page: StatusPage) -> Iterator[Finding]:
    expired, expiring = (
        [server for server in page.servers if certificate_level(server, page.generated) is level]
        for level in (Level.BAD, Level.WARN)
    )
    if expired:
        text = f"{_certificates_of(expired, 'has', 'have')} expired."
        yield Finding(level=Level.BAD, text=text, anchor="servers")
    if expiring:
        ends = [server.certificate_not_after for server in expiring if server.certificate_not_after]
        left = human_duration((min(ends) - page.generated).total_seconds())
        when = f"in {left}" if len(expiring) == 1 else f"soon, the first in {left}"
        text = f"{_certificates_of(expiring, 'expires', 'expire')} {when}."
        yield Finding(level=Level.WARN, text=text, anchor="servers")


def _certificates_of(servers: Sequence[ServerCard], verb: str, plural_verb: str) -> str:
    if len(servers) == 1:
        return f"The certificate of {_names(servers)} {verb}"
    return f"The certificates of {_names(servers)} {plural_verb}"


def certificate_level(server: ServerCard, now: datetime) -> Level:
    """Return the level of a server's certificate: expired (bad), about to expire (warn) or neither (good)."""
    if server.certificate_not_after is None:
        return Level.GOOD
    left_seconds = (server.certificate_not_after - now).total_seconds()
    if left_seconds <= 0:
        return Level.BAD
    return Level.WARN if left_seconds <= _CERTIFICATE_WARNING_SECONDS else Level.GOOD


def servers_without_data(page: StatusPage) -> tuple[str, ...]:
    """Return the names of the servers without current data: they may have sessions that the page does not show."""
    return tuple(in_sentence(server.name) for server in page.servers if _lacks_data(server, page))


def _lacks_data(server: ServerCard, page: StatusPage) -> bool:
    if server.up or server.data_age_seconds is not None:
        return False
    if server.last_success is None:
        return True
    return (page.generated - server.last_success).total_seconds() > server.stale_after_seconds


def absence(page: StatusPage, sentence: str) -> str:
    """Return the text for an empty table: the sentence, limited to the servers with data."""
    without_data = servers_without_data(page)
    if not without_data:
        return f"{sentence}."
    if len(without_data) < len(page.servers):
        return f"{sentence}, not counting {listed(without_data)}: no data."
    if all(server.up is None for server in page.servers):
        return "Unknown: no server has been polled yet."
    return "Unknown: no server responds."
