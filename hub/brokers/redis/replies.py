"""What Redis says, and what our scripts return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...protocol.messages import mended
from ...protocol.publications import Draft, Position, Publication, Published


@dataclass(frozen=True, slots=True)
class Settled:
    """What `settle.lua` says of a shard."""

    epoch: bytes
    #: The number and the log id after which the epoch begins.
    begun: int
    at: bytes
    #: The newest number and log id.
    newest: int
    top: bytes


def publication(fields: list[bytes]) -> Publication:
    """The publication in a log entry's fields. Raises IndexError or ValueError for what `publish.lua` did not write."""
    position = Position(fields[3].decode(), int(fields[5]))
    return Publication(fields[1].decode(), mended(fields[7]), position, fields[9] != b"", mended(fields[11]) or None)


def accepted(drafts: Sequence[Draft], reply: list[list[Any]]) -> list[Published]:
    """What became of the drafts of one call, by what `publish.lua` returned."""
    begun, known = reply
    repeated = {known[at]: (known[at + 1], known[at + 2]) for at in range(0, len(known), 3)}
    # Of each channel, in the order of their first drafts: its epoch, and the offset that is next.
    firsts = iter(zip(begun[::2], begun[1::2], strict=True))
    channels: dict[str, list[Any]] = {}
    results = []
    for index, draft in enumerate(drafts):
        state = channels.get(draft.channel)
        if state is None:
            epoch, offset = next(firsts)
            state = channels[draft.channel] = [epoch.decode(), offset]
        if index in repeated:
            epoch, offset = repeated[index]
            results.append(Published(Position(epoch.decode(), offset), True))
        else:
            results.append(Published(Position(state[0], state[1])))
            state[1] += 1
    return results


def settled(replies: list[Any]) -> list[Settled]:
    """What `settle.lua` says of each shard. An error among the replies is raised."""
    found = []
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
        epoch, begun, at, newest, top, _ = reply
        found.append(Settled(epoch, begun, at, newest, top))
    return found


def info(reply: object) -> dict[str, str]:
    """The fields of INFO; nothing if it is forbidden."""
    if not isinstance(reply, bytes):
        return {}
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


def config(reply: object) -> dict[str, str]:
    """What CONFIG GET says; nothing where it is forbidden, as with many hosted servers."""
    if not isinstance(reply, list):
        return {}
    words = [word.decode(errors="replace") for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))
