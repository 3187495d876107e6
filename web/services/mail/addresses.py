"""Addresses that were checked: what is none never reaches SMTP. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ..domains import to_ascii
from .headers import CONTROLS, DIRECTIONS, NO_CHARACTERS, header_text, phrase

#: Of an address in all, in octets, and of what is before the @ (RFC 5321 4.5.3.1).
MAX_ADDRESS = 254
MAX_LOCAL = 64

#: What may be in an address before the @ without quotes (RFC 5322 3.2.3), besides letters of other alphabets.
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u0080-\U0010ffff-]+")


class BadAddress(ValueError):
    """No mail goes there; says why, without the address."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address that was checked. domain: in ASCII, as DNS has it. name: the person's or the list's, or nothing."""

    local: str
    domain: str
    name: str = ""

    @property
    def spec(self) -> str:
        """What SMTP is given."""
        return f"{self.local}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """Whether any mail server takes it; others need SMTPUTF8 (RFC 6531)."""
        return self.local.isascii()

    def named(self, name: str) -> Address:
        """The same with another name."""
        return Address(self.local, self.domain, name)


def parse_address(text: str) -> Address:
    """An address as somebody typed it. Raises BadAddress; quotes, comments and IP addresses are refused.

    Whether somebody reads there only a mail can tell.
    """
    if len(text) > 4 * MAX_ADDRESS:
        # Composing takes time with the square of how many marks stand on a letter: 75,000 halt the process for seconds.
        raise BadAddress(f"an address is at most {MAX_ADDRESS} characters long")
    if CONTROLS.search(text):
        raise BadAddress("an address has no line breaks and no controls in it")
    text = unicodedata.normalize("NFC", text.strip(" "))
    if len(text) > MAX_ADDRESS:
        raise BadAddress(f"an address is at most {MAX_ADDRESS} characters long")
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise BadAddress("an address is a name, @ and a domain")
    if not _ATOM.fullmatch(local) or local.startswith(".") or local.endswith(".") or ".." in local:
        raise BadAddress("what is before the @ is no name of a mailbox")
    if NO_CHARACTERS.search(local) or DIRECTIONS.search(local) or any(map(str.isspace, local)):
        raise BadAddress("what is before the @ has no letters of an alphabet")
    if not local.isascii() and not all(_is_word(letter) for letter in local if not letter.isascii()):
        raise BadAddress("what is before the @ has no letters of an alphabet")
    try:
        ascii_domain = to_ascii(domain)
    except ValueError:
        raise BadAddress("what is after the @ is no domain") from None
    top = ascii_domain.rpartition(".")[2]
    if "." not in ascii_domain or ascii_domain.startswith(".") or top.isdigit() or ascii_domain.endswith("."):
        raise BadAddress("what is after the @ is no domain that others can reach")
    address = Address(local, ascii_domain)
    if len(local.encode()) > MAX_LOCAL or len(address.spec.encode()) > MAX_ADDRESS:
        raise BadAddress("the address is longer than mail servers take")
    return address


def _is_word(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LMNS"


def parse_sender(text: str) -> Address:
    """The sender in a setting: `name@example.org` or `A name <name@example.org>`. Raises BadAddress."""
    match = re.fullmatch(r"\s*(?:\"([^\"]*)\"|([^<>\"]*?))\s*<([^<>]*)>\s*", text)
    if match is None:
        return parse_address(text)
    return parse_address(match[3]).named(header_text(match[1] or match[2] or ""))


def written(address: Address) -> str:
    """An address in a header."""
    name = phrase(address.name, len("Reply-To: "))
    return f"{name}\r\n <{address.spec}>" if name else address.spec
