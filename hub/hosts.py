"""The names that the hub answers to, against DNS rebinding: a page whose own name is made to lead here. Pure.

Browsers take such a page and the hub for one site: the page reads what it likes, from the network of whoever looks at
it. What gives it away is its name in the Host field. An address there, or localhost, can't be made to lead elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from .origins import MAX_ORIGIN, Host, in_ascii, read_host

#: The paths that tell strangers nothing, for balancers that ask by an address of their own choosing.
OPEN_PATHS = frozenset({"/health", "/ready"})

#: Names that lead to this machine only, whatever a DNS says (RFC 6761 §6.3).
LOOPBACK = ("localhost", "*.localhost", "127.0.0.1", "[::1]")

#: Last labels that no public DNS gives away: for networks of one's own (RFC 6762, RFC 8375, ICANN 2024) and tests
#: (RFC 6761).
INNER = ("local", "internal", "home.arpa", "test", "localhost")

#: The answer with 421, by how the names were decided. Nothing of the request is in it.
NOT_NAMED = "This host is not in HUB_HOSTS"
NOT_SITE = (
    "This host is not the one of SITE_URL: HUB_HOSTS says by which names else the hub may be reached, or * for any"
)
NOT_LOCAL = "Set up for this machine only: HUB_HOSTS says by which names else the hub may be reached"


def parse_host(word: str) -> str:
    """A name as an operator writes it, in its one spelling; ValueError with the reason.

    `*` is any, `*.example.org` whatever ends so, `example.org` that name at any port.
    """
    if word == "*":
        return word
    star = "*." if word.startswith("*.") else ""
    if "/" in word:
        guess = read_host(re.sub(r"^[a-z]+://", "", word, flags=re.IGNORECASE).partition("/")[0])
        raise ValueError("is no host such as hub.example.org" + (f"; write {_spell(guess)}" if guess else ""))
    if "*" in word[len(star) :]:
        raise ValueError("has a star in it that is not a first label; *.example.org is whatever ends so")
    found = read_host(word[len(star) :])
    if found is None and not word.isascii():
        spelled = in_ascii(word[len(star) :])
        raise ValueError(
            "is not in ASCII, as browsers send it" + ("" if spelled is None else f"; write {star}{spelled}")
        )
    if found is None:
        hint = "; an IPv6 address is written in brackets" if word.count(":") > 1 else ""
        raise ValueError(f"is no host such as hub.example.org{hint}")
    return star + _spell(found)


def _spell(host: Host) -> str:
    return host.name if host.port is None else f"{host.name}:{host.port}"


class Hosts:
    """Which hosts are ours. names: of `parse_host`; None for every address and LOOPBACK, but no other name.

    inner: every address too, and what only a network of one's own knows: names of one label, and those of INNER.
    """

    __slots__ = ("_inner", "_knows", "_local", "_names", "_tails")

    def __init__(self, names: Iterable[str] | None, *, inner: bool = False) -> None:
        self._local = names is None
        self._inner = inner
        found = list(LOOPBACK if names is None else names)
        named = [_read(name) for name in found if "*" not in name]
        self._names = {(host.name, host.port and _port(host.port)) for host in named}
        tails = [_read(name[2:]) for name in found if name.startswith("*.")]
        self._tails = [("." + host.name, host.port and _port(host.port)) for host in tails]
        # Each request asks, and clients repeat themselves.
        self._knows = (lambda _: True) if "*" in found else lru_cache(maxsize=1024)(self._is_ours)

    def refuse(self, host: str | None, path: str) -> str | None:
        """Why a request is not for us, None if it is. host: the Host field, if there is one. path: without a query."""
        text = host or ""
        # What is too long to be a host is not looked for: it would be remembered.
        known = len(text) <= MAX_ORIGIN and self._knows(text)
        if known or path in OPEN_PATHS or (host is None and (self._local or self._inner)):
            return None
        return NOT_LOCAL if self._local else NOT_SITE if self._inner else NOT_NAMED

    def _is_ours(self, text: str) -> bool:
        host = read_host(text)
        if host is None:
            # What is no host is refused as such. Without any, a client of HTTP/1.0 asks by address.
            return False
        if (self._local or self._inner) and _is_address(host.name):
            return True
        if self._inner and is_inner(host.name):
            return True
        # A port that is not named may be any: (name, None) stands for all.
        port = _port(host.port)
        if (host.name, None) in self._names or (host.name, port) in self._names:
            return True
        return any(host.name.endswith(tail) and wanted in (None, port) for tail, wanted in self._tails)


def _read(name: str) -> Host:
    """A host of ours; raises ValueError. If it were left out, it would be refused, and nobody would know why."""
    host = read_host(name)
    if host is None:
        raise ValueError(f"{name!r} is no host")
    return host


def is_inner(name: str) -> bool:
    """Whether no public DNS has a name: it has one label, or ends as those of a network of one's own do.

    A bare number is one label: 2130706433 and 0x7f000001 are spellings of an address and never looked up in the DNS.
    """
    return "." not in name or any(name.endswith(f".{tail}") for tail in INNER)


def siblings_of(name: str) -> list[str]:
    """A host, with a port or without, with and without `www.`: whoever has the one name has the other."""
    host = read_host(name)
    if host is None or _is_address(host.name) or is_inner(host.name):
        return [name]
    return [name, name[4:] if name.lower().startswith("www.") else f"www.{name}"]


def _port(port: int | None) -> int:
    """A port, the default ones of both schemes alike: behind a proxy we can't know which ours is."""
    return 80 if port is None or port == 443 else port


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def names_of(
    hosts: Iterable[str], *, own: Iterable[str | None], realms: Iterable[str], realm_hosts: Iterable[str]
) -> list[str]:
    """All names, given what HUB_HOSTS says: those of this machine, of the site and of the realms are always among them.

    own: the hosts of the site and of the hub. A realm is reached by its name before each of the names too.
    """
    found = [*hosts, *(name for name in own if name)]
    labels = [name.lower() for name in realms]
    below = [
        f"{label}.{name}"
        for name in found
        for label in labels
        # A name that is too long for the DNS leads nowhere.
        if "*" not in name and not _is_address(_read(name).name) and read_host(f"{label}.{name}") is not None
    ]
    return list(dict.fromkeys([*found, *realm_hosts, *below, *LOOPBACK]))
