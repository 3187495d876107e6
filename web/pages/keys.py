"""Where the application keeps its parts: typed keys, so that a reader and mypy know what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from aiohttp import web

from hub.follower import Following
from hub.forwarded import Proxies
from hub.inside.insider import Inside
from hub.publisher import Publisher

from ..db.database import Database
from ..identity.passwords import Passwords
from ..identity.visitors import Signer
from ..services.cache.cache import Cache
from ..services.jobs.queue import Queue
from ..services.jobs.runner import Runner
from ..services.outbound import Outbound
from .assets import Assets
from .documents import Documents
from .links import Link
from .listening import Listening
from .parts import Part
from .sitemaps import SiteMap

T = TypeVar("T")


class Tables(Protocol):
    """Settings that were read, by their dataclass: `app[keys.settings][PageSettings].url`."""

    def __getitem__(self, table: type[T]) -> T: ...


settings: web.AppKey[Tables] = web.AppKey("settings")
database = web.AppKey("database", Database)
publisher = web.AppKey("publisher", Publisher)
#: Makes a token by which a browser may hear a channel that takes one (`private-…`); "" where none can be made. Views
#: answer by `token_response`.
listening: web.AppKey[Listening] = web.AppKey("listening")
#: What is in front of the site, for whose a request is.
proxies = web.AppKey("proxies", Proxies)
assets = web.AppKey("assets", Assets)
signer = web.AppKey("signer", Signer)
passwords = web.AppKey("passwords", Passwords)
#: The only client for what is fetched from others.
outbound = web.AppKey("outbound", Outbound)
#: What is costly to make and many ask for (docs/cache.md).
cache = web.AppKey("cache", Cache)
#: Work for later: `await app[keys.jobs].add(session, KIND, data)`. And who does it, if this process does.
jobs = web.AppKey("jobs", Queue)
runner = web.AppKey("runner", Runner)
#: The navigation, in its order.
links: web.AppKey[tuple[Link, ...]] = web.AppKey("links")
#: Where each feature's home page is, by the feature's name; what is on the page at `/` of those whose own is not.
homes: web.AppKey[Mapping[str, str]] = web.AppKey("homes")
parts: web.AppKey[tuple[Part, ...]] = web.AppKey("parts")
#: What features have in the sitemap.
sitemaps: web.AppKey[tuple[SiteMap, ...]] = web.AppKey("sitemaps")
#: What can be found, of all features; and who follows the log, where it can be followed.
documents: web.AppKey[tuple[Documents, ...]] = web.AppKey("documents")
following: web.AppKey[Following] = web.AppKey("following", Following)
#: The hub as it is seen from inside, where it is served in this process.
inside = web.AppKey("inside", Inside)
#: Where one signs in, if one can.
login: web.AppKey[str] = web.AppKey("login")
#: Seconds a form may take to arrive, and whom to tell of one that did not.
body_timeout = web.AppKey("body timeout", float)
when_late: web.AppKey[Callable[[], None]] = web.AppKey("when late")
