"""What `fanfare check` looks at: all that a hub needs, tried as the hub would use it.

A check that only sees a port open is content with a wrong password. Each function returns findings; what is wrong is
one sentence with what to change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from .errors import BrokerUnavailable, SettingsError
from .protocol import tokens
from .realms import PREFIX
from .settings import Settings

#: A thing looked at: its name, whether it is well, and what to say.
Finding = tuple[str, bool, str]

#: Seconds a question may take.
PATIENCE = 5.0


def fingerprint(key: bytes) -> str:
    """A key's name: enough to see that two are the same, and of no use to anybody."""
    return hashlib.sha256(b"fanfare key " + key).hexdigest()[:8]


def check_key(settings: Settings) -> Finding:
    """settings: with the key, if there is one."""
    key = settings.key
    if key is None:
        return "key", False, "there is none"
    advice = "" if len(key) >= 32 else "; 32 would be better: `fanfare token --new-key`"
    return "key", True, f"{fingerprint(key)}, {len(key)} bytes{advice}, realm {settings.realm}"


def check_redis(url: str) -> Finding:
    """Whether it can carry the log."""
    from .brokers.redis.probe import probe

    try:
        return "redis", True, probe(url)
    except (BrokerUnavailable, SettingsError) as error:
        return "redis", False, str(error)


def check_hub(url: str, settings: Settings, *, own: bool) -> list[Finding]:
    """Whether the hub at a URL is ready and takes the key. own: it is the one that the settings describe."""
    try:
        with urlopen(f"{url}/ready", timeout=PATIENCE) as response:
            state = json.loads(response.read(10_000))
            if not isinstance(state, dict) or "ready" not in state:
                raise ValueError("no hub")
    except HTTPError as error:
        with error:
            answer = error.read(1000).decode("utf-8", "replace").strip()
        if error.code != 503:
            return [("hub", False, f"what answers at {url} is no hub: /ready is {error.code}; is the URL right?")]
        return [("hub", False, f"{url} is not ready: {answer}")]
    except (ValueError, HTTPException):
        return [("hub", False, f"what answers at {url} is no hub; is the URL right?")]
    except OSError as error:
        # urllib puts the socket's own error inside its own.
        reason: object = getattr(error, "reason", error)
        words = (reason.strerror or str(reason)).lower() if isinstance(reason, OSError) else str(reason)
        return [("hub", False, f"{url} does not answer: {words}{_port(settings) if own else ''}")]
    found: list[Finding] = [("hub", True, f"{url} is ready")]
    if settings.key is not None:
        found.append(_check_taken(url, settings))
    return found


def _check_taken(url: str, settings: Settings) -> Finding:
    """Whether the running hub takes the key: a publisher with another one is refused each time."""
    assert settings.key is not None
    token = tokens.sign(settings.realm, settings.key, time.time(), life=60)
    request = Request(
        f"{url}/realm/{quote(settings.realm, safe='')}/position/?channel=fanfare-check",
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        with urlopen(request, timeout=PATIENCE):
            return "publishing", True, f"{url} takes the key of realm {settings.realm}"
    except HTTPError as error:
        with error:
            words = error.read(300).decode("utf-8", "replace").strip()
        if error.code in {401, 403}:
            return (
                "publishing",
                False,
                f"the hub at {url} does not take key {fingerprint(settings.key)} for realm {settings.realm}:"
                f" {words}; its first lines name the key it has",
            )
        return "publishing", False, f"the hub at {url} answers {error.code}: {words}"
    except (OSError, HTTPException) as error:
        return "publishing", False, f"{url} does not answer: {error}"


def check_served(url: str, realm: str) -> Finding:
    """Whether the running hub knows a realm."""
    try:
        with urlopen(Request(f"{url}{PREFIX}{quote(realm, safe='')}/bayeux", method="OPTIONS"), timeout=PATIENCE):
            return "realm", True, f"{url} serves {realm}"
    except HTTPError as error:
        with error:
            words = f"{url} does not serve {realm}: {error.code}; was it started before HUB_REALMS changed?"
        return "realm", False, words
    except (OSError, ValueError, HTTPException):
        return "realm", False, f"{url} does not answer"


def _port(settings: Settings) -> str:
    """What stands on the port where no hub answers."""
    with contextlib.suppress(OSError):
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                return f"; and PORT {settings.port} can't be listened on: {(error.strerror or '').lower()}"
            return f"; PORT {settings.port} is free, `fanfare serve` starts one"
    return f"; HOST {settings.host} is no address of this machine"
