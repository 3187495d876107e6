"""The realms of a hub: tenants with names, keys and rules of their own, and which one a request is for.

The environment describes the default realm, a file (`HUB_REALMS`) the others:

    [[realm]]
    name = "a1b2c3d4"
    key = "…"                        # base64; or key_file = "path"
    old_keys = ["…"]
    hosts = ["hub.a.example"]        # besides a1b2c3d4.*
    origins = ["https://a.example"]
    client_publish = ["chat/*"]
    rules = "rules-a.toml"

Only `name` and a key are needed. Paths are seen from the file's folder. A request is for the realm that its path names
(`/r/{realm}/bayeux`, `/realm/{realm}/publish/`), else for the one whose host it was sent to
(`{realm}.hub.example.org`, or a host that the realm lists), else for the default.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from .errors import SettingsError
from .origins import in_ascii
from .settings import KEY, ORIGINS, PATTERNS, REALM, Kind, Settings

T = TypeVar("T")
U = TypeVar("U")

#: How a path begins that names its realm, as Fanout's own did where there was no wildcard in the DNS.
PREFIX = "/r/"

_FIELDS = ("name", "key", "key_file", "old_keys", "hosts", "origins", "client_publish", "rules")

#: A name in the DNS (RFC 1123 §2.1), in lower case. Ports and addresses are no names.
_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the file says of a realm. key: None when it is in `key_file`. hosts: in lower case."""

    name: str
    key: bytes | None = field(default=None, repr=False)
    key_file: Path | None = None
    old_keys: tuple[bytes, ...] = field(default=(), repr=False)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    client_publish: tuple[str, ...] = ()
    rules: Path | None = None

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All that its tokens may be signed with."""
        return (() if self.key is None else (self.key,)) + self.old_keys

    def settings(self, default: Settings) -> Settings:
        """The hub's settings as they are for this realm."""
        return replace(
            default,
            realm=self.name,
            key=self.key,
            old_keys=self.old_keys,
            origins=self.origins,
            site_url=None,
            client_publish=self.client_publish,
            rules=self.rules,
            realms=None,
        )


def parse_realms(text: str, source: str, *, default: str, limit: int, folder: Path = Path()) -> tuple[Entry, ...]:
    """The realms of a TOML file, in order. Pure. Raises SettingsError that says which realm and why.

    default: the name that the file must not take. limit: how many realms there may be besides.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source}: not TOML: {error}") from None
    rows = table.pop("realm", [])
    if table or not isinstance(rows, list):
        raise SettingsError(f"{source}: has {', '.join(sorted(table)) or 'realm'}; only [[realm]] tables are known")
    if len(rows) > limit:
        raise SettingsError(f"{source}: has {len(rows)} realms, HUB_MAX_REALMS is {limit}")
    entries = [_entry(row, f"{source} realm {number}", source, folder) for number, row in enumerate(rows, 1)]
    _check_names(entries, source, default)
    return tuple(entries)


def read_realms(settings: Settings) -> tuple[Entry, ...]:
    """The realms of the file HUB_REALMS with their keys, none without one. Raises SettingsError."""
    path = settings.realms
    if path is None:
        return ()
    source = f"HUB_REALMS {path}"
    text = _text_of(path, source)
    entries = parse_realms(text, source, default=settings.realm, limit=settings.max_realms, folder=path.parent)
    found = tuple(_with_key(entry, f"{source} realm {entry.name}") for entry in entries)
    # Whoever shows a key would open both.
    owners = dict.fromkeys(settings.keys, settings.realm)
    for entry in found:
        for key in set(entry.keys):
            owner = owners.setdefault(key, entry.name)
            if owner != entry.name:
                raise SettingsError(f"{source} realm {entry.name}: has a key of realm {owner} too")
    return found


def settings_of(settings: Settings, name: str | None) -> Settings:
    """The settings of a realm, the default one's for None. Raises SettingsError if it is in no file."""
    if name is None or name == settings.realm:
        return settings
    for entry in read_realms(settings):
        if entry.name == name:
            return entry.settings(settings)
    where = "HUB_REALMS is not set" if settings.realms is None else f"it is not in HUB_REALMS {settings.realms}"
    raise SettingsError(f"realm {name!r} is unknown: {where}")


