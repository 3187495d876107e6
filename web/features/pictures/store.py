"""The files of pictures in HUB_VAR/pictures: originals, which nobody is given, and the forms made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class Store:
    """folder: where they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def original(self, hash: str) -> Path:
        """Where the file is that somebody sent."""
        return self._folder / "originals" / hash

    def forms(self, hash: str) -> Path:
        """The folder of a picture's forms."""
        return self._folder / "forms" / hash[:2] / hash

    def originals(self) -> Iterator[Path]:
        """All files that were sent, and pieces of such."""
        return (self._folder / "originals").glob("*")

    def all_forms(self) -> Iterator[Path]:
        """The folders of all pictures' forms."""
        return (self._folder / "forms").glob("*/*")
