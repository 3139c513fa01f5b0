"""recording.py: spike times in seconds, trial by trial."""

import neo
import numpy as np
import pytest
import quantities as pq
from numpy.testing import assert_allclose, assert_array_equal

from neulvm_neo import PopulationClusterer, SpikeRecording, SpikeTrainBinner


def train(times, t_start=0.0, t_stop=1.0, **kw):
    return neo.SpikeTrain(times, units="s", t_start=t_start, t_stop=t_stop, **kw)


def test_units_of_time_do_not_matter():
    in_ms = neo.SpikeTrain([100.0, 300.0], units="ms", t_stop=1000.0)
    a, b = SpikeRecording.from_neo([in_ms]), SpikeRecording.from_neo([train([0.1, 0.3])])
    assert_allclose(a.spike_times[0][0], b.spike_times[0][0])
    assert a.t_stop == b.t_stop == 1.0


def test_a_recording_is_taken_wherever_spike_trains_are():
    trains = [train(start + np.arange(5) / 50) for start in (0.1, 0.11, 0.7)]
    recording = SpikeRecording.from_neo(trains)
    assert SpikeRecording.from_neo(recording) is recording
    assert_array_equal(SpikeTrainBinner().fit_transform(recording), SpikeTrainBinner().fit_transform(trains))
    clusters = [PopulationClusterer(2, min_cluster_size=1, random_state=0).fit(form) for form in (recording, trains)]
    assert_array_equal(clusters[0].distances_, clusters[1].distances_)


def test_the_window_is_what_all_trains_of_a_trial_share():
    recording = SpikeRecording.from_neo([train([0.1, 0.9]), train([0.25, 0.3], t_start=0.2, t_stop=0.8)])
    assert (recording.t_start[0], recording.t_stop[0]) == (0.2, 0.8)
    assert [times.tolist() for times in recording.spike_times[0]] == [[], [0.25, 0.3]]


def test_trials_may_differ_in_length():
    recording = SpikeRecording.from_neo([[train([0.1])], [train([0.1, 1.9], t_stop=2.0)]])
    assert recording.n_trials == 2
    assert_array_equal(recording.durations, [1.0, 2.0])
    assert recording.n_spikes.tolist() == [3]
    assert_allclose(recording.rates, [1.0])


def test_neurons_are_named_by_unit_id_then_name_then_position():
    recording = SpikeRecording.from_neo([train([0.1], unit_id=7, name="x"), train([0.1], name="y"), train([0.1])])
    assert recording.neuron_ids == ("7", "y", "2")
    assert recording.annotations[0]["unit_id"] == 7


def test_trials_that_hold_their_neurons_in_another_order_are_refused():
    a, b = train([0.1], unit_id="a"), train([0.2], unit_id="b")
    with pytest.raises(ValueError, match="trial 1 .*another order"):
        SpikeRecording.from_neo([[a, b], [b, a]])


def test_trains_that_share_no_time_are_refused():
    with pytest.raises(ValueError, match="trial 0 has an empty window"):
        SpikeRecording.from_neo([train([0.1], t_stop=0.2), train([0.5], t_start=0.4)])


def test_the_data_of_the_user_stay_as_they_are():
    original = neo.SpikeTrain([3.0, 1.0, 2.0], units="ms", t_stop=10.0, unit_id=1)
    recording = SpikeRecording.from_neo([original])
    recording.spike_times[0][0][:] = -1
    recording.annotations[0]["unit_id"] = "changed"
    assert_array_equal(original.magnitude, [3.0, 1.0, 2.0])
    assert original.annotations == {"unit_id": 1}
    assert original.units == pq.ms


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(t_stop=np.array([0.2])), "outside"),
        (dict(t_start=np.array([0.0, 1.0])), "one entry per trial"),
        (dict(neuron_ids=("a", "b")), "1 spike trains, expected 2"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(change, message):
    parts = dict(
        spike_times=((np.array([0.1, 0.3]),),), t_start=np.array([0.0]), t_stop=np.array([1.0]), neuron_ids=("a",)
    )
    with pytest.raises(ValueError, match=message):
        SpikeRecording(**(parts | change))


def test_unsorted_times_are_refused():
    with pytest.raises(ValueError, match="neuron a: .*sorted"):
        SpikeRecording(((np.array([0.1, 0.5, 0.3]),),), np.array([0.0]), np.array([1.0]), ("a",))


def test_nan_among_the_times_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        SpikeRecording.from_neo([neo.SpikeTrain([0.1, np.nan], units="s", t_stop=1.0)])
