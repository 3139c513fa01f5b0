"""Particle filter.

Log p(y | θ) with its Monte-Carlo error, smoothed activity, and sampled trajectories of the hidden counts.
"""

from dataclasses import dataclass

import numpy as np

from .. import discretization
from ..kernels import mesoscopic, particles
from ..likelihood import FLOOR_RATE

# Cohorts swept at once in single precision; see `discretization.LANES`.
LANES = 32
# Membrane time constants for which cohorts are held one by one: n̄ is then wrong by 2e-4 in the three-population network
# and by 1e-3 to 5e-3 in the worst regime tried (0.8 Hz), less than by chance.
MEMORY = 5.5
# Smoothing lag (s). Longer lags lose again what they gain, because the surviving particles share their ancestors.
LAG = 0.12


@dataclass(frozen=True, eq=False)
class FilterResult:
    """What one pass of the filter over one trial leaves behind.

    Parameters
    ----------
    log_increments : numpy.ndarray, shape (n_bins,)
        log p(y_t | y_<t), in nats; their sum is log p(y | θ).
    n : numpy.ndarray, shape (n_bins, K)
        Posterior mean of the counts given the spikes up to `LAG` later.
    n_std : numpy.ndarray, shape (n_bins, K)
        Posterior standard deviation.
    n_bar : numpy.ndarray, shape (n_bins, K)
        Expected count given the past spikes.
    paths : numpy.ndarray, shape (n_paths, n_bins, K)
        Trajectories of the counts drawn from p(n | y, θ).
    path_histories : numpy.ndarray of int, shape (n_paths,)
        Row of `histories` that each trajectory started from.
    """

    log_increments: np.ndarray
    n: np.ndarray
    n_std: np.ndarray
    n_bar: np.ndarray
    paths: np.ndarray
    path_histories: np.ndarray

    @property
    def log_likelihood(self):
        """log p(y | θ), in nats."""
        return float(self.log_increments.sum())


def particle_filter(
    parameters,
    observation,
    histories,
    *,
    bin_size,
    rng,
    scheme="second-order",
    n_particles=1000,
    window=None,
    n_paths=0,
    resample_below=0.5,
):
    """Bootstrap filter over one trial.

    Parameters
    ----------
    parameters : Parameters
    observation : Observation
        Its `history_rate` is not used; every particle draws its own row of `histories`.
    histories : numpy.ndarray, shape (M, K), Hz
        Possible activities before the first bin, equally likely a priori.
    bin_size : float, s
    rng : numpy.random.Generator
    n_particles : int
        The Monte-Carlo error of log p falls as 1/√n_particles (its variance as 1/n_particles).
    n_paths : int
        Trajectories to draw (needs memory for n_bins × n_particles × K counts).
    resample_below : float
        Systematic resampling when the effective sample size falls below this fraction.

    Returns
    -------
    FilterResult
    """
    step = discretization.discretize(parameters, bin_size, scheme)
    T, K, P = observation.n_bins, len(step.n_neurons), int(n_particles)
    if window is None:
        window = age_windows(step)
    windows = np.broadcast_to(window, K).astype(np.int64)
    windows = np.maximum(windows, step.refractory_bins + 2)
    length = max(int(windows.max()), int(step.delay_bins.max()) + 2)
    decay = discretization.decay_table(step, windows)[0]
    # enough different histories to represent the prior, few enough to prepare quickly
    rows = rng.choice(len(histories), size=min(len(histories), 64), replace=False)
    start = _stationary_states(
        np.asarray(histories, dtype=float)[rows], observation.stimulus[0], step, windows, decay, length
    )
    spiking = np.zeros((T, len(observation.spikes)), dtype=bool)
    for i, times in enumerate(observation.spikes):
        spiking[times, i] = True
    log_increments = np.empty(T)
    mean, mean_square, mean_n_bar = np.empty((T, K)), np.empty((T, K)), np.empty((T, K))
    kept = T if n_paths else 0
    path_n, path_ancestor = np.empty((kept, P, K), dtype=np.float32), np.empty((kept, P), dtype=np.int32)
    weights = np.empty(P)
    first = rng.integers(len(rows), size=P)
    particles.bootstrap(
        rng, spiking, observation.labels, np.ascontiguousarray(observation.stimulus, dtype=float), step, windows,
        decay.astype(particles.CELL),
        FLOOR_RATE * step.n_neurons * bin_size, first, *start, min(int(round(LAG / bin_size)), length - 1),
        resample_below, log_increments, mean, mean_square, mean_n_bar, path_n, path_ancestor, weights,
    )  # fmt: skip
    paths, path_first = np.empty((n_paths, T, K)), np.empty(n_paths, dtype=np.int64)
    if n_paths:
        particles.trace_paths(path_n, path_ancestor, rng.choice(P, size=n_paths, p=weights), paths, path_first)
        path_first = rows[first[path_first]]
    n_std = np.sqrt(np.maximum(mean_square - mean**2, 0.0))
    return FilterResult(log_increments, mean, n_std, mean_n_bar, paths, path_first)


def age_windows(step):
    """Ages that a filter tracks one by one when it is not told, per population; see `discretization.age_windows`."""
    return discretization.age_windows(step, MEMORY, lanes=LANES)


def log_likelihood(parameters, observations, histories, *, bin_size, rng, n_runs=2, **settings):
    """log p(y | θ) summed over trials, and its Monte-Carlo standard error, from independent passes of the filter.

    The filter's estimate of p(y | θ) itself is unbiased, so the passes are averaged as probabilities, trial by trial;
    the error is that of the average.

    Returns
    -------
    value, error : float
    """
    value, variance = 0.0, 0.0
    for observation in observations:
        logs = np.array(
            [
                particle_filter(
                    parameters, observation, histories, bin_size=bin_size, rng=child, **settings
                ).log_likelihood
                for child in rng.spawn(n_runs)
            ]
        )
        value += np.logaddexp.reduce(logs) - np.log(n_runs)
        variance += logs.var(ddof=1) / n_runs if n_runs > 1 else np.nan
    return float(value), float(np.sqrt(variance))


def _stationary_states(histories, stimulus, step, windows, decay, length):
    """Counts, potentials and cohorts (n, H, S, L, free) after a constant past at each of the `histories` (M, K) Hz."""
    M, K = histories.shape
    n = histories * step.n_neurons * step.bin_size
    H = step.u_rest + stimulus + step.tau_m * (histories @ step.J.T)
    S, L, free = np.ones((M, K, length)), np.zeros((M, K, length)), np.zeros((M, K, 5))
    for m in range(M):
        for k, window in enumerate(windows):
            own = slice(length - window, length)
            mesoscopic.stationary_cohorts(
                k, step, window, decay[k, :window], H[m, k], n[m, k], S[m, k, own], L[m, k, own], free[m, k]
            )
    return n, H, S, L, free
