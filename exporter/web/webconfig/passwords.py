"""Checks passwords against bcrypt hashes: off the event loop, once each, at the same cost for unknown users."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping

import bcrypt

# bcrypt ignores further bytes; the tools that create the hashes truncate as well.
_MAX_PASSWORD_BYTES = 72
# The salt and digest of a hash whose password nobody knows.
_DUMMY = b"k8Jb1lYyqkq0Pr0fNS0Zp.Yn2rGmXw0CzvTjTq4bWf2xJr1pYc8Q6"


class TooManyChecksError(Exception):
    """So many checks are pending that a further one would take too long."""


class Passwords:
    """Compares passwords with hashes in a worker thread, one at a time, and remembers the results.

    This occupies at most one core, so that guesses do not delay a scrape whose password is remembered.
    Right and wrong passwords are remembered separately: guesses do not evict the password of a scraper.

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
        max_pending: int = 64,
    ) -> None:
        self._compare = compare
        self._max_pending = max_pending
        self._key = secrets.token_bytes(32)
        self._right = _LruSet(max_remembered)
        self._wrong = _LruSet(max_remembered)
        self._pending: dict[bytes, asyncio.Task[bool]] = {}
        self._comparing = asyncio.Lock()

    async def match(self, user: bytes, password: bytes, users: Mapping[bytes, bytes]) -> bool:
        """Return whether this is the password of the user.

        Args:
            user: the user name of the request.
            password: the password of the request.
            users: the bcrypt hash of every user; at least one.

        Raises:
            TooManyChecksError: too many checks are pending.
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
            if len(self._pending) >= self._max_pending:
                raise TooManyChecksError
            check = asyncio.create_task(self._check(credentials, password, hashed))
            self._pending[credentials] = check
        # A client that disconnects must not cancel the check for others that wait for it as well.
        return await asyncio.shield(check) and known

    async def _check(self, credentials: bytes, password: bytes, hashed: bytes) -> bool:
        try:
            async with self._comparing:
                matches = await asyncio.to_thread(self._matches, password, hashed)
            (self._right if matches else self._wrong).add(credentials)
            return matches
        finally:
            del self._pending[credentials]

    def _matches(self, password: bytes, hashed: bytes) -> bool:
        try:
            return self._compare(password[:_MAX_PASSWORD_BYTES], hashed)
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
