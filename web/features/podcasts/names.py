"""What feeds call things, as pages show it; and addresses made of it. Pure."""

from __future__ import annotations

import html
import re
import unicodedata

MAX_SLUG = 80

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
#: Controls, and what turns the direction of the text after it: an element with dir="auto" sets it apart instead.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def plain(text: str | None, most: int) -> str:
    """Text without HTML's tags, its entities decoded once more, on one line, at most so many characters."""
    if not text:
        return ""
    if "<" not in text and "&" not in text and text.isprintable():
        # Most are plain as they come. What can be printed has none of _UNFIT in it, and no blanks but " ".
        found = " ".join(text[: most * 8 + 1000].split())
        return found if len(found) <= most else found[: most - 1].rstrip() + "…"
    # Tags and entities may make it longer; the rest of it is not looked at.
    found = _untagged(text[: most * 8 + 1000])
    found = " ".join(_UNFIT.sub("", html.unescape(found)).split())
    return found if len(found) <= most else found[: most - 1].rstrip() + "…"


def _untagged(text: str) -> str:
    """A text with blanks for its tags and comments."""
    kept = []
    # An expression would look for the end of a comment at each beginning of one that has none.
    while (begin := text.find("<!--")) >= 0 and (end := text.find("-->", begin + 4)) >= 0:
        kept.append(text[:begin])
        text = text[end + 3 :]
    return " ".join(_TAG.sub(" ", each) for each in (*kept, text))


def folded(text: str) -> str:
    """A name as it is compared: no marks, no case, words with single blanks between."""
    bare = unicodedata.normalize("NFKD", text).casefold()
    kept = "".join(char if char.isalnum() else " " for char in bare if not unicodedata.combining(char))
    return " ".join(kept.replace("'", "").split())


def slug_of(name: str) -> str:
    """The end of a podcast's address; never empty. Other scripts keep their letters."""
    slug = "-".join(folded(name).split())[:MAX_SLUG].strip("-")
    return slug or "podcast"
