"""The publishers: what each promises, over a real hub where there is one to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from listening import KEY, REALM, listening, serving
from stopwatch import Stopwatch

from hub.brokers.memory import MemoryBroker
from hub.caller import Caller
from hub.errors import BadMessage, BadToken, BrokerUnavailable, HubError, InvalidChannel, TooLarge
from hub.publisher import (
    BrokerPublisher,
    HttpPublisher,
    Item,
    Publisher,
    RecordingPublisher,
    SyncPublisher,
    encode,
)

ROOT = Path(__file__).resolve().parents[2]


def closed_port() -> str:
    """The URL of a port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


class Scripted:
    """A server that answers publishes as it is told to, and keeps what it was sent.

    script: for each request (status, text), or None to close the connection without an answer;
    200 once it has run out.
    """

    def __init__(self, *script: tuple[int, str] | None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.connections = 0
        self.gate = threading.Event()
        self.gate.set()
        owner = self
        answers = list(script)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Else each answer waits for a delayed ACK.
            disable_nagle_algorithm = True

            def setup(self) -> None:
                owner.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.gate.wait(10)
                owner.bodies.append(body)
                answer = answers.pop(0) if answers else (200, "Published\n")
                if answer is None:
                    self.close_connection = True
                    return
                status, text = answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def items(self) -> list[Any]:
        return [item["json-object"] for body in self.bodies for item in body["items"]]

    def __enter__(self) -> Scripted:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def publishing(url: str, **options: Any) -> Iterator[SyncPublisher]:
    publisher = SyncPublisher(url, REALM, KEY, **options)
    try:
        yield publisher
    finally:
        publisher.close(timeout=0)


# What all of them promise


@pytest.fixture(params=["broker", "http", "redis", "recording"])
async def publisher(request: pytest.FixtureRequest) -> AsyncIterator[Publisher]:
    match request.param:
        case "broker":
            yield BrokerPublisher(MemoryBroker())
        case "recording":
            yield RecordingPublisher()
        case "http":
            async with serving() as (url, _):
                made = HttpPublisher(url, REALM, KEY)
                yield made
                await made.close()
        case "redis":
            redis_url = request.getfixturevalue("redis_url")
            async with serving(redis_url=redis_url):
                made = HttpPublisher(redis_url)
                yield made
                await made.close()


async def test_a_publication_gets_the_next_position_of_its_channel(publisher: Publisher) -> None:
    first = await publisher.publish("comments-17", 17)
    second = await publisher.publish("/comments-17", None)
    assert first is not None
    assert second == (first.epoch, first.offset + 1)
    assert await publisher.position("comments-17") == str(second)


async def test_items_get_their_positions_in_order(publisher: Publisher) -> None:
    positions = await publisher.publish_many([Item("a", 1), Item("b", 2), Item("a", 3)])
    assert [position.offset for position in positions if position] == [1, 1, 2]
    assert await publisher.publish_many([]) == []


async def test_an_id_is_published_once_in_its_channel(publisher: Publisher) -> None:
    first = await publisher.publish("a", 1, id="outbox-1")
    assert await publisher.publish("a", 1, id="outbox-1") == first
    other = await publisher.publish("b", 1, id="outbox-1")
    assert other is not None
    assert other.offset == 1


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (Item("a", float("nan")), BadMessage),
        (Item("a", {"x": [None, float("inf")]}), BadMessage),
        (Item("a", object()), BadMessage),
        (Item("a", {1, 2}), BadMessage),
        (Item("a", "x" * 1024 * 1024), TooLarge),
        (Item("", 1), InvalidChannel),
        (Item("meta/connect", 1), InvalidChannel),
        (Item("a", 1, id=""), BadMessage),
        (Item("a", 1, id="x" * 256), BadMessage),
        (Item("a", 1, id="a\nb"), BadMessage),
    ],
)
async def test_what_can_never_succeed_is_refused_before_anything_is_published(
    publisher: Publisher, item: Item, error: type[HubError]
) -> None:
    with pytest.raises(error):
        await publisher.publish_many([Item("a", 1), item])
    position = await publisher.publish("a", 1)
    assert position is not None
    assert position.offset == 1


