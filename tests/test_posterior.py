"""Intervals of the free values: as wide as they should be, for models that are right and for those that are not."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import Circuit
from neulvm_neo.inference import ascent, posterior
from neulvm_neo.inference.coordinates import DriveCoordinates
from neulvm_neo.parameters import ParameterSpace, parameters_of

CIRCUIT = Circuit(
    [100], names=["E"], free=("tau_m", "u_rest", "threshold"), u_rest=12 * pq.mV, threshold=5 * pq.mV,
    bounds={"threshold": (4 * pq.mV, 50 * pq.mV)},
)  # fmt: skip
SPACE = ParameterSpace(CIRCUIT)
N_BLOCKS = 40


def landscape(rng, covariance, dispersion=1.0, n_points=200, noise=0.3):
    """What an ascent sees of data whose maximum scatters by `dispersion` times what the likelihood's width says."""
    truth = SPACE.pack(parameters_of(CIRCUIT))
    precision = np.linalg.inv(covariance)
    tops = truth + dispersion * rng.multivariate_normal(np.zeros(3), covariance * N_BLOCKS, size=N_BLOCKS)
    top = tops.mean(axis=0)
    # half of what full observation would tell is observed
    coordinates = DriveCoordinates(SPACE, np.zeros(1))
    unit = coordinates.slope(top) @ np.linalg.cholesky(covariance) * np.sqrt(0.5)
    points = []
    for theta in top + rng.multivariate_normal(np.zeros(3), covariance, size=n_points):
        blocks = np.array([-0.5 * (theta - t) @ precision @ (theta - t) / N_BLOCKS for t in tops])
        blocks = blocks + noise / np.sqrt(N_BLOCKS) * rng.normal(size=N_BLOCKS)
        points.append(ascent.Point(theta, blocks.sum(), precision @ (top - theta), blocks))
    begun = ascent.Landscape(
        top, -np.inf, np.inf, np.inf, np.eye(3), np.zeros((3, 3)), np.nan, unit, coordinates, tuple(points), np.zeros(0)
    )
    return ascent.settle(SPACE, begun)


WIDTHS = np.diag([0.1, 0.3, 0.2]) ** 2


@pytest.mark.parametrize(("dispersion", "low", "high"), [(1.0, 0.9, 1.4), (2.0, 1.6, 2.6)])
def test_intervals_are_as_wide_as_the_maximum_scatters_whatever_the_curvature_says(dispersion, low, high):
    rng = np.random.default_rng(0)
    covariances = [posterior.uncertainty(landscape(rng, WIDTHS, dispersion), SPACE).covariance for _ in range(5)]
    ratio = np.sqrt(np.diag(np.mean(covariances, axis=0)) / np.diag(WIDTHS))
    assert np.all((ratio > low) & (ratio < high))


def test_nine_in_ten_intervals_hold_the_true_value():
    rng = np.random.default_rng(1)
    true, inside = SPACE.values(SPACE.pack(parameters_of(CIRCUIT))), []
    for i in range(60):
        found = posterior.uncertainty(landscape(rng, WIDTHS, 1.0 + i % 2, n_points=60), SPACE)
        inside.append((found.lower <= true) & (true <= found.upper))
    assert 0.83 <= np.mean(inside) <= 0.98


def test_intervals_are_as_long_as_the_ridges_that_were_walked_along():
    short = landscape(np.random.default_rng(6), WIDTHS)
    found = posterior.uncertainty(short._replace(ridges=(ascent.Ridge(1, 4.0, 0.0, 1),)), SPACE)
    before, after = (np.sqrt(np.diag(x.covariance)) for x in (posterior.uncertainty(short, SPACE), found))
    assert 4.0 < after[1] < 6.0 and before[1] < 0.6
    np.testing.assert_allclose(after[[0, 2]], before[[0, 2]], rtol=0.1)
    assert "u_rest[E]" in found.undetermined[0]


