"""Measures: one read and one write at a time, on a connection of its own, with nothing else in the process.

It blocks, so it is for commands and for the worker's process. In an event loop a clock would measure who else had a
turn meanwhile.
"""

from __future__ import annotations

import gc
import os
import random
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter_ns
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgpack
import redis

# Nowhere else is there a choice of them, and which one redis-py takes by itself is what is measured here.
from redis._parsers import _HiredisParser, _RESP2Parser
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...services.cache.codecs import Codec
from . import payloads, records
from .configurations import Client, Configuration, codec_of
from .figures import Sample
from .payloads import Sampled

T = TypeVar("T")

#: Seconds that Redis may take for anything.
PATIENCE = 5.0

#: Keys that are looked at for a sample, and of those how many are taken.
MOST_SEEN, MOST_TAKEN = 10_000, 200

_PARSERS: dict[Client, type[Any]] = {"hiredis": _HiredisParser, "python": _RESP2Parser}


class BenchError(Exception):
    """Redis could not be asked, or not for this; the message says why."""


class CantCarry(BenchError):
    """A configuration has no words for a payload."""


class Bench:
    """Connections to one Redis, and the values that are measured.

    kept: measurements of each configuration that Redis keeps. sampled: the values of the payload "keys".
    """

    def __init__(self, url: str, *, kept: int = 1000, sampled: Sequence[Any] = ()) -> None:
        try:
            records.check_url(url)
        except ValueError as error:
            raise BenchError(str(error)) from None
        self._url = url
        self._kept = kept
        self._sampled = sampled
        #: No other process writes to our keys, so what grows there loses nothing either.
        self._who = f"{os.getpid()}-{secrets.token_hex(4)}"
        # Any: what they answer is bytes, as they decode nothing; redis-py says that it may be text.
        self._clients: dict[Client, Any] = {}
        self._codecs: dict[Configuration, Codec] = {}
        self._values: dict[str, Sequence[Any]] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._begun: set[str] = set()

    def close(self) -> None:
        """Remove the values, and let go of the connections."""
        with suppress(redis.RedisError):
            names = list(self._begun)
            for at in range(0, len(names), 500):
                self._client("python").delete(*names[at : at + 500])
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def version(self) -> str:
        """What the server calls itself."""
        found = self._asked(lambda: self._client("python").info("server"))
        if "valkey_version" in found:
            return f"Valkey {found['valkey_version']}"
        return f"Redis {found.get('redis_version', '?')}"

    def measure(self, configuration: Configuration, payload: str) -> Sample:
        """One read and one write. Raises CantCarry, and BenchError if Redis does not answer."""
        return self._asked(lambda: self._measure(configuration, payload))

    def settle(self, configuration: Configuration) -> None:
        """Go to Redis and back once. Raises BenchError.

        For who was woken to measure once: whoever woke him is still at work on another core, which Redis needs, and
        what a measurement uses is in no processor's cache.
        """
        self._asked(lambda: self._client(configuration.client).ping())

    def record(self, configuration: Configuration, payload: str, samples: Sequence[Sample]) -> None:
        """Keep measurements, beside those of any other process. Raises BenchError."""
        if not samples:
            return

        def put() -> None:
            pipeline = self._client("python").pipeline(transaction=True)
            records.put(pipeline, payload, configuration.name, samples, self._kept)
            pipeline.execute()

        self._asked(put)

    def sample(self, pattern: str, *, dice: random.Random | None = None) -> Sampled:
        """Read some of the keys that a pattern has; nothing is written, and their age stays what it is.

        Raises BenchError.
        """
        return self._asked(lambda: self._sample(pattern, dice or random.Random()))

    def use(self, sampled: Sequence[Any]) -> None:
        """The values of the payload "keys"."""
        self._sampled = sampled
        self._values.pop("keys", None)

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (redis.RedisError, OSError) as error:
            raise BenchError(f"Redis at {_shown(self._url)}: {error}") from error

    def _client(self, client: Client) -> Any:
        found = self._clients.get(client)
        if found is None:
            pool = redis.ConnectionPool.from_url(
                self._url,
                parser_class=_PARSERS[client],
                protocol=2,
                decode_responses=False,
                # See `_patient`.
                socket_timeout=None,
                socket_connect_timeout=PATIENCE,
                # A measurement that was tried twice would be none.
                retry=Retry(NoBackoff(), 0),
                max_connections=1,
            )
            pool.connection_class = _patient(pool.connection_class)
            found = self._clients[client] = redis.Redis(connection_pool=pool)
        return found

    def _measure(self, configuration: Configuration, payload: str) -> Sample:
        codec = self._codecs.get(configuration)
        if codec is None:
            codec = self._codecs[configuration] = codec_of(configuration)
        client = self._client(configuration.client)
        if payload == "times":
            return self._grow(client, configuration, codec)
        values = self._values.get(payload)
        if values is None:
            # Made once: what is made between two measurements would be in the processor's cache instead of theirs.
            values = self._values[payload] = payloads.values_of(payload, self._sampled)
        turn = self._turns.get((configuration.name, payload), 0)
        self._turns[configuration.name, payload] = turn + 1
        place = turn % len(values)
        value = values[place]
        if configuration.is_floor:
            value = value if isinstance(value, bytes) else msgpack.packb(value)
        key = records.value_of(payload, f"{configuration.name}:{place}", self._who)
        if key not in self._begun:
            try:
                first = codec.encode(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise CantCarry(f"{configuration.name} can't say {payload}: {error}") from None
            self._begun.add(key)
            client.set(key, first, ex=records.VALUE_SECONDS)
            if codec.decode(client.get(key) or b"") != value:
                raise CantCarry(f"{configuration.name} gives {payload} back otherwise than it was")
        found, read = _read(client, key, codec)
        if found is None:
            # It was not asked for in ten minutes.
            client.set(key, codec.encode(value), ex=records.VALUE_SECONDS)
            found, read = _read(client, key, codec)
        size, write = _write(client, key, codec, value)
        return Sample(read, write, size)

    def _grow(self, client: Any, configuration: Configuration, codec: Codec) -> Sample:
        """The growing list of times: read it, add how long that took, write it."""
        key = records.value_of("times", configuration.name, self._who)
        floor = configuration.is_floor
        if key not in self._begun:
            self._begun.add(key)
            client.set(key, msgpack.packb([]) if floor else codec.encode([]), ex=records.VALUE_SECONDS)
        found, read = _read(client, key, codec)
        values: list[float] = (msgpack.unpackb(found) if floor else found) if found is not None else []
        if len(values) >= payloads.MOST_TIMES:
            values = []
        values.append(read / 1e6)
        size, write = _write(client, key, codec, msgpack.packb(values) if floor else values)
        return Sample(read, write, size)

    def _sample(self, pattern: str, dice: random.Random) -> Sampled:
        client = self._client("python")
        with suppress(redis.ResponseError):
            # Since Redis 7.2: what is looked at does not become younger by it.
            client.execute_command("CLIENT", "NO-TOUCH", "ON")
        try:
            return self._take(client, pattern, dice)
        finally:
            with suppress(redis.RedisError):
                client.execute_command("CLIENT", "NO-TOUCH", "OFF")

    def _take(self, client: Any, pattern: str, dice: random.Random) -> Sampled:
        taken: list[bytes] = []
        seen = 0
        # Only strings can be got and set; so does SCAN leave out all else by itself.
        for key in client.scan_iter(match=pattern, count=500, _type="string"):
            if key.startswith(records.PREFIX.encode()):
                continue
            seen += 1
            # Each key that was seen is among those that are taken with the same chance.
            if len(taken) < MOST_TAKEN:
                taken.append(key)
            elif (place := dice.randrange(seen)) < MOST_TAKEN:
                taken[place] = key
            if seen >= MOST_SEEN:
                break
        values: list[Any] = []
        left = {"long": 0, "gone": 0}
        for key in taken:
            if int(client.strlen(key)) > payloads.MOST_BYTES:
                left["long"] += 1
                continue
            data = client.get(key)
            if data is None:
                left["gone"] += 1
                continue
            values.append(payloads.read_value(bytes(data)))
        return Sampled(tuple(values), {reason: count for reason, count in left.items() if count})


def _patient(connection: Any) -> Any:
    """A class of connections that wait no longer than PATIENCE, by the kernel's clock.

    With a time-out of Python's own each answer takes one more system call, to ask whether there is one: a third of what
    a read costs, and no part of what is compared.
    """

    class Patient(connection):  # type: ignore[misc]  # which class it is the URL says
        def _connect(self) -> Any:
            found = super()._connect()
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                found.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(PATIENCE), 0))
            return found

    return Patient


