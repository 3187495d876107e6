"""How long a sound file is, by its beginning. Pure.

Feeds without lengths are many, and a file says in its first 64 KB how long it is: an MP3 of constant bit rate by that
and its size, one of variable bit rate by its Xing or Info header, MP4 by its index if that is in front. What is only
reckoned from a bit rate of files that may vary is an estimate, and said to be one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from mutagen import File, MutagenError
from mutagen.mp3 import BitrateMode

from .durations import MOST

#: Bytes of a file that are read.
BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Probed:
    """What a file says. source: "probe", or "estimate" if it is reckoned from what may vary."""

    seconds: int
    source: str


class _Beginning(io.BytesIO):
    """A file of which only the beginning is there, and the size is known."""

    def __init__(self, beginning: bytes, size: int) -> None:
        super().__init__(beginning)
        self._size = max(size, len(beginning))
        self._at = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._at = base + offset
        super().seek(min(self._at, len(self.getbuffer())))
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size) if self._at < len(self.getbuffer()) else b""
        self._at += len(found)
        return found


def probe(beginning: bytes, size: int | None) -> Probed | None:
    """What the beginning of a file says of its length; None if nothing. size: bytes of the whole file, if known."""
    if not beginning:
        return None
    whole = size is None or size <= len(beginning)
    try:
        found = File(_Beginning(beginning, len(beginning) if size is None else size))
        length = float(found.info.length) if found is not None and found.info is not None else 0.0
    # Whatever a stranger's file makes of the library is that file's failure.
    except (MutagenError, OSError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, MemoryError):
        return None
    if not 0 < length <= MOST or length != length:
        return None
    mode = getattr(found.info, "bitrate_mode", None)
    is_counted = any(tag in beginning for tag in (b"Xing", b"Info", b"VBRI"))
    certain = whole or is_counted or mode is None or mode is BitrateMode.CBR
    if size is None and len(beginning) >= BYTES and mode is not None and not is_counted:
        # Its size is what its length is reckoned from.
        return None
    return Probed(max(1, round(length)), "probe" if certain else "estimate")
