"""A column of every type that PostgreSQL has: no save fails because its table is watched, and each is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from hub.orm.postgres import Watch, install
from hub.orm.rows import Row

#: What each type can hold at its worst, as SQL. None: the type takes no values from outside.
EXTREMES: dict[str, tuple[str, ...] | None] = {
    "aclitem": ("postgres=r/postgres",),
    "bit": ("1",),
    "bool": ("true", "false"),
    "box": ("(Infinity,NaN),(-Infinity,1e308)",),
    "bpchar": ("x", ""),
    "bytea": (r"\x", r"\x00ff", r"\x" + "00" * 20_000),
    "char": ("x", ""),
    "cid": ("4294967295",),
    "cidr": ("::/0",),
    "circle": ("<(0,0),Infinity>",),
    "date": ("infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"),
    "float4": ("NaN", "Infinity", "-Infinity", "3.4e38", "-0"),
    "float8": ("NaN", "Infinity", "-Infinity", "1.7976931348623157e308", "5e-324"),
    "gtsvector": None,
    "inet": ("::ffff:1.2.3.4/96", "255.255.255.255"),
    "int2": ("-32768", "32767"),
    "int2vector": ("1 2 3", ""),
    "int4": ("-2147483648", "2147483647"),
    "int8": ("-9223372036854775808", "9223372036854775807"),
    "interval": ("178000000 years -1 mons 1 day -00:00:00.000001", "-1 microsecond"),
    "json": (
        "null", r'{"a": "cut \ud83d"}', r'{"a": "\u0000"}', r'{"\u0000": 1}', '{"a": 1, "a": 2}', "1e400",
        "9" * 5000, "[" * 2000 + "]" * 2000, '"' + "x" * 100_000 + '"',
    ),
    "jsonb": ("null", '{"a": [1.0, "€"]}', "9" * 5000, "[" * 2000 + "]" * 2000, '"' + "x" * 100_000 + '"'),
    "jsonpath": ("$.a[*] ? (@ > 1)",),
    "line": ("{1,-1,Infinity}",),
    "lseg": ("[(0,0),(NaN,1)]",),
    "macaddr": ("ff:ff:ff:ff:ff:ff",),
    "macaddr8": ("ff:ff:ff:ff:ff:ff:ff:ff",),
    "money": ("-92233720368547758.08", "92233720368547758.07"),
    "name": ("x" * 63,),
    "numeric": ("NaN", "1e-1000", "1e131071", "-" + "9" * 5000, "1e400", "123.4500"),
    "oid": ("4294967295", "0"),
    "oidvector": ("1 4294967295",),
    "path": ("[(0,0),(1,1)]", "((0,0),(NaN,-Infinity))"),
    "pg_brin_bloom_summary": None,
    "pg_brin_minmax_multi_summary": None,
    "pg_dependencies": None,
    "pg_lsn": ("FFFFFFFF/FFFFFFFF", "0/0"),
    "pg_mcv_list": None,
    "pg_ndistinct": None,
    "pg_node_tree": None,
    "pg_snapshot": ("10:20:10,14,15",),
    "point": ("(NaN,Infinity)", "(1e308,-1e308)"),
    "polygon": ("((0,0),(1,1),(NaN,0))",),
    "refcursor": ("it's",),
    "regclass": ("pg_class", "4294967295"),
    "regcollation": ('"C"',),
    "regconfig": ("simple",),
    "regdatabase": ("postgres",),
    "regdictionary": ("simple",),
    "regnamespace": ("pg_catalog",),
    "regoper": ("*<>",),
    "regoperator": ("*<>(record,record)",),
    "regproc": ("now",),
    "regprocedure": ("now()",),
    "regrole": ("postgres",),
    "regtype": ("int", "4294967295"),
    "text": ("", "\x01\x1f\x7f", "€ \U0001f600 \uffff", "x" * 1_000_000),
    "tid": ("(4294967295,65535)",),
    "time": ("24:00:00", "00:00:00.000001"),
    "timestamp": ("infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"),
    "timestamptz": ("infinity", "-infinity", "294276-12-31 23:59:59.999999+00"),
    "timetz": ("24:00:00-15:59",),
    "tsquery": ("'it''s' & !b", ""),
    "tsvector": ("'a':1,16383A 'it''s':2B", ""),
    "txid_snapshot": ("10:20:10,14,15",),
    "uuid": ("ffffffff-ffff-ffff-ffff-ffffffffffff",),
    "varbit": ("", "101" * 3000),
    "varchar": ("", "x" * 9000),
    "xid": ("4294967295",),
    "xid8": ("18446744073709551615",),
    "xml": ("<a>\u20ac&amp;</a>",),
    **{
        f"{name}{kind}": ("empty", low, "(,)") if kind == "range" else ("{}", "{" + low + "}", "{(,)}")
        for name, low in (
            ("int4", "[-2147483648,)"), ("int8", "(,9223372036854775807)"), ("num", "[NaN,NaN]"),
            ("date", "[,infinity)"), ("ts", "[-infinity,infinity]"), ("tstz", "[-infinity,infinity]"),
        )
        for kind in ("range", "multirange")
    },
}  # fmt: skip

#: Types that people make, and columns of other shapes: what to create, the column's definition, its values.
MADE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "array": ("", "int[][]", ("'{}'", "'{{1,NULL},{3,4}}'", "'[-1:0][5:6]={{1,2},{3,4}}'")),
    "array of json": ("", "json[]", (r"""ARRAY['{"a": "\ud83d"}', '"\u0000"']::json[]""",)),
    "array of nothing": ("", "text[]", ("ARRAY[NULL]::text[]", "array_fill('x'::text, ARRAY[10000])")),
    "composite": (
        "CREATE TYPE pair AS (a json, b numeric)", "pair", (r"""('"\u0000"', 'NaN')::pair""", "(NULL, NULL)"),
    ),
    "composite of composites": (
        "CREATE TYPE inner_ AS (a json); CREATE TYPE outer_ AS (b inner_[])", "outer_",
        (r"""ROW(ARRAY[ROW('"\ud83d"')::inner_])::outer_""",),
    ),
    "domain": ("CREATE DOMAIN adult AS int CHECK (VALUE > 17)", "adult", ("18",)),
    "domain over json": ("CREATE DOMAIN doc AS json", "doc", (r"""'"\u0000"'""",)),
    "enum": ("CREATE TYPE mood AS ENUM ('it''s', '', '€')", "mood", ("'it''s'", "''", "'€'")),
    "range": ("CREATE TYPE floats AS RANGE (subtype = float8)", "floats", ("'[NaN,NaN]'", "'(,)'")),
    "cast that fails": (
        """CREATE TYPE bad AS (a int);
        CREATE FUNCTION bad_json(bad) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
        CREATE CAST (bad AS json) WITH FUNCTION bad_json(bad)""",
        "bad", ("ROW(1)::bad",),
    ),
    "generated": ("", "text GENERATED ALWAYS AS (id::text || 'x') STORED", ("DEFAULT",)),
    "identity": ("", "int GENERATED ALWAYS AS IDENTITY", ("DEFAULT",)),
    "compressed": ("", "text", ("repeat('x', 20000000)",)),
    "out of line": ("", "text", ("(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 60000) n)",)),
    "big bytes": ("", "bytea", ("decode(repeat('00', 60000000), 'hex')",)),
    "nothing": ("", "json", ("NULL",)),
}  # fmt: skip


async def told(psql: asyncpg.Connection) -> list[tuple[str, Any]]:
    """What was written into the outbox, as the hub is given it."""
    rows = await psql.fetch("DELETE FROM fanfare_outbox RETURNING id, channel, data, hint, subject, created, tries")
    return [(row["channel"], Row(**row).item.data) for row in sorted(rows, key=lambda row: row["id"])]


async def check(psql: asyncpg.Connection, dsn: str, column: str, values: list[str]) -> None:
    """Save rows with these values in every way, and hear of each in three forms."""
    await psql.execute("DROP TABLE IF EXISTS watched")
    await psql.execute(f"CREATE TABLE watched (id int PRIMARY KEY, n int, v {column})")
    before = [f"INSERT INTO watched VALUES (0, 0, {value})" for value in values[:1]]
    for statement in before:
        await psql.execute(statement)
    await install(
        dsn,
        Watch("watched", "fields", fields=("v",), watch=("v", "n")),
        Watch("watched", "value-{id}", data="{v}"),
        Watch("watched", "plain"),
    )
    kinds = ["/fields", "/plain", "/value-0"]
    for statement in ("UPDATE watched SET n = 1", "DELETE FROM watched"):
        await psql.execute(statement)
        assert sorted(channel for channel, _ in await told(psql)) == kinds, statement
    for value in values:
        for statement in (
            f"INSERT INTO watched VALUES (0, 0, {value})",
            "UPDATE watched SET n = 1",
            f"UPDATE watched SET n = 2, v = {value}",
            "TRUNCATE watched",
        ):
            await psql.execute(statement)
            assert sorted(channel for channel, _ in await told(psql)) == kinds, (statement[:80], value[:80])


#: Columns whose text depends on what a session has set, with a value and what it is called in a channel.
BY_SETTING = {
    "timestamptz": ("'2024-07-01 12:00:00+00'", "2024-07-01T12:00:00+00:00"),
    "timestamp": ("'2024-07-01 12:00:00'", "2024-07-01T12:00:00"),
    "date": ("'2024-07-01'", "2024-07-01"),
    "daterange": ("'[2024-07-01,2024-07-02)'", "[2024-07-01,2024-07-02)"),
    "tstzrange": ("'[2024-07-01 12:00:00+00,)'", '["2024-07-01 12:00:00+00",)'),
    "interval": ("'1 day 02:03:04'", "1 day 02:03:04"),
    "float8": ("'0.1'::float8 + 0.2", "0.30000000000000004"),
    "float4": ("'0.1'", "0.1"),
    "point": ("'(0.30000000000000004,1)'", "(0.30000000000000004,1)"),
    "bytea": (r"decode('00ff', 'hex')", r"\x00ff"),
    "money": ("1234.5::money", "$1,234.50"),
    "text": (r"E'\\m'", r"\m"),
}

#: Sessions of other programs.
SESSIONS = (
    "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German, DMY'; SET IntervalStyle = 'iso_8601';"
    " SET extra_float_digits = -5; SET bytea_output = 'escape'; SET lc_monetary = 'C.UTF-8'",
    "SET TimeZone = 'America/St_Johns'; SET DateStyle = 'SQL, MDY'; SET IntervalStyle = 'sql_standard';"
    " SET extra_float_digits = 3; SET quote_all_identifiers = on; SET escape_string_warning = off;"
    " SET standard_conforming_strings = off",
)


async def test_what_a_session_has_set_changes_no_channel(dsn: str) -> None:
    """A row of a time in Berlin's session and in London's had two channels, so that one's page kept it."""
    psql = await asyncpg.connect(dsn)
    try:
        columns = ", ".join(f"v_{name} {name}" for name in BY_SETTING)
        await psql.execute(f"CREATE TABLE watched (id int PRIMARY KEY, n int, {columns})")
        for name in BY_SETTING:
            await install(dsn, Watch("watched", f"{name}-{{v_{name}}}", data=f"{{v_{name}}}"))
        values = ", ".join(value for value, _ in BY_SETTING.values())
        await psql.execute(f"INSERT INTO watched VALUES (0, 0, {values})")
        wanted = {f"/{name}-{text}" for name, (_, text) in BY_SETTING.items()}
        first = await told(psql)
        assert {channel for channel, _ in first} == wanted
        await psql.execute("DELETE FROM watched")
        assert sorted(await told(psql), key=str) == sorted(first, key=str)
        insert = f"INSERT INTO watched VALUES (0, 0, {values})"
        for session in SESSIONS:
            for statement in (
                insert,
                "UPDATE watched SET n = n + 1",
                "TRUNCATE watched",
                insert,
                "DELETE FROM watched",
            ):
                other = await asyncpg.connect(dsn)
                try:
                    await other.execute(f"{session}; {statement}")
                finally:
                    await other.close()
                assert sorted(await told(psql), key=str) == sorted(first, key=str), (session, statement)
    finally:
        await psql.close()


