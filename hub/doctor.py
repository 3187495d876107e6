"""What `fanfare doctor URL` looks at: whether all that is between browsers and a running hub lets through what it must.

Each look is made through the address that browsers use, as a browser would; what only the hub can know of itself
(what a proxy passes on, Redis, descriptors, its clock) it is asked for with the realm's key. Each finding is a plain
sentence, and what is wrong comes with the mend.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from .checkup import check_hub
from .forwarded import NGINX_NAMES_CLIENTS
from .protocol import tokens
from .settings import Settings

#: Seconds that an answer may take which comes at once, and in which what is published must be in a stream.
PATIENCE = 6.0
AT_ONCE = 2.0

#: Seconds beyond the hub's own longest hold that a proxy must wait.
BEYOND = 2.0

#: Bytes of a body that every proxy must pass; the hub takes a megabyte, and some libraries send several at once.
BODY = 2 * 1024 * 1024

#: Descriptors below which a hub is full before anybody expects it.
DESCRIPTORS = 4096

#: Seconds that clocks may differ. Tokens have a leeway of their own, which is longer.
CLOCK = 2.0

#: Times that the hub is asked who it is, on as many connections.
ASKED = 8

_ELSEWHERE = "https://doctor.invalid"

State = Literal["ok", "note", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. mend: what to change, where something is wrong."""

    name: str
    state: State
    words: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """How a hub is reached: its URL taken apart."""

    url: str
    secure: bool
    host: str
    port: int
    path: str
    netloc: str

    @classmethod
    def parse(cls, url: str) -> Way:
        """Raises ValueError for what is no URL of a hub."""
        parts = urlsplit(url.rstrip("/"))
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError(f"not the URL of a hub: {url!r}; write it as https://hub.example.org")
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        return cls(url.rstrip("/"), secure, parts.hostname, port, parts.path, parts.netloc)

    @property
    def origin(self) -> str:
        """The origin of its own pages."""
        return f"{'https' if self.secure else 'http'}://{self.netloc}"

    @property
    def is_near(self) -> bool:
        """Whether it is this machine's own."""
        return self.host in {"localhost", "127.0.0.1", "::1"}

    def connect(self, timeout: float) -> HTTPConnection:
        """A connection of its own; it is opened when something is asked."""
        if self.secure:
            return HTTPSConnection(self.host, self.port, timeout=timeout, context=ssl.create_default_context())
        return HTTPConnection(self.host, self.port, timeout=timeout)

    def open(self, timeout: float) -> socket.socket:
        """A plain connection, through TLS if need be. Raises OSError."""
        plain = socket.create_connection((self.host, self.port), timeout)
        if self.secure:
            return ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
        return plain


