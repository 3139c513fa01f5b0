"""Baselines, preparation of fits, and pictures that the command line shares with the demo."""

import neo
import numpy as np
import pytest
import quantities as pq

from neulvm_neo import Circuit, PopulationActivity
from neulvm_neo.experiments import baselines, demo, preparation
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.experiments.figures import overview
from neulvm_neo.recording import SpikeRecording


def _recording(duration=1.0, **columns):
    n = len(next(iter(columns.values()))) if columns else 1
    annotations = [{name: values[i] for name, values in columns.items() if values[i] is not None} for i in range(n)]
    return SpikeRecording.from_neo([neo.SpikeTrain([0.1], units="s", t_stop=duration, **a) for a in annotations])


def test_constant_rates_are_the_entropy_of_a_coin():
    counts = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    assert baselines.constant_rates_log_likelihood([counts]) == pytest.approx(-4 * np.log(2))


def test_a_neuron_silent_in_training_does_not_make_a_test_impossible():
    training, test = np.zeros((10, 1)), np.array([[1.0], [0.0]])
    expected = np.log(0.05) + np.log(0.95)
    assert baselines.constant_rates_log_likelihood([test], [training]) == pytest.approx(expected)


def test_bits_per_spike_of_constant_rates_are_zero():
    counts = [np.random.default_rng(0).random((500, 3)) < 0.1, np.random.default_rng(1).random((300, 3)) < 0.1]
    assert baselines.bits_per_spike(baselines.constant_rates_log_likelihood(counts), counts) == 0
    assert np.isnan(baselines.bits_per_spike(0.0, [np.zeros((5, 2))]))


def test_alike_neurons_share_the_rate_of_their_population():
    counts = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]])
    # populations: neurons 0 and 1 together fire in a quarter of their bins, neuron 2 always
    expected = 2 * np.log(0.25) + 6 * np.log(0.75)
    assert baselines.constant_rates_log_likelihood([counts], labels=[0, 0, 1]) == pytest.approx(expected)
    own = baselines.constant_rates_log_likelihood([counts])
    assert own > expected


def test_values_on_their_bounds_are_named():
    circuit = Circuit([10, 10], names=["A", "B"], tau_m=[4, 20] * pq.ms, signs=[1, -1])  # J = 0 is no such bound
    assert preparation.at_bounds(circuit) == ["tau_m[A]"]


def test_neurons_whose_potential_falls_from_the_reset_are_named():
    J, u_rest = [[0, -20], [0, 0]] * pq.mV, [2, 2] * pq.mV
    circuit = Circuit([100, 100], names=["A", "B"], J=J, u_rest=u_rest, tau_m=10 * pq.ms)
    assert preparation.bursting(circuit, np.array([5.0, 9.0])) == []
    assert preparation.bursting(circuit, np.array([5.0, 11.0])) == ["A"]


def test_the_best_smoothing_follows_a_slow_activity():
    rng = np.random.default_rng(0)
    rate = 20 * (1 + np.sin(np.arange(5000) / 200))  # Hz
    counts = rng.random((5000, 10)) < rate[:, None] * 0.002
    r = baselines.best_smoothing(counts, np.zeros(10, dtype=int), rate[:, None], 0.002)
    assert r.shape == (1,) and r[0] > 0.9


def test_correlations_are_taken_column_by_column_after_smoothing():
    rng = np.random.default_rng(0)
    a = np.cumsum(rng.normal(size=(2000, 2)), axis=0)
    b = a + 5 * rng.normal(size=a.shape)
    np.testing.assert_allclose(
        baselines.correlations(a, b), [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(2)], rtol=1e-12
    )
    assert np.all(baselines.correlations(a, b, width=10) > baselines.correlations(a, b))


@pytest.mark.parametrize("seconds, milliseconds", [(10.0, 2.0), (30.0, 2.0), (60.0, 5.0), (5e4, 5.0)])
def test_long_recordings_get_wider_bins(seconds, milliseconds):
    assert preparation.bin_size_for(_recording(seconds)).rescale("ms").item() == milliseconds


def _bursts(interval, n=50):
    """A minute with `n` pairs of spikes, `interval` seconds apart, one pair per second."""
    times = np.sort(np.concatenate([np.arange(n) + 0.1, np.arange(n) + 0.1 + interval]))
    return SpikeRecording.from_neo([neo.SpikeTrain(times, units="s", t_stop=60.0)])


def test_bins_stay_short_where_spikes_are_close():
    assert preparation.bin_size_for(_bursts(0.003)).rescale("ms").item() == 2.0
    assert preparation.bin_size_for(_bursts(0.3)).rescale("ms").item() == 5.0


