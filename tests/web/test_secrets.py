"""No secret in any log line, error, metric, or process title, whichever way in it came and however that way fails.

A WebSocket's address was logged at the default level, with the token in it. aiohttp's answers to what its parser can't
read quoted the bytes, a cookie for one; so did our line at debug. The database's driver logged each statement there
with its values, among them the hash of a password.
"""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from services import Postgres, RedisFactory
from shell import Shell
from wire import Reply, request, say, upgrade

from hub.protocol import tokens

ROOT = Path(__file__).resolve().parents[2]

#: Begins every planted secret; nothing else here has it in it.
MARK = "PLANTED"
KEY = base64.b64encode(b"PLANTED-key-of-thirty-two-bytes!")
SITE_SECRET = base64.b64encode(b"PLANTED-secret-of-the-site-here!").decode()
REALM = "a1b2c3d4"

#: As it may be found: plain, or as parts of a JWT, a Basic header or a key in base64.
SHOWN = re.compile(MARK + "|" + KEY.decode()[:30] + "|" + SITE_SECRET[:30])


def jwt(life: float = 600.0, **claims: object) -> str:
    """A token of the realm; whatever it says, its MAC is worth hiding."""
    return tokens.sign(REALM, base64.b64decode(KEY), time.time(), life=life, **claims)


#: Tokens, good and bad, as they are looked for.
TOKENS = {
    "good": jwt(channels=["private-7"], sub="alice"),
    "late": jwt(-600.0, channels=["private-7"]),
    "publisher": jwt(),
    "nonsense": f"{MARK}.token.here",
    "control": f"{MARK}\x01token",
    "long": MARK * 6000,
}

JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"


def _batch(token: str) -> bytes:
    safe = token.replace("\x01", "\\u0001")
    return (
        '[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],'
        f'"ext":{{"token":"{safe}"}}}},{{"channel":"/meta/connect","clientId":"{safe}","connectionType":"x"}}]'
    ).encode()


#: Every way in, with a secret in its query, header, cookie and body.
WAYS: dict[str, Callable[[str], bytes]] = {
    "poll": lambda t: request("POST /bayeux", JSON, f"Cookie: visitor={t}", f"Authorization: {t}", body=_batch(t)),
    "poll, no JSON": lambda t: request("POST /bayeux", JSON, body=f"[{{{t}".encode()),
    "poll, a form": lambda t: request("POST /bayeux", FORM, body=b"message=" + quote(_batch(t)).encode()),
    "poll, another page": lambda t: request("POST /bayeux", f"Origin: https://{t[:40]}.example", body=_batch(t)),
    "poll, bad name": lambda t: request("POST /bayeux", f"X{t}\x7f : a", body=b"[]"),
    "JSONP": lambda t: request(f"GET /bayeux?jsonp=f&message={quote(_batch(t))}"),
    "JSONP, no JSON": lambda t: request(f"GET /bayeux?jsonp={t}&message={t}"),
    "WebSocket": lambda t: upgrade(f"/bayeux?token={t}", f"Cookie: visitor={t}"),
    "WebSocket, bad key": lambda t: upgrade(f"/bayeux?token={t}", f"Sec-WebSocket-Key: {t}"),
    "WebSocket, absolute": lambda t: upgrade(f"http://{t[:20]}:pw@hub/bayeux?token={t}"),
    "/ws": lambda t: upgrade(f"/ws?channel=private-7&token={t}", f"Cookie: visitor={t}"),
    "/sse": lambda t: request(f"GET /sse?channel=private-7&token={t}", f"Last-Event-ID: {t}"),
    "/poll": lambda t: request(f"GET /poll?channel=private-7&token={t}", f"Authorization: Bearer {t}"),
    "FPP": lambda t: request("POST /fpp/subscribe", FORM, body=f"channels=private-7&sid={t}&token={t}".encode()),
    "FPP's feed": lambda t: request(f"GET /fpp/feed?sid={t}"),
    "presence": lambda t: request(f"GET /presence?channel=private-7&token={t}"),
    "publish": lambda t: request(f"POST /realm/{REALM}/publish/", f"Authorization: Bearer {t}", JSON, body=b"{}"),
    "publish, Basic": lambda t: request("POST /publish/", f"Authorization: Basic {t}", JSON, body=b"{}"),
    "publish, no JSON": lambda t: request("POST /publish/", f"Authorization: Bearer {t}", JSON, body=t.encode()),
    "kick": lambda t: request(f"POST /realm/{REALM}/kick/", f"Authorization: Bearer {t}", JSON, body=b'{"user": 1}'),
    "chunks": lambda t: request("POST /publish/", "Transfer-Encoding: chunked", f"A: {t}") + f"{t}\r\n".encode(),
    "bad version": lambda t: f"GET /ws?token={t} HTTP/7.1\r\nHost: a\r\n\r\n".encode(),
    "bad method": lambda t: f"{t} / HTTP/1.1\r\nHost: a\r\nCookie: {t}\r\n\r\n".encode(),
    "bad value": lambda t: request("GET /health", f"Cookie: visitor={t}\x00"),
    "bad host": lambda t: request("GET /", host=f"{t[:50]}["),
    "no page": lambda t: request(f"GET /nothing?token={t}", f"Cookie: visitor={t}"),
    "page": lambda t: request(f"GET /?token={t}", f"Cookie: visitor={t}", "Accept: text/html"),
    "login": lambda t: request("POST /login", FORM, f"Cookie: visitor={t}", body=f"name=a&password={t}".encode()),
    "login, JSON": lambda t: request("POST /login", JSON, f"X-CSRF-Token: {t}", body=f'{{"password": "{t}'.encode()),
    "comment": lambda t: request("POST /events/x/comments", FORM, body=f"csrf_token={t}&text={t}".encode()),
    "asset": lambda t: request(f"GET /static/fanout.js?token={t}"),
}

