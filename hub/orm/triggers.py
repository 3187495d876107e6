"""The SQL of a watched table: the outbox, and the functions and triggers that fill it. Pure: text in, text out.

A watched table has one function of its own and two triggers. The row trigger runs at the commit, so that it
sees what the ORM has written in the same transaction; the other one reads the rows before a TRUNCATE. The
function names the columns it needs and never looks at the rest of the row. Four helpers are shared:

fanfare_once     remembers something until the end of the transaction
fanfare_warn     a WARNING, in ASCII: one that the client's encoding can't say would fail the change
fanfare_columns  columns as JSON the slow way, one by one, by number if they were renamed
fanfare_payload  what is published
fanfare_put      writes the row of the outbox and says NOTIFY

The rules
- Nothing of this fails the change. What reads the row is in a block that catches its errors; such a
  block costs no transaction id as long as it writes nothing. The first row of the outbox that a
  transaction writes is in a block too, the others rely on its having worked.
- Errors of SQLSTATE class 40 (a serialization failure, a deadlock) are the exception: PostgreSQL may raise them at any
  statement, and means that the transaction be tried again. Caught, it might commit and tell nobody.
- What is told is the row as it is committed: an event whose row was changed again later in the same
  transaction looks that up by primary key.
- A value that can't be sent (no JSON, no UTF-8, too long) leaves the plain hint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import BadMessage
from ..protocol.messages import dumps
from .declarations import MAX_BYTES, MOST_BYTES, Kind, names_in, tells

#: What our triggers are called, so that they can be found and removed.
PREFIX = "fanfare_"

#: What the functions of watched tables are called; the bare name is that of an earlier release.
FUNCTION = "fanfare_tell"

#: Kept in the function's comment; another number means that the function is an earlier release's.
VERSION = 1

#: Rows of which a TRUNCATE tells; it holds the table's lock meanwhile.
MOST_TRUNCATED = 10_000

#: A value that takes more bytes than this many times `max_bytes` is not turned into JSON: it would be too long.
_STORED = 32

#: Rows of more than this many bytes are not compared with what they were.
_COMPARED = 1_000_000

#: How events of a table are called in SQL.
EVENTS: dict[Kind, str] = {"created": "INSERT", "changed": "UPDATE", "deleted": "DELETE"}

_ROWS = ("OLD", "NEW")

#: What a value is written by. A session may have set any of them, and the same row would have another channel in each.
#: The last is how our own SQL is read.
_SETTINGS = {
    "timezone": "'UTC'",
    "datestyle": "'ISO, MDY'",
    "intervalstyle": "'postgres'",
    "extra_float_digits": "1",
    "bytea_output": "'hex'",
    "lc_monetary": "'C'",
    "standard_conforming_strings": "on",
}

#: pg_trigger.tgtype's bits (src/include/catalog/pg_trigger.h).
_BITS: dict[Kind, int] = {"created": 4, "deleted": 8, "changed": 16}


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

    @property
    def truncate_trigger(self) -> str:
        return self.trigger + "_truncate"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalogue has it.

    columns: the numbers of its columns by name. key: its primary key's columns, in order. unique: the
    key is this table's own, so that it finds one row (a child table's key is its parent's). long:
    columns whose values can be long. text: those of them that are text or JSON as it was written. virtual:
    generated columns that are not stored, which have no value in a trigger.
    """

    schema: str
    name: str
    columns: Mapping[str, int]
    key: Sequence[str] = ()
    unique: bool = True
    long: frozenset[str] = field(default_factory=frozenset)
    text: frozenset[str] = field(default_factory=frozenset)
    virtual: frozenset[str] = field(default_factory=frozenset)

    @property
    def sql(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in SQL, whatever standard_conforming_strings says."""
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else f"'{escaped}'"


def function_name(watch: Watch, table: Table) -> str:
    """The name of a watched table's function, without its schema."""
    key = f"{table.schema}\0{table.name}\0{watch.channel}"
    return f"{FUNCTION}_{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def described(watch: Watch, table: Table) -> str:
    """A watch as its function's comment keeps it: the table and its columns as they were."""
    names = sorted({*watch.columns, *table.key})
    return json.dumps(
        {
            "fanfare": VERSION,
            "table": [table.schema, table.name],
            "key": list(table.key),
            "columns": {name: table.columns[name] for name in names},
            "channel": watch.channel,
            "data": watch.data,
            "on": list(watch.on),
            "fields": list(watch.fields),
            "watch": list(watch.watch),
            "max_bytes": watch.max_bytes,
        },
        # A comment is in the database's encoding, which may have nothing but ASCII.
        ensure_ascii=True,
    )


def from_description(text: str | None) -> tuple[Watch, Table] | None:
    """What `described` wrote; None for anything else."""
    try:
        found = json.loads(text or "")
        if not isinstance(found, dict) or found.get("fanfare") != VERSION:
            return None
        schema, name = found["table"]
        table = Table(schema, name, dict(found["columns"]), tuple(found["key"]))
        watch = Watch(
            f"{schema}.{name}",
            found["channel"],
            found["data"],
            on=tuple(found["on"]),
            fields=tuple(found["fields"]),
            watch=tuple(found["watch"]),
            max_bytes=found["max_bytes"],
        )
    except (ValueError, KeyError, TypeError, BadMessage):
        return None
    return watch, table


def of_earlier_release(table: str, kinds: int, arguments: bytes) -> Watch | None:
    """The watch of a trigger of an earlier release: pg_trigger's tgtype and tgargs. None if it is not one."""
    words = [word.decode() for word in arguments.split(b"\0")[:-1]]
    if len(words) != 7:
        return None
    channel, data, column, fields, watched, _, longest = words
    try:
        return Watch(
            table,
            channel if channel.startswith("//") else channel.removeprefix("/"),
            "{" + column + "}" if column else json.loads(data),
            on=tuple(kind for kind, bit in _BITS.items() if kinds & bit),
            fields=tuple(filter(None, fields.split(","))),
            watch=() if watched == fields else tuple(filter(None, watched.split(","))),
            max_bytes=int(longest),
        )
    except (ValueError, BadMessage):
        return None


def helpers_sql(schema: str) -> str:
    """The functions that those of all tables call. `schema` is where the outbox is."""
    return _HELPERS.replace("{schema}", quoted(schema))


def function_sql(watch: Watch, table: Table, schema: str) -> str:
    """The function of one watched table. `schema` is where the outbox is."""
    name = f"{quoted(schema)}.{quoted(function_name(watch, table))}()"
    key = list(table.key)
    names = sorted({*watch.columns, *key})
    found = " AND ".join(f"t.{quoted(each)} = ($1).{quoted(each)}" for each in key).replace("%", "%%")
    placed = list(names_in(watch.channel))
    chosen = watch.watch or watch.fields
    is_shared = watch.data_column is None and not watch.fields
    is_one = not placed and is_shared
    moved = _differ(key) or "false"
    move, kinds = _MOVES.get(frozenset(watch.on), ("", ())) if key and table.unique else ("", ())
    kinds = (*watch.on, *kinds)
    lengths = [f"coalesce(pg_column_size({row}.{quoted(each)}), 0)" for each in sorted(table.long) for row in _ROWS]
    words = {
        "function": name,
        "settings": " ".join(f"SET {setting} = {value}" for setting, value in _SETTINGS.items()),
        "schema": quoted(schema),
        "names": _array(names),
        "numbers": "ARRAY[" + ",".join(str(table.columns[each]) for each in names) + "]::int2[]",
        "key": _array(key),
        "kinds": _array(kinds),
        "move": _filled(move, {"moved": moved}),
        "find": literal(f"SELECT t.ctid, t.xmin FROM ONLY %s t WHERE {found}"),
        "of_old": _object("OLD", names, table, watch.max_bytes),
        "of_new": _object("NEW", names, table, watch.max_bytes),
        "of_gone": _object("gone", names, table, watch.max_bytes),
        "is_short": " + ".join(["0", *lengths]) + f" < {_COMPARED}",
        # A row that has another key than before is another row: the one that had the old key is gone.
        "watched": _differ((*chosen, *key)) if chosen else "true",
        "moved": moved,
        "key_of_row": _key("row_", key),
        "key_of_new": _key("NEW", key),
        "key_of_before": _key_in("before_", key),
        "key_of_after": _key_in("after_", key),
        "channel_names": _array(placed),
        "channel_of_before": _channel("before_", watch.channel),
        "channel_of_after": _channel("after_", watch.channel),
        "payload": literal(dumps(watch.data).decode()),
        "column": "NULL" if watch.data_column is None else literal(watch.data_column),
        "fields": _array(watch.fields) if watch.fields else "NULL::text[]",
        "longest": str(watch.max_bytes),
        "is_hint": "false" if watch.fields else "true",
        "is_shared": "true" if is_shared else "false",
        "rows": str(MOST_TRUNCATED),
        "limit": str(1 if is_one else MOST_TRUNCATED + 1),
    }
    words["look"] = _filled(_LOOK, words) if key and table.unique else ""
    words["say"] = _filled(_SAY, words)
    words["quote"] = _quote_for("".join(words.values()))
    text = _filled(_FUNCTION, words)
    return (
        f"{text};\nREVOKE ALL ON FUNCTION {name} FROM PUBLIC;\n"
        f"COMMENT ON FUNCTION {name} IS {literal(described(watch, table))}"
    )


def trigger_sql(watch: Watch, table: Table, schema: str) -> str:
    """The triggers of one watched table, which call `function_sql`'s function."""
    kinds: set[Kind] = set(watch.on)
    if table.key and table.unique:
        # Of a row that a transaction changes several times the first event knows what it was before: one that was
        # inserted has not been changed, one that is deleted was elsewhere before it was changed.
        # One whose key was changed is gone, and a new one is there.
        if kinds & {"created", "deleted"}:
            kinds.add("changed")
        kinds.add("created")
    events = " OR ".join(EVENTS[kind] for kind in EVENTS if kind in kinds)
    # Deferred, so that it runs after the ORM has written its own rows of the outbox.
    text = (
        f"CREATE CONSTRAINT TRIGGER {quoted(watch.trigger)} AFTER {events} ON {table.sql} "
        f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        f"EXECUTE FUNCTION {quoted(schema)}.{quoted(function_name(watch, table))}()"
    )
    if "deleted" in watch.on:
        text += ";\n" + truncate_trigger_sql(watch, table, table, schema)
    return text


def truncate_trigger_sql(watch: Watch, table: Table, on: Table, schema: str) -> str:
    """The trigger for a TRUNCATE of the table, or of a partition: row triggers pass on to those, this one does not."""
    return (
        f"CREATE TRIGGER {quoted(watch.truncate_trigger)} BEFORE TRUNCATE ON {on.sql} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {quoted(schema)}.{quoted(function_name(watch, table))}()"
    )


def schema_sql(schema: str = "public") -> tuple[str, str]:
    """What `install` runs first, for a migration of your own: the outbox, and the functions that tables share."""
    return (OUTBOX, helpers_sql(schema))


def _filled(template: str, words: Mapping[str, str]) -> str:
    """`{{word}}` replaced. Names of columns may have braces in them, so what is put in is not looked at again."""
    first, *parts = template.split("{{")
    for part in parts:
        word, _, rest = part.partition("}}")
        first += words[word] + rest
    return first


def _quote_for(text: str) -> str:
    """Dollar quotes that end at nothing in the text: columns and payloads may have any name."""
    tag = "fanfare"
    while f"${tag}$" in text:
        tag += "_"
    return f"${tag}$"


def _key(row: str, names: Sequence[str]) -> str:
    """A row's key as text, of its columns."""
    return "concat_ws(',', " + ", ".join(f"to_jsonb({row}.{quoted(name)}) #>> '{{}}'" for name in names) + ")"


def _key_in(row: str, names: Sequence[str]) -> str:
    """The same of its JSON object; null if it is not all there."""
    return " || ',' || ".join(f"({row} ->> {literal(name)})" for name in names) or "NULL::text"


def _array(names: Sequence[str]) -> str:
    return "ARRAY[" + ",".join(literal(name) for name in names) + "]::text[]"


def _differ(names: Sequence[str]) -> str:
    """Whether one of these columns differs between OLD and NEW, bit by bit: that works for every type."""
    old, new = (",".join(f"{row}.{quoted(name)}" for name in names) for row in _ROWS)
    return f"record_image_ne(ROW({old}), ROW({new}))" if names else ""


def _object(row: str, names: Sequence[str], table: Table, longest: int) -> str:
    """A JSON object of these columns. One that is missing in it can't be said."""
    short = [name for name in names if name not in table.long]
    # A function takes a hundred arguments.
    chunks = [short[at : at + 40] for at in range(0, len(short), 40)] or [[]]
    parts = [
        "jsonb_build_object(" + ", ".join(f"{literal(name)}, {row}.{quoted(name)}" for name in chunk) + ")"
        for chunk in chunks
    ]
    parts += [
        # Neither unpacks the value. Text is at least as long in JSON, other types may be shorter than they are stored.
        (
            f"CASE WHEN octet_length({row}.{quoted(name)}::text) > {longest} THEN '{{}}'::jsonb "
            if name in table.text
            else f"CASE WHEN pg_column_size({row}.{quoted(name)}) > {longest * _STORED} THEN '{{}}'::jsonb "
        )
        + f"ELSE jsonb_build_object({literal(name)}, {row}.{quoted(name)}) END"
        for name in names
        if name in table.long
    ]
    return " || ".join(parts)


def _channel(row: str, template: str) -> str:
    """The channel's name by the columns in `row`; null where one of them is."""
    rest = template if template.startswith("/") else "/" + template
    parts = []
    for name in names_in(template):
        before, _, rest = rest.partition("{" + name + "}")
        parts += [literal(before), f"({row} ->> {literal(name)})"]
    return f"CASE WHEN {row} IS NOT NULL THEN " + " || ".join([*parts, literal(rest)]) + " END"


# The tables of `hub.orm.outbox`; a test holds the two together.
OUTBOX = """
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

# The functions of watched tables look every name up in pg_catalog first, and so do these, which they call: nobody's
# function of the same name runs with the definer's
# rights. The setting fanfare.state is the transaction's memory: its number, then what was noted, a line each. It is
# no SET LOCAL, which would end with the function; a savepoint that is rolled back takes its lines along.
_HELPERS = """
CREATE OR REPLACE FUNCTION {schema}.fanfare_once(entry text) RETURNS boolean
LANGUAGE plpgsql AS $fanfare$
-- True the first time in a transaction, false after that, null when no more can be remembered.
DECLARE
    top    text := pg_current_xact_id()::text || E'\\n';
    state  text := current_setting('fanfare.state', true);
BEGIN
    IF state IS NULL OR NOT starts_with(state, top) THEN state := top; END IF;
    IF strpos(state, E'\\n' || entry || E'\\n') > 0 THEN RETURN false; END IF;
    IF length(state) + length(entry) > (CASE WHEN entry ~ '^[w+!]' THEN 10000 ELSE 8000 END) THEN RETURN NULL; END IF;
    PERFORM set_config('fanfare.state', state || entry || E'\\n', false);
    RETURN true;
END
$fanfare$;

CREATE OR REPLACE FUNCTION {schema}.fanfare_noted(entry text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $fanfare$
-- Whether fanfare_once was given this in this transaction.
DECLARE
    state  text := current_setting('fanfare.state', true);
BEGIN
    RETURN coalesce(starts_with(state, pg_current_xact_id()::text || E'\\n')
        AND strpos(state, E'\\n' || entry || E'\\n') > 0, false);
END
$fanfare$;

CREATE OR REPLACE FUNCTION {schema}.fanfare_warn(message text) RETURNS void
LANGUAGE plpgsql AS $fanfare$
BEGIN
    message := regexp_replace(left(message, 500), '[^ -~]', '?', 'g');
    IF {schema}.fanfare_once('w' || md5(message)) THEN RAISE WARNING '%', 'fanfare: ' || message; END IF;
END
$fanfare$;

CREATE OR REPLACE FUNCTION {schema}.fanfare_columns(
    relation oid, trigger_ name, names text[], numbers int2[], row_ record
) RETURNS jsonb LANGUAGE plpgsql AS $fanfare$
-- These columns of the row, by the numbers they had when the table was first watched where there is none of that
-- name any more. What can't be had is not in the answer.
DECLARE
    root    oid;
    called  text;
    value   jsonb;
    object  jsonb := '{}';
BEGIN
    -- The numbers are the watched table's; a partition has its own, but the same names.
    SELECT p.relid INTO root FROM pg_partition_ancestors(relation) WITH ORDINALITY AS p(relid, n)
        JOIN pg_trigger t ON t.tgrelid = p.relid AND t.tgname = trigger_ ORDER BY n DESC LIMIT 1;
    FOR i IN 1 .. coalesce(array_length(names, 1), 0) LOOP
        SELECT a.attname INTO called FROM pg_attribute a
            WHERE a.attrelid = coalesce(root, relation) AND NOT a.attisdropped
            AND (a.attname = names[i] OR a.attnum = numbers[i]) ORDER BY a.attname = names[i] DESC LIMIT 1;
        IF called IS NULL THEN
            PERFORM {schema}.fanfare_warn(format('%s has no column %s any more: see `fanfare watch`',
                relation::regclass, names[i]));
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('SELECT to_jsonb(($1).%I)', called) INTO value USING row_;
            object := object || jsonb_build_object(names[i], value);
        EXCEPTION
        WHEN transaction_rollback THEN RAISE;
        WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    RETURN object;
END
$fanfare$;

CREATE OR REPLACE FUNCTION {schema}.fanfare_payload(
    kind text, key text[], before_ jsonb, after_ jsonb, payload text, column_ text, fields text[], longest int
) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $fanfare$
DECLARE
    current_  jsonb := coalesce(after_, before_);
BEGIN
    IF column_ IS NOT NULL THEN
        payload := CASE WHEN current_ ? column_ THEN (current_ -> column_)::text ELSE 'true' END;
    ELSIF fields IS NOT NULL THEN
        payload := jsonb_build_object(
            'id', CASE WHEN cardinality(key) = 1 THEN current_ -> key[1]
                       ELSE (SELECT jsonb_agg(current_ -> k ORDER BY n)
                             FROM unnest(key) WITH ORDINALITY AS u(k, n)) END,
            'change', kind,
            'fields', CASE WHEN kind = 'deleted' THEN '{}'::jsonb WHEN after_ ?& fields THEN (
                SELECT coalesce(jsonb_object_agg(f, after_ -> f), '{}'::jsonb) FROM unnest(fields) AS f
                WHERE kind = 'created' OR before_ -> f IS DISTINCT FROM after_ -> f
            ) END
        )::text;
        IF octet_length(payload) > longest THEN
            payload := jsonb_set(payload::jsonb, '{fields}', 'null'::jsonb)::text;
        END IF;
    END IF;
    RETURN CASE WHEN octet_length(payload) > longest THEN 'true' ELSE payload END;
END
$fanfare$;

CREATE OR REPLACE FUNCTION {schema}.fanfare_put(
    table_ text, about text, channel_ text, payload text, is_hint boolean, is_shared boolean
) RETURNS void LANGUAGE plpgsql AS $fanfare$
-- about: the row, as `comment:17`, or null. is_shared: the payload is the same for all rows of the table.
DECLARE
    top    text := pg_current_xact_id()::text || E'\\n';
    state  text := current_setting('fanfare.state', true);
BEGIN
    IF channel_ IS NULL THEN RETURN; END IF;
    IF length(channel_) > 255 OR channel_ ~ '[[:cntrl:]]' OR channel_ ~ '^/((meta|service)(/|$)|$)' THEN
        PERFORM {schema}.fanfare_warn(format('%s: channel %s can''t be told', coalesce(about, table_),
            left(channel_, 80)));
        RETURN;
    END IF;
    IF length(about) > 255 THEN about := NULL; END IF;
    IF getdatabaseencoding() <> 'UTF8' THEN
        -- What can't be read as UTF-8 would be in the way of all that comes after it.
        BEGIN
            PERFORM convert_to(channel_, 'UTF8');
        EXCEPTION WHEN OTHERS THEN
            PERFORM {schema}.fanfare_warn(format('%s: a channel that is not UTF-8 can''t be told', table_));
            RETURN;
        END;
        BEGIN
            PERFORM convert_to(payload, 'UTF8'), convert_to(about, 'UTF8');
        EXCEPTION WHEN OTHERS THEN
            payload := 'true';
            is_hint := true;
            about := NULL;
        END;
    END IF;
    IF state IS NULL OR NOT starts_with(state, top) THEN state := ''; END IF;
    IF strpos(state, E'\\n!\\n') > 0 THEN
        RETURN;
    ELSIF strpos(state, E'\\n+\\n') > 0 THEN
        PERFORM {schema}.fanfare_write(table_, about, channel_, payload, is_hint, is_shared);
        RETURN;
    END IF;
    BEGIN
        IF NOT {schema}.fanfare_write(table_, about, channel_, payload, is_hint, is_shared) THEN RETURN; END IF;
        PERFORM {schema}.fanfare_once('+');
        -- A transaction that said NOTIFY can't be prepared for two-phase commit. Where that is in use, NOTIFY is
        -- left to those that are surely committing now; the rest is found by the next look.
        IF current_setting('max_prepared_transactions') = '0'
            OR current_query() ~* '^\\s*(commit|end)\\M'
            OR (transaction_timestamp() = statement_timestamp()
                AND current_query() !~* '\\m(begin|start|prepare)\\M')
        THEN
            PERFORM pg_notify('fanfare_outbox', '');
        END IF;
    EXCEPTION
    WHEN transaction_rollback THEN RAISE;
    WHEN OTHERS THEN
        PERFORM {schema}.fanfare_warn(format('changes of %s are told to nobody: %s', table_, SQLERRM));
        PERFORM {schema}.fanfare_once('!');
    END;
END
$fanfare$;

CREATE OR REPLACE FUNCTION {schema}.fanfare_write(
    table_ text, about text, channel_ text, payload text, is_hint boolean, is_shared boolean
) RETURNS boolean LANGUAGE plpgsql AS $fanfare$
-- False if this was told in the same transaction: by the ORM, or for another row. The ORM's rows are due later than
-- they were made, ours at once.
DECLARE
    top       bigint  := pg_current_xact_id()::text::bigint;
    now_      float8  := extract(epoch FROM clock_timestamp());
    subject_  text    := about;
    is_new    boolean := true;
    is_told   boolean;
BEGIN
    IF is_shared THEN
        subject_ := table_ || ':* ' || md5(channel_);
        is_new := {schema}.fanfare_once('c' || md5(channel_ || payload));
        IF NOT is_new THEN RETURN false; END IF;
    END IF;
    -- In a serializable transaction a look into the outbox would conflict with those who write it.
    IF current_setting('transaction_isolation') <> 'serializable' AND (about IS NOT NULL OR is_new IS NULL) THEN
        SELECT (array_agg(o.due IS DISTINCT FROM o.created OR o.data = payload ORDER BY o.id DESC))[1] INTO is_told
        FROM {schema}.fanfare_outbox o,
            LATERAL (SELECT (o.xmin::text::bigint - top) & 4294967295 AS after) x
        WHERE o.subject IN (about, CASE WHEN is_new IS NULL THEN subject_ END)
            AND o.channel = channel_
            -- Of this transaction, or of a savepoint in it: those have later numbers.
            AND CASE WHEN x.after = 0 THEN true
                     WHEN x.after < 1000000 AND o.created > now_ - 86400
                     THEN pg_xact_status((top + x.after)::text::xid8) = 'in progress'
                     ELSE false END;
        IF is_told THEN RETURN false; END IF;
    END IF;
    -- The sequence may be behind the table, after a restore.
    FOR try IN 1 .. 1000 LOOP
        INSERT INTO {schema}.fanfare_outbox (channel, data, hint, subject, created, due, tries)
        VALUES (channel_, payload, is_hint, subject_, now_, now_, 0) ON CONFLICT DO NOTHING;
        IF FOUND THEN RETURN true; END IF;
    END LOOP;
    RAISE EXCEPTION 'the ids of fanfare_outbox are taken: setval() its sequence';
END
$fanfare$;
"""

_FUNCTION = """CREATE OR REPLACE FUNCTION {{function}} RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp {{settings}} AS {{quote}}
DECLARE
    table_     text;
    is_mine    boolean;
    kind       text := CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END;
    before_    jsonb;
    after_     jsonb;
    about      text;
    row_       record;
    gone       record;
    n          int := 0;
    payload    text;
    hint_      boolean := {{is_hint}};
    place      tid;
    maker      xid;
    note       text;
    is_ours    boolean;
    is_moved   boolean := false;
    about_of_old    text;
    payload_of_old  text;
    channel_of_old  text;
    channel_of_new  text;
BEGIN
    -- Values become JSON with the rights of who owns this function: by a cast of the table's owner, if he has made one.
    SELECT c.relname, pg_get_userbyid(c.relowner) = current_user INTO table_, is_mine
    FROM pg_class c WHERE c.oid = coalesce(pg_partition_root(TG_RELID)::oid, TG_RELID);
    IF NOT is_mine THEN
        PERFORM {{schema}}.fanfare_warn(format('%s has another owner than its trigger''s function: '
            'changes are told to nobody, see `fanfare watch`', table_));
        RETURN NULL;
    END IF;

    IF TG_OP = 'TRUNCATE' THEN
        BEGIN
            -- Its rows as one column, whatever theirs are called: what stands alone in SQL may be a column's name.
            FOR row_ IN EXECUTE format('SELECT (t.*)::%2$s AS gone FROM %1$s %2$s t LIMIT {{limit}}',
                CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = TG_RELID AND c.relkind = 'p')
                THEN '' ELSE 'ONLY' END, TG_RELID::regclass)
            LOOP
                n := n + 1;
                IF n > {{rows}} THEN
                    PERFORM {{schema}}.fanfare_warn(
                        format('TRUNCATE of %s: only {{rows}} of its rows are told', table_));
                    EXIT;
                END IF;
                gone := row_.gone;
                BEGIN
                    before_ := {{of_gone}};
                EXCEPTION
                WHEN transaction_rollback THEN RAISE;
                WHEN OTHERS THEN
                    before_ := {{schema}}.fanfare_columns(TG_RELID, TG_NAME, {{names}}, {{numbers}}, gone);
                END;
                payload := {{schema}}.fanfare_payload(
                    kind, {{key}}, before_, NULL, {{payload}}, {{column}}, {{fields}}, {{longest}});
                PERFORM {{schema}}.fanfare_put(table_, table_ || ':' || {{key_of_before}}, {{channel_of_before}},
                    payload, hint_, {{is_shared}});
            END LOOP;
        EXCEPTION
        WHEN transaction_rollback THEN RAISE;
        WHEN OTHERS THEN
            PERFORM {{schema}}.fanfare_warn(format('TRUNCATE of %s is told to nobody: %s', table_, SQLERRM));
        END;
        RETURN NULL;
    END IF;

    BEGIN
        {{look}}
        {{move}}
        IF kind <> ALL ({{kinds}}) THEN RETURN NULL; END IF;
        IF kind = 'changed' THEN
            IF {{is_short}} AND NOT OLD *<> NEW THEN RETURN NULL; END IF;
            IF NOT ({{watched}}) THEN RETURN NULL; END IF;
            is_moved := {{moved}};
        END IF;
        IF kind <> 'created' THEN before_ := {{of_old}}; END IF;
        IF kind <> 'deleted' THEN after_ := {{of_new}}; END IF;
        {{say}}
    EXCEPTION
    WHEN transaction_rollback THEN RAISE;
    WHEN OTHERS THEN
        before_ := NULL;
        after_ := NULL;
        payload := NULL;
        BEGIN
            IF kind <> 'created' THEN
                before_ := {{schema}}.fanfare_columns(TG_RELID, TG_NAME, {{names}}, {{numbers}}, OLD);
            END IF;
            IF kind <> 'deleted' THEN
                after_ := {{schema}}.fanfare_columns(TG_RELID, TG_NAME, {{names}}, {{numbers}}, NEW);
            END IF;
        EXCEPTION
        WHEN transaction_rollback THEN RAISE;
        WHEN OTHERS THEN
            -- A row of a gigabyte is more than a function may be given.
            PERFORM {{schema}}.fanfare_warn(format('a change of %s is told to nobody: %s', table_, SQLERRM));
            RETURN NULL;
        END;
    END;
    IF payload IS NULL THEN
        IF kind <> ALL ({{kinds}}) THEN RETURN NULL; END IF;
        IF NOT coalesce(after_, before_) ?& {{channel_names}} THEN
            PERFORM {{schema}}.fanfare_warn(format('%s: its channel can''t be told', table_));
            RETURN NULL;
        END IF;
        BEGIN
            {{say}}
        EXCEPTION
        WHEN transaction_rollback THEN RAISE;
        WHEN OTHERS THEN
            payload := 'true';
            payload_of_old := 'true';
            hint_ := true;
        END;
    END IF;

    about_of_old := table_ || ':' || {{key_of_before}};
    about := coalesce(table_ || ':' || {{key_of_after}}, about_of_old);
    IF NOT is_moved THEN about_of_old := about; END IF;
    channel_of_old := {{channel_of_before}};
    channel_of_new := {{channel_of_after}};
    PERFORM {{schema}}.fanfare_put(table_, about_of_old, channel_of_old, payload_of_old, hint_, {{is_shared}});
    IF channel_of_new IS DISTINCT FROM channel_of_old OR is_moved THEN
        PERFORM {{schema}}.fanfare_put(table_, about, channel_of_new, payload, hint_, {{is_shared}});
    END IF;
    RETURN NULL;
END
{{quote}}"""

# By the kinds of a watch without `changed`: what a change of a row is to it, and the kinds that it tells then. One with
# another key is a row that is gone and one that is new; `changed` tells both.
_MOVES: dict[frozenset[Kind], tuple[str, tuple[Kind, ...]]] = {
    frozenset({"created"}): ("IF kind = 'changed' AND ({{moved}}) THEN kind := 'created'; END IF;", ()),
    frozenset({"deleted"}): ("IF kind = 'changed' AND ({{moved}}) THEN kind := 'deleted'; END IF;", ()),
    frozenset({"created", "deleted"}): (
        "IF kind = 'changed' AND NOT ({{moved}}) THEN RETURN NULL; END IF;",
        ("changed",),
    ),
}

_SAY = """
        IF is_moved AND NOT {{is_shared}} THEN
            payload_of_old := {{schema}}.fanfare_payload(
                'deleted', {{key}}, before_, NULL, {{payload}}, {{column}}, {{fields}}, {{longest}});
            payload := {{schema}}.fanfare_payload(
                'created', {{key}}, NULL, after_, {{payload}}, {{column}}, {{fields}}, {{longest}});
        ELSE
            payload := {{schema}}.fanfare_payload(
                kind, {{key}}, before_, after_, {{payload}}, {{column}}, {{fields}}, {{longest}});
            payload_of_old := payload;
        END IF;
        IF NOT coalesce(after_, before_) ?& {{channel_names}} THEN payload := NULL; END IF;
"""

# Only where a row can be found by its key. What is told is what the transaction left: of several events of a row
# the first that sees it changed again tells all, and notes where the row is then; the others find the note.
_LOOK = """
        is_ours := TG_OP <> 'INSERT'
            AND ((OLD.xmin::text::bigint - pg_current_xact_id()::text::bigint) & 4294967295) < 2147483648;
        IF (CASE TG_OP WHEN 'DELETE' THEN is_ours ELSE NEW.xmax::text <> '0' END) THEN
            IF current_setting('transaction_isolation') <> 'serializable' AND NOT row_security_active(TG_RELID) THEN
                IF TG_OP = 'DELETE' THEN row_ := OLD; ELSE row_ := NEW; END IF;
                note := 'r' || TG_NAME || table_ || ':' || {{key_of_row}};
                EXECUTE format({{find}}, TG_RELID::regclass) INTO place, maker USING row_;
                note := note || '@' || coalesce(place::text || maker::text, '');
                IF TG_OP = 'DELETE' THEN
                    IF {{schema}}.fanfare_noted(note) THEN RETURN NULL; END IF;
                ELSE
                    IF NOT {{schema}}.fanfare_once(note) AND (is_ours OR TG_OP = 'INSERT') THEN RETURN NULL; END IF;
                    IF place IS NULL THEN
                        IF TG_OP = 'INSERT' THEN RETURN NULL; END IF;
                        kind := 'deleted';
                    ELSIF place <> NEW.ctid THEN
                        EXECUTE format('SELECT (t.*)::%1$s AS found FROM ONLY %1$s t WHERE t.ctid = $1',
                            TG_RELID::regclass) INTO row_ USING place;
                        NEW := row_.found;
                    END IF;
                END IF;
            END IF;
        ELSIF (is_ours OR TG_OP = 'INSERT') AND strpos(current_setting('fanfare.state', true), E'\\nr') > 0 THEN
            note := 'r' || TG_NAME || table_ || ':' || {{key_of_new}} || '@' || NEW.ctid::text || NEW.xmin::text;
            IF {{schema}}.fanfare_noted(note) THEN
                RETURN NULL;
            END IF;
        END IF;
        -- Another key than before, and not for the first time: whether there is still a row with that one is for
        -- those to tell that made it so.
        IF is_ours AND TG_OP = 'UPDATE' AND {{moved}}
            AND current_setting('transaction_isolation') <> 'serializable'
        THEN
            row_ := OLD;
            note := 'r' || TG_NAME || table_ || ':' || {{key_of_row}} || '@';
            EXECUTE format({{find}}, TG_RELID::regclass) INTO place, maker USING row_;
            IF place IS NOT NULL OR {{schema}}.fanfare_noted(note) THEN
                IF kind = 'deleted' THEN RETURN NULL; END IF;
                kind := 'created';
            END IF;
        END IF;
"""
