"""For WSGI, Flask and Django among them: `application = Inlining(application, Optimiser(folders({…})))`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import request_uri

from .responses import MAX_BODY, Optimiser

App = Callable[..., Iterable[bytes]]


class Inlining:
    """An application whose pages have their sheets in them. What is streamed, and long, goes through as it is."""

    def __init__(self, app: App, optimiser: Optimiser) -> None:
        self._app = app
        self._optimiser = optimiser

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        said: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            said[:] = [status, headers, exc_info]
            # Who writes by hand is not looked at.
            return lambda body: _wrong()

        body = self._app(environ, start)
        # A generator says its head with its first piece.
        pieces = body if isinstance(body, list | tuple) else iter(body)
        first = [] if isinstance(pieces, list | tuple) else [next(pieces, b"")]
        status, headers, exc_info = said
        method = environ.get("REQUEST_METHOD", "GET")
        if not self._optimiser.wants(method, int(status[:3]), headers) or not isinstance(pieces, list | tuple):
            start_response(status, headers, exc_info) if exc_info else start_response(status, headers)
            return body if isinstance(pieces, list | tuple) else _Rest(first, pieces, body)
        whole = b"".join(pieces)
        if hasattr(body, "close"):
            body.close()
        if len(whole) > MAX_BODY:
            start_response(status, headers)
            return [whole]
        answer = self._optimiser.answer(request_uri(environ), whole, headers)
        start_response(status, answer.headers)
        return [answer.body]


class _Rest:
    """Pieces of which the first was taken."""

    def __init__(self, first: list[bytes], rest: Any, body: Any) -> None:
        self._first = first
        self._rest = rest
        self._body = body

    def __iter__(self) -> Any:
        yield from self._first
        yield from self._rest

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()


def _wrong() -> None:
    raise RuntimeError("write() is not supported in front of Inlining")