#: Answers that say what the sender itself has said, for a reason: the page that a form is sent back with, and a name.
PLAIN_TEXT = re.compile(r"Content-Type: text/plain|Content-Type: application/json", re.IGNORECASE)


class Spoken:
    """Everything that a running site has said, to the log and to others."""

    def __init__(self, shell: Shell, process: subprocess.Popen[str]) -> None:
        self.shell = shell
        self.process = process
        self.answers: list[tuple[str, Reply]] = []

    def ask(self, what: str, *requests: bytes) -> Reply:
        reply = asyncio.run(say(self.shell.url, *requests))
        self.answers.append((what, reply))
        return reply

    def title(self) -> str:
        """The process's title and arguments, and those of its workers."""
        parts = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                if int(folder.name) == self.process.pid or int(stat[1]) == self.process.pid:
                    parts += [(folder / "cmdline").read_text(), (folder / "comm").read_text()]
            except OSError:
                continue
        return "\n".join(parts)


def attack(spoken: Spoken) -> None:
    for way, made in WAYS.items():
        for name, token in TOKENS.items():
            spoken.ask(f"{way}, {name}", made(token))
            # On a connection that aiohttp has by then.
            spoken.ask(f"{way}, {name}, kept", request("GET /health"), made(token))
    for path in ("/health", "/ready", "/metrics", "/openapi.json"):
        spoken.ask(path, request(f"GET {path}"))


@contextmanager
def site(tmp_path: Path, **environ: str) -> Iterator[Spoken]:
    shell = Shell(tmp_path, "web", "Fanfare on ")
    given = {
        "FANOUT_REALM": REALM,
        "FANOUT_KEY": KEY.decode(),
        "SITE_SECRET": SITE_SECRET,
        "HUB_LOG_LEVEL": "debug",
        "HUB_MAX_HEAD": "8KiB",
        **environ,
    }
    with shell.serving("serve", "--no-demo", **given) as process:
        yield Spoken(shell, process)


def ended(spoken: Spoken) -> str:
    """Ends the site; everything it printed."""
    spoken.process.send_signal(signal.SIGTERM)
    out, err = spoken.process.communicate(timeout=60)
    return spoken.shell.said + out + err


def check(spoken: Spoken, log: str) -> None:
    secrets = [
        SHOWN.pattern,
        *(re.escape(part) for name in ("good", "late", "publisher") for part in TOKENS[name].split(".")[1:]),
    ]
    found = re.compile("|".join(secrets))
    assert len(log) > 1000
    lines = [line[:300] for line in log.splitlines() if found.search(line)]
    assert not lines, f"{len(lines)} lines of the log, first {lines[0]}"
    for what, reply in spoken.answers:
        shown = found.search(reply.body if PLAIN_TEXT.search(reply.head) else "")
        assert shown is None, f"{what}: {reply.status} {reply.body[:300]}"


