"""The verdict of the status page: all is well, or what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from exporter.text import human_duration
from exporter.web.status.formatting import counted, failure_reason, in_sentence, listed
from exporter.web.status.page import ServerCard, StatusPage
from exporter.web.status.thresholds import (
    CERTIFICATE_SECONDS,
    CONFIGURED_FAILURE_SECONDS,
    DOWN_SECONDS,
    LOGIN_REFUSED_SECONDS,
    many_fail,
)


class Level(StrEnum):
    """The severity of a finding; the most severe comes first."""

    BAD = "bad"
    WARN = "warn"
    WAIT = "wait"
    NOTE = "note"
    """A fact of a normal day, such as a single failed restore; it is never the headline."""
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence of the verdict."""

    level: Level
    text: str
    anchor: str = ""
    """The id of the section with the details."""


def verdict(page: StatusPage) -> list[Finding]:
    """Return the findings in order of severity; the first, the headline, is the verdict on the whole page."""
    findings = [
        *_down(page),
        *_waiting(page),
        *_stale(page),
        *_many_failures(page),
        *_configured_failures(page),
        *_left_open(page),
        *_missing(page),
        *_certificates(page),
        *_failures(page),
        *_warnings(page),
        *_unverified(page),
    ]
    findings.sort(key=lambda finding: list(Level).index(finding.level))
    if not page.servers:
        return [Finding(level=Level.WAIT, text="This instance polls no server.")]
    if not findings:
        return [Finding(level=Level.GOOD, text="All is well.")]
    if findings[0].level is Level.NOTE:
        findings.insert(0, Finding(level=Level.GOOD, text=_calm(page)))
    return findings


def _calm(page: StatusPage) -> str:
    if len(page.servers) == 1:
        return f"{_names(page.servers)} responds."
    return f"All {len(page.servers)} servers respond."


def _names(servers: Sequence[ServerCard]) -> str:
    return listed([in_sentence(server.name) for server in servers])


def _down(page: StatusPage) -> Iterator[Finding]:
    down = [server for server in page.servers if server.up is False]
    if not down:
        return
    names = _names(down)
    if len(down) == 1:
        text = f"{names} is down: {failure_reason(down[0].failure_reason)}."
    elif len(down) == len(page.servers):
        text = f"All {len(down)} servers are down."
    else:
        text = f"{len(down)} of {len(page.servers)} servers are down: {names}."
    lasting = any(_is_down_for_long(server, page) for server in down)
    yield Finding(level=Level.BAD if lasting else Level.WARN, text=text, anchor="servers")


def _is_down_for_long(server: ServerCard, page: StatusPage) -> bool:
    """Return whether a server has been down for so long that it is critical: a single failed poll is not enough."""
    if server.since is None:
        return True
    patience_seconds = LOGIN_REFUSED_SECONDS if server.failure_reason == "auth" else DOWN_SECONDS
    return page.age(server.since) >= max(patience_seconds, server.poll_interval_seconds)


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


def _many_failures(page: StatusPage) -> Iterator[Finding]:
    for server in page.servers:
        failed, ended = server.failed_last_hour, server.ended_last_hour
        organizations = server.organizations_failed_last_hour
        if many_fail(ended, failed, organizations):
            text = (
                f"Many restores are failing on {_names([server])}: {failed} of the {ended} that ended in the last hour, "
                f"of {counted(organizations, 'organization')}."
            )
            yield Finding(level=Level.BAD, text=text, anchor="failed")


def _configured_failures(page: StatusPage) -> Iterator[Finding]:
    failed = [
        row
        for row in page.failed
        if row.configured and page.age(row.end) <= CONFIGURED_FAILURE_SECONDS
    ]
    if failed:
        text = (
            f"The configured session {failed[0].id} failed {human_duration(page.age(failed[0].end))} ago."
            if len(failed) == 1
            else f"{len(failed)} configured sessions failed within 4 h."
        )
        yield Finding(level=Level.BAD, text=text, anchor="failed")


