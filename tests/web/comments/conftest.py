"""Who writes comments on an event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from talking import Writer
from visiting import Browser

from web.features.events.models import Event


@pytest.fixture
async def ada(new_browser: Callable[[], Awaitable[Browser]], concert: Event) -> Writer:
    return Writer(await new_browser())


@pytest.fixture
async def bo(new_browser: Callable[[], Awaitable[Browser]], concert: Event) -> Writer:
    return Writer(await new_browser(), "Bo")
