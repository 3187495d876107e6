"""Feeds 1,000 malicious or broken image files of 21 kinds to the worker process that resizes pictures.

    python -m benchmarks.pictures [--files 1000] [--seed 1]   results by kind, crashes, worker memory
    python -m benchmarks.pictures large                       time to resize a 12-megapixel photo
    python -m benchmarks.pictures upload                      upload it to a site: time to answer, to all sizes
    python -m benchmarks.pictures beside [--seconds 20]       p99 latency of publications to other clients, idle
                                                              and while the workers process such files

Counted as crashes: a worker that died or used a minute of CPU, and exceptions that are none of ours. Memory is the peak
resident size (VmHWM, reset before each file) over the worker's size before the first file. With `chrt -i 0` on a busy
machine times on the clock say nothing; CPU does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import multiprocessing
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import aiohttp
from argon2 import PasswordHasher
from PIL import Image
from sqlalchemy import text

from hub.publisher import HttpPublisher, RecordingPublisher
from hub.remote import RemoteHub
from web.app import hints_of
from web.db.database import Database
from web.db.migrate import migrate
from web.db.tables import now
from web.features.accounts.people import create_user
from web.features.events.models import Category, Event, Status
from web.features.pictures.engines import engine
from web.features.pictures.forms import Shown
from web.features.pictures.geometry import Size
from web.features.pictures.jobs import plan
from web.features.pictures.making import hash_of, make_forms, make_thumb
from web.features.pictures.store import Store
from web.identity.passwords import Passwords
from web.services.jobs.queue import Queue

from .podcast_calm import BOUND, KEY, free_port, latencies


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
    """The largest size that is still accepted."""
    return _png(6_300, 6_300, b"\0" * 6_301 * 6_300)


def _profile(dice: random.Random) -> bytes:
    return _png(20, 20, b"\0" * 21 * 20, _chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 64 * 1024**2)))


def _frames(dice: random.Random) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 2000, 2000) + b"\0\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HH", 2000, 2000) + b"\0\0\0" + frame * dice.randint(2, 500) + b";"


@lru_cache(maxsize=64)
def _plain(format: str, mode: str, width: int, height: int, **options: object) -> bytes:
    """A single-colour image: many pixels in a few kB."""
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    Image.new(mode, (width, height)).save(out, format, **options)
    return out.getvalue()


def _large(dice: random.Random) -> bytes:
    """Slightly below or above the pixel limit of its format."""
    format, mode, pixels = dice.choice([
        ("WEBP", "RGBA", 12), ("WEBP", "RGB", 12), ("AVIF", "RGB", 15), ("AVIF", "RGBA", 12), ("PNG", "RGB", 37),
        ("PNG", "RGBA", 13), ("PNG", "RGBA", 23), ("PNG", "LA", 13), ("PNG", "P", 13), ("PNG", "P", 24),
        ("GIF", "P", 13), ("GIF", "P", 23), ("JPEG", "RGB", 39), ("JPEG", "CMYK", 39),
    ])  # fmt: skip
    width = dice.choice([3000, 1500])
    options: dict[str, object] = {"progressive": dice.random() < 0.5} if format == "JPEG" else {}
    if dice.random() < 0.5 and format != "GIF":
        # Lying on its side.
        options["exif"] = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    if mode == "P" and dice.random() < 0.5:
        options["transparency"] = 0
    return _plain(format, mode, width, int(pixels * 1e6 * dice.choice([0.8, 0.95, 1.2])) // width, **options)


def _scans(dice: random.Random) -> bytes:
    """A progressive JPEG with one scan repeated 100 to 1,000 times."""
    data = _plain("JPEG", "L", 2000, 2000, progressive=True)
    at = data.index(b"\xff\xda")
    end = data.index(b"\xff\xc4", at) if b"\xff\xc4" in data[at:] else data.index(b"\xff\xda", at + 2)
    return data[:at] + data[at:end] * dice.randint(100, 1000) + data[end:]


@lru_cache(maxsize=8)
def _moving(format: str, side: int, count: int) -> bytes:
    frames = [Image.new("RGB", (side, side), (number % 256, number // 256, 9)) for number in range(count)]
    out = io.BytesIO()
    frames[0].save(out, format, save_all=True, append_images=frames[1:], duration=20)
    return out.getvalue()


def _thousands(dice: random.Random) -> bytes:
    return _moving(dice.choice(["GIF", "WEBP", "PNG"]), dice.choice([2, 16]), 3000)


def _at_the_bound(dice: random.Random) -> bytes:
    """Animations near the limits of frames and pixels."""
    side, count = dice.choice([(545, 100), (2_000, 2), (1_200, 20), (3_400, 2)])
    return _moving(dice.choice(["GIF", "WEBP", "PNG"]), side, count)


def _wide_canvas(dice: random.Random) -> bytes:
    """A GIF with 1 × 1 frames on a canvas of the largest accepted size."""
    side, frame = 4800, b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\0\0\0" + frame * dice.choice([2, 90, 5000]) + b";"


def _lying(dice: random.Random) -> bytes:
    """AVIF or HEIC whose container claims another size than the image in it, smaller or larger."""
    kinds = ["AVIF", "HEIF"] if find_spec("pillow_heif") else ["AVIF"]
    says, has = dice.choice([(struct.pack(">II", 60, 40), (5000, 4000)), (struct.pack(">II", 3500, 3000), (60, 40))])
    data = _plain(dice.choice(kinds), "RGB", *has)
    return data.replace(b"ispe\0\0\0\0" + struct.pack(">II", *has), b"ispe\0\0\0\0" + says)


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
    "around its bound": _large,
    "scans again": _scans,
    "thousands of frames": _thousands,
    "frames at the bound": _at_the_bound,
    "one pixel, wide canvas": _wide_canvas,
    "says another size": _lying,
    "HEIC": lambda dice: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + dice.randbytes(200),
}


#: Seconds of CPU that a file may take, and of the clock: a worker that is run when nobody else is may wait for long.
_MOST_CPU = 60
_MOST_CLOCK = 1800


def _work(source: str, folder: str) -> tuple[str, int, float]:
    """Process one file. Returns the result, the worker's peak resident memory in kB, and its CPU seconds."""
    engine("pillow")
    Path("/proc/self/clear_refs").write_text("5")
    begun = time.process_time()
    try:
        make_thumb("pillow", source)
        made = make_forms("pillow", source, folder)
        said = made.error or "made"
    except Exception as error:  # noqa: BLE001  # it is counted as a crash
        said = f"CRASH {type(error).__name__}: {error}"
    taken = time.process_time() - begun
    if taken > _MOST_CPU:
        said = f"CRASH: it took {taken:.0f} s"
    status = Path("/proc/self/status").read_text()
    return said, int(status.partition("VmHWM:")[2].split()[0]), taken


