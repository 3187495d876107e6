"""One tantivy index with its vocabulary: documents in, words known, queries answered."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import tantivy
from tantivy import Occur

from .blend import Clause, Query, Term
from .engine import Changes, Facets, Found, Generation, Hit
from .entries import Entry
from .vocabulary import COMMENTS, TEXTS, TITLES, Vocabulary

#: Bytes of memory for what is not written yet, of each index that is open; tantivy's least is 15 MB.
_HEAP = 32_000_000

#: So that the least of all weights, an eighth, is kept apart from less.
_SCALE = 8

_INDEXED = ("title", "heading", "label", "text")
_SPELT = ("names", "words")


@cache
def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    for name in ("key", "part", "whole_title", "keyword"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in ("kind", "category"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic", fast=True)
    for name in _INDEXED:
        builder.add_text_field(name, tokenizer_name="spaces", index_option="position")
    for name in _SPELT:
        builder.add_text_field(name, tokenizer_name="spaces", index_option="freq")
    builder.add_float_field("weight", fast=True)
    builder.add_unsigned_field("tie", fast=True)
    builder.add_unsigned_field("group", fast=True)
    for name in ("stored", "spelt"):
        builder.add_bytes_field(name, stored=True)
    return builder.build()


def _document(entry: Entry) -> tantivy.Document:
    made = tantivy.Document()
    made.add_text("key", entry.key)
    made.add_text("part", f"{entry.kind}:{entry.page}")
    made.add_text("kind", entry.kind)
    for name in entry.categories:
        made.add_text("category", name)
    for name in entry.keywords:
        made.add_text("keyword", name)
    if entry.whole_title:
        made.add_text("whole_title", entry.whole_title)
    made.add_text("title", entry.title)
    made.add_text("heading", entry.heading)
    made.add_text("label", entry.label)
    made.add_text("text", entry.text)
    made.add_text("names", " ".join(entry.names))
    made.add_text("words", " ".join(entry.words))
    # tantivy multiplies a score by log2(2 + field), and what is below 0 is 0 to it: this way by _SCALE times.
    made.add_float("weight", 2 ** (_SCALE * min(entry.weight, 60.0)) - 2)
    made.add_unsigned("tie", entry.tie)
    made.add_unsigned("group", entry.group)
    made.add_bytes("stored", orjson.dumps(entry.stored))
    # To be taken out of the vocabulary with it.
    made.add_bytes("spelt", orjson.dumps([entry.key, entry.kind, list(set(entry.names)), list(set(entry.words))]))
    return made


class Shelf(Generation):
    """One tantivy index and its vocabulary. folder: None in memory. All but queries happens in the writing thread."""

    def __init__(self, folder: Path | None, pool: ThreadPoolExecutor, comment_kinds: Collection[str]) -> None:
        self.folder = folder
        self.vocabulary = Vocabulary()
        self.searcher: tantivy.Searcher
        self._pool = pool
        self._comment_kinds = comment_kinds
        self._index: tantivy.Index
        self._writer: tantivy.IndexWriter | None = None

    def open(self) -> None:
        """Open what is there, or begin. Raises ValueError and OSError for a folder that can't be read."""
        if self.folder is None:
            self._index = tantivy.Index(_schema())
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._index = tantivy.Index(_schema(), path=str(self.folder))
        spaces = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        self._index.register_tokenizer("spaces", spaces)
        self._index.config_reader("manual", 0)
        self._writer = self._index.writer(_HEAP, 1)
        self._look()
        self._learn()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    def write(self, changes: Changes) -> None:
        """Put and drop, and commit."""
        assert self._writer is not None
        gone = {*changes.drop, *(entry.key for entry in changes.put)}
        for key in gone:
            self._forget(tantivy.Query.term_query(_schema(), "key", key))
            self._writer.delete_documents_by_term("key", key)
        for page, kind in changes.drop_parts:
            part = f"{kind}:{page}"
            self._forget(tantivy.Query.term_query(_schema(), "part", part), gone)
            self._writer.delete_documents_by_term("part", part)
        for entry in {entry.key: entry for entry in changes.put}.values():
            self._writer.add_document(_document(entry))
            self._count(entry.kind, entry.names, entry.words, 1)
        self.vocabulary.settle()
        self._writer.commit()
        self._look()

    async def apply(self, changes: Changes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self.write, changes)

    def stored(self, address: tantivy.DocAddress, searcher: tantivy.Searcher) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(bytes(searcher.doc(address)["stored"][0]))
        return found

    def addresses(self, searcher: tantivy.Searcher) -> list[tantivy.DocAddress]:
        """Where all documents are."""
        if not searcher.num_docs:
            return []
        found = searcher.search(tantivy.Query.all_query(), searcher.num_docs, count=False)
        return [address for _, address in found.hits]

    def some(self, addresses: Sequence[tantivy.DocAddress], searcher: tantivy.Searcher) -> list[dict[str, Any]]:
        """What is stored at some addresses."""
        return [self.stored(address, searcher) for address in addresses]

    def by_key(self, keys: Collection[str]) -> list[dict[str, Any]]:
        """What is stored by some keys, of those that are there."""
        searcher = self.searcher
        query = tantivy.Query.term_set_query(_schema(), "key", list(keys))
        found = searcher.search(query, max(1, len(keys)), count=False)
        return self.some([address for _, address in found.hits], searcher)

    def _spelt(self, address: tantivy.DocAddress) -> tuple[str, str, list[str], list[str]]:
        key, kind, names, words = orjson.loads(bytes(self.searcher.doc(address)["spelt"][0]))
        return key, kind, names, words

    def _look(self) -> None:
        self._index.reload()
        self.searcher = self._index.searcher()

    def _forget(self, query: tantivy.Query, but: Collection[str] = ()) -> None:
        """Take the words of documents out of the vocabulary."""
        for _, address in self.searcher.search(query, 10_000, count=False).hits:
            key, kind, names, words = self._spelt(address)
            if key not in but:
                self._count(kind, names, words, -1)

    def _count(self, kind: str, names: Iterable[str], words: Iterable[str], by: int) -> None:
        if kind in self._comment_kinds:
            self.vocabulary.add(set(names) | set(words), COMMENTS, by)
        else:
            self.vocabulary.add(set(names), TITLES, by)
            self.vocabulary.add(set(words), TEXTS, by)

    def _learn(self) -> None:
        """The vocabulary of what is there. The index counts what was deleted too, unless it is asked with a filter."""
        for address in self.addresses(self.searcher):
            _, kind, names, words = self._spelt(address)
            self._count(kind, names, words, 1)
        self.vocabulary.settle()


