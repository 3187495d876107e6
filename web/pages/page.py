"""Pages that are kept by position: what a view answers with when many ask for the same.

    async def show(request):
        async def make(reading: Reading) -> web.Response:
            positions = await reading.at("event-17", "comments-17")      # before the rows
            ...
            return render(request, "events/event.html", {"positions": positions, ...})

        return await answer(request, ("event", 17), make)

Nothing personal is in a kept page: who is signed in gets his own, made for him alone. The header Cache-Status
(RFC 9211) says how an answer came about.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any

from aiohttp import hdrs, web
from multidict import CIMultiDict
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from hub.transports import repeats

from .. import heads
from . import keys, styles, wrote
from .encodings import choose, pack
from .kept import How, Kept, Reading
from .requests import USER
from .settings import PageSettings

#: Bytes from which on a body is packed in a thread.
LARGE = 8 * 1024

#: Bytes from which on a page's styles are cut in a thread: 20 kB take about a millisecond.
LONG = 64 * 1024

#: Bytes of what features keep beside the pages, each of them.
BESIDE_BYTES = 4 * 1024**2

#: Bytes below which packing gains nothing.
SMALL = 512

_STATUS: dict[How, str] = {
    "hit": "fanfare; hit",
    "shared": "fanfare; fwd=miss; collapsed",
    "made": "fanfare; fwd=miss",
    "own": "fanfare; fwd=bypass",
}

Make = Callable[[Reading], Awaitable[web.Response]]


class Page:
    """An answer's body and its packed forms, each made once.

    styled: the same with its sheets in it; said, known and hashes: as `styles.Styled` has them."""

    __slots__ = ("_forms", "_heads", "_packing", "body", "content_type", "hashes", "known", "said", "styled", "tag")

    def __init__(self, body: bytes, content_type: str) -> None:
        self.body = body
        self.content_type = content_type
        self.styled: Page | None = None
        self.said = self.known = ""
        self.hashes: tuple[str, ...] = ()
        self.tag = hashlib.blake2b(body, digest_size=12).hexdigest()
        self._forms: dict[str, bytes] = {"": body}
        self._packing: dict[str, asyncio.Task[bytes]] = {}
        self._heads: dict[str, CIMultiDict[str]] = {}

    @property
    def size(self) -> int:
        """Bytes of all forms."""
        return sum(map(len, self._forms.values())) + (0 if self.styled is None else self.styled.size)

    def take(self, found: styles.Styled) -> None:
        """Keep the page's other form, if it has one, and what was said of it."""
        self.said, self.known = found.said, found.known
        if found.body is not None:
            self.styled = Page(found.body, self.content_type)
            self.styled.said, self.styled.hashes = found.said, found.hashes

    def for_browser(self, headers: Mapping[str, str]) -> Page:
        """The form for a browser that sends these headers."""
        if self.styled is None or headers.get(styles.DESTINATION, "document") not in styles.SHOWN:
            return self
        return self if self.known and headers.get(styles.KNOWN) == self.known else self.styled

    def has(self, coding: str) -> bool:
        """Whether a form is there."""
        return coding in self._forms

    async def form(self, coding: str) -> bytes:
        """The body in a coding; the body itself where packing gains nothing."""
        found = self._forms.get(coding)
        if found is None:
            task = self._packing.get(coding)
            if task is None:
                task = self._packing[coding] = asyncio.create_task(self._pack(coding))
            found = await asyncio.shield(task)
        return found

    def head(self, coding: str) -> CIMultiDict[str]:
        """The headers of a form that is there; a copy to add to."""
        found = self._heads.get(coding)
        if found is None:
            found = self._heads[coding] = CIMultiDict()
            packed = self._forms[coding] is not self.body
            found[hdrs.CONTENT_TYPE] = self.content_type
            # One tag a form: a cache must not take the packed bytes for the plain ones.
            found[hdrs.ETAG] = f'"{self.tag}-{coding}"' if packed else f'"{self.tag}"'
            if packed:
                found[hdrs.CONTENT_ENCODING] = coding
            found[hdrs.CACHE_CONTROL] = "private, no-cache"
            # The same address has another page for who is signed in.
            found[hdrs.VARY] = "Accept, Accept-Encoding, Cookie"
            if self.said:
                found[styles.SAID] = self.said
                found[hdrs.VARY] += f", {styles.KNOWN}, {styles.DESTINATION}"
        return found.copy()

    async def _pack(self, coding: str) -> bytes:
        body = self.body
        if len(body) >= LARGE:
            packed = await asyncio.to_thread(pack, body, coding)
        else:
            packed = pack(body, coding)
        self._forms[coding] = packed if len(packed) < len(body) else body
        self._packing.pop(coding, None)
        return self._forms[coding]


