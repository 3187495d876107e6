"""Publishing a body whose items ask for an order (`prev-id`): the waiting that `protocol.sequence` decides on.

The one before may be published by another worker: its id is the key of its draft in the log, so the broker is
asked whether it came; at once when this process publishes it, and every RECHECK seconds for all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence

from .errors import BrokerUnavailable, TooMany
from .node import Node
from .protocol.fanout import Item, drafts_of, key_of
from .protocol.publications import Published
from .protocol.sequence import Run, Waiting, arrange

#: Seconds between two looks whether what is waited for came by another worker, and how many are asked for at once.
RECHECK = 0.1
RECHECK_COUNT = 256


class Ordering:
    """Publishes items in the order they ask for.

    wait: seconds an item waits for the one before; 0 doesn't wait. per_channel, in_all: items that may wait.
    """

    def __init__(self, node: Node, wait: float, *, per_channel: int, in_all: int) -> None:
        self._node = node
        self._wait = wait
        #: Empty as long as nobody asks for an order.
        self.waiting = Waiting(per_channel, in_all)
        self._wakers: dict[Run, list[asyncio.Future[None]]] = {}
        self._watching = False

    async def publish(self, items: Sequence[Item]) -> list[list[Published] | None]:
        """Publish items, and return what became of each one's drafts when all are; None for a dropped item.

        One that waits goes when the one before has come, or its time is over, or the hub stops. Raises TooMany,
        before anything is published, where too many wait already, and BrokerUnavailable. What was begun is
        finished whatever becomes of the caller.
        """
        done: asyncio.Future[list[list[Published] | None]] = asyncio.get_running_loop().create_future()
        self._node.spawn(self._finish(items, done))
        return await done

    async def _finish(self, items: Sequence[Item], done: asyncio.Future[list[list[Published] | None]]) -> None:
        try:
            results = await self._publish(items)
        except Exception as error:
            # The caller's to handle, if it still waits; a bug is logged by the node otherwise.
            if done.done():
                raise
            done.set_exception(error)
        else:
            if not done.done():
                done.set_result(results)

    async def _publish(self, items: Sequence[Item]) -> list[list[Published] | None]:
        results: list[list[Published] | None] = [None] * len(items)
        runs = arrange(items)
        bound = [run for run in runs if run.after is not None] if self._wait else []
        free = await asyncio.gather(*(self._is_free(run) for run in bound))
        held = [run for run, ready in zip(bound, free, strict=True) if not ready]
        if not self.waiting.fits(held):
            self._node.counters.unheld += sum(len(run.items) for run in held)
            raise TooMany(text="Too many items wait for their prev-id")
        later: list[Awaitable[None]] = []
        for run in held:
            other = self.waiting.hold(run)
            # The one that waits is this one, sent again, or has its place: what follows it here may go then.
            if other is not None and (run.id is None or run.id != other.id):
                del run.items[0]
                self._node.counters.dropped += 1
            # From now on it may be woken, so what wakes it must be there: its task begins a turn of the loop later.
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._wakers.setdefault(other or run, []).append(woken)
            later.append(self._send_later(woken, other or run, run, items, results))
        waits = set(held)
        now = [index for run in runs if run not in waits for index in run.items]
        self._watch()
        await asyncio.gather(self._send(now, items, results), *later)
        return results

    async def _is_free(self, run: Run) -> bool:
        assert run.after is not None
        return await self._node.broker.may_follow(run.channel, run.after)

    async def _send_later(
        self,
        free: asyncio.Future[None],
        held: Run,
        run: Run,
        items: Sequence[Item],
        results: list[list[Published] | None],
    ) -> None:
        """Send a run when the one that waits for the same item is free."""
        self._node.counters.held += len(run.items)
        try:
            async with asyncio.timeout(self._wait):
                await free
        except TimeoutError:
            self._node.counters.overdue += len(run.items)
            self._wake(held.after)
        await self._send(run.items, items, results)

    async def _send(self, indexes: Sequence[int], items: Sequence[Item], results: list[list[Published] | None]) -> None:
        if not indexes:
            return
        sent = [items[index] for index in indexes]
        published = iter(await self._node.publish(drafts_of(sent)))
        for index, item in zip(indexes, sent, strict=True):
            results[index] = [next(published) for _ in drafts_of([item])]
        if self.waiting:
            self.came(sent)

    def came(self, items: Iterable[Item]) -> None:
        """These items were published here: who waits for them goes."""
        for item in items:
            if item.id is not None:
                self._wake(key_of(item.channel, item.id))

    def _wake(self, key: str | None) -> None:
        run = None if key is None else self.waiting.take(key)
        if run is not None:
            for future in self._wakers.pop(run, ()):
                if not future.done():
                    future.set_result(None)

    def _watch(self) -> None:
        if self.waiting and not self._watching:
            self._watching = True
            self._node.spawn(self._look())

    async def _look(self) -> None:
        """Ask the log for what others publish, and let everything go when the hub stops."""
        try:
            while self.waiting:
                await asyncio.sleep(RECHECK)
                if self._node.draining:
                    for run in self.waiting:
                        self._wake(run.after)
                    return
                runs = self.waiting.some(RECHECK_COUNT)
                try:
                    free = await asyncio.gather(*(self._is_free(run) for run in runs))
                except BrokerUnavailable:
                    # Theirs is to say so, when their time has come.
                    continue
                for run, ready in zip(runs, free, strict=True):
                    if ready:
                        self._wake(run.after)
        finally:
            self._watching = False