class ShelfFound(Found):
    def __init__(
        self, shelf: Shelf, searcher: tantivy.Searcher, query: tantivy.Query, most: int, *, facets: bool
    ) -> None:
        self._shelf = shelf
        self._searcher = searcher
        answer = searcher.search(query, max(1, most), weight_by_field="weight")
        addresses = [address for _, address in answer.hits]
        groups = searcher.fast_field_values("group", addresses)
        ties = searcher.fast_field_values("tie", addresses)
        hits = [
            (round(score / _SCALE, 4), tie, group, address)
            for (score, address), tie, group in zip(answer.hits, ties, groups, strict=True)
        ]
        hits.sort(key=lambda each: (-each[0], -(each[1] or 0)))
        self.total = int(answer.count)  # type: ignore[attr-defined]  # the stubs have no count
        self.hits = [Hit(score, int(group or 0), address) for score, _, group, address in hits[:most]]
        self.facets = _facets(searcher, query) if facets else Facets()

    async def read(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        return [self._shelf.stored(hit.ref, self._searcher) for hit in hits]


def _facets(searcher: tantivy.Searcher, query: tantivy.Query) -> Facets:
    if not searcher.num_docs:
        return Facets()
    asked = {name: {"terms": {"field": name, "size": size}} for name, size in (("kind", 20), ("category", 30))}
    found = searcher.aggregate(query, asked)
    kinds, categories = (
        {each["key"]: int(each["doc_count"]) for each in found[name]["buckets"]} for name in ("kind", "category")
    )
    return Facets(kinds, categories)


def as_tantivy(query: Query) -> tantivy.Query:
    """A query in tantivy's words."""
    schema = _schema()
    parts: list[tuple[Occur, tantivy.Query]] = []
    if query.any:
        parts.append((Occur.Must, _any(query.any)))
    parts += ((Occur.Must, _any(group)) for group in query.must)
    filters: list[tantivy.Query] = []
    if query.kinds:
        filters.append(tantivy.Query.term_set_query(schema, "kind", list(query.kinds)))
    for name, value in (("category", query.category), ("keyword", query.keyword)):
        if value is not None:
            filters.append(tantivy.Query.term_query(schema, name, value, "basic"))
    parts += ((Occur.Must, tantivy.Query.const_score_query(each, 0.0)) for each in filters)
    if not query.any and not query.must:
        parts.append((Occur.Must, tantivy.Query.const_score_query(tantivy.Query.all_query(), 1.0)))
    if query.but:
        parts.append((Occur.MustNot, tantivy.Query.term_set_query(schema, "key", list(query.but))))
    return parts[0][1] if len(parts) == 1 else tantivy.Query.boolean_query(parts)


def _any(clauses: Sequence[Clause]) -> tantivy.Query:
    made = [(Occur.Should, tantivy.Query.boost_query(_clause(each), each.boost)) for each in clauses]
    return made[0][1] if len(made) == 1 else tantivy.Query.boolean_query(made)


def _clause(clause: Clause) -> tantivy.Query:
    schema = _schema()
    if isinstance(clause, Term):
        kept = "position" if clause.field in _INDEXED else "freq" if clause.field in _SPELT else "basic"
        return tantivy.Query.term_query(schema, clause.field, clause.word, kept)
    return tantivy.Query.phrase_query(schema, clause.field, list(clause.words))