@pytest.mark.parametrize("data", [None, True, 0, "é\ufffd", [1.5, None], {"a": {"b": [None]}}, {1: 2}])
def test_any_json_value_is_encoded(data: object) -> None:
    assert json.loads(encode(data)) == json.loads(json.dumps(data))


async def test_a_lost_broker_is_told_to_publishers_and_hidden_from_readers() -> None:
    class Away(MemoryBroker):
        async def publish(self, drafts: Any) -> Any:
            raise BrokerUnavailable("away")

        async def position(self, channel: str) -> Any:
            raise BrokerUnavailable("away")

    publisher = BrokerPublisher(Away())
    with pytest.raises(BrokerUnavailable):
        await publisher.publish("a", 1)
    assert await publisher.position("a") is None


async def test_a_recording_publisher_fails_when_told_to() -> None:
    publisher = RecordingPublisher()
    publisher.error = BrokerUnavailable("away")
    with pytest.raises(BrokerUnavailable):
        await publisher.publish("a", 1)
    assert await publisher.position("a") is None
    publisher.error = None
    await publisher.publish("/a", 1, hint=True)
    assert publisher.published == [("a", 1)]
    assert publisher.items == [Item("/a", 1, hint=True)]


# Over HTTP


async def test_what_is_published_over_http_is_delivered_in_order() -> None:
    async with serving() as (url, _), listening(url, "/a") as listener:
        publisher = HttpPublisher(url, REALM, KEY)
        await asyncio.gather(*(publisher.publish("a", number) for number in range(200)))
        assert await listener.take(200) == [("/a", number) for number in range(200)]
        await publisher.close()


async def test_another_key_is_told_as_a_bad_token() -> None:
    async with serving() as (url, _):
        publisher = HttpPublisher(url, REALM, b"x" * 32)
        with pytest.raises(BadToken, match="another key"):
            await publisher.publish("a", 1)
        await publisher.close()


async def test_a_hub_that_is_away_is_told_in_the_time_allowed() -> None:
    publisher = HttpPublisher(closed_port(), REALM, KEY, patience=0.3)
    with Stopwatch() as watch, pytest.raises(BrokerUnavailable, match="connection refused"):
        await publisher.publish("a", 1)
    assert 0.2 < watch.seconds < 3
    assert await publisher.position("a") is None
    await publisher.close()


def test_a_url_that_leads_elsewhere_is_told_so() -> None:
    wanted = pytest.raises(BrokerUnavailable, match="answered 404; is this a hub")
    with Scripted((404, "<h1>Not found</h1>")) as server, publishing(server.url, patience=0.0) as publisher, wanted:
        publisher.publish("a", 1)


def test_a_redirect_is_not_followed() -> None:
    with Scripted((302, "")) as server, publishing(server.url, patience=0.0) as publisher:
        with pytest.raises(BrokerUnavailable, match="answered 302"):
            publisher.publish("a", 1)
        assert len(server.bodies) == 1


@pytest.mark.parametrize("failure", [(503, "away"), (500, ""), (502, ""), (408, ""), None])
def test_a_failure_is_tried_again_with_the_same_ids(failure: tuple[int, str] | None) -> None:
    """What became of the first attempt isn't known, so the hub must be able to tell the second from new."""
    with Scripted(failure, failure) as server, publishing(server.url) as publisher:
        publisher.publish("a", 1)
        assert server.items == [1, 1, 1]
        assert len({body["items"][0]["id"] for body in server.bodies}) == 1


def test_a_server_of_another_make_tells_no_positions() -> None:
    with Scripted() as server, publishing(server.url) as publisher:
        assert publisher.publish_many([Item("a", 1), Item("a", 2)]) == [None, None]


