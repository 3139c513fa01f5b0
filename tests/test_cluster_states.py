"""Cluster states: how clusters are counted, spectra of known trains, and the paper's states on short runs."""

import json

import numpy as np
import pytest

from neulvm_neo.experiments import cluster_states
from neulvm_neo.experiments.registry import plain


@pytest.fixture(scope="module")
def small():
    """Three couplings for 4 s, as they are read back from a file."""
    said, kept = [], []
    found = cluster_states.run(
        seed=1, quick=True, say=said.append, checkpoint=kept.append, sizes=((57.5, 60.5, 64.0), 4.0)
    )
    assert len(said) == len(kept) == 3 and kept[0]["J"] == [57.5]
    return json.loads(json.dumps(plain(found), allow_nan=False))


def volleys(m, n_neurons=60, period=42, n_bins=1000):
    """Counts of m equal groups that fire in turn, each neuron every `period` bins."""
    phase = np.arange(n_bins) % period
    return np.isin(phase, np.arange(m) * period // m) * float(n_neurons // m)


def test_clusters_are_volleys_per_spike_of_a_neuron():
    assert [cluster_states.n_clusters(volleys(m, period=14 * m), 60) for m in (1, 2, 3, 4)] == [1, 2, 3, 4]


def test_short_windows_are_counted_alike():
    assert cluster_states.n_clusters(volleys(4, period=50, n_bins=200), 60) == 4


def test_silence_and_broken_ratios_are_no_cluster_states():
    assert cluster_states.n_clusters(np.zeros(1000), 60) == 0
    uneven = volleys(1, period=14) * 0.4  # every volley takes 40 % of the neurons: 2.5 volleys per spike
    assert cluster_states.n_clusters(uneven, 60) is None


def test_a_regular_train_has_power_at_its_rate_and_a_poisson_train_everywhere():
    frequencies, power = cluster_states.spike_train_spectrum([np.arange(0, 20000, 25)], 20000)
    assert frequencies[power.argmax()] in (40.0, 80.0) and np.isin(40.0, frequencies)
    assert power[frequencies == 40.0] > 100 * np.median(power)
    rng = np.random.default_rng(1)
    trains = [np.flatnonzero(rng.random(20000) < 0.03) for _ in range(50)]
    _, power = cluster_states.spike_train_spectrum(trains, 20000)
    assert power.mean() == pytest.approx(30 * (1 - 0.03), rel=0.05)  # Hz: the rate, less what one spike per bin costs


def test_the_coupling_decides_between_silence_two_clusters_and_synchrony(small):
    assert small["J"] == [57.5, 60.5, 64.0]
    assert small["cluster_number"] == [0, 2, 1]
    assert small["highest_silent_J"] == 57.5
    assert small["rate"][0] == 0 and 30 < small["rate"][1] < 45 and 65 < small["rate"][2] < 90


def test_the_spectrum_has_the_rate_of_a_neuron_as_its_fundamental(small):
    frequencies = np.array(small["frequencies"])
    for i in (1, 2):
        power = np.array(small["spectra"][i])
        first = frequencies[frequencies < 1.3 * small["rate"][i]][power[frequencies < 1.3 * small["rate"][i]].argmax()]
        assert first == pytest.approx(small["rate"][i], abs=2.0)


def test_the_same_seed_gives_the_same_states(small):
    again = cluster_states.run(seed=1, quick=True, sizes=((57.5, 60.5, 64.0), 4.0), n_jobs=2)
    assert plain(again)["spectra"] == small["spectra"]


def test_the_figure_says_how_many_clusters_and_the_summary_what_is_not_as_published(small):
    sheet = cluster_states.figure(small)
    assert {"silent", "2", "1"} <= {text.get_text() for axes in sheet.axes for text in axes.texts}
    lines = cluster_states.summary(small)
    assert lines[0].startswith("Silent up to 57.5")
    other = small | {"cluster_number": [0, 4, 1], "highest_silent_J": None}
    assert "4 at 60.5 mV" in cluster_states.summary(other)[0]
