"""JSON in and out, and the batches messages travel in."""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import parse_qsl

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hub.errors import BadMessage, TooDense
from hub.protocol.messages import (
    MAX_HALVES,
    MAX_VALUES,
    dumps,
    dumps_all,
    join,
    loads,
    mended,
    parse_batch,
    skimmed,
    without_strings,
)
from hub.protocol.publications import Position, Publication, conflate
from hub.transports.polling import messages_of_form, parse_body

#: Halves of surrogate pairs too.
ANY_TEXT = st.text(st.characters(categories=None) | st.characters(categories=["Cs"]), max_size=5)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_parsing_raises_only_bad_message(body: bytes) -> None:
    for parse in (parse_batch, parse_body):
        try:
            assert isinstance(parse(body), list)
        except BadMessage as error:
            assert "\n" not in error.wire()


@given(JSON)
def test_what_goes_out_comes_in_again(value: object) -> None:
    assert json.loads(dumps(value)) == json.loads(json.dumps(value))


def cpu_of(work: Callable[[], object]) -> float:
    """Seconds of CPU that the fastest of seven turns took."""
    took = []
    for _ in range(7):
        begun = time.process_time()
        work()
        took.append(time.process_time() - begun)
    return min(took)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'"cut \\ud83d"', "cut \ufffd"),
        (b'"\\udc00 \\ud83d\\ude00 \\ud83d"', "\ufffd \U0001f600 \ufffd"),
        (b'{"\\ud83d": ["\\udfff", {"a": "\\ud83d\\ud83d"}]}', {"\ufffd": ["\ufffd", {"a": "\ufffd\ufffd"}]}),
        (b'"\xed\xa0\xbd"', "\ufffd"),
        (b'"\xed\xa0\xbd\xed\xb8\x80"', "\U0001f600"),
        ('"\ud83d"', "\ufffd"),
        (b'["\\\\ud83d", "\\ud83d", 1e5, 18446744073709551616]', ["\\ud83d", "\ufffd", 1e5, 2.0**64]),
    ],
)
def test_half_a_surrogate_pair_is_replaced_as_browsers_do_it(text: bytes | str, value: object) -> None:
    """A text cut in an emoji was stored with its escape, and readers that are strict failed at it for ever."""
    assert loads(text) == value
    assert orjson.loads(dumps(loads(text))) == value


@given(
    st.recursive(ANY_TEXT | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner))
)
def test_whatever_goes_out_can_be_read_by_the_strictest(value: object) -> None:
    """What code hands in, and what comes in as JSON that escapes everything."""
    for written in (dumps(value), dumps(loads(json.dumps(value)))):
        orjson.loads(written)
        written.decode()
        assert b"\\ud" not in written.replace(b"\\\\", b"").lower()


@pytest.mark.parametrize("number", ["1e400", "-1e309", "1" * 400, "-" + "9" * 5000, "1e99999999999"])
@pytest.mark.parametrize("around", ["%s", '{"a":[%s]}', '["\\ud83d",%s]'])
def test_numbers_beyond_a_double_are_refused(number: str, around: str) -> None:
    """With half a pair beside them they passed: another library read the text."""
    with pytest.raises(BadMessage):
        loads(around % number)


@pytest.mark.parametrize("value", [10**400, [-(10**309)], {"a": 10**5000}, ["\ud83d", 10**400]])
def test_numbers_beyond_a_double_are_not_written(value: object) -> None:
    with pytest.raises(BadMessage):
        dumps(value)
    assert orjson.loads(dumps(10**300)) == 1e300


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (b'"cut \\ud83d"', '"cut \ufffd"'.encode()),
        (b'{"a":"\\ud83d\\ude00"}', '{"a":"\U0001f600"}'.encode()),
        (b'"\\\\ud83d"', b'"\\\\ud83d"'),
        (b'["\\ud83d",1e400]', b"null"),
        (b'{"a": 1}', b'{"a": 1}'),
    ],
)
def test_what_an_older_release_has_stored_can_be_read(stored: bytes, read: bytes) -> None:
    assert mended(stored) == read


