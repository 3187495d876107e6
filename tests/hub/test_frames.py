"""WebSocket frames: what is read, what is refused and with which code, and what it may cost."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import FrameError
from hub.protocol import frames
from hub.protocol.close_codes import INVALID_DATA, PROTOCOL_ERROR, TOO_BIG
from hub.protocol.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Reader

MASK = b"\x1f\x00\xa5\xff"
LIMIT = 100_000
TAIL = b"\x00\x00\xff\xff"


def sent(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes = MASK,
    size: int | None = None,
) -> bytes:
    """A frame as a client sends it, byte by byte from RFC 6455 §5.2. size: what it claims to have."""
    size = len(payload) if size is None else size
    head = bytes([(0x80 if final else 0) | reserved | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def packed(payload: bytes) -> bytes:
    """Compressed as another library would: default settings, tail cut off."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def read(*data: bytes, limit: int = LIMIT, deflate: bool = False) -> list[tuple[int, bytes]]:
    reader = Reader(limit, deflate)
    return [message for piece in data for message in fed(reader, piece)]


def fed(reader: Reader, data: bytes) -> list[tuple[int, bytes]]:
    """Fed to the end, in as many turns as it takes."""
    messages = reader.feed(data)
    while reader.unfinished:
        messages += reader.feed(b"")
    return messages


def refused(*data: bytes, limit: int = LIMIT, deflate: bool = False) -> int:
    with pytest.raises(FrameError) as caught:
        read(*data, limit=limit, deflate=deflate)
    return caught.value.close_code


def bytewise(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def outcome(pieces: Iterable[bytes], limit: int, deflate: bool) -> tuple[list[tuple[int, bytes]], bool]:
    """Every message, and whether an error came after them."""
    reader = Reader(limit, deflate)
    messages = []
    try:
        for piece in pieces:
            messages += fed(reader, piece)
    except FrameError as error:
        return messages + error.messages, True
    return messages, False


# Writing


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_lengths_are_written_in_the_fewest_bytes(size: int, head: bytes) -> None:
    payload = b"x" * size
    assert frames.text_frame(payload) == head + payload
    assert frames.frame(TEXT, payload) == head + payload


def test_a_compressed_frame_is_marked() -> None:
    assert frames.frame(TEXT, b"x", rsv1=True)[0] == 0xC1
    assert frames.frame(BINARY, b"x" * 200, rsv1=True)[0] == 0xC2
    assert frames.frame(BINARY, b"x" * 70_000, rsv1=True)[0] == 0xC2


def test_a_control_frame_is_never_long() -> None:
    assert len(frames.frame(PONG, b"x" * 125)) == 127
    with pytest.raises(ValueError, match="125"):
        frames.frame(PONG, b"x" * 126)


def test_a_close_frame_has_code_and_reason() -> None:
    assert frames.close_frame(1001, "bye") == b"\x88\x05\x03\xe9bye"
    assert frames.close_frame(1000) == b"\x88\x02\x03\xe8"


@given(st.text(max_size=200))
def test_a_close_reason_is_cut_between_characters(reason: str) -> None:
    data = frames.close_frame(1013, reason)
    assert len(data) <= 127
    assert len(data) == data[1] + 2
    text = data[4:].decode()
    assert reason.encode("utf-8", "replace").decode().startswith(text)


# Reading


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=300))
def test_unmasking_is_exclusive_or(mask: bytes, payload: bytes) -> None:
    assert frames.unmask(mask, payload) == bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_any_length_is_read(opcode: int, size: int) -> None:
    payload = b"x" * size
    assert read(sent(opcode, payload)) == [(opcode, payload)]


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\1\0\0\0"])
def test_zeros_at_either_end_survive_unmasking(mask: bytes) -> None:
    payload = b"\0\0\0x\0\0\0"
    assert read(sent(BINARY, payload, mask=mask)) == [(BINARY, payload)]


