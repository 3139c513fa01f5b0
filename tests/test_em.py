"""E-step, M-step, starting values and the EM loop."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import Circuit, SpikeRecording, simulate_microscopic
from neulvm_neo.binning import MultipleSpikesWarning, bin_recording
from neulvm_neo.constant_rates import constant_rates_log_likelihood
from neulvm_neo.inference import ascent, em, initialization, monte_carlo
from neulvm_neo.inference.m_step import m_step
from neulvm_neo.inference.particles import particle_filter
from neulvm_neo.inference.viterbi import e_step
from neulvm_neo.likelihood import DENSITIES, Observation
from neulvm_neo.parameters import ParameterSpace, parameters_of

DT = 0.004


def circuit(**changes):
    """Two populations, one exciting and one inhibiting, at about 15 Hz."""
    given = {
        "n_neurons": [200, 100],
        "names": ["E", "I"],
        "J": [[6.0, -8.0], [6.0, -8.0]] * pq.mV,
        "tau_m": 15 * pq.ms,
        "u_rest": 8 * pq.mV,
        "threshold": 4 * pq.mV,
        "t_ref": 4 * pq.ms,
        "signs": [1, -1],
    }
    return Circuit(**(given | changes))


def simulated(seed=0, seconds=2.0, n_each=4):
    """True counts of the spiking network and the spikes of a few of its neurons."""
    activity = simulate_microscopic(
        circuit(),
        duration=seconds * pq.s,
        bin_size=4 * pq.ms,
        n_recorded=n_each,
        initial_rate=15 * pq.Hz,
        random_state=seed,
    )
    (counts,) = bin_recording(SpikeRecording.from_neo(activity.spiketrains), DT)
    return activity.n, counts, np.repeat([0, 1], n_each)


@pytest.fixture(scope="module")
def data():
    n, counts, labels = simulated()
    return n, counts, labels, Observation.from_counts(counts, labels, 2, [15.0, 15.0])


@pytest.mark.parametrize("density", DENSITIES)
def test_e_step_never_lets_its_own_objective_fall(data, density):
    n, _, _, observation = data
    start = np.full_like(n, n.mean())
    p = parameters_of(circuit())
    for _ in range(3):
        step = e_step(start, p, observation, bin_size=DT, scheme="exponential", density=density, max_iter=5)
        assert step.after >= step.before
        start = step.n
    again = e_step(start, p, observation, bin_size=DT, scheme="exponential", density=density, max_iter=5)
    assert again.before == pytest.approx(step.after, rel=1e-9)


def test_m_step_never_lets_its_own_objective_fall_and_moves_towards_the_truth(data):
    n, _, _, observation = data
    space = ParameterSpace(circuit(free=("u_rest",)))
    theta = space.pack(parameters_of(circuit(u_rest=[5.0, 11.0] * pq.mV)))
    step = m_step(theta, space, [[(observation, n)]], bin_size=DT, scheme="exponential")
    assert step.after > step.before
    np.testing.assert_allclose(space.values(step.theta), [8.0, 8.0], atol=0.5)


def test_m_step_of_two_equal_trajectories_equals_that_of_one(data):
    n, _, _, observation = data
    space = ParameterSpace(circuit())
    theta = space.pack(parameters_of(circuit(u_rest=[7.0, 9.0] * pq.mV)))
    one = m_step(theta, space, [[(observation, n)]], bin_size=DT, scheme="exponential", max_iter=3)
    two = m_step(
        theta, space, [[(observation, n), (observation, n)]], bin_size=DT, scheme="exponential", max_iter=3, n_jobs=2
    )
    np.testing.assert_allclose(two.theta, one.theta, rtol=1e-9)


def test_a_prior_pulls_the_m_step_towards_its_mean(data):
    n, _, _, observation = data
    held = circuit(free=("u_rest",), prior={"u_rest": (3.0 * pq.mV, 1e-3 * pq.mV)})
    step = m_step(
        ParameterSpace(held).pack(parameters_of(held)),
        ParameterSpace(held),
        [[(observation, n)]],
        bin_size=DT,
        scheme="exponential",
    )
    np.testing.assert_allclose(ParameterSpace(held).values(step.theta), 3.0, atol=0.05)


def test_smoothing_keeps_the_mean_rate_and_chooses_a_wider_kernel_for_slower_rates():
    rng = np.random.default_rng(3)
    t = np.arange(5000) * DT
    widths = []
    for period in (0.4, 8.0):
        rate = 20.0 * (1 + 0.9 * np.sin(2 * np.pi * t / period))
        counts = (rng.random((5000, 10)) < (rate * DT)[:, None]).astype(float)
        (activity,), width = initialization.smoothed_activity([counts], np.zeros(10, dtype=int), 1, DT)
        widths.append(width)
        assert activity.mean() == pytest.approx(counts.mean() / DT, rel=0.02)
        assert np.corrcoef(activity[:, 0], rate)[0, 1] > 0.8
    assert widths[0] < 0.1 < widths[1]


def test_a_population_nobody_recorded_from_starts_at_the_mean_rate():
    counts = np.zeros((100, 2))
    counts[::10] = 1
    (activity,), _ = initialization.smoothed_activity([counts], np.array([0, 0]), 2, DT, width=0.02)
    np.testing.assert_allclose(activity[:, 1], activity[:, 0].mean())


@pytest.mark.parametrize("method", em.METHODS)
def test_fit_is_the_same_for_one_and_two_jobs_and_raises_its_objective(data, method):
    _, counts, labels, _ = data
    settings = {"bin_size": DT, "method": method, "n_init": 2, "max_iter": 3, "n_particles": 30}
    one, two = (
        em.fit(circuit(), [counts, counts[:100]], labels, rng=np.random.default_rng(1), n_jobs=j, **settings)
        for j in (1, 2)
    )
    for a, b in zip(one.parameters, two.parameters, strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.log_likelihood == two.log_likelihood
    assert one.trace == two.trace
    assert all(record["m_step_after"] >= record["m_step_before"] for record in one.trace)
    noise = 5.0 if method == "smc" else 0.0  # nats, of a filter with 30 particles; the start is near already
    assert one.trace[-1]["log_likelihood"] > one.trace[0]["log_likelihood"] - noise
    assert [n.shape for n in one.n] == [(500, 2), (100, 2)]
    assert one.status == "stopped after max_iter=3 iterations" and not one.converged


def test_fit_beats_constant_rates_on_held_out_spikes(data):
    _, counts, labels, _ = data
    result = em.fit(
        circuit(), [counts], labels, rng=np.random.default_rng(2), bin_size=DT, n_init=1, max_iter=4, n_particles=40
    )
    _, held_out, _ = simulated(seed=7)
    observation = Observation.from_counts(held_out, labels, 2, [15.0, 15.0])
    score = particle_filter(
        result.parameters,
        observation,
        result.histories,
        bin_size=DT,
        rng=np.random.default_rng(0),
        scheme="exponential",
        n_particles=300,
    ).log_likelihood
    p = np.array([counts[:, labels == k].mean() for k in (0, 1)])[labels]
    constant = float(np.sum(held_out * np.log(p) + (1 - held_out) * np.log1p(-p)))
    assert score > constant


def test_neurons_that_fire_most_after_a_spike_are_found_from_the_default_circuit():
    """Their threshold lies below the reset. Units of a culture are such, and bounds at 0 mV left them unexplained."""
    truth = Circuit(
        200, names=["P"], J=2 * pq.mV, tau_m=40 * pq.ms, u_rest=-2 * pq.mV, threshold=-3 * pq.mV, t_ref=0 * pq.ms
    )
    spikes = simulate_microscopic(truth, duration=20 * pq.s, n_recorded=10, random_state=3).spiketrains
    with pytest.warns(MultipleSpikesWarning):
        (counts,) = bin_recording(SpikeRecording.from_neo(spikes), 0.005)
    given = Circuit.default(1, 200, names=["P"], t_ref=0 * pq.ms)
    settings = {"bin_size": 0.005, "n_init": 1, "max_iter": 3, "n_particles": 50}
    result = em.fit(given, [counts], np.zeros(10, dtype=int), rng=np.random.default_rng(2), **settings)
    assert result.parameters.threshold[0] == pytest.approx(-3.0, abs=0.6)
    assert result.parameters.tau_m[0] == pytest.approx(0.04, rel=0.5)
    assert result.log_likelihood > constant_rates_log_likelihood([counts]) + 100.0


def test_start_can_be_given_as_values_or_as_a_function(data):
    _, counts, labels, _ = data
    settings = {"bin_size": DT, "n_init": 1, "max_iter": 1, "n_particles": 20}
    seen = []

    def start(rng, circuit, counts, labels, bin_size):
        seen.append((circuit.names, len(counts), bin_size))
        return parameters_of(circuit)

    by_function = em.fit(circuit(), [counts], labels, rng=np.random.default_rng(4), start=start, **settings)
    by_value = em.fit(
        circuit(), [counts], labels, rng=np.random.default_rng(4), start=parameters_of(circuit()), **settings
    )
    assert seen == [(("E", "I"), 1, DT)]
    np.testing.assert_array_equal(by_function.parameters.J, by_value.parameters.J)


def test_interruption_keeps_the_best_so_far(data, monkeypatch):
    _, counts, labels, _ = data
    calls = []

    def interrupted_after_seven(original):
        def counted(setting, state):
            calls.append(original)
            if len(calls) > 7:
                raise KeyboardInterrupt
            return original(setting, state)

        return counted

    for step in ("_iterate", "_climb"):
        monkeypatch.setattr(monte_carlo, step, interrupted_after_seven(getattr(monte_carlo, step)))
    result = em.fit(
        circuit(),
        [counts[:100]],
        labels,
        rng=np.random.default_rng(5),
        bin_size=DT,
        n_init=1,
        max_iter=20,
        n_particles=20,
        tol=0.0,
    )
    assert result.status == "interrupted" and not result.converged
    assert result.n_iter == 7
    assert ["gain" in record for record in result.trace] == [False] * 5 + [True] * 2
    assert np.isfinite(result.log_likelihood)


def test_a_search_goes_on_climbing_after_every_walk_that_moved(data, monkeypatch):
    _, counts, labels, _ = data
    asked = []

    def walk(problem, landscape, j, rng):
        asked.append(problem.space.names[j])
        moved = 0.0 if len(asked) == 1 else 0.1
        ridges = (*landscape.ridges, ascent.Ridge(j, 4.0, moved, 1))
        return landscape._replace(theta=landscape.theta + moved * np.eye(problem.space.n_free)[j], ridges=ridges)

    monkeypatch.setattr(ascent, "walk", walk)
    monkeypatch.setattr(ascent, "FLAT", np.inf)
    settings = {"rng": np.random.default_rng(5), "bin_size": DT, "n_init": 1, "max_iter": 8, "n_particles": 10}
    result = em.fit(circuit(), [counts[:60]], labels, tol=1e6, **settings)  # every round counts as converged
    assert sorted(asked) == ["J[E←E]", "J[E←I]", "J[I←E]", "J[I←I]"]
    # five iterations of EM and three rounds before the first walk, which found nothing; three rounds after the others
    walks = [i for i, record in enumerate(result.trace) if "along" in record]
    assert walks == [8, 12, 16] and result.n_iter == len(result.trace) == 20
    assert [result.trace[i]["along"] for i in walks] == asked[1:]
    assert result.converged and len(result.landscape.ridges) == 4


def test_an_unknown_method_is_refused_by_name(data):
    _, counts, labels, _ = data
    with pytest.raises(ValueError, match="method 'em' is unknown"):
        em.fit(circuit(), [counts], labels, rng=np.random.default_rng(0), bin_size=DT, method="em")


def test_a_fit_never_ends_below_neurons_without_couplings():
    """Uncoupled neurons, and a start with absurd couplings: the result explains them about as well as the truth."""
    free = circuit(signs=None, J=np.zeros((2, 2)) * pq.mV, t_ref=0 * pq.ms)
    run = simulate_microscopic(free, duration=1.2 * pq.s, bin_size=4 * pq.ms, n_recorded=3, random_state=1)
    (counts,) = bin_recording(SpikeRecording.from_neo(run.spiketrains), DT)
    labels = np.repeat([0, 1], 3)

    def wild(rng, circuit, counts, labels, bin_size):
        return parameters_of(circuit)._replace(J=np.array([[60.0, -50.0], [-60.0, 50.0]]))

    settings = {"rng": np.random.default_rng(0), "bin_size": DT, "n_init": 1, "max_iter": 1, "n_particles": 20}
    result = em.fit(free, [counts], labels, start=wild, **settings)
    observation = Observation.from_counts(counts, labels, 2, [15.0, 15.0])
    truth = particle_filter(
        parameters_of(free),
        observation,
        result.histories,
        bin_size=DT,
        scheme="exponential",
        rng=np.random.default_rng(0),
    ).log_likelihood
    assert result.trace[0]["log_likelihood"] < truth - 5  # how far off the start ends up is a matter of chance
    assert result.log_likelihood > truth - 5
    assert np.any(result.parameters.J) or "without couplings" in result.status
