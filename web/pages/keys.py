"""Where the application keeps its parts: typed keys, so that a reader and mypy know what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from aiohttp import web

from hub.forwarded import Proxies
from hub.publisher import Publisher

from ..db.database import Database
from ..identity.passwords import Passwords
from ..identity.visitors import Signer
from ..services.jobs.queue import Queue
from ..services.jobs.runner import Runner
from ..services.outbound import Outbound
from .assets import Assets
from .links import Link
from .parts import Part

T = TypeVar("T")


class Tables(Protocol):
    """Settings that were read, by their dataclass: `app[keys.settings][PageSettings].url`."""

    def __getitem__(self, table: type[T]) -> T: ...


settings: web.AppKey[Tables] = web.AppKey("settings")
database = web.AppKey("database", Database)
publisher = web.AppKey("publisher", Publisher)
#: What is in front of the site, for whose a request is.
proxies = web.AppKey("proxies", Proxies)
assets = web.AppKey("assets", Assets)
signer = web.AppKey("signer", Signer)
passwords = web.AppKey("passwords", Passwords)
#: The only client for what is fetched from others.
outbound = web.AppKey("outbound", Outbound)
#: Work for later: `await app[keys.jobs].add(session, KIND, data)`. And who does it, if this process does.
jobs = web.AppKey("jobs", Queue)
runner = web.AppKey("runner", Runner)
#: The navigation, in its order.
links: web.AppKey[tuple[Link, ...]] = web.AppKey("links")
#: Where each feature's home page is, by the feature's name; what is on the page at `/` of those whose own is not.
homes: web.AppKey[Mapping[str, str]] = web.AppKey("homes")
parts: web.AppKey[tuple[Part, ...]] = web.AppKey("parts")
#: Where one signs in, if one can.
login: web.AppKey[str] = web.AppKey("login")
#: Seconds a form may take to arrive, and whom to tell of one that did not.
body_timeout = web.AppKey("body timeout", float)
when_late: web.AppKey[Callable[[], None]] = web.AppKey("when late")
