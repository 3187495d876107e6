"""The search of one process: its engine, who keeps it in step, and who asks it. Under one key of the application."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from aiohttp import web

from ...db.settings import DatabaseSettings
from ...pages import keys
from ...pages.documents import CHANGED, Documents
from ...pages.kept import Kept, Reading
from ...pages.limits import Limiter
from ...pages.page import kept_beside_pages
from ...services.jobs.kinds import Every, Job, Kind
from . import words
from .embedded import Embedded
from .engine import Engine
from .finder import Finder
from .indexer import BUILDING, Indexer
from .intents import Intents, forget
from .settings import SearchSettings
from .words import Words

logger = logging.getLogger(__name__)


class Search:
    """What views and commands use."""

    def __init__(
        self, engine: Engine, indexer: Indexer, finder: Finder, intents: Intents | None, limiter: Limiter
    ) -> None:
        self.engine = engine
        self.indexer = indexer
        self.finder = finder
        #: None where nothing is kept of what is looked for.
        self.intents = intents
        self.limiter = limiter
        #: Searches here, those that found nothing, and those that were refused for their number.
        self.counts: Counter[str] = Counter()


search: web.AppKey[Search] = web.AppKey("search", Search)


def new_engine(app: web.Application, documents: Sequence[Documents]) -> Engine:
    """The engine that the settings name, not open yet."""
    settings = app[keys.settings]
    chosen = settings[SearchSettings]
    return engine_of(chosen, chosen.where(settings[DatabaseSettings].var), documents)


def engine_of(settings: SearchSettings, folder: Path | None, documents: Sequence[Documents]) -> Engine:
    """The engine that is configured, not open yet. folder: of an embedded one; None for one in memory."""
    parts = {each.kind for each in documents if each.parts_of is not None}
    if settings.elasticsearch is not None:
        # Half a second of imports.
        from .elastic import Elastic

        return Elastic(settings.elasticsearch, settings.index, parts)
    return Embedded(folder, parts)


def setup(app: web.Application) -> None:
    """Put the search into the application."""
    documents = app[keys.documents]
    engine = new_engine(app, documents)
    publisher = app[keys.publisher]

    async def position() -> str | None:
        return await publisher.position(CHANGED)

    database = app[keys.database]
    kept: Kept[Words] = kept_beside_pages(app)

    async def make(reading: Reading) -> Words:
        reading.follow(words.WORDS)
        async with database.reading() as session:
            return await words.read(session)

    async def said() -> Words:
        return (await kept.get("words", make))[0]

    settings = app[keys.settings][SearchSettings]
    app[search] = Search(
        engine,
        Indexer(engine, documents, database, position, lambda data: publisher.publish(BUILDING, data)),
        Finder(engine, documents, database, said),
        Intents(database) if settings.kept else None,
        Limiter(settings.rate, 60.0),
    )


async def running(app: web.Application) -> AsyncIterator[None]:
    """Keep the index in step while the application runs, where the log can be followed."""
    following = app.get(keys.following)
    if following is None:
        app[search].indexer.state.reason = "search is where the hub is, and there is none in this process"
        yield
        return
    here = app[search]
    tasks = [asyncio.create_task(here.indexer.run(following))]
    if here.intents is not None:
        tasks.append(asyncio.create_task(here.intents.run()))
    for task in tasks:
        task.add_done_callback(_ended)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await here.engine.close()


async def forget_old(job: Job) -> None:
    """Delete the searches that are older than they are kept."""
    await forget(job.app[keys.database], job.app[keys.settings][SearchSettings].kept)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("search follows no more", exc_info=error)


KINDS = (Kind(name="searches old", run=forget_old, limit=600, at_once=1),)
PERIODIC = (Every(name="searches old", kind="searches old", seconds=86400, offset=4 * 3600),)
