"""Bring mails to the mail server, or into files where there is none."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientRefused,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from ..jobs.kinds import GiveUp, TryAgain
from .addresses import Address
from .server import MailServer

logger = logging.getLogger(__name__)

#: Characters of a server's answer that are kept.
MAX_ANSWER = 300

#: Connections that are kept at most, and mails over one: many servers hang up after a hundred.
_LINES = 5
_MAILS = 50

#: Seconds that a server may take to say whether it is still there, and for goodbyes when the process ends.
_GOODBYE = 5.0


class AddressRefused(GiveUp):
    """The server says that mail for this address is not taken, now or later: others need not try it again."""


class Postman(Protocol):
    """Takes one mail to one person."""

    async def bring(self, raw: bytes, sender: Address, to: Address, id: str) -> None:
        """Return once somebody else is responsible for it. Raises GiveUp (AddressRefused is one) or TryAgain.

        id: the mail's own, of letters, digits, dots and dashes.
        """


@dataclass(eq=False, slots=True)
class _Line:
    """A connection to the mail server, and how many mails went over it. closing: ends it, while nobody uses it."""

    smtp: SMTP
    mails: int = 0
    closing: asyncio.TimerHandle | None = None


class SmtpPostman:
    """Hands mails to a mail server. name: what we are called in EHLO.

    keep: seconds for which a connection is kept for the next mail; 0: each has one of its own. Close one that keeps.
    """

    def __init__(self, server: MailServer, name: str, *, keep: float = 0.0) -> None:
        self._server = server
        self._name = server.name or name
        self._keep = keep
        #: Those that nobody uses now.
        self._lines: list[_Line] = []
        self._leaving: set[asyncio.Task[None]] = set()

    async def bring(self, raw: bytes, sender: Address, to: Address, id: str) -> None:
        options = [] if to.is_ascii and sender.is_ascii else ["SMTPUTF8", "BODY=8BITMIME"]
        try:
            line = await self._line()
            try:
                await line.smtp.sendmail(sender.spec, [to.spec], raw, mail_options=options)
            except BaseException:
                line.smtp.close()
                raise
        except (SMTPException, OSError, ValueError) as error:
            raise _meaning(error, self._server) from None
        line.mails += 1
        # The mail is taken: what is said after that is of no use.
        if self._keep and line.mails < _MAILS and len(self._lines) < _LINES and line.smtp.is_connected:
            line.closing = asyncio.get_running_loop().call_later(self._keep, self._let_go, line)
            self._lines.append(line)
        else:
            await _quit(line.smtp)

    async def close(self) -> None:
        """Say goodbye on each connection that is kept."""
        for line in [*self._lines]:
            self._let_go(line)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_GOODBYE)

    async def _line(self) -> _Line:
        """A connection that is open: one that was kept, or a new one."""
        while self._lines:
            # The one used last: the others may end.
            line = self._lines.pop()
            assert line.closing is not None
            line.closing.cancel()
            try:
                # The server may have hung up. Before a mail it is harmless to ask; after that, who knows what it took.
                await line.smtp.rset(timeout=min(_GOODBYE, self._server.timeout))
            except (SMTPException, OSError):
                line.smtp.close()
            except BaseException:
                line.smtp.close()
                raise
            else:
                return line
        return _Line(await _connect(self._server, self._name))

    def _let_go(self, line: _Line) -> None:
        assert line.closing is not None
        line.closing.cancel()
        self._lines.remove(line)
        task = asyncio.create_task(_quit(line.smtp), name="web.services.mail")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def check(self) -> str:
        """Connect, greet and sign in, and send nothing; what to say if that is well. Raises GiveUp or TryAgain."""
        try:
            smtp = await _connect(self._server, self._name)
            try:
                await smtp.noop()
                how = "over TLS" if smtp.get_transport_info("sslcontext") is not None else "without TLS"
            except BaseException:
                smtp.close()
                raise
            await _quit(smtp)
            return f"{self._server.shown} answers {how}{'' if self._server.user is None else ', and lets us in'}"
        except (SMTPException, OSError, ValueError) as error:
            raise _meaning(error, self._server) from None


async def _connect(server: MailServer, name: str) -> SMTP:
    smtp = SMTP(
        hostname=server.host,
        port=server.port,
        username=server.user,
        password=server.password,
        use_tls=server.tls == "wrapped",
        start_tls={"starttls": True, "none": False}.get(server.tls),
        cert_bundle=server.cafile,
        local_hostname=name,
        timeout=server.timeout,
    )
    try:
        await smtp.connect()
    except BaseException:
        smtp.close()
        raise
    return smtp


async def _quit(smtp: SMTP) -> None:
    try:
        with suppress(SMTPException, OSError):
            await smtp.quit()
    finally:
        smtp.close()


def _meaning(error: BaseException, server: MailServer) -> GiveUp | TryAgain:
    """Whether a mail may be taken another time (4xx, and what is our own or the line's trouble) or never (5xx)."""
    if isinstance(error, SMTPRecipientsRefused):
        found: BaseException | None = next((each for each in error.recipients), None)
        error = found or error
    if isinstance(error, SMTPNotSupported):
        words = f"{server.shown}: {_short(str(error))}"
        # Letters of another alphabet before the @, which this server will not learn; else TLS, or a way to sign in.
        return AddressRefused(words) if "SMTPUTF8" in words else TryAgain(words)
    if isinstance(error, SMTPResponseException) and not isinstance(error, SMTPAuthenticationError):
        words = f"{server.shown}: {error.code} {_short(error.message)}"
        # A sender that is refused is our own trouble, and that of all mails: MAIL_FROM or MAIL_URL will be mended.
        if isinstance(error, SMTPRecipientRefused) and _is_nobodys(error.code, error.message):
            return AddressRefused(words)
        blamed = isinstance(error, SMTPRecipientRefused | SMTPDataError)
        return GiveUp(words) if blamed and error.code >= 500 else TryAgain(words)
    # A certificate that nobody vouches for is a ValueError too, and not the mail's fault.
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return GiveUp(f"{server.shown}: {_short(str(error))}")
    if isinstance(error, SMTPAuthenticationError):
        # Its answer may repeat what it was sent.
        return TryAgain(f"{server.shown}: {error.code} the user or the password is refused")
    # aiosmtplib says that it could not connect; why, its cause does, if it has words.
    reason = error.__cause__ or error
    return TryAgain(f"{server.shown}: {_short(f'{type(reason).__name__}: {reason}')}")


#: The enhanced code of an answer (RFC 3463): class, subject, detail.
_ENHANCED = re.compile(r"\s*5\.(\d{1,3})\.(\d{1,3})\b")


def _is_nobodys(code: int, message: str) -> bool:
    """Whether a recipient is refused for what the address is, rather than for who we are or how full its mailbox is.

    A server that no longer relays for us refuses everybody: that is mended here, and must not be remembered of each.
    """
    enhanced = _ENHANCED.match(message)
    if enhanced is not None:
        subject, detail = int(enhanced[1]), int(enhanced[2])
        # 5.1: the address, but for 5.1.7 and 5.1.8, the sender's. 5.2.1: a mailbox that is closed; 5.2.2: a full one.
        return (subject == 1 and detail not in {7, 8}) or (subject, detail) == (2, 1)
    return code in {550, 551, 553} and "relay" not in message.lower()


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_ANSWER else text[: MAX_ANSWER - 1] + "…"


class FilePostman:
    """Writes each mail into a file, where no MAIL_URL is set. keep: files at most; the oldest go."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    async def bring(self, raw: bytes, sender: Address, to: Address, id: str) -> None:
        path = self._folder / f"{id}.eml"
        try:
            await asyncio.to_thread(self._write, path, raw)
        except OSError as error:
            raise TryAgain(f"{path}: {error.strerror}") from None
        logger.warning("MAIL_URL is not set: mail is in a file, and sent to nobody", extra={"file": str(path)})

    def _write(self, path: Path, raw: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Mails have people's secrets in them.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(raw)
        mails = sorted(self._folder.glob("*.eml"), key=lambda each: (each.stat().st_mtime_ns, each.name))
        for old in mails[: -self._keep]:
            old.unlink(missing_ok=True)


class RecordingPostman:
    """For tests: keeps what it was given, and fails as it is told to."""

    def __init__(self) -> None:
        self.mails: list[tuple[bytes, Address, Address]] = []
        self.errors: list[Exception] = []

    async def bring(self, raw: bytes, sender: Address, to: Address, id: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.mails.append((raw, sender, to))
