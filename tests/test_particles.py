"""The particle filter against brute-force enumeration, against closed forms, and as a simulator."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import quantities as pq
from scipy.stats import binom

from neulvm_neo.discretization import SCHEMES, discretize
from neulvm_neo.experiments.circuits import single_population, winner_take_all
from neulvm_neo.inference import histories
from neulvm_neo.inference.particles import log_likelihood, particle_filter
from neulvm_neo.likelihood import FLOOR_RATE, Observation, joint, scatter
from neulvm_neo.parameters import Parameters, parameters_of
from neulvm_neo.simulation import simulate_mesoscopic, simulate_microscopic

DT = 0.002


def tiny_network(n_neurons=5, n_bins=5, J=3.0):
    """So few neurons and bins that every history of counts can be listed."""
    p = Parameters(
        J=np.array([[J]]),
        tau_m=np.array([0.01]),
        u_rest=np.array([5.0]),
        threshold=np.array([2.5]),
        tau_syn=np.array([0.004]),
        t_ref=np.array([0.0]),
        delay=np.array([0.0]),
        n_neurons=np.array([float(n_neurons)]),
    )
    counts = np.zeros((n_bins, 2))
    counts[2:3, 0] = counts[3:4, 1] = 1
    return p, counts


def started(observation, p, rate, scheme, window, bin_size=DT):
    """The observation after a constant past, as a particle begins."""
    step = discretize(p, bin_size, scheme)
    past = histories.draw(np.random.default_rng(0), np.atleast_2d(rate), 1, bin_size, clusters=False)
    return dataclasses.replace(observation, start=histories.start(past, step, np.full(len(step.leak), window)))


def enumerate_log_likelihood(p, counts, rate, scheme, noise, excitability=None):
    """log Σ_n p(y, n | θ) over every possible n, each term from `joint`."""
    n_neurons = int(p.n_neurons[0])
    observation = Observation.from_counts(counts, [0, 0], 1, rate, excitability=excitability)
    observation = started(observation, p, rate, scheme, 40)
    terms = []
    spikes = counts.sum(axis=1).astype(int)
    for n in itertools.product(*(range(s, n_neurons - 2 + s + 1) for s in spikes)):
        n = np.array(n, dtype=float)[:, None]
        if noise == "cohorts":
            part_a = joint(p, n, observation, bin_size=DT, scheme=scheme, window=40, parts="a", gradient=False).part_a
            law = law_of_cohorts(p, n, observation, scheme)
            terms.append(part_a + law.logpmf(n[:, 0] - spikes).sum())
            continue
        result = joint(p, n, observation, bin_size=DT, scheme=scheme, window=40, density="others", gradient=False)
        # `joint` gives part b with the floor of n̄; the same floor holds in the filter
        terms.append(result.value)
    return np.logaddexp.reduce(terms)


def law_of_cohorts(p, n, observation, scheme):
    """The law of the counts of those who were not recorded, bin by bin, with the variance of cohorts."""
    n_neurons, n_recorded = p.n_neurons[0], len(observation.spikes)
    n_bar, variance = (x[:, 0] for x in scatter(p, n, observation, bin_size=DT, scheme=scheme, window=40))
    n_bar = np.maximum(n_bar, FLOOR_RATE * n_neurons * DT)
    others = 1 - n_recorded / n_neurons
    at_stake = np.minimum(np.maximum(n_bar**2 / (n_bar - variance), n_bar), n_neurons) * others
    at_stake = np.clip(np.floor(at_stake + 0.5), np.ceil(n_bar * others), n_neurons - n_recorded)
    return binom(at_stake, n_bar * others / at_stake)


@pytest.mark.parametrize("scheme, noise, excitability", [
    *((scheme, "binomial", None) for scheme in SCHEMES), ("euler", "cohorts", None), ("second-order", "cohorts", None),
    ("second-order", "binomial", (0.4, 2.5)),
])  # fmt: skip
def test_filter_agrees_with_brute_force_enumeration(scheme, noise, excitability):
    p, counts = tiny_network(J=12.0)
    if noise == "cohorts":  # where spikes do not act on their own bin, and nearly all fire in one of two bins
        p = p._replace(delay=np.array([DT]), threshold=np.array([1.2]), t_ref=np.array([DT]))
    rate = np.array([40.0])
    exact = enumerate_log_likelihood(p, counts, rate, scheme, noise, excitability)
    observation = Observation.from_counts(counts, [0, 0], 1, rate, excitability=excitability)
    value, error = log_likelihood(
        p,
        [observation],
        rate[None],
        bin_size=DT,
        scheme=scheme,
        noise=noise,
        rng=np.random.default_rng(0),
        n_runs=20,
        n_particles=4000,
        window=40,
        clusters=False,
    )
    assert error < 0.01
    assert value == pytest.approx(exact, abs=4 * error)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("t_ref, delay", [(0.004, 0.0), (0.0031, 0.0013), (0.0, 0.0061)])
def test_a_particle_expects_what_the_likelihood_expects_of_its_counts(scheme, t_ref, delay):
    """The filter steps its own potentials and cohorts, in single precision; the likelihood sweeps over known counts."""
    p = parameters_of(winner_take_all())._replace(t_ref=np.full(3, t_ref), delay=np.array([0.0, delay, delay]))
    nobody = Observation((), np.zeros(0, dtype=np.int64), 300, np.zeros((300, 3)), np.array([12.0, 14.0, 20.0]))
    run = particle_filter(
        p, nobody, nobody.history_rate[None], bin_size=0.002, rng=np.random.default_rng(1), scheme=scheme,
        n_particles=1, window=80, clusters=False,
    )  # fmt: skip
    nobody = started(nobody, p, nobody.history_rate, scheme, 80, 0.002)
    expected = joint(p, run.n, nobody, bin_size=0.002, scheme=scheme, window=80, gradient=False).n_bar
    floor = FLOOR_RATE * p.n_neurons * 0.002
    np.testing.assert_allclose(run.n_bar, np.maximum(expected, floor), rtol=1e-4, atol=1e-4)


def test_variance_of_the_estimate_falls_as_one_over_the_number_of_particles():
    p, counts = tiny_network(n_neurons=20, n_bins=30, J=6.0)
    counts[[10, 20], 0] = 1
    observation = Observation.from_counts(counts, [0, 0], 1, [40.0])

    def variance(n_particles):
        rng = np.random.default_rng(1)
        runs = [
            particle_filter(
                p, observation, np.array([[40.0]]), bin_size=DT, rng=child, n_particles=n_particles, clusters=False
            ).log_likelihood
            for child in rng.spawn(200)
        ]
        return np.var(runs)

    # 200 runs know a variance to 10 %, a ratio of two to 14 %
    assert variance(50) / variance(400) == pytest.approx(8.0, rel=0.45)


def test_without_coupling_the_likelihood_is_exact_with_any_number_of_particles():
    """Then the recorded neurons do not feel n, so every particle gives the same answer."""
    p, counts = tiny_network(n_bins=60)
    p = p._replace(J=np.zeros((1, 1)), n_neurons=np.array([50.0]))
    observation = Observation.from_counts(counts, [0, 0], 1, [40.0])
    begun = started(observation, p, [40.0], "second-order", 60)
    exact = joint(p, np.full((60, 1), 3.0), begun, bin_size=DT, window=60, gradient=False).part_a
    few = particle_filter(
        p, observation, np.array([[40.0]]), bin_size=DT, rng=np.random.default_rng(2), n_particles=3, window=60,
        clusters=False,
    )  # fmt: skip
    # n enters through the share of young neurons among those not seen yet only in the window's cohorts born after the
    # start, which they are not
    assert few.log_likelihood == pytest.approx(exact, rel=1e-6)


def test_sampled_paths_follow_the_smoothed_mean_and_hold_whole_numbers():
    p, counts = tiny_network(n_neurons=30, n_bins=80)
    observation = Observation.from_counts(counts, [0, 0], 1, [40.0])
    result = particle_filter(
        p, observation, np.array([[40.0]]), bin_size=DT, rng=np.random.default_rng(3), n_particles=2000, n_paths=500
    )
    assert result.paths.shape == (500, 80, 1)
    assert np.all(result.paths == np.rint(result.paths))
    late = slice(60, 80)  # early bins share few ancestors
    error = result.n_std[late] / np.sqrt(50)
    assert np.mean(np.abs(result.paths[:, late].mean(axis=0) - result.n[late]) < 3 * error) > 0.9


def test_first_draw_is_binomial_around_the_expected_count():
    p, _ = tiny_network(n_neurons=40, n_bins=1)
    observation = Observation.from_counts(np.zeros((1, 0)), [], 1, [40.0])
    result = particle_filter(
        p, observation, np.array([[40.0]]), bin_size=DT, rng=np.random.default_rng(4), n_particles=20000, n_paths=1,
        window=60, clusters=False,
    )  # fmt: skip
    begun = started(observation, p, [40.0], "second-order", 60)
    expected = joint(p, np.zeros((1, 1)), begun, bin_size=DT, window=60, gradient=False).n_bar[0, 0]
    assert result.n_bar[0, 0] == pytest.approx(expected, rel=1e-6)
    law = binom(40, expected / 40)
    assert result.n[0, 0] == pytest.approx(law.mean(), abs=4 * law.std() / math.sqrt(20000))
    assert result.n_std[0, 0] == pytest.approx(law.std(), rel=0.05)


def test_counts_of_cohorts_scatter_less_where_neurons_fire_in_step():
    """In clusters, the variance around what is expected of a simulation is that of `scatter`, which is far below."""
    circuit = single_population()
    run = simulate_mesoscopic(
        circuit, duration=4 * pq.s, bin_size=1 * pq.ms, scheme="euler", noise="cohorts", initial_rate=20 * pq.Hz,
        random_state=3,
    )  # fmt: skip
    p = parameters_of(circuit)
    nobody = Observation.from_counts(np.zeros((len(run.n), 0)), [], 1, np.array([20.0]))
    n_bar, variance = scatter(p, run.n, nobody, bin_size=0.001, scheme="euler")
    many = (n_bar[:, 0] > 20) & (np.arange(len(n_bar)) > 1000)
    surprise, variance, n_bar = (run.n - n_bar)[many] ** 2, variance[many], n_bar[many]
    assert variance.sum() < 0.6 * (n_bar * (1 - n_bar / 600)).sum()
    # whole numbers of neurons at stake make it a little more or less
    error = 1.5 / np.sqrt(many.sum())
    assert np.mean(surprise / variance) == pytest.approx(1.0, abs=4 * error + 0.05)


@pytest.mark.parametrize("J", [59.0, 60.32, 61.5])
def test_a_network_in_clusters_scatters_as_its_cohorts_do(J):
    """Every neuron simulated: the binomial's variance is more than twice too large, that of cohorts is not."""
    circuit = single_population(J * pq.mV)
    run = simulate_microscopic(
        circuit, duration=6 * pq.s, bin_size=1 * pq.ms, time_step=1 * pq.ms, integration="euler",
        initial_rate=20 * pq.Hz, random_state=5,
    )  # fmt: skip
    nobody = Observation.from_counts(np.zeros((len(run.n), 0)), [], 1, np.array([20.0]))
    n_bar, variance = scatter(parameters_of(circuit), run.n, nobody, bin_size=0.001, scheme="euler")
    many = (n_bar[:, 0] > 5) & (np.arange(len(n_bar)) > 1000)
    surprise, variance, n_bar = (run.n - n_bar)[many] ** 2, variance[many], n_bar[many]
    assert np.mean(surprise / (n_bar * (1 - n_bar / 600))) < 0.55
    assert 0.8 < np.mean(surprise / variance) < 1.2


