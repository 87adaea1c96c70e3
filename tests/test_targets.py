"""The four posteriors, and the file that one of them is read from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from parallel_mcmc import targets

ROW = " ".join(map(str, range(1, 25)))


def table_text(num_rows=40, num_columns=25):
    rng = np.random.default_rng(0)
    table = rng.integers(1, 9, (num_rows, num_columns))
    table[:, -1] = 1 + np.arange(num_rows) % 2
    return "\n".join("  ".join(map(str, row)) for row in table)


@pytest.fixture
def table_file(tmp_path):
    path = tmp_path / "table"
    path.write_text(table_text())
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "parallel_mcmc"


def schools(x):
    """Eight schools by SciPy, with its change of variables."""
    y = [28, 8, -3, 7, -1, 1, 18, 12]
    sigma = [15, 10, 16, 11, 9, 11, 10, 18]
    tau = np.exp(x["log_tau"])
    return (
        stats.norm.logpdf(x["mu"], 0, 5)
        + stats.halfcauchy.logpdf(tau, scale=5)
        + x["log_tau"]
        + stats.norm.logpdf(x["z"]).sum()
        + stats.norm.logpdf(y, x["mu"] + tau * x["z"], sigma).sum()
    )


def four_normals(x):
    means = [(-2, -2), (-2, 2), (2, -2), (2, 2)]
    return np.log(sum(stats.multivariate_normal.pdf(x["x"], mean) for mean in means))


def bent_normal(x):
    x1, x2 = x["x"]
    return stats.norm.logpdf(x1, 0, 10) + stats.norm.logpdf(x2, 0.03 * (x1**2 - 100), 1)


@pytest.mark.parametrize(
    "target, expected",
    [
        (targets.eight_schools, schools),
        (targets.mixture, four_normals),
        (targets.banana, bent_normal),
    ],
)
def test_log_densities_are_those_of_scipy_up_to_a_constant(x64, target, expected):
    target = target()
    rng = np.random.default_rng(1)
    points = [jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), target.position) for _ in "ab"]
    ours = [target.logdensity_fn(jax.tree.map(jnp.asarray, point)) for point in points]
    theirs = [expected(point) for point in points]
    assert ours[1] - ours[0] == pytest.approx(theirs[1] - theirs[0], rel=1e-10)


def test_the_credit_log_density_is_that_of_numpy(x64, data_folder):
    path = data_folder / "german_credit_numeric.txt"
    table = np.loadtxt(path)
    x = (table[:, :24] - table[:, :24].mean(0)) / table[:, :24].std(0)
    beta = np.random.default_rng(2).normal(size=25)
    p_bad = 1 / (1 + np.exp(-(x @ beta[:24] + beta[24])))
    expected = np.log(np.where(table[:, 24] == 2, p_bad, 1 - p_bad)).sum() - (beta**2).sum() / 2
    found = targets.german_credit(path).logdensity_fn({"beta": jnp.asarray(beta)})
    assert len(table) == 1000
    assert found == pytest.approx(expected, rel=1e-10)


def test_the_effects_of_schools_are_mu_plus_tau_z():
    x = {"mu": jnp.array(2.0), "log_tau": jnp.log(3.0), "z": jnp.arange(8.0)}
    found = targets.eight_schools().constrain(x)
    assert found.keys() == {"mu", "tau", "theta"}
    np.testing.assert_allclose(found["theta"], 2 + 3 * np.arange(8), rtol=1e-6)


@pytest.mark.parametrize("name", ["eight_schools", "german_credit", "mixture", "banana"])
def test_a_float32_position_stays_float32_in_64_bit_mode(x64, name, table_file):
    make = getattr(targets, name)
    target = make(table_file) if name == "german_credit" else make()
    position = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), target.position)
    value, grad = jax.value_and_grad(target.logdensity_fn)(position)
    of_interest = target.constrain(position)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((value, grad, of_interest))}
    assert dtypes == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n\x00",
        b"<html>Not found</html>",
        table_text(num_columns=24).encode(),
        table_text().encode() + b"\n1 2 3",
        table_text().replace("5", "nan").encode(),
        f"{ROW} 1\n{ROW} 2".encode(),  # features that do not vary
        table_text(num_columns=26).rsplit(maxsplit=1)[0].encode(),
        "\n".join(f"{line} 7" for line in table_text(num_columns=24).splitlines()).encode(),
    ],
)
def test_a_file_that_is_not_the_table_is_named_in_one_sentence(tmp_path, content):
    path = tmp_path / "something"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="something is not the numeric German credit table") as e:
        targets.german_credit(path)
    assert "\n" not in str(e.value)


def test_the_table_is_downloaded_once(table_file, cache):
    url = table_file.as_uri()
    path = targets.fetch_german_credit(url)
    assert path.parent == cache
    assert path.read_text() == table_file.read_text()
    table_file.unlink()
    assert targets.fetch_german_credit(url) == path


@pytest.mark.parametrize("cache_home", [None, ""])
def test_without_a_cache_home_the_cache_is_in_the_home_folder(
    table_file, tmp_path, monkeypatch, cache_home
):
    monkeypatch.setenv("HOME", str(tmp_path))
    if cache_home is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    path = targets.fetch_german_credit(table_file.as_uri())
    assert path == tmp_path / ".cache" / "parallel_mcmc" / "german.data-numeric"


def test_what_is_not_the_table_is_not_kept(tmp_path, cache):
    wrong = tmp_path / "wrong"
    wrong.write_text("<html>Sign in to the network</html>")
    with pytest.raises(ValueError, match="not the numeric German credit table"):
        targets.fetch_german_credit(wrong.as_uri())
    assert list(cache.iterdir()) == []


def test_a_download_that_fails_leaves_nothing(tmp_path, cache):
    with pytest.raises(OSError, match="No such file"):
        targets.fetch_german_credit((tmp_path / "nowhere").as_uri())
    assert not cache.exists()
