"""For code that says `import fanout; fanout.publish(channel, data)` and can't be changed.

    from hub import compat
    compat.install("http://127.0.0.1:8000")     # before that code is imported

or, without a line of Python, by the environment:

    FANOUT_URL=http://127.0.0.1:8000 PYTHONPATH=$(python -m hub.compat) python app.py

What answers then is this module: `realm`, `key`, `ssl` and `publish` as the `fanout` package of
PyPI has them. Unlike it, `publish` neither hangs at exit nor loses what a forked child publishes,
a bad key raises every time instead of once, and an id makes repeating safe.
"""

from __future__ import annotations

import base64
import binascii
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ..errors import HubError
from ..publisher import Item, SyncPublisher

logger = logging.getLogger(__name__)

#: What the `fanout` package has: the realm and its key (base64) for calls that give none.
realm: str | bytes | None = None
key: str | bytes | None = None
#: Accepted and ignored: the hub's URL says it.
ssl = True

#: Where the hub is.
url = "http://127.0.0.1:8000"

Callback = Callable[[bool, "str | None"], None]

_publishers: dict[tuple[str, str, bytes], SyncPublisher] = {}
_lock = threading.Lock()


def install(hub: str | None = None) -> None:
    """Answer to `import fanout` from now on. hub: the hub's URL, such as https://hub.example.org."""
    global url  # noqa: PLW0603  # a module is what callers of the package have; its settings are globals
    if hub is not None:
        url = hub
    sys.modules["fanout"] = sys.modules[__name__]


def folder() -> Path:
    """The folder whose place on PYTHONPATH does what `install` does."""
    return Path(__file__).parent / "path"


def publish(
    channel: str,
    data: object,
    id: str | int | None = None,
    prev_id: str | int | None = None,
    blocking: bool = False,
    callback: Callback | None = None,
    realm: str | bytes | None = None,
    key: str | bytes | None = None,
    ssl: bool = True,
) -> None:
    """Publish data, any JSON value, to a channel.

    blocking: wait for the hub, and raise ValueError with its words if it refuses or can't be
    reached. Else queue; `callback(success, message)` is called from another thread, and without one
    a failure is logged. id: idempotency key. prev_id and ssl are ignored: channels are ordered, and
    `url` names the scheme. realm, key: those of this call, else the module's; ValueError without.
    """
    item = Item(channel, data, id=str(id) if id else None)
    try:
        [future] = _publisher(realm, key).submit([item])
    except HubError as error:
        # What the package's callers know: a ValueError, or a callback that says False.
        if callback is not None and not blocking:
            callback(False, str(error))
            return
        raise ValueError(f"failed to publish: {error}") from None
    if blocking:
        try:
            future.result()
        except HubError as error:
            raise ValueError(f"failed to publish: {error}") from None
    else:
        future.add_done_callback(lambda done: _report(done, channel, callback))


def flush(timeout: float | None = None) -> bool:
    """Wait until everything queued was sent or given up; False when `timeout` seconds were not enough."""
    return all(publisher.flush(timeout) for publisher in list(_publishers.values()))


def _publisher(realm: str | bytes | None, key: str | bytes | None) -> SyncPublisher:
    own = sys.modules[__name__]
    realm, key = realm or own.realm, key or own.key
    if not realm or not key:
        raise ValueError("fanout.realm and fanout.key are not set")
    try:
        secret = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("fanout.key is not base64") from None
    name = realm.decode() if isinstance(realm, bytes) else realm
    with _lock:
        found = _publishers.get((url, name, secret))
        if found is None:
            found = _publishers[url, name, secret] = SyncPublisher(url, name, secret)
    return found


def _report(done: Future[Any], channel: str, callback: Callback | None) -> None:
    error = done.exception()
    if callback is not None:
        callback(error is None, None if error is None else str(error))
    elif error is not None:
        logger.warning("publication dropped", extra={"channel": channel, "error": str(error)})
