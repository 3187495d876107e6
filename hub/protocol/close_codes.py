"""Codes of a WebSocket's close frame: RFC 6455 §7.4.1 and its registry."""

from __future__ import annotations

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
INVALID_DATA = 1007
TOO_BIG = 1009
#: The client was too slow: it must come back, and recover.
TRY_AGAIN_LATER = 1013
