"""What features have in the sitemap, which one of them serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

#: Where a page is, as a path, and when it changed last, if that is known.
Place = tuple[str, datetime | None]


@dataclass(frozen=True, slots=True)
class SiteMap:
    """The pages of a feature for search engines.

    name: of its parts, `/sitemap-<name>-1.xml`. channels: what tells that they are others now. count: how many there
    are. read: so many of them after some; what is on one part of the sitemap should stay there. first: a few that come
    before them, such as lists.
    """

    name: str
    channels: tuple[str, ...]
    count: Callable[[AsyncSession], Awaitable[int]]
    read: Callable[[AsyncSession, int, int], Awaitable[Sequence[Place]]]
    first: Callable[[AsyncSession], Awaitable[Sequence[str]]] | None = None
