"""A worker's history in a fixed number of bytes: by the second, by ten seconds, by five minutes. Pure.

Each tier is a row of slots. An interval has one slot, which is found by its time alone, and says for which time it is:
so a slot of an earlier round is known to be none, a gap stays a gap, and whoever opens the bytes of a process that was
killed goes on where it stopped. A sample is added to the slots of all tiers at once; nothing is ever moved.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .fields import FIELDS, Field


@dataclass(frozen=True, slots=True)
class Tier:
    """seconds: of an interval; count: of intervals."""

    seconds: int
    count: int


#: A quarter of an hour, six hours, thirty days.
TIERS = (Tier(1, 900), Tier(10, 2160), Tier(300, 8640))

#: Bytes that a worker's history may have.
MOST_BYTES = 2 * 1024 * 1024

_HEAD = 4096
_STAMP = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of an interval. at: when it begins; samples: how many are in it, 0 if there is nothing."""

    at: int
    samples: int
    values: tuple[float, ...]


class Ring:
    """History in a buffer of `Ring.size` bytes, which may be a file's. A buffer of another form is begun anew."""

    def __init__(self, buffer: memoryview, fields: Sequence[Field] = FIELDS, tiers: Sequence[Tier] = TIERS) -> None:
        self._buffer = buffer
        self.fields = tuple(fields)
        self.tiers = tuple(tiers)
        self._slot = struct.Struct(f"<II{len(fields)}f")
        self._starts: list[int] = []
        at = _HEAD
        for tier in tiers:
            self._starts.append(at)
            at += tier.count * self._slot.size
        if len(buffer) != at:
            raise ValueError(f"a ring of this form has {at} bytes")
        head = self._form()
        if bytes(buffer[: len(head)]) != head:
            buffer[:] = bytes(at)
            buffer[: len(head)] = head

    @staticmethod
    def size(fields: Sequence[Field] = FIELDS, tiers: Sequence[Tier] = TIERS) -> int:
        """Bytes that it has."""
        return _HEAD + sum(tier.count for tier in tiers) * struct.calcsize(f"<II{len(fields)}f")

    def _form(self) -> bytes:
        names = ",".join(f"{field.name}:{field.kind}" for field in self.fields)
        tiers = ",".join(f"{tier.seconds}x{tier.count}" for tier in self.tiers)
        return f"fanfare ring 1\n{tiers}\n{names}\n".encode()[:_HEAD]

    def add(self, at: float, values: Sequence[float]) -> None:
        """Add a sample that was taken at this time, in seconds since 1970."""
        for tier, start in zip(self.tiers, self._starts, strict=True):
            self._merge(tier, start, int(at), 1, values)

    def _merge(self, tier: Tier, start: int, at: int, samples: int, values: Sequence[float]) -> None:
        begins = at - at % tier.seconds
        place = start + (begins // tier.seconds) % tier.count * self._slot.size
        stamp, before = _STAMP.unpack_from(self._buffer, place)
        if stamp == begins and before:
            known = self._slot.unpack_from(self._buffer, place)[2:]
            values = [
                _merged(field.kind, old, before, new, samples)
                for field, old, new in zip(self.fields, known, values, strict=True)
            ]
            samples += before
        self._slot.pack_into(self._buffer, place, begins, samples, *values)

    def read(self, tier: Tier, since: float, until: float) -> list[Row]:
        """A tier's intervals that begin from `since` on and before `until`, oldest first, as far back as it goes."""
        start = self._starts[self.tiers.index(tier)]
        first = -(-int(max(0.0, since)) // tier.seconds)
        last = -(-math.ceil(until) // tier.seconds)
        rows = []
        for number in range(max(first, last - tier.count), last):
            place = start + number % tier.count * self._slot.size
            stamp, samples, *values = self._slot.unpack_from(self._buffer, place)
            known = stamp == number * tier.seconds and samples > 0
            rows.append(Row(number * tier.seconds, samples if known else 0, tuple(values) if known else ()))
        return rows

    def absorb(self, other: Ring, now: float) -> None:
        """Add what another ring of the same form has."""
        for tier, start in zip(self.tiers, self._starts, strict=True):
            for row in other.read(tier, now - tier.seconds * tier.count, now + 1):
                if row.samples:
                    self._merge(tier, start, row.at, row.samples, row.values)


def _merged(kind: str, old: float, before: int, new: float, samples: int) -> float:
    if kind == "sum":
        return old + new
    # What is not known now takes nothing from what was.
    if math.isnan(new):
        return old
    if math.isnan(old):
        return new
    if kind == "most":
        return max(old, new)
    return (old * before + new * samples) / (before + samples)


def best_tier(seconds: float, tiers: Sequence[Tier] = TIERS) -> Tier:
    """The finest tier that goes back so far."""
    return next((tier for tier in tiers if tier.seconds * tier.count >= seconds), tiers[-1])


def merge_rows(rows: Sequence[Row], fields: Sequence[Field] = FIELDS) -> Row:
    """Several intervals as one, which begins with the first."""
    found: Row | None = None
    for row in rows:
        if not row.samples:
            continue
        if found is None:
            found = row
            continue
        values = tuple(
            _merged(field.kind, old, found.samples, new, row.samples)
            for field, old, new in zip(fields, found.values, row.values, strict=True)
        )
        found = Row(found.at, found.samples + row.samples, values)
    return Row(rows[0].at, 0, ()) if found is None else Row(rows[0].at, found.samples, found.values)
