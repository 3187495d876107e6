"""Words, and names that must not fall apart."""

from __future__ import annotations

import pytest

from web.features.search.tokens import all_parts, fold, fold_in_place, may_be_misspelt, stem, tokens


def _stream(text: str) -> list[str]:
    return [word for parts in all_parts(text) for word in parts.stream]


def _extras(text: str) -> list[str]:
    return [word for parts in all_parts(text) for word in parts.extras]


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        ("Firefox in 2017.", ["firefox", "in", "2017"]),
        ("C, C++ and C#: not F#!", ["c", "c++", "and", "c#", "not", "f#"]),
        (".NET and ASP.NET", [".net", "and", "asp", "net"]),
        ("node.js", ["node", "js"]),
        ("transaction.on_commit()", ["transaction", "on", "commit"]),
        ("std::vector", ["std", "vector"]),
        ("Python 3.11, not 3.1.", ["python", "3.11", "not", "3.1"]),
        ("v5.2.1 and 5.2rc1", ["5.2.1", "and", "5.2rc1"]),
        ("it's Django's, don’t", ["its", "django", "dont"]),
        ("Café ﬁne STRASSE straße İstanbul", ["cafe", "fine", "strasse", "strasse", "istanbul"]),
        ("検索エンジン", ["検索", "索エ", "エン", "ンジ", "ジン"]),
        ("東", ["東"]),
        ("--help php: +(happy", ["help", "php", "happy"]),
        ("🎉", ["🎉"]),
        ("\0 _ . - ' \u202e", []),
    ],
)
def test_words_of_a_text(text: str, stream: list[str]) -> None:
    assert _stream(text) == stream


@pytest.mark.parametrize(
    ("text", "extras"),
    [
        ("asyncio.gather", ["asyncio.gather", "asynciogather"]),
        ("on_commit", ["on_commit", "oncommit"]),
        ("node.js", ["node.js", "nodejs"]),
        ("doSomething", ["do", "something"]),
        ("HTTPServer", ["http", "server"]),
        ("5.2.1", ["5.*", "5.2.*"]),
        ("Python PYTHON python", []),
    ],
)
def test_other_names_of_a_word(text: str, extras: list[str]) -> None:
    assert _extras(text) == extras


def test_places_are_those_of_the_text_as_it_is() -> None:
    text = "İ ß ﬁ – Ünïcode.name"
    assert [text[token.start : token.end] for token in tokens(text)] == ["İ", "ß", "ﬁ", "Ünïcode.name"]


def test_folding_in_place_keeps_each_letter_where_it_is() -> None:
    text = "İstanbul Straße ﬁn"
    assert len(fold_in_place(text)) == len(text)
    assert fold(text) == "istanbul strasse fin"
    assert fold_in_place("Émile…") == "emile "


def test_stems_leave_names_and_numbers_alone() -> None:
    assert [stem(word) for word in ("caching", "caches", "c++", "5.2", "js")] == ["cach", "cach", "c++", "5.2", "js"]


def test_numbers_versions_and_short_words_are_never_typos() -> None:
    said = ["404", "3.11", "cve2024", "php", "c++", "検索"]
    assert not any(map(may_be_misspelt, said))
    assert may_be_misspelt("firefix")


def test_a_long_text_of_anything_takes_a_bounded_time() -> None:
    for each in (
        "a" * 100_000,
        "a." * 50_000,
        "_" * 100_000,
        "'" * 100_000,
        "a'" * 50_000,
        "1." * 50_000,
        "\u0301" * 100_000,
    ):
        _stream(each)
