"""inference/own_thresholds.py: what filters expect of neurons says how excitable they are."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import Circuit, simulate_microscopic
from neulvm_neo.binning import bin_recording
from neulvm_neo.inference import own_thresholds
from neulvm_neo.inference.particles import particle_filter
from neulvm_neo.likelihood import Observation
from neulvm_neo.parameters import parameters_of
from neulvm_neo.recording import SpikeRecording

DT = 0.004


@pytest.mark.parametrize("u_rest", [9.0, 12.0])
def test_the_fixed_point_is_the_truth_where_the_activity_is_no_secret(u_rest):
    """Also where neurons fire as soon as they can (at 12 mV), so that rates hardly tell them apart."""
    excitability = np.array([0.3, 1.0, 3.0])
    circuit = Circuit([1000], names=["E"], u_rest=u_rest * pq.mV, t_ref=4 * pq.ms)
    trains = simulate_microscopic(
        circuit, duration=240 * pq.s, n_recorded=3, excitability=excitability, random_state=1
    ).spiketrains
    counts = bin_recording(SpikeRecording.from_neo(trains), DT)[0]
    rate = np.array([counts.mean() / DT])
    start = own_thresholds.from_rates([counts], np.zeros(3, dtype=int), 1)
    trials = [Observation.from_counts(counts, [0, 0, 0], 1, rate, excitability=start)]
    for _ in range(12):
        found = particle_filter(
            parameters_of(circuit), trials[0], rate[None], bin_size=DT, rng=np.random.default_rng(0), n_particles=10
        )
        trials = own_thresholds.refined(trials, [found.predicted])
    error = np.log(trials[0].excitability / excitability)
    assert np.all(np.abs(error) < 4.0 / np.sqrt(counts.sum(axis=0)))
    if u_rest == 12.0:
        assert np.ptp(np.log(start)) < 0.7 * np.ptp(np.log(excitability))
