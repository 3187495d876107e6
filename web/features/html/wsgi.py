"""For Flask, Django and other WSGI applications, in development: `Checking(application, checker, publisher)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hub.publisher import SyncPublisher

from ...pages.wsgi import App, Rest, WsgiAnswer
from .checker import Checker
from .documents import MAX_BYTES
from .watcher import PATH, Watcher

_LINES = {200: "200 OK", 204: "204 No Content"}


class Checking:
    """An application whose pages are checked, and have a badge. What is streamed goes through as it is. hub: where
    pages find the hub, with its scheme if it is another origin's."""

    def __init__(
        self,
        app: App,
        checker: Checker,
        publisher: SyncPublisher,
        *,
        hub: str = "/bayeux",
        replace: Callable[[Any, str, Any], None] = setattr,
    ) -> None:
        self._app = app
        self.watcher = Watcher(checker, publisher.publish, hub=hub, replace=replace)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ.get("REQUEST_METHOD", "GET"), environ.get("PATH_INFO", "/")
        if path == PATH and method == "GET":
            status, kind, body = self.watcher.answer(environ.get("QUERY_STRING", ""))
            start_response(_LINES[status], [("Content-Type", kind), ("Content-Length", str(len(body)))])
            return [body]
        given = WsgiAnswer(self._app, environ)
        length = given.length
        if length is None or length > MAX_BYTES or not self.watcher.wants(method, given.status, given.headers):
            given.start(start_response)
            return Rest(given)
        shown = self.watcher.take(f"GET {path}", given.whole(), given.headers)
        start_response(given.line, shown.headers)
        return [shown.body]
