"""The order that prev-id asks for: what goes together, what waits, and how much."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hub.protocol.fanout import Item, key_of
from hub.protocol.sequence import Run, Waiting, arrange


def item(id: str | None = None, prev_id: str | None = None, channel: str = "/a") -> Item:
    return Item(channel, None, "send", id, prev_id)


def arranged(*items: Item) -> list[tuple[list[int], str | None]]:
    return [(run.items, run.after) for run in arrange(items)]


def run(after: str, count: int = 1, channel: str = "/a", id: str | None = None) -> Run:
    return Run(channel, list(range(count)), key_of(channel, after), id)


def test_items_without_prev_id_go_as_they_stand() -> None:
    assert arranged(item("1"), item(), item("1")) == [([0], None), ([1], None), ([2], None)]


def test_one_body_is_put_in_order() -> None:
    wrong = [item("3", "2"), item("2", "1"), item("1", "0")]
    assert arranged(*wrong) == [([2, 1, 0], "/a 0")]


def test_ids_are_of_their_channel() -> None:
    assert arranged(item("2", "1"), item("1", None, "/b")) == [([0], "/a 1"), ([1], None)]


def test_several_may_follow_one() -> None:
    assert arranged(item("b", "a"), item("c", "a"), item("a")) == [([2, 0, 1], None)]


def test_a_circle_waits_for_what_cannot_come() -> None:
    assert arranged(item("a", "b"), item("b", "a")) == [([0, 1], "/a b")]
    assert arranged(item("a", "a")) == [([0], "/a a")]


ids = st.sampled_from([None, "1", "2", "3", "4"])


@given(st.lists(st.builds(item, ids, ids, st.sampled_from(["/a", "/b"])), max_size=12))
def test_every_item_is_in_one_run_and_no_run_is_of_two_channels(items: list[Item]) -> None:
    runs = arrange(items)
    assert sorted(itertools.chain.from_iterable(run.items for run in runs)) == list(range(len(items)))
    for each in runs:
        assert {items[index].channel for index in each.items} == {each.channel}
        before = {key_of(items[each.items[0]].channel, items[each.items[0]].id or "")}
        for index in each.items[1:]:
            assert key_of(each.channel, items[index].prev_id or "") in before
            before.add(key_of(each.channel, items[index].id or ""))


def test_one_waits_for_an_item_and_another_is_told_of_it() -> None:
    waiting = Waiting(10, 10)
    first, second = run("0"), run("0")
    assert waiting.hold(first) is None
    assert waiting.hold(second) is first
    assert list(waiting) == [first]
    assert waiting.take("/a 0") is first
    assert waiting.take("/a 0") is None
    assert not waiting


def test_what_waits_is_bounded_for_a_channel_and_in_all() -> None:
    waiting = Waiting(3, 5)
    assert not waiting.fits([run("0", 2), run("1", 2)])
    assert waiting.fits([run("0", 2), run("1", 1)])
    waiting.hold(run("0", 3))
    assert not waiting.fits([run("1")])
    assert waiting.fits([run("1", 2, "/b")])
    assert not waiting.fits([run("1", 2, "/b"), run("1", 1, "/c")])
    waiting.take("/a 0")
    assert waiting.fits([run("1", 3)])


def test_all_are_asked_for_in_turns() -> None:
    waiting = Waiting(100, 100)
    runs = [run(str(number)) for number in range(5)]
    for each in runs:
        waiting.hold(each)
    assert waiting.some(2) + waiting.some(2) + waiting.some(1) == runs
