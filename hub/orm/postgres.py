"""PostgreSQL's own triggers: a change by psql, a migration or another language reaches the page too.

    await install("postgresql://…", Watch("comment", "comments-{event_id}", data="{id}"))

A trigger writes the outbox in the changing transaction and says NOTIFY, which wakes the sweepers
of the site's processes (any `AsyncNotifier`, or `fanfare outbox --sweep`). It runs at the commit,
and is silent about what the ORM has told in the same transaction, so that a table may have both.
The words are those of `declarations`: the name of a channel with `{column}` in it, a payload that
is a hint unless fields are listed. Needs PostgreSQL 13 or later, and asyncpg. The SQL is in
`triggers`; what can be wrong with a watched table, in `watched`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from ..errors import BrokerUnavailable, HubError
from .database_url import DatabaseUrl, parse
from .engines import connect_to
from .triggers import (
    OUTBOX,
    Table,
    Watch,
    function_name,
    function_sql,
    helpers_sql,
    literal,
    of_earlier_release,
    quoted,
    schema_sql,
    trigger_sql,
    truncate_trigger_sql,
)
from .watched import Child, Function, Trigger, Watched, as_arguments, no_value, plain, watched

logger = logging.getLogger(__name__)

__all__ = [
    "Table",
    "Watch",
    "WatchError",
    "Watched",
    "as_arguments",
    "function_sql",
    "install",
    "installed",
    "literal",
    "look",
    "plain",
    "quoted",
    "remove",
    "schema_sql",
    "trigger_sql",
    "upgrade",
]


class WatchError(HubError):
    """A table, column or database that can't be watched. One line, for whoever ran the command."""


async def install(dsn: str | DatabaseUrl, *watches: Watch) -> None:
    """Install the outbox (if it is not there), the functions and these triggers; installing again replaces them.

    dsn: postgresql://…, of a role that owns the tables or may act for their owners. Child tables get
    triggers of their own; partitions have them of the partitioned table. Triggers of an earlier
    release, whatever their table, are replaced too. All or nothing. Raises WatchError when a table
    or column does not exist or the role may not, BrokerUnavailable when there is no database.
    """
    async with _connected(dsn) as connection, connection.transaction():
        schema = await _prepare(connection)
        for watch in watches:
            await _install_family(connection, watch, schema)
        await _upgrade(connection, schema)


async def upgrade(dsn: str | DatabaseUrl) -> int:
    """Replace the triggers of an earlier release; return how many. Does nothing where there are none.

    Those on tables that belong to others than their function stay, and tell as before: whoever could
    call the function could have made them. `look` names them. Raises what `install` raises.
    """
    async with _connected(dsn) as connection, connection.transaction():
        if not await connection.fetchval(_IS_OUTDATED):
            return 0
        return await _upgrade(connection, await _prepare(connection))


async def remove(dsn: str | DatabaseUrl, *tables: str) -> int:
    """Stop watching these tables, or all; with the last goes every function. Returns how many watches went.

    A table's child tables and a table that is not there any more count too.
    """
    async with _connected(dsn) as connection, connection.transaction():
        found = await _look(connection)
        wanted = {await _named(connection, table) for table in tables}
        gone = [each for each in found if not tables or wanted & {each.table, each.name, *each.parents}]
        for each in gone:
            for trigger in each.triggers:
                if not trigger.is_clone:
                    await connection.execute(f"DROP TRIGGER {quoted(trigger.name)} ON {trigger.table_sql}")
        for function in {each.function for each in gone}:
            if not await connection.fetchval(_IS_USED, function):
                await connection.execute(f"DROP FUNCTION {function}")
        if len(gone) == len(found):
            for row in await connection.fetch(_OURS):
                await connection.execute(f"DROP FUNCTION {row['sql']}")
        return sum(bool(each.triggers) for each in gone)


async def installed(dsn: str | DatabaseUrl) -> list[tuple[str, str]]:
    """What is watched: (table, the row trigger's definition)."""
    return [
        (trigger.table_sql, trigger.definition)
        for each in await look(dsn)
        for trigger in each.triggers
        if trigger.is_row and not trigger.is_clone
    ]


