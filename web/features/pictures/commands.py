"""What the commands of pictures do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from hub.cli import DONE, FAILED, Wrong

from .engines import engine, make
from .geometry import Wanted, parse
from .making import put
from .sniffing import NoPicture

_ENDINGS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".avif": "avif"}


def picture(found: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Make one picture, and say what came of it."""
    target = Path(found.target)
    format = found.format or _ENDINGS.get(target.suffix.lower())
    if format is None:
        raise Wrong(f"{target}: which format? say --format avif, webp, jpeg or png")
    try:
        width, height = parse(found.size)
        across, down = (float(each) / 100 for each in found.focus.split(","))
        if not (0 <= across <= 1 and 0 <= down <= 1 and 0 <= found.quality <= 100):
            raise ValueError("--focus and --quality are from 0 to 100")
    except ValueError as error:
        raise Wrong(str(error)) from None
    wanted = Wanted(width, height, found.crop, found.upscale, (across, down))
    try:
        maker = engine(found.engine)
        data = Path(found.source).read_bytes()
        made = make(maker, maker.open(data), wanted, format, found.quality)
        put(target, made.data)
    except ImportError as error:
        raise Wrong(f"--engine {found.engine}: {error}; install pyvips and pyvips-binary") from None
    except NoPicture as error:
        print(f"fanfare: {found.source}: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        raise Wrong(f"{error.filename or found.source}: {error.strerror}") from None
    print(f"{target}: {made.size.width}x{made.size.height}, {made.format}, {len(made.data):,} of {len(data):,} bytes")
    return DONE
