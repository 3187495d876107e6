"""Publishing into a hub's log with blocking calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import Connection as BlockingConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from ...errors import BrokerUnavailable
from ...histories import Histories
from ...protocol.publications import Draft, Position, Published
from .lines import FAULTS, Command, exchange
from .log import PREFIX, SCRIPT_DRAFTS, Log, realm_prefix
from .replies import accepted, settled
from .servers import BlockingServer

T = TypeVar("T")


class RedisCaller:
    """Publishes into a hub's log with blocking calls, for code without an event loop. Not for two threads at once.

    url: as RedisBroker's; Redis must have been used by a hub, which left its layout there. realm: whose
    log it is, the default realm's if it is not said. timeout: seconds for one step: connecting, sending,
    each read. A fork may happen between calls: the child makes a connection of its own. Raises
    SettingsError for a URL that can't be used.
    """

    def __init__(self, url: str, *, realm: str = "", timeout: float = 5.0, prefix: str = PREFIX) -> None:
        self._realm = realm
        self._prefix = prefix
        self._server = BlockingServer(url, timeout)
        # Until Redis says what hubs have written down, it is as good as any other: for the greeting.
        self._log = Log(self._server.address, prefix=prefix)
        # What hubs have written down of the default realm, and of this one.
        self._layouts: list[Any] = []
        self._connection: BlockingConnection | None = None
        self._pid = os.getpid()

    def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        """Accept drafts, each with a key: they may be repeated. Raises BrokerUnavailable: try again."""
        return self._insisting(lambda: self._publish(drafts))

    def position(self, channel: str) -> Position:
        """The newest position of a channel in Bayeux form. Raises BrokerUnavailable."""

        def look() -> Any:
            # First, for the connection brings the layout that says where to look.
            self._connect()
            return self._run([self._log.look(channel, "top", "", 0)])[0]

        epoch, top, _, _ = self._insisting(look)
        return Position(epoch.decode(), top)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.disconnect()

    def _insisting(self, call: Callable[[], T]) -> T:
        """What a call returns; once more on a new connection if that could help."""
        if self._pid != os.getpid():
            # The connection is the parent's: two processes on one would read each other's replies.
            self._connection = None
            self._pid = os.getpid()
        kept = self._connection is not None
        try:
            try:
                return call()
            except FAULTS as error:
                self.close()
                # An idle connection may be closed at any time, and only use tells.
                if not kept and not isinstance(error, _Stale):
                    raise
                return call()
        except FAULTS as error:
            self.close()
            raise self._log.unavailable(error) from None

    def _publish(self, drafts: Sequence[Draft]) -> list[Published]:
        self._connect()
        by_shard: dict[int, list[int]] = {}
        for index, draft in enumerate(drafts):
            by_shard.setdefault(self._log.shard(draft.channel), []).append(index)
        parts = [
            (shard, found[start : start + SCRIPT_DRAFTS])
            for shard, found in by_shard.items()
            for start in range(0, len(found), SCRIPT_DRAFTS)
        ]
        calls = [self._log.publish_call(shard, [drafts[index] for index in part]) for shard, part in parts]
        questions = self._layout_questions()
        replies = self._run([*calls, *questions])
        if replies[-len(questions) :] != self._layouts:
            # The hub has other shards now, or realms, and nobody may read where this was written.
            raise _Stale("its layout has changed")
        results = {
            index: published
            for (_, part), reply in zip(parts, replies[: len(calls)], strict=True)
            for index, published in zip(part, accepted([drafts[index] for index in part], reply), strict=True)
        }
        return [results[index] for index in range(len(drafts))]

    def _run(self, commands: list[Command]) -> list[Any]:
        """The replies. An error among them is raised, when all are read."""
        replies = exchange(self._connect(), commands)
        for reply in replies:
            if isinstance(reply, NoScriptError):
                raise _Stale("lost its scripts") from reply
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _connect(self) -> BlockingConnection:
        """The connection; a new one is settled first, as a hub's."""
        if self._connection is not None:
            return self._connection
        connection = self._server.connection()
        try:
            connection.connect()
            questions = self._layout_questions()
            replies = exchange(connection, [*self._log.greeting(), *questions])
            found = self._log.greeted(replies[: -len(questions)])
            layouts = replies[-len(questions) :]
            if layouts != self._layouts:
                self._log = self._log_of(layouts)
                self._layouts = layouts
            settled(exchange(connection, self._log.settle_calls(*found)))
        except BaseException:
            connection.disconnect()
            raise
        self._connection = connection
        return connection

    def _layout_questions(self) -> list[Command]:
        own = [realm_prefix(self._realm, self._prefix)] if self._realm else []
        return [("HMGET", f"{{{prefix}:0}}:layout", "shards", "histories", "realm") for prefix in (self._prefix, *own)]

    def _log_of(self, layouts: list[Any]) -> Log:
        """The log that the answers to the questions tell of. Raises BrokerUnavailable."""
        address = self._server.address
        for layout in layouts:
            if isinstance(layout, Exception):
                raise layout
        layout, prefix = layouts[0], self._prefix
        if None in layout[:2]:
            raise BrokerUnavailable(f"Redis at {address}: no hub has used it yet")
        # Who has not said its name, as a hub of a version that knew one realm only, has no other.
        if self._realm and layout[2] not in (None, b"", self._realm.encode()):
            layout, prefix = layouts[1], realm_prefix(self._realm, self._prefix)
            if None in layout[:2]:
                raise BrokerUnavailable(f"Redis at {address}: no hub has served realm {self._realm} there yet")
        shards, histories, _ = layout
        return Log(address, shards=int(shards), histories=Histories.decode(histories), prefix=prefix)


class _Stale(RedisConnectionError):
    """Nothing is wrong with the server: it wants a new connection."""
