"""Mail: which addresses there are, which headers are safe, and what arrives at a real mail server."""

from __future__ import annotations

import asyncio
import email
import email.policy
import logging
import re
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import aiosmtpd.smtp
import pytest
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from hypothesis import given
from hypothesis import strategies as st

from web.db.database import Database
from web.services.jobs import rows
from web.services.jobs.kinds import GiveUp, TryAgain
from web.services.jobs.queue import Queue
from web.services.mail import postmen
from web.services.mail.addresses import Address, BadAddress, parse_address, parse_sender
from web.services.mail.headers import MAX_HEADER, check_link, header_text
from web.services.mail.jobs import MAIL, POST_OFFICE, PostOffice, send
from web.services.mail.messages import MAX_BODY, Mail, body_text, compose
from web.services.mail.postmen import AddressRefused, FilePostman, Postman, RecordingPostman, SmtpPostman
from web.services.mail.server import MailServer, parse

SENDER = Address("noreply", "example.org", "Fanfare")

#: All that anything takes for the end of a line, and other controls.
BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00", "\x7f", "\x9b"]

#: As they are written, and as they shall arrive where that is something else.
SUBJECTS: list[tuple[str, str | None]] = [
    ("Brass on the Quay", None),
    ("", None),
    ("Grüße aus Köln", None),
    ("👋🏽 A wave, 👩‍👩‍👧‍👦 a family and 🏴󠁧󠁢󠁥󠁮󠁧󠁿 a flag", None),
    ("שלום עולם", None),
    ("مرحبا 2026", None),
    ("日本語の件名はとても長いので折り返しが必要になりますがそのまま届かなければなりません" * 3, None),
    ("a" * 300, None),
    ("word " * 60 + "end", None),
    ("two  spaces   and\ttabs", "two  spaces   and tabs"),
    ("=?utf-8?q?not_encoded?=", None),
    ("=?utf-8?b?QmNj?= by hand", None),
    ('"quotes", <angles>, (comments) & commas; colons: all', None),
    ("Hello\r\nBcc: victim@example.org", "Hello Bcc: victim@example.org"),
    ("Hello\nX: y\u2028Z\u2029\x85\x1e\v\fend", "Hello X: y Z end"),
    ("Half \ud83d an emoji", "Half � an emoji"),
    ("\u202eevil\u202c turns \u2066around\u2069", "evil turns around"),
    ("NUL \x00 and escape \x1b[31m and C1 \x9b31m", "NUL   and escape  [31m and C1  31m"),
    ("á composed and á decomposed, ﬁ ligature", None),
    ("é" * 500, "é" * (MAX_HEADER - 1) + "…"),
    ("ends with a dot\r\n.\r\n", "ends with a dot ."),
    ("Ünï" + " " * 50 + "cöde", None),
]


def mail(**options: Any) -> Mail:
    return Mail(**{"to": "ada@example.org", "subject": "Hello", "text": "Hello.\n", **options})


def read(raw: bytes) -> Message:
    return email.message_from_bytes(raw)


def subject_of(raw: bytes) -> str:
    return str(make_header(decode_header(read(raw)["Subject"])))


# Headers


@pytest.mark.parametrize(("subject", "arrives"), SUBJECTS)
def test_a_subject_arrives_as_written_or_made_safe(subject: str, arrives: str | None) -> None:
    raw = compose(mail(subject=subject), SENDER, "1.2", 0)
    wanted = subject if arrives is None else arrives
    assert subject_of(raw) == wanted
    assert email.message_from_bytes(raw, policy=email.policy.default)["Subject"] == wanted
    assert read(raw).keys().count("Bcc") == 0


@pytest.mark.parametrize("end", BREAKS)
@pytest.mark.parametrize("field", ["subject", "to_name", "list_name"])
def test_nothing_that_ends_a_line_ends_a_header(end: str, field: str) -> None:
    raw = compose(mail(**{field: f"Hello{end}Bcc: eve@example.org", "list_id": "news"}), SENDER, "1.2", 0)
    head = raw.partition(b"\r\n\r\n")[0]
    assert read(raw)["Bcc"] is None
    assert b"\nBcc" not in head
    assert len(head.decode().splitlines()) == head.count(b"\r\n") + 1


