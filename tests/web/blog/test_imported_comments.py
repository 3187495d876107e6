"""Comments of other tools."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cpu import taking

from web.features.blog.imported import Skipped
from web.features.blog.imported_comments import (
    ImportedComment,
    path_of,
    read_disqus,
    read_isso,
    read_wordpress,
)

DATA = Path(__file__).parent / "data"


def test_disqus() -> None:
    found = list(read_disqus(DATA / "disqus.xml"))
    comments = [each for each in found if isinstance(each, ImportedComment)]
    assert comments[0] == ImportedComment(
        identity="disqus:201",
        post="https://blog.example/fast-pages",
        title="Fast pages",
        name="Ana",
        text="<p>First &amp; <b>best</b></p>",
        format="html",
        posted_at=datetime(2012, 3, 15, 10, tzinfo=UTC),
    )
    assert comments[1].answers == "disqus:201"
    assert [each.is_spam for each in comments] == [False, False, True]
    assert [each for each in found if isinstance(each, Skipped)] == [
        Skipped("post 204", "it was deleted"),
        Skipped("post 205", "its thread 999 is not there"),
    ]


def test_wordpress() -> None:
    found = list(read_wordpress(DATA / "wordpress.xml"))
    comments = [each for each in found if isinstance(each, ImportedComment)]
    assert comments[0] == ImportedComment(
        identity="wordpress:7",
        post="https://blog.example/2009/hello-world/",
        title="Hello, world",
        name="Ana",
        text="<p>One.<br>Two.</p><p>Three.</p>",
        format="html",
        posted_at=datetime(2009, 5, 6, 7, 8, 9, tzinfo=UTC),
        link="http://ana.example/",
    )
    assert (comments[1].answers, comments[1].is_public, comments[1].link) == ("wordpress:7", False, "")
    assert (comments[2].is_spam, comments[2].is_public) == (True, False)
    assert [each for each in found if isinstance(each, Skipped)] == [Skipped("comment 9", "it is a pingback")]


def isso(file: Path) -> Path:
    """A database as isso makes it."""
    connection = sqlite3.connect(file)
    connection.executescript(
        """
        CREATE TABLE threads (id INTEGER PRIMARY KEY, uri VARCHAR(256) UNIQUE, title VARCHAR(256));
        CREATE TABLE comments (tid REFERENCES threads(id), id INTEGER PRIMARY KEY, parent INTEGER,
            created FLOAT NOT NULL, modified FLOAT, mode INTEGER, remote_addr VARCHAR,
            text VARCHAR, author VARCHAR, email VARCHAR, website VARCHAR, likes INTEGER DEFAULT 0,
            dislikes INTEGER DEFAULT 0, voters BLOB NOT NULL, notification INTEGER);
        INSERT INTO threads VALUES (1, '/fast-pages/', 'Fast pages');
        INSERT INTO comments VALUES (1, 1, NULL, 1331803200.5, NULL, 1, '127.0.0.0', 'One *day*', 'Ana', NULL,
            'https://ana.example', 0, 0, x'00', 0);
        INSERT INTO comments VALUES (1, 2, 1, 1331803300, NULL, 2, '127.0.0.0', 'Held', NULL, NULL, NULL,
            0, 0, x'00', 0);
        INSERT INTO comments VALUES (1, 3, 1, 1331803400, NULL, 4, '127.0.0.0', '', NULL, NULL, NULL, 0, 0, x'00', 0);
        """
    )
    connection.close()
    return file


def test_isso(tmp_path: Path) -> None:
    file = isso(tmp_path / "comments.db")
    before = file.read_bytes()
    assert list(read_isso(file)) == [
        ImportedComment(
            identity="isso:1",
            post="/fast-pages/",
            title="Fast pages",
            name="Ana",
            text="One *day*",
            format="markdown",
            posted_at=datetime(2012, 3, 15, 9, 20, 0, 500_000, tzinfo=UTC),
            link="https://ana.example",
        ),
        ImportedComment(
            identity="isso:2",
            post="/fast-pages/",
            title="Fast pages",
            text="Held",
            format="markdown",
            posted_at=datetime(2012, 3, 15, 9, 21, 40, tzinfo=UTC),
            answers="isso:1",
            is_public=False,
        ),
        Skipped("comment 3", "it was deleted"),
    ]
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["comments.db"]


READERS = [read_disqus, read_wordpress]
BAD_XML = {
    "laughs": '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><disqus><post>&b;</post></disqus>',
    "a file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><disqus>&a;</disqus>',
    "a type elsewhere": '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><disqus/>',
    "a parameter": '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:1/x.dtd">%a;]><disqus/>',
    "depth": "<a>" * 100_000,
    "no XML": "Not found",
    "nothing": "",
    "half": '<disqus><post dsq:id="1"><message>x',
    "an entity of nobody": "<disqus>&x;</disqus>",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("source", BAD_XML.values(), ids=BAD_XML)
def test_xml_that_bites_is_refused(source: str, reader: object, tmp_path: Path) -> None:
    file = tmp_path / "export.xml"
    file.write_text(source)
    with taking() as taken:
        (only,) = list(reader(file))  # type: ignore[operator]
        assert isinstance(only, Skipped)
        assert only.path == "export.xml"
        assert "/etc" not in only.reason
    assert taken.seconds < 1


def test_a_long_text_is_skipped_and_the_next_comment_read(tmp_path: Path) -> None:
    source = (DATA / "disqus.xml").read_text()
    file = tmp_path / "export.xml"
    file.write_text(source.replace("<p>An answer</p>", "x" * 300_000))
    found = list(read_disqus(file))
    assert [each.identity for each in found if isinstance(each, ImportedComment)] == ["disqus:201", "disqus:203"]
    assert Skipped("post 202", "it has more than 200,000 characters") in found


def test_what_is_no_database_of_isso_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database at all" * 100)
    sqlite3.connect(tmp_path / "b.db").execute("CREATE TABLE x (y)").connection.close()
    for name in ("a.db", "b.db", "none.db"):
        (only,) = list(read_isso(tmp_path / name))
        assert isinstance(only, Skipped)
        assert only.reason.startswith("it is no database of isso")
    assert not (tmp_path / "none.db").exists()


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    file = isso(tmp_path / "comments.db")
    assert list(read_isso(file)) == list(read_isso(file))
    assert list(read_disqus(DATA / "disqus.xml")) == list(read_disqus(DATA / "disqus.xml"))


def test_posts_are_found_by_their_paths() -> None:
    for address in ("https://b.example/a/b/", "/a/b", "a/b/", "http://b.example:8080/a/b?x=1#c", "/a/%62"):
        assert path_of(address) == "/a/b"
    assert path_of("http://[") == ""
