"""Pages of a site in development, checked after they were answered; each page is told by the hub what was found.

A page has a script of ours at its end, and is otherwise what the site answered. The script makes the badge, hears the
page's own channel, and asks for the verdict when it may have missed it. What is checked is the page without the script.
`middleware.check_pages` is for aiohttp, `wsgi.Checking` for Flask, Django and others.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from hub.files import ROOT

from .checker import Checker
from .clients import Watch
from .documents import Document, Locate
from .verdicts import Verdict

logger = logging.getLogger(__name__)

#: Where the badge's script is, and with a page's key the verdict on it.
PATH = "/fanfare-html.js"

#: Pages that wait to be checked; verdicts that are kept; messages that a page is shown.
WAITING = 32
KEPT = 100
SHOWN = 50

#: Says something on a channel; called in the watcher's thread.
Tell = Callable[[str, object], object]

_SCRIPT = ROOT / "static" / "html.js"
_END = re.compile(rb"</body\s*>", re.IGNORECASE)
_NONCE = re.compile(r"'nonce-([^']+)'")
#: Of the bytes that were, and what would have a browser show a page again whose verdict is gone.
_OF_BYTES = frozenset({"content-length", "etag", "last-modified", "content-md5", "content-digest", "cache-control"})

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer with the badge's script in it."""

    body: bytes
    headers: Headers


class Watcher:
    """Checks pages one after another in a thread of its own. tell: the hub's publisher. hub: where pages find the hub.
    replace: puts something in an attribute's place, for templates to say what they made (as `setattr` does)."""

    def __init__(
        self, checker: Checker, tell: Tell, *, hub: str = "/bayeux", replace: Callable[[Any, str, Any], None] = setattr
    ) -> None:
        self._checker = checker
        self._tell = tell
        self._hub = hub
        self._watch = Watch()
        self._watch.install_templates(replace)
        self._queue: queue.Queue[tuple[str, Document] | None] = queue.Queue(WAITING)
        self._found: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def wants(self, method: str, status: int, headers: Headers) -> bool:
        """Whether an answer is a page: what is packed can't have the script, and a failure's page is the failure's."""
        found = {name.lower(): value.strip().lower() for name, value in headers}
        return (
            method == "GET"
            and status == 200
            and found.get("content-type", "").partition(";")[0].strip() == "text/html"
            and found.get("content-encoding", "identity") == "identity"
            and "content-range" not in found
        )

    def take(self, source: str, body: bytes, headers: Headers) -> Shown:
        """Have a page checked, and return what is sent instead: at once, whatever becomes of it."""
        found = {name.lower(): value for name, value in headers}
        key = secrets.token_hex(16)
        document = Document(source, body, found.get("content-type", ""), locate=_safe(self._watch.locate(body)))
        self._begin()
        try:
            self._queue.put_nowait((key, document))
        except queue.Full:
            self._say(key, Verdict("unchecked", source, why=f"{WAITING} other pages wait to be checked"))
        script = self._script(key, found.get("content-security-policy", ""))
        ends = list(_END.finditer(body))
        at = ends[-1].start() if ends else len(body)
        new = body[:at] + script + body[at:]
        kept = [(name, value) for name, value in headers if name.lower() not in _OF_BYTES]
        return Shown(new, [*kept, ("Content-Length", str(len(new))), ("Cache-Control", "no-store")])

    def answer(self, query: str) -> tuple[int, str, bytes]:
        """What is at PATH, by its query: a status, a Content-Type and a body."""
        if not query:
            return 200, "text/javascript; charset=utf-8", _SCRIPT.read_bytes()
        found = self._found.get(query)
        # Not yet, or it was long ago: the page asks again, or hears of it.
        return (204, "text/plain", b"") if found is None else (200, "application/json", found.encode())

    def close(self) -> None:
        """End the thread, after what it is at."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def wait(self) -> None:
        """Return when all pages that were taken have been checked."""
        self._queue.join()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="fanfare-html", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while (taken := self._queue.get()) is not None:
            key, document = taken
            try:
                self._say(key, self._checker.check(document))
            except Exception:
                logger.exception("html: a page could not be checked")
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _say(self, key: str, verdict: Verdict) -> None:
        said = {
            "outcome": verdict.outcome,
            "why": verdict.why,
            "version": verdict.version,
            "count": len(verdict.messages),
            "messages": [
                {
                    "level": each.level,
                    "text": each.text,
                    "line": each.line,
                    "place": each.place,
                    "extract": each.extract,
                }
                for each in verdict.messages[:SHOWN]
            ],
        }
        self._found[key] = json.dumps(said)
        while len(self._found) > KEPT:
            self._found.pop(next(iter(self._found)), None)
        if verdict.outcome != "valid":
            logger.warning("html: %s is %s", verdict.source, verdict.outcome)
        try:
            self._tell(f"html/{key}", said)
        except Exception as error:  # noqa: BLE001  # the page asks for itself, where the hub is away
            logger.warning("html: the hub was not told: %s", error)

    def _script(self, key: str, policy: str) -> bytes:
        match = _NONCE.search(policy)
        nonce = f' nonce="{escape(match[1])}"' if match else ""
        return f'<script src="{PATH}" data-key="{key}" data-hub="{escape(self._hub)}"{nonce} defer></script>'.encode()


def _safe(locate: Locate) -> Locate:
    def located(line: int | None, column: int | None) -> str:
        try:
            return locate(line, column)
        except Exception:  # noqa: BLE001  # a template that can't be made twice: its session is closed, say
            return ""

    return located
