"""Every page answers; what is wrong with it, the plugin says."""

import pytest
from aiohttp.test_utils import TestClient, TestServer
from site_of_faults import TEMPLATES, create_app

NAMES = sorted(path.stem for path in TEMPLATES.glob("*.html"))


@pytest.mark.parametrize("name", NAMES)
async def test_page(name):
    async with TestClient(TestServer(create_app())) as client:
        assert (await client.get(f"/{name}")).status == 200
