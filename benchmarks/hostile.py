"""Hostile clients beside quiet ones: what the others notice, what it costs in memory, and when that is given back.

    python -m benchmarks.hostile [--seconds S] [--rounds N] [--only NAME …] [--write]      (`make hostile`)

A hub runs on one core. On the other, quiet clients listen to a channel with a steady 40 messages a second and time
them; a second process, of lower priority, attacks. First they are alone, then each attack has its turn. What a
client of the attack was answered is counted, by HTTP status, Bayeux error or close code. Ends with status 1 when an
attack missed a target: the others' 99th percentile at most twice what it was, and memory back within ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import re
import socket
import sys
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from hub.bench import Server
from hub.memory import KEPT_BYTES
from hub.protocol import tokens
from hub.protocol.frames import unmask

from . import report
from .servers import HOST, ROOT, Fanfare

PAGE = ROOT / "docs/hostile.md"
MARKS = ("<!-- hostile begin -->", "<!-- hostile end -->")

#: Messages a second on the quiet channel, and who listens to it.
RATE = 40
LISTENERS = 20

#: Channels with a history of 1 MiB each, and how many publications that is.
FULL = [f"full{number}" for number in range(20)]
FULL_COUNT = 15

#: Seconds after an attack until what it left has expired: HUB_SESSION_TTL below, and a little.
AFTER = 3.0

#: The targets: how many times their quiet latency others may see, and the seconds in which memory is back.
MOST_TIMES = 2.0
BACK_SECONDS = 10.0
#: Bytes more than before that count as back: what the hub keeps on purpose, and half as much, as no allocator is exact.
MORE_BYTES = KEPT_BYTES * 3 // 2

SHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket", "long-polling"]}
UPGRADE = (
    b"GET /bayeux HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


class Subject(Fanfare):
    """The hub as it is set up on the internet, but for sessions that expire sooner, so that one can see it."""

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "HUB_PUBLISH_RATE": "100",
            "HUB_CLIENT_PUBLISH": "/open/**",
            "HUB_PROXIES": "1",
            "HUB_SESSION_TTL": "2s",
            "HUB_HEAD_TIMEOUT": "2s",
            "HUB_BODY_TIMEOUT": "2s",
            "HUB_HOSTS": "hub",
            "HUB_RULES": str(ROOT / "benchmarks/hostile.toml"),
        }


# The attackers' side


def frame(first: int, payload: bytes) -> bytes:
    """A client's frame. first: its first byte."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first]) + length + b"mask" + unmask(b"mask", payload)


