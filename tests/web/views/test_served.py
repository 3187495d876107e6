"""A site as it is served: what is answered past the application is counted too, and a kill costs nothing."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest
from shell import Shell

from web.features.views import cli

KEY = "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA=="


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path, "web", "Fanfare on http://localhost:")
    # Nothing is written before the kill.
    shell.environ |= {"FANOUT_KEY": KEY, "FANOUT_REALM": "test", "VIEWS_FLUSH": "60s", "SEARCH_DIR": "memory"}
    return shell


async def _ask(port: int, *requests: str) -> list[int]:
    """The statuses of requests over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for each in requests:
        writer.write(each.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        found.append(int(head.split()[1]))
    writer.close()
    return found


def _get(path: str, *fields: str) -> str:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", "User-Agent: curl/8.5", *fields, "", ""])


def _publish(authorization: str) -> str:
    body = '{"items": [{"channel": "a", "json-object": 1}]}'
    head = ["POST /realm/test/publish/ HTTP/1.1", "Host: localhost", "User-Agent: curl/8.5", authorization]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", body])


async def _call(shell: Shell) -> None:
    port = int(shell.environ["PORT"])
    # The first is made, the second is kept, and from then on the same bytes are given by nobody who counts.
    assert await _ask(port, *[_get("/rss.xml")] * 20) == [200] * 20
    assert await _ask(port, *[_get("/rss.xml", "DNT: 1")] * 5) == [200] * 5
    assert await _ask(port, _publish(f"Authorization: Basic {_basic()}"), _publish("X: y")) == [200, 401]
    async with aiohttp.ClientSession(headers={"User-Agent": "curl/8.5"}) as session:
        for path in ("/ws?channel=a", "/bayeux", "/bayeux"):
            async with session.ws_connect(shell.url + path):
                pass


def _basic() -> str:
    import base64

    return base64.b64encode(f"test:{KEY}".encode()).decode()


def test_what_is_answered_is_counted_and_outlives_a_kill(shell: Shell) -> None:
    with shell.serving("serve", "--no-demo") as process:
        asyncio.run(_call(shell))
        process.kill()
        process.wait()
    with shell.serving("serve", "--no-demo"):
        found = shell.run("views", "--days", "1", "--json")
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    rows = {row["endpoint"]: row for row in report["endpoints"]}
    assert {name: row["calls"] for name, row in rows.items()} == {
        "GET /rss.xml": 25,
        "POST /realm/{realm}/publish/": 2,
        "WS /bayeux": 2,
        "WS /ws": 1,
    }
    # Of those who want nothing kept there is none; the others came from one address with one agent.
    assert rows["GET /rss.xml"]["callers"] == 1
    # The key's realm, and who had none.
    assert rows["POST /realm/{realm}/publish/"]["callers"] == 2
    assert rows["POST /realm/{realm}/publish/"]["statuses"] == {"2xx": 1, "3xx": 0, "4xx": 1, "5xx": 0}
    assert list((shell.folder / "var" / "views").iterdir()) == []


def test_commands(shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str, **environ: str) -> tuple[int, str, str]:
        return shell.call(cli.COMMANDS, "views", *arguments, monkeypatch=monkeypatch, capsys=capsys, **environ)

    assert call() == (0, "nothing was called in this time\n", "")
    log = shell.folder / "access.log"
    line = '203.0.113.7 - - [{}] "GET /api/songs/17 HTTP/1.1" 200 512 "-" "curl/8.5.0" 0.010\n'
    log.write_text("".join(line.format(f"14/Nov/2023:22:13:{second:02} +0000") for second in range(9)) + "nonsense\n")
    openapi = shell.folder / "openapi.json"
    openapi.write_text(json.dumps({"paths": {"/api/songs/{id}": {"get": {"summary": "A song"}, "delete": {}}}}))
    code, said, _ = call("import", str(log), "--source", "shop", "--openapi", str(openapi))
    assert (code, said.splitlines()[0]) == (0, f"{log}: 9 counted as shop")
    assert "1 ignored: is neither in the combined form nor JSON, first in line 10" in said
    code, said, _ = call("import", str(log), "--source", "shop")
    assert "0 counted as shop" in said
    code, said, complaint = call("unused", "--openapi", str(openapi), "--days", "1")
    assert said.splitlines() == [
        "DELETE /api/songs/{id}: never called",
        "GET /api/songs/{id}: last called 2023-11-14",
        "2 of 2 endpoints were not called for 1 days",
    ]
    assert complaint == ""
    code, said, _ = call("key", "shop")
    assert re.search(r"^key of shop, shown this once: views_\S{32}$", said, re.MULTILINE)
    assert call("key", "shop")[0] != 0
    assert "no service is told" in call("check")[1]
    for wrong in (("--days", "0"), ("import", "nothing.log"), ("key", "Shop!"), ("unused", "--openapi", "nothing")):
        code, _, complaint = call(*wrong)
        assert code != 0
        assert complaint
