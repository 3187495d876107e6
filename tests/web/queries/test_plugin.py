"""The plugin, as the examples and other sites use it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from services import ROOT
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from hub.orm.database_url import parse
from web.db.engine import new_engine
from web.features.queries import alchemy
from web.features.queries.asked import recorder
from web.features.queries.plugin import Queries

EXAMPLES = ROOT / "examples" / "queries"


def run(folder: Path, *arguments: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "pytest_asyncio.plugin",
        "-W",
        "ignore",
        *arguments,
    ]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    # Half of the time would go into plugins that have no part in it.
    environ = {**outside, "PYTHONPATH": str(ROOT), "COLUMNS": "300", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=200, check=False)
    return done.stdout + done.stderr


def line_of(path: Path, text: str) -> int:
    """The number of the only line with this text."""
    (found,) = [number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line]
    return found


@dataclass(frozen=True)
class Planted:
    """asks: a text of the line that asks, in `file`. loads: one of the line where the loader is to be written."""

    asks: str
    fix: str
    loads: str = ""
    file: str = "site_of_songs.py"


TEMPLATE = "templates/artists.html"
SQLALCHEMY = {
    "songs_by_row": Planted("song.awaitable_attrs", "joinedload(Song.artist)", "session.scalars(select(Song)))"),
    "artists_by_row": Planted("in artist.songs", "selectinload(Artist.songs)", "select(Artist)).all()", TEMPLATE),
    "counts_by_row": Planted("count = await", "selectinload(Artist.songs)", "for artist in list("),
    "looked_up_by_row": Planted("session.get(Song, number)", "where … in (…)"),
}
DJANGO = {
    "songs_by_row": Planted('by {song.artist.name}" for song in songs', ".select_related('artist')"),
    "artists_by_row": Planted("in artist.songs.all", ".prefetch_related('songs') into", file=TEMPLATE),
    "counts_by_row": Planted("artist.songs.count()", ".prefetch_related('songs') into"),
    "playlists_by_row": Planted(
        "in playlist.songs.all()", ".prefetch_related('songs') into", "in Playlist.objects.all()"
    ),
    "looked_up_by_row": Planted("Song.objects.get(pk=number)", "where … in (…)"),
}


@pytest.mark.parametrize(("site", "planted"), [("sqlalchemy", SQLALCHEMY), ("django", DJANGO)], ids=["async", "django"])
def test_what_is_planted_is_found_with_line_and_loader_and_nothing_else_is(
    site: str, planted: dict[str, Planted]
) -> None:
    said = run(EXAMPLES / site, "--n-plus-one")
    for page, one in planted.items():
        place = f"{one.file}:{line_of(EXAMPLES / site / one.file, one.asks)}"
        found = re.search(rf"N\+1: {re.escape(place)}\b.* in GET /{page}: .*\n  (.*)", said)
        assert found is not None, said
        assert one.fix in found[1]
        if one.loads:
            assert f"site_of_songs.py:{line_of(EXAMPLES / site / 'site_of_songs.py', one.loads)}" in found[1]
    assert sorted(re.findall(r"^N\+1: .* in GET /(\w+): ", said, re.MULTILINE)) == sorted(planted)
    assert f"{len(planted)} failed, 6 passed" in said


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "workers"])
def test_report_says_it_at_the_end_and_fails_nothing(workers: tuple[str, ...]) -> None:
    """Workers that found something told nobody: `--n-plus-one=report -n 2` said that all was well."""
    said = run(EXAMPLES / "django", "--n-plus-one=report", *workers)
    assert "11 passed" in said
    assert "rows asked for one by one" in said
    assert ".select_related('artist')" in said
    assert sorted(re.findall(r" in GET /(\w+): ", said)) == sorted(DJANGO)


def written(folder: Path, body: str) -> Path:
    folder.joinpath("pytest.ini").write_text("[pytest]\naddopts = -p web.features.queries.plugin\nn_plus_one = on\n")
    folder.joinpath("app.py").write_text(
        "from sqlalchemy import create_engine, text\n"
        "engine = create_engine('sqlite://')\n"
        "def one(connection, number):\n"
        "    return connection.scalar(text('select :number'), {'number': number})\n"
        "def many(numbers):\n"
        "    with engine.connect() as connection:\n"
        "        return [one(connection, number) for number in numbers]\n"
    )
    folder.joinpath("test_app.py").write_text("import pytest\nimport app\n" + body)
    return folder


def test_sync_engine_is_listened_to_and_a_test_may_be_allowed(tmp_path: Path) -> None:
    said = run(
        written(
            tmp_path,
            "def test_loop():\n    app.many(range(5))\n"
            "@pytest.mark.n_plus_one_allowed('it is five')\ndef test_allowed():\n    app.many(range(5))\n"
            "@pytest.mark.n_plus_one_allowed\ndef test_no_reason():\n    app.many(range(5))\n",
        )
    )
    assert "N+1: app.py:4 asks 5 times, in the test: select ?" in said
    assert "n_plus_one_allowed needs a reason" in said
    assert "2 failed, 1 passed" in said


def test_what_is_let_pass_needs_a_reason_and_the_number_is_a_setting(tmp_path: Path) -> None:
    folder = written(tmp_path, "def test_loop():\n    app.many(range(5))\n")
    assert "1 passed" in run(folder, "-o", "n_plus_one=off")
    assert "1 passed" in run(folder, "-o", "n_plus_one_times=6")
    assert "n_plus_one_times: a whole number" in run(folder, "-o", "n_plus_one_times=1")
    assert "1 passed" in run(folder, "-o", "n_plus_one_ignore=app.py:4 # five")
    assert "n_plus_one_ignore: 'app.py:4' has no reason" in run(folder, "-o", "n_plus_one_ignore=app.py:4")


def test_block_is_bounded_and_says_what_it_asked(tmp_path: Path) -> None:
    said = run(
        written(
            tmp_path,
            "def test_few(queries):\n    with queries.most(2):\n        app.many([1, 2])\n"
            "def test_more(queries):\n    with queries.most(1):\n        app.many([1, 2])\n",
        )
    )
    assert "AssertionError: 2 queries, where 1 are allowed:" in said
    assert "2 times, from app.py:4: select ?" in said
    assert "1 failed, 1 passed" in said


def test_budgets_are_written_kept_and_held(tmp_path: Path) -> None:
    body = (
        "@pytest.mark.n_plus_one_allowed('budgets say it')\n"
        "def test_route(queries, query_budgets):\n"
        "    few, many = [], []\n"
        "    with queries.asking(few):\n        app.many([1] * FEW)\n"
        "    with queries.asking(many):\n        app.many([1] * MANY)\n"
        "    query_budgets.check('GET /numbers', few, many)\n"
    )
    folder = written(tmp_path, "FEW, MANY = 2, 2\n" + body)
    assert "GET /numbers has no budget yet: it asks 2 queries" in run(folder)
    assert "1 passed" in run(folder, "--write-budgets")
    assert '"GET /numbers": {"queries": [2, 2]' in (folder / "query_budgets.json").read_text()
    assert "1 passed" in run(folder)
    written(tmp_path, "FEW, MANY = 3, 3\n" + body)
    said = run(folder)
    assert "GET /numbers is over its budget" in said
    assert "queries: 2 before, 3 now" in said
    assert "1 more: select ? (app.py:4)" in said
    written(tmp_path, "FEW, MANY = 1, 1\n" + body)
    assert "1 route asks less than they may" in run(folder)
    written(tmp_path, "FEW, MANY = 2, 20\n" + body)
    assert "queries grow with the rows: 2 with 1, 20 with 10" in run(folder, "--write-budgets")
    (folder / "query_budgets.json").write_text("[")
    assert "query_budgets.json is no file of budgets" in run(folder)


# In this process, on both databases.


async def by_row(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for number in range(4):
            await connection.execute(text("select cast(:number as integer)"), {"number": number})


async def test_rows_and_seconds_are_noted_on_both_databases(database_url: str, queries: Queries) -> None:
    engine = new_engine(parse(database_url))
    try:
        with queries.most(3, rows=6) as asked:
            async with engine.connect() as connection:
                for count in (1, 2, 3):
                    values = ", ".join(f"({number})" for number in range(count))
                    await connection.execute(text(f"select * from (values {values}) as numbers"))
        assert [each.rows for each in asked] == [1, 2, 3]
        assert all(0 < each.seconds < 60 for each in asked)
        assert {each.stack[0].file for each in asked} == {"tests/web/queries/test_plugin.py"}
        with pytest.raises(
            AssertionError, match=r"4 queries, where 3 are allowed:\n  4 times, from tests/web/queries/"
        ):
            with queries.most(3):
                await by_row(engine)
    finally:
        await engine.dispose()


def test_nothing_is_noted_where_nobody_wants_to_know(tmp_path: Path) -> None:
    alchemy.listen()
    before = recorder.rest, recorder.units
    recorder.rest = None
    try:
        assert not recorder.wants
        with recorder.unit("a request") as unit:
            assert recorder.wants
        assert unit not in recorder.units
    finally:
        recorder.rest, recorder.units = before
