"""Every page answers; what it asks, the plugin says."""

import pytest
from aiohttp.test_utils import TestClient, TestServer
from site_of_songs import VIEWS, create_app


@pytest.mark.parametrize("name", [view.__name__ for view in VIEWS])
async def test_page(name):
    async with TestClient(TestServer(create_app())) as client:
        response = await client.get(f"/{name}")
        assert response.status == 200


async def test_one_page_many_times():
    """Each request is one by itself, so this is no loop."""
    async with TestClient(TestServer(create_app())) as client:
        for _ in range(5):
            assert (await client.get("/songs")).status == 200
