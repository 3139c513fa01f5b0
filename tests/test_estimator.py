"""estimator.py, with trials.py, assignment.py, agreement.py: from recordings to a fitted circuit and its activity."""

import copy
import dataclasses
import pickle
import warnings

import elephant.trials
import neo
import numpy as np
import pytest
import quantities as pq
import sklearn
from neulvm_neo.io import annotated_block, load_fit, read_nwb, save_fit, write_nwb
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neulvm_neo import Circuit, NeuLVM, SpikeRecording, SpikeTrainBinner, simulate_microscopic
from neulvm_neo.agreement import RefractoryViolationWarning
from neulvm_neo.binning import MultipleSpikesWarning, bin_recording
from neulvm_neo.clustering import SilentNeuronsWarning
from neulvm_neo.constant_rates import constant_rates_log_likelihood
from neulvm_neo.inference import em
from neulvm_neo.parameters import parameters_of

# Tests of everything but the quality of a fit stop after one step; that this is said is itself tested below.
pytestmark = pytest.mark.filterwarnings("ignore:EM has not converged")

QUICK = dict(bin_size=2 * pq.ms, n_init=1, max_iter=1, n_particles=10, random_state=0)


def two_populations(**changes):
    """An excitatory and an inhibitory population of which only the resting potentials are unknown."""
    circuit = Circuit(
        [200, 100], names=["E", "I"], J=[[10, -10], [15, 0]] * pq.mV, u_rest=[13, 11] * pq.mV, tau_syn=[3, 6] * pq.ms,
        signs=[1, -1], t_ref=4 * pq.ms, free=("u_rest",),
    )  # fmt: skip
    return circuit.replace(**changes)


def record(duration=1.0, n_recorded=(2, 2), seed=1, t_start=0.0, circuit=None, **options):
    """Spike trains of a few neurons of the two populations; their t_ref is 4 ms, the bins of the fit 2 ms."""
    return simulate_microscopic(
        circuit or two_populations(), duration=duration * pq.s, n_recorded=list(n_recorded), random_state=seed,
        t_start=t_start * pq.s, **options,
    )  # fmt: skip


def binned(trains, bin_size=0.002):
    return bin_recording(SpikeRecording.from_neo(trains), bin_size)[0]


def block_of(*trials):
    block = neo.Block()
    for i, trains in enumerate(trials):
        segment = neo.Segment(index=i)
        segment.spiketrains.extend(copy.deepcopy(trains))
        block.segments.append(segment)
    return block


