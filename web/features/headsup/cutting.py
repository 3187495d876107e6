"""Texts cut to a length, without cutting a letter in two. Pure."""

from __future__ import annotations

import unicodedata

#: Characters of one remark, wherever it is shown.
MAX_TEXT = 4_000


def cut(text: str, most: int) -> str:
    """Text of at most so many characters, with … at the end if it was longer; no letter loses its marks."""
    if len(text) <= most:
        return text
    end = max(0, most - 1)
    while end and _goes_on(text, end):
        end -= 1
    return text[:end].rstrip() + "…"


def _goes_on(text: str, at: int) -> bool:
    """Whether what begins there belongs to what is before: marks, joined emoji, skin tones, halves of flags."""
    letter, before = text[at], text[at - 1]
    if unicodedata.category(letter).startswith("M") or "\U0001f3fb" <= letter <= "\U0001f3ff":
        return True
    if letter == "\u200d" or before == "\u200d" or "\U000e0020" <= letter <= "\U000e007f":
        return True
    if _is_flag(letter) and _is_flag(before):
        begin = at
        while begin and _is_flag(text[begin - 1]):
            begin -= 1
        return (at - begin) % 2 == 1
    return False


def _is_flag(letter: str) -> bool:
    return "\U0001f1e6" <= letter <= "\U0001f1ff"
