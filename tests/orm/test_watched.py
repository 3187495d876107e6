"""Watched tables through what is done to tables, transactions and roles: told, or said to be told to nobody."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from searching import seeds
from services import Postgres

from hub.orm import outbox
from hub.orm.declarations import Kind
from hub.orm.postgres import Watch, WatchError, as_arguments, install, look, of_earlier_release, remove, upgrade


@pytest.fixture
def dsn(new_postgres_database: Callable[[], str]) -> str:
    return new_postgres_database()


@pytest.fixture
async def psql(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE comment (id int PRIMARY KEY, page int, body text)")
    yield connection
    await connection.close()


async def told(psql: asyncpg.Connection) -> list[tuple[str, Any]]:
    """What has been written into the outbox since the last call."""
    rows = await psql.fetch("DELETE FROM fanfare_outbox RETURNING id, channel, data")
    return [(row["channel"], json.loads(row["data"])) for row in sorted(rows, key=lambda row: row["id"])]


async def channels(psql: asyncpg.Connection) -> list[str]:
    return sorted(channel for channel, _ in await told(psql))


async def problems(dsn: str) -> list[str]:
    return [text for each in await look(dsn) for text in each.problems]


def heard(psql: asyncpg.Connection) -> list[str]:
    """Warnings, as they come."""
    found: list[str] = []
    psql.add_log_listener(lambda _, message: found.append(message.message))
    return found


# What is done to tables


async def test_a_truncate_tells_the_channels_of_its_rows(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}", data="{id}"), Watch("comment", "all"))
    await install(dsn, Watch("comment", "f", fields=("page",)), Watch("comment", "new", on=("created",)))
    await psql.execute("INSERT INTO comment VALUES (1, 1, ''), (2, 2, '')")
    await told(psql)
    await psql.execute("TRUNCATE comment")
    assert sorted(await told(psql), key=str) == [
        ("/all", True),
        ("/f", {"id": 1, "change": "deleted", "fields": {}}),
        ("/f", {"id": 2, "change": "deleted", "fields": {}}),
        ("/page-1", 1),
        ("/page-2", 2),
    ]
    await psql.execute("TRUNCATE comment")
    assert await told(psql) == []


async def test_a_truncate_of_many_rows_says_what_it_leaves_out(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("INSERT INTO comment SELECT n, n / 10, '' FROM generate_series(1, 10001) n")
    await told(psql)
    warnings = heard(psql)
    await psql.execute("TRUNCATE comment")
    await asyncio.sleep(0)
    assert 990 < len(await told(psql)) < 1002
    assert [text for text in warnings if "only 10000 of its rows" in text]


async def test_a_truncate_that_is_rolled_back_tells_nothing(psql: asyncpg.Connection, dsn: str) -> None:
    await psql.execute("INSERT INTO comment VALUES (1, 1, '')")
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("BEGIN; TRUNCATE comment; ROLLBACK")
    assert await told(psql) == []


async def test_a_renamed_column_is_told_by_its_new_name(psql: asyncpg.Connection, dsn: str) -> None:
    """Nothing was told after the rename, and `fanfare watch` showed the table as if it worked."""
    await install(dsn, Watch("comment", "page-{page}", data="{id}"))
    await psql.execute("ALTER TABLE comment RENAME page TO page_no; ALTER TABLE comment RENAME id TO number")
    await psql.execute("INSERT INTO comment VALUES (1, 3, '')")
    await psql.execute("UPDATE comment SET page_no = 4")
    await psql.execute("TRUNCATE comment")
    assert await told(psql) == [("/page-3", 1), ("/page-3", 1), ("/page-4", 1), ("/page-4", 1)]
    (found,) = await look(dsn)
    assert found.problems == ()
    assert [note.partition(" which")[0] for note in found.notes] == [
        "column id is called number now,",
        "column page is called page_no now,",
    ]


@pytest.mark.parametrize("name", ["t", "x", "new", "old", "tg_op", "row_", "gone", "fanfare_place", "fanfare_table"])
async def test_a_column_may_be_called_like_anything_in_the_triggers_sql(
    psql: asyncpg.Connection, dsn: str, name: str
) -> None:
    """A column `t` was taken for the row `t`: a row changed twice was told as it first was, a TRUNCATE not at all."""
    await psql.execute(f'CREATE TABLE named (id int PRIMARY KEY, page int, "{name}" int)')
    await install(dsn, Watch("named", f"page-{{page}}.{{{name}}}", data=f"{{{name}}}"))
    warnings = heard(psql)
    async with psql.transaction():
        await psql.execute("INSERT INTO named VALUES (1, 1, 10)")
        await psql.execute(f'UPDATE named SET page = 2, "{name}" = 20')
    assert await told(psql) == [("/page-2.20", 20)]
    async with psql.transaction():
        await psql.execute("UPDATE named SET page = 3")
        await psql.execute(f'UPDATE named SET "{name}" = 30')
    assert await told(psql) == [("/page-2.20", 30), ("/page-3.30", 30)]
    await psql.execute("TRUNCATE named")
    assert await told(psql) == [("/page-3.30", 30)]
    await psql.execute("INSERT INTO named VALUES (1, 1, 10)")
    await psql.execute("ALTER TABLE named RENAME page TO no")
    await told(psql)
    await psql.execute("TRUNCATE named")
    assert await told(psql) == [("/page-1.10", 10)]
    assert warnings == []


@pytest.mark.parametrize("name", ["$fanfare$", "it's", '"', "100%s", "{{names}}", "a\\b", "a b", "É", "select"])
async def test_a_key_may_have_any_name(psql: asyncpg.Connection, dsn: str, name: str) -> None:
    """`$fanfare$` ended the function in its midst, so that the table could not be watched."""
    key = '"' + name.replace('"', '""') + '"'
    await psql.execute(f"CREATE TABLE {key} (page int, {key} int PRIMARY KEY)")
    await install(dsn, Watch(name, "page-{page}", data=f"{{{name}}}"), Watch(name, "rows", fields=("page",)))
    async with psql.transaction():
        await psql.execute(f"INSERT INTO {key} VALUES (1, 7)")
        await psql.execute(f"UPDATE {key} SET page = 2")
    assert sorted(await told(psql), key=str) == [
        ("/page-2", 7),
        ("/rows", {"id": 7, "change": "created", "fields": {"page": 2}}),
    ]
    await psql.execute(f"TRUNCATE {key}")
    assert sorted(await told(psql), key=str) == [
        ("/page-2", 7),
        ("/rows", {"id": 7, "change": "deleted", "fields": {}}),
    ]


async def test_a_column_of_the_same_name_is_noticed(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("ALTER TABLE comment RENAME page TO old; ALTER TABLE comment ADD page text DEFAULT 'x'")
    await psql.execute("INSERT INTO comment (id, old) VALUES (1, 3)")
    assert await channels(psql) == ["/page-x"]
    assert "column page is another one" in (await look(dsn))[0].notes[0]


async def test_a_dropped_column_is_said_and_saves_go_on(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}"), Watch("comment", "f", fields=("body",)))
    await psql.execute("ALTER TABLE comment DROP page, DROP body")
    warnings = heard(psql)
    await psql.execute("INSERT INTO comment VALUES (1), (2)")
    assert await told(psql) == [
        ("/f", {"id": 1, "change": "created", "fields": None}),
        ("/f", {"id": 2, "change": "created", "fields": None}),
    ]
    assert any("comment has no column page any more" in text for text in warnings)
    wrong = await problems(dsn)
    assert "only a plain hint is told: it has no column body" in wrong[0]
    assert "the table tells nobody: it has no column page" in wrong[1]


@pytest.mark.parametrize("options", [{"data": "{twice}"}, {"fields": ("twice",)}, {"watch": ("twice",)}])
async def test_a_generated_column_that_is_stored_is_told(
    psql: asyncpg.Connection, dsn: str, options: dict[str, Any]
) -> None:
    await psql.execute("ALTER TABLE comment ADD twice int GENERATED ALWAYS AS (page * 2) STORED")
    await install(dsn, Watch("comment", "page-{twice}", **options))
    await psql.execute("INSERT INTO comment VALUES (1, 2, '')")
    await psql.execute("UPDATE comment SET page = 3")
    await psql.execute("UPDATE comment SET body = 'x'")
    await psql.execute("TRUNCATE comment")
    found = await channels(psql)
    assert found[:3] == ["/page-4", "/page-4", "/page-6"]
    # Its own change is all that `watch` and `fields` tell of.
    assert found[3:] == ["/page-6"] * (2 if "data" in options else 1)


@pytest.mark.parametrize(
    ("channel", "options"),
    [
        ("page-{twice}", {}),
        ("a", {"data": "{twice}"}),
        ("a", {"fields": ("page", "twice")}),
        ("a", {"watch": ("twice",)}),
    ],
)
async def test_a_virtual_column_can_not_be_watched(
    psql: asyncpg.Connection, dsn: str, channel: str, options: dict[str, Any]
) -> None:
    """A table was listed as watched whose channel was null at every change: it told nobody."""
    await as_if_virtual(psql, "comment", "twice")
    with pytest.raises(WatchError, match=r"^comment: column twice is a VIRTUAL generated column, .* make it STORED"):
        await install(dsn, Watch("comment", channel, **options))
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("INSERT INTO comment (id, page) VALUES (1, 7)")
    assert await channels(psql) == ["/page-7"]


async def test_a_column_that_becomes_virtual_is_said(psql: asyncpg.Connection, dsn: str) -> None:
    await psql.execute("ALTER TABLE comment ADD twice int")
    await install(dsn, Watch("comment", "page-{twice}"), Watch("comment", "a", data="{twice}"))
    await psql.execute("ALTER TABLE comment DROP twice")
    await as_if_virtual(psql, "comment", "twice")
    assert [text.partition(",")[0] for text in await problems(dsn)] == [
        "null is told: column twice is a VIRTUAL generated column",
        "the table tells nobody: column twice is a VIRTUAL generated column",
    ]


async def as_if_virtual(psql: asyncpg.Connection, table: str, column: str) -> None:
    """Add a VIRTUAL column; a server before PostgreSQL 18 is made to say that a plain one is."""
    if psql.get_server_version().major >= 18:
        await psql.execute(f"ALTER TABLE {table} ADD {column} int GENERATED ALWAYS AS (page * 2) VIRTUAL")
        return
    await psql.execute(f"ALTER TABLE {table} ADD {column} int")
    await psql.execute(
        "UPDATE pg_attribute SET attgenerated = 'v' WHERE attrelid = $1::text::regclass AND attname = $2",
        table,
        column,
    )


async def test_another_type_of_column_is_told(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}", data="{id}"))
    await psql.execute("INSERT INTO comment VALUES (1, 3, '')")
    await psql.execute("ALTER TABLE comment ALTER page TYPE text USING page || 'x', ALTER id TYPE bigint")
    await psql.execute("UPDATE comment SET page = 'y'")
    assert await told(psql) == [("/page-3", 1), ("/page-3x", 1), ("/page-y", 1)]
    assert await problems(dsn) == []


async def test_child_tables_are_watched_and_later_ones_missed(psql: asyncpg.Connection, dsn: str) -> None:
    """A row of a child table that was changed through its parent told nobody."""
    await psql.execute("CREATE TABLE reply () INHERITS (comment)")
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("INSERT INTO reply VALUES (1, 10, '')")
    assert await channels(psql) == ["/page-10"]
    await psql.execute("UPDATE comment SET page = 11")
    assert await channels(psql) == ["/page-10", "/page-11"]
    await psql.execute("TRUNCATE comment")
    assert await channels(psql) == ["/page-11"]
    await psql.execute("CREATE TABLE later () INHERITS (reply)")
    assert await problems(dsn) == [
        "changes in later are told to nobody: the child table is new; watch comment again",
        "changes in later are told to nobody: the child table is new; watch reply again",
    ]
    await install(dsn, Watch("comment", "page-{page}"))
    assert await problems(dsn) == []
    await psql.execute("INSERT INTO later VALUES (1, 12, '')")
    assert await channels(psql) == ["/page-12"]
    assert await remove(dsn, "comment") == 3
    assert await look(dsn) == []


async def test_partitions_are_watched_however_they_come_and_go(psql: asyncpg.Connection, dsn: str) -> None:
    await psql.execute("""
        CREATE TABLE log (id int, day int, page int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE log1 PARTITION OF log FOR VALUES FROM (1) TO (2);
    """)
    await install(dsn, Watch("log", "page-{page}"), Watch("log", "f", fields=("page",)))
    await psql.execute("""
        CREATE TABLE log2 PARTITION OF log FOR VALUES FROM (2) TO (3);
        CREATE TABLE log3 (page int, junk int, day int NOT NULL, id int NOT NULL);
        ALTER TABLE log3 DROP junk;
        ALTER TABLE log ATTACH PARTITION log3 FOR VALUES FROM (3) TO (4);
    """)
    await psql.execute("INSERT INTO log VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)")
    assert [channel for channel in await channels(psql) if channel != "/f"] == ["/page-1", "/page-2", "/page-3"]
    # From one partition to another, which is a DELETE and an INSERT.
    await psql.execute("UPDATE log SET day = 3, page = 4 WHERE id = 1")
    assert {"/page-1", "/page-4"} < set(await channels(psql))
    assert await problems(dsn) == [
        f"TRUNCATE of log{n} alone is told to nobody: the partition is new; watch log again" for n in (2, 3, 2, 3)
    ]
    await psql.execute("TRUNCATE log")
    assert {"/page-2", "/page-3", "/page-4"} < set(await channels(psql))
    await install(dsn, Watch("log", "page-{page}"), Watch("log", "f", fields=("page",)))
    assert await problems(dsn) == []
    await psql.execute("INSERT INTO log VALUES (2, 2, 2)")
    await told(psql)
    await psql.execute("TRUNCATE log2")
    assert await channels(psql) == ["/f", "/page-2"]
    await psql.execute("ALTER TABLE log DETACH PARTITION log2; INSERT INTO log2 VALUES (9, 2, 9)")
    assert await told(psql) == []
    await psql.execute("ALTER TABLE log RENAME page TO page_no; INSERT INTO log VALUES (5, 3, 5)")
    assert "/page-5" in await channels(psql)


async def test_a_partition_is_the_row_of_its_table(psql: asyncpg.Connection, dsn: str) -> None:
    await psql.execute("CREATE TABLE log (id int PRIMARY KEY, page int) PARTITION BY RANGE (id)")
    await psql.execute("CREATE TABLE log1 PARTITION OF log DEFAULT")
    await install(dsn, Watch("log", "log", data="{id}"))
    await psql.execute("INSERT INTO log VALUES (7, 1)")
    assert await psql.fetchval("SELECT subject FROM fanfare_outbox") == "log:7"


async def test_a_replaced_table_is_missed(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}", data="{id}", on=("created", "deleted")))
    await psql.execute("DROP TABLE comment; CREATE TABLE comment (id int, page int)")
    (found,) = await look(dsn)
    assert (found.table, found.definition) == ("public.comment", "")
    assert found.problems == (
        "the table tells nobody: it was dropped or replaced since it was watched; `fanfare watch comment 'page-{page}'"
        " --data '\"{id}\"' --on created,deleted` or `fanfare watch comment --remove`",
    )
    assert await remove(dsn, "comment") == 0
    assert await look(dsn) == []


async def test_a_swap_by_rename_shows_which_table_is_watched(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("CREATE TABLE fresh (LIKE comment INCLUDING ALL)")
    await psql.execute("ALTER TABLE comment RENAME TO old; ALTER TABLE fresh RENAME TO comment")
    (found,) = await look(dsn)
    assert (found.table, found.notes) == ("public.old", ("the table was called comment when it was watched",))
    assert "comment" in found.names
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("INSERT INTO comment VALUES (1, 1, ''); INSERT INTO old VALUES (1, 2, '')")
    assert await channels(psql) == ["/page-1", "/page-2"]
    assert await remove(dsn, "old") == 1
    await psql.execute("INSERT INTO comment VALUES (2, 1, '')")
    assert await channels(psql) == ["/page-1"]


async def test_a_table_that_moves_to_another_schema_goes_on(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("CREATE SCHEMA away; ALTER TABLE comment SET SCHEMA away")
    await psql.execute("INSERT INTO away.comment VALUES (1, 1, '')")
    assert await channels(psql) == ["/page-1"]
    (found,) = await look(dsn)
    assert (found.table, found.problems) == ("away.comment", ())


async def test_what_switches_triggers_off_is_said(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("ALTER TABLE comment DISABLE TRIGGER ALL")
    assert [text.partition(":")[0] for text in await problems(dsn)] == [
        "changes of rows of comment",
        "TRUNCATE of comment",
    ]
    await psql.execute("ALTER TABLE comment ENABLE TRIGGER ALL")
    assert await problems(dsn) == []


async def test_what_replication_applies_is_told_if_the_trigger_is_always_on(psql: asyncpg.Connection, dsn: str) -> None:
    """A worker of logical replication writes with this role, in which triggers rest unless they are set to ALWAYS."""
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("SET session_replication_role = replica")
    await psql.execute("INSERT INTO comment (id, page) VALUES (1, 7)")
    assert await told(psql) == []
    for name in await psql.fetch(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'comment'::regclass AND tgname LIKE 'fanfare%'"
    ):
        await psql.execute(f'ALTER TABLE comment ENABLE ALWAYS TRIGGER "{name[0]}"')
    await psql.execute("INSERT INTO comment (id, page) VALUES (2, 8)")
    assert await told(psql) == [("/page-8", True)]


@pytest.mark.parametrize(
    ("create", "said"),
    [
        ("CREATE VIEW thing AS SELECT 1 AS id", "a view"),
        ("CREATE MATERIALIZED VIEW thing AS SELECT 1 AS id", "a materialized view"),
        ("CREATE SEQUENCE thing", "a sequence"),
    ],
)
async def test_what_has_no_rows_can_not_be_watched(psql: asyncpg.Connection, dsn: str, create: str, said: str) -> None:
    await psql.execute(create)
    with pytest.raises(WatchError, match=f"^thing is {said}"):
        await install(dsn, Watch("thing", "x"))


async def test_an_alter_after_a_change_wants_the_triggers_first(psql: asyncpg.Connection, dsn: str) -> None:
    """As with any deferred constraint; docs/orm.md says what to do."""
    await install(dsn, Watch("comment", "page-{page}"))
    async with psql.transaction():
        await psql.execute("INSERT INTO comment VALUES (1, 1, '')")
        with pytest.raises(asyncpg.ObjectInUseError, match="pending trigger events"):
            async with psql.transaction():
                await psql.execute("ALTER TABLE comment ADD extra int")
        await psql.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await psql.execute("ALTER TABLE comment ADD extra int")
    assert await channels(psql) == ["/page-1"]


# Nothing fails because of us


@pytest.mark.parametrize(
    "breakage",
    [
        "DROP TABLE fanfare_outbox",
        "ALTER TABLE fanfare_outbox RENAME data TO payload",
        "ALTER TABLE fanfare_outbox ADD CHECK (false)",
        "ALTER TABLE fanfare_outbox ADD extra int NOT NULL",
    ],
)
async def test_an_outbox_that_is_broken_fails_no_save(psql: asyncpg.Connection, dsn: str, breakage: str) -> None:
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute(breakage)
    warnings = heard(psql)
    await psql.execute("INSERT INTO comment VALUES (1, 1, ''), (2, 2, '')")
    await psql.execute("UPDATE comment SET page = 3")
    await psql.execute("TRUNCATE comment")
    await psql.execute("INSERT INTO comment VALUES (1, 1, '')")
    assert await psql.fetchval("SELECT count(*) FROM comment") == 1
    assert "changes of comment are told to nobody" in warnings[0]


async def test_a_sequence_that_is_behind_fails_no_save(psql: asyncpg.Connection, dsn: str) -> None:
    """A restore without setval(): the ids that come next are taken by rows that wait."""
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("INSERT INTO comment SELECT n, n, '' FROM generate_series(1, 20) n")
    await psql.execute("SELECT setval('fanfare_outbox_id_seq', 1, false)")
    await psql.execute("INSERT INTO comment VALUES (21, 21, '')")
    assert "/page-21" in await channels(psql)


async def test_a_client_in_another_encoding_can_be_warned(psql: asyncpg.Connection, dsn: str) -> None:
    """A WARNING that can't be said in the client's encoding is an error, and would fail the save."""
    await psql.execute('CREATE TABLE "täble" (id int PRIMARY KEY, name text)')
    await install(dsn, Watch("täble", "{name}"))
    warnings = heard(psql)
    await psql.execute("SET client_encoding = 'LATIN1'")
    await psql.execute(r"INSERT INTO t\000E4ble VALUES (1, E'\u20ac\n')".replace(r"t\000E4ble", r'U&"t\00e4ble"'))
    assert warnings
    assert all(text.isascii() for text in warnings)
    assert await psql.fetchval(r'SELECT count(*) FROM U&"t\00e4ble"') == 1


async def test_serializable_transactions_do_not_meet_in_the_outbox(psql: asyncpg.Connection, dsn: str) -> None:
    """Two saves of rows that have nothing to do with each other failed: both had looked into the outbox."""
    await install(dsn, Watch("comment", "page-{page}", data="{id}"))
    await psql.execute("INSERT INTO comment VALUES (1, 1, ''), (2, 2, '')")
    await told(psql)
    other = await asyncpg.connect(dsn)
    try:
        first = psql.transaction(isolation="serializable")
        second = other.transaction(isolation="serializable")
        await first.start()
        await second.start()
        for connection, id in ((psql, 1), (other, 2)):
            await connection.execute("INSERT INTO comment VALUES ($1, $1, '')", id + 10)
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await first.commit()
        await second.commit()
    finally:
        await other.close()
    assert await channels(psql) == ["/page-11", "/page-12"]


async def test_rows_of_another_role_behind_row_security_are_told(psql: asyncpg.Connection, dsn: str) -> None:
    await psql.execute("CREATE ROLE secluded; GRANT CREATE ON SCHEMA public TO secluded")
    try:
        await psql.execute("ALTER TABLE comment OWNER TO secluded")
        await install(dsn, Watch("comment", "page-{page}"))
        await psql.execute("ALTER TABLE comment ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        await psql.execute("BEGIN; INSERT INTO comment VALUES (1, 1, ''); UPDATE comment SET page = 2; COMMIT")
        assert "/page-2" in await channels(psql)
    finally:
        await psql.execute("DROP OWNED BY secluded; DROP ROLE secluded")


# What is told equals what changed

STATEMENTS = (
    "INSERT INTO comment VALUES ({id}, {page}, '{body}') ON CONFLICT DO NOTHING",
    "INSERT INTO comment VALUES ({id}, {page}, '{body}') ON CONFLICT (id) DO UPDATE SET body = excluded.body",
    "UPDATE comment SET page = {page} WHERE id = {id}",
    "UPDATE comment SET body = '{body}' WHERE id = {id}",
    "UPDATE comment SET body = body || '', page = page WHERE id = {id}",
    "UPDATE comment SET page = {page} WHERE id <= {id}",
    "DELETE FROM comment WHERE id = {id}",
    "DELETE FROM comment WHERE page = {page}",
    "SELECT * FROM comment WHERE id = {id} FOR UPDATE",
    "UPDATE comment SET id = {id} WHERE id = {other} AND NOT EXISTS (SELECT FROM comment WHERE id = {id})",
    "MERGE INTO comment c USING (VALUES ({id}, {page})) AS v (id, page) ON c.id = v.id"
    " WHEN MATCHED AND c.page = v.page THEN DELETE WHEN MATCHED THEN UPDATE SET page = v.page"
    " WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.page, 'merged')",
    "SAVEPOINT one",
    "ROLLBACK TO one",
    "RELEASE one",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET CONSTRAINTS ALL DEFERRED",
)

Rows = dict[int, tuple[int, str]]


async def rows_of(psql: asyncpg.Connection) -> Rows:
    return {row["id"]: (row["page"], row["body"]) for row in await psql.fetch("SELECT id, page, body FROM comment")}


async def act(psql: asyncpg.Connection, chance: random.Random, isolation: str) -> tuple[bool, bool]:
    """A transaction of random statements; whether it was committed, and whether triggers ran before its end."""
    await psql.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    saved = early = False
    for _ in range(chance.randint(1, 6)):
        statement = chance.choice(STATEMENTS)
        if statement.split()[0] in ("ROLLBACK", "RELEASE") and not saved:
            continue
        if statement.startswith("RELEASE"):
            saved = False
        saved = saved or statement.startswith("SAVEPOINT")
        early = early or statement.endswith("IMMEDIATE")
        words = {"id": chance.randint(1, 4), "other": chance.randint(1, 4), "page": chance.randint(1, 3)}
        await psql.execute(statement.format(**words, body=chance.choice("ab")))
    committed = chance.random() < 0.8
    await psql.execute("COMMIT" if committed else "ROLLBACK")
    return committed, early


def applied(before: Rows, after: Rows, found: list[tuple[str, Any]]) -> Rows:
    """What a reader has that held the rows before, and did what it was told in order."""
    held = {id: {"page": row[0], "body": row[1]} for id, row in before.items()}
    for channel, data in found:
        if channel != "/rows":
            continue
        if data["change"] == "deleted":
            held.pop(data["id"], None)
        else:
            held.setdefault(data["id"], {}).update(data["fields"])
    return {id: (row.get("page"), row.get("body")) for id, row in held.items()}  # type: ignore[misc]


@pytest.mark.search
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
async def test_what_is_told_equals_a_comparison_of_the_tables(
    psql: asyncpg.Connection, dsn: str, isolation: str
) -> None:
    """In a transaction that changed a row twice, the first change was told with values that nobody ever saw."""
    await install(
        dsn,
        Watch("comment", "rows", fields=("page", "body")),
        Watch("comment", "page-{page}"),
        Watch("comment", "ids-{page}", data="{id}"),
    )
    for seed in seeds(120):
        chance = random.Random(seed)
        before = await rows_of(psql)
        committed, early = await act(psql, chance, isolation)
        after = await rows_of(psql)
        found = await told(psql)
        where = f"seed {seed}: {before} -> {after}: {found}"
        if not committed:
            assert found == [], where
            continue
        assert applied(before, after, found) == after, where
        changed = {id for id in before.keys() | after.keys() if before.get(id) != after.get(id)}
        pages = {each[id][0] for id in changed for each in (before, after) if id in each}
        plain = {channel for channel, _ in found if channel.startswith("/page-")}
        ids = {(channel, data) for channel, data in found if channel.startswith("/ids-")}
        wanted = {(f"/ids-{each[id][0]}", id) for id in changed for each in (before, after) if id in each}
        assert plain >= {f"/page-{page}" for page in pages}, where
        assert ids >= wanted, where
        if isolation != "SERIALIZABLE" and not early:
            # No more than that, but for a row that was deleted and is there again, or has another's key.
            assert plain <= {f"/page-{row[0]}" for each in (before, after) for row in each.values()}, where
            assert len(found) == len({(channel, json.dumps(data)) for channel, data in found}), where


@pytest.mark.search
async def test_two_sessions_at_once(psql: asyncpg.Connection, dsn: str) -> None:
    """Who follows the outbox in the order of its ids has the table as it is."""
    await install(dsn, Watch("comment", "rows", fields=("page", "body")))
    found = list(seeds(60))

    async def go(number: int) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for seed in found:
                try:
                    await act(connection, random.Random(f"{number} {seed}"), "READ COMMITTED")
                except (asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError):
                    await connection.execute("ROLLBACK")
        finally:
            await connection.close()

    await asyncio.gather(go(1), go(2))
    after = await rows_of(psql)
    assert applied({}, after, await told(psql)) == after, found[0]


async def test_a_transaction_tells_what_it_leaves(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("comment", "rows", fields=("body",)), Watch("comment", "page-{page}", data="{id}"))
    async with psql.transaction():
        await psql.execute("INSERT INTO comment VALUES (1, 1, 'draft'), (2, 2, 'gone')")
        await psql.execute("UPDATE comment SET body = 'live', page = 3 WHERE id = 1")
        await psql.execute("DELETE FROM comment WHERE id = 2")
    assert (
        await told(psql)
        == [
            ("/rows", {"id": 1, "change": "created", "fields": {"body": "live"}}),
            ("/page-3", 1),
        ]
        or await channels(psql) == []
    )
    async with psql.transaction():
        await psql.execute("UPDATE comment SET body = 'x'")
        await psql.execute("UPDATE comment SET body = 'live'")
    assert await told(psql) == []


async def test_a_watch_of_some_kinds_tells_what_a_transaction_leaves_too(psql: asyncpg.Connection, dsn: str) -> None:
    """A row that was moved and deleted in one transaction stayed on the page it was on: its move had no trigger."""
    for kind in ("created", "changed", "deleted"):
        await install(dsn, Watch("comment", f"{kind}-{{page}}", on=(kind,)))  # type: ignore[arg-type]  # each is a Kind
    await psql.execute("INSERT INTO comment VALUES (1, 1, ''), (2, 2, '')")
    await told(psql)
    await psql.execute("BEGIN; UPDATE comment SET page = 3 WHERE id = 1; DELETE FROM comment WHERE id = 1; COMMIT")
    assert await channels(psql) == ["/deleted-1"]
    await psql.execute("BEGIN; INSERT INTO comment VALUES (4, 4, ''); UPDATE comment SET page = 5 WHERE id = 4; COMMIT")
    assert await channels(psql) == ["/created-5"]
    await psql.execute("BEGIN; INSERT INTO comment VALUES (6, 6, ''); DELETE FROM comment WHERE id = 6; COMMIT")
    assert await channels(psql) == []
    await psql.execute(
        "BEGIN; UPDATE comment SET page = 7 WHERE id = 2; UPDATE comment SET page = 8 WHERE id = 2; COMMIT"
    )
    assert await channels(psql) == ["/changed-2", "/changed-8"]


async def test_a_row_with_another_key_is_told_whatever_is_watched(psql: asyncpg.Connection, dsn: str) -> None:
    """Pages kept a row whose primary key had changed, as only other columns were watched."""
    await install(dsn, Watch("comment", "page-{page}", data="{id}", watch=("body",)))
    await psql.execute("INSERT INTO comment VALUES (1, 7, '')")
    await told(psql)
    await psql.execute("UPDATE comment SET id = 2")
    assert sorted(await told(psql)) == [("/page-7", 1), ("/page-7", 2)]


@pytest.mark.parametrize("in_one", [False, True], ids=["of before", "made and changed at once"])
@pytest.mark.parametrize("on", [("created",), ("deleted",), ("created", "deleted")], ids=",".join)
async def test_a_row_with_another_key_is_created_and_deleted_for_who_watches_that(
    psql: asyncpg.Connection, dsn: str, on: tuple[Kind, ...], in_one: bool
) -> None:
    """Who watched without `changed` was told nothing of it, not even of a row that was made in the same transaction."""
    await install(dsn, Watch("comment", "page-{page}-{id}", on=on))
    async with psql.transaction():
        await psql.execute("INSERT INTO comment VALUES (1, 7, '')")
        if in_one:
            await psql.execute("UPDATE comment SET id = 2")
    if not in_one:
        await told(psql)
        await psql.execute("UPDATE comment SET id = 2")
    gone = [("/page-7-1", True)] if "deleted" in on and not in_one else []
    there = [("/page-7-2", True)] if "created" in on else []
    assert sorted(await told(psql)) == gone + there
    # No other change is told.
    await psql.execute("UPDATE comment SET page = 8")
    assert await told(psql) == []


async def test_what_the_orm_told_in_a_savepoint_is_not_repeated(psql: asyncpg.Connection, dsn: str) -> None:
    """Rows of the outbox that a savepoint has written were not known for the transaction's own."""
    await install(dsn, Watch("comment", "page-{page}", data="{id}"))
    async with psql.transaction():
        async with psql.transaction():
            await psql.execute("INSERT INTO comment VALUES (1, 1, '')")
            await psql.execute(
                "INSERT INTO fanfare_outbox (channel, data, subject, created, due)"
                " VALUES ('/page-1', '{\"by\": \"orm\"}', 'comment:1', 1 + extract(epoch FROM now()), 9e9)"
            )
    assert await told(psql) == [("/page-1", {"by": "orm"})]


# Two-phase commit


@pytest.fixture(scope="module")
def preparing(postgres_server: Postgres) -> Iterator[Postgres]:
    """A server that has two-phase commit switched on, which it is not by default."""
    folder = Path(tempfile.mkdtemp(prefix="fanfare-preparing-"))
    folder.chmod(0o755)
    server = Postgres(folder, "max_prepared_transactions=5")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.postgres
@pytest.mark.parametrize("before", ["", "SET CONSTRAINTS ALL IMMEDIATE;", "TRUNCATE comment;"])
async def test_two_phase_commit(preparing: Postgres, before: str) -> None:
    """PREPARE TRANSACTION was refused after NOTIFY, and the row was lost."""
    dsn = preparing.create()
    psql = await asyncpg.connect(dsn)
    try:
        await psql.execute("CREATE TABLE comment (id int PRIMARY KEY, page int, body text)")
        await psql.execute("INSERT INTO comment VALUES (0, 0, '')")
        await install(dsn, Watch("comment", "page-{page}"))
        await psql.execute(f"BEGIN; {before}")
        await psql.execute("INSERT INTO comment VALUES (1, 1, '')")
        await psql.execute("PREPARE TRANSACTION 'one'")
        assert await told(psql) == []
        await psql.execute("COMMIT PREPARED 'one'")
        assert (await channels(psql))[-1] == "/page-1"
        await psql.execute(f"BEGIN; {before} INSERT INTO comment VALUES (2, 2, ''); PREPARE TRANSACTION 'two'")
        await psql.execute("ROLLBACK PREPARED 'two'")
        assert await told(psql) == []
    finally:
        await psql.close()


@pytest.mark.postgres
async def test_where_two_phase_commit_is_on_commits_are_notified(preparing: Postgres) -> None:
    """NOTIFY is left out only where a transaction may yet be prepared."""
    dsn = preparing.create()
    psql = await asyncpg.connect(dsn)
    listener = await asyncpg.connect(dsn)
    notified: list[str] = []
    try:
        await psql.execute("CREATE TABLE comment (id int PRIMARY KEY, page int)")
        await install(dsn, Watch("comment", "page-{page}"))
        await listener.add_listener(outbox.NOTIFY_CHANNEL, lambda *_: notified.append("x"))
        await psql.execute("INSERT INTO comment VALUES (1, 1)")
        await psql.execute("BEGIN")
        await psql.execute("INSERT INTO comment VALUES (3, 3)")
        await psql.execute("COMMIT")
        async with psql.transaction():
            await psql.execute("INSERT INTO comment VALUES (4, 4)")
        await listener.execute("SELECT")
        assert len(notified) == 3
    finally:
        await listener.close()
        await psql.close()


# Who may


async def test_nobody_else_can_use_the_function(psql: asyncpg.Connection, dsn: str) -> None:
    """A role without any rights published what it liked, by a trigger of its own on a temporary table."""
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("CREATE ROLE low; GRANT TEMP ON DATABASE " + dsn.rpartition("/")[2] + " TO low; SET ROLE low")
    try:
        function = await psql.fetchval("SELECT proname FROM pg_proc WHERE proname LIKE 'fanfare_tell_%'")
        await psql.execute("CREATE TEMP TABLE mine (id int PRIMARY KEY, page int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await psql.execute(f"CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION {function}()")
        await psql.execute("SELECT fanfare_put('x', 'x:1', '/private', '1', true, false)")
    finally:
        await psql.execute("RESET ROLE; DROP OWNED BY low; DROP ROLE low")
    assert await told(psql) == []


async def test_a_table_of_somebody_elses_is_not_told(psql: asyncpg.Connection, dsn: str) -> None:
    """Its owner could make the definer run what he likes: values become JSON by casts of his."""
    await install(dsn, Watch("comment", "page-{page}"))
    await psql.execute("CREATE ROLE low; GRANT CREATE ON SCHEMA public TO low; ALTER TABLE comment OWNER TO low")
    try:
        warnings = heard(psql)
        await psql.execute("INSERT INTO comment VALUES (1, 1, '')")
        assert await told(psql) == []
        assert "another owner" in warnings[0]
        assert "it belongs to low, its trigger's function to postgres" in (await problems(dsn))[0]
        # The superuser may watch it for its owner: then the function is his.
        await install(dsn, Watch("comment", "page-{page}"))
        assert await problems(dsn) == []
        await psql.execute("INSERT INTO comment VALUES (2, 2, '')")
        assert await channels(psql) == ["/page-2"]
    finally:
        await psql.execute("DROP OWNED BY low; DROP ROLE low")


async def test_a_function_in_the_outboxs_schema_is_not_run(psql: asyncpg.Connection, dsn: str) -> None:
    """Where anyone may create functions, one named like PostgreSQL's own ran with the owner's rights."""
    await install(dsn, Watch("comment", "page-{page}", data="{id}"), Watch("comment", "f", fields=("page",)))
    for name in ("octet_length(text)", "length(text)", "to_jsonb(anyelement)", "md5(text)", "pg_notify(text, text)"):
        await psql.execute(
            f"CREATE FUNCTION public.{name} RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
            " CREATE TABLE IF NOT EXISTS public.loot (); RETURN 1; END $$"
        )
    await psql.execute("SET search_path = public, pg_catalog")
    await psql.execute("INSERT INTO comment VALUES (1, 1, '')")
    await psql.execute("UPDATE comment SET page = 2")
    await psql.execute("TRUNCATE comment")
    assert await psql.fetchval("SELECT to_regclass('public.loot')") is None
    assert "/page-2" in await channels(psql)


# Earlier releases

EARLIER = """
CREATE FUNCTION fanfare_tell() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER fanfare_aaaaaaaaaaaa AFTER INSERT OR UPDATE ON comment DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fanfare_tell('/page-{page}', '"{id}"', 'id', '', '', 'id', '8192');
CREATE CONSTRAINT TRIGGER fanfare_bbbbbbbbbbbb AFTER DELETE ON comment DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fanfare_tell('/f', 'true', '', 'body', 'body', 'id', '100');
"""


def test_channel_that_begins_with_two_slashes_is_named_with_both() -> None:
    assert as_arguments(Watch("shop", "//a")) == "//a"
    assert as_arguments(Watch("shop", "/a")) == as_arguments(Watch("shop", "a")) == "a"
    for told, channel in ((b"//a", "//a"), (b"/a", "a")):
        watch = of_earlier_release("shop", 4, b"\0".join([told, b"true", b"", b"", b"", b"", b"100", b""]))
        assert watch is not None
        assert watch.channel == channel


async def test_triggers_of_an_earlier_release_are_replaced(psql: asyncpg.Connection, dsn: str) -> None:
    assert await upgrade(dsn) == 0
    await psql.execute(EARLIER)
    assert [text.partition(",")[0] for text in await problems(dsn)] == ["the trigger is an earlier release's"] * 2
    assert await upgrade(dsn) == 2
    assert await problems(dsn) == []
    assert [each.watch for each in await look(dsn)] == [
        Watch("public.comment", "f", on=("deleted",), fields=("body",), max_bytes=100),
        Watch("public.comment", "page-{page}", data="{id}", on=("created", "changed")),
    ]
    await psql.execute("INSERT INTO comment VALUES (1, 1, ''); DELETE FROM comment")
    assert await psql.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname ~ '^fanfare_(aaa|bbb)'") == 0
    assert await psql.fetchval("SELECT count(*) FROM pg_proc WHERE proname = 'fanfare_tell'") == 0
    assert await upgrade(dsn) == 0


async def test_an_earlier_trigger_on_somebodys_table_is_left_and_said(psql: asyncpg.Connection, dsn: str) -> None:
    """It may be one that he has made himself, to publish what he likes."""
    await psql.execute(EARLIER)
    await psql.execute("CREATE ROLE low; ALTER TABLE comment OWNER TO low")
    try:
        assert await upgrade(dsn) == 0
        assert all("on a table of low's, not postgres's" in text for text in await problems(dsn))
    finally:
        await psql.execute("DROP OWNED BY low; DROP ROLE low")
