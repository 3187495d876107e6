"""The hub's parts put together, and served.

    hub = Hub(settings)
    hub.setup(app)                  # beside a site's pages; or an empty app for the hub alone
    await serve(app, hub)           # until a signal says stop

`Hub` is the one place that knows every part; parts get each other as arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError
from prometheus_client import Metric

from .bayeux.limits import Crowd, Limits
from .bayeux.rules import Bayeux
from .brokers import Broker
from .brokers.memory import MemoryBroker
from .checks import Checks
from .errors import SettingsError
from .files import ROOT
from .follower import Followers
from .forwarded import HEADERS, Proxies, is_near
from .hearing import Own, Shared
from .histories import Histories, Retention, parse_histories
from .hosts import Hosts, names_of, siblings_of
from .ids import new_id
from .inside.insider import Inside
from .kicks import KICKS
from .memory import give_back, keep_memory
from .metrics import CONTENT_TYPE, HubMetrics, labelled
from .node import Bounds, Node, drain
from .origins import read_host
from .presence.pace import Pace
from .protocol import tokens
from .protocol.access import Access, Rule, parse_rules
from .protocol.channels import Grammar
from .protocol.heads import Head
from .publisher import BrokerPublisher
from .realms import PREFIX, Directory, Entry, read_realms
from .reporter import Reporter
from .sessions.recent import Recent
from .sessions.registry import Registry
from .sessions.watchers import EventName, Events, Watcher
from .settings import HTTP_URL, Settings
from .siblings import Siblings
from .transports import feed, inside, publish, roster
from .transports.answers import NO_STORE, harden
from .transports.feed import Feed
from .transports.fpp import Fpp
from .transports.front import Door, Entrance
from .transports.half_open import bound_silence
from .transports.lean import Counter, Desk
from .transports.origins import Origins
from .transports.plain import Plain
from .transports.polling import Polling
from .transports.roster import Roster
from .transports.routes import Handler, of_clients
from .transports.static import Static
from .transports.unread import bound_unsent
from .transports.websocket import BayeuxSocket, intervals
from .turns import Turns

logger = logging.getLogger(__name__)

MOUNT = "/bayeux"

#: What the HTTP API is.
DESCRIPTION = ROOT / "docs" / "openapi.json"

#: Open files that are no client's connections: databases', Redis', the log, listening sockets.
OTHER_FILES = 100

#: And for each realm besides the default one: its log's connections to Redis.
REALM_FILES = 3


class Realm:
    """One realm of a hub: its log and node, its rules and keys, and what answers its clients and publishers.

    settings: the hub's, with what is the realm's own in them. crowd: of the process. listed: it is one of
    the file HUB_REALMS. counted: as for `Hub`. Raises SettingsError for rules that don't parse.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        door: Door,
        crowd: Crowd,
        *,
        listed: bool,
        counted: Sequence[str] = (),
    ) -> None:
        self.settings = settings
        self.name = settings.realm
        self.broker = broker
        limits = Limits(
            timeout=settings.connect_timeout,
            interval=settings.connect_interval,
            session_ttl=settings.session_ttl,
            message_bytes=settings.message_bytes,
            max_messages=settings.max_messages,
            max_values=settings.max_values,
            max_depth=settings.max_depth,
            max_subscriptions=settings.max_subscriptions,
            subscription_bytes=settings.subscription_bytes,
            max_sessions=settings.max_sessions,
            publish_rate=settings.publish_rate,
            address_publish_rate=settings.address_publish_rate,
            browser_polls=settings.browser_polls,
            handshake_rate=settings.handshake_rate,
            presence_rate=settings.presence_rate,
            seen_rate=settings.seen_rate,
        )
        access = new_access(settings, listed=listed, counted=counted)
        # A dead socket is found after two pings, and the one before may be the last that was answered.
        recent = Recent(
            seconds=3 * settings.ping_interval + settings.session_ttl,
            size=settings.recent_bytes,
            session_size=settings.queue_bytes,
        )
        bayeux = Bayeux(
            Registry(recent),
            new_id,
            limits=limits,
            access=access,
            grammar=Grammar(
                "cometd" if settings.channel_charset == "cometd" else "spec",
                settings.max_channel,
                settings.max_segments,
            ),
            dialect="faye" if settings.dialect == "faye" else "spec",
            wall=time.time,
            crowd=crowd,
        )
        #: Service channels by name, for the code that embeds the hub: `hub.services["/service/x"] = answer`.
        self.services = bayeux.services
        #: Extensions that see clients' messages before the rules do: `hub.incoming.append(extension)`.
        self.incoming = bayeux.incoming
        #: Extensions that see every reply before it is sent: `hub.outgoing.append(extension)`.
        self.outgoing = bayeux.outgoing
        bounds = Bounds(
            tick=settings.tick,
            queue_count=settings.queue_count,
            queue_bytes=settings.queue_bytes,
            session_ttl=settings.session_ttl,
            follower_count=settings.follower_count,
            follower_bytes=settings.follower_bytes,
            notes=settings.notes,
        )
        self.node = Node(broker, bayeux, bounds, door.addresses, door.turns)
        #: Extensions that see each publication before it is encoded: `hub.published.append(extension)`.
        self.published = self.node.published
        self.publisher = BrokerPublisher(broker, self.node.notes)
        #: For code that follows channels, or asks how far this process has heard them.
        self.followers: Followers = self.node.followers
        #: Who is in which channel, None if no rule lets anybody see it.
        self.reporter: Reporter | None = None
        if access.has_presence:
            pace = Pace(leave=settings.presence_leave, users=settings.presence_users)
            self.reporter = Reporter(self.node, pace, alone=settings.redis_url is None)
        self._intervals = intervals(settings.ping_interval)
        place = "the realm's origins in HUB_REALMS" if listed else "HUB_ORIGINS"
        origins = Origins(settings.origins, place, settings.site_url, settings.jsonp)
        self.entrance = Entrance(door, self.node, origins, with_site=not listed)
        self.plain = Plain(
            self.entrance,
            access,
            limit=settings.message_bytes,
            interval=settings.ping_interval,
            hold=settings.connect_timeout,
            body_timeout=settings.body_timeout,
        )
        self.entrance.paths |= {
            MOUNT: self._websocket,
            "/ws": self.plain.websocket,
            "/test/ws": self.plain.test_websocket,
        }
        self.polling = Polling(
            self.entrance,
            message_bytes=settings.message_bytes,
            body_bytes=settings.body_bytes,
            body_timeout=settings.body_timeout,
            like_faye=settings.dialect == "faye",
            browsers=settings.browser_polls > 0,
        )
        self.endpoint = publish.Endpoint(self.node, settings)
        self.fpp = Fpp(
            self.entrance,
            access,
            realm=settings.realm,
            keys=settings.keys,
            hold=settings.connect_timeout,
            body_timeout=settings.body_timeout,
        )
        #: What is heard at other workers too, None if there are none.
        self.shared: Shared | None = None if settings.redis_url is None else Shared(self.node)
        self.feed = Feed(self.node, origins, self.endpoint.admit, self.shared or Own(self.node.registry))
        self.counter = Counter(self.node, self.polling, self.endpoint)
        self.roster = Roster(self.plain, self.reporter, self.endpoint.admit)

    def on(self, name: EventName, watcher: Watcher) -> None:
        """Tell `watcher(session_id, channel, who)` of each handshake, subscribe, unsubscribe, publish or disconnect.

        Of this process: a session that another worker continues ends here and begins there.
        """
        registry = self.node.registry
        if registry.events is None:
            registry.events = Events()
        registry.events.on(name, watcher)

    async def kick(self, user: str) -> None:
        """End a user's sessions on every worker, and refuse the tokens they have; raises BrokerUnavailable."""
        await self.node.kick(user)

    def _websocket(self, head: Head, window: int) -> BayeuxSocket:
        """The connection object of an accepted upgrade of /bayeux."""
        return BayeuxSocket(
            self.node,
            limit=self.settings.body_bytes,
            interval=next(self._intervals),
            window=window,
        )


