"""Whether populations are alike: found by the search, paid for by the number of values, and told in words."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import Circuit, NeuLVM, simulate_microscopic
from neulvm_neo.binning import bin_recording
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.inference import em, monte_carlo, structures
from neulvm_neo.likelihood import Observation
from neulvm_neo.parameters import ParameterSpace, parameters_of
from neulvm_neo.recording import SpikeRecording

pytestmark = pytest.mark.filterwarnings("ignore:EM has not converged")

DT = 0.004
LABELS = np.repeat([0, 1], 4)


def uncoupled(**changes):
    given = dict(
        n_neurons=[100, 100], names=["A", "B"], signs=[1, 1], mask=np.zeros((2, 2), bool), u_rest=12 * pq.mV,
        threshold=9 * pq.mV, t_ref=4 * pq.ms, free=("tau_m", "u_rest"), spread={},
    )  # fmt: skip
    return Circuit(**(given | changes))


def recorded(circuit, seed):
    run = simulate_microscopic(circuit, duration=4 * pq.s, bin_size=4 * pq.ms, n_recorded=4, random_state=seed)
    (counts,) = bin_recording(SpikeRecording.from_neo(run.spiketrains), DT)
    return counts


def fitted(counts, circuit, seed=1, **settings):
    settings = {"n_init": 1, "max_iter": 9, "n_particles": 30} | settings
    return em.fit(circuit, [counts], LABELS, rng=np.random.default_rng(seed), bin_size=DT, **settings)


@pytest.mark.parametrize("seed", [1, 2])
def test_populations_of_one_kind_are_found_alike(seed):
    result = fitted(recorded(uncoupled(), seed), uncoupled())
    assert ParameterSpace(result.circuit).n_free == 2
    assert result.parameters.u_rest[0] == result.parameters.u_rest[1]
    (told,) = result.kinds
    assert told.startswith("A and B are taken for alike: values of their own gain")


@pytest.mark.parametrize("n_init", [1, 2])
def test_populations_that_differ_get_values_of_their_own_even_if_no_start_had_them(n_init):
    counts = recorded(uncoupled(u_rest=[11.2, 12.5] * pq.mV), seed=3)
    result = fitted(counts, uncoupled(), n_init=n_init, max_iter=4 + 5 * n_init)
    assert ParameterSpace(result.circuit).n_free == 4
    assert result.parameters.u_rest[1] > result.parameters.u_rest[0]
    (told,) = result.kinds
    assert told.startswith("A and B differ: values of their own gain")


def test_labels_that_differ_switch_it_off(monkeypatch):
    circuit = uncoupled(kinds=["A", "B"])
    monkeypatch.setattr(monte_carlo, "_reconsider", None)  # not to be called where nothing may be alike
    result = fitted(recorded(circuit, 1), circuit, max_iter=6)  # one round of the ascent, after which it would be
    assert ParameterSpace(result.circuit).n_free == 4 and result.kinds == ()


def test_a_fit_that_ends_early_says_that_it_did_not_look():
    result = fitted(recorded(uncoupled(), 1), uncoupled(), n_init=1, max_iter=2)
    assert result.kinds == ("A and B are taken for alike; the fit ended before it was seen whether they are alike.",)


def test_structures_differ_in_one_kind_each_and_pay_for_their_values():
    circuit = Circuit([200, 200, 200, 50, 50], signs=[1, 1, 1, -1, -1])
    observation = Observation.from_counts(np.eye(20, 10), np.arange(10) % 5, 5, np.ones(5))
    among = structures.structures_of(ParameterSpace(circuit), [observation])
    assert [s.together for s in among] == [((0, 1, 2), (3, 4)), ()]
    for structure in among:
        assert structure.price == pytest.approx(0.5 * structure.space.n_free * np.log(10))
    excitatory, inhibitory = among[0].together
    only_inhibitory = structures.other_way(excitatory, among[0], among, [observation])
    assert only_inhibitory.together == (inhibitory,)
    assert structures.other_way(inhibitory, only_inhibitory, among, [observation]).together == ()
    assert structures.other_way(excitatory, only_inhibitory, among, [observation]).together == among[0].together


def test_theta_moves_between_structures():
    circuit = Circuit([200, 200], signs=[1, 1], u_rest=[10.0, 12.0] * pq.mV)
    observation = Observation.from_counts(np.eye(20, 2), np.arange(2), 2, np.ones(2))
    together, apart = structures.structures_of(ParameterSpace(circuit), [observation])
    theta = structures.moved(apart.space.pack(parameters_of(circuit)), apart, together)
    np.testing.assert_allclose(together.space.unpack(theta).u_rest, 11.0)
    back = structures.moved(theta, together, apart)
    np.testing.assert_allclose(apart.space.unpack(back).u_rest, 11.0)


def test_what_was_found_about_kinds_survives_files_and_serves_intervals(tmp_path):
    run = simulate_microscopic(uncoupled(), duration=2 * pq.s, n_recorded=3, random_state=1)
    settings = {"bin_size": 4 * pq.ms, "n_init": 1, "max_iter": 6, "n_particles": 20, "random_state": 1, "tol": 100.0}
    model = NeuLVM(uncoupled(), labels="population", **settings).fit(run.spiketrains)
    assert model.u_rest_[0] == model.u_rest_[1]
    model.save(tmp_path / "fit.npz")
    loaded = NeuLVM.load(tmp_path / "fit.npz")
    assert loaded.result_.kinds == model.result_.kinds
    assert "A and B are taken for alike" in loaded.result_.kinds[0]
    assert loaded.circuit_.ties["u_rest"].tolist() == ["A, B", "A, B"]
    assert loaded.circuit.ties == {}  # what was given stays what it was
    assert model.uncertainty(run.spiketrains).names == ("tau_m[A, B]", "u_rest[A, B]")
    estimate, lower, upper = model.interval(lambda p: p.u_rest[0] - p.u_rest[1])
    assert lower == estimate == upper == 0.0


def test_a_circuit_with_ties_and_a_mask_is_the_same_in_both_structures():
    observation = Observation.from_counts(np.eye(20, 3), np.arange(3), 3, np.ones(3))
    together, apart = structures.structures_of(ParameterSpace(winner_take_all()), [observation])
    theta = together.space.draw(np.random.default_rng(1))
    there = apart.space.unpack(structures.moved(theta, together, apart))
    for one, other in zip(together.space.unpack(theta), there, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)
