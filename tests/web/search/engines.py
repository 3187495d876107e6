"""Both engines with the corpus of the verdicts in them.

A real Elasticsearch can't be had here: noida-db speaks its API, and where it was measured it gave Lucene's own scores.
What passes with it is what noida-db says, no more; `elastic.py` keeps to what Elasticsearch documents.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import noida_db
import yaml
from ports import free_port

from web.db.tables import now
from web.features.search.asked import parse
from web.features.search.elastic import Elastic
from web.features.search.embedded import Embedded
from web.features.search.engine import Changes, Engine
from web.features.search.entries import Entry, enter
from web.features.search.finder import Finder, Results
from web.pages.documents import Document, Shown

DATA = Path(__file__).parent / "data"
EMBEDDED, NOIDA = "embedded", "elasticsearch as noida-db speaks it"
COMMENTS = ("post-comment",)


@dataclass
class Corpus:
    """Documents by what they are called; what is gone is not shown any more."""

    ids: dict[str, tuple[str, int]] = field(default_factory=dict)
    shown: dict[tuple[str, int], Shown] = field(default_factory=dict)

    def enter(self, id: str, **given: Any) -> Entry:
        """A document as it is in an index."""
        kind = given.pop("kind", "post")
        on = given.pop("of", id)
        number = self.ids.setdefault(id, (kind, len(self.ids) + 1))[1]
        page_kind, page = self.ids.get(on, (kind, number))
        title = given.pop("title", "")
        self.shown[kind, number] = Shown(id, title or on)
        age = given.pop("old", 0.5)
        document = Document(
            id=number,
            page=f"{page_kind}-{page}",
            url=id,
            title=title,
            text=given.pop("text", ""),
            at=given.pop("at", None) or now() - timedelta(days=365.25 * age),
            headings=tuple(given.pop("headings", ())),
            categories=tuple(given.pop("categories", ())),
            keywords=tuple(given.pop("keywords", ())),
            weight=given.pop("weight", 0.4 if kind in COMMENTS else 1.0),
            comments=given.pop("comments", 0),
        )
        assert not given
        return enter(kind, document)

    @classmethod
    def read(cls) -> tuple[Corpus, list[Entry]]:
        """The corpus of the verdicts."""
        corpus = cls()
        rows = yaml.safe_load((DATA / "corpus.yaml").read_text(encoding="utf-8"))
        return corpus, [corpus.enter(**row) for row in rows]


class Finding(Finder):
    """A finder without a database: what is shown is the corpus's."""

    def __init__(self, engine: Engine, corpus: Corpus) -> None:
        parts = {"post": None, "event": None, "post-comment": ("post-page", "post")}
        documents = [SimpleNamespace(kind=kind, label=kind, parts_of=of) for kind, of in parts.items()]
        super().__init__(engine, documents, None)  # type: ignore[arg-type]
        self.corpus = corpus

    async def _look(self, stored: Any) -> dict[tuple[str, int], Shown]:
        keys = {(each["kind"], each["id"]) for each in stored}
        return {key: self.corpus.shown[key] for key in keys & self.corpus.shown.keys()}

    async def ask(self, query: str, **more: Any) -> Results:
        return await self.find(parse(query), **more)

    async def urls(self, query: str, **more: Any) -> list[str]:
        """What a query finds, parts of pages with them."""
        return urls_of(await self.ask(query, **more))


def urls_of(results: Results) -> list[str]:
    return [url for each in results.results for url in (each.url, *(part.url for part in each.parts))]


class Noida:
    """A noida-db with what is in its folder. It can be stopped, and started again at the same place."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self.launch()
        async with asyncio.timeout(20):
            while not self.listens():
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        await asyncio.to_thread(self.end)

    def launch(self) -> None:
        """Start the engine's process without waiting until it answers."""
        # Itself: the command of its package starts it and does not stop it.
        program = Path(noida_db.__file__).parent / "noida-db"
        command = [program, "start", "--data-dir", self._folder, "--host", "127.0.0.1"]
        nowhere = subprocess.DEVNULL
        self._process = subprocess.Popen(
            [*command, "--only", "elasticsearch", "--elasticsearch-port", str(self._port)],
            stdout=nowhere,
            stderr=nowhere,
        )

    def listens(self) -> bool:
        """Whether it takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True

    def end(self) -> None:
        """End the engine's process, and wait for it."""
        if self._process is not None:
            # As it is asked to: what it has not written is not our question.
            self._process.terminate()
            self._process.wait()
            self._process = None


@asynccontextmanager
async def noida() -> AsyncIterator[str]:
    """The URL of one with nothing in it."""
    with tempfile.TemporaryDirectory(prefix="fanfare-noida-") as folder:
        server = Noida(Path(folder))
        await server.start()
        try:
            yield server.url
        finally:
            await server.stop()


@asynccontextmanager
async def opened(kind: str, folder: Path | None = None) -> AsyncIterator[Engine]:
    """An empty engine."""
    if kind == EMBEDDED:
        engine: Engine = Embedded(folder, COMMENTS)
        await engine.open()
        yield engine
        await engine.close()
        return
    async with noida() as url:
        engine = Elastic(url, "fanfare-test", COMMENTS)
        assert await engine.lead()
        await engine.open()
        yield engine
        await engine.close()


async def fill(engine: Engine, entries: Sequence[Entry], cursor: str | None = None) -> None:
    await engine.apply(Changes(entries, cursor=cursor))
