"""ThumbHash: what a picture looks like from afar, in some 25 bytes (the format of evanw/thumbhash). Pure.

A few waves of its lightness and two of its colours, each as a number of four bits. `cells` draws it as a small grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .geometry import Size


def encode(size: Size, rgba: bytes) -> bytes:
    """The hash of a small copy, at most 100 pixels a side."""
    width, height = size.width, size.height
    if max(width, height) > 100:
        raise ValueError("a ThumbHash is made of at most 100 pixels a side")
    count = width * height
    red, green, blue, alpha = (list(rgba[band::4]) for band in range(4))
    opaque = sum(alpha) / 255
    mean = [sum(c * a for c, a in zip(band, alpha, strict=True)) / 255 / 255 for band in (red, green, blue)]
    if opaque:
        mean = [value / opaque for value in mean]
    has_alpha = opaque < count
    most = 5 if has_alpha else 7
    across = max(1, round(most * width / max(width, height)))
    down = max(1, round(most * height / max(width, height)))
    bands: list[list[float]] = [[], [], [], []]
    for r, g, b, a in zip(red, green, blue, alpha, strict=True):
        share = a / 255
        # What can be seen through takes the mean colour.
        rr, gg, bb = (m * (1 - share) + share / 255 * c for m, c in zip(mean, (r, g, b), strict=True))
        bands[0].append((rr + gg + bb) / 3)
        bands[1].append((rr + gg) / 2 - bb)
        bands[2].append(rr - gg)
        bands[3].append(share)
    light = _waves(bands[0], size, max(3, across), max(3, down))
    yellow, ruddy = _waves(bands[1], size, 3, 3), _waves(bands[2], size, 3, 3)
    is_wide = width > height
    head = (
        round(63 * light.mean)
        | round(31.5 + 31.5 * yellow.mean) << 6
        | round(31.5 + 31.5 * ruddy.mean) << 12
        | round(31 * light.scale) << 18
        | has_alpha << 23
    )
    more = (down if is_wide else across) | round(63 * yellow.scale) << 3 | round(63 * ruddy.scale) << 9 | is_wide << 15
    found = bytearray((head & 255, head >> 8 & 255, head >> 16, more & 255, more >> 8))
    all_waves = [light, yellow, ruddy]
    if has_alpha:
        seen = _waves(bands[3], size, 5, 5)
        found.append(round(15 * seen.mean) | round(15 * seen.scale) << 4)
        all_waves.append(seen)
    nibbles = [round(15 * wave) for waves in all_waves for wave in waves.waves]
    nibbles += [0] * (len(nibbles) & 1)
    found += bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    return bytes(found)


@dataclass(frozen=True, slots=True)
class _Waves:
    mean: float
    scale: float
    waves: list[float]


def _waves(band: list[float], size: Size, across: int, down: int) -> _Waves:
    width, height = size.width, size.height
    mean, scale, found = 0.0, 0.0, []
    for cy in range(down):
        fy = [math.cos(math.pi / height * cy * (y + 0.5)) for y in range(height)]
        cx = 0
        while cx * down < across * (down - cy):
            fx = [math.cos(math.pi / width * cx * (x + 0.5)) for x in range(width)]
            value = 0.0
            for y in range(height):
                row = band[y * width : (y + 1) * width]
                value += fy[y] * sum(map(float.__mul__, row, fx))
            value /= width * height
            if cx or cy:
                found.append(value)
                scale = max(scale, abs(value))
            else:
                mean = value
            cx += 1
    if scale > 0:
        found = [0.5 + 0.5 / scale * value for value in found]
    return _Waves(mean, scale, found)


def cells(hash: bytes, across: int, down: int) -> list[tuple[int, int, int]]:
    """The colours of a grid, row by row, as red, green and blue. What can be seen through is on white."""
    head = hash[0] | hash[1] << 8 | hash[2] << 16
    more = hash[3] | hash[4] << 8
    has_alpha, is_wide = head >> 23, more >> 15
    most = 5 if has_alpha else 7
    lx = max(3, most if is_wide else more & 7)
    ly = max(3, more & 7 if is_wide else most)
    start = 6 if has_alpha else 5
    nibbles = [half for byte in hash[start:] for half in (byte & 15, byte >> 4)]
    at = 0

    def waves(nx: int, ny: int, scale: float) -> list[tuple[int, int, float]]:
        nonlocal at
        found = []
        for cy in range(ny):
            cx = 0 if cy else 1
            while cx * ny < nx * (ny - cy):
                value = nibbles[at] if at < len(nibbles) else 8
                found.append((cx, cy, (value / 7.5 - 1) * scale))
                at += 1
                cx += 1
        return found

    light = waves(lx, ly, (head >> 18 & 31) / 31)
    # Colours are a little too pale by their numbers.
    yellow = waves(3, 3, (more >> 3 & 63) / 63 * 1.25)
    ruddy = waves(3, 3, (more >> 9 & 63) / 63 * 1.25)
    seen = waves(5, 5, (hash[5] >> 4) / 15) if has_alpha else []
    means = ((head & 63) / 63, (head >> 6 & 63) / 31.5 - 1, (head >> 12 & 63) / 31.5 - 1)
    found = []
    for y in range(down):
        for x in range(across):

            def value(mean: float, waves: list[tuple[int, int, float]], x: int = x, y: int = y) -> float:
                for cx, cy, wave in waves:
                    mean += (
                        wave
                        * math.cos(math.pi / across * (x + 0.5) * cx)
                        * math.cos(math.pi / down * (y + 0.5) * cy)
                        * 2
                    )
                return mean

            l, p, q = (value(mean, each) for mean, each in zip(means, (light, yellow, ruddy), strict=True))  # noqa: E741
            b = l - 2 / 3 * p
            r = (3 * l - b + q) / 2
            a = min(1.0, max(0.0, value((hash[5] & 15) / 15, seen))) if has_alpha else 1.0
            found.append(tuple(round(255 * (1 - a + a * min(1.0, max(0.0, channel)))) for channel in (r, r - q, b)))
    return found  # type: ignore[return-value]  # three each
