"""The site's tables, with rows in them."""

import pytest
import site_of_songs


@pytest.fixture(scope="session", autouse=True)
def rows():
    """Four artists with two songs each."""
    site_of_songs.fill(4)