def test_fragments_make_one_message() -> None:
    stream = sent(TEXT, b"a", final=False) + sent(CONTINUATION, b"", final=False) + sent(CONTINUATION, b"b")
    assert read(stream) == [(TEXT, b"ab")]
    assert read(*bytewise(stream)) == [(TEXT, b"ab")]


def test_control_frames_come_between_fragments() -> None:
    stream = sent(TEXT, b"a", final=False) + sent(PING, b"p") + sent(PONG) + sent(CONTINUATION, b"b")
    assert read(stream) == [(PING, b"p"), (PONG, b""), (TEXT, b"ab")]


def test_an_empty_last_fragment_ends_a_message() -> None:
    assert read(sent(BINARY, b"a", final=False) + sent(CONTINUATION)) == [(BINARY, b"a")]
    assert read(sent(BINARY, final=False) + sent(CONTINUATION)) == [(BINARY, b"")]


def test_a_character_may_be_cut_by_fragments() -> None:
    first, second = sent(TEXT, b"\xf0\x9f", final=False), sent(CONTINUATION, b"\x98\x80")
    assert read(first, second) == [(TEXT, "😀".encode())]


def test_several_messages_come_in_one_piece() -> None:
    assert read(sent(TEXT, b"a") + sent(BINARY, b"b") + sent(TEXT, b"c")) == [
        (TEXT, b"a"),
        (BINARY, b"b"),
        (TEXT, b"c"),
    ]


def test_what_follows_a_close_frame_is_ignored() -> None:
    reader = Reader(LIMIT)
    assert reader.feed(sent(CLOSE, b"\x03\xe8bye") + sent(TEXT, b"late") + b"\xff\xff") == [(CLOSE, b"\x03\xe8bye")]
    assert reader.feed(sent(TEXT, b"later")) == []
    assert not reader.idle


def test_a_close_frame_ends_an_unfinished_message() -> None:
    assert read(sent(TEXT, b"a", final=False) + sent(CLOSE)) == [(CLOSE, b"")]


@pytest.mark.parametrize(
    "unfinished",
    [
        sent(TEXT, b"abc")[:1],
        sent(TEXT, b"abc")[:-1],
        sent(TEXT, b"abc", final=False),
        sent(PING, b"abc")[:-1],
        sent(TEXT, b"x" * 999)[:5],
    ],
)
def test_a_reader_is_idle_only_between_messages(unfinished: bytes) -> None:
    reader = Reader(LIMIT)
    assert reader.idle
    reader.feed(sent(TEXT, b"whole"))
    assert reader.idle
    reader.feed(unfinished)
    assert not reader.idle


def test_a_reader_is_idle_again_after_the_last_piece() -> None:
    reader = Reader(LIMIT, deflate=True)
    stream = sent(TEXT, packed(b"abc" * 99), reserved=0x40, final=False) + sent(CONTINUATION)
    for piece in bytewise(stream[:-1]):
        assert reader.feed(piece) == []
        assert not reader.idle
    assert reader.feed(stream[-1:]) == [(TEXT, b"abc" * 99)]
    assert reader.idle


# What breaks the rules

UNMASKED = b"\x81\x02hi"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(UNMASKED, id="not masked"),
        pytest.param(sent(TEXT, b"x", reserved=0x40), id="rsv1 without compression"),
        pytest.param(sent(TEXT, b"x", reserved=0x20), id="rsv2"),
        pytest.param(sent(TEXT, b"x", reserved=0x10), id="rsv3"),
        pytest.param(sent(3, b"x"), id="reserved data opcode"),
        pytest.param(sent(7, b"x"), id="reserved data opcode"),
        pytest.param(sent(11, b"x"), id="reserved control opcode"),
        pytest.param(sent(15, b"x"), id="reserved control opcode"),
        pytest.param(sent(CONTINUATION, b"x"), id="nothing to continue"),
        pytest.param(sent(TEXT, b"x", final=False) + sent(TEXT, b"y"), id="a message inside a message"),
        pytest.param(sent(TEXT, b"x", final=False) + sent(BINARY, b"y"), id="a message inside a message"),
        pytest.param(sent(PING, b"x", final=False), id="fragmented ping"),
        pytest.param(sent(CLOSE, final=False), id="fragmented close"),
        pytest.param(sent(PING, b"x" * 126), id="long ping"),
        pytest.param(sent(CLOSE, b"\x03\xe8" + b"x" * 124), id="long close"),
        pytest.param(b"\x82\xfe\x00\x7d" + MASK + b"x" * 125, id="125 in two bytes"),
        pytest.param(b"\x82\xff" + (65535).to_bytes(8, "big") + MASK, id="65535 in eight bytes"),
        pytest.param(b"\x82\xff" + (1 << 63).to_bytes(8, "big") + MASK, id="2^63"),
        pytest.param(sent(CLOSE, b"\x03"), id="close with one byte"),
    ],
)
def test_a_broken_rule_is_1002(data: bytes) -> None:
    assert refused(data) == PROTOCOL_ERROR
    assert refused(*bytewise(data)) == PROTOCOL_ERROR


