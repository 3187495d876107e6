"""What a worker finds when somebody looks: hot channels, slow clients, one client's world, one message's way.

Worked out of what is there anyway, at most so many of each, and in pieces where it walks all sessions.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..bayeux.names import EVENTSOURCE, LONG_POLLING, WEBSOCKET
from ..errors import BadMessage
from ..node import Node
from ..notes import Note
from ..protocol.channels import to_fanout
from ..protocol.publications import Position
from ..seen import Seen, quantile
from ..sessions.session import Session
from .trail import Trail

#: Sessions that are looked at before others have their turn: 0.1 to 0.3 ms.
PIECE = 500

#: Batches that are counted for what is hot, out of the newest so many, and for how many seconds at most.
HOT_SAMPLE, HOT_LOOKED, HOT_SECONDS = 2_000, 100_000, 60.0

#: Rows of a table, clients that are found, and of one client what is shown.
TOP, FOUND, PATTERNS, MESSAGES = 20, 50, 200, 20

#: Characters of a message that are shown.
EXCERPT = 2_000


def hot(nodes: Iterable[Node], now: float) -> list[dict[str, Any]]:
    """The channels with most deliveries in the last minute, as a sample of it tells; numbers a second."""
    found: dict[str, list[float]] = {}
    for node in nodes:
        kept, weight = node.registry.recent.sample(HOT_SAMPLE, HOT_LOOKED)
        some = [each for each in kept if now - each.at <= HOT_SECONDS]
        if not some:
            continue
        span = max(1.0, min(HOT_SECONDS, now - some[-1].at))
        for each in some:
            count = len(each.publications) * weight / span
            row = found.setdefault(each.publications[0].channel, [0.0, 0.0, 0.0])
            row[0] += count
            row[1] += count * each.reach
            row[2] += each.reach * weight / span * sum(len(one.data) for one in each.publications)
    top = heapq.nlargest(TOP, found.items(), key=lambda item: (item[1][1], item[1][0]))
    return [
        {"channel": to_fanout(name), "published": row[0], "delivered": row[1], "bytes": row[2]} for name, row in top
    ]


async def slow(nodes: Iterable[Node], now: float) -> list[dict[str, Any]]:
    """The clients for which most waits."""
    found: list[tuple[int, int, dict[str, Any]]] = []
    for node in nodes:
        async for session in _each(node):
            link = session.link
            unsent = getattr(getattr(link, "transport", None), "get_write_buffer_size", None)
            buffered = unsent() if link is not None and link.blocked and unsent is not None else 0
            # Who holds a poll has nothing that waits; who comes back for it is not slow yet.
            if not buffered and session.queue is None:
                continue
            waits = session.queued_bytes + buffered
            first = session.queue[0] if session.queue else None
            since = None if first is None else node.registry.recent.when(first.channel, str(first.position))
            row = {
                **_brief(session, now),
                "unsent": waits,
                "messages": len(session.queue or ()),
                "age": None if since is None else max(0.0, now - since),
            }
            heapq.heappush(found, (waits, id(session), row))
            if len(found) > TOP:
                heapq.heappop(found)
    return [row for _, _, row in sorted(found, key=lambda each: -each[0])]


async def find(nodes: Mapping[str, Node], by: str, text: str, now: float) -> list[dict[str, Any]]:
    """Clients by user, address, channel or session; of the last any beginning of its id will do."""
    found: list[dict[str, Any]] = []
    if not text:
        return found
    for realm, node in nodes.items():
        if by == "session":
            # Ended ones are remembered by what became of them.
            for event in reversed(node.notes.events):
                if event.session.startswith(text) and event.session not in node.registry.sessions:
                    gone = {"session": event.session, "user": event.user, "address": event.address, "ended": event.what}
                    if all(each["session"] != event.session for each in found):
                        found.append({**gone, "realm": realm})
                if len(found) >= FOUND:
                    break
        async for session in _each(node):
            if _matches(session, by, text):
                found.append({**_brief(session, now), "realm": realm})
                if len(found) >= FOUND:
                    return found
    return found


def _matches(session: Session, by: str, text: str) -> bool:
    match by:
        case "user":
            return session.name == text
        case "address":
            return _address(session) == text
        case "channel":
            return f"/{text.removeprefix('/')}" in session.patterns
    return session.id.startswith(text)


async def client(nodes: Mapping[str, Node], session_id: str, now: float, wall: float) -> dict[str, Any] | None:
    """All that is known of one client; None if this worker knows nothing of it."""
    for realm, node in nodes.items():
        session = node.registry.peek(session_id)
        events = [each for each in node.notes.events if each.session == session_id]
        if session is None and not events:
            continue
        history = [{"at": each.at, "what": each.what} for each in events[-MESSAGES:]]
        sights = [
            {"at": wall - (now - each.when), "channel": to_fanout(each.channel), "late": each.late}
            for each in node.bayeux.seen.lately
            if each.session == session_id
        ][-MESSAGES:]
        if session is None:
            last = events[-1]
            about = {"session": session_id, "user": last.user, "address": last.address, "ended": last.what}
            return {**about, "realm": realm, "worker": node.worker, "history": history, "seen": sights}
        return {
            **_brief(session, now),
            "realm": realm,
            "worker": node.worker,
            "history": history,
            "seen": sights,
            "connected": session.connected,
            "tells_positions": session.tracks,
            "lost": sorted(to_fanout(each) for each in session.lost or ()),
            "channels": _channels(node, session),
            "patterns": len(session.patterns),
            "messages": _messages(node, session, now, wall),
        }
    return None


def _channels(node: Node, session: Session) -> list[dict[str, Any]]:
    found = []
    # Who has nothing to come, and has said so, has the newest of everything.
    is_up_to_date = not session.queue and not session.unacked and session.slept is None
    if session.link is not None:
        is_up_to_date = is_up_to_date and session.arrived == node.registry.recent.written
    for pattern in session.patterns[:PATTERNS]:
        known = session.delivered.get(pattern) if session.delivered is not None else None
        if is_up_to_date:
            known = node.delivery.tops.get(pattern, known)
        found.append(
            {
                "channel": to_fanout(pattern),
                "position": None if known is None else str(known),
                "newest": str(node.delivery.tops[pattern]) if pattern in node.delivery.tops else None,
                "subscribers": node.registry.count(pattern),
            }
        )
    return found


def _messages(node: Node, session: Session, now: float, wall: float) -> list[dict[str, Any]]:
    """What went to it lately, newest first."""
    recent = node.registry.recent
    waiting = {each.position for each in session.queue or ()}
    found = []
    for publication in reversed(recent.last(session.patterns[:PATTERNS], MESSAGES)):
        kept = recent.find(publication.channel, publication.position)
        if kept is None:
            continue
        if publication.position in waiting:
            state = "waits"
        elif session.arrived is not None and session.arrived >= kept.number:
            state = "arrived"
        else:
            state = "written" if session.link is not None else "sent"
        found.append(
            {
                "channel": to_fanout(publication.channel),
                "position": str(publication.position),
                "at": wall - (now - kept.at),
                "bytes": len(publication.data),
                "data": publication.data[:200].decode("utf-8", "replace"),
                "state": state,
            }
        )
    return found


def latency(seens: Sequence[Seen], now: float, seconds: float = 900.0) -> dict[str, dict[str, float]]:
    """How late publications were lately, by transport: seconds."""
    found: dict[str, list[float]] = {}
    for seen in seens:
        for sight in reversed(seen.lately):
            if now - sight.when > seconds:
                break
            found.setdefault(sight.transport, []).append(sight.late)
    return {
        transport: {
            "count": len(times),
            "p50": quantile(times, 0.5),
            "p99": quantile(times, 0.99),
            "max": times[-1],
        }
        for transport, each in found.items()
        if (times := sorted(each))
    }


async def trace(node: Node, trail: Trail, channel: str, position: Position, now: float, wall: float) -> dict[str, Any]:
    """What this worker knows of the way of one message."""
    found: dict[str, Any] = {"worker": node.worker, "heard": node.tops.has(channel, position), "reach": None}
    note = node.notes.find(channel, position)
    if note is not None:
        found["published"] = {"at": note.at, "by": _publisher(node, note), "repeated": note.repeated}
    kept = node.registry.recent.find(channel, position)
    number = None
    if kept is not None:
        number = kept.number
        found |= {"heard": True, "at": wall - (now - kept.at), "reach": kept.reach}
    elif (step := trail.find(channel, position)) is not None:
        number = step.number
        found |= {"heard": True, "at": step.at, "reach": step.reach}
    if number is not None:
        found["written"] = number <= node.registry.recent.written
    found |= await _arrivals(node, channel, position, number)
    found["seen"] = [
        {"transport": each.transport, "late": each.late, "session": each.session}
        for each in node.bayeux.seen.lately
        if each.channel == channel and each.position == str(position)
    ][:TOP]
    return found


def _publisher(node: Node, note: Note) -> str:
    """In words. A client's draft has its session's id and the message's."""
    session_id, colon, _ = note.by.partition(":")
    if not colon:
        return note.by or "a client"
    session = node.registry.peek(session_id)
    user = "" if session is None or session.name is None else f", {session.name}"
    return f"client {session_id}{user}"


