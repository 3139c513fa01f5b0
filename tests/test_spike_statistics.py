"""spike_statistics.py: against Elephant's own functions, SciPy's, and processes whose statistics are known."""

import elephant.spike_train_correlation
import elephant.statistics
import neo
import numpy as np
import pytest
import quantities as pq
from elephant.conversion import BinnedSpikeTrain
from numpy.testing import assert_allclose

from neulvm_neo.spike_statistics import BANDS, mean_of, spike_statistics

BIN = 0.002


def bernoulli(rates, duration=20.0, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((round(duration / BIN), len(rates))) < np.asarray(rates) * BIN).astype(float)


def measure(counts, labels, n_populations=None, width=0.05):
    labels = np.asarray(labels)
    counts = counts if isinstance(counts, list) else [counts]
    return spike_statistics(counts, labels, n_populations or labels.max() + 1, BIN, width)


def test_independent_bernoulli_neurons_are_poisson_like_throughout():
    found = measure(bernoulli([20.0] * 6, duration=60), [0, 0, 0, 1, 1, 1])
    assert_allclose(found.rates, 20, rtol=0.15)
    assert_allclose(found.cv, 1, atol=0.12)
    assert_allclose(found.lv, 1, atol=0.12)
    assert_allclose(found.spectrum.mean(axis=0), 1, atol=0.05)
    assert_allclose(found.band_power[-1], 1, atol=0.15)
    assert_allclose(found.correlation, 0, atol=0.04)
    assert found.frequencies[0] == pytest.approx(0.5) and found.frequencies[-1] == pytest.approx(250)


def test_values_are_those_of_elephant_for_the_same_spike_trains():
    rate = 30 * (1 + np.sin(np.arange(5000) / 200))[:, None]
    counts = (np.random.default_rng(1).random((5000, 2)) < rate * BIN).astype(float)
    found = measure(counts, [0, 0])
    trains = [neo.SpikeTrain((np.flatnonzero(column) + 0.5) * BIN, units="s", t_stop=5000 * BIN) for column in counts.T]
    intervals = [elephant.statistics.isi(train).magnitude for train in trains]
    assert_allclose(found.cv, [elephant.statistics.cv(x) for x in intervals])
    assert_allclose(found.lv, [elephant.statistics.lv(x) for x in intervals])
    binned = BinnedSpikeTrain(trains, bin_size=50 * pq.ms)
    r = elephant.spike_train_correlation.correlation_coefficient(binned)
    assert found.correlation[0, 0] == pytest.approx(r[0, 1])


def test_a_rhythm_is_found_in_its_band_and_in_its_population_only():
    time = np.arange(20000) * BIN
    rates = np.stack([25 * (1 + np.sin(2 * np.pi * 10 * time)), np.full(time.size, 25.0)], axis=1)
    rates = np.repeat(rates, 5, axis=1)
    counts = (np.random.default_rng(2).random(rates.shape) < rates * BIN).astype(float)
    found = measure(counts, [0] * 5 + [1] * 5)
    assert found.frequencies[found.spectrum[:, 0].argmax()] == pytest.approx(10)
    assert BANDS[int(found.band_power[:, 0].argmax())] == (8.0, 13.0)
    assert np.all(found.band_power[:, 1] < 1.4)
    assert found.correlation[0, 0] > 0.2 and abs(found.correlation[0, 1]) < 0.05


def test_intervals_do_not_reach_across_trials():
    trial = np.zeros((100, 1))
    trial[::10] = 1
    joined = measure([np.concatenate([trial[:75]] * 4)], [0])
    apart = measure([trial[:75]] * 4, [0])
    assert joined.cv[0] > 0 and apart.cv[0] == apart.lv[0] == 0


def test_trials_of_different_length_count_by_their_length():
    long, short = np.ones((300, 1)), np.zeros((100, 1))
    assert measure([long, short], [0]).rates[0] == pytest.approx(0.75 / BIN)
    counts = bernoulli([10.0, 10.0], duration=8)
    assert_allclose(measure([counts[:1500], counts[1500:]], [0, 0]).rates, measure(counts, [0, 0]).rates)


def test_what_too_few_spikes_do_not_tell_is_nan_and_nothing_is_warned_of():
    counts = np.zeros((2000, 3))
    counts[100:104, 1] = 1  # three intervals
    found = measure(counts, [0, 0, 1], n_populations=3)
    assert np.isnan(found.cv).all() and np.isnan(found.lv).all()
    assert found.rates.tolist() == [0, 1, 0]
    assert np.isnan(found.correlation).all()
    assert np.isfinite(found.spectrum[:, 0]).all() and np.isnan(found.spectrum[:, 1:]).all()


def test_short_trials_leave_out_the_rhythms_that_they_do_not_hold():
    found = measure([bernoulli([20.0], duration=0.1, seed=s) for s in range(30)], [0])
    assert np.isnan(found.band_power[:2]).all()  # a trial of 100 ms resolves 10 Hz
    assert np.isfinite(found.band_power[2:]).all()


def test_a_mean_leaves_out_what_is_not_known():
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    assert_allclose(mean_of(values, axis=0), [2.0, np.nan])
    assert np.isnan(mean_of(np.array([])))
