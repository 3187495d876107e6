"""What views take from a form."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.events import CommentForm
from web.manage import EventForm, slug_of
from web.models import MAX_COMMENT, MAX_DESCRIPTION, MAX_NAME, MAX_TITLE
from web.requests import MAX_FORM, MAX_MARKS, clean_line, clean_text

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


@pytest.mark.parametrize(
    "worst",
    [ACUTE + CEDILLA, "a" + ACUTE * 20 + CEDILLA * 20, "a" + ACUTE, "\u1112\u1161\u11ab", "\ufdfa", "\r", " a"],
)
def test_no_text_takes_long_however_it_is_composed(worst: str) -> None:
    """78,000 marks in a comment or a name halted the process, hub and all, for 6 s."""
    text = worst * (MAX_FORM // len(worst.encode()))
    for work in (
        lambda: CommentForm.read({"name": text, "text": text}),
        lambda: EventForm.read({"title": text, "slug": text, "description": text, "starts_at": text}),
        lambda: slug_of(text),
        lambda: clean_line(text[: 2 * MAX_TITLE], MAX_TITLE),
        lambda: clean_text(text[: 2 * MAX_COMMENT], MAX_COMMENT),
        lambda: clean_text(text[: 2 * MAX_DESCRIPTION], MAX_DESCRIPTION),
    ):
        work()
        # The quickest of some: other processes must not fail this.
        times = []
        for _ in range(5):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        assert min(times) < 0.05
