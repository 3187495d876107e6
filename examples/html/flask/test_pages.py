"""Every page answers; what is wrong with it, the plugin says."""

import pytest
from site_of_faults import TEMPLATES, app

NAMES = sorted(path.stem for path in TEMPLATES.glob("*.html"))


@pytest.mark.parametrize("name", NAMES)
def test_page(name):
    assert app.test_client().get(f"/{name}").status_code == 200
