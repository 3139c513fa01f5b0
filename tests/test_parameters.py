"""The θ-vector: pack, unpack, gradients, draws and priors, with ties, masks and signs."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo.circuit import Circuit
from neulvm_neo.parameters import Parameters, ParameterSpace, circuit_with, parameters_of


def tied_circuit(**changes):
    """Two populations with a masked coupling, tied columns, one unknown sign left out, everything free."""
    arguments = dict(
        n_neurons=[400, 100],
        names=["E", "I"],
        J=[[10, -20], [10, 0]] * pq.mV,
        tau_m=[20, 10] * pq.ms,
        u_rest=[14.4, -3] * pq.mV,
        threshold=3.7 * pq.mV,
        tau_syn=3 * pq.ms,
        free=("J", "tau_m", "u_rest", "threshold", "tau_syn"),
        mask=[[True, True], [True, False]],
        ties={"J": [["J_e", "J_i"], ["J_e", "J_i"]], "threshold": ["both", "both"], "tau_syn": [1, 1]},
        signs=[1, -1],
        prior={"tau_m": ([20, 15] * pq.ms, [5, np.inf] * pq.ms), "J": (0 * pq.mV, 30 * pq.mV)},
        spread={},
    )
    return Circuit(**(arguments | changes))


CIRCUITS = {"tied": tied_circuit(), "untied": Circuit([100, 50, 20]), "one": Circuit(10, free=("J",), signs=[-1])}


def random_gradient(parameters, rng):
    return Parameters(*(rng.normal(size=np.shape(field)) for field in parameters))


def test_numbers_inside_are_seconds_and_millivolts():
    p = parameters_of(tied_circuit(t_ref=4 * pq.ms, delay=0.01 * pq.s))
    assert p.J.tolist() == [[10, -20], [10, 0]]
    assert p.tau_m.tolist() == [0.02, 0.01] and p.t_ref.tolist() == [0.004] * 2 and p.delay.tolist() == [0.01] * 2
    assert p.n_neurons.tolist() == [400.0, 100.0] and p.n_neurons.dtype == float


def test_round_trips_between_circuit_and_numbers_keep_every_bit():
    rng = np.random.default_rng(1)
    circuit = tied_circuit(ties=None, tau_m=rng.uniform(4, 100, 2) * pq.ms, t_ref=rng.uniform(0, 5, 2) * pq.ms)
    assert circuit_with(circuit, parameters_of(circuit)).to_dict() == circuit.to_dict()
    for _ in range(50):
        p = parameters_of(circuit)._replace(tau_m=rng.uniform(0.004, 0.1, 2), u_rest=rng.normal(size=2))
        once = circuit_with(circuit, p)
        np.testing.assert_allclose(parameters_of(once).tau_m, p.tau_m, rtol=3e-16)
        assert parameters_of(once).u_rest.tolist() == p.u_rest.tolist()
        twice = circuit_with(once, parameters_of(once))
        assert twice.to_dict() == once.to_dict()


def test_new_numbers_enter_and_the_rest_of_the_circuit_stays():
    circuit = tied_circuit()
    p = parameters_of(circuit)
    other = circuit_with(circuit, p._replace(threshold=p.threshold + 1, n_neurons=np.array([300.0, 200.0])))
    assert other.threshold.magnitude.tolist() == [4.7, 4.7] and other.n_neurons.tolist() == [300, 200]
    assert other.ties["J"].tolist() == circuit.ties["J"].tolist() and other.free == circuit.free
    with pytest.raises(ValueError, match="u_rest.*within bounds"):
        circuit_with(circuit, p._replace(u_rest=np.array([500.0, 0.0])))
    with pytest.raises(ValueError, match="u_rest has the shape"):
        circuit_with(circuit, p._replace(u_rest=np.zeros(3)))


def test_ties_and_masks_decide_how_many_values_are_free_and_what_they_are_called():
    space = ParameterSpace(tied_circuit())
    assert space.names == (
        "J_e", "J_i", "tau_m[E]", "tau_m[I]", "u_rest[E]", "u_rest[I]", "threshold[both]", "tau_syn[1]",
    )  # fmt: skip
    assert space.n_free == 8 and space.units == ("mV", "mV", "ms", "ms", "mV", "mV", "mV", "ms")
    theta = space.pack(parameters_of(space.circuit))
    np.testing.assert_allclose(space.values(theta), [10, -20, 20, 10, 14.4, -3, 3.7, 3], rtol=1e-14)
    assert ParameterSpace(Circuit([1, 1], names=["E", "I"], free="J")).names == (
        "J[E←E]", "J[E←I]", "J[I←E]", "J[I←I]",
    )  # fmt: skip
    assert ParameterSpace(Circuit([1], free=())).n_free == 0


@pytest.mark.parametrize("name", CIRCUITS)
def test_unpack_undoes_pack_and_given_values_stay(name):
    space = ParameterSpace(CIRCUITS[name])
    rng = np.random.default_rng(2)
    for _ in range(20):
        theta = space.draw(rng)
        p = space.unpack(theta)
        np.testing.assert_allclose(space.pack(p), theta, rtol=1e-12, atol=1e-12)
        shown = dict(zip(space.names, space.values(theta), strict=True))
        np.testing.assert_allclose(space.theta_of(shown), theta, rtol=1e-12, atol=1e-12)
        again = circuit_with(space.circuit, p)  # every drawn θ is a valid circuit: ties, mask, signs, bounds
        np.testing.assert_allclose(space.pack(parameters_of(again)), theta, rtol=1e-12, atol=1e-12)
    base, free = parameters_of(space.circuit), space.circuit.free
    for field in set(Parameters._fields) - set(free):
        assert getattr(p, field).tolist() == getattr(base, field).tolist()


def test_values_by_other_names_are_refused():
    space = ParameterSpace(Circuit([1], names=["E"], free=("tau_m",)))
    with pytest.raises(ValueError, match=r"values has the names \['J', 'tau_m\[E\]'\]; expected \['tau_m\[E\]'\]"):
        space.theta_of({"tau_m[E]": 10.0, "J": 1.0})


@pytest.mark.parametrize("name", CIRCUITS)
def test_pull_back_is_the_transpose_of_the_derivative_of_unpack(name):
    space = ParameterSpace(CIRCUITS[name])
    rng = np.random.default_rng(3)
    theta, direction = space.draw(rng), rng.normal(size=space.n_free)
    g = random_gradient(space.unpack(theta), rng)

    def loss(theta):  # not linear in the values, so that the slope at θ matters
        return sum(float(np.sum(w * x + 20 * np.sin(x / 20))) for w, x in zip(g, space.unpack(theta), strict=True))

    at_theta = Parameters(*(w + np.cos(x / 20) for w, x in zip(g, space.unpack(theta), strict=True)))
    exact = space.pull_back(theta, at_theta) @ direction
    errors = [(loss(theta + h * direction) - loss(theta - h * direction)) / (2 * h) - exact for h in (1e-3, 1e-4)]
    assert abs(errors[1]) < 1e-6 * max(1.0, abs(exact))
    assert abs(errors[1]) < 0.02 * abs(errors[0]) or abs(errors[1]) < 1e-8


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_box_in_theta_is_the_bounds_of_the_values(name):
    space = ParameterSpace(CIRCUITS[name])
    assert np.all(space.bounds[:, 0] < space.bounds[:, 1]) and np.all(np.isfinite(space.bounds))
    for corner in space.bounds.T:
        circuit_with(space.circuit, space.unpack(corner))  # accepted in spite of rounding
    theta = space.pack(parameters_of(space.circuit))
    assert np.all((theta >= space.bounds[:, 0]) & (theta <= space.bounds[:, 1]))


def test_a_known_sign_bounds_a_coupling_at_zero():
    space = ParameterSpace(tied_circuit(bounds={"J": (-100 * pq.mV, 50 * pq.mV)}))
    np.testing.assert_allclose(space.bounds[:2], [[0, 50], [-100, 0]])


def test_a_coupling_that_is_zero_stays_zero_and_can_grow():
    space = ParameterSpace(CIRCUITS["one"])
    theta = space.pack(parameters_of(space.circuit))
    np.testing.assert_array_equal(space.unpack(theta).J, [[0.0]])
    assert space.pull_back(theta, parameters_of(space.circuit)._replace(J=np.array([[3.0]])))[0] == 3.0


def test_pack_refuses_broken_ties_and_signs():
    space = ParameterSpace(tied_circuit())
    p = parameters_of(space.circuit)
    with pytest.raises(ValueError, match="threshold has different values"):
        space.pack(p._replace(threshold=np.array([3.7, 3.8])))
    with pytest.raises(ValueError, match="J_i is 20, against the sign"):
        space.pack(p._replace(J=np.array([[10.0, 20.0], [10.0, 0.0]])))


def test_draws_lie_between_40_and_200_percent_and_zero_couplings_within_two_millivolts():
    space, rng = ParameterSpace(tied_circuit()), np.random.default_rng(4)
    centre = space.values(space.pack(parameters_of(space.circuit)))
    ratio = np.array([space.values(space.draw(rng)) for _ in range(500)]) / centre
    assert ratio.min() >= 0.4 - 1e-9 and ratio.max() <= 2.0 + 1e-9
    np.testing.assert_allclose(ratio.mean(axis=0), 1.2, atol=0.08)
    free = ParameterSpace(Circuit([100, 100], free="J", signs=[0, -1]))
    J = np.array([free.values(free.draw(rng)) for _ in range(500)])
    assert J[:, 0].min() < -1.8 and J[:, 0].max() > 1.8 and np.abs(J).max() <= 2
    assert np.all(J[:, 1] < 0)
    rest = ParameterSpace(Circuit([100], free="u_rest", u_rest=0 * pq.mV))
    drawn = np.array([rest.draw(rng)[0] for _ in range(200)])
    assert -2 <= drawn.min() < -1.8 and 1.8 < drawn.max() <= 2


def test_draws_stay_in_bounds_and_follow_the_seed():
    space = ParameterSpace(tied_circuit(bounds={"tau_m": (19 * pq.ms, 21 * pq.ms)}, tau_m=20 * pq.ms))
    thetas = np.array([space.draw(np.random.default_rng(s)) for s in range(50)])
    assert np.all(thetas >= space.bounds[:, 0]) and np.all(thetas <= space.bounds[:, 1])
    assert space.draw(np.random.default_rng(7)).tolist() == space.draw(np.random.default_rng(7)).tolist()


def test_the_prior_is_gaussian_in_the_values_with_a_matching_gradient():
    space = ParameterSpace(tied_circuit())
    rng = np.random.default_rng(5)
    theta, direction = space.draw(rng), rng.normal(size=space.n_free)
    value, gradient = space.log_prior(theta)
    v = space.values(theta)
    assert value == pytest.approx(-0.5 * ((v[0] / 30) ** 2 + (v[1] / 30) ** 2 + ((v[2] - 20) / 5) ** 2))
    h = 1e-5
    numeric = (space.log_prior(theta + h * direction)[0] - space.log_prior(theta - h * direction)[0]) / (2 * h)
    assert numeric == pytest.approx(gradient @ direction, rel=1e-6)
    flat_value, flat_gradient = ParameterSpace(CIRCUITS["untied"].replace(spread={})).log_prior(np.arange(18.0))
    assert flat_value == 0.0 and not flat_gradient.any()


def test_differences_between_populations_cost_what_their_spread_says_and_a_common_shift_nothing():
    circuit = tied_circuit(
        n_neurons=100, names=["a", "b", "c"], J=0 * pq.mV, mask=None, ties={"u_rest": ["x", "x", ""]}, signs=None,
        tau_m=[10, 20, 40] * pq.ms, u_rest=[3, 3, 7] * pq.mV, prior=None,
        spread={"tau_m": 0.5, "u_rest": 2 * pq.mV},
    )  # fmt: skip
    space = ParameterSpace(circuit)
    theta = space.pack(parameters_of(circuit))
    value, gradient = space.log_prior(theta)
    # ln 2 on either side of the mean of three; two distinct values 2 mV on either side of theirs
    assert value == pytest.approx(-0.5 * (2 * np.log(2) ** 2 / 0.25 + 2 * 2.0**2 / 2.0**2))
    shifted = space.pack(parameters_of(circuit)._replace(u_rest=np.array([9.0, 9.0, 13.0]), tau_m=[0.02, 0.04, 0.08]))
    assert space.log_prior(shifted)[0] == pytest.approx(value)
    direction, h = np.random.default_rng(6).normal(size=space.n_free), 1e-5
    numeric = (space.log_prior(theta + h * direction)[0] - space.log_prior(theta - h * direction)[0]) / (2 * h)
    assert numeric == pytest.approx(gradient @ direction, rel=1e-6)


def test_couplings_resemble_those_of_sources_of_the_same_known_sign_only_and_only_if_asked():
    J = [[3.0, 5.0, -9.0, 4.0]] * 4 * pq.mV
    columns = {"J": [["a", "b", "c", "d"]] * 4}
    circuit = Circuit([10] * 4, J=J, ties=columns, signs=[1, 1, -1, 0], free="J", spread={"J": 0.5 * pq.mV})
    space = ParameterSpace(circuit)
    theta = space.pack(parameters_of(circuit))
    assert space.log_prior(theta)[0] == pytest.approx(-0.5 * (1.0 + 1.0) / 0.25)
    assert ParameterSpace(circuit.replace(spread=None)).log_prior(theta)[0] == 0.0


def test_the_precision_of_the_prior_is_the_slope_of_its_gradient():
    space = ParameterSpace(tied_circuit(spread=None, prior={"u_rest": (0 * pq.mV, 30 * pq.mV)}))
    theta, direction = space.draw(np.random.default_rng(7)), np.random.default_rng(8).normal(size=space.n_free)
    change = space.log_prior(theta + direction)[1] - space.log_prior(theta - direction)[1]
    np.testing.assert_allclose(-space.prior_precision(theta) @ direction, change / 2, atol=1e-9)


def test_unpack_shares_no_memory_with_the_circuit():
    space = ParameterSpace(tied_circuit())
    theta = space.pack(parameters_of(space.circuit))
    space.unpack(theta).t_ref[:] = 99
    assert space.unpack(theta).t_ref.tolist() == [0.002, 0.002]
