"""Lists that people pick, written down: who knows a list's key may change it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from .models import Pick, PickList, Podcast


def new_key() -> str:
    """A key of a list: who knows it may change it."""
    return secrets.token_hex(16)


async def pick(session: AsyncSession, ids: Sequence[int], key: str | None) -> str:
    """Make a list of podcasts, or change the one that has this key; return its key. Raises LookupError for no such
    key."""
    found: PickList | None = None
    if key is not None:
        found = await session.scalar(select(PickList).where(PickList.key == key).with_for_update())
        if found is None:
            raise LookupError(key)
    wanted = list(dict.fromkeys(ids))
    there = set(await session.scalars(select(Podcast.id).where(Podcast.id.in_(wanted))))
    wanted = [id for id in wanted if id in there]
    if found is None:
        found = PickList(key=new_key(), size=len(wanted))
        session.add(found)
        await session.flush()
    before = set(await session.scalars(select(Pick.podcast_id).where(Pick.list_id == found.id)))
    await session.execute(delete(Pick).where(Pick.list_id == found.id))
    if wanted:
        rows = [{"list_id": found.id, "podcast_id": id, "place": place} for place, id in enumerate(wanted)]
        await session.execute(insert(Pick), rows)
    found.size, found.modified_at = len(wanted), now()
    for ids_, by in ((set(wanted) - before, 1), (before - set(wanted), -1)):
        if ids_:
            await session.execute(
                update(Podcast)
                .where(Podcast.id.in_(sorted(ids_)))
                .values(times_picked=Podcast.times_picked + by)
                # Lists follow the channel of picks; a podcast's own page needn't be made anew for it.
                .execution_options(fanfare=False, synchronize_session=False)
            )
    await session.flush()
    return found.key
