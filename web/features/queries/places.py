"""The lines of a project that led to where we are, the nearest first: of its code, and of its templates."""

from __future__ import annotations

import fnmatch
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

#: Folders whose code is somebody else's, wherever they are.
_OTHERS = ("site-packages", "dist-packages", ".venv", "venv", ".tox", ".nox", "node_modules")


@dataclass(frozen=True, slots=True)
class Place:
    """A line. file: from the project's root on."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Project:
    """Which files are the project's own. tests: names of files that are tests, as pytest's `python_files` has them.

    skipped: beginnings of paths, from the root on, that are passed over: the line that called them is meant.
    """

    def __init__(self, root: Path, tests: Sequence[str] = (), skipped: Sequence[str] = ()) -> None:
        self.root = root.resolve()
        self._tests = (*tests, "conftest.py")
        self._skipped = tuple(skipped)
        self._known: dict[str, str | None] = {}
        self._library = sysconfig.get_path("stdlib")

    def file(self, name: str) -> str | None:
        """A file's path from the root on; None for one of somebody else."""
        try:
            return self._known[name]
        except KeyError:
            found = self._known[name] = self._look(name)
            return found

    def is_test(self, place: Place) -> bool:
        """Whether a line is a test's own."""
        name = place.file.rpartition("/")[2]
        return any(fnmatch.fnmatch(name, pattern) for pattern in self._tests)

    def stack(self, frames: Iterator[FrameType]) -> tuple[Place, ...]:
        """The project's lines among frames."""
        found: list[Place] = []
        for frame in frames:
            code = frame.f_code
            if code.co_name == "render_annotated" and (place := self._of_django(frame)) is not None:
                found.append(place)
            file = self.file(code.co_filename)
            if file is not None:
                found.append(Place(file, _line(frame)))
        return tuple(found)

    def _look(self, name: str) -> str | None:
        if name.startswith(("<", self._library)):
            return None
        path = Path(name)
        if not path.is_absolute():
            path = Path.cwd() / path
        try:
            within = path.resolve().relative_to(self.root)
        except ValueError:
            return None
        if any(part in _OTHERS for part in within.parts):
            return None
        found = within.as_posix()
        return None if found.startswith(self._skipped) else found

    def _of_django(self, frame: FrameType) -> Place | None:
        node: Any = frame.f_locals.get("self")
        token, origin = getattr(node, "token", None), getattr(node, "origin", None)
        if token is None or origin is None or not isinstance(getattr(origin, "name", None), str):
            return None
        file = self.file(origin.name)
        return None if file is None else Place(file, token.lineno)


def frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that led to it. SQLAlchemy runs what it asks in a greenlet: who waits is in the one above."""
    module: Any = sys.modules.get("greenlet")
    running = None if module is None else module.getcurrent()
    while True:
        while frame is not None:
            yield frame
            frame = frame.f_back
        running = None if running is None else running.parent
        if running is None:
            return
        frame = running.gr_frame


def _line(frame: FrameType) -> int:
    # What Jinja makes of a template has lines of its own.
    template: Any = frame.f_globals.get("__jinja_template__")
    if template is not None and template.filename == frame.f_code.co_filename:
        return int(template.get_corresponding_lineno(frame.f_lineno))
    return frame.f_lineno
