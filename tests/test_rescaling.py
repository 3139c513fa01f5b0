"""rescaling.py: residuals are uniform and independent if the probabilities are right, and show it if they are not."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from neulvm_neo.rescaling import time_rescaling

N_BINS = 6000


def refractory(chance, rng, n_bins=N_BINS, n_neurons=3, silent=2):
    """Spikes of neurons that fire with probability `chance` (n_bins,) but never within `silent` bins of their last
    spike; and the probabilities given the past."""
    spikes, predicted = np.zeros((n_bins, n_neurons)), np.zeros((n_bins, n_neurons))
    last = np.full(n_neurons, -silent - 1)
    for t in range(n_bins):
        predicted[t] = np.where(t - last > silent, chance[t], 0.0)
        spikes[t] = rng.random(n_neurons) < predicted[t]
        last[spikes[t] > 0] = t
    return spikes, predicted


@pytest.mark.parametrize("height", [0.02, 0.3])
def test_right_probabilities_give_uniform_independent_residuals_however_coarse_the_bins(height):
    rng = np.random.default_rng(3)
    chance = height * (1 + np.sin(np.arange(N_BINS) / 100))
    p_values, serial = [], []
    for _ in range(20):
        spikes, predicted = refractory(chance, rng)
        found = time_rescaling([spikes], [predicted], rng)
        p_values += [*found.p_value, *found.count_p_value]
        serial += [*found.serial_p_value]
        assert_allclose(found.expected, spikes.sum(axis=0), rtol=0.35)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert stats.kstest(serial, "uniform").pvalue > 0.01


def test_without_the_random_place_in_the_bin_coarse_bins_would_look_wrong():
    rng = np.random.default_rng(0)
    p = np.full((N_BINS, 1), 0.3)
    spikes = rng.random(p.shape) < p

    class AtTheEnd:
        def random(self, size):
            return np.ones(size)

    found, late = time_rescaling([spikes], [p], rng), time_rescaling([spikes], [p], AtTheEnd())
    assert found.p_value > 1e-3
    assert late.distance > 3 * late.band


def test_wrong_rates_and_a_forgotten_refractory_period_are_noticed():
    rng = np.random.default_rng(1)
    chance = np.full(N_BINS, 0.1)
    spikes, predicted = refractory(chance, rng)
    too_low = time_rescaling([spikes], [0.6 * predicted], rng)
    assert np.all(too_low.distance > too_low.band) and np.all(too_low.count_p_value < 1e-6)
    assert all(u.mean() < 0.45 for u in too_low.residuals)
    constant = np.broadcast_to(spikes.mean(axis=0), spikes.shape)
    memoryless = time_rescaling([spikes], [constant], rng)
    assert np.all(memoryless.distance > memoryless.band)
    assert np.all(memoryless.count_p_value > 0.01)  # the rates are right


def test_slow_changes_that_the_model_does_not_follow_make_successive_residuals_alike():
    rng = np.random.default_rng(2)
    chance = 0.1 * (1 + 0.7 * np.sign(np.sin(np.arange(N_BINS) / 400)))
    spikes, _ = refractory(chance, rng, silent=0)
    found = time_rescaling([spikes], [np.full(spikes.shape, 0.1)], rng, groups=[range(3)])
    assert found.serial_correlation[0] > 0.06 and found.serial_p_value[0] < 1e-3


def test_many_short_trials_with_few_spikes_are_not_biased():
    rng = np.random.default_rng(4)
    p = [np.full((20, 8), 0.05) for _ in range(150)]
    spikes = [rng.random(trial.shape) < trial for trial in p]
    neurons = time_rescaling(spikes, p, rng)
    everyone = time_rescaling(spikes, p, rng, groups=[range(8)])
    assert np.all(neurons.p_value > 1e-3)
    assert everyone.p_value > 1e-3
    assert len(everyone.residuals[0]) == everyone.n_spikes[0] == sum(trial.sum() for trial in spikes)
    # dropping the cut-short interval of every trial instead prefers short ones
    dropped = [
        u for trial, chances in zip(spikes, p, strict=True) for u in time_rescaling([trial], [chances], rng).residuals
    ]
    assert np.concatenate(dropped).mean() < 0.42


def test_a_silent_neuron_has_no_residual_but_a_count():
    rng = np.random.default_rng(5)
    p = np.full((1000, 2), 0.02)
    spikes = rng.random(p.shape) < p
    spikes[:, 1] = False
    found = time_rescaling([spikes], [p], rng)
    assert found.residuals[1].size == 0 and np.isnan(found.distance[1]) and np.isnan(found.serial_correlation[1])
    assert found.count_p_value[1] == pytest.approx(2 * 0.98**1000)
    assert found.expected[1] == pytest.approx(20)


def test_a_spike_that_was_impossible_is_an_interval_of_no_length():
    spikes, p = np.array([[1.0], [1.0], [0.0]]), np.array([[0.5], [0.0], [0.5]])
    found = time_rescaling([spikes], [p], np.random.default_rng(0))
    assert found.residuals[0][1] == 0


def test_a_seed_gives_the_same_residuals_and_nothing_given_is_changed():
    spikes, p = np.eye(4), np.full((4, 4), 0.25)
    kept = p.copy()
    first, second = (time_rescaling([spikes], [p], np.random.default_rng(7)) for _ in range(2))
    for a, b in zip(first.residuals, second.residuals, strict=True):
        assert_array_equal(a, b)
    assert_array_equal(p, kept)


@pytest.mark.parametrize("p, message", [(np.full((4, 1), 0.5), "shape"), (np.full((4, 4), 1.5), "from 0 to 1")])
def test_what_is_no_probability_of_every_neuron_and_bin_is_refused(p, message):
    with pytest.raises(ValueError, match=message):
        time_rescaling([np.eye(4)], [p], np.random.default_rng(0))
