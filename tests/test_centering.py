"""How far to centre a hierarchical model: what closed forms say, and which sites there are."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from numpyro.handlers import reparam, seed, substitute, trace
from numpyro.infer.util import log_density

import parallel_mcmc as pm
from parallel_mcmc._numpyro.centering import best_centered
from parallel_mcmc._numpyro.hierarchy import decentered

KEY = jax.random.key(0)


@pytest.mark.parametrize(("noise", "low", "high"), [(0.1, 0.9, 1), (1, 0.4, 0.6), (10, 0, 0.1)])
def test_the_best_is_the_share_that_data_say(noise, low, high):
    # x | y, loc, scale of a normal hierarchy; its variance is 1 - share times that of the prior.
    keys = jax.random.split(KEY, 3)
    loc, log_scale = (0.3 * jax.random.normal(key, (4_000, 3)) for key in keys[:2])
    scale, y = jnp.exp(log_scale), jnp.array([-0.5, 0, 0.5])
    share = scale**2 / (scale**2 + noise**2)
    mean, sd = loc + share * (y - loc), scale * jnp.sqrt(1 - share)
    x = mean + sd * jax.random.normal(keys[2], (4_000, 3))
    found = best_centered(x, loc, scale)
    assert found.shape == (3,)
    assert np.all((low <= found) & (found <= high)), found


def test_heavy_tails_of_a_prior_are_no_reason_to_centre():
    keys = jax.random.split(KEY, 3)
    loc, log_scale = (jax.random.normal(key, (256, 100)) for key in keys[:2])
    scale = jnp.exp(log_scale)
    found = best_centered(loc + scale * jax.random.t(keys[2], 2, (256, 100)), loc, scale)
    assert np.mean(found) < 0.05
    np.testing.assert_array_less(found, 0.5)


def test_a_location_far_from_zero_makes_no_difference():
    keys = jax.random.split(KEY, 2)
    loc = jax.random.normal(keys[0], (256, 4)).astype(jnp.float32)
    x = loc / 2 + jax.random.normal(keys[1], (256, 4)) / 2
    varying = jnp.exp(0.3 * jax.random.normal(keys[1], (256, 4))[::-1])
    for scale in (jnp.ones_like(x), varying):
        near, far = (best_centered(x + by, loc + by, scale) for by in (0, 1e3))
        np.testing.assert_allclose(near, far, atol=0.051)
    np.testing.assert_allclose(best_centered(x, loc, jnp.ones_like(x)), 0.5, atol=0.15)


def test_it_is_decentred_where_draws_say_nothing():
    none = jnp.full((16, 2), jnp.nan)
    np.testing.assert_array_equal(best_centered(none, none, none), 0)


def several(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    improper = dist.ImproperUniform(dist.constraints.real, (), ())
    shift = numpyro.sample("improper", improper) + numpyro.param("shift", 1.0)
    which = numpyro.sample("which", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    numpyro.sample("mixed", dist.Normal(jnp.where(which, mu, 3.0), 1))
    numpyro.sample("also improper", dist.Normal(shift, 1), obs=y)
    with numpyro.handlers.scale(scale=2.0):
        numpyro.sample("scaled", dist.Normal(mu, 1))
    tau = numpyro.sample("tau", dist.LogNormal(mu, 1))  # not of all real numbers
    df = numpyro.sample("df", dist.Gamma(2, 0.1))
    numpyro.sample("given", dist.Normal(jnp.array([0.0, 1.0]), 2).to_event(1))
    numpyro.sample("located", dist.Laplace(mu, 1))
    numpyro.sample("heavy", dist.StudentT(df, 0, tau).expand([4, 3]).to_event(2))
    with numpyro.plate("rows", 3, dim=-2), numpyro.plate("columns", 2, dim=-1):
        numpyro.sample("table", dist.Normal(mu, tau))

    def step(carry, _):
        return numpyro.sample("walk", dist.Normal(carry, tau)), None

    scan(step, mu, None, length=3)
    numpyro.sample("y", dist.Normal(mu, tau), obs=y)


def test_sites_are_those_that_hang_on_others_and_can_be_reached():
    config = decentered(several, KEY, (0.5,), {})
    assert set(config) == {"located", "heavy", "table"}
    assert config["heavy"].shape_params == ("df",)


def test_a_model_without_such_sites_is_left_alone():
    def model():
        numpyro.sample("x", dist.Normal(0, 1).expand([2]))

    assert pm.centering(KEY, model) == pm.Centering({}, True, 0)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_tuple_of_arguments_is_refused():
    with pytest.raises(TypeError, match=r"model_args is a tuple: of one argument `\(y,\)`"):
        pm.centering(KEY, several, jnp.ones(3))


def test_few_helpers_are_refused():
    with pytest.raises(ValueError, match="num_helpers must be at least 8"):
        pm.centering(KEY, several, (0.5,), num_helpers=4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::parallel_mcmc.AdaptationWarning")  # it is a queer posterior
def test_every_shape_is_found_and_the_posterior_stays():
    found = pm.centering(KEY, several, (0.5,), num_helpers=64)
    config = found.config
    assert 0 < found.num_gradients <= 1_000
    assert {name: one.centered.shape for name, one in config.items()} == {
        "located": (), "heavy": (4, 3), "table": (3, 2),
    }  # fmt: skip
    model = reparam(several, config=config)
    seeded = seed(substitute(model, data={"improper": 0.3}), KEY)
    sites = trace(seeded).get_trace(0.5)
    written = {n: s["value"] for n, s in sites.items() if s["type"] == "sample"}
    as_found, _ = log_density(model, (0.5,), {}, written)
    values = {name: site["value"] for name, site in sites.items()}
    as_written, _ = log_density(several, (0.5,), {}, values)
    # dx/dy = scale^(1 - centered)
    scales = {"located": 1.0, "heavy": sites["tau"]["value"], "table": sites["tau"]["value"]}
    jacobian = sum(jnp.sum((1 - config[n].centered) * jnp.log(scales[n])) for n in config)
    np.testing.assert_allclose(as_found, as_written + jacobian, rtol=1e-4)


def schools(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", len(y)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


EFFECTS = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12])


@pytest.mark.slow
def test_each_element_is_centred_by_what_is_known_of_it():
    sigma = jnp.array([0.1] * 4 + [30.0] * 4)
    found = pm.centering(KEY, schools, (EFFECTS, sigma))
    assert found.settled
    centered = found.config["theta"].centered
    assert np.all(centered[:4] > 0.9), centered
    assert np.all(centered[4:] < 0.5), centered


@pytest.mark.slow
def test_too_few_steps_are_told():
    with pytest.warns(pm.AdaptationWarning, match="`num_steps`"):
        found = pm.centering(KEY, schools, (EFFECTS, jnp.full(8, 10.0)), num_steps=60)
    assert not found.settled
