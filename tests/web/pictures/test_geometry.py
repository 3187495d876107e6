"""Sizes as sorl's rules say them, with sides of at least 1."""

from __future__ import annotations

import pytest

from web.features.pictures.geometry import Size, Wanted, parse, steps, turned


@pytest.mark.parametrize(
    ("source", "wanted", "result"),
    [
        # Fits into the box; one side may be left out.
        ((1000, 500), Wanted(100, 100), (100, 50)),
        ((500, 1000), Wanted(100, 100), (50, 100)),
        ((1000, 500), Wanted(width=100), (100, 50)),
        ((1000, 500), Wanted(height=100), (200, 100)),
        ((1000, 500), Wanted(), (1000, 500)),
        # Fills it, and is cut.
        ((1000, 500), Wanted(100, 100, crop=True), (100, 100)),
        ((1000, 500), Wanted(width=100, crop=True), (100, 50)),
        # Is not made larger, unless that is wanted; a smaller one is cut on the side that is too long.
        ((50, 40), Wanted(100, 100), (50, 40)),
        ((50, 40), Wanted(100, 100, upscale=True), (100, 80)),
        ((50, 40), Wanted(100, 100, crop=True), (50, 40)),
        ((50, 400), Wanted(100, 100, crop=True), (50, 100)),
        ((50, 40), Wanted(100, 100, crop=True, upscale=True), (100, 100)),
        # Nothing has no pixels.
        ((1, 10_000), Wanted(128, 128), (1, 128)),
        ((10_000, 1), Wanted(128, 128), (128, 1)),
        ((2, 3000), Wanted(128, 128, crop=True), (2, 128)),
        ((940, 2), Wanted(160, 160), (160, 1)),
        ((1, 1), Wanted(128, 128, crop=True), (1, 1)),
    ],
)
def test_result(source: tuple[int, int], wanted: Wanted, result: tuple[int, int]) -> None:
    assert steps(Size(*source), wanted).result == Size(*result)


@pytest.mark.parametrize(
    ("focus", "box"),
    [
        ((0.5, 0.5), (50, 0, 150, 100)),
        ((0, 0.5), (0, 0, 100, 100)),
        ((1, 0.5), (100, 0, 200, 100)),
        ((0.6, 0), (70, 0, 170, 100)),
    ],
)
def test_what_is_cut_keeps_the_focus(focus: tuple[float, float], box: tuple[int, int, int, int]) -> None:
    assert steps(Size(1000, 500), Wanted(100, 100, crop=True, focus=focus)).box == box


@pytest.mark.parametrize(
    ("text", "sides"), [("348x348", (348, 348)), ("348", (348, None)), ("348x", (348, None)), (" X348", (None, 348))]
)
def test_sizes_are_read(text: str, sides: tuple[int | None, int | None]) -> None:
    assert parse(text) == sides


@pytest.mark.parametrize("text", ["", "x", "0x5", "5x0", "99999", "axb", "-5", "5x5x5", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size such as"):
        parse(text)


def test_picture_on_its_side_is_measured_upright() -> None:
    assert [turned(Size(3, 2), each).width for each in range(1, 9)] == [3, 3, 3, 3, 2, 2, 2, 2]
