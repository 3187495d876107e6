"""Tests that look at pages with a defect, and find nothing wrong themselves: test_defects.py runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from planting import plant
from services import ROOT
from visiting import Browser


@pytest.fixture
def site_url(tmp_path: Path, migrated_file: Path) -> str:
    shutil.copyfile(migrated_file, tmp_path / "site.db")
    return f"sqlite:///{tmp_path / 'site.db'}"


async def test_sound_page(browser: Browser) -> None:
    assert (await browser.look("/login")).status == 200


async def test_doubled_id(browser: Browser) -> None:
    text = (ROOT / "templates" / "accounts" / "login.html").read_text(encoding="utf-8")
    plant(
        browser.client.server.app,  # type: ignore[attr-defined]  # TestServer's
        "accounts/login.html",
        text.replace("<h1>", '<p id="name">Twice</p><h1>', 1),
    )
    assert (await browser.look("/login")).status == 200


async def test_sound_page_again(browser: Browser) -> None:
    """What another test was answered is its fault alone."""
    assert (await browser.look("/login")).status == 200