async def look(dsn: str | DatabaseUrl) -> list[Watched]:
    """Every watch there is or was meant to be, with what is wrong with it."""
    async with _connected(dsn) as connection, connection.transaction(readonly=True):
        return await _look(connection)


async def _prepare(connection: Any) -> str:
    schema = await connection.fetchval("SELECT current_schema()")
    if schema is None:
        raise WatchError("the search_path names no schema that exists, so there is no place for the outbox")
    if await connection.fetchval("SELECT to_regclass($1)", f"{quoted(schema)}.fanfare_outbox") is None:
        await connection.execute(OUTBOX)
    await connection.execute(helpers_sql(schema))
    return str(schema)


async def _install_family(connection: Any, watch: Watch, schema: str, oid: int | None = None) -> None:
    tables = await _family(connection, watch, oid)
    for table, is_partition in tables:
        if not is_partition:
            await _install(connection, watch, table, schema)
        elif "deleted" in watch.on:
            name = quoted(watch.truncate_trigger)
            await connection.execute(f"DROP TRIGGER IF EXISTS {name} ON {table.sql}")
            await connection.execute(truncate_trigger_sql(watch, tables[0][0], table, schema))


async def _install(connection: Any, watch: Watch, table: Table, schema: str) -> None:
    function = f"{quoted(schema)}.{quoted(function_name(watch, table))}()"
    before = await connection.fetch(_FUNCTIONS_OF, table.sql, watch.trigger)
    for name in (watch.trigger, watch.truncate_trigger):
        await connection.execute(f"DROP TRIGGER IF EXISTS {quoted(name)} ON {table.sql}")
    await connection.execute(function_sql(watch, table, schema))
    await connection.execute(trigger_sql(watch, table, schema))
    # It runs with the rights of the table's owner, and no one else's.
    owner = await connection.fetchval(_OWNER, table.sql)
    if owner is not None:
        box = f"{quoted(schema)}.fanfare_outbox"
        sequence = await connection.fetchval("SELECT pg_get_serial_sequence($1, 'id')", box)
        await connection.execute(f"GRANT SELECT, INSERT ON {box} TO {quoted(owner)}")
        await connection.execute(f"GRANT USAGE ON SEQUENCE {sequence} TO {quoted(owner)}")
        await connection.execute(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(owner)}")
        await connection.execute(f"ALTER FUNCTION {function} OWNER TO {quoted(owner)}")
    for row in before:
        if row["sql"] != function and not await connection.fetchval(_IS_USED, row["sql"]):
            await connection.execute(f"DROP FUNCTION {row['sql']}")


async def _upgrade(connection: Any, schema: str) -> int:
    import asyncpg

    count = 0
    for row in await connection.fetch(_OUTDATED):
        watch = of_earlier_release(row["name"], row["tgtype"], row["tgargs"])
        if watch is None or not row["is_owner"]:
            continue
        try:
            async with connection.transaction():
                await connection.execute(f"DROP TRIGGER {quoted(row['tgname'])} ON {row['sql']}")
                await _install_family(connection, watch, schema, row["oid"])
        except (WatchError, asyncpg.PostgresError) as error:
            logger.warning(
                "watched table stays with its old trigger", extra={"table": row["name"], "error": str(error)}
            )
            continue
        count += 1
    for row in await connection.fetch(_OLD_FUNCTIONS):
        if not await connection.fetchval(_IS_USED, row["sql"]):
            await connection.execute(f"DROP FUNCTION {row['sql']}")
    return count


