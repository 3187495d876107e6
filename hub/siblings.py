"""The workers of one server, asked by one another for their metrics over Unix sockets.

A scrape of the shared port reaches any of them, another one each time: without this a monitor sees counters jump.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

logger = logging.getLogger(__name__)

#: Seconds a worker may take to answer another.
PATIENCE = 1.0


class Siblings:
    """A worker's view of all. folder: which only they may enter. number: its own, of `count`."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self.number = number
        self.count = count
        self._folder = folder

    @contextlib.asynccontextmanager
    async def answering(self, own: Callable[[], Awaitable[bytes]]) -> AsyncIterator[None]:
        """Give the others what `own` returns, for the length of the block."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                writer.write(await own())
                await writer.drain()
            writer.close()

        path = self._path(self.number)
        # Whoever had the number before may have died without a word.
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(answer, path)
        try:
            yield
        finally:
            server.close()

    async def ask(self) -> dict[int, bytes | None]:
        """What each of the others gives, by number; None for one that does not answer in time."""
        others = [number for number in range(self.count) if number != self.number]
        return dict(zip(others, await asyncio.gather(*map(self._ask, others)), strict=True))

    async def _ask(self, number: int) -> bytes | None:
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    return await reader.read(-1) or None
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            logger.debug("worker gives no metrics", extra={"worker": number})
            return None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.sock"