@pytest.fixture(scope="module")
def runs():
    return [record(seed=seed, t_start=10.0 * seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def trains(runs):
    return [run.spiketrains for run in runs]


@pytest.fixture(scope="module")
def counts(trains):
    return [binned(trial) for trial in trains]


@pytest.fixture(scope="module")
def model(counts):
    return NeuLVM(two_populations(), labels=[0, 0, 1, 1], **QUICK).fit(counts)


# --- the main job ----------------------------------------------------------------------------------------------------


def test_a_resting_potential_is_found_from_random_starts():
    circuit = Circuit([300], names=["E"], u_rest=12 * pq.mV, free=("u_rest",))
    recording = simulate_microscopic(circuit, duration=2 * pq.s, n_recorded=5, random_state=2).spiketrains
    guess = circuit.replace(u_rest=17 * pq.mV)
    model = NeuLVM(guess, labels="population", n_init=2, max_iter=10, tol=3, n_particles=20, random_state=1)
    model.fit(recording)
    assert abs(model.u_rest_[0] - 12 * pq.mV) < 0.4 * pq.mV
    assert model.tau_m_[0] == 20 * pq.ms
    assert model.score(recording) * 1000 == pytest.approx(model.log_likelihood_, abs=3)


def test_the_hidden_activity_is_found_and_held_out_data_are_predicted():
    wave = lambda times: 4 * np.sin(2 * np.pi * times.magnitude)[:, None] * [[1, 0]] * pq.mV  # noqa: E731
    circuit = two_populations(tau_m=30 * pq.ms)
    training, test = (record(3.0, (6, 4), seed, circuit=circuit, stimulus=wave) for seed in (1, 2))
    model = NeuLVM(circuit, labels="population", start=circuit, **{**QUICK, "n_particles": 100})
    model.fit(training.spiketrains, stimulus=wave)
    activity = model.transform(test.spiketrains, stimulus=wave)
    smooth = np.ones(25) / 25
    for k in range(2):
        inferred, true = (np.convolve(x[:, k], smooth, "valid") for x in (activity, test.activity))
        assert np.corrcoef(inferred, true)[0, 1] > 0.8
    X, rates = binned(test.spiketrains), binned(training.spiketrains).mean(axis=0)
    constant = np.mean(np.sum(X * np.log(rates) + (1 - X) * np.log1p(-rates), axis=1))
    driven = model.score(test.spiketrains, stimulus=wave)
    assert driven > constant + 0.01
    assert driven > model.score(test.spiketrains) + 0.01  # the drive is part of the explanation


def test_neurons_without_labels_are_clustered():
    def turns(times):
        on = np.sin(4 * np.pi * times.magnitude) > 0
        return np.where(on[:, None], [[6, -6]], [[-6, 6]]) * pq.mV

    circuit = two_populations(J=0 * pq.mV, u_rest=12 * pq.mV)
    recording = record(4.0, (4, 4), stimulus=turns, circuit=circuit).spiketrains
    settings = {**QUICK, "bin_size": 4 * pq.ms}
    model = NeuLVM(n_populations=2, population_sizes=[150, 50], **settings).fit(recording)
    assert sorted([model.labels_[:4].tolist(), model.labels_[4:].tolist()]) == [[0] * 4, [1] * 4]
    assert model.circuit_.names == ("P1", "P2")
    assert model.circuit_.n_neurons.tolist() == [150, 50]
    assert_allclose(model.circuit_.t_ref.rescale("ms").magnitude, 4)  # follows the bin
    assert model.result_.settings["labels"] == "clustered"
    distances, neurons = model.result_.distances, np.arange(8)  # annotated files say how typical a neuron is
    assert np.all(distances[neurons, model.labels_] < distances[neurons, 1 - model.labels_])
    assert_array_equal(NeuLVM(**settings).fit(recording).labels_, model.labels_)  # also when the number is not given


def test_what_a_fit_leaves_behind(model, counts):
    assert isinstance(model.u_rest_, pq.Quantity)
    assert model.J_.shape == (2, 2)
    assert model.tau_m_.shape == model.threshold_.shape == (2,)
    assert_array_equal(model.J_.magnitude, two_populations().J.magnitude)  # given, not free
    assert model.circuit_.u_rest.magnitude.tolist() != two_populations().u_rest.magnitude.tolist()
    assert model.labels_.tolist() == [0, 0, 1, 1]
    assert model.label_names_.tolist() == ["E", "E", "I", "I"]
    assert [a.shape for a in model.activity_] == [(500, 2)] * 3
    assert model.bin_size_ == 2 * pq.ms
    assert model.n_features_in_ == 4
    assert not hasattr(model, "feature_names_in_")
    assert model.n_iter_ == len(model.trace_) == 1
    assert model.converged_ is False
    assert model.histories_.shape[1] == 2
    assert model.result_.labels == ("E", "E", "I", "I")
    assert model.result_.neuron_ids == ("0", "1", "2", "3")
    assert model.result_.settings["bin_size"] == "2 ms"
    assert_allclose(model.result_.activities[1].activity, model.activity_[1])
    assert np.isfinite([model.log_likelihood_, model.result_.log_likelihood_error]).all()
    assert model.get_feature_names_out().tolist() == ["E", "I"]


def test_viterbi_and_euler_do_the_same_job(counts):
    model = NeuLVM(two_populations(), labels=[0, 0, 1, 1], **QUICK, method="viterbi", scheme="euler").fit(counts[0])
    assert model.activity_.shape == model.transform(counts[0]).shape == (500, 2)
    assert model.result_.activities[0].n_std is None
    assert np.isfinite(model.score(counts[0]))


# --- forms of data ---------------------------------------------------------------------------------------------------


def test_every_form_of_one_trial_is_the_same_trial(trains):
    X, block = binned(trains[0]), block_of(trains[0])
    forms = (
        X, X.astype(int), X.tolist(), [X], trains[0], block.segments[0], SpikeRecording.from_neo(trains[0]), block,
    )  # fmt: skip
    fits = [NeuLVM(two_populations(), labels=["E", "E", "I", "I"], **QUICK).fit(form) for form in forms]
    for fit in fits[1:]:
        assert_array_equal(np.atleast_3d(fit.activity_).ravel(), fits[0].activity_.ravel())
        assert_array_equal(fit.u_rest_.magnitude, fits[0].u_rest_.magnitude)
    assert [type(fit.activity_) for fit in fits] == [np.ndarray] * 3 + [list] + [np.ndarray] * 3 + [list]


def test_a_trial_is_inferred_alike_whatever_comes_with_it(model, trains, counts):
    alone = [model.transform(X) for X in counts]
    segments = block_of(*trains)
    of_elephant, recording = elephant.trials.TrialsFromBlock(segments), SpikeRecording.from_neo(trains)
    for form in (counts, tuple(counts), trains, segments, segments.segments, of_elephant, recording):
        together = model.transform(form)
        assert isinstance(together, list)
        for a, b in zip(alone, together, strict=True):
            assert_array_equal(a, b)


def test_rows_of_one_array_can_belong_to_trials(model, counts):
    X, trials = np.concatenate(counts), np.repeat([5, 2, 7], 500)
    assert_array_equal(model.transform(X, trials=trials), np.concatenate(model.transform(counts)))
    assert_array_equal(model.score_samples(X, trials=trials), np.concatenate(model.score_samples(counts)))
    assert model.score(X, trials=trials) == model.score(counts)
    assert not np.array_equal(model.transform(X), model.transform(X, trials=trials))
    fitted = clone(model).fit(X, trials=trials)
    assert_array_equal(fitted.u_rest_.magnitude, model.u_rest_.magnitude)
    assert fitted.activity_.shape == (1500, 2)
    with pytest.raises(ValueError, match="not adjacent"):
        model.transform(X, trials=np.tile([0, 1, 0], 500))
    with pytest.raises(ValueError, match="expected one entry for each of the 1500 rows"):
        model.transform(X, trials=[0, 1])
    with pytest.raises(ValueError, match="X is not one array"):
        model.transform(counts, trials=trials)


def test_data_frames_keep_their_names_in_and_population_names_out(counts):
    import pandas as pd

    frame = pd.DataFrame(counts[0], columns=list("abcd"))
    model = NeuLVM(two_populations(), labels=[0, 0, 1, 1], **QUICK).fit(frame)
    assert model.feature_names_in_.tolist() == list("abcd")
    assert model.result_.neuron_ids == tuple("abcd")
    activity = model.transform(frame)
    model.set_output(transform="pandas")
    out = model.transform(frame)
    assert out.columns.tolist() == ["E", "I"]
    assert_array_equal(out.to_numpy(), activity)
    assert [type(trial) for trial in model.transform([frame, frame])] == [np.ndarray] * 2
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame[list("dcba")])


def test_the_neurons_must_be_those_of_the_fit(model, trains, counts):
    with pytest.raises(ValueError, match="X has 3 features, but NeuLVM is expecting 4"):
        model.transform([counts[0], counts[1][:, :3]])
    with pytest.raises(ValueError, match="X has 3 spike trains, but NeuLVM is expecting 4"):
        model.transform(trains[0][:3])
    named = NeuLVM(two_populations(), labels="population", **QUICK).fit(trains[0])
    with pytest.raises(ValueError, match="another order"):
        named.score(trains[0][::-1])


def test_real_numbers_are_rounded_and_said_so(model, counts):
    X = counts[0] * 0.9 + 0.05
    with pytest.warns(UserWarning, match="100 % of the entries of X are not whole numbers"):
        assert_array_equal(model.transform(X), model.transform(counts[0]))


def test_several_spikes_in_a_bin_are_clipped_aloud_or_refused(model, counts):
    X = counts[0] * 3
    with pytest.warns(MultipleSpikesWarning, match=r"67 %\) share a bin"):
        assert_array_equal(model.transform(X), model.transform(counts[0]))
    train = neo.SpikeTrain([1, 1.5, 30] * pq.ms, t_stop=40 * pq.ms)
    with pytest.warns(MultipleSpikesWarning, match="Bins of 0.5 ms or less.*They were left out") as said:
        assert model.transform([train] * 4).shape == (20, 2)
    assert "merge" not in str(said[0].message)
    strict = clone(model).set_params(multiple="refuse")
    with pytest.raises(ValueError, match='multiple="clip"'):
        strict.fit(X)
    with pytest.raises(ValueError, match="at most one"):
        strict.set_params(multiple="merge").fit(counts[0])


def test_nothing_given_is_changed(trains):
    block, circuit, labels = block_of(*trains[:2]), two_populations(), np.array([0, 0, 1, 1])
    before = copy.deepcopy(block)
    text = circuit.to_toml()
    NeuLVM(circuit, labels=labels, **QUICK).fit(block).to_neo()
    for a, b in zip(block.segments, before.segments, strict=True):
        assert len(a.analogsignals) == 0
        for x, y in zip(a.spiketrains, b.spiketrains, strict=True):
            assert_array_equal(x.magnitude, y.magnitude)
            assert x.annotations == y.annotations
    assert len(block.groups) == 0
    assert circuit.to_toml() == text
    assert labels.tolist() == [0, 0, 1, 1]
    X = binned(trains[0]) * 2
    kept = X.copy()
    with pytest.warns(MultipleSpikesWarning):
        NeuLVM(circuit, labels=labels, **QUICK).fit(X)
    assert_array_equal(X, kept)


# --- labels and circuits ---------------------------------------------------------------------------------------------


def test_labels_may_be_positions_names_or_an_annotation(trains):
    for labels in ([0, 0, 1, 1], ["E", "E", "I", "I"], np.array(["E", "E", "I", "I"]), "population"):
        model = NeuLVM(two_populations(), labels=labels, **QUICK).fit(trains[0])
        assert model.labels_.tolist() == [0, 0, 1, 1]
    model = NeuLVM(labels="population", population_sizes={"I": 50, "E": 300}, **QUICK).fit(trains[0])
    assert model.circuit_.names == ("E", "I")
    assert model.circuit_.n_neurons.tolist() == [300, 50]
    assert model.result_.settings["labels"] == "population"


def test_unassigned_neurons_are_left_out_but_kept_in_the_books(counts):
    X = np.insert(counts[0], 1, 0.0, axis=1)
    model = NeuLVM(two_populations(), labels=["E", "unassigned", "E", "I", "I"], **QUICK).fit(X)
    without = NeuLVM(two_populations(), labels=["E", "E", "I", "I"], **QUICK).fit(counts[0])
    assert model.labels_.tolist() == [0, -1, 0, 1, 1]
    assert model.result_.labels == ("E", "unassigned", "E", "I", "I")
    assert model.result_.n_recorded.tolist() == [2, 2]
    assert_array_equal(model.activity_, without.activity_)
    assert_array_equal(model.transform(X), without.transform(counts[0]))
    X, _ = model.sample(400, random_state=1)
    assert X[:, 1].sum() == 0
    assert X[:, [0, 2, 3, 4]].sum(axis=0).all()


def test_silent_neurons_are_left_out_by_clustering(counts):
    X = np.concatenate(counts[:2])
    X[:, 3] = 0
    with pytest.warns(SilentNeuronsWarning, match="belong to no population"):
        model = NeuLVM(n_populations=2, **QUICK).fit(X)
    assert model.labels_[3] == -1
    assert model.result_.labels[3] == "unassigned"


def test_a_population_nobody_recorded_from_needs_a_circuit(counts):
    model = NeuLVM(two_populations(), labels=["E"] * 4, **QUICK).fit(counts[0])
    assert model.result_.n_recorded.tolist() == [4, 0]
    assert model.transform(counts[0]).shape == (500, 2)
    assert model.sample(100, random_state=1)[0].shape == (100, 4)
    with pytest.raises(ValueError, match="no neuron has the label 0; count populations from 0"):
        NeuLVM(labels=[1, 1, 2, 2], **QUICK).fit(counts[0])


def test_clusters_given_to_a_circuit_say_how_they_were_matched(counts):
    with pytest.warns(UserWarning, match="the clusters became the populations E, I in the order of their mean rates"):
        NeuLVM(two_populations(), **QUICK).fit(np.concatenate(counts))


def test_too_few_active_neurons_mean_fewer_populations():
    X = np.zeros((300, 3))
    X[::10, 0] = 1
    with pytest.warns(UserWarning, match="n_populations was reduced from 2 to 1: only 1 of 3 neurons have 5 spikes"):
        model = NeuLVM(n_populations=2, **QUICK).fit(X)
    assert model.circuit_.n_populations == 1
    with pytest.raises(ValueError, match="2 populations are given, but only 1 of 3 neurons"):
        NeuLVM(two_populations(), **QUICK).fit(X)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"n_populations": 3}, ValueError, "n_populations is 3, but the circuit has 2 populations; omit one"),
        ({"population_sizes": [200, 200]}, ValueError, r"the circuit has \[200, 100\] neurons; omit one"),
        ({"population_sizes": {"E": 200}}, ValueError, "omit one"),
        ({"circuit": None, "n_populations": 3, "population_sizes": [1, 2]}, ValueError, "one size per population"),
        ({"circuit": None, "n_populations": 3}, ValueError, "labels name 2 populations, but n_populations"),
        ({"circuit": None, "n_populations": 0}, ValueError, "n_populations is 0"),
        ({"circuit": None, "population_sizes": {"E": 9}, "labels": ["E", "E", "I", "I"]}, ValueError, "say 1"),
        ({"circuit": None, "population_sizes": {"E": 9, "X": 9}}, ValueError, "but the populations are P1, P2"),
        ({"circuit": "E"}, TypeError, "expected a neulvm_neo.Circuit"),
        ({"labels": [0, 1]}, ValueError, "labels has 2 entries, but X has 4 neurons"),
        ({"labels": [0, 0, 1, 2]}, ValueError, "labels run from 0 to 2; expected 0 to 1"),
        ({"labels": [0, 0, 1, -2]}, ValueError, "labels run from -2"),
        ({"labels": [-1] * 4}, ValueError, "no neuron belongs to a population"),
        ({"labels": ["E", "E", "I", "X"]}, ValueError, "labels names X, but the circuit's populations are E, I"),
        ({"labels": "population"}, ValueError, "the name of an annotation of spike trains, but X is an array"),
        ({"circuit": two_populations(n_neurons=[1, 100])}, ValueError, "2 neurons of E were recorded, but the pop"),
        ({"circuit": two_populations(free=())}, ValueError, "no free values"),
        ({"bin_size": 2}, TypeError, "bin_size has no unit"),
        ({"bin_size": 30 * pq.ms, "scheme": "euler"}, ValueError, "not below tau_m"),
        ({"method": "em"}, ValueError, "method is 'em'; expected one of 'smc', 'viterbi'"),
        ({"scheme": "heun"}, ValueError, "scheme is 'heun'"),
        ({"n_init": 0}, ValueError, "n_init is 0"),
        ({"max_iter": 2.5}, ValueError, "max_iter is 2.5"),
        ({"n_particles": 1}, ValueError, "n_particles is 1; expected a whole number of at least 2"),
        ({"tol": -1}, ValueError, "tol is -1"),
        ({"multiple": "drop"}, ValueError, "multiple is 'drop'"),
        ({"start": 3}, TypeError, "start is a int"),
        ({"start": Circuit([100])}, ValueError, "start has 1 populations, but 2 are fitted"),
        ({"random_state": "one"}, ValueError, "random_state is 'one'"),
    ],
)
def test_contradictions_are_refused_by_name(counts, settings, error, message):
    with pytest.raises(error, match=message):
        NeuLVM(**{"circuit": two_populations(), "labels": [0, 0, 1, 1], **QUICK, **settings}).fit(counts[0])


