"""io/nwb.py: what read_nwb makes of files that are right, odd, and wrong."""

import logging
import shutil

import h5py
import numpy as np
import pynwb
import pytest
import quantities as pq
from neulvm_neo.io import NWBReadError, read_nwb
from numpy.testing import assert_array_equal

from neulvm_neo import SpikeRecording

from .io_samples import make_nwb, sha256


def times_of(block):
    return [[train.magnitude.tolist() for train in segment.spiketrains] for segment in block.segments]


def limits_of(block):
    return [[(float(t.t_start), float(t.t_stop)) for t in segment.spiketrains] for segment in block.segments]


@pytest.fixture
def three_units(tmp_path):
    return make_nwb(
        tmp_path / "three.nwb",
        [[0.5, 1.0, 4.0], [1.5], [2.0, 9.0]],
        obs_intervals=[[[0.0, 10.0]]] * 3,
        columns={"population": ["E", "I", "E"], "depth": [1.5, 2.5, 3.5], "good": [True, False, True]},
        ids=[100, 7, 42],
        trials={"start_time": [0.0, 1.0, 8.0], "stop_time": [1.0, 2.0, 9.5], "odour": ["a", "b", "a"]},
    )


def test_trains_keep_the_order_of_the_table_and_every_scalar_column(three_units):
    (segment,) = read_nwb(three_units).segments
    assert [train.annotations for train in segment.spiketrains] == [
        {"unit_id": 100, "population": "E", "depth": 1.5, "good": True},
        {"unit_id": 7, "population": "I", "depth": 2.5, "good": False},
        {"unit_id": 42, "population": "E", "depth": 3.5, "good": True},
    ]
    assert [train.name for train in segment.spiketrains] == ["unit 100", "unit 7", "unit 42"]
    assert [train.magnitude.tolist() for train in segment.spiketrains] == [[0.5, 1.0, 4.0], [1.5], [2.0, 9.0]]
    assert all(train.units == pq.s for train in segment.spiketrains)


def test_the_block_says_where_it_comes_from(three_units):
    block = read_nwb(three_units)
    assert block.file_origin == "three.nwb"
    assert block.annotations == {
        "session_description": "A test.",
        "identifier": "test",
        "session_start_time": "2020-01-02T03:00:00+00:00",
    }


def test_reading_leaves_the_file_as_it_is(three_units):
    before = sha256(three_units)
    read_nwb(three_units, trials="trials")
    assert sha256(three_units) == before


def test_a_recording_can_be_made_of_what_was_read(three_units):
    recording = SpikeRecording.from_neo(read_nwb(three_units))
    assert recording.neuron_ids == ("100", "7", "42")
    assert recording.n_spikes.tolist() == [3, 1, 2]


@pytest.mark.parametrize("units", [[42, 100], ["100", "42"], np.array([100, 42]), [True, False, True]])
def test_units_are_chosen_by_id_or_mask_in_the_order_of_the_file(three_units, units):
    (segment,) = read_nwb(three_units, units=units).segments
    assert [train.annotations["unit_id"] for train in segment.spiketrains] == [100, 42]


@pytest.mark.parametrize(
    ("units", "reason"),
    [
        ([1], "does not hold 1; it holds 100, 7, 42"),
        ([], "empty"),
        ([True], "mask"),
        ([False] * 3, "mask"),
        ([7.5], "neither"),
        (["E"], "neither"),
    ],
)
def test_units_that_are_not_there_are_refused(three_units, units, reason):
    with pytest.raises(NWBReadError, match=f"three.nwb.*{reason}"):
        read_nwb(three_units, units=units)


def test_duplicate_ids_can_only_be_selected_by_mask(tmp_path):
    path = make_nwb(tmp_path / "twins.nwb", [[1.0], [2.0]], [[[0, 3]]] * 2, ids=[5, 5])
    with pytest.raises(NWBReadError, match="duplicates"):
        read_nwb(path, units=[5])
    assert times_of(read_nwb(path, units=[False, True])) == [[[2.0]]]


