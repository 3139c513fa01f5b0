"""binning.py: from spike times to counts."""

import logging
import warnings

import elephant.trials
import elephant.utils
import neo
import numpy as np
import pytest
import quantities as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neulvm_neo import SpikeRecording, SpikeTrainBinner
from neulvm_neo.binning import MultipleSpikesWarning, bin_recording, bin_size_in_seconds


def train(times, t_start=0.0, t_stop=1.0, units="s", **kw):
    return neo.SpikeTrain(times, units=units, t_start=t_start, t_stop=t_stop, **kw)


def trial(seed=0, n_neurons=3, t_start=0.0, duration=1.0):
    rng = np.random.default_rng(seed)
    t_stop = t_start + duration
    return [train(np.sort(rng.uniform(t_start, t_stop, 5)), t_start, t_stop, unit_id=10 + i) for i in range(n_neurons)]


def segment(seed=0):
    seg = neo.Segment()
    seg.spiketrains.extend(trial(seed))
    return seg


def block():
    blk = neo.Block()
    blk.segments.extend([segment(0), segment(1)])
    return blk


def recording(*trains):
    return SpikeRecording.from_neo(list(trains))


def test_counts_agree_with_counting_by_hand():
    trains = trial(seed=3)
    (counts,) = bin_recording(recording(*trains), 0.05, multiple="merge")
    by_hand = np.zeros((20, 3))
    for i, spikes in enumerate(trains):
        for time in spikes.magnitude:
            by_hand[int(time / 0.05), i] += 1
    assert_array_equal(counts, by_hand)
    assert counts.dtype == float and counts.flags.c_contiguous


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 499), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.1, 1000.0, 4397.3, 1e5]),
    st.sampled_from([1, 2, 5]),
)
def test_spikes_on_a_millisecond_grid_fall_into_the_right_bin_wherever_the_recording_starts(ticks, t_start, per_bin):
    times = t_start + np.sort(ticks) * 0.001
    t_stop = max(t_start + 0.5, times[-1])
    (counts,) = bin_recording(recording(train(times, t_start, t_stop)), per_bin * 0.001, multiple="merge")
    assert_array_equal(counts[:, 0], np.bincount(np.array(ticks) // per_bin, minlength=500 // per_bin))


def test_a_bin_contains_its_left_edge_and_not_its_right_edge():
    (counts,) = bin_recording(recording(train([0.0, 0.1, 0.2, 0.3], t_stop=0.3)), 0.1)
    assert_array_equal(counts[:, 0], [1, 1, 1])  # the spike at t_stop belongs to no bin


def test_what_is_left_after_the_last_whole_bin_is_dropped_and_logged(caplog):
    with caplog.at_level(logging.INFO, logger="neulvm_neo.binning"):
        (counts,) = bin_recording(recording(train([0.05, 0.95], t_stop=1.0)), 0.3)
    assert_array_equal(counts[:, 0], [1, 0, 0])
    assert "dropped after the last whole bin: 1" in caplog.text


def test_a_window_of_whole_bins_loses_none_to_rounding():
    assert len(bin_recording(recording(train([0.1], t_stop=0.3)), 0.1)[0]) == 3
    assert len(bin_recording(recording(train([0.1], t_start=0.1, t_stop=0.7)), 0.002)[0]) == 300


def test_trains_of_different_windows_and_units_share_their_common_window():
    in_ms = neo.SpikeTrain([250.0, 650.0], units="ms", t_start=200.0, t_stop=700.0)
    counts = SpikeTrainBinner(bin_size=100 * pq.ms).fit_transform([train([0.1, 0.35]), in_ms])
    assert_array_equal(counts, [[0, 1], [1, 0], [0, 0], [0, 0], [0, 1]])


def test_trials_of_different_length_are_binned_one_by_one():
    binner = SpikeTrainBinner(100 * pq.ms, multiple="merge")
    a, b = binner.fit_transform([trial(0), trial(1, t_start=5.0, duration=0.5)])
    assert a.shape == (10, 3) and b.shape == (5, 3)
    assert a.sum() == b.sum() == 15


@pytest.mark.parametrize(
    "X", [trial(), tuple(trial()), segment(), segment().spiketrains, trial()[0]], ids=lambda X: type(X).__name__
)
def test_one_trial_gives_one_array(X):
    counts = SpikeTrainBinner().fit_transform(X)
    assert isinstance(counts, np.ndarray) and counts.shape[0] == 500


@pytest.mark.parametrize(
    "make",
    [
        block,
        lambda: block().segments,
        lambda: [trial(0), trial(1)],
        lambda: elephant.trials.TrialsFromLists([trial(0), trial(1)]),
        lambda: elephant.trials.TrialsFromBlock(block()),
    ],
    ids=["Block", "segments", "lists", "TrialsFromLists", "TrialsFromBlock"],
)
def test_several_trials_give_a_list_of_arrays_in_every_form(make):
    counts = SpikeTrainBinner().fit_transform(make())
    assert isinstance(counts, list)
    for i, array in enumerate(counts):
        assert_array_equal(array, SpikeTrainBinner().fit_transform(trial(i)))


def test_a_list_of_one_trial_stays_a_list():
    assert len(SpikeTrainBinner().fit_transform([trial()])) == 1


TWICE = [train([0.1000, 0.1006, 0.5], unit_id="a"), train([0.3], unit_id="b")]


def test_clipping_counts_one_spike_and_says_what_was_left_out():
    expected = r"1 spikes \(25 % of 4\) of 1 neurons share a bin of 2 ms .*neuron a, 1.*Bins of 0\.\d+ ms or less"
    with pytest.warns(MultipleSpikesWarning, match=expected):
        counts = SpikeTrainBinner().fit_transform(TWICE)
    assert counts.max() == 1 and counts.sum() == 3


def test_refusing_raises_and_names_the_choices():
    with pytest.raises(ValueError, match='Choose a smaller bin_size, multiple="clip" or multiple="merge"'):
        SpikeTrainBinner(multiple="refuse").fit_transform(TWICE)


def test_merging_keeps_the_counts_without_a_word():
    counts = SpikeTrainBinner(multiple="merge").fit_transform(TWICE)
    assert counts.max() == 2 and counts.sum() == 4


@pytest.mark.parametrize("seed", range(5))
def test_the_bin_size_it_recommends_is_enough(seed):
    rng = np.random.default_rng(seed)
    crowded = recording(train(np.sort(rng.uniform(0, 1, 40))))
    with pytest.raises(ValueError) as caught:
        bin_recording(crowded, 0.05, multiple="refuse")
    recommended = float(str(caught.value).split("Bins of ")[1].split(" ms")[0]) * 1e-3
    assert bin_recording(crowded, recommended, multiple="refuse")[0].sum() >= 39
    assert recommended > 0.98 * np.diff(crowded.spike_times[0][0]).min()


def test_coincident_spikes_are_said_to_be_beyond_any_bin_size():
    with pytest.raises(ValueError, match="No bin size would avoid it"):
        SpikeTrainBinner(multiple="refuse").fit_transform([train([0.5, 0.5])])


def test_one_warning_is_given_for_all_trials():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SpikeTrainBinner().fit_transform([TWICE, TWICE, TWICE])
    assert [w.category for w in caught if issubclass(w.category, UserWarning)] == [MultipleSpikesWarning]


def test_times_that_are_too_coarse_for_the_bins_are_refused():
    epoch = 1.7e9
    late = recording(train([epoch + 0.1], epoch, epoch + 1))
    with pytest.raises(ValueError, match="trial 0 .*resolves times to 2e-07 s only.*shift the trains"):
        bin_recording(late, 0.001)
    assert bin_recording(late, 0.1)[0].sum() == 1


def test_a_bin_longer_than_a_trial_is_refused():
    with pytest.raises(ValueError, match="bin_size is 2 s, but trial 0 lasts 1 s only"):
        SpikeTrainBinner(2 * pq.s).fit_transform(trial())


@pytest.mark.parametrize(
    "settings, error, message",
    [
        (dict(bin_size=0.002), TypeError, "bin_size has no unit"),
        (dict(bin_size=2 * pq.mV), ValueError, "expected a time"),
        (dict(bin_size=-2 * pq.ms), ValueError, "positive, finite time"),
        (dict(bin_size=[1, 2] * pq.ms), ValueError, "one positive"),
        (dict(multiple="drop"), ValueError, "multiple is 'drop'; expected one of 'clip', 'refuse', 'merge'"),
    ],
)
def test_settings_are_checked_in_fit_and_not_before(settings, error, message):
    binner = SpikeTrainBinner(**settings)
    with pytest.raises(error, match=message):
        binner.fit(trial())


@pytest.mark.parametrize("X", [np.ones((10, 2)), [np.ones((10, 2))], [], "file.nwb"], ids=str)
def test_what_is_not_neo_is_refused(X):
    with pytest.raises(TypeError, match="expected Neo spike trains"):
        SpikeTrainBinner().fit(X)


def test_bare_floats_are_refused_by_the_plain_function_too():
    with pytest.raises(ValueError, match="bin_size is 0"):
        bin_recording(recording(*trial()), 0.0)


def test_no_bin_size_means_two_milliseconds():
    binner = SpikeTrainBinner().fit(trial())
    assert binner.bin_size_ == 2 * pq.ms
    assert bin_size_in_seconds(None) == 0.002
    assert binner.transform(trial()).shape == (500, 3)


def test_columns_are_named_after_the_neurons():
    binner = SpikeTrainBinner().fit(trial())
    assert binner.n_features_in_ == 3
    assert binner.get_feature_names_out().tolist() == ["10", "11", "12"]


def test_transform_needs_fit():
    with pytest.raises(NotFittedError):
        SpikeTrainBinner().transform(trial())
    with pytest.raises(NotFittedError):
        SpikeTrainBinner().get_feature_names_out()


def test_transform_wants_the_neurons_of_fit():
    binner = SpikeTrainBinner().fit(trial())
    with pytest.raises(ValueError, match="X has 2 spike trains, but the binner was fitted to 3"):
        binner.transform(trial(n_neurons=2))
    with pytest.raises(ValueError, match="in another order"):
        binner.transform(trial()[::-1])


def test_it_is_an_estimator_like_others():
    binner = SpikeTrainBinner(bin_size=5 * pq.ms, multiple="merge")
    copy = clone(binner)
    assert copy.get_params() == binner.get_params()
    pipeline = make_pipeline(copy, FunctionTransformer(lambda counts: [c.sum(axis=0) for c in counts]))
    trials = [trial(seed) for seed in range(4)]
    for train_set, test_set in KFold(2).split(trials):
        pipeline.fit([trials[i] for i in train_set])
        assert len(pipeline.transform([trials[i] for i in test_set])) == 2
    assert pipeline.set_output(transform="pandas") is pipeline
    assert isinstance(binner.fit_transform(trial()), np.ndarray)


def test_elephants_log_and_the_users_data_are_left_alone(caplog):
    elephant_logger = logging.getLogger(elephant.utils.__file__)
    level = elephant_logger.level
    original = train([0.29, 0.1])  # 0.29 / 0.01 is 28.999999999999996: Elephant would report that it moves this spike
    elephant_logger.addHandler(caplog.handler)
    try:
        counts = SpikeTrainBinner(bin_size=10 * pq.ms).fit_transform([original])
    finally:
        elephant_logger.removeHandler(caplog.handler)
    assert not caplog.records
    assert elephant_logger.level == level
    assert_array_equal(np.flatnonzero(counts), [10, 29])
    assert_array_equal(original.magnitude, [0.29, 0.1])
