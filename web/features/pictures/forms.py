"""The forms that a picture is made in, and where they are: what a row says of its picture. Pure.

An address has the hash of the file's bytes in it, so a picture that is replaced is at another, and each may be kept for
ever.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .geometry import Size, Wanted, steps

#: Widths that pages have use for, in pixels: of lists and of posts, on plain screens and on fine ones.
WIDTHS = (348, 696, 1392)

#: Pixels of a form. A narrow, tall one of 26 megapixels took 44 seconds and 640 MB to be encoded.
MOST = 4_000_000

#: Sides of the squares that lists have use for.
CROPS = (174, 348)

#: Widths of what moves: it takes many times the bytes.
MOVING = (348, 696)

#: What crops keep in sight: in per cent, from the left and from above.
Focus = tuple[int, int]
MIDDLE: Focus = (50, 50)

#: The best first; the last is what every browser knows.
PHOTO = ("avif", "webp", "jpeg")
DRAWING = ("avif", "webp", "png")

PREFIX = "/pictures/"

_HASH = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[0-9]{1,5}(?:x[0-9]{1,5}-[0-9]{1,3}-[0-9]{1,3}|-moving(?=\.webp))?\.(avif|webp|jpeg|png)")


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as a row says it. thumb: its ThumbHash, b"" before it is known. ready: whether its forms are there.
    sizes: of its forms, the smallest first. alt: what it shows, in words. focus: what its crops are to keep in sight;
    cropped: of those that are there, None before. moving: sizes of the animation that it is."""

    hash: str
    size: Size
    thumb: bytes = b""
    ready: bool = False
    sizes: tuple[Size, ...] = ()
    formats: tuple[str, ...] = PHOTO
    alt: str = ""
    error: str = ""
    focus: Focus = MIDDLE
    cropped: Focus | None = None
    moving: tuple[Size, ...] = ()

    @classmethod
    def from_row(cls, data: Mapping[str, Any]) -> Shown:
        """Of what `as_row` made."""
        return cls(
            data["hash"],
            Size(*data["size"]),
            base64.b64decode(data["thumb"]),
            data["ready"],
            tuple(Size(*each) for each in data["sizes"]),
            tuple(data["formats"]),
            data["alt"],
            data["error"],
            _focus(data.get("focus")) or MIDDLE,
            _focus(data.get("cropped")),
            tuple(Size(*each) for each in data.get("moving", ())),
        )

    def as_row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "hash": self.hash,
            "size": [self.size.width, self.size.height],
            "thumb": base64.b64encode(self.thumb).decode(),
            "ready": self.ready,
            "sizes": [[each.width, each.height] for each in self.sizes],
            "formats": list(self.formats),
            "alt": self.alt,
            "error": self.error,
            "focus": list(self.focus),
            "cropped": None if self.cropped is None else list(self.cropped),
            "moving": [[each.width, each.height] for each in self.moving],
        }

    @property
    def files(self) -> frozenset[str] | None:
        """The names of the files that pages show, or will once the squares are made; None while all are being made."""
        if not self.ready:
            return None
        names = {f"{each.width}.{format}" for each in self.sizes for format in self.formats}
        names |= {moving_name(each.width) for each in self.moving}
        for focus in {self.focus, self.cropped or self.focus}:
            names |= {crop_name(side, focus, each) for side in crop_sides(self.size) for each in self.formats}
        return frozenset(names)

    def srcset(self, format: str) -> str:
        """The forms of a format, with their widths."""
        return ", ".join(f"{self.path(each.width, format)} {each.width}w" for each in self.sizes)

    @property
    def src(self) -> str:
        """What a browser shows that knows no srcset."""
        return self.path(self.sizes[-1].width, self.formats[-1])

    @property
    def shown(self) -> Size:
        """The largest form's size: what the page keeps room for."""
        return self.sizes[-1] if self.sizes else form_sizes(self.size)[-1]

    def path(self, width: int, format: str) -> str:
        return f"{PREFIX}{self.hash}/{width}.{format}"

    @property
    def moving_srcset(self) -> str:
        """The animations, with their widths."""
        return ", ".join(f"{PREFIX}{self.hash}/{moving_name(each.width)} {each.width}w" for each in self.moving)

    @property
    def crops(self) -> tuple[int, ...]:
        """The sides of its squares; none before they are there."""
        return () if self.cropped is None else crop_sides(self.size)

    def crop_path(self, side: int, format: str) -> str:
        assert self.cropped is not None
        return f"{PREFIX}{self.hash}/{crop_name(side, self.cropped, format)}"

    def crop_srcset(self, format: str) -> str:
        """The squares of a format, with their widths."""
        return ", ".join(f"{self.crop_path(side, format)} {side}w" for side in self.crops)


def form_sizes(size: Size, widths: Sequence[int] = WIDTHS) -> tuple[Size, ...]:
    """The sizes of a picture's forms: none is larger than the picture, or has more than MOST pixels."""
    widest = max(1, int(math.sqrt(MOST * size.ratio)))
    found = {steps(size, Wanted(width=min(width, widest))).result for width in widths}
    return tuple(sorted(found, key=lambda each: each.width))


def moving_name(width: int) -> str:
    """An animation's file."""
    return f"{width}-moving.webp"


def crop_sides(size: Size) -> tuple[int, ...]:
    """The sides of a picture's squares: none is larger than the picture."""
    return tuple(sorted({min(side, size.width, size.height) for side in CROPS}))


def crop_name(side: int, focus: Focus, format: str) -> str:
    """A square's file: with its focus in it, so that another one is at another address."""
    return f"{side}x{side}-{focus[0]}-{focus[1]}.{format}"


def _focus(data: Any) -> Focus | None:
    # Rows of before there were crops have none.
    return None if data is None else (int(data[0]), int(data[1]))


def format_of(hash: str, name: str) -> str | None:
    """The format of a form's file name; None for what is no form's address."""
    match = _NAME.fullmatch(name)
    if _HASH.fullmatch(hash) is None or match is None:
        return None
    return match[1]
