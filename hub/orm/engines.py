"""Connections to the database that a `DatabaseUrl` names: every command's, the site's and its sweeper's.

A pooler in transaction mode (PgBouncer) gives each transaction another session of the server, so that prepared
statements and LISTEN of one are not found in the next. It is noticed by the process number that the
server gives itself, which is not the one the pooler has given; then nothing is prepared beyond its transaction.
"""

from __future__ import annotations

import configparser
import os
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .database_url import DatabaseUrl

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

#: Seconds to reach a server for which the URL says nothing else; a request waits that long when its host is gone.
CONNECT_TIMEOUT = 5.0

#: Key of a connection's `info`.
POOLED = "pooled"

_SOCKET_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


async def connect_to(url: DatabaseUrl, *, timeout: float = CONNECT_TIMEOUT, cache: bool = False) -> Any:
    """A connection of asyncpg's. timeout: seconds, unless the URL has connect_timeout. cache: keep prepared statements.

    asyncpg has no types: its Connection is Any here. Raises OSError, asyncpg's errors, ValueError.
    """
    import asyncpg

    named = dict(url.driver)
    _check_service(named.get("service"))
    more: dict[str, Any] = {}
    if named.get("sslrootcert") == "system":
        del named["sslrootcert"], named["sslmode"]
        more["ssl"] = True
    if not cache:
        more["statement_cache_size"] = 0
    hosts = list(url.hosts)
    if url.is_random:
        random.shuffle(hosts)
    if hosts:
        more["host"] = [host for host, _ in hosts]
        if any(port is not None for _, port in hosts):
            more["port"] = [port or 5432 for _, port in hosts]

    class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
        __slots__ = ()

        def __init__(self, protocol: Any, transport: Any, *args: Any) -> None:
            _set_options(transport.get_extra_info("socket"), url)
            super().__init__(protocol, transport, *args)

    return await asyncpg.connect(
        DatabaseUrl("postgresql", driver=named).dsn,
        user=url.user,
        password=url.password,
        database=url.database,
        server_settings=dict(url.server) or None,
        timeout=url.connect_timeout or timeout,
        connection_class=Connection,
        **more,
    )


async def is_pooled(connection: Any) -> bool:
    """Whether a pooler is between this connection of asyncpg's and the server."""
    return bool(await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid())


def new_postgres_engine(url: DatabaseUrl, **options: Any) -> AsyncEngine:
    """An engine for PostgreSQL, with or without a pooler between. options: `create_async_engine`'s.

    Whether there is one each of its connections says: `connection.info[POOLED]`.
    """
    from sqlalchemy import event
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.util import await_only

    engine = create_async_engine("postgresql+asyncpg://", **options)
    pooled = url.is_pooled

    async def connect(**_: Any) -> Any:
        return await connect_to(url, cache=not pooled)

    async def ask() -> bool:
        connection = await connect_to(url)
        try:
            return await is_pooled(connection)
        finally:
            await connection.close()

    def on_connect(dialect: object, record: object, cargs: object, cparams: dict[str, Any]) -> None:
        nonlocal pooled
        if pooled is None:
            pooled = await_only(ask())
        cparams.clear()
        cparams["async_creator_fn"] = connect
        if pooled:
            cparams["prepared_statement_cache_size"] = 0
            # Without a name it is gone with the next one, and none is left behind in a session of the server's.
            cparams["prepared_statement_name_func"] = str

    def on_connected(dbapi_connection: object, record: Any) -> None:
        record.info[POOLED] = bool(pooled)

    event.listen(engine.sync_engine, "do_connect", on_connect)
    event.listen(engine.sync_engine, "connect", on_connected)
    return engine


def _set_options(sock: Any, url: DatabaseUrl) -> None:
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # On unless told otherwise, as libpq has it: a listening connection would not notice that its host is gone.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(url.socket.get("keepalives", 1) != 0))
    for name, option in _SOCKET_OPTIONS.items():
        if url.socket.get(name) and hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), url.socket[name])


def _check_service(name: str | None) -> None:
    """asyncpg takes a service that is not there for none at all."""
    if name is None:
        return
    given = os.environ.get("PGSERVICEFILE")  # noqa: TID251  # libpq's, as asyncpg will read it
    path = Path(given or Path.home() / ".pg_service.conf")
    services = configparser.ConfigParser()
    services.read(path)
    if name not in services.sections():
        raise ValueError(f"service: {path} has no [{name}]")
