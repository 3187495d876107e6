"""Files that mean harm, or are broken: 1,000 of a dozen kinds through the worker that makes pictures smaller.

    python -m benchmarks.pictures [--files 1000] [--seed 1]   what became of each kind, crashes, the worker's memory
    python -m benchmarks.pictures large                       a photo of 12 megapixels: how long its forms take

A crash is a worker that died, or an error that is none of ours.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import random
import resource
import struct
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from PIL import Image

from web.features.pictures.making import make_forms, make_thumb


def _drawn(dice: random.Random, format: str, mode: str = "RGB", size: tuple[int, int] | None = None) -> bytes:
    width, height = size or (dice.randint(1, 400), dice.randint(1, 400))
    bands = len(Image.new(mode, (1, 1)).getbands())
    image = Image.frombytes(mode, (width, height), dice.randbytes(width * height * bands))
    out = io.BytesIO()
    image.save(out, format)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes, *more: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + body


def _changed(dice: random.Random) -> bytes:
    data = bytearray(_drawn(dice, dice.choice(["JPEG", "PNG", "GIF", "WEBP"]), "L"))
    for _ in range(dice.randint(1, 40)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def _cut(dice: random.Random) -> bytes:
    data = _drawn(dice, dice.choice(["JPEG", "PNG", "WEBP", "AVIF"]))
    return data[: dice.randrange(len(data))]


def _bomb(dice: random.Random) -> bytes:
    side = dice.choice([6_000, 9_400, 19_000])
    return _png(side, side, b"\0" * (side + 1) * 50)


def _below(dice: random.Random) -> bytes:
    """As large as is just taken."""
    return _png(6_300, 6_300, b"\0" * 6_301 * 6_300)


def _profile(dice: random.Random) -> bytes:
    return _png(20, 20, b"\0" * 21 * 20, _chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 64 * 1024**2)))


def _frames(dice: random.Random) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 2000, 2000) + b"\0\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HH", 2000, 2000) + b"\0\0\0" + frame * dice.randint(2, 500) + b";"


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "good": lambda dice: _drawn(dice, dice.choice(["JPEG", "PNG", "WEBP", "GIF"])),
    "bytes changed": _changed,
    "cut": _cut,
    "bomb": _bomb,
    "40 megapixels": _below,
    "profile of 64 MB": _profile,
    "hundreds of frames": _frames,
    "1 × 19,000": lambda dice: _drawn(dice, "PNG", "L", (1, 19_000)),
    "1 × 65,000": lambda dice: _png(1, 65_000, b"\0\0" * 65_000),
    "CMYK": lambda dice: _drawn(dice, "JPEG", "CMYK"),
    "HTML": lambda dice: b"<!doctype html><script>alert(1)</script>" + dice.randbytes(50),
    "HTML behind GIF89a": lambda dice: b"GIF89a/*<script>*/=1;alert(1)" + dice.randbytes(200),
    "SVG": lambda dice: b'<svg xmlns="http://www.w3.org/2000/svg" width="1e9" height="1e9" onload="alert(1)"/>',
    "noise": lambda dice: dice.randbytes(dice.randint(0, 5000)),
    "HEIC": lambda dice: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + dice.randbytes(200),
}


def _work(source: str, folder: str) -> tuple[str, int]:
    """What became of a file, and the worker's largest size in kB so far."""
    try:
        make_thumb("pillow", source)
        made = make_forms("pillow", source, folder)
        said = made.error or "made"
    except Exception as error:  # noqa: BLE001  # it is counted as a crash
        said = f"CRASH {type(error).__name__}: {error}"
    return said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def hostile(files: int, seed: int) -> int:
    """Print what became of each kind; the number of crashes."""
    dice = random.Random(seed)
    context = multiprocessing.get_context("spawn")
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    largest: dict[str, int] = {}
    slowest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A worker for each kind, so that its memory is that kind's.
        for number, (kind, make) in enumerate(KINDS.items()):
            count = files // len(KINDS) + (number < files % len(KINDS))
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                (folder / "idle").write_bytes(b"")
                idle = pool.submit(_work, str(folder / "idle"), str(folder / "forms")).result()[1]
                for _ in range(count):
                    (folder / "source").write_bytes(make(dice))
                    began = time.perf_counter()
                    try:
                        said, size = pool.submit(_work, str(folder / "source"), str(folder / "forms")).result(60)
                    except BrokenProcessPool:
                        said, size = "CRASH: the worker died", idle
                        break
                    slowest[kind] = max(slowest.get(kind, 0.0), time.perf_counter() - began)
                    counts[kind][said.partition(" is ")[0] if said.startswith("The picture is") else said] += 1
                    largest[kind] = max(largest.get(kind, 0), size - idle)
    crashes = 0
    for kind, found in counts.items():
        crashes += sum(count for said, count in found.items() if said.startswith("CRASH"))
        made = found.pop("made", 0)
        print(
            f"{kind:20} made {made:4} refused {sum(found.values()):4}  {largest.get(kind, 0) / 1024:6.1f} MB over idle,"
            f" {slowest.get(kind, 0) * 1000:6.0f} ms at most   {next(iter(found), '')[:60]}"
        )
    print(f"{sum(sum(found.values()) for found in counts.values())} refused, {crashes} crashes")
    return crashes


def large() -> None:
    """Print how long a photo of 12 megapixels takes."""
    image = Image.effect_noise((4000, 3000), 60).convert("RGB").resize((1000, 750)).resize((4000, 3000))
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "photo"
        image.save(source, "JPEG", quality=90)
        for _ in range(3):
            began = time.perf_counter()
            make_thumb("pillow", str(source))
            thumb = time.perf_counter()
            made = make_forms("pillow", str(source), str(Path(name) / "forms"))
            ended = time.perf_counter()
            print(
                f"{source.stat().st_size / 1e6:.1f} MB, {made.size}: blur after {thumb - began:.2f} s,"
                f" {3 * len(made.sizes)} forms after {ended - began:.2f} s"
            )


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("hostile", "large"), default="hostile")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    found = parser.parse_args()
    if found.what == "large":
        large()
        return 0
    return 1 if hostile(found.files, found.seed) else 0


if __name__ == "__main__":
    raise SystemExit(main())
