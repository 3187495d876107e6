"""Who waits for Redis: for drafts to be accepted, for a question to be answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from ...protocol.publications import Draft, Published
from .lines import Command


class Request:
    """One call of `publish`: what became of its drafts.

    count: how many there are. now: when it was called. The future has the results when all are answered.
    """

    __slots__ = ("asked", "future", "left", "results")

    def __init__(self, count: int, future: asyncio.Future[list[Published]], now: float) -> None:
        self.results: list[Published | None] = [None] * count
        self.left = count
        self.future = future
        self.asked = now

    def answer(self, index: int, published: Published) -> None:
        """Say what became of one draft, once."""
        self.results[index] = published
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(cast(list[Published], self.results))

    def fail(self, error: Exception) -> None:
        """Say that it failed, unless it has been told something."""
        fail(self.future, error)


#: A draft that waits: the request it belongs to, its place there, and itself.
Entry = tuple[Request, int, Draft]

#: What one Lua call accepts: its shard, and its drafts in order.
Part = tuple[int, list[Entry]]


@dataclass(frozen=True, slots=True)
class Question:
    """A command that may be repeated. It is made when it is sent: a repeat proposes an epoch of its own."""

    command: Callable[[], Command]
    future: asyncio.Future[Any]


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Give an error to whoever waits, unless the future is done."""
    if not future.done():
        future.set_exception(error)
        # Nobody may wait for it any more; that is no reason to complain.
        future.exception()