class Hub:
    """One process's hub. Make it inside the running loop that will serve it.

    broker: for tests; else REDIS_URL decides. identify: tells who the site's visitor is from a Cookie
    header, None for a stranger; for rules that ask for a session. It must not wait. `node`, `publisher`, `followers`,
    `services`, `incoming`, `outgoing`, `published`, `on` and `kick` are the default realm's, the one that
    the environment describes; the site's is that too. siblings: the other workers on its port, whose metrics
    /metrics has too. counted: patterns of the default realm's channels in which everybody may see who is there, where
    no rule says otherwise. keep: whether its history is kept in files, for the process that has this place next.
    Raises SettingsError for realms or rules that don't parse.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker | None = None,
        identify: Callable[[str], str | None] | None = None,
        siblings: Siblings | None = None,
        counted: Sequence[str] = (),
        *,
        keep: bool = False,
    ) -> None:
        self.settings = settings
        self._siblings = siblings
        entries = read_realms(settings)
        logs = 0 if settings.redis_url is None else REALM_FILES * len(entries)
        self.door = Door(
            head_timeout=settings.head_timeout,
            head_bytes=settings.head_bytes,
            max_connections=settings.max_connections or _open_files(logs),
            address_connections=settings.address_connections,
            address_unread=settings.address_unread,
            proxies=Proxies(settings.proxies, settings.proxy_header),
            local=settings.development,
            hosts=new_hosts(settings, entries),
            identify=identify,
            turns=Turns(settings.turn),
            idle_timeout=settings.idle_timeout,
        )
        crowd = Crowd()
        own = Realm(settings, broker or _broker(settings), self.door, crowd, listed=False, counted=counted)
        others = []
        for entry in entries:
            realm = entry.settings(settings)
            made = Realm(realm, _broker(realm, listed=True), self.door, crowd, listed=True)
            others.append((entry.name, entry.hosts, made))
        self._directory = Directory(own.name, own, others)
        #: Every realm by its name, the default one too.
        self.realms: Mapping[str, Realm] = dict(self._directory)
        self.broker = own.broker
        self.node = own.node
        self.publisher = own.publisher
        self.followers = own.followers
        self.services = own.services
        self.incoming = own.incoming
        self.outgoing = own.outgoing
        self.published = own.published
        self.on = own.on
        self.kick = own.kick
        #: What else must be well for /ready: `hub.checks.append(check)`, an async function that raises if it isn't.
        self.checks = Checks()
        #: More for /metrics, collected at each look; must not raise: `hub.metrics.append(collect)`.
        self.metrics: list[Callable[[], Awaitable[Iterable[Metric]]]] = []
        #: The hub as it is seen from inside, None where HUB_INSIDE says no.
        self.inside: Inside | None = None
        if settings.inside:
            self.inside = Inside(
                {name: realm.node for name, realm in self.realms.items()},
                self.door,
                addresses=self.door.addresses,
                number=0 if siblings is None else siblings.number,
                release=_release(),
                keep=settings.var / "inside" if keep else None,
                notes=settings.notes,
                health=self._reason,
            )
        self.door.entrances = self._directory.map(lambda realm: realm.entrance)
        self.desk: Desk | None = None

    def token(self, *channels: str, seconds: float = 3600.0) -> str:
        """A token by which a browser may hear channels that take one, for so long; "" where the realm has no key."""
        key = self.settings.key
        return (
            "" if key is None else tokens.sign(self.settings.realm, key, time.time(), life=seconds, channels=channels)
        )

    def setup(self, app: web.Application) -> None:
        """Add the hub's routes, and its start and stop, to an application. All answers of it say what ours do."""
        app.on_response_prepare.append(harden)
        self.desk = Desk(
            self._directory.map(lambda realm: realm.counter),
            self.door,
            message_bytes=self.settings.message_bytes,
            head_bytes=self.settings.head_bytes,
            head_timeout=self.settings.head_timeout,
            body_timeout=self.settings.body_timeout,
            idle_timeout=self.settings.idle_timeout,
        )
        self.door.posts = self.desk.protocol
        static = Static(self.settings.static)
        for base in ("", PREFIX + "{realm}"):
            self._add_client_routes(app, base, static)
        publish.add_routes(app, self._directory.map(lambda realm: realm.endpoint))
        preflights: Directory[Handler] = self._directory.map(lambda realm: realm.polling.options)
        feed.add_routes(app, self._directory.map(lambda realm: realm.feed), preflights)
        if self._has_presence:
            roster.add_routes(app, self._directory.map(lambda realm: realm.roster), preflights)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        if self.inside is not None:
            admit, examine = self._directory.default.endpoint.admit, _examine(self.settings)
            inside.add_routes(app, inside.Window(self.inside, admit, self.door, self.settings, examine))
        if DESCRIPTION.is_file():
            app.router.add_get("/openapi.json", _describe)
        if self.settings.metrics:
            app.router.add_get("/metrics", self._metrics)
        # Before whatever the application has already: who publishes starts after the hub and stops before it.
        app.cleanup_ctx.insert(0, self._life)

    def _add_client_routes(self, app: web.Application, base: str, static: Static) -> None:
        """What clients ask for, under a path of their realm."""

        def handler(pick: Callable[[Realm], Handler]) -> Handler:
            return of_clients(self._directory, pick)

        script = handler(lambda realm: static.get)
        app.router.add_get(f"{base}{MOUNT}/static/{{name}}", script)
        for path in (f"{base}{MOUNT}.js", f"{base}{MOUNT}/client.js"):
            app.router.add_get(path, script)
        for path in (f"{base}{MOUNT}", f"{base}{MOUNT}/{{rest:.*}}"):
            app.router.add_post(path, handler(lambda realm: realm.polling.post))
            app.router.add_get(path, handler(lambda realm: realm.polling.get), allow_head=False)
            app.router.add_options(path, handler(lambda realm: realm.polling.options))
            app.router.add_route("*", path, handler(lambda realm: realm.polling.refuse))
        for folder in (f"{base}/fpp", f"{base}/pubsub", *([base] if base else [])):
            for end in ("", "/"):
                for name, answer in (
                    ("subscribe", handler(lambda realm: realm.fpp.subscribe)),
                    ("feed", handler(lambda realm: realm.fpp.feed)),
                ):
                    app.router.add_options(f"{folder}/{name}{end}", handler(lambda realm: realm.polling.options))
                    app.router.add_route("*", f"{folder}/{name}{end}", answer)
        # Whatever is not as simple as a form, a browser asks before (CORS): a page of another site sends a header.
        for path in (
            "/ws",
            "/test",
            "/test/sse",
            "/test/ws",
            "/sse",
            "/poll",
            *(["/presence"] if self._has_presence else []),
        ):
            app.router.add_options(base + path, handler(lambda realm: realm.polling.options))
        for path in (f"{MOUNT}.js", f"{MOUNT}/client.js"):
            app.router.add_options(base + path, handler(lambda realm: realm.polling.options))
        app.router.add_get(f"{base}/ws", handler(lambda realm: realm.plain.upgrade), allow_head=False)
        app.router.add_get(f"{base}/test", handler(lambda realm: realm.plain.test), allow_head=False)
        app.router.add_get(f"{base}/test/sse", handler(lambda realm: realm.plain.test_events), allow_head=False)
        app.router.add_get(f"{base}/test/ws", handler(lambda realm: realm.plain.upgrade), allow_head=False)
        app.router.add_get(f"{base}/sse", handler(lambda realm: realm.plain.events), allow_head=False)
        app.router.add_get(f"{base}/poll", handler(lambda realm: realm.plain.poll), allow_head=False)
        app.router.add_post(f"{base}/poll", handler(lambda realm: realm.plain.poll_form))
        if self._has_presence:
            app.router.add_get(f"{base}/presence", handler(lambda realm: realm.roster.of_client), allow_head=False)

    @property
    def _has_presence(self) -> bool:
        """Whether some realm tells who is in a channel; else the paths are the site's."""
        return any(realm.reporter is not None for realm in self.realms.values())

    async def drain(self) -> None:
        """Answer every held connect and say goodbye on every link of every realm, at the rate of `Node.drain`."""
        await drain(realm.node for realm in self.realms.values())

    async def _life(self, app: web.Application) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for realm in self.realms.values():
                await realm.node.start()
                if realm.shared is not None:
                    realm.shared.start()
                stack.push_async_callback(realm.node.stop)
            if self.inside is not None:
                self.inside.start()
                stack.push_async_callback(self.inside.stop)
            if self._siblings is not None:
                await stack.enter_async_context(self._siblings.answering(self._own_metrics))
            yield
            self.checks.close()
            await self.drain()

    async def _health(self, request: web.Request) -> web.Response:
        """Liveness: 200 as long as the process answers; says why it may not be ready."""
        return web.json_response(await self._state(request), headers=NO_STORE)

    async def _ready(self, request: web.Request) -> web.Response:
        """Readiness: 503 while publications don't get through, a check fails, or while draining."""
        state = await self._state(request)
        return web.json_response(state, status=200 if state["ready"] else 503, headers=NO_STORE)

    async def _metrics(self, request: web.Request) -> web.Response:
        if request.raw_path.partition("?")[0] != "/metrics":
            # Proxies are told to keep this path for themselves. Not all of them read escapes, and we do.
            return web.Response(status=404, text="Not found\n")
        if not self._is_operator(request):
            text = "Metrics are for near addresses, and for who shows the realm's key.\n"
            return web.Response(status=403, text=text, headers=NO_STORE)
        metrics = await self._own_metrics()
        if self._siblings is not None:
            metrics = labelled({self._siblings.number: metrics, **await self._siblings.ask()})
        return web.Response(body=metrics, headers={**NO_STORE, "Content-Type": CONTENT_TYPE})

    def _is_operator(self, request: web.Request) -> bool:
        """Whether a request comes from this machine or a private network, or shows the default realm's key.

        Reasons name hosts and users of databases, and metrics what each realm does: nothing for strangers. Whoever
        comes through a proxy that we know nothing of is one.
        """
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        if authorization is not None and self._directory.default.endpoint.admit(authorization, None) is None:
            return True
        proxies, peer = self.door.proxies, request.remote or ""
        if proxies.count:
            client = proxies.client(peer, request.headers.getall(proxies.header, ()))
            return is_near(client.partition("/")[0])
        return is_near(peer) and not any(name in request.headers for name in HEADERS)

    async def _own_metrics(self) -> bytes:
        extra = [metric for collect in self.metrics for metric in await collect()]
        nodes = {name: realm.node for name, realm in self.realms.items()}
        presences = [realm.reporter.rules for realm in self.realms.values() if realm.reporter is not None]
        return HubMetrics(nodes, self.door, presences, extra, self.inside).text()

    async def _reason(self) -> str:
        return self._ailing() or await self.checks.reason()

    async def _state(self, request: web.Request) -> dict[str, Any]:
        reason = await self._reason()
        if not self._is_operator(request):
            return {"ready": not reason, "reason": "not ready" if reason else ""}
        return {
            "ready": not reason,
            "reason": reason,
            "sessions": sum(len(realm.node.registry.sessions) for realm in self.realms.values()),
            "links": sum(len(realm.node.links) for realm in self.realms.values()),
        }

    def _ailing(self) -> str:
        """Why a realm can't do its work now; "" when all can."""
        for name, realm in self.realms.items():
            health = realm.node.health
            if not health.well:
                reason = health.reason or "not well"
                return reason if realm.node is self.node else f"realm {name}: {reason}"
        return ""


