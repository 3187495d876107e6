"""A mail, as a job carries it and as it goes over the wire. Pure. The bodies are written by `email`."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any, Self

from .addresses import Address, parse_address, written
from .headers import NO_CHARACTERS, check_link, header_text, line, phrase, words

#: Characters of a body; a job has room for the text and the HTML.
MAX_BODY = 200_000

#: Of a body: what isn't text. Tabs and line ends are.
_BODY_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_LIST_ID = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail to one person, as a job carries it.

    to: an address, without a name; to_name: the person's. list_id, list_name: of the list it was sent to, "events" and
    "New events": readers sort by it. unsubscribe: an https URL that takes one from the list by a POST of
    `List-Unsubscribe=One-Click`, without questions (RFC 8058), and has a page for those who come by GET.
    reply_to: an address.
    """

    to: str
    subject: str
    text: str
    html: str | None = None
    to_name: str = ""
    reply_to: str | None = None
    list_id: str | None = None
    list_name: str = ""
    unsubscribe: str | None = None

    def as_data(self) -> dict[str, Any]:
        """As a job's data."""
        needed = ("to", "subject", "text")
        return {name: value for name, value in asdict(self).items() if value or name in needed}

    @classmethod
    def from_data(cls, data: Any) -> Self:
        """From a job's data. Raises TypeError, LookupError or ValueError for what is no mail that could be sent."""
        mail = cls(**data)
        for name, value in asdict(mail).items():
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is not text")
        mail.check()
        return mail

    def check(self, longest: int = MAX_BODY) -> None:
        """Raise ValueError (BadAddress is one) for what could never be sent. longest: characters of a body."""
        parse_address(self.to)
        if self.reply_to is not None:
            parse_address(self.reply_to)
        if self.list_id is not None and not _LIST_ID.fullmatch(self.list_id):
            raise ValueError("list_id is letters, digits, - and _ with dots between")
        if self.unsubscribe is not None:
            check_link(self.unsubscribe)
        if len(self.text) > longest or len(self.html or "") > longest:
            raise ValueError(f"the mail is longer than {longest} characters")


def compose(mail: Mail, sender: Address, id: str, date: float, *, longest: int = MAX_BODY) -> bytes:
    """The mail as it goes over the wire, lines ended by CRLF.

    id: what the Message-ID is made of, the same each time this mail is tried: then nobody shows it twice. date:
    seconds since 1970. longest: characters of a body, for who keeps it elsewhere than in a job. Raises ValueError for
    what could never be sent.
    """
    mail.check(longest)
    to = parse_address(mail.to).named(header_text(mail.to_name, 100))
    lines = [
        line("From", written(sender)),
        line("To", written(to)),
        line("Subject", words(header_text(mail.subject), len("Subject: "))),
        line("Date", formatdate(date)),
        line("Message-ID", message_id(id, sender)),
        # RFC 3834: no vacation notice answers. Exchange goes by its own.
        line("Auto-Submitted", "auto-generated"),
        line("X-Auto-Response-Suppress", "All"),
    ]
    if mail.reply_to is not None:
        lines.append(line("Reply-To", written(parse_address(mail.reply_to))))
    if mail.list_id is not None:
        name = phrase(header_text(mail.list_name, 100), len("List-Id: "))
        lines.append(line("List-Id", f"{name}{' ' if name else ''}<{mail.list_id}.{sender.domain}>"))
    if mail.unsubscribe is not None:
        lines.append(line("List-Unsubscribe", f"<{check_link(mail.unsubscribe)}>"))
        lines.append(line("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return b"".join(lines) + _body(mail)


def message_id(id: str, sender: Address) -> str:
    """The Message-ID of a mail. id: letters, digits, dots and dashes."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+", id):
        raise ValueError("a Message-ID is made of letters, digits, dots and dashes")
    return f"<{id}@{sender.domain}>"


def _body(mail: Mail) -> bytes:
    # 7 bits: not every server takes more, and a line may be longer than any takes.
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message.set_content(body_text(mail.text))
    if mail.html is not None:
        message.add_alternative(body_text(mail.html), subtype="html")
    return message.as_bytes()


def body_text(text: str) -> str:
    """A body's text: without controls and half characters, lines ended by \\n."""
    text = NO_CHARACTERS.sub("�", _BODY_CONTROLS.sub("", text))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else f"{text}\n"
