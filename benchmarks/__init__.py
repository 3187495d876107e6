"""Fanfare beside Faye, Nchan and a bare C loop, under the same load: `python -m benchmarks`."""
