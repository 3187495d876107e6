"""What a reader asks: their text taken apart into words with their places, phrases in quotes, and filters. Pure.

There is no language to make mistakes in. Besides quotes and the two filters all of it is text:

    redis category:web development      redis, in the category "web development"
    "to be or not to be" keyword:plays  that phrase, among what has that keyword
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .tokens import STOP_WORDS, fold, tokens

#: Characters of a query.
MAX_QUERY = 90

#: Words of a query that are looked for by themselves, and corrected; of more than these the phrase counts.
MAX_WORDS = 12

_QUOTED = re.compile(r'["“”„«]([^"“”„«»]+)["“”»]')
_FILTER = re.compile(r"(?:^|(?<=\s))(categor(?:y|ies)|keywords?):\s*", re.IGNORECASE)
_GAP = re.compile(r"\s+")


class TooLong(ValueError):
    """The query has more characters than `MAX_QUERY`."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query, folded, and where it stands in it.

    extras: whole identifiers that begin here, such as `asyncio.gather`.
    """

    text: str
    start: int
    end: int
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A query. text: as it was given, on one line and without its filters; quoted: phrases that a hit must have."""

    text: str
    words: tuple[Word, ...]
    quoted: tuple[tuple[str, ...], ...] = ()
    category: str | None = None
    keyword: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look for."""
        return not self.words and self.category is None and self.keyword is None

    @property
    def spoken(self) -> tuple[str, ...]:
        """The words alone."""
        return tuple(word.text for word in self.words)

    @property
    def has_only_stop_words(self) -> bool:
        return all(word.text in STOP_WORDS for word in self.words)


def parse(query: str, category: str | None = None) -> Asked:
    """Take a query apart. category: another than the query's own. Raises TooLong."""
    # As texts are: a letter and its accent are one character, and count as one.
    query = unicodedata.normalize("NFC", query)
    if len(query) > MAX_QUERY:
        raise TooLong(f"A search has at most {MAX_QUERY} characters.")
    text = _GAP.sub(" ", "".join(each if each.isprintable() else " " for each in query)).strip()
    filters: dict[str, str] = {}
    pieces = _FILTER.split(text)
    # Everything behind the colon is the value, up to the next filter.
    for name, value in zip(pieces[1::2], pieces[2::2], strict=True):
        kind = "category" if name.lower().startswith("c") else "keyword"
        value = value.strip(' "“”')
        if value and kind not in filters:
            filters[kind] = value
        else:
            pieces[0] += f" {name}: {value}"
    text = _GAP.sub(" ", pieces[0]).strip()
    quoted = []
    for found in _QUOTED.finditer(text):
        phrase = tuple(word for token in tokens(found[1]) for word in token.parts.stream)
        if phrase:
            quoted.append(phrase)
    return Asked(
        text,
        tuple(_words(text)),
        tuple(quoted),
        fold(category or filters.get("category") or "").strip() or None,
        fold(filters.get("keyword") or "").strip() or None,
    )


def _words(text: str) -> list[Word]:
    found: list[Word] = []
    for token in tokens(text):
        stream = token.parts.stream
        extras = tuple(
            each for each in token.parts.extras if len(stream) > 1 and each not in stream and not each.endswith("*")
        )
        if token.parts.extras and token.parts.extras[0].endswith("*"):
            # 5.2 finds 5.2.1 too, and not the other way round.
            extras = (f"{stream[0]}.*",)
        elif len(stream) == 1 and stream[0].isdigit():
            extras = (f"{stream[0]}.*",)
        raw = text[token.start : token.end]
        at = 0
        folded = fold(raw)
        for number, word in enumerate(stream):
            start, end = token.start, token.end
            if len(stream) > 1 and len(folded) == len(raw):
                place = folded.find(word, at)
                if place >= 0:
                    start, end = token.start + place, token.start + place + len(word)
                    at = place + 1
            found.append(Word(word, start, end, extras if number == 0 else ()))
    return found
