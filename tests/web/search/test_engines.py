"""What both engines promise."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import pytest_asyncio
from engines import EMBEDDED, NOIDA, Corpus, Finding, fill, opened, urls_of

from web.features.search.asked import parse
from web.features.search.blend import Query, Term
from web.features.search.engine import Changes, Engine, Found
from web.features.search.spelling import Known
from web.features.search.tokens import MAX_WORD

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[EMBEDDED, NOIDA])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with opened(request.param) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared: Engine) -> Engine:
    """An engine with nothing in it."""
    await shared.take(await shared.begin(), "")
    return shared


@pytest.fixture
def corpus() -> Corpus:
    return Corpus()


async def test_what_is_put_is_found_and_what_is_put_again_once(engine: Engine, corpus: Corpus) -> None:
    finding = Finding(engine, corpus)
    await fill(engine, [corpus.enter("a", title="Firefox"), corpus.enter("b", title="Fox")])
    assert await finding.urls("firefox") == ["a"]
    await fill(engine, [corpus.enter("a", title="Falcon")])
    assert await finding.urls("firefox") == []
    assert await finding.urls("falcon") == ["a"]
    assert await engine.count() == 2


async def test_what_is_dropped_is_out_with_its_words(engine: Engine, corpus: Corpus) -> None:
    finding = Finding(engine, corpus)
    await fill(engine, [corpus.enter("a", title="Firefox", text="Zanzibar zanzibar."), corpus.enter("b", title="Fox")])
    await engine.apply(Changes(drop=["post-1"]))
    assert await finding.urls("firefox") == []
    assert await engine.look({"firefox", "zanzibar", "fox"}) == {"fox": Known(titles=1)}
    assert [each for each, _ in await engine.begun("fi", 9)] == []
    assert await engine.near({"firefix"}) == {"firefix": []}


async def test_a_page_is_dropped_with_its_parts(engine: Engine, corpus: Corpus) -> None:
    finding = Finding(engine, corpus)
    await fill(
        engine,
        [
            corpus.enter("a", title="Firefox"),
            corpus.enter("b", title="Fox"),
            corpus.enter("c1", kind="post-comment", of="a", text="Marmalade."),
            corpus.enter("c2", kind="post-comment", of="b", text="Marmalade."),
        ],
    )
    await engine.apply(Changes(drop=["post-1"], drop_parts=[("post-1", "post-comment")]))
    assert await finding.urls("marmalade") == ["c2"]


async def test_words_are_counted_in_titles_texts_and_comments(engine: Engine, corpus: Corpus) -> None:
    await fill(
        engine,
        [
            corpus.enter("a", title="Redis redis", text="Redis and on_commit"),
            corpus.enter("b", title="Fox", text="redis", keywords=["redis"]),
            corpus.enter("c", kind="post-comment", of="a", text="redis"),
        ],
    )
    assert await engine.look({"redis", "on_commit", "nothing"}) == {
        "redis": Known(titles=2, texts=2, comments=1),
        "on_commit": Known(texts=1),
    }
    assert dict((await engine.near({"rdeis"}))["rdeis"]) == {"redis": Known(titles=2, texts=2, comments=1)}
    assert await engine.begun("red", 5) == [("redis", Known(titles=2, texts=2, comments=1))]


async def test_equal_scores_come_newest_first_then_by_the_higher_id(engine: Engine, corpus: Corpus) -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    for id, moved in (("a", 1), ("b", 0), ("c", 0)):
        await fill(engine, [corpus.enter(id, title="Firefox", at=day + timedelta(milliseconds=moved * 1000))])
    assert await Finding(engine, corpus).urls("firefox") == ["a", "c", "b"]


async def test_pages_of_results_show_each_once(engine: Engine, corpus: Corpus) -> None:
    finding = Finding(engine, corpus)
    await fill(engine, [corpus.enter(f"p{number:02}", title="Firefox") for number in range(25)])
    pages = [await finding.urls("firefox", page=page) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert len({url for page in pages for url in page}) == 25
    assert (await finding.ask("firefox")).last == 3


async def test_facets_count_kinds_and_categories(engine: Engine, corpus: Corpus) -> None:
    await fill(
        engine,
        [
            corpus.enter("a", title="Firefox", categories=["Web", "C++"]),
            corpus.enter("b", title="Firefox", categories=["Web"]),
            corpus.enter("c", kind="event", title="Firefox"),
        ],
    )
    found = (await Finding(engine, corpus).ask("firefox", facets=True)).facets
    assert (dict(found.kinds), dict(found.categories)) == ({"post": 2, "event": 1}, {"web": 2, "c++": 1})
    assert await Finding(engine, corpus).urls("firefox category:c++") == ["a"]


async def test_while_another_is_built_the_old_one_answers(engine: Engine, corpus: Corpus) -> None:
    finding = Finding(engine, corpus)
    await fill(engine, [corpus.enter("a", title="Firefox")], "e.1")
    generation = await engine.begin()
    await generation.apply(Changes([corpus.enter("b", title="Firefox")]))
    assert await finding.urls("firefox") == ["a"]
    await engine.take(generation, "e.7")
    assert await finding.urls("firefox") == ["b"]


async def test_what_is_gone_from_the_database_is_not_shown(engine: Engine, corpus: Corpus) -> None:
    await fill(engine, [corpus.enter("a", title="Firefox"), corpus.enter("b", title="Firefox too")])
    corpus.shown.pop(("post", 1))
    found = await Finding(engine, corpus).ask("firefox")
    assert [each.url for each in found.results] == ["b"]
    assert found.gone == (("post", 1),)


async def test_a_very_long_page_kills_no_search(engine: Engine, corpus: Corpus) -> None:
    """A page of more than a million characters made a whole search fail elsewhere."""
    await fill(
        engine, [corpus.enter("a", title="Firefox", text="word " * 240_000 + "needle"), corpus.enter("b", title="x")]
    )
    assert await Finding(engine, corpus).urls("firefox word") == ["a"]


class _Counting(Finding):
    """A finder that notes how many words it asks its engine for at a time."""

    def __init__(self, engine: Engine, corpus: Corpus) -> None:
        super().__init__(engine, corpus)
        self.asked: list[int] = []
        look = engine.look

        async def counted(words: Collection[str]) -> Mapping[str, Known]:
            self.asked.append(len(words))
            return await look(words)

        self._engine = SimpleNamespace(look=counted, near=engine.near, begun=engine.begun, run=engine.run)


@pytest.mark.parametrize("word", ["abcdefghij" * 6, "webdevelopment" * 4, "ab" * 32, "x" * 90])
async def test_a_long_word_asks_for_few_of_its_parts(engine: Engine, corpus: Corpus, word: str) -> None:
    """All parts of a word of 60 letters are 1,700: Elasticsearch counted them for seconds, and was taken for away."""
    await fill(engine, [corpus.enter("a", title="Web development"), corpus.enter("b", title="Ab abab ababab")])
    finding = _Counting(engine, corpus)
    await finding.ask(word)
    assert max(finding.asked) <= 2 * MAX_WORD
    assert sum(finding.asked) <= 4 * MAX_WORD


async def test_three_words_run_together_are_found(engine: Engine, corpus: Corpus) -> None:
    await fill(engine, [corpus.enter("a", title="Internationalization framework documentation")])
    assert await Finding(engine, corpus).urls("internationalizationframeworkdocumentation") == ["a"]


async def test_a_query_in_decomposed_form_finds_the_same(engine: Engine, corpus: Corpus) -> None:
    """Phones and macOS send a letter and its accent as two: Korean and kana with a mark were not found at all then."""
    await fill(
        engine,
        [
            corpus.enter("a", title="Café crème", categories=["Crème"]),
            corpus.enter("b", title="한국어 검색"),
            corpus.enter("c", title="ガイドブック", text="エンジンのガイド"),
            corpus.enter("d", title="Ёлка"),
        ],
    )
    finding = Finding(engine, corpus)
    for query in ("café crème", "검색", "한국어", "ガイド", "ёлка", '"Café crème"', "category:crème"):
        decomposed = unicodedata.normalize("NFD", query)
        assert decomposed != query
        found = await finding.ask(decomposed)
        assert urls_of(found) == await finding.urls(query) != []
        assert found.asked == parse(query)
    # A letter with its accent is one of the ninety.
    await finding.ask(unicodedata.normalize("NFD", "é" * 90))


@pytest.mark.parametrize(
    "query", ["", "\0", "*", "f*", "/f.*/", '"', "(((", "a" * 90, "x " * 45, "🎉", "\u202eא", "? ! ."]
)
async def test_nothing_a_reader_writes_is_an_error(engine: Engine, corpus: Corpus, query: str) -> None:
    await fill(engine, [corpus.enter("a", title="Firefox")])
    await Finding(engine, corpus).ask(query)


async def test_a_query_of_nothing_is_everything(engine: Engine, corpus: Corpus) -> None:
    await fill(engine, [corpus.enter("a", title="Firefox"), corpus.enter("b", title="Fox")])
    assert (await engine.run(Query())).total == 2
    assert (await engine.run(Query((Term("title", "firefox", 2.0),), kinds=("event",)))).total == 0


async def test_it_is_said_when_nothing_has_the_words_one_after_the_other(engine: Engine, corpus: Corpus) -> None:
    finding = Finding(engine, corpus)
    # The page of results is full of pages that have the words apart, and better.
    apart = [corpus.enter(f"{number}", title="Red wheels", text="A green car. " * 3) for number in range(12)]
    await fill(engine, [*apart, corpus.enter("old", text="This was a red car once.", old=20)])
    assert not (await finding.ask("red car")).words_only, "one has them, though it is not among those shown"
    assert not (await finding.ask("red wheels")).words_only
    assert (await finding.ask("green wheels")).words_only
    assert not (await finding.ask("wheels")).words_only


async def test_what_is_known_without_a_look_costs_none(engine: Engine, corpus: Corpus) -> None:
    """Of words that most documents have, to count those that have all took as long as the search itself."""
    finding = Finding(engine, corpus)
    await fill(engine, [corpus.enter(f"{number}", title="Blue moon") for number in range(5)])
    asked: list[Query] = []
    run = engine.run

    async def counted(query: Query, *more: int, **named: bool) -> Found:
        asked.append(query)
        return await run(query, *more, **named)

    engine.run = counted  # type: ignore[method-assign]
    try:
        results = await finding.ask("blue moon")
    finally:
        engine.run = run  # type: ignore[method-assign]
    assert results.total == 5
    # How many documents Elasticsearch has is a question too, so it is asked whether the words meet.
    assert len(asked) == (2 if engine.documents is None else 1)