class Line:
    """One connection of an attacker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[str, bytes]:
        """The status and body of one HTTP answer, "closed" if there is none."""
        try:
            async with asyncio.timeout(10):
                head = await self.reader.readuntil(b"\r\n\r\n")
                status = head.split(b" ", 2)[1].decode()
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        return status, await self.reader.readexactly(int(line.split(b":")[1]))
                return status, b""
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
            return "closed", b""

    async def post(self, body: bytes, path: bytes = b"/bayeux", more: bytes = b"") -> tuple[str, bytes]:
        self.writer.write(
            b"POST %b HTTP/1.1\r\nHost: hub\r\nX-Forwarded-For: 203.0.114.9\r\n%bContent-Length: %d\r\n\r\n%b"
            % (path, more, len(body), body)
        )
        return await self.answer()

    async def say(self, *messages: Any, more: bytes = b"") -> str:
        """How a batch was answered: the codes of its errors."""
        status, body = await self.post(json.dumps(messages).encode(), more=more)
        return status if status != "200" else outcome(body)

    async def shake(self, ext: dict[str, Any] | None = None) -> str:
        """Open a session; its clientId."""
        address = b"X-Forwarded-For: 198.18.%d.%d\r\n" % (random.randrange(256), random.randrange(256))
        body = json.dumps([SHAKE if ext is None else {**SHAKE, "ext": ext}]).encode()
        # The last address is the proxy's word.
        self.writer.write(b"POST /bayeux HTTP/1.1\r\nHost: hub\r\n%bContent-Length: %d\r\n\r\n" % (address, len(body)))
        self.writer.write(body)
        _, answered = await self.answer()
        client: str = json.loads(answered or b"[{}]")[0].get("clientId", "")
        return client

    async def upgrade(self, more: bytes = b"") -> str:
        self.writer.write(UPGRADE + more + b"\r\n")
        return (await self.answer())[0]

    async def closed(self) -> str:
        """The close code that ends a WebSocket."""
        data = b""
        try:
            async with asyncio.timeout(10):
                while chunk := await self.reader.read(65536):
                    data = data[-65536:] + chunk
                    at = data.find(b"\x88")
                    if at >= 0 and len(data) >= at + 4:
                        return f"close {int.from_bytes(data[at + 2 : at + 4], 'big')}"
        except (ConnectionError, TimeoutError):
            pass
        return "closed"


def outcome(body: bytes) -> str:
    errors = {reply["error"].split(":")[0] for reply in json.loads(body) if "error" in reply}
    return ", ".join(sorted(errors)) or "taken"


#: One round of an attack on a connection of its own or a kept one: what the hub said, and how many requests it was.
Round = Callable[[Line], Awaitable[tuple[str, int]]]


async def vanish(line: Line) -> tuple[str, int]:
    client = await line.shake()
    if not client:
        return "429", 1
    subscribe = {"channel": "/meta/subscribe", "clientId": client, "subscription": "/quiet"}
    return await line.say(subscribe), 2


async def subscribe_to_much(line: Line) -> tuple[str, int]:
    client = await line.shake()
    names = [f"/a{number}" for number in range(20_000)]
    return await line.say({"channel": "/meta/subscribe", "clientId": client, "subscription": names}), 1


async def subscribe_often(line: Line) -> tuple[str, int]:
    client = await line.shake()
    names = [f"/a{number}" for number in range(1000)]
    return await line.say(*[{"channel": "/meta/subscribe", "clientId": client, "subscription": names}] * 80), 80


async def shake_hands(line: Line) -> tuple[str, int]:
    return await line.say(SHAKE), 1


def crumbs(start: bytes) -> Round:
    async def attack(line: Line) -> tuple[str, int]:
        line.writer.write(start)
        for _ in range(20):
            await asyncio.sleep(0.4)
            if line.reader.at_eof() or line.writer.is_closing():
                break
            line.writer.write(b"x")
        return (await line.answer())[0], 1

    return attack


async def lie(line: Line) -> tuple[str, int]:
    client = await line.shake()
    lies = {"advice": {"reconnect": "none"}, "successful": False, "__proto__": {"a": 1}, "constructor": 1}
    said = {"channel": "/open/a", "clientId": client, "data": {"__proto__": 1}, **lies}
    return await line.say(said, {"channel": "/quiet", "clientId": client, "data": 1, **lies}), 2


async def steal(line: Line) -> tuple[str, int]:
    client = random.choice(["__proto__", "constructor", f"{random.getrandbits(160):040x}"])
    said = {"clientId": client, "connectionType": "long-polling", "subscription": "/quiet", "data": 1}
    channels = ("/meta/connect", "/meta/subscribe", "/meta/disconnect", "/open/a")
    return await line.say(*({"channel": channel, **said} for channel in channels)), 4


async def call_back(line: Line) -> tuple[str, int]:
    callback = random.choice([b"alert(1)//", b"a" * 200, b"%3Cscript%3E", b"a%0d%0aX-Evil:1", b"a;b"])
    line.writer.write(b"GET /bayeux?message=[]&jsonp=%b HTTP/1.1\r\nHost: hub\r\n\r\n" % callback)
    return (await line.answer())[0], 1


async def cross_site(line: Line) -> tuple[str, int]:
    return await line.say(SHAKE, more=b"Origin: https://evil.example\r\n"), 1


async def oversize_body(line: Line) -> tuple[str, int]:
    return outcome((await line.post(b'[{"channel":"/open/a","data":"' + b"x" * 2**21 + b'"}]'))[1]), 1


async def oversize_nesting(line: Line) -> tuple[str, int]:
    return (await line.post(b"[" * 1_000_000))[0], 1


async def oversize_batch(line: Line) -> tuple[str, int]:
    status, body = await line.post(b"[" + b"1," * 500_000 + b"1]")
    return status if status != "200" else outcome(body), 1


async def empty_messages(line: Line) -> tuple[str, int]:
    return await line.say(*[{}] * 3000), 3000


async def oversize_head(line: Line) -> tuple[str, int]:
    line.writer.write(b"GET /bayeux HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
    return (await line.answer())[0], 1


async def oversize_name(line: Line) -> tuple[str, int]:
    client = await line.shake()
    return await line.say({"channel": "/a" * 100_000, "clientId": client, "data": 1}), 1


async def tiny_frames(line: Line) -> tuple[str, int]:
    await line.upgrade()
    burst = frame(0x89, b"") * 20_000
    for _ in range(5):
        line.writer.write(burst)
        read = 0
        while read < 40_000:
            if not (chunk := await line.reader.read(65536)):
                return "closed", 100_000
            read += len(chunk)
    return "answered", 100_000


def after_upgrade(data: bytes, more: bytes = b"") -> Round:
    async def attack(line: Line) -> tuple[str, int]:
        if (status := await line.upgrade(more)) != "101":
            return status, 1
        line.writer.write(data)
        return await line.closed(), 1

    return attack


def bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(b" " * 2**26) + packer.flush(zlib.Z_SYNC_FLUSH)
    return frame(0xC1, packed[:-4])


def packed() -> bytes:
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(b"0" * 2**20) for _ in range(200)), packer.flush()])


PACKED = packed()


async def two_keys(line: Line) -> tuple[str, int]:
    return await line.upgrade(b"Sec-WebSocket-Key: BBBBBBBBBBBBBBBBBBBBBB==\r\n"), 1


async def smuggle(line: Line) -> tuple[str, int]:
    line.writer.write(
        b"POST /bayeux HTTP/1.1\r\nHost: hub\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: hub\r\n\r\n"
    )
    return (await line.answer())[0], 1


async def publish_much(line: Line) -> tuple[str, int]:
    client = await line.shake()
    replies = Counter[str]()
    for _ in range(20):
        replies[await line.say(*[{"channel": "/open/a", "clientId": client, "data": "x" * 100}] * 50)] += 1
    return replies.most_common(1)[0][0], 1000


async def packed_body(line: Line) -> tuple[str, int]:
    path = random.choice([b"/bayeux", b"/poll", b"/publish/", b"/health"])
    return (await line.post(PACKED, path, b"Content-Encoding: deflate\r\n"))[0], 1


async def ask_for_names(line: Line) -> tuple[str, int]:
    query = b"&".join(b"channel=%x" % random.getrandbits(60) for _ in range(100))
    line.writer.write(b"GET /poll?%b HTTP/1.1\r\nHost: hub\r\nX-Forwarded-For: 203.0.114.9\r\n\r\n" % query)
    return (await line.answer())[0], 100


async def long_origin(line: Line) -> tuple[str, int]:
    return await line.say(SHAKE, more=b"Origin: https://" + "a\u0301\u0327".encode() * 1500 + b"\r\n"), 1


async def ask_for_all(line: Line, kind: str, names: Sequence[str], more: bytes) -> bool:
    """Ask for the whole history of channels of FULL, of which nothing will be read; False if their tops weren't told.

    more: header lines of the question.
    """
    query = "&".join(f"channel={name}" for name in names)
    line.writer.write(f"GET /poll?{query} HTTP/1.1\r\nHost: hub\r\n\r\n".encode())
    _, body = await line.answer()
    tops = [
        each.rpartition("@")[2].partition(".") for each in json.loads(body or b'{"position":""}')["position"].split(",")
    ]
    if len(tops) != len(names):
        return False
    begins = [f"{epoch}.{int(offset) - FULL_COUNT}" for epoch, _, offset in tops]
    place = ",".join(f"{name}@{begin}" for name, begin in zip(names, begins, strict=True))
    upgrade = UPGRADE.partition(b"\r\n")[2] if kind == "/ws" else b"Host: hub\r\n"
    line.writer.write(f"GET {kind}?{query}&position={place} HTTP/1.1\r\n".encode() + upgrade + more + b"\r\n")
    transport: Any = line.writer.transport
    transport.pause_reading()
    return True


async def recover_unread(line: Line) -> tuple[str, int]:
    """Ask for the whole history of twenty channels, and read nothing of it."""
    if not await ask_for_all(line, random.choice(["/poll", "/ws"]), FULL, b""):
        return "closed", 1
    await asyncio.sleep(0.5)
    return "unread", 2


async def hoard(line: Line) -> tuple[str, int]:
    """Leave a history of 1 MiB unread on a WebSocket of one address, among hundreds that do the same."""
    # As of a peer that acknowledges little: on loopback its kernel takes megabytes.
    line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    if not await ask_for_all(line, "/ws", FULL[:1], b"X-Forwarded-For: 203.0.115.9\r\n"):
        return "closed", 1
    await asyncio.sleep(2)
    return "unread", 2


async def recover_unread_by_bayeux(line: Line) -> tuple[str, int]:
    client = await line.shake()
    replay = {f"/{name}": -2 for name in FULL}
    subscribe = {
        "channel": "/meta/subscribe",
        "clientId": client,
        "subscription": list(replay),
        "ext": {"replay": replay},
    }
    said = await line.say(subscribe)
    connect = {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling"}
    body = json.dumps([connect]).encode()
    line.writer.write(b"POST /bayeux HTTP/1.1\r\nHost: hub\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    transport: Any = line.writer.transport
    transport.pause_reading()
    await asyncio.sleep(0.5)
    return said, 2


async def never_acknowledge(line: Line) -> tuple[str, int]:
    client = await line.shake({"ack": True})
    ext = {"ack": 0}
    connect = {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling", "id": "1"}
    subscribe = {"channel": "/meta/subscribe", "clientId": client, "subscription": "/quiet"}
    said = await line.say(subscribe)
    for _ in range(20):
        said = await line.say({**connect, "advice": {"timeout": 0}, "ext": ext})
    return said, 21


TOKENS = [
    tokens.sign(Fanfare.realm, Fanfare.key, time.time(), life=3600, sub=f"user{number}", channels=[f"/team{number}/**"])
    for number in range(8)
]


async def show_tokens(line: Line) -> tuple[str, int]:
    client = await line.shake()
    say = {"channel": "/meta/subscribe", "clientId": client, "subscription": "/quiet"}
    told = [{**say, "ext": {"token": TOKENS[number % len(TOKENS)]}} for number in range(40)]
    return await line.say(*told), 40


async def hear_names(line: Line) -> tuple[str, int]:
    client = await line.shake()
    names = [f"/n{random.getrandbits(60):x}" for _ in range(900)]
    return await line.say({"channel": "/meta/subscribe", "clientId": client, "subscription": names}), 900


async def foreign_host(line: Line) -> tuple[str, int]:
    host = b"%x.evil.example" % random.getrandbits(60)
    path = random.choice([b"/", b"/bayeux", b"/poll?channel=a", b"/metrics"])
    line.writer.write(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path, host))
    return (await line.answer())[0], 1


async def half_pairs(line: Line) -> tuple[str, int]:
    return (await line.post(b'[{"channel":"/open/a","data":"' + rb"\ud800" * 170_000 + b'"}]'))[0], 1


async def long_forwarded(line: Line) -> tuple[str, int]:
    name, value = random.choice([(b"X-Forwarded-For", b"1.2.3.4, "), (b"Forwarded", b'for="[2001:db8::1]:80";by=a, ')])
    field = b"%b: %b9.9.9.9\r\n" % (name, value * (8000 // len(value)))
    return await line.say(SHAKE, more=field), 1


async def long_host(line: Line) -> tuple[str, int]:
    once = b"%060x" % random.getrandbits(240)
    field = random.choice([b"Host: %b\r\n", b"Host: hub\r\nX-Forwarded-For: %b\r\n"]) % (once * 120)
    line.writer.write(b"GET /poll?channel=a HTTP/1.1\r\n%b\r\n" % field)
    return (await line.answer())[0], 1


async def long_names(line: Line) -> tuple[str, int]:
    client = await line.shake()
    await line.upgrade()
    for number in range(10):
        name = f"/{random.getrandbits(60):x}" + "n" * 200_000
        say = {"channel": "/meta/subscribe", "clientId": client, "subscription": name, "id": str(number)}
        line.writer.write(frame(0x81, json.dumps([say]).encode()))
    line.writer.write(frame(0x88, b"\x03\xe8"))
    codes = set()
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(10):
            while chunk := await line.reader.read(65536):
                codes |= set(re.findall(rb'"error":"(\d+):', chunk))
    return ", ".join(sorted(code.decode() for code in codes)) or "taken", 10


async def dashes(line: Line) -> tuple[str, int]:
    name = f"room-{random.getrandbits(24):06x}" + "-" * 238
    line.writer.write(b"GET /poll?channel=%b HTTP/1.1\r\nHost: hub\r\n\r\n" % name.encode())
    return (await line.answer())[0], 1


@dataclass(frozen=True)
class Attack:
    """A kind of attack: `lines` connections at a time, each used once or, when `kept`, again and again."""

    text: str
    round: Round
    lines: int = 8
    kept: bool = True


ATTACKS = {
    "vanished": Attack("sessions that vanish", vanish, 16),
    "subscriptions": Attack("20,000 subscriptions in a message", subscribe_to_much, 4),
    "repeated": Attack("80,000 subscriptions in a request", subscribe_often, 4),
    "handshakes": Attack("handshakes from one address", shake_hands, 16),
    "slow-heads": Attack("slow heads, 2,000 sockets", crumbs(b"POST /x HTTP/1.1\r\nX: "), 2000, kept=False),
    "slow-bodies": Attack(
        "slow bodies, 2,000 sockets",
        crumbs(b"POST /bayeux HTTP/1.1\r\nHost: hub\r\nContent-Length: 999\r\n\r\n["),
        2000,
        kept=False,
    ),
    "lies": Attack("injected advice, successful, __proto__", lie),
    "stolen": Attack("others' clientIds", steal),
    "callbacks": Attack("JSONP callbacks that are none", call_back),
    "cross-site": Attack("cross-site publishes", cross_site),
    "body": Attack("2 MiB bodies", oversize_body, 4),
    "nesting": Attack("a million brackets", oversize_nesting, 4, kept=False),
    "batch": Attack("500,000 messages in a request", oversize_batch, 2),
    "empty": Attack("3,000 empty messages in a request", empty_messages, 4),
    "head": Attack("heads without end", oversize_head, kept=False),
    "name": Attack("channel names of 200,000 characters", oversize_name),
    "frames": Attack("a million tiny frames", tiny_frames, 4, kept=False),
    "claim": Attack(
        "a frame that claims 2^63 bytes", after_upgrade(b"\x82\xff" + b"\x80" + bytes(7) + b"mask"), kept=False
    ),
    "utf8": Attack(
        "invalid UTF-8 in the third fragment",
        after_upgrade(frame(0x01, b"a") + frame(0x00, b"b") + frame(0x80, b"\xff")),
        kept=False,
    ),
    "bomb": Attack(
        "a compressed bomb of 64 MiB",
        after_upgrade(bomb(), b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        kept=False,
    ),
    "keys": Attack("two Sec-WebSocket-Keys", two_keys, kept=False),
    "smuggled": Attack("smuggled second requests", smuggle, kept=False),
    "packed": Attack("bodies of 200 kB that unpack to 200 MB", packed_body, 4, kept=False),
    "names": Attack("questions for channels that nobody uses", ask_for_names, 4),
    "origin": Attack("Origins of 7,500 bytes to compose", long_origin, 4),
    "unread": Attack("recoveries of 20 MiB that nobody reads", recover_unread, 16, kept=False),
    "unread-bayeux": Attack("the same over Bayeux", recover_unread_by_bayeux, 16, kept=False),
    "hoards": Attack("300 WebSockets of an address with 1 MiB each that nobody reads", hoard, 300, kept=False),
    "unacknowledged": Attack("acknowledgements that never come", never_acknowledge),
    "tokens": Attack("several tokens in turn", show_tokens, 4),
    "heard": Attack("names without end, while publishers ask who hears", hear_names, 4),
    "hosts": Attack("names that were made to lead here", foreign_host),
    "halves": Attack("1 MB of half surrogate pairs", half_pairs, 4),
    "forwarded": Attack("8 KB of forwarded addresses", long_forwarded),
    "stars": Attack("names of 249 characters for a rule of five stars", dashes),
    "long-hosts": Attack("Hosts and forwarded addresses of 7,200 bytes, no two alike", long_host),
    "long-names": Attack("names of 200,000 characters over a WebSocket, no two alike", long_names, kept=False),
    "publishes": Attack("a flood of publishes", publish_much),
}


async def attack(name: str, port: int, seconds: float) -> dict[str, Any]:
    """Attack for so long; how much was sent, and how it was answered."""
    kind = ATTACKS[name]
    end = time.monotonic() + seconds
    sent = 0
    answers: Counter[str] = Counter()

    async def one(number: int) -> None:
        nonlocal sent
        line: Line | None = None
        # Not all at once: a socket that waits to be accepted attacks nobody.
        await asyncio.sleep(number % 100 / 100)
        while time.monotonic() < end:
            try:
                if line is None:
                    line = Line(*await asyncio.open_connection(HOST, port))
                said, count = await kind.round(line)
                sent += count
                answers[said] += 1
                if not kind.kept or said == "closed":
                    line.writer.transport.abort()
                    line = None
            except (OSError, ValueError):
                answers["closed"] += 1
                line = None
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one(number) for number in range(kind.lines)))
    return {"sent": sent, "answers": dict(answers.most_common(3))}


# The quiet side


class Quiet:
    """Clients that listen, and a server that publishes what the time is."""

    def __init__(self, port: int, subject: Fanfare) -> None:
        self._realm = subject.realm
        self.url = f"http://{HOST}:{port}"
        self.waits: list[float] = []
        self.sent = 0
        self._token = tokens.sign(subject.realm, subject.key, time.time(), life=86_400)
        self._tasks: list[asyncio.Task[None]] = []
        self._http = ClientSession(headers={"X-Forwarded-For": "192.0.2.1"})

    async def __aenter__(self) -> Quiet:
        listening = [await self._http.ws_connect(f"{self.url}/ws?channel=quiet") for _ in range(LISTENERS)]
        for each in listening:
            await each.receive()
            self._tasks.append(asyncio.create_task(self._listen(each)))
        self._tasks.append(asyncio.create_task(self._publish()))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._http.close()

    async def _listen(self, socket: Any) -> None:
        async for message in socket:
            self.waits.append(time.monotonic() - json.loads(message.data)["data"])

    async def _publish(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        for _ in itertools.count():
            item = {"channel": "quiet", "json-object": time.monotonic()}
            async with self._http.post(f"{self.url}/publish/", json={"items": [item]}, headers=headers) as response:
                response.raise_for_status()
            self.sent += 1
            await asyncio.sleep(1 / RATE)

    async def fill(self) -> None:
        """Give the channels of FULL their histories."""
        headers = {"Authorization": f"Bearer {self._token}"}
        for name in FULL:
            items = [{"channel": name, "json-object": "x" * 65_000} for _ in range(FULL_COUNT)]
            async with self._http.post(f"{self.url}/publish/", json={"items": items}, headers=headers) as response:
                response.raise_for_status()

    async def take(self, seconds: float) -> list[float]:
        """The waits of the next so many seconds, sorted."""
        self.waits.clear()
        await asyncio.sleep(seconds)
        return sorted(self.waits)


def share(waits: Sequence[float], part: float) -> float:
    """The wait that so large a part of all is below, in milliseconds."""
    return 1000 * waits[min(len(waits) - 1, int(part * len(waits)))] if waits else float("inf")


async def read_feed(port: int, subject: Fanfare) -> None:
    """Read the publishers' feed of the names that are heard, for good."""
    url = f"http://{HOST}:{port}/realm/{subject.realm}/subscriptions/stream/"
    headers = {"Authorization": f"Bearer {tokens.sign(subject.realm, subject.key, time.time(), life=86_400)}"}
    async with ClientSession(headers=headers, timeout=ClientTimeout(total=None)) as http:
        while True:
            with contextlib.suppress(ClientError):
                async with http.get(url) as response:
                    async for _ in response.content.iter_any():
                        pass
            await asyncio.sleep(0.1)