class Doctor:
    """Looks at one hub. settings: with the realm and its key, if there is one; origins: of pages that must get in.

    hold: seconds that a poll and an idle socket are held, None for as long as the hub holds its own.
    """

    def __init__(self, url: str, settings: Settings, *, origins: Sequence[str] = (), hold: float | None = None) -> None:
        self.way = Way.parse(url)
        self._settings = settings
        self._key = settings.key
        self._origins = origins
        self._hold = hold
        self._channel = f"fanfare-doctor-{secrets.token_hex(4)}"
        self._setup: Mapping[str, Any] = {}
        self._proxied = False

    def look(self) -> Iterator[Finding]:
        """Everything, one finding after the other."""
        first = self._reach()
        yield from first
        if any(each.state == "fault" for each in first):
            return
        yield from self._ask_setup()
        looks: list[Callable[[], Iterator[Finding]]] = [
            self._upgrade,
            self._origin_rules,
            self._stream,
            self._poll,
            self._idle,
            self._body,
            self._metrics,
            self._one_hub,
        ]
        # Together, because two of them only wait.
        with ThreadPoolExecutor(len(looks)) as pool:
            for done in [pool.submit(_safely, look) for look in looks]:
                yield from done.result()
        if self._setup:
            yield from self._what_proxies_say()
            yield from self._process()
            yield from self._redis()

    # That it is there

    def _reach(self) -> list[Finding]:
        found = check_hub(self.way.url, self._settings, own=False)
        findings = [Finding(name, "ok" if well else "fault", words) for name, well, words in found]
        if any(each.name == "publishing" and each.state == "fault" for each in findings):
            findings += self._date()
        if not self.way.secure and not self.way.is_near:
            words = f"{self.way.url} is not encrypted: tokens and messages can be read on the way"
            findings.append(Finding("TLS", "note", words, "serve it by https"))
        return findings

    def _date(self) -> list[Finding]:
        """What the answers' Date says, where no token is taken to ask for more: perhaps that is why."""
        asked = time.time()
        try:
            _, headers, _ = self._get(f"{self.way.path}/health")
            apart = parsedate_to_datetime(headers["date"]).timestamp() - asked
        except (OSError, HTTPException, KeyError, ValueError):
            return []
        # It is in whole seconds.
        return [self._apart(apart)] if abs(apart) > CLOCK + 1 else []

    @staticmethod
    def _apart(apart: float) -> Finding:
        words = f"the hub's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
        return Finding("clock", "fault", words, "set both by NTP: else tokens are refused, or live too long")

    def _ask_setup(self) -> Iterator[Finding]:
        if self._key is None:
            words = (
                "there is no key here, so the hub is not asked what it sees: its proxy, Redis, descriptors and clock"
            )
            yield Finding("key", "note", words, "set FANOUT_KEY, or HUB_VAR to where it is kept")
            return
        asked = time.time()
        try:
            status, headers, body = self._get(self._inside(), self._bearer())
        except (OSError, HTTPException) as error:
            yield Finding("key", "fault", f"the hub did not say what it sees: {_reason(error)}")
            return
        if status != 200:
            words = (
                f"the hub does not say what it sees ({status}): it is of an earlier release, or has HUB_INSIDE=false"
            )
            yield Finding("inside", "note", words, "what needs it was not looked at")
            return
        self._setup = {**json.loads(body), "asked": asked, "answered": time.time()}
        # A proxy names itself, or says for whom it asks.
        self._proxied = bool(self._setup["clients_named"]) or headers.get("server", "Fanfare") != "Fanfare"

    # What a browser does

    def _upgrade(self) -> Iterator[Finding]:
        with Socket(self.way) as ws:
            status, head, body = ws.begin(f"{self.way.path}/bayeux", self.way.origin)
            if status != 101:
                yield self._not_upgraded(status, head, body)
                return
            hello = {
                "channel": "/meta/handshake",
                "version": "1.0",
                "supportedConnectionTypes": ["websocket"],
                "id": "1",
            }
            ws.say(json.dumps([hello]))
            reply = ws.hear(PATIENCE)
            if reply is None or '"successful":true' not in reply:
                words = f"a WebSocket opens, and the handshake on it gets {_brief(reply or 'no answer')}"
                yield Finding("WebSocket", "fault", words, "look at the hub's log")
                return
        yield Finding("WebSocket", "ok", "a WebSocket opens, and a client can shake hands on it")

    def _not_upgraded(self, status: int, head: str, body: str) -> Finding:
        if status == 403 and body.startswith("Origin"):
            host = self._setup.get("host")
            if host and host != self.way.netloc:
                words = f"the proxy tells the hub another Host ({host}), so the site's own pages are refused"
                mend = "nginx: proxy_set_header Host $http_host; else say SITE_URL to the hub"
            else:
                words = f"pages of {self.way.origin} are refused: {_brief(body)}"
                mend = f"SITE_URL={self.way.origin}, or add it to HUB_ORIGINS"
            return Finding("WebSocket", "fault", words, mend)
        if status == 421:
            return Finding(
                "WebSocket", "fault", f"the hub refuses its host name: {_brief(body)}", "add it to HUB_HOSTS"
            )
        words = f"no WebSocket opens through {self.way.url}: the answer is {status}, so all clients poll"
        old = self._setup.get("http") == "HTTP/1.0"
        mend = (
            "the proxy speaks HTTP/1.0 to the hub; nginx: proxy_http_version 1.1; and the two lines of Upgrade"
            if old
            else "let the proxy pass Upgrade and Connection; nginx: proxy_http_version 1.1; proxy_set_header Upgrade"
            " $http_upgrade; proxy_set_header Connection $connection_upgrade; (docs/deploy.md)"
        )
        return Finding("WebSocket", "fault", words, mend)

    def _origin_rules(self) -> Iterator[Finding]:
        for origin in self._origins:
            with Socket(self.way) as ws:
                status, _, body = ws.begin(f"{self.way.path}/bayeux", origin)
            if status == 403:
                words = f"pages of {origin} are refused: {_brief(body)}"
                yield Finding("origins", "fault", words, f"add {origin} to HUB_ORIGINS")
            elif status == 101:
                yield Finding("origins", "ok", f"pages of {origin} may connect")
        with Socket(self.way) as ws:
            status, _, _ = ws.begin(f"{self.way.path}/bayeux", _ELSEWHERE)
        if status == 101:
            words = "pages of any site may connect, with the token of whoever looks at them"
            yield Finding("origins", "note", words, "if that is not meant, name the sites in HUB_ORIGINS instead of *")
        elif status == 403:
            yield Finding("origins", "ok", "pages of other sites are refused")

    def _stream(self) -> Iterator[Finding]:
        """An event stream must begin at once, and bring what is published at once."""
        mend = (
            "nginx: proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering, no gzip for text/event-stream"
        )
        began = time.monotonic()
        with Raw(self.way, AT_ONCE) as stream:
            # As browsers ask.
            asks = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate, br"}
            head = stream.ask(f"{self.way.path}/sse?{self._query(self._channel)}", asks)
            if head is None:
                words = f"an event stream does not begin within {AT_ONCE:g} s: the proxy buffers answers"
                yield Finding("event stream", "fault", words, mend)
                return
            status, headers = head
            if status != 200:
                yield Finding(
                    "event stream", "fault", f"an event stream is refused: {status}", "look at the hub's rules"
                )
                return
            # What is compressed can't be read here, but that something comes can be seen.
            packed = headers.get("content-encoding", "identity") != "identity"
            how = "compresses event streams, and keeps back what comes" if packed else "buffers answers"
            if not (stream.more(AT_ONCE) if packed else stream.until(b"event: subscribed", AT_ONCE)):
                words = f"the first event of a stream is not there within {AT_ONCE:g} s: the proxy {how}"
                yield Finding("event stream", "fault", words, mend)
                return
            if self._key is None:
                took = time.monotonic() - began
                yield Finding("event stream", "ok", f"an event stream begins after {took * 1000:.0f} ms")
                return
            began = time.monotonic()
            status = self._publish("doctor")
            if status != 200:
                yield Finding("event stream", "note", f"nothing could be published to try it: {status}")
            elif not (stream.more(AT_ONCE) if packed else stream.until(b'"doctor"', AT_ONCE)):
                words = f"what is published is not in an event stream within {AT_ONCE:g} s: the proxy {how}"
                yield Finding("event stream", "fault", words, mend)
            else:
                took = time.monotonic() - began
                yield Finding(
                    "event stream", "ok", f"what is published is in an event stream after {took * 1000:.0f} ms"
                )

    @property
    def hold(self) -> float:
        """Seconds for which polls are held, and sockets kept idle."""
        if self._hold is not None:
            return self._hold
        return float(self._setup.get("connect_timeout", 45.0))

    def _poll(self) -> Iterator[Finding]:
        seconds = self.hold
        # A channel of its own, where nothing is published meanwhile.
        channel = f"{self._channel}-poll"
        status, _, body = self._get(f"{self.way.path}/poll?{self._query(channel)}", "", PATIENCE)
        if status != 200:
            yield Finding(
                "long-poll", "fault", f"a poll is refused: {status} {_brief(body)}", "look at the hub's rules"
            )
            return
        place = json.loads(body)["position"]
        query = self._query(channel, position=place, timeout=f"{seconds:g}")
        began = time.monotonic()
        mend = f"let the proxy wait for {seconds + 15:.0f} s or more; nginx: proxy_read_timeout 120s;"
        try:
            status, _, body = self._get(f"{self.way.path}/poll?{query}", "", seconds + PATIENCE)
        except (OSError, HTTPException) as error:
            held = time.monotonic() - began
            yield Finding("long-poll", "fault", f"a held poll breaks off after {held:.0f} s: {_reason(error)}", mend)
            return
        held = time.monotonic() - began
        if status != 200:
            yield Finding("long-poll", "fault", f"a held poll ends in {status} after {held:.0f} s", mend)
        elif held < seconds - 1:
            words = f"a poll that should be held for {seconds:g} s is answered after {held:.1f} s"
            yield Finding(
                "long-poll", "fault", words, "does something on the way answer from a cache? Let it keep no /poll"
            )
        else:
            yield Finding("long-poll", "ok", f"a poll is held for {seconds:g} s")

    def _idle(self) -> Iterator[Finding]:
        seconds = self.hold
        with Socket(self.way) as ws:
            status, _, _ = ws.begin(f"{self.way.path}/bayeux", self.way.origin)
            if status != 101:
                # Said already.
                return
            lived = ws.wait(seconds)
            if lived < seconds:
                words = f"an idle WebSocket is cut after {lived:.0f} s"
                mend = "let the proxy keep them: nginx: proxy_read_timeout 120s; HAProxy: timeout tunnel 1h"
                yield Finding("idle socket", "fault", words, mend)
                return
        yield Finding("idle socket", "ok", f"an idle WebSocket lives for {seconds:g} s")

    # What a server does

    def _body(self) -> Iterator[Finding]:
        if self._key is None:
            return
        most = min(BODY, int(self._setup.get("body_bytes", BODY)) - 1024)
        status = self._publish("body", padding=most)
        if status == 413:
            words = f"a publish of {most / 1024**2:.0f} MB in one request is refused on the way (413)"
            yield Finding("bodies", "fault", words, "nginx: client_max_body_size 8m;")
        elif status == 200:
            yield Finding("bodies", "ok", f"a request of {most / 1024**2:.0f} MB gets through")
        else:
            yield Finding(
                "bodies", "fault", f"a publish of {most / 1024**2:.0f} MB gets {status}", "look at the proxy's log"
            )

    def _metrics(self) -> Iterator[Finding]:
        if not self._proxied and self.way.is_near:
            return
        status, _, body = self._get("/metrics", "", PATIENCE)
        if status == 200 and "hub_sessions" in body:
            words = "everybody can read /metrics"
            yield Finding("metrics", "fault", words, "nginx: location = /metrics { deny all; } or HUB_METRICS=false")
        else:
            yield Finding("metrics", "ok", "/metrics is kept from strangers")

    def _one_hub(self) -> Iterator[Finding]:
        """Behind one address there must be one log."""
        if not self._setup or self._setup["log"] != "memory":
            return
        workers = {self._setup["worker"]}
        for _ in range(ASKED):
            status, _, body = self._get(self._inside(), self._bearer(), PATIENCE)
            if status == 200:
                workers.add(json.loads(body)["worker"])
        if len(workers) > 1:
            words = (
                f"{len(workers)} hubs answer here, each with a log of its own: what one publishes the others don't hear"
            )
            yield Finding("one log", "fault", words, "give them all the same REDIS_URL")

    # What the hub knows

    def _what_proxies_say(self) -> Iterator[Finding]:
        setup, named = self._setup, self._setup["clients_named"]
        if not self._proxied:
            if setup["proxies"]:
                words = f"HUB_PROXIES is {setup['proxies']}, and no proxy says whose requests it passes on"
                mend = f"let it add who asks; {NGINX_NAMES_CLIENTS}"
                yield Finding("addresses", "fault", words, mend)
            return
        if setup["host"] != self.way.netloc:
            words = f"the proxy tells the hub that its host is {setup['host']}, not {self.way.netloc}"
            yield Finding("Host", "fault", words, "nginx: proxy_set_header Host $http_host;")
        if not setup["proxies"]:
            words = "the hub has a proxy in front and does not know: limits by address don't see its visitors"
            yield Finding("addresses", "fault", words, "HUB_PROXIES=1, or as many as there are")
        elif named < setup["proxies"]:
            words = f"HUB_PROXIES is {setup['proxies']}, and {setup['header']} names {named}: all visitors count as one"
            yield Finding("addresses", "fault", words, NGINX_NAMES_CLIENTS)
        else:
            yield Finding("addresses", "ok", f"the hub knows its visitors by {setup['header']}")

    def _process(self) -> Iterator[Finding]:
        setup = self._setup
        soft = setup["descriptors"]
        if 0 < soft < DESCRIPTORS:
            words = f"a worker may open {soft:,} files, so it takes {setup['max_connections']:,} connections"
            yield Finding("descriptors", "fault", words, "systemd: LimitNOFILE=65536; in a shell: ulimit -n 65536")
        else:
            yield Finding(
                "descriptors", "ok", f"a worker takes {setup['max_connections'] or 'any number of'} connections"
            )
        apart = setup["clock"] - (setup["asked"] + setup["answered"]) / 2
        slack = CLOCK + (setup["answered"] - setup["asked"]) / 2
        if abs(apart) > slack:
            yield self._apart(apart)
        else:
            yield Finding("clock", "ok", "the hub's clock is this machine's")

    def _redis(self) -> Iterator[Finding]:
        redis = self._setup.get("redis")
        if redis is None:
            return
        if "error" in redis:
            yield Finding(
                "Redis",
                "note",
                f"Redis does not say how it is set up: {redis['error']}",
                "let its user INFO, CONFIG|GET",
            )
            return
        policy = redis["policy"]
        if policy not in ("noeviction", ""):
            words = (
                f"Redis drops keys when its memory is full (maxmemory-policy {policy}): the log and sessions go first"
            )
            yield Finding("Redis memory", "fault", words, "CONFIG SET maxmemory-policy noeviction, and in redis.conf")
        elif redis["maxmemory"] and redis["used"] > 0.8 * redis["maxmemory"]:
            words = (
                f"Redis has {redis['used'] / redis['maxmemory']:.0%} of maxmemory, and refuses writes when it is full"
            )
            yield Finding("Redis memory", "fault", words, "raise maxmemory, or keep less: HUB_HISTORY_SECONDS")
        else:
            yield Finding("Redis memory", "ok", "Redis drops no keys of its own accord")
        if redis["appendonly"] and redis["appendfsync"] == "always":
            words = "Redis waits for the disk at each publish (appendfsync always)"
            yield Finding("Redis disk", "fault", words, "CONFIG SET appendfsync everysec: the log is for ten minutes")
        elif redis["failing"]:
            words = f"Redis can't write its data to disk ({redis['failing']}), and may refuse publishes until it can"
            yield Finding(
                "Redis disk", "fault", words, "make room there; or, as it need not be kept, CONFIG SET save ''"
            )
        else:
            yield Finding("Redis disk", "ok", "what Redis keeps on disk, if anything, holds nobody up")
        if redis["timeout"]:
            words = (
                f"Redis closes connections that are quiet for {redis['timeout']} s, and workers lose it again and again"
            )
            yield Finding("Redis connections", "fault", words, "CONFIG SET timeout 0, and in redis.conf")
        if redis["trip"] > 0.02:
            words = f"Redis takes {redis['trip'] * 1000:.0f} ms to answer: each publish takes as long"
            yield Finding("Redis connections", "note", words, "have it near the hub")
        apart = redis["clock"] - self._setup["clock"]
        if abs(apart) > CLOCK:
            yield Finding("Redis clock", "note", f"Redis' clock is {abs(apart):.0f} s off the hub's", "set both by NTP")

    # How it is asked

    def _inside(self) -> str:
        return f"{self.way.path}/realm/{quote(self._settings.realm, safe='')}/inside/setup/"

    def _query(self, channel: str, **more: str) -> str:
        fields = {"channel": channel, **more}
        if self._key is not None:
            # Whatever the rules say of other channels: this token may hear this one.
            now = time.time()
            fields["token"] = tokens.sign(self._settings.realm, self._key, now, life=600, channels=[channel])
        return urlencode(fields)

    def _bearer(self) -> str:
        assert self._key is not None
        return tokens.sign(self._settings.realm, self._key, time.time(), life=600)

    def _publish(self, data: str, padding: int = 0) -> int:
        body = json.dumps({"items": [{"channel": self._channel, "json-object": data}]}).encode() + b" " * padding
        connection = self.way.connect(PATIENCE * 3)
        try:
            headers = {"Authorization": f"Bearer {self._bearer()}", "Content-Type": "application/json"}
            path = f"{self.way.path}/realm/{quote(self._settings.realm, safe='')}/publish/"
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
        except (BrokenPipeError, ConnectionResetError):
            # Refused before it was read.
            return 413
        finally:
            connection.close()

    def _get(self, path: str, bearer: str = "", timeout: float = PATIENCE) -> tuple[int, dict[str, str], str]:
        connection = self.way.connect(timeout)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
            answer: HTTPResponse = connection.getresponse()
            text = answer.read(4_000_000).decode("utf-8", "replace")
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text
        finally:
            connection.close()


