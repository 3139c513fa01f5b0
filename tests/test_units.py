"""units.py: the boundary between Quantities and Neo objects outside and floats inside."""

import elephant.trials
import neo
import numpy as np
import pytest
import quantities as pq
from numpy.testing import assert_allclose, assert_array_equal

from neulvm_neo import units


@pytest.mark.parametrize(
    "strip, value, inside",
    [
        (units.to_seconds, 20 * pq.ms, 0.02),
        (units.to_seconds, 3 * pq.minute, 180.0),
        (units.to_millivolts, 0.0037 * pq.V, 3.7),
        (units.to_hertz, 2 / pq.ms, 2000.0),
        (units.to_hertz, 0.5 * pq.kHz, 500.0),
        (units.to_megohms, 2e6 * pq.ohm, 2.0),
    ],
)
def test_every_unit_of_a_dimension_means_the_same(strip, value, inside):
    assert_allclose(strip(value, "x"), inside, rtol=1e-12)


def test_stripping_gives_a_fresh_copy():
    value = np.array([1.0, 2.0]) * pq.s
    stripped = units.to_seconds(value, "x")
    stripped[0] = 99.0
    assert_array_equal(value.magnitude, [1.0, 2.0])


@pytest.mark.parametrize("bare", [0.02, "20 ms", None, np.array([1.0])])
def test_a_number_without_a_unit_is_refused_by_name(bare):
    with pytest.raises(TypeError, match="tau_m has no unit.*expected a time such as 20"):
        units.to_seconds(bare, "tau_m")


def test_a_wrong_dimension_is_refused_by_name():
    with pytest.raises(ValueError, match="threshold has the unit 's'; expected a voltage"):
        units.to_millivolts(1 * pq.s, "threshold")
    with pytest.raises(ValueError, match="dimensionless"):
        units.to_seconds(pq.Quantity(1.0, "dimensionless"), "bin_size")


@pytest.mark.parametrize("value", [0 * pq.ms, -1 * pq.ms, np.nan * pq.s, np.inf * pq.s, [1, 2] * pq.ms, [] * pq.s])
def test_a_time_that_is_not_one_positive_number_is_refused(value):
    with pytest.raises(ValueError, match="bin_size is .*one positive, finite time"):
        units.positive_seconds(value, "bin_size")


def test_values_come_back_with_their_units():
    assert_allclose(units.milliseconds(0.02).rescale("s").magnitude, 0.02)
    assert units.milliseconds(0.02).dimensionality == pq.ms.dimensionality
    assert units.seconds([1, 2]).dimensionality == pq.s.dimensionality
    assert units.millivolts(3).dimensionality == pq.mV.dimensionality
    assert units.hertz(3).dimensionality == pq.Hz.dimensionality
    assert units.to_megohms(units.megohms([5.0]), "R").tolist() == [5.0]


def test_a_written_quantity_is_read():
    assert float(units.parse_quantity("-19.968 mV", "J").rescale("mV")) == -19.968
    assert float(units.parse_quantity(" 20 ms ", "tau_m").rescale("s")) == 0.02


@pytest.mark.parametrize("text", ["20", "ms", "20 parsecs-ish", "twenty ms", ""])
def test_a_text_that_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="tau_m: .* is not a number and a unit"):
        units.parse_quantity(text, "tau_m")


def trial(n=2, t_stop=1.0):
    return [neo.SpikeTrain([0.1, 0.2 + 0.1 * i], units="s", t_stop=t_stop) for i in range(n)]


def segment(**kw):
    seg = neo.Segment()
    seg.spiketrains.extend(trial(**kw))
    return seg


def block():
    blk = neo.Block()
    blk.segments.extend([segment(), segment()])
    return blk