def test_an_annotation_that_is_missing_is_named_with_those_at_hand(trains):
    message = r"4 spike trains \(0, 1, 2, 3\) have no such annotation; all of them have population, unit_id"
    with pytest.raises(ValueError, match=message):
        NeuLVM(labels="layer", **QUICK).fit(trains[0])


@pytest.mark.parametrize(
    "X, message",
    [
        (np.zeros((1, 2)), "1 sample"),
        (np.zeros(5), "1D array"),
        (np.zeros((3, 4, 2)), "dim 3"),
        (np.full((9, 2), np.nan), "NaN"),
        (-np.ones((9, 2)), "Negative values"),
        ([], "1D array"),
        ([np.zeros((5, 2)), np.zeros((5, 3))], "X has 3 features"),
    ],
)
def test_data_that_are_no_counts_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        NeuLVM(n_populations=1, **QUICK).fit(X)


def test_nothing_can_be_asked_of_a_model_before_the_fit(counts, tmp_path):
    model = NeuLVM()
    for ask in (model.transform, model.score, model.score_samples):
        with pytest.raises(NotFittedError):
            ask(counts[0])
    for ask in (model.sample, model.to_neo, model.get_feature_names_out):
        with pytest.raises(NotFittedError):
            ask()
    with pytest.raises(NotFittedError):
        model.simulate(1 * pq.s)
    with pytest.raises(NotFittedError):
        model.save(tmp_path / "model.npz")


