"""`python -m benchmarks.soak`: an hour of coming and going, and whether memory and file descriptors stay flat.

    python -m benchmarks.soak --seconds 3600 --csv soak.csv     # run, sample, draw
    python -m benchmarks.soak --draw soak.csv                   # draw what was sampled, also while it runs

One server, 5,000 connections of which one in ten is a long-poller, 20 a second leaving, half of them politely and
half with a reset, and others coming in their place; one message a second to one of 100 channels. Every message's
deliveries are counted. The load is light on purpose: what is looked for is what stays behind.

The exit code is 1 when memory or descriptors were not flat (`verdict`), when the server cut a client that had done
nothing, or when a publish failed. Other load on the machine makes it slower, and is stated.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import csv
import os
import random
import re
import socket
import struct
import sys
import textwrap
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import uvloop

from hub.bench import cores
from hub.protocol import tokens

from .calm import Watch
from .report import circumstances, put
from .servers import HOST, ROOT, Fanfare

CHANNELS = 100
SAMPLE_SECONDS = 10.0

#: Left out when flatness is judged: the time until everybody is connected and the histories are full (600 s).
WARM_SECONDS = 660.0

#: Resident bytes that may stay of each connection that left, and beyond that altogether. Whatever a leak keeps of a
#: connection has at least an entry in a table and an object of its own, 100 bytes and more; the rest is for the
#: allocator, whose pools are never packed quite the same.
LEFT_BYTES = 40
SLACK_BYTES = 2 * 2**20

#: Descriptors that are no connection's may become so many more: some clients are always coming or going. One leak in
#: a thousand of those who leave in an hour would be three times as many.
SLACK_DESCRIPTORS = 20

PLOT = ROOT / "docs/soak.svg"
PAGE = ROOT / "docs/benchmarks.md"
MARKS = ("<!-- soak begin -->", "<!-- soak end -->")
FIELDS = (
    "seconds",
    "resident",
    "descriptors",
    "threads",
    "cpu",
    "links",
    "sessions",
    "left",
    "deliveries",
    "cut",
    "connections",
)


Sample = dict[str, float]


class Tally:
    """Counts of what the clients received."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.left = 0
        self.cut = 0
        self.over = False