async def _family(connection: Any, watch: Watch, oid: int | None = None) -> list[tuple[Table, bool]]:
    """The table, its child tables, which inherit no triggers, and its partitions (True), which do."""
    root = await _find(connection, watch.table) if oid is None else oid
    found: list[tuple[Table, bool]] = []
    for row in await connection.fetch(_FAMILY, root):
        name = plain(f"{row['nspname']}.{row['relname']}")
        if row["relkind"] not in ("r", "p"):
            if row["oid"] == root:
                raise WatchError(f"{name} is {_OTHERS.get(row['relkind'], 'no table')}, which has no rows of its own")
            continue
        if row["relpersistence"] == "t":
            raise WatchError(f"{name} is a temporary table, which only its own session sees")
        table = _table_of(row, await connection.fetch(_COLUMNS, row["oid"]))
        unknown = sorted(watch.columns - set(table.columns))
        if unknown:
            raise WatchError(f"{name} has no column {', '.join(unknown)}")
        if virtual := sorted(watch.columns & table.virtual):
            raise WatchError(f"{name}: {no_value(virtual[0])}")
        if found and not table.key:
            table = replace(table, key=found[0][0].key, unique=False)
        if not table.key and watch.fields:
            raise WatchError(f"{name} has no primary key, so its fields can't be told")
        found.append((table, row["oid"] != root and row["relispartition"]))
    return found


def _table_of(row: Any, columns: Any) -> Table:
    return Table(
        row["nspname"],
        row["relname"],
        {each["attname"]: each["attnum"] for each in columns},
        tuple(each["attname"] for each in columns if each["key"]),
        True,
        frozenset(each["attname"] for each in columns if each["is_long"]),
        frozenset(each["attname"] for each in columns if each["is_long"] and each["is_text"]),
        frozenset(each["attname"] for each in columns if each["is_virtual"]),
    )


async def _find(connection: Any, name: str) -> int:
    # People write Django's and SQLAlchemy's table names as they are: try the name itself, then as SQL reads it.
    parts = ".".join(quoted(part) for part in name.split("."))
    found = await connection.fetchval("SELECT coalesce(to_regclass($1), to_regclass($2))::oid", parts, name)
    if found is None:
        raise WatchError(f"no table {name}")
    return int(found)


async def _named(connection: Any, name: str) -> str:
    """The table's name as `look` has it; the name as given if there is no such table any more."""
    try:
        oid = await _find(connection, name)
    except WatchError:
        return name if "." in name else f"{await connection.fetchval('SELECT current_schema()')}.{name}"
    return str(await connection.fetchval(_NAME, oid))


async def _look(connection: Any) -> list[Watched]:
    functions = [
        Function(row["sql"], row["owner"], row["comment"], row["is_public"], row["has_outbox"])
        for row in await connection.fetch(_FUNCTIONS)
    ]
    triggers = [
        Trigger(
            name=row["tgname"],
            table=row["name"],
            table_sql=row["sql_name"],
            function=row["sql"],
            definition=row["definition"],
            enabled=row["tgenabled"],
            is_row=bool(row["tgtype"] & 1),
            is_clone=row["is_clone"],
            owner=row["owner"],
            columns=dict(zip(row["names"], row["numbers"], strict=True)),
            earlier=of_earlier_release(row["name"], row["tgtype"], row["tgargs"]),
            parents=tuple(row["parents"]),
            virtual=frozenset(row["virtual"]),
        )
        for row in await connection.fetch(_TRIGGERS)
    ]
    children = [Child(row["parent"], row["name"], row["is_partition"]) for row in await connection.fetch(_CHILDREN)]
    return watched(functions, triggers, children)


@asynccontextmanager
async def _connected(dsn: str | DatabaseUrl) -> AsyncIterator[Any]:
    """A connection of its own. asyncpg has no types: its Connection is Any here."""
    import asyncpg

    try:
        url = parse(dsn) if isinstance(dsn, str) else dsn
        connection = await connect_to(url, timeout=10)
    except (OSError, asyncpg.PostgresError, ValueError, asyncpg.InterfaceError) as error:
        raise BrokerUnavailable(f"database can't be reached: {error}") from None
    try:
        yield connection
    except asyncpg.PostgresError as error:
        raise WatchError(str(error)) from None
    finally:
        await connection.close()


_OTHERS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}

