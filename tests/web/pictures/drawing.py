"""Files of pictures for tests, drawn by Pillow."""

from __future__ import annotations

import io
import random
from typing import Any

from PIL import Image


def file_of(
    size: tuple[int, int] = (60, 40), format: str = "JPEG", mode: str = "RGB", orientation: int = 0, **options: Any
) -> bytes:
    """A picture, left half black, right half white."""
    image = Image.new("L", size)
    image.paste(255, (size[0] // 2, 0, *size))
    if mode == "I;16":
        image = Image.frombytes("I;16", size, b"".join(bytes((byte, byte)) for byte in image.tobytes()))
    else:
        image = image.convert(mode)
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def some_file(dice: random.Random) -> bytes:
    """A file of a kind, a mode, a size and an orientation by chance."""
    width, height = dice.choice(
        [(dice.randint(1, 150), dice.randint(1, 150)), (1, dice.randint(1, 500)), (dice.randint(1, 500), 1)]
    )
    format = dice.choice(["JPEG", "PNG", "WEBP", "GIF"] * 6 + ["AVIF"])
    modes = {"PNG": ["RGB", "L", "P", "RGBA", "1", "LA", "I;16"], "JPEG": ["RGB", "L", "CMYK"]}.get(
        format, ["RGB", "L"]
    )
    turned = dice.randint(0, 9) if format in {"JPEG", "PNG", "WEBP"} else 0
    return file_of((width, height), format, dice.choice(modes), turned)