class Memory:
    """A server's resident memory, read in 20 µs, as a slower read would delay the quiet clients of this process.

    Finding a server's processes takes 3 ms and is done once; a hub of one worker starts none later.
    """

    def __init__(self, server: Server) -> None:
        self._files = [Path(f"/proc/{pid}/statm") for pid in server.processes()]

    def resident(self) -> int:
        """Bytes, pages that are shared counted in each process."""
        return sum(int(file.read_text().split()[1]) for file in self._files) * os.sysconf("SC_PAGE_SIZE")


async def watch(memory: Memory, peak: list[int]) -> None:
    """Sample resident memory and keep the largest value."""
    while True:
        peak[0] = max(peak[0], memory.resident())
        await asyncio.sleep(0.05)


async def given_back(memory: Memory, most: int) -> float:
    """Seconds until no more than so many bytes are resident; infinite when that takes longer than BACK_SECONDS."""
    began = time.monotonic()
    while memory.resident() > most:
        if time.monotonic() - began > BACK_SECONDS:
            return math.inf
        await asyncio.sleep(0.1)
    return time.monotonic() - began


def leave_to_others() -> None:
    """Give this process the lowest priority, so that it takes only idle CPU time."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


async def helper(core: int, behave: Callable[[], object], *arguments: str) -> asyncio.subprocess.Process:
    """This program once more, on a core; behave: called by that process first of all."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.hostile", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=lambda: (os.sched_setaffinity(0, {core}), behave()),
    )


