"""Addresses as somebody typed them into one field. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...services.mail.addresses import Address, BadAddress, parse_address
from ...services.mail.headers import header_text

#: Of one rule, over all its fields.
MAX_RECIPIENTS = 50

#: Characters of a field (`models.MAX_SEND_TO`), and addresses of it, that are looked at: of a form of 160 kB a field
#: could be 75,000 of them, or one.
MAX_FIELD = 10_000
_MOST_PARTS = 4 * MAX_RECIPIENTS

#: Ends of lines of every kind, the other signs between addresses, and where quotes begin, within which they are none.
_SIGN = re.compile(r'[";,\n\r\v\f\x1c-\x1e\x85\u2028\u2029]')
_QUOTED = re.compile(r'(?:[^"\\\r\n]|\\.)*')
_NAMED = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^<>"]*?))\s*<([^<>]*)>\s*')


@dataclass(frozen=True, slots=True)
class Recipients:
    """Those of a field, each once, and what is no address, or one too many."""

    addresses: tuple[Address, ...]
    bad: tuple[str, ...]


def parse_recipients(text: str) -> Recipients:
    """Addresses separated by line ends, `;` or `,`, perhaps with names: `"Doe, Jane" <jane@example.org>; ops@…`."""
    if len(text) > MAX_FIELD:
        return Recipients((), (header_text(text[:500].strip(), 80),))
    found: dict[str, Address] = {}
    bad = []
    for number, part in enumerate(_parts(text)):
        if number == _MOST_PARTS:
            bad.append(header_text(part[:500].strip(), 80))
            break
        try:
            address = _parse(part)
        except BadAddress:
            bad.append(header_text(part.strip(), 80))
        else:
            found.setdefault(key_of(address), address)
    return Recipients(tuple(found.values()), tuple(bad))


def key_of(address: Address | str) -> str:
    """What two spellings of an address have in common; nobody has `Ada@` and `ada@` of one domain apart."""
    return (address if isinstance(address, str) else address.spec).lower()


def without_doubles(fields: dict[str, Recipients]) -> dict[str, tuple[Address, ...]]:
    """The addresses of several fields, each in the first only that names it."""
    seen: set[str] = set()
    found = {}
    for name, recipients in fields.items():
        new = [each for each in recipients.addresses if key_of(each) not in seen]
        seen |= {key_of(each) for each in new}
        found[name] = tuple(new)
    return found


def _parts(text: str) -> Iterator[str]:
    begin = at = unclosed = 0
    while (sign := _SIGN.search(text, at)) is not None:
        at = sign.end()
        if sign[0] != '"':
            if part := text[begin : sign.start()].strip():
                yield part
            begin = at
        elif sign.start() >= unclosed:
            quoted = _QUOTED.match(text, at)
            assert quoted is not None
            if text[quoted.end() : quoted.end() + 1] == '"':
                at = quoted.end() + 1
            else:
                # Nor are any of those closed that it has within: to look from each took 0.5 s of 10,000 characters.
                unclosed = quoted.end()
    if part := text[begin:].strip():
        yield part


def _parse(part: str) -> Address:
    named = _NAMED.fullmatch(part)
    if named is None:
        return parse_address(part.strip())
    name = re.sub(r"\\(.)", r"\1", named[1]) if named[1] is not None else named[2]
    return parse_address(named[3]).named(header_text(name, 100))
