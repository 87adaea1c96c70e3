"""`ParallelHMC` with its defaults against the reference draws of two posteriors of posteriordb.

``python -m benchmarks run --suite posteriordb --float64`` runs all twelve.
"""

import pytest

import parallel_mcmc as pm
from benchmarks import posteriordb

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("x64")]


@pytest.mark.parametrize("name", ["kidiq-kidscore_momhsiq", "nes2000-nes"])
def test_means_and_standard_deviations_are_those_of_the_reference(name, data_folder):
    folder = data_folder / "posteriordb"
    if not folder.is_dir():
        pytest.skip("the posteriors are not in shared/data")
    posterior = posteriordb.load(folder, name)
    mcmc = posteriordb.sample(posterior, pm.ParallelHMC(posteriordb.MODELS[name]))
    result = posteriordb.compare(posterior, mcmc)
    assert result.z_score <= 4  # combined Monte Carlo standard errors, of the worst scalar
    assert result.sd_error <= 0.1
