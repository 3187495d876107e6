"""What managers say about words: synonyms, and pages that come first for a query. Each worker has them in memory, and
makes them anew when one changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from hub.orm.sqlalchemy import AsyncNotifier

from .models import Pin, Synonym
from .spelling import Change, Spelling

#: A synonym or a pin was made, changed or removed; its data is `true`.
WORDS = "search-words"

#: Of each.
MOST = 2_000

#: What a synonym counts beside what was typed.
SCORE = 1.0


@dataclass(frozen=True, slots=True)
class Words:
    """All of them. synonyms: words that are said, and what they mean. pins: by query, an address and its title."""

    synonyms: Mapping[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    pins: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def readings(self, words: tuple[str, ...]) -> list[Spelling]:
        """What a query means besides, by its synonyms: each replaced where it stands."""
        found = []
        for size in range(1, len(words) + 1):
            for at in range(len(words) - size + 1):
                means = self.synonyms.get(words[at : at + size])
                if means is not None:
                    change = Change(at, size, means, "synonym", SCORE)
                    found.append(Spelling(SCORE, (*words[:at], *means, *words[at + size :]), (change,)))
        return found


def declare(notify: AsyncNotifier) -> None:
    """Say to a notifier what rows that are made, changed or removed tell."""
    notify.declare(Synonym, WORDS)
    notify.declare(Pin, WORDS)


async def read(session: AsyncSession) -> Words:
    """Read all synonyms and pins."""
    synonyms = await session.execute(select(Synonym.said, Synonym.means).order_by(Synonym.id).limit(MOST))
    pins = await session.execute(select(Pin.said, Pin.url, Pin.title).order_by(Pin.id).limit(MOST))
    return Words(
        {tuple(said.split()): tuple(means.split()) for said, means in synonyms},
        {said: (url, title) for said, url, title in pins},
    )
