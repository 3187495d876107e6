"""Why a sheet or a page is left as it was.

Left
├── LeftSheet    this sheet stays a link
└── LeftPage     the whole page stays as it was
"""

from __future__ import annotations


class Left(Exception):
    """Something is left as it was; the text says why, in a few words."""


class LeftSheet(Left):
    """A sheet that stays a link."""


class LeftPage(Left):
    """A page that stays as it was, byte for byte."""
