"""The job that sends a mail, and how a feature asks for one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from ..jobs.kinds import Job, Kind
from ..jobs.queue import Queue
from ..jobs.rows import New
from .addresses import Address, parse_address
from .messages import Mail, compose
from .postmen import Postman


@dataclass(frozen=True, slots=True)
class PostOffice:
    """Who brings mails, and whom they are from."""

    postman: Postman
    sender: Address


#: The site's.
POST_OFFICE = web.AppKey("post_office", PostOffice)


async def send(queue: Queue, session: AsyncSession, mails: Iterable[Mail]) -> list[int]:
    """Send mails if and when the session's transaction is committed; return their jobs' ids.

    Raises ValueError (BadAddress is one) for a mail that could never be sent; then none is.
    """
    found = list(mails)
    for mail in found:
        mail.check()
    return await queue.add_many(session, [New(MAIL.name, mail.as_data()) for mail in found])


async def _send(job: Job) -> None:
    office: PostOffice = job.app[POST_OFFICE]
    # Two databases, or one restored from a copy, have the same ids.
    id = f"{job.id}.{int(job.created * 1000)}"
    raw = compose(job.data, office.sender, id, job.created)
    await office.postman.bring(raw, office.sender, parse_address(job.data.to), id)


#: A server that is away, or has its queue full, may be so for a day or two.
MAIL = Kind(
    name="mail",
    run=_send,
    parse=Mail.from_data,
    limit=180.0,
    attempts=18,
    first=60.0,
    longest=4 * 3600.0,
    at_once=5,
)
