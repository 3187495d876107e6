"""Markdown of strangers, as comments have it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from cpu import least
from harmless import ATTACKS, MARKS, elements, harm, text_of
from hypothesis import example, given
from hypothesis import strategies as st

from web.pages.markdown import COMMENT, TextError, check, render_comment

TAGS = {"p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"}

PIECES = st.sampled_from(
    [
        *MARKS,
        "|-|",
        "<!--",
        "-->",
        "\u202e",
        "\u0301",
        "\ufeff",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=40).map("".join), st.text(max_size=60), st.sampled_from(list(ATTACKS.values()))
)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_stays_harmless(attack: str) -> None:
    html = render_comment(attack)
    assert harm(html, tags=TAGS, prefix=None) == []


@given(TEXTS)
@example("<a href=javascript:alert(1)>")
def test_whatever_is_written_is_harmless_and_well_formed(text: str) -> None:
    assert harm(render_comment(text), tags=TAGS, prefix=None) == []


@given(TEXTS)
def test_a_text_of_words_stays_what_it_was(text: str) -> None:
    """What is shown, written again, is shown the same."""
    words = " ".join("".join(c if c.isalnum() else " " for c in text).split())
    shown = text_of(render_comment(words)).strip()
    assert shown == words
    assert text_of(render_comment(shown)).strip() == shown


def test_a_comment_has_emphasis_code_lists_quotes_and_links() -> None:
    html = render_comment(
        "*a* **b** ~~c~~ `d`\n\n> e\n\n- f\n- g\n\n3. h\n\n```\ni <j>\n```\n\n[k](http://l.example) http://m.example"
    )
    assert [tag for tag, _ in elements(html)] == (
        [
            "p",
            "em",
            "strong",
            "s",
            "code",
            "blockquote",
            "p",
            "ul",
            "li",
            "li",
            "ol",
            "li",
            "pre",
            "code",
            "p",
            "a",
            "a",
        ]
    )
    assert dict(elements(html))["ol"] == {"start": "3"}


def test_a_comment_has_no_headings_pictures_or_html() -> None:
    """They stay as they were typed."""
    html = render_comment("# a\n\nb\n===\n\n<b>c</b>\n\n<div>d</div>\n\n[e]: http://f.example\n\n[e]")
    assert {tag for tag, _ in elements(html)} <= {"p", "br", "a"}
    for typed in ("# a", "===", "<b>c</b>", "<div>d</div>", "[e]"):
        assert typed in text_of(html)
    assert {tag for tag, _ in elements(render_comment("![x](http://f.example/x.png)"))} == {"p", "a"}


def test_a_line_ends_where_it_was_ended() -> None:
    assert "a<br>\nb" in render_comment("a\nb")


def test_links_of_comments_pay_nothing() -> None:
    for text in ("http://a.example", "[x](http://a.example)", "<http://a.example>", "www.a.example", "me@a.example"):
        (link,) = [attributes for tag, attributes in elements(render_comment(text)) if tag == "a"]
        assert set(link["rel"].split()) == {"nofollow", "ugc", "noopener", "noreferrer"}, text


TOO_MUCH = {
    "length": ("a" * (COMMENT.characters + 1), "characters"),
    "lines": ("\n" * COMMENT.lines, "lines"),
    "marks": ("*" * (COMMENT.marks + 1), "signs"),
    "brackets": ("[" * (COMMENT.brackets + 1), "brackets"),
    "quotes": (">" * 21, "nested"),
    "spaced quotes": ("> " * 21 + "a", "nested"),
    "lists": ("- " * 21 + "a", "nested"),
    "lists, a line each": ("\n".join("  " * depth + "- a" for depth in range(12)), "nested"),
    "a megabyte of brackets": ("[" * 1_000_000, "characters"),
}


@pytest.mark.parametrize(("text", "word"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_much_is_said_to_its_writer(text: str, word: str) -> None:
    with pytest.raises(TextError, match=word) as caught:
        render_comment(text)
    assert str(caught.value).endswith(".")


def test_a_depth_that_is_taken_is_shown_whole() -> None:
    """The parser leaves out in silence what is too deep for it."""
    for depth in range(1, 30):
        for text in (">" * depth + " deepest", "\n".join("  " * level + "- x" for level in range(depth)) + " deepest"):
            try:
                html = render_comment(text)
            except TextError:
                continue
            assert "deepest" in html


def test_ordinary_rules_and_dashes_are_no_depth() -> None:
    for text in ("-" * 80, "- - - - -", "+" * 50, "* * *", "1.2.3.4.5", "-----> x"):
        assert text_of(render_comment(text)).strip() or render_comment(text) == "<hr>\n"


def fitting(text: str) -> str:
    """As much of a text as a comment may have."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        try:
            check(text[:middle], COMMENT)
            low = middle
        except TextError:
            high = middle - 1
    return text[:low]


WORST = [
    "[",
    "![",
    "[[]",
    "[a](",
    "*a **b ",
    "`[",
    "> - ",
    "- a\n",
    "a\n\n",
    "<",
    "http://a.example ",
    "a@",
    "&amp;",
    "\\",
    "```\n",
]


@pytest.mark.parametrize("piece", WORST)
def test_the_worst_comment_takes_a_bounded_time(piece: str) -> None:
    """10 ms here; a machine that has other things to do takes longer."""
    text = fitting(piece * 10_000)

    def work() -> None:
        with suppress(TextError):
            render_comment(text)

    assert least(work, 3) < 0.15
