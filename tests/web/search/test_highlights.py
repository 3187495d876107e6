"""Marks in a text, and the piece that shows them."""

from __future__ import annotations

import pytest

from web.features.search.highlights import Wanted, mark, piece, places
from web.features.search.tokens import stem


def _wanted(*words: str, exact: tuple[str, ...] = ()) -> Wanted:
    return Wanted(frozenset(map(stem, words)), frozenset(exact))


@pytest.mark.parametrize(
    ("text", "words", "html"),
    [
        ("Redis caches", ("cache",), "Redis <mark>caches</mark>"),
        ("a < b & <mark>c</mark>", ("c",), "a &lt; b &amp; &lt;mark&gt;<mark>c</mark>&lt;/mark&gt;"),
        ("&lt;b&gt; said Bo", ("bo",), "&amp;lt;b&amp;gt; said <mark>Bo</mark>"),
        ("on_commit and commitment", ("commit",), "<mark>on_commit</mark> and <mark>commitment</mark>"),
        ("Café crème", ("cafe",), "<mark>Café</mark> crème"),
        ("İstanbul, ﬁne straße", ("strasse", "fine", "istanbul"), "<mark>İstanbul</mark>, <mark>ﬁne straße</mark>"),
        ("全文検索エンジン", ("検索",), "全文<mark>検索</mark>エンジン"),
        ("it's its", ("its",), "<mark>it&#x27;s its</mark>"),
        ("happy", ("happiness",), "<mark>happy</mark>"),
        ("C and C++ and C#", ("c++",), "C and <mark>C++</mark> and C#"),
        ("nothing", (), "nothing"),
    ],
)
def test_marks(text: str, words: tuple[str, ...], html: str) -> None:
    assert mark(text, _wanted(*words)).html() == html


def test_a_piece_shows_the_most_words() -> None:
    text = "redis. " + "x " * 300 + "here the redis cache is warm " + "y " * 300
    shown = piece(text, list(places(text, _wanted("redis", "cache"))))
    assert "<mark>redis cache</mark> is warm" in shown.html()
    assert shown.text.startswith("…")
    assert shown.text.endswith("…")
    assert len(shown.text) < 240


def test_a_piece_of_an_empty_text_is_empty() -> None:
    assert piece("", []).html() == ""


def test_a_text_full_of_matches_is_looked_at_in_bounds() -> None:
    text = "redis " * 20_000
    assert len(list(places(text, _wanted("redis")))) == 100


def test_a_long_run_without_spaces_is_looked_at_in_bounds() -> None:
    text = "redis" * 20_000
    list(places(text, _wanted("redis")))
