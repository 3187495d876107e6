"""The page of results, the same as JSON, and what a search box offers while one types."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import hdrs, web
from markupsafe import Markup

from ...identity.roles import Permission
from ...pages import keys
from ...pages.documents import CHANGED, Listed
from ...pages.requests import address_of, json_response, may, read_fields, read_number
from ...pages.templating import machine_time, render
from .asked import MAX_QUERY, Asked, TooLong, parse
from .engine import WINDOW, EngineError
from .finder import SHOWN, Result, Results
from .highlights import Piece
from .intents import wants_none
from .models import MAX_INTENT
from .service import search
from .tokens import fold

#: Seconds that a page waits for the index to have what its browser has heard of.
PATIENCE = 0.3

#: Pages of results there can be.
MAX_PAGE = WINDOW // SHOWN

#: The header in which a page names what is being looked for.
INTENT = "Search-Intent"

#: What a search box is offered at the most.
MAX_OFFERED = 20


class Resting(Exception):
    """The index can't be asked now."""


async def show(request: web.Request) -> web.StreamResponse:
    """GET /search?q=, with page, category, kind, exactly=1 and, for staff, debug-search."""
    page = read_number(request, "page", default=1, most=MAX_PAGE)
    debug = "debug-search" in request.query and may(request, Permission.MANAGE_SEARCH)
    try:
        asked, kinds, exactly = _asked(request)
    except TooLong as error:
        request.app[search].counts["long"] += 1
        context = _context(request, {"error": str(error)})
        return render(request, "search/page.html", context, status=400)

    _limit(request)
    # Before the index is asked: what is told after that comes to the page.
    position = await request.app[keys.publisher].position(CHANGED) or ""
    found, intent = None, ""
    try:
        if not asked.is_empty:
            found = await _find(request, asked, kinds, exactly, page, position, facets=True)
            intent = _note(request, asked, found, page)
    except (Resting, EngineError):
        return await _resting(request, asked)
    context = _context(request, {"found": found, "asked": asked, "kinds": kinds, "debug": debug})
    context |= {"positions": {CHANGED: position}, "exactly": exactly, "page": page, "intent": intent}
    return render(request, "search/page.html", context, cache="private, no-cache")


async def as_json(request: web.Request) -> web.StreamResponse:
    """GET /search.json?q=&page=&category=&kind=: the results, the terms that were looked for, and how long it took."""
    text = request.query.get("page", "1")
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_PAGE):
        return _refused(f"'page' is from 1 to {MAX_PAGE}")
    try:
        asked, kinds, exactly = _asked(request)
    except TooLong as error:
        request.app[search].counts["long"] += 1
        return _refused(str(error))
    if asked.is_empty:
        return _refused("Missing 'q'")
    try:
        _limit(request)
        found = await _find(request, asked, kinds, exactly, int(text))
        _note(request, asked, found, int(text))
    except (Resting, EngineError):
        return _is_resting()
    return json_response(_as_json(found))


async def complete(request: web.Request) -> web.StreamResponse:
    """GET /autocomplete?q=&n=: words that the last one may become, and pages that it may be about."""
    try:
        query, most = _offer(request)
        _limit(request)
        found = await _find(request, parse(query))
        terms = await _terms(request, query, most)
    except ValueError as error:
        return _refused(str(error))
    except (Resting, EngineError):
        return _is_resting()
    results = [
        {"type": each.kind, "title": each.title.text, "url": each.url} for each in found.results if not each.is_part
    ]
    if found.pinned is not None:
        url, title = found.pinned
        results.insert(0, {"type": "page", "title": title, "url": url})
    return json_response({"terms": terms, "results": results[:most]})


async def complete_v1(request: web.Request) -> web.StreamResponse:
    """GET /autocompete/v1?q=&n=: as the site's first search answered, by the name that it had. The newest first."""
    try:
        query, most = _offer(request)
        _limit(request)
        found = await _find(request, parse(query))
    except ValueError as error:
        return json_response({"error": str(error)}, status=400)
    except (Resting, EngineError):
        return _is_resting()
    pages = sorted(
        (each for each in found.results if not each.is_part), key=lambda each: (-each.at.timestamp(), -each.score)
    )
    terms = [" ".join(spelling.words) for spelling in found.spellings]
    results = [[each.url, each.title.text] for each in pages]
    if found.pinned is not None:
        results.insert(0, list(found.pinned))
    return json_response({"results": results[:most], "terms": terms})


async def post_click(request: web.Request) -> web.StreamResponse:
    """POST /search/clicks: a result of what an intent looked for was opened. Nothing says by whom."""
    fields = await read_fields(request)
    intents = request.app[search].intents
    if intents is not None and not wants_none(request.headers):
        await intents.click(fields.get("intent", "")[:MAX_INTENT])
    return web.Response(status=204)


def _limit(request: web.Request) -> None:
    here = request.app[search]
    wait = here.limiter.take(address_of(request))
    if wait:
        here.counts["refused"] += 1
        raise web.HTTPTooManyRequests(
            text="Too many searches from your address.", headers={hdrs.RETRY_AFTER: str(int(wait) + 1)}
        )


def _note(request: web.Request, asked: Asked, found: Results, page: int) -> str:
    """Note what was looked for, unless its reader does not want that; further pages are the same search.

    Returns the name that it has, for clicks; nothing if it is not noted.
    """
    here = request.app[search]
    here.counts["searches"] += 1
    here.counts["nothing"] += not found.total
    name = request.headers.get(INTENT)
    # A page that follows what changes has not asked again.
    if here.intents is not None and page == 1 and asked.text and name != "none" and not wants_none(request.headers):
        return here.intents.note(name, asked.text, found.total, found.took * 1000)
    return ""


