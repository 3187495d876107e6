"""A delivery and the rules of its project: from bytes to what each rule finds. Pure, and may be done in a process.

A long body is parsed where it keeps nobody waiting: reading 24 MB of JSON holds Python's lock for a quarter second.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .forges import BY_NAME
from .payloads import BadPayload, parse
from .pushes import Commit, Delivery, Push, Repository
from .rules import Found, Rule, find

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Bytes of a body that is parsed before the forge is answered, so that it hears of what can't be read.
PROMPT = 1024 * 1024

#: Bytes from which on that is done in a thread.
SMALL = 32 * 1024

#: Lists and objects of a body from which on it is too: each commit of a list costs 3 µs, whatever is in it. 10,900
#: empty ones are 32 kB, and took 36 ms; a megabyte of them a second.
_FEW = 300

#: Commits without a remark that are kept for the log, of each rule.
_MISSED = 50


@dataclass(frozen=True, slots=True)
class Judged:
    """What a rule finds in one of a delivery's pushes. push: without its commits; missed: how many had no remark."""

    rule_id: int
    push: Push
    found: Found
    missed: int = 0


def is_small(body: bytes) -> bool:
    """Whether a body is parsed in a moment."""
    return len(body) <= SMALL and body.count(b"{") + body.count(b"[") <= _FEW


def pack(body: bytes) -> bytes:
    """A body as it is kept."""
    return zstd.compress(body, 1)


def unpack(packed: bytes) -> bytes:
    """A body as it came."""
    return zstd.decompress(packed)


def read(body: bytes, *, is_form: bool, forge: str, event: str) -> Delivery:
    """What a delivery says. Raises BadPayload."""
    return BY_NAME[forge].read(event, parse(body, is_form=is_form))


def judge(
    delivery: Delivery, rules: Sequence[Rule], default_branch: str, more: Mapping[str, Sequence[Commit]] | None = None
) -> list[Judged]:
    """What each rule finds in each push. more: by ref, commits that the forge was asked for, as some rules let it."""
    repository = delivery.repository
    default = (repository.default_branch if repository else "") or default_branch
    judged = []
    for push in delivery.pushes:
        for rule in rules:
            asked = (more or {}).get(push.ref, ()) if rule.asks_api else ()
            found = find(rule, push, default, asked)
            missed = len(found.missed)
            # What is not listed is a number from here on.
            bare = replace(push, commits=(), head=None, total=push.unseen or None)
            judged.append(Judged(rule.id, bare, replace(found, missed=found.missed[:_MISSED]), missed))
    return judged


def judge_packed(
    packed: bytes, is_form: bool, forge: str, event: str, rules: Sequence[Rule], default_branch: str
) -> tuple[Repository | None, str, list[Judged]] | str:
    """The same of a body as it is kept: the repository, the kind of event, and what is found.

    Returns the sentence of a BadPayload: it runs in a process of its own, which an error leaves as another error.
    """
    try:
        delivery = read(unpack(packed), is_form=is_form, forge=forge, event=event)
    except BadPayload as error:
        return str(error)
    return delivery.repository, delivery.kind, judge(delivery, rules, default_branch)
