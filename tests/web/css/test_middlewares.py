"""The same for pages of any aiohttp, WSGI or ASGI application; and as a command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from services import ROOT
from test_vectors import page

from web.features.css import asgi, wsgi
from web.features.css.middleware import inlining
from web.features.css.responses import MAX_BODY, Optimiser, folders

HTML = page('<link rel="stylesheet" href="/static/s.css">', '<p class="a">é</p>').encode()
HTML_TYPE = "text/html; charset=utf-8"
KEPT = ".a{color:red}"

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def optimiser(tmp_path: Path) -> Optimiser:
    (tmp_path / "s.css").write_text(".a { color: red }\n.b { color: blue }\n")
    return Optimiser(folders({"/static/": tmp_path}))


async def by_aiohttp(optimiser: Optimiser, headers: dict[str, str], body: bytes, method: str) -> Answer:
    async def show(request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    app = web.Application(middlewares=[inlining(optimiser)])
    app.router.add_route("*", "/", show)
    server = TestServer(app)
    async with TestClient(server, auto_decompress=False) as client:
        response = await client.request(method, "/")
        return response.status, dict(response.headers), await response.read()


async def by_wsgi(optimiser: Optimiser, headers: dict[str, str], body: bytes, method: str) -> Answer:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", list(headers.items()))
        return [body[:40], body[40:]]

    said: list[Any] = []
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": "/"}
    setup_testing_defaults(environ)
    found = b"".join(wsgi.Inlining(app, optimiser)(environ, lambda *each: said.append(each)))
    return int(said[0][0][:3]), dict(said[0][1]), found


async def by_asgi(optimiser: Optimiser, headers: dict[str, str], body: bytes, method: str) -> Answer:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        await send({"type": "http.response.body", "body": body[:40], "more_body": True})
        await send({"type": "http.response.body", "body": body[40:]})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/", "scheme": "http", "headers": [(b"host", b"site.example")]}
    await asgi.Inlining(app, optimiser)(scope, None, send)  # type: ignore[arg-type]  # it asks for no body
    got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], got, b"".join(each["body"] for each in sent[1:])


EVERY = pytest.mark.parametrize("ask", [by_aiohttp, by_wsgi, by_asgi], ids=["aiohttp", "wsgi", "asgi"])


@EVERY
async def test_page_has_its_sheet_and_headers_that_fit(ask: Any, optimiser: Optimiser) -> None:
    headers = {"Content-Type": HTML_TYPE, "ETag": '"x"', "Content-Security-Policy": "default-src 'self'", "X-Own": "1"}
    status, got, body = await ask(optimiser, headers, HTML, "GET")
    got = {name.lower(): value for name, value in got.items()}
    assert status == 200
    assert f">{KEPT}</style>".encode() in body
    assert got["content-length"] == str(len(body))
    assert got["css-inline"] == "inline; sheets=1; links=0; of=37; kept=13"
    assert got["etag"] == 'W/"x"'
    assert "style-src 'self' 'sha256-" in got["content-security-policy"]
    assert got["x-own"] == "1"
    assert optimiser.counts == {"inline": 1}


@EVERY
@pytest.mark.parametrize(
    ("headers", "body", "method"),
    [
        ({"Content-Type": "text/plain"}, HTML, "GET"),
        ({"Content-Type": "application/xhtml+xml"}, HTML, "GET"),
        ({"Content-Type": "text/html; charset=iso-8859-1"}, HTML, "GET"),
        ({"Content-Type": HTML_TYPE, "Content-Encoding": "gzip"}, HTML, "GET"),
        ({"Content-Type": HTML_TYPE, "Cache-Control": "no-transform"}, HTML, "GET"),
        ({"Content-Type": HTML_TYPE}, HTML, "POST"),
        ({"Content-Type": HTML_TYPE}, HTML + b" " * MAX_BODY, "GET"),
    ],
    ids=["text", "xhtml", "latin", "packed", "no-transform", "post", "long"],
)
async def test_what_is_not_looked_at(
    ask: Any, optimiser: Optimiser, headers: dict[str, str], body: bytes, method: str
) -> None:
    _, got, found = await ask(optimiser, headers, body, method)
    assert found == body
    assert "css-inline" not in {name.lower() for name in got}
    assert not optimiser.counts


@EVERY
@pytest.mark.parametrize(
    ("policy", "body", "why"),
    [
        ("style-src 'none'", HTML, "its policy forbids styles"),
        ("", HTML.replace(b"s.css", b"gone.css"), "it can't be had"),
        ("", HTML + b"\xff", "it is not UTF-8"),
        ("", b"<!doctype html><p>x", "it has no style sheets"),
    ],
)
async def test_page_stays_and_the_header_says_why(
    ask: Any, optimiser: Optimiser, policy: str, body: bytes, why: str
) -> None:
    headers = {"Content-Type": HTML_TYPE} | ({"Content-Security-Policy": policy} if policy else {})
    _, got, found = await ask(optimiser, headers, body, "GET")
    assert found == body
    assert {name.lower(): value for name, value in got.items()}["css-inline"] == f'original; why="{why}"'
    assert optimiser.counts == {"original": 1}


def test_generator_goes_through_wsgi_as_it_is(optimiser: Optimiser) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", HTML_TYPE)])
        yield HTML[:10]
        yield HTML[10:]

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    assert b"".join(wsgi.Inlining(app, optimiser)(environ, lambda *each: None)) == HTML


#: A site of one page: what is between is the framework's.
FRAMEWORKS = {
    "flask": """
