"""Whether a Redis can carry the log, asked as a hub asks; for `fanfare check`."""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError, RedisError

from ...errors import BrokerUnavailable
from .lines import exchange
from .log import PREFIX, Log
from .replies import settled
from .servers import BlockingServer


def probe(url: str, timeout: float = 3.0) -> str:
    """Connect as a hub does, with the URL's password, TLS and database, and ask what a hub needs.

    Returns what Redis said of itself. Raises BrokerUnavailable with the reason and what to change, SettingsError for a
    URL that can't be used.
    """
    server = BlockingServer(url, timeout)
    connection = server.connection()
    log = Log(server.address)
    # It must be one that a hub may write: a key of the log's, and for a second.
    key = f"{{{PREFIX}:0}}:check"
    try:
        connection.connect()
        greeting = log.greeting()
        # Errors come back as replies, not raised.
        replies: list[Any] = exchange(connection, [("PING",), ("SET", key, "1", "PX", 1000), *greeting])
        for reply in replies[:2]:
            if isinstance(reply, Exception):
                raise reply
        found = log.greeted(replies[2:])
        settled(exchange(connection, log.settle_calls(*found)[:1]))
        version = _version(replies[2])
    except BrokerUnavailable:
        raise
    except (RedisError, OSError, EOFError, ValueError) as error:
        raise BrokerUnavailable(f"Redis at {server.address}: {_explain(error, url)}") from None
    finally:
        connection.disconnect()
    return f"{version} at {server.address} takes what a hub asks"


def examine(url: str, timeout: float = 3.0) -> dict[str, Any]:
    """How a Redis is set up, as far as a hub minds; `{"error": why}` where it does not say. Blocks."""
    server = BlockingServer(url, timeout)
    connection = server.connection()
    try:
        connection.connect()
        exchange(connection, [("PING",)])
        asked = time.monotonic()
        exchange(connection, [("PING",)])
        trip = time.monotonic() - asked
        replies: list[Any] = exchange(
            connection, [("INFO",), ("TIME",), *(("CONFIG", "GET", name) for name in _CONFIG)]
        )
    except (RedisError, OSError, EOFError, ValueError, BrokerUnavailable) as error:
        return {"error": _explain(error, url)}
    finally:
        connection.disconnect()
    info, now, *config = replies
    for reply in (info, now):
        if isinstance(reply, Exception):
            return {"error": _explain(reply, url)}
    lines = _lines(info)
    settings: dict[str, str] = {}
    for reply in config:
        if isinstance(reply, dict):
            reply = [each for pair in reply.items() for each in pair]
        if isinstance(reply, list):
            words = [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in reply]
            settings |= dict(zip(words[::2], words[1::2], strict=False))
    states = {name: lines.get(name, "ok") for name in ("rdb_last_bgsave_status", "aof_last_write_status")}
    return {
        "version": _version(info),
        "policy": settings.get("maxmemory-policy", lines.get("maxmemory_policy", "")),
        "maxmemory": int(lines.get("maxmemory", "0")),
        "used": int(lines.get("used_memory", "0")),
        "appendonly": lines.get("aof_enabled", "0") == "1",
        "appendfsync": settings.get("appendfsync", ""),
        "failing": ", ".join(f"{name}: {state}" for name, state in states.items() if state != "ok"),
        "timeout": int(settings.get("timeout", "0")),
        "clock": int(now[0]) + int(now[1]) / 1e6,
        "trip": trip,
    }


#: What is asked of CONFIG; managed servers may not let anybody.
_CONFIG = ("maxmemory-policy", "appendfsync", "timeout")


def _lines(reply: Any) -> dict[str, str]:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _version(reply: Any) -> str:
    lines = _lines(reply)
    if "valkey_version" in lines:
        return f"Valkey {lines['valkey_version']}"
    return f"Redis {lines.get('redis_version', '')}".rstrip()


def _explain(error: Exception, url: str) -> str:
    """What went wrong, and what to write instead. redis-py has classes for little of it."""
    words = " ".join(str(error).split())
    low = words.lower()
    tls = url.startswith("rediss")
    if isinstance(error, AuthenticationWrongNumberOfArgsError) or "without any password configured" in low:
        return "has no password set; take it out of REDIS_URL"
    if "wrongpass" in low or "invalid username-password" in low or "invalid password" in low:
        return "does not take the user and password of REDIS_URL"
    if isinstance(error, AuthenticationError) or "noauth" in low:
        return "wants a password: REDIS_URL=redis://:PASSWORD@HOST:PORT/0"
    if isinstance(error, NoPermissionError) or low.startswith("noperm"):
        return f"does not let this user do what a hub does: {words[:160]}"
    if "db index" in low or "invalid db" in low:
        return "has no database of the number that REDIS_URL ends with; 0 is always there"
    if "certificate" in low:
        return f"shows a certificate that is not trusted ({words[:120]}); REDIS_URL takes ?ssl_ca_certs=FILE"
    if tls and ("ssl" in low or "wrong version" in low or "eof" in low or "reset" in low or "closed" in low):
        return "speaks no TLS; REDIS_URL begins with redis:// then"
    if "protocol error" in low or "invalid response" in type(error).__name__.lower():
        return "what answers is no Redis; is the port right?"
    if "refused" in low:
        return "connection refused; nothing listens there"
    if "name or service" in low or "getaddrinfo" in low or "name resolution" in low:
        return "no such host"
    if tls and ("timed out" in low or "timeout" in low):
        return "does not answer to TLS; if it speaks none, REDIS_URL begins with redis://"
    if "timed out" in low or "timeout" in low:
        return "does not answer; is there a firewall in between, or does it speak TLS (rediss://)?"
    if "closed" in low or "reset" in low:
        return "closes the connection without an answer" + ("" if tls else "; does it speak TLS (rediss://)?")
    if "no such file" in low or "permission denied" in low:
        return f"its socket can't be opened: {words[:160]}"
    return words[:200] or type(error).__name__
