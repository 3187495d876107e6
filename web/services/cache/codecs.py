"""Serializers and compressors by name: `codec("msgpack-zstd")`. Pure.

A codec's name is its serializer's, and behind a dash its compressor's if it has one. Those whose library is not
installed are not there, and `missing` says what would bring them. pickle is none of them: whoever can write to Redis
would run code here.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import brotli
import msgpack
import orjson

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # since Python 3.14
except ImportError:
    from backports import zstd

#: No compressor.
NONE = "none"

#: What brings the libraries that need not be installed.
EXTRA = "pip install fanfare[lab]"


@dataclass(frozen=True, slots=True)
class Serializer:
    """Makes bytes of JSON values. text: its bytes can be read, and it has no bytes among its values."""

    name: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]
    text: bool = False


@dataclass(frozen=True, slots=True)
class Compressor:
    """Makes bytes of bytes."""

    name: str
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Codec:
    """A serializer, and a compressor behind it."""

    serializer: Serializer
    compressor: Compressor

    @property
    def name(self) -> str:
        return codec_name(self.serializer.name, self.compressor.name)

    def encode(self, value: Any) -> bytes:
        """Raises TypeError, ValueError or OverflowError for what it can't say."""
        return self.compressor.pack(self.serializer.dumps(value))

    def decode(self, data: bytes) -> Any:
        """Raises ValueError for what it has not made."""
        try:
            return self.serializer.loads(self.compressor.unpack(data))
        # Eight libraries, each with errors of its own, and none can say more than this.
        except Exception as error:
            raise ValueError(f"not {self.name}: {type(error).__name__}") from error


def _same(data: bytes) -> bytes:
    return data


def _json() -> Serializer:
    # As compact as the others' JSON is.
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return Serializer("json", lambda value: encode(value).encode(), json.loads, text=True)


def _ujson() -> Serializer:
    ujson = import_module("ujson")
    return Serializer("ujson", lambda value: ujson.dumps(value, ensure_ascii=False).encode(), ujson.loads, text=True)


def _ormsgpack() -> Serializer:
    ormsgpack = import_module("ormsgpack")
    return Serializer("ormsgpack", ormsgpack.packb, ormsgpack.unpackb)


def _msgspec() -> Serializer:
    made = import_module("msgspec.msgpack")
    return Serializer("msgspec", made.Encoder().encode, made.Decoder().decode)


def _lz4() -> Compressor:
    lz4 = import_module("lz4.frame")
    return Compressor("lz4", lz4.compress, lz4.decompress)


#: By name, what makes it, and the package without which it can't be made.
_SERIALIZERS: Mapping[str, tuple[Callable[[], Serializer], str]] = {
    "json": (_json, ""),
    "orjson": (lambda: Serializer("orjson", orjson.dumps, orjson.loads, text=True), ""),
    "ujson": (_ujson, "ujson"),
    "msgpack": (lambda: Serializer("msgpack", msgpack.packb, msgpack.unpackb), ""),
    "ormsgpack": (_ormsgpack, "ormsgpack"),
    "msgspec": (_msgspec, "msgspec"),
}
#: Each at the level that its library has by itself, but for Brotli: its 11 is for files that are packed once.
_COMPRESSORS: Mapping[str, tuple[Callable[[], Compressor], str]] = {
    NONE: (lambda: Compressor(NONE, _same, _same), ""),
    "zlib": (lambda: Compressor("zlib", zlib.compress, zlib.decompress), ""),
    "lzma": (lambda: Compressor("lzma", lzma.compress, lzma.decompress), ""),
    "zstd": (lambda: Compressor("zstd", zstd.compress, zstd.decompress), ""),
    "lz4": (_lz4, "lz4"),
    "brotli": (lambda: Compressor("brotli", lambda data: brotli.compress(data, quality=4), brotli.decompress), ""),
}

SERIALIZERS = tuple(_SERIALIZERS)
COMPRESSORS = tuple(_COMPRESSORS)


class NoCodec(ValueError):
    """There is no codec of this name here; the message says what to do."""


def codec_name(serializer: str, compressor: str) -> str:
    """What a codec is called."""
    return serializer if compressor == NONE else f"{serializer}-{compressor}"


@cache
def serializer(name: str) -> Serializer:
    """Raises NoCodec."""
    made: Serializer = _made(_SERIALIZERS, name, "serializer")
    return made


@cache
def compressor(name: str) -> Compressor:
    """Raises NoCodec."""
    made: Compressor = _made(_COMPRESSORS, name, "compressor")
    return made


@cache
def codec(name: str) -> Codec:
    """The codec of a name. Raises NoCodec."""
    first, _, second = name.partition("-")
    return Codec(serializer(first), compressor(second or NONE))


def missing() -> dict[str, str]:
    """By the name of each serializer and compressor that is not here: the package that would bring it."""
    found = {}
    for make, names in ((serializer, _SERIALIZERS), (compressor, _COMPRESSORS)):
        for name, (_, package) in names.items():
            try:
                make(name)
            except NoCodec:
                found[name] = package
    return found


def _made(known: Mapping[str, tuple[Callable[[], Any], str]], name: str, what: str) -> Any:
    if name not in known:
        raise NoCodec(f"there is no {what} {name!r}; there are {', '.join(known)}")
    make, package = known[name]
    try:
        return make()
    except ImportError:
        raise NoCodec(f"the {what} {name!r} needs {package}, which is not installed: {EXTRA}") from None