# --- what is said aloud ----------------------------------------------------------------------------------------------


def test_an_assumed_bin_size_is_said_aloud_for_arrays_only(counts, trains, recwarn):
    settings = {**QUICK, "bin_size": None}
    with pytest.warns(UserWarning, match="bins of 2 ms were assumed"):
        NeuLVM(two_populations(), labels=[0, 0, 1, 1], **settings).fit(counts[0])
    recwarn.clear()
    NeuLVM(two_populations(), labels=[0, 0, 1, 1], **settings).fit(trains[0])
    assert not [w for w in recwarn if "assumed" in str(w.message)]


def test_spikes_in_the_refractory_period_are_counted_and_explained(counts):
    X = counts[0].copy()
    X[10:12, 0] = X[20:22, 1] = 1  # one bin apart; t_ref is two bins, the second of which neurons are released in
    with pytest.warns(RefractoryViolationWarning, match=r"^\d+ spikes .*shorter t_ref") as said:
        NeuLVM(two_populations(), labels=[0, 0, 1, 1], **QUICK).fit(X)
    assert int(str(said[0].message).split()[0]) >= 2


def test_bins_longer_than_the_refractory_period_are_explained(trains):
    with pytest.warns(UserWarning, match="bin_size 5 ms is longer than t_ref 4 ms of E: neurons may fire twice"):
        NeuLVM(two_populations(), labels="population", **{**QUICK, "bin_size": 5 * pq.ms}).fit(trains[0])


@pytest.mark.filterwarnings("default:EM has not converged")
def test_a_fit_that_stopped_early_says_what_to_change(counts, monkeypatch):
    model = NeuLVM(two_populations(), labels=[0, 0, 1, 1], **QUICK)
    with pytest.warns(ConvergenceWarning, match=r"Raise max_iter \(now 1\)"):
        model.fit(counts[0])
    found = em.fit

    def interrupted(*args, **kwargs):
        return dataclasses.replace(found(*args, **kwargs), status="interrupted")

    monkeypatch.setattr(em, "fit", interrupted)
    with pytest.warns(ConvergenceWarning, match=r"\(interrupted\). The best parameters so far are kept"):
        model.fit(counts[0])


# --- score, sample, simulate -----------------------------------------------------------------------------------------


def test_the_score_is_the_mean_over_bins_and_does_not_change(model, counts):
    samples = model.score_samples(counts)
    assert [s.shape for s in samples] == [(500,)] * 3
    assert model.score(counts) == pytest.approx(np.concatenate(samples).mean())
    assert model.score(counts) == model.score(counts)
    assert_array_equal(samples[1], model.score_samples(counts[1]))


@pytest.mark.filterwarnings("ignore:Trial .* loses track")  # with parameters that are wrong it may
def test_the_score_tells_good_parameters_from_bad_ones(model, counts):
    worse = copy.deepcopy(model)
    worse.circuit_ = model.circuit_.replace(u_rest=[15, 8] * pq.mV)
    assert model.score(counts) > worse.score(counts) + 0.005


def test_samples_look_like_the_training_data(model, counts):
    X, activity = model.sample(3000, random_state=1)
    assert X.shape == (3000, 4)
    assert activity.shape == (3000, 2)
    assert set(np.unique(X)) == {0.0, 1.0}
    rates = X.reshape(3000, 2, 2).mean(axis=(0, 2)) / 0.002
    assert_allclose(rates, activity.mean(axis=0), rtol=0.25)
    again, _ = model.sample(3000, random_state=1)
    assert_array_equal(X, again)
    assert not np.array_equal(X, model.sample(3000)[0])
    gap = min(np.diff(np.flatnonzero(column)).min() for column in X.T)
    assert gap > 2  # the refractory period of 4 ms
    assert np.isfinite(model.score(X))
    with pytest.raises(ValueError, match="n_samples is 0"):
        model.sample(0)


