"""Random histories: as many neurons as there are, firing as they should, whatever the clusters."""

import numpy as np
import pytest

from neulvm_neo import discretization
from neulvm_neo.experiments.circuits import single_population, winner_take_all
from neulvm_neo.inference import histories
from neulvm_neo.kernels import mesoscopic
from neulvm_neo.likelihood import Observation
from neulvm_neo.parameters import parameters_of


def settle(circuit, bin_size, scheme, rates, n_histories=200, clusters=True, seed=0):
    step = discretization.discretize(parameters_of(circuit), bin_size, scheme)
    windows = discretization.age_windows(step)
    drawn = histories.draw(np.random.default_rng(seed), np.atleast_2d(rates), n_histories, bin_size, clusters)
    decay = discretization.decay_table(step, windows)[0]
    c = mesoscopic.constants(step, windows)
    return step, windows, drawn, histories.settle(drawn, c, decay, np.zeros(n_histories, dtype=np.int64), windows)


@pytest.mark.parametrize(
    "circuit, bin_size, scheme, rates",
    [(single_population(), 0.001, "euler", [20.0]), (winner_take_all(), 0.004, "second-order", [18.8, 6.2, 24.6])],
)
def test_cohorts_and_free_neurons_are_the_whole_population(circuit, bin_size, scheme, rates):
    step, windows, drawn, starts = settle(circuit, bin_size, scheme, rates)
    assert np.any(drawn.n_clusters > 0) and np.any(drawn.n_clusters == 0)
    for k, window in enumerate(windows):
        mass = (starts.n[:, k] * starts.S[:, k])[:, starts.n.shape[2] - window :].sum(axis=1) + starts.free[:, k, 0]
        np.testing.assert_allclose(mass, step.n_neurons[k], rtol=2e-3)
    assert np.all(starts.n >= 0)


def test_an_asynchronous_history_goes_on_at_its_rate():
    """The first expected counts of an uncoupled population are those of its past."""
    circuit = single_population()
    for rate in (5.0, 20.0, 60.0):
        step, windows, drawn, starts = settle(circuit, 0.001, "euler", [rate], n_histories=1, clusters=False)
        own = starts.S[0, 0], starts.L[0, 0]
        assert np.all(drawn.n_clusters == 0)
        assert starts.n[0, 0] == pytest.approx(600 * rate * 0.001)
        # renewal: the mean interval is the sum of the survivals
        beyond = starts.free[0, 0, 0] / (600 * rate * 0.001)
        assert own[0].sum() + beyond == pytest.approx(1 / (rate * 0.001), rel=1e-4)


def test_clusters_come_once_per_period_and_as_often_as_they_are_many():
    _, windows, drawn, starts = settle(single_population(), 0.001, "euler", [20.0])
    length = int(windows[0])
    for i in np.flatnonzero(drawn.n_clusters[:, 0] > 1)[:40]:
        period = 1000.0 / drawn.rate[i, 0]
        n = starts.n[i, 0]
        power = np.abs(np.fft.rfft(n - n.mean())) ** 2
        loudest = np.fft.rfftfreq(length)[np.argmax(power)] * period
        # a multiple of the neurons' own frequency: the number of clusters, unless unequal sizes make a part stand out
        assert loudest == pytest.approx(round(loudest), abs=0.25)
        assert n[-int(period) :].sum() == pytest.approx(600, rel=0.15)


def test_the_same_seed_gives_the_same_histories():
    first, second = (settle(winner_take_all(), 0.004, "second-order", [18, 6, 24])[3] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_half_of_the_histories_have_the_rate_with_which_the_trial_begins():
    counts = np.zeros((1000, 2))
    counts[[3, 40, 70], [0, 1, 0]] = 1.0  # 3 spikes in 2 neurons · 0.1 s
    counts[200:, 0] = 1.0
    observation = Observation.from_counts(counts, np.zeros(2, dtype=int), 2, np.ones(2))
    rates = np.array([[20.0, 7.0]])
    opening = histories.opening(observation, rates, 0.001)
    assert opening.n_spikes.tolist() == [3.0, 0.0] and np.allclose(opening.exposure, [0.2, 0.0])
    drawn = histories.draw(np.random.default_rng(0), rates, 20_000, 0.001, clusters=False, opening=opening)
    own = drawn.rate[:, 0] != 20.0
    assert abs(own.mean() - histories.AS_IT_BEGINS) < 0.02
    # a Gamma distribution with shape 3.5 and rate 0.2 s
    assert abs(drawn.rate[own, 0].mean() - 17.5) < 0.3
    assert abs(drawn.rate[own, 0].std() - 3.5**0.5 / 0.2) < 0.3
    assert np.all(drawn.rate[:, 1] == 7.0)  # nothing was recorded of the other
