"""What a file is by its first bytes, how large the picture in it is, and how it is turned: without decoding it. Pure.

The name and the type that came with a file count for nothing. A picture that needs more memory than we have is refused
by its header, before anything of it is unpacked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from .geometry import Size, turned
from .hevc import Stream, inside, streams

#: Pixels of a picture, and of a side.
MAX_PIXELS = 40_000_000
MAX_SIDE = 20_000

#: Bytes that a picture may take while it is decoded. A JPEG can be read at a part of its size; of others a few kB may
#: say as many pixels as they like, and all of them are unpacked.
MAX_MEMORY = 144 * 1024**2

#: Bytes of the file that are not reckoned: the rest of the 150 MB that a worker may take.
FREE = 4 * 1024**2

#: The longest side of what a JPEG is read at, and others are reduced to before their colours are converted.
ENOUGH = 1392

#: Frames of an animation that stays one, pixels of all of them, and bytes of its file.
MAX_FRAMES = 100
MAX_MOVING_PIXELS = 30_000_000
MAX_MOVING_BYTES = 10 * 1024**2

#: Width of the largest animation that is made; bytes a pixel of the frame that is read, with what has decoded it and
#: what it is converted to, and of each that is made, all of which are there before they are encoded.
MOVING_WIDTH = 696
FRAME_READ = 28
FRAME_MADE = 4


class NoPicture(Exception):
    """A file is no picture that is taken; the text says why, for whoever sent it."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. size: as it is seen, turned by its orientation. frames: at least so many;
    more than MAX_FRAMES, too, for an animation whose frames don't fit into it. cost: bytes a pixel while it is
    decoded. held: bytes of the file itself meanwhile, with what copies it. coded: the largest that a decoder makes of
    it, where that is known beside what the file says."""

    kind: str
    stored: Size
    orientation: int = 1
    frames: int = 1
    cost: float = 1.0
    held: int = 0
    coded: Size | None = None

    @property
    def size(self) -> Size:
        """As it is seen."""
        return turned(self.stored, self.orientation)


def read(data: bytes, *, heic: bool = False) -> Header:
    """The header of a file. heic: that is taken too. Raises NoPicture."""
    if not data:
        raise NoPicture("The file is empty.")
    try:
        found = _read(data, heic)
    except (struct.error, IndexError, ValueError):
        raise NoPicture("The file ends in the middle of its header.") from None
    if found is None:
        raise NoPicture(_what(data))
    # libwebp has a copy of its own.
    found = replace(found, held=len(data) * (2 if found.kind == "webp" else 1))
    size = found.stored
    if size.width < 1 or size.height < 1:
        raise NoPicture("The picture has no size.")
    if max(size.width, size.height) > MAX_SIDE:
        raise NoPicture(f"The picture is {size.width} × {size.height}; a side may have {MAX_SIDE:,} pixels.")
    if size.width * size.height > MAX_PIXELS:
        raise NoPicture(f"The picture is {size.width} × {size.height}; it may have {MAX_PIXELS // 10**6} megapixels.")
    coded = found.coded or size
    if coded.width * coded.height > (size.width + _PADDING) * (size.height + _PADDING):
        raise NoPicture(
            f"The picture says that it is {size.width} × {size.height}, and is {coded.width} × {coded.height} inside."
            " Send it as an ordinary JPEG."
        )
    if not fits(found, size.width, size.height):
        raise NoPicture(_too_much(found))
    return found


#: Pixels by which what a decoder makes may be wider, or higher, than what is shown of it: HEVC has blocks of 64.
_PADDING = 64

#: How formats are called.
_NAMES = {"jpeg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WebP", "avif": "AVIF", "heic": "HEIC"}


def _too_much(header: Header) -> str:
    """Why a picture that is small enough for another format is refused: how much it takes, and what is taken of its
    kind."""
    size = header.stored
    takes = size.width * size.height * header.cost / 1024**2
    room = max(0, _room(header))
    name = _NAMES[header.kind]
    if room == 0:
        return (
            f"The file has {header.held // 1024**2} MiB, too many for {name}. Send it as an ordinary JPEG, or smaller."
        )
    most = int(room / header.cost / 10**5) / 10
    return (
        f"The picture is {size.width} × {size.height}, {size.width * size.height / 10**6:.1f} megapixels. To read it as"
        f" {name} takes {takes:.0f} MiB of memory, and {room / 1024**2:.0f} MiB may be taken: {most:g} megapixels in"
        f" {name} of this kind. Send it as an ordinary JPEG, or smaller."
    )


def fits(header: Header, width: int, height: int) -> bool:
    """Whether so many pixels of such a file may be decoded."""
    return width * height <= min(MAX_PIXELS, _room(header) / header.cost)


def _room(header: Header) -> int:
    """Bytes that are left for pixels."""
    return MAX_MEMORY - max(0, header.held - FREE)


def may_move(header: Header, length: int) -> bool:
    """Whether an animation of so many bytes stays one; of another its first frame is shown."""
    pixels = header.stored.width * header.stored.height * header.frames
    if not (1 < header.frames <= MAX_FRAMES and pixels <= MAX_MOVING_PIXELS and length <= MAX_MOVING_BYTES):
        return False
    scaled = min(1.0, MOVING_WIDTH / header.size.width) ** 2
    return pixels * (FRAME_READ / header.frames + FRAME_MADE * scaled) <= MAX_MEMORY


def _read(data: bytes, heic: bool) -> Header | None:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        size = Size(*struct.unpack("<HH", data[6:10]))
        # Any of its frames may say that a colour can be seen through.
        return Header("gif", size, 1, max(1, _gif_frames(data, size)), _GLASS if _reduced(size) == 1 else 6.3)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if (data[4:8] == b"ftyp" and b"avif" in data[8:40]) or data[4:12] == b"ftypavis":
        return _heif("avif", data)
    if heic and data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return _heif("heic", data)
    return None


_HEIC = frozenset({b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim"})


def _what(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return "This is a HEIC picture. Send it as JPEG; iPhones have that at Settings, Camera, Formats."
    if start.startswith((b"<svg", b"<?xml")) or b"<svg" in start:
        return "SVG may carry scripts and is not taken. Send a PNG of it."
    if start.startswith((b"<!doctype", b"<html")) or b"<script" in start:
        return "This is a web page, not a picture."
    if data[:4] in {b"II*\0", b"MM\0*"} or data[:2] == b"BM" or data[:4] == b"8BPS" or data[:4] == b"%!PS":
        return "This kind of picture is not taken. Send a JPEG, PNG, GIF, WebP or AVIF."
    return "This is not a picture that we know. Send a JPEG, PNG, GIF, WebP or AVIF."


def _jpeg(data: bytes) -> Header:
    at, orientation = 2, 1
    while True:
        if data[at] != 0xFF:
            raise ValueError
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = struct.unpack(">H", data[at : at + 2])
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", data[at + 3 : at + 7])
            cost = _jpeg_cost(data, at, Size(width, height), marker)
            return Header("jpeg", Size(width, height), orientation, cost=cost)
        if marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\0\0" and orientation == 1:
            orientation = _orientation(data[at + 8 : at + length])
        at += length


def _jpeg_cost(data: bytes, at: int, size: Size, marker: int) -> float:
    """Of the frame header at `at`. Pixels with a profile take eight bytes; of several scans all is held besides."""
    reduced = _reduced(size)
    count = data[at + 7]
    factors = [(each >> 4, each & 15) for each in data[at + 9 : at + 8 + 3 * count : 3]]
    across, down = max(h for h, _ in factors), max(v for _, v in factors)
    # Two bytes for each coefficient of what is not in one scan: progressive ones, and a first scan of some colours.
    (length,) = struct.unpack(">H", data[at : at + 2])
    scan = data.find(b"\xff\xda", at + length)
    is_one = marker in {0xC0, 0xC1} and (scan < 0 or data[scan + 4 : scan + 5] == bytes((count,)))
    held = 0 if is_one else 2 * sum(h * v for h, v in factors) / max(1, across * down)
    return 8 / min(8, 1 << reduced.bit_length() - 1) ** 2 + held


def _reduced(size: Size) -> int:
    return max(1, min(size.width, size.height) // ENOUGH)


#: Bytes a pixel of what can be seen through and is not reduced first: it is copied to be scaled.
_GLASS = 11.2


def _png_cost(data: bytes, size: Size, orientation: int, *, glass: bool) -> float:
    """glass: something in it can be seen through."""
    bits, color, factor = data[24], data[25], _reduced(size)
    reduced = factor**2
    if glass or color in {4, 6}:
        # Those of two bands, and those with one colour that can't be seen, are converted as a whole.
        whole = {6: 4.0, 4: 8.5, 2: 8.5}.get(color, 5.5)
        return _GLASS if factor == 1 else max(whole, 4 + 9 / reduced)
    # Palettes and 16 bits of grey are converted as a whole.
    whole = 4 + 4 / reduced if color == 2 else 5.5
    if color == 0 and bits <= 8:
        whole = 1 + 5 / reduced
    # What is left by then is copied to be turned.
    return max(whole, 8 / reduced) if orientation != 1 else whole


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ValueError
    width, height = struct.unpack(">II", data[16:24])
    orientation, frames, counted, at, glass = 1, 1, 0, 8, False
    # Chunks that count come before or behind the picture; an animation says its frames before. It may lie.
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"acTL":
            (frames,) = struct.unpack(">I", data[at + 8 : at + 12])
        elif kind == b"fcTL":
            counted += 1
        elif kind == b"eXIf":
            orientation = _orientation(data[at + 8 : at + 8 + length])
        elif kind == b"tRNS":
            glass = True
        at += length + 12
    frames = max(frames, counted) if frames > 1 else 1
    size = Size(width, height)
    cost = _png_cost(data, size, orientation, glass=glass)
    return Header("png", size, orientation, min(frames, MAX_FRAMES + 1), cost)


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    orientation, frames = 1, 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        size = Size(width & 0x3FFF, height & 0x3FFF)
    elif kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        size = Size((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    elif kind == b"VP8X":
        size = Size(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
        at, count = 12, 0
        while at + 8 <= len(data):
            chunk, length = struct.unpack("<4sI", data[at : at + 8])
            if chunk == b"EXIF":
                orientation = _orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
            count += chunk == b"ANMF"
            at += 8 + length + (length & 1)
        frames = max(1, min(count, MAX_FRAMES + 1))
    else:
        raise ValueError
    # Two canvases of the decoder, and the bytes that come out of it.
    return Header("webp", size, orientation, frames, 12.05)


def _heif(kind: str, data: bytes) -> Header:
    at = data.find(b"ispe", 0, 64 * 1024)
    if at < 0:
        raise ValueError
    width, height = struct.unpack(">II", data[at + 8 : at + 16])
    # The largest: an alpha plane, tiles and a preview have their own.
    while (at := data.find(b"ispe", at + 4, 64 * 1024)) >= 0:
        other = struct.unpack(">II", data[at + 8 : at + 16])
        width, height = max((width, height), other, key=lambda pair: pair[0] * pair[1])
    head = data[: 64 * 1024]
    orientation = _heif_orientation(head)
    if kind == "avif":
        return Header(kind, Size(width, height), orientation, cost=_avif_cost(head))
    found = inside(data)
    cost = _heic_cost(head, found)
    largest = max(found, key=lambda each: each.width * each.height, default=None)
    coded = None if largest is None else Size(largest.width, largest.height)
    return Header(kind, Size(width, height), orientation, cost=cost, coded=coded)


def _avif_cost(head: bytes) -> float:
    """Three planes, one more for what can be seen through, and twice the bytes that come out of the decoder. That
    colours have a quarter of the pixels is not believed: files may say so, and have all. More bits have two bytes."""
    at, alpha = head.find(b"av1C"), b"auxC" in head
    deep = at >= 0 and bool(head[at + 6] & 0x40)
    return (10.0, 12.3, 12.3, 17.0)[2 * deep + alpha]


#: Bytes a pixel of a HEIC of eight bits whose colours have a quarter of the pixels, and of one of more that have all.
_HEIC_LEAST = 5.8
_HEIC_MOST = 15.6


def _heic_cost(head: bytes, found: list[Stream]) -> float:
    """Of the costliest picture in it: phones have tiles, a preview, and a map of light or depth. Those have auxC too,
    so what can be seen through is known by its name. found: gets the streams that boxes describe; it is they that a
    decoder makes room for, whatever the boxes say besides."""
    costs: list[float] = []
    at = -1
    while (at := head.find(b"hvcC", at + 1)) >= 0:
        costs.append(_hevc_cost(head[at + 20] & 3, bool(head[at + 21] & 7)))
        within = streams(head[at + 4 :])
        if not within:
            costs.append(_HEIC_MOST)
        found += within
    costs += [_hevc_cost(each.chroma, each.bits > 8) for each in found]
    alpha = b"auxiliary:alpha" in head or b"hevc:2015:auxid:1" in head
    most = max(costs, default=_HEIC_MOST)
    return most + alpha * (1.4 if most == _HEIC_LEAST else 5.0)


def _hevc_cost(chroma: int, deep: bool) -> float:
    if chroma < 2:
        return 8.0 if deep else _HEIC_LEAST
    return _HEIC_MOST if deep else 9.5


def _heif_orientation(head: bytes) -> int:
    """As EXIF would say it: by quarters against the clock, then a mirror from top to bottom (0) or side to side (1)."""
    turn, mirror = head.find(b"irot"), head.find(b"imir")
    quarter = head[turn + 4] & 3 if turn >= 0 else 0
    axis = head[mirror + 4] & 1 if mirror >= 0 else None
    return {None: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}[axis][quarter]


def _gif_frames(data: bytes, screen: Size) -> int:
    """Image descriptors: blocks are walked, not searched for. A frame that leaves the screen would make it larger."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    frames = 0
    while at < len(data) and frames <= MAX_FRAMES:
        kind = data[at]
        if kind == 0x2C:
            frames += 1
            left, top, width, height, flags = struct.unpack("<HHHHB", data[at + 1 : at + 10])
            if frames > 1 and (left + width > screen.width or top + height > screen.height):
                return MAX_FRAMES + 1
            at += 10 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0) + 1
        elif kind == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return frames


def _orientation(exif: bytes) -> int:
    """The orientation in an EXIF block; 1 for one that is broken, or says none."""
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack(order + "I", exif[4:8])
        (count,) = struct.unpack(order + "H", exif[start : start + 2])
        for number in range(min(count, 200)):
            at = start + 2 + 12 * number
            tag, kind = struct.unpack(order + "HH", exif[at : at + 4])
            if tag == 0x0112 and kind == 3:
                (value,) = struct.unpack(order + "H", exif[at + 8 : at + 10])
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1
