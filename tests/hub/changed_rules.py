"""Rules that change under a running node: other access rules, another time of day."""

from __future__ import annotations

from collections.abc import Callable

from hub.bayeux.rules import Bayeux
from hub.protocol.access import Access


def set_access(bayeux: Bayeux, access: Access) -> None:
    """Have these rules decide by other access rules from now on."""
    bayeux.access = bayeux.registry.access = access
    bayeux.grants.access = bayeux.checks.access = bayeux.subscribing.access = bayeux.publishing.access = access


def set_wall(bayeux: Bayeux, wall: Callable[[], float]) -> None:
    """Have these rules read another clock from now on. wall: gives the seconds since 1970."""
    bayeux.wall = bayeux.replies.wall = bayeux.grants.wall = bayeux.connecting.wall = wall
