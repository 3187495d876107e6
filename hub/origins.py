"""Origins (RFC 6454) and hosts, as browsers and proxies write them: what is one, which are the same. Pure.

What a stranger sends is bounded before anything looks at it, and is read by one expression over ASCII: `urlsplit`
composes Unicode to look for look-alikes, which takes more than linear time, and raises for some of what isn't a URL.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

#: Characters of an origin or a Host; a host has up to 255.
MAX_ORIGIN = 300

#: Origins that many pages share, so none of them can be told from another: `null` is sent by every page in a sandbox,
#: from a file or from a redirect, and older WebViews send `file://`.
SHARED = frozenset({"null", "file://"})

_HOST = r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_\-](?:[A-Za-z0-9_.\-]{0,253}[A-Za-z0-9_\-])?)(\.?)(?::([0-9]{0,5}))?"
_HOST_FIELD = re.compile(_HOST)
_ORIGIN = re.compile(rf"([A-Za-z][A-Za-z0-9+.\-]{{0,60}})://(?:{_HOST})?")

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Host(NamedTuple):
    """A host in lower case without a last dot, and its port, None for the default one."""

    name: str
    port: int | None


@lru_cache(maxsize=1024)
def _origin(text: str) -> tuple[str, Host | None] | None:
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match[1].lower()
    if match[2] is None:
        # `file://`, and shells that name themselves by the scheme alone.
        return None if scheme in _DEFAULT_PORTS else (scheme, None)
    host = _host(match[2], match[4])
    if host is None or match[4] == "":
        return None
    return scheme, host._replace(port=None if host.port == _DEFAULT_PORTS.get(scheme) else host.port)


def _host(name: str, port: str | None) -> Host | None:
    number = int(port) if port else None
    if number is not None and not 0 < number < 65536:
        return None
    name = name.lower()
    if name.startswith("["):
        try:
            name = f"[{ipaddress.IPv6Address(name[1:-1])}]"
        except ValueError:
            return None
    return Host(name, number)


def read_origin(text: str) -> str | None:
    """An Origin header in its one spelling, None if it is no origin: lower case, no default port, no last dot."""
    if text == "null":
        return text
    found = _origin(text) if len(text) <= MAX_ORIGIN else None
    if found is None:
        return None
    scheme, host = found
    if host is None:
        return f"{scheme}://"
    return f"{scheme}://{host.name}" if host.port is None else f"{scheme}://{host.name}:{host.port}"


def read_host(text: str) -> Host | None:
    """A Host header, None if it is none."""
    match = _HOST_FIELD.fullmatch(text) if len(text) <= MAX_ORIGIN else None
    return None if match is None else _host(match[1], match[3])


def is_host(text: str) -> bool:
    """Whether it can be a Host header; each request asks."""
    # What is remembered is bounded first: 4,096 Hosts of 30 KB were 115 MiB that stayed.
    return len(text) <= MAX_ORIGIN and _is_host(text)


@lru_cache(maxsize=4096)
def _is_host(text: str) -> bool:
    return read_host(text) is not None


def is_same(origin: str, host: str | None) -> bool:
    """Whether an Origin header names the host of a Host header.

    Schemes are not compared, and so neither are the default ports of the two: behind a proxy that ends TLS we can't
    know what ours is, and some proxies add the port that they listen on themselves.
    """
    if host is None or len(origin) > MAX_ORIGIN:
        return False
    scheme, page = _origin(origin) or ("", None)
    asked = read_host(host)
    if page is None or asked is None or scheme not in _DEFAULT_PORTS:
        return False
    return page.name == asked.name and _port(page) == _port(asked)


def is_same_host(origin: str, host: str | None) -> bool:
    """As `is_same`, whatever the ports: a proxy may have dropped one."""
    _, page = (_origin(origin) if len(origin) <= MAX_ORIGIN else None) or ("", None)
    asked = None if host is None else read_host(host)
    return page is not None and asked is not None and page.name == asked.name


def _port(host: Host) -> int | None:
    return None if host.port in (80, 443) else host.port


def origin_of(url: str) -> str | None:
    """The origin of an http or https URL; None if it has none."""
    match = re.match(r"https?://[^/?#]*", url, re.IGNORECASE)
    return None if match is None else read_origin(match[0])


def parse_origin(word: str) -> str:
    """An origin as an operator writes it, in its one spelling; ValueError with the reason, and how to write it.

    What no browser would ever send is refused: it would let nobody in, and nobody would know why.
    """
    if word == "null":
        return word
    if "*" in word:
        raise ValueError("has a star in it, which can't stand for a part; name each origin, or only * for any")
    scheme, colon, rest = word.partition("://")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]*", scheme):
        guess = read_origin(f"https://{word}")
        raise ValueError("is not an origin such as https://example.org" + (f"; {guess}?" if guess else ""))
    scheme = scheme.lower()
    authority, slash, path = rest.partition("/")
    if not rest.isascii():
        raise ValueError("is not in ASCII, as browsers send it" + _in_ascii(scheme, authority))
    if scheme == "file":
        if rest:
            raise ValueError("has a path; pages in files have the origin file://, or null in newer browsers")
        return "file://"
    if slash or "?" in authority or "#" in authority:
        bare = read_origin(f"{scheme}://{re.split('[?#]', authority)[0]}")
        what = "has a path or a query" if path or not slash else "ends with a slash"
        raise ValueError(f"{what}, which an origin never has" + (f"; write {bare}" if bare else ""))
    if "@" in authority:
        raise ValueError("has a user in it, which browsers never send")
    found = read_origin(word)
    if found is None:
        raise ValueError("is not an origin such as https://example.org")
    port = re.search(r":0*([0-9]+)$", authority)
    if port is not None and int(port[1]) == _DEFAULT_PORTS.get(scheme):
        raise ValueError(f"names its scheme's own port, which browsers leave out; write {found}")
    check_address(scheme, authority)
    return found


def check_address(scheme: str, authority: str) -> None:
    """Raise ValueError for an IPv4 address in a form that browsers write otherwise, such as 127.1."""
    name = authority.rpartition(":")[0] or authority
    last = name.rstrip(".").rpartition(".")[2].lower()
    if scheme in _DEFAULT_PORTS and re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        try:
            ipaddress.IPv4Address(name.rstrip("."))
        except ValueError:
            raise ValueError("has an address that is not written as browsers do, such as 127.0.0.1") from None


def _in_ascii(scheme: str, authority: str) -> str:
    found = in_ascii(authority)
    return "" if found is None else f"; write {scheme}://{found}"


def in_ascii(authority: str) -> str | None:
    """A host, with or without a port, as browsers send it (IDNA, UTS 46); None if it can't be written so."""
    # Here, because only this mistake needs its tables.
    import idna

    name, colon, port = authority.partition(":")
    try:
        return f"{idna.encode(name, uts46=True).decode('ascii')}{colon}{port}"
    except idna.IDNAError:
        return None