@given(st.text(st.characters(), max_size=1000))
def test_any_text_is_one_safe_line(text: str) -> None:
    found = header_text(text)
    assert len(found.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", found)
    assert len(found) <= MAX_HEADER
    assert header_text(found) == found


@given(st.text(st.characters(), max_size=600), st.text(st.characters(), max_size=200))
def test_any_subject_and_any_name_make_a_mail_that_says_them(subject: str, name: str) -> None:
    raw = compose(mail(subject=subject, to_name=name), SENDER, "1.2", 0)
    head = raw.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert subject_of(raw) == header_text(subject)
    shown, address = parseaddr(read(raw)["To"])
    assert address == "ada@example.org"
    assert str(make_header(decode_header(shown))) == header_text(name, 100)


def test_headers_that_readers_and_robots_look_for() -> None:
    raw = compose(
        mail(
            to_name="Ada, Countess",
            reply_to="help@example.org",
            list_id="events",
            list_name="Neue Ereignisse für alle",
            unsubscribe="https://example.org/mail/stop?token=" + "x" * 200,
        ),
        SENDER,
        "17.1764360000000",
        1764360000,
    )
    found = {name: re.sub(r"\r\n(?=[ \t])", "", value) for name, value in read(raw).items()}
    assert found["From"] == "Fanfare <noreply@example.org>"
    assert found["To"] == '"Ada, Countess" <ada@example.org>'
    assert found["Reply-To"] == "help@example.org"
    assert found["Date"] == "Fri, 28 Nov 2025 20:00:00 -0000"
    assert found["Message-ID"] == "<17.1764360000000@example.org>"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["X-Auto-Response-Suppress"] == "All"
    assert found["List-Id"].endswith("<events.example.org>")
    # As they are, in one line: what is folded or encoded is no link for anybody.
    assert f"List-Unsubscribe: <https://example.org/mail/stop?token={'x' * 200}>\r\n".encode() in raw
    assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize(
    "link",
    [
        "http://example.org/stop",
        "javascript:alert(1)",
        "https://example.org/a b",
        "https://example.org/>,<mailto:x@example.org>",
        "https://example.org/\r\nBcc: x@example.org",
        "https://example.org/ü",
        "https://",
        "https://example.org/" + "x" * 1000,
    ],
)
def test_links_that_are_none_are_refused(link: str) -> None:
    with pytest.raises(ValueError, match="link"):
        check_link(link)
    with pytest.raises(ValueError, match="link"):
        compose(mail(unsubscribe=link), SENDER, "1.2", 0)


@pytest.mark.parametrize("name", ["a b", "a\r\nb", "<a>", "", ".a", "a.", "ü"])
def test_a_list_id_is_a_plain_word(name: str) -> None:
    with pytest.raises(ValueError, match="list_id"):
        mail(list_id=name).check()


# Addresses


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("ada@example.org", "ada@example.org"),
        (" Ada.Lovelace+news@Example.ORG ", "Ada.Lovelace+news@example.org"),
        ("o'brien@example.org", "o'brien@example.org"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@例え.テスト", "ada@xn--r8jz45g.xn--zckzah"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("grüße@example.org", "grüße@example.org"),
        ("gru\u0308ße@example.org", "grüße@example.org"),
        ("用户@example.org", "用户@example.org"),
    ],
)
def test_addresses(text: str, spec: str) -> None:
    found = parse_address(text)
    assert found.spec == spec
    assert found.is_ascii == spec.isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "ada@localhost",
        "ada@example",
        "ada@exa mple.org",
        "ada love@example.org",
        "ada@example.org, eve@example.org",
        "ada@example.org eve@example.org",
        "Ada <ada@example.org>",
        "<ada@example.org>",
        "ada@@example.org",
        '"ada"@example.org',
        "ada(comment)@example.org",
        ".ada@example.org",
        "ada.@example.org",
        "a..b@example.org",
        "ada@[127.0.0.1]",
        "ada@127.0.0.1",
        "ada@-example.org",
        "ada@example..org",
        "ada@example.org.",
        "ada\u00a0b@example.org",
        "ada\u202e@example.org",
        "ad\ud83da@example.org",
        "a" * 65 + "@example.org",
        "ü" * 33 + "@example.org",
        "ada@" + "a" * 64 + ".org",
        "ada@" + "a." * 130 + "org",
        *(f"ada{end}@example.org" for end in BREAKS),
        *(f"ada@example.org{end}" for end in BREAKS),
        *(f"ada@example.org{end}Bcc: eve@example.org" for end in BREAKS),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_address(text)
    # It is shown and logged.
    assert not text or text not in str(caught.value)
    with pytest.raises(BadAddress):
        mail(to=text).check()
    with pytest.raises(BadAddress):
        mail(reply_to=text).check()


