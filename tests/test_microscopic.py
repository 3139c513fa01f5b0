"""The spiking network: against its slow twin, renewal theory, the paper's networks, and what each argument promises."""

import math
import re
import tracemalloc

import neo
import numpy as np
import pytest
import quantities as pq
from numba import njit
from scipy import stats

from neulvm_neo import network
from neulvm_neo.circuit import Circuit
from neulvm_neo.experiments.circuits import single_population, winner_take_all
from neulvm_neo.kernels import microscopic
from neulvm_neo.parameters import ParameterSpace, parameters_of
from neulvm_neo.simulation import _coefficients, generator_from, simulate_microscopic

from .oracle import microscopic as twin


def uncoupled(n_neurons=100, **changes):
    """Neurons without couplings that fire regularly enough to be interesting, at about 22 Hz."""
    values = dict(u_rest=10 * pq.mV, threshold=5 * pq.mV, tau_m=20 * pq.ms, t_ref=4 * pq.ms)
    return Circuit([n_neurons], **(values | changes))


def survival_of(circuit, ages):
    """Probability of an interval longer than the ages (s), without input: renewal theory of the continuous model."""
    p = parameters_of(circuit)
    u = p.u_rest[0] * -np.expm1(-np.maximum(ages - p.t_ref[0], 0) / p.tau_m[0])
    hazard = np.where(ages > p.t_ref[0], np.exp(u - p.threshold[0]), 0.0)
    return np.exp(-np.concatenate([[0.0], np.cumsum(np.diff(ages) * (hazard[1:] + hazard[:-1]) / 2)]))


def renewal_rate(circuit):
    ages = np.arange(0, 3, 2e-5)
    return 1 / np.trapezoid(survival_of(circuit, ages), ages)


def intervals(run):
    return np.concatenate([np.diff(train.rescale("s").magnitude) for train in run.spiketrains])


# --- the twin ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("integration", ["exact", "euler"])
def test_every_spike_is_the_one_of_the_slow_twin(integration):
    dt, n_steps, rng = 5e-4, 600, np.random.default_rng(1)
    circuit = Circuit(
        [12, 7, 5],
        J=rng.normal(0, 6, (3, 3)) * pq.mV,
        tau_m=[20, 10, 15] * pq.ms,
        u_rest=[12, 8, 10] * pq.mV,
        threshold=[6, 4, 3] * pq.mV,
        t_ref=[4, 0, 2] * pq.ms,
        tau_syn=[3, 6, 1] * pq.ms,
        delay=[0, 2.5, 1] * pq.ms,
    )
    p, rates = parameters_of(circuit), np.array([20.0, 5.0, 0.0])
    stimulus = rng.normal(0, 2, (n_steps, 3))
    ages = [rng.integers(1, 60, size) for size in circuit.n_neurons]
    key = np.array([2, 3], dtype=np.uint64)
    expected = twin.simulate(p, dt, integration, [a.tolist() for a in ages], rates, stimulus, twin.patience_of(key))

    step = _coefficients(p, dt, integration)
    r = step["refractory_steps"]
    settled = p.u_rest + stimulus[0] + p.tau_m * (p.J @ rates)
    V = np.concatenate([settled[k] * (1 - step["leak"][k] ** np.maximum(ages[k] - 1 - r[k], 0)) for k in range(3)])
    sleep = np.concatenate([np.maximum(r[k] - ages[k] + 1, 0) for k in range(3)])
    border = np.concatenate([[0], np.cumsum(circuit.n_neurons)])
    n, spikes = network.run_network(
        p, step, stimulus, rates, V, sleep, circuit.n_neurons, time_step=dt, steps_per_bin=1, warm_up=0, key=key
    )
    assert spikes.shape[1] == len(expected) > 200
    assert spikes[0].tolist() == [t for t, _, _ in expected]
    assert spikes[1].tolist() == [int(border[k]) + i for _, k, i in expected]
    assert n.sum(axis=0).tolist() == [sum(k == j for _, k, _ in expected) for j in range(3)]
    assert min(n.sum(axis=0)) > 20  # all three populations took part