@pytest.mark.parametrize("reserved", [0x20, 0x10, 0x60, 0x50])
def test_other_reserved_bits_stay_forbidden_with_compression(reserved: int) -> None:
    assert refused(sent(TEXT, packed(b"x"), reserved=reserved), deflate=True) == PROTOCOL_ERROR


def test_only_the_first_frame_of_a_message_is_marked_compressed() -> None:
    stream = sent(TEXT, b"x", final=False) + sent(CONTINUATION, packed(b"y"), reserved=0x40)
    assert refused(stream, deflate=True) == PROTOCOL_ERROR
    assert refused(sent(PING, b"x", reserved=0x40), deflate=True) == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
def test_a_close_code_that_may_travel_is_taken(code: int) -> None:
    payload = code.to_bytes(2, "big") + "adiós".encode()
    assert read(sent(CLOSE, payload)) == [(CLOSE, payload)]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_close_code_that_may_not_travel_is_1002(code: int) -> None:
    assert refused(sent(CLOSE, code.to_bytes(2, "big"))) == PROTOCOL_ERROR


def test_a_close_reason_is_utf8() -> None:
    assert refused(sent(CLOSE, b"\x03\xe8\xff")) == INVALID_DATA


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"ok \xf0\x9f\x98"]
)
def test_text_is_utf8(text: bytes) -> None:
    """Overlong forms, surrogates, what is above U+10FFFF and halves of characters are not."""
    assert refused(sent(TEXT, text)) == INVALID_DATA
    assert refused(*bytewise(sent(TEXT, text))) == INVALID_DATA
    assert refused(sent(TEXT, packed(text), reserved=0x40), deflate=True) == INVALID_DATA
    assert read(sent(BINARY, text)) == [(BINARY, text)]


def test_bad_text_is_refused_before_the_message_ends() -> None:
    """In the third fragment, and in the middle of a frame whose rest has not come."""
    start = sent(TEXT, b"a", final=False) + sent(CONTINUATION, b"b", final=False)
    assert refused(start + sent(CONTINUATION, b"\xe0\x80", final=False)) == INVALID_DATA
    # Python decides on a surrogate only at its third byte.
    assert refused(start + sent(CONTINUATION, b"\xed\xa0\x80", final=False)) == INVALID_DATA
    assert refused(sent(TEXT, b"ab\xf4\x90 and more")[:10]) == INVALID_DATA


def test_what_came_before_an_error_is_not_lost() -> None:
    reader = Reader(LIMIT)
    with pytest.raises(FrameError) as caught:
        reader.feed(sent(TEXT, b"a") + sent(PING, b"b") + sent(TEXT, b"c", final=False) + UNMASKED)
    assert caught.value.messages == [(TEXT, b"a"), (PING, b"b")]


def test_nothing_is_read_after_an_error() -> None:
    reader = Reader(LIMIT)
    with pytest.raises(FrameError):
        reader.feed(UNMASKED)
    assert reader.feed(sent(TEXT, b"a")) == []
    assert not reader.idle


# Limits


