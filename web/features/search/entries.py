"""A document as it is in an index: its fields as words with spaces between, whichever the engine. Pure, but
that long texts are taken apart beside the loop."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...pages.documents import MAX_TEXT, Document
from .tokens import all_parts, fold

#: Of what is in an index: one more whenever the same document makes other fields, and indexes are built anew.
VERSION = 1

#: How much more a document counts that is a year younger; how much for comments on it: twice as many, so much more.
PER_YEAR = 0.03
PER_DOUBLING = 0.03

_SINCE = datetime(2000, 1, 1, tzinfo=UTC)
_YEAR = 365.25 * 86400


@dataclass(frozen=True, slots=True)
class Entry:
    """An analysed document. key: its name, as `post-17`. group: a number that all parts of one page share.

    title, heading, label, text: stems, in order; names, words: as spelt, with whole identifiers: of the first three,
    and of the text. tie: among equal scores the higher comes first. stored: what comes back with a hit.
    """

    key: str
    kind: str
    page: str
    title: str
    heading: str
    label: str
    text: str
    names: tuple[str, ...]
    words: tuple[str, ...]
    whole_title: str
    categories: tuple[str, ...]
    keywords: tuple[str, ...]
    weight: float
    tie: int
    group: int
    stored: dict[str, Any]


def key_of(kind: str, id: int) -> str:
    """What a document is called."""
    return f"{kind}-{id}"


def enter(kind: str, document: Document) -> Entry:
    """A document as it is in an index."""
    text = document.text[:MAX_TEXT]
    key = key_of(kind, document.id)
    # Words of neighbouring headings must not make phrases.
    titles = _Field((document.title,))
    headings = _Field(document.headings)
    labels = _Field((*document.categories, *document.keywords))
    texts = _Field((text,))
    return Entry(
        key=key,
        kind=kind,
        page=document.page,
        title=titles.stems,
        heading=headings.stems,
        label=labels.stems,
        text=texts.stems,
        names=(_EDGE, *titles.words, *headings.words, *labels.words),
        words=(_EDGE, *texts.words),
        whole_title=titles.stems.removeprefix(_EDGE).strip(),
        categories=tuple(fold(name) for name in document.categories),
        keywords=tuple(fold(name) for name in document.keywords),
        weight=round(document.weight * freshness(document.at) * popularity(document.comments), 6),
        tie=tie_of(document.at, document.id),
        group=group_of(document.page),
        stored={
            "id": document.id,
            "kind": kind,
            "page": document.page,
            "url": document.url,
            "title": document.title,
            "headings": list(document.headings),
            "categories": list(document.categories),
            "keywords": list(document.keywords),
            "text": text,
            "at": document.at.timestamp(),
            "weight": document.weight,
            "comments": document.comments,
        },
    )


async def entered(kind: str, documents: Sequence[Document]) -> list[Entry]:
    """Documents as they are in an index."""
    if len(documents) == 1 and len(documents[0].text) < 5_000:
        return [enter(kind, documents[0])]
    # Long texts take milliseconds each.
    return await asyncio.to_thread(lambda: [enter(kind, each) for each in documents])


#: A word that is in no query. Each field begins with it: engines reckon a field's usual length from the documents that
#: have the field, or from all, and so all have it. Between two headings it keeps their words from making phrases.
_EDGE = "\u2016"


class _Field:
    def __init__(self, texts: tuple[str, ...]) -> None:
        stems: list[str] = [_EDGE]
        words: list[str] = []
        for text in texts:
            if len(stems) > 1:
                stems.append(_EDGE)
            for parts in all_parts(text):
                stems += parts.stems
                words += parts.spelt
        self.stems = " ".join(stems)
        self.words = tuple(words)


def freshness(at: datetime) -> float:
    """What a date counts. Only the ratio of two matters, and that never changes: so it can be kept in an index."""
    years = (at - _SINCE).total_seconds() / _YEAR
    return math.exp(PER_YEAR * min(max(years, -50.0), 200.0))


def popularity(comments: int) -> float:
    """What comments on a page count."""
    return 1 + PER_DOUBLING * math.log2(1 + comments)


def tie_of(at: datetime, id: int) -> int:
    """The newer first, then the higher id."""
    return (max(0, int(at.timestamp())) & (2**38 - 1)) << 24 | (id & (2**24 - 1))


def group_of(page: str) -> int:
    """A number for a page."""
    return int.from_bytes(hashlib.blake2b(page.encode(), digest_size=6).digest())
