"""What the longest and worst texts of strangers cost: every header, query, path, body and form field at its largest.

Nobody else is served while a piece of work keeps the event loop, so none may take more than a millisecond; what does is
listed, with its reason. Times are CPU times of the thread, the least of several tries.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
import timeit
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from aiohttp import ClientSession, web
from cpu import least
from rounds import pieces

sys.path.append(str(Path(__file__).parent / "hub"))

from listening import KEY, REALM, serving
from wire import request, say, upgrade

from hub.bayeux.names import LONG_POLLING
from hub.bayeux.outcome import Outcome
from hub.bayeux.rules import Bayeux
from hub.errors import ProtocolError
from hub.histories import parse_histories
from hub.peers import Peer
from hub.polls import Poll
from hub.protocol import fanout, tokens
from hub.protocol.access import Access, Who, parse_rules
from hub.protocol.frames import unmask
from hub.protocol.messages import check_values, looks_like_json, parse_batch
from hub.sessions.registry import Registry
from hub.sessions.session import Session
from hub.transports.polling import parse_body
from hub.transports.websocket import DEFLATE_FROM, DEFLATE_TO, BayeuxSocket
from web.features.comments.forms import CommentForm
from web.features.comments.models import MAX_COMMENT
from web.features.events.manage import slug_of
from web.features.events.models import MAX_DESCRIPTION, MAX_TITLE
from web.pages import keys
from web.pages.requests import MAX_FORM, clean_line, clean_long, read_fields

#: Seconds a piece may take here: a millisecond on a quiet machine, and this file runs on loaded ones too.
ALLOWED = 0.004

#: Bytes of a head's field that come through (HUB_MAX_HEAD is 32 KiB, the rest of the head is in it).
FIELD = 30_000

#: What is dear to somebody: composing, decoding, unescaping, nesting, numbers, globs.
WORST = {
    "marks": "a" + "\u0301\u0327" * 500_000,
    "decomposed": "e\u0301" * 500_000,
    "hangul": "\u1112\u1161\u11ab" * 400_000,
    "halves": "\\ud800" * 200_000,
    "brackets": "[" * 1_100_000,
    "braces": '{"a":' * 250_000,
    "digits": "9" * 1_100_000,
    "stars": "*" * 1_100_000,
    "dashes": "-" * 1_100_000,
    "dots": "a." * 550_000,
    "slashes": "/a" * 550_000,
    "escapes": "%25" * 400_000,
    "quotes": '\\"' * 550_000,
    "commas": "a,b;c=" * 200_000,
    "empties": ",," * 550_000,
    "ampersands": "a=&" * 400_000,
    "blanks": " \t" * 550_000,
    "controls": "a\x01" * 550_000,
    "line ends": "\r\n\r" * 350_000,
}


def cut(content: str, size: int) -> str:
    """The beginning that fits into so many bytes."""
    return WORST[content].encode()[:size].decode("utf-8", "ignore")


async def longest(ask: Callable[[], Awaitable[object]], tries: int = 4) -> float:
    """CPU seconds of the longest piece of what the loop does for a question; the least of some tries.

    What takes too long is tried four times as often: another process on the same core doubles a piece for a while.
    """
    least = float("inf")
    for number in range(4 * tries):
        with pieces() as each:
            await ask()
        least = min(least, max(each))
        if least < ALLOWED / 2 or (least < ALLOWED and number + 1 >= tries):
            break
    return least


HEADERS = (
    *("Origin", "Cookie", "Authorization", "X-Forwarded-For", "Forwarded", "Referer", "Accept", "Accept-Language"),
    *("Last-Event-ID", "If-None-Match", "Content-Type", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"),
    *("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-Fetch-Site", "Accept-Encoding", "Range", "Upgrade"),
    *("Access-Control-Request-Headers", "Access-Control-Request-Method", "Content-Encoding", "X-Anything"),
)
DOORS: dict[str, Callable[..., bytes]] = {
    "poll": lambda *lines, **more: request("GET /poll?channel=a", *lines, **more),
    "stream": lambda *lines, **more: request("GET /sse?channel=a", "Accept: text/event-stream", *lines, **more),
    "Bayeux": lambda *lines, **more: request("POST /bayeux", *lines, body=b'[{"channel":"/meta/handshake"}]', **more),
    "publish": lambda *lines, **more: request("POST /publish/", *lines, body=b"{}", **more),
    "preflight": lambda *lines, **more: request("OPTIONS /bayeux", *lines, **more),
    "WebSocket": lambda *lines, **more: upgrade("/ws?channel=a", *lines, **more),
}


@pytest.mark.parametrize("door", DOORS)
async def test_headers(door: str) -> None:
    for proxy_header in ("x-forwarded-for", "forwarded"):
        async with serving(proxies=2, proxy_header=proxy_header, hosts=("a.example", "*.b.example")) as (url, _):
            late = {}
            for name in HEADERS:
                for content in WORST:
                    line = f"{name}: {cut(content, FIELD).strip()}"
                    took = await longest(lambda line=line: say(url, DOORS[door](line, host="a.example")))
                    late[name, content] = took
            for content in WORST:
                late["Host", content] = await longest(
                    lambda c=content: say(url, DOORS[door](host=cut(c, FIELD).strip()))
                )
            assert {key: took for key, took in late.items() if took > ALLOWED} == {}


TARGETS = {
    "channel": "GET /poll?channel=a&channel={}",
    "position": "GET /poll?channel=a&channel=b&position={}",
    "token": "GET /poll?channel=a&token={}",
    "timeout": "GET /poll?channel=a&timeout={}",
    "fields": "GET /poll?channel=a&{}",
    "stream's place": "GET /sse?channel=a&channel=b&position={}",
    "message": "GET /bayeux?message={}&jsonp=a",
    "messages": "GET /bayeux?{}&message=[]",
    "jsonp": "GET /bayeux?message=[]&jsonp={}",
    "callback": "GET /fpp/subscribe?callback={}",
    "fpp body": "GET /fpp/subscribe?callback=a&_method=POST&_body={}",
    "ci": "GET /fpp/feed?sid=" + tokens.sign(REALM, KEY, 2e9, life=9e9) + "&ci={}",
    "sid": "GET /fpp/feed?sid={}",
    "realm": "GET /r/{}/poll?channel=a",
    "publish to": "POST /realm/a/publish/{}",
    "static": "GET /bayeux/static/{}",
    "path": "GET /{}",
}
#: Contents that no request line can have stand escaped.
ESCAPED = {content: quote(cut(content, 60_000), safe="%&=/.-*,;[]{}:") for content in WORST}


@pytest.mark.parametrize("target", TARGETS)
async def test_targets(target: str) -> None:
    async with serving() as (url, _):
        late = {}
        for content, text in ESCAPED.items():
            # Whole escapes, and blanks would end the target.
            line = TARGETS[target].format(text[: FIELD // 9 * 9].rstrip("%"))
            late[content] = await longest(lambda line=line: say(url, request(line)))
        assert {key: took for key, took in late.items() if took > ALLOWED} == {}


@pytest.mark.parametrize("field", ["channel", "position", "token"])
async def test_targets_of_sockets(field: str) -> None:
    """30 KB of escapes in the query of `/ws` took 1.5 ms, and up to 9 where they were none."""
    async with serving() as (url, _):
        late = {}
        texts = ESCAPED | {"no escapes": "%z" * FIELD, "escaped twice": "%2541" * FIELD, "fields": "a%4&" * 399}
        for content, text in texts.items():
            target = f"/ws?channel=a&{field}={text[: FIELD // 9 * 9].rstrip('%')}"
            late[content] = await longest(lambda target=target: say(url, upgrade(target)))
        assert {key: took for key, took in late.items() if took > ALLOWED} == {}


#: Bodies in whose middle a text stands, and bytes of that text.
BODIES = {
    "Bayeux, a name": ("POST /bayeux", '[{{"channel":"{}"}}]', 60_000),
    "Bayeux, an id": ("POST /bayeux", '[{{"channel":"/meta/connect","clientId":"{}"}}]', 60_000),
    "Bayeux, raw": ("POST /bayeux", "{}", 60_000),
    "publish, raw": ("POST /publish/", "{}", 60_000),
    "poll form": ("POST /poll", "channel={}", 100_000),
    "fpp form": ("POST /fpp/subscribe/", "ci=name%3D{}", 200_000),
    "fpp form, raw": ("POST /fpp/subscribe/", "{}", 200_000),
}


@pytest.mark.parametrize("body", BODIES)
async def test_bodies(body: str) -> None:
    """Longer ones than these of Bayeux and the publish API wait for their turn; decoding 1 MiB is one piece."""
    line, form, size = BODIES[body]
    async with serving() as (url, _):
        late = {}
        for content in WORST:
            data = form.format(cut(content, size)).encode()
            late[content] = await longest(lambda data=data: say(url, request(line, body=data)))
        assert {key: took for key, took in late.items() if took > ALLOWED} == {}


#: The largest that is read, HUB_MAX_BODY, and what its values may be: by the value decoding is dear.
LARGEST = 1024 * 1024
LONG = {
    **{content: f'"{cut(content, LARGEST // 2)}"' for content in ("marks", "decomposed", "hangul", "escapes", "dots")},
    "halves": f'"{cut("halves", LARGEST - 200)}"',
    "escaped": '"' + r"\u00e9" * 170_000 + '"',
    "quotes": '"' + r"\"" * 500_000 + '"',
    "numbers": "[" + ",".join(["1.7976931348623157e308"] * 40_000) + "]",
    "digits": "[" + ",".join(["9" * 4000] * 250) + "]",
    "lists": "[" + ",".join(["[]"] * 4500) + "]",
    "keys": "{" + ",".join(f'"{number:020}":1' for number in range(30_000)) + "}",
    "one key": "{" + ",".join(['"a":1'] * 40_000) + "}",
    "deep": "[" * 250 + "]" * 250,
    "not JSON": '"' + "x" * (LARGEST - 200),
    "prose": '"' + "a, b [c] {d} " * 75_000 + '"',
    "too many values": "[" + "1," * 500_000 + "1]",
    "brackets": "[" * (LARGEST - 200),
    "clientIds": '"' + "clientId" * 130_000 + '"',
    "clientIds of nobody": "{" + '"clientId":"x",' * 4000 + '"a":"' + r"\"clientId\":" * 70_000 + '"}',
    "clientId without end": '{"clientId"' + " " * (LARGEST - 200) + ":1}",
}
#: Times ALLOWED that decoding 1 MiB may take: 0.5 to 3 ms on a quiet machine, most for 30,000 keys. There is no decoder
#: that stops in its midst: who sends so much waits for a turn, of which a round of the loop has one, and what there may
#: be in it is bounded (HUB_MAX_VALUES, MAX_HALVES).
WHOLE = 5
LONG_DOORS = {
    "Bayeux": ("POST /bayeux", '[{{"channel":"/open/a","clientId":"x","data":{}}}]'),
    "Bayeux, a form": ("POST /bayeux", 'message=[{{"channel":"/open/a","clientId":"x","data":{}}}]'),
}


@pytest.mark.parametrize("door", LONG_DOORS)
async def test_largest_bodies(door: str) -> None:
    """Of strangers; who has the realm's key may have a million values decoded at once."""
    line, form = LONG_DOORS[door]
    async with serving() as (url, _):
        await say(url, request(line, body=form.format("1").encode()))
        late = {}
        for content, text in LONG.items():
            data = form.format(text).encode()
            late[content] = await longest(lambda data=data: say(url, request(line, body=data)))
        assert {key: took for key, took in late.items() if took > WHOLE * ALLOWED} == {}


