"""Names, patterns and what matches what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import InvalidChannel
from hub.protocol.channels import Grammar, from_fanout, is_meta, matches, overlaps, patterns_of, to_fanout

SEGMENT = st.text("ab-_!~()$@1", min_size=1, max_size=3)
NAME = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
PATTERN = st.one_of(
    NAME,
    st.tuples(st.lists(SEGMENT, max_size=3), st.sampled_from(["*", "**"])).map(
        lambda both: "/" + "/".join([*both[0], both[1]])
    ),
)


def model_matches(pattern: str, name: str) -> bool:
    """What the specification says, in five lines."""
    mine, theirs = pattern.split("/")[1:], name.split("/")[1:]
    if mine[-1] == "**":
        return len(theirs) >= len(mine) and theirs[: len(mine) - 1] == mine[:-1]
    if mine[-1] == "*":
        return len(theirs) == len(mine) and theirs[:-1] == mine[:-1]
    return mine == theirs


@given(PATTERN, NAME)
def test_a_name_matches_as_the_specification_says(pattern: str, name: str) -> None:
    assert matches(pattern, name) == model_matches(pattern, name)


@given(PATTERN, PATTERN, NAME)
def test_patterns_that_share_a_name_overlap(one: str, other: str, name: str) -> None:
    if model_matches(one, name) and model_matches(other, name):
        assert overlaps(one, other)
        assert overlaps(other, one)


@given(st.text(max_size=12))
def test_checking_raises_only_invalid_channel(text: str) -> None:
    grammar = Grammar()
    for check in (grammar.check_name, grammar.check_pattern, from_fanout):
        try:
            assert isinstance(check(text), str)
        except InvalidChannel as error:
            assert error.wire().startswith("405:")


def test_wildcards_match_no_meta_and_no_service_channel() -> None:
    assert patterns_of("/meta/connect") == ("/meta/connect",)
    assert patterns_of("/service/a/b") == ("/service/a/b",)


def test_only_the_exact_prefix_is_meta() -> None:
    assert is_meta("/meta/x")
    assert not is_meta("/metaphor")
    assert not is_meta("/META/x")


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("comments-17", "/comments-17"),
        ("/leading", "/leading"),
        ("a/b", "/a/b"),
        ("a.b", "/a.b"),
        ("café:1 +", "/café:1 +"),
    ],
)
def test_fanout_name_is_the_channel_without_its_slash(name: str, channel: str) -> None:
    assert from_fanout(name) == channel
    assert to_fanout(channel) == name.lstrip("/")


@pytest.mark.parametrize(
    "name", ["", "/", "a\nb", "x" * 256, "meta/connect", "/meta/x", "service/x", "\ud800", 7, None]
)
def test_fanout_name_that_can_not_be_a_channel_is_refused(name: object) -> None:
    with pytest.raises(InvalidChannel):
        from_fanout(name)


def test_cometd_charset_is_wider() -> None:
    assert not Grammar().is_name("/topic/My.Event__e")
    assert Grammar("cometd").is_name("/topic/My.Event__e")
    assert Grammar("cometd").is_pattern("/a b/*")
    assert not Grammar("cometd").is_name("/a/*")
