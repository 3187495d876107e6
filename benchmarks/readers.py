"""`make readers`: ten thousand readers of one page hear its comments, and nobody asks for one.

Each reader is a WebSocket (`/ws`) with the position that the page's list had, as an open page is. Comments are posted
by HTTP, two a second. A comment's time runs from the sending of its form, so the save itself is in it, until the socket
of a reader has it; and from the time in its row, which is taken before its transaction is committed.

The server has a core of its own, this program the rest. At the end the books are closed: every comment that was
answered 201 has come to every reader once and in order, or the reader was told "lost" and found it in the list. What a
reader gets twice is counted as doubled, unless it comes after a new connection, which may bring it again.

Times are of one reader in fifty: they are read at once, and the others a few at a time in between, so that what reading
ten thousand sockets costs this program is not taken for the server's. Even so a reader may be late by itself. So each
time is taken twice: when the reader has read it, and "on the wire", when the kernel had it for the reader's socket
(SO_TIMESTAMPNS, whose time is the last segment's: never too early).

With --fault a worker is killed, or Redis restarted with its data, all the time; then two workers share a Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import resource
import socket
import sqlite3
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import aiohttp
import uvloop

from .freshness import LIST, Fleet
from .ledger.stage import RedisProcess
from .pages import EVENT, cpu_of

FAULTS = ("none", "worker killed", "redis restarted")

_COMMENT = re.compile(rb'"data":\{"comment":\{"id":(\d+),')
_POSITION = re.compile(rb'"id":"([^"]+)"\}$')
_PONG = bytes([0x8A, 0x80, 0, 0, 0, 0])

#: Linux, asm-generic/socket.h: Python has no name for it. The kernel's time of what is received, as a timespec.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")


@dataclass
class Book:
    """What was posted when (by id), and how long each took to each reader, in seconds.

    heard: comments' ids, and when a reader had each, by the clock that rows are dated by. wired: when its kernel did.
    """

    posted: dict[int, float] = field(default_factory=dict)
    heard: list[tuple[int, float]] = field(default_factory=list)
    wired: list[tuple[int, float]] = field(default_factory=list)
    doubled: int = 0
    disordered: int = 0
    connects: int = 0
    told_lost: int = 0
    fetched: int = 0
    answers: Counter[int] = field(default_factory=Counter)


class Stamped(asyncio.Transport):
    """A connection of a protocol that says of what it received when the kernel had it: `at`, as `time.time` does."""

    def __init__(self, protocol: asyncio.Protocol, sock: socket.socket) -> None:
        super().__init__()
        self.at = 0.0
        self._protocol, self._sock = protocol, sock
        self._loop = asyncio.get_running_loop()
        self._is_closing = False
        self._loop.add_reader(sock, self._take)
        protocol.connection_made(self)

    @classmethod
    async def connect(cls, protocol: asyncio.Protocol, port: int) -> None:
        """Raises OSError."""
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        cls(protocol, sock)

    def _take(self) -> None:
        try:
            data, beside, _, _ = self._sock.recvmsg(1 << 16, 128)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        for level, kind, value in beside:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                self.at = seconds + nanoseconds / 1e9
        if data:
            self._protocol.data_received(data)
        else:
            self._end(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """A question or a pong: a socket with nothing else in it takes them whole."""
        try:
            if self._sock.send(data) != len(data):
                self._end(OSError("its buffer is full"))
        except OSError as error:
            self._end(error)

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._loop.call_soon(self._protocol.connection_lost, error)


class Reader(asyncio.Protocol):
    """One open page. It comes back, from where it was, when its connection ends."""

    def __init__(self, book: Book, url: str, port: int, channel: str, position: str, *, is_timed: bool) -> None:
        self.is_timed = is_timed
        self.book, self.url, self.port, self.channel = book, url, port, channel
        self.position = position
        self.seen: set[int] = set()
        self.before: set[int] = set()
        self.newest = 0
        self.ready = asyncio.Event()
        self.ended = False
        self._left = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        while not self.ended:
            with contextlib.suppress(OSError):
                if self.is_timed:
                    await Stamped.connect(self, self.port)
                else:
                    await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)
                return
            await asyncio.sleep(random.uniform(0.2, 1))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclasses of asyncio's.
        connected = self._transport = cast("asyncio.Transport", transport)
        self._left, self._is_open = b"", False
        self.before, self.newest = set(self.seen), 0
        self.book.connects += 1
        path = f"/ws?channel={self.channel}&position={self.position}"
        connected.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended:
            self._do(self._come_back())

    async def _come_back(self) -> None:
        await asyncio.sleep(random.uniform(0.1, 1))
        await self.connect()

    def data_received(self, data: bytes) -> None:
        data = self._left + data if self._left else data
        if not self._is_open:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._left = data
                return
            if b" 101 " not in head[:20]:
                assert self._transport is not None
                self._transport.close()
                return
            self._is_open, data = True, rest
            self.ready.set()
        at = 0
        while len(data) - at >= 2:
            length, begin = data[at + 1] & 0x7F, at + 2
            if length == 126:
                length, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if begin + length > len(data):
                break
            self._take(data[at] & 0x0F, data[begin : begin + length])
            at = begin + length
        self._left = data[at:]

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == 9:
            assert self._transport is not None
            self._transport.write(_PONG)
            return
        found = _COMMENT.search(payload)
        if found is None:
            if b'"lost"' in payload:
                self.book.told_lost += 1
                self._do(self._fetch())
            return
        number = int(found[1])
        if number in self.seen:
            self.book.doubled += number not in self.before
        else:
            self.seen.add(number)
            if isinstance(self._transport, Stamped) and -number in self.book.posted:
                self.book.heard.append((number, time.time()))
                self.book.wired.append((number, self._transport.at))
        if number < self.newest:
            self.book.disordered += 1
        self.newest = max(self.newest, number)
        if position := _POSITION.search(payload):
            self.position = position[1].decode()

    def rest(self, *, rests: bool) -> None:
        """Leave what comes in the socket's buffer, or read it."""
        if self._transport is not None and self._is_open and not self._transport.is_closing():
            if rests:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    async def _fetch(self) -> None:
        # As pages do, not all at once.
        await asyncio.sleep(random.uniform(0, 1))
        async with aiohttp.ClientSession() as http:
            for _ in range(100):
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with http.get(self.url + LIST) as response:
                        if response.status == 200:
                            self.book.fetched += 1
                            self.seen |= {each["id"] for each in (await response.json())["comments"]}
                            return
                await asyncio.sleep(0.2)

    def _do(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]  # a coroutine of ours
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        self.ended = True
        if self._transport is not None:
            self._transport.close()


