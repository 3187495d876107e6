"""aiohttp's handler of a connection, with answers of our own to what its parser refuses."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

logger = logging.getLogger(__name__)


class RequestHandler(web.RequestHandler):
    """Says in one line why a request is refused, and repeats nothing of it, to nobody.

    aiohttp's own answer and log line quote the bytes that it could not read: a cookie, or a token in the address.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that the parser refused, or whose handler failed, which is aiohttp's to log."""
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        words = "Bad request"
        # aiohttp has no class of its own for too many fields.
        if isinstance(exc, LineTooLong) or (message or "").startswith("Too many headers"):
            # RFC 6585 §5. The limit is HUB_MAX_HEAD.
            status, words = 431, "Request head too large"
        logger.debug("request refused", extra={"status": status, "reason": type(exc).__name__})
        response = web.Response(status=status, text=words + "\n")
        response.force_close()
        return response
