"""What readers of other sites reported of their search, and what is right: a test for each kind, on both engines.

The numbers are those of the list that the issue names. What a page does in a browser is in test_live_search.py, what a
site does with its rows in test_site.py; each of these tests fails when its rule is taken out.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from engines import EMBEDDED, NOIDA, Corpus, Finding, fill, opened

from web.features.search.engine import Changes, Engine
from web.features.search.finder import Result

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[EMBEDDED, NOIDA])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with opened(request.param) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared: Engine) -> Engine:
    await shared.take(await shared.begin(), "")
    return shared


@pytest.fixture
def corpus() -> Corpus:
    return Corpus()


@pytest.fixture
def finding(engine: Engine, corpus: Corpus) -> Finding:
    return Finding(engine, corpus)


async def _terms(finding: Finding, query: str) -> list[str]:
    """The readings of a query but its own."""
    return [" ".join(spelling.words) for spelling in (await finding.ask(query)).spellings[1:]]


async def test_1_a_wrong_first_letter_is_found_and_ranked_below_others(
    engine: Engine, corpus: Corpus, finding: Finding
) -> None:
    titles = ("Nation", "Ration", "Vatton")
    await fill(engine, [corpus.enter(title, title=title) for title in titles])
    # By the alphabet, which orders equal scores, the others would come first.
    found = await finding.urls("vation")
    assert (found[0], set(found)) == ("Vatton", set(titles))
    assert await finding.urls("natian") == ["Nation"]


@pytest.mark.parametrize(("typed", "meant"), [("rdeis", "redis"), ("tset", "test"), ("fierfox", "firefox")])
async def test_2_two_letters_the_wrong_way_round_are_one_edit(
    engine: Engine, corpus: Corpus, finding: Finding, typed: str, meant: str
) -> None:
    await fill(engine, [corpus.enter("a", title=meant)])
    (_, read) = (await finding.ask(typed)).spellings
    assert (read.words, [change.edits for change in read.changes]) == ((meant,), [1])


@pytest.mark.parametrize(
    ("typed", "other"),
    [("404", "400"), ("3.11", "3.10"), ("cve-2024-1235", "cve-2024-1234"), ("utf8", "utf7"), ("php", "pip")],
)
async def test_3_numbers_versions_and_codes_are_no_typos(
    engine: Engine, corpus: Corpus, finding: Finding, typed: str, other: str
) -> None:
    await fill(engine, [corpus.enter(f"p{number}", title=f"About {other}") for number in range(3)])
    if "-" not in typed:
        assert await finding.urls(typed) == []
    assert not any(other in read.split() for read in await _terms(finding, typed))


async def test_4_a_word_that_is_there_has_no_variants(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    await fill(engine, [corpus.enter("fly", title="Firefly")])
    await fill(engine, [corpus.enter(f"fox{number}", title="Firefoy") for number in range(30)])
    assert await _terms(finding, "firefly") == []
    assert await finding.urls("firefly") == ["fly"]


async def test_5_a_typo_of_a_comment_neither_stops_nor_causes_a_correction(
    engine: Engine, corpus: Corpus, finding: Finding
) -> None:
    await fill(
        engine,
        [
            *(corpus.enter(f"p{number:02}", title=f"Python {number}") for number in range(20)),
            corpus.enter("typo", kind="post-comment", of="p00", text="I use pythn."),
            # Of comments alone: nobody is corrected to it, however many have it.
            *(corpus.enter(f"c{number}", kind="post-comment", of="p01", text="Marmalade.") for number in range(5)),
            # A word of one text alone may be a typo itself.
            corpus.enter("once", title="Jam", text="It is made of orangez."),
        ],
    )
    assert await _terms(finding, "pythn") == ["python"]
    found = await finding.urls("pythn")
    assert "typo" in found
    assert len([url for url in found if url.startswith("p")]) >= 9
    assert await finding.urls("marmelade") == []
    assert await finding.urls("orangex") == []
    # Of nineteen titles it is not enough.
    await engine.apply(Changes(drop=["post-1"]))
    assert await _terms(finding, "pythn") == []


async def test_6_words_are_suggested_as_they_are_spelt_and_replaced_where_they_stand(
    engine: Engine, corpus: Corpus, finding: Finding
) -> None:
    await fill(engine, [corpus.enter("a", title="Configuration of an art cart")])
    found = await finding.ask("configuratoin on art")
    assert found.instead == "configuration on art"
    await fill(engine, [corpus.enter("b", title="Trap")])
    # "tra" stands in "trap" too.
    assert (await finding.ask("trpa trap")).instead == "trap trap"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("redbull", "bull"),
        ("websocketserver", "server"),
        ("java script", "javascript"),
        ("mid dle ware", "middleware"),
        ("webdevelopment", "web"),
    ],
)
async def test_7_words_run_together_and_apart(
    engine: Engine, corpus: Corpus, finding: Finding, query: str, wanted: str
) -> None:
    titles = {
        "bull": "Red Bull",
        "server": "Web socket server",
        "javascript": "JavaScript",
        "middleware": "Middleware",
        "web": "Web development",
    }
    await fill(engine, [corpus.enter(id, title=title) for id, title in titles.items()])
    await fill(engine, [corpus.enter("red", title="Red"), corpus.enter("bulls", title="A bull")])
    assert (await finding.urls(query))[0] == wanted


async def test_7_a_word_that_is_there_is_not_taken_apart(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    await fill(engine, [corpus.enter("one", title="Notebook"), corpus.enter("two", title="Note of a book")])
    assert await finding.urls("notebook") == ["one"]


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("init", "woocommerce_init"),
        ("doSomething", "MyClass.doSomething"),
        ("something", "MyClass.doSomething"),
        ("vector", "std::vector"),
        ("security", "content-security-policy"),
        ("etc", "var/etc"),
    ],
)
async def test_8_an_identifier_is_found_by_its_parts_and_first_by_its_whole(
    engine: Engine, corpus: Corpus, finding: Finding, part: str, whole: str
) -> None:
    apart = " ".join(re.split(r"[._/:-]+", whole))
    await fill(engine, [corpus.enter("whole", text=f"Call {whole} late."), corpus.enter("part", text=f"A {part}.")])
    # The same words one after the other, twice and newer: only that it is one name speaks for the other.
    await fill(engine, [corpus.enter("words", text=f"Some {apart}, {apart}.", old=0.0)])
    assert "whole" in await finding.urls(part)
    assert (await finding.urls(whole))[0] == "whole"


async def test_9_names_of_programs_are_each_themselves(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    names = ("C", "C++", "C#", "F#", ".NET", "node.js", "net", "node", "js")
    await fill(engine, [corpus.enter(name, title=name) for name in names])
    for name in ("C", "C++", "C#", "F#", ".NET", "net"):
        assert await finding.urls(name) == [name], name
        assert await finding.urls(name.lower()) == [name], name
    assert (await finding.urls("node.js"))[0] == (await finding.urls("nodejs"))[0] == "node.js"


async def test_10_a_version_finds_itself_then_those_that_belong_to_it(
    engine: Engine, corpus: Corpus, finding: Finding
) -> None:
    # The shorter is older, and said less: only the rule puts it first.
    await fill(engine, [corpus.enter("5.2", title="Notes of Django 5.2", old=9)])
    for version in ("5.2.1", "5.2.14", "5.1", "1.11", "1.1", "2.7", "25.2"):
        await fill(engine, [corpus.enter(version, title=f"Notes of {version}", text=f"{version} {version}", old=0.1)])
    found = await finding.urls("5.2")
    assert (found[0], set(found)) == ("5.2", {"5.2", "5.2.1", "5.2.14"})
    assert await finding.urls("5.2.1") == ["5.2.1"]
    assert await finding.urls("1.1") == ["1.1"]
    assert await finding.urls("1.11") == ["1.11"]
    # A digit by itself is a word too.
    await fill(engine, [corpus.enter("seven", title="Chapter 7")])
    assert await finding.urls("7") == ["seven"]


async def test_11_words_that_say_little_are_a_phrase_and_never_everything(
    engine: Engine, corpus: Corpus, finding: Finding
) -> None:
    await fill(
        engine, [corpus.enter(f"p{number}", title="Which is not to be", text="To or be.") for number in range(5)]
    )
    await fill(engine, [corpus.enter("hamlet", title="Hamlet", text="To be or not to be, that is it.", old=20)])
    assert await finding.urls("to be or not to be") == ["hamlet"]
    assert await finding.urls("or is the of") == []
    assert (await finding.ask("the")).total == 0


@pytest.mark.parametrize("query", ["it's", "it’s", "itʼs", "it's \"", "django's", "Django’s"])
async def test_12_an_apostrophe_is_no_quote(engine: Engine, corpus: Corpus, finding: Finding, query: str) -> None:
    await fill(engine, [corpus.enter("a", title="It's Django"), corpus.enter("b", title="Another")])
    assert await finding.urls(query) == ["a"]


@pytest.mark.parametrize(
    "query",
    ["+(falcon", "falcon:", "--falcon", "falcon*", "falcon AND NOT falcon", "/falcon/", "title:falcon", "NOT falcon",
     "falcon~2", "falcon^9", "[falcon TO x]", "falcon\\", "{falcon}", "keyword:falcon:", "Keyword: falcon"],
)  # fmt: skip
async def test_13_nothing_is_a_language(engine: Engine, corpus: Corpus, finding: Finding, query: str) -> None:
    await fill(
        engine, [corpus.enter("a", title="Falcon", keywords=["falcon", "falcon:"]), corpus.enter("b", title="Another")]
    )
    assert await finding.urls(query) == ["a"]


async def test_13_a_filter_that_is_none_is_text(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    await fill(engine, [corpus.enter("a", title="Author Ada"), corpus.enter("b", title="Ada", keywords=["ada"])])
    assert await finding.urls("author:Ada") == ["a", "b"]
    assert await finding.urls("KEYWORD:ADA") == ["b"]


async def test_14_what_is_long_costs_no_more_clauses_than_are_allowed(
    engine: Engine, corpus: Corpus, finding: Finding
) -> None:
    """Lucene has 1,024 by its default, and refuses a query of more."""
    words = ["".join(chr(97 + (number * 7 + at) % 26) for at in range(4)) for number in range(18)]
    near = [word[:3] + letter for word in words for letter in "xyzw"]
    await fill(engine, [corpus.enter(f"p{at}", title=" ".join(near[at : at + 6])) for at in range(0, len(near), 6)])
    asked: list[int] = []
    run = engine.run

    async def counted(query: object, *arguments: object, **named: object) -> object:
        asked.append(len(query.any) + sum(map(len, query.must)))  # type: ignore[attr-defined]
        return await run(query, *arguments, **named)  # type: ignore[arg-type]

    engine.run = counted  # type: ignore[assignment, method-assign]
    try:
        await finding.ask(" ".join(words)[:90])
    finally:
        del engine.run  # type: ignore[attr-defined]
    assert 0 < max(asked) < 1024


async def test_15_and_16_a_piece_is_escaped_once(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    await fill(engine, [corpus.enter("a", title="<b>Falcon</b>", text='<img src=x> &#039; &amp; "falcon" \ue000')])
    (result,) = (await finding.ask("falcon")).results
    assert result.title.html() == "&lt;b&gt;<mark>Falcon</mark>&lt;/b&gt;"
    assert result.text.html() == ("&lt;img src=x&gt; &amp;#039; &amp;amp; &quot;<mark>falcon</mark>&quot; \ue000")


async def test_17_a_page_of_a_megabyte_kills_no_search(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    long = "falcon " + "word " * 250_000
    await fill(engine, [corpus.enter("long", title="Long", text=long), corpus.enter("short", title="A falcon")])
    assert await finding.urls("falcon") == ["short", "long"]


@pytest.mark.parametrize(
    ("query", "id", "marked"),
    [
        ("cafe", "cafe", "<mark>Café</mark> crème"),
        ("CRÈME", "cafe", "Café <mark>crème</mark>"),
        ("strasse", "street", "Die <mark>Straße</mark>"),
        ("istanbul", "city", "<mark>İstanbul</mark>"),
        ("ｆａｌｃｏｎ", "falcon", "<mark>Falcon</mark> ﬁre"),
        ("fire", "falcon", "Falcon <mark>ﬁre</mark>"),
        ("検索", "search", "全文<mark>検索</mark>エンジン"),
    ],
)
async def test_18_accents_widths_and_scripts(
    engine: Engine, corpus: Corpus, finding: Finding, query: str, id: str, marked: str
) -> None:
    titles = {"cafe": "Café crème", "street": "Die Straße", "city": "İstanbul", "falcon": "Falcon ﬁre"}
    await fill(engine, [corpus.enter(each, title=title) for each, title in titles.items()])
    await fill(engine, [corpus.enter("search", title="全文検索エンジン"), corpus.enter("tokyo", title="東京の天気")])
    (result,) = (await finding.ask(query)).results
    assert (result.url, result.title.html()) == (id, marked)


async def test_19_old_kinds_are_damped_and_still_found(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    # Newer, and with the words in the title more often: only the weight of its kind is against it.
    await fill(
        engine,
        [
            corpus.enter("page", title="Middleware of a site", text="Middleware.", old=5),
            corpus.enter("notes", title="Middleware of a site", text="Middleware. Middleware.", weight=0.5, old=0.1),
        ],
    )
    assert await finding.urls("middleware") == ["page", "notes"]
    assert await finding.urls("middleware of a site") == ["page", "notes"]
    await fill(engine, [corpus.enter("exact", title="Middleware", text="A word.", old=8)])
    assert (await finding.urls("middleware"))[0] == "exact"
    # What stands in a title comes before what a text says, though that is newer and has no other word.
    await fill(engine, [corpus.enter("title", title="A lantern that hangs", text="Outside.", old=5)])
    await fill(engine, [corpus.enter("text", title="Another", text="Lantern.", old=0.0)])
    assert await finding.urls("lantern") == ["title", "text"]


@pytest.mark.parametrize("typed", ["ins", "insta", "install", "installa", "installati", "installation"])
async def test_20_a_word_is_found_at_each_letter(engine: Engine, corpus: Corpus, finding: Finding, typed: str) -> None:
    await fill(engine, [corpus.enter(f"p{number}", title="Installation", text="Installing.") for number in range(2)])
    assert len(await finding.urls(typed)) == 2
    assert [word for word, _ in await engine.begun("installa", 5)] == ["installation"]


async def test_22_and_23_what_is_dropped_is_in_no_answer(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    await fill(engine, [corpus.enter("a", title="Zanzibar", categories=["Sea"]), corpus.enter("b", title="Falcon")])
    await engine.apply(Changes(drop=["post-1"]))
    found = await finding.ask("zanzibra", facets=True)
    assert (found.total, dict(found.facets.categories), len(found.spellings)) == (0, {}, 1)
    assert await finding.complete("zan", 5) == []
    # In the index still, and gone from the database.
    await fill(
        engine, [corpus.enter("c", title="Falcon of old", categories=["Sea"]), corpus.enter("d", title="Falcons")]
    )
    del corpus.shown["post", 3]
    found = await finding.ask("falcon", facets=True)
    assert ([each.url for each in found.results], found.total, dict(found.facets.categories)) == (["b", "d"], 2, {})


async def test_25_why_is_said_of_each_hit(engine: Engine, corpus: Corpus, finding: Finding) -> None:
    """Who may see the table of terms is in test_manage.py; what everybody may see is words."""
    await fill(engine, [corpus.enter("a", title="Falcon", text="A <b>falcon</b>.")])
    result: Result = (await finding.ask("falcno")).results[0]
    assert any("title" in each and "changed" in each for each in result.why), result.why
