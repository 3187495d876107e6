"""One query of all readings: each as a phrase, and its words with less. Pure.

Of n readings the i-th has the boost (n - i) x score; a title counts twice that, a text once. So what was typed comes
before what may have been meant, a phrase before its words, a title before a text; and since it is one query, a phrase
that one page happens to have hides no better page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .asked import MAX_WORDS, Asked
from .spelling import Spelling
from .tokens import STOP_WORDS, stem

#: How much a field counts. names and words: spelt as they are, not stemmed, and whole identifiers.
TITLE, HEADING, LABEL, TEXT = 2.0, 1.5, 1.5, 1.0
STEMMED = {"title": TITLE, "heading": HEADING, "label": LABEL, "text": TEXT}

#: A word by itself counts so much of its phrase, and so much more if it is spelt the same.
WORD = 0.25
SAME = 0.5

#: A title that is the query, and nothing else.
WHOLE_TITLE = 4.0


@dataclass(frozen=True, slots=True)
class Term:
    """A word in a field, as it is in the index."""

    field: str
    word: str
    boost: float


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words one after the other in a field."""

    field: str
    words: tuple[str, ...]
    boost: float


Clause = Term | Phrase


@dataclass(frozen=True, slots=True)
class Query:
    """What an engine is asked: hits have any of `any`, the more the better, and one of each of `must`.

    Without any of both, everything. kinds, category, keyword: what a hit must be. but: keys that are no hits.
    """

    any: tuple[Clause, ...] = ()
    must: tuple[tuple[Clause, ...], ...] = ()
    kinds: tuple[str, ...] = ()
    category: str | None = None
    keyword: str | None = None
    but: tuple[str, ...] = ()


def boosts(spellings: Sequence[Spelling]) -> list[float]:
    """The boost of each reading."""
    return [(len(spellings) - at) * spelling.score for at, spelling in enumerate(spellings)]


def blend(asked: Asked, spellings: Sequence[Spelling], kinds: tuple[str, ...] = ()) -> Query:
    """The query of all readings of what was asked."""
    weights: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(field: str, words: tuple[str, ...], boost: float) -> None:
        key = field, words
        # Readings share words: one clause of both boosts costs half.
        weights[key] = weights.get(key, 0.0) + boost

    own = spellings[0].words if spellings else ()
    for spelling, boost in zip(spellings, boosts(spellings), strict=True):
        words = spelling.words
        if not words:
            continue
        stems = tuple(map(stem, words))
        add("whole_title", (" ".join(stems),), WHOLE_TITLE * boost)
        only_stops = all(word in STOP_WORDS for word in words)
        for field, factor in STEMMED.items():
            # One stop word alone would find everything.
            if not only_stops or len(words) > 1 or field in ("title", "label"):
                add(field, stems, factor * boost)
        if only_stops:
            continue
        single = len(words) == 1
        for word in dict.fromkeys(words[:MAX_WORDS]):
            if word in STOP_WORDS:
                continue
            if not single:
                for field, factor in STEMMED.items():
                    add(field, (stem(word),), WORD * factor * boost)
            same = SAME * (1.0 if single else WORD) * boost
            add("names", (word,), TITLE * same)
            add("words", (word,), TEXT * same)
        if words == own:
            for typed in asked.words[:MAX_WORDS]:
                for extra in typed.extras:
                    # A whole identifier is worth its phrase; a longer version less than the one asked for.
                    factor = WORD if extra.endswith("*") else 1.0
                    add("names", (extra,), TITLE * factor * boost)
                    add("words", (extra,), TEXT * factor * boost)
    clauses: list[Clause] = []
    for (field, some), boost in weights.items():
        clauses.append(Term(field, some[0], boost) if len(some) == 1 else Phrase(field, some, boost))
    return Query(tuple(clauses), _quoted(asked), kinds, asked.category, asked.keyword)


def telling(asked: Asked) -> list[str]:
    """The words that a document should have all of."""
    return [word.text for word in asked.words[:MAX_WORDS] if word.text not in STOP_WORDS]


def together(asked: Asked) -> Query:
    """Documents that have each of the words somewhere."""
    words = telling(asked)
    must = tuple(
        (*(Term(field, stem(word), 1.0) for field in STEMMED), Term("names", word, 1.0), Term("words", word, 1.0))
        for word in words
    )
    return Query((), must, (), asked.category, asked.keyword)


def as_phrase(asked: Asked) -> Query:
    """Documents that have the query's words one after the other."""
    stems = tuple(map(stem, asked.spoken))
    phrases: tuple[Clause, ...] = tuple(Phrase(field, stems, 1.0) for field in STEMMED)
    whole = tuple(
        Term(field, extra, 1.0) for word in asked.words for extra in word.extras for field in ("names", "words")
    )
    return Query((*phrases, *whole), (), (), asked.category, asked.keyword)


def _quoted(asked: Asked) -> tuple[tuple[Clause, ...], ...]:
    found: list[tuple[Clause, ...]] = []
    for phrase in asked.quoted:
        stems = tuple(map(stem, phrase))
        if len(stems) == 1:
            # One word in quotes is that word, in that form.
            found.append((Term("names", phrase[0], 1.0), Term("words", phrase[0], 1.0)))
        else:
            found.append(tuple(Phrase(field, stems, 1.0) for field in STEMMED))
    return tuple(found)
