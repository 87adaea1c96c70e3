"""What takes the place of `numpyro.infer.HMC`: its options, and the fields of its state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import HMC
from numpyro.infer.hmc import HMCState
from numpyro_runs import CLASSES, one

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("double_precision")

WAYS = [
    ("pm", "sequential"),
    ("numpyro", "vectorized"),
    pytest.param("pm", "vectorized", marks=pytest.mark.slow),
    pytest.param("numpyro", "sequential", marks=pytest.mark.slow),
]
# For options, which the kernel sees and the class that runs it does not.
OF_THE_KERNEL = [WAYS[0], pytest.param(*WAYS[1], marks=pytest.mark.slow), *WAYS[2:]]
Y = np.array([0.3, 1.9, -0.4, 1.1])


def run(kernel, *args, cls="pm", method="sequential", num_chains=2, jit=False, **options):
    mcmc = CLASSES[cls](
        kernel, num_warmup=options.pop("num_warmup", 0), num_samples=12, num_chains=num_chains,
        chain_method=method, progress_bar=False, jit_model_args=jit,
    )  # fmt: skip
    mcmc.run(jax.random.PRNGKey(0), *args, **options)  # NumPyro collects no typed keys
    return mcmc


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


# Fields.


def shapes(mcmc):
    fields = mcmc.get_extra_fields(group_by_chain=True)
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), fields)


@pytest.mark.parametrize("cls, method", WAYS)
def test_every_field_of_numpyros_state_can_be_collected(cls, method):
    names = (name for name in HMCState._fields if name != "z")
    fields = (*names, "z.mu", "z.sigma", "adapt_state.step_size")
    options = {"step_size": 0.3, "dense_mass": True, "trajectory_length": 1.0}
    jitter = 0.3 if method == "vectorized" else 0.0
    kernel = pm.ParallelHMC(model, solver=pm.jacobi(), window=8, step_size_jitter=jitter, **options)
    mcmc = run(kernel, Y, cls=cls, method=method, extra_fields=fields)
    theirs = run(HMC(model, **options), Y, cls="numpyro", method=method, extra_fields=fields)
    assert shapes(mcmc) == shapes(theirs)

    found = mcmc.get_extra_fields()
    assert found["r"] is None
    assert np.all(found["num_steps"] == 4)  # ceil(1 / 0.3), of a length of 1 together
    lengths = found["trajectory_length"]
    assert np.all(np.abs(lengths - 1) <= jitter + 1e-7) and np.ptp(lengths) >= jitter
    z = {name: found[f"z.{name}"] for name in ("mu", "sigma")}
    potential_fn = kernel.target((Y,), {})
    energy, gradient = jax.vmap(jax.value_and_grad(potential_fn))(z)
    np.testing.assert_allclose(found["potential_energy"], energy, rtol=1e-9)
    for name in z:
        np.testing.assert_allclose(found["z_grad"][name], gradient[name], rtol=1e-8, atol=1e-8)
        last = np.asarray(found["z_grad"][name]).reshape(2, 12)[:, -1]
        np.testing.assert_array_equal(mcmc.last_state.z_grad[name], last)


def test_the_last_state_has_its_gradient_where_none_was_collected():
    states = [
        run(pm.ParallelHMC(model, solver=pm.jacobi()), Y, extra_fields=fields).last_state
        for fields in ((), ("z_grad",))
    ]
    for name in ("mu", "sigma"):
        np.testing.assert_allclose(states[0].z_grad[name], states[1].z_grad[name], rtol=1e-9)
        assert np.all(states[0].z_grad[name] != 0)


def box(z):
    return jnp.where(jnp.abs(z) < 1, z**2 / 2, jnp.inf)


def test_the_energy_is_that_of_the_state_that_is_kept():
    kernel = pm.ParallelHMC(
        potential_fn=box, solver=pm.sequential(), num_steps=3, trajectory_length=None, step_size=0.5
    )
    mcmc = run(kernel, init_params=jnp.zeros(2), extra_fields=("energy", "potential_energy"))
    found = mcmc.get_extra_fields()
    assert np.any(found["diverging"])  # proposals of no density, which are rejected
    assert np.all(np.isfinite(found["energy"]))
    assert np.all(found["energy"] >= found["potential_energy"])


@pytest.mark.parametrize("cls", CLASSES)
def test_kernels_without_trajectories_make_one_step_and_have_no_length(cls):
    kernel = pm.ParallelRandomWalk(model, solver=pm.sequential())
    fields = ("num_steps", "trajectory_length", "z_grad")
    found = run(kernel, Y, cls=cls, num_chains=1, extra_fields=fields).get_extra_fields()
    assert np.all(found["num_steps"] == 1)
    assert found["trajectory_length"] is None and found["z_grad"] is None


# Options.


def looped(loop):
    def model(y, n):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(loop(mu, n), 1.0), obs=y)

    return model


def halved(x):
    return x + 0.1 * jnp.sin(x)


@looped
def open_loop(x, n):
    return jax.lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, halved(c[1])), (0, x))[1]


@looped
def unrolled(x, n):
    for _ in range(3):
        x = halved(x)
    return x


def drawn(model, cls, method, jit=False, solver=None, **options):
    kernel = pm.ParallelHMC(model, step_size=0.4, solver=solver or pm.deer(), window=8, **options)
    return np.asarray(run(kernel, Y, 3, cls=cls, method=method, jit=jit).get_samples()["mu"])


@functools.cache
def drawn_without_a_loop():
    return drawn(unrolled, "pm", "sequential", solver=pm.sequential())


@pytest.mark.parametrize("cls, method", OF_THE_KERNEL)
@pytest.mark.parametrize("jit", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_models_with_open_loops_are_differentiated_forwards(cls, method, jit):
    found = drawn(open_loop, cls, method, jit, forward_mode_differentiation=True)
    expected = drawn_without_a_loop()
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)  # tol is 1e-10 of the spread
    assert found.std() > 0.1


def test_without_forward_mode_it_is_said_what_numpyro_says():
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        drawn(open_loop, "pm", "sequential")


@pytest.mark.parametrize("cls, method", OF_THE_KERNEL)
def test_a_step_size_that_is_far_off_is_found_by_numpyros_heuristic(cls, method):
    kernel = pm.ParallelHMC(model, step_size=1e-8, find_heuristic_step_size=True, max_num_steps=8,
                            solver=pm.sequential(), window=8)  # fmt: skip
    keys = jax.random.split(jax.random.key(1))
    state = kernel.init(keys if method == "vectorized" else keys[0], 30, None, (Y,), {})
    # A power of two times the one given, by whether a step of that size is accepted.
    assert np.all(state.adapt_state.step_size > 0.01)
    mcmc = run(kernel, Y, cls=cls, method=method, num_warmup=30)
    assert np.all(np.asarray(mcmc.last_state.adapt_state.step_size) > 0.1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: pm.ParallelHMC(one, max_tree_depth=5), "^ParallelHMC has no option `max_tree_dep"),
        (lambda: pm.ParallelHMC(one, kinetic_fn=len), "^ParallelHMC has no .*inverse_mass_matrix"),
        (lambda: pm.ParallelHMC(one, nonsense=1), "^ParallelHMC has .*num_steps.*diagnose"),
        (lambda: pm.ParallelMALA(one, max_tree_depth=5), "^ParallelMALA has no option `max_tree"),
        (lambda: pm.ParallelMALA(one, num_steps=5), "^ParallelMALA has no option `num_steps`: it"),
        (lambda: pm.ParallelGibbs(one, [], num_steps=5), "ParallelGibbs.*num_steps"),
        (lambda: pm.ParallelBlackJAX(one, len, num_steps=5), "ParallelBlackJAX.*num_steps"),
    ],
)
def test_an_option_that_means_nothing_is_refused_in_the_name_of_the_users_class(make, message):
    with pytest.raises(TypeError, match=message):
        make()