def test_one_connection_serves_many_publishes() -> None:
    with Scripted() as server, publishing(server.url) as publisher:
        for number in range(5):
            publisher.publish("a", number)
        assert server.connections == 1


def test_an_idle_connection_that_the_server_closed_costs_no_pause() -> None:
    with Scripted((200, ""), None) as server, publishing(server.url, patience=0.0) as publisher:
        publisher.publish("a", 1)
        publisher.publish("a", 2)
        assert server.items == [1, 2, 2]


def test_what_is_queued_while_a_request_is_on_its_way_goes_together_in_order() -> None:
    with Scripted() as server, publishing(server.url) as publisher:
        server.gate.clear()
        for number in range(100):
            assert publisher.publish_soon("a", number)
        server.gate.set()
        assert publisher.flush(10)
        assert server.items == list(range(100))
        assert len(server.bodies) < 5


def test_a_call_of_many_items_is_sent_in_bodies_that_a_hub_takes() -> None:
    with Scripted() as server, publishing(server.url) as publisher:
        publisher.publish_many([Item("a", number) for number in range(1200)])
        assert [len(body["items"]) for body in server.bodies] == [500, 500, 200]
        assert server.items == list(range(1200))


async def test_a_refused_item_fails_its_caller_and_nobody_else() -> None:
    """The hub refuses a body as a whole, and a body has the items of several callers."""
    async with serving(message_bytes=1000) as (url, _), listening(url, "/a") as listener:
        publisher = HttpPublisher(url, REALM, KEY)
        data = [0, 1, "x" * 2000, 3]
        found = await asyncio.gather(*(publisher.publish("a", each) for each in data), return_exceptions=True)
        assert [type(each) for each in found if isinstance(each, Exception)] == [TooLarge]
        assert isinstance(found[2], TooLarge)
        assert [each for _, each in await listener.take(3)] == [0, 1, 3]
        await publisher.close()


def test_a_full_queue_says_that_it_drops(caplog: pytest.LogCaptureFixture) -> None:
    with Scripted() as server, publishing(server.url, capacity=3) as publisher:
        server.gate.clear()
        assert [publisher.publish_soon("a", number) for number in range(5)] == [True, True, True, False, False]
        with pytest.raises(BrokerUnavailable, match="queue is full"):
            publisher.publish("a", 9)
        assert publisher.dropped == 3
        server.gate.set()
        assert publisher.flush(10)
        assert publisher.publish_soon("a", 5)
        assert publisher.flush(10)
        assert server.items == [0, 1, 2, 5]
    assert [record.message for record in caplog.records if "full" in record.message] == [
        "queue is full, dropping publications"
    ]


def test_flush_says_when_time_was_not_enough() -> None:
    with Scripted() as server, publishing(server.url) as publisher:
        server.gate.clear()
        publisher.publish_soon("a", 1)
        assert not publisher.flush(0.05)
        server.gate.set()
        assert publisher.flush(10)


def test_closing_a_publisher_whose_hub_is_away_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    publisher = SyncPublisher(closed_port(), REALM, KEY)
    publisher.publish_soon("a", 1)
    publisher.publish_soon("a", 2)
    publisher.close(timeout=0.05)
    assert not publisher.publish_soon("a", 3)
    assert publisher.flush(10)
    assert publisher.dropped == 3
    assert any("dropped" in record.message for record in caplog.records)


def test_a_waiting_caller_is_told_when_the_publisher_is_closed() -> None:
    publisher = SyncPublisher(closed_port(), REALM, KEY)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(publisher.publish, "a", 1)
        while publisher.flush(0):
            time.sleep(0.001)
        publisher.close(timeout=0.0)
        with pytest.raises(BrokerUnavailable):
            waiting.result(10)


def test_threads_share_a_publisher() -> None:
    with Scripted() as server, publishing(server.url) as publisher, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: publisher.publish(f"c{number % 8}", number), range(200)))
        assert sorted(server.items) == list(range(200))


