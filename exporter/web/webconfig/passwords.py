"""Checks passwords against bcrypt hashes: beside the event loop, once, and without telling who exists."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping

import bcrypt

__all__ = ["Passwords", "TooManyChecksError"]

_MOST_REMEMBERED = 256
_MOST_UNDER_WAY = 64
# bcrypt takes no more; what makes the hashes cuts the rest off, too.
_LONGEST_PASSWORD_BYTES = 72
# Salt and digest of a hash that no password is known for.
_DUMMY = b"k8Jb1lYyqkq0Pr0fNS0Zp.Yn2rGmXw0CzvTjTq4bWf2xJr1pYc8Q6"


class TooManyChecksError(Exception):
    """So many checks are waiting that another one would not come to its turn in time."""


class Passwords:
    """Compares passwords with hashes in a thread, one at a time, and remembers what came out.

    One core at the most is busy with it, so that nobody who guesses passwords delays a scrape whose
    password is remembered. Right and wrong ones are remembered apart: guesses do not push out what
    Prometheus uses.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right = _LruSet(_MOST_REMEMBERED)
        self._wrong = _LruSet(_MOST_REMEMBERED)
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._turn = asyncio.Lock()

    async def match(self, user: bytes, password: bytes, users: Mapping[bytes, bytes]) -> bool:
        """Tell whether the password is that user's.

        Args:
            user: who it claims to be.
            password: the password that was sent.
            users: every user's bcrypt hash; at least one.

        Raises:
            TooManyChecksError: come back later.
        """
        known = user in users
        hashed = users[user] if known else self._dummy_hash(user, users)
        # Without the process's key, the digests are of no use to who gets hold of the memory's dump.
        asked = self._digest(hashed, user, password)
        if asked in self._right:
            return known
        if asked in self._wrong:
            return False
        check = self._under_way.get(asked)
        if check is None:
            if len(self._under_way) >= _MOST_UNDER_WAY:
                raise TooManyChecksError
            check = asyncio.create_task(self._check(asked, password, hashed))
            self._under_way[asked] = check
        # A client that goes away must not take the check from others that wait for it.
        return await asyncio.shield(check) and known

    async def _check(self, asked: bytes, password: bytes, hashed: bytes) -> bool:
        try:
            async with self._turn:
                matches = await asyncio.to_thread(_compare, password, hashed)
            (self._right if matches else self._wrong).add(asked)
            return matches
        finally:
            del self._under_way[asked]

    def _dummy_hash(self, user: bytes, users: Mapping[bytes, bytes]) -> bytes:
        """A hash that takes as long as a known user's; the same user gets the same cost each time."""
        hashes = tuple(users.values())
        twin = hashes[int.from_bytes(self._digest(user)) % len(hashes)]
        return twin[: -len(_DUMMY)] + _DUMMY

    def _digest(self, *parts: bytes) -> bytes:
        made = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            made.update(len(part).to_bytes(8) + part)
        return made.digest()


def _compare(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_LONGEST_PASSWORD_BYTES], hashed)
    except ValueError:  # older versions refuse a password with a zero byte
        return False


class _LruSet:
    """The digests that were looked up last, up to a limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._digests: dict[bytes, None] = {}

    def __contains__(self, digest: bytes) -> bool:
        if digest not in self._digests:
            return False
        self.add(digest)
        return True

    def add(self, digest: bytes) -> None:
        """Take it up as the newest; the oldest goes when there are too many."""
        self._digests.pop(digest, None)
        self._digests[digest] = None
        if len(self._digests) > self._most:
            del self._digests[next(iter(self._digests))]
