"""Every HTML answer of the tests goes through a validator, and each fault is named with its template and line."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import brotli
import jinja2
import pytest
import services
from aiohttp import hdrs, web
from ignored import MARKUP
from services import Missing

from web.features.html import finding
from web.features.html.jinja import MARK, Marking, marked_place, offset
from web.features.html.server import Server
from web.features.html.verdicts import Message
from web.pages import templating
from web.pages.encodings import zstd

#: Faults of a page that are told; a broken one has many.
_TOLD = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """A page, and what it was made of; without a template it was written by hand."""

    source: str
    text: str
    template: str | None = None
    context: dict[str, Any] | None = None
    environment: jinja2.Environment | None = None


class Pages:
    """The HTML answers of a test."""

    def __init__(self, server: Server) -> None:
        self.server = server
        #: Those of this test that have a template, by what was asked for.
        self.recent: dict[str, Answer] = {}
        self._waiting: dict[bytes, Answer] = {}
        self._known: set[bytes] = set()
        self._packed: set[bytes] = set()

    def take(self, answer: Answer) -> None:
        """An answer to look at; one of the same bytes only once."""
        self.recent[answer.source] = answer
        self._take(_hash(answer.text.encode()), answer)

    def take_bytes(self, source: str, body: bytes, coding: str) -> None:
        """Check an answer's bytes as they leave the site."""
        if coding:
            if (key := _hash(body)) in self._packed:
                return
            self._packed.add(key)
            body = _unpack(body, coding)
        self._take(_hash(body), Answer(source, body.decode()))

    def _take(self, key: bytes, answer: Answer) -> None:
        if key not in self._known:
            # The first says which template it was: answers are seen once more when they leave.
            self._waiting.setdefault(key, answer)

    def forget(self) -> None:
        """Look at none of the answers since the last time."""
        self._waiting, self.recent = {}, {}

    def check(self) -> None:
        """Raise AssertionError for what is wrong with the answers since the last time."""
        waiting, self._waiting, self.recent = self._waiting, {}, {}
        faults = []
        for key, answer in waiting.items():
            found = list(self._faults(answer))
            faults += found
            if not found:
                self._known.add(key)
        if faults:
            raise AssertionError("\n".join(faults[:_TOLD]))

    def _faults(self, answer: Answer) -> Iterator[str]:
        messages, _ = self.server.check(answer.text.encode(), "text/html; charset=utf-8")
        for message in messages:
            # Of "info" only the warnings; the others say what it did.
            if message.level == "info" or any(each.match(message.text) for each in MARKUP):
                continue
            yield f"{answer.source}: {place(answer, message)}: {message.text} {message.extract!r}"


def place(answer: Answer, message: Message) -> str:
    """Where a fault comes from: a template's line, or a line of the answer."""
    if message.line is None:
        return (answer.template and f"templates/{answer.template}") or "the answer"
    at = offset(answer.text, message.line, message.column or 1)
    return _template_line(answer, at) or f"line {message.line} of the answer"


def place_of(pages: Pages | None, source: str, tag: str, nth: int) -> str | None:
    """The template's line of the nth element of a kind in what a test was answered with last."""
    answer = None if pages is None else pages.recent.get(source)
    if answer is None or nth < 0:
        return None
    # A browser shows no elements of a template.
    text = re.sub("<template.*?</template>", lambda match: " " * len(match[0]), answer.text, flags=re.DOTALL)
    found = [match.end() for match in re.finditer(rf"<{tag}\b", text)]
    return _template_line(answer, found[nth]) if nth < len(found) else None


def _template_line(answer: Answer, at: int) -> str | None:
    if answer.environment is None or answer.template is None or answer.context is None:
        return None
    environment = answer.environment.overlay(extensions=[Marking], cache_size=0, bytecode_cache=None)
    marked = environment.get_template(answer.template).render(answer.context)
    # What is made of another thing each time can't be said more exactly.
    found = marked_place(marked, at) if MARK.sub("", marked) == answer.text else ""
    return f"templates/{found or answer.template}"


def _hash(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


def _unpack(body: bytes, coding: str) -> bytes:
    if coding == "br":
        plain: bytes = brotli.decompress(body)
        return plain
    return {"gzip": gzip.decompress, "zstd": zstd.decompress}[coding](body)


def validator() -> Server:
    """The validator, one process for all workers of a run; raises Missing."""
    java = services.java_program()
    jar = services.node_folder() / "vnu-jar" / "build" / "dist" / "vnu.jar"
    if not jar.exists():
        raise Missing(f"{jar} is not there (npm ci)")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    return Server(lambda: finding.command(java, jar), f"tests-{run}")


def watch(pages: Pages, patch: pytest.MonkeyPatch) -> None:
    """Have every site that is made from now on hand in its pages."""
    render, written, setup = aiohttp_jinja2.render_template, templating._written, templating.setup

    def rendering(template: str, request: web.Request, context: dict[str, Any], **options: Any) -> web.Response:
        response = render(template, request, context, **options)
        assert response.text is not None
        environment = aiohttp_jinja2.get_env(request.app)
        pages.take(Answer(f"{request.method} {request.rel_url}", response.text, template, context, environment))
        return response

    def writing(request: web.Request, template: str, context: dict[str, Any]) -> Iterator[str]:
        parts = []
        for part in written(request, template, context):
            parts.append(part)
            yield part
        environment = aiohttp_jinja2.get_env(request.app)
        pages.take(Answer(f"{request.method} {request.rel_url}", "".join(parts), template, context, environment))

    async def leaving(request: web.Request, response: web.StreamResponse) -> None:
        if isinstance(response, web.Response) and response.content_type == "text/html":
            body = response.body
            if isinstance(body, bytes) and body:
                coding = response.headers.get(hdrs.CONTENT_ENCODING, "")
                pages.take_bytes(f"{request.method} {request.rel_url}", body, coding)

    def setting_up(app: web.Application, folder: Path, more: Any) -> None:
        setup(app, folder, more)
        app.on_response_prepare.append(leaving)

    patch.setattr(aiohttp_jinja2, "render_template", rendering)
    patch.setattr(templating, "_written", writing)
    patch.setattr(templating, "setup", setting_up)
