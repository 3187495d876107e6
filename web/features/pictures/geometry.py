"""How large a picture becomes: sorl's rules of scaling, cropping and not scaling up, with sides of at least 1. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Pixels of a side that may be asked for.
MAX_SIDE = 16_000

_GEOMETRY = re.compile(r"([0-9]{1,5})?x([0-9]{1,5})?|([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels."""

    width: int
    height: int

    @property
    def ratio(self) -> float:
        return self.width / self.height


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. width, height: a box; one may be None. crop: fill the box and cut what is too much, else fit
    into it. upscale: make a smaller picture larger. focus: what of the picture to keep in sight, in shares of its
    sides from the left and from above."""

    width: int | None = None
    height: int | None = None
    crop: bool = False
    upscale: bool = False
    focus: tuple[float, float] = (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done: scale to this size, then cut out this box (left, top, right, bottom), or nothing."""

    scaled: Size
    box: tuple[int, int, int, int] | None = None

    @property
    def result(self) -> Size:
        """The size in the end."""
        if self.box is None:
            return self.scaled
        left, top, right, bottom = self.box
        return Size(right - left, bottom - top)


def parse(text: str) -> tuple[int | None, int | None]:
    """`348x348`, `348`, `348x` or `x348` as width and height. Raises ValueError."""
    match = _GEOMETRY.fullmatch(text.strip().lower())
    width, height, alone = match.groups() if match else (None, None, None)
    sides = [int(side) if side else None for side in (width or alone, height)]
    if sides == [None, None] or any(side is not None and not 1 <= side <= MAX_SIDE for side in sides):
        raise ValueError(f"{text!r} is not a size such as 348x348, 348 or x348")
    return sides[0], sides[1]


def steps(source: Size, wanted: Wanted) -> Steps:
    """What makes a picture of this size the one that is wanted."""
    factors = []
    if wanted.width is not None:
        factors.append(wanted.width / source.width)
    if wanted.height is not None:
        factors.append(wanted.height / source.height)
    if not factors:
        return Steps(source)
    crops = wanted.crop and len(factors) == 2
    factor = max(factors) if crops else min(factors)
    scaled = source
    if factor < 1 or wanted.upscale:
        scaled = Size(_side(source.width * factor), _side(source.height * factor))
    elif not crops:
        return Steps(source)
    if not crops:
        return Steps(scaled)
    assert wanted.width is not None
    assert wanted.height is not None
    # A picture that is smaller than the box on one side is cut on the other.
    width, height = min(wanted.width, scaled.width), min(wanted.height, scaled.height)
    if (width, height) == (scaled.width, scaled.height):
        return Steps(scaled)
    left = _offset(scaled.width, width, wanted.focus[0])
    top = _offset(scaled.height, height, wanted.focus[1])
    return Steps(scaled, (left, top, left + width, top + height))


def _side(length: float) -> int:
    return max(1, round(length))


def _offset(whole: int, part: int, focus: float) -> int:
    """Where a part begins that has the focus in its middle, or as near to it as it goes."""
    return max(0, min(whole - part, round(whole * focus - part / 2)))


def turned(size: Size, orientation: int) -> Size:
    """A picture's size once it is turned as its EXIF orientation says: 5 to 8 lie on their side."""
    return Size(size.height, size.width) if 5 <= orientation <= 8 else size
