"""The correction of ELK: penalised where Newton's is large (arXiv:2407.19115).

    minimise  sum_t |d_t - A_t d_{t-1} - r_t|^2 + penalty |d_t|^2

in units of the spread of the chain; see `kalman`. A step takes Newton's correction if that and its
image are within the ``trust_radius``, so that the last iterations converge like Newton's.
Otherwise it takes the penalised correction, scaled as in `correction`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from parallel_mcmc._core import across
from parallel_mcmc._core.correction import Correction, behind
from parallel_mcmc._core.kalman import Map, kalman_scan
from parallel_mcmc._core.rows import all_of, before
from parallel_mcmc._core.scans import affine_scan


def penalised(
    A: Map,
    r: Float[Array, "T D"],
    factor: Float[Array, " T"],
    scale: Float[Array, " D"],
    k: Int[Array, ""],
    *,
    penalty: float,
    trust_radius: float,
) -> Correction:
    """The rule above. A, r, factor, scale, k: as for every `correction.Correct`."""
    if across.devices() is not None:
        raise ValueError(
            "elk() and quasi_elk() cannot have a chain's time over devices; take pm.deer() or "
            "pm.quasi_deer(), or a mesh with the axis 'chains' alone."
        )
    d = before(affine_scan(A, r))
    image = A.apply(d)
    radius = trust_radius * scale
    trusted = all_of((jnp.abs(d) <= radius) & (jnp.abs(image) <= radius))

    def elsewhere():
        careful = A.apply(before(penalised_recurrence(A, r, scale, k, penalty)))
        predicted = jnp.where(trusted[:, None], image, factor[:, None] * careful)
        return Correction(predicted, careful, ~trusted)

    def everywhere():
        return Correction(image, image, ~trusted)

    return jax.lax.cond(jnp.all(trusted), everywhere, elsewhere)


def penalised_recurrence(
    A: Map,
    r: Float[Array, "T D"],
    scale: Float[Array, " D"],
    k: Int[Array, ""],
    penalty: float,
) -> Float[Array, "T D"]:
    """The penalised correction, in units of the spread; zero at the first ``k`` steps.

    Least squares would move solved states to reduce later residuals, and causality would
    be lost. So the residuals of solved states, and the map from the last of them to the
    next step, are set to zero. Solved states then drop out of the sum: their best d is 0.
    Later steps lose nothing, as that map would multiply a zero. So when x_1..x_k are exact,
    x_{k+1} becomes f(x_k), to the last bit, at the next iteration.
    """
    step = jnp.arange(r.shape[0])
    scale = jnp.where(scale > 0, scale, 1)
    A = A.in_units(scale).scale_rows(behind(r, k).astype(r.dtype))
    return scale * kalman_scan(A, jnp.where((step < k)[:, None], 0, r / scale), penalty)