def hostile(files: int, seed: int) -> int:
    """Print results by kind. Returns the number of crashes."""
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
                # With a picture made, so that libraries are there.
                (folder / "idle").write_bytes(_plain("PNG", "RGB", 30, 30))
                idle = pool.submit(_work, str(folder / "idle"), str(folder / "forms")).result()[1]
                for _ in range(count):
                    (folder / "source").write_bytes(make(dice))
                    try:
                        future = pool.submit(_work, str(folder / "source"), str(folder / "forms"))
                        said, size, taken = future.result(_MOST_CLOCK)
                    except BrokenProcessPool:
                        counts[kind]["CRASH: the worker died"] += 1
                        break
                    slowest[kind] = max(slowest.get(kind, 0.0), taken)
                    counts[kind][said.partition(" is ")[0] if said.startswith("The picture is") else said] += 1
                    largest[kind] = max(largest.get(kind, 0), size - idle)
    crashes = 0
    for kind, found in counts.items():
        crashes += sum(count for said, count in found.items() if said.startswith("CRASH"))
        made = found.pop("made", 0)
        print(
            f"{kind:22} made {made:4} refused {sum(found.values()):4}  {largest.get(kind, 0) / 1024:6.1f} MB over idle,"
            f" {slowest.get(kind, 0) * 1000:6.0f} ms of CPU at most   {next(iter(found), '')[:60]}"
        )
    print(f"{sum(sum(found.values()) for found in counts.values())} refused, {crashes} crashes")
    return crashes


