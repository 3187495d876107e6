"""The style sheet's colours stand out from what they lie on, in light and in dark."""

from __future__ import annotations

import re

import pytest
from services import ROOT

SHEET = (ROOT / "static" / "site.css").read_text(encoding="utf-8")
_LIGHT, _DARK = re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)[:2]
LIGHT = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", _LIGHT))
THEMES = {"light": LIGHT, "dark": LIGHT | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", _DARK))}

#: WCAG 2.2, 1.4.3 for text and 1.4.11 for what else carries a meaning.
TEXT, GRAPHICS = 4.5, 3.0

PAIRS = [
    *((ink, paper, TEXT) for ink in ("ink", "soft", "accent", "bad") for paper in ("paper", "panel")),
    *((kind, "panel", TEXT) for kind in ("good", "warn")),
    *((kind, "paper", TEXT) for kind in ("good", "warn")),
    *((kind, f"{kind}-soft", TEXT) for kind in ("accent", "live", "bad", "note", "good", "warn")),
    *(("ink", f"{kind}-soft", TEXT) for kind in ("bad", "note", "good", "warn")),
    *(("accent", f"{kind}-soft", TEXT) for kind in ("note", "good", "warn")),
    ("accent-ink", "accent", TEXT),
    *((f"chart-{number}", "panel", GRAPHICS) for number in range(6)),
]


def _light(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("front", "back", "least"), PAIRS)
def test_colours_can_be_told_apart(theme: str, front: str, back: str, least: float) -> None:
    one, other = sorted((_light(THEMES[theme][front]), _light(THEMES[theme][back])))
    assert (other + 0.05) / (one + 0.05) >= least
