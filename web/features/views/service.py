"""The views of one process: who counts them, and who tells others. Under one key of the application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiohttp import hdrs, web

from hub.errors import HubError, SettingsError
from hub.forwarded import Proxies

from ...db.settings import DatabaseSettings
from ...pages import keys
from ...pages.assets import PREFIX
from ...pages.limits import Limiter
from ...pages.page import STANDS, count_again
from ...pages.requests import BEGAN, USER
from ...pages.settings import PageSettings
from .callers import Strangers, hashed, wants_none
from .counting import Counting
from .kinds import Kind, Kinds, kind_of
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

_BROWSER = Kind.BROWSER.value

#: Answers that end by themselves.
_WHOLE = (web.Response, web.FileResponse)

#: Routes that are no views: a client's messages, one by one. Its connection is one.
_MESSAGES = ("/bayeux", "/r/{realm}/bayeux")


def track_pageview(request: web.Request, title: str | None = None) -> None:
    """Have an answer counted and told, whoever asked for it, once it is given. title: else `API (/its/{route})`."""
    request[TITLE] = (title or "")[:MAX_TITLE]


class Place(NamedTuple):
    """What a route is called as an endpoint, "" for what is no view; and whether it is of the hub's API."""

    name: str
    is_of_realm: bool


class Views:
    """What the application and the pages use."""

    def __init__(
        self, counting: Counting, senders: list[Sender], sends: frozenset[str], limiter: Limiter, proxies: Proxies
    ) -> None:
        self.counting = counting
        self.senders = senders
        self.kinds = Kinds()
        self.limiter = limiter
        #: Events that others told us of, by what became of them.
        self.received: Counter[str] = Counter()
        self._sends = sends
        self._proxies = proxies
        self._strangers = Strangers(counting.salt, proxies)
        counting.forget = self._strangers.forget
        self._places: dict[tuple[str, object], Place] = {}

    async def note(self, request: web.Request, response: web.StreamResponse) -> None:
        """Count an answer, if it is a view; for `on_response_prepare`, so before a byte of it is sent.

        Whose client left before that was answered nothing. A stream is counted as it begins: it ends when its client
        leaves, and how long that took says nothing.
        """
        try:
            headers = request.headers
            # All at once: a request raises and catches an error for each key that it is asked for and does not have.
            marks = set(request)
            agent = headers.get(hdrs.USER_AGENT, "")
            kind = self.kinds.known.get(agent) or self.kinds.of(agent)
            title = request[TITLE] if TITLE in marks else None
            method = request.method
            if title is None and (kind == _BROWSER or method == hdrs.METH_OPTIONS):
                content_type = response.headers.get(hdrs.CONTENT_TYPE, "")
                if not counts(kind, method, content_type, headers.get(hdrs.ACCEPT, "")):
                    return
            route = request.match_info.route
            name, is_of_realm = self._places.get((method, route)) or self._place(request)
            status = response.status
            if not name or (status == 200 and hdrs.UPGRADE in headers):
                # A WebSocket was counted when it opened.
                return
            at, micros = time.time(), -1
            if BEGAN in marks and isinstance(response, _WHOLE):
                took = time.perf_counter() - request[BEGAN]
                at -= took
                micros = int(took * 1_000_000)
            quiet = wants_none(headers)
            if STANDS in marks:
                count_again(request, Again(self, name, status, kind, agent, quiet))
            if quiet:
                self.counting.add(View(at, "", name, status, micros, kind, ""))
                return
            proxies = self._proxies
            lines = tuple(headers.getall(proxies.header, ())) if proxies.count else ()
            stranger = self._strangers.name(at, request.remote or "", lines, agent)
            caller = stranger
            if KEY in marks:
                caller = f"key {request[KEY]}"
            elif USER in marks:
                caller = f"user {request[USER].id}"
            elif is_of_realm and status < 400:
                # The hub's API lets nobody in without the realm's key.
                caller = f"key {request.match_info.get('realm', '')[:64]}"
            self.counting.add(View(at, "", name, status, micros, kind, caller))
            if self.senders and (title is not None or kind in self._sends):
                self._tell(View(at, "", name, status, micros, kind, stranger, title, agent))
        except Exception:
            # A bug of ours is no reason to answer with 500.
            logger.exception("view not counted")
            self.counting.counts["dropped"] += 1

    def note_again(self, again: Again, transport: asyncio.BaseTransport | None, head: bytes) -> None:
        """Count an answer that was given again, to the same bytes but for what proxies say of addresses."""
        try:
            # How long it took nobody knows, and it is nothing beside those that were made.
            at = time.time()
            if again.quiet:
                self.counting.add(View(at, "", again.name, again.status, -1, again.kind, ""))
                return
            peer = None if transport is None else transport.get_extra_info("peername")
            proxies = self._proxies
            lines = tuple(_lines(head, proxies.field)) if proxies.count else ()
            who = str(peer[0]) if isinstance(peer, tuple) and peer else ""
            stranger = self._strangers.name(at, who, lines, again.agent)
            self.counting.add(View(at, "", again.name, again.status, -1, again.kind, stranger))
            if self.senders and again.kind in self._sends:
                self._tell(View(at, "", again.name, again.status, -1, again.kind, stranger, None, again.agent))
        except Exception:
            # A bug of ours is no reason to answer with 500.
            logger.exception("view not counted")
            self.counting.counts["dropped"] += 1

    def _tell(self, view: View) -> None:
        for sender in self.senders:
            sender.add(view)

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

    def _place(self, request: web.Request) -> Place:
        """What a request asked for, by its route; remembered, if it is one."""
        info = request.match_info
        # What no route knows is asked for by a route of its own each time.
        route = info.route if info.http_exception is None else None
        key = (request.method, route)
        if key in self._places:
            return self._places[key]
        resource = None if route is None else route.resource
        path = NO_ROUTE if resource is None else self._with_slash(request, resource.canonical)
        is_view = not path.startswith((PREFIX, "/bayeux/static")) and path.rstrip("/") not in _MESSAGES
        found = Place(endpoint(request.method, path) if is_view else "", "/realm/{realm}/" in path)
        if len(self._places) < 5000:
            self._places[key] = found
        return found

    def _with_slash(self, request: web.Request, route: str) -> str:
        """A route; of two that differ by the last slash alone the one that has it: the hub's API takes both."""
        twin = f"{route}/"
        return twin if any(each.canonical == twin for each in request.app.router.resources()) else route


class Again:
    """Counts an answer each time that it is given again."""

    __slots__ = ("agent", "kind", "name", "quiet", "status", "views")

    def __init__(self, views: Views, name: str, status: int, kind: str, agent: str, quiet: bool) -> None:
        self.views = views
        self.name = name
        self.status = status
        self.kind = kind
        self.agent = agent
        self.quiet = quiet

    def __call__(self, transport: asyncio.BaseTransport | None, head: bytes) -> None:
        self.views.note_again(self, transport, head)


def _lines(head: bytes, field: bytes) -> list[str]:
    """The lines of a head's field, by its name in small letters."""
    found = []
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == field:
            found.append(value.decode("latin-1").strip())
    return found


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
    app[views] = Views(counting, senders, frozenset(chosen.sends), Limiter(chosen.rate, 60.0), app[keys.proxies])
    app.on_response_prepare.append(app[views].note)


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
