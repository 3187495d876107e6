"""Every error the hub raises on purpose, as one tree. This module imports nothing.

HubError
├── ProtocolError            the peer's fault; carries the Bayeux code
│   ├── BadMessage           400  not JSON, or not a message; args name the field
│   │   └── TooDeep          400  JSON nested deeper than we keep
│   ├── VersionMismatch      300
│   ├── NoCommonTransport    301
│   ├── NoClientId           401  the field is missing
│   ├── UnknownClient        402  expired or never was → advice: handshake
│   ├── ForbiddenChannel     403
│   ├── UnknownChannel       404  a service channel nobody serves
│   ├── InvalidChannel       405
│   │   └── LongChannel      405  a name of too many characters or segments
│   ├── InvalidId            405  a message id that is neither a short string nor an integer
│   ├── Superseded           408  a newer connect took the place of this one
│   ├── TooLarge             413
│   ├── BadEncoding          415  a body that is packed in a way we don't read
│   ├── TooMany              429
│   ├── Unavailable          503  nothing was done, as the broker could not be reached; try again
│   ├── Failed               500  code of the site, called for this message, raised what it should not
│   └── BadToken             401  not a token, expired, or revoked
├── FrameError               a WebSocket peer broke RFC 6455; carries the close code
├── HeadError                a request's head can't be served; carries the HTTP status
├── LinkClosed               a connection that was closed under us; what was to be written waits
├── SlowSession              its queue is full; the session is ended, the hub is well
├── SettingsError            a variable that is unknown or does not parse; stops the start
└── BrokerError              our fault or the network's
    ├── BrokerUnavailable    try again later; the broker does, with back-off
    └── BadWire              another process sent what we cannot read

On the wire an error is `code:args:text` (Bayeux 1.0 §3.7). Faye's client parses it with a
grammar that knows only letters, digits and `-_!~()$@ /*.` in the text, so texts keep to that.
"""

#: Characters of an error's args that Faye's client reads.
_LEGIBLE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_!~()$@ /*.,")


class HubError(Exception):
    """The root of what the hub raises on purpose; anything else is a bug."""


class ProtocolError(HubError):
    """The peer broke a rule.

    `code` is the Bayeux code, `text` the words for people, `params` what the
    error is about (a channel, a field), in the order the wire shows them. `limit` names the
    limit that was reached, as /metrics counts it, None if it was none.
    """

    code = 400
    text = "Bad message"
    limit: str | None = None

    def __init__(self, *params: str, text: str | None = None, limit: str | None = None) -> None:
        self.params = params
        if text is not None:
            self.text = text
        if limit is not None:
            self.limit = limit
        super().__init__(self.wire())

    def wire(self) -> str:
        """The error field of a reply, `code:args:text`; args are cut at 200 characters.

        What of them a client could take for another part of the error, or can't read at all, becomes `_`.
        """
        params = "".join(char if char in _LEGIBLE else "_" for char in ",".join(self.params)[:200])
        return f"{self.code}:{params}:{self.text}"


class BadMessage(ProtocolError):
    """Not JSON, not a message, or a field of the wrong type."""


class TooDeep(BadMessage):
    text = "Nested too deeply"
    limit = "deep"


class TooDense(BadMessage):
    text = "Too many values"
    limit = "values"


class VersionMismatch(ProtocolError):
    code = 300
    text = "Version mismatch"


class NoCommonTransport(ProtocolError):
    code = 301
    text = "Connection types not supported"


class NoClientId(ProtocolError):
    code = 401
    text = "No client id"


class UnknownClient(ProtocolError):
    code = 402
    text = "Unknown client"


class ForbiddenChannel(ProtocolError):
    code = 403
    text = "Forbidden channel"


class UnknownChannel(ProtocolError):
    code = 404
    text = "Unknown channel"


class InvalidChannel(ProtocolError):
    code = 405
    text = "Invalid channel"


class LongChannel(InvalidChannel):
    text = "Channel name too long"
    limit = "channels"


class InvalidId(ProtocolError):
    code = 405
    text = "Invalid message id"


class Superseded(ProtocolError):
    code = 408
    text = "Superseded by a newer connect"


class TooLarge(ProtocolError):
    code = 413
    text = "Message too large"
    limit = "large"


class BadEncoding(ProtocolError):
    code = 415
    text = "Content-Encoding not known - send gzip or deflate or none"


class TooMany(ProtocolError):
    code = 429
    text = "Too many requests"


class Failed(ProtocolError):
    code = 500
    text = "Internal server error"


class Unavailable(ProtocolError):
    code = 503
    text = "Not available - try again"


class BadToken(ProtocolError):
    code = 401
    text = "Bad token"


class FrameError(HubError):
    """The peer broke the framing rules.

    `close_code` is what to close with, `reason` the words. `messages` are the (opcode, payload)
    pairs that were complete before it.
    """

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(f"{close_code} {reason}")
        self.close_code = close_code
        self.reason = reason
        self.messages: list[tuple[int, bytes]] = []


class HeadError(HubError):
    """A request's head is not HTTP, too long, or asks for an upgrade in a wrong way.

    `status` is the HTTP status to answer, `headers` what the answer must carry.
    """

    def __init__(self, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text
        self.headers = headers


class LinkClosed(HubError):
    """A link's connection is closed, and the link has not been told yet. Raised by `Link.offer` only."""


class SlowSession(HubError):
    """A session's queue reached its bound; the session is ended so that its client learns of the loss."""


class SettingsError(HubError):
    """A setting is unknown or does not parse. The message is one line and names the variable."""


class BrokerError(HubError):
    """The log can't be used now, or holds what we can't read."""


class BrokerUnavailable(BrokerError):
    """The broker can't be reached. Nothing is known to have been accepted; try again with the same key."""


class BadWire(BrokerError):
    """An entry of the log that this version can't read."""
