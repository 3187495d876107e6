"""Whose a request is, behind proxies: what X-Forwarded-For or Forwarded (RFC 7239) say, as far as they are believed.

Every proxy adds the address that it saw: to the field's last line, or as a line of its own. So of all lines together
the last entry is the nearest proxy's word, the one before it that of the proxy in front of that one, and whatever
stands before the words of our own proxies a client may have written itself. This is the only module that
knows the fields' names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

#: Fields that may name the client, as HUB_PROXY_HEADER does. Only the one that our proxies write can be believed:
#: they leave the other as the client sent it.
HEADERS = ("x-forwarded-for", "forwarded")

#: How nginx says for whom it asks.
NGINX_NAMES_CLIENTS = "nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"

#: The same as they stand in a head.
FIELDS = tuple(name.encode() for name in HEADERS)

#: How many leading bits of an IPv6 address name a customer: a home or a rented server has at least so many addresses
#: to itself (RFC 6177), and each counting alone would be no limit.
_NETWORK_BITS = 64

#: RFC 6052 §2.1: IPv4 addresses as a translator writes them.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")

#: An entry with a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`. The port may be an obfuscated one (RFC 7239 §6).
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([0-9.]+))(?::[\w.\-]+)?")

#: The last element of a Forwarded line, read from its end. A client that opens a quotation and does not close it
#: would swallow what a proxy adds, were it read from the beginning.
_LAST_ELEMENT = re.compile(r'(?:[^",]++|"[^"]*+")*+')
#: What empty elements consist of: they mean nothing (RFC 9110 §5.6.1), and 3 KB of them took 1.5 ms one by one.
_EMPTY = ", \t"
_PAIR = re.compile(r'\s*+([\w!#$%&\'*+.^`|~\-]++)=(?:"([^"\\]*+)"|([^\s";,]*+))\s*+')

#: Characters of an entry that can be an address, with brackets, zone and port.
_MAX_ENTRY = 100

#: Characters of an element of Forwarded. A proxy's has four pairs (RFC 7239 §4); a stranger's 31 KB of semicolons took
#: 7 ms.
_MAX_ELEMENT = 1000


class Proxies:
    """The proxies in front of us. count: how many add to the field. header: its name, one of HEADERS."""

    __slots__ = ("count", "field", "header")

    def __init__(self, count: int = 0, header: str = HEADERS[0]) -> None:
        if header not in HEADERS:
            raise ValueError(f"{header!r} is not one of {', '.join(HEADERS)}")
        self.count = count
        self.header = header
        self.field = header.encode()

    def client(self, peer: str, lines: Iterable[str]) -> str:
        """Whose a request from `peer` is that has these lines of the field, in their order.

        The key to count by: an IPv4 address, or an IPv6 network of 64 bits. With fewer entries than proxies it is the
        first entry, the word of the outermost that was passed. Without any, and where the entry is no address
        (`unknown`, an obfuscated name), it is the peer's; "" if that is none either, as a Unix socket's.
        """
        if self.count:
            entry = self._entry(lines)
            found = network_of(entry) if entry else ""
            if found:
                return found
        return network_of(peer)

    def _entry(self, lines: Iterable[str]) -> str:
        """What the outermost proxy of ours wrote, or the nearest to it that wrote something."""
        split = _split if self.header == HEADERS[0] else _split_elements
        left = self.count
        room = (left + 1) * _MAX_ELEMENT
        entry = ""
        for line in reversed(list(lines)):
            if room <= 0:
                break
            # What our own proxies wrote is at the end, and short. 30 KB of commas, which mean nothing, took 12 ms.
            if len(line) > room:
                # The first entry of what is left is cut in two: leave it out.
                line = line[-room:].partition(",")[2]
            room -= len(line) + 1
            for each in split(line, left):
                entry = each
                left -= 1
                if not left:
                    return entry
        return entry


def _split(line: str, most: int) -> Iterator[str]:
    """The last entries of a line, the last one first."""
    for entry in reversed(line.split(",")):
        if not most:
            return
        entry = entry.strip(" \t")
        # Empty elements of a list mean nothing (RFC 9110 §5.6.1).
        if entry:
            most -= 1
            yield entry


def _split_elements(line: str, most: int) -> Iterator[str]:
    """The same of a Forwarded line: what `for` says in each element, "" where it says nothing."""
    backwards = line[::-1].lstrip(_EMPTY)
    while backwards and most:
        match = _LAST_ELEMENT.match(backwards)
        end = 0 if match is None else match.end()
        if end < len(backwards) and backwards[end] != ",":
            # A quotation that does not begin: no proxy of ours wrote this, nor what is before it.
            return
        yield _for(backwards[:end][::-1])
        most -= 1
        backwards = backwards[end:].lstrip(_EMPTY)


def _for(element: str) -> str:
    found = ""
    if len(element) > _MAX_ELEMENT:
        return found
    for pair in element.split(";"):
        match = _PAIR.fullmatch(pair)
        if match is not None and match[1].lower() == "for":
            found = match[2] if match[2] is not None else match[3]
    return found


def network_of(text: str) -> str:
    """What an address is counted as, with or without port and brackets; "" if it is none."""
    # What is remembered is bounded first: 4,096 entries of 30 KB were 115 MiB that stayed.
    return _network_of(text) if len(text) <= _MAX_ENTRY else ""


@lru_cache(maxsize=4096)
def _network_of(text: str) -> str:
    address = address_of(text)
    if address is None:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((int(address) >> _NETWORK_BITS << _NETWORK_BITS, _NETWORK_BITS)))


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is, an IPv4 one if it is written as IPv6; None if it is none."""
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        # A socket for both families shows IPv4 peers as ::ffff:192.0.2.1.
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found in _TRANSLATED:
            return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found


def is_near(text: str) -> bool:
    """Whether an address is of this machine or a private network; what is none (a Unix socket's) is too."""
    return len(text) > _MAX_ENTRY or _is_near(text)


@lru_cache(maxsize=4096)
def _is_near(text: str) -> bool:
    address = address_of(text)
    return address is None or address.is_private
