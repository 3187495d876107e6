"""The engine for many documents: Elasticsearch 8 or 9, by ELASTICSEARCH_URL.

It is given the words as they are, with spaces between, so that it finds what the embedded engine finds, in the same
order: its own analyzers are not asked. All workers have one index behind an alias; one of them, by a lease in
Elasticsearch, keeps it. A new index is built beside it, and takes its place by moving the alias.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any, TypeVar

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, ConflictError, NotFoundError

from .blend import Clause, Query, Term
from .engine import WINDOW, Changes, Engine, EngineAway, Facets, Found, Generation, Hit
from .entries import VERSION, Entry
from .spelling import Known
from .tokens import MAX_WORD

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that an answer may take, and times that a request is sent again.
TIMEOUT = 3.0
RETRIES = 3

#: Seconds that a worker keeps the index after it last said so.
LEASE = 10.0

#: Words that begin alike, of which the most frequent are looked at.
_BEGUN = 1000

#: Documents of one request.
_BULK = 500

_TEXT = {"type": "text", "analyzer": "whitespace"}
_SPELT = {**_TEXT, "index_options": "freqs"}
_WORD = {"type": "keyword"}

#: Words of documents, to be counted and completed: of titles and the like, of texts, of comments.
_COUNTED = ("title_words", "text_words", "comment_words")

MAPPINGS: dict[str, Any] = {
    "dynamic": False,
    "properties": {
        **dict.fromkeys(("key", "part", "kind", "category", "keyword", "whole_title"), _WORD),
        **dict.fromkeys(("title", "heading", "label", "text"), _TEXT),
        **dict.fromkeys(("names", "words"), _SPELT),
        **dict.fromkeys(_COUNTED, _WORD),
        "weight": {"type": "double"},
        "tie": {"type": "long"},
        "group": {"type": "long"},
        "stored": {"type": "object", "enabled": False},
    },
}
#: One shard: words are counted, and scores made, for all documents together.
SETTINGS = {"number_of_shards": 1, "number_of_replicas": 0, "auto_expand_replicas": "0-1"}


class _Index(Generation):
    def __init__(self, engine: Elastic, name: str) -> None:
        self.name = name
        self._engine = engine

    async def apply(self, changes: Changes) -> None:
        await self._engine.write(self.name, changes, refresh=False)


class Elastic(Engine):
    """An index that all workers share. name: of the alias. comment_kinds: kinds whose words are not taken for right."""

    shared = True

    def __init__(self, url: str, name: str = "fanfare", comment_kinds: Collection[str] = ()) -> None:
        self._client = AsyncElasticsearch(
            url,
            request_timeout=TIMEOUT,
            max_retries=RETRIES,
            retry_on_timeout=True,
            retry_on_status=(429, 502, 503, 504),
        )
        self._name = name
        self._state = f"{name}-state"
        self._comment_kinds = frozenset(comment_kinds)
        self._me = token_hex(8)

    async def open(self) -> str | None:
        if not await _asked(self._client.indices.exists_alias(name=self._name)):
            return None
        return await self.cursor()

    async def cursor(self) -> str | None:
        """Up to where the shared index has been kept, "" if that isn't known; None if it has to be built."""
        state = await self._read_state()
        if state.get("version") != VERSION:
            return None
        return str(state.get("cursor", ""))

    async def close(self) -> None:
        with suppress(EngineAway, NotFoundError):
            lease = await _asked(self._client.get(index=self._state, id="lease"))
            if lease["_source"]["holder"] == self._me:
                free = {"holder": "", "until": 0.0}
                await _asked(self._client.index(index=self._state, id="lease", document=free))
        await self._client.close()

    async def lead(self) -> bool:
        if not await self._take_lease():
            return False
        # Only who has the lease makes what is not there yet: two that did would make two.
        if not await _asked(self._client.indices.exists_alias(name=self._name)):
            await self._make(first=True)
        return True

    async def _take_lease(self) -> bool:
        now = time.time()
        lease = {"holder": self._me, "until": now + LEASE}
        try:
            found = await _asked(self._client.get(index=self._state, id="lease"))
        except NotFoundError:
            wanted: dict[str, Any] = {"op_type": "create"}
        else:
            there = found["_source"]
            if there["holder"] not in ("", self._me) and there["until"] > now:
                return False
            wanted = {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
        try:
            await _asked(self._client.index(index=self._state, id="lease", document=lease, **wanted))
        except ConflictError:
            # Another was faster.
            return False
        return True

    async def count(self) -> int:
        return int((await _asked(self._client.count(index=self._name)))["count"])

    async def apply(self, changes: Changes) -> None:
        await self.write(self._name, changes, refresh=True)
        if changes.cursor is not None:
            await self._write_state(cursor=changes.cursor, version=VERSION)

    async def begin(self) -> Generation:
        return _Index(self, await self._make())

    async def take(self, generation: Generation, cursor: str) -> None:
        assert isinstance(generation, _Index)
        await _asked(self._client.indices.refresh(index=generation.name))
        old = await self._behind()
        moves: list[Mapping[str, Any]] = [{"remove": {"index": name, "alias": self._name}} for name in old]
        moves.append({"add": {"index": generation.name, "alias": self._name}})
        await _asked(self._client.indices.update_aliases(actions=moves))
        await self._write_state(cursor=cursor, version=VERSION)
        for name in old:
            if name != generation.name:
                await _asked(self._client.indices.delete(index=name, ignore_unavailable=True))

    async def look(self, words: Collection[str]) -> Mapping[str, Known]:
        some = sorted(word for word in words if len(word) <= MAX_WORD)
        if not some:
            return {}
        counted = {name: {"filters": {"filters": {word: {"term": {name: word}} for word in some}}} for name in _COUNTED}
        answer = await _asked(self._client.search(index=self._name, size=0, aggs=counted))
        counts: dict[str, list[int]] = {}
        for place, name in enumerate(_COUNTED):
            for word, bucket in answer["aggregations"][name]["buckets"].items():
                counts.setdefault(word, [0, 0, 0])[place] = int(bucket["doc_count"])
        return {word: Known(*found) for word, found in counts.items() if any(found)}

    async def near(self, words: Collection[str]) -> Mapping[str, Sequence[tuple[str, Known]]]:
        options = {
            "suggest_mode": "always",
            "prefix_length": 0,
            "max_edits": 2,
            "min_word_length": 4,
            "max_inspections": 50,
            "size": 30,
            "max_term_freq": 1_000_000,
        }
        some = sorted(words)
        if not some:
            return {}
        asked = {
            f"{number}-{name}": {"text": word, "term": {"field": name, **options}}
            for number, word in enumerate(some)
            for name in ("names", "words")
        }
        answer = await _asked(self._client.search(index=self._name, suggest=asked, size=0))
        near: dict[str, dict[str, None]] = {word: {} for word in some}
        for name, found in answer["suggest"].items():
            word = some[int(name.partition("-")[0])]
            near[word] |= {option["text"]: None for entry in found for option in entry["options"]}
        known = await self.look({other for others in near.values() for other in others})
        return {
            word: [(other, known[other]) for other in others if other != word and other in known]
            for word, others in near.items()
        }

    async def begun(self, beginning: str, most: int) -> Sequence[tuple[str, Known]]:
        pattern = "".join(each if each.isalnum() else f"\\{each}" for each in beginning) + ".+"
        asked = {name: {"terms": {"field": name, "include": pattern, "size": _BEGUN}} for name in _COUNTED[:2]}
        answer = await _asked(self._client.search(index=self._name, size=0, aggs=asked))
        buckets = [bucket["key"] for name in asked for bucket in answer["aggregations"][name]["buckets"]]
        words = {word for word in buckets if word.startswith(beginning) and word != beginning and word[-1] != "*"}
        # What was among the first of titles may be in texts as well.
        some = list((await self.look(words)).items())
        some.sort(key=lambda each: (-each[1].titles, -each[1].texts, len(each[0]), each[0]))
        return some[:most]

    async def run(self, query: Query, most: int = WINDOW, *, facets: bool = False) -> Found:
        answer = await _asked(
            self._client.search(
                index=self._name,
                query={
                    "function_score": {
                        "query": _query(query),
                        "field_value_factor": {"field": "weight"},
                        "boost_mode": "multiply",
                    }
                },
                sort=[{"_score": "desc"}, {"tie": "desc"}],
                size=most,
                source=False,
                docvalue_fields=[{"field": "group"}],
                track_total_hits=True,
                aggs={
                    "kind": {"terms": {"field": "kind", "size": 20}},
                    "category": {"terms": {"field": "category", "size": 30}},
                }
                if facets
                else None,
            )
        )
        return _Found(self._client, self._name, answer)

    async def everything(self) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        after: list[Any] | None = None
        while True:
            answer = await _asked(
                self._client.search(
                    index=self._name,
                    query={"match_all": {}},
                    sort=[{"key": "asc"}],
                    size=_BULK,
                    source_includes=["stored"],
                    search_after=after,
                    track_total_hits=False,
                )
            )
            hits = answer["hits"]["hits"]
            if not hits:
                return
            yield [each["_source"]["stored"] for each in hits]
            after = hits[-1]["sort"]

    async def by_key(self, keys: Collection[str]) -> Sequence[Mapping[str, Any]]:
        if not keys:
            return []
        answer = await _asked(self._client.mget(index=self._name, ids=list(keys), source_includes=["stored"]))
        return [each["_source"]["stored"] for each in answer["docs"] if each.get("found")]

    async def write(self, index: str, changes: Changes, *, refresh: bool) -> None:
        """Put and drop documents of an index."""
        for page, kind in changes.drop_parts:
            await _asked(
                self._client.delete_by_query(
                    index=index,
                    query={"term": {"part": f"{kind}:{page}"}},
                    conflicts="proceed",
                    refresh=True,
                    ignore_unavailable=True,
                )
            )
        operations: list[dict[str, Any]] = []
        for key in changes.drop:
            operations.append({"delete": {"_id": key}})
        for entry in {entry.key: entry for entry in changes.put}.values():
            operations += [{"index": {"_id": entry.key}}, self._document(entry)]
        at = 0
        while at < len(operations):
            some = operations[at : at + 2 * _BULK]
            # A document is not parted from what is done with it.
            if "index" in some[-1] and "_id" in some[-1]["index"]:
                some = some[:-1]
            answer = await _asked(self._client.bulk(index=index, operations=some, refresh=refresh))
            for each in answer["items"]:
                (result,) = each.values()
                if result["status"] >= 400 and result["status"] != 404:
                    raise EngineAway(f"Elasticsearch refused a document: {result.get('error')}")
            at += len(some)
        if not operations and refresh:
            await _asked(self._client.indices.refresh(index=index))

    def _document(self, entry: Entry) -> dict[str, Any]:
        of_comments = entry.kind in self._comment_kinds
        names, words = (sorted({each for each in some if len(each) <= MAX_WORD}) for some in (entry.names, entry.words))
        return {
            "key": entry.key,
            "part": f"{entry.kind}:{entry.page}",
            "kind": entry.kind,
            "category": list(entry.categories),
            "keyword": list(entry.keywords),
            # Longer than a keyword may be it is no query.
            "whole_title": entry.whole_title[:1000],
            "title": entry.title,
            "heading": entry.heading,
            "label": entry.label,
            "text": entry.text,
            "names": " ".join(entry.names),
            "words": " ".join(entry.words),
            "title_words": [] if of_comments else names,
            "text_words": [] if of_comments else words,
            "comment_words": sorted({*names, *words}) if of_comments else [],
            "weight": entry.weight,
            "tie": entry.tie,
            "group": entry.group,
            "stored": entry.stored,
        }

    async def _make(self, *, first: bool = False) -> str:
        name = f"{self._name}-{int(time.time() * 1000)}-{token_hex(2)}"
        aliases: dict[str, Any] | None = {self._name: {}} if first else None
        await _asked(self._client.indices.create(index=name, mappings=MAPPINGS, settings=SETTINGS, aliases=aliases))
        return name

    async def _behind(self) -> list[str]:
        """The indexes that the alias stands for."""
        try:
            return sorted(await _asked(self._client.indices.get_alias(name=self._name)))
        except NotFoundError:
            return []

    async def _read_state(self) -> dict[str, Any]:
        try:
            return dict((await _asked(self._client.get(index=self._state, id="cursor")))["_source"])
        except NotFoundError:
            return {}

    async def _write_state(self, **values: Any) -> None:
        await _asked(self._client.index(index=self._state, id="cursor", document=values))


class _Found(Found):
    def __init__(self, client: AsyncElasticsearch, index: str, answer: Any) -> None:
        self._client = client
        self._index = index
        self.total = int(answer["hits"]["total"]["value"])
        self.hits = [
            Hit(round(float(each["_score"]), 4), int(each["fields"]["group"][0]), each["_id"])
            for each in answer["hits"]["hits"]
        ]
        counted = answer.get("aggregations") or {}
        kinds, categories = (
            {each["key"]: int(each["doc_count"]) for each in counted.get(name, {}).get("buckets", ())}
            for name in ("kind", "category")
        )
        self.facets = Facets(kinds, categories)

    async def read(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        if not hits:
            return []
        answer = await _asked(
            self._client.mget(index=self._index, ids=[hit.ref for hit in hits], source_includes=["stored"])
        )
        # One that has gone meanwhile is of no kind, and is not shown.
        return [each["_source"]["stored"] if each.get("found") else {"kind": "", "id": 0} for each in answer["docs"]]


async def _asked(request: Awaitable[T]) -> T:
    """An answer; raises EngineAway, and what says that something is not there or was changed meanwhile."""
    try:
        return await request
    except (NotFoundError, ConflictError):
        raise
    except TransportError as error:
        raise EngineAway(f"Elasticsearch does not answer: {type(error).__name__}") from error
    except ApiError as error:
        raise EngineAway(f"Elasticsearch says {error.status_code}: {str(error)[:200]}") from error
    except asyncio.CancelledError:
        raise


def _query(query: Query) -> dict[str, Any]:
    """A query in Elasticsearch's words; no text of a reader's is parsed there."""
    must = [_any(group) for group in (query.any, *query.must) if group]
    filters: list[dict[str, Any]] = []
    if query.kinds:
        filters.append({"terms": {"kind": list(query.kinds)}})
    for name, value in (("category", query.category), ("keyword", query.keyword)):
        if value is not None:
            filters.append({"term": {name: value}})
    if not must:
        must.append({"match_all": {}})
    but = {"must_not": [{"terms": {"key": list(query.but)}}]} if query.but else {}
    return {"bool": {"must": must, "filter": filters, **but}}


def _any(clauses: Sequence[Clause]) -> dict[str, Any]:
    return {"bool": {"should": [_clause(each) for each in clauses], "minimum_should_match": 1}}


def _clause(clause: Clause) -> dict[str, Any]:
    if isinstance(clause, Term):
        return {"term": {clause.field: {"value": clause.word, "boost": clause.boost}}}
    return {"match_phrase": {clause.field: {"query": " ".join(clause.words), "boost": clause.boost}}}
