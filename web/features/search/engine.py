"""What the search asks of an engine: index these, delete these, what do you know of these words, run this query.

Two keep it: `embedded` and `elastic`. How readers are understood, how hits are weighed and what is said of them is not
theirs: both are given the same words in the same fields, and the same query.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .blend import Query
from .entries import Entry
from .spelling import Known

#: Hits that are looked at for a page of results; whoever wants more should say more.
WINDOW = 300


class EngineError(Exception):
    """What an engine raises.

    EngineAway     it can't be reached, or does not answer in time
    """


class EngineAway(EngineError):
    """The engine can't be reached, or does not answer in time."""


class Hit(NamedTuple):
    """A document that was found. group: of its page; ref: for `Found.read`."""

    score: float
    group: int
    ref: Any


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of an index in one step. drop: keys; drop_pages: pages whose parts are dropped, those of one kind.

    What is put takes the place of what had its key. cursor: what has been heard when all of this is there.
    """

    put: Sequence[Entry] = ()
    drop: Collection[str] = ()
    drop_parts: Collection[tuple[str, str]] = ()
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Facets:
    """How many hits there are of each kind and in each category, folded."""

    kinds: Mapping[str, int] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)


class Found(ABC):
    """The answer to a query. total: of all hits; hits: the first of them, by score, then the newer first."""

    total: int
    hits: Sequence[Hit]
    facets: Facets

    @abstractmethod
    async def read(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """What is stored of some of these hits, as `Entry.stored`."""


class Generation(ABC):
    """An index that is built behind the one that answers."""

    @abstractmethod
    async def apply(self, changes: Changes) -> None:
        """Put documents in; they need not be findable before it is taken."""


class Engine(ABC):
    """An index, open. Raises EngineAway."""

    #: Whether all workers have one index, so that one of them keeps it.
    shared = False

    @property
    def documents(self) -> int | None:
        """How many documents there are, if that is known without asking anybody."""
        return None

    @abstractmethod
    async def open(self) -> str | None:
        """Make ready; the cursor of what is there, or None if it has to be built."""

    @abstractmethod
    async def close(self) -> None:
        """Keep what is there, and let go of it."""

    async def lead(self) -> bool:
        """Take the lease on keeping a shared index, or renew it; whether this process has it."""
        return True

    async def cursor(self) -> str | None:
        """Up to where a shared index has been kept, "" if that isn't known; None if it has to be built."""
        return None

    @abstractmethod
    async def count(self) -> int:
        """How many documents there are."""

    @abstractmethod
    async def apply(self, changes: Changes) -> None:
        """Put and drop documents; on return searches find it so."""

    @abstractmethod
    async def begin(self) -> Generation:
        """An empty index, to be built while this one answers."""

    @abstractmethod
    async def take(self, generation: Generation, cursor: str) -> None:
        """Answer from what was built, and forget what was there."""

    @abstractmethod
    def everything(self) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """What is stored of all documents, as `Entry.stored`, some at a time; what changes meanwhile may be missed."""

    @abstractmethod
    async def by_key(self, keys: Collection[str]) -> Sequence[Mapping[str, Any]]:
        """What is stored of some documents, of those that are there."""

    @abstractmethod
    async def look(self, words: Collection[str]) -> Mapping[str, Known]:
        """How many documents have words; of those that any has."""

    @abstractmethod
    async def near(self, words: Collection[str]) -> Mapping[str, Sequence[tuple[str, Known]]]:
        """Words that may have been meant by some: within two edits, or with another first letter."""

    @abstractmethod
    async def begun(self, beginning: str, most: int) -> Sequence[tuple[str, Known]]:
        """The words that begin so, those of most titles first."""

    @abstractmethod
    async def run(self, query: Query, most: int = WINDOW, *, facets: bool = False) -> Found:
        """Run a query; most: hits."""
