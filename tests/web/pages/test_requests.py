"""What views take from a form."""

from __future__ import annotations

import asyncio
import unicodedata

import pytest
from cpu import least
from hypothesis import given
from hypothesis import strategies as st

from web.features.comments.forms import CommentForm
from web.features.comments.models import MAX_COMMENT, MAX_NAME
from web.features.events.manage import EventForm, slug_of
from web.features.events.models import MAX_DESCRIPTION, MAX_TITLE
from web.pages.requests import MAX_FORM, MAX_MARKS, clean_line, clean_long, clean_text, composed, pieces_of

ACUTE, CEDILLA = "\N{COMBINING ACUTE ACCENT}", "\N{COMBINING CEDILLA}"


@given(st.text())
def test_text_is_composed_once_and_for_all(text: str) -> None:
    cleaned = clean_text(text, 1000)
    assert clean_text(cleaned, 1000) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)


def test_letters_are_composed_before_they_are_counted() -> None:
    assert clean_text("e" + ACUTE, 1) == "é"
    assert len(clean_text(("e" + ACUTE) * MAX_NAME, MAX_NAME)) == MAX_NAME


def test_letter_keeps_so_many_marks() -> None:
    assert len(clean_text("a" + ACUTE * 200 + "b", 1000)) <= MAX_MARKS + 2


#: Letters and marks, parts of Korean syllables, vowels of two parts, letters that begin with a mark.
COMPOSING = (
    "ae\u0301\u0327\u0323\u1112\u1161\u11ab\u11a7\uac00\u09c7\u09be"
    "\u0cc6\u0cc2\u0cd5\u0f73\u0f71\u0344\u212b\U00011131 \n"
)

#: Letters with more marks than they keep.
LADEN = st.lists(
    st.tuples(st.sampled_from("a\u1161\uac00"), st.integers(0, 70), st.sampled_from("\u0301\U0001d165"))
).map(lambda letters: "".join(letter + mark * count for letter, count, mark in letters))


@given(st.text(st.sampled_from(COMPOSING), max_size=60) | LADEN, st.integers(1, 9))
def test_pieces_compose_as_the_whole_does(text: str, size: int) -> None:
    pieces = list(pieces_of(text, size))
    assert "".join(pieces) == text
    assert "".join(map(composed, pieces)) == composed(text)


@pytest.mark.parametrize(
    "part", ["e\u0301", "a" + "\u0301" * 1700, "\u1112\u1161\u11ab", "\u1161", "\u1161\u0301", "\u0cc6\u0cc2\u0cd5"]
)
async def test_long_text_is_composed_in_pieces_as_a_short_one_is(part: str) -> None:
    text = part * (8000 // len(part))
    assert await clean_long(text, 4000) == clean_text(text, 4000)
    assert max(map(len, pieces_of(text))) < 500 + 1700


def test_what_is_too_long_stays_too_long_and_can_be_looked_up() -> None:
    """PostgreSQL takes no NUL in a text."""
    long = clean_text("a\0" * 100, 20)
    assert len(long) > 20
    assert "\0" not in long
    assert clean_text("\0" * 30 + "a", 20) == "a"


@pytest.mark.parametrize(
    "worst",
    [ACUTE + CEDILLA, "a" + ACUTE * 20 + CEDILLA * 20, "a" + ACUTE, "\u1112\u1161\u11ab", "\ufdfa", "\r", " a"],
)
def test_no_text_takes_long_however_it_is_composed(worst: str) -> None:
    """78,000 marks in a comment or a name halted the process, hub and all, for 6 s."""
    text = worst * (MAX_FORM // len(worst.encode()))
    for work in (
        lambda: asyncio.run(CommentForm.read({"name": text, "text": text})),
        lambda: asyncio.run(EventForm.read({"title": text, "slug": text, "description": text, "starts_at": text})),
        lambda: slug_of(text),
        lambda: clean_line(text[: 2 * MAX_TITLE], MAX_TITLE),
        lambda: clean_text(text[: 2 * MAX_COMMENT], MAX_COMMENT),
        lambda: clean_text(text[: 2 * MAX_DESCRIPTION], MAX_DESCRIPTION),
    ):
        work()
        # The quickest of some: other processes must not fail this.
        assert least(work, 5) < 0.05