@pytest.fixture
def dsn(new_postgres_database: Callable[[], str]) -> str:
    return new_postgres_database()


TYPES = """
SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e', 'd')
AND typcategory <> 'A' AND typname NOT LIKE 'pg\\_toast%' ORDER BY 1
"""


async def test_every_type_of_postgresql(dsn: str) -> None:
    """A json column with half an emoji failed its table's saves, even the DELETE of a row that was there before."""
    psql = await asyncpg.connect(dsn)
    try:
        names = [row["typname"] for row in await psql.fetch(TYPES)]
        assert [name for name in names if name not in EXTREMES] == [], "types that this test doesn't know"
        columns = ", ".join(f'"v_{name}" "{name}"' for name in names)
        await psql.execute(f"CREATE TABLE watched (id int PRIMARY KEY, {columns})")
        fields = tuple(f"v_{name}" for name in names)
        await install(dsn, Watch("watched", "fields", fields=fields), Watch("watched", "plain"))
        for name in names:
            for text in EXTREMES[name] or ():
                value = "'" + text.replace("'", "''") + f'\'::"{name}"'
                try:
                    await psql.execute(f'INSERT INTO watched (id, "v_{name}") VALUES (0, {value})')
                except asyncpg.FeatureNotSupportedError:
                    # A server built without libxml has the type and no values of it.
                    assert name == "xml"
                    continue
                for statement in (
                    "",
                    "UPDATE watched SET id = 1",
                    f'UPDATE watched SET "v_{name}" = NULL',
                    f'UPDATE watched SET "v_{name}" = {value}',
                    "DELETE FROM watched",
                ):
                    await psql.execute(statement or "SELECT")
                    found = {channel for channel, _ in await told(psql)}
                    assert found == {"/fields", "/plain"}, (statement[:80], value[:80])
    finally:
        await psql.close()


