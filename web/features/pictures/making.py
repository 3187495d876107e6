"""A picture's forms, made in a process of its own: a function of a module, which is given paths and gives back sizes.

Its memory is bounded, and each file is there whole or not at all. Made twice it makes the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engines import Engine, engine, make
from .forms import (
    DRAWING,
    MIDDLE,
    MOVING,
    PHOTO,
    WIDTHS,
    Focus,
    Shown,
    crop_name,
    crop_sides,
    form_sizes,
    moving_name,
)
from .geometry import Size, Wanted
from .heic import is_taken
from .sniffing import NoPicture, read
from .store import Store
from .thumbhash import encode

#: Bytes of address space that a worker may have, beside what it has when it begins.
MEMORY = 1024**3

#: M_MMAP_THRESHOLD of glibc's malloc.h.
_MMAP_THRESHOLD = -3

#: Pixels of the copy that a ThumbHash is made of.
THUMB_SIDE = 48


@dataclass(frozen=True, slots=True)
class Forms:
    """What was made. error: why nothing was, for whoever sent the picture."""

    size: Size | None = None
    thumb: bytes = b""
    sizes: tuple[Size, ...] = ()
    formats: tuple[str, ...] = PHOTO
    error: str = ""
    full: bool = False
    cropped: Focus | None = None
    moving: tuple[Size, ...] = ()


def hash_of(data: bytes) -> str:
    """What a picture's addresses have: of its bytes, so that another picture has another."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def make_forms(
    name: str, source: str, folder: str, focus: Focus = MIDDLE, *, only_crops: bool = False, bounded: bool = True
) -> Forms:
    """All forms of the file at `source`, by an engine's name, as files in `folder`. focus: of its crops. only_crops:
    the others are there. bounded: the process is for this alone, and gets no more memory than MEMORY from now on."""
    if bounded:
        _bound()
    make_all = _crops if only_crops else _forms
    try:
        return make_all(engine(name), Path(source).read_bytes(), Path(folder), focus)
    except NoPicture as error:
        return Forms(error=str(error))
    except MemoryError:
        return Forms(error="The picture takes more memory than there is for it.")
    except OSError as error:
        # No room, or no right to write: it may be tried again.
        return Forms(error=f"{error.strerror or error}", full=True)


def make_thumb(name: str, source: str) -> bytes:
    """The ThumbHash of the file at `source`; b"" for what is none, which `make_forms` says why."""
    _bound()
    try:
        maker = engine(name)
        return encode(*maker.colors(maker.open(Path(source).read_bytes(), THUMB_SIDE), THUMB_SIDE))
    except (NoPicture, OSError, MemoryError):
        return b""


def _forms(maker: Engine[Any], data: bytes, folder: Path, focus: Focus) -> Forms:
    picture = maker.open(data, max(WIDTHS))
    size = maker.size(picture)
    formats = DRAWING if maker.has_alpha(picture) else PHOTO
    made_sizes = []
    folder.mkdir(parents=True, exist_ok=True)
    # Of the whole of it: what is wide and low becomes too low for them below.
    _put_crops(maker, picture, folder, focus, formats)
    # The largest first: the smaller ones are made of it, in a fraction of the time. The one before is gone by the time
    # that encoders, which take 30 bytes a pixel, have theirs.
    for wanted in reversed(form_sizes(size, WIDTHS)):
        if wanted != maker.size(picture):
            picture = maker.scale(picture, wanted)
        for format in formats:
            put(folder / f"{wanted.width}.{format}", make(maker, picture, Wanted(), format).data)
        made_sizes.append(wanted)
    thumb = encode(*maker.colors(picture, THUMB_SIDE))
    moving = form_sizes(size, MOVING)
    animations = maker.moving(data, moving)
    for each, animation in zip(moving, animations, strict=False):
        put(folder / moving_name(each.width), animation)
    return Forms(
        size,
        thumb,
        tuple(reversed(made_sizes)),
        formats,
        cropped=focus,
        moving=moving if animations else (),
    )


def _crops(maker: Engine[Any], data: bytes, folder: Path, focus: Focus) -> Forms:
    picture = maker.open(data, max(WIDTHS))
    folder.mkdir(parents=True, exist_ok=True)
    _put_crops(maker, picture, folder, focus, DRAWING if maker.has_alpha(picture) else PHOTO)
    return Forms(maker.size(picture), cropped=focus)


def _put_crops(maker: Engine[Any], picture: Any, folder: Path, focus: Focus, formats: tuple[str, ...]) -> None:
    across, down = focus[0] / 100, focus[1] / 100
    for side in crop_sides(maker.size(picture)):
        wanted = Wanted(side, side, crop=True, focus=(across, down))
        for format in formats:
            put(folder / crop_name(side, focus, format), make(maker, picture, wanted, format).data)


def keep(store: Store, data: bytes, alt: str = "") -> Shown:
    """Keep a file that is a picture by its header, as it came; raises NoPicture. Its forms are for `jobs.plan`."""
    header = read(data, heic=is_taken())
    hash = hash_of(data)
    path = store.original(hash)
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, data)
    return Shown(hash, header.size, alt=alt)


def put(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _bound() -> None:
    with suppress(AttributeError, OSError, TypeError):
        # What is freed goes back at once; else glibc keeps up to 64 MB of it.
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1024**2)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError, IndexError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        wanted = used + MEMORY
        if soft == resource.RLIM_INFINITY or soft > wanted:
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
