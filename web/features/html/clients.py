"""The answers of test clients as documents: of aiohttp's, Django's, Flask's, and of what looks like one of them.

`Watch` has each of those that is installed hand in its HTML answers, with what they were made of. An answer is never
changed, and only whole ones to a GET with status 200 are taken: a failure's own page must not hide the failure.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .documents import Document, Locate, is_document, nowhere, unpacked
from .jinja import BEGIN, END, JinjaPage, marked_place, near, offset

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

#: Replaces an attribute of an object until the tests' end (pytest's MonkeyPatch.setattr).
Replace = Callable[[Any, str, Any], None]


def document_of(answer: Any, *, source: str = "", is_piece: bool = False, locate: Locate = nowhere) -> Document:
    """A document of a text, of bytes, or of an answer whose body is there."""
    if isinstance(answer, Document):
        return answer
    if isinstance(answer, str | bytes):
        body = answer.encode() if isinstance(answer, str) else answer
        return Document(source or "the answer", body, is_piece=is_piece, locate=locate)
    headers = answer.headers
    bodies = (_got(answer, name) for name in ("content", "data", "body", "_body"))
    read = next((found for found in bodies if isinstance(found, bytes)), None)
    if read is None:
        raise TypeError(f"{type(answer).__name__} has no body that was read")
    body = unpacked(read, headers.get("Content-Encoding", ""))
    return Document(source or _source(answer), body, headers.get("Content-Type", ""), is_piece, locate)


def _got(answer: Any, name: str) -> Any:
    try:
        return getattr(answer, name, None)
    except (AttributeError, RuntimeError):
        return None


def _source(answer: Any) -> str:
    url = getattr(answer, "url", None) or getattr(getattr(answer, "request", None), "path", None)
    return f"GET {url}" if url else "the answer"


#: Texts of templates of which it is known what they were made of: a page has many, and is itself the last of them.
MADE = 500


class Watch:
    """Answers since the last time they were taken."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Document] = {}
        #: What pages that are being made now are made of: the outermost template counts.
        self._made: dict[str, Locate] = {}

    def take(self) -> list[Document]:
        """The answers; each of the same bytes once."""
        waiting, self._waiting = self._waiting, {}
        self._made.clear()
        return list(waiting.values())

    def hand_in(self, source: str, body: bytes, content_type: str, coding: str = "") -> None:
        """Take an answer as it leaves an application."""
        if not is_document(content_type) or not content_type.startswith(("text/html", "application/xhtml")):
            return
        body = unpacked(body, coding)
        self._waiting.setdefault(body, Document(source, body, content_type, locate=self.locate(body)))

    def made(self, text: str, locate: Locate) -> None:
        """Say what a text is made of."""
        self._made.setdefault(text, locate)
        while len(self._made) > MADE:
            self._made.pop(next(iter(self._made)), None)

    def locate(self, body: bytes) -> Locate:
        """What finds the template and line of an answer, by its body."""
        return self._made.get(body.decode("utf-8", "replace"), nowhere)

    def install(self, replace: Replace) -> None:
        """Have test clients hand in their answers, those of what is imported later too."""
        self.install_templates(replace)
        imports = _Imports()
        for module, install in (
            ("aiohttp.web_response", self._aiohttp),
            ("flask.testing", self._flask),
            ("django.test.client", self._django),
        ):
            imports.when(module, partial(install, replace))
        if "django.template.base" not in sys.modules:
            imports.when("django.template.base", partial(self._django_templates, replace))
        # To import them all would take longer than to look at a hundred pages that are known.
        replace(sys, "meta_path", [imports, *sys.meta_path])

    def install_templates(self, replace: Replace) -> None:
        """Have templates of Jinja and Django say what they made."""
        if importlib.util.find_spec("jinja2"):
            self._jinja(replace)
        if "django.template.base" in sys.modules or (_has_django_settings() and importlib.util.find_spec("django")):
            self._django_templates(replace)

    # Templates

    def _jinja(self, replace: Replace) -> None:
        import jinja2

        watch, render = self, jinja2.Template.render

        def rendering(template: jinja2.Template, *args: Any, **kwargs: Any) -> str:
            text = render(template, *args, **kwargs)
            environment = template.environment
            # Not while a page is made once more, to find a place in it.
            if template.name is not None and "web.features.html.jinja.Marking" not in "".join(environment.extensions):
                page = JinjaPage(environment, template.name, dict(*args, **kwargs), text)
                watch.made(text, page.locate)
            return text

        replace(jinja2.Template, "render", rendering)

    def _aiohttp(self, replace: Replace) -> None:
        from aiohttp import hdrs
        from aiohttp.web_response import Response

        watch, prepare = self, Response._start

        async def starting(response: Response, request: BaseRequest) -> Any:
            if request.method == hdrs.METH_GET and response.status == 200 and isinstance(response.body, bytes):
                coding = response.headers.get(hdrs.CONTENT_ENCODING, "")
                kind = response.headers.get(hdrs.CONTENT_TYPE, "")
                if hdrs.CONTENT_RANGE not in response.headers:
                    watch.hand_in(f"GET {request.rel_url}", response.body, kind, coding)
            return await prepare(response, request)

        replace(Response, "_start", starting)

    def _flask(self, replace: Replace) -> None:
        from flask.testing import FlaskClient

        watch, ask = self, FlaskClient.open

        def opening(client: FlaskClient, *args: Any, **kwargs: Any) -> Any:
            response = ask(client, *args, **kwargs)
            request = response.request
            # A client's answer is always an iterator; one without a length was streamed.
            is_whole = response.content_length is not None
            if request.method == "GET" and response.status_code == 200 and is_whole:
                coding = response.headers.get("Content-Encoding", "")
                watch.hand_in(f"GET {request.path}", response.get_data(), response.headers["Content-Type"], coding)
            return response

        replace(FlaskClient, "open", opening)

    def _django(self, replace: Replace) -> None:
        from django.test.client import Client

        watch, ask = self, Client.request

        def asking(client: Any, **request: Any) -> Any:
            response = ask(client, **request)
            if request.get("REQUEST_METHOD", "GET") == "GET" and response.status_code == 200 and not response.streaming:
                coding = response.headers.get("Content-Encoding", "")
                source = f"GET {request.get('PATH_INFO', '/')}"
                watch.hand_in(source, response.content, response.headers.get("Content-Type", ""), coding)
            return response

        replace(Client, "request", asking)

    def _django_templates(self, replace: Replace) -> None:
        from django.template import base

        watch, render = self, base.Template.render

        def rendering(template: Any, context: Any) -> Any:
            text = render(template, context)
            if not _marking.on:
                page = DjangoPage(template, context.flatten(), str(text))
                watch.made(str(text), page.locate)
            return text

        replace(base.Template, "render", rendering)
        text_of = base.TextNode.render

        def marked(node: Any, context: Any) -> str:
            if not _marking.on:
                return str(text_of(node, context))
            lines = node.s.split("\n")
            line = node.token.lineno if node.token is not None else 1
            name = node.origin.name if node.origin is not None else ""
            return "\n".join(f"{BEGIN}{name}:{line + n}{END}{each}" for n, each in enumerate(lines))

        replace(base.TextNode, "render", marked)
        # It is called without its name, past `render`.
        replace(base.TextNode, "render_annotated", lambda node, context: node.render(context))