async def _arrivals(node: Node, channel: str, position: Position, number: int | None) -> dict[str, int]:
    """Of who hears the channel now: how many there are, and how many are known to be past the message."""
    listeners, past, waiting = 0, 0, 0
    for place, session in enumerate(list(node.registry.subscribers(channel))):
        if place % PIECE == PIECE - 1:
            await asyncio.sleep(0)
        if session.ended:
            continue
        listeners += 1
        if session.slept is not None or _holds(session.queue, position) or _unacknowledged(session, position):
            waiting += 1
        elif session.link is None or session.ack is not None:
            # What a poll carried is kept until the next one says that it has arrived.
            past += 1
        elif number is not None and session.arrived is not None and session.arrived >= number:
            past += 1
    return {"listeners": listeners, "acknowledged": past, "waiting": waiting}


def _holds(publications: Iterable[Any] | None, position: Position) -> bool:
    return publications is not None and any(each.position == position for each in publications)


def _unacknowledged(session: Session, position: Position) -> bool:
    return any(_holds(items, position) for _, items in session.unacked or ())


def transport_of(session: Session) -> str:
    """How a session is reached now, in a word."""
    if session.link is not None:
        name = type(session.link).__name__.lower()
        return EVENTSOURCE if "stream" in name else "poll" if "poll" in name else WEBSOCKET
    if session.hold is not None:
        return LONG_POLLING
    return "asleep" if session.slept is not None else "away"


