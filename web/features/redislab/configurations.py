"""What is compared: serializer × compressor × client. Pure.

    json  json-zlib  json-zlib-python

hiredis reads the replies unless the name ends with `-python`. `bytes` is the floor: a value that is bytes already, and
no library but the client at work.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ...services.cache.codecs import (
    COMPRESSORS,
    NONE,
    SERIALIZERS,
    Codec,
    NoCodec,
    Serializer,
    codec_name,
    compressor,
    missing,
    serializer,
)

Client = Literal["hiredis", "python"]
CLIENTS: tuple[Client, ...] = ("hiredis", "python")

#: For comparison only, and only for what the laboratory has itself written: the site never uses it.
PICKLE = "pickle"
#: Bytes alone: what the client and the way cost, whatever the serializer.
FLOOR = "bytes"

#: The configurations of the post that began this, as it called them.
FIRST = {
    "default": "pickle-python",
    "json": "json-python",
    "ujson": "ujson-python",
    "msgpack": "msgpack-python",
    "hires": "pickle",
    "zlib": "pickle-zlib-python",
    "lzma": "pickle-lzma-python",
    "msgpack_zlib": "msgpack-zlib-python",
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """One of what is compared."""

    serializer: str
    compressor: str
    client: Client

    @property
    def name(self) -> str:
        codec = codec_name(self.serializer, self.compressor)
        return codec if self.client == "hiredis" else f"{codec}-{self.client}"

    @property
    def codec_name(self) -> str:
        """As settings have it."""
        return codec_name(self.serializer, self.compressor)

    @property
    def is_floor(self) -> bool:
        return self.serializer == FLOOR

    @property
    def is_usable(self) -> bool:
        """Whether the site's cache can have its codec."""
        return self.serializer not in (PICKLE, FLOOR)


def _dumps(value: Any) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def _as_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("bytes only")
    return value


def codec_of(configuration: Configuration) -> Codec:
    """What encodes and decodes. Raises NoCodec for one whose library is not installed."""
    if configuration.serializer == PICKLE:
        made = Serializer(PICKLE, _dumps, pickle.loads)
    elif configuration.is_floor:
        made = Serializer(FLOOR, _as_bytes, _as_bytes)
    else:
        made = serializer(configuration.serializer)
    return Codec(made, compressor(configuration.compressor))


@cache
def configurations() -> tuple[Configuration, ...]:
    """All that can be measured here, the floor last."""
    absent = absences()
    clients = [client for client in CLIENTS if client not in absent]
    found = [
        Configuration(each, packed, client)
        for each in (PICKLE, *SERIALIZERS)
        for packed in COMPRESSORS
        for client in clients
        if each not in absent and packed not in absent
    ]
    return (*found, *(Configuration(FLOOR, NONE, client) for client in clients))


@cache
def absences() -> dict[str, str]:
    """By the name of each part that is not here: the package that would bring it."""
    found = missing()
    if importlib.util.find_spec("hiredis") is None:
        found["hiredis"] = "hiredis"
    return found


def find(name: str) -> Configuration:
    """The configuration of a name, or of the name that the post had. Raises NoCodec, which says what there is."""
    names = _names()
    found = names.get(name) or names.get(FIRST.get(name, ""))
    if found is not None:
        return found
    parts = name.split("-")
    absent = absences()
    if lacking := [part for part in parts if part in absent]:
        raise NoCodec(f"{name!r} needs {absent[lacking[0]]}, which is not installed: pip install fanfare[lab]")
    raise NoCodec(
        f"there is no configuration {name[:40]!r}: it is serializer, serializer-compressor, either with -python"
    )


@cache
def _names() -> dict[str, Configuration]:
    return {each.name: each for each in configurations()}


def chosen(wanted: Iterable[str]) -> Sequence[Configuration]:
    """Configurations by names; a serializer's or compressor's or client's own name takes all with it.

    Without any, all. Raises NoCodec for a name that nothing has.
    """
    words = list(wanted)
    if not words:
        return configurations()
    found: dict[str, Configuration] = {}
    for word in words:
        exact = _names().get(word)
        parts = [each for each in configurations() if word in (each.serializer, each.compressor, each.client)]
        for each in [exact] if exact is not None else parts or [find(word)]:
            found[each.name] = each
    return list(found.values())
