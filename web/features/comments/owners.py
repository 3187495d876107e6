"""Whose threads are: the features that own threads say, and comments know none of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Owner:
    """What a thread is about. path: of the page that everybody may read now, with the thread on it."""

    path: str
    title: str


#: The owners, by thread, of those of some threads that are this feature's.
Find = Callable[[AsyncSession, Collection[int]], Awaitable[Mapping[int, Owner]]]

finders: web.AppKey[list[Find]] = web.AppKey("finders of threads' owners")


async def find_owners(app: web.Application, session: AsyncSession, thread_ids: Collection[int]) -> dict[int, Owner]:
    """The owners of threads; of those that have a page. A statement for each feature that has threads."""
    found: dict[int, Owner] = {}
    if thread_ids:
        for find in app[finders]:
            found.update(await find(session, thread_ids))
    return found


async def find_owner(app: web.Application, session: AsyncSession, thread_id: int) -> Owner:
    """The owner of a thread; raises HTTPNotFound if it has no page."""
    found = (await find_owners(app, session, [thread_id])).get(thread_id)
    if found is None:
        raise web.HTTPNotFound(text="What this comment was about is not there any more.")
    return found
