"""The commands of pictures. What they do is imported when they are run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ


def _picture_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="a JPEG, PNG, GIF, WebP or AVIF")
    parser.add_argument("target", metavar="OUT", help="where it goes; its ending says the format")
    parser.add_argument("size", metavar="SIZE", help="a box such as 348x348, a width such as 348, or a height, x348")
    parser.add_argument("--crop", action="store_true", help="fill the box, and cut what is too much")
    parser.add_argument("--upscale", action="store_true", help="make a smaller picture larger")
    parser.add_argument("--focus", metavar="X,Y", default="50,50", help="what to keep when cropping, in per cent")
    parser.add_argument("--format", choices=("avif", "webp", "jpeg", "png"), help="another format than OUT's ending")
    parser.add_argument("--quality", type=int, default=0, help="1 to 100; the format's usual one by default")
    parser.add_argument("--engine", choices=("pillow", "vips", "noop"), default="pillow", help="what makes it")


def _picture(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import picture

    return picture(found, environ)


COMMANDS = (
    Command(
        "picture",
        "make a picture smaller",
        _picture_arguments,
        _picture,
        epilog="example: fanfare picture photo.jpg small.avif 348x348 --crop",
    ),
)
