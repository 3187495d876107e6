"""Podcasts whose feeds are served on loopback, by a server that may be as hostile as a test wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from serving import Podcasts, Publisher

from web.db.database import Database
from web.features.podcasts import jobs
from web.features.podcasts.schedule import Outage
from web.features.podcasts.settings import PodcastSettings
from web.pages import keys
from web.services.addresses import Guard, parse_networks
from web.services.jobs.queue import Queue
from web.services.outbound import Outbound


@pytest.fixture
async def server() -> AsyncIterator[Publisher]:
    """A server at `url`, a feed at each of its paths."""
    publisher = Publisher()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", publisher.answer)
    running = TestServer(app)
    await running.start_server()
    publisher.url = str(running.make_url("/feed.xml"))
    yield publisher
    await running.close()


@pytest.fixture
async def podcasts(database: Database) -> AsyncIterator[Podcasts]:
    """No podcasts yet; loopback may be fetched from."""
    outbound = Outbound(Guard(parse_networks("127.0.0.1")), "Fanfare/test (+http://fanfare.example)")
    app: dict[Any, Any] = {
        keys.database: database,
        keys.outbound: outbound,
        keys.settings: {PodcastSettings: PodcastSettings()},
        keys.jobs: Queue(),
        jobs.outage: Outage(),
        jobs.counts: Counter(),
        jobs.turn: jobs.Turn(),
    }
    yield Podcasts(app, database)
    await outbound.close()
