"""Any BlackJAX kernel on a NumPyro model."""

from collections.abc import Callable
from typing import Any

import jax

from parallel_mcmc._blackjax.transition import transition_of
from parallel_mcmc._core.auto import Auto
from parallel_mcmc._core.solver import Solver
from parallel_mcmc._numpyro.chain import Chain, draw_one
from parallel_mcmc._numpyro.kernel import ParallelKernel
from parallel_mcmc._numpyro.start import DEFAULT_INIT


class ParallelBlackJAX(ParallelKernel):
    """A BlackJAX kernel on the unconstrained values of a NumPyro model, all draws at once.

    Args:
        model: a NumPyro model, or None with ``potential_fn``.
        make_algorithm: ``logdensity_fn -> SamplingAlgorithm``, such as
            ``lambda logdensity_fn: blackjax.mala(logdensity_fn, 0.1)``. Positions are dicts of
            unconstrained values by site.
        potential_fn: minus a log density of any pytree; then `MCMC.run` needs ``init_params``.
        init_strategy, solver, window, diagnose, forward_mode_differentiation: as in `ParallelHMC`.
        fields: as in `pm.from_blackjax`, for algorithms of your own whose state is not rebuilt
            from its position.

    Raises:
        ValueError: if both or none of ``model`` and ``potential_fn`` are given.

    Nothing is adapted: the warm-up steps are steps like the others, left out of the draws. Tune
    with BlackJAX, or take the metric that a `ParallelHMC` has found from its
    ``post_warmup_state.adapt_state``.

    Costs one more log density and gradient per step than BlackJAX, to rebuild its caches.

    >>> import blackjax, jax, numpyro, numpyro.distributions as dist, parallel_mcmc as pm
    >>> def model():
    ...     numpyro.sample("x", dist.Normal(0, 1).expand([2]))
    >>> kernel = pm.ParallelBlackJAX(model, lambda logdensity_fn: blackjax.mala(logdensity_fn, 0.3))
    >>> mcmc = numpyro.infer.MCMC(kernel, num_warmup=50, num_samples=200, progress_bar=False)
    >>> mcmc.run(jax.random.key(0))
    >>> mcmc.get_samples()["x"].shape
    (200, 2)
    """

    fields_of_steps = ("energy", "num_steps")

    def __init__(
        self,
        model: Callable | None,
        make_algorithm: Callable,
        potential_fn: Callable | None = None,
        init_strategy: Callable = DEFAULT_INIT,
        solver: Solver | Auto | None = None,
        window: int | None = None,
        fields: tuple[str, ...] | None = None,
        diagnose: bool = False,
        forward_mode_differentiation: bool = False,
    ):
        super().__init__(
            model, potential_fn, init_strategy, solver, window, diagnose,
            forward_mode_differentiation,
        )  # fmt: skip
        self._make_algorithm = make_algorithm
        self._fields = fields

    def chain(self, potential_fn: Callable, z: Any, adapt_state: Any, model_args: tuple) -> Chain:
        algorithm = self._make_algorithm(lambda z: -potential_fn(z))
        transition = transition_of(algorithm, z, self._fields)
        draw = draw_one(transition)

        def draw_input(rng_key, state):
            # The random length of a trajectory is part of a state, though not of a Markov state:
            # each step gets one of its own. Nothing else of this state is used.
            key_init, key_draw = jax.random.split(rng_key)
            return draw(key_draw, transition.init(state.position, key_init))

        return Chain(transition, lambda z: z, lambda z: z, potential_fn, draw_input)
