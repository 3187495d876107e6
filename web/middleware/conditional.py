"""Tags, and 304 for a browser that has this very answer."""

from __future__ import annotations

import hashlib

from aiohttp import ETag, hdrs, web

from .. import heads


def conditional(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Tag a page that may be kept, and say 304 to a browser that has this very one."""
    if (
        request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}
        or response.status != 200
        or not isinstance(response, web.Response)
        or not isinstance(response.body, bytes)
        or response.etag is not None
        or "no-store" in response.headers[hdrs.CACHE_CONTROL]
    ):
        return response
    tag = ETag(hashlib.blake2b(response.body, digest_size=12).hexdigest())
    if heads.has_tag(request, tag.value):
        skipped = {hdrs.CONTENT_TYPE.lower(), hdrs.CONTENT_LENGTH.lower()}
        headers = [(name, value) for name, value in response.headers.items() if name.lower() not in skipped]
        cookies = response.cookies
        response = web.Response(status=304, headers=headers)
        response.cookies.update(cookies)
    response.etag = tag
    return response