def test_the_fitted_circuit_runs_by_itself_on_both_levels(model):
    coarse = model.simulate(2 * pq.s, random_state=1)
    fine = model.simulate(2 * pq.s, level="microscopic", random_state=1)
    assert coarse.n.shape == fine.n.shape == (1000, 2)
    assert coarse.names == fine.names == ("E", "I")
    assert_allclose(coarse.activity.mean(axis=0), fine.activity.mean(axis=0), rtol=0.2)
    assert [train.annotations["population"] for train in fine.spiketrains] == ["E", "E", "I", "I"]
    assert coarse.n_bar is not None
    three = model.simulate(0.1 * pq.s, n_trials=3, random_state=1)
    assert [run.n.shape for run in three] == [(50, 2)] * 3
    assert not np.array_equal(three[0].n, three[1].n)
    assert_array_equal(model.simulate(0.1 * pq.s, n_trials=3, random_state=1)[2].n, three[2].n)
    driven = model.simulate(2 * pq.s, [3, 0] * pq.mV, random_state=1)
    assert driven.activity[:, 0].mean() > 1.3 * coarse.activity[:, 0].mean()
    pulse = np.repeat([[0, 0], [40, 0]], [50, 14], axis=0) * pq.mV
    for level in ("mesoscopic", "microscopic"):
        short = model.simulate(64 * 0.5 * pq.ms, pulse, level=level, bin_size=0.5 * pq.ms, random_state=1)
        assert short.n.shape == (64, 2) and short.bin_size == 0.0005
        assert short.activity[50:, 0].mean() > 2 * short.activity[:50, 0].mean()
    with pytest.raises(ValueError, match="level is 'macro'"):
        model.simulate(1 * pq.s, level="macro")
    with pytest.raises(ValueError, match="n_trials is 0"):
        model.simulate(1 * pq.s, n_trials=0)


def test_a_first_order_fit_runs_in_bins_of_its_own_only(counts):
    model = NeuLVM(two_populations(), labels=[0, 0, 1, 1], scheme="euler", **QUICK).fit(counts[0])
    assert model.simulate(10 * pq.ms, bin_size=2 * pq.ms).n.shape == (5, 2)
    with pytest.raises(ValueError, match=r'bin_size is 1 ms; with the scheme "euler" the fit is a model at 2 ms only'):
        model.simulate(10 * pq.ms, bin_size=1 * pq.ms)


@pytest.mark.parametrize("bin_size", [1, 2.5])
def test_microscopic_simulation_finds_a_time_step_for_any_bin(counts, bin_size):
    settings = {**QUICK, "bin_size": bin_size * pq.ms}
    model = NeuLVM(two_populations(t_ref=5 * pq.ms), labels=[0, 0, 1, 1], **settings)
    sparse = counts[0] * (np.arange(500) % 8 == 0)[:, None]  # no spikes within the refractory period
    run = model.fit(sparse).simulate(20 * bin_size * pq.ms, level="microscopic", random_state=1)
    assert run.n.shape == (20, 2)


# --- stimulus and start ----------------------------------------------------------------------------------------------


def test_a_stimulus_comes_in_one_form_for_all_trials_or_one_per_trial(model, counts):
    drive = np.random.default_rng(0).normal(size=(1500, 2)) * pq.mV
    parts = [drive[:500], drive[500:1000], drive[1000:]]
    separate = [model.transform(X, stimulus=part) for X, part in zip(counts, parts, strict=True)]
    for a, b in zip(separate, model.transform(counts, stimulus=parts), strict=True):
        assert_array_equal(a, b)
    joined = model.transform(np.concatenate(counts), trials=np.repeat([0, 1, 2], 500), stimulus=drive)
    assert_array_equal(joined, np.concatenate(separate))
    assert_array_equal(model.transform(counts, stimulus=drive[:500])[0], separate[0])
    assert not np.array_equal(separate[0], model.transform(counts[0]))
    with pytest.raises(ValueError, match="stimulus is a list of 2, but X has 3 trials"):
        model.transform(counts, stimulus=parts[:2])
    with pytest.raises(TypeError, match="stimulus has no unit"):
        model.transform(counts, stimulus=1.0)
    with pytest.raises(ValueError, match="stimulus has shape"):
        model.score(counts[0], stimulus=np.zeros((5, 2)) * pq.mV)


def test_a_stimulus_signal_is_read_on_the_clock_of_the_recording(trains):
    signal = neo.AnalogSignal(np.ones((1200, 2)), units="mV", t_start=19.9 * pq.s, sampling_rate=1 * pq.kHz)
    model = NeuLVM(two_populations(), labels="population", **QUICK).fit(trains[1], stimulus=signal)  # 20 to 21 s
    constant = model.transform(trains[1], stimulus=1 * pq.mV)
    assert_allclose(model.transform(trains[1], stimulus=signal), constant, rtol=1e-9)
    with pytest.raises(ValueError, match="stimulus covers 19.9-21.1 s, but the bins reach from 10 to 11 s"):
        model.fit(trains[0], stimulus=signal)


def test_a_fit_may_start_anywhere(counts):
    given = two_populations(u_rest=[12.5, 10.5] * pq.mV)
    seen = []

    def draw(rng, circuit, counts, labels, bin_size):
        seen.append((type(rng), circuit.names, counts[0].shape, labels.tolist(), bin_size))
        return given

    fits = [
        NeuLVM(two_populations(), labels=[0, 0, 1, 1], start=start, **QUICK).fit(counts[0])
        for start in (given, parameters_of(given), draw)
    ]
    assert len(seen) >= 1
    assert all(x == (np.random.Generator, ("E", "I"), (500, 4), [0, 0, 1, 1], 0.002) for x in seen)
    for fit in fits[1:]:
        assert_array_equal(fit.u_rest_.magnitude, fits[0].u_rest_.magnitude)


# --- Neo, files, pickles ---------------------------------------------------------------------------------------------


def test_to_neo_keeps_the_clock_the_names_and_the_sizes(trains):
    model = NeuLVM(two_populations(), labels="population", **QUICK).fit(block_of(*trains))
    block = model.to_neo()
    assert [float(s.analogsignals[0].t_start.rescale("s")) for s in block.segments] == [10.0, 20.0, 30.0]
    signal = block.segments[1].analogsignals[0]
    assert signal.dimensionality.string == "Hz"
    assert_allclose(signal.magnitude, model.activity_[1])
    assert float(signal.sampling_period.rescale("ms")) == pytest.approx(2)
    assert signal.array_annotations["channel_names"].tolist() == ["E", "I"]
    assert signal.array_annotations["n_recorded"].tolist() == [2, 2]
    assert [g.name for g in block.groups] == ["E", "I"]
    assert_allclose(block.groups[1].channelviews[2].resolve().magnitude[:, 0], model.activity_[2][:, 1])
    annotated = annotated_block(block_of(*trains), model.result_)
    assert annotated.segments[0].spiketrains[3].annotations["neulvm_population"] == "I"


