"""Documents that the validator is asked about while tests go on: sent at once, heard when there is time.

No thread: who forks in a test would be warned of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from .checker import Checker
from .documents import Document
from .server import Asking, Server
from .verdicts import Unchecked

#: Documents that it has at a time.
_AT_ONCE = 2


class Ahead:
    """Tells a checker what the validator says. What it does not say here, whyever, the checker asks for itself."""

    def __init__(self, server: Server, checker: Checker) -> None:
        self._server = server
        self._checker = checker
        self._waiting: deque[Document] = deque()
        self._asked: dict[Asking, Document] = {}
        self._idle: list[Asking] = []
        self._is_gone = False

    def take(self, documents: Iterable[Document]) -> None:
        """Ask about these, now or later. Never waits. Raises Unchecked if it can't be begun."""
        self._server.start()
        self._waiting.extend(documents)
        self.go_on()

    def go_on(self, *, waits: bool = False) -> None:
        """Hear what it has said, and ask on. waits: until it has said all."""
        while self._asked or self._waiting:
            self._hear(waits=waits)
            # Not before it is there: that would wait for it.
            if not self._is_gone and (waits or self._server.is_decided()):
                self._ask()
            if not waits or self._is_gone:
                break

    def close(self) -> None:
        """Close all connections, whether a check is under way on them or not."""
        for each in (*self._asked, *self._idle):
            each.close()
        self._asked, self._idle = {}, []

    def _ask(self) -> None:
        while self._waiting and len(self._asked) < _AT_ONCE:
            document = self._waiting.popleft()
            if self._checker.knows(document):
                continue
            asking: Asking | None = None
            try:
                asking = self._idle.pop() if self._idle else self._server.open()
                asking.ask(document.sent()[0], document.content_type)
                self._asked[asking] = document
            except Unchecked:
                self._leave(asking)

    def _hear(self, *, waits: bool) -> None:
        for asking, document in list(self._asked.items()):
            if not asking.is_answered(waits=waits):
                if waits:
                    self._asked.pop(asking)
                    self._leave(asking)
                continue
            self._asked.pop(asking)
            try:
                self._checker.learn(document, *asking.hear())
                self._idle.append(asking)
            except Unchecked:
                self._leave(asking)

    def _leave(self, asking: Asking | None) -> None:
        # One that died is started again by who asks in earnest: here nobody waits for it.
        self._is_gone = True
        self._waiting.clear()
        if asking is not None:
            with suppress(OSError):
                asking.close()
