"""Which addresses may be fetched from: the guard against requests that a stranger lets us make to ourselves. Pure.

A URL that somebody types, or a redirect of the server behind it, may name a machine of our own network, or the cloud's
metadata service. So every address is looked at before a connection to it is made, in whatever form it was written.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Public addresses that are nobody's to fetch from: Azure's metadata and DNS for its machines.
_SPECIAL = frozenset({ipaddress.ip_address("168.63.129.16")})

#: Networks of our own, or nobody's, that Python counts as public: site-local (RFC 3879), an old relay of 6to4
#: (RFC 7526), and documentation (RFC 9637).
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("fec0::/10", "192.88.99.0/24", "3fff::/20")))

#: Addresses that carry an IPv4 address: NAT64 (RFC 6052), 6to4 (RFC 3056), and the deprecated compatible form.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
#: Teredo carries two, and a NAT64 prefix of a network's own may carry any (RFC 8215).
_TUNNELS = (ipaddress.IPv6Network("2001::/32"), ipaddress.IPv6Network("64:ff9b:1::/48"))

#: Ports below 1024 that speak HTTP. Behind the others are mail servers and the like, which can be made to take a
#: request for orders.
_WEB_PORTS = frozenset({80, 443})


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks or addresses, separated by commas or blanks. Raises ValueError that names the one at fault."""
    found = []
    for word in text.replace(",", " ").split():
        try:
            found.append(ipaddress.ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is not a network such as 192.168.1.0/24: {error}") from None
    return tuple(found)


class Guard:
    """What may be fetched. allow: networks that may be although they are not public."""

    def __init__(self, allow: Sequence[Network] = ()) -> None:
        self._allow = tuple(allow)

    def permits(self, address: str) -> bool:
        """Whether a connection to this address may be made. Text that is no address may not."""
        try:
            # A zone (`fe80::1%eth0`) says through which interface, and is never public.
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if any(parsed in network for network in self._allow):
            return True
        inner = _inner(parsed)
        if inner != parsed:
            return self.permits(str(inner))
        if any(parsed in network for network in (*_TUNNELS, *_NOT_PUBLIC) if network.version == parsed.version):
            return False
        return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved and parsed not in _SPECIAL

    def permits_port(self, address: str, port: int) -> bool:
        """Whether a connection to this port may be made, of an address that may be connected to."""
        if port >= 1024 or port in _WEB_PORTS:
            return True
        parsed = ipaddress.ip_address(address.partition("%")[0])
        return any(parsed in network for network in self._allow)


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _6TO4:
        return ipaddress.IPv4Address((int(address) >> 80) & 0xFFFFFFFF)
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
