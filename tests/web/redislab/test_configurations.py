"""What is compared, and what is stored."""

from __future__ import annotations

import builtins
import gzip
import json
import pickle
import zlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.features.redislab import configurations as module
from web.features.redislab import payloads
from web.features.redislab.configurations import PICKLE, chosen, codec_of, configurations, find
from web.services.cache import codecs
from web.services.cache.codecs import COMPRESSORS, SERIALIZERS, NoCodec, codec

#: What every serializer can say and gives back as it was.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def test_every_serializer_compressor_and_client_is_there() -> None:
    names = {each.name for each in configurations()}
    assert len(names) == 7 * 6 * 2 + 2
    assert {"json", "json-zlib", "msgspec-lz4-python", "pickle-brotli", "bytes", "bytes-python"} <= names


def test_names_lead_back() -> None:
    for each in configurations():
        assert find(each.name) == each


@pytest.mark.parametrize(
    ("old", "new"), [("default", "pickle-python"), ("hires", "pickle"), ("zlib", "pickle-zlib-python")]
)
def test_names_of_the_post_are_known(old: str, new: str) -> None:
    assert find(old).name == new


def test_unknown_name_is_refused_with_what_a_name_is() -> None:
    with pytest.raises(NoCodec, match=r"there is no configuration 'jsno'"):
        find("jsno")


def test_part_of_a_name_takes_all_with_it() -> None:
    assert [each.name for each in chosen(["json"])] == ["json"]
    assert len(chosen(["zstd"])) == 14
    assert len(chosen(["python"])) == 43
    assert chosen([]) == configurations()


@pytest.mark.parametrize("name", [f"{one}-{two}" for one in SERIALIZERS for two in COMPRESSORS if two != "none"])
@given(value=JSON)
def test_codecs_give_back_what_they_took(name: str, value: Any) -> None:
    made = codec(name)
    assert made.decode(made.encode(value)) == value


@pytest.mark.parametrize("name", [*SERIALIZERS, "json-zlib", "msgpack-lz4", "orjson-zstd", "json-brotli", "json-lzma"])
@given(data=st.binary(max_size=60))
def test_what_no_codec_made_is_a_value_error(name: str, data: bytes) -> None:
    try:
        codec(name).decode(data)
    except ValueError:
        pass


def test_cache_has_no_pickle() -> None:
    with pytest.raises(NoCodec, match="there is no serializer 'pickle'"):
        codec("pickle")
    assert codec_of(find("pickle")).serializer.name == PICKLE


def test_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def no_module(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] in ("lz4", "msgspec"):
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(codecs, "import_module", lambda name: no_module(name))
    cached = (codecs.serializer, codecs.compressor, codecs.codec, module.configurations, module.absences, module._names)
    for each in cached:
        each.cache_clear()
    try:
        assert module.absences() == {"msgspec": "msgspec", "lz4": "lz4"}
        assert len(module.configurations()) == 6 * 5 * 2 + 2
        with pytest.raises(NoCodec, match=r"'msgspec-lz4' needs msgspec, which is not installed: pip install"):
            find("msgspec-lz4")
    finally:
        for each in cached:
            each.cache_clear()


# Payloads


@pytest.mark.parametrize("name", ["rows", "html", "counters"])
def test_payloads_are_the_same_each_time_and_plain_json(name: str) -> None:
    value = payloads.fixed(name)
    assert value == payloads.fixed(name)
    assert json.loads(json.dumps(value)) == value


def test_own_keys_are_unpacked_and_read() -> None:
    value = {"id": 7, "tags": ["a", "b"]}
    plain = json.dumps(value).encode()
    for data in (
        plain,
        gzip.compress(plain),
        zlib.compress(plain),
        codec("json-zstd").encode(value),
        msgpack.packb(value),
    ):
        assert payloads.read_value(data) == value
    assert payloads.read_value("Grüße".encode()) == "Grüße"
    assert payloads.read_value(b"17") == 17
    assert payloads.read_value(b"\xff\xfe") == b"\xff\xfe"


class Trap:
    """Unpickled, it would run code."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_your_own_keys_is_never_loaded(protocol: int) -> None:
    data = pickle.dumps(Trap(), protocol=protocol)
    assert payloads.read_value(data) in (data, data.decode(errors="replace"))


def test_packed_value_that_would_be_endless_stays_packed() -> None:
    bomb = zlib.compress(bytes(payloads.MOST_BYTES + 1))
    assert payloads.read_value(bomb) == bomb


@given(st.binary(max_size=200))
def test_any_bytes_are_some_value(data: bytes) -> None:
    payloads.read_value(data)
