"""Times of the two simulators, for comparing two commits (see `test_speed_likelihood`)."""

import pytest
import quantities as pq

from neulvm_neo import simulate_mesoscopic, simulate_microscopic
from neulvm_neo.experiments.circuits import winner_take_all


@pytest.mark.parametrize("bin_size", [4, 2, 0.5], ids=lambda bin_size: f"{bin_size} ms")
def test_speed_of_the_mesoscopic_simulation(benchmark, bin_size):
    run = benchmark(
        simulate_mesoscopic, winner_take_all(), duration=2 * pq.s, bin_size=bin_size * pq.ms, random_state=1
    )
    assert len(run.n) == 2000 / bin_size


@pytest.mark.parametrize("n_recorded", [None, 3], ids=["counts", "9 neurons"])
def test_speed_of_the_microscopic_simulation(benchmark, n_recorded):
    run = benchmark(simulate_microscopic, winner_take_all(), duration=1 * pq.s, n_recorded=n_recorded, random_state=1)
    assert len(run.n) == 500