@pytest.mark.parametrize("method", ["smc", "viterbi"])
def test_a_loaded_model_does_the_same(tmp_path, trains, counts, method):
    model = NeuLVM(two_populations(), labels=["E", "E", "I", "I"], method=method, **QUICK).fit(trains[0])
    model.save(tmp_path / "model.npz")
    loaded = NeuLVM.load(tmp_path / "model.npz")
    assert_array_equal(loaded.transform(trains[1]), model.transform(trains[1]))
    assert_array_equal(loaded.activity_, model.activity_)
    assert loaded.score(trains[1]) == model.score(trains[1])
    assert_array_equal(loaded.sample(50, random_state=1)[0], model.sample(50, random_state=1)[0])
    assert_array_equal(loaded.simulate(1 * pq.s, random_state=1).n, model.simulate(1 * pq.s, random_state=1).n)
    for name in ("labels_", "label_names_", "histories_", "J_", "u_rest_"):
        assert_array_equal(np.asarray(getattr(loaded, name)), np.asarray(getattr(model, name)))
    assert (loaded.log_likelihood_, loaded.n_iter_, loaded.trace_) == (model.log_likelihood_, 1, model.trace_)
    assert loaded.get_params()["circuit"].to_toml() == two_populations().to_toml()
    again = clone(loaded).fit(trains[0])
    assert_array_equal(again.u_rest_.magnitude, model.u_rest_.magnitude)
    with pytest.raises(ValueError, match="another order"):
        loaded.transform(trains[0][::-1])
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "model.npz")
    model.save(tmp_path / "model.npz", overwrite=True)
    assert load_fit(tmp_path / "model.npz").labels == ("E", "E", "I", "I")


def test_what_a_file_cannot_hold_is_left_out_and_the_rest_is_kept(tmp_path, counts):
    import pandas as pd

    model = NeuLVM(
        labels=np.array([0, 0, 1, 1]), population_sizes=np.array([150, 50]), start=lambda rng, c, *_: c,
        **{**QUICK, "bin_size": 0.002 * pq.s, "random_state": np.random.default_rng(0)},
    )  # fmt: skip
    model.fit(pd.DataFrame(counts[0], columns=list("abcd")))
    model.save(tmp_path / "model.npz")
    loaded = NeuLVM.load(tmp_path / "model.npz")
    assert loaded.start is None
    assert loaded.random_state is None
    assert loaded.bin_size == 2 * pq.ms
    assert loaded.feature_names_in_.tolist() == list("abcd")
    assert list(loaded.labels) == [0, 0, 1, 1]
    assert_array_equal(loaded.transform(pd.DataFrame(counts[1], columns=list("abcd"))),
                       model.transform(pd.DataFrame(counts[1], columns=list("abcd"))))  # fmt: skip


def test_a_file_with_a_mere_result_is_no_model(tmp_path, model):
    save_fit(tmp_path / "fit.npz", dataclasses.replace(model.result_, state={}))
    with pytest.raises(ValueError, match="not the model; save it with NeuLVM.save"):
        NeuLVM.load(tmp_path / "fit.npz")


def test_models_can_be_pickled_copied_and_cloned(model, counts):
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(other.transform(counts[0]), model.transform(counts[0]))
    fresh = clone(model)
    assert not hasattr(fresh, "circuit_")
    assert fresh.get_params()["bin_size"] == 2 * pq.ms
    assert "Circuit of 2 populations" in repr(fresh)


# --- randomness ------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_fit_in_every_form_and_for_any_number_of_jobs(counts):
    def fit(random_state, **settings):
        settings = {**QUICK, "n_init": 2, "random_state": random_state, **settings}
        return NeuLVM(two_populations(), labels=[0, 0, 1, 1], **settings).fit(counts[0])

    one, parallel = fit(3), fit(3, n_jobs=2)
    assert_array_equal(one.u_rest_.magnitude, parallel.u_rest_.magnitude)
    assert one.log_likelihood_ == parallel.log_likelihood_
    for a, b in zip(one.transform(counts[1:]), parallel.transform(counts[1:]), strict=True):
        assert_array_equal(a, b)
    generator = fit(np.random.default_rng(3))
    assert_array_equal(generator.u_rest_.magnitude, one.u_rest_.magnitude)
    assert fit(np.random.RandomState(3)).log_likelihood_ == fit(np.random.RandomState(3)).log_likelihood_
    assert fit(4).log_likelihood_ != one.log_likelihood_


# --- scikit-learn ----------------------------------------------------------------------------------------------------


def test_cross_validation_splits_by_trial(counts):
    model = NeuLVM(two_populations(), labels=[0, 0, 1, 1], **QUICK)
    scores = cross_val_score(model, counts, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    X, trials = np.concatenate(counts), np.repeat([0, 1, 2], 500)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = model.set_fit_request(trials=True).set_score_request(trials=True)
        by_group = cross_validate(routed, X, params={"trials": trials, "groups": trials}, cv=GroupKFold(3))
    assert_allclose(np.sort(by_group["test_score"]), np.sort(scores))
    assert np.isfinite(cross_val_score(model, counts[0], cv=TimeSeriesSplit(2))).all()


def test_a_grid_search_over_trials_works(counts):
    grid = {"circuit": [two_populations(), two_populations(threshold=12 * pq.mV, free=("tau_syn",))]}
    search = GridSearchCV(NeuLVM(labels=[0, 0, 1, 1], **QUICK), grid, cv=2).fit(counts)
    assert search.best_params_["circuit"].free == ("u_rest",)
    assert search.best_estimator_.transform(counts[0]).shape == (500, 2)


# --- going on, looking on, and pipelines ------------------------------------------------------------------------------


def test_a_warm_start_goes_on_from_the_fit_before(counts):
    settings = dict(labels=[0, 0, 1, 1], **{**QUICK, "n_init": 2, "method": "viterbi"})
    circuit = two_populations(free=("u_rest", "threshold"))
    model = NeuLVM(circuit, warm_start=True, **settings).fit(counts[:2])
    seen = []

    def begin(rng, circuit, counts, labels, bin_size):
        seen.append(labels.tolist())
        return circuit

    first = model.u_rest_
    model.set_params(start=begin).fit(counts[:2])  # the start is where the fit before ended, not this one
    assert not seen
    assert {record["start"] for record in model.trace_} == {0}
    assert not np.array_equal(first, model.u_rest_)
    given = NeuLVM(circuit, start=Circuit.from_dict(circuit.to_dict()), **settings)
    assert_array_equal(clone(given).fit(counts[0]).u_rest_, given.set_params(warm_start=True).fit(counts[0]).u_rest_)
    fewer = [trial[:, :3] for trial in counts]  # another recording: from the beginning
    assert model.set_params(labels=[0, 0, 1]).fit(fewer).n_features_in_ == 3
    assert seen


@pytest.mark.slow
def test_a_start_that_is_given_may_stay_where_it_is(counts):
    truth = two_populations(free=("u_rest", "threshold"))
    settings = {**QUICK, "n_particles": 50}
    there = NeuLVM(truth, labels=[0, 0, 1, 1], start=truth, **settings).fit(counts)
    assert_allclose(there.u_rest_.magnitude, [13, 11], atol=2.0)


class _Callback:
    """Counts the ends of tasks, and asks to stop after so many."""

    def __init__(self, stop_after):
        self.stop_after, self.ended, self.torn_down = stop_after, [], 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **_):
        pass

    def on_fit_task_end(self, estimator, context, **_):
        self.ended.append(context.task_name)
        return len(self.ended) == self.stop_after

    def teardown(self, estimator, context):
        self.torn_down += 1