def _examine(settings: Settings) -> Callable[[], dict[str, Any]] | None:
    """What asks Redis how it is set up; None without one."""
    url = settings.redis_url
    if url is None:
        return None
    from .brokers.redis.probe import examine

    return lambda: examine(url)


def _release() -> str:
    try:
        return version("fanfare")
    except PackageNotFoundError:
        return "not installed"


async def _describe(request: web.Request) -> web.StreamResponse:
    # Tools that show it are pages of other sites.
    return web.FileResponse(DESCRIPTION, headers={"Access-Control-Allow-Origin": "*"})


def check_files(settings: Settings) -> None:
    """Read every file of rules and realms that a start would read; raises SettingsError."""
    new_access(settings)
    new_histories(settings)
    check_realms(settings)


def check_realms(settings: Settings) -> tuple[Entry, ...]:
    """The realms of the file HUB_REALMS, if their rules parse too; raises SettingsError."""
    entries = read_realms(settings)
    for entry in entries:
        new_access(entry.settings(settings), listed=True)
        new_histories(entry.settings(settings), listed=True)
    return entries


def new_hosts(settings: Settings, entries: Iterable[Entry]) -> Hosts:
    """Which hosts are ours, as the settings and the realms' entries say.

    Those of HUB_HOSTS; without it the one of SITE_URL, and what no stranger's DNS can make lead here; without both any.
    """
    if not settings.hosts and settings.site_url is None:
        return Hosts(None if settings.is_bare else ["*"])
    # HOST may be spelled as no browser sends it: 0, or an address with a zone, fe80::1%eth0.
    listened = None if settings.url is not None else read_host(urlsplit(settings.hub_url).netloc)
    own = [
        _own_name("SITE_URL", settings.site_url),
        _own_name("HUB_URL", settings.url),
        None if listened is None else listened.name,
    ]
    return Hosts(
        names_of(
            settings.hosts,
            own=own if settings.hosts else [each for host in own if host for each in siblings_of(host)],
            realms=[settings.realm, *(entry.name for entry in entries)],
            realm_hosts=[host for entry in entries for host in entry.hosts],
        ),
        inner=not settings.hosts,
    )


