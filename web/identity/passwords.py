"""Passwords: hashed and verified off the event loop, a few at a time."""

from __future__ import annotations

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

#: Argon2 takes 64 MiB a call. A flood of logins waits in line instead of filling the memory.
_HASHES_AT_ONCE = 2

#: Who waits for one of those at most: the last of them for about a second.
_HASHES_WAITING = 16


class TooBusy(Exception):
    """More passwords are to be verified than can be soon."""


class Passwords:
    """Hashes and verifies, off the event loop. hasher: cheaper parameters, for tests."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._room = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._nobody: str | None = None
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """What to keep of a password."""
        async with self._room:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether the password is the one that was kept.

        kept: None when there is no such user; that takes as long, so the answer's time tells nothing. Raises TooBusy
        when too many wait already.
        """
        if self._waiting >= _HASHES_WAITING:
            raise TooBusy
        self._waiting += 1
        try:
            if kept is None and self._nobody is None:
                self._nobody = await self.hash(secrets.token_urlsafe())
            async with self._room:
                matches = await asyncio.to_thread(self._matches, kept or self._nobody or "", password)
        finally:
            self._waiting -= 1
        return matches and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether it should be hashed anew, with today's parameters."""
        return self._hasher.check_needs_rehash(kept)

    def _matches(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False


def new_password() -> str:
    """A password that nobody guesses and that can be typed from a terminal."""
    return "-".join(secrets.token_hex(3) for _ in range(3))