def test_values_are_in_milliseconds_and_millivolts_and_stay_in_their_bounds():
    found = posterior.uncertainty(landscape(np.random.default_rng(2), 25 * WIDTHS), SPACE)
    assert found.names == ("tau_m[E]", "u_rest[E]", "threshold[E]") and found.units == ("ms", "mV", "mV")
    assert np.all((found.lower < found.estimate) & (found.estimate < found.upper))
    assert 4.0 <= found.lower[2] < 4.3  # the circuit's bound
    # a logarithm: the interval of a time constant is wider above than below
    assert found.upper[0] - found.estimate[0] > 1.2 * (found.estimate[0] - found.lower[0])


def test_what_may_change_together_is_said_and_what_is_known_is_not():
    together = np.diag([0.01, 0.0, 0.0]) ** 2 + 4.0 * np.outer([0, 1, 1], [0, 1, 1]) + 1e-4 * np.eye(3)
    (sentence,) = posterior.uncertainty(landscape(np.random.default_rng(3), together), SPACE).undetermined
    assert "does not tell apart u_rest[E] (+" in sentence or "does not tell apart threshold[E] (+" in sentence
    assert "tau_m" not in sentence and "prior" not in sentence
    assert posterior.uncertainty(landscape(np.random.default_rng(3), 0.01 * WIDTHS), SPACE).undetermined == ()


def test_a_sum_that_is_undetermined_leaves_the_difference_known():
    together = 4.0 * np.outer([0, 1, 1], [0, 1, 1]) + 1e-2 * np.eye(3)
    found = posterior.uncertainty(landscape(np.random.default_rng(4), together), SPACE)
    difference, low, high = posterior.interval(lambda p: p.u_rest - p.threshold, found, CIRCUIT)
    assert difference.shape == (1,) and low < difference < high and high - low < 1.0
    _, low, high = posterior.interval(lambda p: float(p.u_rest[0]), found, CIRCUIT)
    assert high - low == pytest.approx(found.upper[1] - found.lower[1], rel=0.1)


def test_samples_keep_the_bounds_of_the_circuit_and_follow_bent_ridges():
    circuit = Circuit([100], names=["E"], J=30 * pq.mV, u_rest=10 * pq.mV, threshold=4 * pq.mV)
    space = ParameterSpace(circuit)
    of, theta = DriveCoordinates(space, np.array([20.0])), space.pack(parameters_of(circuit))
    phi = of.straight(theta) + np.array([5.0, 0.2, 0.0, 0.5])  # more coupling, slower membranes, the same drive
    moved = space.unpack(of.bent(phi))
    drive = moved.u_rest - moved.threshold + moved.tau_m * moved.J[0] * 20.0
    np.testing.assert_allclose(drive, 10.0 - 4.0 + 0.02 * 30.0 * 20.0)
    np.testing.assert_allclose(of.straight(of.bent(phi)), phi)
    found = posterior.uncertainty(landscape(np.random.default_rng(5), 100 * WIDTHS), SPACE)
    assert 4.0 <= found.samples[:, 2].min() < 4.1 and found.samples[:, 0].max() <= np.log(0.1) + 1e-12


def test_drawn_circuits_scatter_as_the_samples_do_and_keep_what_is_given():
    found = posterior.uncertainty(landscape(np.random.default_rng(2), WIDTHS), SPACE)
    circuits = posterior.draw_circuits(found, CIRCUIT, 3000, np.random.default_rng(1))  # more than there are samples
    thetas = np.array([SPACE.pack(parameters_of(circuit)) for circuit in circuits])
    sd = np.sqrt(np.diag(found.covariance))
    np.testing.assert_allclose(np.cov(thetas.T) / np.outer(sd, sd), found.covariance / np.outer(sd, sd), atol=0.1)
    assert all(circuit.free == CIRCUIT.free and np.array_equal(circuit.J, CIRCUIT.J) for circuit in circuits)
    few = posterior.draw_circuits(found, CIRCUIT, 50, np.random.default_rng(1))
    assert len({float(circuit.u_rest[0]) for circuit in few}) == 50
