"""Heads of requests and the upgrades they ask for: what is taken, what is refused and how."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import HeadError
from hub.protocol import heads
from hub.protocol.heads import Head, Upgrade

#: The example of RFC 6455 §1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FIELDS: dict[str, str | None] = {
    "Host": "example.org",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY.decode(),
}


def request(*lines: str, first: str = "GET /bayeux HTTP/1.1") -> bytes:
    return "\r\n".join((first, *lines, "", "")).encode("latin-1")


def asking(*more: str, first: str = "GET /bayeux HTTP/1.1", **changes: str | None) -> bytes:
    """An upgrade with changed fields (underscores are hyphens, None leaves one out), and more lines."""
    fields = FIELDS | {name.replace("_", "-"): value for name, value in changes.items()}
    return request(*(f"{name}: {value}" for name, value in fields.items() if value is not None), *more, first=first)


def head_of(data: bytes) -> Head:
    found = heads.read_head(data)
    assert found is not None
    return found[0]


def accepted(data: bytes, smallest: int = 15) -> Upgrade:
    return heads.upgrade(head_of(data), smallest)


def refused(data: bytes, limit: int = heads.HEAD_BYTES) -> int:
    with pytest.raises(HeadError) as caught:
        heads.read_head(data, limit)
    return caught.value.status


def turned_away(data: bytes) -> HeadError:
    with pytest.raises(HeadError) as caught:
        accepted(data)
    return caught.value


# Heads


def test_a_head_is_read_up_to_its_blank_line() -> None:
    data = request("Host: example.org", "X-Thing:  a b \t")
    found = heads.read_head(data + b"more")
    assert found is not None
    head, consumed = found
    assert consumed == len(data)
    assert (head.method, head.target, head.version) == (b"GET", b"/bayeux", b"HTTP/1.1")
    assert head.headers == [(b"host", b"example.org"), (b"x-thing", b"a b")]
    assert head.get(b"x-thing") == b"a b"
    assert head.get(b"absent") is None


def test_a_bytearray_will_do() -> None:
    found = heads.read_head(bytearray(request("Host: a")))
    assert found is not None
    assert type(found[0].target) is bytes


def test_repeated_fields_are_one_list() -> None:
    head = head_of(request("Host: a", "Accept: b", "ACCEPT: c"))
    assert head.get(b"accept") == b"b, c"
    assert head.headers[1:] == [(b"accept", b"b"), (b"accept", b"c")]


def test_an_incomplete_head_is_waited_for() -> None:
    data = asking()
    for end in range(len(data)):
        assert heads.read_head(data[:end]) is None
    assert heads.read_head(data) is not None


def test_http_1_0_needs_no_host() -> None:
    assert head_of(request(first="GET / HTTP/1.0")).version == b"HTTP/1.0"


def test_a_head_of_just_the_limit_is_read() -> None:
    data = request("Host: a", "X: " + "x" * 100)
    assert heads.read_head(data, len(data)) is not None
    assert refused(data, len(data) - 1) == 431


def test_a_head_that_never_ends_is_431() -> None:
    assert heads.read_head(b"GET /" + b"a" * 994, 1000) is None
    assert refused(b"GET /" + b"a" * 995, 1000) == 431
    assert refused(request("Host: a", *("X: y" for _ in range(heads.MAX_FIELDS)))) == 431


@pytest.mark.parametrize("first", ["GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/1.2", "PRI * HTTP/2.0"])
def test_another_version_is_505(first: str) -> None:
    assert refused(request("Host: a", first=first)) == 505


@pytest.mark.parametrize(
    "first",
    [
        "",
        "GET",
        "GET /",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /\xe9 HTTP/1.1",
        "G(T / HTTP/1.1",
        " / HTTP/1.1",
        "GET  HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/11",
        "GET / HTTP/",
        "GET / FTP/1.1",
    ],
)
def test_a_bad_request_line_is_400(first: str) -> None:
    assert refused(request("Host: a", first=first)) == 400


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("X", id="no colon"),
        pytest.param(": x", id="no name"),
        pytest.param("X : y", id="space before the colon"),
        pytest.param(" X: y", id="folded"),
        pytest.param("\tX: y", id="folded with a tab"),
        pytest.param("X(y): z", id="name is no token"),
        pytest.param("X\xe9: z", id="name is not ASCII"),
        pytest.param("X: a\x00b", id="NUL"),
        pytest.param("X: a\x1bb", id="escape"),
        pytest.param("X: a\x7fb", id="delete"),
        pytest.param("X: a\rb", id="bare CR"),
        pytest.param("X: a\nY: b", id="bare LF"),
        pytest.param("X: a\r", id="CR CR LF"),
    ],
)
def test_a_bad_field_is_400(line: str) -> None:
    assert refused(request("Host: a", line)) == 400
    assert refused(request(line, "Host: a")) == 400


def test_a_head_with_lf_alone_is_refused_at_once() -> None:
    """It would never be complete, and its client would wait."""
    assert refused(b"GET / HTTP/1.1\nHost: a\n\n") == 400
    assert refused(b"\n") == 400


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="no Host"),
        pytest.param(["Host: a", "Host: b"], id="two Hosts"),
        pytest.param(["Host: a", "host: a"], id="the same Host twice"),
        pytest.param(["Host: a, b"], id="two in one"),
        pytest.param(["Host: a b"], id="a blank in it"),
        pytest.param(["Host: a", "Content-Length: 1", "Content-Length: 2"], id="two lengths"),
        pytest.param(["Host: a", "Content-Length: 1, 1"], id="a list of lengths"),
        pytest.param(["Host: a", "Content-Length: +1"], id="a signed length"),
        pytest.param(["Host: a", "Content-Length: -1"], id="a negative length"),
        pytest.param(["Host: a", "Content-Length: 0x1"], id="a hexadecimal length"),
        pytest.param(["Host: a", "Content-Length: "], id="no length"),
        pytest.param(["Host: a", "Content-Length: 1", "Transfer-Encoding: chunked"], id="length and chunks"),
    ],
)
def test_what_two_parsers_could_read_differently_is_400(lines: list[str]) -> None:
    assert refused(request(*lines)) == 400


def test_the_same_length_twice_is_taken() -> None:
    assert head_of(request("Host: a", "Content-Length: 5", "Content-Length: 5")).headers[1] == (b"content-length", b"5")


# Upgrades


@given(st.binary(min_size=16, max_size=16))
def test_heads_that_differ_by_the_key_alone_mean_the_same_but_for_the_key(nonce: bytes) -> None:
    key = base64.b64encode(nonce)
    other = asking("Origin: http://example.com", Sec_WebSocket_Key=key.decode())
    first = asking("Origin: http://example.com")
    found, known = heads.split_key(other), heads.split_key(first)
    assert found is not None
    assert known is not None
    assert found == (key, known[1])
    assert accepted(first).with_key(found[0]) == accepted(other)


@pytest.mark.parametrize(
    "head",
    [
        asking(Sec_WebSocket_Key=None),
        asking(Sec_WebSocket_Key="AAAA"),
        asking(Sec_WebSocket_Key="AAAA\r\nA: AAAAAAAAAAAAA=="),
        asking("sec-websocket-key: " + KEY.decode(), Sec_WebSocket_Key=None),
        asking().partition(b"==")[0],
    ],
)
def test_no_key_is_split_off_that_is_not_surely_one(head: bytes) -> None:
    assert heads.split_key(head) is None


def test_two_heads_without_their_keys_are_different_if_the_keys_stood_elsewhere() -> None:
    second = asking("Sec-WebSocket-Key: " + KEY.decode())
    found, known = heads.split_key(second), heads.split_key(asking())
    assert found is not None
    assert known is not None
    assert found[1] != known[1]
    assert turned_away(second).status == 400


def test_the_example_of_rfc_6455_is_accepted() -> None:
    upgrade = accepted(asking("Origin: http://example.com"))
    assert upgrade == Upgrade(KEY, ACCEPT, None, 0, b"http://example.com", ())
    assert heads.switching(upgrade) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@given(st.binary(min_size=16, max_size=16))
def test_any_sixteen_bytes_are_a_key(nonce: bytes) -> None:
    key = base64.b64encode(nonce)
    expected = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    assert accepted(asking(Sec_WebSocket_Key=key.decode())).accept == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "UPGRADE"},
        {"Connection": "Upgrade,TE"},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, websocket"},
        {"Content-Length": "0"},
    ],
)
def test_lists_and_other_cases_are_understood(changes: dict[str, str]) -> None:
    assert accepted(asking(**changes)).accept == ACCEPT


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Connection": None}, 400),
        ({"Connection": "close"}, 400),
        ({"Connection": "not-upgrade"}, 400),
        ({"Upgrade": None}, 426),
        ({"Upgrade": "websockets"}, 426),
        ({"Sec-WebSocket-Version": None}, 426),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": "13, 8"}, 426),
        ({"Sec-WebSocket-Version": "013"}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZ==="}, 400),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZSE="}, 400),
        ({"Sec-WebSocket-Key": "dGhl!HNhbXBsZSBub25jZQ=="}, 400),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="}, 400),
        ({"Content-Length": "5"}, 400),
        ({"Transfer-Encoding": "chunked"}, 400),
        ({"Sec-WebSocket-Protocol": "a,,b"}, 400),
        ({"Sec-WebSocket-Protocol": "a, a"}, 400),
        ({"Sec-WebSocket-Protocol": "a b"}, 400),
    ],
)
def test_a_bad_upgrade_is_turned_away(changes: dict[str, str | None], status: int) -> None:
    assert turned_away(asking(**changes)).status == status


def test_two_keys_are_turned_away() -> None:
    assert turned_away(asking(f"Sec-WebSocket-Key: {KEY.decode()}")).status == 400


def test_only_get_becomes_a_websocket() -> None:
    error = turned_away(asking(first="POST /bayeux HTTP/1.1"))
    assert (error.status, error.headers) == (405, (("Allow", "GET"),))


def test_only_http_1_1_becomes_a_websocket() -> None:
    assert turned_away(asking(first="GET /bayeux HTTP/1.0")).status == 400


def test_another_version_is_told_ours() -> None:
    """RFC 6455 §4.4; RFC 9110 §15.5.22 wants Upgrade in a 426."""
    error = turned_away(asking(Sec_WebSocket_Version="7"))
    assert dict(error.headers) == {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}


@pytest.mark.parametrize("headers", [[], [(b"host", b"a"), (b"host", b"b")]])
def test_a_head_from_another_parser_is_checked_for_its_host(headers: list[tuple[bytes, bytes]]) -> None:
    lines = head_of(asking()).headers[1:]
    with pytest.raises(HeadError) as caught:
        heads.upgrade(Head(b"GET", b"/", b"HTTP/1.1", headers + lines))
    assert caught.value.status == 400


def test_a_request_says_whether_it_is_for_a_websocket() -> None:
    assert heads.is_upgrade(head_of(asking()))
    # Without Connection it is still told what is wrong, not served a page.
    assert heads.is_upgrade(head_of(asking(Connection=None)))
    assert not heads.is_upgrade(head_of(asking(Upgrade=None)))
    assert not heads.is_upgrade(head_of(asking(Upgrade="h2c")))
    assert not heads.is_upgrade(head_of(asking(Upgrade="websocket2")))


@pytest.mark.parametrize("name", ["Upgrade", "Connection"])
def test_a_list_without_end_has_nothing(name: str) -> None:
    """30 KB of commas were looked at one by one, twice: 4 ms of the loop for a request that came in."""
    data = asking(**{name: "," * 30_000 + "websocket, upgrade"})
    with pytest.raises(HeadError):
        accepted(data)


def test_few_subprotocols_may_be_offered() -> None:
    assert (
        len(accepted(asking("Sec-WebSocket-Protocol: " + ",".join(f"p{each}" for each in range(50)))).protocols) == 50
    )
    with pytest.raises(HeadError) as caught:
        accepted(asking("Sec-WebSocket-Protocol: " + ",".join(f"p{each}" for each in range(2_000))))
    assert caught.value.status == 400


def test_compression_is_agreed_on() -> None:
    upgrade = accepted(asking("Sec-WebSocket-Extensions: x", "Sec-WebSocket-Extensions: permessage-deflate"))
    assert upgrade.deflate is not None
    assert upgrade.window == 15
    assert f"\r\nSec-WebSocket-Extensions: {upgrade.deflate}\r\n\r\n".encode() in heads.switching(upgrade)


def test_a_small_window_is_for_who_can_keep_it() -> None:
    data = asking("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10")
    assert (accepted(data).deflate, accepted(data).window) == (None, 0)
    # Whatever they ask for, two forms of a publication are enough.
    assert accepted(data, smallest=9).window == 9
    assert accepted(data, smallest=9).deflate.endswith("server_max_window_bits=10")  # type: ignore[union-attr]  # above


def test_one_of_the_subprotocols_offered_is_answered() -> None:
    upgrade = accepted(asking("Sec-WebSocket-Protocol: bayeux, chat"))
    assert upgrade.protocols == ("bayeux", "chat")
    assert b"Protocol" not in heads.switching(upgrade).replace(b"Switching Protocols", b"")
    assert heads.switching(upgrade, "chat").endswith(b"\r\nSec-WebSocket-Protocol: chat\r\n\r\n")


def test_a_refusal_is_a_whole_answer() -> None:
    head, _, body = heads.refusal(503, "Gone for a while – sorry", [("Retry-After", "5")]).partition(b"\r\n\r\n")
    assert body.decode() == "Gone for a while – sorry\n"
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 503 Service Unavailable",
        b"Retry-After: 5",
        b"Content-Type: text/plain; charset=utf-8",
        b"X-Content-Type-Options: nosniff",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    ]


def test_a_refusal_with_upgrade_names_it_in_connection() -> None:
    assert b"\r\nConnection: close, upgrade\r\n" in heads.refusal(426, "13", [("Upgrade", "websocket")])


# Properties


PIECES = st.sampled_from(
    [b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\r", b"\n", b":", b"Host: a", b"\0", b"\xff", b",", b"\t", b"x"]
    + [f"{name}: {value}\r\n".encode() for name, value in FIELDS.items()]
    + [b"Content-Length: 0\r\n", b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"GET / HTTP/1.1\r\n"]
)


@given(
    st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=20).map(b"".join).map(lambda data: data + b"\r\n\r\n"))
)
def test_there_is_no_error_but_head_error(data: bytes) -> None:
    try:
        found = heads.read_head(data, 1000)
        if found is not None:
            head, consumed = found
            assert data[consumed - 4 : consumed] == b"\r\n\r\n"
            assert heads.is_upgrade(head) in (True, False)
            heads.switching(heads.upgrade(head))
    except HeadError as error:
        assert heads.refusal(error.status, error.text, error.headers).startswith(
            b"HTTP/1.1 4" if error.status < 500 else b"HTTP/1.1 5"
        )


@given(st.integers(0, 400), st.binary(max_size=3))
def test_damage_to_an_upgrade_is_refused_or_harmless(place: int, noise: bytes) -> None:
    """It never makes two requests of one, nor a value with a line break."""
    data = asking("Origin: https://example.org", "Accept-Language: en")
    place %= len(data)
    damaged = data[:place] + noise + data[place + 1 :]
    try:
        found = heads.read_head(damaged)
    except HeadError:
        return
    if found is not None:
        for name, value in found[0].headers:
            assert not set(name + value) & set(b"\r\n\0")
            assert name == name.lower()
