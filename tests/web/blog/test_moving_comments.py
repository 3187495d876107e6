"""Comments of other tools in the threads of our posts."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blogging import Blog
from sqlalchemy import delete, select

from hub.publisher import RecordingPublisher
from web.cli import main
from web.db.database import Database
from web.features.blog.cli import TOOLS
from web.features.blog.comment_text import text_of
from web.features.blog.imported import Skipped
from web.features.blog.moving_comments import READERS, import_comments, tool_of
from web.features.comments.models import Comment, Status

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>First &amp; <b>best</b></p>", "First & **best**"),
        ("<p>One.<br>Two.</p><p>Three.</p>", "One.\nTwo.\n\nThree."),
        ("a <a href='https://x.example/y' onclick=x>b</a> c", "a b (https://x.example/y) c"),
        ('<a href="https://x.example/long/address">https://x.example/long/…</a>', "https://x.example/long/…"),
        ('<a href="javascript:alert(1)">b</a><script>alert(1)</script>', "b"),
        ("<blockquote><p>Said</p></blockquote><p>Answer</p>", "> Said\n\nAnswer"),
        ("<ul><li>a</li><li>b <em>c</em></li></ul>", "- a\n- b *c*"),
        ("x<pre><code>if a &lt; b:\n    pass</code></pre>y", "x\n\n```\nif a < b:\n    pass\n```\n\ny"),
        ("<code>a*b</code>", "`a*b`"),
        ("  \n  <p> </p>", ""),
        ("<p>unclosed <b>and &lt;script&gt;", "unclosed **and <script>"),
    ],
)
def test_html_becomes_what_somebody_would_have_typed(html: str, text: str) -> None:
    assert text_of(html) == text


def test_command_offers_the_tools_that_there_are() -> None:
    assert tuple(READERS) == TOOLS


def test_a_file_says_whose_it_is(tmp_path: Path) -> None:
    assert tool_of(DATA / "disqus.xml") == "disqus"
    assert tool_of(DATA / "wordpress.xml") == "wordpress"
    assert tool_of(isso(tmp_path)) == "isso"
    assert tool_of(DATA / "plain" / "notes.txt") is None


def isso(folder: Path) -> Path:
    """A database of isso with an answer, one that is held, and one to a page that is not here."""
    path = folder / "comments.db"
    with sqlite3.connect(path) as connection:
        connection.executescript("""
            CREATE TABLE threads (id INTEGER PRIMARY KEY, uri VARCHAR(256), title VARCHAR(256));
            CREATE TABLE comments (tid, id INTEGER PRIMARY KEY, parent INTEGER, created FLOAT, modified FLOAT,
                mode INTEGER, remote_addr, text, author, email, website, likes, dislikes, voters);
            INSERT INTO threads VALUES (1, '/2015/01/02/first-snow/', 'First snow'), (2, '/gone/', 'Gone');
            INSERT INTO comments (tid, id, parent, created, mode, text, author, website) VALUES
                (1, 1, NULL, 1420200000.5, 1, 'It *is* cold.', 'Ana', NULL),
                (1, 2, 1, 1420250000, 1, 'An answer', NULL, NULL),
                (1, 5, 2, 1420250001, 1, 'An answer to it', 'Cy', NULL),
                (1, 6, NULL, 1420100000, 1, 'Earlier', 'Di', NULL),
                (1, 3, NULL, 1420300000, 2, 'Held', 'Bo', NULL),
                (2, 4, NULL, 1420300000, 1, 'To a page that is gone', 'Bo', NULL);
        """)
    connection.close()
    return path


async def comments(database: Database) -> list[tuple[str, str]]:
    async with database.reading() as session:
        return [tuple(row) for row in await session.execute(select(Comment.name, Comment.text).order_by(Comment.id))]


async def test_isso_comes_in_by_time_and_once(
    database: Database, blog: Blog, publisher: RecordingPublisher, tmp_path: Path
) -> None:
    post = await blog.post("First snow")
    file = isso(tmp_path)
    publisher.clear()
    moved = await import_comments(database, file, "isso")
    assert moved.made == 5
    assert moved.skipped == [Skipped("isso:4", "no post has the address /gone")]
    async with database.reading() as session:
        found = {each.text: each for each in await session.scalars(select(Comment).order_by(Comment.id))}
    first, answer, other = (found[text] for text in ("It *is* cold.", "An answer", "An answer to it"))
    assert next(iter(found)) == "Earlier"
    assert (answer.name, answer.parent_id, answer.answers_id) == ("Anonymous", first.id, None)
    assert (other.parent_id, other.answers_id) == (first.id, answer.id)
    assert (first.replies, first.html.strip()) == (2, "<p>It <em>is</em> cold.</p>")
    # It waits for a moderator here too.
    assert found["Held"].status is Status.HELD
    assert f"comments-{post.thread_id}" in {channel for channel, _ in publisher.published}
    again = await import_comments(database, file, "isso")
    assert (again.made, again.same) == (0, 5)
    # What was removed here does not come back.
    async with database.saving() as session:
        await session.execute(delete(Comment).where(Comment.name == "Di"))
    assert (await import_comments(database, file, "isso")).made == 0
    assert "Earlier" not in [text for _, text in await comments(database)]


async def test_disqus_and_wordpress_find_their_posts(database: Database, blog: Blog) -> None:
    await blog.post("Fast pages")
    await blog.edit(await blog.post("Hello world"), title="Hello again", slug="hello-again")
    moved = await import_comments(database, DATA / "disqus.xml", "disqus")
    assert moved.made == 2
    assert "it is spam there" in {each.reason for each in moved.skipped}
    assert (await comments(database))[0] == ("Ana", "First & **best**")
    # By an address that the post had.
    assert (await import_comments(database, DATA / "wordpress.xml", "wordpress")).made == 2
    async with database.reading() as session:
        shown = select(Comment).where(Comment.status == Status.PUBLISHED).order_by(Comment.id.desc())
        found = (await session.scalars(shown)).first()
    assert found is not None
    assert (found.text, found.posted_at) == ("One.\nTwo.\n\nThree.", datetime(2009, 5, 6, 7, 8, 9, tzinfo=UTC))


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
def test_command_says_what_came_and_what_did_not(
    site_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", site_url)
    monkeypatch.setattr("sys.argv", ["fanfare", "comments", "import", str(isso(tmp_path))])
    assert main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 new, 0 as they were, 6 skipped"
