"""What a post's text becomes."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from cpu import least, taking
from harmless import ATTACKS, MARKS, elements, harm, text_of
from hypothesis import example, given
from hypothesis import strategies as st

from web.features.blog.text import _ALLOWED, POST, VERSION, TextError, clean, cut, render, slug, summarize
from web.pages.markdown import check

PIECES = st.sampled_from(
    [
        *MARKS,
        "\n[^1]: ",
        "|-|",
        "<!--",
        "-->",
        "\u202e",
        "\u0301",
        "\n# ",
        "<h2>",
        "</h2>",
        "<h1 id=",
        "<p>",
        "</div>",
        "<svg>",
        "<table>",
        "<li>",
        "- [ ] ",
        "```c\n",
        "<img alt='",
        "🎉",
        "\n===\n",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=40).map("".join), st.text(max_size=60), st.sampled_from(list(ATTACKS.values()))
)
FORMATS = st.sampled_from(["markdown", "html", "text"])


def harm_of(html: str) -> list[str]:
    return harm(html, tags=_ALLOWED.tags, prefix="post-")


@pytest.mark.parametrize("format", ["markdown", "html", "text"])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_stays_harmless(attack: str, format: str) -> None:
    assert harm_of(render(attack, format=format).html) == []


@given(TEXTS, FORMATS)
@example('<img alt="<h2>x onerror=alert(1) </h2>" src=x>', "html")
@example("<b id=x>a</b><h2 id=x>b</h2><h2>x</h2>", "html")
@example('# x" onmouseover="alert(1)', "markdown")
def test_whatever_is_written_is_harmless_and_well_formed(text: str, format: str) -> None:
    rendered = render(text, format=format)
    assert harm_of(rendered.html) == []
    ids = [attributes["id"] for _, attributes in elements(rendered.html) if "id" in attributes]
    assert len(ids) == len(set(ids))
    generated = [heading.id for heading in rendered.headings]
    assert set(generated) <= set(ids)
    assert not re.search(r"[<>]", "".join(ids))


@given(TEXTS, FORMATS)
def test_what_comes_out_comes_out_of_itself(text: str, format: str) -> None:
    """HTML that was made is left as it is, anchors and all, when it is read as HTML."""
    once = render(text, format=format)
    twice = render(once.html, format="html")
    assert twice.html == once.html
    assert twice.summary == once.summary
    assert twice.headings == once.headings


@given(TEXTS, FORMATS)
def test_a_summary_is_plain_and_short(text: str, format: str) -> None:
    summary = render(text, format=format).summary
    assert len(summary) <= 280
    assert summary == " ".join(summary.split())


def test_headings_have_anchors_of_their_own() -> None:
    rendered = render(
        "## Über uns\n\n## 標題 と かな\n\n## हिन्दी में\n\n## 🎉\n\n## 🎊\n\n## Same\n\n### Same\n\n## Same-2\n\n"
        "## *A* `b` [c](d)[^1]\n\n[^1]: x"
    )
    assert [(heading.level, heading.id) for heading in rendered.headings] == [
        (2, "post-über-uns"),
        (2, "post-標題-と-かな"),
        (2, "post-हिन्दी-में"),
        (2, "post-section"),
        (2, "post-section-2"),
        (2, "post-same"),
        (3, "post-same-2"),
        (2, "post-same-2-2"),
        (2, "post-a-b-c"),
    ]
    assert rendered.headings[-1].text == "A b c"
    ids = [attributes["id"] for tag, attributes in elements(rendered.html) if tag in ("h2", "h3")]
    assert ids == [heading.id for heading in rendered.headings]


def test_an_anchor_stays_when_others_come_after_it() -> None:
    before = render("## A\n\n## B").headings
    after = render("## A\n\n## B\n\n## A\n\n## C").headings
    assert after[:2] == before


def test_the_page_s_title_is_its_only_first_heading() -> None:
    assert [heading.level for heading in render("# a\n\n## b\n\n###### c").headings] == [2, 3, 6]
    assert [heading.level for heading in render("## a\n\n### b").headings] == [2, 3]
    assert [heading.level for heading in render("<h1>a</h1><h2>b</h2>", format="html").headings] == [2, 3]


def test_a_slug_is_of_letters_and_digits() -> None:
    assert slug("What's new in 3.12?") == "what-s-new-in-3-12"
    assert slug("ÀÉ ﬁn") == "àé-fin"
    assert slug("🎉 !") == ""
    assert len(slug("a" * 10_000)) == 60


def test_footnotes_of_two_posts_are_two() -> None:
    text = "a[^x] b[^x] c[^y]\n\n[^x]: X\n\n[^y]: Y\n"
    pages = [render(text, prefix=f"post-{number}-").html for number in (1, 2)]
    ids = [attributes["id"] for page in pages for _, attributes in elements(page) if "id" in attributes]
    assert len(ids) == len(set(ids)) == 10
    for page in pages:
        targets = {attributes["id"] for _, attributes in elements(page) if "id" in attributes}
        links = [attributes["href"].removeprefix("#") for tag, attributes in elements(page) if tag == "a"]
        assert len(links) == 6
        assert set(links) <= targets


def test_links_within_a_post_lead_to_its_headings() -> None:
    html = render("[x](#part)\n\n## Part").html
    assert 'href="#post-part"' in html
    assert 'id="post-part"' in html


def test_tables_say_their_alignment_by_class() -> None:
    html = render("|a|b|c|\n|:-|:-:|-:|\n|1|2|3|").html
    assert [attributes["class"] for tag, attributes in elements(html) if tag == "td"] == ["left", "center", "right"]
    assert "style" not in html


def test_tasks_are_boxes_that_can_only_be_looked_at() -> None:
    html = render("- [ ] a\n- [x] *b*\n- c\n  1. [X] d\n").html
    boxes = [attributes for tag, attributes in elements(html) if tag == "input"]
    assert [box["aria-label"] for box in boxes] == ["to do", "done", "done"]
    assert ["checked" in box for box in boxes] == [False, True, True]
    assert all(box["type"] == "checkbox" and "disabled" in box for box in boxes)
    assert text_of(html).split() == ["a", "b", "c", "d"]
    assert "[ ]" not in html


def test_a_bracket_that_is_no_task_stays() -> None:
    for text in ("- [ ]a", "- [y] a", "[ ] a", "- a [ ] b", "- \\[ ] a"):
        html = render(text).html
        assert "<input" not in html
        assert "[" in html


def test_code_has_classes_and_lines_when_asked() -> None:
    html = render("```python lines\ndef f():\n    '''a\n    b'''\n```").html
    assert '<code class="language-python">' in html
    assert '<pre class="code lines"' in html
    assert html.count('<span class="line">') == 3
    assert '<span class="k">def</span>' in html
    plain = render("```python\ndef f(): pass\n```").html
    assert 'class="line"' not in plain
    assert '<span class="k">def</span>' in plain


@pytest.mark.parametrize("name", ["py", "Python", "{.python}", "python {linenos=true}", "python,lines", "python{1,3}"])
def test_code_is_named_as_other_tools_name_it(name: str) -> None:
    assert 'class="language-python"' in render(f"```{name}\npass\n```").html


@pytest.mark.parametrize("name", ["", "no-such-language", "brainfuck", "../../etc", "x" * 1000])
def test_code_in_other_languages_is_plain(name: str) -> None:
    assert (
        '<pre class="code" tabindex="0"><code>if a &lt; b:\n</code></pre>' in render(f"```{name}\nif a < b:\n```").html
    )


@given(
    st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc", "Cn"], blacklist_characters="`~"), max_size=300)
)
def test_code_is_shown_to_the_letter(code: str) -> None:
    for name in ("python", "html lines", "c", ""):
        html = render(f"```{name}\n{code}\n```").html
        # A parser leaves out the first line's end of a pre, and nothing else.
        assert text_of(html).rstrip("\n").removeprefix("\n") == code.rstrip("\n").removeprefix("\n")


def test_a_summary_ends_between_words() -> None:
    summary = render(
        "# Title\n\n" + "Plain *words* and [links](http://a.example). " * 20 + "\n\n```\ncode\n```"
    ).summary
    assert summary.startswith("Plain words and links. Plain words")
    assert summary.endswith("…")
    assert summary[:-1].split()[-1] in ("Plain", "words", "and", "links")
    assert len(summary) <= 280


def test_a_summary_is_of_what_there_is() -> None:
    assert render("```\nonly code\n```").summary == "only code"
    assert render("# Only a title").summary == "Only a title"
    assert render("a[^1] b\n\n[^1]: note").summary == "a b"
    assert render("a &lt;b&gt; & c").summary == "a <b> & c"
    assert render("<section><h2>T</h2><p>Words.</p></section>", format="html").summary == "Words."
    assert render("").summary == ""


def test_a_cut_leaves_letters_whole() -> None:
    assert cut("abc def", 6) == "abc…"
    assert cut("abc def", 7) == "abc def"
    assert cut("標題 " + "字" * 300, 100) == "標題 " + "字" * 96 + "…"
    assert cut("e\u0301" * 10, 6) == "e\u0301e\u0301…"
    assert cut("👩\u200d💻" * 5, 6) == "👩\u200d💻…"


def test_pictures_wait_until_they_are_near() -> None:
    ((_, picture),) = [each for each in elements(render('![A cat](/cat.png "Hm")').html) if each[0] == "img"]
    assert picture == {"src": "/cat.png", "alt": "A cat", "title": "Hm", "loading": "lazy"}


def test_plain_text_keeps_its_lines() -> None:
    assert render("a <b>\nc\n\n\nd", format="text").html == "<p>a &lt;b&gt;<br>\nc</p>\n<p>d</p>\n"


def test_it_says_by_which_version_it_was_made() -> None:
    assert render("a").version == VERSION


# Bounds

TOO_MUCH = {
    "length": ("a" * (POST.characters + 1), "characters"),
    "a megabyte of brackets": ("[" * 1_000_000, "characters"),
    "lines": ("\n" * POST.lines, "lines"),
    "marks": ("*" * (POST.marks + 1), "signs"),
    "brackets": ("[" * (POST.brackets + 1), "brackets"),
    "quotes": (">" * 21, "nested"),
    "lists": ("- " * 21 + "a", "nested"),
    "lists, a line each": ("\n".join("  " * depth + "- a" for depth in range(12)), "nested"),
    "a table of empty cells": ("|a" * 200 + "|\n" + "|-" * 200 + "|\n" + "|a|\n" * 100, "cells"),
    "an address that is named often": ("[a]: http://" + "b" * 10_000 + "\n\n" + "[a] " * 100, "addresses"),
}


@pytest.mark.parametrize(("text", "word"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_much_is_said_to_its_writer(text: str, word: str) -> None:
    with taking() as taken:
        with pytest.raises(TextError, match=word) as caught:
            render(text)
    assert taken.seconds < 0.5
    assert str(caught.value).endswith(".")


def test_too_much_html_is_said_to_its_writer() -> None:
    for text in ("a" * 1_000_001, "<" * 20_001):
        with pytest.raises(TextError):
            render(text, format="html")


def fitting(text: str) -> str:
    """As much of a text as a post may have."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        try:
            check(text[:middle], POST)
            low = middle
        except TextError:
            high = middle - 1
    return text[:low]


