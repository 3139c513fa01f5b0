"""NeuLVM.goodness_of_fit and ``neulvm report``: one call from a fit and a recording to what is explained."""

import dataclasses
import functools

import numpy as np
import pytest
import quantities as pq
from neulvm_neo.io import write_nwb
from numpy.testing import assert_allclose, assert_array_equal

from neulvm_neo import Circuit, NeuLVM, SpikeRecording, cli, simulate_microscopic
from neulvm_neo.binning import bin_recording

pytestmark = pytest.mark.filterwarnings("ignore:EM has not converged")

QUICK = dict(bin_size=2 * pq.ms, n_init=1, max_iter=1, n_particles=10, random_state=0)
CIRCUIT = Circuit(
    [200, 100], names=["E", "I"], J=[[10, -10], [15, 0]] * pq.mV, u_rest=[13, 11] * pq.mV, tau_syn=[3, 6] * pq.ms,
    signs=[1, -1], t_ref=4 * pq.ms, free=("u_rest",),
)  # fmt: skip


def wave(times):
    return 6 * np.sin(2 * np.pi * 3 * times.magnitude)[:, None] * [[1, 0]] * pq.mV


def record(seed=1, duration=2.0, n_recorded=(4, 3), circuit=CIRCUIT, **options):
    run = simulate_microscopic(
        circuit, duration=duration * pq.s, n_recorded=list(n_recorded), random_state=seed, **options
    )
    return run.spiketrains


def binned(trains):
    return bin_recording(SpikeRecording.from_neo(trains), 0.002)[0]


@functools.cache
def fitted():
    X = binned(record(duration=0.3))
    return NeuLVM(CIRCUIT, labels=[0, 0, 0, 0, 1, 1, 1], start=CIRCUIT, **QUICK).fit(X).result_


def with_parameters(circuit=CIRCUIT, labels=("E",) * 4 + ("I",) * 3, n_particles=10):
    """A model with given parameters in place of fitted ones."""
    ids = tuple(map(str, range(len(labels))))
    model = NeuLVM(circuit, **QUICK | {"n_particles": n_particles})
    model._adopt(dataclasses.replace(fitted(), circuit=circuit, labels=labels, neuron_ids=ids))
    return model


@pytest.fixture(scope="module")
def trains():
    return record()


@pytest.fixture(scope="module")
def model():
    return with_parameters()


def failed(found):
    return {(check.quantity, check.populations) for check in found.checks if check.failed}


def test_the_generating_circuit_explains_its_recording_under_its_stimulus_only():
    trials = [binned(record(seed, 2.5, stimulus=wave)) for seed in (1, 2)]
    model = with_parameters(n_particles=50)
    found = model.goodness_of_fit(trials, stimulus=wave, n_replicates=40)
    assert found.n_trials == 2 and found.duration == pytest.approx(5)
    assert len(failed(found)) <= 3  # of 21, of which 0.8 by chance
    assert np.all(found.populations.p_value > 1e-3) and np.all(found.populations.count_p_value > 1e-3)
    without = model.goodness_of_fit(trials, n_replicates=40)
    power = {check.band for check in without.checks if check.failed and check.quantity == "power"}
    assert (0.0, 4.0) in power
    assert without.log_likelihood < found.log_likelihood - 20
    assert without.populations.p_value[0] < 1e-3


def test_a_circuit_that_is_too_quiet_is_said_to_be(trains):
    quiet = with_parameters(CIRCUIT.replace(u_rest=[8, 11] * pq.mV))
    found = quiet.goodness_of_fit(trains, n_replicates=30)
    assert ("rate", ("E",)) in failed(found)
    assert any(sentence.startswith("E fires ") and "Hz were recorded" in sentence for sentence in found.failures)
    assert any(sentence.startswith("E fired ") for sentence in found.failures)


