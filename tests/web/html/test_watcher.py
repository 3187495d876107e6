"""Pages of a site in development have a badge, and are otherwise what the site answered."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from wsgiref.util import setup_testing_defaults

import aiohttp_jinja2
import jinja2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from services import ROOT

from hub.app import Hub, running
from hub.publisher import RecordingPublisher
from hub.settings import Settings
from web.features.html import watcher
from web.features.html.checker import Checker
from web.features.html.middleware import check_pages
from web.features.html.verdicts import Message, Unchecked
from web.features.html.wsgi import Checking

HTML = "text/html; charset=utf-8"
SCRIPT = re.compile(
    rb'<script src="/fanfare-html\.js" data-key="([0-9a-f]{32})" data-hub="/bayeux"( nonce="[^"]*")? defer></script>'
)


class Says:
    """A validator that says the same of each page, or can't."""

    def __init__(self, *messages: Message, why: str = "") -> None:
        self.messages = list(messages)
        self.why = why
        self.asked: list[bytes] = []

    def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
        self.asked.append(body)
        if self.why:
            raise Unchecked(self.why)
        return self.messages, "1"


@asynccontextmanager
async def site(
    says: Says, answer: Callable[[web.Request], web.StreamResponse], replace: Any
) -> AsyncIterator[tuple[TestClient[web.Request, web.Application], RecordingPublisher, watcher.Watcher]]:
    async def page(request: web.Request) -> web.StreamResponse:
        response = answer(request)
        if not isinstance(response, web.Response):
            await response.prepare(request)
            await response.write(b"<p>x")  # type: ignore[attr-defined]  # a StreamResponse
        return response

    app, publisher = web.Application(), RecordingPublisher()
    aiohttp_jinja2.setup(app, loader=jinja2.DictLoader({"p.html": "<p>one\n<p>{{ two }}\n<b>{{ three }}</b>\n"}))
    watching = check_pages(app, Checker(says), publisher, replace=replace)
    app.router.add_route("*", "/page", page)
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        yield client, publisher, watching


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Any:
    return monkeypatch.setattr


async def _waited(watching: watcher.Watcher) -> None:
    await asyncio.to_thread(watching.wait)


async def test_page_is_told_what_is_wrong_with_its_template_and_line(replace: Any) -> None:
    says = Says(Message("error", "Stray end tag “b”.", 3, 4, "</b>"))

    def answer(request: web.Request) -> web.Response:
        return aiohttp_jinja2.render_template("p.html", request, {"two": "2", "three": "3"})

    async with site(says, answer, replace) as (client, publisher, watching):
        response = await client.get("/page")
        body = await response.read()
        key = SCRIPT.findall(body)[0][0].decode()
        await _waited(watching)
        found = await (await client.get(f"/fanfare-html.js?{key}")).json()
    assert SCRIPT.sub(b"", body) == says.asked[0] == b"<p>one\n<p>2\n<b>3</b>"
    assert publisher.published == [(f"html/{key}", found)]
    assert (found["outcome"], found["count"]) == ("invalid", 1)
    assert found["messages"][0]["place"] == "p.html:3"
    assert response.headers["Cache-Control"] == "no-store"


async def test_script_is_before_the_last_end_of_the_body_and_has_the_nonce_of_the_policy(replace: Any) -> None:
    html = b"<!doctype html><body><p>x<!-- </body> --></body></html>"

    def answer(request: web.Request) -> web.Response:
        policy = {"Content-Security-Policy": "script-src 'nonce-abc='", "ETag": '"x"'}
        return web.Response(body=html, headers={"Content-Type": HTML, **policy})

    async with site(Says(), answer, replace) as (client, _, _):
        response = await client.get("/page")
        body = await response.read()
    assert SCRIPT.sub(b"", body) == html
    assert SCRIPT.findall(body)[0][1] == b' nonce="abc="'
    assert body.endswith(b"</script></body></html>")
    # A page that the browser kept would ask for a verdict that is long gone.
    assert "ETag" not in response.headers


