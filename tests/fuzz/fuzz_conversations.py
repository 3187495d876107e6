"""Fuzz whole Bayeux conversations: python -m tests.fuzz.fuzz_conversations -max_total_time=600

Each line is a request's body, its first byte the transport: JSON or a form, as clients send them. Reported is any
error at all, a message that is not answered once, and a reply that is not so (tests/hub/ledgered.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import atheris

from tests.fuzz.seeded import run

sys.path.insert(0, str(Path(__file__).parents[1] / "hub"))

with atheris.instrument_imports(include=["hub"]):
    from ledgered import World

    from hub.errors import BadMessage
    from hub.transports.polling import parse_body

_SHAKE = (
    b'p{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"ack":true}}'
)


def seeds() -> Iterator[bytes]:
    me = b'"clientId":"client1"'
    yield b"\n".join(
        (
            _SHAKE,
            b'p{"channel":"/meta/subscribe",%b,"subscription":["/chat/*","/x"],"ext":{"position":{"/x":"e.1"}}}' % me,
            b'w[{"channel":"/meta/connect",%b,"connectionType":"websocket","id":"3","advice":{"timeout":0}}]' % me,
            b'p{"channel":"/chat/a",%b,"data":{"a":[1,null]},"id":"4","ext":{"binary":true,"token":"x"}}' % me,
            b'p{"channel":"/meta/connect",%b,"connectionType":"long-polling","ext":{"ack":1,"timesync":{"tc":1}}}' % me,
            b'p{"channel":"/meta/unsubscribe",%b,"subscription":"/x"}' % me,
            b'p{"channel":"/meta/disconnect",%b}' % me,
        )
    )
    # A session that ends with a 402, as what its socket took with it is not remembered: the model did not expect that.
    yield b"\n".join(
        (
            _SHAKE.replace(b',"ext":{"ack":true}', b""),
            b'p{"channel":"/meta/subscribe",%b,"subscription":"/chat/*"}' % me,
            b'p{"channel":"/chat/a",%b,"data":1}' % me,
            b'w[{"channel":"/meta/connect",%b,"connectionType":"websocket"}]' % me,
            b'p{"channel":"/meta/connect",%b,"connectionType":"long-polling"}' % me,
        )
    )
    yield b'pmessage=%5B%7B%22channel%22%3A%22%2Fmeta%2Fhandshake%22%7D%5D&message={"channel":"/a"}'
    yield _SHAKE + b'\np{"channel":"/meta/subscribe",%b,"subscription":"/x","ext":{"replay":{"/x":-2}}}' % me
    yield b'p[{"channel":"/meta/handshake","version":"2.0","minimumVersion":"1.0beta"},1,null,[],{}]'


def fuzz(data: bytes) -> None:
    world = World()
    for line in data.split(b"\n")[:20]:
        try:
            messages = parse_body(line[1:])
        except BadMessage:
            continue
        world.receive(messages, socket=line[:1] == b"w")


if __name__ == "__main__":
    run(fuzz, seeds())
