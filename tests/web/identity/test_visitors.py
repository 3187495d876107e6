"""Visitors' cookies over time."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from web.identity.users import User
from web.identity.visitors import LIFE, LONGEST, Signer, Visitor


class Jar:
    """A browser that keeps one cookie, and a signer whose clock is set by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.signer = Signer(b"x" * 32, secure=False, clock=lambda: self.now)
        self.cookie = ""

    def take(self, visitor: Visitor) -> None:
        response = web.Response()
        self.signer.write(response, visitor)
        self.cookie = response.cookies["visitor"].value

    def visit(self) -> Visitor | None:
        """Look at a page, as the site's middleware has it: who is it, with another cookie if it is time."""
        visitor = self.signer.read(make_mocked_request("GET", "/", {"Cookie": f"visitor={self.cookie}"}))
        if visitor is not None and self.signer.is_fading(visitor):
            self.take(self.signer.renew(visitor))
        return visitor


def test_cookie_is_renewed_for_who_comes_again() -> None:
    jar = Jar()
    jar.take(jar.signer.new())
    for _ in range(100):
        jar.now += LIFE - 60
        assert jar.visit() is not None


def test_user_signs_in_again_after_the_longest_time_however_often_the_cookie_was_renewed() -> None:
    """A copied cookie that was used once a week was good for ever."""
    jar = Jar()
    jar.take(jar.signer.new(1))
    began = jar.now
    while jar.visit() is not None:
        jar.now += LIFE / 4
    assert LONGEST <= jar.now - began < LONGEST + LIFE / 4 + 1


def test_cookie_of_who_does_not_come_ends_with_its_life() -> None:
    jar = Jar()
    jar.take(jar.signer.new())
    jar.now += LIFE + 1
    assert jar.visit() is None


@pytest.mark.parametrize("characters", [500, 600, 800, 30_000])
def test_cookie_that_is_too_long_to_be_ours_is_not_taken_apart(characters: int) -> None:
    """Whoever had signed it: one of 30,000 characters took 1.2 ms of the loop. As JWT text is base64, a name of 600
    characters or so is within 1,000 and one of 800 is not."""
    jar = Jar()
    device = web.Response()
    user = User(id=1)
    jar.take(Visitor("v" * characters, jar.now + LIFE, began=jar.now))
    jar.signer.write_device(device, user, "d" * characters)
    request = make_mocked_request("GET", "/login", {"Cookie": f"device={device.cookies['device'].value}"})
    assert (jar.visit() is not None) is (characters < 700) is (len(jar.cookie) <= 1000)
    assert (jar.signer.device_of(request, user) is not None) is (characters < 700)
