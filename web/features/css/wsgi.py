"""For WSGI, Flask and Django among them: `application = Inlining(application, Optimiser(folders({…})))`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import request_uri

from ...pages.wsgi import App, Rest, WsgiAnswer
from .responses import MAX_BODY, Optimiser


class Inlining:
    """An application whose pages have their sheets in them. What is streamed, and long, goes through as it is."""

    def __init__(self, app: App, optimiser: Optimiser) -> None:
        self._app = app
        self._optimiser = optimiser

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        given = WsgiAnswer(self._app, environ)
        method = environ.get("REQUEST_METHOD", "GET")
        length = given.length
        if length is None or length > MAX_BODY or not self._optimiser.wants(method, given.status, given.headers):
            given.start(start_response)
            return Rest(given)
        answer = self._optimiser.answer(request_uri(environ), given.whole(), given.headers)
        start_response(given.line, answer.headers)
        return [answer.body]
