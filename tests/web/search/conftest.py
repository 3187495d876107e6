"""A site with a hub of its own, whose search follows it: on either engine."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from engines import EMBEDDED, Noida
from finding import Searching, serving

from web.features.search.settings import SearchSettings
from web.settings import Settings

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def elasticsearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a noida-db that tests share; each takes an index of its own."""
    server = Noida(Path(tmp_path_factory.mktemp("noida")))
    server.launch()
    until = time.monotonic() + 20
    while not server.listens():
        assert time.monotonic() < until
        time.sleep(0.05)
    yield server.url
    server.end()


@pytest.fixture
def engine_kind() -> str:
    """The engine of `site`; tests that are to pass on both say so."""
    return EMBEDDED


@pytest.fixture
def search_settings(settings: Settings, engine_kind: str, request: pytest.FixtureRequest) -> Settings:
    """Settings with an empty index."""
    if engine_kind == EMBEDDED:
        return settings.with_(SearchSettings, folder="memory")
    url = request.getfixturevalue("elasticsearch")
    return settings.with_(SearchSettings, elasticsearch=url, index=f"site-{next(_numbers)}")


@pytest_asyncio.fixture
async def site(search_settings: Settings, site_url: str) -> AsyncIterator[Searching]:
    async with serving(search_settings, site_url) as site:
        async with asyncio.timeout(10):
            while not site.search.indexer.state.ready:
                await asyncio.sleep(0.005)
        yield site
