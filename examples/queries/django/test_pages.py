"""Every page answers; what it asks, the plugin says."""

import pytest
from django.test import Client
from site_of_songs import urlpatterns


@pytest.mark.parametrize("name", [str(each.pattern) for each in urlpatterns])
def test_page(name):
    assert Client().get(f"/{name}").status_code == 200


def test_one_page_many_times():
    """Each request is one by itself, so this is no loop."""
    for _ in range(5):
        assert Client().get("/songs").status_code == 200