from flask import Flask
application = Flask(__name__, static_folder=None)
application.add_url_rule("/", "page", lambda: HTML)
""",
    "django": """
import django
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse(HTML))]
application = get_wsgi_application()
""",
}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_pages_of_flask_and_django_have_their_sheets(tmp_path: Path, name: str) -> None:
    """Their answers are iterators, and were taken for streams: no page of theirs was ever looked at."""
    (tmp_path / "s.css").write_text(".a { color: red } .b { color: blue }")
    program = f"""
import sys
from pathlib import Path
from wsgiref.util import setup_testing_defaults
from web.features.css.responses import Optimiser, folders
from web.features.css.wsgi import Inlining
HTML = {HTML.decode()!r}
{FRAMEWORKS[name]}
environ, said = {{}}, {{}}
setup_testing_defaults(environ)
answer = Inlining(application, Optimiser(folders({{"/static/": Path({str(tmp_path)!r})}})))
body = b"".join(answer(environ, lambda line, headers, *more: said.update(headers)))
assert said["Content-Length"] == str(len(body)), said
sys.stdout.buffer.write(body)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert f">{KEPT}</style>".encode() in done.stdout, done.stderr.decode()


def test_sheets_outside_of_the_folders_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "s.css").write_text("x")
    assert folders({"/static/": tmp_path / "in"})("https://e.org/static/../s.css") is None
    assert folders({"/static/": tmp_path})("https://e.org/static/s.css?v=1") == "x"


# The command


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "web", "css", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_command_prints_the_page_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "s.css").write_bytes(b'@charset "iso-8859-1";\n.a::before{content:"\xe9"}\n.b{x:y}')
    (tmp_path / "page.html").write_bytes(HTML)
    done = run(str(tmp_path / "page.html"), "--root", str(tmp_path), "--report")
    assert done.returncode == 0
    assert done.stdout == HTML.decode().replace(
        '<link rel="stylesheet" href="/static/s.css">',
        '<style data-href="/static/s.css">.a::before{content:"é"}</style>',
    )
    assert "23 of 54 characters (43 %), 1 of 2 rules\n  2: .a::before: the page has .a\n" in done.stderr
    gone = run(str(tmp_path / "page.html"))
    assert (gone.returncode, gone.stdout) == (1, HTML.decode())
    assert "the page is as it was: it can't be had" in gone.stderr
    missing = run(str(tmp_path / "nothing.html"))
    assert missing.returncode == 2
    assert "nothing.html: No such file or directory" in missing.stderr
