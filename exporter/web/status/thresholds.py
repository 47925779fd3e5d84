"""The thresholds of the status page, the same as of the alerts (`deploy/prometheus/rules/vb365-thresholds.yml`)."""

from __future__ import annotations

RECENT_SECONDS = 86_400.0
"""The period of the failed and finished sessions that the page reports."""

CONFIGURED_FAILURE_SECONDS = 4 * 3600.0
"""How long the failure of a configured session is critical (`Vb365RestoreFailed`)."""

LEFT_OPEN_SECONDS = 86_400.0
"""The age at which a session counts as left open, if its idle time is unknown (`Vb365RestoreSessionLeftOpen`)."""

LEFT_IDLE_SECONDS = 12 * 3600.0
"""The idle time at which a session counts as left open."""

MANY_FAILED_SECONDS = 3600.0
"""The period in which failed restores may have a common cause (`Vb365ManyRestoresFail`)."""

MANY_FAILED_RATIO = 0.25
"""The share of failed restores that counts as many, with both numbers below; of twice the share, either suffices."""

MANY_FAILED_ORGANIZATIONS = 3
MANY_FAILED_SESSIONS = 5

DOWN_SECONDS = 300.0
"""How long polls must fail until a server is critical (`Vb365Unreachable`); at least the poll interval."""

LOGIN_REFUSED_SECONDS = 120.0
"""The same if the server refuses the login (`Vb365LoginRefused`)."""

CERTIFICATE_SECONDS = 21 * 86_400.0
"""The time before its expiry at which a certificate must be renewed (`Vb365CertificateExpiring`)."""


def is_left_open(age_seconds: float, idle_seconds: float | None) -> bool:
    """Return whether a running session has been left open: by its idle time or, if that is unknown, by its age."""
    if idle_seconds is not None:
        return idle_seconds > LEFT_IDLE_SECONDS
    return age_seconds > LEFT_OPEN_SECONDS


def many_fail(ended: int, failed: int, organizations: int) -> bool:
    """Return whether many of a server's restores fail.

    Args:
        ended: the number of restores that ended within `MANY_FAILED_SECONDS`.
        failed: the number of them that failed.
        organizations: the number of organizations that the failed restores belong to.
    """
    if not failed:
        return False
    ratio = failed / ended
    several = organizations >= MANY_FAILED_ORGANIZATIONS
    many = failed >= MANY_FAILED_SESSIONS
    return (ratio >= MANY_FAILED_RATIO and several and many) or (
        ratio >= 2 * MANY_FAILED_RATIO and (several or many)
    )
