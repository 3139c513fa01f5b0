"""simulation.py, mesoscopic: the model in counts does what the network, the tables and the theory say.

The network itself, neuron by neuron, is in test_microscopic.py.
"""

import numpy as np
import pytest
import quantities as pq
from numpy.testing import assert_allclose, assert_array_equal

from neulvm_neo import Circuit, simulate_mesoscopic, simulate_microscopic
from neulvm_neo.agreement import CoarseBinsWarning
from neulvm_neo.experiments.circuits import winner_take_all


def states(run, window=0.1):
    """Mean rates (Hz) of the winning, the losing and the inhibitory population, and the number of switches."""
    bins = round(window / run.bin_size)
    rates = run.activity[: len(run.n) // bins * bins].reshape(-1, bins, 3).mean(axis=1)
    difference = rates[:, 0] - rates[:, 1]
    clear = np.sign(difference[np.abs(difference) > 5])
    excitatory = rates[np.abs(difference) > 5, :2]
    return excitatory.max(axis=1).mean(), excitatory.min(axis=1).mean(), rates[:, 2].mean(), np.sum(np.diff(clear) != 0)


def test_the_first_order_step_at_4_ms_is_stuck_where_the_network_switches():
    run = simulate_mesoscopic(
        winner_take_all(), duration=100 * pq.s, bin_size=4 * pq.ms, scheme="euler", random_state=1
    )
    high, low, inhibitory, n_switches = states(run)
    assert_allclose([high, low, inhibitory], [21.7, 3.5, 25.3], atol=0.15)
    assert n_switches == 0


@pytest.mark.parametrize("bin_size, n_switches", [(4, 27.6), (2, 21.6)])
def test_the_exact_leak_switches_as_often_as_its_study_says(bin_size, n_switches):
    run = simulate_mesoscopic(
        winner_take_all(), duration=300 * pq.s, bin_size=bin_size * pq.ms, scheme="exponential", random_state=1
    )
    high, low, inhibitory, switches = states(run)
    assert_allclose([high, low, inhibitory], [18.5, 6.5, 24.6], atol=0.4)  # network with exact leak: 18.6, 6.4, 24.6
    assert abs(switches / 3 - n_switches) < 9


def test_uncoupled_populations_fire_at_the_rate_of_their_network():
    circuit = Circuit([500, 300], u_rest=[10, 12] * pq.mV)
    fine = simulate_microscopic(circuit, duration=20 * pq.s, random_state=1).activity.mean(axis=0)
    for bin_size in (1, 2):
        run = simulate_mesoscopic(circuit, duration=20 * pq.s, bin_size=bin_size * pq.ms, random_state=2)
        assert_allclose(run.activity.mean(axis=0), fine, rtol=0.02)


def test_counts_are_whole_and_scatter_binomially_around_what_was_expected():
    run = simulate_mesoscopic(winner_take_all(), duration=20 * pq.s, random_state=3)
    assert_array_equal(run.n, np.rint(run.n))
    assert run.n.min() >= 0
    assert np.all(run.n <= run.n_neurons)
    variance = run.n_bar * (1 - run.n_bar / run.n_neurons)
    z = (run.n - run.n_bar) / np.sqrt(variance)
    assert_allclose(z.mean(axis=0), 0, atol=4 / np.sqrt(len(z)))
    assert_allclose((z**2).mean(axis=0), 1, atol=4 * np.sqrt(2 / len(z)))


def test_a_seed_gives_the_same_counts_and_another_seed_does_not():
    first, again, other = (
        simulate_mesoscopic(winner_take_all(), duration=1 * pq.s, random_state=seed).n for seed in (1, 1, 2)
    )
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_grid_names_and_sizes_are_those_asked_for():
    run = simulate_mesoscopic(
        winner_take_all(), duration=1.2 * pq.s, bin_size=4 * pq.ms, t_start=500 * pq.ms, random_state=1
    )
    assert run.n.shape == run.n_bar.shape == (300, 3)
    assert (run.bin_size, run.t_start, run.names) == (0.004, 0.5, ("E1", "E2", "I"))
    assert_array_equal(run.n_neurons, [400, 400, 200])


def test_a_stimulus_acts_while_it_lasts():
    def pulse(times):
        return np.where((times > 1 * pq.s) & (times < 1.5 * pq.s), 3.0, 0.0)[:, None] * [[1.0, 0.0]] * pq.mV

    run = simulate_mesoscopic(Circuit([400, 400]), duration=2 * pq.s, stimulus=pulse, random_state=1)
    during, other = run.activity[550:750], run.activity[:500]
    assert during[:, 0].mean() > 3 * other[:, 0].mean()
    assert_allclose(during[:, 1].mean(), other[:, 1].mean(), rtol=0.2)


def test_a_current_needs_the_resistance_and_then_equals_the_voltage():
    settings = dict(duration=0.4 * pq.s, random_state=1)
    with pytest.raises(ValueError, match="resistance"):
        simulate_mesoscopic(Circuit([400]), stimulus=20 * pq.pA, **settings)
    current = simulate_mesoscopic(Circuit([400], resistance=100 * pq.MOhm), stimulus=20 * pq.pA, **settings)
    voltage = simulate_mesoscopic(Circuit([400]), stimulus=2 * pq.mV, **settings)
    assert_array_equal(current.n, voltage.n)


def test_it_starts_where_it_is_told_to():
    circuit = Circuit([20000], u_rest=0 * pq.mV, t_ref=0 * pq.ms)  # by itself nearly silent
    hot = simulate_mesoscopic(
        circuit.replace(J=300 * pq.mV, delay=20 * pq.ms), duration=20 * pq.ms, initial_rate=40 * pq.Hz, random_state=1
    )
    cold = simulate_mesoscopic(circuit, duration=20 * pq.ms, initial_rate=0 * pq.Hz, random_state=1)
    assert hot.activity.mean() > 5 * cold.activity.mean()
    settled = simulate_mesoscopic(Circuit([2000]), duration=1 * pq.s, random_state=1).activity
    assert_allclose(settled[:100].mean(), settled[100:].mean(), rtol=0.1)  # half a second before has been left out


@pytest.mark.filterwarnings("ignore::neulvm_neo.agreement.CoarseBinsWarning")  # it is about when, not how much
def test_a_delay_postpones_the_effect_of_one_population_on_another():
    circuit = Circuit([2000, 2000], J=[[0, 0], [200, 0]] * pq.mV, delay=20 * pq.ms)
    kick = np.zeros((100, 2))
    kick[50] = 60.0, 0.0
    run = simulate_mesoscopic(circuit, duration=0.2 * pq.s, stimulus=kick * pq.mV, random_state=1)
    assert run.activity[50, 0] > 3 * run.activity[:50, 0].mean()
    effect = np.flatnonzero(run.activity[:, 1] > 2 * run.activity[:50, 1].mean())
    assert effect.size
    assert effect[0] in (60, 61)  # ten bins of delay


def test_a_stimulus_that_bins_do_not_resolve_is_said_and_shorter_bins_are_named():
    circuit = Circuit([100, 100], names=["E", "I"], signs=[1, -1], tau_m=[20, 10] * pq.ms)
    pulse = np.zeros((100, 2))
    pulse[40:42, 1] = 30.0

    def run(bin_size):
        return simulate_mesoscopic(circuit, duration=100 * bin_size, bin_size=bin_size, stimulus=pulse * pq.mV)

    with pytest.warns(
        CoarseBinsWarning, match=r"potentials of I by up to 5.4 mV within a bin of 2 ms.*0.51 ms or less"
    ) as said:
        run(2 * pq.ms)
    assert said[0].filename == __file__  # the caller's line is shown, not one of the package's
    run(0.5 * pq.ms)  # no warning, which would be an error
    pulse[:] = 30.0  # constant, since ever
    run(2 * pq.ms)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"duration": 1.0}, TypeError, "duration has no unit"),
        ({"duration": 5 * pq.ms}, ValueError, "not a whole number of bin_size .2 ms.; try 4 ms"),
        ({"bin_size": 2 * pq.mV}, ValueError, "bin_size has the unit 'mV'"),
        ({"bin_size": 0 * pq.ms}, ValueError, "bin_size is 0.0 s; expected one time above 0"),
        ({"scheme": "heun"}, ValueError, "scheme 'heun' is unknown"),
        ({"scheme": "euler", "bin_size": 20 * pq.ms}, ValueError, "not below tau_m"),
        ({"initial_rate": -1 * pq.Hz}, ValueError, "initial_rate"),
        ({"stimulus": 1.0}, TypeError, "stimulus has no unit"),
        ({"warm_up": -1 * pq.ms}, ValueError, "warm_up"),
        ({"random_state": "one"}, ValueError, "random_state is 'one'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, error, message):
    with pytest.raises(error, match=message):
        simulate_mesoscopic(Circuit([100]), **{"duration": 100 * pq.ms, **change})
