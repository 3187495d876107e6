"""Files of verdicts, and the typos that are made for the benchmark."""

from __future__ import annotations

import pytest

from benchmarks.search import Page, typos
from web.features.search.verdicts import Verdict, judge, read


def test_a_file_is_read() -> None:
    assert read("# for people\n\nfirefix | =/a, /b | /c\nnothing | -\n") == [
        Verdict(3, "firefix", ("/a", "/b"), ("/c",), first="/a"),
        Verdict(4, "nothing", (), (), nothing=True),
    ]


@pytest.mark.parametrize("line", ["firefix", "a | b | c | d", " | b"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2 is not QUERY \| WANTED \| UNWANTED$"):
        read(f"a | b\n{line}\n")


@pytest.mark.parametrize(
    ("line", "found", "words"),
    [
        ("q | /a", ["/b", "/a"], None),
        ("q | /a", ["/b", "/c", "/d", "/e", "/f", "/a"], "/a is not among /b, /c, /d, /e, /f"),
        ("q | =/a", ["/b", "/a"], "/a is not the first of /b, /a"),
        ("q | /a | /b", ["/a", "/b"], "/b is among the first"),
        ("q | -", [], None),
        ("q | -", ["/a"], "found /a, and nothing was wanted"),
        ("q | /a", [], "/a is not among nothing"),
    ],
)
def test_verdicts_are_judged(line: str, found: list[str], words: str | None) -> None:
    (verdict,) = read(line)
    assert judge(verdict, found) == (words and f"line 1: q: {words}")


def test_typos_are_the_same_each_time_and_no_words_of_the_pages() -> None:
    pages = [
        Page(f"{name}", name, f"{name} {name}") for name in ("Middleware", "Templates", "Authentication", "Databases")
    ]
    first = typos(pages)
    assert first == typos(pages)
    assert {kind: len(some) for kind, some in first.items()} == {"1 edit": 120, "2 edits": 120, "first letter": 120}
    assert all(typed != word for some in first.values() for typed, word in some)
    assert all(typed[0] == word[0] for typed, word in first["1 edit"])
    assert all(typed[1:] == word[1:] for typed, word in first["first letter"])
