"""Benchmarks of the CSS tool: bytes left, computed styles that differ in Chromium, and CPU time. See `__main__`."""