@pytest.mark.parametrize("window", [(1.0, 4.0), (1000 * pq.ms, 4 * pq.s), [1.0, 4.0] * pq.s])
def test_a_window_is_half_open_and_keeps_the_clock_of_the_file(three_units, window):
    block = read_nwb(three_units, window=window)
    assert times_of(block) == [[[1.0], [1.5], [2.0]]]
    assert limits_of(block) == [[(1.0, 4.0)] * 3]


@pytest.mark.parametrize(
    "window", [(2.0, 2.0), (3, 1), (0, np.inf), (np.nan, 1), 5.0, (1, 2, 3), ("a", "b"), (1 * pq.mV, 2 * pq.mV)]
)
def test_a_window_that_is_none_is_refused(three_units, window):
    with pytest.raises(NWBReadError, match="window"):
        read_nwb(three_units, window=window)


@pytest.mark.parametrize("window", [(-1.0, 5.0), (5.0, 11.0), (20.0, 30.0)])
def test_a_window_outside_what_was_observed_is_refused(three_units, window):
    with pytest.raises(NWBReadError, match="reaches outside what was observed .0-10 s."):
        read_nwb(three_units, window=window)


def test_windows_that_follow_each_other_hold_every_spike_once(three_units):
    whole = times_of(read_nwb(three_units))[0]
    parts = [times_of(read_nwb(three_units, window=(a, a + 2)))[0] for a in range(0, 10, 2)]
    assert [sum((part[i] for part in parts), []) for i in range(3)] == whole


def test_rows_of_an_interval_table_become_segments_with_its_columns(three_units):
    block = read_nwb(three_units, trials="trials")
    assert times_of(block) == [[[0.5], [], []], [[1.0], [1.5], []], [[], [], [9.0]]]
    assert limits_of(block)[1] == [(1.0, 2.0)] * 3
    assert block.segments[2].annotations == {"trial_id": 2, "start_time": 8.0, "stop_time": 9.5, "odour": "a"}


def test_a_window_keeps_the_trials_that_lie_inside(three_units):
    block = read_nwb(three_units, trials="trials", window=(0.5, 9.5))
    assert [segment.annotations["trial_id"] for segment in block.segments] == [1, 2]
    with pytest.raises(NWBReadError, match="no row of trials in the window 3-4 s"):
        read_nwb(three_units, trials="trials", window=(3, 4))


def test_an_unknown_interval_table_is_refused_with_a_list_of_those_there_are(three_units):
    with pytest.raises(NWBReadError, match="no interval table 'epochs'; the file has trials"):
        read_nwb(three_units, trials="epochs")


def test_trials_without_end_or_not_observed_are_left_out_and_counted(tmp_path):
    trials = {"start_time": [0.0, 1.0, 2.0, 9.5], "stop_time": [1.0, np.nan, 2.0, 10.5]}
    path = make_nwb(tmp_path / "odd.nwb", [[0.5, 9.9]], [[[0.0, 10.0]]], trials=trials)
    with pytest.warns(UserWarning, match="odd.nwb: 3 of 4 rows of trials left out"):
        block = read_nwb(path, trials="trials")
    assert [segment.annotations["trial_id"] for segment in block.segments] == [0]


def test_several_observation_intervals_become_segments_of_the_time_all_units_share(tmp_path):
    path = make_nwb(tmp_path / "gaps.nwb", [[1.0, 6.0], [2.0, 7.0]], [[[0, 3], [5, 8]], [[1, 4], [6, 9]]])
    block = read_nwb(path)
    assert limits_of(block) == [[(1.0, 3.0)] * 2, [(6.0, 8.0)] * 2]
    assert times_of(block) == [[[1.0], [2.0]], [[6.0], [7.0]]]


def test_a_window_over_a_gap_gives_the_observed_parts(tmp_path):
    path = make_nwb(tmp_path / "gaps.nwb", [[1.0, 6.0]], [[[0, 3], [5, 8]]])
    assert limits_of(read_nwb(path, window=(2.0, 6.5))) == [[(2.0, 3.0)], [(5.0, 6.5)]]
    with pytest.raises(NWBReadError, match="0-3, 5-8 s"):
        read_nwb(path, window=(4.0, 6.5))


