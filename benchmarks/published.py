"""Posteriors whose moments are known: where they are read, and how draws compare with them.

The data and the summaries of reference draws lie in two folders beside the German credit data that
are not part of this repository.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import effective_sample_size

from benchmarks.inference_gym import INFERENCE_GYM
from benchmarks.posteriordb import POSTERIORDB


class Posterior(NamedTuple):
    """One model with its arguments, and moments to hold draws against, by scalar, or none.

    Of a model that was written anew for the sampler, ``num_gradients`` is what that took, one after
    the other, and ``sites_of`` leads from draws of its sites to those of the users' model.
    ``options`` are those of `pm.ParallelHMC`.
    """

    source: str
    model: Callable
    arguments: tuple
    reference: dict[str, dict[str, float]] | None
    thinning: int | str = 1
    num_gradients: int = 0
    sites_of: Callable[[dict], dict] = dict
    options: Mapping[str, Any] = MappingProxyType({})


def read(name: str, data: Path) -> Posterior:
    source = "posteriordb" if name in POSTERIORDB else "inference gym"
    folder = data.parent / source.replace(" ", "_")
    file = folder / f"{name}.json"
    if not file.is_file():
        raise FileNotFoundError(f"it is not in {folder}; give --data")
    found = json.loads(file.read_text())
    if name in POSTERIORDB:
        arrays = {
            key: jnp.asarray(value, float) if isinstance(value, list) else value
            for key, value in found["data"].items()
        }
        return Posterior(source, POSTERIORDB[name], (arrays,), found["reference"])
    model, arguments = INFERENCE_GYM[name](found["data"], folder)
    return Posterior(source, model, arguments, found["reference"])


def scalars(samples: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Draws by the names of the reference: ``beta[1]`` is the first entry of ``beta``."""
    for name, draws in samples.items():
        draws = np.asarray(draws)
        if draws.ndim == 2:
            yield name, draws
        else:
            draws = draws.reshape(*draws.shape[:2], -1)
            for i in range(draws.shape[-1]):
                yield f"{name}[{i + 1}]", draws[..., i]


class Errors(NamedTuple):
    """Of the worst scalar.

    Attributes:
        z_score: largest |mean - reference| in combined Monte Carlo standard errors.
        sd_error: largest relative difference of a standard deviation.
        min_ess: smallest effective sample size.
    """

    z_score: float
    sd_error: float
    min_ess: float


def against_reference(reference: dict[str, Any], draws: dict[str, np.ndarray]) -> Errors:
    """Draws ``(chains, draws)`` by name against the summaries of reference draws."""
    z_scores, sd_errors, sizes = [], [], []
    for name, known in reference.items():
        size = effective_sample_size(draws[name])
        error = np.hypot(draws[name].std() / np.sqrt(size), known["mcse_mean"])
        z_scores.append(abs(draws[name].mean() - known["mean"]) / error)
        sd_errors.append(abs(draws[name].std() / known["sd"] - 1))
        sizes.append(size)
    return Errors(float(np.max(z_scores)), float(np.max(sd_errors)), float(np.min(sizes)))
