"""Straight coordinates: there and back, ties, and what happens without free resting potentials."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import Circuit
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.inference.coordinates import DriveCoordinates
from neulvm_neo.parameters import ParameterSpace, parameters_of

ACTIVITY = np.array([18.0, 6.0, 25.0])


@pytest.mark.parametrize("changes", [{}, {"ties": {"u_rest": ["e", "e", ""]}}, {"free": ("J", "tau_m", "threshold")}])
def test_the_way_back_undoes_the_way_there(changes):
    space = ParameterSpace(winner_take_all().replace(**changes))
    of, rng = DriveCoordinates(space, ACTIVITY), np.random.default_rng(0)
    for _ in range(10):
        theta = space.draw(rng)
        np.testing.assert_allclose(of.bent(of.straight(theta)), theta, rtol=1e-12)
        step = 1e-4 * rng.normal(size=space.n_free)
        change = of.straight(theta + step) - of.straight(theta - step)
        np.testing.assert_allclose(2 * of.slope(theta) @ step, change, atol=1e-8)


def test_the_coordinate_of_a_resting_potential_is_the_mean_drive_above_threshold():
    circuit = winner_take_all()
    space, p = ParameterSpace(circuit), parameters_of(circuit)
    phi = DriveCoordinates(space, ACTIVITY).straight(space.pack(p))
    drive = p.u_rest - p.threshold + p.tau_m * (p.J @ ACTIVITY)
    named = dict(zip(space.names, phi, strict=True))
    np.testing.assert_allclose([named[f"u_rest[{name}]"] for name in circuit.names], drive)
    assert named["threshold[I]"] == pytest.approx(3.7) and named["J_i"] == pytest.approx(-19.968)


def test_without_free_resting_potentials_nothing_is_bent():
    space = ParameterSpace(Circuit([100], J=5 * pq.mV, free=("J", "tau_m")))
    theta = space.pack(parameters_of(space.circuit))
    np.testing.assert_array_equal(DriveCoordinates(space, np.array([10.0])).straight(theta), theta)