def _own_name(variable: str, url: str | None) -> str | None:
    """The host of one of our own URLs, without its port; raises SettingsError.

    Proxies drop the port, or send their own. Ignoring it is safe: DNS rebinding needs a name that is the attacker's.
    """
    if url is None:
        return None
    try:
        host = read_host(urlsplit(HTTP_URL.parse(url)).netloc)
    except ValueError as error:
        raise SettingsError(f"{variable}: {error}") from None
    return None if host is None else host.name


def new_access(settings: Settings, *, listed: bool = False, counted: Sequence[str] = ()) -> Access:
    """The rules of access that the settings say; raises SettingsError. Reads the file of rules.

    listed: the settings are those of a realm of the file HUB_REALMS. counted: as for `Hub`.
    """
    text, source = _rules_file(settings, listed)
    rules = [*parse_rules(text, source)]
    if counted:
        rules.append(Rule(tuple(f"/{pattern}" for pattern in counted), {"presence": "open"}, "the site"))
    for rule in rules:
        if listed and "session" in rule.needs.values():
            raise SettingsError(f"{rule.source}: session is for the default realm: the site knows no other's visitors")
    return Access(
        settings.client_publish,
        rules,
        realm=settings.realm,
        keys=settings.keys,
        leeway=settings.token_leeway,
        place=f"{_realm_place(settings)}client_publish" if listed else "HUB_CLIENT_PUBLISH",
    )


