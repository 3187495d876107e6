"""Engines: what they make, that all of them tell the same sizes, and that nothing breaks them."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawing import file_of, some_file
from PIL import Image, ImageCms, PngImagePlugin
from services import ROOT

from web.features.pictures import heic, hevc, sniffing
from web.features.pictures.engines import ENGINES, FORMATS, engine, make
from web.features.pictures.geometry import Size, Wanted
from web.features.pictures.pillow import _reduced, _unpacked
from web.features.pictures.sniffing import FREE, MAX_MOVING_BYTES, Header, NoPicture, fits, may_move, read

REAL = ["pillow", "vips"]


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest) -> Any:
    return engine(request.param)


@pytest.fixture
def pillow() -> Any:
    return engine("pillow")


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_real_and_noop_tell_the_same_sizes_and_files_have_them(pillow: Any) -> None:
    """Of 500 files and wishes by chance."""
    dice, noop = random.Random(19), engine("noop")
    for number in range(500):
        data = some_file(dice)
        sides = [dice.choice([None, dice.randint(1, 300)]) for _ in range(2)]
        focus = (dice.random(), dice.random())
        wanted = Wanted(*sides, crop=dice.random() < 0.5, upscale=dice.random() < 0.3, focus=focus)
        format = dice.choice(["webp", "jpeg", "png"])
        real, told = make(pillow, pillow.open(data), wanted, format), make(noop, noop.open(data), wanted, format)
        assert real.size == told.size, (number, wanted)
        assert opened(real.data).size == (real.size.width, real.size.height)


def test_noop_is_the_same_each_time_and_no_picture() -> None:
    noop = engine("noop")
    data = file_of()
    first, second = (make(noop, noop.open(data), Wanted(30), "avif").data for _ in range(2))
    assert first == second
    assert first != make(noop, noop.open(data), Wanted(31), "avif").data
    assert not noop.is_valid(first)


@pytest.mark.parametrize("name", sorted(ENGINES))
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "The file is empty."),
        (b"<!doctype html><p>x", "This is a web page, not a picture."),
        (b"GIF89a<script>alert(1)</script>", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG may carry scripts"),
        (b"%!PS-Adobe", "This kind of picture is not taken."),
        (b"\x89PNG\r\n\x1a\n", "The file ends in the middle of its header."),
        (file_of()[:20], "The file ends in the middle of its header."),
        (b"hello", "This is not a picture that we know."),
    ],
    ids=range(8),
)
def test_every_engine_refuses_what_is_no_picture(name: str, data: bytes, why: str | None) -> None:
    maker = engine(name)
    assert not maker.is_valid(data)
    with pytest.raises(NoPicture) as caught:
        maker.open(data)
    assert why is None or str(caught.value).startswith(why)


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_heic_is_refused_with_a_word_where_it_cant_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heic, "find_spec", lambda name: None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0"
    assert not engine(name).is_valid(data)
    with pytest.raises(NoPicture, match=r"^This is a HEIC picture\. Send it as JPEG"):
        engine(name).open(data)


def heic_file(size: tuple[int, int] = (60, 40), orientation: int = 0) -> bytes:
    """Left half black, right half white. Skips where pillow-heif is not installed."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    image = Image.new("L", size)
    image.paste(255, (size[0] // 2, 0, *size))
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        # As cameras do, it says it in a property of the picture; `exif=` would say it in EXIF only, which counts for
        # nothing in HEIC.
        image.info["exif"] = exif.tobytes()
    out = io.BytesIO()
    image.save(out, "HEIF")
    return out.getvalue()


@pytest.mark.parametrize("orientation", [0, 3, 6, 8])
def test_heic_is_read_and_turned(real: Any, orientation: int) -> None:
    data = heic_file((120, 80), orientation)
    picture, noop = real.open(data, 1392), engine("noop")
    assert real.size(picture) == noop.size(noop.open(data)) == (Size(80, 120) if orientation > 4 else Size(120, 80))
    made = opened(make(real, picture, Wanted(), "png").data).convert("L")
    dark = {0: (5, 40), 3: (115, 40), 6: (40, 5), 8: (40, 115)}[orientation]
    assert made.getpixel(dark) < 60
    assert real.is_valid(data)
    assert real.moving(data, [Size(20, 15)]) == []


def test_broken_heic_raises_nothing_else(real: Any) -> None:
    data = heic_file()
    dice = random.Random(3)
    assert not real.is_valid(data[: len(data) // 2])
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(dice.randint(1, 20)):
            broken[dice.randrange(12, len(broken))] = dice.randrange(256)
        real.is_valid(bytes(broken))


def test_heic_that_is_larger_than_it_says_is_not_unpacked(pillow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic_file((200, 100))
    monkeypatch.setattr("web.features.pictures.pillow.fits", lambda header, width, height: width * height < 200 * 100)
    monkeypatch.setattr(Image.Image, "load", lambda *args: pytest.fail("it was unpacked"))
    assert not pillow.is_valid(data)


def png(width: int, height: int, *chunks: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (png(9400, 9400), "it may have 40 megapixels"),
        (png(1, 65_000), "a side may have 20,000 pixels"),
        (png(0, 5), "The picture has no size."),
        (b"RIFF\x20\0\0\0WEBPVP8L\x10\0\0\0\x2f" + struct.pack("<I", 9399 | 9399 << 14) + b"\0" * 20, "40 megapixels"),
    ],
    ids=["png", "thin", "nothing", "webp of 3 kB"],
)
def test_bombs_are_refused_by_their_header(data: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("it was opened"))
    with pytest.raises(NoPicture, match=why):
        engine("pillow").open(data)


def glass(format: str) -> bytes:
    """A picture that can be seen through."""
    out = io.BytesIO()
    Image.new("RGBA", (60, 40), (255, 0, 0, 90)).save(out, format)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "cost"),
    [
        (file_of(), 8.0),
        # A large one is read at a half of its sides; of one in several scans all is held besides.
        (file_of((2784, 2784), mode="L"), 2.0),
        (file_of(progressive=True, subsampling="4:2:0"), 8.0 + 3.0),
        (file_of(progressive=True, subsampling="4:4:4"), 8.0 + 6.0),
        (file_of(format="PNG"), 8.0),
        (file_of((2784, 2784), "PNG"), 5.0),
        (file_of(format="PNG", mode="RGBA"), 11.2),
        (file_of((2784, 2784), format="PNG", mode="RGBA"), 6.25),
        (file_of(format="PNG", mode="P", transparency=0), 11.2),
        (file_of(format="PNG", mode="P"), 5.5),
        (file_of(format="PNG", mode="P", orientation=6), 8.0),
        (file_of(format="PNG", mode="I;16"), 5.5),
        (file_of(format="GIF"), 11.2),
        (file_of(format="WEBP"), 12.05),
        (file_of(format="AVIF"), 10.0),
        (glass("AVIF"), 12.3),
    ],
    ids=range(16),
)
@pytest.mark.parametrize("name", ["pillow", "noop"])
def test_what_would_take_too_much_memory_is_refused_by_its_header(
    name: str, data: bytes, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A WebP of 3 kB took 1.37 GB: what decodes it has twelve bytes for each of its pixels, of a JPEG's one."""
    header = read(data)
    assert header.cost == cost
    pixels = header.size.width * header.size.height
    monkeypatch.setattr(sniffing, "MAX_MEMORY", pixels * cost)
    assert engine(name).is_valid(data)
    monkeypatch.setattr(sniffing, "MAX_MEMORY", pixels * cost - 1)
    monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("it was opened"))
    with pytest.raises(NoPicture, match="Send it as an ordinary JPEG, or smaller"):
        engine(name).open(data)


def test_what_phones_send_is_taken() -> None:
    """Photos of 12 megapixels in WebP and AVIF were refused, and those of 24 that iPhones take now."""
    for data in (file_of(format="WEBP"), glass("WEBP"), file_of(format="AVIF"), glass("AVIF")):
        assert fits(read(data), 4032, 3024)
    assert fits(read(heic_file(), heic=True), 5712, 4284)


def test_cost_of_heic_is_that_of_its_costliest_picture() -> None:
    plain = heic_file()
    assert read(plain, heic=True).cost == 5.8
    at = plain.index(b"hvcC")
    for chroma, depth, cost in ((3, 0, 9.5), (1, 2, 8.0), (3, 2, 15.6)):
        changed = bytearray(plain)
        changed[at + 20], changed[at + 21] = 0xFC | chroma, 0xF8 | depth
        assert read(bytes(changed), heic=True).cost == cost
    # The map of light that phones put beside has auxC, too, and nothing can be seen through.
    light, alpha = b"auxC\0\0\0\0urn:com:apple:photo:2020:aux:hdrgainmap\0", b"urn:mpeg:hevc:2015:auxid:1\0"
    assert read(plain + light, heic=True).cost == 5.8
    assert read(plain + alpha, heic=True).cost == pytest.approx(7.2)
    assert read(plain.replace(b"hvcC", b"free"), heic=True).cost == 15.6


def lying_heic(size: tuple[int, int] = (200, 100)) -> bytes:
    """Full colours, in a box that says a quarter of them."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 90)).save(out, "HEIF", chroma=444)
    data = bytearray(out.getvalue())
    at = data.index(b"hvcC")
    assert data[at + 20] & 3 == 3
    data[at + 20] = 0xFD
    return bytes(data)


def test_heic_costs_what_its_stream_says_and_not_the_box_around_it() -> None:
    """A decoder makes room for what the stream is: 9.2 bytes for each pixel, where 5.6 were reckoned."""
    assert read(lying_heic(), heic=True).cost == 9.5


def test_heic_that_is_larger_inside_than_it_says_is_refused_by_name(real: Any) -> None:
    """Its boxes say 60 × 40, and 200 × 100 are decoded."""
    data = heic_file((200, 100))
    small = data.replace(b"ispe\0\0\0\0" + struct.pack(">II", 200, 100), b"ispe\0\0\0\0" + struct.pack(">II", 60, 40))
    assert small != data
    with pytest.raises(NoPicture, match="says that it is 60 × 40, and is 200 × 104 inside"):
        real.open(small)
    # In the picture itself, behind its length: there it counts as well.
    at = data.index(b"\x42\x01", data.index(b"hvcC"))
    unit = data[at : at + int.from_bytes(data[at - 2 : at], "big")]
    with pytest.raises(NoPicture, match="inside"):
        real.open(heic_file((20, 10)) + struct.pack(">I", len(unit)) + unit)


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc what a process took")
def test_heic_that_lies_takes_no_more_than_is_reckoned(tmp_path: Path) -> None:
    """In a worker's process, as it is at its largest."""
    size = (2400, 1600)
    (tmp_path / "idle").write_bytes(lying_heic())
    (tmp_path / "lies").write_bytes(lying_heic(size))
    code = (
        "import sys, pathlib\n"
        "from web.features.pictures.making import make_thumb\n"
        "def most():\n"
        "    return int(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
        "make_thumb('pillow', 'idle')\n"
        "idle = most()\n"
        "assert make_thumb('pillow', 'lies')\n"
        "print((most() - idle) * 1024)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    header = read((tmp_path / "lies").read_bytes(), heic=True)
    assert int(done.stdout) < header.cost * size[0] * size[1] + FREE
    # What its box says is less than it takes.
    assert int(done.stdout) > 5.8 * size[0] * size[1]


@pytest.mark.parametrize("unit", [b"", b"\x42", b"\x42\x01", b"\x42\x01" + bytes(40)])
def test_parameter_sets_that_are_broken_are_none(unit: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # it has no words: `read` has
        hevc.streams(bytes(22) + b"\1\x21\0\1" + struct.pack(">H", len(unit)) + unit)
    assert hevc.inside(struct.pack(">I", len(unit)) + unit) == []
    assert hevc.streams(bytes(23)) == []


def test_word_about_a_picture_that_takes_too_much_says_why() -> None:
    """It named megapixels only, of which a JPEG may have more: a photo of 24 was refused by one of 12."""
    data = bytearray(file_of(format="WEBP"))
    assert data[12:16] == b"VP8 "
    data[26:30] = struct.pack("<HH", 5712, 4284)
    with pytest.raises(NoPicture) as caught:
        read(bytes(data))
    assert str(caught.value) == (
        "The picture is 5712 × 4284, 24.5 megapixels. To read it as WebP takes 281 MiB of memory, and 144 MiB may be"
        " taken: 12.5 megapixels in WebP of this kind. Send it as an ordinary JPEG, or smaller."
    )


def test_bytes_of_the_file_count_too() -> None:
    """They are there while it is decoded; of a WebP twice."""
    data = file_of(format="WEBP") + b"\0" * 1000
    assert read(data).held == 2 * len(data)
    assert read(file_of()).held == len(file_of())
    header = Header("webp", Size(4032, 3024), cost=12.05, held=FREE)
    assert fits(header, 4032, 3024)
    assert not fits(replace(header, held=2 * FREE), 4032, 3024)


@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
@pytest.mark.parametrize("most", [None, 20])
def test_what_has_decoded_a_picture_is_gone(pillow: Any, format: str, most: int | None) -> None:
    """A WebP of 1,500 × 5,700 took 212 MB: its decoder was there, with two canvases, as long as the picture."""
    for data in (file_of(format=format), glass(format)):
        picture = pillow.open(data, most)
        assert type(picture) is Image.Image
        assert pillow.size(picture) == Size(60, 40)
    assert pillow.has_alpha(picture)


@pytest.mark.parametrize(("raw", "bands"), [("RGB", 3), ("RGBA", 4), ("RGBX", 4), ("L", 1), ("LA", 2)])
@pytest.mark.parametrize("factor", [1, 3])
def test_pieces_make_the_same_as_the_whole(raw: str, bands: int, factor: int) -> None:
    size, stride = (7, 1601), 7 * bands + 5
    pixels = random.Random(bands).randbytes(stride * size[1])
    mode = {"RGBX": "RGB", "LA": "RGBA"}.get(raw, raw)
    whole = Image.frombytes(raw if raw == "LA" else mode, size, pixels, "raw", raw, stride).convert(mode)
    made = _unpacked(raw, size, pixels, stride, factor)
    assert (made.mode, made.size, made.tobytes()) == (
        mode,
        (-(-7 // factor), -(-1601 // factor)),
        whole.reduce(factor).tobytes(),
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_reduced_in_pieces_is_the_same(mode: str) -> None:
    size = (7, 1601)
    image = Image.frombytes(mode, size, random.Random(1).randbytes(7 * 1601 * len(mode)))
    image.info = {"icc_profile": b"x"}
    made = _reduced(image, 3)
    assert (made.size, made.info, made.tobytes()) == ((3, 534), image.info, image.reduce(3).tobytes())


@pytest.mark.parametrize("factor", [1, 3, 62, 300])
def test_pieces_stay_small(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of which only a ThumbHash was wanted was copied as a whole: 251 MB for a PNG of 22 megapixels."""
    seen: list[int] = []
    reduce = Image.Image.reduce

    def seeing(image: Image.Image, *args: Any) -> Image.Image:
        seen.append(image.height)
        return reduce(image, *args)

    monkeypatch.setattr(Image.Image, "reduce", seeing)
    _unpacked("RGBA", (2, 1601), bytes(2 * 4 * 1601), 8, factor)
    _reduced(Image.new("RGBA", (2, 1601)), factor)
    assert max(seen) <= max(256, factor)


def test_frame_that_is_larger_than_its_screen_is_not_unpacked(pillow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 9000, 9000) + b"\0\x02\x02\x4c\x01\0"
    monkeypatch.setattr(Image.Image, "load", lambda *args: pytest.fail("it was unpacked"))
    assert not pillow.is_valid(b"GIF89a" + struct.pack("<HH", 20, 20) + b"\0\0\0" + frame + b";")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_cut_files_are_not_valid(real: Any, format: str) -> None:
    data = file_of((200, 200), format, "RGB" if format != "GIF" else "P")
    assert real.is_valid(data)
    assert not real.is_valid(data[: len(data) // 2])


def test_rubbish_raises_nothing_else(pillow: Any) -> None:
    """Bytes of good files, changed by chance."""
    dice = random.Random(7)
    for _ in range(300):
        data = bytearray(some_file(dice))
        for _ in range(dice.randint(1, 20)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            pillow.encode(pillow.open(bytes(data)), "webp", 50)
        except NoPicture:
            pass


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_orientation_is_turned_into_pixels(real: Any, orientation: int, format: str) -> None:
    """The black half is where a viewer shows it, and nothing is left that would turn it again."""
    data = file_of((60, 40), format, orientation=orientation)
    made = opened(make(real, real.open(data), Wanted(), "png").data)
    sizes = {True: (40, 60), False: (60, 40)}
    assert made.size == sizes[orientation >= 5]
    assert "exif" not in made.info
    dark = {1: (5, 20), 2: (55, 20), 3: (55, 20), 4: (5, 20), 5: (20, 5), 6: (20, 5), 7: (20, 55), 8: (20, 55)}
    assert made.convert("L").getpixel(dark[orientation]) < 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_mirrored_ones_are_turned_once_and_the_right_way(real: Any, orientation: int, format: str) -> None:
    """AVIF says it in properties of its own, which libheif had followed already: pictures lay on their other side."""
    image = Image.new("RGB", (60, 40), "white")
    image.paste("black", (0, 0, 20, 15))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, format, exif=exif)
    made = opened(make(real, real.open(out.getvalue()), Wanted(), "png").data).convert("L")
    right, below = made.width - 6, made.height - 6
    place = {1: (5, 5), 2: (right, 5), 3: (right, below), 4: (5, below), 5: (5, 5), 6: (right, 5), 7: (right, below)}
    dark = place.get(orientation, (5, below))
    corners = {(x, y): made.getpixel((x, y)) < 90 for x in (5, right) for y in (5, below)}
    assert corners == {corner: corner == dark for corner in corners}


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0Exif\0\0MM\0*",
        b"MM\0*\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"",
        b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09",
    ],
    ids=["twice", "points outside", "entries missing", "empty", "a ninth value"],
)
def test_broken_exif_says_nothing(real: Any, exif: bytes) -> None:
    data = file_of()
    block = b"Exif\0\0" + exif
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    assert real.size(real.open(data)) == engine("noop").open(data).shown == Size(60, 40)


def test_crops_are_of_the_turned_picture(real: Any) -> None:
    """What lay at the left is above; crops and focus mean that."""
    picture = real.open(file_of(orientation=6))
    for focus, ground in ((0, 0), (1, 255)):
        made = make(real, picture, Wanted(20, 20, crop=True, focus=(0.5, focus)), "png")
        assert made.size == Size(20, 20)
        assert abs(opened(made.data).convert("L").getpixel((10, 3 if focus == 0 else 16)) - ground) < 20


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGB", "RGBA"])
def test_any_mode_goes_out_in_any_format(real: Any, mode: str, format: str) -> None:
    made = opened(make(real, real.open(file_of(format="PNG", mode=mode)), Wanted(20), format).data).convert("L")
    assert made.size == (20, 13)
    assert made.getpixel((2, 5)) < 60
    assert made.getpixel((17, 5)) > 195


def test_hidden_colors_stay_hidden(real: Any) -> None:
    """A colour that a PNG says can be seen through is white in a JPEG."""
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 0, 0)).save(out, "PNG", transparency=(200, 0, 0))
    assert min(opened(make(real, real.open(out.getvalue()), Wanted(10), "jpeg").data).getpixel((5, 5))) > 250


def test_palettes_are_scaled_by_colors(real: Any) -> None:
    """Every other line white, and half as large: grey, which no palette of two colours has."""
    image = Image.new("P", (40, 40))
    image.putpalette([0, 0, 0, 255, 255, 255])
    for row in range(0, 40, 2):
        image.paste(1, (0, row, 40, row + 1))
    out = io.BytesIO()
    image.save(out, "PNG")
    made = opened(make(real, real.open(out.getvalue()), Wanted(20), "png").data).convert("L")
    assert 90 < made.getpixel((10, 10)) < 220


def test_photo_of_two_is_taken(real: Any) -> None:
    """Many phones' JPEGs have a second picture behind the first, and are MPO to Pillow."""
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(
        out, "MPO", save_all=True, append_images=[Image.new("RGB", (30, 20), "blue")]
    )
    assert opened(out.getvalue()).format == "MPO"
    assert opened(make(real, real.open(out.getvalue()), Wanted(), "png").data).convert("RGB").getpixel((9, 9))[0] > 200


def test_bomb_in_a_profile_is_refused(pillow: Any) -> None:
    packed = b"iCCP" + b"x\0\0" + zlib.compress(b"\0" * 64 * 1024**2)
    chunk = struct.pack(">I", len(packed) - 4) + packed + struct.pack(">I", zlib.crc32(packed))
    good = file_of(format="PNG")
    assert pillow.is_valid(good)
    assert not pillow.is_valid(good[:33] + chunk + good[33:])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_what_hides_behind_a_picture_does_not_go_out(real: Any, format: str) -> None:
    data = file_of(format=format) + b"<script>alert(1)</script>"
    for each in FORMATS:
        assert b"<script" not in make(real, real.open(data), Wanted(), each).data


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_of_any_mode_come_out_as_rgb(real: Any, mode: str) -> None:
    made = opened(make(real, real.open(file_of(mode=mode)), Wanted(20), "jpeg").data)
    assert made.mode == "RGB"
    assert made.getpixel((2, 5))[0] < 60
    assert made.getpixel((17, 5))[0] > 195


def test_sixteen_bits_don_t_turn_white(pillow: Any) -> None:
    made = opened(make(pillow, pillow.open(file_of(format="PNG", mode="I;16")), Wanted(20), "png").data).convert("L")
    assert made.getpixel((2, 5)) < 20
    assert made.getpixel((17, 5)) > 235


def test_see_through_is_on_white_where_a_format_has_none(pillow: Any) -> None:
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    out = io.BytesIO()
    image.save(out, "PNG")
    picture = pillow.open(out.getvalue())
    assert pillow.has_alpha(picture)
    assert opened(pillow.encode(picture, "jpeg", 90)).getpixel((5, 5)) == (255, 255, 255)
    assert opened(pillow.encode(picture, "webp", 90)).getpixel((5, 5))[3] == 0


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_nothing_of_the_files_words_goes_out(real: Any, format: str) -> None:
    """Where it was taken, comments with scripts, profiles and texts."""
    mark = b"SECRET-PLACE"
    image = Image.new("RGB", (30, 30), "red")
    exif = Image.Exif()
    exif[0x010E] = mark.decode()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", mark.decode())
    for kind, options in (
        ("JPEG", {"exif": exif, "comment": mark, "icc_profile": profile, "xmp": b"<x>" + mark}),
        ("PNG", {"exif": exif, "pnginfo": texts, "icc_profile": profile}),
        ("WEBP", {"exif": exif, "xmp": b"<x>" + mark, "icc_profile": profile}),
        ("GIF", {"comment": mark}),
    ):
        out = io.BytesIO()
        image.save(out, kind, **options)
        assert mark in out.getvalue()
        made = make(real, real.open(out.getvalue()), Wanted(20), format).data
        assert mark not in made
        assert b"acsp" not in made


def test_profile_becomes_srgb_and_a_broken_one_nothing(pillow: Any) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (lab, b"broken!"):
        out = io.BytesIO()
        Image.new("RGB", (10, 10), (200, 100, 50)).save(out, "PNG", icc_profile=profile)
        made = opened(pillow.encode(pillow.open(out.getvalue()), "png", 0))
        assert all(abs(a - b) < 3 for a, b in zip(made.getpixel((5, 5)), (200, 100, 50), strict=True))


def swapped() -> bytes:
    """A profile whose red is what everybody else calls green."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_another_profile_changes_colors(real: Any, format: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 100, 50)).save(out, format, icc_profile=swapped(), quality=95)
    made = opened(make(real, real.open(out.getvalue()), Wanted(), "png").data).convert("RGB")
    assert all(abs(a - b) < 12 for a, b in zip(made.getpixel((5, 5)), (100, 200, 50), strict=True))


def test_profile_leaves_what_can_be_seen_through(pillow: Any) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (16, 16), (200, 100, 50, 77)).save(out, "PNG", icc_profile=swapped())
    red, green, _, alpha = pillow.open(out.getvalue()).getpixel((5, 5))
    assert alpha == 77
    assert red < 130 < green


def test_of_an_animation_the_first_frame_is_taken(real: Any) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        out = io.BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:])
        assert read(out.getvalue()).frames == 2
        made = opened(make(real, real.open(out.getvalue()), Wanted(), "png").data).convert("RGB")
        assert made.getpixel((5, 5))[0] > 200


def animation(kind: str, count: int = 3, size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    """A square that goes from the left to the right, on red; 50 ms a frame."""
    frames = []
    for number in range(count):
        frame = Image.new("RGB", size, "red")
        frame.paste("blue", (number % size[0], 0, number % size[0] + 5, 5))
        frames.append(frame)
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=options.pop("duration", 50), **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_stays_one(real: Any, kind: str) -> None:
    """With its frames, their times and how often it is played; nothing of its words."""
    data = animation(kind, loop=0, **({"comment": b"SECRET-PLACE"} if kind == "GIF" else {}))
    made = real.moving(data, [Size(20, 15), Size(40, 30)])
    assert len(made) == len(engine("noop").moving(data, [Size(20, 15), Size(40, 30)])) == 2
    for each, size in zip(made, [(20, 15), (40, 30)], strict=True):
        with opened(each) as image:
            assert (image.format, image.size, image.n_frames) == ("WEBP", size, 3)  # type: ignore[attr-defined]
            image.seek(2)
            image.load()
            assert (image.info["duration"], image.info["loop"]) == (50, 0)
        assert b"SECRET" not in each


def test_frames_too_short_to_be_seen_are_a_tenth_of_a_second_and_none_is_for_ever(pillow: Any) -> None:
    for said, taken in ((0, 100), (10, 100), (20, 20), (600_000, 60_000)):
        with opened(pillow.moving(animation("GIF", duration=said), [Size(40, 30)])[0]) as image:
            image.load()
            assert image.info["duration"] == taken


def test_animation_without_a_word_of_repeating_is_played_once(pillow: Any) -> None:
    with opened(pillow.moving(animation("GIF"), [Size(40, 30)])[0]) as image:
        assert image.info["loop"] == 1


def test_picture_before_an_animation_is_no_frame(pillow: Any) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("green", "red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:], default_image=True)
    with opened(pillow.moving(out.getvalue(), [Size(20, 20)])[0]) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
        assert image.convert("RGB").getpixel((5, 5))[0] > 200


def lying_apng(says: int, has: int) -> bytes:
    """An APNG with another number of frames than it says."""
    data = animation("PNG", has)
    at = data.index(b"acTL")
    chunk = b"acTL" + struct.pack(">I", says) + data[at + 8 : at + 12]
    return data[:at] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at + 16 :]


#: A GIF of 60 frames of four megapixels each, in 900 bytes.
BOMB = b"GIF89a" + struct.pack("<HH", 2000, 2000) + b"\0\0\0" + (b"\x2c" + b"\0" * 9 + b"\x02\0") * 60


@pytest.mark.parametrize(
    "data",
    [
        animation("GIF", 101),
        animation("WEBP", 101),
        lying_apng(2, 120),
        lying_apng(10**9, 2),
        BOMB,
        animation("GIF", 3)[:-30],
        # Garbage before the last frame, which Pillow skips: what stands behind it was not counted.
        b"\x07!\xf9".join(animation("GIF").rsplit(b"!\xf9", 1)),
        # A frame that is larger than its screen.
        animation("GIF")[:6] + struct.pack("<HH", 20, 30) + animation("GIF")[10:],
        file_of(),
    ],
    ids=["gif", "webp", "apng of more", "apng of fewer", "bomb", "cut", "garbage", "outside", "still"],
)
def test_what_does_not_stay_an_animation(real: Any, data: bytes) -> None:
    """It is too much, or not what it says: no engine plays it, and nothing is raised."""
    assert real.moving(data, [Size(20, 15)]) == []


def test_large_frames_do_not_stay_an_animation() -> None:
    """All frames that are made are there before they are encoded, and the one that is read besides."""
    fine = [(545, 100), (1_200, 20), (2_000, 2)]
    assert all(may_move(Header("webp", Size(side, side), frames=count), 1000) for side, count in fine)
    large = [(3_400, 2), (2_300, 5)]
    assert not any(may_move(Header("webp", Size(side, side), frames=count), 1000) for side, count in large)


def test_long_animation_is_a_picture_all_the_same(real: Any) -> None:
    made = opened(make(real, real.open(animation("GIF", 101)), Wanted(20), "png").data).convert("RGB")
    assert made.getpixel((10, 10))[0] > 200


def test_bytes_of_an_animation_are_bounded(pillow: Any) -> None:
    data = animation("GIF")
    assert may_move(read(data), len(data))
    assert not may_move(read(data), MAX_MOVING_BYTES + 1)
    assert pillow.moving(data + b"\0" * MAX_MOVING_BYTES, [Size(20, 15)]) == []


def test_rubbish_in_animations_raises_nothing(pillow: Any) -> None:
    dice = random.Random(9)
    for number in range(150):
        data = bytearray(animation(("GIF", "WEBP", "PNG")[number % 3]))
        for _ in range(dice.randint(1, 10)):
            data[dice.randrange(12, len(data))] = dice.randrange(256)
        try:
            made = pillow.moving(bytes(data), [Size(20, 15)])
        except NoPicture:
            # By its header: it is no picture at all.
            continue
        assert len(made) <= 1


def test_what_is_too_long_for_a_format_comes_as_another(pillow: Any) -> None:
    made = make(pillow, pillow.open(file_of((17_000, 2), "PNG")), Wanted(), "webp")
    assert made.format == "png"


@pytest.mark.parametrize("name", ["pillow", "noop"])
def test_engine_has_all_of_the_protocol(name: str) -> None:
    maker = engine(name)
    picture = maker.open(file_of())
    assert maker.size(picture) == Size(60, 40)
    assert maker.size(maker.crop(maker.scale(picture, Size(30, 20)), (5, 5, 10, 20))) == Size(5, 15)
    size, colors = maker.colors(picture, 30)
    assert (size, len(colors)) == (Size(30, 20), 30 * 20 * 4)
    assert isinstance(maker.has_alpha(picture), bool)
    assert callable(ENGINES[name])
