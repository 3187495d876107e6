"""Proof of work: a browser computes for a second before what it sends is taken (ALTCHA 2).

It costs a person nothing, whoever sends thousands much, and asks no third party. A challenge is signed and has an end;
who solved it says so in the form, once.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import altcha

#: Seconds in which a challenge must be solved. A browser asks for another if its writer took longer.
LIFE = 1200

#: Characters of a solution as a form has it; ours are of some 700.
MAX_SOLUTION = 2000

#: Solutions that are remembered till they end, so that each counts once. Beyond that the oldest may count again.
MAX_USED = 50_000

_ALGORITHM = "PBKDF2/SHA-256"
#: What the derived key begins with, as hex: one try in 256 does.
_PREFIX = "00"

#: What a comment is told that came without.
MISSING = "Its browser has not done the work that comments are asked for."


class Work:
    """Makes challenges and looks at solutions. rounds: of PBKDF2 a try; tries are 256 on average, 1,200 at times."""

    def __init__(self, key: bytes, rounds: int, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock
        self._used: OrderedDict[str, float] = OrderedDict()
        self.rounds = rounds

    def challenge(self) -> dict[str, Any]:
        """A new one, as browsers get it. It takes 0.05 ms."""
        ends = int(self._clock() + LIFE)
        made = altcha.create_challenge(
            _ALGORITHM, self.rounds, key_prefix=_PREFIX, expires_at=ends, hmac_secret=self._key
        )
        found: dict[str, Any] = made.to_dict()
        return found

    async def wrong(self, solution: str) -> str | None:
        """What is wrong with a solution, None if nothing; then it counts as used. To look at one takes a try."""
        if not solution:
            return MISSING
        if len(solution) > MAX_SOLUTION:
            return "The work that came with it is none of ours."
        now = self._clock()
        while self._used and (len(self._used) > MAX_USED or next(iter(self._used.values())) < now):
            self._used.popitem(last=False)
        try:
            name, ends = _named(solution)
            found = await asyncio.to_thread(altcha.verify_solution, solution, self._key)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return "The work that came with it is none of ours."
        if found.expired:
            return "The work that came with it is too old."
        if not found.verified:
            return "The work that came with it is not right."
        # Checked after the await: the same solution may have been accepted meanwhile.
        if name in self._used:
            return "The work that came with it was done for another comment."
        self._used[name] = ends
        return None


def _named(solution: str) -> tuple[str, float]:
    """What a challenge is known by, and when it ends. Raises ValueError, LookupError or TypeError."""
    challenge = json.loads(base64.b64decode(solution, validate=True))["challenge"]
    return str(challenge["signature"]), float(challenge["parameters"]["expiresAt"])