def test_cohorts_need_spikes_that_do_not_act_on_their_own_bin():
    p, counts = tiny_network()
    observation = Observation.from_counts(counts, [0, 0], 1, [40.0])
    settings = {"bin_size": DT, "rng": np.random.default_rng(6), "n_particles": 10}
    with pytest.raises(ValueError, match="spikes act on the bin they fall in"):
        particle_filter(p, observation, np.array([[40.0]]), noise="cohorts", **settings)
    with pytest.raises(ValueError, match="noise 'gaussian' is unknown"):
        particle_filter(p, observation, np.array([[40.0]]), noise="gaussian", **settings)


def test_same_seed_same_bits():
    p, counts = tiny_network(n_neurons=30, n_bins=50)
    observation = Observation.from_counts(counts, [0, 0], 1, [40.0])
    runs = [
        particle_filter(
            p,
            observation,
            np.array([[40.0], [20.0]]),
            bin_size=DT,
            rng=np.random.default_rng(5),
            n_particles=100,
            n_paths=2,
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].log_increments, runs[1].log_increments)
    np.testing.assert_array_equal(runs[0].paths, runs[1].paths)


def test_a_network_that_explodes_over_silence_is_improbable_but_a_number():
    """Particles then differ by more in one bin than an exponential can hold; some have no weight left beforehand."""
    rng = np.random.default_rng(3)
    p, _ = tiny_network(200, J=132.0)
    p = p._replace(tau_m=np.array([0.0054]), threshold=np.array([0.0]), tau_syn=np.array([0.003]))
    together = np.repeat(rng.random(200) < 0.05, 5)[:, None]
    counts = rng.random((1000, 59)) < np.where(together, 0.1, 0.002)
    observation = Observation.from_counts(counts, np.zeros(59, dtype=int), 1, [5.0])
    for seed in range(10):
        found = particle_filter(
            p, observation, np.array([[2.0], [5.0]]), bin_size=0.002, rng=np.random.default_rng(seed), n_particles=50
        )
        assert np.all(np.isfinite(found.log_increments)) and found.log_likelihood < -1e4
        assert np.all(np.isfinite(found.n)) and np.all((found.predicted >= 0) & (found.predicted <= 1))
