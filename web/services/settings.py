"""Settings of what reaches the world outside."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import Kind, setting

from .addresses import Network, parse_networks

NETWORKS = Kind("networks", parse_networks, lambda found: ",".join(map(str, found)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The services' settings."""

    outbound_allow: tuple[Network, ...] = setting(
        "OUTBOUND_ALLOW",
        NETWORKS,
        (),
        "networks that feeds and pictures may be fetched from although they are not public, such as 192.168.1.0/24",
    )
