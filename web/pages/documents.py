"""What a feature hands in to be found: which of its rows, as what, and whose changes make it other.

The feature knows nothing of search: it says what everybody may read now (`Feature.documents`). Whoever keeps an
index of it hears on `CHANGED` which rows changed, reads those documents anew, and takes out those that are gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from hub.orm.sqlalchemy import AsyncNotifier

#: Rows of documents changed; its data is `{"post": 17}`: what was told (`Told.name`), and the row's id.
CHANGED = "documents"

#: Characters of a document's text that are looked at.
MAX_TEXT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Something that everybody may read now.

    id: of its row, and with `Documents.kind` its name. page: the document that it is a part of, as `post-17`; its own
    name if it is a page. text: plain, in composed form (NFC), with newlines between what belongs apart. weight: how
    much it counts among others of its kind. comments: how many there are on it.
    """

    id: int
    page: str
    url: str
    title: str
    text: str
    at: datetime
    headings: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    weight: float = 1.0
    comments: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a document is now and what it is called."""

    url: str
    title: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A document in a list of the newest."""

    url: str
    title: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """A model whose changed rows are told as `{name: id}`. options: as `AsyncNotifier.declare` takes them."""

    name: str
    model: type[Any]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Documents of one kind.

    kind: names them, with their ids; label: what a result of it is called, and labels: several. told: whose changes
    make them other. concerned: the ids of documents that a change of these rows, told by this name, may have made
    other, those that are gone too if they can be known. parts_of: the name by which a page is told whose parts these
    are, all of them: what is not read again then is gone. read: those of some ids which everybody may read now.
    after: the next ids behind one, in order. look: what of these is there now. newest: to offer where
    nothing can be found.
    """

    kind: str
    label: str
    labels: str
    told: Sequence[Told]
    concerned: Callable[[AsyncSession, str, Collection[int]], Awaitable[Collection[int]]]
    read: Callable[[AsyncSession, Collection[int]], Awaitable[Sequence[Document]]]
    after: Callable[[AsyncSession, int, int], Awaitable[Sequence[int]]]
    look: Callable[[AsyncSession, Collection[int]], Awaitable[Mapping[int, Shown]]]
    parts_of: tuple[str, str] | None = None
    newest: Callable[[AsyncSession, int], Awaitable[Sequence[Listed]]] | None = None


def declare(notify: AsyncNotifier, documents: Sequence[Documents]) -> None:
    """Say to a notifier what rows of documents tell, each model by each name once."""
    seen: set[tuple[str, type[Any]]] = set()
    for each in documents:
        for told in each.told:
            if (told.name, told.model) not in seen:
                seen.add((told.name, told.model))
                notify.declare(told.model, CHANGED, _naming(told.name), **told.options)


def _naming(name: str) -> Callable[[Any], object]:
    return lambda row: {name: row.id}
