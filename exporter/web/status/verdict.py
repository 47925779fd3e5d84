"""Whether everything is fine, in words: the first thing the status page says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from exporter.text import human_duration
from exporter.web.status.formatting import (
    counted,
    in_sentence,
    listed,
    reason_in_words,
)
from exporter.web.status.page import ServerCard, StatusPage

__all__ = [
    "LONG_RUNNING_SECONDS",
    "RECENT_SECONDS",
    "Finding",
    "Level",
    "Verdict",
    "certificate_level",
    "nothing_finished",
    "nothing_running",
    "servers_without_data",
    "verdict",
]

LONG_RUNNING_SECONDS: Final = 86_400.0
"""A session that has been open for so long was probably forgotten."""

RECENT_SECONDS: Final = 86_400.0
"""A failed restore is news for so long."""

_CERTIFICATE_SECONDS: Final = 30 * 86_400


class Level(StrEnum):
    """How serious something is, the most serious first."""

    BAD = "bad"
    WARN = "warn"
    WAIT = "wait"
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that an operator should know, as one sentence."""

    level: Level
    text: str
    anchor: str = ""
    """Where the page tells more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What matters most, and what matters too."""

    headline: Finding
    also: tuple[Finding, ...]


def verdict(page: StatusPage) -> Verdict:
    """Judge the whole page."""
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
    most_serious_first = list(Level)
    findings.sort(key=lambda finding: most_serious_first.index(finding.level))
    return Verdict(headline=findings[0], also=tuple(findings[1:]))


def _down(page: StatusPage) -> Iterator[Finding]:
    down = [server for server in page.servers if server.up is False]
    if not down:
        return
    names = listed([in_sentence(server.name) for server in down])
    if len(down) == 1:
        text = f"{names} is down: {reason_in_words(down[0].reason)}."
    elif len(down) == len(page.servers):
        text = f"All {len(down)} servers are down."
    else:
        text = f"{len(down)} of {len(page.servers)} servers are down: {names}."
    yield Finding(level=Level.BAD, text=text, anchor="servers")


def _waiting(page: StatusPage) -> Iterator[Finding]:
    waiting = [server for server in page.servers if server.up is None]
    if waiting:
        names = listed([in_sentence(server.name) for server in waiting])
        text = f"{names} {'has' if len(waiting) == 1 else 'have'} not been polled yet."
        yield Finding(level=Level.WAIT, text=text, anchor="servers")


def _stale(page: StatusPage) -> Iterator[Finding]:
    stale = [server for server in page.servers if server.sessions_stale]
    if stale:
        sessions = counted(sum(server.sessions_stale for server in stale), "session")
        names = listed([in_sentence(server.name) for server in stale])
        text = f"What is known of {sessions} of {names} is too old to be shown."
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
        [one for one in page.servers if certificate_level(one, page.generated) is level]
        for level in (Level.BAD, Level.WARN)
    )
    if expired:
        text = f"{_of_certificates(expired, 'has', 'have')} expired."
        yield Finding(level=Level.BAD, text=text, anchor="servers")
    if expiring:
        first = min(one.certificate_not_after for one in expiring if one.certificate_not_after)
        left = human_duration((first - page.generated).total_seconds())
        when = f"in {left}" if len(expiring) == 1 else f"soon, the first in {left}"
        text = f"{_of_certificates(expiring, 'expires', 'expire')} {when}."
        yield Finding(level=Level.WARN, text=text, anchor="servers")


def _of_certificates(servers: Sequence[ServerCard], verb: str, verb_of_many: str) -> str:
    names = listed([in_sentence(server.name) for server in servers])
    if len(servers) == 1:
        return f"The certificate of {names} {verb}"
    return f"The certificates of {names} {verb_of_many}"


def certificate_level(server: ServerCard, now: datetime) -> Level:
    """Tell whether a server's certificate has expired (bad), will soon (warn), or is no news (good)."""
    if server.certificate_not_after is None:
        return Level.GOOD
    left_seconds = (server.certificate_not_after - now).total_seconds()
    if left_seconds <= 0:
        return Level.BAD
    return Level.WARN if left_seconds <= _CERTIFICATE_SECONDS else Level.GOOD


def servers_without_data(page: StatusPage) -> tuple[str, ...]:
    """The servers of whose sessions nothing may be said, not even that there are none."""
    return tuple(in_sentence(server.name) for server in page.servers if _silent(server, page))


def _silent(server: ServerCard, page: StatusPage) -> bool:
    if server.up or server.data_age_seconds is not None:
        return False
    if server.last_success is None:
        return True
    return (page.generated - server.last_success).total_seconds() > server.stale_after_seconds


def nothing_running(page: StatusPage) -> str:
    """What stands in the place of running sessions when there are none."""
    return _nothing(page, "No restore session is running")


def nothing_finished(page: StatusPage) -> str:
    """What stands in the place of finished sessions when there are none."""
    return _nothing(page, "No restore session has finished, as far back as lookback goes")


def _nothing(page: StatusPage, sentence: str) -> str:
    silent = servers_without_data(page)
    if not silent:
        return f"{sentence}."
    if len(silent) < len(page.servers):
        return f"{sentence} on the servers that answer; of {listed(silent)} nothing is known."
    if all(server.up is None for server in page.servers):
        return "Not known yet: no server has been polled."
    return "Not known: no server answers."
