"""PostgreSQL's own triggers: a change by psql, a migration or another language reaches the page too.

    await install("postgresql://…", Watch("comment", "comments-{event_id}", data="{id}"))

A trigger writes the outbox in the changing transaction and says NOTIFY, which wakes the sweepers
of the site's processes (any `AsyncNotifier`, or `fanfare outbox --sweep`). It runs at the commit,
and is silent about what the ORM has told in the same transaction, so that a table may have both.
The words are those of `declarations`: the name of a channel with `{column}` in it, a payload that
is a hint unless fields are listed. Needs PostgreSQL 13 or later, and asyncpg.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import BadMessage, BrokerUnavailable, HubError
from ..protocol.messages import dumps
from .declarations import MAX_BYTES, MOST_BYTES, Kind, names_in, tells

#: What our triggers are called, so that they can be found and removed.
PREFIX = "fanfare_"

#: How events of a table are called in SQL.
_EVENTS: dict[Kind, str] = {"created": "INSERT", "changed": "UPDATE", "deleted": "DELETE"}


class WatchError(HubError):
    """A table, column or database that can't be watched. One line, for whoever ran the command."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Which changes of a table tell which channel.

    table: with or without its schema. channel: a name in which `{column}` stands for the row's
    value. data: a JSON value; the string "{column}" stands for that column's value. on, fields,
    watch, max_bytes: as in `declarations.tells`; a trigger sees no "related".

    Raises what `tells` raises.
    """

    table: str
    channel: str
    data: object = True
    on: tuple[Kind, ...] = ("created", "changed", "deleted")
    fields: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        tells(
            self.channel,
            self.data,
            on=self.on,
            fields=self.fields,
            watch=self.watch,
            max_bytes=self.max_bytes,
        )
        if "related" in self.on:
            raise ValueError("a trigger sees no related rows: watch the table between instead")
        if not 1 <= self.max_bytes <= MOST_BYTES:
            raise BadMessage("max_bytes")

    @property
    def data_column(self) -> str | None:
        """The column whose value is the payload, if the payload is a column's."""
        if isinstance(self.data, str) and self.data.startswith("{") and self.data.endswith("}"):
            return self.data[1:-1]
        return None

    @property
    def columns(self) -> set[str]:
        """Every column that is named."""
        named = {*names_in(self.channel), *self.fields, *self.watch}
        return named if self.data_column is None else named | {self.data_column}

    @property
    def trigger(self) -> str:
        """The trigger's name: the same watch has the same, so that installing twice is installing once."""
        return PREFIX + hashlib.sha256(self.channel.encode()).hexdigest()[:12]


def function_sql(schema: str) -> str:
    """The function that all triggers call. `schema` is where the outbox is."""
    return _FUNCTION.replace("{schema}", quoted(schema))


def trigger_sql(watch: Watch, table: str, schema: str, key: Sequence[str]) -> str:
    """The trigger of one watch. table: its quoted, qualified name; key: its primary key's columns."""
    events = " OR ".join(_EVENTS[kind] for kind in _EVENTS if kind in watch.on)
    arguments = (
        watch.channel if watch.channel.startswith("/") else "/" + watch.channel,
        dumps(watch.data).decode(),
        watch.data_column or "",
        ",".join(watch.fields),
        ",".join(watch.watch or watch.fields),
        ",".join(key),
        str(watch.max_bytes),
    )
    # Deferred, so that it runs after the ORM has written its own rows of the outbox.
    return (
        f"CREATE CONSTRAINT TRIGGER {quoted(watch.trigger)} AFTER {events} ON {table} "
        f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        f"EXECUTE FUNCTION {quoted(schema)}.fanfare_tell({', '.join(literal(text) for text in arguments)})"
    )


async def install(dsn: str, *watches: Watch) -> None:
    """Install the outbox (if it is not there), the function and these triggers; installing again replaces them.

    dsn: postgresql://…, of a role that owns the tables. All or nothing. Raises WatchError when a
    table or column does not exist or the role may not, BrokerUnavailable when there is no database.
    """
    async with _connected(dsn) as connection, connection.transaction():
        await connection.execute(_OUTBOX)
        schema = await connection.fetchval("SELECT current_schema()")
        await connection.execute(function_sql(schema))
        for watch in watches:
            table, key = await _look_up(connection, watch)
            await connection.execute(f"DROP TRIGGER IF EXISTS {quoted(watch.trigger)} ON {table}")
            await connection.execute(trigger_sql(watch, table, schema, key))


