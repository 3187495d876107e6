"""Watched tables made from a seed, and programs that change them (test_watched_random.py).

Names, types and keys are any that PostgreSQL takes; a column `nr` without a duplicate says which row is which.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from hub.orm.declarations import Kind, names_in
from hub.orm.postgres import Watch, quoted

#: Names that a channel can hold in braces. Some are words of SQL, some of the triggers' own SQL.
NAMES = (
    "t", "c", "x", "new", "old", "tg_op", "row_", "gone", "found", "place", "maker", "note", "kind", "before_",
    "after_",
    "payload", "about", "table_", "is_ours", "n", "fanfare_place", "fanfare_table", "fanfare_outbox", "channel", "data",
    "user", "select", "from", "order", "group", "table", "current_user", "record", "int4", "text", "null", "true",
    "Upper", "MiXed", "É", "名前", "_", "oid", "names", "value", "key",
)  # fmt: skip

#: Names that none can: of keys, of payloads, of tables.
ODD = (
    'a"b', "it's", "100%s", "{x}", "{{names}}", "$fanfare$", "$1", "a\\b", "a b", " ", "--", "/*", ";", "\t", "%I", "€",
    "x" * 63,
)  # fmt: skip

#: A column's type, and its values as SQL.
TYPES: dict[str, tuple[str, ...]] = {
    "int": ("1", "2", "3", "-2147483648", "NULL"),
    "bigint": ("1", "9223372036854775807", "NULL"),
    "bool": ("true", "false", "NULL"),
    "text": ("''", "'a'", "'b c'", "'É'", "E'line\\nbreak'", "repeat('x', 300)", "'{x}'", "'100%'", "NULL"),
    "varchar(5)": ("'a'", "'b'", "NULL"),
    "char(3)": ("'a'", "'bcd'", "NULL"),
    "numeric": ("1", "1.50", "'NaN'", "1e30", "NULL"),
    "float8": ("0.1::float8 + 0.2", "1e300", "'-Infinity'", "NULL"),
    "timestamptz": ("'2024-07-01 12:00:00+00'", "'infinity'", "'1900-01-01 00:00:00+05:45'", "NULL"),
    "timestamp": ("'2024-07-01 12:00:00.5'", "NULL"),
    "date": ("'2024-07-01'", "'-infinity'", "NULL"),
    "interval": ("'1 day 02:03:04'", "'-1 mon'", "NULL"),
    "daterange": ("'[2024-07-01,2024-07-09)'", "'empty'", "NULL"),
    "bytea": ("decode('00ff', 'hex')", "''", "NULL"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "NULL"),
    "json": ("'{\"a\": 1}'", "'[1,  2]'", "'null'", "NULL"),
    "jsonb": ("'{\"a\": [null]}'", "'\"x\"'", "NULL"),
    "int[]": ("'{1,2}'", "'{}'", "NULL"),
    "money": ("1.5::money", "NULL"),
    "mood": ("'glad'", "'it''s'", "NULL"),
    "pair": ("ROW(1, 'x')::pair", "NULL"),
}

#: Types of which a key may be made. NULL is no key, and floats are in nobody's.
KEYS = ("int", "bigint", "text", "uuid", "timestamptz", "date", "bytea", "numeric")

SETTINGS = (
    "SET TimeZone = 'Asia/Kathmandu'",
    "SET TimeZone = 'America/St_Johns'",
    "SET DateStyle = 'German, DMY'",
    "SET IntervalStyle = 'iso_8601'",
    "SET extra_float_digits = -5",
    "SET bytea_output = 'escape'",
    "SET search_path = public, pg_catalog",
    "RESET ALL",
)

MADE = "CREATE TYPE mood AS ENUM ('glad', 'it''s'); CREATE TYPE pair AS (a int, b text);"

EVENTS: tuple[Kind, ...] = ("created", "changed", "deleted")


@dataclass
class RandomTable:
    """A table, what is watched of it, and its columns by name; those that may be written, with their values."""

    name: str
    create: str
    watches: list[Watch]
    key: tuple[str, ...]
    #: Whether the key is one to PostgreSQL. Else it is `nr`, by which only the tests know a row.
    has_key: bool
    columns: dict[str, str]
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def sql(self) -> str:
        return quoted(self.name)

    def values(self, dice: random.Random) -> dict[str, str]:
        """A value for each column that may be written, as SQL."""
        return {name: dice.choice(values) for name, values in self.written.items()}


def random_table(seed: int, *, virtual: bool) -> RandomTable:
    """A table and its watches. virtual: the server knows VIRTUAL generated columns."""
    dice = random.Random(f"table {seed}")
    name = dice.choice((*NAMES, *ODD))
    if name == "fanfare_outbox":
        # A table called so is the outbox.
        name = "fanfare_lease_"
    names = dice.sample([one for one in NAMES if one != "nr"], 12)
    odd = dice.sample([one for one in ODD if one != name], 4)
    shape = dice.choice(("key", "key", "key", "two", "nr", "none", "partitioned"))
    columns: dict[str, str] = {"nr": "int"}
    written: dict[str, tuple[str, ...]] = {}

    def column(called: str, kind: str) -> str:
        columns[called] = kind
        written[called] = TYPES[kind]
        return called

    key: tuple[str, ...] = {"nr": ("nr",), "none": ()}.get(shape, ("?",))
    if key == ("?",):
        parts = [column(dice.choice((names.pop(), odd.pop())), dice.choice(KEYS)) for _ in range(1 + (shape == "two"))]
        key = (*parts, "nr") if shape == "partitioned" else tuple(parts)
    for _ in range(dice.randint(2, 5)):
        column(names.pop(), dice.choice(sorted(TYPES)))
    payload = column(dice.choice((names.pop(), odd.pop())), dice.choice(sorted(TYPES)))
    plain = [one for one in columns if one.isidentifier()]
    ready: list[str] = []
    hidden: list[str] = []
    if dice.random() < 0.4:
        made = names.pop()
        columns[made] = "text"
        ready.append(f"{quoted(made)} text GENERATED ALWAYS AS ('made ' || nr) STORED")
        plain.append(made)
    if virtual and dice.random() < 0.4:
        made = names.pop()
        ready.append(f"{quoted(made)} int GENERATED ALWAYS AS (nr * 2) VIRTUAL")
        hidden.append(made)

    parts = [f"{quoted(one)} {kind}" for one, kind in columns.items() if one == "nr" or one in written] + ready
    dice.shuffle(parts)
    # A column that is gone leaves a hole in the numbers of the others.
    junk = dice.randrange(len(parts) + 1)
    parts.insert(junk, "junk int")
    if key:
        parts.append(f"PRIMARY KEY ({', '.join(map(quoted, key))})")
    table = quoted(name)
    create = f"CREATE TABLE {table} ({', '.join(parts)})"
    if shape == "partitioned":
        create += " PARTITION BY HASH (nr)"
        for rest in (0, 1):
            create += f"; CREATE TABLE part{rest} PARTITION OF {table} FOR VALUES WITH (MODULUS 2, REMAINDER {rest})"
    create += f"; ALTER TABLE {table} DROP junk; CREATE UNIQUE INDEX ON {table} (nr)"

    watches = [_random_watch(dice, name, at, plain, payload, bool(key)) for at in range(dice.randint(1, 3))]
    return RandomTable(
        name, create, watches, key or ("nr",), bool(key), {**columns, **dict.fromkeys(hidden, "int")}, written
    )


def _random_watch(dice: random.Random, table: str, at: int, plain: list[str], payload: str, has_key: bool) -> Watch:
    named = dice.sample(plain, dice.randint(0, min(3, len(plain))))
    channel = f"w{at}" + "".join(f"-{{{one}}}" for one in named)
    options: dict[str, Any] = {}
    way = dice.choice(("plain", "column", "fields", "fields" if has_key else "plain", "data"))
    if way == "column":
        options["data"] = f"{{{payload}}}"
    elif way == "fields" and has_key:
        options["fields"] = tuple(dice.sample(plain, dice.randint(1, len(plain))))
    elif way == "data":
        options["data"] = dice.choice(({"a": "$fanfare$"}, "it's", [1, None], "{{limit}} %s"))
    if dice.random() < 0.2:
        options["watch"] = tuple(dice.sample(plain, dice.randint(1, len(plain))))
    if dice.random() < 0.3:
        options["on"] = tuple(one for one in EVENTS if dice.random() < 0.6) or ("changed",)
    return Watch(table, channel, **options)


def channel_of(watch: Watch, row: dict[str, Any]) -> str | None:
    """The channel of a row whose values are texts, by the words of the manual."""
    values = {one: row[one] for one in names_in(watch.channel)}
    if None in values.values():
        return None
    found = "/" + watch.channel.format_map(values)
    return None if len(found) > 255 or not all(one >= " " and one != "\x7f" for one in found) else found
