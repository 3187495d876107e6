"""Connections through a pooler and by TLS: against a real PgBouncer, which can be both."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from services import PgBouncer, Postgres
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from hub.orm.database_url import parse
from hub.orm.engines import connect_to, is_pooled, new_postgres_engine
from hub.orm.postgres import Watch, install, look
from hub.orm.sqlalchemy import AsyncNotifier
from hub.publisher import RecordingPublisher


@pytest.fixture(scope="module")
def folder(pgbouncer: str) -> Iterator[Path]:
    """With a certificate of an authority of its own for localhost."""
    path = Path(tempfile.mkdtemp(prefix="fanfare-pgbouncer-"))
    path.chmod(0o755)
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem"
        " -out cert.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        command.split(),
        cwd=path,
        check=True,
        capture_output=True,
    )
    (path / "key.pem").chmod(0o644)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def pooler(folder: Path, postgres_server: Postgres) -> Iterator[PgBouncer]:
    server = PgBouncer(
        folder,
        postgres_server,
        "client_tls_sslmode = allow",
        f"client_tls_key_file = {folder / 'key.pem'}",
        f"client_tls_cert_file = {folder / 'cert.pem'}",
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def database(new_postgres_database: Callable[[], str]) -> str:
    """Its name."""
    return new_postgres_database().rpartition("/")[2]


async def test_a_pooler_in_transaction_mode_is_noticed(pooler: PgBouncer, postgres_server: Postgres) -> None:
    for url, pooled in ((pooler.url("postgres"), True), (postgres_server.url(), False)):
        connection = await connect_to(parse(url))
        assert await is_pooled(connection) is pooled
        await connection.close()


@pytest.mark.parametrize("words", ["", "?pgbouncer=true"])
async def test_many_at_once_through_a_pooler(pooler: PgBouncer, database: str, words: str) -> None:
    """A third of the pages failed: a prepared statement was looked for in another session than its own."""
    engine = new_postgres_engine(parse(pooler.url(database) + words), pool_pre_ping=True, pool_size=20)

    async def ask(number: int) -> None:
        for turn in range(10):
            async with engine.begin() as connection:
                statement = text(f"SELECT :n + {turn % 3}, CAST(:j AS json) -> 'a'")
                row = (await connection.execute(statement, {"n": number, "j": '{"a": 1}'})).one()
                assert row[0] == number + turn % 3

    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE many (id int)"))
            await connection.execute(text("INSERT INTO many VALUES (:id)"), [{"id": id} for id in range(50)])
        await asyncio.gather(*(ask(number) for number in range(20)))
    finally:
        await engine.dispose()


async def test_tables_are_watched_through_a_pooler(pooler: PgBouncer, database: str) -> None:
    await install_and_check(pooler.url(database))


async def install_and_check(url: str) -> None:
    connection = await connect_to(parse(url))
    await connection.execute("CREATE TABLE comment (id int PRIMARY KEY)")
    await install(url, Watch("comment", "c-{id}"))
    assert [each.problems for each in await look(url)] == [()]
    await connection.execute("INSERT INTO comment VALUES (1)")
    assert await connection.fetchval("SELECT channel FROM fanfare_outbox") == "/c-1"
    await connection.close()


@pytest.mark.parametrize("has_direct", [False, True])
async def test_who_listens_goes_around_a_pooler_or_looks(
    pooler: PgBouncer, postgres_server: Postgres, database: str, has_direct: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    url = pooler.url(database)
    await install_and_check(url)
    engine = new_postgres_engine(parse(url))
    direct = new_postgres_engine(parse(postgres_server.url(database))) if has_direct else None
    publisher = RecordingPublisher()
    # With an hour between two looks only NOTIFY can be what wakes it.
    notify = AsyncNotifier(publisher, poll=3600.0 if has_direct else 0.05)
    notify.bind(async_sessionmaker(engine), direct=direct)
    connection = await connect_to(parse(url))
    try:
        async with notify:
            assert await notify.flush()
            await connection.execute("INSERT INTO comment VALUES (2)")
            async with asyncio.timeout(60):
                while "c-2" not in [channel for channel, _ in publisher.published]:
                    await asyncio.sleep(0.01)
    finally:
        await connection.close()
        await engine.dispose()
        if direct is not None:
            await direct.dispose()
    assert ("LISTEN can't be" in caplog.text) is not has_direct


# TLS


async def is_encrypted(url: str) -> bool:
    connection = await connect_to(parse(url))
    try:
        assert await connection.fetchval("SELECT 1") == 1
        return isinstance(connection._transport.get_extra_info("ssl_object"), ssl.SSLObject)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("words", "encrypted"),
    [
        ("sslmode=disable", False),
        ("sslmode=allow", False),
        ("sslmode=prefer", True),
        ("", True),
        ("sslmode=require", True),
        ("sslmode=verify-ca&sslrootcert={cert}", True),
        ("sslmode=verify-full&sslrootcert={cert}", True),
        ("sslmode=require&channel_binding=prefer&connect_timeout=10&application_name=site", True),
    ],
)
async def test_every_mode_of_tls(pooler: PgBouncer, folder: Path, database: str, words: str, encrypted: bool) -> None:
    url = f"postgresql://postgres@localhost:{pooler.port}/{database}?{words.format(cert=folder / 'cert.pem')}"
    assert await is_encrypted(url.rstrip("?")) is encrypted


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={cert}"),
        ("localhost", "sslrootcert=system"),
        ("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem"),
    ],
)
async def test_a_server_that_can_not_be_verified_is_refused(
    pooler: PgBouncer, folder: Path, database: str, host: str, words: str
) -> None:
    url = f"postgresql://postgres@{host}:{pooler.port}/{database}?{words.format(cert=folder / 'cert.pem')}"
    with pytest.raises((OSError, asyncpg.InterfaceError)):
        await is_encrypted(url)


# The rest of what a URL may say


async def test_a_url_is_meant(postgres_server: Postgres, database: str, unused_tcp_port: int) -> None:
    url = (
        f"postgresql://postgres@127.0.0.1:{unused_tcp_port},localhost:{postgres_server.port}/{database}"
        "?application_name=my%20site&options=-c%20statement_timeout%3D5432&target_session_attrs=read-write"
        "&keepalives_idle=77&connect_timeout=20"
    )
    connection = await connect_to(parse(url))
    try:
        assert await connection.fetchval("SHOW application_name") == "my site"
        assert await connection.fetchval("SHOW statement_timeout") == "5432ms"
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
    finally:
        await connection.close()


async def test_a_service_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncpg takes it for no service at all, and tries this machine."""
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with pytest.raises(ValueError, match=r"^service: .*/services has no \[site\]"):
        await connect_to(parse("postgresql:///?service=site"))


async def test_an_engine_that_goes_straight_keeps_its_statements(postgres_server: Postgres, database: str) -> None:
    engine = new_postgres_engine(parse(postgres_server.url(database)))
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            count = text("SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT 1'")
            assert await connection.scalar(count) == 1
    finally:
        await engine.dispose()
