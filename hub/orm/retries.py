"""What tries again needs: how long to wait, and a name under which to hold what it has taken. No database here."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable


def new_owner() -> str:
    """A name that no other process has, nor this one after a fork."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def pause_after(
    failures: int, first: float, longest: float, dice: Callable[[float, float], float] | None = None
) -> float:
    """Seconds to wait after so many failures in a row (1 is the first): doubled each time, up to `longest`.

    dice: `jitter`, where many would come back at the same moment.
    """
    # Beyond that 2.0 ** n soon is too large for a float.
    length = min(first * 2.0 ** min(max(failures - 1, 0), 60), longest)
    return length if dice is None else length * dice(0.7, 1.3)


#: The usual dice.
jitter = random.uniform
