"""Packed forms: what a browser likes best, and what it gets."""

from __future__ import annotations

import gzip

import brotli
import pytest
from backports import zstd

from web.pages.encodings import CODINGS, choose, pack


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("gzip, zstd", "zstd"),
        ("GZIP", "gzip"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0, gzip;q=0.1", "gzip"),
        ("br;q=0, *", "zstd"),
        ("*;q=0", ""),
        ("identity", ""),
        ("", ""),
        ("br;q=2", ""),
        ("x" * 500 + ", br", ""),
        ("br ; q=1.000 , gzip", "br"),
        ("deflate, ,;, gzip", "gzip"),
    ],
)
def test_coding_is_the_one_that_the_browser_likes_best(accept: str, coding: str) -> None:
    assert choose(accept) == coding


@pytest.mark.parametrize("coding", CODINGS)
def test_what_is_packed_can_be_unpacked(coding: str) -> None:
    body = "Größe ".encode() * 1000
    unpack = {"br": brotli.decompress, "zstd": zstd.decompress, "gzip": gzip.decompress}[coding]
    packed = pack(body, coding)
    assert len(packed) < len(body)
    assert unpack(packed) == body