def test_pulses_and_steps_of_a_stimulus_make_the_spikes_of_the_slow_twin():
    circuit = Circuit(
        [15, 10], J=[[5, -10], [20, 0]] * pq.mV, u_rest=-30 * pq.mV, threshold=4 * pq.mV, t_ref=2 * pq.ms,
        delay=[0, 1] * pq.ms, resistance=[100, 200] * pq.MOhm,
    )  # fmt: skip
    drive, dt, seed = np.zeros((300, 2)), 2e-4, 15  # bins of 1 ms
    drive[20:25, 0] = drive[60:65, 0] = 200.0  # 5 ms of light
    drive[150:] = 42.0, 38.0

    key = np.random.default_rng(seed).integers(0, 2**64, size=2, dtype=np.uint64)
    ages = [[10**6] * size for size in circuit.n_neurons]  # long silent: below rest -30 mV nobody fires
    expected = twin.simulate(
        parameters_of(circuit), dt, "exact", ages, [0.0, 0.0], np.repeat(drive, 5, axis=0), twin.patience_of(key)
    )
    counts = np.zeros((300, 2), dtype=int)
    for t, k, _ in expected:
        counts[t // 5, k] += 1
    assert counts[20:30, 0].sum() >= 10 and counts[60:70, 0].sum() >= 10 and counts[150:].sum(axis=0).min() > 20

    signal = neo.AnalogSignal(drive, units="mV", sampling_rate=1 * pq.kHz)
    for stimulus in (drive * pq.mV, drive / [0.1, 0.2] * pq.pA, signal, lambda times: drive * pq.mV):
        run = simulate_microscopic(
            circuit, duration=300 * pq.ms, bin_size=1 * pq.ms, stimulus=stimulus, initial_rate=0 * pq.Hz,
            n_recorded=[15, 10], random_state=seed,
        )  # fmt: skip
        assert np.array_equal(run.n, counts)
        for i, train in enumerate(run.spiketrains):
            mine = [(t + 0.5) * dt for t, k, j in expected if 15 * k + j == i]
            assert train.magnitude.tolist() == pytest.approx(mine, rel=1e-12)


# --- renewal theory ---------------------------------------------------------------------------------------------------


def test_intervals_of_an_uncoupled_neuron_follow_renewal_theory():
    circuit = uncoupled(60)
    run = simulate_microscopic(circuit, duration=10 * pq.s, time_step=0.05 * pq.ms, n_recorded=60, random_state=3)
    found = intervals(run)
    ages = np.arange(0, 1, 1e-5)
    test = stats.kstest(found, lambda x: 1 - np.interp(x, ages, survival_of(circuit, ages)))
    assert found.size > 10_000
    assert test.statistic < 1.63 / math.sqrt(found.size) + 0.002  # the 1 % point, and half a step of rounding


@pytest.mark.parametrize("integration", ["exact", "euler"])
def test_intervals_in_steps_have_the_probabilities_of_the_discrete_scheme(integration):
    circuit, dt = uncoupled(200), 1e-3
    run = simulate_microscopic(
        circuit, duration=10 * pq.s, time_step=1 * pq.ms, integration=integration, n_recorded=200, random_state=4
    )
    steps = np.rint(intervals(run) / dt).astype(int)
    leak = math.exp(-dt / 0.02) if integration == "exact" else 1 - dt / 0.02
    age = np.arange(1, 400)
    V = 10 * (1 - leak ** np.maximum(age - 4, 0))
    p_fire = np.where(age > 4, 1 - np.exp(-np.exp(V - 5) * dt), 0.0)
    p_interval = p_fire * np.concatenate([[1.0], np.cumprod(1 - p_fire)[:-1]])
    assert steps.min() > 4
    edges = np.concatenate([[0], np.arange(13, 70, 3), [399]])
    observed = np.histogram(steps, edges + 0.5)[0]
    expected = steps.size * np.diff(np.concatenate([[0.0], np.cumsum(p_interval)])[edges])
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


def test_an_asynchronous_start_is_stationary_from_the_first_bin():
    circuit = uncoupled(40_000)
    run = simulate_microscopic(
        circuit, duration=60 * pq.ms, bin_size=4 * pq.ms, time_step=0.1 * pq.ms, initial_rate=7 * pq.Hz, random_state=5
    )
    rate = renewal_rate(circuit)
    sd = math.sqrt(rate / (40_000 * 0.004))
    assert np.abs(run.activity[:, 0] - rate).max() < 4 * sd + 0.005 * rate
    silent = uncoupled(50, u_rest=-30 * pq.mV)  # never fires: every neuron is old
    assert simulate_microscopic(silent, duration=20 * pq.ms, random_state=5).n.sum() == 0


def test_a_step_of_the_stimulus_moves_the_rate_to_the_one_of_the_new_rest():
    circuit, N = uncoupled(3000), 3000
    drive = np.zeros((500, 1))
    drive[250:] = 3
    run = simulate_microscopic(
        circuit, duration=1 * pq.s, stimulus=drive * pq.mV, time_step=0.1 * pq.ms, random_state=6
    )
    for part, u_rest in ((slice(0, 250), 10), (slice(300, 500), 13)):
        rate = renewal_rate(circuit.replace(u_rest=u_rest * pq.mV))
        found, duration = run.activity[part].mean(), 0.002 * len(run.activity[part])
        assert found == pytest.approx(rate, abs=4 * math.sqrt(rate / (N * duration)) + 0.005 * rate)


def test_pulses_of_5_ms_and_a_step_move_the_rate_as_renewal_theory_expects():
    circuit, dt, N = uncoupled(40_000), 1e-4, 40_000
    drive = np.zeros(200)  # bins of 2.5 ms: a pulse is two of them
    drive[[20, 21, 60, 61]] = 6.0
    drive[100:] = 3.0
    run = simulate_microscopic(
        circuit, duration=0.5 * pq.s, bin_size=2.5 * pq.ms, time_step=0.1 * pq.ms, stimulus=drive[:, None] * pq.mV,
        random_state=16,
    )  # fmt: skip
    before = np.zeros(10_000)  # a second: more than long enough to forget how it started
    rate = twin.renewal_activity(parameters_of(circuit), dt, np.concatenate([before, np.repeat(drive, 25)]))[10_000:]
    expected = rate.reshape(200, 25).mean(axis=1) * N * 0.0025
    z = (run.n[:, 0] - expected) / np.sqrt(expected)
    assert expected[20:22].max() > 2 * expected[:20].mean()
    assert np.abs(z).max() < 5 and np.mean(z**2) < 1.3


# --- the paper's networks ---------------------------------------------------------------------------------------------


def dominance(run, threshold=5.0):
    """+1 / -1 per 100 ms window: whether E1 or E2 won last, 0 before; a switch needs a difference beyond ± 5 Hz."""
    difference = run.activity[:, 0] - run.activity[:, 1]
    winner, state = 0, np.zeros(len(difference), dtype=int)
    for i, d in enumerate(difference):
        winner = 1 if d > threshold else -1 if d < -threshold else winner
        state[i] = winner
    return state


WINNER_TAKE_ALL_RATES = [("exact", 18.55, 6.39, 24.57), ("euler", 18.77, 6.16, 24.60)]  # high, low, inhibitory (Hz)


def rates_and_switches(integration, seed):
    run = simulate_microscopic(
        winner_take_all(), duration=80 * pq.s, bin_size=100 * pq.ms, integration=integration, random_state=seed
    )
    state, A = dominance(run), run.activity
    winning = np.concatenate([A[state == 1, 0], A[state == -1, 1]]).mean()
    losing = np.concatenate([A[state == 1, 1], A[state == -1, 0]]).mean()
    return winning, losing, A[:, 2].mean(), np.count_nonzero(np.diff(state[state != 0]))


@pytest.mark.parametrize(("integration", "high", "low", "inhibitory"), WINNER_TAKE_ALL_RATES)
def test_winner_take_all_has_the_known_rates_and_switches(integration, high, low, inhibitory):
    winning, losing, inhibition, n_switches = rates_and_switches(integration, seed=7)
    # runs of this length spread by 0.09 Hz, but by 0.004 Hz in the inhibitory population, which tells the two apart
    assert winning == pytest.approx(high, abs=0.3)
    assert losing == pytest.approx(low, abs=0.3)
    assert inhibition == pytest.approx(inhibitory, abs=0.015)
    assert 3 <= n_switches <= 24  # about 12 expected (15 per 100 s), strongly variable


@pytest.mark.slow
@pytest.mark.parametrize(("integration", "high", "low", "inhibitory"), WINNER_TAKE_ALL_RATES)
def test_winner_take_all_has_the_known_rates_in_many_runs(integration, high, low, inhibitory):
    winning, losing, inhibition, n_switches = np.mean([rates_and_switches(integration, s) for s in range(16)], axis=0)
    assert winning == pytest.approx(high, abs=0.08)
    assert losing == pytest.approx(low, abs=0.08)
    assert inhibition == pytest.approx(inhibitory, abs=0.01)
    assert 7 < n_switches < 16


@pytest.mark.parametrize(("J", "low", "high"), [(57, 0, 0), (60, 25, 37), (61, 38, 39), (62, 67, 69), (65, 75, 79)])
def test_one_population_falls_silent_clusters_or_synchronises_with_its_coupling(J, low, high):
    run = simulate_microscopic(
        single_population(J * pq.mV), duration=5 * pq.s, bin_size=1 * pq.ms, time_step=1 * pq.ms, integration="euler",
        initial_rate=20 * pq.Hz, random_state=8,
    )  # fmt: skip
    assert run.activity[:50].mean() == pytest.approx(20, abs=6)
    assert low <= run.activity[-1000:].mean() <= high


def test_the_paper_circuits_leave_free_what_the_paper_fits():
    space = ParameterSpace(winner_take_all())
    assert space.n_free == 12 and set(space.names[:3]) == {"J_e1", "J_e2", "J_i"}
    assert ParameterSpace(single_population()).names == ("J[E←E]",)
    assert single_population().J.magnitude.tolist() == [[60.32]]


# --- what the arguments promise ---------------------------------------------------------------------------------------


def test_refractory_neurons_stay_silent_for_the_whole_period():
    wild = dict(u_rest=300 * pq.mV, threshold=1 * pq.mV, free=())
    for t_ref in (0.0, 1.0, 4.0):
        run = simulate_microscopic(
            uncoupled(20, **wild, t_ref=t_ref * pq.ms), duration=0.2 * pq.s, n_recorded=20, random_state=9
        )
        shortest = intervals(run).min()
        assert t_ref * 1e-3 + 0.9e-4 < shortest < t_ref * 1e-3 + 1.2e-3


@pytest.mark.parametrize("delay", [0, 1, 10])
def test_a_spike_arrives_one_step_and_the_delay_later(delay):
    circuit = Circuit(
        [50, 50],
        J=[[0, 0], [400, 0]] * pq.mV,
        u_rest=-20 * pq.mV,
        delay=[delay, 3] * pq.ms,  # the delay is the one of the source
        tau_syn=3 * pq.ms,
    )
    pulse = np.zeros((60, 2))
    pulse[20, 0] = 3000
    run = simulate_microscopic(
        circuit, duration=60 * pq.ms, bin_size=1 * pq.ms, time_step=1 * pq.ms, stimulus=pulse * pq.mV, random_state=10
    )
    assert run.n[:20].sum() == 0 and run.n[20, 0] == 50
    assert np.flatnonzero(run.n[:, 1])[0] == 21 + delay


def test_the_same_seed_gives_the_same_spikes_and_another_one_others():
    def run(random_state, **more):
        return simulate_microscopic(winner_take_all(), duration=0.2 * pq.s, random_state=random_state, **more).n

    first = run(1)
    assert np.array_equal(first, run(1)) and not np.array_equal(first, run(2))
    assert np.array_equal(first, run(np.random.default_rng(1)))
    assert np.array_equal(first, run(np.random.SeedSequence(1)))
    assert np.array_equal(run(np.random.RandomState(3)), run(np.random.RandomState(3)))
    assert not np.array_equal(run(None), run(None))
    generator = np.random.default_rng(1)
    assert not np.array_equal(run(generator), run(generator))
    assert np.array_equal(first, run(1, n_recorded=[400, 3, 0]))
    with pytest.raises(ValueError, match="random_state is 'dice'"):
        generator_from("dice")


def test_spike_trains_of_all_neurons_add_up_to_the_counts():
    circuit = Circuit([30, 20], names=["E", "I"], u_rest=12 * pq.mV, threshold=6 * pq.mV)
    run = simulate_microscopic(
        circuit, duration=1 * pq.s, bin_size=5 * pq.ms, t_start=-0.3 * pq.s, n_recorded=[30, 20], random_state=11
    )
    assert [train.annotations["population"] for train in run.spiketrains] == ["E"] * 30 + ["I"] * 20
    assert [train.annotations["unit_id"] for train in run.spiketrains] == list(range(50))
    assert all(float(train.t_start) == -0.3 and float(train.t_stop) == pytest.approx(0.7) for train in run.spiketrains)
    edges = -0.3 + np.arange(201) * 0.005
    for k, trains in enumerate((run.spiketrains[:30], run.spiketrains[30:])):
        pooled = np.concatenate([train.magnitude for train in trains])
        assert np.array_equal(np.histogram(pooled, edges)[0], run.n[:, k])
    assert run.n.sum() > 300 and run.names == ("E", "I") and run.times[0] == pytest.approx(-0.2975)


def test_recording_takes_one_number_or_one_per_population_or_none():
    circuit = Circuit([30, 20], names=["E", "I"])
    for n_recorded, names in ((2, "EEII"), ([0, 1], "I"), (0, "")):
        run = simulate_microscopic(circuit, duration=10 * pq.ms, n_recorded=n_recorded, random_state=1)
        assert "".join(train.annotations["population"] for train in run.spiketrains) == names
    assert simulate_microscopic(circuit, duration=10 * pq.ms, random_state=1).spiketrains is None


def test_an_excitable_neuron_fires_as_one_of_a_lower_threshold_and_the_others_as_before():
    circuit = uncoupled(20)
    settings = dict(duration=3 * pq.s, n_recorded=3, initial_rate=10 * pq.Hz, random_state=5)
    alike = simulate_microscopic(circuit, **settings)
    run = simulate_microscopic(circuit, excitability=[1.0, 0.5, 2.0], **settings)
    assert np.array_equal(run.spiketrains[0].magnitude, alike.spiketrains[0].magnitude)
    for i, excitability in ((1, 0.5), (2, 2.0)):
        other = circuit.replace(threshold=circuit.threshold - np.log(excitability) * pq.mV)
        other = simulate_microscopic(other, **settings).spiketrains[i]
        # the first spike depends on what the neuron did before; from then on it has the same patience and input
        found, expected = np.diff(run.spiketrains[i].magnitude), np.diff(other.magnitude)
        n = min(found.size, expected.size)
        assert n > 10 and found[:n].tolist() == pytest.approx(expected[:n], abs=1e-9)


@pytest.mark.parametrize(
    "excitability, what",
    [
        ([1.0, 2.0], r"shape \(2,\), expected \(3,\)"),
        ([1.0, 0.0, 2.0], "positive, finite"),
        ([1.0, np.nan, 2.0], "positive, finite"),
    ],
)
def test_an_excitability_that_does_not_fit_is_refused_by_name(excitability, what):
    with pytest.raises(ValueError, match=f"excitability.*{what}"):
        simulate_microscopic(uncoupled(20), duration=10 * pq.ms, n_recorded=3, excitability=excitability)


@pytest.mark.parametrize("delay", [[0, 0, 0], [1, 2, 0.6]])  # in steps: a barrier after every step, or after 4
def test_the_number_of_threads_changes_nothing(delay, monkeypatch):
    circuit = winner_take_all().replace(n_neurons=[401, 300, 3], delay=delay * pq.ms)

    def run(n_jobs, **more):
        return simulate_microscopic(
            circuit, duration=0.3 * pq.s, n_recorded=[30, 300, 2], excitability=np.linspace(0.5, 2.0, 332),
            random_state=17, n_jobs=n_jobs, **more,
        )  # fmt: skip

    used = []
    run_in_threads = network._in_step
    monkeypatch.setattr(network, "_in_step", lambda n, work: used.append(n) or run_in_threads(n, work))
    alone = run(None)
    monkeypatch.setattr(network, "_UPDATES_PER_BARRIER", 10)
    monkeypatch.setattr(network, "_SPIKES_AT_ONCE", 3000)
    for n_jobs in (1, 2, 5):
        shared = run(n_jobs)
        assert np.array_equal(alone.n, shared.n)
        for a, b in zip(alone.spiketrains, shared.spiketrains, strict=True):
            assert a.magnitude.tobytes() == b.magnitude.tobytes() and a.annotations == b.annotations
    assert used == [1, 1, 2, 5] and alone.n.sum() > 1000


def test_small_networks_stay_on_one_thread(monkeypatch):
    monkeypatch.setattr(network.threading, "Barrier", None)  # would fail
    simulate_microscopic(uncoupled(1000), duration=10 * pq.ms, random_state=1, n_jobs=2)


def test_a_failure_in_one_thread_ends_all_and_is_told():
    def work(thread, meet):
        if thread == 1:
            raise MemoryError("too many spikes")
        meet()

    with pytest.raises(MemoryError, match="too many spikes"):
        network._in_step(3, work)


def test_the_loops_over_all_neurons_are_vectorised():
    potential, patience = np.zeros(64), np.ones(64)
    for loop, arguments in (
        (microscopic.integrate, (0.9, 0.1, 12.0, potential, patience)),
        (microscopic.n_impatient, (patience,)),
    ):
        compiled = njit(loop.py_func)  # not from the cache, which keeps no readable code
        compiled(*arguments)
        assert re.search(r"load <\d+ x double>", compiled.inspect_llvm(compiled.signatures[0])), loop


def test_a_neuron_takes_30_bytes_of_memory_and_16_more_if_recorded(monkeypatch):
    circuit = Circuit([100_000, 50_000])
    monkeypatch.setattr(network, "_SPIKES_AT_ONCE", 1000)
    monkeypatch.setattr("neulvm_neo.simulation._spike_trains", lambda *_: [])  # Neo's part takes kB
    for n_recorded, more in ((None, 0), ([100_000, 50_000], 16)):  # step and neuron of a spike
        tracemalloc.start()
        run = simulate_microscopic(circuit, duration=4 * pq.ms, random_state=1, n_recorded=n_recorded, warm_up=0 * pq.s)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < (32 + more) * 150_000 + 32 * run.n.sum()


def test_long_recordings_in_pieces_are_the_same_as_in_one(monkeypatch):
    def run():
        return simulate_microscopic(uncoupled(20), duration=0.2 * pq.s, n_recorded=20, random_state=12)

    whole = run()
    monkeypatch.setattr(network, "_SPIKES_AT_ONCE", 333)
    pieces = run()
    assert np.array_equal(whole.n, pieces.n)
    for a, b in zip(whole.spiketrains, pieces.spiketrains, strict=True):
        assert a.magnitude.tolist() == b.magnitude.tolist()


def test_every_form_of_the_same_stimulus_gives_the_same_spikes():
    circuit = uncoupled(50, resistance=100 * pq.MOhm)
    drive = 3 * np.sin(np.arange(100) / 5)[:, None]

    def run(stimulus):
        return simulate_microscopic(circuit, duration=0.2 * pq.s, stimulus=stimulus, random_state=13).n

    as_voltage = run(drive * pq.mV)
    signal = neo.AnalogSignal(drive, units="mV", sampling_rate=500 * pq.Hz, t_start=0 * pq.s)
    assert np.array_equal(as_voltage, run(drive * 10 * pq.pA))
    assert np.array_equal(as_voltage, run(signal))
    assert np.array_equal(as_voltage, run(lambda t: 3 * np.sin((t.magnitude / 0.002 - 0.5) / 5)[:, None] * pq.mV))
    assert not np.array_equal(as_voltage, run(None))


def test_warm_up_is_simulated_and_thrown_away():
    circuit = uncoupled(5)
    long = simulate_microscopic(circuit, duration=0.3 * pq.s, warm_up=0 * pq.s, random_state=14)
    late = simulate_microscopic(circuit, duration=0.2 * pq.s, warm_up=0.1 * pq.s, n_recorded=5, random_state=14)
    assert np.array_equal(long.n[50:], late.n)
    assert sum(train.size for train in late.spiketrains) == late.n.sum()


def test_rounding_of_times_in_floats_does_not_change_the_number_of_bins():
    run = simulate_microscopic(uncoupled(5), duration=0.3 * pq.s, bin_size=0.002 * pq.s, random_state=1)
    assert run.n.shape == (150, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(duration=1.0), TypeError, "duration has no unit"),
        (dict(duration=0 * pq.s), ValueError, "duration is 0.0 s; expected one time above 0"),
        (dict(duration=[1, 2] * pq.s), ValueError, "duration is .* expected one time"),
        (dict(duration=1.001 * pq.s), ValueError, "duration 1001 ms is not a whole number of bin_size .*try 1000 ms"),
        (dict(bin_size=0.5 * pq.ms), ValueError, "bin_size 0.5 ms is not a whole number of time_step .*try 0.4 ms"),
        (dict(time_step=-1 * pq.ms), ValueError, "time_step is -0.001 s"),
        (dict(warm_up=-1 * pq.ms), ValueError, "warm_up is -0.001 s; expected one time of at least 0"),
        (dict(integration="heun"), ValueError, "integration is 'heun'; expected one of exact, euler"),
        (dict(integration="euler", time_step=20 * pq.ms, bin_size=20 * pq.ms), ValueError, "not below tau_m 20 ms"),
        (dict(initial_rate=5), TypeError, "initial_rate has no unit"),
        (dict(initial_rate=[5, 5] * pq.Hz), ValueError, "initial_rate is .* one or 1 rates"),
        (dict(initial_rate=-5 * pq.Hz), ValueError, "rates of at least 0"),
        (dict(n_recorded=101), ValueError, "n_recorded is 101; .* population sizes"),
        (dict(n_jobs=0), ValueError, "n_jobs is 0; expected None, a number of threads, or -1"),
        (dict(n_jobs=1.5), ValueError, "n_jobs is 1.5"),
        (dict(n_recorded=[1, 1]), ValueError, "n_recorded"),
        (dict(n_recorded=2.5), ValueError, "n_recorded"),
        (dict(stimulus=[1, 2] * pq.mV), ValueError, "stimulus has shape"),
        (dict(stimulus=1 * pq.pA), ValueError, "no membrane resistance"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        simulate_microscopic(uncoupled(), **{"duration": 1 * pq.s, **arguments})
