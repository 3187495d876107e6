"""Lengths asked of the files themselves."""

from __future__ import annotations

import io
import wave
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from feeding import feed, item
from hypothesis import given
from hypothesis import strategies as st
from serving import Podcasts, Publisher, here

from web.features.podcasts import probes
from web.features.podcasts.probing import BYTES, Probed, probe
from web.services.jobs.pools import FailedInProcess, ProcessDied

#: A frame of MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 26 ms. Without padding it is a byte short each time, so that what
#: is reckoned from the size is a thousandth less than what is heard.
FRAME = bytes.fromhex("fffb9064") + bytes(413)
SECONDS = 1152 / 44100


def mp3(seconds: float) -> bytes:
    return FRAME * round(seconds / SECONDS)


def wav(seconds: int) -> bytes:
    found = io.BytesIO()
    with wave.open(found, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(8000 * seconds))
    return found.getvalue()


def test_a_file_says_how_long_it_is_by_its_beginning_and_its_size() -> None:
    long = mp3(600)
    assert probe(long[:BYTES], len(long)) == Probed(599, "estimate")
    assert probe(mp3(3), None) == Probed(3, "probe")
    assert probe(wav(100)[:BYTES], len(wav(100))) == Probed(100, "probe")


def test_a_header_of_variable_bit_rate_counts_its_frames() -> None:
    """FreeStreamer 180: 65:33 reckoned for 48:00, by the bit rate of the first frame."""
    frames = int(2880 / SECONDS)
    xing = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    first = FRAME[:36] + xing + bytes(len(FRAME) - 36 - len(xing))
    assert probe((first + FRAME * 200)[:BYTES], 30_000_000) == Probed(2880, "probe")


@pytest.mark.parametrize("body", [b"", b"garbage" * 1000, b"ID3" + bytes(100), b"<html>no</html>", mp3(600)[:BYTES]])
def test_what_says_nothing_stays_unknown(body: bytes) -> None:
    assert probe(body, None) is None


@given(st.binary(max_size=300), st.integers(0, 2**40))
def test_any_bytes_are_a_length_or_unknown(body: bytes, size: int) -> None:
    for each in (
        body,
        FRAME[:4] + body,
        b"ID3\x04" + body,
        b"RIFF" + body,
        b"OggS" + body,
        b"\0\0\0\x18ftypM4A " + body,
    ):
        found = probe(each, size)
        assert found is None or 0 < found.seconds <= 86400


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("ranges", [True, False])
async def test_the_newest_of_the_window_are_probed_within_the_budget(
    podcasts: Podcasts, server: Publisher, ranges: bool
) -> None:
    """vod2pod-rss 375: a range that is answered 200, a HEAD that lies: 64 KB are read, whatever the server says."""
    end, sound = datetime.now(UTC) - timedelta(hours=1), mp3(600)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/feed.xml":
            days = [*range(25), 400]
            return web.Response(
                body=feed(
                    *(
                        item(
                            f"{day}", url=f"/{day}.mp3", date=end - timedelta(days=day), duration="0" if day else "600"
                        )
                        for day in days
                    )
                )
            )
        asked.append(request.path)
        if ranges and "Range" in request.headers:
            headers = {"Content-Range": f"bytes 0-{BYTES - 1}/{len(sound)}"}
            return web.Response(status=206, body=sound[:BYTES], headers=headers)
        return web.Response(body=sound)

    server.handler = answer
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    assert (await podcasts.get(id)).known == 1
    assert await probes.probe_podcast(podcasts.app, id, here) == 20
    assert asked == [f"/{day}.mp3" for day in range(1, 21)]
    assert (await podcasts.get(id)).known == 21
    found = {each.title: (each.seconds, each.source) for each in await podcasts.episodes(id)}
    assert (found["0"], found["1"], found["21"], found["400"]) == (
        (600, "feed"),
        (599, "estimate"),
        (None, ""),
        (None, ""),
    )
    # Twenty a day.
    assert await probes.probe_podcast(podcasts.app, id, here) == 0
    # What a file has said stays when the feed says nothing again.
    await podcasts.change_feed(id, digest="")
    await podcasts.fetch(id, whole=True)
    assert (await podcasts.get(id)).known == 21


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("error", [TimeoutError(), ProcessDied("SIGKILL"), FailedInProcess("SystemError")])
async def test_a_file_that_kills_its_reader_costs_itself_only(
    podcasts: Podcasts, server: Publisher, error: Exception
) -> None:
    """It ended the job each time it was tried, and the other episodes were never asked for their lengths."""
    at = datetime.now(UTC) - timedelta(hours=1)
    sounds = {"/a.mp3": b"deadly", "/b.mp3": mp3(3)}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path in sounds:
            return web.Response(body=sounds[request.path])
        items = [item(name, url=name, date=at, duration=None) for name in sounds]
        return web.Response(body=feed(*items))

    async def reads(function: Any, body: bytes, *args: Any, limit: float | None = None) -> Any:
        if body == b"deadly":
            raise error
        return function(body, *args)

    server.handler = answer
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    assert await probes.probe_podcast(podcasts.app, id, reads) == 1
    assert [(each.seconds, each.probed_at is not None) for each in await podcasts.episodes(id)] == [
        (None, True),
        (3, True),
    ]


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
async def test_a_file_at_an_address_that_is_not_public_is_not_asked(podcasts: Podcasts, server: Publisher) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    server.body = feed(item("a", url="http://169.254.169.254/a.mp3", date=at, duration=None))
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    assert await probes.probe_podcast(podcasts.app, id, here) == 0
    (episode,) = await podcasts.episodes(id)
    assert episode.seconds is None
    assert episode.probed_at is not None
