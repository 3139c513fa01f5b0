"""One pass of a particle filter whose particles have parameters of their own (Liu and West 2001).

Where few values are free, this is all that is needed: from a prior as wide as one likes, one pass gives the posterior
of the parameters and of the hidden activity, without a likelihood surface to climb (which from far away is a plateau
or a cliff). Where many are free, the pass ends near the parameters but does not pin them down.
"""

from dataclasses import dataclass

import numpy as np

from .. import discretization
from . import particles

# After resampling, parameters are drawn towards their mean by √(1 - WIDTH²) and receive noise of WIDTH standard
# deviations, which keeps mean and covariance.
WIDTH = 0.2


@dataclass(frozen=True, eq=False)
class LiuWestResult:
    """What a pass over all trials leaves behind.

    Parameters
    ----------
    theta : numpy.ndarray, shape (n_particles, n_free)
        Draws from the posterior.
    mean : numpy.ndarray, shape (n_free,)
    covariance : numpy.ndarray, shape (n_free, n_free)
    log_likelihood : float
        Log of the evidence: p(y) with the parameters integrated out (approximately, as they are moved on the way),
        without the bins that did not weigh the particles; see `particles.unweighted_bins`.
    trials : tuple of particles.FilterResult
        Hidden activity of every trial, with the parameters' uncertainty in it.
    """

    theta: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    trials: tuple


def liu_west(
    space, theta, observations, histories, *, bin_size, rng, scheme="second-order", noise="binomial", n_particles=2000
):  # fmt: skip
    """Filter all trials with particles that differ in their parameters.

    Parameters
    ----------
    space : ParameterSpace
    theta : numpy.ndarray, shape (P, n_free)
        Draws from the prior (times `space.log_prior`), P at least `n_particles`; as many as there are begin the first
        trial.
    observations : sequence of Observation
        Trials, one after the other: the posterior after one is the prior of the next.
    histories : numpy.ndarray, shape (M, K), Hz
        See `particles.particle_filter`.
    bin_size : float, s
    rng : numpy.random.Generator
    scheme, noise : str
        See `particles.particle_filter`.
    n_particles : int
        After the early part of every trial, which has `particles.MORE_EARLY` times as many.

    Returns
    -------
    LiuWestResult
    """
    theta = np.array(theta, dtype=float)
    log_prior = np.array([space.log_prior(x)[0] for x in theta])
    theta = theta[_systematic(rng, np.exp(log_prior - log_prior.max()), len(theta))]
    value, trials = 0.0, []
    for observation in observations:
        step = discretization.discretize(space.unpack(theta[:n_particles]), bin_size, scheme)
        early = particles.early_bins(histories, step, observation.n_bins)
        n_begin = particles.MORE_EARLY * n_particles if early else n_particles
        if len(theta) != n_begin:
            theta = theta[_systematic(rng, np.ones(len(theta)), n_begin)]
        step = discretization.discretize(space.unpack(theta), bin_size, scheme)
        run = particles.Run(step, observation, histories, rng=rng, noise=noise)
        run.begin(n_begin)
        while run.next_bin < observation.n_bins:
            theta = _until_resampled(run, early if run.next_bin < early else observation.n_bins, theta, space, scheme)
            if run.next_bin == early:
                run.thin(n_particles)
                theta = _move(run, theta, space, scheme)
        theta = theta[_systematic(rng, run.weights, n_particles)]
        value += float(run.log_increments[run.trial.first_weighted :].sum())
        trials.append(run.result(np.empty((0, *run.mean.shape)), ()))
    return LiuWestResult(theta, theta.mean(axis=0), np.atleast_2d(np.cov(theta.T)), value, tuple(trials))


def _until_resampled(run, stop, theta, space, scheme):
    swaps = int(run.clock[0 + 1])
    run.advance(stop, pause=True)
    return _move(run, theta, space, scheme) if run.clock[1] != swaps else theta


def _move(run, theta, space, scheme):
    """Parameters of resampled particles, moved; every particle has its own again."""
    cloud = run.cloud
    theta = theta[cloud.set_of]
    mean, covariance = theta.mean(axis=0), np.atleast_2d(np.cov(theta.T))
    root = np.linalg.cholesky(covariance + 1e-12 * np.diag(np.diag(covariance) + 1e-12))
    shrink = np.sqrt(1.0 - WIDTH**2)
    theta = mean + shrink * (theta - mean) + WIDTH * run.rng.standard_normal(theta.shape) @ root.T
    theta = np.clip(theta, space.bounds[:, 0], space.bounds[:, 1])
    run.adopt(discretization.discretize(space.unpack(theta), run.bin_size, scheme))
    cloud.set_of[:] = np.arange(len(theta))
    return theta


def _systematic(rng, weights, n_new):
    cumulative = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(cumulative, (np.arange(n_new) + rng.random()) / n_new), len(weights) - 1)