async def remove(dsn: str, *tables: str) -> int:
    """Remove our triggers from these tables, or from all; with the last goes the function. Returns how many."""
    async with _connected(dsn) as connection, connection.transaction():
        found = await connection.fetch(_INSTALLED)
        wanted = {await _table(connection, table) for table in tables}
        gone = [row for row in found if not tables or row["name"] in wanted]
        for row in gone:
            await connection.execute(f"DROP TRIGGER {quoted(row['trigger'])} ON {row['name']}")
        if len(gone) == len(found):
            await connection.execute("DROP FUNCTION IF EXISTS fanfare_tell()")
        return len(gone)


async def installed(dsn: str) -> list[tuple[str, str]]:
    """What is watched: (table, the trigger's definition)."""
    async with _connected(dsn) as connection:
        return [(row["name"], row["definition"]) for row in await connection.fetch(_INSTALLED)]


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in SQL, whatever standard_conforming_strings says."""
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else f"'{escaped}'"


async def _look_up(connection: Any, watch: Watch) -> tuple[str, list[str]]:
    table = await _table(connection, watch.table)
    columns = {row["attname"]: row["key"] for row in await connection.fetch(_COLUMNS, table)}
    unknown = sorted(watch.columns - set(columns))
    if unknown:
        raise WatchError(f"{table} has no column {', '.join(unknown)}")
    key = [name for name, is_key in columns.items() if is_key]
    if not key and watch.fields:
        raise WatchError(f"{table} has no primary key, so its fields can't be told")
    return table, key


async def _table(connection: Any, name: str) -> str:
    # People write Django's and SQLAlchemy's table names as they are: try the name itself, then as SQL reads it.
    parts = ".".join(quoted(part) for part in name.split("."))
    found = await connection.fetchval(
        "SELECT coalesce(to_regclass($1), to_regclass($2))::oid::regclass::text", parts, name
    )
    if found is None:
        raise WatchError(f"no table {name}")
    return str(found)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Any]:
    """A connection of its own. asyncpg has no types: its Connection is Any here."""
    import asyncpg

    try:
        connection = await asyncpg.connect(dsn.replace("+asyncpg", "", 1), timeout=10)
    except (OSError, asyncpg.PostgresError, ValueError, asyncpg.InterfaceError) as error:
        raise BrokerUnavailable(f"database can't be reached: {error}") from None
    try:
        yield connection
    except asyncpg.PostgresError as error:
        raise WatchError(str(error)) from None
    finally:
        await connection.close()


def schema_sql() -> Iterable[str]:
    """What `install` runs before its triggers, for a migration of your own: the outbox and the function of `public`."""
    return (_OUTBOX, function_sql("public"))


_INSTALLED = """
SELECT t.tgname AS trigger, t.tgrelid::regclass::text AS name, pg_get_triggerdef(t.oid) AS definition
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE p.proname = 'fanfare_tell' AND NOT t.tgisinternal
ORDER BY 2, 1
"""

_COLUMNS = """
SELECT a.attname, coalesce(a.attnum = ANY(i.indkey), false) AS key
FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY array_position(i.indkey::int2[], a.attnum), a.attnum
"""

# The tables of `hub.orm.outbox`; a test holds the two together.
_OUTBOX = """
CREATE TABLE IF NOT EXISTS fanfare_outbox (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    channel VARCHAR(255) NOT NULL,
    data TEXT NOT NULL,
    hint BOOLEAN DEFAULT true NOT NULL,
    subject VARCHAR(255),
    created DOUBLE PRECISION NOT NULL,
    due DOUBLE PRECISION,
    tries INTEGER DEFAULT 0 NOT NULL,
    last_error TEXT
);
CREATE INDEX IF NOT EXISTS fanfare_outbox_due ON fanfare_outbox (due);
CREATE INDEX IF NOT EXISTS fanfare_outbox_subject ON fanfare_outbox (subject);
CREATE TABLE IF NOT EXISTS fanfare_lease (
    name VARCHAR(32) NOT NULL PRIMARY KEY,
    owner VARCHAR(64) NOT NULL,
    until DOUBLE PRECISION NOT NULL
);
"""

# SECURITY DEFINER: who may change the table need not be allowed to read the outbox. A bad channel
# is a warning, never an error, for that would fail the change.
_FUNCTION = """
CREATE OR REPLACE FUNCTION {schema}.fanfare_tell() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_catalog, pg_temp AS $fanfare$
DECLARE
    template   text   := TG_ARGV[0];
    payload    text   := TG_ARGV[1];
    value_of   text   := TG_ARGV[2];
    listed     text[] := string_to_array(nullif(TG_ARGV[3], ''), ',');
    watched    text[] := string_to_array(nullif(TG_ARGV[4], ''), ',');
    key        text[] := string_to_array(nullif(TG_ARGV[5], ''), ',');
    longest    int    := TG_ARGV[6];
    kind       text   := CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END;
    before     jsonb  := CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE to_jsonb(OLD) END;
    after      jsonb  := CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE to_jsonb(NEW) END;
    now_       float8 := extract(epoch FROM clock_timestamp());
    current_   jsonb  := coalesce(after, before);
    identity   text;
    about      text;
    row_       jsonb;
    name       text;
    channel_   text;
    last_      text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF before = after THEN RETURN NULL; END IF;
        IF watched IS NOT NULL AND NOT EXISTS (
            SELECT FROM unnest(watched) AS w WHERE before -> w IS DISTINCT FROM after -> w
        ) THEN RETURN NULL; END IF;
    END IF;
    SELECT string_agg(current_ ->> k, ',' ORDER BY n) INTO identity FROM unnest(key) WITH ORDINALITY AS u(k, n);
    about := TG_TABLE_NAME || ':' || identity;
    IF length(about) > 255 THEN about := NULL; END IF;

    IF value_of <> '' THEN
        payload := coalesce((current_ -> value_of)::text, 'null');
    ELSIF listed IS NOT NULL THEN
        payload := jsonb_build_object(
            'id', CASE WHEN cardinality(key) = 1 THEN current_ -> key[1]
                       ELSE (SELECT jsonb_agg(current_ -> k ORDER BY n)
                             FROM unnest(key) WITH ORDINALITY AS u(k, n)) END,
            'change', kind,
            'fields', CASE WHEN TG_OP = 'DELETE' THEN '{}'::jsonb ELSE (
                SELECT coalesce(jsonb_object_agg(f, after -> f), '{}'::jsonb) FROM unnest(listed) AS f
                WHERE TG_OP = 'INSERT' OR before -> f IS DISTINCT FROM after -> f
            ) END
        )::text;
        IF octet_length(payload) > longest THEN
            payload := jsonb_set(payload::jsonb, '{fields}', 'null'::jsonb)::text;
        END IF;
    END IF;
    IF octet_length(payload) > longest THEN payload := 'true'; END IF;

    FOREACH row_ IN ARRAY array_remove(ARRAY[before, after], NULL) LOOP
        channel_ := template;
        FOR name IN SELECT m[1] FROM regexp_matches(template, '[{](\\w+)[}]', 'g') AS m LOOP
            channel_ := replace(channel_, '{' || name || '}', row_ ->> name);
        END LOOP;
        CONTINUE WHEN channel_ IS NULL OR channel_ IS NOT DISTINCT FROM last_;
        last_ := channel_;
        IF length(channel_) > 255 OR channel_ ~ '[[:cntrl:]]' OR channel_ ~ '^/((meta|service)(/|$)|$)' THEN
            RAISE WARNING 'fanfare: % of % %: channel % can''t be told',
                kind, TG_TABLE_NAME, identity, left(channel_, 80);
            CONTINUE;
        END IF;
        -- Told in this transaction already, by the ORM or for another row of the same statement.
        CONTINUE WHEN EXISTS (
            SELECT FROM fanfare_outbox o
            WHERE (o.subject = about OR (o.subject = TG_TABLE_NAME || ':*' AND o.data = payload))
              AND o.channel = channel_ AND o.xmin = pg_current_xact_id()::xid
        );
        INSERT INTO fanfare_outbox (channel, data, hint, subject, created, due, tries)
        VALUES (channel_, payload, listed IS NULL,
                CASE WHEN value_of = '' AND listed IS NULL THEN TG_TABLE_NAME || ':*' ELSE about END, now_, now_, 0);
        PERFORM pg_notify('fanfare_outbox', '');
    END LOOP;
    RETURN NULL;
END
$fanfare$
"""