@pytest.mark.parametrize(
    "text", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"", b"[1,]", b"\xff", b"[" * 5000, b'"\\ud800" x']
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadMessage):
        loads(text)


@pytest.mark.parametrize("value", [object(), {1, 2}])
def test_what_json_can_not_say_is_refused(value: object) -> None:
    with pytest.raises(BadMessage):
        dumps(value)


@pytest.mark.parametrize("value", [math.nan, {"a": [1, -math.inf]}, [None, {"b": math.inf}]])
def test_what_is_no_number_is_refused(value: object) -> None:
    """orjson would write null, and the reader would take it for one."""
    with pytest.raises(BadMessage):
        dumps(value)
    assert dumps([None, 1.5]) == b"[null,1.5]"


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b'[{"channel":"/a"}]', [{"channel": "/a"}]),
        (b'{"channel":"/a"}', [{"channel": "/a"}]),
        (b'\xef\xbb\xbf {"channel":"/a"}', [{"channel": "/a"}]),
        (b"message=%5B%7B%22channel%22%3A%22%2Fa%22%7D%5D", [{"channel": "/a"}]),
        (b"message=%7B%7D&x=1&message=%5B%7B%7D%2C7%5D", [{}, {}, 7]),
        (b"[]", []),
    ],
)
def test_body_is_sniffed_whatever_its_type(body: bytes, messages: list[object]) -> None:
    """python-bayeux sends a bare object without a type, Faye a form as text/plain."""
    assert parse_body(body) == messages


@pytest.mark.parametrize("body", [b"", b"  ", b"hello", b"a=1", b"message=x", b"7", b"null", b'"a"', b"message=%ff"])
def test_body_without_messages_is_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_body(body)


@given(st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True), st.integers(0, 2**63))
def test_position_is_read_as_it_was_written(epoch: str, offset: int) -> None:
    position = Position(epoch, offset)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "a", "a.", ".1", "a.b", "a.1.2", "a b.1", "é.1", "a.-1", "a." + "1" * 60, 7, None, "a.²"]
)
def test_what_is_no_position_is_refused(text: object) -> None:
    with pytest.raises(BadMessage):
        Position.parse(text)


def test_delivery_has_the_position_as_its_id() -> None:
    publication = Publication("/a", b'{"x":null}', Position("e1", 7))
    assert json.loads(publication.message) == {"channel": "/a", "data": {"x": None}, "id": "e1.7"}


def test_conflation_keeps_the_newest_hint_and_everything_else() -> None:
    def at(channel: str, offset: int, hint: bool) -> Publication:
        return Publication(channel, b"1", Position("e", offset), hint)

    hints = [at("/h", 1, True), at("/d", 1, False), at("/h", 2, True), at("/d", 2, False)]
    assert [(item.channel, item.position.offset) for item in conflate(hints)] == [("/d", 1), ("/h", 2), ("/d", 2)]


