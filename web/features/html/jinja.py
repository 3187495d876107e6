"""Where a line of a page comes from: the template is rendered once more with marks in its text. For Jinja."""

from __future__ import annotations

import contextvars
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

#: Around a template's name and line. Nobody's text has these: they are of Unicode's private use.
BEGIN, END = "\ue000", "\ue001"
MARK = re.compile(f"{BEGIN}([^{END}]*){END}")


class Marking(Extension):
    """Puts the template's name and line before each line of its text."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            if token.type != "data":
                yield token
                continue
            lines = token.value.split("\n")
            marked = (f"{BEGIN}{stream.name}:{token.lineno + n}{END}{line}" for n, line in enumerate(lines))
            yield Token(token.lineno, "data", "\n".join(marked))


class JinjaPage:
    """What a page was made of. text: the page. shown: a template's name as people know it, such as its path."""

    def __init__(self, environment: jinja2.Environment, template: str, context: Mapping[str, Any], text: str) -> None:
        self._environment = environment
        self._template = template
        self._context = dict(context)
        self._text = text
        self._marked: str | None = None
        # A page is made once more when its request is over: `url_for` and the like still want it.
        self._around = contextvars.copy_context()

    def locate(self, line: int | None, column: int | None) -> str:
        """Where that comes from; the template alone where it can't be said more exactly."""
        if line is None:
            return self._shown(self._template)
        return self.place_at(offset(self._text, line, column or 1))

    def place_at(self, at: int) -> str:
        """Where the character before a place in the text comes from."""
        if self._marked is None:
            self._marked = self._around.run(self._again)
        marked = self._marked
        if MARK.sub("", marked) != self._text:
            # Made of what is another thing each time.
            return self._shown(self._template)
        return self._shown(marked_place(marked, at) or self._template)

    def _again(self) -> str:
        environment = self._environment.overlay(extensions=[Marking], cache_size=0, bytecode_cache=None)
        try:
            return environment.get_template(self._template).render(self._context)
        except Exception:  # noqa: BLE001  # it is made of what is gone by now: a session, say
            return ""

    def _shown(self, place: str) -> str:
        name, _, line = place.partition(":")
        path = name
        if self._environment.loader is not None:
            try:
                file = self._environment.loader.get_source(self._environment, name)[1]
            except (jinja2.TemplateNotFound, RuntimeError, NotImplementedError):
                file = None
            if file is not None:
                path = near(Path(file))
        return f"{path}:{line}" if line else path


def offset(text: str, line: int, column: int) -> int:
    """How many characters are before the end of a place."""
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[: line - 1])) + column


def marked_place(marked: str, at: int) -> str:
    """The mark that the text at a place has before it, "" for none."""
    found, length = "", 0
    parts = MARK.split(marked)
    for text, mark in zip(parts[::2], [*parts[1::2], ""], strict=True):
        length += len(text)
        if length >= at or not mark:
            break
        found = mark
    return found


def near(path: Path) -> str:
    """A file as it is called from where we are, if it is below that."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
