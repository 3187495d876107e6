"""Around every page: forms of our own only, headers, errors in the form that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.exc import OperationalError
from visiting import Browser, Forms

from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.db.database import Database
from web.features.events.models import Event
from web.pages.requests import MAX_FORM
from web.settings import Settings

POST = "/events/brass-on-the-quay/comments"
FIELDS = {"name": "Ada", "text": "Hello"}


# Forms


async def test_form_of_a_user_without_the_token_is_refused(
    manager: Browser, concert: Event, publisher: RecordingPublisher
) -> None:
    await manager.look("/events/brass-on-the-quay")
    response = await manager.send(POST, FIELDS)
    assert response.status == 403
    assert "reload the page" in manager.page
    assert publisher.published == []


async def test_token_of_another_visitor_is_refused(
    manager: Browser, new_browser: Callable[[], Awaitable[Browser]], concert: Event
) -> None:
    other = await new_browser()
    await other.sign_in()
    token = await other.token()
    assert token != await manager.token()
    assert (await manager.send(POST, FIELDS | {"csrf_token": token})).status == 403
    assert (await other.send(POST, FIELDS | {"csrf_token": token})).status == 303


@pytest.mark.parametrize("token", ["", "é", "\ud83d", "0" * 64])
async def test_tokens_that_are_none_are_refused(manager: Browser, concert: Event, token: str) -> None:
    fields = FIELDS | {"csrf_token": token.encode(errors="replace").decode()}
    assert (await manager.send(POST, fields)).status == 403


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_form_sent_from_another_site_is_refused_even_with_the_token(
    manager: Browser, concert: Event, headers: dict[str, str]
) -> None:
    token = await manager.token()
    assert (await manager.send(POST, FIELDS | {"csrf_token": token}, headers=headers)).status == 403


@pytest.mark.parametrize("headers", FOREIGN)
async def test_form_of_nobody_sent_from_another_site_is_refused(
    browser: Browser, concert: Event, headers: dict[str, str], publisher: RecordingPublisher
) -> None:
    assert (await browser.send(POST, FIELDS, headers=headers)).status == 403
    assert publisher.published == []


@pytest.mark.parametrize("with_origin", [True, False])
async def test_form_of_nobody_is_taken_from_our_pages(browser: Browser, concert: Event, with_origin: bool) -> None:
    """The page is the same for everybody, and so has no token: the browser says where the form comes from."""
    await browser.look("/events/brass-on-the-quay")
    assert "csrf_token" not in browser.page
    headers = {"Accept": "text/html"} | (
        {"Origin": browser.origin} if with_origin else {"Sec-Fetch-Site": "same-origin"}
    )
    response = await browser.client.post(POST, data=FIELDS, headers=headers, allow_redirects=False)
    assert response.status == 303


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "none"}])
async def test_browser_that_says_nothing_is_asked_once_more(
    browser: Browser, concert: Event, publisher: RecordingPublisher, headers: dict[str, str]
) -> None:
    """What was written is kept: it is on the page that asks."""
    text = 'One line\nand "another" </textarea>'
    headers = {"Accept": "text/html", **headers}
    response = await browser.client.post(POST, data={"name": "Ada", "text": text}, headers=headers)
    browser.page = await response.text()
    assert (response.status, publisher.published) == (403, [])
    again = Forms.of(browser.page)[POST]
    assert (again["name"], again["text"]) == ("Ada", text)
    response = await browser.client.post(POST, data=again, headers=headers, allow_redirects=False)
    assert response.status == 303
    assert [channel for channel, _ in publisher.published] == [f"comments-{concert.thread_id}", "comment-counts"]


async def test_script_that_says_nothing_is_refused(browser: Browser, concert: Event) -> None:
    response = await browser.client.post(POST, data=FIELDS, headers={"Accept": "application/json"})
    assert response.status == 403


async def test_token_may_come_as_a_header(manager: Browser, concert: Event) -> None:
    token = await manager.token()
    assert (await manager.send(POST, FIELDS, headers={"X-CSRF-Token": token})).status == 303


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"name": 1}', "application/json"),
        (b'{"name": "\\ud800"}', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"name=\xff&text=x", "application/x-www-form-urlencoded; charset=utf-8"),
        (b"name=a", "application/x-www-form-urlencoded; charset=klingon"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
        ),
    ],
)
async def test_a_body_that_is_no_form_gets_a_reason(
    browser: Browser, concert: Event, body: bytes, content_type: str
) -> None:
    headers = {"Content-Type": content_type, "Origin": browser.origin, "Accept": "application/json"}
    response = await browser.client.post(POST, data=body, headers=headers)
    assert response.status in {400, 415, 422}
    answer = await response.json()
    assert answer["error"]
    assert answer["next"]


@pytest.mark.parametrize("charset", ["punycode", "IDNA", "utf-7", "utf-16", "unicode_escape", '"punycode"', "rot13"])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/json"])
async def test_a_form_is_in_utf_8(browser: Browser, concert: Event, kind: str, charset: str) -> None:
    """Whoever sent 150 kB of "punycode" to the sign-in halted the process, hub and all, for two seconds: any of
    Python's codecs was had by its name, and some take time with the square of the length.
    """
    headers = {"Content-Type": f"{kind}; charset={charset}", "Accept": "application/json"}
    response = await browser.client.post("/login", data=b"a=b-" + b"ab" * 100, headers=headers)
    assert response.status == 415
    assert (await response.json())["error"] == "Send the form in UTF-8."


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8", "us-ascii"])
async def test_a_form_may_say_that_it_is_in_utf_8(browser: Browser, concert: Event, charset: str) -> None:
    headers = {
        "Content-Type": f"application/x-www-form-urlencoded; charset={charset}",
        "Origin": browser.origin,
    }
    body = "name=%C3%A9&text=x"
    assert (await browser.client.post(POST, data=body, headers=headers, allow_redirects=False)).status == 303


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_long_is_413(browser: Browser, concert: Event, chunked: bool) -> None:
    body = b"text=" + b"x" * MAX_FORM

    async def chunks():  # type: ignore[no-untyped-def]  # an async generator of bytes
        yield body

    headers = {
        "Origin": browser.origin,
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    response = await browser.client.post(POST, data=chunks() if chunked else body, headers=headers)
    assert response.status == 413
    assert (await response.json())["next"] == "Shorten it and send it again."


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; a=b"]
)
async def test_a_form_that_stalls_is_408_and_closes(
    settings: Settings, database: Database, publisher: RecordingPublisher, content_type: str
) -> None:
    late: list[int] = []
    app = create_app(settings, publisher, database=database, body_timeout=0.2, when_late=lambda: late.append(1))
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /login HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nContent-Type: {content_type}\r\n"
        writer.write(head.encode() + b"Content-Length: 999\r\n\r\n[")
        async with asyncio.timeout(60):
            answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The form did not arrive in time." in answer
    assert late == [1]


# Headers


@pytest.mark.parametrize(
    "path",
    ["/", "/events", "/events/brass-on-the-quay", "/events/brass-on-the-quay/comments.json", "/login", "/nothing"],
)
async def test_every_answer_of_the_site_is_strict(browser: Browser, concert: Event, path: str) -> None:
    headers = (await browser.look(path)).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    host = browser.origin.removeprefix("http://")
    assert policy["default-src"] == "'self'"
    assert policy["connect-src"] == f"'self' ws://{host} wss://{host}"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("host", ["evil.example; script-src *", "a b", "x'y"])
async def test_a_strange_host_stays_out_of_the_policy(browser: Browser, host: str) -> None:
    response = await browser.look("/", headers={"Host": host})
    assert host not in response.headers.get("Content-Security-Policy", "")


@pytest.mark.parametrize(
    "path", ["/", "/events", "/events/brass-on-the-quay", "/login", "/manage/events", "/manage/events/new"]
)
async def test_no_page_has_anything_inline(manager: Browser, concert: Event, path: str) -> None:
    await manager.look(path)
    for forbidden in ("<style", " style=", " onclick=", "javascript:", "<script>"):
        assert forbidden not in manager.page


async def test_behind_https_the_cookie_insists_on_it(
    settings: Settings, database: Database, publisher: RecordingPublisher, site_url: str
) -> None:
    settings = read_settings(
        {
            "DATABASE_URL": site_url,
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "SITE_URL": "https://fanfare.example",
        }
    )
    async with TestClient(TestServer(create_app(settings, publisher, database=database))) as client:
        # Asked once more, with a token: nothing says from where it comes.
        response = await client.post("/login", data={"name": "ada"}, headers={"Accept": "text/html"})
    assert response.headers["Set-Cookie"].startswith("__Host-visitor=")
    assert "Secure" in response.headers["Set-Cookie"]
    assert "Strict-Transport-Security" in response.headers
    assert "wss://fanfare.example" in response.headers["Content-Security-Policy"]


# Errors


async def test_errors_come_in_the_form_that_was_asked_for(browser: Browser) -> None:
    page = await browser.look("/nothing")
    assert (page.status, page.content_type) == (404, "text/html")
    script = await browser.fetch("/nothing")
    assert (script.status, await script.json()) == (
        404,
        {
            "error": "Nothing here.",
            "next": "The address may be mistyped, or what was here has moved. The home page leads on.",
        },
    )
    other = await browser.client.get("/nothing", headers={"Accept": "*/*"})
    assert (other.status, other.content_type) == (404, "text/plain")


async def test_a_wrong_method_says_which_are_right(browser: Browser) -> None:
    response = await browser.client.delete("/", headers={"Accept": "application/json"})
    assert response.status == 405
    assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_a_bug_is_noted_and_not_shown(
    browser: Browser, concert: Event, publisher: RecordingPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(channel: str) -> str | None:
        raise ZeroDivisionError("our insides")

    publisher.position = broken  # type: ignore[method-assign]  # a fake that fails
    response = await browser.look("/")
    assert response.status == 500
    assert "our insides" not in browser.page
    assert "Try again in a minute" in browser.page
    assert "ZeroDivisionError" in caplog.text


async def test_while_the_database_is_away_pages_say_so(
    settings: Settings, publisher: RecordingPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Database("postgresql://fanfare@127.0.0.1:1/fanfare", publisher)
    async with TestClient(TestServer(create_app(settings, publisher, database=gone))) as client:
        response = await client.get("/", headers={"Accept": "text/html"})
        assert response.status == 503
        assert response.headers["Retry-After"] == "5"
        assert (await client.get("/login")).status == 200
    await gone.close()
    assert "Traceback" not in caplog.text


async def test_a_database_that_goes_away_in_a_request_is_503(
    browser: Browser, concert: Event, database: Database
) -> None:
    def refuse(*_: object) -> None:
        raise OperationalError("select", {}, Exception("server closed the connection"))

    engine = database.engine.sync_engine
    sqlalchemy_event.listen(engine, "before_cursor_execute", refuse)
    assert (await browser.look("/")).status == 503
    sqlalchemy_event.remove(engine, "before_cursor_execute", refuse)
    assert (await browser.look("/")).status == 200


# Neighbours


async def test_routes_of_a_neighbour_are_left_alone(
    settings: Settings, database: Database, publisher: RecordingPublisher
) -> None:
    """The hub is mounted in the same application: no token, no page, no header of ours there."""

    async def publish(request: web.Request) -> web.Response:
        if "refuse" in request.query:
            raise web.HTTPForbidden(text="403::its own words")
        return web.Response(text=str(len(await request.read())))

    app = create_app(settings, publisher, database=database, max_body=2 * MAX_FORM)
    app.router.add_post("/bayeux", publish)
    async with TestClient(TestServer(app)) as client:
        response = await client.post("/bayeux", data=b"x" * (MAX_FORM + 1), headers={"Origin": "https://other.example"})
        assert (response.status, await response.text()) == (200, str(MAX_FORM + 1))
        assert "Content-Security-Policy" not in response.headers
        response = await client.post("/bayeux?refuse=1", headers={"Accept": "text/html"})
        assert (response.status, await response.text()) == (403, "403::its own words")
