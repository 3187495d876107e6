"""Pictures by libvips, where pyvips is installed: it holds a few lines of a picture at a time, not all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyvips

from .geometry import Size
from .heic import is_taken
from .sniffing import NoPicture, read

_SUFFIXES = {"avif": ".avif", "webp": ".webp", "jpeg": ".jpg", "png": ".png"}


class Vips:
    """The engine for many large pictures."""

    name = "vips"

    def open(self, data: bytes, most: int | None = None) -> Any:
        header = read(data, heic=is_taken())
        if header.kind == "heic":
            return _by_pillow(data)
        try:
            image = pyvips.Image.new_from_buffer(data, "", access="random", fail_on="error")
            if image.get_typeof("icc-profile-data"):
                try:
                    image = image.icc_transform("srgb", embedded=True, intent="perceptual")
                except pyvips.Error:
                    image = image.colourspace("srgb")
            elif image.interpretation != "srgb":
                image = image.colourspace("srgb")
            image = image.cast("uchar")
            if header.kind != "avif":
                # That one libheif has turned already.
                image = _turned(image, header.orientation)
            # All of it, once: a broken end is seen here and not later.
            return image.copy_memory()
        except pyvips.Error as error:
            raise NoPicture("The picture is broken, and can’t be read to its end.") from error

    def size(self, picture: Any) -> Size:
        return Size(picture.width, picture.height)

    def is_valid(self, data: bytes) -> bool:
        try:
            self.open(data)
        except NoPicture:
            return False
        return True

    def has_alpha(self, picture: Any) -> bool:
        return bool(picture.hasalpha()) and picture[picture.bands - 1].min() < 255

    def colors(self, picture: Any, side: int) -> tuple[Size, bytes]:
        factor = min(1.0, side / max(picture.width, picture.height))
        width, height = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
        small = self.scale(picture, Size(width, height))
        if not small.hasalpha():
            small = small.bandjoin(255)
        return Size(width, height), bytes(small.write_to_memory())

    def scale(self, picture: Any, size: Size) -> Any:
        across, down = size.width / picture.width, size.height / picture.height
        made = picture.resize(across, vscale=down)
        # Rounded otherwise by a pixel now and then.
        return made if (made.width, made.height) == (size.width, size.height) else _exactly(made, size)

    def crop(self, picture: Any, box: tuple[int, int, int, int]) -> Any:
        left, top, right, bottom = box
        return picture.crop(left, top, right - left, bottom - top)

    def encode(self, picture: Any, format: str, quality: int) -> bytes:
        options: dict[str, Any] = {"keep": "none"}
        if format == "jpeg":
            options |= {"Q": quality, "interlace": True, "background": [255, 255, 255]}
        elif format != "png":
            options |= {"Q": quality}
        return bytes(picture.write_to_buffer(_SUFFIXES[format], **options))

    def moving(self, data: bytes, sizes: Sequence[Size]) -> list[bytes]:
        # libvips knows no animated PNG, and gives the frames of others as one picture, below each other.
        from .pillow import Pillow

        return Pillow().moving(data, sizes)


def _by_pillow(data: bytes) -> Any:
    # The libvips of pyvips-binary has no HEVC.
    from .pillow import Pillow

    picture = Pillow().open(data)
    bands = len(picture.getbands())
    image = pyvips.Image.new_from_memory(picture.tobytes(), picture.width, picture.height, bands, "uchar")
    return image.copy(interpretation="srgb")


def _exactly(image: Any, size: Size) -> Any:
    return image.gravity("north-west", size.width, size.height, extend="copy")


def _turned(image: Any, orientation: int) -> Any:
    turn = {3: "d180", 4: "d180", 5: "d90", 6: "d90", 7: "d270", 8: "d270"}.get(orientation)
    if turn is not None:
        image = image.rot(turn)
    return image.fliphor() if orientation in {2, 4, 5, 7} else image