@pytest.mark.parametrize("deflate", [False, True])
def test_a_message_of_just_the_limit_is_taken(deflate: bool) -> None:
    payload = b"x" * 1000
    assert read(sent(TEXT, payload), limit=1000, deflate=deflate) == [(TEXT, payload)]
    halves = sent(TEXT, payload[:500], final=False) + sent(CONTINUATION, payload[500:])
    assert read(halves, limit=1000, deflate=deflate) == [(TEXT, payload)]
    if deflate:
        assert read(sent(TEXT, packed(payload), reserved=0x40), limit=1000, deflate=True) == [(TEXT, payload)]


def test_a_byte_over_the_limit_is_1009() -> None:
    payload = b"x" * 1001
    assert refused(sent(TEXT, payload), limit=1000) == TOO_BIG
    assert refused(sent(TEXT, payload[:500], final=False) + sent(CONTINUATION, payload[500:]), limit=1000) == TOO_BIG
    assert refused(sent(TEXT, packed(payload), reserved=0x40), limit=1000, deflate=True) == TOO_BIG


def test_what_fragments_inflate_to_is_counted_together() -> None:
    data = packed(b"x" * 600 + b"y" * 600)
    first, rest = sent(TEXT, data[:7], reserved=0x40, final=False), sent(CONTINUATION, data[7:])
    assert read(first, rest, limit=1200, deflate=True) == [(TEXT, b"x" * 600 + b"y" * 600)]
    assert refused(first, rest, limit=1199, deflate=True) == TOO_BIG
    assert refused(*bytewise(first + rest), limit=1199, deflate=True) == TOO_BIG


@pytest.mark.parametrize("size", [LIMIT + 1, 1 << 40, (1 << 63) - 1])
def test_a_frame_is_refused_for_what_it_announces(size: int) -> None:
    """Before any of its payload has come, and before its mask has."""
    assert refused(sent(BINARY, size=size)[:-4]) == TOO_BIG


