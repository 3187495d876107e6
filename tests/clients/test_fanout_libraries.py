"""The libraries that people publish with, unmodified, against a running hub.

Each runs in a process of its own, as at its users': they have globals, threads and exit handlers.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType
from clients.driven import restartable
from clients.private_ca import certify, terminating
from listening import KEY, REALM, listening, serving

from hub.ids import new_id

KEY64 = base64.b64encode(KEY).decode()


async def run_script(*command: str, **environ: str) -> str:
    """What a script prints; it must succeed and complain about nothing."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, complaints.decode()) == (0, "")
    return output.decode()


async def run_python(source: str, **environ: str) -> str:
    return await run_script(sys.executable, "-W", "ignore", "-c", textwrap.dedent(source), **environ)


def through_proxy(url: str) -> dict[str, str]:
    """The environment in which requests takes the hub for its HTTP proxy, so that any host is the hub."""
    return {"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "", "no_proxy": ""}


async def test_fanout_1_3_publishes_with_nothing_changed_but_its_proxy() -> None:
    async with serving() as (url, _), listening(url, "/comments-17") as listener:
        await run_python(
            f"""
            import fanout
            fanout.realm, fanout.key, fanout.ssl = {REALM!r}, {KEY64!r}, False
            for data in (17, True, None, 0, "", {{"u": "\\u00e9\\u2603", "t": (1, 2)}}):
                fanout.publish("comments-17", data, blocking=True)
            fanout.publish("comments-17", "last", id="i1", prev_id="i0", blocking=True)
            """,
            **through_proxy(url),
        )
        values = [17, True, None, 0, "", {"u": "é☃", "t": [1, 2]}, "last"]
        assert await listener.take(len(values)) == [("/comments-17", value) for value in values]


async def test_fanout_1_3_publishes_by_https_to_whoever_is_api_fanout_io(tmp_path: Path) -> None:
    """With nothing changed in the library: its host leads to the hub, and an authority of one's own vouches for it."""
    authority, identity = certify("api.fanout.io", tmp_path)
    async with (
        serving() as (url, _),
        listening(url, "/comments-17") as listener,
        terminating(identity, int(url.rpartition(":")[2])) as port,
    ):
        await run_python(
            f"""
            import socket
            look_up = socket.getaddrinfo
            def getaddrinfo(host, port, *rest, **named):
                assert (host, port) == ("api.fanout.io", 443)
                return look_up("127.0.0.1", {port}, *rest, **named)
            socket.getaddrinfo = getaddrinfo
            import fanout
            fanout.realm, fanout.key = {REALM!r}, {KEY64!r}
            fanout.publish("comments-17", {{"id": 3}}, blocking=True)
            fanout.publish("comments-17", "in the background")
            """,
            REQUESTS_CA_BUNDLE=str(authority),
            HTTPS_PROXY="",
            https_proxy="",
            NO_PROXY="*",
        )
        assert await listener.take(2) == [("/comments-17", {"id": 3}), ("/comments-17", "in the background")]


async def test_fanout_1_3_and_pubcontrol_publish_to_a_second_realm(tmp_path: Path) -> None:
    key = base64.b64encode(b"2" * 32).decode()
    realms = tmp_path / "realms.toml"
    realms.write_text(f'[[realm]]\nname = "e5f6a7b8"\nkey = "{key}"\n')
    async with (
        serving(realms=realms) as (url, _),
        listening(f"{url}/r/e5f6a7b8", "/a") as second,
        listening(url, "/a") as default,
    ):
        await run_python(
            f"""
            import fanout
            from base64 import b64decode
            from pubcontrol import Item, PubControl
            fanout.realm, fanout.key, fanout.ssl = "e5f6a7b8", {key!r}, False
            fanout.publish("a", "fanout", blocking=True)
            fanout.publish("a", "default", blocking=True, realm={REALM!r}, key={KEY64!r}, ssl=False)
            pub = PubControl(dict(uri="{url}/realm/e5f6a7b8", iss="e5f6a7b8", key=b64decode({key!r})))
            pub.publish("a", Item(fanout.JsonObjectFormat("pubcontrol")), blocking=True)
            """,
            **through_proxy(url),
        )
        assert await second.take(2) == [("/a", "fanout"), ("/a", "pubcontrol")]
        assert await default.take(1) == [("/a", "default")]


async def test_fanout_1_3_publishes_in_the_background_and_at_its_exit() -> None:
    """Its default: a thread sends, and the process's end waits for it."""
    async with serving() as (url, _), listening(url, "/events") as listener:
        await run_python(
            f"""
            import fanout
            fanout.realm, fanout.key, fanout.ssl = {REALM!r}, {KEY64!r}, False
            for number in range(27):
                fanout.publish("events", number)
            """,
            **through_proxy(url),
        )
        assert await listener.take(27) == [("/events", number) for number in range(27)]


async def test_fanout_1_3_is_told_why_it_was_refused() -> None:
    async with serving() as (url, _):
        printed = await run_python(
            f"""
            import fanout
            fanout.realm, fanout.key, fanout.ssl = {REALM!r}, {base64.b64encode(b"x" * 16).decode()!r}, False
            try:
                fanout.publish("events", 1, blocking=True)
            except ValueError as error:
                print(error)
            fanout.publish("events", 1, callback=lambda ok, reason: print(ok, reason))
            """,
            **through_proxy(url),
        )
    first, second = printed.strip().splitlines()[::2]
    assert "status code 401 with message: Token signed with another key" in first
    assert second.startswith("False failed to publish: received failed status code 401")


@dataclass(frozen=True)
class PubControl:
    """A version of pubcontrol; environ makes a process import that one."""

    version: str
    environ: dict[str, str]

    async def run(self, source: str, **values: Any) -> str:
        """What a script that has PubControl, Item and JsonObject prints. values: names it may use."""
        head = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        return await run_python(_PUBCONTROL + head + textwrap.dedent(source), **self.environ)


_PUBCONTROL = """
from importlib.metadata import version
from pubcontrol import Format, Item, PubControl

class JsonObject(Format):
    def __init__(self, value): self.value = value
    def name(self): return "json-object"
    def export(self): return self.value

"""


@pytest.fixture(params=["3.4.0", "3.5.0"])
def pubcontrol(request: pytest.FixtureRequest) -> PubControl:
    """Each version in turn."""
    folder = request.getfixturevalue("old_pubcontrol") if request.param == "3.4.0" else None
    return PubControl(request.param, {} if folder is None else {"PYTHONPATH": str(folder)})


@pytest.mark.parametrize(
    ("pubcontrol", "secured"),
    [
        ("3.4.0", "token"),
        ("3.4.0", "token-in-uri"),
        ("3.5.0", "token"),
        ("3.5.0", "bearer"),
        ("3.5.0", "token-in-uri"),
    ],
    indirect=["pubcontrol"],
)
async def test_pubcontrol_publishes_a_batch_of_27(pubcontrol: PubControl, secured: str) -> None:
    """It sends them ten at a time, from a thread."""
    config: dict[str, Any]
    async with serving() as (url, _), listening(url, "/a") as listener:
        match secured:
            case "token":
                config = {"uri": f"{url}/realm/{REALM}", "iss": REALM, "key": KEY}
            case "bearer":
                config = {"uri": f"{url}/realm/{REALM}", "key": KEY64}
            case _:
                # Without the realm: the hub's own.
                config = {"uri": url, "iss": REALM, "key": KEY}
        printed = await pubcontrol.run(
            """
            pub = PubControl(config)
            done = []
            for number in range(27):
                pub.publish("a", Item(JsonObject(number)), callback=lambda ok, reason: done.append((ok, reason)))
            pub.finish()
            print(version("pubcontrol"), done == [(True, None)] * 27 or done)
            """,
            config=config,
        )
        assert printed == f"{pubcontrol.version} True\n"
        assert await listener.take(27) == [("/a", number) for number in range(27)]


@pytest.mark.parametrize("pubcontrol", ["3.4.0"], indirect=True)
async def test_pubcontrol_3_4_is_refused_with_a_key_as_bearer_token(pubcontrol: PubControl) -> None:
    """That came with 3.5.0: this one sends no Authorization, and is told so."""
    async with serving() as (url, hub):
        printed = await pubcontrol.run(
            """
            try:
                PubControl(config).publish("a", Item(JsonObject(1)), blocking=True)
            except ValueError as error:
                print(error)
            """,
            config={"uri": f"{url}/realm/{REALM}", "key": KEY64},
        )
        assert "status code 401" in printed
        assert hub.node.counters.published == 0


async def test_pubcontrol_publishes_only_what_somebody_hears_if_told_to(pubcontrol: PubControl) -> None:
    """3.4.0 by a token, 3.5.0 by the key as bearer token: with a token its monitor fails in its own thread."""
    async with serving() as (url, hub), listening(url, "/comments-17", "/later") as listener:
        secrets = {"iss": REALM, "key": KEY} if pubcontrol.version == "3.4.0" else {"key": KEY64}
        async with ClientSession() as http:
            script = asyncio.create_task(
                pubcontrol.run(
                    """
                    import time
                    control = PubControl(config)
                    monitor = control.clients[0].sub_monitor
                    while not monitor.is_channel_subscribed_to("comments-17"):
                        time.sleep(0.01)
                    for channel in ("nobody", "comments-17"):
                        control.publish(channel, Item(JsonObject(channel)), blocking=True)
                    while not monitor.is_channel_subscribed_to("new"):
                        time.sleep(0.01)
                    control.publish("new", Item(JsonObject("new")), blocking=True)
                    while monitor.is_channel_subscribed_to("new"):
                        time.sleep(0.01)
                    control.publish("new", Item(JsonObject("new")), blocking=True)
                    """,
                    config={"uri": f"{url}/realm/{REALM}", "require_subscribers": True, **secrets},
                )
            )
            assert await listener.take(1) == [("/comments-17", "comments-17")]
            async with http.ws_connect(f"{url}/ws?channel=new") as socket:
                await socket.receive_json()
                assert (await socket.receive_json())["data"] == "new"
            await script
        assert hub.node.counters.published == 2


async def test_pubcontrol_3_5_knows_who_hears_at_another_worker(redis_url: str) -> None:
    name, nobody = new_id(), new_id()
    async with (
        serving(redis_url=redis_url) as (url, hub),
        serving(redis_url=redis_url) as (other, _),
        listening(other, f"/{name}") as listener,
    ):
        await run_python(
            f"""
            import time
            from pubcontrol import Format, Item, PubControl
            class JsonObjectFormat(Format):
                def __init__(self, value): self.value = value
                def name(self): return "json-object"
                def export(self): return self.value
            config = {{"uri": {url!r} + "/realm/{REALM}", "key": {KEY64!r}, "require_subscribers": True}}
            control = PubControl(config)
            while not control.clients[0].sub_monitor.is_channel_subscribed_to({name!r}):
                time.sleep(0.01)
            for channel in ({nobody!r}, {name!r}):
                control.publish(channel, Item(JsonObjectFormat(channel)), blocking=True)
            """
        )
        assert await listener.take(1) == [(f"/{name}", name)]
        assert (await hub.broker.position(f"/{nobody}")).offset == 0


async def test_several_pubcontrols_publish_a_chain_in_its_order() -> None:
    async with serving() as (url, hub), listening(url, "/a") as listener:
        await run_python(
            f"""
            from pubcontrol import Format, Item, PubControl

            class JsonObject(Format):
                def __init__(self, value): self.value = value
                def name(self): return "json-object"
                def export(self): return self.value

            # Several, for each sends one body after the other and waits for its answer.
            pubs = [PubControl({{"uri": "{url}/realm/{REALM}", "iss": "{REALM}", "key": {KEY!r}}}) for _ in range(5)]
            pubs[0].publish("a", Item(JsonObject(0), id="0"), blocking=True)
            for pub, number in zip(pubs, (3, 1, 2, 5, 4)):
                pub.publish("a", Item(JsonObject(number), id=str(number), prev_id=str(number - 1)))
            for pub in pubs:
                pub.finish()
            """
        )
        assert await listener.take(6) == [("/a", number) for number in range(6)]
        assert hub.node.counters.overdue == 0


async def test_gripcontrol_closes_sockets_and_streams() -> None:
    async with serving() as (url, _), ClientSession() as http, http.ws_connect(f"{url}/ws?channel=a") as socket:
        await socket.receive_json()
        async with http.get(f"{url}/sse?channel=a") as stream:
            while b"subscribed" not in await stream.content.readline():
                pass
            await run_python(
                f"""
                from gripcontrol import GripPubControl, HttpStreamFormat, WebSocketMessageFormat, parse_grip_uri
                from pubcontrol import Item

                pub = GripPubControl(parse_grip_uri("{url}/realm/{REALM}?iss={REALM}&key=base64:{KEY64}"))
                pub.publish("a", Item(HttpStreamFormat(close=True)), blocking=True)
                close = WebSocketMessageFormat(action="close", code=4001)
                pub.publish("a", Item(close), blocking=True)
                """
            )
            await stream.content.read()
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == 4001


async def test_pubcontrol_publishes_again_when_the_hub_was_restarted(pubcontrol: PubControl) -> None:
    """On the connection it had; while the hub is away it says so, and later goes on."""
    async with restartable(realm=REALM, key=KEY) as hub:
        base = hub.url.removesuffix("/bayeux")
        source = """
        import sys
        pub = PubControl(config)
        for line in sys.stdin:
            try:
                pub.publish("a", Item(JsonObject(line.strip())), blocking=True)
                print("published", flush=True)
            except ValueError as error:
                print("failed", flush=True)
        """
        head = _PUBCONTROL + f"config = { ({'uri': f'{base}/realm/{REALM}', 'iss': REALM, 'key': KEY})!r}\n"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", head + textwrap.dedent(source)),
            env={**os.environ, **pubcontrol.environ},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

        async def publish(data: str) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(data.encode() + b"\n")
            return (await process.stdout.readline()).decode().strip()

        try:
            async with listening(base, "/a") as listener:
                assert await publish("one") == "published"
                assert await listener.take(1) == [("/a", "one")]
            await hub.stop()
            await hub.start()
            async with listening(base, "/a") as listener:
                assert await publish("two") == "published"
                assert await listener.take(1) == [("/a", "two")]
            await hub.stop()
            assert await publish("three") == "failed"
            await hub.start()
            async with listening(base, "/a") as listener:
                assert await publish("four") == "published"
                assert await listener.take(1) == [("/a", "four")]
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.mark.parametrize("stored", [False, True])
async def test_django_eventstream_publishes_its_events(stored: bool, tmp_path: Path) -> None:
    """Its GRIP_URL leads here; what an EventSource of its own would get is delivered as text. stored: with ids."""
    storage = "EVENTSTREAM_STORAGE_CLASS='django_eventstream.storage.DjangoModelStorage'," if stored else ""
    async with serving() as (url, _), ClientSession() as http:
        async with http.get(f"{url}/sse?channel=events-comments") as stream:
            while b"event: subscribed\n" not in await stream.content.readline():
                pass
            await run_python(
                f"""
                import django
                from django.conf import settings
                settings.configure(
                    GRIP_URL="{url}/realm/{REALM}?iss={REALM}&key=base64:{KEY64}",
                    INSTALLED_APPS=["django_eventstream"],
                    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{tmp_path}/db"}}}},
                    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
                    USE_TZ=True,
                    {storage}
                )
                django.setup()
                from django.core.management import call_command
                call_command("migrate", verbosity=0)
                from django_eventstream import send_event
                for number in range(3):
                    send_event("comments", "message", {{"number": number}})
                """
            )
            events = []
            while len(events) < 3:
                line = await stream.content.readline()
                if line.startswith(b"data: {") and b'"data"' in line:
                    events.append(json.loads(line.removeprefix(b"data: "))["data"])
    id = "id: %I\n" if stored else ""
    assert events == [f'event: message\n{id}data: {{"number": {number}}}\n\n' for number in range(3)]


async def test_gripcontrol_publishes_its_formats_as_text() -> None:
    async with serving() as (url, _), listening(url, "/a") as listener:
        await run_python(
            f"""
            from gripcontrol import GripPubControl, HttpResponseFormat, HttpStreamFormat, WebSocketMessageFormat
            from gripcontrol import parse_grip_uri
            from pubcontrol import Item

            pub = GripPubControl(parse_grip_uri("{url}/realm/{REALM}?iss={REALM}&key=base64:{KEY64}"))
            pub.publish("a", Item(HttpStreamFormat("hello\\n")), blocking=True)
            pub.publish("a", Item(HttpStreamFormat(b"\\xff\\xfe")), blocking=True)
            pub.publish("a", Item(HttpStreamFormat(close=True)), blocking=True)
            pub.publish("a", Item(HttpResponseFormat(body="body")), blocking=True)
            both = [HttpStreamFormat("s"), WebSocketMessageFormat("ws")]
            pub.publish("a", Item(both, id="1", meta={{"a": "b"}}), blocking=True)
            """
        )
        texts = ["hello\n", "//4=", "body", "ws"]
        assert await listener.take(len(texts)) == [("/a", text) for text in texts]


async def test_npm_fanoutpub_publishes(node: str, node_modules: Path) -> None:
    async with serving() as (url, _), listening(url, "/comments-17") as listener:
        printed = await run_script(
            node,
            "--no-deprecation",
            "-e",
            f"""
            const {{ Fanout }} = require({json.dumps(str(node_modules / "fanoutpub"))});
            const fanout = new Fanout({REALM!r}, {KEY64!r}, false);
            fanout.pubControl.uri = "{url}/realm/{REALM}";
            fanout.publish("comments-17", {{ id: 3 }}, (ok, message, context) => {{
                console.log(ok, context.statusCode);
                fanout.publish("comments-17", null, (ok) => console.log(ok));
            }});
            """,
        )
        assert printed == "true 200\ntrue\n"
        assert await listener.take(2) == [("/comments-17", {"id": 3}), ("/comments-17", None)]


async def test_npm_fanoutio_grip_publishes_nested_formats(node: str, node_modules: Path) -> None:
    """Its tokens have no `typ`, and its `formats` are nested."""
    async with serving() as (url, _), listening(url, "/a") as listener:
        printed = await run_script(
            node,
            "--input-type=module",
            "-e",
            f"""
            const grip = await import({json.dumps((node_modules / "@fanoutio/grip/build/index-node.js").as_uri())});
            const publisher = new grip.Publisher({{
                control_uri: "{url}/realm/{REALM}", control_iss: {REALM!r}, key: Buffer.from({KEY64!r}, "base64"),
            }});
            await publisher.publishHttpStream("a", "hello\\n");
            await publisher.publishHttpResponse("a", "body");
            console.log("done");
            """,
        )
        assert printed == "done\n"
        assert await listener.take(2) == [("/a", "hello\n"), ("/a", "body")]
