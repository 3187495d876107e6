"""Are the computed styles of a page the same, before and after its sheets went into it? `python -m benchmarks.css`."""
