"""Documents in, verdicts out: with what is let pass, and each body looked at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .documents import MAX_BYTES, Document, is_document
from .filters import Filters
from .verdicts import Level, Message, Unchecked, Verdict, judged


class Asked(Protocol):
    """Who says what is wrong with a document (`server.Server`)."""

    def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
        """Its messages, and its version. Raises Unchecked."""


class Checker:
    """level: of messages that make a document invalid, and graver ones. most: bytes of a document."""

    def __init__(
        self, server: Asked, filters: Filters | None = None, *, level: Level = "error", most: int = MAX_BYTES
    ) -> None:
        self.filters = filters or Filters()
        self._server = server
        self._level = level
        self._most = most
        self._version = ""
        self._known: dict[bytes, Sequence[Message]] = {}

    def check(self, document: Document) -> Verdict:
        """The verdict of a document. Never raises for what the document is."""
        try:
            messages = self._messages(document)
        except Unchecked as error:
            return Verdict("unchecked", document.source, why=str(error), version=self._version)
        _, before = document.sent()
        left = self.filters.left(document.placed(messages, before), document.source)
        return Verdict(judged(left, self._level), document.source, tuple(left), version=self._version)

    def _messages(self, document: Document) -> Sequence[Message]:
        if not is_document(document.content_type):
            raise Unchecked(f"it is {document.content_type or 'of no type'}, not a document")
        if not document.body.strip():
            return [Message("error", "The document is empty.")]
        if len(document.body) > self._most:
            raise Unchecked(f"it has {len(document.body):,} bytes, more than the {self._most:,} that are looked at")
        key = document.key(self._version)
        found = self._known.get(key)
        if found is None:
            body, _ = document.sent()
            found, version = self._server.check(body, document.content_type)
            # Of another release, what is kept is of none.
            self._version = version
            self._known[document.key(version)] = found
        return found