def took(work: Callable[[], object]) -> float:
    """CPU seconds of the thread, the least of some tries."""

    def tried() -> None:
        with contextlib.suppress(ProtocolError):
            work()

    return least(tried)


#: Fields of a form, each of which has as much as a text alone may have of something.
FIELDS = {
    "values": b"message=[" + b"[]," * 300 + b"1]",
    "halves": b'message=["' + rb"\ud800" * 160 + b'"]',
    "signs that escape nothing": b"message=" + b"%zzz" * 250,
    "one sign and equals": b"message=%41" + b"=" * LARGEST,
    "pluses": b"message=" + b"+" * LARGEST,
    "a sign each": b"message=" + b"%" * LARGEST,
}


@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_a_form_have_together_what_one_may_have(field: str) -> None:
    """999 of 1 KB with 300 lists each were one piece of 160 ms, with halves 140 and with bad escapes 65."""
    many = min(999, LARGEST // len(FIELDS[field]) or 1)
    body = b"&".join([FIELDS[field]] * many)[:LARGEST]
    # To take a field out and to decode it are some microseconds, whatever is in it.
    assert took(lambda: parse_body(body)) < (ALLOWED if many == 1 else 2 * ALLOWED)


def test_blanks_before_a_body_are_passed_over_at_once() -> None:
    for blank in (b" ", b"\t", b"\r\n", b"\xef\xbb\xbf"):
        body = blank * (LARGEST // len(blank))
        assert took(lambda body=body: looks_like_json(body)) < ALLOWED / 3


def test_escaped_quotes_are_left_out_in_one_go() -> None:
    """Each kind of escape was counted before it was left out: 5.6 ms where decoding takes 0.3."""
    text = b'["' + (rb"\"" + b"," * 200) * 4_999 + b'"]'
    assert took(lambda: check_values(text)) < ALLOWED


@pytest.mark.parametrize("scalar", ["null", "1", '""'])
def test_data_of_a_publish_is_not_looked_through_one_by_one(scalar: str) -> None:
    """Of 49,000 nulls each was looked at to see that it is no NaN, 9 ms, and each number for what is in it, 5."""
    data = f"[{f'{scalar},' * 48_000}null{',[]' * 80}]".encode()
    rules = Bayeux(Registry(), lambda: "c" * 40, access=Access(["/open/**"]))

    def say(message: bytes) -> Callable[[], Outcome]:
        messages = parse_batch(message)
        return lambda: rules.receive(messages, 1.0, LONG_POLLING, Poll(Peer("")))

    say(b'{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}')()
    publish = say(b'{"channel":"/open/a","clientId":"%b","data":%b}' % (b"c" * 40, data))
    assert len(publish().publishes) == 1
    assert took(publish) < ALLOWED
    body = b'{"items":[{"channel":"a","json-object":%b}]}' % data
    assert took(lambda: fanout.parse(body)) < ALLOWED


def frame(first: int, payload: bytes) -> bytes:
    """A client's, masked. first: its first byte."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big") if size < 65536 else b""
    return bytes([first]) + (length or b"\xff" + size.to_bytes(8, "big")) + b"mask" + unmask(b"mask", payload)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


MESSAGE = '[{{"channel":"/open/a","clientId":"x","data":{}}}]'
FRAMES: dict[str, bytes] = {
    **{f"1 MiB, {name}": frame(0x81, MESSAGE.format(text).encode()) for name, text in LONG.items()},
    "of a byte each": frame(0x01, b"[") + frame(0x00, b" ") * 100_000 + frame(0x80, b"]"),
    "of nothing": frame(0x01, b"[") + frame(0x00, b"") * 100_000 + frame(0x80, b"]"),
    "pings": frame(0x89, b"x" * 125) * 8_000,
    "pongs": frame(0x8A, b"") * 100_000,
    "messages": frame(0x81, b"[]") * 50_000,
    "half a letter each": frame(0x01, b"\xe2") + frame(0x00, b"\x82\xac\xe2") * 50_000,
    "binary": frame(0x82, b"\xff" * LARGEST),
    "packed": frame(0xC1, deflated(MESSAGE.format('"' + "x" * (LARGEST - 200) + '"').encode())),
    "packed lists": frame(0xC1, deflated(b"[" + b"[]," * 300_000 + b"[]]")),
    "packed, each": frame(0xC1, deflated(b"[]")) * 20_000,
    "a reserved bit": frame(0xB1, b"x" * LARGEST),
    "2 MiB": frame(0x81, b"x" * 2 * LARGEST),
}
SOCKETS = {"Bayeux": "/bayeux", "plain": "/ws"}

#: A message over `/ws` has up to 64 KiB.
LONGEST = 65_000
ORDERS = {
    "names": '{{"subscribe":[{}"a"]}}'.format('"",' * (LONGEST // 3)),
    "lists": '{{"subscribe":[{}"a"]}}'.format("[]," * (LONGEST // 3)),
    "keys": "{" + ",".join(f'"{number:x}":1' for number in range(7_000)) + "}",
    "halves": '{"x":"' + r"\ud800" * 900 + r"\ud83d\ude00" * 4_900 + '"}',
    **{
        f"a position of {content}": f'{{"subscribe":["a","b"],"position":"{text}@e.1"}}'
        for content, text in {
            "escapes": "%41" * 21_000,
            "escaped letters": "\u00e9%41" * 13_000,
            "no escapes": "%z" * 32_000,
            "commas": "," * LONGEST,
            "dots": "a~" + "." * LONGEST,
            "places": "%41%41@e.1," * 5_900,
        }.items()
    },
    "a token": '{{"subscribe":["a"],"token":"{}"}}'.format("a." * 32_000),
}
OF_SOCKETS = {
    "Bayeux": FRAMES,
    "plain": FRAMES | {name: frame(0x81, text.encode()[:65_535]) for name, text in ORDERS.items()},
}


@pytest.mark.parametrize("door", SOCKETS)
async def test_frames(door: str) -> None:
    async with serving() as (url, _):

        async def send(data: bytes) -> None:
            """What comes back is read till the hub closes, or has answered a ping behind it all."""
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=2**22)
            writer.write(upgrade(SOCKETS[door], "Sec-WebSocket-Extensions: permessage-deflate"))
            await reader.readuntil(b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                writer.write(data + frame(0x89, b"the end of it"))
                found = b""
                async with asyncio.timeout(60):
                    while b"\x8a\x0dthe end of it" not in found and (chunk := await reader.read(65536)):
                        found = found[-100:] + chunk
            writer.transport.abort()

        await send(b"")
        late = {}
        for content, data in OF_SOCKETS[door].items():
            late[content] = await longest(lambda data=data: send(data))
        most = {content: WHOLE * ALLOWED if content.startswith(("1 MiB", "packed")) else ALLOWED for content in late}
        assert {key: took for key, took in late.items() if took > most[key]} == {}


PLAIN = {
    "hexadecimal": random.Random(1).randbytes(LARGEST // 2).hex().encode(),
    "one letter": b"x" * LARGEST,
    "numbers": ",".join(map(str, random.Random(1).choices(range(10**6), k=LARGEST // 7))).encode(),
}


@pytest.mark.parametrize("window", [9, 15])
@pytest.mark.parametrize("content", PLAIN)
def test_what_is_compressed_is_short(content: str, window: int) -> None:
    """Who asked for a megabyte of history over a compressed WebSocket had it compressed at once: 8 to 15 ms."""
    socket = BayeuxSocket(cast(Any, None), limit=1, interval=1.0, window=window)
    for size in (DEFLATE_FROM, DEFLATE_TO // 2, DEFLATE_TO, DEFLATE_TO + 1, LARGEST):
        payload = PLAIN[content][:size]
        took = min(timeit.repeat(lambda data=payload: socket._frame(data), time.thread_time, number=1))
        assert took < ALLOWED
        assert (socket._frame(payload)[0] == 0xC1) is (size <= DEFLATE_TO)


@pytest.mark.parametrize("content", WORST)
async def test_forms_of_the_site(content: str) -> None:
    async def read(asked: web.Request) -> web.Response:
        await CommentForm.read(await read_fields(asked))
        return web.Response()

    app = web.Application()
    app[keys.body_timeout] = 30.0
    app.router.add_post("/", read)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        late = {}
        for field in ("name", "text"):
            form = f"{field}={quote(cut(content, MAX_FORM // 4))[: MAX_FORM - 100]}".encode()
            data = json.dumps({field: cut(content, MAX_FORM // 3)}, ensure_ascii=False).encode()
            for kind, each in (("x-www-form-urlencoded", form), ("json", data)):
                line = f"Content-Type: application/{kind}"
                late[field, kind] = await longest(
                    lambda line=line, each=each: say(url, request("POST /", line, body=each))
                )
        assert {key: took for key, took in late.items() if took > ALLOWED} == {}
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("content", WORST)
async def test_texts_that_are_kept(content: str) -> None:
    """A description in decomposed letters took 12 ms, a comment 2.5: they are composed in pieces."""
    for clean, size in (
        (slug_of, 40_000),
        (lambda text: clean_line(text, MAX_TITLE), 40_000),
        (lambda text: clean_line(text, MAX_TITLE), 2 * MAX_TITLE),
    ):
        text = WORST[content][:size]
        clean("\u00e9")
        assert min(timeit.repeat(lambda c=clean, t=text: c(t), time.thread_time, number=1)) < ALLOWED
    await clean_long("\u00e9", 2)
    for most, size in (
        (MAX_COMMENT, 2 * MAX_COMMENT),
        (MAX_DESCRIPTION, 2 * MAX_DESCRIPTION),
        (MAX_DESCRIPTION, MAX_FORM),
    ):
        text = WORST[content][:size]
        # A task of its own, or its first step would not be timed.
        assert await longest(lambda t=text, m=most: asyncio.create_task(clean_long(t, m))) < ALLOWED


@pytest.mark.parametrize("form", ["private-{}-{:02}", "a/{}/{:02}/**", "private-{}-{:02}-*", "*-*-{}-{:02}-*-*-*-*"])
def test_tokens_of_a_hundred_patterns(form: str) -> None:
    """An expression was made of each pattern, for each name: 4 to 15 ms, once 11 such tokens came in turn."""
    access = Access((), (), realm=REALM, keys=[KEY])
    now = time.time()
    held = [
        access.grant(tokens.sign(REALM, KEY, now, channels=[form.format(one, each) for each in range(100)]), now)
        for one in range(12)
    ]
    turn = iter(range(10**6))

    def ask() -> None:
        assert not access.may_subscribe("/private-none", Who(None, held[next(turn) % 12]))

    assert min(timeit.repeat(ask, time.thread_time, number=1)) < ALLOWED / 4


PATTERN = "room-*-*-*-*-*"


def test_stars_in_rules() -> None:
    """A rule with five stars took 35 s for a name of 249 dashes."""
    rules = parse_rules(f'[[rule]]\nchannels = ["{PATTERN}"]\nsubscribe = "token"\n', "rules")
    histories = parse_histories(f'[[history]]\nchannels = ["{PATTERN}"]\ncount = 5\n', "rules")
    assert rules
    assert histories
    access = Access((), rules, realm=REALM, keys=[KEY], leeway=0)
    number = iter(range(1000))

    def ask() -> None:
        access.decide("subscribe", f"/room{'-' * 240}{next(number)}/x", Who(None))

    assert min(timeit.repeat(ask, time.thread_time, number=1)) < ALLOWED


MANY = [f"c{number:099}" for number in range(100)]
QUESTIONS = {
    "poll": lambda: request("GET /poll?" + "&".join(f"channel={name}" for name in MANY)),
    "poll form": lambda: request("POST /poll", body="&".join(f"channel={name}" for name in MANY).encode()),
    "stream": lambda: request("GET /sse?" + "&".join(f"channel={name}" for name in MANY), "Accept: text/event-stream"),
    "WebSocket": lambda: upgrade("/ws?" + "&".join(f"channel={name}" for name in MANY)),
    "fpp": lambda: request("POST /fpp/subscribe/", body="&".join(f"ci=name%3D{name}" for name in MANY).encode()),
}


@pytest.mark.parametrize("way", QUESTIONS)
async def test_question_for_many_channels_is_asked_in_pieces(way: str) -> None:
    """A poll for a hundred channels was one piece of 2 to 3 ms; now others have their turn between its pieces."""
    async with serving() as (url, hub):
        assert (await say(url, QUESTIONS[way]())).status in (200, 101)
        async with asyncio.timeout(30):
            # A socket is open before it has subscribed.
            while hub.door.turns.taken < 4:
                await asyncio.sleep(0.01)
        assert await longest(lambda: say(url, QUESTIONS[way]())) < ALLOWED


async def test_feed_of_names_is_written_in_pieces() -> None:
    """Two sessions that subscribed to 2,000 names kept the loop for 15 ms, with all the lines of a publisher's feed."""
    bearer = f"Authorization: Bearer {tokens.sign(REALM, KEY, 2e9, life=9e9)}"
    async with serving() as (url, hub):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=2**24)
        writer.write(request("GET /subscriptions/stream/", bearer))
        await reader.readuntil(b"\r\n\r\n")
        registry = hub.node.registry
        session = Session("c" * 40, 0.0)
        registry.add(session)
        for number in range(10):
            names = [f"/{number}-{each}" for each in range(2000)]
            with pieces() as each:
                for name in names:
                    registry.subscribe(session, name)
                # Its chunk is the last.
                await reader.readuntil(f'"channel":"{number}-1999"'.encode())
            if max(each) < ALLOWED / 2:
                break
        assert max(each) < ALLOWED
        took = await longest(lambda: say(url, request("GET /subscriptions/items/", bearer)))
        assert took < 2 * ALLOWED, "to name 20,000 is 2 ms, the rest is done in pieces"
        writer.close()


@pytest.mark.parametrize("way", ["disconnect", "expiry", "unsubscribe"])
async def test_session_of_a_thousand_names_comes_and_goes_in_pieces(way: str) -> None:
    """To subscribe to 900 new names in one message was a piece of 4 ms or more, and their end one of 1.4 ms, four of
    which came at once; half of that was for the publishers' feed.
    """
    bearer = f"Authorization: Bearer {tokens.sign(REALM, KEY, 2e9, life=9e9)}"
    numbers = iter(range(1000))
    async with serving(session_ttl=0.3) as (url, hub):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=2**24)
        writer.write(request("GET /subscriptions/stream/", bearer))
        await reader.readuntil(b"\r\n\r\n")

        async def tell(*messages: dict[str, object]) -> list[dict[str, object]]:
            answer = await say(url, request("POST /bayeux", body=json.dumps(messages).encode()))
            replies: list[dict[str, object]] = json.loads(answer.body)
            assert all(reply["successful"] for reply in replies)
            return replies

        async def come_and_go() -> None:
            clients = []
            for _ in range(4):
                number = next(numbers)
                names = [f"/{number}/{each:030}" for each in range(900)]
                shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
                clients.append((await tell(shake))[0]["clientId"])
                await tell({"channel": "/meta/subscribe", "clientId": clients[-1], "subscription": names})
                if way == "unsubscribe":
                    names.reverse()
                    await tell({"channel": "/meta/unsubscribe", "clientId": clients[-1], "subscription": names})
            if way == "disconnect":
                for client in clients:
                    await tell({"channel": "/meta/disconnect", "clientId": client})
            async with asyncio.timeout(60):
                while hub.node.registry.audiences:
                    await asyncio.sleep(0.01)

        with contextlib.closing(writer):
            # 6 to 11 ms it was.
            assert await longest(come_and_go) < ALLOWED
            assert not hub.node.registry.subscribed