@given(st.text(st.characters(), max_size=80))
def test_any_text_is_an_address_or_refused_as_none(text: str) -> None:
    for candidate in (text, f"{text}@example.org", f"ada@{text}"):
        try:
            found = parse_address(candidate)
        except BadAddress:
            continue
        assert len(found.spec.splitlines()) == 1
        assert not re.search(r"[\s<>,;:\"()\x00-\x1f\x7f-\x9f]", found.spec)
        assert found.domain.isascii()


def test_a_sender_may_have_a_name() -> None:
    assert parse_sender("noreply@example.org") == Address("noreply", "example.org")
    assert parse_sender("Fanfare <noreply@example.org>") == SENDER
    assert parse_sender('"Fanfare, the hub" <noreply@example.org>').name == "Fanfare, the hub"
    for bad in ("Fanfare", "<noreply@example.org", "a <b> <c@example.org>", "A <a@example.org>\r\nBcc: b@example.org"):
        with pytest.raises(BadAddress):
            parse_sender(bad)


# MAIL_URL


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail", MailServer("mail", 25)),
        ("smtp://mail:2525/?starttls=no", MailServer("mail", 2525, "none")),
        ("smtp://mail?starttls=required&timeout=5", MailServer("mail", 25, "starttls", timeout=5.0)),
        ("smtp://u:p@mail", MailServer("mail", 25, "starttls", "u", "p")),
        ("smtp://u:p@mail?starttls=no", MailServer("mail", 25, "none", "u", "p")),
        ("smtp+starttls://u%40x:p%2Fa%3As%20s@mail", MailServer("mail", 587, "starttls", "u@x", "p/a:s s")),
        ("smtps://u:p%C3%A4@[::1]:4650", MailServer("::1", 4650, "wrapped", "u", "pä")),
        (
            "smtps://mail?cafile=/a/b.pem&name=us.example.org",
            MailServer("mail", 465, "wrapped", cafile="/a/b.pem", name="us.example.org"),
        ),
    ],
)
def test_mail_urls(url: str, server: MailServer) -> None:
    assert parse(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.org",
        "http://geheim@mail",
        "smtp://",
        "smtp://mail:x",
        "smtp://mail:99999",
        "smtp://mail/path",
        "smtp://mail#x",
        "smtp://u@mail",
        "smtp://:geheim@mail",
        "smtp://u:geheim@mail?starttls=offered",
        "smtp://u:geheim%ff@mail",
        "smtps://u:geheim@mail?starttls=no",
        "smtp+starttls://u:geheim@mail?starttls=no",
        "smtp://u:geheim@mail?starttls=maybe",
        "smtp://u:geheim@mail?timeout=0",
        "smtp://u:geheim@mail?timeout=x",
        "smtp://u:geheim@mail?name=a b",
        "smtp://u:geheim@mail?pasword=x",
        "smtp://u:geheim@mail?novalue",
    ],
)
def test_what_is_no_mail_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the words are looked at
        parse(url)
    assert "geheim" not in str(caught.value)
    assert not isinstance(caught.value, UnicodeError)


