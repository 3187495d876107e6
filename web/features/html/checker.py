"""Documents in, verdicts out: with what is let pass, and each body looked at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .documents import MAX_BYTES, Document, is_document
from .filters import Filters
from .kept import Kept
from .verdicts import Level, Message, Unchecked, Verdict, judged


class Asked(Protocol):
    """Who says what is wrong with a document (`server.Server`)."""

    def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
        """Its messages, and its version. Raises Unchecked."""


class Checker:
    """level: of messages that make a document invalid, and graver ones. most: bytes of a document. kept: what is known
    from former runs."""

    def __init__(
        self,
        server: Asked,
        filters: Filters | None = None,
        *,
        level: Level = "error",
        most: int = MAX_BYTES,
        kept: Kept | None = None,
    ) -> None:
        self.filters = filters or Filters()
        self._server = server
        self._level = level
        self._most = most
        self._version = ""
        self._kept = kept
        self._known: dict[tuple[bytes, str], Sequence[Message]] = {}

    def check(self, document: Document) -> Verdict:
        """The verdict of a document. Never raises for what the document is."""
        try:
            messages = self._messages(document)
        except Unchecked as error:
            return Verdict("unchecked", document.source, why=str(error), version=self._version)
        _, before = document.sent()
        left = self.filters.left(document.placed(messages, before), document.source)
        return Verdict(judged(left, self._level), document.source, tuple(left), version=self._version)

    def knows(self, document: Document) -> bool:
        """Whether its verdict needs no validator: it was seen, or is never sent."""
        try:
            return self._unasked(document, document.key()) is not None
        except Unchecked:
            return True

    def learn(self, document: Document, messages: Sequence[Message], version: str) -> Sequence[Message]:
        """Take what the validator, of this version, said of a document; returns it."""
        key = document.key()
        # Of another release, what is known is of none.
        self._version = version
        self._known[key, version] = messages
        if self._kept is not None:
            self._kept.put(key, messages, version)
        return messages

    def _messages(self, document: Document) -> Sequence[Message]:
        key = document.key()
        found = self._unasked(document, key)
        if found is None:
            body, _ = document.sent()
            found = self.learn(document, *self._server.check(body, document.content_type))
        return found

    def _unasked(self, document: Document, key: bytes) -> Sequence[Message] | None:
        """Its messages, if the validator needn't be asked for them. Raises Unchecked for what it won't be asked."""
        if not is_document(document.content_type):
            raise Unchecked(f"it is {document.content_type or 'of no type'}, not a document")
        if not document.body.strip():
            return [Message("error", "The document is empty.")]
        if len(document.body) > self._most:
            raise Unchecked(f"it has {len(document.body):,} bytes, more than the {self._most:,} that are looked at")
        found = self._known.get((key, self._version))
        if found is None and self._kept is not None and (kept := self._kept.get(key)) is not None:
            found, self._version = kept
            self._known[key, self._version] = found
        return found