def test_units_observed_at_different_times_keep_their_own_limits(tmp_path):
    path = make_nwb(tmp_path / "own.nwb", [[1.0], [5.0]], [[[0, 10]], [[4, 20]]])
    block = read_nwb(path)
    assert limits_of(block) == [[(0.0, 10.0), (4.0, 20.0)]]
    assert limits_of(read_nwb(path, window=(4, 10))) == [[(4.0, 10.0)] * 2]


def test_units_that_were_never_observed_together_are_refused_only_when_it_matters(tmp_path):
    path = make_nwb(tmp_path / "apart.nwb", [[1.0], [5.0]], [[[0, 3]], [[4, 8]]])
    with pytest.raises(NWBReadError, match="share no time in units.obs_intervals"):
        read_nwb(path)
    assert limits_of(read_nwb(path, units=[1])) == [[(4.0, 8.0)]]


def test_spikes_outside_the_observed_time_are_left_out_and_counted(tmp_path):
    path = make_nwb(tmp_path / "out.nwb", [[1.0, 11.0], [2.0]], [[[0, 10]]] * 2, ids=[3, 4])
    with pytest.warns(UserWarning, match=r"out.nwb: 1 spikes outside obs_intervals were left out \(units 3\)"):
        block = read_nwb(path)
    assert times_of(block) == [[[1.0], [2.0]]]


