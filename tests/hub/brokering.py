"""A node's ears, and a bad network, for tests of brokers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence

from hub.brokers import Receiver
from hub.protocol.publications import Draft, Publication


class Ear(Receiver):
    """A receiver that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.heard: list[Publication] = []
        self.losses: list[Sequence[str] | None] = []
        self.mails: list[bytes] = []
        self._changed = asyncio.Event()

    def receive(self, publications: Sequence[Publication]) -> None:
        self.heard += publications
        self._changed.set()

    def lost(self, channels: Sequence[str] | None) -> None:
        self.losses.append(channels)
        self._changed.set()

    def mail(self, message: bytes) -> None:
        self.mails.append(message)
        self._changed.set()

    async def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something heard makes `true` true."""
        async with asyncio.timeout(seconds):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def hear(self, count: int, channel: str | None = None, seconds: float = 60.0) -> list[Publication]:
        """Wait for so many publications, of one channel or of all, and return them."""
        await self.until(lambda: len(self.of(channel)) >= count, seconds)
        return self.of(channel)

    def of(self, channel: str | None) -> list[Publication]:
        return [publication for publication in self.heard if channel in (None, publication.channel)]

    def check_order(self) -> None:
        """Fail unless each channel's offsets are contiguous within each of its epochs, which don't alternate."""
        channels: dict[str, list[Publication]] = defaultdict(list)
        for publication in self.heard:
            channels[publication.channel].append(publication)
        for publications in channels.values():
            gone = set()
            epoch, offset = publications[0].position.epoch, publications[0].position.offset - 1
            for publication in publications:
                if publication.position.epoch != epoch:
                    gone.add(epoch)
                    assert publication.position.epoch not in gone, f"{publication} is of an epoch that was over"
                    epoch, offset = publication.position.epoch, 0
                assert publication.position.offset == offset + 1, f"{publication} follows {offset}"
                offset += 1


def draft(channel: str, number: int, key: str | None = None) -> Draft:
    return Draft(channel, b"%d" % number, key=key)


class Relay:
    """A TCP relay on a loopback port. `target` may change; `cut` ends connections, `stall` and `mute` let them hang."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stalled: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return self.url_for("")

    def url_for(self, credentials: str) -> str:
        return f"redis://{credentials}127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, target: int | None = None) -> None:
        """End every connection; new ones go to `target`."""
        self.target = target or self.target
        for pair in self._pairs:
            for writer in pair:
                writer.transport.abort()

    def stall(self) -> None:
        """Carry nothing more on the connections there are; they stay open. New ones work."""
        for pair in self._pairs:
            self._stalled.update(pair)

    def mute(self) -> None:
        """Carry what clients say on the connections there are, and nothing of what they are answered."""
        self._stalled.update(writer for writer, _ in self._pairs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, other)
        self._pairs.add(pair)
        tasks = [
            asyncio.create_task(self._carry(reader, other)),
            asyncio.create_task(self._carry(other_reader, writer)),
        ]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for end in pair:
                end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if writer not in self._stalled:
                    writer.write(data)
                    await writer.drain()
