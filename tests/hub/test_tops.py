"""How far a process has heard each channel: what is equal has missed nothing, whatever was forgotten or lost."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from hub.protocol.publications import Position, Publication
from hub.tops import Tops

A = "/a"


def hear(tops: Tops, channel: str, offset: int, epoch: str = "e") -> None:
    tops.heard[channel] = Position(epoch, offset)
    tops.trim()


def test_publication_changes_a_channel_s_top_and_no_other_s() -> None:
    tops = Tops("t")
    before, other = tops.of(A), tops.of("/b")
    hear(tops, A, 1)
    assert tops.of(A) == "e.1" != before
    assert tops.of("/b") == other
    hear(tops, A, 2)
    assert tops.of(A) == "e.2"


def test_top_of_what_was_never_heard_is_equal_until_something_comes_and_is_no_position() -> None:
    tops = Tops("t")
    assert tops.of(A) == tops.of(A)
    assert tops.of(A).startswith("~")


def test_tops_of_two_processes_are_not_equal() -> None:
    """A page kept by one worker must not look good to another, or to the next one after a restart."""
    assert Tops("one").of(A) != Tops("two").of(A)


def test_asking_keeps_nothing() -> None:
    tops = Tops("t", most=10)
    for number in range(1000):
        tops.of(f"/{number}")
    assert not tops.heard


def test_forgotten_channel_has_a_top_unlike_all_it_had() -> None:
    """A page was kept before anything was heard; then came a change, and the channel was forgotten for others'."""
    tops = Tops("t", most=2)
    before = tops.of(A)
    hear(tops, A, 1)
    kept = tops.of(A)
    for channel in ("/b", "/c"):
        hear(tops, channel, 1)
    assert A not in tops.heard
    assert tops.of(A) not in (before, kept)
    assert len(tops.heard) == 2


def test_loss_of_any_channel_changes_every_top() -> None:
    tops = Tops("t")
    hear(tops, A, 1)
    before = [tops.of(A), tops.of("/b")]
    tops.lost(None)
    assert not set(before) & {tops.of(A), tops.of("/b")}


def test_loss_of_one_channel_changes_its_top_and_leaves_what_was_heard_of_others() -> None:
    tops = Tops("t")
    hear(tops, A, 1)
    hear(tops, "/b", 1)
    tops.lost([A, "/never"])
    assert tops.of(A) != "e.1"
    assert tops.of("/b") == "e.1"


def test_what_an_extension_withholds_changes_the_top_without_being_a_position_that_subscribers_have() -> None:
    """The page's rows changed, whoever may be told of it."""
    tops = Tops("t")
    hear(tops, A, 1)
    tops.withhold([Publication(A, b"1", Position("e", 2))])
    withheld = tops.of(A)
    assert withheld != "e.1"
    assert tops.heard[A] == Position("e", 1), "what heartbeats tell"
    assert tops.has(A, Position("e", 2))
    hear(tops, A, 3)
    assert tops.of(A) not in (withheld, "e.1")
    hear(tops, A, 1, epoch="f")
    assert tops.has(A, Position("f", 1)), "the log's next life"


def test_withheld_channels_are_bounded() -> None:
    tops = Tops("t", most=2)
    before = tops.of("/z")
    tops.withhold([Publication(f"/{number}", b"1", Position("e", 1)) for number in range(3)])
    assert tops.of("/z") != before, "everything is unsure then"


def test_has_is_about_one_life_of_the_log() -> None:
    tops = Tops("t")
    hear(tops, A, 5)
    assert tops.has(A, Position("e", 5))
    assert tops.has(A, Position("e", 4))
    assert not tops.has(A, Position("e", 6))
    assert not tops.has(A, Position("f", 1))
    assert not tops.has("/b", Position("e", 1))


_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 5)),
        st.tuples(st.just("miss"), st.integers(0, 5)),
        st.tuples(st.just("withhold"), st.integers(0, 5)),
        st.tuples(st.just("keep"), st.integers(0, 5)),
    ),
    max_size=60,
)


@given(_EVENTS, st.booleans())
def test_equal_tops_mean_that_nothing_came_between(events: Sequence[tuple[str, int]], whole: bool) -> None:
    """Of all that may happen to a process: a page that is given again lacks no change that was told."""
    tops = Tops("t", most=2)
    told = [0] * 6
    kept: list[tuple[int, str, int]] = []
    for what, number in events:
        channel = f"/{number}"
        if what == "keep":
            kept.append((number, tops.of(channel), told[number]))
            continue
        told[number] += 1
        if what == "publish":
            hear(tops, channel, told[number])
        elif what == "withhold":
            tops.withhold([Publication(channel, b"1", Position("e", told[number]))])
        else:
            # It was missed, and the log says so.
            tops.lost(None if whole else [channel])
        for one, top, at in kept:
            assert (tops.of(f"/{one}") == top) <= (told[one] == at), "a page that lacks a change would be given"


@given(
    st.lists(st.tuples(st.sampled_from(["hear", "lose", "lose all", "withhold"]), st.sampled_from("abc")), max_size=20)
)
def test_marks_differ_wherever_tops_do(acts: list[tuple[str, str]]) -> None:
    """Who compares marks finds at least what who compares tops does."""
    tops = Tops("t", most=2)
    channels = ("/a", "/b")
    seen = [(tops.marks(channels), tuple(map(tops.of, channels)))]
    for number, (act, name) in enumerate(acts, 1):
        match act:
            case "hear":
                hear(tops, f"/{name}", number)
            case "lose":
                tops.lost([f"/{name}"])
            case "lose all":
                tops.lost(None)
            case "withhold":
                tops.withhold([Publication(f"/{name}", b"1", Position("e", number))])
        marks, texts = tops.marks(channels), tuple(map(tops.of, channels))
        assert all(texts == old for old_marks, old in seen if old_marks == marks)
        assert tops.marks(channels[:1]) == marks[:1]
        seen.append((marks, texts))
