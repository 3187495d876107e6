"""The mail server that MAIL_URL names. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

#: Seconds that the server may take for each of its answers.
TIMEOUT = 30.0

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}

_OPTIONS = frozenset({"starttls", "timeout", "cafile", "name"})


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail goes. The password is in no repr.

    tls: "wrapped" from the first byte, "starttls" or not at all, "offered": by STARTTLS if the server has it, "none".
    timeout: seconds for each answer. cafile: certificates to believe instead of the system's. name: what we
    are called in EHLO, if not as this machine is.
    """

    host: str
    port: int
    tls: Literal["wrapped", "starttls", "offered", "none"] = "offered"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = TIMEOUT
    cafile: str | None = None
    name: str | None = None

    @property
    def shown(self) -> str:
        """The server for people, without its password."""
        scheme = {"wrapped": "smtps", "starttls": "smtp+starttls"}.get(self.tls, "smtp")
        user = "" if self.user is None else "…@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{user}{host}:{self.port}"


def parse(text: str) -> MailServer:
    """The server of a URL: `smtp://host`, `smtp+starttls://user:password@host:587`, `smtps://…`.

    `?starttls=required|offered|no`, `timeout=10`, `cafile=/path`, `name=mail.example.org`. User and password are
    percent-encoded. With a password STARTTLS is required, unless `starttls=no` says that the line is safe. Raises
    ValueError, whose words have nothing of the URL but its option's name.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError("is not a URL such as smtps://user:password@mail.example.org") from None
    if parts.scheme not in _PORTS or not host or parts.path not in {"", "/"} or parts.fragment:
        raise ValueError("is not a URL such as smtps://user:password@mail.example.org")
    if unknown := options.keys() - _OPTIONS:
        raise ValueError(f"has an option {min(unknown)[:40]!r}; there are {', '.join(sorted(_OPTIONS))}")
    try:
        user = None if parts.username is None else unquote(parts.username, errors="strict")
        password = None if parts.password is None else unquote(parts.password, errors="strict")
    except UnicodeDecodeError:
        # Its own words have the password in them.
        raise ValueError("has a user or a password that is not UTF-8, percent-encoded") from None
    if (user is None) != (password is None) or user == "":
        raise ValueError("has a user without a password, or the other way round")
    return MailServer(
        host,
        port or _PORTS[parts.scheme],
        _tls(parts.scheme, options.get("starttls"), has_password=user is not None),
        user,
        password,
        _timeout(options.get("timeout")),
        options.get("cafile") or None,
        _name(options.get("name")),
    )


def _tls(scheme: str, said: str | None, *, has_password: bool) -> Literal["wrapped", "starttls", "offered", "none"]:
    if said not in {None, "required", "offered", "no"}:
        raise ValueError("has starttls, which is required, offered or no")
    if scheme == "smtps":
        if said is not None:
            raise ValueError("is smtps, which has TLS without starttls")
        return "wrapped"
    if scheme == "smtp+starttls" or said == "required":
        if said not in {None, "required"}:
            raise ValueError("is smtp+starttls, and says starttls otherwise")
        return "starttls"
    if said == "no":
        return "none"
    if has_password:
        if said == "offered":
            # Whoever is between could take the offer away, and read the password.
            raise ValueError("has a password: starttls is required for it, or no where the line is safe")
        return "starttls"
    return "offered"


def _timeout(text: str | None) -> float:
    if text is None:
        return TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 300:
        raise ValueError("has timeout, which is seconds, up to 300")
    return seconds


def _name(text: str | None) -> str | None:
    if text is None:
        return None
    if not text or not text.isascii() or not all(letter.isalnum() or letter in ".-" for letter in text):
        raise ValueError("has name, which is a host's name")
    return text
