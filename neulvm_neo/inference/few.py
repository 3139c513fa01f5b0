"""Fits in which one or two values are free: passes of a filter whose particles carry them, no surface to climb.

First from the prior, as wide as it may be; then again from the neighbourhood that was found, so that no particle is
wasted far away. A pass may collapse on a wrong history of the network; its evidence is then much lower than that of the
others, whatever their stage, and it is left out. All others count alike, those from the prior as well: where a network
is synchronous, passes differ by more than each of them knows.
"""

from typing import NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from ..parameters import ParameterSpace, circuit_with
from . import particles
from .liu_west import liu_west
from .tasks import run_one_by_one

MOST_FREE = 2
WIDE_PASSES, NARROW_PASSES = 3, 2
MORE_PARTICLES = 10  # than filters at fixed parameters have
MOST_DRAWS = 2000  # from the prior; more particles are spread between them
# Passes whose log evidence is this far below the best (nats) have collapsed. Narrow passes start this many standard
# deviations wide, and no narrower than this share of the prior: a pass may be too sure.
COLLAPSED, REOPENED, NARROWEST = 10.0, 3.0, 0.01
MORE_WHEN_COLLAPSED = 3  # times the particles, where all passes of a stage but one have collapsed
# The mesoscopic equations are an approximation. In networks of one population, the spikes of a tenth of a second differ
# from the sum of what is expected of its bins with up to this many times the variance that the bins add up to; so does
# the slope of a likelihood, and with it what is found.
APPROXIMATION = 1.2


class Found(NamedTuple):
    """θ, its posterior covariance, a record per pass, and how the search ended."""

    theta: np.ndarray
    covariance: np.ndarray
    trace: tuple
    converged: bool
    interrupted: bool


def search(
    space,
    draw,
    start,
    observations,
    histories,
    *,
    bin_size,
    scheme,
    noise="binomial",
    rng,
    n_particles,
    max_iter,
    n_jobs=None,
    known=None,
    verbose=0,
    watch=lambda: None,
):
    """Posterior mean and covariance of θ.

    Parameters
    ----------
    space : ParameterSpace
    draw : callable
        ``draw(rng) -> θ``, from the prior; if it always gives the same, values around it are drawn.
    start : numpy.ndarray, shape (n_free,)
        What is returned when the search is interrupted before the first pass ends.
    observations, histories, bin_size, scheme, noise
        See `liu_west.liu_west`.
    rng : numpy.random.Generator
    n_particles : int
        Of a filter at fixed parameters; here are `MORE_PARTICLES` times as many.
    max_iter : int
        Passes, at most; below `WIDE_PASSES` + `NARROW_PASSES` some are left out.
    n_jobs : int, optional
        joblib jobs over passes.
    known : Found, optional
        What was found from observations that differ a little: only passes from its neighbourhood then. Those before do
        not count, but stay in the trace.

    Returns
    -------
    Found
        Converged if the passes of the last stage agree within their spread.
    """
    n_particles = MORE_PARTICLES * n_particles
    trace, kept, last, interrupted = [], [], [], False
    prior = np.array([draw(rng) for _ in range(min(n_particles, MOST_DRAWS))])
    if not np.all(prior.std(axis=0) > 0.0):  # one start was given: 40 to 200 % of it, as of the circuit's values
        around = ParameterSpace(circuit_with(space.circuit, space.unpack(prior[0])))
        prior = np.array([around.draw(rng) for _ in range(len(prior))])
    if known is None:
        mean, covariance = start, np.full((len(start), len(start)), np.nan)
        n_wide = min(WIDE_PASSES, max_iter)
        stages = [(_spread, n_wide, 1), (_around, min(NARROW_PASSES, max_iter - n_wide), 1)]
    else:
        mean, covariance, trace = known.theta, known.covariance, list(known.trace)
        stages = [(_around, min(NARROW_PASSES, max_iter), 1)]
    passes = []
    with tqdm(total=sum(n for _, n, _ in stages), disable=not verbose, desc="neuLVM", unit="pass") as bar:
        try:
            while stages:
                begin, n_passes, more = stages.pop(0)
                if n_passes == 0:
                    continue
                size = more * n_particles

                def one(child, begin=begin, size=size, mean=mean, covariance=covariance):
                    theta = begin(prior, mean, covariance, particles.MORE_EARLY * size, child)
                    theta = np.clip(theta, *space.bounds.T)
                    settings = {"bin_size": bin_size, "scheme": scheme, "noise": noise, "n_particles": size}
                    return liu_west(space, theta, observations, histories, rng=child, **settings)

                tasks = (joblib.delayed(one)(child) for child in rng.spawn(n_passes))
                for result in run_one_by_one(tasks, n_jobs):
                    passes.append(result)
                    trace.append(_record(result, len(trace), space))
                    bar.update()
                    bar.set_postfix_str(f"{result.log_likelihood:.1f} nats")
                    watch()
                if n_passes > 1 and more == 1 and len(_not_collapsed(passes, kept)) < 2:
                    stages.insert(0, (begin, n_passes, MORE_WHEN_COLLAPSED))
                    bar.total += n_passes
                kept, last, passes = _not_collapsed([*kept, *passes]), passes, []
                mean, covariance = _pooled(kept)
        except KeyboardInterrupt:
            interrupted = True
            if passes:
                kept = _not_collapsed([*kept, *passes])
                mean, covariance = _pooled(kept)
    last = _not_collapsed(last, kept) if kept else []
    return Found(mean, covariance, tuple(trace), _agree(last if len(last) > 1 else kept), interrupted)


def _spread(prior, mean, covariance, size, rng):
    """Draws from the prior; those given, spread a little so that no two are the same."""
    theta = prior[np.arange(size) % len(prior)]
    return theta + len(prior) ** -0.2 * prior.std(axis=0) * rng.standard_normal(theta.shape)


def _around(prior, mean, covariance, size, rng):
    """Draws from the neighbourhood of what was found."""
    wide = REOPENED**2 * covariance + np.diag((NARROWEST * prior.std(axis=0)) ** 2)
    return rng.multivariate_normal(mean, wide, size=size, method="svd")


def _record(result, i, space):
    return {
        "iteration": i,
        "start": i,
        "log_likelihood": result.log_likelihood,
        "values": [float(x) for x in space.values(result.mean)],
        "standard_deviations": [float(x) for x in np.sqrt(np.diag(result.covariance))],
    }


def _not_collapsed(passes, others=()):
    """Those of `passes` that have not collapsed, beside `others`."""
    best = max(result.log_likelihood for result in (*passes, *others))
    return [result for result in passes if result.log_likelihood >= best - COLLAPSED]


def _pooled(passes):
    """Mean and covariance: within passes, for the approximation, and between them, for chance (Rubin 1987)."""
    M = len(passes)
    within = np.mean([result.covariance for result in passes], axis=0)
    means = np.array([result.mean for result in passes])
    between = np.atleast_2d(np.cov(means.T)) if M > 1 else np.zeros_like(within)
    return means.mean(axis=0), APPROXIMATION * within + (1.0 + 1.0 / M) * between


def _agree(passes):
    """Whether several passes have ended within three standard deviations of each other."""
    if len(passes) < 2:
        return False
    means = np.array([result.mean for result in passes])
    spread = np.sqrt(np.mean([np.diag(result.covariance) for result in passes], axis=0))
    return bool(np.all(np.ptp(means, axis=0) <= 3.0 * spread))
