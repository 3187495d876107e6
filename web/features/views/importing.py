"""Brings a log in, each of its lines once, however often it is imported and however it has grown meanwhile.

How far a log was read is kept as the number of its bytes and a digest of them, in the transaction that counts them. A
log that begins with the same bytes is the same, whatever it is called by now; one that has grown goes on where it
ended, and a process that was killed in between too.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from sqlalchemy import select

from ...db.database import Database
from . import store
from .callers import day_of, hashed, new_salt
from .endpoints import Matcher
from .kinds import Kinds
from .logs import Line, NotALine, read
from .models import ViewSalt, ViewWriter
from .records import View, counts, endpoint
from .totals import Totals

#: Lines counted in one transaction.
BATCH = 20_000

#: Bytes by whose digest a log is found again: its first lines have the time of its beginning in them.
FIRST = 512

_PREFIX = "log "


@dataclass(slots=True)
class Imported:
    """What became of a log. again: bytes that were counted before. ignored: lines by why they were not counted."""

    counted: int = 0
    again: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    #: The number of a line that could not be read, by why, the first of each.
    examples: dict[str, int] = field(default_factory=dict)
    unfinished: bool = False


class Busy(Exception):
    """Two import one log at a time."""


class Importer:
    """Brings logs in. source: whose they are. matcher: knows the routes of their addresses."""

    def __init__(self, database: Database, source: str, matcher: Matcher) -> None:
        self._database = database
        self._source = source
        self._matcher = matcher
        self._kinds = Kinds(closely=float("inf"))
        self._salts: dict[int, bytes] = {}

    async def bring(self, path: Path, progress: Callable[[int], None] = lambda lines: None) -> Imported:
        """Import a log. Raises OSError for what can't be read."""
        imported = Imported()
        async with self._database.reading() as session:
            found = await session.execute(select(ViewSalt.day, ViewSalt.salt))
            self._salts |= {row.day: row.salt for row in found}
        with opened(path) as file:
            first = file.readline()[:FIRST]
            if not first:
                return imported
            name = _PREFIX + hashlib.blake2b(first, key=self._source.encode(), digest_size=16).hexdigest()
            file.seek(0)
            name, digest, done = await self._find(file, name)
            imported.again = done
            number, before = 0, done
            while True:
                views: list[View] = []
                taken = 0
                for line in file:
                    if not line.endswith(b"\n"):
                        # It may be being written. Once it has its end, it is counted.
                        imported.unfinished = True
                        break
                    number += 1
                    taken += 1
                    digest.update(line)
                    done += len(line)
                    self._take(line, number, views, imported)
                    if taken == BATCH:
                        break
                if not taken:
                    return imported
                totals = Totals()
                totals.add(views)
                async with self._database.saving() as session:
                    if (await store.position_of(session, name))[0] != before:
                        raise Busy(f"{path} is being imported by somebody else, too")
                    await store.reach(session, name, done, digest.hexdigest())
                    if totals:
                        await store.write(session, totals, {})
                before = done
                imported.counted += len(views)
                progress(number)

    async def _find(self, file: IO[bytes], name: str) -> tuple[str, Any, int]:
        """The log's name, the digest of what was counted of it, and how many bytes that is; the file is there then."""
        async with self._database.reading() as session:
            asked = select(ViewWriter.name, ViewWriter.position, ViewWriter.digest)
            # Two logs may begin with the same line; they have numbers then.
            rows = (
                await session.execute(asked.where(ViewWriter.name.startswith(name)).order_by(ViewWriter.name))
            ).all()
        for row in sorted(rows, key=lambda each: -each.position):
            digest = hashlib.blake2b(digest_size=16)
            file.seek(0)
            left = row.position
            while left and (piece := file.read(min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
            if not left and digest.hexdigest() == row.digest:
                return row.name, digest, row.position
        file.seek(0)
        return (f"{name} {len(rows)}" if rows else name), hashlib.blake2b(digest_size=16), 0

    def _take(self, line: bytes, number: int, views: list[View], imported: Imported) -> None:
        try:
            found = read(line.decode(errors="replace"))
        except NotALine as error:
            imported.ignored[str(error)] += 1
            imported.examples.setdefault(str(error), number)
            return
        view = self.view(found)
        if view is None:
            imported.ignored["a browser's page, or a part of one"] += 1
        else:
            views.append(view)

    def view(self, line: Line) -> View | None:
        """A line as a view; None for a browser's page."""
        kind = self._kinds.of(line.agent)
        if not 100 <= line.status <= 599:
            return None
        # A log doesn't say what a browser wanted: of what it was given, a page has no ending.
        content_type = line.content_type or _guess(line.path)
        if not counts(kind, line.method, content_type, ""):
            return None
        route = self._matcher.route(line.path, line.status)
        day = day_of(line.at)
        salt = self._salts.setdefault(day, new_salt())
        caller = "" if line.quiet or not line.address else hashed(salt, line.address, line.agent)
        return View(line.at, self._source, endpoint(line.method, route), line.status, line.micros, kind, caller)


_PARTS = {"css": "text/css", "js": "text/javascript", "mjs": "text/javascript", "html": "text/html", "htm": "text/html"}
_PARTS |= dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico"), "image/x")
_PARTS |= dict.fromkeys(("woff", "woff2", "ttf"), "font/x") | dict.fromkeys(("mp4", "webm"), "video/x")
_DATA = ("json", "xml", "rss", "atom", "csv", "txt", "opml", "ics")


def _guess(path: str) -> str:
    """The type of what a browser was given at an address: a page, unless it says otherwise."""
    plain = path.partition("?")[0]
    ending = plain.rpartition("/")[2].rpartition(".")[2].lower()
    if ending in _DATA or plain.startswith(("/api/", "/graphql")):
        return "application/json"
    return _PARTS.get(ending, "text/html")


def opened(path: Path) -> IO[bytes]:
    """A log, unpacked."""
    match path.suffix:
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case ".bz2":
            return cast(IO[bytes], bz2.open(path, "rb"))
    return path.open("rb")
