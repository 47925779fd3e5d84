"""Checks passwords against bcrypt hashes: off the event loop, once each, at the same cost for unknown users."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import bcrypt

from exporter.web.blocking import run_in_daemon_thread

# bcrypt ignores further bytes; the tools that create the hashes truncate as well.
_MAX_PASSWORD_BYTES = 72
# The salt and digest of a hash whose password nobody knows.
_DUMMY = b"k8Jb1lYyqkq0Pr0fNS0Zp.Yn2rGmXw0CzvTjTq4bWf2xJr1pYc8Q6"


class TooManyChecksError(Exception):
    """So many checks are pending that this one would take too long."""


@dataclass(frozen=True, slots=True, eq=False)
class _Check:
    client: str
    credentials: bytes
    password: bytes = field(repr=False)
    hashed: bytes = field(repr=False)
    outcome: asyncio.Future[bool]


class Passwords:
    """Compares passwords with hashes in a worker thread, one at a time, and remembers the results.

    This occupies at most one core, so that guesses do not delay a scrape whose password is remembered.
    Right and wrong passwords are remembered separately: guesses do not evict the password of a scraper.
    `_CheckQueue` decides the order, so that guesses do not keep out a scraper whose password is not remembered yet.

    Args:
        compare: compares a password with a hash; may raise ValueError for a password.
        max_remembered: the maximum number of right passwords remembered, and of wrong ones.
        max_pending: the maximum number of checks that wait or run.
    """

    def __init__(
        self,
        *,
        compare: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        max_remembered: int = 256,
        max_pending: int = 256,
    ) -> None:
        self._compare = compare
        self._max_pending = max_pending
        self._key = secrets.token_bytes(32)
        self._right = _LruSet(max_remembered)
        self._wrong = _LruSet(max_remembered)
        self._pending: dict[bytes, _Check] = {}
        self._waiting = _CheckQueue()
        self._running: asyncio.Task[None] | None = None

    async def match(
        self, user: bytes, password: bytes, users: Mapping[bytes, bytes], *, client: str = ""
    ) -> bool:
        """Return whether this is the password of the user; `users` maps every user, at least one, to a bcrypt hash.

        Raises:
            TooManyChecksError: so many newer checks are pending that this one is dropped.
        """
        known = user in users
        hashed = users[user] if known else self._dummy_hash(user, users)
        # Keyed, so that a digest alone is of no use for guessing the password.
        credentials = self._digest(hashed, user, password)
        if credentials in self._right:
            return known
        if credentials in self._wrong:
            return False
        check = self._pending.get(credentials)
        if check is None:
            outcome = asyncio.get_running_loop().create_future()
            check = _Check(client, credentials, password[:_MAX_PASSWORD_BYTES], hashed, outcome)
            self._enqueue(check)
        else:
            self._waiting.renew(check)
        # A client that disconnects must not cancel the check for others that wait for it as well.
        return await asyncio.shield(check.outcome) and known

    def _enqueue(self, check: _Check) -> None:
        if len(self._pending) >= self._max_pending:
            dropped = self._waiting.drop()
            if dropped is None:
                raise TooManyChecksError
            del self._pending[dropped.credentials]
            dropped.outcome.set_exception(TooManyChecksError())
        self._pending[check.credentials] = check
        self._waiting.put(check)
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while (check := self._waiting.pop()) is not None:
                await self._perform(check)
        finally:
            self._running = None

    async def _perform(self, check: _Check) -> None:
        try:
            matches = await run_in_daemon_thread(
                functools.partial(self._matches, check.password, check.hashed)
            )
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited: no thread or no memory
            check.outcome.set_exception(error)
        else:
            (self._right if matches else self._wrong).add(check.credentials)
            check.outcome.set_result(matches)
        finally:
            del self._pending[check.credentials]

    def _matches(self, password: bytes, hashed: bytes) -> bool:
        try:
            return self._compare(password, hashed)
        except ValueError:  # older versions of bcrypt reject passwords with a zero byte
            return False

    def _dummy_hash(self, user: bytes, users: Mapping[bytes, bytes]) -> bytes:
        """Return a hash as costly as that of a known user; the same name always gets the same cost."""
        hashes = tuple(users.values())
        template = hashes[int.from_bytes(self._digest(user)) % len(hashes)]
        return template[: -len(_DUMMY)] + _DUMMY

    def _digest(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8) + part)
        return digest.digest()


class _CheckQueue:
    """The waiting checks: clients take turns, and the newest check of a client comes first.

    Behind a reverse proxy all clients have one address. There, too, a new client does not wait for all guesses before
    its own: a client that guesses sends the next one only after the response to the last.
    """

    def __init__(self) -> None:
        # The next client is the first; the newest check of each is the last.
        self._turns: dict[str, dict[_Check, None]] = {}

    def put(self, check: _Check) -> None:
        """Add a check as the newest of its client."""
        self._turns.setdefault(check.client, {})[check] = None

    def renew(self, check: _Check) -> None:
        """Make a check the newest of its client, if it is still waiting."""
        if check in self._turns.get(check.client, {}):
            del self._turns[check.client][check]
            self.put(check)

    def pop(self) -> _Check | None:
        """Remove and return the next check; None: there is none."""
        if not self._turns:
            return None
        client = next(iter(self._turns))
        checks = self._turns.pop(client)
        check, _ = checks.popitem()
        if checks:
            self._turns[client] = checks
        return check

    def drop(self) -> _Check | None:
        """Remove and return the oldest check of the client with the most; None: there is none."""
        if not self._turns:
            return None
        client = max(self._turns, key=lambda client: len(self._turns[client]))
        check = next(iter(self._turns[client]))
        del self._turns[client][check]
        if not self._turns[client]:
            del self._turns[client]
        return check


class _LruSet:
    """A bounded set that evicts the least recently used item."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._items: dict[bytes, None] = {}

    def __contains__(self, item: bytes) -> bool:
        if item not in self._items:
            return False
        self.add(item)
        return True

    def add(self, item: bytes) -> None:
        """Add an item as the most recently used one."""
        self._items.pop(item, None)
        self._items[item] = None
        if len(self._items) > self._max_size:
            del self._items[next(iter(self._items))]