@pytest.mark.parametrize(
    ("method", "response"),
    [
        ("POST", {"body": b"<p>x", "headers": {"Content-Type": HTML}}),
        ("HEAD", {"body": b"<p>x", "headers": {"Content-Type": HTML}}),
        ("GET", {"body": b"<p>x", "headers": {"Content-Type": HTML}, "status": 500}),
        ("GET", {"status": 304}),
        ("GET", {"body": b"{}", "headers": {"Content-Type": "application/json"}}),
        ("GET", {"body": b"\x1f\x8b", "headers": {"Content-Type": HTML, "Content-Encoding": "gzip"}}),
        ("GET", {"body": b"<p>x", "headers": {"Content-Type": HTML, "Content-Range": "bytes 0-3/9"}, "status": 206}),
        ("GET", None),
    ],
    ids=["post", "head", "failed", "304", "json", "packed", "range", "stream"],
)
async def test_what_is_no_whole_page_is_sent_as_it_is(replace: Any, method: str, response: Any) -> None:
    says = Says()

    def answer(request: web.Request) -> web.StreamResponse:
        return web.StreamResponse(headers={"Content-Type": HTML}) if response is None else web.Response(**response)

    async with site(says, answer, replace) as (client, publisher, _):
        got = await (await client.request(method, "/page")).read()
    assert got == (b"" if method == "HEAD" else b"<p>x" if response is None else response.get("body", b""))
    assert says.asked == publisher.published == []


async def test_what_could_not_be_checked_is_neither_valid_nor_invalid(replace: Any) -> None:
    says = Says(why="Java is not installed")
    async with site(says, lambda request: web.Response(text="<p>x", content_type="text/html"), replace) as parts:
        client, publisher, watching = parts
        assert (await client.get("/page")).status == 200
        await _waited(watching)
    assert [(each["outcome"], each["why"]) for _, each in publisher.published] == [  # type: ignore[index]  # a dict
        ("unchecked", "Java is not installed")
    ]


async def test_crowd_of_pages_is_answered_and_those_that_find_no_place_are_said_to_be_unchecked(
    replace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, begun = threading.Event(), threading.Event()

    class Slow(Says):
        def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
            begun.set()
            go.wait(30)
            return super().check(body, content_type)

    monkeypatch.setattr(watcher, "WAITING", 2)
    bodies = iter(range(9))
    async with site(
        Slow(), lambda request: web.Response(text=f"<p>{next(bodies)}", content_type="text/html"), replace
    ) as (client, publisher, watching):
        await client.get("/page")
        begun.wait(30)
        keys = []
        for _ in range(4):
            keys += SCRIPT.findall(await (await client.get("/page")).read())
        last = [await client.get(f"/fanfare-html.js?{key.decode()}") for key, _ in keys]
        assert [each.status for each in last] == [204, 204, 200, 200]
        assert (await last[-1].json())["why"] == "2 other pages wait to be checked"
        go.set()
        await _waited(watching)
    assert len(publisher.published) == 5


async def test_page_knows_though_the_hub_is_away(replace: Any) -> None:
    async with site(Says(), lambda request: web.Response(text="<p>x", content_type="text/html"), replace) as parts:
        client, publisher, watching = parts

        async def away(*args: object, **options: object) -> None:
            raise OSError("away")

        replace(publisher, "publish", away)
        body = await (await client.get("/page")).read()
        await _waited(watching)
        key = SCRIPT.findall(body)[0][0].decode()
        assert (await (await client.get(f"/fanfare-html.js?{key}")).json())["outcome"] == "valid"


def test_template_that_can_not_be_made_twice_costs_its_line_only(replace: Any) -> None:
    def broken(line: int | None, column: int | None) -> str:
        raise ZeroDivisionError

    assert watcher._safe(broken)(1, 1) == ""


def test_pages_by_wsgi(replace: Any) -> None:
    class Sync:
        """As a SyncPublisher is called."""

        def __init__(self) -> None:
            self.said: list[tuple[str, Any]] = []

        def publish(self, channel: str, data: object) -> None:
            self.said.append((channel, data))

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", HTML), ("Content-Length", "14")])
        return iter([b"<p>x", b"</p></body>"[:10]])

    publisher, says = Sync(), Says(Message("error", "no title", 1, 1))
    checking = Checking(app, Checker(says), publisher, replace=replace)  # type: ignore[arg-type]  # as one

    def ask(path: str, query: str = "") -> tuple[str, dict[str, str], bytes]:
        environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query}
        setup_testing_defaults(environ)
        said: list[Any] = []
        body = b"".join(checking(environ, lambda line, headers, *more: said.extend([line, dict(headers)])))
        return said[0], said[1], body

    line, headers, body = ask("/page")
    checking.watcher.close()
    key = SCRIPT.findall(body)[0][0].decode()
    assert (line, SCRIPT.sub(b"", body)) == ("200 OK", b"<p>x</p></body")
    assert headers["Content-Length"] == str(len(body))
    assert publisher.said[0][0] == f"html/{key}"
    assert json.loads(ask("/fanfare-html.js", key)[2])["messages"][0]["text"] == "no title"
    assert ask("/fanfare-html.js", "0" * 32)[0] == "204 No Content"
    assert b"attachShadow" in ask("/fanfare-html.js")[2]


