"""Questions to all workers of a hub, over their log: asked of all at once, answered to who asks alone."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..errors import BadMessage, BrokerUnavailable
from ..node import Node
from ..protocol.messages import dumps, loads
from ..protocol.publications import Draft, Publication

logger = logging.getLogger(__name__)

#: Where workers ask each other. Nobody else can publish to a meta channel.
ASKING = "/meta/inside"

#: What a mail begins with that answers.
_BOX = b"inside"

#: Seconds that all workers have to answer; and those who are not known yet.
PATIENCE = 1.5
GREETING = 0.4

#: Bytes that an answer may have; a longer one is a bug, and is not sent.
MOST_BYTES = 1024 * 1024

#: Answers a question here: what is asked, and about what.
Answer = Callable[[str, dict[str, Any]], Awaitable[Any]]


class Fleet:
    """One worker's way to all. `silent`: workers that answered before and did not the last time."""

    def __init__(self, node: Node, answer: Answer) -> None:
        self._node = node
        self._answer = answer
        self._numbers = itertools.count(1)
        self._known: set[str] = set()
        self._waiting: dict[int, tuple[dict[str, Any], asyncio.Event]] = {}
        self.silent: Sequence[str] = ()
        self._greeted = False
        if node.broker.keeps_sessions:
            node.take_from(ASKING, self._take)
            node.mailboxes[_BOX] = self._take_answer

    async def ask(self, what: str, **given: Any) -> dict[str, Any]:
        """What every worker answers, by its name; this one's is always there."""
        node = self._node
        here = node.worker
        if not node.broker.keeps_sessions:
            return {here: await self._answer(what, given)}
        number = next(self._numbers)
        found: dict[str, Any] = {}
        came = asyncio.Event()
        self._waiting[number] = (found, came)
        try:
            try:
                data = dumps({"ask": number, "by": here, "what": what, "given": given})
                # Not `Node.publish`: a look at the hub does not wait behind what it looks at.
                await node.broker.publish([Draft(ASKING, data)])
            except BrokerUnavailable:
                logger.debug("workers not asked")
                self.silent = sorted(self._known)
                return {here: await self._answer(what, given)}
            found[here] = await self._answer(what, given)
            try:
                async with asyncio.timeout(PATIENCE if self._greeted else GREETING):
                    while not self._greeted or not self._known <= found.keys():
                        await came.wait()
                        came.clear()
            except TimeoutError:
                pass
            self._greeted = True
            self.silent = sorted(self._known - found.keys())
            # Who has not answered is asked once more, by the next question, if it says something.
            self._known = set(found) - {here}
            return dict(found)
        finally:
            del self._waiting[number]

    def _take(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            try:
                asked = loads(publication.data)
                number, by, what, given = (asked[name] for name in ("ask", "by", "what", "given"))
            except (BadMessage, KeyError, TypeError):
                logger.error("question can't be read")
                continue
            if by != self._node.worker:
                self._known.add(by)
                self._node.spawn(self._reply(by, number, what, given))

    async def _reply(self, by: str, number: int, what: str, given: dict[str, Any]) -> None:
        node = self._node
        message = _BOX + b":" + dumps({"to": number, "worker": node.worker, "data": await self._answer(what, given)})
        if len(message) > MOST_BYTES:
            logger.error("answer too long", extra={"what": what, "bytes": len(message)})
            return
        try:
            await node.broker.mail(by, message)
        except BrokerUnavailable:
            logger.debug("answer not sent")

    def _take_answer(self, message: bytes) -> None:
        try:
            told = loads(message)
            number, worker, data = told["to"], told["worker"], told["data"]
        except (BadMessage, KeyError, TypeError):
            logger.error("answer can't be read")
            return
        # Of one that comes too late, too: the next question waits for this worker.
        self._known.add(worker)
        if number in self._waiting:
            found, came = self._waiting[number]
            found[worker] = data
            came.set()
