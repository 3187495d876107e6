"""Where the files are that go with the code: in a checkout its top-level folders, in an installation a folder of ours.

The build copies them there (setup.py): `static`, `templates`, `docs/openapi.json`, `examples/podcasts`.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_INSTALLED = _HERE / "_files"

#: The folder whose `static`, `templates` and so on are ours.
ROOT = _INSTALLED if _INSTALLED.is_dir() else _HERE.parent
