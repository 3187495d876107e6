"""What workers say to each other about the requests of a session that another one owns. Pure.

A line of JSON, and the body as it is. Each sender numbers its mail: what a broken connection makes come twice is taken
once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

import orjson

from .errors import BadWire

#: request: take these messages of a session's client, and answer. move: give the session up. leave: the client of a
#: request is gone, or its answer could not be written. written: the answer was. hurry: answer what is held now.
#: To these, by request number: answer: here it is. elsewhere: I don't own that session. lapsed: mail to me may be lost.
Kind = Literal["request", "move", "leave", "written", "hurry", "answer", "elsewhere", "lapsed"]

_KINDS = frozenset(get_args(Kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One of them. sender: a worker. serial: grows with each that a sender writes. number: of the sender's request, or
    of the receiver's that this is about. session: the session's id. transport, browser and address: as `Node.accept`
    and a poll have them; of a move, the transport of the connection that it is for, where that matters. hurry: nothing
    is to be held. confirm: the answer has publications, and the owner waits for `written`. status: of an answer, in
    HTTP. offers: the owner would give the session up, as its polls come to the receiver. age: seconds since the request
    came to the sender.
    body: the messages of a request, as a JSON array; of an answer, without the brackets.
    """

    kind: Kind
    sender: str
    serial: int
    number: int
    session: str = ""
    transport: str = ""
    browser: str = ""
    address: str = ""
    hurry: bool = False
    confirm: bool = False
    status: int = 200
    offers: bool = False
    age: float | None = None
    body: bytes = b""

    def encode(self) -> bytes:
        """As it is sent."""
        named = ((name, getattr(self, name)) for name in _HEAD)
        head = {name: value for name, value in named if value is not False and value != "" and value is not None}
        return orjson.dumps(head) + b"\n" + self.body

    @classmethod
    def parse(cls, text: bytes) -> Mail:
        """Read one. Raises BadWire for what is none; what a later release says besides is left out."""
        line, _, body = text.partition(b"\n")
        try:
            head = orjson.loads(line)
            mail = cls(body=body, **{name: head[name] for name in _HEAD if name in head})
        except (TypeError, ValueError) as error:
            raise BadWire(f"mail: {error!r}") from None
        whole = type(mail.serial) is int and type(mail.number) is int
        if mail.kind not in _KINDS or not whole or not (mail.age is None or type(mail.age) is float):
            raise BadWire(f"mail of kind {mail.kind!r}")
        return mail


_HEAD = tuple(each.name for each in fields(Mail) if each.name != "body")