def _safely(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except (OSError, HTTPException, ValueError, KeyError) as error:
        name = look.__name__.strip("_").replace("_", " ")
        words = f"the connection broke off while this was looked at: {_reason(error)}"
        return [Finding(name, "fault", words, "try again; then look at the proxy's log")]


class Raw:
    """A request whose answer is read as it comes."""

    def __init__(self, way: Way, timeout: float) -> None:
        self._way = way
        self._socket = way.open(timeout)
        self._buffer = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str]] | None:
        """Send it; the answer's status and headers, None if they are not there in time."""
        lines = [f"GET {path} HTTP/1.1", f"Host: {self._way.netloc}"]
        lines += (f"{name}: {value}" for name, value in headers.items())
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        if not self.until(b"\r\n\r\n", PATIENCE if "Upgrade" in headers else AT_ONCE):
            return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1]) if first.startswith("HTTP/") else 0
        found = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        return status, found

    def until(self, what: bytes, seconds: float) -> bool:
        """Read until this has come; whether it has in time."""
        ends = time.monotonic() + seconds
        while what not in self._buffer:
            left = ends - time.monotonic()
            if left <= 0 or not self.read(left):
                return False
        return True

    def more(self, seconds: float) -> bool:
        """Whether anything has come since the last time, or comes in this time."""
        there = bool(self._buffer) or self.read(seconds)
        self._buffer = b""
        return there

    def read(self, seconds: float) -> bool:
        """Read what comes in this time; False if nothing does, or the other side has closed."""
        self._socket.settimeout(max(0.001, seconds))
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            return False
        self._buffer += data
        return bool(data)

    def send(self, data: bytes) -> None:
        """Send as it is."""
        self._socket.sendall(data)

    @property
    def buffer(self) -> bytes:
        """What has come and is not looked at."""
        return self._buffer

    @buffer.setter
    def buffer(self, value: bytes) -> None:
        self._buffer = value


