"""The forms that a picture is made in, and where they are: what a row says of its picture. Pure.

An address has the hash of the file's bytes in it, so a picture that is replaced is at another, and each may be kept for
ever.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .geometry import Size, Wanted, steps

#: Widths that pages have use for, in pixels: of lists and of posts, on plain screens and on fine ones.
WIDTHS = (348, 696, 1392)

#: The best first; the last is what every browser knows.
PHOTO = ("avif", "webp", "jpeg")
DRAWING = ("avif", "webp", "png")

PREFIX = "/pictures/"

_HASH = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"([0-9]{1,5})\.(avif|webp|jpeg|png)")


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as a row says it. thumb: its ThumbHash, b"" before it is known. ready: whether its forms are there.
    sizes: of its forms, the smallest first. alt: what it shows, in words."""

    hash: str
    size: Size
    thumb: bytes = b""
    ready: bool = False
    sizes: tuple[Size, ...] = ()
    formats: tuple[str, ...] = PHOTO
    alt: str = ""
    error: str = ""

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
        }

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


def form_sizes(size: Size, widths: Sequence[int] = WIDTHS) -> tuple[Size, ...]:
    """The sizes of a picture's forms: none is larger than the picture."""
    found = {steps(size, Wanted(width=width)).result for width in widths}
    return tuple(sorted(found, key=lambda each: each.width))


def file_of(hash: str, name: str) -> tuple[int, str] | None:
    """The width and format of a form's file name; None for what is no form's address."""
    match = _NAME.fullmatch(name)
    if _HASH.fullmatch(hash) is None or match is None:
        return None
    return int(match[1]), match[2]
