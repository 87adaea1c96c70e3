"""`pm.sample` on arguments that do not fit, and where a solve does not converge."""

import jax
import jax.numpy as jnp
import pytest
from chains import MALA, NUM_SAMPLES, assert_same, logdensity_fn

import parallel_mcmc as pm

pytestmark = pytest.mark.usefixtures("x64")


# Bad arguments --------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "change, error, sentence",
    [
        (
            {"num_samples": 0},
            ValueError,
            "num_samples and num_chains must be at least 1, got 0 and 1",
        ),
        ({"num_samples": -3}, ValueError, "must be at least 1, got -3 and 1"),
        ({"num_chains": 0}, ValueError, "must be at least 1, got 60 and 0"),
        ({"window": 0}, ValueError, "window must be at least 1 step, got 0"),
        ({"num_chains": 3}, ValueError, r"num_chains=3 every leaf.*got shape \(2,\)"),
        ({"initial_position": jnp.array([0.0, jnp.nan])}, ValueError, "not finite.*of chain 0"),
        ({"initial_position": jnp.full(2, jnp.inf)}, ValueError, "not finite.*of chain 0"),
        ({"kernel": logdensity_fn}, TypeError, "Expected a kernel.*function"),
        ({"kernel": None}, TypeError, "Expected a kernel.*NoneType"),
        ({"on_failure": "ignore"}, ValueError, '"finish" or "raise", got \'ignore\''),
    ],
)
def test_an_argument_that_does_not_fit_is_one_sentence(change, error, sentence):
    arguments = {
        "kernel": MALA,
        "initial_position": jnp.zeros(2),
        "num_samples": NUM_SAMPLES,
    }
    with pytest.raises(error, match=sentence) as caught:
        pm.sample(jax.random.key(0), **(arguments | change))
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")


def test_a_start_outside_the_support_names_its_chain():
    transition = pm.mala(lambda x: jnp.sum(jnp.log(x) - x), 0.1)
    starts = jnp.array([[1.0, 1.0], [2.0, 1.0], [-1.0, 1.0]])
    with pytest.raises(ValueError, match="initial position of chain 2; start inside"):
        pm.sample(jax.random.key(0), transition, starts, 10, num_chains=3, solver=pm.deer())


def test_scalar_leaves_with_several_chains_are_refused():
    transition = pm.mala(lambda x: -(x["a"] ** 2) / 2, 0.5)
    with pytest.raises(ValueError, match=r"num_chains=2.*got shape \(\)"):
        pm.sample(jax.random.key(0), transition, {"a": 1.0}, 10, num_chains=2, solver=pm.deer())


# Failure --------------------------------------------------------------------------------


def test_a_limit_that_is_too_low_warns_and_the_draws_are_right():
    arguments = jax.random.key(7), MALA, jnp.full(2, 3.0), 300
    expected = pm.sample(*arguments, solver=pm.sequential())
    with pytest.warns(pm.ConvergenceWarning, match="after 2 iterations.*run one by one"):
        trace = pm.sample(*arguments, solver=pm.deer(max_iterations=2))
    assert_same(trace.position, expected.position)
    assert trace.solve.status.tolist() == [pm.Status.FINISHED_SEQUENTIALLY]
    assert trace.solve.num_iterations.tolist() == [2]
    assert 0 < int(trace.solve.num_sequential_steps[0]) < 300
    assert trace.settings["max_iterations"] == 2


@pytest.mark.slow
def test_one_failing_chain_of_several_is_named():
    starts = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    with pytest.warns(
        pm.ConvergenceWarning, match=r"2 of 2 chains were not solved in parallel; chain [01]: "
    ):
        pm.sample(
            jax.random.key(7), MALA, starts, 200, num_chains=2, solver=pm.deer(max_iterations=1)
        )


def test_a_failure_that_raises_carries_the_finished_trace():
    arguments = jax.random.key(7), MALA, jnp.full(2, 3.0), 300
    expected = pm.sample(*arguments, solver=pm.sequential())
    with pytest.raises(pm.ConvergenceError, match="after 2 iterations") as caught:
        pm.sample(*arguments, on_failure="raise", solver=pm.deer(max_iterations=2))
    trace = caught.value.result
    assert isinstance(trace, pm.Trace)
    assert_same(trace.position, expected.position)
    assert trace.to_inference_data()["posterior"]["x"].shape == (1, 300, 2)


@pytest.mark.slow
def test_a_solve_that_converges_does_not_raise():
    options = {"on_failure": "raise", "solver": pm.deer()}
    trace = pm.sample(jax.random.key(7), MALA, jnp.ones(2), 50, **options)
    assert trace.solve.status.tolist() == [pm.Status.CONVERGED]
    with pytest.raises(pm.ConvergenceError):
        options["solver"] = pm.deer(max_iterations=1)
        pm.sample(jax.random.key(7), MALA, jnp.ones(2), 50, **options)
