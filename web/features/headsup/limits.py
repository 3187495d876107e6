"""How many mails a project sends on a day."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from .models import MAIL_KINDS, HeadsupNotice
from .recipients import key_of
from .settings import HeadsupSettings


class Day:
    """A project's mails since midnight. Ask while its row is locked: another transaction would count the same."""

    def __init__(self, settings: HeadsupSettings, used: Counter[str]) -> None:
        self._settings = settings
        self._used = used

    @classmethod
    async def of(cls, session: AsyncSession, settings: HeadsupSettings, project_id: int, moment: datetime) -> Day:
        """The day of a moment, with what was sent, or is going to be."""
        used: Counter[str] = Counter()
        if settings.mails or settings.address_mails:
            asked = (
                select(HeadsupNotice.address, func.count())
                .where(
                    HeadsupNotice.project_id == project_id,
                    HeadsupNotice.created_at >= moment.replace(hour=0, minute=0, second=0, microsecond=0),
                    HeadsupNotice.state.in_(("waiting", "sent")),
                    HeadsupNotice.kind.in_(MAIL_KINDS),
                )
                .group_by(HeadsupNotice.address)
            )
            for address, count in await session.execute(asked):
                used[key_of(address)] += count
        return cls(settings, used)

    def take(self, address: str) -> str:
        """Count one more to an address; if it is one too many, say so in words and count none."""
        key, most, most_of_one = key_of(address), self._settings.mails, self._settings.address_mails
        if most and self._used.total() >= most:
            return f"more than {most} mails of this project today"
        if most_of_one and self._used[key] >= most_of_one:
            return f"more than {most_of_one} mails to this address today"
        self._used[key] += 1
        return ""
