"""Kernels with their randomness drawn beforehand; each returns a `Transition`."""
