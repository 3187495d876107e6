"""One connection to Redis, and pipelines on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from hiredis import pack_command
from redis import Connection as BlockingConnection
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from ...errors import BrokerUnavailable
from .replies import Settled

#: Bytes of commands that are sent before the rest of a batch is made.
PIECE_BYTES = 16 * 1024

#: What connecting and asking raise when Redis can't be reached, breaks off or is unfit.
FAULTS = (RedisError, OSError, EOFError, BrokerUnavailable)

#: A command's name and its arguments, as `pack_command` takes them.
Command = tuple[Any, ...]


class Line:
    """One connection, on which a batch of commands is sent and answered before the next.

    connect: makes a connection that is fit for use, and says what it found there.
    """

    def __init__(self, connect: Callable[[], Awaitable[tuple[Connection, list[Settled]]]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        #: Why it broke or could not be opened last.
        self.fault: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be used: connected, and not closed by the server as far as is known."""
        connection = self._connection
        if connection is None:
            return False
        # What the server closed while the line was idle must be known before a publish is written to it,
        # for afterwards nobody could say whether it was accepted. redis-py has no public word for it.
        reader = connection._reader
        return reader is not None and not reader.at_eof()

    async def open(self) -> list[Settled] | None:
        """Connect if need be; returns what was found then, None if it was open. Raises what `connect` does."""
        if self.is_open:
            return None
        await self.hang_up()
        try:
            self._connection, found = await self._connect()
        except Exception as error:
            self.fault = error
            raise
        self.fault = None
        return found

    async def run(self, commands: Iterable[Command], take: Callable[[Any], None] | None = None) -> list[Any]:
        """The replies; an error that Redis answers with is one of them. Raises, and hangs up, when the line breaks.

        take: is given each reply as it comes, and what it was given counts even if the line breaks afterwards.
        """
        if self._connection is None:
            raise RedisConnectionError("connection closed")
        try:
            return await run(self._connection, commands, take)
        except BaseException as error:
            if isinstance(error, Exception):
                self.fault = error
            # Replies that were not read would be taken for those of the next commands.
            await self.hang_up()
            raise

    async def hang_up(self) -> None:
        """Close the connection; `open` makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


async def run(
    connection: Connection, commands: Iterable[Command], take: Callable[[Any], None] | None = None
) -> list[Any]:
    """Send commands as one pipeline; returns the replies as they come, errors among them, nothing decoded.

    take: is given each reply as it comes. Whatever this raises, the connection must not be used again.
    """
    # A long batch goes out in pieces, so that Redis works on the first while the next is made.
    count, pieces, size = 0, [], 0
    for command in commands:
        piece = pack_command(command)
        pieces.append(piece)
        size += len(piece)
        count += 1
        if size > PIECE_BYTES:
            await connection.send_packed_command(pieces, check_health=False)
            pieces, size = [], 0
    if pieces:
        await connection.send_packed_command(pieces, check_health=False)
    replies: list[Any] = []
    for _ in range(count):
        try:
            reply = await connection.read_response()
        except ReadOnlyError as error:
            # The primary was demoted under us; the next connection looks for the new one.
            raise RedisConnectionError("became a replica") from error
        except ResponseError as error:
            reply = error
        replies.append(reply)
        if take is not None:
            take(reply)
    return replies


def exchange(connection: BlockingConnection, commands: Sequence[Command]) -> list[Any]:
    """`run`, blocking."""
    connection.send_packed_command([pack_command(command) for command in commands], check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(connection.read_response())
        except ReadOnlyError as error:
            raise RedisConnectionError("became a replica") from error
        except ResponseError as error:
            replies.append(error)
    return replies
