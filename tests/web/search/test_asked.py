"""A reader's text taken apart."""

from __future__ import annotations

import pytest

from web.features.search.asked import Asked, TooLong, parse


@pytest.mark.parametrize(
    ("query", "text", "category", "keyword"),
    [
        ("redis category:web development", "redis", "web development", None),
        ("category:Python redis", "", "python redis", None),
        ("Category:Python x", "", "python x", None),
        ("keyword:redis", "", None, "redis"),
        ("cache KEYWORDS:Python redis category:Web", "cache", "web", "python redis"),
        ("php: title:x", "php: title:x", None, None),
        ("category:", "category:", None, None),
        ("subcategory:x", "subcategory:x", None, None),
    ],
)
def test_filters(query: str, text: str, category: str | None, keyword: str | None) -> None:
    asked = parse(query)
    assert (asked.text, asked.category, asked.keyword) == (text, category, keyword)


def test_quotes_are_phrases_and_open_ones_are_text() -> None:
    assert parse('"to be" or “not to be”').quoted == (("to", "be"), ("not", "to", "be"))
    assert parse('"open').quoted == ()
    assert parse("it's ''").quoted == ()
    assert parse('"" "!"').quoted == ()


def test_words_know_their_places() -> None:
    asked = parse("Use asyncio.gahter now")
    assert [(word.text, asked.text[word.start : word.end]) for word in asked.words] == [
        ("use", "Use"),
        ("asyncio", "asyncio"),
        ("gahter", "gahter"),
        ("now", "now"),
    ]
    assert asked.words[1].extras == ("asyncio.gahter", "asynciogahter")


def test_a_version_finds_longer_ones() -> None:
    assert parse("5.2").words[0].extras == ("5.2.*",)
    assert parse("5").words[0].extras == ("5.*",)


def test_controls_are_spaces() -> None:
    assert parse("a\0b\u202ec\n d").text == "a b c d"


def test_what_is_too_long_is_refused() -> None:
    assert isinstance(parse("x" * 90), Asked)
    with pytest.raises(TooLong, match=r"^A search has at most 90 characters\.$"):
        parse("x" * 91)


@pytest.mark.parametrize("query", ["", " ", "?!", "\0"])
def test_nothing_is_empty(query: str) -> None:
    assert parse(query).is_empty
