"""Lines of access logs: nginx's and Apache's combined form, nginx's JSON as people write it, and Caddy's JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

#: Characters of a line that is read.
MAX_LINE = 64 * 1024

_COMBINED = re.compile(
    r'(?P<address>\S+) \S+ (?P<user>.*?) \[(?P<at>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?:\d+|-)'
    r'(?: "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?(?P<rest>.*)'
)
_REQUEST = re.compile(r"([A-Z]{2,20}) (\S+)(?: HTTP/[\d.]+)?")
#: A duration that is appended, as nginx's $request_time: seconds with a point, alone or with a word before it.
_TOOK = re.compile(r"(?:^|[\s=\"])(\d+\.\d{3,6})(?=$|[\s\"])")


class Line(NamedTuple):
    """A request of a log. at: seconds since 1970. micros: -1 if it is not said."""

    at: float
    method: str
    path: str
    status: int
    micros: int
    address: str
    agent: str
    content_type: str = ""
    quiet: bool = False


class NotALine(ValueError):
    """A line that is no request, in words."""


def read(text: str) -> Line:
    """A line of a log. Raises NotALine."""
    text = text.strip()
    if len(text) > MAX_LINE:
        raise NotALine(f"is longer than {MAX_LINE} characters")
    try:
        return _json(text) if text.startswith("{") else _combined(text)
    except (KeyError, TypeError, OverflowError, OSError) as error:
        raise NotALine(f"lacks what is needed: {error}") from None


def _combined(text: str) -> Line:
    match = _COMBINED.fullmatch(text)
    if match is None:
        raise NotALine("is neither in the combined form nor JSON")
    try:
        at = datetime.strptime(match["at"], "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        raise NotALine("has no time") from None
    request = _REQUEST.fullmatch(match["request"])
    if request is None:
        # Bytes of who did not speak HTTP.
        raise NotALine("has no request")
    took = _TOOK.search(match["rest"])
    micros = -1 if took is None else round(float(took[1]) * 1_000_000)
    agent = (match["agent"] or "").replace('\\"', '"')
    return Line(
        at, request[1], request[2], int(match["status"]), micros, match["address"], "" if agent == "-" else agent
    )


def _json(text: str) -> Line:
    try:
        data: Any = orjson.loads(text)
    except ValueError:
        raise NotALine("is broken JSON") from None
    if not isinstance(data, dict):
        raise NotALine("is no object")
    return _caddy(data) if isinstance(data.get("request"), dict) else _nginx(data)


def _fields(headers: object) -> dict[str, Any]:
    """The fields of a head by their names, in small letters."""
    return {str(name).lower(): value for name, value in headers.items()} if isinstance(headers, dict) else {}


def _caddy(data: Mapping[str, Any]) -> Line:
    request = data["request"]
    if not isinstance(data.get("status"), int) or "uri" not in request:
        # Caddy logs more than requests.
        raise NotALine("is no request")
    headers, answered = _fields(request.get("headers")), _fields(data.get("resp_headers"))
    return Line(
        _when(data.get("ts")),
        str(request["method"]),
        str(request["uri"]),
        int(data["status"]),
        _micros(data.get("duration")),
        str(request.get("client_ip") or request.get("remote_ip") or request.get("remote_addr") or ""),
        _first(headers.get("user-agent")),
        _first(answered.get("content-type")),
        _first(headers.get("dnt")) == "1" or _first(headers.get("sec-gpc")) == "1",
    )


def _nginx(data: Mapping[str, Any]) -> Line:
    """JSON in the names of nginx's variables, which people keep; some others are usual."""

    def given(*names: str) -> Any:
        return next((data[name] for name in names if data.get(name) not in {None, "", "-"}), None)

    method, path = given("request_method", "method"), given("request_uri", "uri", "path", "url")
    if method is None or path is None:
        match = _REQUEST.fullmatch(str(given("request") or ""))
        if match is None:
            raise NotALine("has neither request_method and request_uri nor request")
        method, path = match[1], match[2]
    return Line(
        _when(given("msec", "time_iso8601", "time_local", "time", "timestamp", "@timestamp", "ts")),
        str(method),
        str(path),
        int(given("status") or 0),
        _micros(given("request_time", "duration")),
        str(given("remote_addr", "client_ip", "remote_ip") or ""),
        str(given("http_user_agent", "user_agent", "agent") or ""),
        str(given("sent_http_content_type", "content_type") or ""),
        str(given("http_dnt")) == "1" or str(given("http_sec_gpc")) == "1",
    )


def _first(value: Any) -> str:
    found = value[0] if isinstance(value, list) and value else value
    return found if isinstance(found, str) else ""


def _when(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Some count milliseconds.
        return value / 1000 if value > 1e11 else float(value)
    text = str(value or "")
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return _when(float(text))
    try:
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise NotALine("has no time") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _micros(value: Any) -> int:
    """Seconds as microseconds; Caddy can be told to say `12ms` too."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(value * 1_000_000) if 0 <= value < 86400 else -1
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|ms|µs|us)?", str(value or ""))
    if match is None:
        return -1
    return round(float(match[1]) * {"s": 1e6, "ms": 1e3, "µs": 1.0, "us": 1.0, None: 1e6}[match[2]])
