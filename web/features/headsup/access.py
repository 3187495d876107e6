"""Whose project it is: its owner's; one of the site's own is its managers'."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...identity.roles import Role
from ...identity.users import User
from ...pages.requests import require_user, role_of
from .models import HeadsupProject


def visible_to(user: User, role: Role) -> ColumnElement[bool]:
    """The projects that a user looks after."""
    mine = HeadsupProject.owner_id == user.id
    return or_(mine, HeadsupProject.owner_id.is_(None)) if role is Role.MANAGER else mine


async def project_of(session: AsyncSession, request: web.Request) -> HeadsupProject:
    """The project of the path. Raises HTTPNotFound for somebody else's too: nobody learns that it is there."""
    user = require_user(request)
    wanted = HeadsupProject.id == int(request.match_info["project"])
    project = await session.scalar(select(HeadsupProject).where(wanted, visible_to(user, role_of(request))))
    if project is None:
        raise web.HTTPNotFound(text="There is no such project of yours.")
    return project
