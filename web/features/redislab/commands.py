"""What `fanfare lab redis` does."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hub.cli import DONE, FAILED, Environ, Wrong
from hub.errors import HubError
from hub.publisher import Item, SyncPublisher
from hub.settings import read

from ...db.settings import DatabaseSettings
from ...services.cache.codecs import NoCodec
from ...services.cache.settings import CODEC_FILE
from . import payloads
from .bench import Bench, BenchError, in_turns
from .configurations import Configuration, absences, chosen
from .figures import Figures, Point, Sample, figures, front, point, winners
from .records import channel_of
from .settings import RedisLabSettings
from .summary import short_bytes, summary

#: The payloads that are measured where nothing is said.
USUAL = ("times", "rows", "html", "counters")

#: Of those that can't be told apart from the winner, how many are named.
NAMED = 8

_MOST_SECONDS = 86400.0


def redis(found: argparse.Namespace, environ: Environ) -> int:
    """Measure, print what came of it, and write the winner's name where the cache reads it."""
    settings = read(RedisLabSettings, environ)
    if settings.redis_url is None:
        raise Wrong("REDIS_URL is not set: start one with `redis-server`, and say REDIS_URL=redis://localhost:6379/0")
    if not 0 < found.seconds <= _MOST_SECONDS or not math.isfinite(found.seconds):
        raise Wrong(f"--seconds: from a part of one to {_MOST_SECONDS:.0f}")
    if not 0 <= found.line <= 1_000_000:
        raise Wrong("--line: from 0 to 1000000 megabits a second")
    names = _payloads(found)
    try:
        wanted = chosen(found.only)
        bench = Bench(settings.redis_url, kept=settings.kept)
    except (NoCodec, BenchError) as error:
        raise Wrong(str(error)) from None
    try:
        return _run(found, environ, settings, bench, wanted, names)
    except BenchError as error:
        print(f"fanfare: {error}", file=sys.stderr)
        return FAILED
    finally:
        bench.close()


def _payloads(found: argparse.Namespace) -> list[str]:
    for name in found.payload:
        if name not in USUAL:
            raise Wrong(f"--payload: {name!r} is not one of {', '.join(USUAL)}")
    names = list(dict.fromkeys(found.payload)) or ([] if found.keys is not None else list(USUAL))
    return names + (["keys"] if found.keys is not None else [])


def _run(
    found: argparse.Namespace,
    environ: Environ,
    settings: RedisLabSettings,
    bench: Bench,
    wanted: Sequence[Configuration],
    names: Sequence[str],
) -> int:
    say = sys.stderr if found.json else sys.stdout
    print(f"{bench.version()}, {len(wanted)} configurations, {found.seconds:g} s", file=say)
    for absent, package in absences().items():
        print(f"{absent} is left out: {package} is not installed (pip install fanfare[lab])", file=say)
    if found.keys is not None:
        sampled = bench.sample(found.keys)
        for reason, count in sampled.left.items():
            print(f"{count} keys are left out: {reason}", file=say)
        if not sampled.values:
            raise Wrong(f"--keys: no key with a string is like {found.keys!r}")
        print(f"{len(sampled.values)} of your own keys, {_kinds(sampled.values)}", file=say)
        bench.use(sampled.values)
    results: dict[str, dict[str, Figures]] = {}
    for name in names:
        results[name], unable = _measure(found, settings, bench, wanted, name, found.seconds / len(names))
        if not found.json:
            _show(name, wanted, results[name], unable, found.line)
    if not found.apart:
        _tell(settings.redis_url or "", names)
    if found.json:
        print(json.dumps(_as_json(results, found.line), indent=1))
    if found.write_setting:
        return _write(environ, results, found.line, say is sys.stderr)
    return DONE


def _tell(url: str, names: Sequence[str]) -> None:
    """Open pages show what was measured."""
    publisher = SyncPublisher(url, patience=2.0, exit_timeout=2.0)
    # Where no hub has ever been there is nobody to tell, and a page that is not told is made anew within a minute.
    with suppress(HubError):
        publisher.publish_many([Item(channel_of(name), True, hint=True) for name in names])
    publisher.close()


