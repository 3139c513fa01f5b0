"""Trajectories of the hidden counts given all spikes of a trial: particle Gibbs with ancestor sampling.

A filter's own trajectories share their ancestors: far from the end of a trial all particles descend from one. Here a
trajectory is carried from sweep to sweep. In every sweep it is one of the particles, the others are drawn anew, and
whenever particles are resampled it may change its ancestor to any of them that its future suits (Lindsten, Jordan,
Schön, Particle Gibbs with ancestor sampling, JMLR 15, 2014). So it is renewed at all times alike, however long the
trial is, and its law is p(n | y, θ) for any number of particles, but that its future is looked at for `HORIZON` only.
"""

import math
from dataclasses import dataclass

import joblib
import numpy as np

from .. import discretization
from ..results import BAND_LEVEL
from . import particles, tasks

# How much of its future decides on a trajectory's ancestor (s): by then, particles with the same counts expect the
# same, but in populations that have stayed in step since before.
HORIZON = 0.05


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Draws from p(n | y, θ) and what they say of every bin.

    Parameters
    ----------
    paths : numpy.ndarray, shape (n_paths, n_bins, K)
        Counts; neighbouring paths of a chain resemble each other.
    n, n_std, n_lower, n_upper : numpy.ndarray, shape (n_bins, K)
        Mean, standard deviation, and the ends of the band of level `results.BAND_LEVEL`.
    renewed : numpy.ndarray, shape (n_bins,)
        Share of the sweeps that changed the counts of a bin: where it is low, paths are few in truth.
    """

    paths: np.ndarray
    n: np.ndarray
    n_std: np.ndarray
    n_lower: np.ndarray
    n_upper: np.ndarray
    renewed: np.ndarray


def smooth(
    parameters,
    observation,
    histories,
    *,
    bin_size,
    rng,
    scheme="second-order",
    n_particles=100,
    n_sweeps=50,
    n_warm_up=5,
    n_chains=2,
    horizon=HORIZON,
    clusters=True,
    n_jobs=None,
):
    """Sample trajectories of the hidden counts.

    Parameters
    ----------
    parameters, observation, histories, bin_size, scheme
        See `particles.particle_filter`.
    rng : numpy.random.Generator
        Its children serve the chains, so that the result does not depend on `n_jobs`.
    n_particles : int
        Per sweep; the first trajectory of a chain comes from a filter with as many.
    n_sweeps, n_warm_up : int
        Sweeps of every chain, and how many of them are thrown away.
    n_chains : int
    horizon : float, s
    clusters : bool
        Whether the populations may have been in clusters before the trial.
    n_jobs : int, optional
        joblib jobs over chains.

    Returns
    -------
    Smoothed
    """
    step = discretization.discretize(parameters, bin_size, scheme)
    settings = {"bin_size": bin_size, "scheme": scheme, "n_particles": n_particles, "clusters": clusters}
    ahead = math.ceil(horizon / bin_size)

    def chain(child):
        path = particles.particle_filter(parameters, observation, histories, rng=child, n_paths=1, **settings).paths[0]
        kept, changed = [], np.zeros(observation.n_bins)
        for sweep in range(n_sweeps):
            run = particles.Run(step, observation, histories, rng=child, reference=path, horizon=ahead)
            run.begin(n_particles, clusters=clusters)
            run.advance(observation.n_bins, keep_paths=True)
            new = run.draw_paths(1)[0][0]
            changed += np.any(new != path, axis=1)
            path = new
            if sweep >= n_warm_up:
                kept.append(path)
        return np.array(kept), changed / n_sweeps

    done = tasks.run((joblib.delayed(chain)(c) for c in rng.spawn(n_chains)), n_jobs)
    paths = np.concatenate([kept for kept, _ in done])
    tail = 0.5 * (1.0 - BAND_LEVEL)
    lower, upper = np.quantile(paths, [tail, 1.0 - tail], axis=0, method="inverted_cdf")
    renewed = np.mean([share for _, share in done], axis=0)
    return Smoothed(paths, paths.mean(axis=0), paths.std(axis=0), lower, upper, renewed)