class Client(asyncio.Protocol):
    """A Bayeux client on one connection: handshakes, subscribes to one channel, connects again and again."""

    def __init__(self, tally: Tally, channel: str, *, polls: bool) -> None:
        self.tally = tally
        self.channel = channel
        self.polls = polls
        self.id = ""
        self.last: object = None
        self.leaving = False
        self.buffer = b""
        self.upgraded = polls
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport: Any = transport
        if self.polls:
            self.handshake()
        else:
            self.transport.write(
                b"GET /bayeux HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % base64.b64encode(os.urandom(16))
            )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.leaving and not self.tally.over:
            # Reported, and its place is taken when its turn to leave comes.
            self.tally.cut += 1
            print(f"cut: {self.channel} {'poll' if self.polls else 'socket'} {exc!r} {self.last}", file=sys.stderr)
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.upgraded:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self.upgraded, self.buffer = True, rest
            self.handshake()
        while (payload := self.read_answer() if self.polls else self.read_frame()) is not None:
            if payload:
                for message in orjson.loads(payload):
                    self.heard(message)

    def read_answer(self) -> bytes | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        found = re.search(rb"(?i)content-length: (\d+)", self.buffer[:end])
        assert found, self.buffer[:end]
        length = int(found[1])
        if len(self.buffer) < end + 4 + length:
            return None
        payload, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
        return payload

    def read_frame(self) -> bytes | None:
        if len(self.buffer) < 2:
            return None
        length, start = self.buffer[1] & 127, 2
        if length == 126:
            length, start = int.from_bytes(self.buffer[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(self.buffer[2:10], "big"), 10
        if len(self.buffer) < start + length:
            return None
        opcode, payload = self.buffer[0] & 15, self.buffer[start : start + length]
        self.buffer = self.buffer[start + length :]
        if opcode == 9:
            self.frame(10, payload)
        elif opcode == 8:
            self.transport.close()
        return payload if opcode == 1 else b""

    def frame(self, opcode: int, payload: bytes) -> None:
        """A frame with a mask of zeros, which is as good as any on loopback."""
        size = len(payload)
        length = bytes([128 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        self.transport.write(bytes([128 | opcode]) + length + bytes(4) + payload)

    def say(self, message: dict[str, object]) -> None:
        payload = orjson.dumps([message if not self.id else {**message, "clientId": self.id}])
        if self.polls:
            self.transport.write(
                b"POST /bayeux HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(payload), payload)
            )
        else:
            self.frame(1, payload)

    def handshake(self) -> None:
        kinds = ["long-polling" if self.polls else "websocket"]
        self.say({"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": kinds})

    def connect(self) -> None:
        self.say({"channel": "/meta/connect", "connectionType": "long-polling" if self.polls else "websocket"})

    def heard(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        self.last = message
        if not channel.startswith("/meta/"):
            self.tally.deliveries += 1
            return
        assert message["successful"] or self.leaving, message
        if channel == "/meta/handshake":
            self.id = message["clientId"]
            self.say(
                {"channel": "/meta/subscribe", "subscription": self.channel, "ext": {"position": {self.channel: None}}}
            )
        elif channel in ("/meta/subscribe", "/meta/connect") and not self.leaving:
            self.connect()

    def leave(self, *, politely: bool) -> None:
        gone, self.leaving = self.lost.done(), True
        self.tally.left += 1
        if gone:
            return
        if politely and self.id and not self.polls:
            self.say({"channel": "/meta/disconnect"})
            self.frame(8, b"\x03\xe8")
        elif politely:
            self.transport.close()
        else:
            # A reset, as from a phone that lost its network for good.
            raw = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


class Crowd:
    """The clients, as many as were asked for."""

    def __init__(self, port: int, size: int) -> None:
        self.port = port
        self.size = size
        self.tally = Tally()
        self.clients: list[Client] = []
        self.made = 0

    async def join(self) -> None:
        self.made += 1
        number = self.made
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            lambda: Client(self.tally, f"/soak-{number % CHANNELS}", polls=number % 10 == 0), HOST, self.port
        )
        self.clients.append(client)

    async def gather(self) -> None:
        """Connect all clients, 250 a second."""
        while len(self.clients) < self.size:
            await asyncio.gather(*(self.join() for _ in range(min(25, self.size - len(self.clients)))))
            await asyncio.sleep(0.1)

    async def churn(self, rate: float) -> None:
        while True:
            await asyncio.sleep(1 / rate)
            place = random.randrange(len(self.clients))
            client, self.clients[place] = self.clients[place], self.clients[-1]
            self.clients.pop()
            client.leave(politely=random.random() < 0.5)
            await self.join()
            # Also in the place of those who were cut.
            self.clients = [each for each in self.clients if not each.lost.done()]
            while len(self.clients) < self.size:
                await self.join()


def publish(port: int, subject: Fanfare, number: int, token: str) -> None:
    body = orjson.dumps({"items": [{"channel": f"soak-{number % CHANNELS}", "json-object": {"number": number}}]})
    request = urllib.request.Request(
        f"http://{HOST}:{port}/realm/{subject.realm}/publish/",
        body,
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def state(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=30) as answer:
        found: dict[str, Any] = orjson.loads(answer.read())
        return found


async def run(seconds: float, size: int, rate: float, path: Path) -> list[str]:
    """Soak one server and write a line to `path` each SAMPLE_SECONDS; returns what went wrong, but for leaks."""
    subject = Fanfare()
    core, other = cores()
    os.sched_setaffinity(0, {other})
    with subject.running(core) as (server, port), path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        started = time.monotonic()
        crowd = Crowd(port, size)
        number = failed = 0

        async def sample() -> None:
            while True:
                try:
                    said = await asyncio.to_thread(state, port)
                except OSError as error:
                    # A machine that is busy enough; the next sample will do.
                    print(f"no sample: {error!r}", file=sys.stderr)
                    continue
                writer.writerow(
                    [
                        round(time.monotonic() - started, 1),
                        server.resident(),
                        len(os.listdir(f"/proc/{server.pid}/fd")),
                        len(os.listdir(f"/proc/{server.pid}/task")),
                        round(server.cpu(), 2),
                        said["links"],
                        said["sessions"],
                        crowd.tally.left,
                        crowd.tally.deliveries,
                        crowd.tally.cut,
                        sum(not client.lost.done() for client in crowd.clients),
                    ]
                )
                file.flush()
                await asyncio.sleep(SAMPLE_SECONDS)

        async def speak() -> None:
            nonlocal number, failed
            token = tokens.sign(subject.realm, subject.key, time.time(), life=seconds + 3600)
            while True:
                await asyncio.sleep(1)
                number += 1
                try:
                    await asyncio.to_thread(publish, port, subject, number, token)
                except OSError as error:
                    failed += 1
                    print(f"publish {number}: {error!r}", file=sys.stderr)

        tasks = [asyncio.create_task(sample())]
        await crowd.gather()
        tasks += [asyncio.create_task(speak()), asyncio.create_task(crowd.churn(rate))]
        done, _ = await asyncio.wait(
            tasks, timeout=seconds - (time.monotonic() - started), return_when=asyncio.FIRST_EXCEPTION
        )
        crowd.tally.over = True
        for task in tasks:
            if task in done:
                task.result()
            task.cancel()
        print(f"{number} messages, {crowd.tally.left} left, {crowd.tally.cut} cut by the server")
        wrong = []
        if crowd.tally.cut:
            wrong.append(f"{crowd.tally.cut} clients were cut")
        if failed:
            wrong.append(f"{failed} of {number} publishes failed")
        return wrong


def read(path: Path) -> list[Sample]:
    """Read the samples of an earlier run."""
    with path.open(encoding="ascii") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def ends(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """The medians of the first sixth and of the last."""
    part = max(1, len(samples) // 6)
    return median(each[name] for each in samples[:part]), median(each[name] for each in samples[-part:])


def verdict(samples: Sequence[Sample], warm: float) -> list[str] | None:
    """What was not flat after `warm` seconds, in words; None when that is too short a time to tell.

    Flat means that what leaves leaves nothing behind: memory has grown by less than LEFT_BYTES for each connection that
    left meanwhile, give or take SLACK_BYTES, and descriptors are as many as connections, as they were at first.
    """
    calm = [each for each in samples if each["seconds"] >= warm]
    if len(calm) < 6:
        return None
    wrong = []
    first, last = ends(calm, "resident")
    gone, more = ends(calm, "left")
    left = more - gone
    if last - first > SLACK_BYTES + LEFT_BYTES * left:
        wrong.append(f"memory grew by {(last - first) / 2**20:.1f} MiB while {left:,.0f} connections left")
    beside = [each | {"beside": each["descriptors"] - each["connections"]} for each in calm]
    first, last = ends(beside, "beside")
    if last - first > SLACK_DESCRIPTORS:
        wrong.append(f"{last - first:,.0f} more descriptors than connections left open")
    return wrong


def draw(samples: Sequence[Sample]) -> None:
    """Draw docs/soak.svg."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams.update({"svg.hashsalt": "fanfare", "svg.fonttype": "none", "font.size": 9})
    minutes = [each["seconds"] / 60 for each in samples]
    figure, (memory, descriptors) = pyplot.subplots(2, 1, figsize=(8, 4.2), sharex=True)
    memory.plot(minutes, [each["resident"] / 2**20 for each in samples], color="#b3202c")
    memory.set_ylabel("resident, MiB")
    memory.set_ylim(bottom=0)
    descriptors.plot(minutes, [each["descriptors"] for each in samples], color="#b3202c", label="file descriptors")
    descriptors.plot(minutes, [each["sessions"] for each in samples], color="#7a8794", label="sessions")
    descriptors.set_ylim(bottom=0)
    descriptors.set_xlabel("minutes")
    descriptors.legend(loc="lower right", frameon=False)
    for axis in (memory, descriptors):
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(PLOT, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def words(samples: Sequence[Sample], warm: float, others: float | None) -> str:
    """What the page says. others: the part of the cores that other programs had, None if it is not known."""
    last = samples[-1]
    calm = [each for each in samples if each["seconds"] >= warm] or samples
    resident, files = ends(calm, "resident"), ends(calm, "descriptors")
    wrong = verdict(samples, warm)
    outcome = (
        "too short a run to call it flat" if wrong is None else "not flat: " + "; ".join(wrong) if wrong else "flat"
    )
    beside = "" if others is None else f" Other programs had {others:.0%} of the cores."
    about = circumstances([])
    told = (
        f"Measured on {about['date']} at commit {about['commit']}: {about['machine']}. "
        f"{last['seconds'] / 60:.0f} minutes, {last['connections']:,.0f} connections and "
        f"{last['sessions']:,.0f} sessions at the end (who leaves without a word is remembered for 30 seconds), "
        f"{last['left']:,.0f} connections left and were replaced, {last['cut']:,.0f} were cut by the server, "
        f"{last['deliveries']:,.0f} deliveries; "
        f"{last['cpu'] / last['seconds']:.1%} of a core.{beside} From minute {calm[0]['seconds'] / 60:.0f} to the end "
        f"(medians of the first and last sixth): resident memory {resident[0] / 2**20:.1f} to "
        f"{resident[1] / 2**20:.1f} MiB ({resident[1] / resident[0] - 1:+.1%}), file descriptors {files[0]:,.0f} to "
        f"{files[1]:,.0f}. By the limits of `benchmarks/soak.py` ({LEFT_BYTES} bytes for each that left, and "
        f"{SLACK_BYTES // 2**20} MiB) that is {outcome}."
    )
    return textwrap.fill(told, 118, break_on_hyphens=False) + "\n\n![Memory and file descriptors](soak.svg)\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--churn", type=float, default=20.0, metavar="RATE", help="leavers a second")
    parser.add_argument(
        "--warm", type=float, default=WARM_SECONDS, metavar="SECONDS", help="judge what comes after; for short runs"
    )
    parser.add_argument("--csv", type=Path, default=Path("soak.csv"))
    parser.add_argument("--draw", type=Path, metavar="CSV", help="only draw what was sampled")
    args = parser.parse_args(argv)
    wrong: list[str] = []
    others = None
    if args.draw is None:
        with Watch() as watch:
            wrong = uvloop.run(run(args.seconds, args.connections, args.churn, args.csv))
        others = watch.others
    samples = read(args.draw or args.csv)
    draw(samples)
    text = words(samples, args.warm, others)
    print(text)
    if not put(PAGE, MARKS, text):
        print(f"{PAGE.name} has no marks for it", file=sys.stderr)
    wrong += verdict(samples, args.warm) or []
    for each in wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
