"""The hub in production as docs/deploy.md says: its settings and its nginx, with two workers, Redis and PostgreSQL.

Whoever followed the words there were before had 13 invented events and a manager in the database, the password in the
journal, all visitors counted as one address, and `/metrics` open to everybody; and nothing said so.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from markup import Answer, Pages
from ports import free_port
from services import Postgres, Proxy, Redis
from shell import Shell
from test_proxies import PAGE, certify, configured, stanza

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()
SHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}


def page_settings() -> dict[str, str]:
    """The settings of the page, with the keys that it leaves to the reader."""
    found = re.findall(r"^([A-Z_]+)=(.*)$", stanza("sh"), re.MULTILINE)
    return dict(found) | {"FANOUT_KEY": KEY, "SITE_SECRET": KEY}


@dataclass
class Deployed:
    """The site behind nginx. database: its URL; environ: what it was started with."""

    shell: Shell
    port: int
    redis: Redis
    database: str
    environ: dict[str, str]

    def ask(
        self, path: str, body: str | None = None, address: str = "127.0.0.1", **fields: str
    ) -> tuple[int, dict[str, str], str]:
        """The status, fields by small name, and body, as a visitor with this address is answered."""
        connection = self._connection(address)
        headers = {"Host": f"localhost:{self.port}"} | {name.replace("_", "-"): fields[name] for name in fields}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        text = answer.read().decode()
        connection.close()
        return answer.status, found, text

    @contextlib.contextmanager
    def stream(self, address: str, **fields: str) -> Iterator[bool]:
        """An event stream, kept open; whether it was let in."""
        with contextlib.closing(self._connection(address)) as connection:
            headers = {"Host": f"localhost:{self.port}"} | {name.replace("_", "-"): fields[name] for name in fields}
            connection.request("GET", "/sse?channel=a", headers=headers)
            answer, got = connection.getresponse(), b""
            while b"subscribed" not in got and (piece := answer.read1()):
                got += piece
            yield b"subscribed" in got

    def _connection(self, address: str) -> HTTPSConnection:
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        return HTTPSConnection("127.0.0.1", self.port, timeout=60, context=unverified, source_address=(address, 0))

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres, services_folder: Path
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    redis = Redis(services_folder)
    redis.start()
    certify(folder)
    port, database = free_port(), postgres_server.create()
    shell = Shell(folder, "web", "Fanfare on ")
    environ = page_settings() | {
        "PORT": shell.environ["PORT"],
        "REDIS_URL": redis.url,
        "DATABASE_URL": database,
        "SITE_URL": f"https://localhost:{port}",
        "HUB_HOSTS": "localhost",
        "HUB_VAR": str(folder / "var"),
        "HUB_ADDRESS_CONNECTIONS": "1",
    }
    proxy = Proxy("nginx", configured("nginx", folder, port, f"127.0.0.1:{environ['PORT']}"), port, folder)
    done = shell.run("migrate", **environ)
    assert done.returncode == 0, done.stderr
    with shell.serving("serve", "--no-demo", **environ) as process:
        assert process.stdout is not None
        while "database: " not in shell.said:
            shell.said += process.stdout.readline()
        proxy.start()
        yield Deployed(shell, port, redis, database, environ)
        proxy.stop()
    redis.kill()


def test_page_names_every_setting_that_production_needs() -> None:
    needed = "PORT WEB_CONCURRENCY REDIS_URL DATABASE_URL SITE_URL HUB_HOSTS HUB_PROXIES HUB_ORIGINS HUB_VAR"
    assert set(needed.split()) <= set(page_settings())


def test_nothing_is_invented_and_no_password_is_printed(deployed: Deployed, postgres_server: Postgres) -> None:
    name = deployed.database.rpartition("/")[2].partition("?")[0]
    for table in ("events", "users"):
        assert postgres_server.run(f"SELECT count(*) FROM {table}", name).strip() == "0"
    assert "demo" not in deployed.shell.said
    assert "password" not in deployed.shell.said


def test_banner_says_what_it_leans_on(deployed: Deployed) -> None:
    said = deployed.shell.said
    for words in (
        "2 workers",
        f"log: Redis at {deployed.redis.url.removeprefix('redis://')}",
        "realm: myrealm, key ",
        "pages of other sites: https://www.example.org",
        "proxies in front: 1 (x-forwarded-for)",
        f"browsers see: {deployed.origin}",
        "database: postgresql",
    ):
        assert words in said, said


def test_site_s_own_page_may_talk_to_the_hub(deployed: Deployed, site_pages: Pages | None) -> None:
    status, fields, page = deployed.ask("/", Accept="text/html")
    assert status == 200
    if site_pages is not None:
        site_pages.take(Answer("GET / behind nginx", page))
    assert "fanout" in page
    assert fields["strict-transport-security"]
    assert fields["server"].startswith("nginx")
    for origin, expected in ((deployed.origin, 200), ("https://www.example.org", 200), ("https://evil.example", 403)):
        status, _, _ = deployed.ask("/bayeux", json.dumps([SHAKE]), address="127.0.0.9", Origin=origin)
        assert status == expected, origin


@pytest.mark.parametrize("lie", [None, "198.51.100.7"])
def test_visitors_are_counted_by_the_addresses_they_come_from(deployed: Deployed, lie: str | None) -> None:
    """Whatever they say of themselves. Sign-ins go by the same address, but those of loopback are not counted."""
    more = {} if lie is None else {"X_Forwarded_For": lie}
    first, second = ("127.0.0.2", "127.0.0.3") if lie is None else ("127.0.0.4", "127.0.0.5")

    with contextlib.ExitStack() as stack:
        # Each worker takes one, and a third has no worker left.
        said = [stack.enter_context(deployed.stream(first, **more)) for _ in range(3)]
        assert not all(said)
        assert any(said)
        assert stack.enter_context(deployed.stream(second, **more))


def test_metrics_are_nobody_s_but_the_operator_s(deployed: Deployed) -> None:
    assert deployed.ask("/metrics")[0] == 403


def test_check_tells_the_right_key_from_a_wrong_one(deployed: Deployed) -> None:
    own = {"HUB_URL": f"http://127.0.0.1:{deployed.environ['PORT']}"}
    done = deployed.shell.run("check", **deployed.environ, **own)
    assert done.returncode == 0, done.stdout + done.stderr
    done = deployed.shell.run("check", **{**deployed.environ, **own, "FANOUT_KEY": OTHER})
    assert done.returncode != 0
    assert "FAIL" in done.stdout


def test_health_is_the_process_s_and_ready_is_redis_s_too(deployed: Deployed) -> None:
    """The last here: it takes Redis away."""
    assert (deployed.ask("/health")[0], deployed.ask("/ready")[0]) == (200, 200)
    deployed.redis.kill()
    assert any(deployed.ask("/ready")[0] == 503 for _ in range(600))
    assert deployed.ask("/health")[0] == 200


def test_page_s_stanza_is_what_ran() -> None:
    assert "location = /metrics { deny all; }" in PAGE
