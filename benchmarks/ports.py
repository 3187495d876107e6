"""Ports for the servers of benchmarks, as the tests have them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from ports import free_port

__all__ = ["free_port"]