def test_what_is_kept_of_encoded_data_takes_little_more_than_its_bytes() -> None:
    """orjson's own results kept a page of memory each, whatever their size."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [dumps(f"{number:0100}") for number in range(20_000)]
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert len(kept) == 20_000
    assert pages < 5000


@pytest.mark.parametrize("text", [b"[],", b"{},", b'{"a":1},'])
def test_a_text_that_is_not_long_and_has_too_many_values_is_refused(text: bytes) -> None:
    """A byte of `[],` costs thirty of memory, and 8 MiB of it took seconds."""
    few = b"[" + text * (MAX_VALUES // 10 // 2) + b"1]"
    assert len(parse_batch(few)) == MAX_VALUES // 10 // 2 + 1
    many = b"[" + text * (MAX_VALUES // 10) + b"1]"
    with pytest.raises(TooDense):
        parse_batch(many)
    with pytest.raises(TooDense):
        parse_batch(many.decode())


def test_many_numbers_and_a_megabyte_of_prose_are_taken() -> None:
    assert len(parse_batch(b"[" + b"1," * (MAX_VALUES - 10) + b"1]")) == MAX_VALUES - 9
    prose = 'Well, yes [she said], "and {went} on" with C:\\ as if nothing, nothing had happened. '
    body = dumps({"data": prose * 1200, "more": prose[:22] * 20_000})
    assert body.count(b",") + 10 * body.count(b"[") > MAX_VALUES
    for text in (body, body.decode()):
        assert parse_batch(text) == [loads(body)]


def test_values_behind_a_string_count() -> None:
    for start in (b'["a\\\\",', b'["\\"",', b'["\\\\\\"",', b'["",', b'["\\u005c",'):
        assert loads(start + b"1]")
        with pytest.raises(TooDense):
            parse_batch(start + b"[]," * (MAX_VALUES // 10) + b"1]")


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=5))
def test_values_encoded_together_are_what_each_is(values: list[dict[str, object]]) -> None:
    assert join([dumps_all(values)]) == join([dumps(value) for value in values])


@pytest.mark.parametrize(
    "half",
    [rb"\ud800", rb"a\udfff", b"\xed\xa0\x80", b"\xed\xb0\x80\xed\xa0\x80a"],
    ids=["escaped", "between", "bytes", "swapped"],
)
def test_text_of_nothing_but_half_pairs_is_refused_before_they_are_replaced(half: bytes) -> None:
    """A body of a megabyte of them halted the loop for 0.1 s: each was a call of Python's codecs."""
    few = b'["' + half * (MAX_HALVES // 2) + b'"]'
    assert set(loads(few)[0]) <= {"a", "\ufffd"}
    many = b'["' + half * 150_000 + b'"]'
    with pytest.raises(BadMessage, match="Too many halves"):
        loads(many)
    # What a history has from an older release is not lost.
    assert b"null" not in mended(few)


@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    rb"\ud83d",
                    rb"\uD83D",
                    rb"\ude00",
                    rb"\uDE00",
                    rb"\ud55c",
                    rb"\\",
                    rb"\"",
                    rb"\n",
                    b"d83d",
                    b"u",
                    b"a",
                ),
                *(b"\xed\xa0\xbd", b"\xed\xb8\x80", "\ud55c".encode(), "\u00e9".encode(), "\U0001f600".encode()),
            ]
        ),
        max_size=12,
    )
)
def test_halves_are_replaced_as_the_library_and_utf_16_do_it(pieces: list[bytes]) -> None:
    """The library's decoder bears halves, and takes 4 to 20 ms for a megabyte: it is asked here alone."""
    text = b'"' + b"".join(pieces) + b'"'
    # What is written in two ways is no pair: no writer mixes them.
    ways = [b"raw" if piece[:1] == b"\xed" and piece[1:2] >= b"\xa0" else piece[:2].lower() for piece in pieces]
    assume(not any({one, other} == {b"raw", b"\\u"} for one, other in pairwise(ways)))
    told = json.loads(text.decode("utf-8", "surrogatepass"))
    assert loads(text) == told.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@pytest.mark.parametrize("filling", [b"a", rb"\n", rb"\\", rb"\u4e2d", rb"\ud55c", rb"\ud83d\ude00", "\u00e9".encode()])
