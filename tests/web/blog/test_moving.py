"""Posts in and out: importing twice changes nothing, and what was exported is read as the same rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from blogging import Blog
from sqlalchemy import func, select

from hub.publisher import RecordingPublisher
from web.cli import main
from web.db.database import Database
from web.db.tables import now
from web.features.blog.hints import POSTS
from web.features.blog.models import Filing, Format, OldSlug, Post, PostCategory, PostImport, PostVersion, State
from web.features.blog.moving import Moved, export_posts, import_posts
from web.features.comments.models import Thread
from web.services.jobs import rows as jobs
from web.services.jobs.queue import Queue

DATA = Path(__file__).parent / "data"


async def move(database: Database, folder: Path, **options: object) -> Moved:
    return await import_posts(database, Queue(), folder, processes=0, **options)  # type: ignore[arg-type]  # as given


async def everything(database: Database) -> dict[str, tuple[object, ...]]:
    """All that a post is, by its address, but for ids, counts of edits and when its row was made."""
    async with database.reading() as session:
        posts = list(await session.scalars(select(Post)))
        threads = dict((await session.execute(select(Thread.id, Thread.is_open))).all())
        filed = (
            select(Filing.post_id, PostCategory.name)
            .join(PostCategory, PostCategory.id == Filing.category_id)
            .order_by(Filing.post_id, Filing.place)
        )
        filings = [tuple(row) for row in await session.execute(filed)]
        old = [
            tuple(row) for row in await session.execute(select(OldSlug.post_id, OldSlug.slug).order_by(OldSlug.slug))
        ]
        identities = dict((await session.execute(select(PostImport.post_id, PostImport.identity))).all())
    return {
        post.slug: (
            *(post.uid, post.title, post.state, post.published_at, post.planned_at, post.changed_at),
            *(post.comments_close_at, threads[post.thread_id], post.format, post.keywords, post.summary),
            *(post.excerpt, post.text, post.html),
            [name for post_id, name in filings if post_id == post.id],
            [slug for post_id, slug in old if post_id == post.id],
            identities.get(post.id, f"id:{post.uid}"),
        )
        for post in posts
    }


async def the_post(database: Database, slug: str) -> Post:
    async with database.reading() as session:
        return (await session.scalars(select(Post).where(Post.slug == slug))).one()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test puts its files."""
    path = tmp_path / "files"
    path.mkdir()
    return path


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


SNOW = "---\ntitle: First snow\ndate: 2015-01-02 10:00:00\ncategories: [Weather]\ntags: [ice]\n---\nIt *snows*.\n"


@pytest.mark.parametrize("tool", ["pelican", "hugo", "jekyll"])
async def test_samples_of_other_tools_are_imported_once(
    database: Database, publisher: RecordingPublisher, tool: str
) -> None:
    first = await move(database, DATA / tool)
    assert first.made > 0
    assert POSTS in {channel for channel, _ in publisher.published}
    rows = await everything(database)
    assert len(rows) == first.made
    publisher.clear()
    again = await move(database, DATA / tool)
    assert (again.made, again.changed, again.same) == (0, 0, first.made)
    assert await everything(database) == rows
    assert publisher.published == []


async def test_an_imported_post_is_what_its_file_says(database: Database, folder: Path) -> None:
    put(folder, "2015/snow.md", SNOW)
    moved = await move(database, folder)
    assert (moved.made, moved.skipped) == (1, [])
    post = await the_post(database, "snow")
    at = datetime(2015, 1, 2, 10, tzinfo=UTC)
    assert (post.title, post.state, post.published_at, post.changed_at) == ("First snow", State.PUBLISHED, at, at)
    assert (post.keywords, post.format, post.edition) == ("ice", Format.MARKDOWN, 1)
    assert "<em>snows</em>" in post.html


async def test_without_a_date_a_post_is_as_old_as_its_file(database: Database, folder: Path) -> None:
    path = put(folder, "snow.txt", "Snow\n\nIt snows.\n")
    at = datetime(2014, 5, 6, 7, 8, 9, tzinfo=UTC)
    os.utime(path, (at.timestamp(), at.timestamp()))
    await move(database, folder)
    post = await the_post(database, "snow")
    assert (post.published_at, post.format, post.title) == (at, Format.TEXT, "Snow")


