"""HEIC, what iPhones take, where pillow-heif is installed: `pip install 'fanfare[heic]'`."""

from __future__ import annotations

from importlib.util import find_spec


def is_taken() -> bool:
    """Whether it can be read here. Imports nothing: requests ask too."""
    return find_spec("pillow_heif") is not None
