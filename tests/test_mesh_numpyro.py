"""`pm.MCMC` over several devices: the same draws, each where it was made."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from chains import ATOL
from four_devices import WHICH, on_four, over_both, over_chains, over_time, pass_on_four_devices

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")
Y = jnp.array([1.0, 2.0, 0.5])


def model(y):
    theta = numpyro.sample("theta", dist.Normal(0, 2).expand([3]).to_event(1))
    numpyro.sample("scale", dist.HalfNormal(1))
    numpyro.deterministic("twice", 2 * theta)
    numpyro.sample("y", dist.Normal(theta, 1), obs=y)


def run(mesh=None, num_chains=2, solver=None, **options):
    kernel = pm.ParallelHMC(model, num_helpers=0, solver=solver or pm.deer())
    mcmc = pm.MCMC(
        kernel, num_warmup=50, num_samples=80, num_chains=num_chains,
        chain_method="vectorized", progress_bar=False, mesh=mesh, **options,
    )  # fmt: skip
    mcmc.run(jax.random.key(0), Y, extra_fields=("mean_accept_prob", "energy", "i"))
    return mcmc


alone = functools.cache(functools.partial(run, None))
"""On one device, where tests compare with the same run."""


def assert_same(many, one):
    for get in ("get_samples", "get_extra_fields"):
        ours, theirs = (getattr(m, get)(group_by_chain=True) for m in (many, one))
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, atol=100 * ATOL, err_msg=name)
    for name in ("i", "z", "x", "mean_accept_prob"):
        ours, theirs = (jax.tree.leaves(getattr(m.last_state, name)) for m in (many, one))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=100 * ATOL, err_msg=name)


def assert_same_report(many, one):
    """A batch of another size rounds otherwise, and a solve may stop some iterations earlier."""
    np.testing.assert_array_equal(many.last_state.solve.status, one.last_state.solve.status)
    np.testing.assert_allclose(
        many.last_state.solve.num_iterations, one.last_state.solve.num_iterations, rtol=0.1
    )


@on_four
@pytest.mark.parametrize(
    "over, num_chains, options",
    [
        (over_both, 2, {}),
        pytest.param(over_time, 1, {"solver": pm.quasi_deer()}, marks=pytest.mark.slow),
        pytest.param(over_chains, 4, {"solver": pm.jacobi()}, marks=pytest.mark.slow),
        pytest.param(over_time, 2, {"thinning": 4}, marks=pytest.mark.slow),
    ],
    ids=["both", "time", "chains", "thinned"],
)
def test_draws_over_devices_are_those_of_one_device(over, num_chains, options):
    many, one = run(over(), num_chains, **options), alone(num_chains, **options)
    assert_same(many, one)
    assert_same_report(many, one)
    theta = many.get_samples(group_by_chain=True)["theta"]
    assert len(theta.sharding.device_set) == 4
    assert not theta.is_fully_replicated


@on_four
def test_a_chain_that_is_not_solved_is_finished_and_goes_on():
    with pytest.warns(pm.ConvergenceWarning, match="run one by one"):
        many = run(over_time(), 1, solver=pm.jacobi(max_iterations=2))
    assert_same(many, alone(1, solver=pm.sequential()))
    many.post_warmup_state = many.last_state
    with pytest.warns(pm.ConvergenceWarning):
        many.run(many.post_warmup_state.rng_key, Y)
    assert int(many.last_state.i) == 50 + 2 * 80


@on_four
def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="must divide the steps"):
        pm.MCMC(pm.ParallelHMC(model), num_warmup=9, num_samples=10, mesh=over_time())
    with pytest.raises(ValueError, match="multiple of thinning"):
        pm.MCMC(pm.ParallelHMC(model), num_warmup=9, num_samples=22, thinning=5, mesh=over_time())
    with pytest.raises(ValueError, match="ParallelGibbs adapts nothing"):
        pm.MCMC(pm.ParallelGibbs(model, []), num_warmup=9, num_samples=8, mesh=over_time())
    with pytest.raises(ValueError, match="vectorized"):
        pm.MCMC(
            pm.ParallelHMC(model), num_warmup=9, num_samples=8, num_chains=4, mesh=over_chains()
        )
    with pytest.raises(ValueError, match="kind rbg"):
        pm.MCMC(pm.ParallelHMC(model), num_warmup=9, num_samples=8, mesh=over_time()).run(
            jax.random.key(0, impl="rbg"), Y
        )
    with pytest.raises(ValueError, match="kernel of this package"):
        pm.MCMC(numpyro.infer.NUTS(model), num_warmup=9, num_samples=8, mesh=over_time())
    with pytest.raises(ValueError, match="window by window"):
        pm.MCMC(
            pm.ParallelHMC(model), num_warmup=9, num_samples=8, mesh=over_time(), store="run.zarr"
        )


@pytest.mark.parametrize("which", WHICH)
def test_these_tests_pass_on_four_devices(which):
    pass_on_four_devices(__file__, which)
