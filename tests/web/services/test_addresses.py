"""What may be fetched."""

from __future__ import annotations

import pytest

from web.services.addresses import Guard, parse_networks

INNER = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "2001:db8::1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fc00::1",
    "fec0::1",
    "fec0:1:2::a00:1",
    "192.88.99.1",
    "2002:c058:6301::",
    "3fff:1::1",
    "64:ff9b::a9fe:a9fe",
    "::ffff:0:7f00:1",
    "ff02::1",
    "localhost",
    "",
    "127.1",
]
OUTER = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]


@pytest.mark.parametrize("address", INNER)
def test_nothing_of_our_own_may_be_fetched(address: str) -> None:
    assert not Guard().permits(address)


@pytest.mark.parametrize("address", OUTER)
def test_what_is_public_may(address: str) -> None:
    assert Guard().permits(address)


def test_networks_that_are_named_may_too() -> None:
    guard = Guard(parse_networks("192.168.1.0/24, fd00::/8 127.0.0.1"))
    for address in ("192.168.1.9", "fd00::1", "127.0.0.1", "::ffff:192.168.1.9"):
        assert guard.permits(address)
    for address in ("192.168.2.9", "127.0.0.2", "10.0.0.1"):
        assert not guard.permits(address)


@pytest.mark.parametrize(
    ("port", "may"), [(80, True), (443, True), (8080, True), (22, False), (25, False), (1023, False)]
)
def test_ports_of_other_services_are_refused(port: int, may: bool) -> None:
    assert Guard().permits_port("8.8.8.8", port) is may
    assert Guard(parse_networks("8.8.8.8")).permits_port("8.8.8.8", port)


@pytest.mark.parametrize("text", ["300.1.1.1", "home", "10.0.0.1/8"])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition("/")[0]):
        parse_networks(text)