class Socket:
    """A WebSocket as a browser opens it: enough of one to see whether it can be opened, and lives."""

    def __init__(self, way: Way) -> None:
        self._raw = Raw(way, PATIENCE)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.__exit__()

    def begin(self, path: str, origin: str) -> tuple[int, str, str]:
        """Ask for it; the status, the headers, and of a refusal its text."""
        key = base64.b64encode(os.urandom(16)).decode()
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": origin}
        answer = self._raw.ask(path, headers | {"Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"})
        if answer is None:
            return 0, "", "no answer"
        status, fields = answer
        if status != 101:
            length = int(fields.get("content-length", "0") or 0)
            while len(self._raw.buffer) < min(length, 2000) and self._raw.read(AT_ONCE):
                pass
        return status, str(fields), self._raw.buffer[:2000].decode("utf-8", "replace") if status != 101 else ""

    def say(self, text: str) -> None:
        """Send a text, masked, as clients must."""
        self._send(1, text.encode())

    def _send(self, opcode: int, data: bytes) -> None:
        mask = os.urandom(4)
        size = len(data)
        head = (
            bytes([0x80 | opcode, 0x80 | size])
            if size < 126
            else bytes([0x80 | opcode, 0xFE]) + size.to_bytes(2, "big")
        )
        self._raw.send(head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)))

    def hear(self, seconds: float) -> str | None:
        """The next text, None if none comes in this time. Pings are answered."""
        ends = time.monotonic() + seconds
        while True:
            found = self._frame()
            if found is not None:
                opcode, data = found
                if opcode == 9:
                    self._send(10, data)
                elif opcode == 8:
                    return None
                elif opcode == 1:
                    return data.decode("utf-8", "replace")
                continue
            left = ends - time.monotonic()
            if left <= 0 or not self._raw.read(left):
                return None

    def _frame(self) -> tuple[int, bytes] | None:
        buffer = self._raw.buffer
        if len(buffer) < 2:
            return None
        size, at = buffer[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < at + size:
            return None
        self._raw.buffer = buffer[at + size :]
        return buffer[0] & 0x0F, buffer[at : at + size]

    def wait(self, seconds: float) -> float:
        """Do nothing but answer pings for so long; how long it lived, which is less if it was cut."""
        began = time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            slept = time.monotonic()
            heard = self.hear(left)
            if heard is None and time.monotonic() - slept < left - 0.05:
                return time.monotonic() - began
        # An empty batch is answered with one.
        self.say("[]")
        return seconds if self.hear(PATIENCE) is not None else time.monotonic() - began - PATIENCE


def _brief(text: str) -> str:
    return " ".join(text.split())[:160]


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
