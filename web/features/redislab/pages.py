"""/lab/redis: what was measured, as a page, as a text, and one measurement at a time."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import hdrs, web

from ...identity.roles import Permission
from ...pages.charts import Chart, bars, scatter
from ...pages.kept import Reading
from ...pages.origin import origin_of
from ...pages.page import answer
from ...pages.requests import json_response, may, read_fields, redirect
from ...pages.templating import render
from ...services.cache.codecs import NoCodec
from ...services.cache.metrics import figures as cache_figures
from . import payloads
from .configurations import Configuration, absences, configurations, find
from .figures import Figures, Point, Sample, front, point, winners
from .records import channel_of
from .service import Lab, LabAway, LabBusy, State, lab
from .summary import summary

PATH = "/lab/redis"

#: Megabits a second that a line may have: 0 is one that costs nothing.
MOST_LINE = 1_000_000
LINES = (0, 10, 100, 1000, 10_000)

#: How many times the fastest's time a dot may be to the right of it; the table has all.
FAR = 4.0

#: Bars that a chart has on the page: the fastest. The table has all.
SHOWN = 6

_CLOSED = (
    "The laboratory measures for nobody here: set SITE_LAB_REDIS=true to let everybody measure."
    " What was measured is at /lab/redis."
)
_NO_REDIS = "There is no Redis to measure: start redis-server, and the site with REDIS_URL=redis://localhost:6379/0."


async def measure_random(request: web.Request) -> web.StreamResponse:
    """GET /lab/redis/random, with ?payload=: any configuration, measured once."""
    return await _measure(request, random.choice(configurations()))


async def measure_named(request: web.Request) -> web.StreamResponse:
    """GET /lab/redis/{name}: one configuration, measured once."""
    try:
        configuration = find(request.match_info["name"])
    except NoCodec as error:
        raise web.HTTPNotFound(text=f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    return await _measure(request, configuration)


async def _measure(request: web.Request, configuration: Configuration) -> web.StreamResponse:
    here = request.app[lab]
    payload = _payload(request)
    if not here.settings.is_open:
        raise web.HTTPForbidden(text=_CLOSED)
    if here.settings.redis_url is None:
        return _away(_NO_REDIS)
    try:
        here.take()
        sample = await here.measure(configuration, payload)
    except LabBusy as busy:
        text = f"More measurements are asked for than are made; come again in {busy.seconds:.1f} s."
        status = 503 if busy.crowded else 429
        response = json_response({"error": text, "next": "Ask again later."}, status=status)
        response.headers[hdrs.RETRY_AFTER] = str(max(1, round(busy.seconds)))
        return response
    except LabAway as error:
        return _away(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.")
    return json_response(_said(configuration, payload, sample))


def _said(configuration: Configuration, payload: str, sample: Sample) -> dict[str, Any]:
    return {
        "name": configuration.name,
        "payload": payload,
        "read_ms": sample.read / 1e6,
        "write_ms": sample.write / 1e6,
        "bytes": sample.size,
    }


def _away(text: str) -> web.Response:
    response = json_response({"error": text, "next": "Start Redis, then ask again."}, status=503)
    response.headers[hdrs.RETRY_AFTER] = "5"
    return response


async def show_summary(request: web.Request) -> web.StreamResponse:
    """GET /lab/redis/summary, with ?payload= and ?part=write: the text table with its bars."""
    here = request.app[lab]
    payload = _payload(request)
    part = request.query.get("part", "read")
    if part not in ("read", "write"):
        raise web.HTTPNotFound(text="part is read or write.")
    if here.settings.redis_url is None:
        return web.Response(text=_NO_REDIS + "\n", status=503)
    try:
        state = await here.kept_state(payload)
    except LabAway as error:
        return web.Response(text=f"{error}\n", status=503)
    text = summary([each.name for each in configurations()], state.found, part=part)
    return web.Response(text=text, headers={hdrs.CACHE_CONTROL: "no-store"})


async def show(request: web.Request) -> web.StreamResponse:
    """GET /lab/redis, with ?payload= and ?line= in megabits a second."""
    payload, line, origin = _payload(request), _line(request), origin_of(request)
    here = request.app[lab]

    async def make(reading: Reading) -> web.Response:
        channels = [channel_of(name) for name in payloads.NAMES]
        positions = await reading.at(*channels)
        context: dict[str, Any] = {
            "positions": positions,
            "channels": channels,
            "path": f"{PATH}?payload={payload}&line={line}",
            "origin": origin,
            "payload": payload,
            "about": payloads.ABOUT[payload],
            "may_reset": may(request, Permission.RUN_LABS),
            "payloads": [(name, about) for name, about in payloads.ABOUT.items()],
            "line": line,
            "lines": LINES,
            "is_open": here.settings.is_open,
            "absences": sorted(absences().items()),
            "why": "",
            "warm_up": here.settings.warm_up,
            "kept": here.settings.kept,
        }
        if here.settings.redis_url is None:
            context["why"] = _NO_REDIS
            return render(request, "redislab/page.html", context | _cache(here))
        try:
            states = {name: await here.kept_state(name) for name in payloads.NAMES}
            context |= _shown(states[payload], await here.totals(), line)
            context["best"] = [(name, about, _winners(states[name], line)) for name, about in payloads.ABOUT.items()]
        except LabAway as error:
            reading.keeps = False
            context["why"] = f"{error}. What was measured is shown again once it answers."
        return render(request, "redislab/page.html", context | _cache(here))

    return await answer(request, ("redislab", payload, line, origin), make)


async def post_reset(request: web.Request) -> web.StreamResponse:
    """POST /lab/redis/reset: forget what was measured."""
    await read_fields(request)
    try:
        await request.app[lab].reset()
    except LabAway as error:
        raise web.HTTPServiceUnavailable(text=f"{error}.") from None
    return redirect(PATH)


def _shown(state: State, totals: Mapping[str, int], line: int) -> dict[str, Any]:
    """What the page shows of what was measured."""
    judged = _judged(state, line)
    points = [point(name, found, line) for name, found in state.found.items()]
    fastest = sorted(points, key=lambda each: (each.ms, each.name))
    on_front = front(judged)
    return {
        "rows": [(each, state.found[each.name]) for each in fastest],
        "nothing": [each.name for each in configurations() if each.name not in state.found],
        "front": on_front,
        "front_names": {each.name for each in on_front},
        "charts": _charts(fastest, state.found, on_front),
        "total": sum(totals.values()),
        "totals": totals,
        "counted": sum(state.counts.values()),
    }


def _cache(here: Lab) -> dict[str, Any]:
    """The site's cache in this worker, after it was asked for the figures."""
    return {
        "cache": cache_figures(here.cache),
        "cache_codec": here.cache.codec.name,
        "cache_far": here.cache.far is not None,
        "cache_bytes": here.cache.local.bytes,
        "cache_values": len(here.cache.local),
    }


