"""What may differ between two deployments: read once from the environment, checked, then frozen.

`Settings.from_environ` is called once, by the command; parts receive values, never the mapping.
A variable that does not parse, and an unknown one with our prefix, stop the start with a one-line
SettingsError that names it: a typo must not mean the default.

The table is the dataclass itself: each field carries its variable, kind and help, so that
`fanfare settings`, the docs and the tests list what is really read (`describe`). The site keeps
a table of its own with the same `setting` and `read`.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from .errors import SettingsError
from .forwarded import HEADERS
from .hosts import parse_host
from .origins import check_address, in_ascii, parse_origin, read_host

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class Readable(DataclassInstance, Protocol):
        """A dataclass whose fields are settings."""


S = TypeVar("S", bound="DataclassInstance")

#: Variables with these prefixes are ours; an unknown one is an error.
PREFIXES = ("HUB_", "FANOUT_")

#: Kubernetes gives every pod such variables for a service named `hub` or `fanout`; nobody set them by hand.
_SERVICE_LINK = re.compile(r"[A-Z_]+_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)")

#: Settings that were, and what there is instead.
_GONE = {"SITE_PROXIES": "is HUB_PROXIES now, for the site and the hub"}

#: The user and the password of a URL.
_USER = re.compile(r"//[^/@\s]*@")

#: A realm is part of a path and of a host name.
_REALM = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")

#: A channel pattern as HUB_CLIENT_PUBLISH takes it, after the leading slash was added.
_PATTERN = re.compile(r"(/[A-Za-z0-9\-_!~()$@.]+)*(/[A-Za-z0-9\-_!~()$@.]+|/\*{1,2})")

#: Where things made on the first run are kept, seen from the working directory.
_VAR = Path("var")

_SIZE_UNITS: dict[str, int] = {"": 1} | {
    f"{letter}{rest}": 1024**power for power, letter in enumerate("kmg", 1) for rest in ("", "b", "ib")
}
_SECOND_UNITS: dict[str, float] = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of setting: its name for people, and a parser that raises ValueError with the reason."""

    name: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"-?[0-9][0-9_]*", text):
        raise ValueError("is not a whole number")
    return int(text)


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"([0-9][0-9_]*)\s*([a-z]*)", text.lower())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError("is not a size such as 65536, 64KiB or 1MiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _show_size(size: int) -> str:
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def _parse_seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.lower())
    if match is None or match[2] not in _SECOND_UNITS:
        raise ValueError("is not a time such as 45, 45s, 500ms or 10m")
    return float(match[1]) * _SECOND_UNITS[match[2]]


def _show_seconds(seconds: float) -> str:
    return f"{round(seconds * 1000, 3):g}ms" if 0 < seconds < 1 else f"{seconds:.10g}s"


def _parse_flag(text: str) -> bool:
    match text.lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("is neither true nor false")


def _parse_text(text: str) -> str:
    return text


def _parse_words(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"[\s,]+", text.strip(" \t\n,")))


def _parse_realm(text: str) -> str:
    if not _REALM.fullmatch(text):
        raise ValueError("is not a realm: up to 64 letters, digits, - and _")
    return text


def _parse_key(text: str) -> bytes:
    # Strict, because the Fanout libraries' decoder skips what is not base64 and would sign with another key.
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    # Fanout's own realm keys are 16 bytes.
    if len(key) < 16:
        raise ValueError("is shorter than 16 bytes once decoded")
    return key


def _parse_keys(text: str) -> tuple[bytes, ...]:
    return tuple(_parse_key(word) for word in _parse_words(text))


def _parse_origins(text: str) -> tuple[str, ...]:
    origins = []
    for word in _parse_words(text):
        if word == "*":
            origins.append(word)
            continue
        try:
            origins.append(parse_origin(word))
        except ValueError as error:
            raise ValueError(f"{_USER.sub('//…@', word)[:80]!r} {error}") from None
    return tuple(origins)


def _parse_hosts(text: str) -> tuple[str, ...]:
    hosts = []
    for word in _parse_words(text):
        try:
            hosts.append(parse_host(word))
        except ValueError as error:
            raise ValueError(f"{_USER.sub('//…@', word)[:80]!r} {error}") from None
    return tuple(hosts)