def _kinds(values: Sequence[object]) -> str:
    counts: dict[str, int] = {}
    for value in values:
        kind = "text" if isinstance(value, str) else "bytes" if isinstance(value, bytes) else "data"
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _measure(
    found: argparse.Namespace,
    settings: RedisLabSettings,
    bench: Bench,
    wanted: Sequence[Configuration],
    payload: str,
    seconds: float,
) -> tuple[dict[str, Figures], dict[str, str]]:
    samples: dict[Configuration, list[Sample]] = {}

    def take(configuration: Configuration, sample: Sample) -> None:
        samples.setdefault(configuration, []).append(sample)

    unable = in_turns(bench, wanted, payload, seconds=seconds, clock=time.monotonic, each=take)
    if not found.apart:
        for configuration, taken in samples.items():
            bench.record(configuration, payload, taken)
    made = {
        configuration.name: each
        for configuration, taken in samples.items()
        if (each := figures(taken, warm_up=settings.warm_up)) is not None
    }
    return made, unable


def _show(
    payload: str,
    wanted: Sequence[Configuration],
    found: Mapping[str, Figures],
    unable: Mapping[str, str],
    line: int,
) -> None:
    title = payloads.ABOUT[payload]
    print(f"\n{title[0].upper()}{title[1:]}: reads\n")
    print(summary([each.name for each in wanted], found), end="")
    for words in unable.values():
        print(f"left out: {words}")
    points = _points(found, line)
    if not points:
        print("\nNothing wins: every configuration needs more measurements than the warm-up. Give it more --seconds.")
        return
    first, *others = winners(points)
    print(f"\nBest for {title}{f' at {line:,} Mbit/s' if line else ''}: {first.name}")
    print(f"  {first.ms:.3f} ms an operation, ten reads to a write (95 %: {first.low:.3f} to {first.high:.3f} ms)")
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        print(f"  not to be told apart from it: {', '.join(each.name for each in others[:NAMED])}{more}")
    print("Pareto front, none is both faster and smaller:")
    for each in front(points):
        print(f"  {each.name:<24}{each.ms:>10.3f} ms{short_bytes(each.size):>8}")


def _points(found: Mapping[str, Figures], line: int) -> list[Point]:
    usable = {each.name for each in chosen(()) if each.is_usable}
    return [point(name, each, line) for name, each in found.items() if name in usable]


def _as_json(results: Mapping[str, Mapping[str, Figures]], line: int) -> dict[str, object]:
    return {
        payload: {
            "figures": {name: each.as_json() for name, each in found.items()},
            "winners": [each.name for each in winners(points)] if (points := _points(found, line)) else [],
            "front": [each.name for each in front(points)],
        }
        for payload, found in results.items()
    }


def best_codec(results: Mapping[str, Mapping[str, Figures]], line: int) -> str | None:
    """The codec that loses the least over all payloads: the mean of how many times the fastest's time it takes."""
    codecs: dict[str, list[float]] = {}
    known = {each.name: each.codec_name for each in chosen(())}
    for found in results.values():
        points = _points(found, line)
        if not points:
            continue
        fastest = min(each.ms for each in points)
        taken: dict[str, float] = {}
        for each in points:
            # The cache has the faster of the two clients by itself.
            name = known[each.name]
            taken[name] = min(taken.get(name, math.inf), each.ms / fastest)
        for name, times in taken.items():
            codecs.setdefault(name, []).append(times)
    # One that can't carry a payload is none for all.
    whole = {name: sum(each) / len(each) for name, each in codecs.items() if len(each) == len(results)}
    return min(whole, key=lambda name: (whole[name], name)) if whole else None


def _write(environ: Environ, results: Mapping[str, Mapping[str, Figures]], line: int, quiet: bool) -> int:
    name = best_codec(results, line)
    if name is None:
        print("fanfare: nothing is written: no codec has carried all payloads", file=sys.stderr)
        return FAILED
    path: Path = read(DatabaseSettings, environ).var / CODEC_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{name}\n", encoding="utf-8")
    say = sys.stderr if quiet else sys.stdout
    print(
        f"\n{path} says {name}: the cache uses it from its next start, unless SITE_CACHE_CODEC says another", file=say
    )
    return DONE