async def _post(http: aiohttp.ClientSession, url: str, book: Book, first: int, seconds: float, rate: float) -> None:
    """Comments one after the other; ids are given in order, so the next one's is known before it is answered."""
    end, number, following = time.monotonic() + seconds, 0, first
    due = time.monotonic()
    while time.monotonic() < end:
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        number += 1
        fields = {"name": "Ada", "text": f"Comment {number}, of *some* words.", "key": f"own-readers-{number:012}"}
        began = time.time()
        book.posted[-following] = began
        for _ in range(200):
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                headers = {"Accept": "application/json", "Origin": url}
                async with http.post(f"{url}{EVENT}/comments", json=fields, headers=headers) as response:
                    book.answers[response.status] += 1
                    if response.status == 201:
                        found = (await response.json())["comment"]["id"]
                        if found != following:
                            book.posted.pop(-following, None)
                        book.posted[found] = began
                        following = found + 1
                        break
            await asyncio.sleep(0.1)


def _since_forms(book: Book, heard: list[tuple[int, float]]) -> list[float]:
    """Seconds from the sending of a comment's form until each reader had it, in order."""
    return sorted(when - book.posted[-number] for number, when in heard if -number in book.posted)


def _since_rows(database: Path, heard: list[tuple[int, float]]) -> list[float]:
    """Seconds from the time in a comment's row, to the millisecond, until each reader had it, in order."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("select id, posted_at from comments").fetchall()
    saved = {id: datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp() for id, when in rows}
    return sorted(when - saved[number] for number, when in heard)


def _at(part: float, times: list[float]) -> float:
    """Milliseconds of the part's place among times that are in order."""
    return 1000 * times[min(len(times) - 1, int(part * len(times)))] if times else 0.0


async def _break(fleet: Fleet, fault: str, broken: Counter[str]) -> None:
    while True:
        await asyncio.sleep(random.uniform(5, 9))
        if fault == "worker killed":
            if pids := fleet.worker_pids():
                os.kill(random.choice(pids), 9)
        else:
            fleet.redis.kill(15)
            await asyncio.sleep(random.uniform(0, 1))
            await fleet.redis.start()
        broken[fault] += 1


async def _read_in_turns(readers: list[Reader]) -> None:
    """Read what came to those that are not timed, a few at a time; a round takes some seconds."""
    for each in readers:
        each.rest(rests=True)
    while True:
        for begin in range(0, len(readers), 10):
            some = readers[begin : begin + 10]
            for each in some:
                each.rest(rests=False)
            await asyncio.sleep(0.002)
            for each in some:
                each.rest(rests=True)


