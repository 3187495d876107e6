"""The views of one process: who counts them, and who tells others. Under one key of the application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

from aiohttp import hdrs, web

from hub.errors import HubError, SettingsError
from hub.forwarded import Proxies

from ...db.settings import DatabaseSettings
from ...pages import keys
from ...pages.assets import PREFIX
from ...pages.limits import Limiter
from ...pages.page import count_again
from ...pages.requests import USER, address_of
from ...pages.settings import PageSettings
from .callers import hashed, wants_none
from .counting import Counting
from .kinds import Kinds, kind_of
from .records import MAX_TITLE, NO_ROUTE, View, counts, endpoint
from .sending import Sender
from .settings import ViewSettings
from .targets.ga4 import GoogleAnalytics
from .targets.matomo import Matomo
from .targets.plausible import Plausible
from .targets.target import Target

logger = logging.getLogger(__name__)

#: What an open page of managers follows: that something was counted, and no more.
CHANNEL = "views"

#: Seconds between two words to open pages.
_TELL = 2.0

#: What a view is called where it is told to others; a view that says so is counted whoever asks for it.
TITLE: web.RequestKey[str] = web.RequestKey("view title", str)
#: Who has shown a key, by its name.
KEY: web.RequestKey[str] = web.RequestKey("view key", str)

#: That a stream was counted.
STREAM: web.RequestKey[bool] = web.RequestKey("view of a stream", bool)

#: Routes that are no views: a client's messages, one by one. Its connection is one.
_MESSAGES = ("/bayeux", "/r/{realm}/bayeux")


def track_pageview(request: web.Request, title: str | None = None) -> None:
    """Have an answer counted and told, whoever asked for it, once it is given. title: else `API (/its/{route})`."""
    request[TITLE] = (title or "")[:MAX_TITLE]


class Views:
    """What the middleware and the pages use."""

    def __init__(self, counting: Counting, senders: list[Sender], sends: frozenset[str], limiter: Limiter) -> None:
        self.counting = counting
        self.senders = senders
        self.kinds = Kinds()
        self.limiter = limiter
        #: Events that others told us of, by what became of them.
        self.received: Counter[str] = Counter()
        self._sends = sends
        self._endpoints: dict[tuple[str, object], str] = {}

    def note(
        self, request: web.Request, response: web.StreamResponse | None, status: int, began: float, took: float
    ) -> None:
        """Count an answer, if it is a view. began: seconds since 1970; took: seconds, -1 where that says nothing."""
        try:
            self._note(request, response, status, began, took)
        except Exception:
            # A bug of ours is no reason to answer with 500.
            logger.exception("view not counted")
            self.counting.counts["dropped"] += 1

    def _note(
        self, request: web.Request, response: web.StreamResponse | None, status: int, began: float, took: float
    ) -> None:
        headers = request.headers
        agent = headers.get(hdrs.USER_AGENT, "")
        kind = self.kinds.of(agent)
        title = request.get(TITLE)
        content_type = "" if response is None else response.headers.get(hdrs.CONTENT_TYPE, "")
        if title is None and not counts(kind, request.method, content_type, headers.get(hdrs.ACCEPT, "")):
            return
        name = self._endpoint(request)
        if not name or (hdrs.UPGRADE in headers and status == 200):
            # A WebSocket was counted when it opened.
            return
        micros = -1 if took < 0 else int(took * 1_000_000)
        quiet = wants_none(headers)
        if response is not None:
            count_again(request, partial(self._note_again, request.app[keys.proxies], name, status, kind, agent, quiet))
        address = "" if quiet else address_of(request)
        known = "" if quiet else _known(request, name, status)
        self._count(began, name, status, micros, kind, agent, quiet, address, known, title)

    def _note_again(
        self,
        proxies: Proxies,
        name: str,
        status: int,
        kind: str,
        agent: str,
        quiet: bool,
        transport: asyncio.BaseTransport | None,
        head: bytes,
    ) -> None:
        """Count an answer that was given again, to the same bytes but for what proxies say of addresses."""
        try:
            address = ""
            if not quiet:
                peer = None if transport is None else transport.get_extra_info("peername")
                lines = _lines(head, proxies.field) if proxies.count else ()
                address = proxies.client(str(peer[0]) if isinstance(peer, tuple) and peer else "", lines)
            # How long it took nobody knows, and it is nothing beside those that were made.
            self._count(time.time(), name, status, -1, kind, agent, quiet, address, "", None)
        except Exception:
            # A bug of ours is no reason to answer with 500.
            logger.exception("view not counted")
            self.counting.counts["dropped"] += 1

    def _count(
        self,
        at: float,
        name: str,
        status: int,
        micros: int,
        kind: str,
        agent: str,
        quiet: bool,
        address: str,
        known: str,
        title: str | None,
    ) -> None:
        if quiet:
            self.counting.add(View(at, "", name, status, micros, kind, ""))
            return
        stranger = hashed(self.counting.salt(at), address, agent)
        self.counting.add(View(at, "", name, status, micros, kind, known or stranger))
        if self.senders and (kind in self._sends or title is not None):
            told = View(at, "", name, status, micros, kind, stranger, title, agent)
            for sender in self.senders:
                sender.add(told)

    def note_answered(
        self, method: str, route: str, status: int, seconds: float, agent: str, address: str, quiet: bool, realm: str
    ) -> None:
        """Count what the hub answered past the middlewares: a WebSocket that was opened, a publish.

        seconds: -1 where they say nothing. quiet: nothing is to be kept of whose it was. realm: whose key was shown.
        """
        try:
            at = time.time()
            if quiet:
                caller = ""
            elif realm:
                caller = f"key {realm}"
            else:
                caller = hashed(self.counting.salt(at), address, agent)
            micros = -1 if seconds < 0 else int(seconds * 1_000_000)
            kind = self.kinds.of(agent)
            self.counting.add(View(at, "", endpoint(method, route), status, micros, kind, caller))
        except Exception:
            # A bug of ours is no reason to answer with 500.
            logger.exception("view not counted")
            self.counting.counts["dropped"] += 1

    def _endpoint(self, request: web.Request) -> str:
        """What a request asked for, by its route; "" for what is no view."""
        info = request.match_info
        resource = info.route.resource if info.http_exception is None else None
        key = (request.method, resource)
        found = self._endpoints.get(key)
        if found is None:
            route = NO_ROUTE if resource is None else self._with_slash(request, resource.canonical)
            is_view = not route.startswith((PREFIX, "/bayeux/static")) and route.rstrip("/") not in _MESSAGES
            found = endpoint(request.method, route) if is_view else ""
            if len(self._endpoints) < 5000:
                self._endpoints[key] = found
        return found

    def _with_slash(self, request: web.Request, route: str) -> str:
        """A route; of two that differ by the last slash alone the one that has it: the hub's API takes both."""
        twin = f"{route}/"
        return twin if any(each.canonical == twin for each in request.app.router.resources()) else route


