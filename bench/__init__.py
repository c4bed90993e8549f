"""Benchmarks, run from the top folder: `python -m bench.NAME`; see README.md."""
