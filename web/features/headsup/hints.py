"""Which change of a row tells which channel."""

from __future__ import annotations

import json
from typing import Any

from hub.orm.sqlalchemy import AsyncNotifier

from .models import HeadsupAddress, HeadsupDelivery, HeadsupMessage, HeadsupNotice, HeadsupProject, HeadsupRule

_PROJECT = "headsup-{project_id}"
_TOLD = "headsups-{project_id}"

#: Characters of one that is told whole; fifty long remarks are asked for.
_MOST = 20_000


def project_channel(project_id: int) -> str:
    """What a project's pages follow; its data is `true`: they ask their own address, which knows who may see it."""
    return _PROJECT.format(project_id=project_id)


def told_channel(project_id: int) -> str:
    """Each heads-up of a project: whole where the repository is public and it is short, else its number alone."""
    return _TOLD.format(project_id=project_id)


def _told(message: HeadsupMessage) -> dict[str, Any]:
    found = {"id": message.id}
    if not message.is_public or len(message.data) > _MOST:
        return found
    return found | {"headsup": json.loads(message.data)}


def declare(notify: AsyncNotifier) -> None:
    """Say to a notifier what rows that are made, changed or removed tell."""
    notify.declare(HeadsupProject, "headsup-{id}")
    for model in (HeadsupRule, HeadsupDelivery, HeadsupNotice, HeadsupAddress):
        notify.declare(model, _PROJECT)
    notify.declare(HeadsupMessage, _TOLD, _told, on=["created"])
