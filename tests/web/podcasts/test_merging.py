"""Which episode of a feed is which of those that are known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from web.features.podcasts.feeds import Item
from web.features.podcasts.merging import merge

DAY = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Row:
    id: int
    guid: str
    title: str
    url: str
    published_at: datetime | None = None
    is_gone: bool = False


def item(guid: str, title: str = "t", url: str = "http://a/1.mp3", published: datetime | None = None) -> Item:
    return Item(guid, title, published, None, url)


def test_the_guid_says_which_it_is() -> None:
    merged = merge([Row(1, "a", "Old", "http://a/old.mp3")], [item("a", "New", "http://a/new.mp3"), item("b")])
    assert [id for id, _ in merged.same] == [1]
    assert [each.guid for each in merged.new] == ["b"]
    assert merged.gone == []


def test_a_publisher_that_changes_all_guids_doubles_nothing() -> None:
    """AntennaPod 3275: the guids change, and all episodes are there twice."""
    rows = [Row(number, f"old-{number}", f"Number {number}", f"http://a/{number}.mp3") for number in range(5)]
    items = [item(f"new-{number}", f"Number {number}", f"http://a/{number}.mp3") for number in range(6)]
    merged = merge(rows, items)
    assert sorted(id for id, _ in merged.same) == [0, 1, 2, 3, 4]
    assert [each.guid for each in merged.new] == ["new-5"]


def test_a_token_in_the_enclosure_that_changes_daily_doubles_nothing() -> None:
    """PodFetch 1581."""
    rows = [Row(1, "", "One", "http://a/1.mp3?token=1"), Row(2, "", "Two", "http://a/2.mp3?token=1")]
    merged = merge(rows, [item("", "One", "http://a/1.mp3?token=2"), item("", "Two", "http://a/2.mp3?token=2")])
    assert sorted(id for id, _ in merged.same) == [1, 2]


def test_without_a_guid_the_title_and_date_say_so_when_the_enclosure_moves() -> None:
    """this-american-life-archive 8: no guid, another host for the sound, 850 new episodes."""
    rows = [Row(number, "", f"Act {number}", f"http://old/{number}.mp3", DAY) for number in range(3)]
    merged = merge(rows, [item("", f"Act {number}", f"http://new/{number}.mp3", DAY) for number in range(3)])
    assert sorted(id for id, _ in merged.same) == [0, 1, 2]
    # With guids, equal titles on one day are two episodes.
    merged = merge([Row(1, "a", "News", "http://old/1.mp3", DAY)], [item("b", "News", "http://new/1.mp3", DAY)])
    assert len(merged.new) == 1


def test_a_rerun_with_the_guid_of_another_is_not_taken_for_that() -> None:
    """An episode whose own guid is in the document is that item, whatever else has its title and enclosure."""
    rows = [Row(1, "a", "Best of", "http://a/1.mp3")]
    merged = merge(rows, [item("b", "Best of", "http://a/1.mp3"), item("a", "Best of", "http://a/1.mp3")])
    assert [(id, each.guid) for id, each in merged.same] == [(1, "a")]
    assert [each.guid for each in merged.new] == ["b"]


def test_what_leaves_the_feed_is_told_once_and_what_is_only_a_page_leaves_nothing() -> None:
    rows = [Row(1, "a", "A", "1"), Row(2, "b", "B", "2"), Row(3, "c", "C", "3", is_gone=True)]
    assert merge(rows, [item("a")]).gone == [2]
    assert merge(rows, [item("a")], whole=False).gone == []


def test_a_feed_without_items_changes_nothing() -> None:
    """ruTorrent 1024: a portal's page wiped all episodes."""
    assert merge([Row(1, "a", "A", "1")], []) == merge([], [])


_texts = st.sampled_from(["", "a", "b", "c"])


@given(
    st.lists(st.tuples(_texts, _texts, _texts), max_size=8),
    st.lists(st.tuples(_texts, _texts, _texts), max_size=8),
)
def test_each_item_is_one_thing_and_each_episode_at_most_one_item(
    known: list[tuple[str, str, str]], items: list[tuple[str, str, str]]
) -> None:
    rows = [Row(number, *each) for number, each in enumerate(known)]
    found = [item(*each) for each in items]
    merged = merge(rows, found)
    ids = [id for id, _ in merged.same]
    assert len(ids) == len(set(ids))
    assert len(merged.new) + len(merged.same) == len(found)
    assert not set(merged.gone) & set(ids)