def _address(session: Session) -> str:
    peer = getattr(session.link, "peer", None)
    return session.address or (peer.address if peer is not None else "")


def _brief(session: Session, now: float) -> dict[str, Any]:
    return {
        "session": session.id,
        "user": session.name or "",
        "address": _address(session),
        "transport": transport_of(session),
        "silent": max(0.0, now - _heard(session)),
        "subscriptions": len(session.patterns),
        "queued": len(session.queue or ()),
    }


def _heard(session: Session) -> float:
    """When its client gave a sign of life last: a socket's pongs count, too."""
    return max(session.seen, getattr(session.link, "seen", 0.0))


async def _each(node: Node) -> Any:
    """Every session, in pieces."""
    for place, session in enumerate(list(node.registry.sessions.values())):
        if place % PIECE == PIECE - 1:
            await asyncio.sleep(0)
        if not session.ended:
            yield session


def addresses(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Who has most connections."""
    top = heapq.nlargest(TOP, counts.items(), key=lambda item: item[1])
    return [{"address": address, "connections": count} for address, count in top]


def parse_offset(text: str | None) -> int | str | None:
    """A message of a channel as people name it: its offset, its whole position, None for the newest.

    Raises BadMessage for anything else.
    """
    if text is None or not text.strip():
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    try:
        return str(Position.parse(text))
    except BadMessage:
        raise BadMessage(
            "offset", text="Name a message by its number, such as 12, or its position, such as a1b2.12"
        ) from None


def excerpt(data: bytes) -> str:
    """The beginning of a message's data."""
    shown = data[:EXCERPT].decode("utf-8", "replace")
    return shown if len(data) <= EXCERPT else shown + "…"
