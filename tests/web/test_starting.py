"""What goes wrong in silence when a site is put on a server: each silence has its sentence."""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import pytest
from aiohttp import web
from services import Redis
from shell import Shell
from visiting import Browser

from hub.checkup import fingerprint
from hub.errors import SettingsError
from hub.transports.static import Static
from web import app as site_app
from web.commands import check_cookies
from web.features.events import calendar

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, "web", "Fanfare on ")


def _line(said: str, name: str) -> str:
    [found] = [line.strip() for line in said.splitlines() if line.strip().startswith(f"{name}: ")]
    return found.removeprefix(f"{name}: ")


class TestDemo:
    """Behind nginx HOST is 127.0.0.1 in production too: 13 invented events, and a manager whose password was in the
    journal, came into a production PostgreSQL."""

    async def test_database_that_was_named_gets_no_demo_content(
        self, shell: Shell, new_postgres_database: Callable[[], str]
    ) -> None:
        url = new_postgres_database()
        with shell.serving("serve", DATABASE_URL=url):
            assert "demo content" not in shell.said
            assert "account" not in shell.said
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("select (select count(*) from events) + (select count(*) from users)") == 0
        await connection.close()

    @pytest.mark.parametrize(
        "environ", [{"DATABASE_URL": "sqlite:///named.db"}, {"SITE_URL": "https://www.example.org"}]
    )
    def test_site_with_an_address_or_a_database_of_its_own_is_no_demo(
        self, shell: Shell, environ: dict[str, str]
    ) -> None:
        with shell.serving("serve", **environ):
            assert "demo content" not in shell.said
        [path] = [*shell.folder.glob("named.db"), *(shell.folder / "var").glob("fanfare.sqlite3")]
        assert sqlite3.connect(path).execute("select count(*) from users").fetchone() == (0,)

    def test_it_comes_when_asked_for(self, shell: Shell) -> None:
        done = shell.run("demo", DATABASE_URL="sqlite:///named.db")
        assert "demo content: " in done.stdout


class TestBanner:
    def test_what_was_not_set_is_named(self, shell: Shell) -> None:
        with shell.serving("serve", "--no-demo") as process:
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(7))
        var = shell.folder / "var"
        kept = base64.b64decode((var / "fanout.key").read_text())
        assert _line(said, "log") == "in memory, lost at a restart (REDIS_URL is not set)"
        assert _line(said, "database") == f"SQLite at {var / 'fanfare.sqlite3'} (DATABASE_URL is not set)"
        assert _line(said, "realm") == f"fanfare, key {fingerprint(kept)} from {var / 'fanout.key'}"
        assert _line(said, "pages of other sites") == "none (HUB_ORIGINS is not set)"
        assert _line(said, "proxies in front") == "none (HUB_PROXIES)"

    def test_what_was_set_is_named_without_its_secrets(self, shell: Shell, redis_url: str) -> None:
        with shell.serving(
            "serve",
            REDIS_URL=redis_url,
            FANOUT_KEY=KEY,
            FANOUT_REALM="myrealm",
            HUB_ORIGINS="https://www.example.org",
            HUB_PROXIES="1",
            HUB_LOG_FORMAT="json",
            SITE_URL="https://hub.example.org",
            DATABASE_URL="sqlite:///named.db",
        ):
            said = shell.said
        # Whoever reads the log as JSON reads this too.
        [entry] = [json.loads(line) for line in said.splitlines()]
        assert entry["log"] == f"Redis at {redis_url.removeprefix('redis://')}"
        assert entry["realm"] == f"myrealm, key {fingerprint(b'k' * 32)} from FANOUT_KEY"
        assert entry["pages of other sites"] == "https://www.example.org"
        assert entry["proxies in front"] == "1 (x-forwarded-for)"
        assert entry["browsers see"] == "https://hub.example.org"
        assert entry["database"].endswith("named.db")
        assert KEY not in said