def _entry(row: object, where: str, source: str, folder: Path) -> Entry:
    if not isinstance(row, dict):
        raise SettingsError(f"{where}: is not a table")
    name = _one(row, "name", REALM, where)
    if name is None:
        raise SettingsError(f"{where}: has no name")
    where = f"{source} realm {name}"
    unknown = sorted(set(row) - set(_FIELDS))
    if unknown:
        raise SettingsError(f"{where}: {', '.join(unknown)} is unknown; there are {', '.join(_FIELDS)}")
    if ("key" in row) == ("key_file" in row):
        both = "both key and key_file" if "key" in row else "neither key nor key_file"
        raise SettingsError(f"{where}: says {both}; `fanfare token --new-key` prints a new key")
    key_file, rules = (_one(row, each, _FILE, where) for each in ("key_file", "rules"))
    return Entry(
        name,
        key=_one(row, "key", KEY, where),
        key_file=None if key_file is None else folder / key_file,
        old_keys=_many(row, "old_keys", KEY, where),
        hosts=_many(row, "hosts", _HOST_NAME, where),
        origins=_many(row, "origins", ORIGINS, where, flat=True),
        client_publish=_many(row, "client_publish", PATTERNS, where, flat=True),
        rules=None if rules is None else folder / rules,
    )


def _check_names(entries: Sequence[Entry], source: str, default: str) -> None:
    # A host has no case, so two names that differ by it alone would be one.
    names: dict[str, str] = {}
    for entry in entries:
        if entry.name.lower() == default.lower():
            raise SettingsError(f"{source} realm {entry.name}: the name is that of the default realm (FANOUT_REALM)")
        if entry.name.lower() in names:
            raise SettingsError(f"{source} realm {entry.name}: is there twice")
        names[entry.name.lower()] = entry.name
    hosts: dict[str, str] = {}
    for entry in entries:
        for host in entry.hosts:
            label, dot, _ = host.partition(".")
            owner = hosts.setdefault(host, (names.get(label) if dot else None) or entry.name)
            if owner != entry.name:
                raise SettingsError(f"{source} realm {entry.name}: host {host} is realm {owner}'s")


def _with_key(entry: Entry, where: str) -> Entry:
    if entry.key_file is None:
        return entry
    text = _text_of(entry.key_file, f"{where}: key_file")
    return replace(entry, key=_parsed(KEY, text.strip(), f"{where}: key_file", show=False), key_file=None)


def _text_of(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"{where}: {str(path)!r} can't be read: {reason}") from None


def _one(row: dict[str, Any], name: str, kind: Kind, where: str) -> Any:
    if name not in row:
        return None
    value = row[name]
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{where}: {name} is not a string with something in it")
    return _parsed(kind, value, f"{where}: {name}", show=kind is not KEY)


def _many(row: dict[str, Any], name: str, kind: Kind, where: str, *, flat: bool = False) -> tuple[Any, ...]:
    """A list, each by itself. flat: `kind` gives a tuple for each, of one."""
    values = row.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        raise SettingsError(f"{where}: {name} is not a list of strings")
    found = [_parsed(kind, value, f"{where}: {name}", show=kind is not KEY and not flat) for value in values]
    if flat and any(len(each) != 1 for each in found):
        raise SettingsError(f"{where}: {name} has several in one string")
    return tuple(each[0] for each in found) if flat else tuple(found)


def _parsed(kind: Kind, text: str, where: str, *, show: bool) -> Any:
    """The value of a text, or SettingsError. show: name the text too; a key is not, and lists name their words."""
    try:
        return kind.parse(text)
    except ValueError as error:
        raise SettingsError(f"{where}: {text[:80]!r} {error}" if show else f"{where}: {error}") from None


def _parse_host(text: str) -> str:
    if not text.isascii():
        spelled = in_ascii(text)
        raise ValueError("is not in ASCII, as browsers send it" + ("" if spelled is None else f"; write {spelled}"))
    host = text.lower().removesuffix(".")
    if _HOST.fullmatch(host) is None:
        raise ValueError("is not the name of a host such as hub.example.org")
    return host


def _parse_file(text: str) -> Path:
    if not text.isprintable():
        raise ValueError("is not the path of a file")
    return Path(text)


_HOST_NAME = Kind("host", _parse_host)
_FILE = Kind("path", _parse_file)


class Directory(Generic[T]):
    """Something of each realm, to be found for a request. Pure.

    name, default: of the realm for whatever is nobody else's. others: name, hosts and thing of each. things: of all,
    the default's first.
    """

    __slots__ = ("_by_host", "_by_label", "_by_name", "_others", "default", "name", "things")

    def __init__(self, name: str, default: T, others: Iterable[tuple[str, tuple[str, ...], T]] = ()) -> None:
        self.name = name
        self.default = default
        self._others = tuple(others)
        self._by_name = {name: default} | {name: thing for name, _, thing in self._others}
        self.things = tuple(self._by_name.values())
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
    # The port may be empty (RFC 3986 §3.2.3).
    if not colon or (port and not port.isdigit()):
        name = host.lower()
    return name.removesuffix(".")
