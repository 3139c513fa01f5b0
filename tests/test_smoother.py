"""Particle Gibbs against enumeration, and against the degeneracy of a filter's own trajectories."""

import itertools

import numpy as np
import pytest

from neulvm_neo.inference.smoother import smooth
from neulvm_neo.likelihood import Observation, joint

from .test_particles import DT, started, tiny_network


def enumerate_posterior(p, counts, rate):
    """Mean and variance of every n_t under p(n | y, θ), from all possible n."""
    spikes, N = counts.sum(axis=1).astype(int), int(p.n_neurons[0])
    trial = started(Observation.from_counts(counts, [0, 0], 1, rate), p, rate, "second-order", 40)
    every = np.array(list(itertools.product(*(range(s, N - 2 + s + 1) for s in spikes))), dtype=float)
    settings = {"bin_size": DT, "window": 40, "density": "others", "gradient": False}
    logs = np.array([joint(p, n[:, None], trial, **settings).value for n in every])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    mean = weights @ every
    return mean, weights @ (every - mean) ** 2


def test_trajectories_have_the_posterior_of_enumeration_with_few_particles():
    p, counts = tiny_network(J=12.0)
    rate = np.array([40.0])
    observation = Observation.from_counts(counts, [0, 0], 1, rate)
    mean, variance = enumerate_posterior(p, counts, rate)
    n_sweeps, n_chains = 2000, 4
    found = smooth(
        p, observation, rate[None], bin_size=DT, rng=np.random.default_rng(0), n_particles=4, n_sweeps=n_sweeps,
        n_chains=n_chains, clusters=False,
    )  # fmt: skip
    chains = found.paths.reshape(n_chains, -1, len(counts))
    error = chains.mean(axis=1).std(axis=0, ddof=1) / np.sqrt(n_chains) + 0.005
    assert np.all(np.abs(found.n[:, 0] - mean) < 4 * error)
    np.testing.assert_allclose(found.n_std[:, 0] ** 2, variance, rtol=0.1, atol=0.01)


def test_every_stretch_of_a_long_trial_is_renewed():
    p, counts = tiny_network(n_neurons=40, n_bins=400, J=6.0)
    rng = np.random.default_rng(3)
    counts[:] = rng.random(counts.shape) < 0.05
    observation = Observation.from_counts(counts, [0, 0], 1, [25.0])
    settings = {"bin_size": DT, "n_particles": 30, "n_sweeps": 12, "n_warm_up": 2, "n_chains": 2}
    found = smooth(p, observation, np.array([[25.0]]), rng=np.random.default_rng(4), **settings)
    assert found.paths.shape == (20, 400, 1)
    assert found.renewed.reshape(8, -1).mean(axis=1).min() > 0.5
    assert np.all(found.n_lower <= found.n_upper)
    assert np.all(found.paths >= counts.sum(axis=1)[:, None])  # the recorded neurons are among those counted
    threads = smooth(p, observation, np.array([[25.0]]), rng=np.random.default_rng(4), n_jobs=2, **settings)
    np.testing.assert_array_equal(found.paths, threads.paths)


def test_with_a_horizon_of_nothing_ancestors_are_chosen_by_the_present_bin_alone():
    """And the same trajectory is sampled, only worse: nothing breaks at the edge."""
    p, counts = tiny_network(n_neurons=20, n_bins=30)
    observation = Observation.from_counts(counts, [0, 0], 1, [40.0])
    found = smooth(
        p, observation, np.array([[40.0]]), bin_size=DT, rng=np.random.default_rng(5), n_particles=20, n_sweeps=5,
        n_warm_up=1, n_chains=1, horizon=DT / 2,
    )  # fmt: skip
    assert found.paths.shape == (4, 30, 1)
    assert found.n == pytest.approx(found.paths.mean(axis=0))
