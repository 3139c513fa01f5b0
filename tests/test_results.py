"""results.py: population activity and fit results."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from neulvm_neo import FitResult, PopulationActivity


def activity(**kw):
    n = np.array([[2.0, 0.0], [4.0, 1.0], [0.0, 1.0]])
    return PopulationActivity(n, np.array([100, 50]), 0.002, 5.0, ("E", "I"), **kw)


def test_activity_is_spikes_per_neuron_and_second():
    assert_allclose(activity().activity, [[10.0, 0.0], [20.0, 10.0], [0.0, 10.0]])


def test_expectation_and_uncertainty_have_the_same_scale():
    a = activity(n_bar=np.ones((3, 2)), n_std=np.full((3, 2), 2.0))
    assert_allclose(a.expected_activity[0], [5.0, 10.0])
    assert_allclose(a.activity_std[0], [10.0, 20.0])


def test_what_is_not_known_is_none():
    assert activity().expected_activity is None
    assert activity().activity_std is None


def test_times_are_bin_centres():
    assert_allclose(activity().times, [5.001, 5.003, 5.005])
    assert activity().duration == pytest.approx(0.006)


def test_the_neo_signal_carries_names_sizes_and_notes():
    signal = activity().to_neo(n_recorded=[3, 1], log_likelihood=-1.5)
    assert_allclose(signal.rescale("Hz").magnitude, activity().activity)
    assert float(signal.t_start.rescale("s")) == 5.0
    assert signal.array_annotations["channel_names"].tolist() == ["E", "I"]
    assert signal.array_annotations["population_size"].tolist() == [100, 50]
    assert signal.array_annotations["n_recorded"].tolist() == [3, 1]
    assert signal.annotations["log_likelihood"] == -1.5


def test_recorded_neurons_are_counted_per_population():
    circuit = SimpleNamespace(names=["E", "I"])
    result = FitResult(circuit, ("E", "I", "E", "unassigned"), tuple("abcd"), (activity(),), -1.0, 0.1, 3, True, "ok")
    assert result.names == ("E", "I")
    assert result.n_recorded.tolist() == [2, 1]


def test_a_fit_becomes_a_block_with_a_segment_per_trial_and_a_group_per_population():
    circuit = SimpleNamespace(names=["E", "I"], n_neurons=np.array([100, 50]))
    result = FitResult(circuit, ("E", "I"), ("7", "8"), (activity(), activity()), -1.0, 0.1, 3, True, "ok")
    block = result.to_neo()
    assert len(block.segments) == 2
    assert [group.name for group in block.groups] == ["E", "I"]
    assert block.groups[1].annotations["population_size"] == 50
    assert block.annotations["log_likelihood"] == -1.0
    for i, segment in enumerate(block.segments):
        (signal,) = segment.analogsignals
        assert_allclose(signal.rescale("Hz").magnitude, activity().activity)
        assert float(signal.t_start.rescale("s")) == 5.0
        view = block.groups[1].channelviews[i].resolve()
        assert_allclose(view.rescale("Hz").magnitude[:, 0], activity().activity[:, 1])


def test_the_distance_to_a_population_is_the_mean_over_the_others_in_it():
    circuit = SimpleNamespace(names=("E", "I"))
    fit = FitResult(circuit, ("E", "E", "I", "unassigned"), tuple("abcd"), (), 0.0, 0.0, 1, True, "")
    distances = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]])
    assert_allclose(fit.with_distances(distances).distances, [[1, 2], [1, 4], [3, np.nan], [4, 6]])
    assert fit.distances is None and distances[0, 0] == 0
    with pytest.raises(ValueError, match=r"shape \(4, 3\), expected \(4, 4\)"):
        fit.with_distances(distances[:, :3])
