"""The index and the database, compared: what is missing, what is a ghost, what is out of date; on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from engines import EMBEDDED, NOIDA
from finding import Searching
from sqlalchemy import text

from hub.follower import Heard
from web.features.search import comparing
from web.features.search.engine import Changes
from web.features.search.indexer import BUILDING, COMPARE
from web.pages.documents import CHANGED

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.parametrize("engine_kind", [EMBEDDED, NOIDA]),
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs is looked at twice, at once."""
    monkeypatch.setattr(comparing, "PATIENCE", 0.0)
    monkeypatch.setattr(comparing, "_PAUSE", 0.0)


async def _change(site: Searching, statement: str, **values: Any) -> None:
    """Change rows and tell nobody."""
    async with site.database.engine.begin() as connection:
        await connection.execute(text(statement), values)


async def test_an_index_that_has_all_agrees(site: Searching) -> None:
    post = await site.blog.post("Firefox", "Web", text="Fast.", keywords=("browser",))
    await site.say(post.thread_id, "I like it.")
    await site.calendar.event("Brass on the Quay", await site.calendar.category("Music"))
    await site.blog.draft("Zanzibar")
    await site.settle()
    found = await site.search.indexer.compare()
    assert found.agrees, found
    assert found.documents == 3


async def test_what_is_missing_a_ghost_or_out_of_date_is_named(site: Searching) -> None:
    posts = [await site.blog.post(f"Firefox {number}") for number in range(5)]
    comment = await site.say(posts[4].thread_id, "I like it.")
    await site.settle()
    missing, hidden, renamed, deleted, last = (post.id for post in posts)
    await site.search.engine.apply(Changes(drop=[f"post-{missing}"]))
    await _change(site, "update posts set state = 'draft' where id = :id", id=hidden)
    await _change(site, "update posts set title = 'Falcon' where id = :id", id=renamed)
    await _change(site, "delete from posts where id = :id", id=deleted)
    await _change(site, "delete from comments where id = :id", id=comment.id)
    found = await site.search.indexer.compare()
    assert not found.agrees
    assert (found.documents, found.missing) == (3, (("post", missing),))
    # The last one counts a comment that is no more.
    assert found.outdated == (("post", renamed), ("post", last))
    assert found.ghosts == (("post", hidden), ("post", deleted), ("post-comment", comment.id))


async def test_what_is_saved_meanwhile_is_no_difference(site: Searching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "PATIENCE", 10.0)
    for number in range(5):
        await site.blog.post(f"Firefox {number}")
    await site.settle()
    engine = site.search.engine
    everything = engine.everything

    async def and_then_a_save() -> Any:
        async for some in everything():
            yield some
        # In the database when it is read, and not in what was read of the index.
        await site.blog.post("Falcon")

    monkeypatch.setattr(engine, "everything", and_then_a_save)
    found = await site.search.indexer.compare()
    assert (found.agrees, found.documents) == (True, 6)


async def test_more_documents_than_are_read_at_a_time(site: Searching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "READ", 3)
    monkeypatch.setattr("web.features.search.elastic._BULK", 3)
    monkeypatch.setattr("web.features.search.embedded._SOME", 3)
    for number in range(10):
        await site.blog.post(f"Firefox {number}")
    await site.settle()
    await site.search.engine.apply(Changes(drop=[f"post-{number}" for number in range(1, 9)]))
    found = await site.search.indexer.compare()
    assert found.missing == tuple(("post", number) for number in range(1, 9))


async def test_who_is_asked_through_the_hub_answers_by_name(site: Searching) -> None:
    await site.blog.post("Firefox")
    await site.settle()
    await _change(site, "delete from posts")

    async def answer() -> Mapping[str, Any]:
        async with site.hub.followers.follow(BUILDING) as follower:
            await site.hub.publisher.publish(CHANGED, {COMPARE: "a-name"})
            async for entry in follower:
                if isinstance(entry, Heard) and entry.data["state"] != "running":
                    return dict(entry.data)
        raise AssertionError

    async with asyncio.timeout(10):
        said = await answer()
    assert (said["check"], said["state"], said["done"]) == (["a-name"], "done", 0)
    assert said["differ"] == {
        "missing": {"count": 0, "some": []},
        "ghosts": {"count": 1, "some": ["post-1"]},
        "outdated": {"count": 0, "some": []},
    }
