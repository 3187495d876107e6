"""A site with a hub of its own, whose search follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from finding import Searching, serving

from web.features.search.settings import SearchSettings
from web.settings import Settings


@pytest_asyncio.fixture
async def site(settings: Settings, site_url: str) -> AsyncIterator[Searching]:
    async with serving(settings.with_(SearchSettings, folder="memory"), site_url) as site:
        async with asyncio.timeout(10):
            while not site.search.indexer.state.ready:
                await asyncio.sleep(0.005)
        yield site
