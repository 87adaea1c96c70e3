"""Kernels with their randomness drawn beforehand, their warm-up, and sampling."""