def new_histories(settings: Settings, *, listed: bool = False) -> Histories:
    """What is kept of channels, as the settings say; raises SettingsError. Reads the file of rules."""
    return Histories(
        Retention(settings.history_count, settings.history_seconds, settings.history_bytes),
        (KICKS, *parse_histories(*_rules_file(settings, listed))),
    )


def _rules_file(settings: Settings, listed: bool) -> tuple[str, str]:
    """The text of the rules file, empty if there is none, and what it is called where it is wrong."""
    place = f"{_realm_place(settings)}rules" if listed else "HUB_RULES"
    if settings.rules is None:
        return "", place
    try:
        return settings.rules.read_text(encoding="utf-8"), f"{place} {settings.rules}"
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"{place}: {str(settings.rules)!r} can't be read: {reason}") from None


def _open_files(logs: int) -> int:
    """How many connections the open files allow, but for the logs' and what else is open; 0 if they have no limit.

    A process that runs out of them can't refuse anyone: it stops to accept.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if limit == resource.RLIM_INFINITY else max(1, limit - min(OTHER_FILES, limit // 4) - logs)


def _realm_place(settings: Settings) -> str:
    return f"HUB_REALMS realm {settings.realm}: "


def _broker(settings: Settings, *, listed: bool = False) -> Broker:
    """The log of the settings' realm. listed: as for `new_access`."""
    histories = new_histories(settings, listed=listed)
    if settings.redis_url is None:
        return MemoryBroker(histories=histories)
    # Imported here, so that a hub without Redis needs no client library for it.
    from .brokers.redis import PREFIX as REDIS_PREFIX
    from .brokers.redis import RedisBroker, realm_prefix

    return RedisBroker(
        settings.redis_url,
        shards=settings.shards,
        histories=histories,
        prefix=realm_prefix(settings.realm) if listed else REDIS_PREFIX,
        realm=settings.realm,
    )


