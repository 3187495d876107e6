"""DATABASE_URL as hosts hand it out, read the same way by every command. Pure: no file is looked at.

What libpq documents (postgresql.org/docs/current/libpq-connect.html, 34.1.1.2 and 34.1.2) is either
meant as it is there, or refused in a sentence that names the parameter and what to do. Several hosts, IPv6, Unix
sockets (`host=/run/postgresql`, `%2Frun%2Fpostgresql`), no host, user or port at all: as libpq.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote

Backend = Literal["postgresql", "sqlite"]

_SCHEMES: dict[str, Backend] = {
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    # Heroku and others still write the first form.
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "postgresql+asyncpg": "postgresql",
}

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")

#: Parameters that asyncpg means as libpq does.
_DRIVERS = (
    "sslmode",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslcrl",
    "sslpassword",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "target_session_attrs",
    "passfile",
    "service",
    "krbsrvname",
    "gsslib",
)

#: Parameters for the server's side of the session.
_SERVERS = ("application_name", "options")

#: Numbers that go to the socket.
_SOCKETS = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")

_CHOICES: dict[str, tuple[str, ...]] = {
    "sslmode": _SSL_MODES,
    "target_session_attrs": _SESSIONS,
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "load_balance_hosts": ("disable", "random"),
}

#: What does nothing here: the values that ask for nothing, and why the others can't be had.
_HARMLESS: dict[str, tuple[tuple[str, ...], str]] = {
    "channel_binding": (
        ("disable", "prefer"),
        "asyncpg can't do it; say channel_binding=prefer, and sslmode=verify-full to be sure of the server",
    ),
    "gssencmode": (("disable", "prefer"), "asyncpg can't encrypt by GSSAPI; say gssencmode=prefer, and use sslmode"),
    "client_encoding": (("auto", "utf8", "utf-8", "unicode"), "it is UTF-8 always; leave the parameter out"),
    "sslcompression": (("0",), "nobody should; leave the parameter out"),
    "sslsni": (("1",), "the server's name is always sent; leave the parameter out"),
    "sslcertmode": (("allow",), "leave the parameter out; a certificate is sent if sslcert names one"),
    "gssdelegation": (("0",), "asyncpg can't; leave the parameter out"),
    "replication": (("false", "off", "no", "0"), "leave the parameter out"),
    "min_protocol_version": (("3.0",), "asyncpg has 3.0; leave the parameter out"),
    "max_protocol_version": (("3.0", "3.2", "latest"), "asyncpg has 3.0; leave the parameter out"),
    "fallback_application_name": ((), ""),
}

_WORDS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Where a database is and how to connect to it.

    path: SQLite's file. hosts: names, addresses or folders of sockets, with their ports (None: the
    default). driver, server: parameters for asyncpg's DSN and for the session. socket: TCP_* numbers.
    connect_timeout: seconds for a connection, None if not said. is_random: take the hosts in any order.
    is_pooled: a pooler such as PgBouncer is between; None if not said.
    """

    backend: Backend
    path: str | None = None
    hosts: tuple[tuple[str, int | None], ...] = ()
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    driver: Mapping[str, str] = field(default_factory=dict, repr=False)
    server: Mapping[str, str] = field(default_factory=dict)
    socket: Mapping[str, int] = field(default_factory=dict)
    connect_timeout: float | None = None
    is_random: bool = False
    is_pooled: bool | None = None

    @property
    def place(self) -> str:
        """Where it is, in a few words: the file, or the hosts with their ports."""
        if self.path is not None:
            return self.path
        shown = []
        for host, port in self.hosts:
            name = f"[{host}]" if ":" in host else host
            shown.append(name if port is None else f"{name}:{port}")
        return ",".join(shown) or self.driver.get("service", "localhost")

    @property
    def shown(self) -> str:
        """The URL for people, without its secrets and its parameters."""
        if self.path is not None:
            return f"sqlite:///{self.path}"
        user = "" if self.user is None else quote(self.user, safe="") + "@"
        hosts = ",".join(quote(place, safe="[]:.-_") for place in self.place.split(",") if self.hosts)
        return f"postgresql://{user}{hosts}/{quote(self.database or '', safe='')}"

    def __str__(self) -> str:
        return self.shown

    @property
    def dsn(self) -> str:
        """The part of it that asyncpg takes only as a URL; the rest are arguments."""
        words = "&".join(f"{name}={quote(value, safe='')}" for name, value in self.driver.items())
        return f"postgresql://?{words}" if words else "postgresql://"


def parse(text: str) -> DatabaseUrl:
    """Read a database's URL. Raises ValueError with one sentence, which never shows a password."""
    text = text.strip()
    scheme, mark, rest = text.partition("://")
    backend = _SCHEMES.get(scheme)
    if not mark:
        raise ValueError("is not a URL such as postgresql://user@localhost/fanfare")
    if backend is None:
        raise ValueError(f"speaks of {scheme!r}; sqlite and postgresql are supported")
    if any(ord(letter) < 32 for letter in text):
        raise ValueError("has a control character in it")
    return _sqlite(rest) if backend == "sqlite" else _postgresql(rest)


def _sqlite(rest: str) -> DatabaseUrl:
    host, _, path = rest.partition("?")[0].partition("/")
    if "?" in rest:
        raise ValueError(f"{rest.partition('?')[2].partition('=')[0]}: SQLite's URL takes no parameters; leave it out")
    if host:
        raise ValueError("names a host; three slashes come before a path: sqlite:///fanfare.sqlite3")
    if path in ("", ":memory:"):
        raise ValueError("needs a file: each connection would have a database of its own in memory")
    return DatabaseUrl("sqlite", path=unquote(path))