def test_a_servers_password_is_nowhere_to_be_seen() -> None:
    server = parse("smtps://ada:geheim@mail")
    assert "geheim" not in repr(server) + server.shown
    assert server.shown == "smtps://…@mail:465"


# Over SMTP


class Mailbox:
    """What a mail server took, and what it says instead where a test wants so."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.answers: dict[str, str] = {}
        self.hang = False
        self.drop = False
        #: The connections that were used, by when their first mail came.
        self.sessions: list[Any] = []

    async def handle_MAIL(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        if session not in self.sessions:
            self.sessions.append(session)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        if "RCPT" in self.answers:
            return self.answers["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" not in self.answers:
            self.mails.append(envelope)
        if self.hang:
            await asyncio.sleep(3600)
        return self.answers.get("DATA", "250 OK")

    async def handle_QUIT(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.drop:
            server.transport.abort()
        return "221 Bye"


Serve = Callable[..., Awaitable[int]]


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def serve(mailbox: Mailbox) -> AsyncIterator[Serve]:
    """Starts a mail server in this loop: `port = await serve(enable_SMTPUTF8=True)`."""
    servers = []

    async def start(*, ssl: ssl.SSLContext | None = None, **options: Any) -> int:
        loop = asyncio.get_running_loop()

        def new() -> aiosmtpd.smtp.SMTP:
            return aiosmtpd.smtp.SMTP(mailbox, hostname="sink.example.org", loop=loop, **options)

        server = await loop.create_server(new, "127.0.0.1", 0, ssl=ssl)
        servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()


def postman(port: int, **options: Any) -> SmtpPostman:
    return SmtpPostman(MailServer(**{"host": "127.0.0.1", "port": port, "tls": "none", **options}), "example.org")


async def bring(postman: Postman, some: Mail) -> None:
    await postman.bring(compose(some, SENDER, "1.2", 0), SENDER, parse_address(some.to), "1.2")


@pytest.mark.parametrize(("subject", "arrives"), SUBJECTS)
async def test_a_nasty_subject_arrives_over_smtp(
    serve: Serve, mailbox: Mailbox, subject: str, arrives: str | None
) -> None:
    await bring(postman(await serve()), mail(subject=subject))
    [envelope] = mailbox.mails
    assert isinstance(envelope.content, bytes)
    assert subject_of(envelope.content) == (subject if arrives is None else arrives)
    assert (envelope.mail_from, envelope.rcpt_tos) == ("noreply@example.org", ["ada@example.org"])


BODIES = [
    "Hello.\n",
    ".\n..\n.a line of a dot\n",
    "no end",
    "From the start\nFrom a mailbox\n",
    "👋 emoji, שלום, e\u0301\n",
    "x" * 5000 + "\n",
    "ü" * 3000 + "\n",
    "mac\rdos\r\nunix\nnext\u2028line\x85end\n",
    "trailing spaces   \n\n\n\ttab\n",
    "=20 =3D quoted\n",
    "\n",
]


@pytest.mark.parametrize("body", BODIES)
async def test_a_body_arrives_as_written(serve: Serve, mailbox: Mailbox, body: str) -> None:
    html = f"<p>{body}</p>"
    await bring(postman(await serve()), mail(text=body, html=html))
    [envelope] = mailbox.mails
    assert isinstance(envelope.content, bytes)
    assert max(map(len, envelope.content.split(b"\r\n"))) <= 998
    assert b"\n" not in envelope.content.replace(b"\r\n", b"")
    assert b"\r" not in envelope.content.replace(b"\r\n", b"")
    assert envelope.content.isascii()
    found = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert found.get_content_type() == "multipart/alternative"
    plain, rich = found.iter_parts()
    assert isinstance(plain, EmailMessage)
    assert isinstance(rich, EmailMessage)
    assert (plain.get_content_type(), rich.get_content_type()) == ("text/plain", "text/html")
    assert plain.get_content().replace("\r\n", "\n") == body_text(body)
    assert rich.get_content().replace("\r\n", "\n") == body_text(html)


def test_controls_and_half_characters_leave_a_body() -> None:
    assert body_text("a\x00b\x1b[31m\ud83d c\r\nd\re") == "ab[31m� c\nd\ne\n"


async def test_an_address_of_other_letters_needs_a_server_that_takes_them(serve: Serve, mailbox: Mailbox) -> None:
    some = mail(to="grüße@bücher.example")
    await bring(postman(await serve(enable_SMTPUTF8=True)), some)
    [envelope] = mailbox.mails
    assert envelope.rcpt_tos == ["grüße@xn--bcher-kva.example"]
    assert "SMTPUTF8" in envelope.mail_options
    with pytest.raises(GiveUp, match="SMTPUTF8"):
        await bring(postman(await serve()), some)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"RCPT": "550 5.1.1 no such user"}, AddressRefused),
        ({"RCPT": "550 no such user"}, AddressRefused),
        ({"RCPT": "550 5.2.1 mailbox disabled"}, AddressRefused),
        # Nothing that the address can be blamed for: who we are, and a mailbox that is full today.
        ({"RCPT": "550 5.7.1 your host is listed"}, GiveUp),
        ({"RCPT": "550 relay not permitted"}, GiveUp),
        ({"RCPT": "554 5.7.1 relay access denied"}, GiveUp),
        ({"RCPT": "550 5.1.8 sender's domain not found"}, GiveUp),
        ({"RCPT": "552 5.2.2 mailbox full"}, GiveUp),
        ({"RCPT": "450 4.2.1 greylisted"}, TryAgain),
        ({"DATA": "554 5.7.1 spam"}, GiveUp),
        ({"DATA": "452 4.3.1 disk full"}, TryAgain),
        # Not the recipient's fault: the next mail would be refused too, and all be given up.
        ({"MAIL": "550 5.7.1 who are you"}, TryAgain),
        ({"MAIL": "421 too busy"}, TryAgain),
    ],
)
async def test_4xx_is_tried_again_and_5xx_given_up(
    serve: Serve, mailbox: Mailbox, answers: dict[str, str], error: type[Exception]
) -> None:
    mailbox.answers = answers
    with pytest.raises(error) as caught:
        await bring(postman(await serve()), mail())
    assert type(caught.value) is error
    [answer] = answers.values()
    assert answer[:3] in str(caught.value)


async def test_a_server_that_hangs_up_after_it_took_a_mail_has_taken_it(serve: Serve, mailbox: Mailbox) -> None:
    mailbox.drop = True
    await bring(postman(await serve()), mail())
    assert len(mailbox.mails) == 1


@pytest.fixture
async def keeping(serve: Serve) -> AsyncIterator[SmtpPostman]:
    """A postman who keeps his connections for as long as a test takes."""
    port = await serve()
    postman = SmtpPostman(MailServer("127.0.0.1", port, tls="none", timeout=5.0), "example.org", keep=3600.0)
    yield postman
    await postman.close()


async def test_mails_go_over_one_connection_as_long_as_they_follow_each_other(
    keeping: SmtpPostman, mailbox: Mailbox
) -> None:
    for _ in range(3):
        await bring(keeping, mail())
    assert (len(mailbox.mails), len(mailbox.sessions)) == (3, 1)
    # At once they need one each.
    await asyncio.gather(*(bring(keeping, mail()) for _ in range(3)))
    assert (len(mailbox.mails), len(mailbox.sessions)) == (6, 3)


async def test_a_connection_is_left_after_some_mails_and_after_a_moment(
    keeping: SmtpPostman, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmen, "_MAILS", 2)
    for _ in range(3):
        await bring(keeping, mail())
    assert len(mailbox.sessions) == 2
    monkeypatch.setattr(keeping, "_keep", 0.001)
    await bring(keeping, mail())
    # The third mail's connection had its second.
    await bring(keeping, mail())
    async with asyncio.timeout(60):
        while keeping._lines:
            await asyncio.sleep(0.01)


async def test_a_kept_connection_that_has_ended_costs_no_mail(keeping: SmtpPostman, mailbox: Mailbox) -> None:
    """A server may hang up on who says nothing for a while; the mail was not at fault, and is not tried later."""
    await bring(keeping, mail())
    [line] = keeping._lines
    transport = line.smtp.transport
    assert transport is not None
    transport.abort()
    await bring(keeping, mail())
    assert (len(mailbox.mails), len(mailbox.sessions)) == (2, 2)


async def test_a_connection_over_which_a_mail_failed_is_not_used_again(keeping: SmtpPostman, mailbox: Mailbox) -> None:
    await bring(keeping, mail())
    mailbox.answers = {"RCPT": "550 5.1.1 no such user"}
    with pytest.raises(GiveUp):
        await bring(keeping, mail())
    mailbox.answers = {}
    await bring(keeping, mail())
    assert (len(mailbox.mails), len(mailbox.sessions)) == (2, 2)


async def test_a_server_that_does_not_answer_is_tried_again(serve: Serve, mailbox: Mailbox) -> None:
    mailbox.hang = True
    with pytest.raises(TryAgain):
        await bring(postman(await serve(), timeout=0.3), mail())
    with pytest.raises(TryAgain):
        # Nobody listens there.
        await bring(postman(1), mail())
    with pytest.raises(TryAgain):
        await bring(postman(1, host="nowhere.invalid"), mail())


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"ada", b"geheim/:@"), handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


# What the sink says of servers such as these.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.filterwarnings("ignore:tls_context.verify_mode not in")
async def test_tls_and_a_password(
    serve: Serve,
    mailbox: Mailbox,
    certificate: tuple[Path, ssl.SSLContext],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    cafile, context = certificate
    login: dict[str, Any] = {"auth_required": True, "authenticator": authenticate}
    wrapped = await serve(ssl=context, **login, auth_require_tls=False)
    started = await serve(tls_context=context, require_starttls=True, **login)
    plain = await serve(**login, auth_require_tls=False)
    good = "ada:geheim%2F%3A%40"
    for url in (f"smtps://{good}@127.0.0.1:{wrapped}", f"smtp+starttls://{good}@127.0.0.1:{started}"):
        server = parse(f"{url}?cafile={cafile}")
        await bring(SmtpPostman(server, "example.org"), mail())
        assert await SmtpPostman(server, "example.org").check() == f"{server.shown} answers over TLS, and lets us in"
        # A certificate that nobody vouches for.
        with pytest.raises(TryAgain):
            await bring(SmtpPostman(parse(url), "example.org"), mail())
    assert len(mailbox.mails) == 2
    # A password never goes over a line that anybody reads, unless it is said to be safe.
    with pytest.raises(TryAgain):
        await bring(SmtpPostman(parse(f"smtp://{good}@127.0.0.1:{plain}"), "example.org"), mail())
    await bring(SmtpPostman(parse(f"smtp://{good}@127.0.0.1:{plain}?starttls=no"), "example.org"), mail())
    with pytest.raises(TryAgain, match="the user or the password is refused") as caught:
        await SmtpPostman(parse(f"smtp://ada:geheim@127.0.0.1:{plain}?starttls=no"), "example.org").check()
    assert "geheim" not in str(caught.value) + caplog.text
    assert len(mailbox.mails) == 3


# As files


async def test_without_a_server_each_mail_is_a_file_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mail"
    files = FilePostman(folder, keep=3)
    for number in range(5):
        await files.bring(
            compose(mail(), SENDER, f"{number}.1", 0), SENDER, parse_address("ada@example.org"), f"{number}.1"
        )
    assert sorted(each.name for each in folder.iterdir()) == ["2.1.eml", "3.1.eml", "4.1.eml"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "4.1.eml").stat().st_mode) == 0o600
    assert "MAIL_URL is not set: mail is in a file" in caplog.text
    assert "ada" not in caplog.text


async def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("")
    with pytest.raises(TryAgain):
        await FilePostman(tmp_path / "mail", keep=3).bring(b"", SENDER, SENDER, "1")


# By a job


async def until_ended(saves: Database, id: int) -> rows.Shown:
    async with asyncio.timeout(60):
        while True:
            async with saves.engine.connect() as connection:
                found = await connection.run_sync(rows.get, id)
            assert found is not None
            if found.finished is not None:
                return found
            await asyncio.sleep(0.01)


async def test_mails_are_sent_by_jobs_one_a_person_and_only_if_the_save_is_committed(
    saves: Database, queue: Queue, work: Any, serve: Serve, mailbox: Mailbox
) -> None:
    app = {POST_OFFICE: PostOffice(postman(await serve()), SENDER)}
    await work(MAIL, app=app)
    try:
        async with saves.saving() as session:
            await send(queue, session, [mail(to="never@example.org")])
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    people = [f"p{number}@example.org" for number in range(20)]
    async with saves.saving() as session:
        ids = await send(queue, session, [mail(to=each) for each in people])
    for id in ids:
        assert (await until_ended(saves, id)).outcome == rows.DONE
    assert sorted(envelope.rcpt_tos for envelope in mailbox.mails) == sorted([each] for each in people)


async def test_a_mail_that_is_tried_again_is_the_same_mail(saves: Database, queue: Queue, work: Any) -> None:
    office = RecordingPostman()
    runner = await work(MAIL, app={POST_OFFICE: PostOffice(office, SENDER)})
    tried: list[bytes] = []
    real = office.bring

    async def bring(raw: bytes, *args: Any) -> None:
        tried.append(raw)
        if len(tried) == 1:
            raise TryAgain("450 later", after=0.0)
        await real(raw, *args)

    office.bring = bring  # type: ignore[method-assign]
    async with saves.saving() as session:
        [id] = await send(queue, session, [mail()])
    await until_ended(saves, id)
    assert len(tried) == 2
    assert read(tried[0])["Message-ID"] == read(tried[1])["Message-ID"]
    assert re.fullmatch(rf"<{id}\.\d+@example\.org>", read(tried[0])["Message-ID"])
    assert read(tried[0])["Date"] == read(tried[1])["Date"]
    assert runner.stats["mail"].failed == 1


async def test_a_mail_that_can_never_be_sent_is_refused_where_it_is_written(saves: Database, queue: Queue) -> None:
    for bad in (mail(to="ada@example.org\r\nBcc: eve@example.org"), mail(text="x" * (MAX_BODY + 1))):
        async with saves.saving() as session:
            with pytest.raises(ValueError, match=r"address|longer"):
                await send(queue, session, [mail(), bad])
        async with saves.engine.connect() as connection:
            assert await connection.run_sync(rows.listed) == []


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "mail",
        {},
        {"to": "ada@example.org"},
        {"to": 3, "subject": "s", "text": "t"},
        {"to": "a@example.org\nb", "subject": "s", "text": "t"},
        {"to": "a@example.org", "subject": "s", "text": ["t"]},
        {"to": "a@example.org", "subject": "s", "text": "t", "bcc": "b@example.org"},
        {"to": "a@example.org", "subject": "s", "text": "t", "unsubscribe": "http://x"},
    ],
)
async def test_a_row_that_is_no_mail_is_given_up_and_reaches_no_server(
    saves: Database, queue: Queue, work: Any, data: Any
) -> None:
    office = RecordingPostman()
    await work(MAIL, app={POST_OFFICE: PostOffice(office, SENDER)})
    async with saves.saving() as session:
        id = await queue.add(session, MAIL, data)
    found = await until_ended(saves, id)
    assert (found.outcome, found.attempts) == (rows.GIVEN_UP, 1)
    assert office.mails == []


def test_mail_as_data_is_the_same_mail() -> None:
    full = mail(
        html="<p>", to_name="Ada", reply_to="b@example.org", list_id="l", list_name="L", unsubscribe="https://x.org/"
    )
    assert Mail.from_data(full.as_data()) == full
    assert Mail.from_data(mail().as_data()) == mail()
    assert mail(text="").as_data().keys() == {"to", "subject", "text"}