def test_a_half_in_a_megabyte_costs_little_more_than_the_megabyte(filling: bytes) -> None:
    """A cut emoji at the end of a long text."""
    text = b'["' + filling * (2**20 // len(filling)) + rb'\ud83d"]'
    whole = text[:-8] + b'aaaaaa"]'
    assert loads(text)[0][-1] == "\ufffd"
    assert cpu_of(lambda: loads(text)) < 8 * cpu_of(lambda: loads(whole)) + 0.004


@pytest.mark.parametrize("letters", range(16))
def test_half_behind_letters_of_two_bytes_parts_no_pair(letters: int) -> None:
    """orjson says in characters how far it came, which as bytes may be within a pair."""
    text = "\u00e9" * letters
    assert loads(b'"' + text.encode() + rb'\ud83d\ude00\ud800"') == text + "\U0001f600\ufffd"


@pytest.mark.parametrize("count", [0, 63, 64, 65, 511, 512, 513, 4_095, 4_096, 4_097, 4_672, 100_000])
def test_backslashes_before_a_half_are_counted_however_many(count: int) -> None:
    """A byte after the other took 5 ms for a megabyte of them."""
    assert loads(b'"' + rb"\\" * count + rb'\ud800"') == "\\" * count + "\ufffd"
    # A half ahead, so that it is looked for.
    text = b'"' + rb"\ud800" + rb"\\" * count + rb'\\ud800"'
    assert loads(text) == "\ufffd" + "\\" * (count + 1) + "ud800"


def test_whole_pairs_of_six_bytes_are_joined_within_the_bound() -> None:
    """As Java's modified UTF-8 and CESU-8 write an emoji."""
    pair = "\U0001f600".encode("utf-16-le")
    halves = "".join(chr(int.from_bytes(pair[at : at + 2], "little")) for at in (0, 2)).encode("utf-8", "surrogatepass")
    assert loads(b'["' + halves * (MAX_HALVES // 2 - 10) + b'"]') == ["\U0001f600" * (MAX_HALVES // 2 - 10)]
    with pytest.raises(BadMessage, match="Too many halves"):
        loads(b'["' + halves * (MAX_HALVES // 2 + 10) + b'"]')


@given(st.lists(st.text(st.sampled_from('%%%2dD0aAeEé=&+\n\rmessage{}[]"')), max_size=8))
def test_form_is_read_as_the_library_reads_it(pieces: list[str]) -> None:
    """It looks up each escape: a megabyte of them took 70 ms."""
    body = "message=" + "".join(pieces)
    try:
        fields = parse_qsl(body, strict_parsing=True, errors="strict", max_num_fields=1000)
        expected: list[str] | None = [value for name, value in fields if name == "message"]
    except ValueError:
        expected = None
    try:
        found: list[str] | None = messages_of_form(body.encode())
    except ValueError:
        found = None
    assert found == expected


def test_long_form_with_a_sign_that_escapes_nothing_is_none() -> None:
    with pytest.raises(BadMessage, match="Neither JSON nor a form"):
        parse_body(b"message=" + b"%zz" * 10_000)
    assert parse_body(b"message=%5B" + b"%20" * 300_000 + b"%5D") == []


def test_values_encoded_together_may_have_half_an_emoji() -> None:
    assert dumps_all([{"a": "\ud83d"}, {"a": 1}]) == '{"a":"\ufffd"},{"a":1}'.encode()


@given(JSON)
def test_of_a_text_without_its_strings_everything_else_is_left(value: object) -> None:
    def blank(value: object) -> object:
        if isinstance(value, dict):
            # Keys must not become one.
            return {" " * at: blank(each) for at, each in enumerate(value.values())}
        if isinstance(value, list):
            return [blank(each) for each in value]
        return "" if isinstance(value, str) else value

    assert without_strings(dumps(value)) == dumps(blank(value)).replace(b'"', b"").replace(b" ", b"")


LONG = st.text(st.sampled_from('ab",:[]{}\\\u20ac'), max_size=6).map(lambda text: text * 300)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), LONG | st.text(max_size=9) | st.integers(), max_size=4), max_size=4)
)
def test_skimming_leaves_out_long_strings_and_nothing_else(value: list[dict[str, object]]) -> None:
    def is_long(item: object) -> bool:
        return isinstance(item, str) and len(dumps(item)) >= 1002

    text = dumps(value)
    assume(b"\\" * 64 not in text)
    found = loads(skimmed(text))
    assert len(found) == len(value)
    for message, whole in zip(found, value, strict=True):
        for name, item in whole.items():
            assert message[name] == ("" if is_long(item) else item)


@pytest.mark.parametrize(
    "text", [b"", b'"', b'["a', b'["\\\\', b'"' * 9_999, b'["' + b"\\" * 5_000 + b'"]', b'["' + b'\\"' * 9_999 + b'"]']
)
def test_what_can_t_be_skimmed_is_left_as_it_is(text: bytes) -> None:
    assert skimmed(text) == text


def test_skimming_is_quick_whatever_is_in_the_text() -> None:
    for text in (b'["' + b"\\" * 2**21 + b'"]', b'["' + b'\\"' * 2**20 + b'"]', b'"' * 2**21, b'"a' * 2**20):
        began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        skimmed(text)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - began < 0.1