def large() -> None:
    """Print the time to resize a 12-megapixel photo."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "photo"
        source.write_bytes(_photo())
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


@asynccontextmanager
async def _site(folder: Path) -> AsyncIterator[tuple[str, Database]]:
    """Start a site with hub and jobs in a subprocess, with one event. Yields its URL and its database."""
    port, url = free_port(), f"sqlite:///{folder / 'site.db'}"
    await migrate(url)
    database = Database(url, RecordingPublisher(), hints=hints_of())
    async with database.saving() as session:
        category = Category(name="Music", slug="music")
        session.add(category)
        await session.flush()
        values = {"description": "", "starts_at": now(), "status": Status.SCHEDULED, "category_id": category.id}
        session.add(Event(title="One", slug="one", edition=1, **values))
    environ = {
        "PATH": os.environ["PATH"], "PORT": str(port), "HUB_VAR": str(folder), "DATABASE_URL": url, "FANOUT_KEY": KEY,
        "SITE_SECRET": KEY, "JOBS_POLL": "0.2", "HUB_LOG_LEVEL": "error",
    }  # fmt: skip
    fanfare, at = str(Path(sys.executable).parent / "fanfare"), f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([fanfare, "serve", "--no-demo"], env=environ, stdout=log, stderr=log)
    try:
        async with RemoteHub(at, ["calm"], realm="fanfare", key=base64.b64decode(KEY)) as hub, asyncio.timeout(60):
            while not hub.hears:
                await asyncio.sleep(0.2)
        yield at, database
    finally:
        process.terminate()
        process.wait(20)
        await database.close()


async def upload(folder: Path) -> bool:
    """Upload a 12-megapixel photo four times; print the time to the answer and to all sizes. True if within bounds."""
    fine = True
    async with _site(folder) as (at, database):
        await create_user(database, Passwords(PasswordHasher()), "ada", "correct horse battery")
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(at, cookie_jar=jar, headers={"Origin": at, "Accept": "text/html"}) as client:
            fields = {"name": "ada", "password": "correct horse battery"}
            async with client.post("/login", data=fields) as response:
                response.raise_for_status()
            for turn in range(4):
                data, path = _photo() + b"\0" * turn, "/manage/events/1/picture"
                async with client.get(path) as response:
                    response.raise_for_status()
                    found = re.search(r'name="csrf_token" value="([^"]*)"', await response.text())
                form = aiohttp.FormData({"csrf_token": found[1] if found else ""})
                form.add_field("file", data, filename="photo.jpg")
                began = time.perf_counter()
                async with client.post(path, data=form, allow_redirects=False) as response:
                    assert response.status == 303, await response.text()
                answered = time.perf_counter() - began
                while True:
                    async with database.reading() as session:
                        shown = (await session.get_one(Event, 1)).shown_picture
                    if shown is not None and shown.hash == hash_of(data) and shown.ready:
                        break
                    await asyncio.sleep(0.02)
                ready = time.perf_counter() - began
                # The first begins the worker's process.
                fine = fine and (not turn or (answered <= 0.3 and ready <= 5))
                print(
                    f"{len(data) / 1e6:.1f} MB: answered after {answered * 1000:.0f} ms, all ready after {ready:.2f} s"
                )
    print("ok" if fine else "BAD: 300 ms and 5 s are allowed")
    return fine


_LEFT = "SELECT count(*) FROM jobs WHERE kind = 'picture' AND finished IS NULL"


async def beside(folder: Path, seconds: float, seed: int) -> bool:
    """Print the latency of publications, idle and while workers process hostile files. True if p99 is within bounds."""
    dice, made = random.Random(seed), 0
    files = [make(dice) for make in KINDS.values() for _ in range(3)]
    async with _site(folder) as (at, database):
        store, key = Store(folder / "pictures"), base64.b64decode(KEY)
        publisher = HttpPublisher(at, "fanfare", key)
        async with RemoteHub(at, ["calm"], realm="fanfare", key=key) as hub:
            async with asyncio.timeout(60):
                while not hub.hears:
                    await asyncio.sleep(0.2)
            await latencies(hub, publisher, 2.0)
            quiet = await latencies(hub, publisher, seconds)

            async def keep_busy() -> None:
                nonlocal made
                while True:
                    for data in files:
                        hash = hash_of(data)
                        path = store.original(hash)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(data)
                        async with database.saving() as session:
                            row = await session.get_one(Event, 1)
                            row.picture = Shown(hash, Size(1, 1)).as_row()
                            await plan(session, Queue(), "events", 1, hash)
                        while True:
                            async with database.reading() as session:
                                left = await session.scalar(
                                    text("SELECT count(*) FROM jobs WHERE kind = 'picture' AND finished IS NULL")
                                )
                            if not left:
                                break
                            await asyncio.sleep(0.05)
                        made += 1

            busy_task = asyncio.create_task(keep_busy())
            await asyncio.sleep(3)
            before = made
            busy = await latencies(hub, publisher, seconds)
            taken = made - before
            busy_task.cancel()
        await publisher.close()
    print(f"{taken} files in {seconds:g} s")
    p99 = [found[int(len(found) * 0.99)] for found in (quiet, busy)]
    for name, found, one in (("quiet", quiet, p99[0]), ("meanwhile", busy, p99[1])):
        print(f"{name}: {len(found)} heard, median {found[len(found) // 2]:.1f} ms, p99 {one:.1f} ms")
    fine = bool(taken) and p99[1] <= p99[0] + BOUND
    print(f"p99 {p99[1] - p99[0]:+.1f} ms ({BOUND:g} allowed): {'ok' if fine else 'BAD'}")
    return fine


@lru_cache(maxsize=1)
def _photo() -> bytes:
    image = Image.effect_noise((4000, 3000), 60).convert("RGB").resize((1000, 750)).resize((4000, 3000))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def main() -> int:
    """Parse the arguments and run one benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("hostile", "large", "upload", "beside"), default="hostile")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    found = parser.parse_args()
    if found.what in {"upload", "beside"}:
        with tempfile.TemporaryDirectory(prefix="fanfare-pictures-") as name:
            folder = Path(name)
            done = upload(folder) if found.what == "upload" else beside(folder, found.seconds, found.seed)
            return 0 if asyncio.run(done) else 1
    if found.what == "large":
        large()
        return 0
    return 1 if hostile(found.files, found.seed) else 0


if __name__ == "__main__":
    raise SystemExit(main())
