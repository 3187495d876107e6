"""Settings of mail."""

from __future__ import annotations

from dataclasses import dataclass

from hub.errors import SettingsError
from hub.settings import COUNT, Kind, setting

from . import server
from .addresses import Address, BadAddress, parse_sender
from .server import MailServer


def _parse_sender(text: str) -> Address:
    try:
        return parse_sender(text)
    except BadAddress as error:
        raise ValueError(f"is no sender such as Fanfare <noreply@example.org>: {error}") from None


def _show_sender(address: Address) -> str:
    return f"{address.name} <{address.spec}>" if address.name else address.spec


MAIL_SERVER = Kind("mail URL", server.parse, lambda found: found.shown)
SENDER = Kind("mail address", _parse_sender, _show_sender)

#: Whom mails in files are from.
NOBODY = Address("fanfare", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """How mail is sent."""

    server: MailServer | None = setting(
        "MAIL_URL",
        MAIL_SERVER,
        None,
        "the mail server: smtp://host, smtp+starttls://user:password@host or smtps://…, user and password"
        " percent-encoded; docs/mail.md has its options; without it mails are files in HUB_VAR/mail",
        secret=True,
    )
    sender: Address | None = setting(
        "MAIL_FROM", SENDER, None, "whom mails are from, such as Fanfare <noreply@example.org>; needed with MAIL_URL"
    )
    files: int = setting(
        "MAIL_FILES", COUNT, 1000, "mails in HUB_VAR/mail at most; the oldest go", minimum=1, maximum=1_000_000
    )

    def __post_init__(self) -> None:
        if self.server is not None and self.sender is None:
            raise SettingsError("MAIL_FROM: is not set, and MAIL_URL is; whom are the mails from?")