async def turn(
    name: str, port: int, quiet: Quiet, memory: Memory, seconds: float, core: int, behave: Callable[[], object]
) -> dict[str, Any]:
    """Run one attack and return its figures."""
    before = memory.resident()
    peak = [before]
    watching = asyncio.create_task(watch(memory, peak))
    # As long as the attack: the p99 of 1.5 s is that of its worst message, which varies from 1.6 to 5.3 ms.
    calm = await quiet.take(seconds)
    process = await helper(core, behave, "--attack", name, "--port", str(port), "--seconds", str(seconds))
    # Python starts for a second of it.
    await asyncio.sleep(1)
    waits = await quiet.take(seconds)
    output, _ = await process.communicate()
    watching.cancel()
    back, _ = await asyncio.gather(given_back(memory, before + MORE_BYTES), asyncio.sleep(AFTER))
    return {
        **json.loads(output),
        "p50": share(waits, 0.5),
        "p99": share(waits, 0.99),
        "quiet": share(calm, 0.99),
        "ratio": share(waits, 0.99) / share(calm, 0.99),
        "before": before,
        "peak": peak[0],
        "after": memory.resident(),
        "back": back,
    }


async def run(
    names: Sequence[str], seconds: float, rounds: int, behave: Callable[[], object] = leave_to_others
) -> dict[str, dict[str, Any]]:
    """Every attack's turn, round by round; the medians. behave: called by the attacking process first of all."""
    cores = os.sched_getaffinity(0)
    first, *others = sorted(cores)
    core = others[0] if others else first
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    subject = Subject()
    with subject.running(first) as (server, port):
        os.sched_setaffinity(0, {core})
        try:
            async with contextlib.AsyncExitStack() as ends, Quiet(port, subject) as quiet:
                if "heard" in names:
                    # In its own process: reading it in this one would delay the quiet clients.
                    reading = await helper(core, lambda: os.nice(19), "--feed", "--port", str(port))
                    ends.push_async_callback(reading.wait)
                    ends.callback(reading.kill)
                memory = Memory(server)
                await quiet.take(2)
                for number in range(rounds):
                    for name in names:
                        if name.startswith(("unread", "hoards")):
                            # Before each turn: histories expire after HUB_HISTORY_SECONDS, and a run takes longer.
                            await quiet.fill()
                        figures = await turn(name, port, quiet, memory, seconds, core, behave)
                        found[name].append(figures)
                        print(f"{number + 1}/{rounds} {name:14} {json.dumps(figures)}", file=sys.stderr)
        finally:
            # A test process, and what it started, had one core from here to its end.
            os.sched_setaffinity(0, cores)
    return medians(found)