def _judged(state: State, line: int) -> list[Point]:
    """The points of configurations that can be used here, and so can win."""
    usable = {each.name for each in configurations() if each.is_usable}
    return [point(name, found, line) for name, found in state.found.items() if name in usable]


def _winners(state: State, line: int) -> list[Point]:
    judged = _judged(state, line)
    return winners(judged) if judged else []


def _charts(fastest: Sequence[Point], found: Mapping[str, Figures], on_front: Sequence[Point]) -> list[Chart]:
    top = [each.name for each in fastest[:SHOWN]]
    reads = {"average": [found[name].read.mean for name in top], "median": [found[name].read.median for name in top]}
    writes = {"average": [found[name].write.mean for name in top], "median": [found[name].write.median for name in top]}
    small = sorted(found, key=lambda name: (found[name].size, name))[:SHOWN]
    return [
        _picture(fastest, on_front),
        bars("lab-reads", "Best averages and medians of a read (shorter better)", top, reads, unit="ms"),
        bars("lab-writes", "The same of a write", top, writes, unit="ms"),
        bars(
            "lab-sizes", "Size of data saved (shorter better)", small, {"bytes": [found[name].size for name in small]}
        ),
    ]


def _picture(fastest: Sequence[Point], on_front: Sequence[Point]) -> Chart:
    """Time against bytes. What takes many times as long as the fastest would press all others into a corner."""
    near = [each for each in fastest if each.ms <= FAR * fastest[0].ms]
    names = {each.name for each in on_front}
    return scatter(
        "lab-front",
        "Milliseconds (across) and bytes: none is both faster and smaller than the front",
        ("milliseconds", "bytes"),
        {
            "front": [(each.name, each.ms, float(each.size)) for each in on_front if each in near],
            "others": [(each.name, each.ms, float(each.size)) for each in near if each.name not in names],
        },
        joined="front",
    )


def _payload(request: web.Request) -> str:
    name = request.query.get("payload", "times")
    if name not in payloads.NAMES:
        raise web.HTTPNotFound(text=f"There is no such payload; there are {', '.join(payloads.NAMES)}.")
    if name == "keys" and request.path not in (PATH, f"{PATH}/summary"):
        raise web.HTTPNotFound(text="Your own keys are measured by `fanfare lab redis --keys PATTERN`.")
    return name


def _line(request: web.Request) -> int:
    text = request.query.get("line", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 8 and int(text) <= MOST_LINE):
        raise web.HTTPNotFound(text=f"A line has from 0 to {MOST_LINE} megabits a second.")
    return int(text)