def _parse_patterns(text: str) -> tuple[str, ...]:
    patterns = []
    for word in _parse_words(text):
        pattern = word if word.startswith("/") else f"/{word}"
        if not _PATTERN.fullmatch(pattern) or pattern.startswith(("/meta/", "/service/")):
            raise ValueError(f"has {word!r} in it, which is not a channel or a pattern such as /chat/*")
        patterns.append(pattern)
    return tuple(patterns)


def _parse_redis_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        # Sentinels are several, with commas between.
        for host in parts.netloc.rpartition("@")[2].split(","):
            urlsplit(f"//{host}").port  # noqa: B018  # reading it checks it
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"} or not (
        parts.netloc or parts.path
    ):
        raise ValueError("is not a URL such as redis://localhost:6379/0")
    return text


def _parse_http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # reading it checks it
    except ValueError:
        raise ValueError("is not a URL") from None
    if "@" in parts.netloc:
        # It would be sent to nobody, and shown to many.
        raise ValueError("has a user or a password in it, which nothing here uses")
    if not parts.netloc.isascii():
        # Host and Origin are in ASCII, so this spelling would never match.
        spelled = in_ascii(parts.netloc)
        raise ValueError(
            "has a host that is not in ASCII, as browsers send it"
            + ("" if spelled is None else f"; write {parts._replace(netloc=spelled).geturl()}")
        )
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.query
        or parts.fragment
        or read_host(parts.netloc) is None
    ):
        raise ValueError("is not a URL such as https://hub.example.org")
    check_address(parts.scheme, parts.netloc)
    return text.rstrip("/")


def choice(*words: str) -> Kind:
    """One of a few words."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return text.lower()

    return Kind(" | ".join(words), parse)


COUNT = Kind("number", _parse_count)
SIZE = Kind("bytes", _parse_size, _show_size)
SECONDS = Kind("seconds", _parse_seconds, _show_seconds)
FLAG = Kind("true | false", _parse_flag, lambda flag: "true" if flag else "false")
TEXT = Kind("text", _parse_text)
WORDS = Kind("words", _parse_words, ",".join)
PATH = Kind("path", Path)
REALM = Kind("realm", _parse_realm)
KEY = Kind("base64", _parse_key, lambda key: base64.b64encode(key).decode())
KEYS = Kind("base64, …", _parse_keys, lambda keys: ",".join(base64.b64encode(key).decode() for key in keys))
ORIGINS = Kind("origins", _parse_origins, ",".join)
HOSTS = Kind("hosts", _parse_hosts, ",".join)
PATTERNS = Kind("channel patterns", _parse_patterns, ",".join)
HTTP_URL = Kind("URL", _parse_http_url)
REDIS_URL = Kind("redis URL", _parse_redis_url)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of a table of settings.

    `field` is the attribute's name, `variable` what the environment calls it. `default` is None
    when there is none. `secret` values may come as NAME_FILE and are not shown.
    """

    field: str
    variable: str
    kind: Kind
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False

    def parse(self, text: str) -> Any:
        """The value, or SettingsError naming the variable; a secret's text is not repeated."""
        # A list names the word that is wrong itself.
        shown = "" if self.secret or self.kind in (ORIGINS, HOSTS) else f" {_USER.sub('//…@', text)[:80]!r}"
        try:
            value = self.kind.parse(text)
        except ValueError as error:
            raise SettingsError(f"{self.variable}:{shown} {error}") from None
        if self.minimum is not None and value < self.minimum:
            raise SettingsError(f"{self.variable}:{shown} is less than {self.kind.show(self.minimum)}")
        if self.maximum is not None and value > self.maximum:
            raise SettingsError(f"{self.variable}:{shown} is more than {self.kind.show(self.maximum)}")
        return value

    def show(self, value: Any) -> str:
        """The value as the environment would say it; a secret is only said to be set."""
        if value is None or value == ():
            return ""
        return "(set)" if self.secret else self.kind.show(value)


def setting(
    variable: str,
    kind: Kind,
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool = False,
) -> Any:
    """A dataclass field that is read from `variable`."""
    row = {
        "variable": variable,
        "kind": kind,
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "secret": secret,
    }
    # A secret stays out of the repr, which ends up in logs and tracebacks.
    return field(default=default, repr=not secret, metadata=row)


def site_url_setting() -> Any:
    """SITE_URL, whose pages are the hub's own."""
    return setting(
        "SITE_URL",
        HTTP_URL,
        None,
        "the site's own address as browsers see it; its pages may connect, and with https, cookies are sent by it only",
    )


