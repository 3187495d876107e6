"""Code with its words told apart, and their colours."""

from __future__ import annotations

import pytest
from cpu import least
from pygments.lexers import get_lexer_by_name
from services import ROOT

from web.features.blog.highlight import (
    _GROUPS,
    _OTHER_NAMES,
    CLASSES,
    LANGUAGES,
    MAX_BLOCK,
    MOST_SECONDS,
    PALETTES,
    Highlighter,
    stylesheet,
)


def luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_counted_as_the_standard_does() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("palette", PALETTES)
def test_every_colour_can_be_read(palette: str) -> None:
    colours = PALETTES[palette]
    for name, colour in colours.items():
        if name != "ground":
            assert contrast(colour, colours["ground"]) >= 4.5, name


def test_text_without_a_colour_can_be_read_too() -> None:
    css = (ROOT / "static" / "site.css").read_text()
    inks = [line.split()[1].rstrip(";") for line in css.splitlines() if line.strip().startswith("--ink:")]
    assert len(inks) == len(PALETTES)
    for ink, palette in zip(inks, ("light", "dark"), strict=True):
        assert contrast(ink, PALETTES[palette]["ground"]) >= 4.5


def test_the_style_sheet_is_the_one_that_is_served() -> None:
    """`stylesheet` writes it: python -c "from web.features.blog.highlight import *; print(stylesheet(), end='')"."""
    assert (ROOT / "static" / "blog.css").read_text() == stylesheet()


def test_both_palettes_have_the_same_colours() -> None:
    assert PALETTES["light"].keys() == PALETTES["dark"].keys() == {"ground", *_GROUPS}
    named = [name for classes in _GROUPS.values() for name in classes.split()]
    assert len(named) == len(set(named))
    assert set(named) <= CLASSES | {"linenos"}


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_language_is_there(language: str) -> None:
    assert get_lexer_by_name(language)


def test_other_names_are_of_languages_that_are_there() -> None:
    assert set(_OTHER_NAMES.values()) <= LANGUAGES
    assert not set(_OTHER_NAMES) & LANGUAGES


# What made some lexer slow, of a hundred tried on each.
HOSTILE = [
    "  \n",
    "a\n",
    '\\"',
    "{",
    "a::",
    "$ ",
    "[",
    "<a ",
    "(",
    "a(",
    '"""a',
    "/*",
    "a<b<",
    "`",
    "@a(",
    "q(",
    "'",
    " ",
]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_hostile_code_takes_no_longer_than_all_code_may(language: str) -> None:
    """A lexer is asked for the time after each word; no word may take long itself."""
    for piece in HOSTILE:
        code = (piece * MAX_BLOCK)[:MAX_BLOCK]
        if "\n" not in piece:
            code = "\n".join(code[at : at + 400] for at in range(0, MAX_BLOCK - 100, 400))
        most = MOST_SECONDS + 0.1
        assert least(lambda code=code: Highlighter().lines(code, language), 3, enough=most) < most, piece


def test_what_is_too_long_or_too_late_is_plain() -> None:
    code = "pass\n"
    assert "<span" in Highlighter().lines(code, "python")[0]
    assert Highlighter().lines(code * (MAX_BLOCK // 5 + 1), "python")[0] == "pass"
    assert Highlighter().lines(code + "a" * 501, "python")[0] == "pass"
    spent = Highlighter()
    spent._left = 0.0
    assert spent.lines(code, "python") == ["pass"]
    late = Highlighter()
    late._left = 1e-9
    assert late.lines(code, "python") == ["pass"]
