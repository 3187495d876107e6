"""What goes wrong in the cache."""

from __future__ import annotations


class FarAway(Exception):
    """Redis does not answer, or is not asked because it did not."""
