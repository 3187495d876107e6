"""What a row says of its picture, what a page shows before it is there, and how the forms are made."""

from __future__ import annotations

import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from drawing import file_of
from PIL import Image

from web.features.pictures import making
from web.features.pictures.forms import MOST, Shown, form_sizes
from web.features.pictures.forms import format_of as form_of
from web.features.pictures.geometry import Size
from web.features.pictures.making import hash_of, make_forms, make_thumb
from web.features.pictures.pillow import Pillow
from web.features.pictures.placeholder import blurred
from web.features.pictures.thumbhash import cells, encode


def test_forms_are_never_larger_than_the_picture() -> None:
    assert form_sizes(Size(4000, 3000)) == (Size(348, 261), Size(696, 522), Size(1392, 1044))
    assert form_sizes(Size(500, 100)) == (Size(348, 70), Size(500, 100))
    assert form_sizes(Size(20, 20)) == (Size(20, 20),)


def test_forms_of_what_is_tall_are_narrower() -> None:
    """As wide as others one of 1,500 × 20,000 took 44 seconds and 640 MB to be encoded."""
    assert form_sizes(Size(1500, 20_000)) == (Size(348, 4640), Size(547, 7293))
    assert form_sizes(Size(1, 20_000)) == (Size(1, 20_000),)
    assert all(each.width * each.height <= MOST for each in form_sizes(Size(1900, 19_000)))


def test_row_comes_back_as_it_was() -> None:
    shown = Shown(
        "a" * 32,
        Size(4, 3),
        b"\x01\x02",
        True,
        (Size(4, 3),),
        ("webp", "png"),
        "Words “x”",
        "",
        (30, 100),
        (0, 5),
        (Size(9, 9),),
    )
    assert Shown.from_row(shown.as_row()) == shown
    assert shown.srcset("webp") == f"/pictures/{'a' * 32}/4.webp 4w"
    assert shown.src.endswith("/4.png")


@pytest.mark.parametrize(
    "name",
    ["../x.png", "5.gif", "5.png.exe", "x.png", "123456.png", ".png", "5.PNG", "5x5.png", "5x5-1.png", "5-moving.png"],
)
def test_what_is_no_form(name: str) -> None:
    assert form_of("a" * 32, name) is None
    assert form_of("../" + "a" * 29, "5.png") is None
    assert form_of("a" * 32, "348.avif") == "avif"
    assert form_of("a" * 32, "348-moving.webp") == "webp"
    assert form_of("a" * 32, "348x348-5-100.webp") == "webp"


def test_picture_that_is_replaced_has_other_addresses() -> None:
    assert hash_of(b"x") != hash_of(b"y")


def colors_of(image: Image.Image) -> list[tuple[int, int, int]]:
    return cells(encode(Size(*image.size), image.convert("RGBA").tobytes()), 4, 4)


