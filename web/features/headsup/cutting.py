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
    """Whether what begins there belongs to what is before, as UAX #29 has it.

    Marks, joined emoji, skin tones, halves of flags, the letters of a syllable of Hangul, consonants that are joined.
    """
    letter, before = text[at], text[at - 1]
    if unicodedata.category(letter).startswith("M") or "\U0001f3fb" <= letter <= "\U0001f3ff":
        return True
    if letter == "\u200d" or before == "\u200d" or "\U000e0020" <= letter <= "\U000e007f":
        return True
    if letter in _MORE_MARKS or (before == "\r" and letter == "\n"):
        return True
    # GB6 to GB8.
    if (then := _hangul(letter)) and then in _HANGUL.get(_hangul(before), ""):
        return True
    # GB9c: a consonant, its virama and perhaps other marks, and the consonant that it joins.
    if _is_joined(letter):
        begin = at
        while begin and (text[begin - 1] in _JOINERS or unicodedata.category(text[begin - 1]) == "Mn"):
            begin -= 1
        if any(each in _VIRAMAS for each in text[begin:at]):
            return bool(begin) and _is_joined(text[begin - 1])
    if _is_flag(letter) and _is_flag(before):
        begin = at
        while begin and _is_flag(text[begin - 1]):
            begin -= 1
        return (at - begin) % 2 == 1
    return False


#: By the kind of a letter of Hangul those that may follow it in one syllable: L, V and T are parts, LV and LVT wholes.
_HANGUL = {"L": ("L", "V", "LV", "LVT"), "V": ("V", "T"), "LV": ("V", "T"), "T": ("T",), "LVT": ("T",)}

_PARTS = (
    ("L", "\u1100", "\u115f"),
    ("L", "\ua960", "\ua97c"),
    ("V", "\u1160", "\u11a7"),
    ("V", "\ud7b0", "\ud7c6"),
    ("T", "\u11a8", "\u11ff"),
    ("T", "\ud7cb", "\ud7fb"),
)

#: Signs that are no marks to `unicodedata`: vowels of Thai and Lao, wide marks of Katakana, the zero width non-joiner.
_MORE_MARKS = "\u0e33\u0eb3\uff9e\uff9f\u200c"

_JOINERS = "\u200c\u200d"

#: Of the scripts whose consonants join: Devanagari, Bengali, Gujarati, Oriya, Telugu, Malayalam.
_VIRAMAS = "\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d"


def _hangul(letter: str) -> str:
    if "\uac00" <= letter <= "\ud7a3":
        return "LVT" if (ord(letter) - 0xAC00) % 28 else "LV"
    return next((kind for kind, first, last in _PARTS if first <= letter <= last), "")


def _is_joined(letter: str) -> bool:
    """Whether this is a consonant of a script that joins them."""
    if not "\u0915" <= letter <= "\u0d3a" or unicodedata.category(letter) != "Lo":
        return False
    # The blocks of these scripts are laid out alike (ISCII): consonants from ka to ha, and some behind.
    at = ord(letter) & 0x7F
    return chr(ord(letter) - at + 0x4D) in _VIRAMAS and (0x15 <= at <= 0x39 or 0x58 <= at <= 0x5F)


def _is_flag(letter: str) -> bool:
    return "\U0001f1e6" <= letter <= "\U0001f1ff"