def _read(client: Any, key: str, codec: Codec) -> tuple[Any, int]:
    """What a key has, None for nothing, and the nanoseconds that it took."""
    decode = codec.decode
    gc.disable()
    try:
        begin = perf_counter_ns()
        data = client.get(key)
        value = None if data is None else decode(data)
        return value, perf_counter_ns() - begin
    finally:
        gc.enable()


def _write(client: Any, key: str, codec: Codec, value: Any) -> tuple[int, int]:
    """The bytes of what was written, and the nanoseconds that it took."""
    encode = codec.encode
    gc.disable()
    try:
        begin = perf_counter_ns()
        data = encode(value)
        client.set(key, data, ex=records.VALUE_SECONDS)
        return len(data), perf_counter_ns() - begin
    finally:
        gc.enable()


def _shown(url: str) -> str:
    """A URL without who logs in."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path


def in_turns(
    bench: Bench,
    configurations: Sequence[Configuration],
    payload: str,
    *,
    seconds: float,
    clock: Callable[[], float],
    each: Callable[[Configuration, Sample], None],
    rounds: int | None = None,
) -> dict[str, str]:
    """Measure each configuration in turns, in an order that changes, for so long. Raises BenchError.

    Returns those that can't carry the payload, with the reason. So what else the machine does in a second is done to
    all of them. A round that was begun is ended: each has as many measurements as the others.
    """
    left = list(configurations)
    unable: dict[str, str] = {}
    dice = random.Random()
    until = clock() + seconds
    done = 0
    while left and clock() < until and (rounds is None or done < rounds):
        dice.shuffle(left)
        for configuration in list(left):
            try:
                each(configuration, bench.measure(configuration, payload))
            except CantCarry as error:
                unable[configuration.name] = str(error)
                left.remove(configuration)
        done += 1
    return unable
