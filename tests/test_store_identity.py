"""What tells one stored run from another, in this process and in others."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest

import parallel_mcmc as pm
from parallel_mcmc._store import identity

pty = pytest.importorskip("pty", reason="needs the terminals of a POSIX system")

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from parallel_mcmc._store import identity

data = {"b": np.arange(3.0), "a": jnp.ones((2, 2))}

@jax.jit
def inner(x):
    return jnp.where(x > 0, jnp.linalg.cholesky(data["a"] + 3 * jnp.eye(2))[0, 0], data["b"] @ x)

def outer(x):
    start = jax.scipy.special.betainc(1.0, 2.0, 0.3)
    return jax.lax.fori_loop(0, 3, lambda i, y: y + inner(x).sum(), start)

print(identity.program(jax.value_and_grad(outer), jnp.arange(3.0)), identity.values(data))
"""


def in_a_process(script, terminal=False, **environment):
    command, env = [sys.executable, "-c", script], {**os.environ, **environment}
    if not terminal:
        return subprocess.run(command, env=env, capture_output=True, text=True).stdout.split()
    ours, theirs = pty.openpty()
    subprocess.run(command, env=env, stdout=theirs)
    os.close(theirs)
    return os.read(ours, 1000).decode().split()


def test_it_is_the_same_in_another_process_with_or_without_a_terminal():
    expected = in_a_process(SCRIPT, PYTHONHASHSEED="1")
    assert len(expected) == 2
    assert in_a_process(SCRIPT, PYTHONHASHSEED="2") == expected
    assert in_a_process(SCRIPT, terminal=True, PYTHONHASHSEED="3") == expected


def test_names_of_functions_do_not_count():
    @jax.jit
    def one(x):
        return 2 * x

    @jax.jit
    def another(y):
        return 2 * y

    assert identity.program(one, 1.0) == identity.program(another, 1.0)


def test_names_of_results_do_count():
    def named(name):
        return identity.program(lambda x: {name: x}, 1.0)

    assert named("mu") != named("theta")


def nested(data):
    def body(carry, x):
        return jax.lax.cond(carry > 0, lambda: carry + data[0], lambda: carry - x), None

    return lambda x: jax.lax.scan(body, x, jnp.zeros(2))[0]


@pytest.mark.parametrize(
    "make", [nested, lambda data: lambda x: x * data[1]], ids=["nested", "own"]
)
def test_data_count_wherever_they_are(make):
    found = {identity.program(make(np.array(data)), 1.0) for data in ([1.0, 2], [1, 3], [2, 3])}
    assert len(found) > 1
    assert identity.program(make(np.ones(2)), 1.0) == identity.program(make(np.ones(2)), 2.0)


@pytest.mark.parametrize(
    "value, other",
    [
        (np.float32(0.1), np.float32(0.7)),
        ([("a",)], [("b",)]),
        ({"a": np.zeros(2)}, {"a": np.ones(2)}),
        (None, False),
        (1, 1.0),
        (
            numpyro.infer.init_to_value(values={"mu": 0.0}),
            numpyro.infer.init_to_value(values={"mu": 9.0}),
        ),
        (numpyro.infer.init_to_uniform, functools.partial(numpyro.infer.init_to_uniform, radius=1)),
    ],
    ids=["number", "list", "array", "none", "type", "values", "radius"],
)
def test_options_count(value, other):
    assert identity.option(value) != identity.option(other)
    assert identity.option(value) == identity.option(value)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(pm.StoreError, match="option of type object"):
        identity.option(object())
