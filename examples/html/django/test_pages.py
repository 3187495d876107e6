"""Every page answers; what is wrong with it, the plugin says."""

import pytest
from django.test import Client
from site_of_faults import TEMPLATES

NAMES = sorted(path.stem for path in TEMPLATES.glob("*.html"))


@pytest.mark.parametrize("name", NAMES)
def test_page(name):
    assert Client().get(f"/{name}").status_code == 200