def _lines(head: bytes, field: bytes) -> list[str]:
    """The lines of a head's field, by its name in small letters."""
    found = []
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == field:
            found.append(value.decode("latin-1").strip())
    return found


def _known(request: web.Request, name: str, status: int) -> str:
    """Who a request is from, if that is known here."""
    if KEY in request:
        return f"key {request[KEY]}"
    if USER in request:
        return f"user {request[USER].id}"
    # The hub's API lets nobody in without the realm's key.
    if status < 400 and "/realm/{realm}/" in name:
        return f"key {request.match_info.get('realm', '')[:64]}"
    return ""


async def _note_stream(request: web.Request, response: web.StreamResponse) -> None:
    """Count a stream when it begins: it ends when its client leaves, and how long that took says nothing."""
    if not isinstance(response, web.Response | web.FileResponse) and request.match_info.http_exception is None:
        request[STREAM] = True
        request.app[views].note(request, None, response.status, time.time(), -1.0)


views: web.AppKey[Views] = web.AppKey("views", Views)


def targets_of(settings: keys.Tables) -> list[Target]:
    """The services that the settings name."""
    chosen = settings[ViewSettings]
    base = settings[PageSettings].url or "http://localhost"
    found: list[Target] = []
    if (chosen.ga4 is None) != (chosen.ga4_secret is None):
        raise SettingsError("VIEWS_GA4 and VIEWS_GA4_SECRET: set both, or neither")
    if chosen.ga4 is not None and chosen.ga4_secret is not None:
        found.append(GoogleAnalytics(chosen.ga4, chosen.ga4_secret, base, chosen.ga4_url))
    if chosen.plausible is not None:
        found.append(Plausible(chosen.plausible, base, chosen.plausible_url))
    if chosen.matomo_url is not None:
        found.append(Matomo(chosen.matomo_url, chosen.matomo_site, base, chosen.matomo_token))
    return found


def setup(app: web.Application) -> None:
    """Put views into the application."""
    settings = app[keys.settings]
    chosen = settings[ViewSettings]
    last = 0.0

    async def tell() -> None:
        nonlocal last
        at = time.monotonic()
        if at - last < _TELL:
            return
        last = at
        try:
            await app[keys.publisher].publish(CHANNEL, True, hint=True)
        except HubError as error:
            logger.debug("views not told", extra={"error": str(error)})

    folder = settings[DatabaseSettings].var / "views"
    senders = [
        Sender(target, lambda: app[keys.outbound], most=chosen.queue, timeout=chosen.timeout)
        for target in targets_of(settings)
    ]
    counting = Counting(app[keys.database], folder, most=chosen.waiting, told=tell)
    app.on_response_prepare.append(_note_stream)
    app[views] = Views(counting, senders, frozenset(chosen.sends), Limiter(chosen.rate, 60.0))


async def running(app: web.Application) -> AsyncIterator[None]:
    """Write, and tell others, while the application runs; at its end what waits."""
    here = app[views]
    chosen = app[keys.settings][ViewSettings]
    # Its expressions take 30 ms to compile: not in somebody's request.
    kind_of("Mozilla/5.0")
    await here.counting.start()
    writing = asyncio.create_task(here.counting.run(chosen.flush))
    sending = [(sender, asyncio.create_task(sender.run())) for sender in here.senders]
    for task in (writing, *(task for _, task in sending)):
        task.add_done_callback(_ended)
    yield
    writing.cancel()
    await asyncio.wait([writing])
    await asyncio.gather(*(sender.close(task, chosen.linger) for sender, task in sending), here.counting.close())


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("views are written no more", exc_info=error)
