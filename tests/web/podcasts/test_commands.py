"""`fanfare podcasts read`: what we make of a feed, in words and as JSON; nothing is stored."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from feeding import ITUNES, feed, item
from serving import Podcasts, Publisher

from web.features.podcasts.commands import on_database, read

ENCLOSURE = 'href="http://a.example/1.mp3" type="audio/mpeg" length="1000"'
ATOM = (
    f'<feed xmlns="http://www.w3.org/2005/Atom" xmlns:itunes="{ITUNES}"><title>A Show</title>'
    "<entry><id>One</id><title>One</title><published>2024-01-02T03:04:05Z</published>"
    f'<link rel="enclosure" {ENCLOSURE}/><itunes:duration>10:00</itunes:duration></entry></feed>'
)
RDF = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"'
    f' xmlns:itunes="{ITUNES}"><channel><title>A Show</title></channel>'
    f"{item('One', url='http://a.example/1.mp3', date='Tue, 02 Jan 2024 03:04:05 GMT')}</rdf:RDF>"
)
RSS = feed(item("One", url="http://a.example/1.mp3", date="Tue, 02 Jan 2024 03:04:05 GMT"))


def _read(path: Path, body: bytes, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    path.write_bytes(body)
    status = read(str(path), True, {})
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "body", [RSS, ATOM.encode(), RDF.encode(), gzip.compress(RSS)], ids=["rss", "atom", "rdf", "gz"]
)
def test_each_form_of_feed_is_said_in_the_same_fields(
    body: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = _read(tmp_path / "feed", body, capsys)
    assert status == 0
    assert said == {
        "title": "A Show",
        "items": 1,
        "episodes": [
            {
                "guid": "One",
                "title": "One",
                "published": "2024-01-02T03:04:05Z",
                "seconds": 600,
                "source": "feed",
                "url": "http://a.example/1.mp3",
            }
        ],
        "known": 1,
        "total_seconds": 600,
        "first": "2024-01-02T03:04:05Z",
        "last": "2024-01-02T03:04:05Z",
        "repair": "",
    }


def test_what_is_not_known_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = feed(item("One", guid="", duration="NaN", date="someday"))
    _, said = _read(tmp_path / "feed", body, capsys)
    (episode,) = said["episodes"]
    assert (episode["published"], episode["seconds"], episode["source"]) == (None, None, None)
    assert (said["known"], said["total_seconds"], said["first"], said["last"]) == (0, 0, None, None)


def test_a_repair_is_a_remark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = _read(tmp_path / "feed", b"\n" + RSS, capsys)
    assert (status, said["repair"], said["items"]) == (0, "trim", 1)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "NotAFeed"),
        (b"<html><body>Please sign in<br></body></html>", "NotAFeed"),
        (b"<opml version='2.0'><body/></opml>", "NotAFeed"),
        (b"\x1f\x8bno", "Unreadable"),
        (b'<!DOCTYPE r [<!ENTITY a "b">]><rss><channel><title>&a;</title></channel></rss>', "Refused"),
    ],
)
def test_what_is_no_feed_is_said_with_its_reason(
    body: bytes, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = _read(tmp_path / "feed", body, capsys)
    assert (status, said["kind"]) == (1, kind)
    assert said["error"]


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
async def test_bytes_that_could_not_be_read_come_out_as_they_came(
    podcasts: Podcasts, server: Publisher, site_url: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    server.body = b"<html>\xff\x00 gone fishing"
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)

    def said(number: int) -> tuple[int, bytes, bytes]:
        status = on_database("unread", [str(number)], False, {"DATABASE_URL": site_url})
        return status, *capsysbinary.readouterr()

    # It has a loop of its own.
    assert await asyncio.to_thread(said, id) == (0, server.body, b"")
    status, out, error = await asyncio.to_thread(said, id + 1)
    assert (status, out) == (1, b"")
    assert b"no feed of this number" in error


def test_words_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "feed").write_bytes(ATOM.encode())
    assert read(str(tmp_path / "feed"), False, {}) == 0
    out = capsys.readouterr().out
    assert "1 items, 1 episodes; 1 with known length" in out
    assert "2024-01-02     10:00  One" in out