def _postgresql(rest: str) -> DatabaseUrl:
    head, _, query = rest.partition("?")
    authority, _, database = head.partition("/")
    auth, at, hosts = authority.rpartition("@")
    user, _, password = auth.partition(":")
    found = _parameters(query)
    places = _hosts(found.pop("host", ""), found.pop("hostaddr", ""), found.pop("port", ""), hosts)
    driver = {name: found.pop(name) for name in _DRIVERS if name in found}
    server = {name: found.pop(name) for name in _SERVERS if name in found}
    if "fallback_application_name" in found:
        server.setdefault("application_name", found.pop("fallback_application_name"))
    if "ssl" in found:
        # libpq takes JDBC's ssl=true; SQLAlchemy's asyncpg has `ssl` for sslmode.
        given = found.pop("ssl")
        mode = {True: "require", False: "disable"}.get(_WORDS.get(given), given)  # type: ignore[arg-type]
        driver.setdefault("sslmode", mode)
    _check_ssl(driver)
    socket = {name: _whole(name, found.pop(name)) for name in _SOCKETS if name in found}
    timeout = _whole("connect_timeout", found.pop("connect_timeout")) if "connect_timeout" in found else None
    pooled = _pooled(found)
    is_random = _chosen("load_balance_hosts", found.pop("load_balance_hosts", "disable")) == "random"
    names = [found.pop(name) for name in ("dbname", "database") if name in found]
    parsed = DatabaseUrl(
        "postgresql",
        hosts=places,
        user=found.pop("user", None) or (unquote(user) if at and user else None),
        password=found.pop("password", None) or unquote(password) or None,
        database=names[0] if names else unquote(database) or None,
        driver={name: _chosen(name, value) for name, value in driver.items()},
        server=server,
        socket=socket,
        # libpq: zero, negative or not said is no limit.
        connect_timeout=float(timeout) if timeout else None,
        is_random=is_random,
        is_pooled=pooled,
    )
    for name, value in found.items():
        _check_harmless(name, value)
    return parsed


def _parameters(query: str) -> dict[str, str]:
    found = {}
    for part in query.split("&") if query else ():
        name, mark, value = part.partition("=")
        if not mark or not name:
            raise ValueError(f"{unquote(name) or '?'}: a parameter is written name=value; write % as %25 and & as %26")
        # libpq: a plus sign is a plus sign.
        found[unquote(name)] = unquote(value)
    return {name: value for name, value in found.items() if value or name in ("options", "application_name")}


def _hosts(host: str, hostaddr: str, port: str, authority: str) -> tuple[tuple[str, int | None], ...]:
    if hostaddr and host:
        raise ValueError("hostaddr: asyncpg can't take it beside host; leave hostaddr out")
    places: list[tuple[str, int | None]] = []
    given = host or hostaddr
    if given:
        places = [(each, None) for each in given.split(",")]
    elif authority:
        places = [_place(each) for each in authority.split(",")]
    ports = [_port(each) for each in port.split(",")] if port else []
    if ports and len(ports) not in (1, max(len(places), 1)):
        raise ValueError(f"port: {len(ports)} numbers for {len(places)} hosts; give one for each, or one for all")
    if ports and not places:
        places = [("", None)]
    if ports:
        places = [(name, ports[at if len(ports) > 1 else 0]) for at, (name, _) in enumerate(places)]
    return tuple((name or "localhost", number) for name, number in places)


def _place(text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]*))(?::([^:]*))?", text)
    if found is None:
        raise ValueError(
            "host: an IPv6 address is written in brackets, [::1]; in a user name or password write : as %3A, @ as %40"
        )
    address, name, port = found.groups()
    return unquote(address or name), _port(port) if port else None


def _port(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("port: is not a number from 1 to 65535; in a password write / as %2F, ? as %3F, # as %23")
    return int(text)


def _whole(name: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text.strip()):
        raise ValueError(f"{name}: {text!r} is not a whole number")
    return max(int(text), 0)


def _chosen(name: str, value: str) -> str:
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name}: {value!r} is not one of {', '.join(_CHOICES[name])}")
    return value


def _check_ssl(driver: dict[str, str]) -> None:
    if driver.get("sslnegotiation") == "direct" and driver.get("sslmode") not in _SSL_MODES[3:]:
        raise ValueError("sslnegotiation: direct needs sslmode=require, verify-ca or verify-full")
    if driver.get("sslrootcert") == "system":
        if driver.setdefault("sslmode", "verify-full") != "verify-full":
            raise ValueError("sslrootcert: system needs sslmode=verify-full")
        for name in ("sslcert", "sslcrl", "sslnegotiation"):
            if name in driver:
                raise ValueError(f"{name}: not beside sslrootcert=system; name the file with the roots instead")


def _pooled(found: dict[str, str]) -> bool | None:
    if "pgbouncer" in found:
        given = found.pop("pgbouncer")
        if given not in _WORDS:
            raise ValueError(f"pgbouncer: {given!r} is not true or false")
        return _WORDS[given]
    for name in ("prepared_statement_cache_size", "statement_cache_size"):
        if name in found and _whole(name, found[name]) == 0:
            found.pop(name)
            return True
    return None


def _check_harmless(name: str, value: str) -> None:
    if name not in _HARMLESS:
        raise ValueError(
            f"{name}: is not a parameter that is known here; leave it out"
            " (a setting of the server's is written options=-c%20name%3Dvalue)"
        )
    values, advice = _HARMLESS[name]
    if value.lower() not in values:
        raise ValueError(f"{name}: {value!r} can't be had: {advice}")