@pytest.mark.parametrize("method, free", [("smc", ("u_rest", "threshold")), ("smc", ("u_rest",)), ("viterbi", None)])
def test_callbacks_look_on_and_may_stop_the_fit(counts, method, free):
    callbacks = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    circuit = two_populations() if free is None else two_populations(free=free)
    stop = _Callback(stop_after=2)
    model = NeuLVM(circuit, labels=[0, 0, 1, 1], **{**QUICK, "max_iter": 7, "method": method})
    with pytest.warns(ConvergenceWarning, match="stopped by a callback.*The best parameters so far are kept"):
        model.set_callbacks(stop, callbacks.ProgressBar()).fit(counts[0])
    assert stop.ended == ["step", "step", "fit"]
    assert stop.torn_down == 1
    assert np.isfinite(model.score(counts[1]))
    assert not [name for name in vars(model) if "ctx" in name]


@pytest.mark.filterwarnings("ignore:Trial .* loses track")  # 40 particles
def test_trials_find_their_way_through_a_pipeline(counts):
    X, trials = np.concatenate(counts), np.repeat([0, 1, 2], 500)
    model = NeuLVM(two_populations(), labels=[0, 0, 1, 1], **QUICK)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = model.set_fit_request(trials=True).set_transform_request(trials=True)
        pipeline = make_pipeline(FunctionTransformer(), routed).fit(X, trials=trials)
        activity = pipeline.transform(X, trials=trials)
    alone = clone(model).fit(counts)
    assert_array_equal(activity, np.concatenate(alone.transform(counts)))


