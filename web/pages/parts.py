"""Pieces that features have on the home page of another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the home page, such as what is live now.

    template: has `part` (this), `rows` (what `read` returned) and `source` (the page's address). It makes one element
    with an id that follows the channel. channel: its rows tell it. read: its rows, in one or two statements.
    """

    template: str
    channel: str
    read: Callable[[AsyncSession], Awaitable[object]]
