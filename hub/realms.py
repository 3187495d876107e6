"""The realms of a hub: tenants with names, keys and rules of their own, and which one a request is for.

The environment describes the default realm. A request is for the realm that its path names
(`/r/{realm}/bayeux`, `/realm/{realm}/publish/`), else for the one whose host it was sent to
(`{realm}.hub.example.org`, or a host that the realm lists), else for the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")

#: How a path begins that names its realm, as Fanout's own did where there was no wildcard in the DNS.
PREFIX = "/r/"


class Directory(Generic[T]):
    """Something of each realm, to be found for a request. Pure.

    name, default: of the realm for whatever is nobody else's. others: name, hosts and thing of each.
    """

    __slots__ = ("_by_host", "_by_label", "_by_name", "_others", "default", "name")

    def __init__(self, name: str, default: T, others: Iterable[tuple[str, tuple[str, ...], T]] = ()) -> None:
        self.name = name
        self.default = default
        self._others = tuple(others)
        self._by_name = {name: default} | {name: thing for name, _, thing in self._others}
        self._by_host = {host: thing for _, hosts, thing in self._others for host in hosts}
        self._by_label = {name.lower(): thing for name, _, thing in self._others}

    def __iter__(self) -> Iterator[tuple[str, T]]:
        """Names and things, the default's first."""
        return iter(self._by_name.items())

    def __len__(self) -> int:
        return len(self._by_name)

    def named(self, name: str) -> T | None:
        """The realm of a name, None if it is unknown."""
        return self._by_name.get(name)

    def at(self, host: str | None) -> T:
        """The realm of a Host header."""
        if not self._others or host is None:
            return self.default
        name = host_name(host)
        found = self._by_host.get(name)
        if found is None:
            label, dot, rest = name.partition(".")
            # The first part of an IPv4 address is no name, though a realm may be called so.
            if dot and not rest.rpartition(".")[2].isdigit():
                found = self._by_label.get(label)
        return self.default if found is None else found

    def find(self, path: str, host: str | None) -> tuple[T | None, str]:
        """Who serves a path, and the path as if the realm had the hub for itself; None: it names an unknown realm."""
        if not path.startswith(PREFIX):
            return self.at(host), path
        name, slash, rest = path[len(PREFIX) :].partition("/")
        return self._by_name.get(name), slash + rest

    def publishing(self, name: str | None, host: str | None) -> T:
        """Who judges a request to the publish API. name: the path's; if it is unknown, the default realm refuses it."""
        if name is None:
            return self.at(host)
        return self._by_name.get(name, self.default)

    def map(self, of: Callable[[T], U]) -> Directory[U]:
        """The directory of something else that each realm has."""
        return Directory(self.name, of(self.default), [(name, hosts, of(thing)) for name, hosts, thing in self._others])


def host_name(host: str) -> str:
    """The name in a Host header: without its port and a last dot, in lower case; an IPv6 address in its brackets."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or not port.isdigit():
        name = host.lower()
    return name.removesuffix(".")
