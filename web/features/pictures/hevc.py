"""What a HEVC stream is decoded to, by its own parameter sets: sizes and depths in the boxes around it may say another.
Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

#: Of a network abstraction layer unit that is a sequence parameter set (H.265, table 7-1).
_SPS = 33

#: Bytes of one that are looked at: what is wanted is at its beginning.
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class Stream:
    """What a decoder makes room for. chroma: 0 for grey, 1 for 4:2:0, 2 for 4:2:2, 3 for 4:4:4."""

    width: int
    height: int
    chroma: int
    bits: int


#: One in the picture itself, where none should be, with four bytes of length before it. In a unit there are no two
#: zeros before a byte below 4, so that this is one, or a text of a box.
_INSIDE = re.compile(rb"\0\0[\0-\xff]{2}(?=\x42[\0-\xff])")

#: Of those that are looked at.
_MOST = 100


def inside(data: bytes) -> list[Stream]:
    """Parameter sets that stand in the pictures of a file: a decoder takes the last that it has seen."""
    found = []
    for match in itertools.islice(_INSIDE.finditer(data), _MOST):
        with suppress(ValueError):
            found.append(_stream(data[match.end() : match.end() + _LONGEST]))
    return found


def streams(box: bytes) -> list[Stream]:
    """The sequence parameter sets in an hvcC box, from behind its name (ISO/IEC 14496-15, §8.3.3.1). Raises ValueError
    for one that can't be read."""
    return [_stream(unit) for kind, unit in _units(box) if kind == _SPS]


def _units(box: bytes) -> Iterator[tuple[int, bytes]]:
    at = 23
    for _ in range(box[22]):
        count = int.from_bytes(box[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            length = int.from_bytes(box[at : at + 2], "big")
            unit = box[at + 2 : at + 2 + length]
            if len(unit) < max(2, length):
                raise ValueError
            # By its own header, which is what decoders look at.
            yield unit[0] >> 1 & 63, unit
            at += 2 + length


class _Bits:
    """Bits of a unit, without the bytes that keep it from looking like a start code (H.265, §7.3.1.1)."""

    def __init__(self, unit: bytes) -> None:
        data = unit[2:_LONGEST].replace(b"\0\0\3", b"\0\0")
        self._left = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    def take(self, count: int) -> int:
        found = self._left[self._at : self._at + count]
        self._at += count
        if len(found) < count:
            raise ValueError
        return int(found or "0", 2)

    def golomb(self) -> int:
        """A number of ue(v), §9.2."""
        zeros = self._left.find("1", self._at) - self._at
        if not 0 <= zeros <= 32:
            raise ValueError
        self._at += zeros
        return self.take(zeros + 1) - 1


def _stream(unit: bytes) -> Stream:
    # §7.3.2.2.1, and §7.3.3 of profile and level.
    bits = _Bits(unit)
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    bits.take(88 + 8)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for has_profile, has_level in present:
        bits.take(88 * has_profile + 8 * has_level)
    bits.golomb()
    chroma = bits.golomb()
    if chroma == 3:
        bits.take(1)
    width, height = bits.golomb(), bits.golomb()
    if bits.take(1):
        # What is cut off is decoded too.
        for _ in range(4):
            bits.golomb()
    luma, other = bits.golomb(), bits.golomb()
    return Stream(width, height, chroma, 8 + max(luma, other))