def test_predictions_of_a_single_neuron_are_its_likelihood():
    trains = record(n_recorded=(1, 0))
    y = binned(trains)
    model = with_parameters(labels=("E",))
    (inferred,) = model._infer(trains, None, None, method="smc")[1]
    p = inferred.predicted
    assert p.shape == y.shape
    assert_allclose(np.log(np.where(y > 0, p, 1 - p)).ravel(), inferred.log_increments, rtol=1e-6, atol=1e-9)


def test_likelihood_and_bits_per_spike_are_those_of_the_other_methods(model, trains):
    found = model.goodness_of_fit(trains, n_replicates=20)
    assert found.log_likelihood == pytest.approx(model.score(trains) * 1000)
    assert found.bits_per_spike == pytest.approx(model.bits_per_spike(trains))
    assert found.bits_per_spike_population == pytest.approx(model.bits_per_spike(trains, against="populations"))


def test_unassigned_neurons_are_left_out_and_silent_ones_are_not(trains):
    X = binned(trains)
    X[:, 5] = 0
    labels = ("E", "unassigned", "E", "E", "I", "I", "I")
    found = with_parameters(labels=labels).goodness_of_fit(X, n_replicates=20)
    assert found.neuron_ids == ("0", "2", "3", "4", "5", "6")
    assert_array_equal(found.labels, [0, 0, 0, 1, 1, 1])
    assert found.replicates.rates.shape == (20, 6) and found.recorded.rates[4] == 0
    assert_array_equal(found.neurons.n_spikes, X[:, [0, 2, 3, 4, 5, 6]].sum(axis=0))


def test_replicates_have_the_neurons_and_the_refractoriness_of_the_model(trains):
    circuit = CIRCUIT.replace(t_ref=20 * pq.ms, u_rest=[25, 25] * pq.mV)
    model = with_parameters(circuit)
    X, _ = model._recording(2000, None, np.random.default_rng(0))
    intervals = [np.diff(np.flatnonzero(column)) for column in X.T]
    assert X.shape == (2000, 7) and all(each.min() >= 9 for each in intervals)  # 20 ms are 10 bins, begun or not
    again, _ = model.sample(2000, random_state=np.random.default_rng(0))
    assert_array_equal(X, again)


def test_the_same_seed_gives_the_same_for_any_number_of_jobs_and_another_one_does_not(model, trains):
    one, two, other = (
        NeuLVM.set_params(model, n_jobs=n_jobs).goodness_of_fit(trains, n_replicates=20, random_state=seed)
        for n_jobs, seed in ((1, 0), (2, 0), (1, 1))
    )
    assert_array_equal(one.replicates.rates, two.replicates.rates)
    assert_array_equal(one.neurons.distance, two.neurons.distance)
    assert not np.array_equal(one.replicates.rates, other.replicates.rates)


def test_the_window_of_correlations_is_a_time(model, trains):
    found = model.goodness_of_fit(trains, n_replicates=20, correlation_window=0.2 * pq.s)
    assert found.correlation_window == 0.2 and "windows of 200 ms" in found.summary()
    with pytest.raises((TypeError, ValueError), match="correlation_window"):
        model.goodness_of_fit(trains, correlation_window=0.2)


@pytest.mark.parametrize("n_replicates", [5, 50.0, True])
def test_too_few_replicates_for_a_band_are_refused(model, trains, n_replicates):
    with pytest.raises(ValueError, match="n_replicates is .*; expected a whole number of 20 or more"):
        model.goodness_of_fit(trains, n_replicates=n_replicates)


def test_report_prints_the_summary_and_draws_it(model, trains, tmp_path, capsys):
    recording, fit, picture = (str(tmp_path / name) for name in ("rec.nwb", "fit.npz", "report.png"))
    write_nwb(recording, trains, session_description="simulated", subject={"subject_id": "simulation"})
    model.save(fit)
    assert cli.main(["report", recording, fit, "--replicates", "20", "--png", picture, "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "Goodness of fit: 7 neurons (E 4, I 3), 2 s" in said and "rate of E (Hz)" in said
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert cli.main(["report", recording, fit, "--png", picture]) == 2  # never over a file that is there