@pytest.mark.long
@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_is_sent_is_repeated(tmp_path: Path, form: str) -> None:
    with site(tmp_path, HUB_LOG_FORMAT=form) as spoken:
        attack(spoken)
        title = spoken.title()
        log = ended(spoken)
    check(spoken, log)
    assert "serve" in title
    assert not SHOWN.search(title)


def test_passwords_of_the_servers_behind_it_are_not_said_when_those_fail(
    tmp_path: Path, new_redis: RedisFactory, new_postgres_database: Callable[[], str], postgres_server: Postgres
) -> None:
    redis = new_redis()
    redis.command("CONFIG", "SET", "requirepass", MARK)
    database = new_postgres_database()
    environ = {
        "REDIS_URL": redis.url.replace("//", f"//:{MARK}@"),
        # Whether or not the server asks for it.
        "DATABASE_URL": re.sub(r"//([^:@/]+)(:[^@]*)?@", rf"//\1:{MARK}@", database),
    }
    with site(tmp_path, **environ) as spoken:
        attack(spoken)
        redis.kill()
        for path in ("/ready", "/health", "/metrics", "/"):
            spoken.ask(path, request(f"GET {path}"))
        spoken.ask("publish", WAYS["publish"](TOKENS["publisher"]))
        log = ended(spoken)
    check(spoken, log)


@pytest.mark.parametrize(
    ("command", "environ"),
    [
        (("serve", "--no-demo"), {"REDIS_URL": f"redis://:{MARK}@127.0.0.1:1/0"}),
        (("serve", "--no-demo"), {"REDIS_URL": f"redis://:{MARK}@[::1/0"}),
        (("serve", "--no-demo"), {"REDIS_URL": f"redis://u:{MARK}@127.0.0.1:x/0"}),
        (("serve", "--no-demo"), {"DATABASE_URL": f"postgresql://u:{MARK}@127.0.0.1:1/x"}),
        (("serve", "--no-demo"), {"DATABASE_URL": f"postgresql://u:{MARK}@127.0.0.1:x/x"}),
        (("serve", "--no-demo"), {"DATABASE_URL": f"mysql://u:{MARK}@127.0.0.1/x"}),
        (("serve", "--no-demo"), {"FANOUT_KEY": f"{MARK}!"}),
        (("serve", "--no-demo"), {"FANOUT_OLD_KEYS": f"{MARK}!"}),
        (("serve", "--no-demo"), {"SITE_SECRET": f"{MARK}!"}),
        (("serve", "--no-demo"), {"HUB_URL": f"https://u:{MARK}@hub.example.org"}),
        (("serve", "--no-demo"), {"SITE_URL": f"https://u:{MARK}@hub.example.org"}),
        (("serve", "--no-demo"), {"HUB_ORIGINS": f"https://u:{MARK}@hub.example.org"}),
        (("migrate",), {"DATABASE_URL": f"postgresql://u:{MARK}@127.0.0.1:1/x"}),
        (("check",), {"DATABASE_URL": f"postgresql://u:{MARK}@127.0.0.1:1/x"}),
        (("check",), {"REDIS_URL": f"redis://:{MARK}@127.0.0.1:1/0"}),
        (("settings",), {"REDIS_URL": f"redis://:{MARK}@127.0.0.1:1/0", "DATABASE_URL": f"postgresql://u:{MARK}@h/x"}),
        (("outbox", "--database", f"postgresql://u:{MARK}@127.0.0.1:1/x"), {}),
        (("watch", "--database", f"postgresql://u:{MARK}@127.0.0.1:1/x"), {}),
        (("publish", "a", "1"), {"FANOUT_KEY": KEY.decode()}),
        (("check", "channel", "private-7", "--token", TOKENS["nonsense"]), {"FANOUT_KEY": KEY.decode()}),
    ],
)
def test_command_that_fails_names_no_secret(tmp_path: Path, command: tuple[str, ...], environ: dict[str, str]) -> None:
    done = Shell(tmp_path, "web", "Fanfare on ").run(*command, **environ)
    assert not SHOWN.search(done.stdout + done.stderr), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