async def test_text_can_be_restructuredtext(database: Database, folder: Path) -> None:
    put(folder, "snow.txt", "====\nSnow\n====\n\nIt *snows*.\n")
    await move(database, folder, rst=(".txt",))
    post = await the_post(database, "snow")
    assert (post.title, post.format) == ("Snow", Format.HTML)
    assert "<em>snows</em>" in post.html


async def test_a_draft_stays_one_and_a_time_to_come_is_planned(database: Database, folder: Path) -> None:
    put(folder, "draft.md", "---\ntitle: A\ndraft: true\n---\nx\n")
    put(folder, "soon.md", "---\ntitle: B\ndate: 2199-01-01\n---\nx\n")
    await move(database, folder)
    assert (await the_post(database, "draft")).state is State.DRAFT
    assert (await the_post(database, "soon")).published_at == datetime(2199, 1, 1, tzinfo=UTC)
    async with database.engine.connect() as connection:
        assert list((await connection.execute(select(jobs.table.c.kind))).scalars()) == ["post due"]


async def test_a_file_that_has_changed_is_a_new_edition(database: Database, folder: Path) -> None:
    put(folder, "snow.md", SNOW)
    await move(database, folder)
    put(folder, "snow.md", SNOW.replace("*snows*", "*snowed*"))
    moved = await move(database, folder)
    assert (moved.made, moved.changed, moved.same) == (0, 1, 0)
    post = await the_post(database, "snow")
    assert "<em>snowed</em>" in post.html
    async with database.reading() as session:
        assert list(await session.scalars(select(PostVersion.text))) == ["It *snows*."]
    assert (await move(database, folder)).same == 1


async def test_what_was_edited_here_since_is_left_alone_and_said(database: Database, blog: Blog, folder: Path) -> None:
    put(folder, "snow.md", SNOW)
    await move(database, folder)
    await blog.edit(await the_post(database, "snow"), text="Edited here.")
    assert (await move(database, folder)).same == 1
    put(folder, "snow.md", SNOW.replace("*snows*", "*snowed*"))
    moved = await move(database, folder)
    assert [(each.path, each.reason) for each in moved.skipped] == [("snow", "it was edited here since")]
    assert (await the_post(database, "snow")).text == "Edited here."


async def test_slugs_that_collide_are_numbered(database: Database, blog: Blog, folder: Path) -> None:
    await blog.draft("Snow")
    put(folder, "a/snow.md", SNOW)
    put(folder, "b/snow.md", SNOW)
    put(folder, "c/🎉.md", "---\ntitle: 🎉🎉\ndate: 2015-01-02\n---\nx\n")
    assert (await move(database, folder)).made == 3
    assert set(await everything(database)) == {"snow", "snow-2", "snow-3", "post"}


async def test_what_can_be_no_post_is_skipped_with_its_reason(database: Database, folder: Path) -> None:
    put(folder, "a.md", "# Empty\n")
    put(folder, "b.md", "---\n: [\n---\nx\n")
    put(folder, "c.bin", "x")
    put(folder, "d.md", "---\ntitle: D\ndate: 2999-01-01\n---\nx\n")
    put(folder, "e.md", "---\ntitle: E\n---\n" + "[" * 300_000)
    put(folder, "f.md", SNOW)
    (folder / "g.md").write_bytes(b"\xff\xfe")
    moved = await move(database, folder)
    assert moved.made == 1
    assert {each.path: each.reason for each in moved.skipped} == {
        "a.md": "it has no text",
        "b.md": next(each.reason for each in moved.skipped if each.path == "b.md"),
        "c.bin": ".bin is no format of posts",
        "d.md": "its date is not between 1970 and 2200",
        "e.md": "A post has at most 200,000 characters; this one has 300,000.",
        "g.md": "it is not UTF-8 (byte 0)",
    }


