"""Whose a call is, in words that say no more than they must. Pure.

user 17         an account of the site
key shop        who has shown a key, by its name
~1f3a…          nobody known: a hash under a salt that is made by chance for each day, and deleted after it
                (RFC 6973 §6.1.2: nothing joins a caller's days, once the salt is gone)
                ("" for who says that nothing is to be kept of them)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from secrets import token_bytes

from multidict import istr

from hub.forwarded import Proxies

#: Characters of a caller's words, and bytes of a salt.
MAX_CALLER = 80
SALT = 16

DAY = 86400

#: Fields that are looked for in every request: their names are made small once.
_DNT, _GPC = istr("DNT"), istr("Sec-GPC")

#: Strangers who are remembered, and characters of their agents.
_REMEMBERED = 4096
_MAX_AGENT = 1024

#: A day's salt by its number since 1970.
Salts = Mapping[int, bytes]


def hashed(salt: bytes, address: str, agent: str) -> str:
    """What a stranger is called on one day."""
    said = f"{address}\n{agent}".encode(errors="replace")
    return "~" + hashlib.blake2b(said, key=salt, digest_size=8).hexdigest()


def wants_none(headers: Mapping[str, str]) -> bool:
    """Whether a caller says that nothing is to be kept of them, nor told to others."""
    return headers.get(_DNT) == "1" or headers.get(_GPC) == "1"


def new_salt() -> bytes:
    """A salt for a day."""
    return token_bytes(SALT)


def day_of(at: float) -> int:
    """The number of a day, in UTC."""
    return int(at // DAY)


class Strangers:
    """Hashes of those who ask. salt: gives that of the day of a time. proxies: those in front of us.

    Who asks often asks soon again, and the hash takes longer than all else that counting does. So it is remembered, but
    no longer than the views of whose it is wait to be written: then `forget` is called, and with them goes the address.
    """

    def __init__(self, salt: Callable[[float], bytes], proxies: Proxies) -> None:
        self._salt = salt
        self._proxies = proxies
        self._known: dict[tuple[float, str, Sequence[str], str], str] = {}

    def name(self, at: float, peer: str, lines: Sequence[str], agent: str) -> str:
        """What a stranger is called on the day of a time. lines: what proxies say of whose it is; hashable."""
        key = (at // DAY, peer, lines, agent)
        found = self._known.get(key)
        if found is None:
            found = hashed(self._salt(at), self._proxies.client(peer, lines), agent)
            if len(self._known) < _REMEMBERED and len(agent) <= _MAX_AGENT:
                self._known[key] = found
        return found

    def forget(self) -> None:
        """Forget who asked."""
        self._known.clear()
