"""PyMC models, sampled by the kernels of this package."""
