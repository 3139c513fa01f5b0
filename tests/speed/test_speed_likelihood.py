"""Times of one likelihood, for comparing two commits: ``python -m pytest tests/speed --benchmark-only``.

`neulvm bench` compares with peers and with the floor; these numbers are for ``--benchmark-autosave`` and
``--benchmark-compare``. Without ``--benchmark-only`` they are skipped, since a test suite is no place for a stop-watch.
"""

import numpy as np
import pytest

from neulvm_neo.experiments import bench, measurements
from neulvm_neo.inference.particles import particle_filter
from neulvm_neo.kernels import floor
from neulvm_neo.likelihood import joint

BIN_SIZE = 0.004  # s


@pytest.fixture(scope="module")
def problem():
    """The paper's three-population example: 10 s at 4 ms, 9 recorded neurons."""
    return measurements._problem(measurements.example(duration=10.0, bin_size=BIN_SIZE, n_recorded=3, seed=1))


@pytest.mark.parametrize("window", [None, 250], ids=["default window", "250 ages"])
def test_speed_of_value_and_gradient(benchmark, problem, window):
    outcome = benchmark(joint, *problem, bin_size=BIN_SIZE, scheme=bench.SCHEME, window=window)
    assert np.isfinite(outcome.value) and np.all(np.isfinite(outcome.g_n))


@pytest.mark.parametrize("scheme", ["second-order", "exponential", "euler"])
def test_speed_of_the_forward_sweep(benchmark, problem, scheme):
    outcome = benchmark(joint, *problem, bin_size=BIN_SIZE, scheme=scheme, gradient=False)
    assert np.isfinite(outcome.value)


def test_speed_of_the_particle_filter(benchmark, problem):
    parameters, _, observation = problem
    rng = np.random.default_rng(1)
    outcome = benchmark.pedantic(
        particle_filter,
        args=(parameters, observation, observation.history_rate[None, :]),
        kwargs={"bin_size": BIN_SIZE, "rng": rng, "scheme": bench.SCHEME, "n_particles": 50},
        rounds=3,
        warmup_rounds=1,
    )
    assert np.isfinite(outcome.log_likelihood)


@pytest.mark.parametrize("kernel", [floor.two_exponentials, floor.two_library_exponentials], ids=["ours", "np.exp"])
def test_speed_of_the_exponentials(benchmark, kernel):
    a, b = np.linspace(0, 1, 1024), np.linspace(1, 2, 1024)
    benchmark(kernel, a, b, 100)
    assert np.all(a > 0) and np.all(b > 0)