@pytest.mark.parametrize("name", ["bytea", "json", "jsonb", "numeric", "text"])
async def test_the_extremes_as_payload(dsn: str, name: str) -> None:
    psql = await asyncpg.connect(dsn)
    try:
        values = EXTREMES[name] or ()
        await check(psql, dsn, name, ["NULL", *("'" + text.replace("'", "''") + f"'::{name}" for text in values)])
    finally:
        await psql.close()


@pytest.mark.parametrize("shape", MADE)
async def test_types_that_people_make(dsn: str, shape: str) -> None:
    create, column, values = MADE[shape]
    psql = await asyncpg.connect(dsn)
    try:
        if create:
            await psql.execute(create)
        if values == ("DEFAULT",):
            await psql.execute(f"CREATE TABLE watched (id int PRIMARY KEY, n int, v {column})")
            await install(dsn, Watch("watched", "value-{v}", data="{v}"))
            await psql.execute("INSERT INTO watched (id, n) VALUES (1, 1)")
            assert [channel for channel, _ in await told(psql)] in (["/value-1x"], ["/value-1"])
        else:
            await check(psql, dsn, column, list(values))
    finally:
        await psql.close()


@pytest.mark.parametrize(
    ("encoding", "value"),
    [("SQL_ASCII", r"E'\xff'"), ("SQL_ASCII", r"E'\xc3\xa4'"), ("LATIN1", r"E'\xe4'"), ("WIN1252", r"E'\x81'")],
)
async def test_a_database_in_another_encoding(postgres_server: Any, encoding: str, value: str) -> None:
    """What can't be read as UTF-8 would have stopped the sweeper at that row for ever."""
    name = f"encoded_{encoding.lower()}_{len(value)}_{value[4:6]}"
    postgres_server.run(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'")
    dsn = postgres_server.url(name)
    psql = await asyncpg.connect(dsn)
    try:
        await psql.execute(f"SET client_encoding = {encoding}")
        await psql.execute("CREATE TABLE watched (id int PRIMARY KEY, v text, j json)")
        await install(dsn, Watch("watched", "w", fields=("v", "j")), Watch("watched", "v", data="{v}"))
        await psql.execute(f"INSERT INTO watched VALUES (1, {value}, '\"\\u20ac\"')")
        await psql.execute("UPDATE watched SET v = v || 'x'")
        await psql.execute("DELETE FROM watched")
        await psql.execute("SET client_encoding = UTF8")
        channels = [channel for channel, _ in await told(psql)]
        assert channels.count("/w") >= 3
        assert channels.count("/v") >= 3
    finally:
        await psql.close()
        postgres_server.drop(dsn)
