"""Options that NumPyro's kernels have and these have not: told rather than taken."""

import inspect
from typing import Any

WITHOUT_MEANING = {
    "max_tree_depth": "a trajectory is no tree that stops by itself; set `trajectory_length` or "
    "`num_steps` of `pm.ParallelHMC`, and `max_num_steps`",
    "kinetic_fn": "the kinetic energy is that of the metric; set `inverse_mass_matrix`",
}
"""Options of NumPyro's `HMC` and `NUTS` that mean nothing to these kernels."""


def refuse(kernel: type, base: type, others: dict[str, Any]) -> None:
    """Refuse options that do not exist, in the name of the class that the user has called.

    ``base`` is the class with the options that all its kernels share.
    """
    for name in others:
        if name in WITHOUT_MEANING:
            why = WITHOUT_MEANING[name]
        else:
            signatures = inspect.signature(kernel), inspect.signature(base)
            parameters = [p for signature in signatures for p in signature.parameters.values()]
            takes = dict.fromkeys(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
            why = f"it takes {', '.join(takes)}"
        raise TypeError(f"{kernel.__name__} has no option `{name}`: {why}.")
