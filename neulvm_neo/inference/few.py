"""Fits in which one or two values are free: passes of a filter whose particles carry them, no surface to climb.

First from the prior, as wide as it may be; then again from the neighbourhood that was found, so that no particle is
wasted far away. A pass may collapse on a wrong history of the network; its evidence is then much lower than that of the
others, and it is left out.
"""

from typing import NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from . import particles
from .liu_west import liu_west
from .tasks import run_one_by_one

MOST_FREE = 2
WIDE_PASSES, NARROW_PASSES = 3, 2
MORE_PARTICLES = 10  # than filters at fixed parameters have
MOST_DRAWS = 2000  # from the prior; more particles are spread between them
# Passes whose log evidence is this far below the best (nats) have collapsed. Narrow passes start this many standard
# deviations wide.
COLLAPSED, REOPENED = 10.0, 3.0


class Found(NamedTuple):
    """θ, its posterior covariance, a record per pass, and how the search ended."""

    theta: np.ndarray
    covariance: np.ndarray
    trace: tuple
    converged: bool
    interrupted: bool


def search(
    space, draw, start, observations, histories, *, bin_size, scheme, rng, n_particles, max_iter, n_jobs=None, verbose=0
):
    """Posterior mean and covariance of θ.

    Parameters
    ----------
    space : ParameterSpace
    draw : callable
        ``draw(rng) -> θ``, from the prior.
    start : numpy.ndarray, shape (n_free,)
        What is returned when the search is interrupted before the first pass ends.
    observations, histories, bin_size, scheme
        See `liu_west.liu_west`.
    rng : numpy.random.Generator
    n_particles : int
        Of a filter at fixed parameters; here are `MORE_PARTICLES` times as many.
    max_iter : int
        Passes, at most; below `WIDE_PASSES` + `NARROW_PASSES` some are left out.
    n_jobs : int, optional
        joblib jobs over passes.

    Returns
    -------
    Found
        Converged if the kept passes agree within their spread.
    """
    n_particles = MORE_PARTICLES * n_particles
    settings = {"bin_size": bin_size, "scheme": scheme, "n_particles": n_particles}
    trace, interrupted = [], False
    passes, mean, covariance, kept = [], start, np.full((len(start), len(start)), np.nan), []
    n_wide = min(WIDE_PASSES, max_iter)
    children = rng.spawn(n_wide + min(NARROW_PASSES, max_iter - n_wide))

    def wide(child):
        drawn = np.array([draw(child) for _ in range(min(n_particles, MOST_DRAWS))])
        theta = drawn[np.arange(particles.MORE_EARLY * n_particles) % len(drawn)]
        theta = theta + len(drawn) ** -0.2 * drawn.std(axis=0) * child.standard_normal(theta.shape)
        return np.clip(theta, space.bounds[:, 0], space.bounds[:, 1])

    def narrow(child):
        size = particles.MORE_EARLY * n_particles
        theta = child.multivariate_normal(mean, REOPENED**2 * covariance, size=size, method="svd")
        return np.clip(theta, space.bounds[:, 0], space.bounds[:, 1])

    def one(prior, child):
        return liu_west(space, prior(child), observations, histories, rng=child, **settings)

    with tqdm(total=len(children), disable=not verbose, desc="neuLVM", unit="pass") as bar:
        try:
            for prior, mine in ((wide, children[:n_wide]), (narrow, children[n_wide:])):
                if not mine:
                    break
                passes = []
                for result in run_one_by_one((joblib.delayed(one)(prior, child) for child in mine), n_jobs):
                    passes.append(result)
                    trace.append(_record(result, len(trace), space))
                    bar.update()
                    bar.set_postfix_str(f"{result.log_likelihood:.1f} nats")
                kept = _not_collapsed(passes)
                mean, covariance = _pooled(kept)
        except KeyboardInterrupt:
            interrupted = True
            if passes:
                kept = _not_collapsed(passes)
                mean, covariance = _pooled(kept)
    return Found(mean, covariance, tuple(trace), len(kept) > 1 and _agree(kept), interrupted)


def _record(result, i, space):
    return {
        "iteration": i,
        "start": i,
        "log_likelihood": result.log_likelihood,
        "values": [float(x) for x in space.values(result.mean)],
        "standard_deviations": [float(x) for x in np.sqrt(np.diag(result.covariance))],
    }


def _not_collapsed(passes):
    best = max(result.log_likelihood for result in passes)
    return [result for result in passes if result.log_likelihood > best - COLLAPSED]


def _pooled(passes):
    """Mean and covariance of the passes' draws together: what they differ by counts as uncertainty."""
    theta = np.concatenate([result.theta for result in passes])
    return theta.mean(axis=0), np.atleast_2d(np.cov(theta.T))


def _agree(passes):
    """Whether the means of the passes lie within three standard deviations of each other."""
    means = np.array([result.mean for result in passes])
    spread = np.sqrt(np.mean([np.diag(result.covariance) for result in passes], axis=0))
    return bool(np.all(np.ptp(means, axis=0) <= 3.0 * spread))
