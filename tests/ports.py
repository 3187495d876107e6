"""Ports for servers that are started in a moment."""

from __future__ import annotations

import secrets
import socket

#: Below those that the kernel gives to who asks for any (32768 to 60999 on Linux), and above what is well known.
_FIRST, _AFTER = 20_000, 32_000


def free_port() -> int:
    """A loopback port nobody listens on at the moment.

    No connection and no server that asks for any port can take it in between: a proxy once got the port that was meant
    for the server behind it, and connected to itself until it had no file descriptor left.
    """
    while True:
        # Not of `random`, whose seed Hypothesis sets: all processes of a run would try the same.
        port = _FIRST + secrets.randbelow(_AFTER - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