def peak(work: Callable[[], object]) -> int:
    """The most bytes Python held at once because of it."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_not_inflated_beyond_the_limit() -> None:
    """100 kB that would inflate to 100 MB."""
    bomb = sent(TEXT, packed(b"\0" * 100_000_000), reserved=0x40)
    assert len(bomb) < LIMIT
    assert peak(lambda: refused(bomb, deflate=True)) < 10 * LIMIT


def test_blocks_that_inflate_to_nothing_are_counted() -> None:
    empty = b"\x00\x00\x00\xff\xff" * 1000
    reader = Reader(10_000, deflate=True)
    reader.feed(sent(BINARY, empty, reserved=0x40, final=False))
    reader.feed(sent(CONTINUATION, empty, final=False))
    with pytest.raises(FrameError) as caught:
        reader.feed(sent(CONTINUATION, empty, final=False))
    assert caught.value.close_code == TOO_BIG


@pytest.mark.parametrize("size", [LIMIT, frames.INFLATE_STEP, frames.INFLATE_STEP + 1, 3 * frames.INFLATE_STEP])
def test_a_feed_inflates_a_step_and_the_next_ones_the_rest(size: int) -> None:
    """A thousand messages, from one read, are a hundred megabytes and more."""
    bombs = sent(BINARY, packed(b"\0" * size), reserved=0x40) * 100 + sent(PING, b"x")
    reader = Reader(size, deflate=True)
    longest = whole = 0
    messages = reader.feed(bombs)
    while reader.unfinished:
        # What is complete now may have been begun before.
        longest = max(longest, sum(len(payload) for _, payload in messages))
        whole += messages.count((BINARY, b"\0" * size))
        messages = reader.feed(b"")
    whole += messages.count((BINARY, b"\0" * size))
    assert (whole, messages[-1]) == (100, (PING, b"x"))
    assert longest <= frames.INFLATE_STEP + 2 * size
    assert reader.idle


def test_bytes_that_come_while_a_step_is_unfinished_go_behind_it() -> None:
    size = 4 * frames.INFLATE_STEP
    stream = sent(TEXT, packed(b"a" * size), reserved=0x40)
    reader = Reader(size, deflate=True)
    messages = reader.feed(stream)
    assert reader.unfinished
    messages += fed(reader, sent(PING, b"x"))
    assert messages == [(TEXT, b"a" * size), (PING, b"x")]


def test_what_is_long_and_was_packed_far_too_well_is_1009() -> None:
    limit = 8 * 1024 * 1024
    text = (b'{"channel":"/chat/room","data":"%d"}' * 40_000) % tuple(range(40_000))
    assert len(text) > 1024 * 1024
    assert read(sent(TEXT, packed(text), reserved=0x40), limit=limit, deflate=True) == [(TEXT, text)]
    million = sent(TEXT, packed(b" " * 1_000_000), reserved=0x40)
    assert read(million, limit=limit, deflate=True) == [(TEXT, b" " * 1_000_000)]
    assert refused(sent(TEXT, packed(b" " * 2_000_000), reserved=0x40), limit=limit, deflate=True) == TOO_BIG


def test_a_message_in_tiny_pieces_costs_little_more_than_its_size() -> None:
    """Neither pieces nor fragments are objects that stay."""
    reader = Reader(LIMIT)

    def trickle() -> None:
        reader.feed(sent(BINARY, final=False))
        for _ in range(20_000):
            reader.feed(sent(CONTINUATION, b"ab", final=False))

    assert peak(trickle) < 4 * 40_000
    assert reader.feed(sent(CONTINUATION)) == [(BINARY, b"ab" * 20_000)]


def test_empty_fragments_are_not_collected() -> None:
    reader = Reader(LIMIT)
    reader.feed(sent(TEXT, final=False))
    stream = sent(CONTINUATION, final=False) * 10_000

    def flood() -> None:
        for _ in range(10):
            reader.feed(stream)

    assert peak(flood) < 10_000


def test_a_big_message_in_small_pieces_takes_linear_time() -> None:
    """16 MiB in 1 KiB pieces; copying what is there for every piece would take a minute or more."""
    payload = bytes(range(256)) * 65536
    stream = frames.frame(BINARY, frames.unmask(MASK, payload))
    stream = stream[:1] + bytes([stream[1] | 0x80]) + stream[2:10] + MASK + stream[10:]
    reader = Reader(len(payload))
    messages = [message for at in range(0, len(stream), 1024) for message in reader.feed(stream[at : at + 1024])]
    assert messages == [(BINARY, payload)]


# The short way


@pytest.mark.parametrize("size", [1, 2, 125, 126, 127, 1023])
def test_a_short_text_frame_takes_the_short_way(size: int) -> None:
    payload = (b"0123456789" * 103)[:size]
    assert frames.read_short(sent(TEXT, payload)) == [payload]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        sent(TEXT),
        sent(TEXT, b"x" * 1024),
        sent(TEXT, b"abc")[:-1],
        sent(TEXT, b"abc") + b"\x81",
        sent(TEXT, b"abc") + sent(TEXT, b"de")[:-1],
        sent(TEXT, b"abc") + sent(PING, b"de"),
        sent(TEXT, b"abc") * 200,
        # 127 is no length but the word for one of eight bytes; the fuzzer found it taken for one.
        b"\x81\xff" + bytes(4) + b"x" * 127,
        sent(TEXT, b"x" * 200)[:-1],
        sent(TEXT, b"x" * 200) + b"x",
        sent(TEXT, b"abc", final=False),
        sent(TEXT, b"abc", reserved=0x40),
        sent(BINARY, b"abc"),
        sent(PING, b"abc"),
        sent(TEXT, "é".encode()),
        sent(TEXT, b"\xff"),
        b"\x81\x07hello" + b"xx",
        b"\x81\xfe\x00\x7d" + b"\0\0\0\0" + b"x" * 125,
    ],
)
def test_anything_else_is_left_to_a_reader(data: bytes) -> None:
    assert frames.read_short(data) is None


def test_short_text_frames_in_one_read_take_the_short_way_together() -> None:
    """A subscribe and a connect, as clients send them."""
    assert frames.read_short(sent(TEXT, b"x" * 300) + sent(TEXT, b"abc")) == [b"x" * 300, b"abc"]


_some_bytes = st.binary(max_size=300)
_some_frames = st.lists(_some_bytes, max_size=4).map(lambda found: b"".join(sent(TEXT, each) for each in found))


@given(st.one_of(_some_bytes, _some_frames))
def test_the_short_way_agrees_with_the_reader(data: bytes) -> None:
    payloads = frames.read_short(data)
    if payloads is not None:
        assert read(data) == [(TEXT, payload) for payload in payloads]


# permessage-deflate


@given(st.binary(max_size=5000), st.integers(9, 15))
def test_what_we_compress_inflates_in_the_window_agreed_on(payload: bytes, window: int) -> None:
    inflater = zlib.decompressobj(-window)
    assert inflater.decompress(frames.deflate(payload, window) + TAIL) == payload


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 16383, 16384, 200_000])
@pytest.mark.parametrize("window", [9, 12, 15])
def test_a_compressed_message_is_read_back(size: int, window: int) -> None:
    payload = b"".join(b"%d," % (number * number) for number in range(size))[:size]
    data = frames.deflate(payload, window)
    assert read(sent(TEXT, data, reserved=0x40), limit=size, deflate=True) == [(TEXT, payload)]


def test_compressed_and_plain_messages_mix() -> None:
    stream = sent(TEXT, b"a") + sent(TEXT, packed(b"b"), reserved=0x40) + sent(TEXT, b"c")
    assert read(stream, deflate=True) == [(TEXT, b"a"), (TEXT, b"b"), (TEXT, b"c")]


def test_an_empty_compressed_message_is_empty() -> None:
    """RFC 7692 §7.2.3.6 wants one zero byte; libraries that send none mean the same."""
    assert read(sent(TEXT, b"\x00", reserved=0x40), deflate=True) == [(TEXT, b"")]
    assert read(sent(TEXT, b"", reserved=0x40), deflate=True) == [(TEXT, b"")]


def test_the_examples_of_rfc_7692_are_read() -> None:
    """§7.2.3: one block, fragments, no compression, a last block, two blocks."""
    hello = bytes.fromhex("f248cdc9c90700")
    assert read(sent(TEXT, hello, reserved=0x40), deflate=True) == [(TEXT, b"Hello")]
    fragments = sent(TEXT, hello[:3], reserved=0x40, final=False) + sent(CONTINUATION, hello[3:])
    assert read(fragments, deflate=True) == [(TEXT, b"Hello")]
    for example in ("000500faff48656c6c6f00", "f348cdc9c9070000", "f248050000 00ffffcac9c90700".replace(" ", "")):
        assert read(sent(TEXT, bytes.fromhex(example), reserved=0x40), deflate=True) == [(TEXT, b"Hello")]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff\xff", id="no block type"),
        pytest.param(b"\x00\x0a\x00\xf5\xffabc", id="a stored block cut short"),
        pytest.param(b"\x00\x64\x00\x9b\xffabc", id="a stored block that takes what we append"),
        pytest.param(packed(b"hello" * 50)[:-3], id="a block cut short"),
        pytest.param(bytes.fromhex("f348cdc9c90700") + b"more", id="data after the last block"),
    ],
)
def test_broken_compression_is_1007(data: bytes) -> None:
    assert refused(sent(BINARY, data, reserved=0x40), deflate=True) == INVALID_DATA
    assert refused(*bytewise(sent(BINARY, data, reserved=0x40)), deflate=True) == INVALID_DATA


ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", ANSWER),
        ("permessage-deflate; client_max_window_bits", ANSWER),
        ("PerMessage-Deflate;Client_Max_Window_Bits=10", ANSWER),
        ('permessage-deflate; client_max_window_bits="12"', ANSWER),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", ANSWER),
        ("permessage-deflate; server_max_window_bits=15", ANSWER + "; server_max_window_bits=15"),
        ("x-webkit-deflate-frame, permessage-deflate", ANSWER),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", ANSWER),
        ("permessage-deflate; unknown, permessage-deflate; client_max_window_bits", ANSWER),
        ("", None),
        ("permessage-bzip2", None),
        ("permessage-deflate; server_max_window_bits=10", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=015", None),
        ("permessage-deflate; client_max_window_bits=7", None),
        ("permessage-deflate; client_max_window_bits=", None),
        ("permessage-deflate; client_no_context_takeover=1", None),
        ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
        ("permessage-deflate; unknown", None),
        ("permessage-deflate;", None),
    ],
)
def test_the_first_offer_that_can_be_kept_is_taken(offer: str, answer: str | None) -> None:
    assert frames.negotiate_deflate(offer) == answer


@pytest.mark.parametrize("window", range(9, 16))
def test_a_small_window_is_promised_to_who_can_keep_it(window: int) -> None:
    offer = f"permessage-deflate; server_max_window_bits={window}"
    answer = frames.negotiate_deflate(offer, smallest=9)
    assert answer == f"{ANSWER}; server_max_window_bits={window}"
    # A publication is compressed for these once: for each, seven sockets made seven times the work.
    assert frames.window_bits(answer) == (15 if window == 15 else 9)
    assert frames.window_bits(ANSWER) == 15
    assert frames.negotiate_deflate("permessage-deflate; server_max_window_bits=8", smallest=8) is None


@given(st.text(alphabet='permsagdflt-_;=,"158 \t', max_size=80))
def test_negotiation_takes_any_header(header: str) -> None:
    answer = frames.negotiate_deflate(header, smallest=9)
    assert answer is None or 9 <= frames.window_bits(answer) <= 15


# Properties


@st.composite
def valid_streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Messages as a client may send them, in fragments with control frames between, and what they say."""
    stream, expected = b"", []
    for _ in range(draw(st.integers(0, 5))):
        opcode = draw(st.sampled_from((TEXT, BINARY)))
        payload = draw(st.text(max_size=200)).encode() if opcode == TEXT else draw(st.binary(max_size=300))
        compressed = draw(st.booleans())
        body = packed(payload) if compressed else payload
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        parts = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        for at, part in enumerate(parts):
            if draw(st.integers(0, 4)) == 0:
                control, note = draw(st.sampled_from((PING, PONG))), draw(st.binary(max_size=125))
                stream += sent(control, note)
                expected.append((control, note))
            stream += sent(
                CONTINUATION if at else opcode,
                part,
                final=at == len(parts) - 1,
                reserved=0x40 if compressed and not at else 0,
                mask=draw(st.binary(min_size=4, max_size=4)),
            )
        expected.append((opcode, payload))
    return stream, expected


def cut(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 10_000), max_size=30)


@given(valid_streams(), PLACES)
def test_a_valid_stream_reads_the_same_however_it_is_cut(
    stream: tuple[bytes, list[tuple[int, bytes]]], places: list[int]
) -> None:
    data, expected = stream
    reader = Reader(LIMIT, deflate=True)
    assert [message for piece in cut(data, places) for message in reader.feed(piece)] == expected
    assert reader.idle


@given(valid_streams(), st.integers(0, 10_000), st.integers(0, 255), PLACES, st.booleans())
def test_a_damaged_stream_has_one_outcome_however_it_is_cut(
    stream: tuple[bytes, list[tuple[int, bytes]]], place: int, byte: int, places: list[int], deflate: bool
) -> None:
    """And no other error than FrameError."""
    data = bytearray(stream[0] or b"\0")
    data[place % len(data)] = byte
    whole = bytes(data)
    assert outcome(cut(whole, places), 250, deflate) == outcome([whole], 250, deflate)


@given(st.binary(max_size=200), PLACES, st.booleans())
def test_noise_has_one_outcome_however_it_is_cut(data: bytes, places: list[int], deflate: bool) -> None:
    assert outcome(cut(data, places), 50, deflate) == outcome([data], 50, deflate)
