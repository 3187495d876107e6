"""Pictures by Pillow. Each way in which a file can be broken ends in NoPicture."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from PIL import AvifImagePlugin, Image, ImageCms

from .geometry import Size
from .heic import is_taken
from .sniffing import MAX_MOVING_BYTES, MAX_SIDE, Header, NoPicture, fits, may_move, read

#: What files are opened as; an EPS named .jpg is none of these. Photos of many phones are MPO, which JPEG opens too.
_OPENED = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")

#: What broken files raise in Pillow: an iCCP bomb a ValueError, one that is cut an OSError.
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    OverflowError,
    TypeError,
    KeyError,
    IndexError,
    struct.error,
    MemoryError,
    Image.DecompressionBombError,
    ZeroDivisionError,
    AttributeError,
    RuntimeError,
)

#: Where a picture that was opened smaller has its whole size.
_WHOLE = "whole size"

_FORMATS = {"avif": "AVIF", "webp": "WEBP", "jpeg": "JPEG", "png": "PNG"}


@contextmanager
def _careful() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _BROKEN as error:
        raise NoPicture("The picture is broken, and can’t be read to its end.") from error


class Pillow:
    """The usual engine."""

    name = "pillow"

    def __init__(self) -> None:
        # Else it knows five kinds, and no MPO.
        Image.init()
        # A worker has little memory, and each thread takes some.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1

    def open(self, data: bytes, most: int | None = None) -> Image.Image:
        # The header first: what is too large must not be unpacked.
        header = read(data, heic=is_taken())
        if header.kind == "heic":
            return self._open_heic(data, header, most)
        with _careful():
            image: Image.Image = Image.open(io.BytesIO(data), formats=_OPENED)
            if header.kind == "png" and image.info.get("default_image"):
                # What stands before an animation is for programs that know none.
                image.seek(1)
            if not fits(header, *image.size):
                # It is larger than its header said: the first frame of a GIF that leaves its screen.
                raise ValueError
            factor = 1 if most is None else max(1, min(image.size) // most)
            if header.kind in {"webp", "avif"}:
                image = _without_decoder(image, factor)
            else:
                if most is not None:
                    # A JPEG is decoded at a half, a quarter or an eighth of its size, in as much less time and memory.
                    image.draft(None, (most, most))
                    factor = max(1, min(image.size) // most)
                image.load()
                image = _plain(image)
                # Before colours are converted, which takes copies of it.
                image = _reduced(image, factor)
            # One by one: no step has more than what it is given and what it makes.
            image = _srgb(image)
            image = _turned(image, header.orientation)
            picture = _opaque(image)
            picture.info = {_WHOLE: header.size} if Size(*picture.size) != header.size else {}
            return picture

    def _open_heic(self, data: bytes, header: Header, most: int | None) -> Image.Image:
        with _careful():
            frame = _heic(data)
            # As libheif says it, which turns it too: that is the size which counts.
            whole = Size(*frame.size)
            if max(frame.size) > MAX_SIDE or not fits(header, *frame.size):
                raise ValueError
            factor = 1 if most is None else max(1, min(frame.size) // most)
            picture = _opaque(_srgb(_unpacked_heic(frame, factor)))
            picture.info = {_WHOLE: whole} if Size(*picture.size) != whole else {}
            return picture

    def size(self, picture: Image.Image) -> Size:
        whole: Size | None = picture.info.get(_WHOLE)
        return whole or Size(*picture.size)

    def is_valid(self, data: bytes) -> bool:
        try:
            self.open(data)
        except NoPicture:
            return False
        return True

    def has_alpha(self, picture: Image.Image) -> bool:
        return picture.mode == "RGBA" and picture.getchannel("A").getextrema()[0] != 255

    def colors(self, picture: Image.Image, side: int) -> tuple[Size, bytes]:
        small = picture.convert("RGBA")
        small.thumbnail((side, side))
        return Size(*small.size), small.tobytes()

    def scale(self, picture: Image.Image, size: Size) -> Image.Image:
        with _careful():
            # Far too large ones are halved first, by a cheaper way that can't be seen.
            made = picture.resize((size.width, size.height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        made.info = {}
        return made

    def crop(self, picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
        return picture.crop(box)

    def encode(self, picture: Image.Image, format: str, quality: int) -> bytes:
        if format == "jpeg" and picture.mode == "RGBA":
            ground = Image.new("RGB", picture.size, "white")
            ground.paste(picture, mask=picture.getchannel("A"))
            picture = ground
        out = io.BytesIO()
        known: dict[str, dict[str, Any]] = {
            "jpeg": {"quality": quality, "progressive": True, "optimize": True},
            "webp": {"quality": quality, "method": 4},
            "avif": {"quality": quality, "speed": 8, "max_threads": 1},
            "png": {"optimize": True},
        }
        # Nothing that came with the file goes out: places, comments, profiles.
        told, picture.info = picture.info, {}
        try:
            with _careful():
                picture.save(out, _FORMATS[format], **known[format])
        finally:
            picture.info = told
        return out.getvalue()

    def moving(self, data: bytes, sizes: Sequence[Size]) -> list[bytes]:
        header = read(data, heic=is_taken())
        if not may_move(header, len(data)):
            return []
        try:
            with _careful():
                # One after the other: the frames of one are held at a time.
                made = [_moving(data, header, size) for size in sizes]
        except NoPicture:
            # Its first frame is good, or nobody would ask.
            return []
        found = [each for each in made if each is not None and len(each) <= MAX_MOVING_BYTES]
        return found if len(found) == len(sizes) else []


def _heic(data: bytes) -> Any:
    """The frame of a HEIC that it is known by; not decoded yet."""
    import pillow_heif

    # A worker has little memory, and each thread takes some.
    pillow_heif.options.DECODE_THREADS = 1
    file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True, remove_stride=False)
    return file[file.primary_index]


def _unpacked_heic(frame: Any, factor: int) -> Image.Image:
    # Its size may be another once it is decoded.
    pixels = frame.data
    image = _unpacked(frame.mode, frame.size, pixels, frame.stride, factor)
    if profile := frame.info.get("icc_profile"):
        image.info["icc_profile"] = profile
    return image


def _without_decoder(image: Any, factor: int) -> Image.Image:
    """A WebP or AVIF, decoded. As long as Pillow's picture is there, so is what has decoded it, with two canvases of
    the picture's size for a WebP, and its planes for an AVIF; and the bytes that come out of it are copied."""
    decoder, mode, size, info = image._decoder, getattr(image, "rawmode", image.mode), image.size, image.info
    image._decoder = None
    pixels = (decoder.get_frame(0) if image.format == "AVIF" else decoder.get_next())[0]
    del decoder
    made = _unpacked(mode, size, pixels, len(pixels) // size[1], factor)
    if "icc_profile" in info:
        made.info["icc_profile"] = info["icc_profile"]
    return made


def _rows(factor: int) -> int:
    """How many of a picture to have at a time."""
    return max(1, 256 // factor) * factor


def _unpacked(raw: str, size: tuple[int, int], pixels: Any, stride: int, factor: int) -> Image.Image:
    """What a decoder gave, reduced as by `Image.reduce`: some rows at a time, so that all of it is there once only."""
    if raw not in {"RGB", "RGBA", "RGBX", "L"}:
        return _reduced(_plain(Image.frombytes(raw, size, pixels, "raw", raw, stride)), factor)
    (width, height), mode = size, "RGB" if raw == "RGBX" else raw
    made = Image.new(mode, (-(-width // factor), -(-height // factor)))
    held, most = memoryview(pixels), _rows(factor)
    for top in range(0, height, most):
        rows = min(most, height - top)
        piece = held[top * stride : (top + rows) * stride]
        strip = Image.frombytes(mode, (width, rows), piece, "raw", raw, stride)
        made.paste(strip.reduce(factor), (0, top // factor))
    return made


def _opaque(image: Image.Image) -> Image.Image:
    """Without an alpha plane through which nothing can be seen."""
    return image.convert("RGB") if image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 255 else image


def _moving(data: bytes, header: Header, size: Size) -> bytes | None:
    """An animation as WebP; None if it has other frames than it says."""
    image = Image.open(io.BytesIO(data), formats=_OPENED)
    # A GIF that says nothing is played once.
    loop = image.info.get("loop", 1 if header.kind == "gif" else 0)
    # What stands before an animation is for programs that know none.
    first = 1 if header.kind == "png" and image.info.get("default_image") else 0
    frames: list[Image.Image] = []
    durations: list[int] = []
    # One more than there are, by the header, is one too many: it does not say what it is.
    for number in range(first, header.frames + 1):
        try:
            image.seek(number)
        except EOFError:
            break
        if number == header.frames and not first:
            return None
        image.load()
        frame = _turned(_srgb(_plain(image.copy())), header.orientation)
        if Size(*frame.size) != header.size:
            return None
        frame = frame.convert("RGBA")
        frame.info = {}
        frames.append(frame.resize((size.width, size.height), Image.Resampling.LANCZOS, reducing_gap=3.0))
        durations.append(_duration(image.info.get("duration")))
    if len(durations) < 2:
        return None
    out = io.BytesIO()
    frames[0].save(
        out,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=loop if isinstance(loop, int) and 0 <= loop < 65_536 else 0,
        quality=75,
        method=2,
    )
    return out.getvalue()


def _duration(said: Any) -> int:
    """Milliseconds of a frame. Browsers take what is too short to be seen for a tenth of a second."""
    if not isinstance(said, int | float) or said < 11:
        return 100
    return int(min(said, 60_000))


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    if factor < 2:
        return image
    # Some rows at a time: what can be seen through would be copied as a whole.
    (width, height), most = image.size, _rows(factor)
    made = Image.new(image.mode, (-(-width // factor), -(-height // factor)))
    for top in range(0, height, most):
        strip = image.crop((0, top, width, min(height, top + most)))
        made.paste(strip.reduce(factor), (0, top // factor))
    made.info = image.info
    return made


def _plain(image: Image.Image) -> Image.Image:
    """In a mode that can be scaled and converted: RGB, RGBA, L or CMYK."""
    if image.mode in {"I;16", "I;16L", "I;16B", "I"}:
        # `convert` would make white of all that is above 255.
        return image.point(lambda value: value / 256).convert("L") if image.mode != "I" else _from_32(image)
    if image.mode == "F":
        return image.convert("L")
    if "transparency" in image.info and image.mode in {"P", "RGB", "L", "1"}:
        return image.convert("RGBA")
    if image.mode in {"P", "1", "YCbCr", "HSV", "LAB", "RGBX"}:
        return image.convert("RGB")
    if image.mode in {"LA", "PA", "La", "RGBa"}:
        return image.convert("RGBA")
    return image


def _from_32(image: Image.Image) -> Image.Image:
    high = image.getextrema()[1]
    shift = 256 if isinstance(high, int | float) and high > 255 else 1
    return image.point(lambda value: value / shift).convert("L")


def _srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    target = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile and image.mode in {"RGB", "RGBA", "L", "CMYK"}:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            # In its place where it can be; what can be seen through stays as it is.
            in_place = image.mode == target
            made = ImageCms.profileToProfile(
                image,
                source,
                ImageCms.createProfile("sRGB"),
                outputMode=None if in_place else "RGB",
                inPlace=in_place,
                renderingIntent=ImageCms.Intent.PERCEPTUAL,
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if in_place:
                return image
            assert made is not None
            return made
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AssertionError):
            # A broken profile says nothing.
            pass
    return image if image.mode == target else image.convert(target)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """Turned as the header says."""
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return image if method is None else image.transpose(method)
