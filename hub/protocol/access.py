"""Who may do what: rules by channel pattern. Pure; the caller says who asks.

The defaults of a hub that nobody configured: anyone subscribes, no browser publishes.
"""

from __future__ import annotations

from collections.abc import Sequence

from .channels import matches


class Access:
    """Decides about subscribing and publishing of browsers. Publishing with a realm's key is not its business."""

    def __init__(self, client_publish: Sequence[str] = ()) -> None:
        self._client_publish = tuple(client_publish)

    def may_subscribe(self, pattern: str, user: str | None) -> bool:
        """Whether a client may hear what is published to any channel the pattern matches."""
        return True

    def may_publish(self, channel: str, user: str | None) -> bool:
        """Whether a client may publish to this channel over Bayeux."""
        return any(matches(pattern, channel) for pattern in self._client_publish)
