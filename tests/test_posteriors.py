"""Real models: what the suite measures, and `ParallelHMC` against reference draws.

``python -m benchmarks run --suite posteriors --part posteriors --float64`` runs them all.
"""

import jax
import numpy as np
import pytest
from numpyro.infer.util import initialize_model

import parallel_mcmc as pm
from benchmarks import published
from benchmarks.judged import outcome_of, path_ratio
from benchmarks.posteriors import four_chains, measured, of_users
from benchmarks.records import WARMUP_SINCE
from benchmarks.tables import made
from benchmarks.user_models import USER_MODELS, with_data

pytestmark = pytest.mark.usefixtures("x64")

RECORD = {
    "target": "eight_schools", "source": "posteriordb", "D": 10, "solver": "jacobi",
    "settled": [True, True], "iterations": [60, 80], "num_sequential_steps": [0, 0],
    "leapfrogs": [3, 4], "exponent": -0.5,
    "warmup_gradients": 200, "choice_gradients": 50, "sample_gradients": 250, "min_ess": 1_000.0,
    "warmup_gradients_nuts": 6_000, "sample_gradients_nuts": 4_000, "min_ess_nuts": 2_000.0,
    "rhat": 1.01, "rhat_nuts": 1.02,
    "z_score": 2.0, "sd_error": 0.03, "seconds_warm": 1.0, "seconds_warm_nuts": 2.0,
    "date": WARMUP_SINCE,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kidiq-kidscore_momhsiq", "nes2000-nes"])
def test_means_and_standard_deviations_are_those_of_the_reference(name, data_folder):
    if not (data_folder / "posteriordb").is_dir():
        pytest.skip("the posteriors are not in shared/data")
    posterior = published.read(name, data_folder / "german_credit_numeric.txt")
    mcmc = four_chains(pm.ParallelHMC(posterior.model))
    mcmc.run(jax.random.key(0), *posterior.arguments)
    draws = dict(published.scalars(mcmc.get_samples(group_by_chain=True)))
    result = published.against_reference(posterior.reference, draws)
    assert result.z_score <= 4  # combined Monte Carlo standard errors, of the worst scalar
    assert result.sd_error <= 0.1


def test_a_row_says_how_much_shorter_the_path_is_and_what_came_of_it():
    assert path_ratio(RECORD) == pytest.approx((10_000 / 2_000) / (500 / 1_000))
    assert outcome_of(RECORD) == "right"
    assert "| eight schools | 10 | 500 | 10,000 | 10 | right |" in made("models", [RECORD])
    assert "| jacobi | 60 to 80 | 3 to 4 | -0.50 |" in made("posteriors", [RECORD])
    timed = RECORD | {"seconds_warm_here": 0.5, "max_difference_sd": 1e-9}
    assert "| 0.5 | 2 | 2 | 1.0e-09 | right |" in made("posteriors", [timed])
    assert "| 10,000 | NUTS: R-hat 1.9 | right |" in made("models", [RECORD | {"rhat_nuts": 1.9}])
    assert outcome_of(RECORD | {"rhat": 1.2}) == (
        "R-hat 1.20, mean 2.0 errors off, standard deviation 3% off"
    )
    assert "standard deviation 20% off" in outcome_of(RECORD | {"sd_error": 0.2})
    assert outcome_of(RECORD | {"sd_error": 0.2, "source": "users"}) == "right"
    told = RECORD | {"settled": [True, False], "num_sequential_steps": [0, 9]}
    assert outcome_of(told) == (
        "right; helpers of 1 of 2 chains did not settle, told; steps one by one, told"
    )
    drawn = RECORD | {"as_on_accelerator": False, "num_sequential_steps": [9, 9]}
    assert outcome_of(drawn) == "right; steps one by one, to save time here"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(USER_MODELS))
def test_models_that_users_run_have_a_density_and_a_gradient(name):
    model, arguments = with_data(name)
    info = initialize_model(jax.random.key(0), model, model_args=arguments)
    value, gradient = jax.value_and_grad(info.potential_fn)(info.param_info.z)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::parallel_mcmc.AdaptationWarning")
def test_a_row_counts_gradients_of_both_samplers():
    record = measured(lambda: of_users("ordinal"), seed=0)
    assert record["D"] == 6 and record["settled"] == [True] * 4
    assert 0 < record["warmup_gradients"] < 1_000 < record["warmup_gradients_nuts"]
    assert 0 < record["sample_gradients"] < 1_000 < record["sample_gradients_nuts"]
    assert outcome_of(record) == "right"
    # As models whose solve takes hours.
    drawn = measured(lambda: of_users("ordinal"), 0, pm.sequential())
    same = "warmup_gradients", "exponent", "leapfrogs", "sample_gradients_nuts"
    assert {name: drawn[name] for name in same} == {name: record[name] for name in same}
    assert drawn["sample_gradients"] == 1_000 * max(drawn["leapfrogs"])
    assert drawn["min_ess"] == pytest.approx(record["min_ess"], rel=1e-6)
    assert not drawn["as_on_accelerator"] and "max_difference_sd" not in drawn