@pytest.mark.filterwarnings("ignore:Trial .* loses track")  # 40 particles
def test_segments_go_through_a_pipeline_with_a_binner(trains):
    segments = block_of(*trains).segments
    model = NeuLVM(two_populations(), labels=[0, 0, 1, 1], **QUICK)
    pipeline = make_pipeline(SpikeTrainBinner(bin_size=2 * pq.ms), model)
    activities = pipeline.fit(segments).transform(segments)
    assert [trial.shape for trial in activities] == [(500, 2)] * 3
    assert_array_equal(activities[1], clone(model).fit(segments).transform(segments[1]))
    assert pipeline.get_feature_names_out().tolist() == ["E", "I"]
    scores = cross_val_score(pipeline, list(segments[:2]), cv=2)
    assert_allclose(scores, cross_val_score(model, [binned(trial) for trial in trains[:2]], cv=2))
    grid = {"spiketrainbinner__bin_size": [2 * pq.ms, 4 * pq.ms], "neulvm__bin_size": [2 * pq.ms]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(list(segments[:2]))
    assert search.best_params_["spiketrainbinner__bin_size"] in (2 * pq.ms, 4 * pq.ms)


def test_a_long_recording_is_fitted_stretch_by_stretch_from_its_file(tmp_path):
    """Only one stretch is in memory at a time; every fit goes on from the one before."""
    write_nwb(tmp_path / "long.nwb", block_of(record(1.5).spiketrains))
    settings = {**QUICK, "method": "viterbi"}
    model = NeuLVM(two_populations(free=("u_rest", "threshold")), labels="population", warm_start=True, **settings)
    ends = []
    for start in (0.0, 0.5, 1.0):
        stretch = read_nwb(tmp_path / "long.nwb", window=(start, start + 0.5))
        model.fit(stretch)
        ends.append(model.u_rest_.magnitude)
        assert len(model.activity_) == 250 or len(model.activity_[0]) == 250
    assert not np.array_equal(ends[0], ends[2])
    alone = clone(model).fit(stretch)
    assert not np.array_equal(ends[2], alone.u_rest_.magnitude)


# --- beyond constant rates --------------------------------------------------------------------------------------------


def test_bits_per_spike_compare_the_score_with_constant_rates(model, counts):
    X = counts[:2]
    n_bins, n_spikes = sum(map(len, X)), sum(trial.sum() for trial in X)
    for options, other in (
        ({}, constant_rates_log_likelihood(X)),
        ({"against": "populations"}, constant_rates_log_likelihood(X, labels=[0, 0, 1, 1])),
        ({"training": counts[2]}, constant_rates_log_likelihood(X, training=[counts[2]])),
    ):
        expected = (model.score(X) * n_bins - other) / (n_spikes * np.log(2))
        assert model.bits_per_spike(X, **options) == pytest.approx(expected)


def test_bits_per_spike_leave_out_unassigned_neurons_and_unknown_rivals_are_refused(counts):
    X = counts[0][:150]
    model = NeuLVM(two_populations(), labels=[0, -1, 1, 1], **QUICK).fit(X)
    other = X.copy()
    other[:, 1] = 1.0
    assert model.bits_per_spike(other) == model.bits_per_spike(X)
    with pytest.raises(ValueError, match="against is 'neuron'; expected one of 'neurons', 'populations'"):
        model.bits_per_spike(X, against="neuron")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_intervals_are_found_on_request_where_the_fit_has_none_and_know_what_the_data_know():
    circuit = Circuit([100], names=["E"], u_rest=12 * pq.mV, free=("u_rest", "threshold"))
    recording = simulate_microscopic(circuit, duration=1 * pq.s, n_recorded=3, random_state=1).spiketrains
    model = NeuLVM(
        circuit, labels="population", method="viterbi", bin_size=2 * pq.ms, n_init=1, max_iter=8, n_particles=20,
        start=circuit, random_state=1,
    ).fit(recording)  # fmt: skip
    assert model.result_.uncertainty is None
    with pytest.raises(ValueError, match="give the training data"):
        model.uncertainty()
    found = model.uncertainty(recording)
    assert model.uncertainty() is found and model.result_.uncertainty is found
    np.testing.assert_allclose(found.estimate, [model.u_rest_[0], model.threshold_[0]])
    difference, low, high = model.interval(lambda p: p.u_rest[0] - p.threshold[0])
    assert low < difference < high
    assert high - low < 0.5 * (found.upper[0] - found.lower[0])  # only the difference is known
    assert "does not tell apart" in found.undetermined[0]
    first, second = model.draw_circuits(2, random_state=3), model.draw_circuits(2, random_state=3)
    assert [c.u_rest for c in first] == [c.u_rest for c in second] and first[0].u_rest != first[1].u_rest
    for n_draws in (0, 1.5):
        with pytest.raises(ValueError, match=f"n_draws is {n_draws}; expected a whole number"):
            model.draw_circuits(n_draws)


# --- thresholds of their own ------------------------------------------------------------------------------------------


DIFFERENT = np.array([2.2, 1.0, 0.4, 1.8, 1.0, 0.5])  # excitability of three neurons of E and of three of I


@pytest.fixture(scope="module")
def of_different_neurons():
    """Two recordings of 12 s of unequal neurons, and fits to the first: with thresholds of their own, and without."""
    training, held_out = (
        record(12.0, n_recorded=(3, 3), seed=seed, excitability=DIFFERENT).spiketrains for seed in (3, 4)
    )
    settings = QUICK | dict(labels="population", max_iter=25, n_particles=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [NeuLVM(two_populations(), own_thresholds=own, **settings).fit(training) for own in (True, False)]
    return training, held_out, *fits


def test_neurons_of_their_own_thresholds_are_found_and_predicted(of_different_neurons):
    training, held_out, own, alike = of_different_neurons
    thresholds = own.neuron_thresholds_
    assert thresholds.shape == (6,) and thresholds.units == pq.mV and alike.neuron_thresholds_ is None
    differences = own.threshold_[own.labels_] - thresholds
    assert_allclose(differences.magnitude, np.log(DIFFERENT), atol=0.3)
    # what they have in common is less certain than what tells them apart
    within_i = differences.magnitude[3:] - np.log(DIFFERENT[3:])
    assert_allclose(within_i, within_i.mean(), atol=0.12)
    assert own.bits_per_spike(held_out, training=training) > alike.bits_per_spike(held_out, training=training) + 0.1
    # of the circuit they hide less than differences that nothing explains
    assert_allclose(own.u_rest_.magnitude, [13, 11], atol=0.8)


def test_recordings_drawn_from_such_a_fit_differ_as_its_neurons_do(of_different_neurons):
    training, _, own, alike = of_different_neurons
    recorded = binned(training).mean(axis=0)
    assert_allclose(own.sample(20_000, random_state=1)[0].mean(axis=0) / recorded, 1, atol=0.25)
    assert np.ptp(alike.sample(20_000, random_state=1)[0].mean(axis=0)[:3]) < 0.3 * np.ptp(recorded[:3])


def test_such_a_fit_is_the_same_after_saving_and_for_its_columns_in_any_order(of_different_neurons, tmp_path):
    training, held_out, own, _ = of_different_neurons
    own.save(tmp_path / "fit.npz")
    again = NeuLVM.load(tmp_path / "fit.npz")
    assert again.own_thresholds is True and again.result_.settings["own_thresholds"] is True
    assert_array_equal(again.neuron_thresholds_, own.neuron_thresholds_)
    assert again.score(held_out) == own.score(held_out)
    X, order = binned(training), [4, 0, 5, 1, 3, 2]
    labels = own.labels_[order]
    settings = QUICK | dict(max_iter=3, n_particles=20, own_thresholds=True)
    mixed = NeuLVM(two_populations(), labels=[*labels, -1], **settings)
    mixed.fit(np.column_stack([X[:, order], np.zeros(len(X))]))
    assert np.isnan(mixed.neuron_thresholds_[-1])
    found = mixed.threshold_[labels] - mixed.neuron_thresholds_[:-1]
    assert_allclose(found.magnitude, np.log(DIFFERENT[order]), atol=0.3)
    rates = mixed.sample(20_000, random_state=1)[0].mean(axis=0)
    assert rates[-1] == 0
    assert_allclose(rates[:-1] / X[:, order].mean(axis=0), 1, atol=0.3)
    trains = mixed.simulate(40 * pq.s, level="microscopic", random_state=1).spiketrains
    assert [train.annotations["population"] for train in trains] == ["E"] * 3 + ["I"] * 3
    rates, by_population = [len(train) / 40 for train in trains], X[:, order][:, np.argsort(labels, kind="stable")]
    assert_allclose(rates / (by_population.mean(axis=0) / 0.002), 1, atol=0.3)


def test_the_uncertainty_of_such_a_fit_is_that_of_its_own_likelihood(of_different_neurons):
    training, _, own, _ = of_different_neurons
    found = own.uncertainty(training)
    assert np.all(found.lower < found.upper) and found.names == ("u_rest[E]", "u_rest[I]")


def test_where_many_values_are_free_they_are_found_as_well(of_different_neurons):
    training = [train.time_slice(0 * pq.s, 4 * pq.s) for train in of_different_neurons[0]]
    circuit = two_populations(free=("u_rest", "threshold"))
    model = NeuLVM(circuit, labels="population", start=circuit, own_thresholds=True, **QUICK).fit(training)
    assert_allclose((model.threshold_[model.labels_] - model.neuron_thresholds_).magnitude, np.log(DIFFERENT), atol=0.4)
    assert model.score(training) * 2000 == pytest.approx(model.log_likelihood_, rel=0.01)


@pytest.mark.parametrize("method", ["viterbi", "paper"])
def test_other_methods_take_the_thresholds_from_the_rates(of_different_neurons, method):
    training, *_ = of_different_neurons
    model = NeuLVM(two_populations(), labels="population", method=method, own_thresholds=True, **QUICK)
    model.fit([train.time_slice(0 * pq.s, 2 * pq.s) for train in training])
    differences = model.threshold_[model.labels_] - model.neuron_thresholds_
    assert np.all(np.diff(differences.magnitude.reshape(2, 3)) < 0)


def test_own_thresholds_is_true_or_false():
    with pytest.raises(TypeError, match="own_thresholds is 'yes'; expected True or False"):
        NeuLVM(two_populations(), own_thresholds="yes", labels=[0, 1], **QUICK).fit(np.ones((10, 2)))