def host_setting() -> Any:
    """HOST, which says for whom the pages are that only a developer needs."""
    return setting("HOST", TEXT, "127.0.0.1", "address to listen on; 0.0.0.0 or :: for every interface")


def redis_url_setting() -> Any:
    """REDIS_URL, for all that is kept in Redis."""
    return setting(
        "REDIS_URL", REDIS_URL, None, "the log shared by all workers; without it the log is in memory", secret=True
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxies_setting() -> Any:
    """HUB_PROXIES, which every table has that counts by address: two settings would be half set."""
    return setting(
        "HUB_PROXIES",
        COUNT,
        0,
        "proxies of yours in front, each of which adds the address it sees to HUB_PROXY_HEADER",
        minimum=0,
        maximum=100,
    )


def proxy_header_setting() -> Any:
    """HUB_PROXY_HEADER, likewise."""
    return setting(
        "HUB_PROXY_HEADER",
        choice(*HEADERS),
        HEADERS[0],
        "where those proxies write it; the other is never believed",
    )


def describe(table: type[DataclassInstance]) -> list[Setting]:
    """The rows of a table, in the order they were written."""
    return [_row(item) for item in fields(table) if "variable" in item.metadata]


def _row(item: Field[Any]) -> Setting:
    default = None if item.default is MISSING else item.default
    return Setting(field=item.name, default=default, **item.metadata)


def variables(table: type[DataclassInstance]) -> set[str]:
    """Every name the table answers to, NAME_FILE of secrets included."""
    names = set()
    for row in describe(table):
        names.add(row.variable)
        if row.secret:
            names.add(f"{row.variable}_FILE")
    return names


def read(table: type[S], environ: Mapping[str, str]) -> S:
    """A table's values from `environ`; raises SettingsError. An empty variable counts as not set."""
    values: dict[str, Any] = {}
    for row in describe(table):
        text = environ.get(row.variable, "").strip()
        if row.secret:
            text = _from_file(row, text, environ.get(f"{row.variable}_FILE", "").strip())
        if text:
            values[row.field] = row.parse(text)
    return table(**values)


def _from_file(row: Setting, text: str, path: str) -> str:
    if not path:
        return text
    if text:
        raise SettingsError(f"{row.variable}: is set, and {row.variable}_FILE too; which one is meant?")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"{row.variable}_FILE: {path!r} can't be read: {reason}") from None


