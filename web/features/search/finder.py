"""A search from a reader's text to what they are shown: the one place that waits for the index and for rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ...db.database import Database
from ...db.tables import now
from ...pages.documents import Documents, Shown
from .asked import Asked
from .blend import as_phrase, blend, boosts, telling, together
from .engine import Engine, Facets, Found, Hit
from .entries import key_of
from .highlights import Piece, Wanted, mark, piece, places, runs
from .reasons import Reason, explain, factors
from .spelling import (
    Known,
    Lookups,
    Spelling,
    ends_to_look_up,
    in_doubt,
    is_unknown,
    middles_to_look_up,
    must_meet,
    spellings,
    to_look_up,
)
from .tokens import STOP_WORDS, fold, stem
from .words import Words

#: Results of a page, and parts that are shown of each.
SHOWN = 10
PARTS = 3
#: Documents of one page that are read to show it, and those that are read between two looks at the loop.
_READ = 8
_READ_AT_ONCE = 20

#: Words that the last one may be the beginning of, and the least letters of it.
_BEGUN = 8
_LEAST_BEGUN = 2

#: Of a word that is meant as it is.
_CERTAIN = Known(titles=1, texts=1)


@dataclass(frozen=True, slots=True)
class Result:
    """A document as it is shown. parts: of it that were found too, such as comments.

    has_phrase: whether what was typed is in it, as it was typed, one word after the other.
    """

    kind: str
    label: str
    id: int
    title: Piece
    url: str
    score: float
    text: Piece
    at: datetime
    categories: tuple[str, ...]
    why: tuple[str, ...]
    is_part: bool
    has_phrase: bool
    parts: tuple[Result, ...] = ()

    @property
    def key(self) -> str:
        """Its name."""
        return f"{self.kind}-{self.id}"


@dataclass(frozen=True, slots=True)
class Results:
    """What was found. total: all documents; last: the number of the last page of results.

    instead: the query as it was understood, if that is not as it was typed. words_only: nothing has the words one after
    the other. took: seconds. pinned: what managers put first, its address and title; it is not among the results.
    """

    asked: Asked
    spellings: tuple[Spelling, ...]
    boosts: tuple[float, ...]
    results: tuple[Result, ...]
    total: int
    page: int
    last: int
    instead: str | None
    words_only: bool
    facets: Facets
    took: float
    gone: tuple[tuple[str, int], ...] = ()
    pinned: tuple[str, str] | None = None
    words: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """How many things were found, in words."""
        if self.asked.is_empty:
            return "Search"
        if not self.total:
            return "Nothing found"
        return "1 thing found" if self.total == 1 else f"{self.total:,} things found"


def _nothing(asked: Asked) -> Results:
    """The results of a query that has no word and no filter."""
    return Results(
        asked=asked,
        spellings=(),
        boosts=(),
        results=(),
        total=0,
        page=1,
        last=1,
        instead=None,
        words_only=False,
        facets=Facets(),
        took=0.0,
    )


def _grouped(hits: Sequence[Hit]) -> list[list[Hit]]:
    """Hits by their pages, those with the best hit first."""
    groups: dict[int, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(hit.group, []).append(hit)
    return list(groups.values())


def _page(groups: Sequence[list[Hit]], page: int) -> Sequence[list[Hit]]:
    return groups[(page - 1) * SHOWN : page * SHOWN]


async def no_words() -> Words:
    """Where managers say nothing about words."""
    return Words()


class Finder:
    """Searches. documents: those of all features; words: what managers say about words."""

    def __init__(
        self,
        engine: Engine,
        documents: Sequence[Documents],
        database: Database,
        words: Callable[[], Awaitable[Words]] = no_words,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._engine = engine
        self._documents: Mapping[str, Documents] = {each.kind: each for each in documents}
        self._database = database
        self._clock = clock
        self._words = words

    async def find(
        self,
        asked: Asked,
        *,
        page: int = 1,
        kinds: tuple[str, ...] = (),
        exactly: bool = False,
        facets: bool = False,
    ) -> Results:
        """A page of what is found. exactly: as it is spelt. Raises EngineAway."""
        began = time.perf_counter()
        if asked.is_empty:
            # A query without conditions would find every document.
            return _nothing(asked)
        read = await self.readings(asked, exactly=exactly)
        weights = boosts(read)
        query = blend(asked, read, kinds)
        found = await self._engine.run(query, facets=facets)
        groups = _grouped(found.hits)
        results, gone = await self._show(found, _page(groups, page), read, weights, asked)
        if gone:
            # Not shown, nor counted, and the page is full without them. One look at all that may be seen: where some
            # are gone others may be.
            gone = await self._gone(found)
            query = replace(query, but=tuple(key_of(kind, id) for kind, id in gone))
            found = await self._engine.run(query, facets=facets)
            groups = _grouped(found.hits)
            results, _ = await self._show(found, _page(groups, page), read, weights, asked)
        words_only = False
        shown = any(each.has_phrase for result in results for each in (result, *result.parts))
        if found.total and not shown and len(asked.words) > 1 and not asked.quoted:
            words_only = not (await self._engine.run(replace(as_phrase(asked), but=query.but), 1)).total
        pinned = None
        if page == 1 and not kinds and asked.category is None and asked.keyword is None:
            pinned = (await self._words()).pins.get(" ".join(fold(asked.text).split()))
        if pinned is not None:
            results = [each for each in results if each.url != pinned[0]]
        return Results(
            asked=asked,
            spellings=tuple(read),
            boosts=tuple(weights),
            results=tuple(results),
            total=found.total,
            page=page,
            last=max(1, -(-len(groups) // SHOWN)),
            instead=await self._instead(asked, read),
            words_only=words_only,
            facets=found.facets,
            took=time.perf_counter() - began,
            gone=tuple(gone),
            pinned=pinned,
            words=tuple(dict.fromkeys(word for word in asked.spoken if word not in STOP_WORDS)),
        )

    async def ranked(
        self, asked: Asked, *, kinds: tuple[str, ...] = (), exactly: bool = False, facets: bool = False
    ) -> tuple[list[Spelling], Found]:
        """How a query is read, and its hits, which nobody has looked at yet."""
        read = await self.readings(asked, exactly=exactly)
        return read, await self._engine.run(blend(asked, read, kinds), facets=facets)

    async def readings(self, asked: Asked, *, exactly: bool = False) -> list[Spelling]:
        """The query as it is spelt, and what else may be meant."""
        words = asked.spoken
        if not words:
            return []
        quoted = {word for phrase in asked.quoted for word in phrase}
        if exactly:
            return spellings(words, Lookups(dict.fromkeys(words, _CERTAIN)))
        known = dict(await self._engine.look(to_look_up(words)))
        count: int | None = None
        if len(words) > 1 and not any(is_unknown(word, known) for word in words) and not asked.has_only_stop_words:
            count = None if self._surely_meet(asked, known) else (await self._engine.run(together(asked), 1)).total
        found = Lookups(known, together=count)
        doubtful = {word for word in words if in_doubt(word, found) and word not in quoted}
        near = await self._engine.near(doubtful) if doubtful else {}
        begun = {}
        last = words[-1]
        if last in doubtful and is_unknown(last, known) and (len(last) >= _LEAST_BEGUN or not last.isascii()):
            begun[last] = await self._engine.begun(last, _BEGUN)
        unknown = [word for word in doubtful if is_unknown(word, known)]
        ends = {part for word in unknown for part in ends_to_look_up(word)}
        if ends:
            known |= await self._engine.look(ends)
            middles = {part for word in unknown for part in middles_to_look_up(word, known)}
            if middles:
                known |= await self._engine.look(middles)
        # What is in quotes is meant as it is.
        known |= dict.fromkeys(quoted & set(words), _CERTAIN)
        synonyms = (await self._words()).readings(words)
        return spellings(words, Lookups(known, near, begun, count), synonyms)

    def _surely_meet(self, asked: Asked, known: Mapping[str, Known]) -> bool:
        """Whether it needs no look to know that some document has all of the words."""
        documents = self._engine.documents
        is_filtered = asked.category is not None or asked.keyword is not None
        return documents is not None and not is_filtered and must_meet(telling(asked), known, documents)

    async def complete(self, beginning: str, most: int) -> list[str]:
        """Words that a beginning may become."""
        return [word for word, there in await self._engine.begun(beginning, most) if there.may_be_meant]

    async def _instead(self, asked: Asked, read: Sequence[Spelling]) -> str | None:
        """The best other reading, if what was typed is nowhere."""
        if len(read) < 2 or asked.has_only_stop_words:
            return None
        changed = {
            word for change in read[1].changes for word in asked.spoken[change.first : change.first + change.count]
        }
        known = await self._engine.look(changed)
        return respelt(asked, read[1]) if any(is_unknown(word, known) for word in changed) else None

    async def _show(
        self,
        found: Found,
        groups: Sequence[Sequence[Hit]],
        read: Sequence[Spelling],
        weights: Sequence[float],
        asked: Asked,
    ) -> tuple[list[Result], list[tuple[str, int]]]:
        hits = [hit for group in groups for hit in group[:_READ]]
        stored = dict(zip((id(hit) for hit in hits), await found.read(hits), strict=True))
        there = await self._look(stored.values())
        wanted = wanted_of(read, asked)
        results: list[Result] = []
        gone: list[tuple[str, int]] = []
        for group in groups:
            made: list[Result] = []
            for hit in group[:_READ]:
                each = stored[id(hit)]
                shown = there.get((each["kind"], each["id"]))
                if shown is None:
                    # Its row is gone, or may not be read any more: the index is about to hear of it.
                    gone.append((each["kind"], each["id"]))
                elif len(made) <= PARTS:
                    made.append(self._result(hit, each, shown, read, weights, wanted))
            if made:
                first = next((each for each in made if not each.is_part), made[0])
                parts = tuple(each for each in made if each is not first)[:PARTS]
                results.append(replace(first, parts=parts))
            # Each may have as many texts as it shows, of which the longest takes a millisecond.
            await asyncio.sleep(0)
        return results, gone

    async def _gone(self, found: Found) -> list[tuple[str, int]]:
        """The hits whose rows are gone, or may not be read any more."""
        stored: list[dict[str, Any]] = []
        for at in range(0, len(found.hits), _READ_AT_ONCE):
            stored += await found.read(found.hits[at : at + _READ_AT_ONCE])
            await asyncio.sleep(0)
        there = await self._look(stored)
        # What an engine has no more is of no kind.
        return [key for each in stored if each["kind"] and (key := (each["kind"], each["id"])) not in there]

    async def _look(self, stored: Any) -> dict[tuple[str, int], Shown]:
        by_kind: dict[str, list[int]] = {}
        for each in stored:
            by_kind.setdefault(each["kind"], []).append(each["id"])
        found: dict[tuple[str, int], Shown] = {}
        if not by_kind:
            return found
        async with self._database.reading() as session:
            for kind, ids in by_kind.items():
                if kind in self._documents:
                    looked = await self._documents[kind].look(session, ids)
                    found |= {(kind, id): shown for id, shown in looked.items()}
        return found

    def _result(
        self,
        hit: Hit,
        stored: Mapping[str, Any],
        shown: Shown,
        read: Sequence[Spelling],
        weights: Sequence[float],
        wanted: Wanted,
    ) -> Result:
        documents = self._documents[stored["kind"]]
        is_part = documents.parts_of is not None
        in_text = list(places(stored["text"], wanted))
        why: list[Reason] = explain(stored, runs(stored["text"], in_text), read, weights)
        return Result(
            kind=stored["kind"],
            label=documents.label,
            id=stored["id"],
            title=Piece(shown.title) if is_part else mark(shown.title, wanted),
            url=shown.url,
            score=hit.score,
            text=piece(stored["text"], in_text),
            at=datetime.fromtimestamp(stored["at"], UTC),
            categories=tuple(stored["categories"]),
            why=(*map(str, why), *factors(stored, self._clock())),
            is_part=is_part,
            has_phrase=any(each.is_phrase for each in why),
        )


def wanted_of(read: Sequence[Spelling], asked: Asked) -> Wanted:
    """What is marked: the words of all readings, but for those that say little by themselves."""
    stems = {stem(word) for spelling in read for word in spelling.words if word not in STOP_WORDS}
    if not stems:
        stems = {stem(word) for spelling in read[:1] for word in spelling.words}
    extras = {extra for word in asked.words for extra in word.extras if not extra.endswith("*")}
    return Wanted(frozenset(stems), frozenset(extras))


def respelt(asked: Asked, spelling: Spelling) -> str:
    """The query with its words replaced where they stand."""
    text = asked.text
    for change in reversed(spelling.changes):
        first, last = asked.words[change.first], asked.words[change.first + change.count - 1]
        text = text[: first.start] + " ".join(change.now) + text[last.end :]
    return text
