"""Populations that may be of one kind: who they are, and what a circuit is in which they are alike."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import Circuit
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.kinds import alike, groups_of, shared
from neulvm_neo.parameters import ParameterSpace, parameters_of

FIVE = Circuit([200, 200, 200, 50, 50], names=["A", "B", "C", "I", "S"], signs=[1, 1, 1, -1, -1])


def changed(name, value):
    array = np.array(getattr(FIVE, name))
    array[1] = value
    return array


@pytest.mark.parametrize(
    "changes",
    [
        {"n_neurons": changed("n_neurons", 100)},
        {"t_ref": changed("t_ref", 3.0) * pq.ms},
        {"delay": changed("delay", 1.0) * pq.ms},
        {"tau_syn": changed("tau_syn", 5.0) * pq.ms},
        {"u_rest": changed("u_rest", 11.0) * pq.mV, "free": ("J", "tau_m", "threshold")},
        {"mask": [[True] * 5, [True] * 5, [True] * 5, [True] * 5, [True, False, True, True, True]]},
        {"bounds": {"tau_m": ([5.0, 6.0, 5.0, 5.0, 5.0] * pq.ms, 50 * pq.ms)}},
        {"prior": {"u_rest": ([10.0, 12.0, 10.0, 10.0, 10.0] * pq.mV, 1 * pq.mV)}},
        {"ties": {"threshold": ["", "b", "", "b", ""]}},
        {"resistance": [1.0, 2.0, 1.0, 1.0, 1.0] * pq.MOhm},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_given_tells_populations_apart(changes):
    assert groups_of(FIVE) == ((0, 1, 2), (3, 4))
    assert groups_of(FIVE.replace(**changes))[0] == (0, 2)


def test_starts_of_free_values_do_not_tell_populations_apart_and_unknown_signs_say_nothing():
    u_rest, tau_m = [8.0, 12.0, 9.0, 7.0, 6.0] * pq.mV, [10.0, 20.0, 30.0, 5.0, 6.0] * pq.ms
    assert groups_of(FIVE.replace(u_rest=u_rest, tau_m=tau_m)) == ((0, 1, 2), (3, 4))
    assert groups_of(FIVE.replace(signs=[0, 0, 1, -1, -1])) == ((3, 4),)
    assert groups_of(Circuit.default(3)) == ()


def test_kinds_that_are_given_win():
    other_sizes = FIVE.replace(n_neurons=[200, 100, 200, 50, 50])
    assert groups_of(other_sizes.replace(kinds=["E", "E", "", "I", None])) == ((0, 1),)
    assert groups_of(FIVE.replace(kinds=list("abcde"))) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": ["E", "E"]}, r"kinds is \['E', 'E'\]; expected one label for every population \(5\)"),
        ({"kinds": "EEEII"}, "kinds is 'EEEII'; expected one label"),
        ({"kinds": ["E", "E", "E", "E", "S"]}, "'C' and 'I' are alike, but signs tells them apart"),
        (
            {"kinds": ["E", "E", "", "", ""], "prior": {"u_rest": ([10.0, 12.0, 10.0, 10.0, 10.0] * pq.mV, 1 * pq.mV)}},
            r"'A' and 'B' are alike, but prior\['u_rest'\] tells them apart",
        ),
    ],
)
def test_kinds_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FIVE.replace(**changes)


def test_kinds_survive_the_text_form():
    kinds = ("E", "E", "", "I", "I")
    assert Circuit.from_toml(FIVE.replace(kinds=kinds).to_toml()).kinds == kinds
    assert Circuit.from_toml(FIVE.to_toml()).kinds is None


@pytest.mark.parametrize("circuit", [FIVE, winner_take_all()], ids=["five", "winner-take-all"])
def test_exchanging_populations_that_are_alike_changes_nothing(circuit):
    groups = groups_of(circuit)
    space = ParameterSpace(alike(circuit, groups))
    p = space.unpack(space.draw(np.random.default_rng(1)))
    order = np.arange(circuit.n_populations)
    for group in groups:
        order[list(group)] = np.roll(group, 1)
    np.testing.assert_array_equal(p.J, p.J[np.ix_(order, order)])
    for name in ("tau_m", "u_rest", "threshold"):
        np.testing.assert_array_equal(getattr(p, name), getattr(p, name)[order])
    assert len(np.unique(np.round(p.u_rest, 9))) == circuit.n_populations - sum(len(group) - 1 for group in groups)


def test_the_winner_take_all_circuit_keeps_its_ties_and_has_eight_values_left():
    space = ParameterSpace(alike(winner_take_all(), groups_of(winner_take_all())))
    assert space.names == (
        "J_e1, J_e2", "J_i", "tau_m[E1, E2]", "tau_m[I]", "u_rest[E1, E2]", "u_rest[I]", "threshold[E1, E2]",
        "threshold[I]",
    )  # fmt: skip


def test_numbers_that_differ_are_averaged_time_constants_by_their_logarithms():
    circuit = FIVE.replace(tau_m=[10.0, 40.0, 20.0, 5.0, 20.0] * pq.ms, u_rest=[1.0, 2.0, 6.0, 4.0, 4.0] * pq.mV)
    tied = alike(circuit, groups_of(circuit))
    np.testing.assert_allclose(tied.tau_m.magnitude, [20.0, 20.0, 20.0, 10.0, 10.0])
    np.testing.assert_allclose(tied.u_rest.magnitude, [3.0, 3.0, 3.0, 4.0, 4.0])
    p = shared(parameters_of(circuit), tied)
    for found, expected in zip(p, parameters_of(tied), strict=True):
        np.testing.assert_allclose(found, expected)
    again = shared(p, tied)
    np.testing.assert_array_equal(again.tau_m, p.tau_m)


def test_couplings_that_do_not_exist_are_not_averaged():
    """Labels of ties may stand at entries that the mask leaves out."""
    circuit = winner_take_all()
    p = parameters_of(circuit)
    np.testing.assert_array_equal(shared(p, circuit).J, p.J)
    np.testing.assert_array_equal(shared(p, alike(circuit, groups_of(circuit))).J, p.J)