WORST = {
    **{
        each: each
        for each in (
            "[",
            "![",
            "[[]",
            "[a](",
            "[^",
            "*a **b ",
            "`[",
            "`a``",
            "<a ",
            "<!--",
            "&amp;",
            "\\",
            "> - ",
            "- a\n",
        )
    },
    **{
        each: each
        for each in (
            "- [ ] a\n",
            "a\n\n",
            "# a\n\n",
            "a|b\n-|-\n",
            "[^1]: a\n\n",
            "[a]: b\n\n",
            "[a](b)",
            "http://a.example ",
        )
    },
    **{
        each: each for each in ("```python\na\n```\n", "<b>", "<div>", "<b><p>", "<a>", "<table>", "    a\n", "\t", " ")
    },
    "one footnote": "[^1]: a\n\n" + "[^1]" * 50_000,
    "many footnotes": "".join(f"[^{number}] " for number in range(2_000))
    + "\n\n"
    + "".join(f"[^{number}]: a\n\n" for number in range(2_000)),
    "brackets in brackets": "[" * POST.brackets + "]" * POST.brackets,
    "a wide table": "|a" * 1_000 + "|\n" + "|-" * 1_000 + "|\n" + "|a\n" * 10_000,
    "code": ("```c\n" + "  \n" * 3_000 + "```\n") * 3,
    "long lines of code": ("```java\n" + ("a " * 200 + "\n") * 20 + "```\n") * 20,
}


