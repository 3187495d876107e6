"""Measurements as they are kept in Redis: one list for each payload and configuration, of which the newest are kept.

No update is lost: what was measured is not read, changed and written again. It is pushed to the list, and counted, in
one transaction, and so of any number of processes each one's measurements count.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from .figures import Sample

#: Before all that the laboratory has in Redis. Nothing else is ever written.
PREFIX = "fanfare:lab:redis:"
COUNTS = PREFIX + "counts"
PATTERN = PREFIX + "*"


def channel_of(payload: str) -> str:
    """Where it is told that something was measured: one for each payload, as the figures of one are no small work."""
    return f"lab-redis-{payload}"


#: Seconds after the last measurement for which what was measured is kept.
KEPT_SECONDS = 30 * 86400
#: Seconds for which a measured value stays where it is.
VALUE_SECONDS = 600

_RECORD = struct.Struct("<III")
_MOST = 2**32 - 1


def list_of(payload: str, name: str) -> str:
    """The key of a list."""
    return f"{PREFIX}records:{payload}:{name}"


def field_of(payload: str, name: str) -> str:
    """The field of COUNTS with how many there were in all."""
    return f"{payload}:{name}"


def value_of(payload: str, name: str, who: str) -> str:
    """The key of the measured value. who: the process that measures; no other writes there."""
    return f"{PREFIX}value:{payload}:{name}:{who}"


def pack(sample: Sample) -> bytes:
    """A measurement as its list has it: times of 4 s and more, and sizes of 4 GB, are as good as endless."""
    return _RECORD.pack(min(sample.read, _MOST), min(sample.write, _MOST), min(sample.size, _MOST))


def unpack(record: bytes) -> Sample | None:
    """None for what no measurement is: anybody may write to Redis."""
    return Sample(*_RECORD.unpack(record)) if len(record) == _RECORD.size else None


def put(pipeline: Any, payload: str, name: str, samples: Sequence[Sample], kept: int) -> None:
    """Add measurements, in a pipeline of either kind of client that is a transaction."""
    key = list_of(payload, name)
    pipeline.rpush(key, *map(pack, samples))
    pipeline.ltrim(key, -kept, -1)
    pipeline.expire(key, KEPT_SECONDS)
    pipeline.hincrby(COUNTS, field_of(payload, name), len(samples))
    pipeline.expire(COUNTS, KEPT_SECONDS)


def check_url(url: str) -> None:
    """Raise ValueError for a URL of sentinels: what is measured is one server."""
    if "sentinel" in urlsplit(url).scheme:
        raise ValueError(
            "REDIS_URL names sentinels; the laboratory measures one server: name it as redis://HOST:6379/0"
        )
