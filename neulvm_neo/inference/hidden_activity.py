"""Hidden activity at given parameters: what the particle filter says of it, or the most probable trajectory."""

from typing import NamedTuple

import joblib
import numpy as np

from . import baum_viterbi, particles
from .tasks import run

# Times the particles of a search, for activity and likelihood of what it has found.
MORE_PARTICLES = 4
LOST = "the particle filter loses track of the recording; do not trust activity and likelihood, raise n_particles"


class Inferred(NamedTuple):
    """Hidden activity of one trial.

    Counts n, their expectations n̄, standard deviation, and band, all (n_bins, K), log p(y_t | y_<t) (n_bins,), the
    standard error of its sum, the recorded neurons' p(y_ti = 1 | y_<t) (n_bins, n_observed), and whether the particle
    filter lost track.
    """

    n: np.ndarray
    n_bar: np.ndarray
    n_std: np.ndarray | None
    n_lower: np.ndarray | None
    n_upper: np.ndarray | None
    log_increments: np.ndarray
    error: float
    predicted: np.ndarray
    collapsed: bool


def infer(
    parameters, observations, histories, *, bin_size, scheme, method, n_particles, rng, noise="binomial", counts=None,
    n_jobs=None,
):  # fmt: skip
    """Hidden activity of every trial at given parameters.

    Parameters
    ----------
    method : {"smc", "viterbi", "paper"}
        Posterior mean by the particle filter with a fixed lag, or the most probable trajectory.
    counts : tuple of numpy.ndarray, optional
        Counts that E-steps start from; default the filter's posterior mean.

    Returns
    -------
    list of Inferred
    """

    def one(observation, child, begin):
        filtered, error, collapsed = particles.posterior(
            parameters, observation, histories, bin_size=bin_size, rng=child, scheme=scheme, noise=noise,
            n_particles=n_particles,
        )  # fmt: skip
        known = filtered.log_increments, error, filtered.predicted, collapsed
        if method == "smc":
            return Inferred(filtered.n, filtered.n_bar, filtered.n_std, filtered.n_lower, filtered.n_upper, *known)
        n = filtered.n if begin is None else begin
        step = baum_viterbi.infer(n, parameters, observation, bin_size=bin_size, scheme=scheme, method=method)
        return Inferred(step.n, step.n_bar, None, None, None, *known)

    counts = [None] * len(observations) if counts is None else counts
    tasks = (
        joblib.delayed(one)(*task) for task in zip(observations, rng.spawn(len(observations)), counts, strict=True)
    )
    return run(tasks, n_jobs)