def test_units_that_fire_in_adjacent_bins_are_given_no_refractory_period():
    assert preparation.refractory_period_for(_bursts(0.003), 2 * pq.ms).item() == 0
    assert preparation.refractory_period_for(_bursts(0.3), 2 * pq.ms).rescale("ms").item() == 2
    assert preparation.refractory_period_for(_recording(), 2 * pq.ms).rescale("ms").item() == 2


def test_long_recordings_are_fitted_with_less_effort():
    short, long = preparation.effort_for(5000), preparation.effort_for(50_000)
    assert all(a >= b for a, b in zip(short, long, strict=True)) and short != long
    assert preparation.n_bins(_recording(10.0), 2 * pq.ms) == 5000


def test_populations_come_from_a_column_and_empty_cells_are_left_out():
    recording = _recording(area=["b", "a", "", None, float("nan"), "unassigned", "b"])
    labels, names = preparation.populations_of_column(recording, "area")
    assert names == ["a", "b"]
    assert labels == [1, 0, -1, -1, -1, -1, 1]


def test_an_unknown_column_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no column 'x'; they have area, depth"):
        preparation.populations_of_column(_recording(area=["a"], depth=[1.0]), "x")


def test_a_column_of_many_values_or_none_is_no_division():
    with pytest.raises(ValueError, match="13 different values"):
        preparation.populations_of_column(_recording(depth=list(range(13))), "depth")
    with pytest.raises(ValueError, match="0 different values"):
        preparation.populations_of_column(_recording(depth=["", ""]), "depth")


def test_labels_are_put_in_the_order_of_the_circuit():
    circuit = Circuit([10, 10, 10], names=["c", "b", "a"])
    assert preparation.in_order_of(circuit, [0, 1, -1], ["a", "b"], "area") == [2, 1, -1]
    with pytest.raises(ValueError, match="holds d, which is no population"):
        preparation.in_order_of(circuit, [0], ["d"], "area")


def test_circuits_have_names_or_files(tmp_path):
    assert preparation.circuit_named("single-population").names == ("E",)
    Circuit([5], names=["X"]).to_toml(tmp_path / "x.toml")
    assert preparation.circuit_named(str(tmp_path / "x.toml")).names == ("X",)
    (tmp_path / "bad.toml").write_text('n_neurons = 5\ntau_m = "20"\n')
    with pytest.raises(ValueError, match="bad.toml: .*tau_m"):
        preparation.circuit_named(str(tmp_path / "bad.toml"))
    with pytest.raises(FileNotFoundError, match="winner-take-all"):
        preparation.circuit_named("nope")


def test_the_demo_compares_every_free_value_and_the_combinations():
    truth = winner_take_all()
    rates = np.array([[10.0, 0.0, 20.0], [20.0, 10.0, 30.0]])  # Hz
    rows = demo.compare(truth, rates, truth.replace(tau_m=30 * pq.ms), rates)
    assert sum(not row.combination for row in rows) == 12
    assert sum(row.combination for row in rows) == 4 + 3  # excitatory couplings that exist, populations
    by_name = {row.name: row for row in rows}
    assert by_name["tau_m[E1]"].error == pytest.approx(0.5)
    assert by_name["J_i"].error == 0
    assert by_name["J tau_m [E1←E1]"].truth == pytest.approx(9.984 * 0.02)
    expected = 14.4 - 3.7 + 0.02 * (9.984 * 15 - 19.968 * 25)
    assert by_name["input - threshold [E1]"].truth == pytest.approx(expected)


def test_an_exchange_of_coupling_and_rest_at_constant_activity_keeps_the_input():
    truth = winner_take_all()
    rates = np.full((2, 3), 10.0)
    J = truth.J.magnitude.copy()
    J[:, 2] += 5.0  # 5 mV * 20 ms * 10 Hz = 1 mV
    exchanged = truth.replace(J=J * pq.mV, u_rest=13.4 * pq.mV)
    for row in demo.compare(truth, rates, exchanged, rates):
        if row.combination:
            assert row.error == pytest.approx(0, abs=1e-12)


def test_the_overview_puts_spikes_over_every_population():
    n = np.random.default_rng(0).poisson(2.0, (200, 2))
    activity = PopulationActivity(n, np.array([100, 50]), 0.002, 0.0, ("A", "B"), n_std=np.ones((200, 2)))
    trains = [neo.SpikeTrain([0.05 * (i + 1)], units="s", t_stop=0.4) for i in range(4)]
    figure = overview(trains, ["A", "B", "unassigned", "A"], activity, activity, smooth=10 * pq.ms, title="t")
    top, *rows = figure.axes
    assert top.get_title(loc="left") == "t"
    assert [axes.get_title(loc="left") for axes in rows] == ["A", "B"]
    assert {axes.get_ylabel() for axes in rows} == {"Hz"}
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert "10 ms" in rows[-1].get_xlabel()