def _failures(page: StatusPage) -> Iterator[Finding]:
    count = page.failed_total
    if not count:
        return
    last = page.failed[0]
    ago = human_duration(page.age(last.end))
    if count == 1:
        of = in_sentence(last.organization or "(no organization)")
        text = f"A restore of {of} failed {ago} ago."
    elif page.recent_partial:
        text = f"At least {count:,} restores failed in the last 24 h, the last {ago} ago."
    else:
        ended = sum(page.recent_totals.values())
        text = (
            f"{count:,} of {ended:,} restores that ended in the last 24 h failed, "
            f"the last {ago} ago."
        )
    yield Finding(level=Level.NOTE, text=text, anchor="failed")


def _warnings(page: StatusPage) -> Iterator[Finding]:
    count = page.recent_totals.get("Warning", 0)
    if count:
        least = "At least " if page.recent_partial else ""
        text = f"{least}{counted(count, 'restore')} ended with warnings in the last 24 h."
        yield Finding(level=Level.NOTE, text=text, anchor="finished")


def _left_open(page: StatusPage) -> Iterator[Finding]:
    count = page.left_open_total
    if count:
        left_open = [row for row in page.running if row.left_open]
        longest = human_duration(left_open[0].duration_seconds if left_open else None)
        text = (
            f"1 session has been left open: {longest}."
            if count == 1
            else f"{count:,} sessions have been left open, the longest for {longest}."
        )
        yield Finding(level=Level.WARN, text=text, anchor="running")


def _missing(page: StatusPage) -> Iterator[Finding]:
    count = len(page.missing)
    if count:
        text = f"{counted(count, 'configured session')} {'does' if count == 1 else 'do'} not exist."
        yield Finding(level=Level.WARN, text=text, anchor="missing")


def _unverified(page: StatusPage) -> Iterator[Finding]:
    unverified = [server for server in page.servers if not server.tls_verified]
    if unverified:
        text = f"{_certificates_of(unverified, 'is', 'are')} not verified."
        yield Finding(level=Level.NOTE, text=text, anchor="servers")


def _certificates(page: StatusPage) -> Iterator[Finding]:
    expired, expiring = (
        [server for server in page.servers if certificate_level(server, page) is level]
        for level in (Level.BAD, Level.WARN)
    )
    if expired:
        text = f"{_certificates_of(expired, 'has', 'have')} expired."
        yield Finding(level=Level.BAD, text=text, anchor="servers")
    if expiring:
        ends = [server.certificate_not_after for server in expiring if server.certificate_not_after]
        left = human_duration(-page.age(min(ends)))
        when = f"in {left}" if len(expiring) == 1 else f"soon, the first in {left}"
        text = f"{_certificates_of(expiring, 'expires', 'expire')} {when}."
        yield Finding(level=Level.WARN, text=text, anchor="servers")


def _certificates_of(servers: Sequence[ServerCard], verb: str, plural_verb: str) -> str:
    if len(servers) == 1:
        return f"The certificate of {_names(servers)} {verb}"
    return f"The certificates of {_names(servers)} {plural_verb}"


def certificate_level(server: ServerCard, page: StatusPage) -> Level:
    """Return the level of a server's certificate: expired (bad), about to expire (warn) or neither (good)."""
    if server.certificate_not_after is None:
        return Level.GOOD
    left_seconds = -page.age(server.certificate_not_after)
    if left_seconds <= 0:
        return Level.BAD
    return Level.WARN if left_seconds < CERTIFICATE_SECONDS else Level.GOOD


def servers_without_data(page: StatusPage) -> tuple[str, ...]:
    """Return the names of the servers without current data: they may have sessions that the page does not show."""
    return tuple(in_sentence(server.name) for server in page.servers if _lacks_data(server, page))


def _lacks_data(server: ServerCard, page: StatusPage) -> bool:
    if server.up or server.data_age_seconds is not None:
        return False
    if server.sessions_stale or server.last_success is None:
        return True  # without comparing dates: this machine's clock may have been set back
    return page.age(server.last_success) > server.stale_after_seconds


def absence(page: StatusPage, sentence: str) -> str:
    """Return the text for an empty table: the sentence, limited to the servers with data."""
    without_data = servers_without_data(page)
    if not without_data:
        hidden = any(server.sessions_stale for server in page.servers)
        return f"{sentence}, not counting hidden sessions." if hidden else f"{sentence}."
    if len(without_data) < len(page.servers):
        return f"{sentence}, not counting {listed(without_data)}: no data."
    if all(server.up is None for server in page.servers):
        return "Unknown: no server has been polled yet."
    return "Unknown: no server responds."
