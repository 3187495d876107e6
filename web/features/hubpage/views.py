"""/manage/hub: ten questions about the hub, answered by all of its workers, and what a manager may do about it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from hub.errors import BrokerUnavailable, HubError, ProtocolError
from hub.inside.fields import FIELDS
from hub.inside.insider import CHANNEL, SPANS, Inside
from hub.seen import BOUNDS

from ...pages import keys
from ...pages.listening import token_response
from ...pages.requests import USER, clean_line, json_response, read_fields, redirect
from ...pages.templating import render
from . import drawing, figures

#: Columns of the pictures: one for each 15 seconds of a quarter of an hour.
POINTS = 60

#: Seconds after which an open page asks for its pictures anew, and the part of their span that is.
_EVERY = 10
_PART = 90

#: By what clients are looked for, and what it is called.
BY = {"user": "user", "address": "address", "channel": "channel", "session": "session"}

#: Characters of what is looked for: a clientId has 40, a channel may be longer.
_LONGEST = 500

_QUERIES = {field.name: field.query for field in FIELDS if field.query}

_BUCKETS = (*(f"{bound * 1000:g} ms" if bound < 1 else f"{bound:g} s" for bound in BOUNDS), "more")


async def show(request: web.Request) -> web.StreamResponse:
    """GET /manage/hub, with ?span=, in seconds, and ?done= after an act."""
    inside = request.app.get(keys.inside)
    if inside is None:
        return _apart(request)
    context = await _look(inside, _span(request))
    # Only our own words are shown again.
    context |= {"done": _DONE.get(request.query.get("done", "")), "channel": CHANNEL}
    return _render(request, inside, "hubpage/page.html", context)


async def pictures(request: web.Request) -> web.StreamResponse:
    """GET /manage/hub/pictures: the part of it that changes, for the page that is open."""
    inside = request.app.get(keys.inside)
    if inside is None:
        return _apart(request)
    return _render(request, inside, "hubpage/pictures.html", await _look(inside, _span(request)))


async def as_json(request: web.Request) -> web.StreamResponse:
    """GET /manage/hub.json: what the workers say, and said."""
    inside = request.app.get(keys.inside)
    if inside is None:
        raise web.HTTPNotFound(text=_APART)
    seconds = _span(request)
    now = await inside.ask("now")
    past = await inside.ask("history", seconds=seconds, until=time.time(), points=POINTS)
    told = {"workers": list(now.values()), "histories": list(past.values()), "silent": list(inside.silent)}
    return json_response(told)


async def clients(request: web.Request) -> web.StreamResponse:
    """GET /manage/hub/clients: by user, address, channel or session."""
    inside = request.app.get(keys.inside)
    if inside is None:
        return _apart(request)
    by = request.query.get("by", "user")
    by = by if by in BY else "user"
    text = clean_line(request.query.get("text", ""), _LONGEST)
    found: list[dict[str, Any]] = []
    if text:
        answers = await inside.ask("find", by=by, text=text)
        found = [each for some in answers.values() if isinstance(some, list) for each in some]
    context = {"by": BY, "chosen_by": by, "text": text, "found": found, "silent": inside.silent, "words": figures}
    return _render(request, inside, "hubpage/clients.html", context)


async def client(request: web.Request) -> web.StreamResponse:
    """GET /manage/hub/clients/{session}: the world of one client."""
    inside = request.app.get(keys.inside)
    if inside is None:
        return _apart(request)
    answers = await inside.ask("client", session=request.match_info["session"])
    known = [each for each in answers.values() if isinstance(each, dict) and "session" in each]
    if not known:
        words = "No worker knows this client. It may have ended longer ago than is remembered."
        nobody: dict[str, Any] = {"by": BY, "chosen_by": "session", "text": "", "found": [], "silent": inside.silent}
        nobody |= {"error": words, "words": figures}
        return render(request, "hubpage/clients.html", nobody, status=404, cache="no-store")
    one = next((each for each in known if "ended" not in each), known[0])
    context: dict[str, Any] = {
        "one": one,
        "words": figures,
        "moment": _moment,
        "done": _DONE.get(request.query.get("done", "")),
    }
    return _render(request, inside, "hubpage/client.html", context)


async def trace(request: web.Request) -> web.StreamResponse:
    """GET /manage/hub/trace: the way of one message, ?channel= and ?offset=."""
    inside = request.app.get(keys.inside)
    if inside is None:
        return _apart(request)
    channel = clean_line(request.query.get("channel", ""), _LONGEST)
    offset = clean_line(request.query.get("offset", ""), 60)
    context: dict[str, Any] = {"asked": channel, "offset": offset, "way": None, "error": None}
    context |= {"words": figures, "moment": _moment, "done": _DONE.get(request.query.get("done", ""))}
    status = 200
    if channel:
        try:
            context["way"] = await inside.trace(channel, offset)
        except ProtocolError as error:
            named = f": {', '.join(error.params)}" if error.params else ""
            context["error"], status = f"{error.text}{named}.", 422
        except BrokerUnavailable as error:
            context["error"], status = f"The log can’t be read now: {error}", 503
    return _render(request, inside, "hubpage/trace.html", context, status)


async def token(request: web.Request) -> web.StreamResponse:
    """GET /manage/hub/token: what the page shows the hub to hear how its workers are."""
    return token_response(request.app[keys.listening], CHANNEL)


# Acts


async def post_publish(request: web.Request) -> web.StreamResponse:
    """POST /manage/hub/publish: a test, whose way is shown then."""
    inside = _inside(request)
    name = clean_line((await read_fields(request)).get("channel", ""), _LONGEST) or "fanfare-test"
    try:
        published = await inside.publish_test(_who(request), name)
    except BrokerUnavailable:
        raise web.HTTPServiceUnavailable(text="Nothing was published: the log can’t be reached. Try again.") from None
    except HubError as error:
        words = error.text if isinstance(error, ProtocolError) else str(error)
        raise web.HTTPUnprocessableEntity(
            text=f"Nothing was published: {words}. Name a channel as comments-17."
        ) from None
    query = urlencode({"channel": published["channel"], "offset": published["position"], "done": "publish"})
    return redirect(f"/manage/hub/trace?{query}")


async def post_kick(request: web.Request) -> web.StreamResponse:
    """POST /manage/hub/kick: send a user away, or one session."""
    inside = _inside(request)
    fields = await read_fields(request)
    user, session = clean_line(fields.get("user", ""), _LONGEST), clean_line(fields.get("session", ""), 60)
    if not user and not session:
        raise web.HTTPUnprocessableEntity(text="Say whom to send away: a user, or a session.")
    try:
        count = await inside.kick(_who(request), user=user, session="" if user else session)
    except BrokerUnavailable:
        raise web.HTTPServiceUnavailable(text="Nobody was sent away: the log can’t be reached. Try again.") from None
    if not count:
        return redirect("/manage/hub?done=gone")
    return redirect(f"/manage/hub?done={'user' if user else 'session'}")


async def post_drain(request: web.Request) -> web.StreamResponse:
    """POST /manage/hub/drain: have a worker send its clients elsewhere, or take them again."""
    inside = _inside(request)
    fields = await read_fields(request)
    on = fields.get("do", "drain") != "open"
    refused = await inside.drain(_who(request), fields.get("worker", ""), on=on)
    if refused:
        raise web.HTTPConflict(text=refused)
    return redirect(f"/manage/hub?done={'drain' if on else 'open'}")


_DONE = {
    "publish": "The test was published. This is its way so far; load the page again for what has come since.",
    "user": "The user is sent away from every worker, with the tokens they had.",
    "session": "The client was sent away. It may come back with a new session.",
    "gone": "That client was gone already.",
    "drain": "The worker sends its clients elsewhere, and takes none until you open it again.",
    "open": "The worker takes clients again.",
}

_APART = "This site is served apart from its hub, which alone can say how it is: `fanfare top`, with HUB_URL, shows it."


# What all have in common


def _inside(request: web.Request) -> Inside:
    inside = request.app.get(keys.inside)
    if inside is None:
        raise web.HTTPConflict(text=_APART)
    return inside


def _apart(request: web.Request) -> web.Response:
    return render(request, "hubpage/apart.html", {}, cache="no-store")


def _who(request: web.Request) -> str:
    return request[USER].name


def _span(request: web.Request) -> int:
    asked = request.query.get("span", "")
    return int(asked) if asked.isascii() and asked.isdigit() and int(asked) in SPANS.values() else 900


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _render(
    request: web.Request, inside: Inside, template: str, context: dict[str, Any], status: int = 200
) -> web.Response:
    # What the page costs is one of its numbers.
    with inside.counting():
        return render(request, template, context, status=status, cache="no-store")


async def _look(inside: Inside, seconds: int) -> dict[str, Any]:
    answers = await inside.ask("now", live=True)
    silent = list(inside.silent)
    past_answers = await inside.ask("history", seconds=seconds, until=time.time(), points=POINTS)
    with inside.counting():
        now = [each for each in answers.values() if "error" not in each]
        now.sort(key=lambda each: (str(each["machine"]), each["number"], str(each["worker"])))
        past = figures.past(past_answers.values())
        checks = figures.checks(now, silent, past)
        samples = [each["sample"] for each in now]
        acts = figures.acts(now)
        return {
            "by": BY,
            "now": now,
            "silent": silent,
            "checks": checks,
            "ill": [each for each in checks if not each.well],
            "tiles": _tiles(samples, past),
            "pictures": _pictures(now, past, acts),
            "latency": figures.latency(now),
            "hot": figures.hot(now),
            "slow": figures.slow(now),
            "ends": figures.summed(now, "ends"),
            "refused": figures.summed(now, "refused"),
            "addresses": figures.addresses(now),
            "realms": figures.realms(now),
            "limits": figures.limits(now, past),
            "acts": acts,
            "lost": {name: past.counted(name) for name in ("lost", "unrecovered", "recovered")},
            "own": sum(sample.get("own") or 0 for sample in samples),
            "span": seconds,
            "spans": SPANS,
            "every": max(_EVERY, seconds // _PART),
            "at": _moment(time.time()),
            "words": figures,
            "moment": _moment,
        }


#: The numbers on top: name, words, how the numbers of workers become one, and how it is shown.
_TILES = (
    ("delivered", "deliveries a second", "sum", "count"),
    ("received", "publications a second", "sum", "count"),
    ("sockets", "WebSockets", "sum", "count"),
    ("streams", "event streams", "sum", "count"),
    ("polling", "polling or away", "sum", "count"),
    ("lag", "loop late", "most", "seconds"),
    ("cpu", "of a core", "sum", "part"),
)


def _tiles(samples: list[dict[str, Any]], past: figures.Past) -> list[dict[str, str]]:
    found = []
    for name, words, how, kind in _TILES:
        known = [value for sample in samples if (value := sample.get(name)) is not None]
        value = (max(known) if how == "most" else sum(known)) if known else 0.0
        shown = figures.ms(value) if kind == "seconds" else f"{value:.1%}" if kind == "part" else figures.number(value)
        found.append({"name": name, "words": words, "how": how, "kind": kind, "shown": shown})
    return found


def _pictures(now: list[dict[str, Any]], past: figures.Past, acts: list[dict[str, Any]]) -> dict[str, drawing.Figure]:
    marks = [drawing.Mark(each["at"], f"{each['who']} {each['what']}") for each in acts]
    starts = past.counts("starts")
    marks += [
        drawing.Mark(at + past.width / 2, "a worker started" if count == 1 else f"{count} workers started")
        for at, count in zip(past.times, starts, strict=True)
        if count
    ]
    axis = drawing.Axis(past.times, past.width, marks)
    total, several = past.total, len(past.workers) > 1

    def queries(*names: str) -> list[str]:
        return [_QUERIES[name] for name in names if name in _QUERIES]

    def each_worker(name: str, scale: float = 1.0) -> dict[str, list[float | None]]:
        return {
            worker: [None if value is None else value * scale for value in past.of(at, name)]
            for at, worker in enumerate(past.workers)
        }

    ends = ("left", "expired", "lost", "slow", "kicked", "other")
    refused = {"too often": "rate", "too many": "many", "too large": "large", "too late": "late", "upgrade": "door"}
    thousandth = [None if value is None else value * 1000 for value in past.worst("database")]
    redis = each_worker("log_lag", 1000)
    if len(redis) > drawing.MOST - 1:
        redis = {"the worst": [None if value is None else value * 1000 for value in past.worst("log_lag")]}
    memory = [None if value is None else value / 1000 for value in figures.per_session(past)]
    return {
        "late": drawing.heat(
            "late",
            "How late in browsers",
            axis,
            _BUCKETS,
            [past.counts(f"seen_{number}") for number in range(len(_BUCKETS))],
            ["histogram_quantile(0.99, sum by (le, transport) (rate(hub_seen_seconds_bucket[5m])))"],
        ),
        "losing": drawing.lines(
            "losing",
            "Losses and refetches",
            axis,
            {
                "recovered": total("recovered"),
                "had to refetch": total("unrecovered"),
                "perhaps missed": total("lost"),
            },
            unit=" a second",
            queries=queries("recovered", "unrecovered", "lost"),
        ),
        "rates": drawing.lines(
            "rates",
            "Deliveries and publications",
            axis,
            {"deliveries": total("delivered"), "publications": total("received")},
            unit=" a second",
            queries=queries("delivered", "received"),
        ),
        "connections": drawing.stack(
            "connections",
            "Connected",
            axis,
            {"WebSocket": total("sockets"), "event stream": total("streams"), "polling or away": total("polling")},
            queries=queries("sockets", "streams", "polling"),
        ),
        "ends": drawing.stack(
            "ends",
            "Why sessions end",
            axis,
            {name: total(f"ended_{name}") for name in ends},
            unit=" a second",
            queries=["sum by (why) (rate(hub_ended_total[1m]))"],
        ),
        "opened": drawing.lines(
            "opened",
            "Connects",
            axis,
            {"new": total("opened"), "from another worker": total("adopted")},
            unit=" a second",
            queries=queries("opened", "adopted"),
        ),
        "redis": drawing.lines(
            "redis",
            "Way through the log, and the database’s answer",
            axis,
            {**(redis if now and now[0]["log"] == "redis" else {}), "database": thousandth},
            unit=" ms",
            queries=queries("log_lag", "database", "reconnects"),
        ),
        "cpu": drawing.lines(
            "cpu",
            "Core used",
            axis,
            each_worker("cpu", 100)
            if several and len(past.workers) <= drawing.MOST
            else {"all": [None if value is None else value * 100 for value in total("cpu")]},
            unit=" %",
            queries=queries("cpu"),
        ),
        "lag": drawing.lines(
            "lag",
            "Event loop late",
            axis,
            each_worker("lag", 1000)
            if len(past.workers) <= drawing.MOST
            else {"the worst": [None if value is None else value * 1000 for value in past.worst("lag")]},
            unit=" ms",
            queries=queries("lag"),
        ),
        "memory": drawing.lines(
            "memory",
            "Memory for each client",
            axis,
            {"kB for each": memory},
            unit=" kB",
            queries=["sum(hub_resident_bytes) / sum(hub_sessions)"],
        ),
        "refused": drawing.stack(
            "refused",
            "Refused",
            axis,
            {name: total(f"refused_{field}") for name, field in refused.items()},
            unit=" a second",
            queries=['sum(rate({__name__=~"hub_.*_refused_total"}[1m])) by (__name__)'],
        ),
    }
