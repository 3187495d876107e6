"""Peers that vanished without a FIN: how long the kernel believes in them.

A WebSocket's pings find such a peer. An event stream, a held poll and a feed ask nothing that is answered, and the
kernel tries for a quarter of an hour (`net.ipv4.tcp_retries2`) before it reports a peer that acknowledges nothing:
for so long it would be somebody who is there, and hold what its connection costs. Connections inherit the options of
the socket that they were accepted from, so none of this costs a connection anything.
"""

from __future__ import annotations

import os
import socket

#: Times the ping interval. A WebSocket is closed after two intervals that are a quarter shorter at the least.
SILENCE = 1.5

#: The least silence that ends a connection, in seconds. Pings are set to a few milliseconds by those who try things.
LEAST_SECONDS = 5.0


def bound_silence(fileno: int, ping_interval: float) -> None:
    """Have what this listening socket accepts closed when its peer acknowledges nothing for SILENCE ping intervals.

    What is idle is asked once an interval, by the kernel. A reader that takes nothing is closed after as long too, as
    Linux counts (tcp(7), TCP_USER_TIMEOUT), and one whose program takes so little at a time that the kernel's window
    stays shut: of 1 MB at 3 to 8 KB/s after 20 to 60 s, at 15 KB/s not. A slow line is another matter. Other systems do
    what they can of it; Unix sockets have no peer to lose.
    """
    seconds = max(SILENCE * ping_interval, LEAST_SECONDS)
    with socket.socket(fileno=os.dup(fileno)) as listener:
        if listener.family not in (socket.AF_INET, socket.AF_INET6):
            return
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", max(1, round(ping_interval))),
            ("TCP_KEEPINTVL", max(1, round(ping_interval / 2))),
            ("TCP_USER_TIMEOUT", round(1000 * seconds)),
        ):
            option = getattr(socket, name, None)
            if option is not None:
                listener.setsockopt(socket.IPPROTO_TCP, option, value)