@pytest.fixture
async def other(tmp_path: Path, migrated_file: Path) -> AsyncIterator[Database]:
    """Another site's database."""
    path = tmp_path / "other.db"
    shutil.copyfile(migrated_file, path)
    database = Database(f"sqlite:///{path}", RecordingPublisher())
    yield database
    await database.close()


async def test_export_and_import_again_gives_the_same_rows(
    database: Database, blog: Blog, other: Database, tmp_path: Path
) -> None:
    for tool in ("pelican", "hugo", "jekyll"):
        await move(database, DATA / tool)
    await blog.draft("Only a title " + "x" * 150)
    await blog.draft(
        "Of emoji 🎉: “quoted”, 'too'", text="a: b\n\n---\n\n    code\n\n# No title", keywords=("a b", "c")
    )
    post = await blog.post("Renamed", "Weather", "Town", text="<b>x</b>", format=Format.HTML, summary="Cold: yes")
    await blog.edit(post, slug="renamed-again", categories=("Town", "Weather"), format=Format.HTML, text="<b>y</b>")
    await blog.post("Plain", text="* no list *", format=Format.TEXT, comments="closed")
    await blog.post("Until", comments=now() + timedelta(days=3))
    await blog.post("Planned", at=now() + timedelta(days=2))
    await blog.unpublish(await blog.post("Taken back"))
    rows = await everything(database)
    count = await export_posts(database, tmp_path / "out")
    assert count == len(rows)
    moved = await move(other, tmp_path / "out")
    assert (moved.made, moved.skipped) == (count, [])
    assert await everything(other) == rows
    # Where they came from nothing changes, and out of the other they are the same files.
    again = await move(database, tmp_path / "out")
    assert (again.made, again.changed, again.skipped, again.same) == (0, 0, [], count)
    assert await everything(database) == rows
    await export_posts(other, tmp_path / "out2")
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("out", "out2")]
    assert files[0] == files[1]


async def test_an_export_that_was_edited_by_hand_comes_back(database: Database, blog: Blog, folder: Path) -> None:
    post = await blog.post("Snow", text="It snows.")
    await export_posts(database, folder)
    [name] = os.listdir(folder)
    put(folder, name, (folder / name).read_text().replace("It snows.", "It snowed."))
    assert (await move(database, folder)).changed == 1
    assert (await the_post(database, "snow")).text == "It snowed."
    assert (await the_post(database, "snow")).uid == post.uid
    assert (await move(database, folder)).same == 1


async def test_folders_of_many_files_are_read_by_processes(database: Database, folder: Path) -> None:
    for number in range(260):
        put(folder, f"{number}.md", f"---\ntitle: Post {number}\ndate: 2015-01-02\n---\nIt is *{number}*.\n")
    put(folder, "x.md", "---\ntitle: Empty\n---\n")
    seen: list[tuple[int, int]] = []
    moved = await import_posts(
        database, Queue(), folder, processes=1, progress=lambda done, total: seen.append((done, total))
    )
    assert (moved.made, [each.path for each in moved.skipped]) == (260, ["x.md"])
    assert seen[-1] == (261, 261)
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Post)) == 260
        assert "<em>77</em>" in (await session.scalars(select(Post.html).where(Post.slug == "77"))).one()


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
def test_commands_move_posts_in_and_out(
    site_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", site_url)
    put(tmp_path, "in/snow.md", SNOW)
    put(tmp_path, "in/x.md", "# Only a title\n")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["fanfare", *arguments])
        code = main()
        return code, capsys.readouterr().out

    code, said = run("posts", "import", str(tmp_path / "in"))
    assert code == 0
    assert said.startswith("skipped x.md: it has no text\n1 new, 0 changed, 0 as they were, 1 skipped; in ")
    code, said = run("posts", "import", str(tmp_path / "in"))
    assert "0 new, 0 changed, 1 as they were" in said
    assert run("posts", "export", str(tmp_path / "out")) == (0, f"1 posts are in {tmp_path / 'out'}\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["2015-01-02-snow.md"]
