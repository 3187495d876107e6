"""Elasticsearch, as noida-db speaks it: that it is away, comes back, and is shared by workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from elasticsearch import AsyncElasticsearch
from engines import COMMENTS, Corpus, Finding, Noida, fill
from finding import Searching, serving

from web.features.search.elastic import Elastic
from web.features.search.engine import EngineAway
from web.features.search.metrics import check
from web.features.search.settings import SearchSettings
from web.settings import Settings


async def _until_ready(site: Searching) -> None:
    async with asyncio.timeout(20):
        while not site.search.indexer.state.ready or site.search.indexer.state.reason:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
async def test_saves_go_on_while_elasticsearch_as_noida_db_speaks_it_is_away(
    settings: Settings, site_url: str, tmp_path: Path
) -> None:
    noida = Noida(tmp_path)
    await noida.start()
    settings = settings.with_(SearchSettings, elasticsearch=noida.url, index="site")
    async with serving(settings, site_url) as site:
        await _until_ready(site)
        await site.blog.post("Firefox")
        assert await site.found("firefox") == ["Firefox"]
        await noida.stop()
        await site.blog.post("Falcon")
        assert (await site.browser.look("/search?q=falcon")).status == 503
        assert "Search is resting" in site.browser.page
        assert "/posts/falcon" in site.browser.page
        assert (await site.browser.look("/posts/falcon")).status == 200
        async with asyncio.timeout(20):
            while site.search.indexer.state.reason is None:
                await asyncio.sleep(0.02)
        with pytest.raises(EngineAway, match=r"^ELASTICSEARCH_URL: Elasticsearch does not answer"):
            await check(site.search)
        await noida.start()
        await _until_ready(site)
        await check(site.search)
        async with asyncio.timeout(20):
            while await site.found("falcon") != ["Falcon"]:
                await asyncio.sleep(0.05)
        assert await site.found("firefox") == ["Firefox"]
    await noida.stop()


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
async def test_it_is_well_again_though_nothing_was_saved_meanwhile(
    settings: Settings, site_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the next save said so: until then `/ready` told load balancers to leave the site alone."""
    monkeypatch.setattr("web.features.search.indexer._LEASE_PAUSE", 0.1)
    noida = Noida(tmp_path)
    await noida.start()
    settings = settings.with_(SearchSettings, elasticsearch=noida.url, index="site")
    async with serving(settings, site_url) as site:
        await _until_ready(site)
        await noida.stop()
        async with asyncio.timeout(20):
            while site.search.indexer.state.reason is None:
                await asyncio.sleep(0.02)
        await noida.start()
        await _until_ready(site)
    await noida.stop()


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
async def test_an_index_that_somebody_deletes_is_built_anew(
    settings: Settings, site_url: str, elasticsearch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper made an empty one, and from then on found what was saved later, and nothing else."""
    monkeypatch.setattr("web.features.search.indexer._LEASE_PAUSE", 0.1)
    settings = settings.with_(SearchSettings, elasticsearch=elasticsearch, index="deleted")
    async with serving(settings, site_url) as site:
        await _until_ready(site)
        await site.blog.post("Firefox")
        assert await site.found("firefox") == ["Firefox"]
        async with AsyncElasticsearch(elasticsearch) as client:
            for name in (*await client.indices.get_alias(name="deleted"), "deleted-state"):
                await client.indices.delete(index=name)
        async with asyncio.timeout(20):
            while site.search.indexer.state.counts["builds"] < 2:
                await asyncio.sleep(0.02)
        await _until_ready(site)
        assert await site.found("firefox") == ["Firefox"]


async def test_one_worker_keeps_the_index_and_another_takes_over(tmp_path: Path) -> None:
    noida = Noida(tmp_path)
    await noida.start()
    first, second = (Elastic(noida.url, "site", COMMENTS) for _ in range(2))
    assert await first.lead()
    assert not await second.lead()
    assert await first.lead()
    corpus = Corpus()
    await fill(first, [corpus.enter("a", title="Firefox")], "e.3")
    assert await second.open() == "e.3"
    assert await Finding(second, corpus).urls("firefox") == ["a"]
    # Who leaves says so; who dies is waited for.
    await first.close()
    assert await second.lead()
    await second.close()
    await noida.stop()
