"""Watched tables of any shape: what is told equals what a comparison of the tables before and after says, per commit.

Tables and programs are made from seeds (random_tables.py, searching.py). For every commit:

- the channels of the row before and of the row after, for each row that differs as its watch asks, are told;
- nothing is told but channels of a row before or after; where triggers ran before the end, or the table has no
  primary key, of a state that was not rolled back;
- who does what the fields say has the rows; payloads are the row's;
- nothing fails, and no table is said to tell nobody.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from random_tables import MADE, SETTINGS, RandomTable, channel_of, random_table
from searching import seeds

from hub.orm.declarations import names_in
from hub.orm.postgres import install, look, quoted
from hub.orm.triggers import EVENTS, Watch

#: Tables made, each with a program of its own: the same in every run (searching.py says how to run others).
TABLES = 40

OPERATIONS = (
    "insert", "insert", "insert", "update", "update", "update", "update all", "touch", "move key", "delete", "upsert",
    "upsert nothing", "replace", "set", "savepoint", "release", "back", "early", "late", "truncate", "commit", "commit",
    "rollback",
)  # fmt: skip

ISOLATIONS = ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")

#: A row: its values as texts, and as JSON.
Row = tuple[dict[str, Any], dict[str, Any]]
Rows = dict[tuple[Any, ...], Row]
#: What was told: the channel, the data, the row it is about.
Told = tuple[str, Any, str | None]

LOOKED = """
CREATE FUNCTION looked() RETURNS SETOF jsonb LANGUAGE sql SET timezone = 'UTC' SET datestyle = 'ISO, MDY'
SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $look$ SELECT to_jsonb(x.*) FROM {table} x $look$
"""

# A table may be called `text`, and so may its rows' type be.
LOOK = """
SELECT l::pg_catalog.text, (SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(l))::pg_catalog.text
FROM public.looked() l
"""


@dataclass
class Session:
    """One of the sessions of a program, which changes rows of its own: those whose `nr` is even, or odd."""

    psql: Any
    parity: int
    before: Rows = field(default_factory=dict)
    is_open: bool = False
    is_early: bool = False
    isolation: str = ""
    #: The rows after each step, which triggers may have seen; one list for each savepoint that is open, and the
    #: transaction's.
    seen: list[list[Rows]] = field(default_factory=list)


class Program:
    """Changes a table by a seed, and compares."""

    def __init__(self, table: RandomTable, outside: Any, sessions: list[Session], dice: random.Random) -> None:
        self.table = table
        self.outside = outside
        self.sessions = sessions
        self.dice = dice
        self.last = 0
        self.said: list[str] = []

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            session = self.dice.choice(self.sessions)
            name = self.dice.choice(OPERATIONS)
            if not session.is_open:
                session.isolation = self.dice.choice(ISOLATIONS)
                session.is_open = True
                session.is_early = session.isolation == "SERIALIZABLE" or not self.table.has_key
                await self.say(session, f"BEGIN ISOLATION LEVEL {session.isolation}")
                session.seen = [[session.before]]
            try:
                await getattr(self, "do_" + name.replace(" ", "_"))(session)
                if session.is_open:
                    session.seen[-1].append(await self.rows(session.psql, session))
            except (asyncpg.UniqueViolationError, asyncpg.LockNotAvailableError, asyncpg.SerializationError):
                await self.do_rollback(session)
        for session in self.sessions:
            if session.is_open:
                try:
                    await self.do_commit(session)
                except asyncpg.SerializationError:
                    await self.do_rollback(session)

    async def say(self, session: Session, statement: str) -> None:
        self.said.append(f"{session.parity}: {statement}")
        await session.psql.execute(statement)

    async def rows(self, psql: Any, session: Session) -> Rows:
        found: Rows = {}
        for row, texts in await psql.fetch(LOOK):
            values, words = json.loads(row), json.loads(texts)
            if values["nr"] % 2 == session.parity:
                found[tuple(words[one] for one in self.table.key)] = (words, values)
        return found

    # Statements

    def new(self, session: Session) -> dict[str, str]:
        self.last += 1
        return {"nr": str(2 * self.last + session.parity), **self.table.values(self.dice)}

    def some(self, session: Session) -> dict[str, str]:
        """New values of some columns; none that make another key."""
        values = {name: value for name, value in self.table.values(self.dice).items() if name not in self.table.key}
        return {name: values[name] for name in self.dice.sample(sorted(values), self.dice.randint(1, len(values)))}

    def insert(self, values: dict[str, str]) -> str:
        # A key is not null.
        names, given = ", ".join(map(quoted, values)), ", ".join(self.keyed(values).values())
        return f"INSERT INTO {self.table.sql} ({names}) VALUES ({given})"

    def keyed(self, values: dict[str, str]) -> dict[str, str]:
        return {
            name: next(one for one in self.table.written[name] if one != "NULL")
            if value == "NULL" and name in self.table.key
            else value
            for name, value in values.items()
        }

    def where(self, session: Session) -> str:
        nr = 2 * self.dice.randint(1, max(1, self.last)) + session.parity
        return f"WHERE nr % 2 = {session.parity} AND nr {self.dice.choice(('=', '=', '>='))} {nr}"

    def set(self, values: dict[str, str]) -> str:
        return "SET " + ", ".join(f"{quoted(name)} = {value}" for name, value in values.items())

    async def guarded(self, session: Session, statement: str) -> None:
        """Half of the statements in a savepoint of their own, where they may fail."""
        if self.dice.random() < 0.5:
            await self.say(session, statement)
            return
        await self.say(session, "SAVEPOINT guard")
        try:
            await self.say(session, statement)
        except (asyncpg.UniqueViolationError, asyncpg.LockNotAvailableError):
            await self.say(session, "ROLLBACK TO guard")
        await self.say(session, "RELEASE guard")

    async def do_insert(self, session: Session) -> None:
        more = self.dice.choice(("", " ON CONFLICT DO NOTHING", " ON CONFLICT DO NOTHING"))
        await self.guarded(session, self.insert(self.new(session)) + more)

    async def do_update(self, session: Session) -> None:
        await self.guarded(session, f"UPDATE {self.table.sql} {self.set(self.some(session))} {self.where(session)}")

    async def do_update_all(self, session: Session) -> None:
        where = f"WHERE nr % 2 = {session.parity}"
        await self.guarded(session, f"UPDATE {self.table.sql} {self.set(self.some(session))} {where}")

    async def do_touch(self, session: Session) -> None:
        """An UPDATE that changes nothing, or a lock: both leave their marks on rows."""
        where = self.where(session)
        if self.dice.random() < 0.5:
            await self.say(session, f"SELECT FROM {self.table.sql} {where} FOR UPDATE")
        else:
            await self.guarded(session, f"UPDATE {self.table.sql} SET nr = nr {where}")

    async def do_move_key(self, session: Session) -> None:
        [name, *_] = self.table.key
        if name == "nr":
            await self.guarded(
                session, f"UPDATE {self.table.sql} SET nr = nr + {2 * self.dice.randint(0, 3)} {self.where(session)}"
            )
            self.last += 4
        else:
            value = self.keyed({name: self.dice.choice(self.table.written[name])})
            await self.guarded(session, f"UPDATE {self.table.sql} {self.set(value)} {self.where(session)}")

    async def do_delete(self, session: Session) -> None:
        await self.guarded(session, f"DELETE FROM {self.table.sql} {self.where(session)}")

    async def do_upsert(self, session: Session) -> None:
        values = self.new(session)
        values["nr"] = str(2 * self.dice.randint(1, self.last) + session.parity)
        changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in self.some(session))
        await self.guarded(session, f"{self.insert(values)} ON CONFLICT (nr) DO UPDATE SET {changes}")

    async def do_upsert_nothing(self, session: Session) -> None:
        values = self.new(session)
        values["nr"] = str(2 * self.dice.randint(1, self.last) + session.parity)
        await self.guarded(session, f"{self.insert(values)} ON CONFLICT DO NOTHING")

    async def do_replace(self, session: Session) -> None:
        """Another row with the key of one that goes."""
        rows = await self.rows(session.psql, session)
        if rows:
            _, values = rows[self.dice.choice(sorted(rows, key=str))]
            nr = values["nr"]
            names = ", ".join(quoted(one) for one in self.table.written)
            table = self.table.sql
            self.last += 1
            await self.guarded(
                session,
                f"WITH gone AS MATERIALIZED (SELECT * FROM {table} WHERE nr = {nr}) "
                f"SELECT {names} INTO TEMP TABLE kept_{self.last} FROM gone; DELETE FROM {table} WHERE nr = {nr}; "
                f"INSERT INTO {table} (nr, {names}) SELECT {2 * self.last + session.parity}, * FROM kept_{self.last}",
            )

    async def do_truncate(self, session: Session) -> None:
        if len(self.sessions) > 1:
            return
        # PostgreSQL wants the triggers first.
        session.is_early = True
        await self.say(session, "SET CONSTRAINTS ALL IMMEDIATE")
        await self.say(session, f"TRUNCATE {self.table.sql}")
        await self.say(session, "SET CONSTRAINTS ALL DEFERRED")

    async def do_set(self, session: Session) -> None:
        await self.say(session, self.dice.choice(SETTINGS))

    # Transactions

    async def do_early(self, session: Session) -> None:
        session.is_early = True
        await self.say(session, "SET CONSTRAINTS ALL IMMEDIATE")

    async def do_late(self, session: Session) -> None:
        await self.say(session, "SET CONSTRAINTS ALL DEFERRED")

    async def do_savepoint(self, session: Session) -> None:
        await self.say(session, f"SAVEPOINT s{len(session.seen)}")
        session.seen.append(list(session.seen[-1]))

    async def do_release(self, session: Session) -> None:
        if len(session.seen) > 1:
            kept = session.seen.pop()
            session.seen[-1] = kept
            await self.say(session, f"RELEASE s{len(session.seen)}")

    async def do_back(self, session: Session) -> None:
        if len(session.seen) > 1:
            session.seen.pop()
            await self.say(session, f"ROLLBACK TO s{len(session.seen)}")
            await self.say(session, f"RELEASE s{len(session.seen)}")

    async def do_commit(self, session: Session) -> None:
        await self.say(session, "COMMIT")
        session.is_open = False
        await self.compare(session)

    async def do_rollback(self, session: Session) -> None:
        await self.say(session, "ROLLBACK")
        session.is_open = False
        assert await self.told() == [], "told is what was rolled back"
        assert await self.rows(self.outside, session) == session.before

    async def told(self) -> list[Told]:
        rows = await self.outside.fetch("DELETE FROM public.fanfare_outbox RETURNING id, channel, data, subject")
        found = sorted(rows, key=lambda row: row["id"])
        return [(row["channel"], json.loads(row["data"]), row["subject"]) for row in found]

    # Comparison

    async def compare(self, session: Session) -> None:
        before, after = session.before, await self.rows(self.outside, session)
        session.before = after
        every = await self.told()
        for at, watch in enumerate(self.table.watches):
            found = [one for one in every if one[0].startswith(f"/w{at}")]
            channels = {channel for channel, _, _ in found}
            watched = {*watch.watch, *watch.fields, *self.table.key}
            # Which fields are told decides which moves are; of several in a row only those count that were looked at.
            skips = (
                session.is_early
                and bool(watch.watch or watch.fields)
                and not watched.issuperset(names_in(watch.channel))
            )
            # Without a key a new row is told as it came, and what becomes of it in the same transaction is a change.
            skips = skips or (not self.table.has_key and "changed" not in watch.on)
            # Of events one by one, who does not watch all of them hears nothing of where the row was in between.
            seen = session.seen[-1] if session.is_early and watch.on != EVENTS else None
            must = set() if skips else self.must(watch, before, after, seen)
            assert channels >= must, f"{watch}: what changed was not told: {must - channels}"
            states = session.seen[-1] if session.is_early else [before, after]
            rows = [row for each in states for row, _ in each.values()]
            may = {channel for row in rows if (channel := channel_of(watch, row)) is not None}
            assert channels <= may, f"{watch}: told is what no row was: {channels - may}"
            if watch.on == EVENTS and not watch.watch:
                if watch.fields and not watch.channel.count("{"):
                    assert self.applied(watch, before, found) == self.shown(watch, after), f"{watch}: {found}"
                if watch.data_column is not None and not session.is_early:
                    pairs = {(channel, json.dumps(data)) for channel, data, _ in found}
                    wanted = self.payloads(watch, watch.data_column, before, after)
                    assert pairs >= wanted, f"{watch}: payloads: {wanted - pairs}"
            if not session.is_early:
                assert len(found) == len({json.dumps(one) for one in found}), f"{watch}: told twice: {found}"

    def must(self, watch: Watch, before: Rows, after: Rows, seen: Sequence[Rows] | None) -> set[str | None]:
        """What has to be told. seen: the rows after each step, of which each event was told by itself."""
        found: set[str | None] = set()
        for key in before.keys() | after.keys():
            (old, was), (new, now) = before.get(key, ({}, {})), after.get(key, ({}, {}))
            if old and new and was["nr"] != now["nr"]:
                # Another row with its key: whether that is one change or two is not said.
                kinds = set(EVENTS) if watch.on == EVENTS and not watch.watch and not watch.fields else set()
            elif old and new:
                names = watch.watch or (*watch.fields, *(self.table.key if watch.fields else ())) or tuple(new)
                kinds = {"changed"} if any(was[one] != now[one] for one in names) else set()
            else:
                kinds = {"created"} if new else {"deleted"}
            if kinds & set(watch.on) and (seen is None or self.is_one_change(watch, key, seen)):
                found |= {channel_of(watch, row) for row in (old, new) if row}
        return found - {None}

    def is_one_change(self, watch: Watch, key: tuple[Any, ...], seen: Sequence[Rows]) -> bool:
        """Whether a row was there all the time, or came or went once, and was at one place then."""
        there = [key in rows for rows in seen]
        places = {channel_of(watch, rows[key][0]) for rows in seen if key in rows}
        turns = sum(one != other for one, other in pairwise(there))
        return turns == 0 or (turns == 1 and len(places) == 1)

    def payloads(self, watch: Watch, column: str, before: Rows, after: Rows) -> set[tuple[str | None, str]]:
        found: set[tuple[str | None, str]] = set()
        for key in before.keys() | after.keys():
            (old, was), (new, now) = before.get(key, ({}, {})), after.get(key, ({}, {}))
            if (old and new and was["nr"] != now["nr"]) or was == now:
                continue
            said = json.dumps((now or was)[column])
            found |= {(channel, said) for row in (old, new) if row and (channel := channel_of(watch, row)) is not None}
        return found

    def shown(self, watch: Watch, rows: Rows) -> dict[str, dict[str, Any]]:
        return {
            json.dumps([values[one] for one in self.table.key]): {one: values[one] for one in watch.fields}
            for _, values in rows.values()
        }

    def applied(self, watch: Watch, before: Rows, found: list[Told]) -> dict[str, dict[str, Any]]:
        """What a reader has that held the rows before, and did what it was told in order."""
        held = self.shown(watch, before)
        for _, data, _ in found:
            key = json.dumps(data["id"] if len(self.table.key) > 1 else [data["id"]])
            if data["change"] == "deleted":
                held.pop(key, None)
            else:
                held.setdefault(key, {}).update(data["fields"])
        return held


async def check(dsn: str, seed: int) -> None:
    outside = await asyncpg.connect(dsn)
    connections = [outside]
    warnings: list[str] = []
    dice = random.Random(seed)
    program = None
    try:
        await outside.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public;" + MADE)
        table = random_table(seed, virtual=outside.get_server_version().major >= 18)
        await outside.execute(table.create)
        await outside.execute(LOOKED.format(table=table.sql))
        await install(dsn, *table.watches)
        sessions = []
        for parity in range(dice.choice((1, 1, 2))):
            # Another session's key that is not committed yet is waited for in vain: there is one thread here. RESET ALL
            # goes back to this.
            given = {"lock_timeout": "100ms"}
            connections.append(await asyncpg.connect(dsn, server_settings=given))
            connections[-1].add_log_listener(lambda _, message: warnings.append(message.message))
            sessions.append(Session(connections[-1], parity))
        program = Program(table, outside, sessions, dice)
        await program.run(30)
        assert [text for text in warnings if text.startswith("fanfare") and "can't be told" not in text] == []
        assert [problem for each in await look(dsn) for problem in each.problems] == []
    except (AssertionError, asyncpg.PostgresError) as error:
        said = "\n".join(program.said if program else ())
        raise AssertionError(f"seed {seed}: {error}\n{table.create}\n{table.watches}\n{said}") from error
    finally:
        for connection in connections:
            await connection.close()


#: The trigger caught PostgreSQL's serialization failure, which asks for the whole transaction again, and told nobody.
#: A row got another primary key where only other columns were watched: nobody heard that the old one was gone.
#: And where no change was watched, but what is created or deleted.
#: This comparison wanted what a transaction tells at its end of one whose triggers had run before.
ONCE = (218794922036, 439975930694, 990000000088, 990000000149, 990000000220, 990000000417)


@pytest.mark.long
@pytest.mark.search
async def test_what_any_table_tells_is_what_it_says(new_postgres_database: Callable[[], str]) -> None:
    dsn = new_postgres_database()
    for seed in seeds(TABLES, ONCE):
        await check(dsn, seed)