def _offer(request: web.Request) -> tuple[str, int]:
    query = request.query.get("q", "").strip()
    if not query:
        raise ValueError("Missing 'q'")
    text = request.query.get("n", "10")
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_OFFERED):
        raise ValueError(f"'n' is from 1 to {MAX_OFFERED}")
    return query, int(text)


async def _terms(request: web.Request, query: str, most: int) -> list[str]:
    asked = parse(query)
    if not asked.words or query[-1].isspace() or asked.words[-1].end != len(asked.text):
        return []
    last = asked.words[-1]
    before = asked.text[: last.start]
    return [before + word for word in await request.app[search].finder.complete(last.text, most)]


def _asked(request: web.Request) -> tuple[Asked, tuple[str, ...], bool]:
    """What is asked. Of a name that is there twice the first counts. Raises TooLong."""
    query = request.query
    wanted = query.get("kind", "").split(",")
    known = {each.kind for each in request.app[keys.documents]}
    category = query.get("category", "")[:MAX_QUERY]
    return (
        parse(query.get("q", ""), category or None),
        tuple(each for each in wanted if each in known),
        query.get("exactly") == "1",
    )


async def _find(
    request: web.Request,
    asked: Asked,
    kinds: tuple[str, ...] = (),
    exactly: bool = False,
    page: int = 1,
    position: str = "",
    *,
    facets: bool = False,
) -> Results:
    """Results of an index that has all that was told up to a position, if it does in a moment."""
    here = request.app[search]
    if not here.indexer.state.ready:
        raise Resting
    if position and not await here.indexer.reached(position, PATIENCE):
        here.counts["behind"] += 1
    found = await here.finder.find(asked, page=page, kinds=kinds, exactly=exactly, facets=facets)
    if found.gone:
        task = asyncio.create_task(here.indexer.renew(found.gone))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return found


async def _resting(request: web.Request, asked: Asked) -> web.Response:
    """The page without its index: the newest pages, out of the database."""
    newest: list[Listed] = []
    async with request.app[keys.database].reading() as session:
        for each in request.app[keys.documents]:
            if each.parts_of is None and each.newest is not None:
                newest += await each.newest(session, SHOWN)
    newest.sort(key=lambda one: one.at, reverse=True)
    context = _context(
        request, {"asked": asked, "newest": newest[:SHOWN], "building": request.app[search].indexer.state.building}
    )
    return render(request, "search/resting.html", context, status=503, cache="no-store")


def _context(request: web.Request, more: Mapping[str, Any]) -> dict[str, Any]:
    context: dict[str, Any] = {
        "asked": None,
        "found": None,
        "error": None,
        "q": "".join(filter(str.isprintable, request.query.get("q", "")[: 2 * MAX_QUERY])),
        "marked": lambda piece: Markup(piece.html()),
        "path_of": _path,
        "kind_facets": lambda found: _kind_facets(request, found),
        "written": _written,
        "positions": {},
        "intent": "",
        "max_query": MAX_QUERY,
    }
    return context | dict(more)


def _kind_facets(request: web.Request, found: Results) -> list[tuple[str, tuple[tuple[str, ...], int]]]:
    """By what readers call them: the kinds that are so called, and how many there are; comments of all are one."""
    called: dict[str, tuple[tuple[str, ...], int]] = {}
    for each in request.app[keys.documents]:
        if count := found.facets.kinds.get(each.kind, 0):
            kinds, before = called.get(each.labels, ((), 0))
            called[each.labels] = (*kinds, each.kind), before + count
    return sorted(called.items(), key=lambda item: -item[1][1])


def _written(found: Results, name: str) -> str:
    """A category as it is written, where one of the results has it."""
    return next((each for result in found.results for each in result.categories if fold(each) == name), name)


def _path(
    asked: Asked, kinds: tuple[str, ...] = (), exactly: bool = False, page: int = 1, q: str | None = None, **more: str
) -> str:
    """Where a page of results is."""
    query = asked.text if q is None else q
    given = {"q": query, "category": asked.category or "", "keyword": "", "kind": ",".join(kinds)}
    if asked.keyword:
        given["q"] = f"{query} keyword:{asked.keyword}".strip()
    given |= {"exactly": "1" if exactly else "", "page": str(page) if page > 1 else ""} | more
    return "/search?" + urlencode({name: value for name, value in given.items() if value})


def _refused(words: str) -> web.Response:
    return json_response({"error": words, "next": "Correct it and ask again."}, status=400)


def _is_resting() -> web.Response:
    return json_response({"error": "Search is resting.", "next": "Try again in a moment."}, status=503)


def _as_json(found: Results) -> dict[str, Any]:
    pinned = None if found.pinned is None else {"title": found.pinned[1], "url": found.pinned[0]}
    return {
        "pinned": pinned,
        "results": [_result(each) for each in found.results],
        "total": found.total,
        "page": found.page,
        "pages": found.last,
        "took_ms": round(found.took * 1000, 3),
        "terms": [[spelling.score, " ".join(spelling.words)] for spelling in found.spellings],
        "instead": found.instead,
        "words_only": found.words_only,
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "type": result.kind,
        "title": result.title.text,
        "url": result.url,
        "score": result.score,
        "at": machine_time(result.at),
        "categories": list(result.categories),
        "highlights": {"title": _html(result.title), "text": _html(result.text)},
        "why": list(result.why),
        "parts": [_result(each) for each in result.parts],
    }


def _html(piece: Piece) -> str:
    return piece.html()
