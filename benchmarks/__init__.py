"""Benchmarks; from the repository's root: ``python -m benchmarks run``, then ``... report``."""
