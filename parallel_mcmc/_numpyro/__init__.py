"""What needs NumPyro."""

# As a whole, before any part of it: ArviZ 1.x leaves a module that is loaded when it is first used,
# and Python would load `numpyro.infer` twice, the second time without its parts.
from numpyro import infer as infer
