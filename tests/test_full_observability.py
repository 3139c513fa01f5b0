"""The rival that takes the recorded neurons for the whole population."""

import numpy as np
import pytest

from neulvm_neo.experiments import connectivity, hidden_fraction
from neulvm_neo.experiments.full_observability import coupling_from_activity, naive_coupling, smoothed_counts


@pytest.fixture(scope="module")
def trial():
    return hidden_fraction.trial(1)


def test_a_known_activity_gives_the_coupling(trial):
    found = coupling_from_activity(trial.n.astype(float), seed=1, n_starts=10)
    assert found.J == pytest.approx(trial.J, abs=0.3)
    assert 0 < found.agreement <= 1


def test_it_is_the_maximum_of_its_likelihood_over_all_couplings(trial):
    n = smoothed_counts(trial.counts[:, :10])
    found = coupling_from_activity(n, seed=1, n_starts=40)
    others = [coupling_from_activity(n, seed=seed, n_starts=10) for seed in (2, 3)]
    assert found.log_likelihood >= max(other.log_likelihood for other in others) - 1e-3


def test_more_starts_are_never_worse(trial):
    n = smoothed_counts(trial.counts[:, :2])
    few, more = (coupling_from_activity(n, seed=5, n_starts=k) for k in (3, 12))
    assert more.log_likelihood >= few.log_likelihood


def test_it_is_right_where_all_but_one_are_recorded_and_wrong_where_two_are(trial):
    everybody, two = (trial._replace(counts=trial.counts[:, :q]) for q in (599, 2))
    assert abs(naive_coupling(everybody, seed=1, n_starts=20).J - trial.J) < 0.5
    assert abs(naive_coupling(two, seed=1, n_starts=20).J - trial.J) > 1.0


def test_smoothed_spikes_are_scaled_to_the_population():
    counts = np.zeros((400, 2))
    counts[100, 0] = counts[300, 1] = 1.0
    smoothed = smoothed_counts(counts)
    assert smoothed.shape == (400, 1)
    assert smoothed[100] == smoothed[300] == smoothed.max()
    # each of the two spikes stands for 300; elsewhere the least rate of 0.1 Hz, which is 0.06 spikes per bin
    assert smoothed.sum() == pytest.approx(600, abs=0.06 * 400)
    width = np.sqrt(np.sum((np.arange(90, 111) - 100) ** 2 * smoothed[90:111, 0]) / smoothed[90:111].sum())
    assert width == pytest.approx(1.4, abs=0.3)


def test_the_samples_are_of_one_trial_and_differ():
    a, b = hidden_fraction.data_sets(3, 5, n_samples=2)
    assert np.array_equal(a.n, b.n) and not np.array_equal(a.counts, b.counts)
    columns = hidden_fraction.observed_neurons(3, 5, 1)
    assert np.array_equal(b.counts, hidden_fraction.trial(3).counts[:, columns])
    assert isinstance(a, connectivity.DataSet) and a.counts.shape == (1000, 5)
