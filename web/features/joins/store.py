"""Artists and songs on the site's database, and apart from the site's tables.

PostgreSQL has them in a schema, SQLite in a file beside the site's. They are made when they are first needed, or when
another number of them is, and `drop` takes them away with all that is theirs.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hub.orm.database_url import DatabaseUrl

from ...db.engine import new_engine
from . import songs as made_up
from .ways import SCHEMA, Artist, LabBase, Made

#: Rows that are made and written together: a few milliseconds each.
BATCH = 5000

Tell = Callable[[int, int, str], None]


class Refused(Exception):
    """The database would not let us; says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is there. bytes: on disk, with the indexes."""

    songs: int
    artists: int
    bytes: int


def place_of(url: DatabaseUrl) -> str:
    """Where artists and songs are, in words."""
    return f"the schema {SCHEMA}" if url.path is None else f"the file {file_of(url.path).name}"


def file_of(path: str) -> Path:
    """SQLite's file for them."""
    site = Path(path)
    return site.with_name(f"{site.stem}-lab-joins.sqlite3")


class Store:
    """Connections for them alone, so that the site's pool and its listeners have no part in it. Close it when done."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url
        self._file = None if url.path is None else file_of(url.path)
        self._engine: AsyncEngine | None = None

    @property
    def engine(self) -> AsyncEngine:
        """Made when it is first asked for: SQLite's makes the file."""
        if self._engine is None:
            if self._file is None:
                self._engine = new_engine(self.url)
            else:
                engine = new_engine(DatabaseUrl("sqlite", path=str(self._file)))
                self._engine = engine.execution_options(schema_translate_map={SCHEMA: None})
        return self._engine

    async def close(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    async def size(self) -> Size | None:
        """What is there; None if nothing is, or not all."""
        if self._file is not None and not await asyncio.to_thread(self._file.exists):
            return None
        async with self.engine.connect() as connection:
            if not await connection.run_sync(self._is_there):
                return None
            songs = await connection.scalar(select(Made.songs))
            if songs is None:
                return None
            artists = await connection.scalar(select(func.count()).select_from(Artist)) or 0
            return Size(songs, artists, await self._bytes(connection))

    async def make(self, songs: int, tell: Tell = lambda done, total, words: None) -> Size:
        """Have so many songs, made if they are not there. tell: how far it is. Raises Refused."""
        found = await self.size()
        if found is not None and found.songs == songs:
            return found
        await self.drop()
        # SQLite's file is made with it.
        await asyncio.to_thread(lambda: self.engine)
        total = songs + made_up.artists_of(songs)
        try:
            async with self.engine.execution_options(writing=True).begin() as connection:
                if self._file is None:
                    await connection.execute(text(f"create schema {SCHEMA}"))
                await connection.run_sync(LabBase.metadata.create_all)
                done = 0
                for name, rows in (("artists", made_up.all_artists(songs)), ("songs", made_up.all_songs(songs))):
                    async for count in _written(connection, LabBase.metadata.tables[f"{SCHEMA}.{name}"], rows):
                        done += count
                        tell(done, total, f"{done:,} of {total:,} rows made")
                await connection.execute(insert(Made), {"songs": songs})
                await connection.execute(text("analyze" if self._file else f"analyze {SCHEMA}.artists, {SCHEMA}.songs"))
        except DBAPIError as error:
            raise Refused(_words(error, self.url)) from error
        size = await self.size()
        assert size is not None
        return size

    async def drop(self) -> bool:
        """Take all of it away; returns whether there was something. Raises Refused."""
        if self._file is not None:
            await self.close()
            return await asyncio.to_thread(_removed, self._file)
        try:
            async with self.engine.begin() as connection:
                there = await connection.run_sync(lambda plain: SCHEMA in inspect(plain).get_schema_names())
                await connection.execute(text(f"drop schema if exists {SCHEMA} cascade"))
        except DBAPIError as error:
            raise Refused(_words(error, self.url)) from error
        return there

    def _is_there(self, connection: Any) -> bool:
        return bool(inspect(connection).has_table("made", schema=SCHEMA if self._file is None else None))

    async def _bytes(self, connection: AsyncConnection) -> int:
        if self._file is not None:
            pages = "select page_count * page_size from pragma_page_count(), pragma_page_size()"
            return int(await connection.scalar(text(pages)) or 0)
        sizes = f"select sum(pg_total_relation_size(oid)) from pg_class where relnamespace = '{SCHEMA}'::regnamespace"
        return int(await connection.scalar(text(sizes + " and relkind = 'r'")) or 0)


def _removed(file: Path) -> bool:
    found = file.exists()
    for end in ("", "-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
    return found


async def _written(connection: AsyncConnection, table: Table, rows: Iterator[Sequence[Any]]) -> Any:
    """Write rows in batches; gives how many each had."""
    columns = [column.name for column in table.columns]
    raw = await connection.get_raw_connection()
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(rows, BATCH))):
        if connection.dialect.name == "postgresql":
            driver: Any = raw.driver_connection
            await driver.copy_records_to_table(table.name, schema_name=table.schema, columns=columns, records=batch)
        else:
            marks = ", ".join("?" * len(columns))
            await connection.exec_driver_sql(f"insert into {table.name} values ({marks})", batch)
        yield len(batch)


def _words(error: DBAPIError, url: DatabaseUrl) -> str:
    said = str(error.orig).strip().partition("\n")[0]
    words = f"{url.place}: {said}"
    if "permission denied" in said:
        words += "; let the site's user make schemas: grant create on database … to …"
    return words