@pytest.mark.parametrize("piece", WORST.values(), ids=[repr(name) for name in WORST])
def test_the_worst_post_takes_a_bounded_time(piece: str) -> None:
    """0.6 s at most here; a machine that has other things to do takes longer."""
    text = fitting(piece * max(1, 200_000 // len(piece)))

    def work() -> None:
        with suppress(TextError):
            render(text)

    assert least(work, 3, enough=1) < 1


HTML_WORST = [
    "<b>",
    "<div>",
    "<a>",
    "<b><p>",
    "<table>",
    "<table><b>",
    "<h2><span>",
    "<font>",
    "<nobr>",
    "<i>x<p>",
    "<li>",
    "<svg>",
    "</b>",
    "<p>",
]


@pytest.mark.parametrize("piece", HTML_WORST)
def test_the_worst_html_takes_a_bounded_time(piece: str) -> None:
    text = piece * (20_000 // piece.count("<"))
    with taking() as taken:
        try:
            rendered = render(text, format="html")
            assert harm_of(rendered.html[:0]) == []
        except TextError:
            pass
    assert taken.seconds < 1


@pytest.mark.parametrize(
    "cite", ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,a", "\tjavascript:a", "//a"]
)
def test_quote_names_no_script_as_its_source(cite: str) -> None:
    """Browsers don't follow it, but what reads a feed may."""
    for tag in ("blockquote", "q"):
        html = render(f'<{tag} cite="{cite}">a</{tag}>', format="html").html
        assert "cite" not in html
        assert "javascript" not in html.lower()
    assert (
        'cite="https://a.example/"'
        in render('<blockquote cite="https://a.example/">a</blockquote>', format="html").html
    )


def test_nested_html_is_refused_by_its_depth() -> None:
    """40,000 <div> took 10 s: each was looked for through all that were open."""
    for format in ("html", "markdown"):
        assert "deepest" in render("<div>" * 150 + "deepest", format=format).html
        with pytest.raises(TextError, match="<div> are open"):
            render("<div>" * 250 + "deepest", format=format)
    # What only seems to be closed is bounded by the number of tags.
    with taking() as taken:
        render('<div><br title="</div>">' * 6_600, format="html")
    assert taken.seconds < 1


def test_cleaning_again_changes_nothing() -> None:
    html = render("# a\n\n[b](#c) <b id=c>x</b>\n\n- [x] d").html
    assert clean(html, _ALLOWED, "post-") == html
    assert summarize(html) == "b x d"
