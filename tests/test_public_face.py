"""What `import parallel_mcmc as pm` shows, and how it prints."""

import pickle
import re

import jax
import jax.numpy as jnp
import pytest

import parallel_mcmc as pm

SOLVERS = {
    "deer()": pm.deer(),
    "deer(max_norm=None)": pm.deer(max_norm=None),
    "deer(max_norm=None, tol=0.001)": pm.deer(max_norm=None, tol=1e-3),
    "jacobi(max_iterations=1000)": pm.jacobi(max_iterations=1_000),
    "quasi_deer()": pm.quasi_deer(),
    "quasi_deer(linearize=hutchinson(num_probes=2))": pm.quasi_deer(pm.hutchinson(2)),
    "block_quasi_deer(linearize=exact_blocks())": pm.block_quasi_deer(pm.exact_blocks()),
    "quasi_elk(penalty=1.0)": pm.quasi_elk(penalty=1.0),
    "elk()": pm.elk(0.01),
    "picard()": pm.picard(),
    "jacobi()": pm.jacobi(),
    "sequential()": pm.sequential(),
    "auto(platform='gpu')": pm.auto("gpu"),
    "auto(tol=0.001, max_iterations=50)": pm.auto(tol=1e-3, max_iterations=50),
}


def test_it_shows_its_public_names_and_no_other():
    assert dir(pm) == sorted(pm.__all__)
    assert all(getattr(pm, name) is not None for name in pm.__all__)
    with pytest.raises(AttributeError, match="parallel_mcmc"):
        pm.no_such_name  # noqa: B018


@pytest.mark.parametrize("written", SOLVERS)
def test_a_solver_prints_as_the_call_that_makes_it_and_survives_pickle(written):
    solver = SOLVERS[written]
    assert repr(solver) == written
    copy = pickle.loads(pickle.dumps(solver))
    assert copy == solver
    assert hash(copy) == hash(solver)


def test_equal_options_are_one_solver_and_others_another():
    assert pm.deer() == pm.deer(max_norm=1.0)
    assert pm.quasi_deer() == pm.quasi_deer(pm.hutchinson(1))
    assert len(set(SOLVERS.values())) == len(SOLVERS)


def test_a_trace_prints_what_is_in_it_and_how_it_was_found():
    kernel = pm.random_walk(lambda x: -(x["a"] ** 2) / 2, 1.0)
    assert repr(kernel) == "<random_walk kernel>"
    position = {"a": jnp.zeros(2)}
    trace = pm.sample(jax.random.key(0), kernel, position, 100, num_chains=2, solver=pm.picard())
    first, second = repr(trace).splitlines()
    assert first == "<Trace of 2 chains, 100 draws: a ()"
    assert re.match(r"Solved in parallel: 2 of 2 chains, [\d-]+ iterations \(picard: ", second)
    of_one_chain = trace._replace(position={"a": trace.position["a"][0]})
    assert repr(of_one_chain).startswith("(")
    trace = pm.sample(jax.random.key(0), kernel, {"a": jnp.zeros(())}, 10, solver=pm.sequential())
    assert repr(trace.solve) == "<Run step by step>"
    assert trace.solve.summary("10 draws") == "Run step by step: 10 draws"


def test_inside_jit_a_report_prints_its_fields():
    def solve(x0):
        info = pm.solve(lambda x, u: x / 2 + u, x0, jnp.ones((4, 1)), solver=pm.jacobi()).info
        assert "num_iterations" in repr(info._asdict())
        assert repr(info).startswith("(")
        return info

    assert repr(jax.jit(solve)(jnp.zeros(1))).startswith("<Solved in parallel: ")