def test_one_warning_says_everything_that_was_repaired(tmp_path):
    path = make_nwb(tmp_path / "bad.nwb", [[3.0, 1.0, np.nan], [np.inf, 2.0]], [[[0, 5]]] * 2, ids=[8, 9])
    with pytest.warns(UserWarning) as caught:
        block = read_nwb(path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "2 spike times that are not finite were dropped (units 8, 9)" in str(caught[0].message)
    assert "sorted (units 8)" in str(caught[0].message)
    assert times_of(block) == [[[1.0, 3.0], [2.0]]]


def test_an_unsorted_unit_loses_no_spike_to_a_window(tmp_path):
    times = np.random.default_rng(1).permutation(np.arange(0.005, 10, 0.01))
    path = make_nwb(tmp_path / "mixed.nwb", [times], [[[0, 10]]])
    with pytest.warns(UserWarning, match="sorted"):
        block = read_nwb(path, window=(2, 3))
    assert_array_equal(block.segments[0].spiketrains[0].magnitude, np.sort(times[(times >= 2) & (times < 3)]))


def test_long_units_are_read_block_by_block_to_the_same_result(tmp_path, monkeypatch):
    path = make_nwb(tmp_path / "long.nwb", [np.arange(0.0, 10.0, 0.1), [0.5]], [[[0, 10]]] * 2)
    whole = times_of(read_nwb(path, window=(2.05, 7.95)))
    monkeypatch.setattr("neulvm_neo.io.nwb.BLOCK", 7)
    monkeypatch.setattr("neulvm_neo.io.nwb_intervals.BLOCK", 7)
    assert times_of(read_nwb(path, window=(2.05, 7.95))) == whole
    assert len(whole[0][0]) == 59


@pytest.mark.parametrize(
    ("spikes", "expected"),
    [
        ([[0.1, 50.0], [20.0, 100.0]], (0.0, 100.0)),  # clock starts with the recording
        ([[4397.2, 5000.0], [6000.0]], (4397.2, 6000.0)),  # clock of a longer day: no spikes before is not silence
        ([[-2.0, 5.0], [7.0]], (-2.0, 7.0)),  # time zero is an event inside the recording
    ],
)
def test_without_obs_intervals_a_recording_reaches_from_its_first_to_its_last_spike(tmp_path, caplog, spikes, expected):
    path = make_nwb(tmp_path / "bare.nwb", spikes)
    with caplog.at_level(logging.INFO, logger="neulvm_neo.io.nwb_intervals"):
        block = read_nwb(path, units=[1])
    assert limits_of(block) == [[expected]]
    assert "no obs_intervals" in caplog.text


def test_without_obs_intervals_trials_count_as_recorded(tmp_path):
    path = make_nwb(tmp_path / "bare.nwb", [[10.0, 11.0]], trials={"start_time": [9.0], "stop_time": [15.0]})
    assert limits_of(read_nwb(path)) == [[(9.0, 15.0)]]


def test_a_window_far_beyond_the_last_spike_is_told(tmp_path):
    path = make_nwb(tmp_path / "bare.nwb", [np.arange(0.0, 100.0)])
    assert limits_of(read_nwb(path, window=(0, 99.5))) == [[(0.0, 99.5)]]
    with pytest.warns(UserWarning, match="counts as silence"):
        read_nwb(path, window=(0, 500))
    with pytest.raises(NWBReadError, match="outside"):
        read_nwb(path, window=(200, 300))


def test_columns_named_like_arguments_of_neo_do_no_harm(tmp_path):
    columns = {"name": ["x"], "units": ["mV"], "t_start": [3.0], "unit_id": ["shank1-4"], "area": ["b'CA1'"]}
    path = make_nwb(tmp_path / "names.nwb", [[1.0]], [[[0, 2]]], columns=columns)
    train = read_nwb(path).segments[0].spiketrains[0]
    assert train.annotations == {
        "unit_id": 0, "name": "x", "units": "mV", "t_start": 3.0, "units.unit_id": "shank1-4", "area": "CA1",
    }  # fmt: skip
    assert (train.name, float(train.t_start)) == ("unit 0", 0.0)


def test_electrodes_of_a_unit_are_told_by_id_place_and_group(tmp_path):
    def with_electrodes(nwb):
        device = nwb.create_device(name="probe")
        group = nwb.create_electrode_group(name="shank", description="A shank.", location="CA1", device=device)
        for place in ("CA1", "CA1", "CA3"):
            nwb.add_electrode(group=group, location=place)
        nwb.add_unit(id=1, spike_times=[1.0], obs_intervals=[[0.0, 2.0]], electrodes=[0, 1])
        nwb.add_unit(id=2, spike_times=[1.0], obs_intervals=[[0.0, 2.0]], electrodes=[1, 2])

    path = make_nwb(tmp_path / "probe.nwb", [], change=with_electrodes)
    notes = [train.annotations for train in read_nwb(path).segments[0].spiketrains]
    assert notes[0] == {"unit_id": 1, "electrodes": [0, 1], "electrodes.location": "CA1", "electrodes.group": "shank"}
    assert notes[1]["electrodes.location"] == "CA1, CA3"


def test_array_columns_belong_to_trials_but_not_to_units(tmp_path):
    def with_arrays(nwb):
        nwb.add_unit_column(name="shape", description="Shape.", index=True)
        nwb.add_unit(id=0, spike_times=[0.5], shape=[1.0, 2.0], obs_intervals=[[0.0, 1.0]])
        nwb.add_trial_column(name="licks", description="Licks.", index=True)
        nwb.add_trial_column(name="cues", description="Cues.", index=True)
        series = pynwb.TimeSeries("wheel", data=[0.0, 1.0], rate=1.0, unit="m", description="Wheel.")
        nwb.add_acquisition(series)
        nwb.add_trial(start_time=0.0, stop_time=1.0, licks=[0.25, 0.5], cues=["a", "b"], timeseries=[series])

    block = read_nwb(make_nwb(tmp_path / "arrays.nwb", [], change=with_arrays), trials="trials")
    notes = block.segments[0].annotations
    assert set(notes) == {"trial_id", "start_time", "stop_time", "licks", "cues"}
    assert (notes["licks"].tolist(), notes["cues"].tolist()) == ([0.25, 0.5], ["a", "b"])
    assert block.segments[0].spiketrains[0].annotations == {"unit_id": 0}


def test_a_silent_unit_stays(tmp_path):
    path = make_nwb(tmp_path / "silent.nwb", [[1.0], []], [[[0, 2]]] * 2)
    assert times_of(read_nwb(path)) == [[[1.0], []]]


# --- files that are refused -------------------------------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(NWBReadError, match="there is no such file") as caught:
        read_nwb(tmp_path / "none.nwb")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    (tmp_path / "text.nwb").write_text("spikes")
    with pytest.raises(NWBReadError, match="text.nwb: not an HDF5 file"):
        read_nwb(tmp_path / "text.nwb")


def test_hdf5_that_is_not_nwb_is_refused(tmp_path):
    with h5py.File(tmp_path / "plain.nwb", "w") as file:
        file["spikes"] = [1.0]
    with pytest.raises(NWBReadError, match="HDF5, but not NWB"):
        read_nwb(tmp_path / "plain.nwb")


def test_hdf5_that_pynwb_cannot_read_is_refused_in_one_sentence(tmp_path):
    with h5py.File(tmp_path / "half.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
    with pytest.raises(NWBReadError, match="PyNWB cannot read it"):
        read_nwb(tmp_path / "half.nwb")


def test_a_file_without_units_is_refused(tmp_path):
    path = make_nwb(tmp_path / "empty.nwb", [], change=lambda nwb: setattr(nwb, "_NWBFile__units", None))
    with pytest.raises(NWBReadError, match="no units table"):
        read_nwb(path)


def test_units_without_spike_times_are_refused(tmp_path):
    path = make_nwb(tmp_path / "times.nwb", [], change=lambda nwb: nwb.add_unit(id=3, obs_intervals=[[0.0, 1.0]]))
    with pytest.raises(NWBReadError, match="no column spike_times"):
        read_nwb(path)


def test_a_unit_index_that_points_past_its_data_is_refused(three_units):
    with h5py.File(three_units, "r+") as file:
        file["units/spike_times_index"][-1] = 99
    with pytest.raises(NWBReadError, match="points past the end of spike_times .99 of 6 values."):
        read_nwb(three_units)


def test_a_unit_index_that_runs_backwards_is_refused(three_units):
    with h5py.File(three_units, "r+") as file:
        file["units/spike_times_index"][0] = 5
    with pytest.raises(NWBReadError, match="spike_times_index does not fit"):
        read_nwb(three_units)


# --- real recordings --------------------------------------------------------------------------------------------------


def test_a_truncated_allen_file_is_refused(shared_data):
    with pytest.raises(NWBReadError, match="spike_times_index points past the end of spike_times"):
        read_nwb(shared_data("edge_truncated_allen.nwb"))


def test_nwb_1_is_refused(shared_data):
    with pytest.raises(NWBReadError, match="NWB 1: convert first"):
        read_nwb(shared_data("edge_nwb1_retina.nwb"))


@pytest.mark.parametrize(
    ("name", "n_units", "n_spikes", "limits"),
    [
        ("culture_div17.nwb", 59, 167562, (0.0, 911.0)),
        ("human_mtl.nwb", 35, 214278, (0.0, 2821.07176225)),
        ("hippo_linear.nwb", 31, 28829, (0.0, 1968.2732)),
        ("multiwell_on.nwb", 731, 583078, (0.0, 905.0)),
        ("cockroach_e060817mix.nwb", 3, 13798, (0.0, 300.0)),
    ],
)
def test_real_recordings_are_read_whole(shared_data, name, n_units, n_spikes, limits):
    (segment,) = read_nwb(shared_data(name)).segments
    assert len(segment.spiketrains) == n_units
    assert sum(train.size for train in segment.spiketrains) == n_spikes
    assert (float(segment.t_start), float(segment.t_stop)) == pytest.approx(limits)


def test_real_units_are_told_by_brain_area(shared_data):
    trains = read_nwb(shared_data("human_mtl.nwb"), window=(0, 100)).segments[0].spiketrains
    areas = [train.annotations["electrodes.location"].split("_")[0] for train in trains]
    assert (areas.count("hippocampus"), areas.count("amygdala")) == (25, 10)


def test_real_trials_are_cut_from_the_recording(shared_data, tmp_path):
    path = shutil.copy(shared_data("cockroach_e060817mix.nwb"), tmp_path)
    block = read_nwb(path, trials="trials")
    assert len(block.segments) == 20
    assert all(float(s.t_stop - s.t_start) == 15.0 and s.annotations["label"] == "odour" for s in block.segments)
    assert sum(train.size for s in block.segments for train in s.spiketrains) == 13798
