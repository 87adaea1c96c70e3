"""What is checked before a solve begins."""

from typing import Any

import jax
import jax.numpy as jnp


def num_steps_of(inputs: Any) -> int:
    """T, the length of the leading axis of all inputs."""
    shapes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(shapes) != 1 or shapes & {(), (0,)}:
        found = ", ".join(sorted(str(shape[0]) if shape else "none" for shape in shapes)) or "none"
        raise ValueError(
            "All inputs need the same leading axis, time, of at least one step; "
            f"got leading sizes: {found}."
        )
    return shapes.pop()[0]


def check_dtype(dtype: Any, where: str = "") -> None:
    if dtype not in (jnp.float32, jnp.float64):
        raise TypeError(
            f"States must be float32 or float64, got {dtype}{where and f' at {where}'}; "
            "convert the initial one first."
        )


def check_window(window: int | None, num_steps: int) -> int:
    if window is None:
        return num_steps
    if window < 1:
        raise ValueError(
            f"window must be at least 1 step, got {window}; None solves all steps at once."
        )
    return min(window, num_steps)
