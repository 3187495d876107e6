"""An answer of a WSGI application (PEP 3333), for what looks at whole pages: Flask's and Django's among them.

Theirs is an iterator, and not a list, though all of it is there: what tells it from a stream is its Content-Length, or
Django's word for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

App = Callable[..., Iterable[bytes]]
Headers = list[tuple[str, str]]


class WsgiAnswer:
    """What an application answers. Ends with `whole` and an answer of one's own, or with `pieces`."""

    def __init__(self, app: App, environ: dict[str, Any]) -> None:
        said: list[Any] = []

        def start(line: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
            said[:] = [line, headers, exc_info]
            # Who writes by hand is not looked at.
            return lambda piece: _wrong()

        self._body: Any = app(environ, start)
        self._pieces = iter(self._body)
        # A generator says its head with its first piece.
        self._first = [] if said else [next(self._pieces, b"")]
        self.line, self.headers, self._exc_info = said

    @property
    def status(self) -> int:
        """Its status."""
        return int(self.line[:3])

    @property
    def length(self) -> int | None:
        """Its bytes, None for a stream."""
        if isinstance(self._body, list | tuple):
            return sum(map(len, self._body))
        if getattr(self._body, "streaming", True) is False:
            # Django's, which says its length only with CommonMiddleware.
            return len(self._body.content)
        given = {name.lower(): value for name, value in self.headers}.get("content-length", "")
        return int(given) if given.isdecimal() else None

    def whole(self) -> bytes:
        """All of its body."""
        try:
            return b"".join(self.pieces())
        finally:
            self.close()

    def start(self, start_response: Callable[..., Any]) -> None:
        """Send the status line and the headers."""
        start_response(self.line, self.headers, *([self._exc_info] if self._exc_info else []))

    def pieces(self) -> Iterator[bytes]:
        """The pieces of the body, as the application yields them."""
        yield from self._first
        yield from self._pieces

    def close(self) -> None:
        """Tell the application that its body is not asked any more."""
        if hasattr(self._body, "close"):
            self._body.close()


class Rest:
    """What is left of an answer, with its `close`."""

    def __init__(self, answer: WsgiAnswer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.pieces()

    def close(self) -> None:
        self._answer.close()


def _wrong() -> None:
    raise RuntimeError("write() is not supported in front of a middleware")