async def test_a_caller_that_leaves_does_not_hurt_the_others() -> None:
    with Scripted() as server:
        publisher = HttpPublisher(server.url, REALM, KEY)
        server.gate.clear()
        leaving = asyncio.create_task(publisher.publish("a", 1))
        staying = asyncio.create_task(publisher.publish("a", 2))
        await asyncio.sleep(0)
        leaving.cancel()
        server.gate.set()
        assert await staying is None
        await publisher.close()


def test_a_token_is_signed_anew_before_it_ends() -> None:
    now = [1_700_000_000.0]
    with Scripted() as server:
        caller = Caller(server.url, REALM, KEY, clock=lambda: now[0])
        first = caller._bearer()
        now[0] += 500
        assert caller._bearer() == first
        now[0] += 50
        assert caller._bearer() != first
        caller.close()


@pytest.mark.parametrize("url", ["", "hub", "ftp://hub", "http://"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="not the URL of a hub"):
        SyncPublisher(url, REALM, KEY)


# Processes


def run_python(source: str, url: str, *, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run a script that finds `publisher` made for `url`."""
    head = f"""
        import os, sys, time, multiprocessing
        from hub.publisher import SyncPublisher
        publisher = SyncPublisher({url!r}, {REALM!r}, {KEY!r}, exit_timeout=5.0)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(source)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_what_is_queued_when_a_process_ends_is_still_sent() -> None:
    with Scripted() as server:
        done = run_python("for number in range(300): publisher.publish_soon('a', number)", server.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert server.items == list(range(300))


def test_an_exit_does_not_hang_on_a_hub_that_is_away() -> None:
    """pubcontrol's atexit waits for ever for a hub that takes the connection and stalls."""
    with Scripted() as server:
        server.gate.clear()
        begun = time.monotonic()
        done = run_python("publisher._exit_timeout = 0.3; publisher.publish_soon('a', 1)", server.url)
        assert done.returncode == 0
        assert "publications dropped at the end" in done.stderr
        assert time.monotonic() - begun < 30


def test_an_exit_says_nothing_of_what_somebody_waits_for() -> None:
    """A row of Django's outbox stays there, and its teller is told; the log said that it was dropped."""
    script = """
        import threading
        publisher._exit_timeout = 0.3
        threading.Thread(target=publisher.publish, args=("a", 1), daemon=True).start()
        while publisher.flush(0):
            pass
    """
    with Scripted() as server:
        server.gate.clear()
        done = run_python(script, server.url)
        assert done.returncode == 0
        assert "dropped" not in done.stderr


def test_a_forked_child_publishes_its_own_and_not_its_parents() -> None:
    """The hosted library's worker thread dies in the fork, and the child's publishes are never sent."""
    script = """
        publisher.publish("a", "before")
        for number in range(50): publisher.publish_soon("a", f"parent {number}")
        pids = []
        for child in range(3):
            pid = os.fork()
            if not pid:
                for number in range(20): publisher.publish_soon("a", f"child {child} {number}")
                ok = publisher.flush(10)
                os._exit(0 if ok else 1)
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert codes == [0, 0, 0], codes
        publisher.publish("a", "after")
    """
    with Scripted() as server:
        done = run_python(script, server.url)
        assert (done.returncode, done.stderr) == (0, "")
        wanted = ["before", "after", *(f"parent {number}" for number in range(50))]
        wanted += [f"child {child} {number}" for child in range(3) for number in range(20)]
        assert sorted(server.items) == sorted(wanted)


def test_a_process_of_multiprocessing_sends_what_it_has_queued_before_it_ends() -> None:
    """Such a process runs no atexit handlers."""
    script = """
        def work():
            for number in range(100): publisher.publish_soon("a", number)
        publisher.publish("a", "before")
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
        assert process.exitcode == 0
    """
    with Scripted() as server:
        done = run_python(script, server.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(map(str, server.items)) == sorted(["before", *map(str, range(100))])
