"""The point of a picture that crops keep in sight, as a form says it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .forms import Focus
from .geometry import Size, Wanted, steps

#: The longest side of the picture that is clicked on: it must be as large in every window, for a form without scripts
#: says where it was clicked and not how large it was.
SIDE = 240

#: The name of the field that is clicked on, of which a browser makes two.
AT = "at"


def click_size(size: Size) -> Size:
    """How large the picture is that is clicked on; small ones too."""
    return steps(size, Wanted(SIDE, SIDE, upscale=True)).result


def has_focus(fields: Mapping[str, str]) -> bool:
    """Whether a form says a focus."""
    return bool({"across", "down", f"{AT}.x", f"{AT}.y"} & fields.keys())


def read_focus(fields: Mapping[str, str], size: Size) -> Focus:
    """What a form says: a click, or numbers in per cent. Raises ValueError with what to tell who sent it."""
    if f"{AT}.x" in fields or f"{AT}.y" in fields:
        clicked = click_size(size)
        across, down = (_number(fields.get(f"{AT}.{axis}", "")) for axis in "xy")
        if (across, down) == (0, 0):
            # So browsers say that the picture was pressed by a key.
            raise ValueError("Click on the picture, or say in numbers where the point is.")
        across, down = 100 * across / max(1, clicked.width - 1), 100 * down / max(1, clicked.height - 1)
    else:
        across, down = _number(fields.get("across", "")), _number(fields.get("down", ""))
    if not (0 <= across <= 100 and 0 <= down <= 100):
        raise ValueError("The point must be in the picture: both numbers from 0 to 100.")
    return round(across), round(down)


def _number(text: str) -> float:
    try:
        # Digits of other scripts, and `1_0`, are numbers to Python only.
        if not text.isascii() or "_" in text:
            raise ValueError
        value = float(text)
        if not math.isfinite(value):
            raise ValueError
    except ValueError:
        raise ValueError("Say in two numbers where the point is, in per cent.") from None
    return value