FORMS = {  # name: (maker, number of trials, one trial by its type)
    "SpikeTrain": (lambda: trial(1)[0], 1, True),
    "flat list": (trial, 1, True),
    "tuple": (lambda: tuple(trial()), 1, True),
    "SpikeTrainList": (lambda: segment().spiketrains, 1, True),
    "Segment": (segment, 1, True),
    "Block": (block, 2, False),
    "block.segments": (lambda: block().segments, 2, False),
    "list of Segment": (lambda: [segment()], 1, False),
    "list of SpikeTrainList": (lambda: [s.spiketrains for s in block().segments], 2, False),
    "list of lists": (lambda: [trial(), trial(), trial()], 3, False),
    "Trials from lists": (lambda: elephant.trials.TrialsFromLists([trial(), trial()]), 2, False),
    "Trials from a block": (lambda: elephant.trials.TrialsFromBlock(block()), 2, False),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_neo_form_becomes_a_list_of_trials(form):
    make, n_trials, one = FORMS[form]
    data = make()
    assert units.is_neo(data)
    assert units.is_one_trial(data) is one
    trials = units.neo_trials(data)
    assert len(trials) == n_trials
    assert all(isinstance(train, neo.SpikeTrain) for t in trials for train in t)


@pytest.mark.parametrize("data", [np.ones((3, 2)), [np.ones((3, 2))], [[1, 2]], [], "text", {"a": 1}, None, 3])
def test_arrays_and_other_things_are_not_taken_for_neo(data):
    assert not units.is_neo(data)


def test_trials_with_different_neurons_are_refused():
    with pytest.raises(ValueError, match=r"different numbers of spike trains \[2, 3\]"):
        units.neo_trials([trial(2), trial(3)])


def test_a_recording_without_trains_is_refused():
    with pytest.raises(ValueError, match="holds no spike trains"):
        units.neo_trials(neo.Block())
    with pytest.raises(ValueError, match="holds no spike trains"):
        units.neo_trials(neo.Segment())


def test_something_else_among_the_trains_is_refused():
    with pytest.raises(TypeError, match="must be a neo.SpikeTrain"):
        units.neo_trials([trial(1)[0], np.ones(3)])


def test_times_of_a_train_are_sorted_seconds():
    train = neo.SpikeTrain([30.0, 10.0, 20.0], units="ms", t_start=5.0, t_stop=50.0)
    times, start, stop = units.spike_train_times(train)
    assert_allclose(times, [0.01, 0.02, 0.03])
    assert (start, stop) == pytest.approx((0.005, 0.05))
    assert_array_equal(train.magnitude, [30.0, 10.0, 20.0])


def test_a_signal_knows_its_bins():
    signal = units.analog_signal(np.ones((5, 2)), "Hz", 0.002, 1.5, ["E", "I"], name="a", description="b", extra=3)
    assert signal.shape == (5, 2)
    assert float(signal.sampling_period.rescale("s")) == pytest.approx(0.002)
    assert float(signal.t_start.rescale("s")) == 1.5
    assert signal.array_annotations["channel_names"].tolist() == ["E", "I"]
    assert signal.annotations["extra"] == 3


GRID = dict(n_bins=4, bin_size=0.01, n_populations=2)


def test_no_stimulus_is_zero():
    assert_array_equal(units.stimulus_millivolts(None, None, **GRID), np.zeros((4, 2)))


@pytest.mark.parametrize(
    "stimulus, expected",
    [
        (2 * pq.mV, np.full((4, 2), 2.0)),
        ([1, 3] * pq.mV, np.tile([1.0, 3.0], (4, 1))),
        (np.arange(8.0).reshape(4, 2) * pq.mV, np.arange(8.0).reshape(4, 2)),
        (np.arange(4.0)[:, None] * pq.mV, np.repeat(np.arange(4.0)[:, None], 2, axis=1)),
        (lambda t: t.rescale("ms").magnitude[:, None] * pq.mV, np.array([[5.0] * 2, [15] * 2, [25] * 2, [35] * 2])),
    ],
)
def test_a_stimulus_may_be_constant_per_population_per_bin_or_a_function(stimulus, expected):
    assert_allclose(units.stimulus_millivolts(stimulus, None, **GRID), expected)


def test_a_current_is_multiplied_by_the_resistance():
    drive = units.stimulus_millivolts(100 * pq.pA, np.array([50.0, 200.0]), **GRID)
    assert_allclose(drive, np.tile([5.0, 20.0], (4, 1)))
    with pytest.raises(ValueError, match="no membrane resistance"):
        units.stimulus_millivolts(100 * pq.pA, None, **GRID)


def test_a_signal_is_averaged_over_each_bin():
    samples = np.arange(40.0)  # 1 ms per sample
    signal = neo.AnalogSignal(samples[:, None], units="mV", sampling_rate=1 * pq.kHz, t_start=1 * pq.s)
    drive = units.stimulus_millivolts(signal, None, t_start=1.0, **GRID)
    assert_allclose(drive[:, 0], samples.reshape(4, 10).mean(axis=1))
    assert_allclose(drive[:, 1], drive[:, 0])


def test_a_signal_that_ends_too_early_is_refused():
    signal = neo.AnalogSignal(np.ones((30, 1)), units="mV", sampling_rate=1 * pq.kHz)
    with pytest.raises(ValueError, match="stimulus covers 0-0.03 s"):
        units.stimulus_millivolts(signal, None, **GRID)


@pytest.mark.parametrize(
    "stimulus, error, message",
    [
        (1.0, TypeError, "has no unit"),
        (1 * pq.s, ValueError, "expected a voltage"),
        ([1, 2, 3] * pq.mV, ValueError, r"shape \(3,\)"),
        (np.ones((3, 2)) * pq.mV, ValueError, r"shape \(3, 2\)"),
        (np.nan * pq.mV, ValueError, "NaN"),
    ],
)
def test_a_stimulus_that_does_not_fit_is_refused(stimulus, error, message):
    with pytest.raises(error, match=message):
        units.stimulus_millivolts(stimulus, None, **GRID)
