"""What makes pictures smaller, behind one small protocol: Pillow, libvips where it is, and one that makes nothing.

The last is for tests: it knows sizes from headers, gives bytes that are the same each time, and refuses what is no
picture. What is asked of it and what it tells are the same as of the others; a test holds them to that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from .geometry import Size, Wanted, steps
from .heic import is_taken
from .sniffing import Header, NoPicture, may_move, read

#: The formats that pictures are made in, with their types.
FORMATS: Mapping[str, str] = {
    "avif": "image/avif",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "png": "image/png",
}

#: The longest side that a format can have.
LONGEST: Mapping[str, int] = {"webp": 16_383, "avif": 65_535, "jpeg": 65_535, "png": 2**31 - 1}

T = TypeVar("T")


class Engine(Protocol[T]):
    """Each takes what the one before gave. Raises NoPicture for what can't be read; nothing else, whatever it is."""

    name: str

    def open(self, data: bytes, most: int | None = None) -> T:
        """The picture of a file, turned as it says, in sRGB; of an animation its first frame. most: the longest side
        that it will be scaled to, so that a far larger one need not be held whole; its size is told as it was."""

    def size(self, picture: T) -> Size: ...

    def is_valid(self, data: bytes) -> bool:
        """Whether all of it can be decoded."""

    def has_alpha(self, picture: T) -> bool: ...

    def colors(self, picture: T, side: int) -> tuple[Size, bytes]:
        """A small copy as red, green, blue and alpha, a byte each; its longer side has `side` pixels."""

    def scale(self, picture: T, size: Size) -> T: ...

    def crop(self, picture: T, box: tuple[int, int, int, int]) -> T: ...

    def encode(self, picture: T, format: str, quality: int) -> bytes:
        """A file without any metadata."""

    def moving(self, data: bytes, sizes: Sequence[Size]) -> list[bytes]:
        """An animation as WebP in each of these sizes, without any metadata; [] for what is none that `may_move`, or
        can't be played to its end."""


@dataclass(frozen=True, slots=True)
class Made:
    """A picture in a form."""

    format: str
    size: Size
    data: bytes


def make(engine: Engine[Any], picture: Any, wanted: Wanted, format: str, quality: int = 0) -> Made:
    """A picture as it is wanted. quality: 0 for the format's usual one."""
    plan = steps(engine.size(picture), wanted)
    if plan.scaled != engine.size(picture):
        picture = engine.scale(picture, plan.scaled)
    if plan.box is not None:
        picture = engine.crop(picture, plan.box)
    size = engine.size(picture)
    if max(size.width, size.height) > LONGEST[format]:
        format = "png"
    return Made(format, size, engine.encode(picture, format, quality or USUAL[format]))


USUAL: Mapping[str, int] = {"avif": 60, "webp": 80, "jpeg": 82, "png": 0}


@dataclass(frozen=True, slots=True)
class Nothing:
    """A picture of which only the size is known."""

    shown: Size
    kind: str


class NoOp:
    """Makes nothing, and tells the right sizes."""

    name = "noop"

    def open(self, data: bytes, most: int | None = None) -> Nothing:
        header: Header = read(data, heic=is_taken())
        return Nothing(header.size, header.kind)

    def size(self, picture: Nothing) -> Size:
        return picture.shown

    def is_valid(self, data: bytes) -> bool:
        try:
            read(data, heic=is_taken())
        except NoPicture:
            return False
        return True

    def has_alpha(self, picture: Nothing) -> bool:
        return picture.kind in {"png", "gif"}

    def colors(self, picture: Nothing, side: int) -> tuple[Size, bytes]:
        factor = side / max(picture.shown.width, picture.shown.height)
        size = Size(max(1, round(picture.shown.width * factor)), max(1, round(picture.shown.height * factor)))
        return size, bytes((128, 128, 128, 255)) * (size.width * size.height)

    def scale(self, picture: Nothing, size: Size) -> Nothing:
        return Nothing(size, picture.kind)

    def crop(self, picture: Nothing, box: tuple[int, int, int, int]) -> Nothing:
        left, top, right, bottom = box
        return Nothing(Size(right - left, bottom - top), picture.kind)

    def encode(self, picture: Nothing, format: str, quality: int) -> bytes:
        said = f"{format} {picture.shown.width}x{picture.shown.height} {quality}"
        return b"noop " + said.encode() + b" " + hashlib.sha256(said.encode()).digest()

    def moving(self, data: bytes, sizes: Sequence[Size]) -> list[bytes]:
        if not may_move(read(data, heic=is_taken()), len(data)):
            return []
        return [f"noop moving {size.width}x{size.height}".encode() for size in sizes]


def _pillow() -> Engine[Any]:
    from .pillow import Pillow

    return Pillow()


def _vips() -> Engine[Any]:
    from .vips import Vips

    return Vips()


#: By name; what an engine needs is imported when it is wanted.
ENGINES: Mapping[str, Callable[[], Engine[Any]]] = {"pillow": _pillow, "vips": _vips, "noop": NoOp}


def engine(name: str) -> Engine[Any]:
    """An engine by its name. Raises LookupError for another, ImportError where its library is missing."""
    return ENGINES[name]()
