"""Differences of two texts: what a version's page shows, within bounds."""

from __future__ import annotations

from cpu import taking
from hypothesis import given
from hypothesis import strategies as st

from web.features.blog.differences import MOST_LINES, compare

LINES = st.lists(st.text(alphabet="ab ", max_size=6), max_size=30).map("\n".join)


def _said(pieces: tuple[tuple[str, bool], ...]) -> str:
    return "".join(words for words, _ in pieces)


def test_a_changed_line_stands_beside_what_it_was_with_its_words_marked() -> None:
    found = compare("One.\nTwo birds sing.\nThree.", "One.\nTwo cats sing.\nThree.")
    [hunk] = found.hunks
    assert [row.kind for row in hunk] == ["same", "changed", "same"]
    assert hunk[1].old == (("Two ", False), ("birds", True), (" sing.", False))
    assert hunk[1].new == (("Two ", False), ("cats", True), (" sing.", False))
    assert (found.gone, found.new) == (1, 1)


def test_lines_that_came_and_went_have_numbers_of_their_own_side() -> None:
    [hunk] = compare("a\nb\nc", "a\nc\nd", around=0).hunks[:1]
    assert [(row.kind, row.old_number, row.new_number) for row in hunk] == [("gone", 2, None)]
    found = compare("a\nb\nc", "a\nc\nd", around=0)
    assert [(row.kind, row.new_number) for row in found.hunks[1]] == [("new", 3)]


def test_changes_far_from_each_other_are_in_hunks_of_their_own() -> None:
    old = [str(number) for number in range(100)]
    new = [*old]
    new[10], new[80] = "ten", "eighty"
    found = compare("\n".join(old), "\n".join(new))
    assert [len(hunk) for hunk in found.hunks] == [7, 7]
    assert found.hunks[0][0].old_number == 8


def test_the_same_text_has_no_difference_and_an_empty_one_is_all_new() -> None:
    assert compare("a\nb", "a\nb").hunks == ()
    assert [row.kind for row in compare("", "a\nb").hunks[0]] == ["new", "new"]


@given(LINES, LINES)
def test_both_texts_can_be_read_from_the_whole_difference(old: str, new: str) -> None:
    rows = [row for hunk in compare(old, new, around=10_000).hunks for row in hunk]
    if old == new:
        assert rows == []
        return
    assert "\n".join(_said(row.old) for row in rows if row.old_number) == old
    assert "\n".join(_said(row.new) for row in rows if row.new_number) == new
    assert [row.old_number for row in rows if row.old_number] == list(range(1, len(old.split("\n")) + 1 if old else 1))


def test_texts_without_a_line_in_common_take_bounded_time() -> None:
    half = MOST_LINES // 2
    with taking() as taken:
        compare("\n".join(f"a{n} b" * 20 for n in range(half)), "\n".join(f"{n}c d" * 20 for n in range(half)))
        rough = compare("\n".join(f"a{n}" for n in range(20_000)), "\n".join(f"b{n}" for n in range(20_000)))
    assert taken.seconds < 10
    assert rough.is_rough
    # As like as can be, and each line in it everywhere.
    with taking() as taken:
        compare("x\ny\n" * 700, "y\nx\n" * 700)
    assert taken.seconds < 5