def test_thumb_looks_like_its_picture() -> None:
    for color in ((255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (120, 200, 60)):
        found = colors_of(Image.new("RGB", (40, 30), color))
        assert all(abs(a - b) < 24 for cell in found for a, b in zip(cell, color, strict=True)), (color, found[0])
    half = Image.new("RGB", (40, 40))
    half.paste((255, 255, 255), (20, 0, 40, 40))
    found = colors_of(half)
    assert found[0][0] < 80 < 170 < found[3][0]


def test_thumb_is_small_and_knows_what_can_be_seen_through() -> None:
    clear = Image.new("RGBA", (30, 60), (255, 0, 0, 0))
    hash = encode(Size(30, 60), clear.tobytes())
    assert len(hash) < 30
    assert all(min(cell) > 240 for cell in cells(hash, 3, 3))
    with pytest.raises(ValueError, match="at most 100 pixels"):
        encode(Size(101, 5), b"")


def test_blur_has_the_pictures_size_and_no_style() -> None:
    thumb = encode(Size(2, 1), bytes((9, 9, 9, 255, 200, 9, 9, 255)))
    svg = blurred(Shown("a" * 32, Size(2000, 1000), thumb))
    assert 'width="1392" height="696"' in svg
    assert svg.count("<rect") == 24
    assert "style" not in svg
    assert "<rect" not in blurred(Shown("a" * 32, Size(2000, 1000)))


@pytest.fixture
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process does other work afterwards."""
    monkeypatch.setattr(making, "_bound", lambda: None)


@pytest.mark.usefixtures("unbounded")
def test_forms_are_files_and_made_twice_they_are_the_same(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(file_of((800, 600)))
    made = make_forms("pillow", str(source), str(tmp_path / "forms"))
    assert (made.size, made.sizes, made.error) == (Size(800, 600), form_sizes(Size(800, 600)), "")
    names = sorted(os.listdir(tmp_path / "forms"))
    stems = ("348", "696", "800", "174x174-50-50", "348x348-50-50")
    assert names == sorted(f"{stem}.{format}" for stem in stems for format in ("avif", "webp", "jpeg"))
    before = {name: (tmp_path / "forms" / name).read_bytes() for name in names}
    assert make_forms("pillow", str(source), str(tmp_path / "forms")) == made
    assert {name: (tmp_path / "forms" / name).read_bytes() for name in names} == before
    assert len(make_thumb("pillow", str(source))) > 15


@pytest.mark.usefixtures("unbounded")
@pytest.mark.parametrize(("focus", "ground"), [((0, 50), 0), ((100, 50), 255)])
def test_crops_keep_the_focus(tmp_path: Path, focus: tuple[int, int], ground: int) -> None:
    """Of a picture whose left half is black; wide, low ones are cut from the whole of it."""
    for size in ((1600, 400), (6000, 200), (30, 20)):
        source, folder = tmp_path / "source", tmp_path / f"{size[0]}"
        source.write_bytes(file_of(size))
        made = make_forms("pillow", str(source), str(folder), focus, only_crops=True)
        assert (made.size, made.cropped, made.error) == (Size(*size), focus, "")
        side = min(348, size[1])
        with Image.open(folder / f"{side}x{side}-{focus[0]}-50.webp") as crop:
            assert crop.size == (side, side)
            if size[0] > 30:
                assert abs(crop.convert("L").getpixel((side // 2, side // 2)) - ground) < 9


def test_row_of_before_there_were_crops_has_none() -> None:
    data = Shown("a" * 32, Size(4, 3)).as_row()
    del data["focus"], data["cropped"], data["moving"]
    shown = Shown.from_row(data)
    assert (shown.focus, shown.crops, shown.moving) == ((50, 50), (), ())


@pytest.mark.usefixtures("unbounded")
def test_full_disk_leaves_no_piece_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(file_of())

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    made = make_forms("noop", str(source), str(tmp_path / "forms"))
    assert (made.full, made.error) == (True, "No space left on device")
    assert os.listdir(tmp_path / "forms") == []


@pytest.mark.usefixtures("unbounded")
def test_two_at_once_leave_the_same_whole_files(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "forms"
    source.write_bytes(file_of((800, 600)))
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: make_forms("noop", str(source), str(folder)), range(50)))
    assert len(made) == 1
    alone = tmp_path / "alone"
    assert make_forms("noop", str(source), str(alone)) in made
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in alone.iterdir()
    }


@pytest.mark.usefixtures("unbounded")
def test_picture_is_gone_when_its_forms_are_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders take 30 bytes a pixel of a form; what it is made of would be there besides."""
    seen: dict[tuple[int, int], bool] = {}

    class Watching(Pillow):
        def open(self, data: bytes, most: int | None = None) -> Image.Image:
            picture = super().open(data, most)
            self.opened = weakref.ref(picture)
            return picture

        def encode(self, picture: Image.Image, format: str, quality: int) -> bytes:
            seen[picture.size] = self.opened() is not None
            return b"."

    monkeypatch.setattr(making, "engine", lambda name: Watching())
    (tmp_path / "source").write_bytes(file_of((1500, 1000), "PNG"))
    assert make_forms("pillow", str(tmp_path / "source"), str(tmp_path / "forms")).error == ""
    assert seen == {(174, 174): True, (348, 348): True, (1392, 928): False, (696, 464): False, (348, 232): False}


@pytest.mark.usefixtures("unbounded")
def test_broken_picture_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(file_of((300, 300))[:-2000])
    assert make_forms("pillow", str(tmp_path / "source"), str(tmp_path / "f")).error.startswith("The picture is broken")
    assert make_thumb("pillow", str(tmp_path / "source")) == b""