_NAME = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
"""

#: The owner of a table, if that is another role than ours.
_OWNER = """
SELECT pg_get_userbyid(relowner) FROM pg_class
WHERE oid = $1::text::regclass AND pg_get_userbyid(relowner) <> current_user
"""

_COLUMNS = """
SELECT a.attname, a.attnum, coalesce(a.attnum = ANY(i.indkey), false) AS key,
    a.attlen = -1 AND a.attstorage <> 'p' AS is_long,
    coalesce(nullif(t.typbasetype, 0), t.oid) = ANY ('{text,varchar,bpchar,json}'::regtype[]) AS is_text,
    a.attgenerated = 'v' AS is_virtual
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY array_position(i.indkey::int2[], a.attnum), a.attnum
"""

#: A table and all that inherits from it, the table first.
_FAMILY = """
WITH RECURSIVE family(oid, depth) AS (
    SELECT $1::oid, 0 UNION ALL SELECT i.inhrelid, f.depth + 1 FROM pg_inherits i JOIN family f ON i.inhparent = f.oid
)
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relispartition, c.relpersistence::text
FROM (SELECT oid, min(depth) AS depth FROM family GROUP BY oid) f
JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY f.depth, c.oid
"""

_OURS_ARE = "p.proname ~ '^fanfare_tell(_[0-9a-f]{12})?$' AND p.prorettype = 'trigger'::regtype"

_FUNCTIONS = f"""
SELECT p.oid::regprocedure::text AS sql, pg_get_userbyid(p.proowner) AS owner,
    obj_description(p.oid, 'pg_proc') AS comment,
    (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0)) AS is_public,
    EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = p.pronamespace AND c.relname = 'fanfare_outbox'
        AND has_table_privilege(p.proowner, c.oid, 'INSERT')) AS has_outbox
FROM pg_proc p WHERE {_OURS_ARE} ORDER BY 1
"""

_TRIGGERS = f"""
SELECT t.tgname, n.nspname || '.' || c.relname AS name, c.oid::regclass::text AS sql_name,
    p.oid::regprocedure::text AS sql,
    pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text, t.tgtype, t.tgargs, t.tgparentid <> 0 AS is_clone,
    pg_get_userbyid(c.relowner) AS owner,
    (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS names,
    (SELECT array_agg(a.attnum ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS numbers,
    ARRAY(SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = 'v') AS virtual,
    ARRAY(SELECT pn.nspname || '.' || pc.relname FROM pg_partition_ancestors(c.oid) AS p(relid)
        JOIN pg_class pc ON pc.oid = p.relid JOIN pg_namespace pn ON pn.oid = pc.relnamespace
        WHERE p.relid <> c.oid) AS parents
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS_ARE} AND NOT t.tgisinternal OR {_OURS_ARE} AND t.tgparentid <> 0 ORDER BY 2, 1
"""

#: Who inherits from whom, directly.
_CHILDREN = """
SELECT pn.nspname || '.' || p.relname AS parent, cn.nspname || '.' || c.relname AS name,
    c.relispartition AS is_partition
FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') ORDER BY 1, 2
"""

_IS_USED = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = $1::text::regprocedure)"

_FUNCTIONS_OF = """
SELECT DISTINCT t.tgfoid::regprocedure::text AS sql FROM pg_trigger t
WHERE t.tgrelid = $1::text::regclass AND t.tgname = $2 AND t.tgparentid = 0
"""

_OLD_FUNCTIONS = """
SELECT p.oid::regprocedure::text AS sql FROM pg_proc p
WHERE p.proname = 'fanfare_tell' AND p.prorettype = 'trigger'::regtype AND pg_has_role(p.proowner, 'USAGE')
"""

_OURS = """
SELECT p.oid::regprocedure::text AS sql FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = current_schema()
AND p.proname ~ '^fanfare_(once|noted|warn|columns|payload|put|write|tell(_[0-9a-f]{12})?)$'
"""

_IS_OUTDATED = """
SELECT EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.proname = 'fanfare_tell')
"""

_OUTDATED = """
SELECT t.tgrelid AS oid, t.tgname, c.oid::regclass::text AS sql, n.nspname || '.' || c.relname AS name,
    t.tgtype, t.tgargs, c.relowner = p.proowner AS is_owner
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.proname = 'fanfare_tell' AND t.tgparentid = 0 ORDER BY 2
"""
