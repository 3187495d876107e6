"""`fanfare bench saves` prints what it says, and leaves a database as it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import asyncpg
import pytest
from services import Postgres

from hub.cli import HUB_COMMANDS, run


def bench(*arguments: str) -> int:
    return run("fanfare", "", HUB_COMMANDS, ["bench", "saves", *arguments])


def tables(url: str) -> list[str]:
    async def ask() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        finally:
            await connection.close()
        return [row["tablename"] for row in found]

    return asyncio.run(ask())


def test_the_cost_of_a_hint_is_measured_on_postgresql_through_redis(
    new_postgres_database: Callable[[], str], redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_postgres_database()
    assert bench(url, "--redis", redis_url, "--saves", "200", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [found[name]["count"] for name in ("without", "hinting", "heard")] == [200, 200, 100]
    assert found["ratio"] == found["hinting"]["p50"] / found["without"]["p50"]
    # Of a hundred the 99th is one that a machine may have kept waiting.
    assert 0 < found["heard"]["p50"] <= found["heard"]["p99"]
    assert found["heard"]["p50"] < 1000
    assert tables(url) == []


def test_a_database_that_is_in_use_is_left_alone(
    new_postgres_database: Callable[[], str], postgres_server: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_postgres_database()
    postgres_server.run("CREATE TABLE fanfare_outbox (id int)", url.rpartition("/")[2])
    assert bench(url) == 1
    assert "the database has a table fanfare_outbox; give an empty one" in capsys.readouterr().err
    assert tables(url) == ["fanfare_outbox"]


@pytest.mark.parametrize("url", ["nonsense", "mysql://localhost/x", "postgresql://u:secret@127.0.0.1:1/x"])
def test_what_can_t_be_measured_is_one_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(url) == 1
    said = capsys.readouterr().err
    assert said.startswith("fanfare: ")
    assert len(said.splitlines()) == 1
    assert "secret" not in said


def test_a_redis_that_is_away_leaves_no_tables(
    new_postgres_database: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_postgres_database()
    assert bench(url, "--redis", "redis://127.0.0.1:1", "--saves", "200") == 1
    assert "Redis at 127.0.0.1:1" in capsys.readouterr().err
    assert tables(url) == []