class BadRequests(logging.Filter):
    """Makes a line at debug of what aiohttp's parser refused, which is a client's mistake and no error of ours.

    aiohttp logs a traceback: to write it takes a millisecond, and a client can send such requests all day. Its message
    quotes what the client sent, which may be a secret.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError) and error.code < 500:
            logger.debug("request refused", extra={"status": error.code, "reason": type(error).__name__})
            return False
        return True


#: What aiohttp logs to.
_requests = logging.getLogger("hub.requests")
_requests.addFilter(BadRequests())


@contextlib.asynccontextmanager
async def running(
    app: web.Application, hub: Hub, *, host: str = "127.0.0.1", port: int = 0, sock: socket.socket | None = None
) -> AsyncIterator[str]:
    """Serve an application with its hub; gives the base URL. Leaving the block drains and closes.

    Raises BrokerUnavailable when the log can't be reached, OSError when the port is taken.
    """
    # A handler whose client has left is cancelled, else a held connect would take the next publication with it.
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        logger=_requests,
        shutdown_timeout=hub.settings.drain_timeout,
        keepalive_timeout=hub.settings.idle_timeout,
        # A line or a field may have what a head may have: a long cookie is one field.
        max_line_size=hub.settings.head_bytes,
        max_field_size=hub.settings.head_bytes,
        # Bodies are unpacked in bounded steps by who reads them (`bodies`), and not at all where nobody does.
        auto_decompress=False,
    )
    await runner.setup()
    try:
        server = runner.server
        assert server is not None
        loop = asyncio.get_running_loop()
        hub.door.serve_by(server)
        factory = hub.door.protocol
        if sock is not None:
            listener = await loop.create_server(factory, sock=sock, backlog=4096)
        else:
            listener = await loop.create_server(factory, host, port, backlog=4096, reuse_address=True)
        try:
            for each in listener.sockets:
                bound_silence(each.fileno(), hub.settings.ping_interval)
                bound_unsent(each.fileno())
            bound = listener.sockets[0].getsockname()
            shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
            yield f"http://{shown}:{bound[1]}"
        finally:
            listener.close()
            # Before aiohttp waits for its handlers: held connects are handlers.
            await hub.drain()
            await hub.door.last_heads()
            if hub.desk is not None:
                hub.desk.close()
            hub.door.repeats.close()
    finally:
        await runner.cleanup()


def calm_collector() -> None:
    """Set the garbage collector for a process that keeps tens of thousands of sessions.

    What exists at the start never goes away, so it is frozen out of every collection. Sessions are
    freed by reference counts; the default threshold of 700 made the collector walk them all again
    and again while they connected (8 % of the time of 15,000 connects, 2 % with these). At 50,000 it was as
    cheap, but looking at so many at once halted the loop for 10 to 22 ms, and 10,000 for 7 at the most.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 500, 50)


async def serve(
    app: web.Application, hub: Hub, announce: Callable[[str], None] | None = None, sock: socket.socket | None = None
) -> None:
    """Serve until SIGTERM or SIGINT. announce: called with the base URL once it listens. sock: listen there."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with running(app, hub, host=hub.settings.host, port=hub.settings.port, sock=sock) as url:
            calm_collector()
            keep_memory()
            giving_back = asyncio.create_task(give_back())
            if announce is not None:
                announce(url)
            await stop.wait()
            giving_back.cancel()
            logger.info("stopping")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