async def _asked(http: aiohttp.ClientSession, url: str) -> float:
    """How many pages and lists were answered until now, by all workers."""
    async with http.get(f"{url}/metrics") as response:
        text = await response.text()
    return sum(float(each) for each in re.findall(r"^site_pages_total\{[^}]*\} (\S+)", text, re.MULTILINE))


async def run(found: argparse.Namespace) -> int:
    book, broken = Book(), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="fanfare-readers-") as name:
        workers = 1 if found.fault == "none" else found.workers
        fleet = Fleet(Path(name), workers, f"sqlite:///{name}/site.db")
        fleet.redis = RedisProcess(Path(name) / "redis", "--appendonly", "yes", "--appendfsync", "always")
        cores = sorted(os.sched_getaffinity(0))
        try:
            # What it starts inherits its core.
            os.sched_setaffinity(0, {cores[0]})
            await fleet.start()
            os.sched_setaffinity(0, set(cores[1:] or cores))
            assert fleet.process is not None
            async with aiohttp.ClientSession() as http:
                async with http.get(fleet.url + LIST) as response:
                    answer = await response.json()
                first = max((each["id"] for each in answer["comments"]), default=0) + 1
                async with http.post(
                    f"{fleet.url}{EVENT}/comments",
                    json={"name": "Ada", "text": "The first"},
                    headers={"Accept": "application/json", "Origin": fleet.url},
                ) as response:
                    first = (await response.json())["comment"]["id"] + 1
                async with http.get(fleet.url + LIST) as response:
                    answer = await response.json()
                channel, position = answer["channel"], answer["position"]
                readers = [
                    Reader(book, fleet.url, fleet.port, channel, position, is_timed=number % 50 == 0)
                    for number in range(found.readers)
                ]
                for begin in range(0, len(readers), 200):
                    some = readers[begin : begin + 200]
                    await asyncio.gather(*(each.connect() for each in some))
                    await asyncio.gather(*(each.ready.wait() for each in some))
                # What connecting left to do is done.
                await asyncio.sleep(2)
                asked, cpu = await _asked(http, fleet.url), cpu_of(fleet.process.pid)
                harm = asyncio.create_task(_break(fleet, found.fault, broken)) if found.fault != "none" else None
                others = [each for each in readers if not each.is_timed]
                turns = asyncio.create_task(_read_in_turns(others))
                await _post(http, fleet.url, book, first, found.seconds, found.rate)
                turns.cancel()
                await asyncio.wait([turns])
                for each in others:
                    each.rest(rests=False)
                if harm is not None:
                    harm.cancel()
                    await asyncio.wait([harm])
                    if fleet.redis.process is None:
                        await fleet.redis.start()
                wanted = {each for each in book.posted if each > 0}
                deadline = time.monotonic() + found.patience
                while time.monotonic() < deadline and not all(wanted <= each.seen for each in readers):
                    await asyncio.sleep(0.2)
                used = cpu_of(fleet.process.pid) - cpu
                asked = await _asked(http, fleet.url) - asked
                for each in readers:
                    each.end()
                database = Path(name) / "site.db"
                since = [(_since_forms(book, each), _since_rows(database, each)) for each in (book.wired, book.heard)]
        finally:
            os.sched_setaffinity(0, set(cores))
            fleet.stop()
    lost = sum(len(wanted - each.seen) for each in readers)

    def told(times: list[float]) -> str:
        return f"median {_at(0.5, times):.1f} ms, p99 {_at(0.99, times):.1f} ms, slowest {_at(1, times):.1f} ms"

    print(f"{found.readers} readers, {len(wanted)} comments, {len(book.heard)} times taken")
    for what, (forms, rows) in zip(("on the wire", "read"), since, strict=True):
        print(f"{what}, from the form's sending: {told(forms)}")
        print(f"{what}, from the time in its row, before the commit: {told(rows)}")
    print(f"lost {lost}, doubled {book.doubled}, out of order {book.disordered}; faults: {dict(broken)}")
    print(
        f"lists and pages that were asked for meanwhile: {asked:.0f} ({book.fetched} by readers who were told"
        f" {book.told_lost} times that something may be lost); connections {book.connects};"
        f" answers to forms: {dict(book.answers)}; server CPU {used:.1f} s"
    )
    is_late = found.fault == "none" and _at(0.99, since[0][1]) > 100
    return 1 if lost or book.doubled or not wanted or is_late else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make readers", description=__doc__)
    parser.add_argument("--readers", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=2.0, help="comments a second")
    parser.add_argument("--workers", type=int, default=2, help="where there are faults; else one")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds that the last may take at the end")
    parser.add_argument("--fault", choices=FAULTS, default="none")
    found = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 3 * found.readers + 1000), hard), hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(found))


if __name__ == "__main__":
    sys.exit(main())
