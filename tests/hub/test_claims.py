"""What a token's patterns cover is found in an index of them, and is what comparing each would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.protocol.access import Grant, covers

NOW = 1.7e9

_PART = st.sampled_from(["a", "ab", "*", "a*", "*b", "a*b*", "*a*"])


def _patterns() -> st.SearchStrategy[str]:
    names = st.lists(_PART, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
    return st.one_of(names, names.map(lambda name: name + "/**"), st.just("/**"))


@given(st.lists(_patterns(), max_size=12), st.lists(_patterns(), min_size=1, max_size=6))
def test_index_of_a_token_s_patterns_finds_what_comparing_each_would(own: list[str], asked: list[str]) -> None:
    """An index must not let in what no pattern covers, nor keep out what one does."""
    rights = Grant(tuple(own), tuple(own[:5]), NOW)
    for pattern in [*asked, *own, *asked]:
        assert rights.hears.cover(pattern) == any(covers(each, pattern) for each in own)
        assert rights.publishes.cover(pattern) == any(covers(each, pattern) for each in own[:5])


def test_grants_are_equal_whatever_was_asked_of_them() -> None:
    """What is made of a grant is no part of it."""
    one, other = (Grant(("/a", "/b*"), (), NOW) for _ in range(2))
    assert one.hears.cover("/bc")
    assert one == other
    assert one.hears is other.hears
    assert len({one, other}) == 1