def check_unknown(environ: Mapping[str, str], known: Iterable[str], prefixes: tuple[str, ...] = PREFIXES) -> None:
    """Raise SettingsError for a variable with our prefix that nobody reads."""
    names = set(known)
    for name in sorted(environ):
        if name in names or not name.startswith(prefixes) or _SERVICE_LINK.fullmatch(name):
            continue
        if environ[name].startswith("tcp://"):
            # The last of Kubernetes' names, HUB_PORT=tcp://10.0.0.1:80.
            continue
        if name in _GONE:
            raise SettingsError(f"{name}: {_GONE[name]}")
        near = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.7)
        raise SettingsError(f"{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else ""))


#: Settings without a prefix of ours, under which other programs' variables may stand.
_BARE = ("REDIS_URL", "DATABASE_URL", "WEB_CONCURRENCY")


def near_misses(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting of ours, means nothing, and may have been meant.

    What has one of our prefixes stops the start (`check_unknown`); these may be another program's.
    """
    known = variables(Settings) | {*_BARE, "DATABASE_URL_FILE", "SITE_URL", "SITE_SECRET"}
    found = []
    for name in sorted(environ):
        bare = re.sub(r"[^A-Z0-9]", "", name.upper())
        if name in known or not environ[name] or name.startswith((*PREFIXES, "SITE_")) or _SERVICE_LINK.fullmatch(name):
            continue
        if name.upper().startswith("FANFARE_") and name.isupper():
            near = difflib.get_close_matches(f"HUB_{name[8:]}", sorted(known), n=1, cutoff=0.8)
            near = near or [each for each in known if each == name[8:]]
        else:
            spelled = {each.replace("_", ""): each for each in sorted(known) if len(each) > 5}
            near = [spelled[each] for each in difflib.get_close_matches(bare, spelled, n=1, cutoff=0.85)]
        if near and not environ.get(near[0]) and not environ.get(f"{near[0]}_FILE"):
            found.append(f"{name} is set and means nothing here; was {near[0]} meant?")
        elif not near and name.startswith("FANFARE_"):
            found.append(f"{name} is set and means nothing here; settings begin with HUB_, FANOUT_ or SITE_")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The hub's settings. Sizes are bytes, times are seconds; a limit of 0 means "none" where its help says so."""

    # Where it listens, and what it leans on.
    port: int = setting("PORT", COUNT, 8000, "TCP port to listen on; 0 takes a free one", minimum=0, maximum=65535)
    host: str = host_setting()
    workers: int = setting(
        "WEB_CONCURRENCY", COUNT, 1, "processes on that port; more than one needs REDIS_URL", minimum=1, maximum=512
    )
    shared_port: bool = setting(
        "HUB_SHARED_PORT",
        FLAG,
        False,
        "listen although another hub does on that port, to replace it without a gap; with two workers or more",
    )
    redis_url: str | None = redis_url_setting()
    shards: int = setting(
        "HUB_SHARDS", COUNT, 16, "Redis streams that the channels are spread over", minimum=1, maximum=1024
    )
    var: Path = setting("HUB_VAR", PATH, _VAR, "folder for what is made on the first run")

    url: str | None = setting(
        "HUB_URL", HTTP_URL, None, "where publishers in other processes reach the hub; else HOST and PORT say it"
    )

    # Who may publish.
    realm: str = setting("FANOUT_REALM", REALM, "fanfare", "the realm that publishers name")
    key: bytes | None = setting(
        "FANOUT_KEY",
        KEY,
        None,
        "the realm's key; on a loopback HOST it is made and kept in var/fanout.key",
        secret=True,
    )
    #: Whether the key is the one that was made in HUB_VAR.
    key_kept: bool = False
    old_keys: tuple[bytes, ...] = setting(
        "FANOUT_OLD_KEYS", KEYS, (), "keys still accepted while publishers change to the new one", secret=True
    )
    token_leeway: float = setting(
        "HUB_TOKEN_LEEWAY", SECONDS, 30.0, "how late a token's exp may be, for clocks that differ", maximum=600
    )
    client_publish: tuple[str, ...] = setting(
        "HUB_CLIENT_PUBLISH", PATTERNS, (), "channel patterns that browsers may publish to"
    )
    rules: Path | None = setting(
        "HUB_RULES", PATH, None, "TOML file that says who may do what where, and what is kept (docs/access.md)"
    )
    origins: tuple[str, ...] = setting(
        "HUB_ORIGINS", ORIGINS, (), "origins of other sites and apps whose pages may connect; * for any"
    )
    hosts: tuple[str, ...] = setting(
        "HUB_HOSTS",
        HOSTS,
        (),
        "names that requests may be sent to, with a port for that one only; *.example.org for whatever ends so, * for"
        " any. Unset: the one of SITE_URL, addresses, and names that no public DNS has; without SITE_URL any, or where"
        " nothing is set up localhost and addresses",
    )
    jsonp: bool = setting("HUB_JSONP", FLAG, True, "let pages poll by scripts, for browsers without CORS")
    site_url: str | None = site_url_setting()
    realms: Path | None = setting(
        "HUB_REALMS", PATH, None, "TOML file of more realms, with keys and rules of their own (docs/realms.md)"
    )
    max_realms: int = setting(
        "HUB_MAX_REALMS",
        COUNT,
        # Measured, a hundred idle ones take 5 % of a core of each worker, and 2 % of Redis's for each worker.
        100,
        "realms that the file may have: each has a log of its own, with connections to Redis",
        minimum=1,
        maximum=10_000,
    )

    # How it speaks Bayeux.
    dialect: str = setting(
        "HUB_DIALECT", choice("spec", "faye"), "spec", "error codes: the specification's, or those of Faye's server"
    )
    channel_charset: str = setting(
        "HUB_CHANNEL_CHARSET",
        choice("spec", "cometd"),
        "spec",
        "characters of channels for Bayeux clients: the specification's, or CometD's wider set",
    )
    proxies: int = proxies_setting()
    proxy_header: str = proxy_header_setting()

    # Time.
    connect_timeout: float = setting(
        "HUB_CONNECT_TIMEOUT",
        SECONDS,
        # Heroku's router gives up on an idle request after 55 s, nginx and most balancers after 60 s.
        45.0,
        "how long a connect is held",
        minimum=0.05,
        maximum=55,
    )
    connect_interval: float = setting(
        "HUB_CONNECT_INTERVAL", SECONDS, 0.0, "pause that clients are asked to make between connects", maximum=60
    )
    session_ttl: float = setting(
        "HUB_SESSION_TTL", SECONDS, 30.0, "how long a session lives on without a connection", minimum=0.05, maximum=3600
    )
    ping_interval: float = setting(
        "HUB_PING_INTERVAL",
        SECONDS,
        # A half-open connection is found within two intervals, an event stream's within two and a half: 30 s.
        12.0,
        "between pings on an idle WebSocket; twice without a sign of life closes it, and any connection whose peer"
        " acknowledges nothing for 1.5 times as long (5 s at the least)",
        minimum=0.05,
        maximum=3600,
    )
    tick: float = setting(
        "HUB_TICK",
        SECONDS,
        0.002,
        "how long deliveries to a socket may wait for more; 0 writes each by itself",
        maximum=1,
    )
    turn: float = setting(
        "HUB_TURN",
        SECONDS,
        # hub.turns.TURN_SECONDS.
        0.00025,
        "what costly work may take of a round of the event loop, before quiet connections are served",
        maximum=1,
    )
    order_wait: float = setting(
        "HUB_ORDER_WAIT",
        SECONDS,
        # Pushpin's message_wait.
        5.0,
        "how long a published item waits for the one its prev-id names; 0 for not at all",
        maximum=30,
    )
    order_channel: int = setting(
        # Pushpin's number.
        "HUB_ORDER_CHANNEL",
        COUNT,
        100,
        "items of a channel that wait for their prev-id at a worker",
        minimum=1,
    )
    order_items: int = setting(
        "HUB_ORDER_ITEMS", COUNT, 10_000, "items of a realm that wait for their prev-id at a worker", minimum=1
    )
    drain_timeout: float = setting(
        "HUB_DRAIN_TIMEOUT", SECONDS, 10.0, "what a shutdown may take before connections are cut", maximum=600
    )
    head_timeout: float = setting(
        "HUB_HEAD_TIMEOUT", SECONDS, 10.0, "for a request's head to arrive", minimum=0.05, maximum=600
    )
    body_timeout: float = setting(
        "HUB_BODY_TIMEOUT", SECONDS, 30.0, "for a request's body to arrive", minimum=0.05, maximum=600
    )

    idle_timeout: float = setting(
        "HUB_IDLE_TIMEOUT",
        SECONDS,
        # nginx closes an idle connection to an upstream after 60 s, Amazon's balancers and Azure's gateways too.
        75.0,
        "for the next request on a kept connection; longer than the proxy's in front keeps it",
        minimum=1,
        maximum=3600,
    )

    # What is kept of a channel.
    history_count: int = setting("HUB_HISTORY_COUNT", COUNT, 1000, "publications kept of a channel", minimum=0)
    history_seconds: float = setting("HUB_HISTORY_SECONDS", SECONDS, 600.0, "how long publications are kept")
    history_bytes: int = setting("HUB_HISTORY_BYTES", SIZE, 1024**2, "bytes kept of a channel")

    # Bounds.
    head_bytes: int = setting(
        "HUB_MAX_HEAD",
        SIZE,
        # Browsers send cookies of up to 16 KiB, in one field.
        32 * 1024,
        "longest head of a request, with its cookies; longer is answered 431",
        minimum=4096,
        maximum=16 * 1024**2,
    )
    message_bytes: int = setting(
        "HUB_MAX_BODY", SIZE, 1024**2, "longest message and request body; longer is answered 413", minimum=256
    )
    body_bytes: int = setting(
        "HUB_MAX_BODY_READ",
        SIZE,
        # Faye repeats a request that failed with an HTTP status for ever, so up to here it gets a Bayeux error instead.
        8 * 1024**2,
        "longest body that is read to answer 413 in the client's own protocol",
        minimum=256,
    )
    max_messages: int = setting("HUB_MAX_MESSAGES", COUNT, 1000, "messages or items in one request", minimum=1)
    max_values: int = setting(
        "HUB_MAX_VALUES",
        COUNT,
        50_000,
        "JSON values in a client's message or request; a list or an object counts as ten",
        minimum=10,
    )
    max_depth: int = setting("HUB_MAX_DEPTH", COUNT, 64, "nesting of what is published", minimum=4, maximum=250)
    max_channel: int = setting(
        # Stores of Faye's time take 255.
        "HUB_MAX_CHANNEL",
        COUNT,
        255,
        "characters of a channel's name",
        minimum=16,
        maximum=255,
    )
    max_segments: int = setting(
        # A channel of n segments is looked up under n + 2 patterns.
        "HUB_MAX_SEGMENTS",
        COUNT,
        32,
        "segments of a channel's name",
        minimum=2,
        maximum=32,
    )
    max_subscriptions: int = setting(
        "HUB_MAX_SUBSCRIPTIONS", COUNT, 1000, "subscriptions of a session, and in one message", minimum=1
    )
    subscription_bytes: int = setting(
        "HUB_SUBSCRIPTION_BYTES",
        SIZE,
        # 100,000 sessions with 15 names of 20 characters each.
        64 * 1024**2,
        "names of all subscriptions of a worker, and 24 bytes for each; what Redis keeps of its sessions is at most "
        "four times as much, and some 400 bytes a session. 0 for no limit",
        minimum=0,
    )
    queue_count: int = setting("HUB_QUEUE_COUNT", COUNT, 1000, "publications waiting for a session", minimum=1)
    queue_bytes: int = setting("HUB_QUEUE_BYTES", SIZE, 1024**2, "bytes waiting for a session", minimum=1024)
    follower_count: int = setting(
        "HUB_FOLLOWER_COUNT", COUNT, 10_000, "publications waiting for code that follows channels", minimum=1
    )
    follower_bytes: int = setting(
        "HUB_FOLLOWER_BYTES", SIZE, 16 * 1024**2, "bytes waiting for code that follows channels", minimum=1024
    )
    recent_bytes: int = setting(
        "HUB_RECENT_BYTES",
        SIZE,
        # 50,000 publications of 100 bytes; 700 a second fill it in the time that it covers.
        32 * 1024**2,
        "memory for what a socket that died without a word is given again, of a realm",
        minimum=0,
    )
    max_connections: int = setting(
        "HUB_MAX_CONNECTIONS", COUNT, 0, "connections a worker takes; 0 for as many as it may open files", minimum=0
    )
    address_connections: int = setting(
        "HUB_ADDRESS_CONNECTIONS",
        COUNT,
        # A large office behind one address; a browser keeps one or two.
        2000,
        "connections one address may have at a worker; 0 for no limit",
        minimum=0,
    )
    address_unread: int = setting(
        "HUB_ADDRESS_UNREAD",
        SIZE,
        # A thousand sockets of an office whose line has stopped, or 64 answers as long as they may be.
        64 * 1024**2,
        "bytes that may wait at a worker for clients of one address that don't read; 0 for no limit",
        minimum=0,
    )
    handshake_rate: int = setting(
        "HUB_HANDSHAKE_RATE",
        COUNT,
        # Ten seconds of it are saved up, so 2,000 browsers behind one address come back at once after a restart.
        200,
        "handshakes a second from one address; 0 for no limit",
        minimum=0,
    )
    publish_rate: int = setting(
        "HUB_PUBLISH_RATE", COUNT, 100, "publishes a second of a client; 0 for no limit", minimum=0
    )
    address_publish_rate: int = setting(
        "HUB_ADDRESS_PUBLISH_RATE",
        COUNT,
        # The people of an office share an address; ten who publish all they may are as many as it bears.
        1000,
        "publishes a second of all clients of an address; 0 for no limit",
        minimum=0,
    )
    browser_polls: int = setting(
        "HUB_BROWSER_POLLS",
        COUNT,
        0,
        "polls a browser may hold at once, by a cookie, where it speaks HTTP/1.1; 0 for no limit",
        minimum=0,
    )
    max_sessions: int = setting("HUB_MAX_SESSIONS", COUNT, 0, "sessions a worker remembers; 0 for no limit", minimum=0)

    # Who is in a channel, where a rule lets somebody see it.
    presence_leave: float = setting(
        "HUB_PRESENCE_LEAVE",
        SECONDS,
        # A page that is loaded again, or comes back after its worker went, is there again within three.
        5.0,
        "how long a user may be away from a channel before that counts as leaving",
        minimum=0.2,
        maximum=600,
    )
    presence_rate: int = setting(
        "HUB_PRESENCE_RATE",
        COUNT,
        # Each takes 5 kB of Redis for as long as history is kept, and 200 bytes for a day. A hundred seconds of it are
        # saved up.
        10,
        "channels a second in which clients of one address may be the first, where presence is kept; in more they are"
        " not counted. Ten times as many may change by them, before others wait. 0 for no limit",
        minimum=0,
    )
    presence_users: int = setting(
        "HUB_PRESENCE_USERS",
        COUNT,
        # About 200 bytes each at every worker.
        100_000,
        "users that a worker names in its channels; more are only counted",
        minimum=0,
    )

    static: Path | None = setting(
        "HUB_STATIC", PATH, None, "folder of scripts to serve under /bayeux/static/ beside the hub's own"
    )

    # What it tells whoever runs it.
    log_level: str = setting("HUB_LOG_LEVEL", choice("debug", "info", "warning", "error"), "info", "least level logged")
    log_format: str = setting("HUB_LOG_FORMAT", choice("text", "json"), "text", "form of the log's lines")
    metrics: bool = setting("HUB_METRICS", FLAG, True, "serve /metrics")
    inside: bool = setting(
        "HUB_INSIDE",
        FLAG,
        True,
        "keep what the hub did, 2 MiB a worker in HUB_VAR/inside, and answer who shows the key what it does; "
        "docs/inside.md",
    )
    seen_rate: int = setting(
        "HUB_SEEN_RATE",
        COUNT,
        100,
        "publications of which a browser says of one that it has got it, once in half a minute at most; 0 for none",
        minimum=0,
        maximum=1_000_000,
    )
    notes: int = setting(
        "HUB_NOTES",
        COUNT,
        20_000,
        "publications, and ends of sessions, of which a worker remembers when and by whom; some 250 bytes each",
        minimum=0,
        maximum=1_000_000,
    )

    def __post_init__(self) -> None:
        if self.workers > 1 and self.redis_url is None:
            raise SettingsError(f"WEB_CONCURRENCY: {self.workers} workers need REDIS_URL, the log between them")
        if self.body_bytes < self.message_bytes:
            raise SettingsError("HUB_MAX_BODY_READ: is less than HUB_MAX_BODY")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], also: Iterable[str] = ()) -> Self:
        """Read the hub's variables; raise SettingsError for a bad one, or one with our prefix that is unknown.

        `also`: names with our prefixes that another table reads.
        """
        check_unknown(environ, variables(cls) | set(also))
        return read(cls, environ)

    @property
    def development(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def is_bare(self) -> bool:
        """Whether nothing was set up: a trial on this machine, where no other name leads here rightly."""
        given = (self.key is not None and not self.key_kept) or self.site_url or self.proxies or self.realms
        return self.development and not given

    @property
    def hub_url(self) -> str:
        """Where this machine reaches the hub: HUB_URL, or what HOST and PORT say; no slash at the end."""
        if self.url is not None:
            return self.url
        # An address that means "every interface" can be listened on, not connected to.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys a token may be signed with, the newest first; empty means that nobody may publish by token."""
        return (() if self.key is None else (self.key,)) + self.old_keys

    def with_key(self) -> Self:
        """These settings with a key: the given one, or the one kept in `var`, made now if need be.

        Call it once in the process that starts others. Raises SettingsError when HOST is open to
        other machines and no key is given: several machines would make different ones.
        """
        if self.key is not None:
            return self
        path = self.var / "fanout.key"
        if not path.exists() and not self.development:
            raise SettingsError(
                "FANOUT_KEY: is not set, and HOST is not a loopback address; `fanfare token --new-key` prints a new key"
            )
        return replace(self, key=keep_key(path), key_kept=True)


def new_key() -> bytes:
    """A new realm key: 32 bytes, as long as HS256's hash (RFC 7518 §3.2)."""
    return secrets.token_bytes(32)


def keep_key(path: Path, variable: str = "FANOUT_KEY") -> bytes:
    """The key kept in a file, made if there is none; only its owner may read the file.

    Raises SettingsError, naming the variable that the file stands in for.
    """
    try:
        # What is kept beside the keys is nobody else's to read either: the demo's database, with its accounts.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written whole under another name and then linked, so that of two processes starting at
        # once one makes the key and both read that one.
        if not path.exists():
            draft = path.with_name(f"{path.name}.{os.getpid()}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(new_key()) + b"\n")
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return _parse_key(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise SettingsError(f"{variable}: {str(path)!r} can't be kept: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{variable}: what {str(path)!r} holds {error}") from None