WRAPPED = {
    "flask": "from site_of_faults import app; app = app.wsgi_app",
    "django": "import site_of_faults; from django.core.wsgi import get_wsgi_application; app = get_wsgi_application()",
}


@pytest.mark.parametrize("site", WRAPPED)
def test_pages_of_flask_and_django_name_their_templates(site: str) -> None:
    program = f"""
import json
from wsgiref.util import setup_testing_defaults
{WRAPPED[site]}
from web.features.html.checker import Checker
from web.features.html.verdicts import Message
from web.features.html.wsgi import Checking
class Says:
    def check(self, body, content_type): return [Message("error", "x", 5, 3)], "1"
class Publisher:
    def publish(self, channel, data): print(json.dumps(data))
checking = Checking(app, Checker(Says()), Publisher())
environ = {{"PATH_INFO": "/fine"}}
setup_testing_defaults(environ)
body = b"".join(checking(environ, lambda *said: None))
assert b"/fanfare-html.js" in body, body
checking.watcher.close()
"""
    folder = ROOT / "examples" / "html" / site
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert (found["outcome"], found["messages"][0]["place"]) == ("invalid", "templates/fine.html:5")


@pytest.mark.browser
async def test_badge_shows_what_the_hub_says_on_an_open_page(chromium: Any, replace: Any) -> None:
    """The page asks once, when it hears the hub; the verdict comes later, and by the hub."""
    go = threading.Event()

    class Later(Says):
        def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
            go.wait(60)
            return super().check(body, content_type)

    app = web.Application()
    hub = Hub(Settings(realm="test", key=b"k" * 32))
    says = Later(Message("error", "Stray end tag “b”.", 3, 4, "</b>"))

    async def page(request: web.Request) -> web.Response:
        return aiohttp_jinja2.render_template("p.html", request, {"two": "2", "three": "3"})

    aiohttp_jinja2.setup(
        app, loader=jinja2.DictLoader({"p.html": "<!doctype html><p>one\n<p>{{ two }}\n</b>{{ three }}\n"})
    )
    hub.setup(app)
    check_pages(app, Checker(says), hub.publisher, replace=replace)
    app.router.add_get("/page", page)
    async with running(app, hub) as url:
        opened = await (await chromium.new_context()).new_page()
        asked: list[str] = []
        opened.on("response", lambda response: "html.js?" in response.url and asked.append(response.url))
        await opened.goto(f"{url}/page")
        badge = opened.locator("fanfare-html details")
        assert await badge.get_attribute("data-outcome") == "waiting"
        async with asyncio.timeout(60):
            while not asked:
                await asyncio.sleep(0.02)
        go.set()
        await opened.locator('fanfare-html details[data-outcome="invalid"]').wait_for(timeout=60_000)
        assert await badge.locator("summary").inner_text() == "HTML invalid: 1"
        await badge.locator("summary").click()
        assert await badge.locator("li").inner_text() == "error: Stray end tag “b”.\np.html:3\n</b>"
        assert len(asked) == 1
