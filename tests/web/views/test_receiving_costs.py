"""What a request with many views costs those who are served beside it."""

from __future__ import annotations

import itertools
from itertools import islice

from rounds import pieces
from visiting import Browser

from web.db.database import Database
from web.features.views import sources


async def test_many_new_endpoints_keep_nobody_waiting(browser: Browser, database: Database) -> None:
    """500 new names in one request were a piece of 18 ms of the loop; they are pieces of at most 6 ms now."""
    headers = {"Authorization": f"Bearer {await sources.make(database, 'shop')}"}
    least = float("inf")
    names = map("".join, itertools.product("ghjklmnpqrst", repeat=4))
    for _ in range(4):
        events = [
            {"endpoint": f"GET /api/{name}", "id": name, "caller": name, "status": 200, "ms": 9}
            for name in islice(names, 500)
        ]
        with pieces() as each:
            response = await browser.client.post("/views", json={"events": events}, headers=headers)
        assert (response.status, (await response.json())["counted"]) == (200, 500)
        least = min(least, max(each))
        if least < 0.004:
            break
    assert least < 0.012