def medians(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The medians of each attack's turns. Ratios are per turn, as the machine's noise varies over time."""
    return {
        name: {
            key: median(each[key] for each in turns) if isinstance(value, int | float) else value
            for key, value in turns[-1].items()
        }
        for name, turns in found.items()
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures in Markdown."""
    lines = [
        "| attack | requests | answered | others' p50 ms | p99 ms | quiet p99 | times quiet "
        "| MiB before | peak | after | back, s |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, each in results.items():
        answers = ", ".join(each["answers"])
        sizes = " | ".join(f"{each[key] / 2**20:.0f}" for key in ("before", "peak", "after"))
        back = "no" if math.isinf(each["back"]) else f"{each['back']:.1f}"
        lines.append(
            f"| {ATTACKS[name].text} | {each['sent']:,.0f} | {answers} | {each['p50']:.1f} | {each['p99']:.1f} "
            f"| {each['quiet']:.1f} | {each['ratio']:.1f} | {sizes} | {back} |"
        )
    return "\n".join(lines)


def missed(results: dict[str, dict[str, Any]]) -> list[str]:
    """What did not reach its target, a line each."""
    lines = []
    for name, each in results.items():
        # As the table shows it.
        if round(each["ratio"], 1) > MOST_TIMES:
            lines.append(f"{name}: the others waited {each['ratio']:.1f} times as long as before")
        if math.isinf(each["back"]):
            more = (each["after"] - each["before"]) / 2**20
            lines.append(f"{name}: {more:.0f} MiB not given back in {BACK_SECONDS:g} s")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="how long each attack lasts")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each attack; medians are shown")
    parser.add_argument(
        "--only", action="append", choices=list(ATTACKS), metavar="NAME", help="an attack; again for more"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/hostile.md")
    parser.add_argument("--attack", choices=list(ATTACKS), help=argparse.SUPPRESS)
    parser.add_argument("--feed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.attack:
        print(json.dumps(asyncio.run(attack(args.attack, args.port, args.seconds))))
        return 0
    if args.feed:
        asyncio.run(read_feed(args.port, Subject()))
    results = asyncio.run(run(args.only or list(ATTACKS), args.seconds, args.rounds))
    about = report.circumstances([])
    rounds = "one round" if args.rounds == 1 else f"medians of {args.rounds} rounds"
    text = (
        f"Measured on {about['date']} at commit {about['commit']}: {about['machine']}; {args.seconds:g} s an attack, "
        f"{rounds}; {RATE} messages a second to {LISTENERS} quiet clients.\n\n{table(results)}"
    )
    print(text)
    if args.write:
        report.put(PAGE, MARKS, text + "\n")
    failures = missed(results)
    for line in failures:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
