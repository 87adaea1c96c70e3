"""A model's arguments are told apart, whether they are known or traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.interop.numpyro_fingerprint import fingerprint

Y = np.array([[0.5, -1.5], [2.0, 0.0]], np.float32)
KEY = jax.random.key(0)

# Trees of the same shapes, of which no two are the same data.
ARRAYS = {
    "as it is": (Y, {"n": np.arange(3)}),
    "one number": (np.where(Y == 2, 2.0000002, Y), {"n": np.arange(3)}),
    "two signs": (np.where(Y == 0, Y, -Y), {"n": np.arange(3)}),
    "negative zero": (np.where(Y == 0, -0.0, Y), {"n": np.arange(3)}),
    "transposed": (Y.T, {"n": np.arange(3)}),
    "an integer": (Y, {"n": np.arange(3)[::-1]}),
}
ARGUMENTS = ARRAYS | {
    "flat": (Y.ravel(), {"n": np.arange(3)}),
    "other dtype": (Y.astype(np.float16), {"n": np.arange(3)}),
    "other order": ({"n": np.arange(3)}, Y),
    "other name": (Y, {"m": np.arange(3)}),
    "complex": (Y + 0j, {"n": np.arange(3)}),
    "boolean": (Y > 0, {"n": np.arange(3)}),
    "key": (KEY, Y),
    "other key": (jax.random.key(1), Y),
    "nothing": (),
    "none": (None,),
}


def of(tree):
    return int(fingerprint(tree))


def traced(tree):
    return int(jax.jit(fingerprint)(tree))


@pytest.mark.parametrize(
    "find, trees", [(of, ARGUMENTS), (traced, ARRAYS)], ids=["known", "traced"]
)
def test_different_data_have_different_fingerprints_and_equal_data_the_same(find, trees):
    found = [find(tree) for tree in trees.values()]
    assert len(set(found)) == len(trees)
    copy = jax.tree.map(np.copy, ARRAYS["as it is"])
    assert find(copy) == found[0]


PAIRS = [
    (KEY, jax.random.key(1)),
    (np.array([1j]), np.array([-1j])),
    (np.array([True]), np.array([False])),
    (np.zeros(2, np.float16), np.array([0, 1], np.float16)),
    (3, 4),
]


@pytest.mark.parametrize("one, other", PAIRS, ids=["key", "complex", "bool", "half", "int"])
def test_every_type_can_be_traced(one, other):
    assert traced(one) != traced(other)


def test_strings_and_objects_beside_arrays_count():
    assert of(("centred", Y)) == of(("centred", Y.copy())) != of(("non-centred", Y))
    with_string = [jax.jit(lambda y, s=s: fingerprint((s, y)))(Y) for s in ("a", "b", "a")]
    assert with_string[0] == with_string[2] != with_string[1]
    assert of((object(), Y)) != of((object(), Y))
    assert of((jnp.sin, Y)) == of((jnp.sin, Y))


def test_doubles_count_to_the_last_bit():
    with jax.enable_x64(True):
        assert traced(np.float64(1)) != traced(np.nextafter(1.0, 2.0))


def test_of_vectorised_chains_each_has_its_own():
    found = jax.vmap(fingerprint)(jnp.arange(3.0))
    assert len(set(found.tolist())) == 3
