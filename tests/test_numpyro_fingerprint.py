"""A model's arguments are told apart, whether they are known or traced."""

import enum
import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc._numpyro.fingerprint import digest, fingerprint, names

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
    assert of((jnp.sin, Y)) == of((jnp.sin, Y)) != of((jnp.cos, Y))


def test_doubles_count_to_the_last_bit():
    with jax.enable_x64(True):
        assert traced(np.float64(1)) != traced(np.nextafter(1.0, 2.0))


def test_of_vectorised_chains_each_has_its_own():
    found = jax.vmap(fingerprint)(jnp.arange(3.0))
    assert len(set(found.tolist())) == 3


class Sequence:
    """A lazy one: reading it is an error here."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        raise AssertionError("read")

    def __array__(self, *args, **kwargs):
        raise AssertionError("read")


@jax.tree_util.register_pytree_node_class
class Node:
    """A pytree with something beside its leaves."""

    def __init__(self, beside):
        self.beside = beside

    def tree_flatten(self):
        return (1.0,), self.beside

    @classmethod
    def tree_unflatten(cls, beside, _):
        return cls(beside)


OPAQUE = {
    "object": object(),
    "lazy sequence": Sequence(),
    "set": {1, 2},
    "masked": np.ma.masked_array(Y, Y > 0),
    "in an object array": np.array([1, object()]),
    "method": Sequence().__len__,
    "closed over": (lambda thing: lambda x: (x, thing))(object()),
    "beside leaves": Node(object()),
}


@pytest.mark.parametrize("leaf", OPAQUE.values(), ids=OPAQUE)
def test_what_is_opaque_is_left_alone_and_never_the_same_twice(leaf):
    assert digest((Y, leaf)) is None
    assert of((Y, leaf)) != of((Y, leaf))
    traces = [jax.jit(lambda y, i=i: fingerprint((leaf, y)))(Y) for i in range(2)]
    assert traces[0] != traces[1]


class Colour(enum.Enum):
    RED, BLUE = 1, 2


def scaled(by, x=2):
    return by * x


def closing_over(thing):
    return lambda x: x + thing


itself_again = (lambda: (f := lambda: f))()
LONG = np.zeros(2000)  # its `repr` leaves numbers out
CHANGED = LONG.copy()
CHANGED[1000] = 1

DIFFERENT = {
    "number and numpy's": (1.5, np.float64(1.5)),
    "integer and number": (1, 1.0),
    "number and truth": (1, True),
    "weak and strong": (jnp.asarray(1.0), jnp.asarray(1.0, jnp.float32)),
    "minus one and two beside leaves": (Node(-1), Node(-2)),  # of equal `hash`
    "long arrays beside leaves": (Node(LONG), Node(CHANGED)),
    "members": (Colour.RED, Colour.BLUE),
    "partials": (functools.partial(scaled, 1), functools.partial(scaled, 2)),
    "strings in arrays": (np.array(["a", None], object), np.array(["b", None], object)),
    "functions that look alike": (closing_over(1), closing_over(1)),
    "tuple and list": ((1, 2), [1, 2]),
    "nested": ((1, (2,), 3), (1, (2, 3))),
}


@pytest.mark.parametrize("one, other", DIFFERENT.values(), ids=DIFFERENT)
def test_what_is_known_is_compared_by_what_it_holds(one, other):
    assert digest(one) == digest(one) is not None
    assert digest(other) == digest(other) is not None
    assert digest(one) != digest(other) and of(one) != of(other)


def test_data_have_the_same_fingerprint_in_every_process():
    before = [digest(tree) for tree in ARGUMENTS.values()]
    names.clear()  # what a new process begins with
    assert [digest(tree) for tree in ARGUMENTS.values()] == before


def test_a_function_is_what_it_closes_over_too():
    data = np.zeros(3)
    function = closing_over(data)
    before = digest(function)
    data[1] = 1
    assert before is not None and digest(function) != before
    assert digest(itself_again) == digest(itself_again) is not None  # it closes over itself
    assert digest(scaled) == digest(scaled)


def test_a_function_at_the_address_of_one_that_is_gone_is_another():
    found = set()
    for _ in range(50):  # each is gone before the next is made
        found.add(digest(lambda x: x))
        gc.collect(0)
    assert len(found) == 50