async def test_orders_of_a_socket_are_done_in_order_though_some_wait_for_their_turn() -> None:
    async with serving() as (url, hub), ClientSession() as http, http.ws_connect(f"{url}/ws") as socket:
        await socket.send_json({"subscribe": MANY[:60]})
        await socket.send_json({"subscribe": ["bad\n"]})
        await socket.send_json({"subscribe": ["one"]})
        await socket.send_json({"unsubscribe": [*MANY[:30], "one"]})
        answers = [await socket.receive_json() for _ in range(4)]
        assert [list(answer) for answer in answers] == [["subscribed"], ["error"], ["subscribed"], ["unsubscribed"]]
        assert set(hub.node.registry.audiences) == {f"/{name}" for name in MANY[30:60]}


async def test_who_leaves_while_waiting_for_a_turn_leaves_nothing_behind() -> None:
    async with serving() as (url, hub):
        for each in ("WebSocket", "stream", "poll"):
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(QUESTIONS[each]())
            await asyncio.sleep(0)
            writer.transport.abort()
        await say(url, request("GET /health"))
        async with asyncio.timeout(30):
            while hub.node.registry.sessions or hub.node.registry.audiences or len(hub.door.turns):
                await asyncio.sleep(0.01)


async def test_longer_paths_than_there_can_be_are_nowhere() -> None:
    async with serving() as (url, _):
        for path in ("/a" * 301, f"/r/{'a' * 65}/poll", f"/realm/{'a' * 65}", f"/r/{'a' * 65}"):
            assert (await say(url, request(f"GET {path}"))).status == 404
        assert (await say(url, request("GET /r/a1b2c3d4/poll?channel=a"))).status == 200


async def test_user_with_many_sessions_is_sent_away_in_pieces() -> None:
    """10,000 sessions of one user ended in one piece of 56 ms."""
    bearer = f"Authorization: Bearer {tokens.sign(REALM, KEY, 2e9, life=9e9)}"
    async with serving() as (url, hub):
        registry = hub.node.registry

        async def kick() -> None:
            for number in range(2_000):
                session = Session(f"{number:040}", hub.node.time(), "ada")
                registry.add(session)
                for name in ("/a", "/b", "/c"):
                    registry.subscribe(session, name)
                if number % 50 == 0:
                    await asyncio.sleep(0)
            sent = request(f"POST /realm/{REALM}/kick", bearer, body=b'{"user":"ada"}')
            assert (await say(url, sent)).status == 200
            async with asyncio.timeout(30):
                while registry.sessions:
                    await asyncio.sleep(0)

        assert await longest(kick) < ALLOWED
