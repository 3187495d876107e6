"""How much is kept of a project's deliveries: a bound that holds with each that is stored, not once a day."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Table, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import columns_of
from .models import HeadsupDelivery, HeadsupKept

#: Deliveries whose bodies are dropped by one statement.
_BATCH = 200

#: A part of the bound: so much more room is made than is needed, or each delivery of a full project would drop others.
_SLACK = 64


async def add(session: AsyncSession, project_id: int, size: int, most: int) -> None:
    """Count what was just stored; if it is more than `most` bytes in all, drop the oldest bodies."""
    statement = _adding(session.get_bind().dialect.name)
    total = await session.scalar(statement, {"project": project_id, "size": size})
    await _bound(session, project_id, total or 0, most, most // _SLACK)


async def bound(session: AsyncSession, project_id: int, most: int) -> None:
    """The same when a delivery was looked at: until then its body was needed."""
    total = await session.scalar(select(_KEPT.bytes).where(_KEPT.project_id == project_id))
    await _bound(session, project_id, total or 0, most)


async def recount(session: AsyncSession, project_id: int, most: int) -> None:
    """Count anew, as deliveries were removed."""
    mine = _KEPT.project_id == project_id
    # Who stores one meanwhile waits, and adds to this count.
    await session.execute(select(_KEPT.bytes).where(mine).with_for_update())
    counted = select(func.coalesce(func.sum(HeadsupDelivery.kept), 0)).where(HeadsupDelivery.project_id == project_id)
    total = int(await session.scalar(counted) or 0)
    await session.execute(update(HeadsupKept).where(HeadsupKept.project_id == project_id).values(bytes=total))
    await _bound(session, project_id, total, most)


async def _bound(session: AsyncSession, project_id: int, total: int, most: int, slack: int = 0) -> None:
    if total <= most:
        return
    goal, freed = total - (most - slack), 0
    while freed < goal:
        # What waits to be looked at is needed, and what another transaction holds is being looked at: nobody waits.
        oldest = (
            select(HeadsupDelivery.id, HeadsupDelivery.kept)
            .where(
                HeadsupDelivery.project_id == project_id,
                HeadsupDelivery.kept > 0,
                HeadsupDelivery.state != "queued",
            )
            .order_by(HeadsupDelivery.id)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        )
        dropped = []
        for id, kept in (await session.execute(oldest)).all():
            if freed >= goal:
                break
            freed += kept
            dropped.append(id)
        if not dropped:
            break
        of_these = HeadsupDelivery.id.in_(dropped)
        await session.execute(update(HeadsupDelivery).where(of_these).values(body=None, kept=0))
    less = update(HeadsupKept).where(HeadsupKept.project_id == project_id)
    await session.execute(less.values(bytes=HeadsupKept.bytes - freed))


_KEPT = columns_of(HeadsupKept)


@cache
def _adding(dialect: str) -> Any:
    table: Table = HeadsupKept.metadata.tables[HeadsupKept.__tablename__]
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    new = insert(table).values(project_id=bindparam("project"), bytes=bindparam("size"))
    more = new.on_conflict_do_update(index_elements=["project_id"], set_={"bytes": table.c.bytes + new.excluded.bytes})
    return more.returning(table.c.bytes)