class _Imports(MetaPathFinder):
    """Calls a function as soon as a module has been imported."""

    def __init__(self) -> None:
        self._waiting: dict[str, Callable[[], None]] = {}

    def when(self, module: str, then: Callable[[], None]) -> None:
        """Do it now, if it is there already."""
        if module in sys.modules:
            then()
        else:
            self._waiting[module] = then

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        then = self._waiting.pop(fullname, None)
        spec = importlib.util.find_spec(fullname) if then is not None else None
        if then is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def executing(module: ModuleType) -> None:
            execute(module)
            then()

        spec.loader.exec_module = executing  # type: ignore[method-assign]  # each spec has a loader of its own
        return spec


class _Marking(threading.local):
    """Whether a page of Django's is being made with marks now, by this thread: others answer meanwhile."""

    on = False


_marking = _Marking()


def _has_django_settings() -> bool:
    import os

    return "DJANGO_SETTINGS_MODULE" in os.environ  # noqa: TID251  # Django's own


class DjangoPage:
    """What a page of Django's was made of."""

    def __init__(self, template: Any, context: dict[str, Any], text: str) -> None:
        self._template = template
        self._context = context
        self._text = text

    def locate(self, line: int | None, column: int | None) -> str:
        """Where that comes from."""
        from pathlib import Path

        from django.template import Context

        name = self._template.origin.name if self._template.origin is not None else ""
        place = ""
        if line is not None:
            _marking.on = True
            try:
                marked = str(self._template.render(Context(self._context, autoescape=self._template.engine.autoescape)))
            except Exception:  # noqa: BLE001  # it is made of what is gone by now: a row of the test's database, say
                marked = ""
            finally:
                _marking.on = False
            from .jinja import MARK

            if MARK.sub("", marked) == self._text:
                place = marked_place(marked, offset(self._text, line, column or 1))
        found, _, number = (place or name).rpartition(":") if place else (name, "", "")
        return f"{near(Path(found))}:{number}" if number else near(Path(name)) if name else ""
