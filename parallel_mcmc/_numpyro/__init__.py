"""What needs NumPyro."""
