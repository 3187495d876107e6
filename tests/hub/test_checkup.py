"""`fanfare check` tries what the hub will do: each thing that would fail later is one sentence with what to change.

It said "ok" for a wrong Redis password, TLS on a plain port, any HTTP server and a database that isn't there, since a
port was open; and with a wrong key all was well, until the first publish.
"""

from __future__ import annotations

import base64
import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port
from services import RedisFactory
from shell import Shell

from hub.brokers.redis.probe import probe
from hub.checkup import fingerprint
from hub.cli import HUB_COMMANDS
from hub.errors import BrokerUnavailable
from hub.settings import near_misses

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


class _Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def http_server() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def refusal(url: str) -> str:
    with pytest.raises(BrokerUnavailable) as caught:
        probe(url, timeout=2.0)
    text = str(caught.value)
    assert "\n" not in text
    return text


class TestRedis:
    @pytest.fixture
    def port(self, new_redis: RedisFactory) -> int:
        redis = new_redis()
        redis.command("CONFIG", "SET", "requirepass", "right")
        port: int = redis.port
        return port

    def test_right_password_is_ok_with_the_version(self, port: int) -> None:
        assert (
            probe(f"redis://:right@127.0.0.1:{port}/0")
            == f"Redis {_version(port)} at 127.0.0.1:{port} takes what a hub asks"
        )

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("redis://:wrong@127.0.0.1:{port}/0", "does not take the user and password of REDIS_URL"),
            ("redis://nobody:right@127.0.0.1:{port}/0", "does not take the user and password of REDIS_URL"),
            ("redis://127.0.0.1:{port}/0", "wants a password: REDIS_URL=redis://:PASSWORD@HOST:PORT/0"),
            (
                "rediss://:right@127.0.0.1:{port}/0",
                "does not answer to TLS; if it speaks none, REDIS_URL begins with redis://",
            ),
            (
                "redis://:right@127.0.0.1:{port}/77",
                "has no database of the number that REDIS_URL ends with; 0 is always there",
            ),
            ("redis://127.0.0.1:1/0", "connection refused; nothing listens there"),
            ("redis://no.such.host.invalid:6379/0", "no such host"),
            ("unix:///no/such/socket", "its socket can't be opened"),
        ],
    )
    def test_what_the_hub_could_not_use_is_said_with_the_mend(self, port: int, url: str, reason: str) -> None:
        assert f": {reason}" in refusal(url.format(port=port))

    def test_password_where_none_is_set(self, new_redis: RedisFactory) -> None:
        redis = new_redis()
        assert (
            "does not take" in (said := refusal(f"redis://:some@127.0.0.1:{redis.port}/0")) or "no password set" in said
        )

    def test_user_without_the_rights_of_a_hub(self, new_redis: RedisFactory) -> None:
        redis = new_redis()
        redis.command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+ping", "+get")
        assert "does not let this user do what a hub does" in refusal(f"redis://reader:pw@127.0.0.1:{redis.port}/0")

    def test_replica_is_no_place_for_a_log(self, new_redis: RedisFactory) -> None:
        primary = new_redis()
        replica = new_redis(replica_of=primary)
        assert "replica" in refusal(f"redis://127.0.0.1:{replica.port}/0")

    def test_http_server_is_no_redis(self) -> None:
        with http_server() as port:
            assert "what answers is no Redis; is the port right?" in refusal(f"redis://127.0.0.1:{port}/0")

    def test_who_says_nothing_is_waited_for_a_while(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            assert "does not answer" in refusal(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

    def test_tls_where_plain_is_said(self, tmp_path: Path) -> None:
        """A server that speaks TLS closes a connection that doesn't."""
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def close() -> None:
                peer, _ = listener.accept()
                peer.recv(100)
                peer.close()

            thread = threading.Thread(target=close)
            thread.start()
            assert "does it speak TLS (rediss://)?" in refusal(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
            thread.join()

    def test_certificate_that_nobody_knows(self, tmp_path: Path, new_redis: RedisFactory) -> None:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                peer, _ = listener.accept()
                try:
                    context.wrap_socket(peer, server_side=True).close()
                except OSError:
                    peer.close()

            thread = threading.Thread(target=serve)
            thread.start()
            words = refusal(f"rediss://127.0.0.1:{listener.getsockname()[1]}/0")
            assert "shows a certificate that is not trusted" in words
            assert "ssl_ca_certs=FILE" in words
            thread.join()

    def test_command_says_it_and_fails(self, shell: Shell, port: int) -> None:
        done = shell.run("check", REDIS_URL=f"redis://:wrong@127.0.0.1:{port}/0", FANOUT_KEY=KEY)
        assert done.returncode == 1
        assert (
            f"FAIL  redis: Redis at 127.0.0.1:{port}: does not take the user and password of REDIS_URL" in done.stdout
        )
        done = shell.run("check", REDIS_URL=f"redis://:right@127.0.0.1:{port}/0", FANOUT_KEY=KEY)
        assert "ok    redis: Redis " in done.stdout


def _version(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"AUTH right\r\nINFO server\r\n")
        return peer.recv(65536).split(b"redis_version:")[1].split(b"\r\n")[0].decode()


class TestHub:
    def test_wrong_key_is_said(self, shell: Shell) -> None:
        """All five were ok, and then each publish was refused."""
        other = base64.b64encode(b"o" * 32).decode()
        with shell.serving(FANOUT_KEY=KEY) as process:
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(3))
            assert f"realm: fanfare, key {fingerprint(b'k' * 32)} from FANOUT_KEY" in said
            done = shell.run("check", FANOUT_KEY=other)
            right = shell.run("check", FANOUT_KEY=KEY)
        assert done.returncode == 1
        assert f"FAIL  publishing: the hub at {shell.url} does not take key {fingerprint(b'o' * 32)}" in done.stdout
        assert (right.returncode, right.stderr) == (0, "")
        assert f"ok    publishing: {shell.url} takes the key of realm fanfare" in right.stdout

    def test_free_port_and_taken_port_are_told_apart(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def check(**environ: str) -> str:
            return shell.call(HUB_COMMANDS, "check", monkeypatch=monkeypatch, capsys=capsys, FANOUT_KEY=KEY, **environ)[
                1
            ]

        port = str(free_port())
        assert f"connection refused; PORT {port} is free, `fanfare serve` starts one" in check(PORT=port)
        assert "does not answer" in check(HOST="192.0.2.1", PORT="1", HUB_URL="http://127.0.0.1:1")
        with http_server() as taken:
            assert f"FAIL  hub: what answers at http://127.0.0.1:{taken} is no hub" in check(PORT=str(taken))


class TestNames:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("REDIS_URI", "REDIS_URL"),
            ("REDISURL", "REDIS_URL"),
            ("REDIS_URL_", "REDIS_URL"),
            ("redis_url", "REDIS_URL"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("DATABASE_UR", "DATABASE_URL"),
            ("DATABASEURL", "DATABASE_URL"),
            ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
            ("WEBCONCURRENCY", "WEB_CONCURRENCY"),
            ("FANOUTKEY", "FANOUT_KEY"),
            ("HUBORIGINS", "HUB_ORIGINS"),
            ("SITEURL", "SITE_URL"),
            ("FANFARE_ORIGINS", "HUB_ORIGINS"),
            ("FANFARE_PORT", "PORT"),
            ("FANFARE_REDIS_URL", "REDIS_URL"),
        ],
    )
    def test_name_that_is_nearly_a_setting_is_said(self, name: str, meant: str) -> None:
        """REDIS_URI started a hub on memory without a word, and DATABASE_UR a site on SQLite."""
        assert near_misses({name: "x"}) == [f"{name} is set and means nothing here; was {meant} meant?"]
        assert near_misses({name: "x", meant: "y"}) == []
        assert near_misses({name: ""}) == []

    def test_unknown_name_with_the_program_s_own_prefix_is_said(self) -> None:
        [words] = near_misses({"FANFARE_COLOUR": "red"})
        assert "settings begin with HUB_, FANOUT_ or SITE_" in words

    def test_names_of_others_are_left_alone(self) -> None:
        names = (
            "PATH HOME LANG PWD SHELL USER PORT HOST HOSTNAME TERM TZ DYNO REDIS_URL REDIS_TLS_URL REDIS_HOST"
            " REDIS_PORT REDIS_PASSWORD DATABASE_URL DATABASE_HOST DATABASE_NAME TEST_DATABASE_URL PGHOST PGPASSWORD"
            " GITHUB_URL GITHUB_TOKEN"
            " HUB_PORT_80_TCP REDIS_SERVICE_HOST REDIS_PORT_6379_TCP VIRTUAL_ENV PYTHONPATH BASE_URL API_URL SECRET_KEY"
            " AMQP_URL MONGODB_URI ELASTICSEARCH_URL CELERY_BROKER_URL UVICORN_PORT GUNICORN_CMD_ARGS XDG_RUNTIME_DIR"
        )
        assert near_misses(dict.fromkeys(names.split(), "x")) == []

    @pytest.mark.parametrize("command", ["serve", "check"])
    def test_commands_say_it(self, shell: Shell, command: str) -> None:
        words = "REDIS_URI is set and means nothing here; was REDIS_URL meant?"
        if command == "check":
            done = shell.run("check", REDIS_URI="redis://x", FANOUT_KEY=KEY)
            assert f"FAIL  settings: {words}" in done.stdout
            return
        process = shell.start("serve", REDIS_URI="redis://x")
        assert process.stderr is not None
        said = process.stderr.readline()
        process.terminate()
        process.communicate(timeout=60)
        assert words in said