class TestPort:
    """A second hub with two workers was let in on the first one's port, and had half of its connections."""

    def test_second_hub_on_a_port_is_refused_unless_that_is_meant(self, shell: Shell, redis_server: Redis) -> None:
        environ = {"REDIS_URL": redis_server.url, "WEB_CONCURRENCY": "2", "FANOUT_KEY": KEY}
        with shell.serving("serve", "--no-demo", **environ):
            done = shell.run("serve", "--no-demo", **environ)
            assert done.returncode == 1
            assert "PORT: can't listen on 127.0.0.1:" in done.stderr
            assert "another server is there; stop it, or take another port, such as PORT=" in done.stderr
            assert "; if that is a hub which this one replaces, HUB_SHARED_PORT=true" in done.stderr
            second = Shell(shell.folder, "web", "Fanfare on ")
            second.environ["PORT"] = shell.environ["PORT"]
            with second.serving("serve", "--no-demo", HUB_SHARED_PORT="true", **environ):
                with urlopen(f"{shell.url}/ready", timeout=60) as answer:
                    assert json.load(answer)["ready"]


class TestFiles:
    def test_installation_without_its_pages_does_not_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It said it was ready, and each page was a 500 that no log had."""
        monkeypatch.setattr(site_app, "ROOT", tmp_path)
        with pytest.raises(SettingsError, match="templates is not there: the installation lacks its files; install"):
            site_app.check_files()

    def test_hub_without_its_client_says_so(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        Static(client=tmp_path / "fanout.js")
        assert [record.message for record in caplog.records] == ["the browser's client is not here, its address is 404"]


@pytest.mark.parametrize(
    ("error", "traced"), [(web.HTTPInternalServerError(), True), (web.HTTPServiceUnavailable(), False)]
)
async def test_every_5xx_is_in_the_log(
    browser: Browser,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: web.HTTPException,
    traced: bool,
) -> None:
    """The page said "It has been noted", and nothing had noted it: a library raises 500 as an answer."""

    def fail(*given: object, **more: object) -> Awaitable[web.Response]:
        raise error

    monkeypatch.setattr(calendar, "render", fail)
    caplog.set_level(logging.INFO)
    assert (await browser.look("/events")).status == error.status
    [record] = [each for each in caplog.records if each.name == "web.middleware.errors"]
    assert (record.message, record.__dict__["status"]) == ("view refused", error.status)
    assert (record.exc_info is not None) is traced


class TestCookies:
    """Without SITE_URL cookies went over http in production, and nothing said so."""

    def test_start_says_where_cookies_go(self, shell: Shell) -> None:
        for environ, where in (
            ({}, "sent over http too, as SITE_URL has no https"),
            ({"SITE_URL": "https://www.example.org"}, "sent over https only"),
        ):
            with shell.serving("serve", "--no-demo", HUB_LOG_FORMAT="json", **environ):
                assert json.loads(shell.said.splitlines()[-1])["cookies"] == where

    @pytest.mark.parametrize(
        ("environ", "is_well", "words"),
        [
            ({"SITE_URL": "https://www.example.org"}, True, "sent over https only"),
            ({"SITE_URL": "http://www.example.org"}, False, "set SITE_URL to the https address that browsers see"),
            ({"HOST": "0.0.0.0", "FANOUT_KEY": KEY}, False, "set SITE_URL to the https address that browsers see"),
            ({}, True, "for a trial on this machine"),
            ({"SITE_URL": "http://localhost:8000"}, True, "for a trial on this machine"),
            ({"SITE_URL": "http://127.0.0.1:8000"}, True, "for a trial on this machine"),
            ({"SITE_URL": "http://[::1]:8000/x"}, True, "for a trial on this machine"),
            ({"SITE_URL": "http://shop.LOCALHOST"}, True, "for a trial on this machine"),
            ({"SITE_URL": "HTTPS://www.example.org"}, True, "sent over https only"),
            ({"SITE_URL": "http://localhost.example.org"}, False, "set SITE_URL to the https address"),
            ({"SITE_URL": "http://192.168.1.4:8000"}, False, "set SITE_URL to the https address"),
            (
                {"SITE_URL": "http://localhost:8000", "HOST": "0.0.0.0", "FANOUT_KEY": KEY},
                False,
                "set SITE_URL to the https address that browsers see",
            ),
        ],
    )
    def test_check_does_too(self, environ: dict[str, str], is_well: bool, words: str) -> None:
        """It failed and asked for https with SITE_URL=http://localhost:8000, as developers set it."""
        [(name, found, text)] = check_cookies(environ)
        assert (name, found) == ("cookies", is_well)
        assert words in text
