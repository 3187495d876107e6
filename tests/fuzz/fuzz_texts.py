"""Fuzz what else is read from strangers: python -m tests.fuzz.fuzz_texts -max_total_time=600

The first byte says what the rest is: a publish body, a place, a token, two patterns, a file of rules, or a batch (`~`
stands for a long text). Reported is any error but the declared ones, a pattern that covers names it does not, as
trying them all shows, and a batch from which skimming takes more than long strings.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator

import atheris

from tests.fuzz.seeded import run

with atheris.instrument_imports(include=["hub"]):
    from hub.errors import BadMessage, BadToken, InvalidChannel, ProtocolError, SettingsError, TooLarge, TooMany
    from hub.protocol import fanout, tokens
    from hub.protocol.access import Access, covers, parse_rules
    from hub.protocol.channels import Grammar, from_fanout, matches, overlaps, patterns_of
    from hub.protocol.messages import parse_batch, skimmed
    from hub.protocol.plain import channels_of, format_place, parse_place

KEY = bytes(range(32))
LIMITS = fanout.Limits(items=20, bytes=500, depth=6)
GRAMMAR = Grammar()
ACCESS = Access(realm="r", keys=[KEY])

#: Every name of up to three segments of these.
NAMES = [
    "/" + "/".join(parts)
    for size in (1, 2, 3)
    for parts in itertools.product(("a", "b", "ab", "private-a"), repeat=size)
]


def seeds() -> Iterator[bytes]:
    item = b'{"channel":"a","id":"1","prev-id":"0","formats":{"http-stream":{"content-bin":"YQ==","action":"send"}}}'
    yield b"0" + b'{"items":[%b,{"channel":"b","json-object":{"a":[1]},"hint":true}]}' % item
    yield b'0{"items":[{"channel":"a","ws-message":{"content":"x","type":"text"},"http-response":{"body":"x"}}]}'
    yield b"1a,b/c\ne.1"
    yield b"1a,b%2Fc\na@e.1,b%252Fc@f.22"
    yield b"2" + tokens.sign("r", KEY, 0, channels=["a", "b/*"], sub="u").encode()
    yield b"3/a/*\n/a/b"
    yield b"3/private-*\n/**"
    yield b'4[[rule]]\nchannels = ["a-*", "b/**"]\nsubscribe = "token"\npublish = "closed"\nhistory = "open"\n'
    yield b'4[[rule]]\nchannels = ["a/*/b"]\nsubscribe = "session"\n'
    yield b'5[{"channel":"/a","data":"~","id":"1"},{"channel":"/a~\\\\","data":{"~":["\\"~",1]}},7]'


def fuzz(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    text = rest.decode("utf-8", "replace")
    READERS.get(kind, read_body)(rest, text)


def read_body(body: bytes, text: str) -> None:
    try:
        items = fanout.parse(body, limits=LIMITS)
    except (BadMessage, InvalidChannel, TooLarge, TooMany) as error:
        assert "\n" not in error.text
        return
    assert len(items) <= LIMITS.items
    for item in items:
        assert from_fanout(item.channel) == item.channel
        assert item.draft is None or len(item.draft.data) <= LIMITS.bytes


def read_batch(body: bytes, text: str) -> None:
    whole = body.replace(b"~", b"~" * 1500)
    short = skimmed(whole)
    assert len(short) <= len(whole)
    try:
        messages = parse_batch(whole)
    except BadMessage:
        with contextlib.suppress(BadMessage):
            parse_batch(short)
        return
    assert _shortened(parse_batch(short)) == _shortened(messages)


def _shortened(value: object) -> object:
    """A value without what is in its long strings, and without objects that have such for a name: they may collide."""
    if isinstance(value, dict):
        items = {_shortened(name): _shortened(item) for name, item in value.items()}
        return None if "" in items else items
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    # A thousand bytes of escapes are 83 characters.
    return "" if isinstance(value, str) and len(value) > 80 else value


def read_place(body: bytes, text: str) -> None:
    names, _, place = text.partition("\n")
    try:
        channels = channels_of(names.split(","))
        found = parse_place(place, channels)
    except ProtocolError:
        return
    assert list(found) == channels
    known = {channel: position for channel, position in found.items() if position is not None}
    if known:
        assert parse_place(format_place(known), list(known)) == known


def read_token(body: bytes, text: str) -> None:
    try:
        tokens.verify(text, "r", [KEY], 0)
        ACCESS.grant(text, 0)
    except BadToken as error:
        assert "\n" not in error.text


def read_patterns(body: bytes, text: str) -> None:
    rule, _, pattern = text.partition("\n")
    if not GRAMMAR.is_pattern(pattern) or not GRAMMAR.is_pattern(rule.replace("-*", "-x")):
        return
    reached = [name for name in NAMES if matches(pattern, name)]
    for name in reached:
        assert pattern in patterns_of(name)
        assert covers(pattern, name) or not pattern
    if GRAMMAR.is_pattern(rule):
        shared = [name for name in reached if matches(rule, name)]
        assert overlaps(rule, pattern) or not shared
    if covers(rule, pattern):
        assert all(_fits(rule, name) for name in reached), (rule, pattern)


def _fits(rule: str, name: str) -> bool:
    """Whether a name is a rule's, said with one regular expression."""
    ends = rule.endswith("/**")
    parts = (rule.removesuffix("/**") if ends else rule).split("/")
    text = "/".join(re.escape(part).replace(r"\*", "[^/]*") for part in parts)
    return re.fullmatch(text + ("(/[^/]+)+" if ends else ""), name) is not None


def read_rules(body: bytes, text: str) -> None:
    try:
        rules = parse_rules(text)
    except SettingsError as error:
        assert "\n" not in str(error)
        return
    access = Access(rules=rules)
    for name in NAMES[:20]:
        for action in ("subscribe", "publish", "history"):
            access.decide(action, name)


READERS = {b"0": read_body, b"1": read_place, b"2": read_token, b"3": read_patterns, b"4": read_rules, b"5": read_batch}


if __name__ == "__main__":
    run(fuzz, seeds())
