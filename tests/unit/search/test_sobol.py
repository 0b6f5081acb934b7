"""Our Sobol sequence is SciPy's, without SciPy."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import qmc

from sweepd.search import sobol


@pytest.mark.parametrize("d", [1, 2, 7, 40, sobol.MOST_D])
@pytest.mark.parametrize("seed", [0, 5])
def test_points_are_those_of_scipy_to_the_bit(d, seed):
    theirs = qmc.Sobol(d, scramble=True, rng=np.random.default_rng(seed)).random(256)

    ours = [sobol.scrambled(d, start=start, n=64, seed=seed) for start in (0, 64, 128, 192)]

    assert np.array_equal(np.concatenate(ours), theirs)


def test_the_process_that_hands_out_needs_no_scipy():
    code = (
        "import sys\n"
        "from sweepd.engine.computing import is_instant\n"
        "from sweepd.search import Taken, filler\n"
        "from sweepd.spec import read_definition\n"
        "space = read_definition('{method: bayes, metric: {name: a},"
        " parameters: {x: {min: 0.0, max: 1.0}}}').definition.space\n"
        "assert not is_instant('bayes')\n"
        "assert filler(space, Taken(space), index=5, seed=1)\n"
        "assert 'scipy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
