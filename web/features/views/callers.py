"""Whose a call is, in words that say no more than they must. Pure.

user 17         an account of the site
key shop        who has shown a key, by its name
~1f3a…          nobody known: a hash under a salt that is made by chance for each day, and deleted after it
                (RFC 6973 §6.1.2: nothing joins a caller's days, once the salt is gone)
                ("" for who says that nothing is to be kept of them)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from secrets import token_bytes

#: Characters of a caller's words, and bytes of a salt.
MAX_CALLER = 80
SALT = 16

DAY = 86400

#: A day's salt by its number since 1970.
Salts = Mapping[int, bytes]


def hashed(salt: bytes, address: str, agent: str) -> str:
    """What a stranger is called on one day."""
    said = f"{address}\n{agent}".encode(errors="replace")
    return "~" + hashlib.blake2b(said, key=salt, digest_size=8).hexdigest()


def wants_none(headers: Mapping[str, str]) -> bool:
    """Whether a caller says that nothing is to be kept of them, nor told to others."""
    return headers.get("DNT") == "1" or headers.get("Sec-GPC") == "1"


def new_salt() -> bytes:
    """A salt for a day."""
    return token_bytes(SALT)


def day_of(at: float) -> int:
    """The number of a day, in UTC."""
    return int(at // DAY)
