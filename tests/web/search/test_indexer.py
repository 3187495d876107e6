"""The index follows the rows: after a loss, at a restart, and whatever is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from finding import Searching, serving
from sqlalchemy import text

from hub.follower import Heard
from hub.protocol.publications import Position
from web.features.search import folders
from web.features.search.metrics import metrics_of
from web.features.search.service import search
from web.features.search.settings import SearchSettings
from web.pages.documents import CHANGED
from web.settings import Settings

pytestmark = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)


async def _until(site: Searching, **counts: int) -> None:
    async with asyncio.timeout(10):
        while any(site.search.indexer.state.counts[name] < least for name, least in counts.items()):
            await asyncio.sleep(0.005)


async def _rename(site: Searching, old: str, new: str) -> None:
    """Change a row and tell nobody."""
    async with site.database.engine.begin() as connection:
        await connection.execute(text("update posts set title = :new where title = :old"), {"old": old, "new": new})


class _Feed:
    """What a follower gives, of what a test says has been heard."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Heard] = asyncio.Queue()

    def hear(self, number: int) -> None:
        self.heard.put_nowait(Heard(CHANGED, {"post": number}, Position("epoch", number)))

    def __len__(self) -> int:
        return self.heard.qsize()

    def __aiter__(self) -> _Feed:
        return self

    async def __anext__(self) -> Heard:
        return await self.heard.get()


async def test_what_is_heard_soon_after_a_step_goes_together(site: Searching) -> None:
    """A change by itself cost 14 ms of a processor, of sixteen each 2: 200 saves a second left none for themselves."""
    steps: list[int] = []
    feed, indexer = _Feed(), site.search.indexer
    stepped = asyncio.Event()

    async def take(heard: Sequence[Heard]) -> None:
        steps.append(len(heard))
        stepped.set()

    indexer._take = take  # type: ignore[method-assign]
    indexer.pace = 0.5
    following = asyncio.create_task(indexer._follow(feed))  # type: ignore[arg-type]
    feed.hear(0)
    # The first waits for nothing.
    async with asyncio.timeout(0.4):
        await stepped.wait()
    stepped.clear()
    for number in range(1, 10):
        feed.hear(number)
        await asyncio.sleep(0)
    await stepped.wait()
    following.cancel()
    assert steps == [1, 9]


async def test_told_lost_it_is_built_anew(site: Searching) -> None:
    await site.blog.post("Firefox")
    await site.settle()
    await _rename(site, "Firefox", "Falcon")
    builds = site.search.indexer.state.counts["builds"]
    site.hub.followers.lost([f"/{CHANGED}"])
    await _until(site, lost=1, builds=builds + 1)
    assert await site.found("falcon") == ["Falcon"]
    assert await site.found("firefox") == []


async def test_what_changes_while_it_is_built_is_in_it(site: Searching) -> None:
    posts = [await site.blog.post(f"Firefox {number}") for number in range(5)]
    building = asyncio.create_task(site.search.indexer.rebuild())
    await asyncio.sleep(0)
    await site.blog.edit(posts[0], title="Falcon")
    await site.blog.unpublish(posts[1])
    await site.blog.post("Firefox 6")
    await building
    assert sorted(await site.found("firefox")) == ["Firefox 2", "Firefox 3", "Firefox 4", "Firefox 6"]
    assert await site.found("falcon") == ["Falcon"]


async def test_a_ghost_is_not_shown_and_taken_out(site: Searching) -> None:
    post = await site.blog.post("Firefox")
    await site.settle()
    async with site.database.engine.begin() as connection:
        await connection.execute(text("update posts set state = 'draft' where id = :id"), {"id": post.id})
    assert await site.found("firefox") == []
    await _until(site, ghosts=1)
    async with asyncio.timeout(5):
        while await site.search.engine.count():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "data", [None, True, 17, "x", [], {}, {"post": "x"}, {"post": None}, {"nothing": 1}, {"post": 10**9}]
)
async def test_whatever_is_told_is_no_end(site: Searching, data: object) -> None:
    await site.hub.publisher.publish(CHANGED, data)
    await site.blog.post("Firefox")
    assert await site.found("firefox") == ["Firefox"]


async def test_a_restart_does_not_read_all_again(
    settings: Settings, site_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "QUICK", tmp_path / "nowhere")
    settings = settings.with_(SearchSettings, folder=tmp_path / "search")
    async with serving(settings, site_url) as site:
        await _until(site, builds=1)
        await site.blog.post("Firefox")
        await site.settle()
    async with serving(settings, site_url) as site:
        # Another hub's log is another: what was kept is shown at once, and built anew behind.
        async with asyncio.timeout(5):
            while not site.search.indexer.state.ready:
                await asyncio.sleep(0.005)
        assert await site.search.engine.count() in {0, 1}
        await _until(site, builds=1)
        assert await site.found("firefox") == ["Firefox"]


async def test_metrics_say_how_it_is(site: Searching) -> None:
    await site.blog.post("Firefox")
    await site.found("firefox")
    await site.found("nothing")
    app = {search: site.search}
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in await metrics_of(app)  # type: ignore[arg-type]  # all it looks at
        for sample in metric.samples
    }
    assert found["site_search_ready",] == 1
    assert found["site_search_documents",] == 1
    assert found["site_search_queries_total", "searches"] == 2
    assert found["site_search_queries_total", "nothing"] == 1
    assert found["site_search_index_total", "builds"] == 1
