"""One file of verdicts on both engines: what must be among the first five and what must not, in one order."""

from __future__ import annotations

from engines import DATA, EMBEDDED, NOIDA, Corpus, Finding, fill, opened, urls_of

from web.features.search.verdicts import judge, read

VERDICTS = read((DATA / "verdicts.txt").read_text(encoding="utf-8"))


async def _found(kind: str) -> dict[str, list[str]]:
    corpus, entries = Corpus.read()
    async with opened(kind) as engine:
        await fill(engine, entries)
        finding = Finding(engine, corpus)
        return {verdict.query: urls_of(await finding.ask(verdict.query)) for verdict in VERDICTS}


async def test_verdicts_on_the_embedded_engine_and_on_elasticsearch_as_noida_db_speaks_it() -> None:
    assert len(VERDICTS) >= 200
    # Some wanted nothing and forbade nothing: whatever was found was right.
    assert [verdict.query for verdict in VERDICTS if not (verdict.wanted or verdict.unwanted or verdict.nothing)] == []
    embedded, elastic = await _found(EMBEDDED), await _found(NOIDA)
    for found in (embedded, elastic):
        wrong = [words for verdict in VERDICTS if (words := judge(verdict, found[verdict.query]))]
        assert wrong == []
    other = {query: (urls, elastic[query]) for query, urls in embedded.items() if urls != elastic[query]}
    assert other == {}