pages: web.AppKey[Kept[Page]] = web.AppKey("pages", Kept)


def kept_beside_pages(app: web.Application) -> Kept[Any]:
    """For small values, such as ids by slug, that stand and fall with channels as pages do."""
    settings = app[keys.settings][PageSettings]
    return Kept(
        app[pages].tops,
        app[keys.publisher].position,
        lambda value: 0,
        seconds=settings.age,
        most=BESIDE_BYTES,
        on=settings.keeps,
    )


async def answer(
    request: web.Request, key: Hashable, make: Make, *, personal: bool = True, own: bool = False
) -> web.Response:
    """The page of a key, kept or made.

    key: of what was understood of the request, and of nothing else: everyone gets this page. make: names its channels
    before it reads its rows; its response is a page, with status 200. personal: whether it looks different for who is
    signed in. own: whether it shows what only this visitor may see; it is made for this one then.
    """
    kept = request.app[pages]
    is_own = own or (personal and USER in request)
    # What is made for one is not looked at: it is not given again, and its tokens would make each one new.
    styling = None if is_own or not kept.on else request.app.get(styles.styles)

    async def made(reading: Reading) -> Page:
        response = await make(reading)
        assert isinstance(response.body, bytes)
        assert response.status == 200
        page = Page(response.body, response.headers[hdrs.CONTENT_TYPE])
        if styling is not None and response.content_type == "text/html":
            if len(page.body) >= LONG:
                page.take(await asyncio.to_thread(styling.styled, page.body, request.path))
            else:
                page.take(styling.styled(page.body, request.path))
        return page

    how: How
    if is_own:
        page, how = await kept.alone(made), "own"
    else:
        knows = wrote.known(request)
        anew = knows != {} and not await wrote.has_heard(kept.tops, knows)
        page, how = await kept.get(key, made, anew=anew)
    response = await _response(request, kept, key, page, how)
    # The second to ask is told "hit", as all are from then on.
    if how == "hit" and repeats.may_repeat(request):
        repeats.again(request, lambda: kept.gives(key, page))
    return response


async def _response(request: web.Request, kept: Kept[Page], key: Hashable, whole: Page, how: How) -> web.Response:
    coding = ""
    page = whole.for_browser(request.headers)
    # What is for one has secrets in it, whose length would show when packed beside what a stranger sent (BREACH).
    if how != "own" and len(page.body) >= SMALL:
        coding = choose(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
    if page.has(coding):
        body = await page.form(coding)
    else:
        body = await page.form(coding)
        kept.grown(key, whole)
    headers = page.head(coding)
    stored = "; stored" if how == "made" and kept.holds(key, whole) else ""
    headers["Cache-Status"] = _STATUS[how] + stored
    if hdrs.IF_NONE_MATCH in request.headers and heads.has_tag(request, headers[hdrs.ETAG].strip('"')):
        headers.popall(hdrs.CONTENT_TYPE)
        headers.popall(hdrs.CONTENT_ENCODING, None)
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(body=body, headers=headers)
    if page.hashes:
        response[styles.HASHES] = page.hashes
    return response


#: Marks a request whose answer may be given to others.
STANDS = repeats.STANDS


def count_again(request: web.Request, seen: Callable[[asyncio.BaseTransport | None, bytes], None]) -> None:
    """Be told of each answer like this one that is given past the application: over what, and to which bytes."""
    repeats.count(request, seen)


async def metrics_of(kept: Kept[Page]) -> list[Metric]:
    """How answers came about, and what is kept, in Prometheus's words."""
    answers = CounterMetricFamily(
        "site_pages", "answers by how they came about: hit, shared, made, or own of one user", labels=["how"]
    )
    for how in _STATUS:
        answers.add_metric([how], kept.counts[how])
    return [
        answers,
        GaugeMetricFamily("site_pages_kept", "pages that are kept", value=len(kept)),
        GaugeMetricFamily("site_pages_kept_bytes", "bytes of those, with their packed forms", value=kept.bytes),
    ]
