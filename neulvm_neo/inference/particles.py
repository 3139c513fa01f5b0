"""Particle filter.

Log p(y | θ) with its Monte-Carlo error, smoothed activity with bands, and sampled trajectories of the hidden counts.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from .. import discretization
from ..kernels import cloud as clouds
from ..kernels import mesoscopic, particles
from ..likelihood import FLOOR_RATE
from ..results import BAND_LEVEL
from . import histories as random_histories

# Cohorts swept at once in single precision; see `discretization.LANES`.
LANES = 32
# Membrane time constants for which cohorts are held one by one: n̄ is then wrong by 2e-4 in the three-population network
# and by 1e-3 to 5e-3 in the worst regime tried (0.8 Hz), less than by chance.
MEMORY = 5.5
# Mean intervals between spikes after which hardly anybody is left to be held: the window need not be longer than that
# where neurons fire faster than their membranes forget.
MEMORY_INTERVALS = 2.5
# Smoothing lag (s). Longer lags lose again what they gain, because the surviving particles share their ancestors.
LAG = 0.12
# How a trial began is what particles know least about. Until it is forgotten, for so many mean intervals between spikes
# of a neuron or membrane time constants (the longer of the two), there are `MORE_EARLY` times as many of them.
EARLY_INTERVALS, EARLY_MEMBRANES, MORE_EARLY = 3.0, 1.5, 10
# Where so large a share of every population is recorded, their spikes tell how the trial begins better than any random
# history: for so many intervals they only say what the counts were, and histories are forgotten unweighted.
NEARLY_ALL, UNWEIGHTED_INTERVALS = 0.5, 2.0
# Passes over the same trial that differ by more than this (nats, and share of the log-likelihood) have lost track; they
# are repeated with so many times the particles.
COLLAPSED, COLLAPSED_SHARE, MORE_WHEN_COLLAPSED = 10.0, 0.002, (3, 10)


@dataclass(frozen=True, eq=False)
class FilterResult:
    """What one pass of the filter over one trial leaves behind.

    Parameters
    ----------
    log_increments : numpy.ndarray, shape (n_bins,)
        log p(y_t | y_<t), in nats; their sum is log p(y | θ). Where nearly all neurons are recorded, the first bins
        are predicted from histories that the spikes before have not been weighed against: a density, but a worse one.
    predicted : numpy.ndarray, shape (n_bins, n_observed)
        p(y_ti = 1 | y_<t), for every recorded neuron.
    n, n_std, n_lower, n_upper : numpy.ndarray, shape (n_bins, K)
        Posterior mean, standard deviation and ends of the band of level `results.BAND_LEVEL` of the counts given the
        spikes up to `LAG` later.
    n_bar : numpy.ndarray, shape (n_bins, K)
        Expected count given the past spikes.
    paths : numpy.ndarray, shape (n_paths, n_bins, K)
        Trajectories of the counts drawn from p(n | y, θ).
    path_starts : tuple of histories.Starts
        What each trajectory started from, for `Observation.start`, at the age window of `likelihood.joint`.
    """

    log_increments: np.ndarray
    predicted: np.ndarray
    n: np.ndarray
    n_std: np.ndarray
    n_lower: np.ndarray
    n_upper: np.ndarray
    n_bar: np.ndarray
    paths: np.ndarray
    path_starts: tuple

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
    noise="binomial",
    n_particles=1000,
    window=None,
    n_paths=0,
    clusters=True,
    resample_below=0.5,
):
    """Bootstrap filter over one trial.

    Parameters
    ----------
    parameters : Parameters
    observation : Observation
        Its `history_rate` is not used; every particle draws its own history.
    histories : numpy.ndarray, shape (M, K), Hz
        Possible mean activities before the first bin, equally likely a priori, and beside them that with which the
        trial begins; see `histories.draw`. One is taken for known.
    bin_size : float, s
    rng : numpy.random.Generator
    noise : {"binomial", "cohorts"}
        How counts scatter around what is expected; see `discretization.check_noise`.
    n_particles : int
        The Monte-Carlo error of log p falls as 1/√n_particles (its variance as 1/n_particles). The beginning of the
        trial has `MORE_EARLY` times as many.
    n_paths : int
        Trajectories to draw (needs memory for n_bins × n_particles × K counts).
    clusters : bool
        Whether the populations may have been in clusters before the trial.
    resample_below : float
        Systematic resampling when the effective sample size falls below this fraction.

    Returns
    -------
    FilterResult
    """
    step = discretization.discretize(parameters, bin_size, scheme)
    run = Run(step, observation, histories, rng=rng, noise=noise, window=window, resample_below=resample_below)
    n_particles = int(n_particles)
    early = early_bins(histories, step, observation.n_bins) if observation.spikes else 0
    run.begin(MORE_EARLY * n_particles if early else n_particles, clusters=clusters)
    if early:
        run.advance(early, keep_paths=n_paths > 0)
        run.thin(n_particles)
    run.advance(observation.n_bins, keep_paths=n_paths > 0)
    if not n_paths:
        return run.result(np.empty((0, *run.mean.shape)), ())
    paths, chosen = run.draw_paths(n_paths)
    windows = likelihood_windows(step)
    starts = (random_histories.start(run.histories.of(slice(i, i + 1)), step, windows) for i in chosen)
    return run.result(paths, tuple(starts))


def posterior(parameters, observation, histories, *, rng, n_particles, n_runs=2, **settings):
    """Hidden activity of one trial from independent passes of the filter, which count by their likelihood.

    A pass may lose the track of the network, above all where populations are synchronous: its estimate of log p(y | θ)
    is then far below the others'. Where passes differ by much, they are repeated with more particles.

    Parameters
    ----------
    parameters, observation, histories, **settings
        See `particle_filter`.
    rng : numpy.random.Generator
    n_particles : int
    n_runs : int

    Returns
    -------
    FilterResult
        Averages over the passes, each weighted by its estimate of p(y | θ).
    error : float
        Standard error of the log-likelihood, in nats.
    collapsed : bool
        Whether the passes differed to the end, so that the result is not to be trusted.
    """
    for more in (1, *MORE_WHEN_COLLAPSED):
        passes = [
            particle_filter(parameters, observation, histories, rng=child, n_particles=more * n_particles, **settings)
            for child in rng.spawn(n_runs)
        ]
        logs = np.array([one.log_likelihood for one in passes])
        collapsed = bool(np.ptp(logs) > COLLAPSED + COLLAPSED_SHARE * np.abs(logs).max())
        if not collapsed:
            break
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    best = passes[int(np.argmax(logs))]
    mean = _weighted(weights, [one.n for one in passes])
    square = _weighted(weights, [one.n_std**2 + one.n**2 for one in passes])
    # up to a bin, passes count by their likelihood so far: then the increments sum to the log of the mean likelihood
    so_far = np.cumsum([np.concatenate([[0.0], one.log_increments]) for one in passes], axis=1)
    together = np.logaddexp.reduce(so_far, axis=0)
    counts_for = np.exp(so_far - together)[:, :-1]
    averaged = dataclasses.replace(
        best,
        log_increments=np.diff(together),
        predicted=np.einsum("rt,rti->ti", counts_for, np.array([one.predicted for one in passes])),
        n=mean,
        n_std=np.sqrt(np.maximum(square - mean**2, 0.0)),
        # the same end in all passes must stay what it is, a whole number that the count may be
        n_lower=np.round(_weighted(weights, [one.n_lower for one in passes]), 9),
        n_upper=np.round(_weighted(weights, [one.n_upper for one in passes]), 9),
        n_bar=_weighted(weights, [one.n_bar for one in passes]),
    )
    return averaged, float(logs.std(ddof=1) / np.sqrt(n_runs)) if n_runs > 1 else np.nan, collapsed


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


def age_windows(step, rates=None):
    """Ages that a filter tracks one by one when it is not told, per population; see `discretization.age_windows`.

    Parameters
    ----------
    step : discretization.Step
        Of one or many sets of parameters; the windows suffice for all of them.
    rates : numpy.ndarray, shape (·, K), Hz, optional
        Activities that are met; without them nothing is known of the intervals between spikes.
    """
    K = step.leak.shape[-1]
    windows = discretization.age_windows(step, MEMORY, lanes=LANES).reshape(-1, K).max(axis=0)
    if rates is None:
        return windows
    bins = MEMORY_INTERVALS / (np.maximum(np.mean(rates, axis=0), 1e-3) * step.bin_size)
    enough = step.refractory_bins + 1 + LANES * np.ceil(np.minimum(bins, 1e6) / LANES).astype(np.int64)
    return np.minimum(windows, enough)


def likelihood_windows(step):
    """Ages that `likelihood.joint` tracks one by one when it is not told, per population."""
    return np.maximum(discretization.age_windows(step), step.refractory_bins + 2)


def unweighted_bins(observation, histories, step):
    """Bins at the beginning of a trial whose spikes do not weigh the particles: 0 unless nearly all are recorded."""
    K, labels = step.leak.shape[-1], np.asarray(observation.labels, dtype=np.int64)
    if np.any(np.bincount(labels, minlength=K) < NEARLY_ALL * step.n_neurons):
        return 0
    bins = math.ceil(UNWEIGHTED_INTERVALS / (max(float(np.mean(histories)), 1e-6) * step.bin_size))
    return bins if 2 * bins < observation.n_bins else 0


def early_bins(histories, step, n_bins):
    """Bins at the beginning of a trial that get more particles; 0 if they would be most of the trial."""
    interval = 1.0 / max(float(np.mean(histories)), 1e-6)
    forgotten = max(EARLY_INTERVALS * interval, EARLY_MEMBRANES * float(np.median(step.tau_m)))
    bins = math.ceil(forgotten / step.bin_size)
    return bins if 2 * bins < n_bins else 0


class Run:
    """A cloud of particles on its way through one trial.

    `begin`, then `advance` to a bin (in one or several calls, with `thin` or new parameters between), then `result`.

    Parameters
    ----------
    step : discretization.Step
        Of one set of parameters for all particles, or of many, with an axis in front.
    observation : Observation
    rates : numpy.ndarray, shape (·, K), Hz
        The `histories` of `particle_filter`.
    rng : numpy.random.Generator
    noise : {"binomial", "cohorts"}
    window : int or numpy.ndarray of int, shape (K,), optional
    resample_below : float
    reference : numpy.ndarray, shape (n_bins, K), optional
        Counts that the first particle is to have: conditional SMC with ancestor sampling.
    horizon : int
        Bins to look ahead for ancestors of the reference.
    """

    def __init__(
        self, step, observation, rates, *, rng, noise="binomial", window=None, resample_below=0.5, reference=None,
        horizon=0,
    ):  # fmt: skip
        self.rng, self.resample_below, self.observation = rng, resample_below, observation
        T, K = observation.n_bins, step.leak.shape[-1]
        self.rates = np.atleast_2d(np.asarray(rates, dtype=float))
        if window is None:
            window = age_windows(step, self.rates)
        windows = np.broadcast_to(window, K).astype(np.int64)
        self.windows = np.maximum(windows, step.refractory_bins + 2)
        self.length = max(int(self.windows.max()), int(step.delay_bins.max()) + 2)
        by_cohorts = discretization.check_noise(noise, step) == "cohorts"
        self.trial = _trial_of(observation, step, by_cohorts, unweighted_bins(observation, self.rates, step))
        self.bin_size = step.bin_size
        self.lag = min(int(round(LAG / step.bin_size)), self.length - 1)
        self.adopt(step)
        n_observed = len(observation.spikes)
        self.log_increments, self.predicted = np.empty(T), np.empty((T, n_observed))
        self.mean, self.mean_square, self.mean_n_bar = np.empty((T, K)), np.empty((T, K)), np.empty((T, K))
        self.lower, self.upper = np.empty((T, K)), np.empty((T, K))
        self.reference = np.empty((0, K)) if reference is None else np.ascontiguousarray(reference, dtype=float)
        self.horizon = int(horizon)
        self.next_bin, self.phases = 0, []

    def adopt(self, step):
        """Take over the coefficients of `step` (the same number of sets as particles, or one)."""
        self.co = coefficients(step, self.windows, self.length)

    @property
    def cloud(self):
        """The particles."""
        return self.clouds[self.clock[particles.SWAPS] % 2]

    def begin(self, n_particles, clusters=True):
        """Draw every particle's history."""
        n_sets = self.co.leak.shape[0]
        set_of = np.zeros(n_particles, dtype=np.int64) if n_sets == 1 else np.arange(n_particles)
        opening = None  # where one activity is given, it is known
        if len(self.rates) > 1:
            opening = random_histories.opening(self.observation, self.rates, self.bin_size)
        self.histories = random_histories.draw(self.rng, self.rates, n_particles, self.bin_size, clusters, opening)
        starts = random_histories.settle(self.histories, self.co.c, self.co.decay, set_of, self.windows)
        self._make_room(n_particles)
        cloud, rows, length = self.cloud, n_particles * len(self.windows), self.length
        for name in ("n", "S", "L"):
            getattr(cloud, name)[:, :length] = getattr(starts, name).reshape(rows, length)
        cloud.free[:], cloud.H[:] = starts.free.reshape(rows, -1), starts.H.ravel()
        cloud.release[:] = cloud.H[:, None]
        cloud.current[:], cloud.f[:] = starts.current.ravel(), 1.0
        cloud.expected[:] = (starts.current * self.trial.n_neurons * self.bin_size).ravel()
        cloud.set_of[:] = set_of

    def advance(self, stop, *, keep_paths=False, pause=False):
        """Go on to bin `stop`, or with `pause` to the end of the first bin in which particles were resampled."""
        kept, P, K = (stop - self.next_bin if keep_paths else 0), self.weights.size, len(self.windows)
        path_n, path_ancestor = np.empty((kept, P, K), dtype=np.float32), np.empty((kept, P), dtype=np.int32)
        swapped = self.clock[particles.SWAPS] % 2
        here, there = self.clouds[swapped], self.clouds[1 - swapped]
        start = self.next_bin
        self.next_bin = particles.advance(
            self.rng, start, stop, pause, here, there, self.beyond, self.co, self.trial, self.reference, self.horizon,
            self.resample_below, 0.5 * (1.0 - BAND_LEVEL), self.lag, self.weights, self.clock, self.log_increments,
            self.predicted, self.mean, self.mean_square, self.lower, self.upper, self.mean_n_bar, path_n, path_ancestor,
        )  # fmt: skip
        if keep_paths:
            self.phases.append((start, self.next_bin, path_n, path_ancestor))

    def thin(self, n_particles):
        """Go on with fewer (or more) particles."""
        ancestors = np.empty(n_particles, dtype=np.int64)
        particles.systematic_resample(self.weights, self.rng.random(), ancestors)
        before, off = self.cloud, int(self.clock[particles.FIRST])
        self._make_room(n_particles)
        self.clock[particles.FIRST] = off
        clouds.copy_particles(before, ancestors, off, self.cloud)
        self.phases.append(ancestors)

    def draw_paths(self, n_paths):
        """Trajectories of the counts (n_paths, T, K), and the history that each started from (n_paths,)."""
        paths = np.empty((n_paths, self.next_bin, len(self.windows)))
        last = self.rng.choice(self.weights.size, size=n_paths, p=self.weights)
        for phase in reversed(self.phases):
            if isinstance(phase, np.ndarray):
                last = phase[last]
                continue
            start, stop, path_n, path_ancestor = phase
            first = np.empty(n_paths, dtype=np.int64)
            particles.trace_paths(path_n, path_ancestor, last, paths[:, start:stop], first)
            last = first
        return paths, last

    def result(self, paths, path_starts):
        """What the pass has found out, as a FilterResult."""
        n_std = np.sqrt(np.maximum(self.mean_square - self.mean**2, 0.0))
        return FilterResult(
            self.log_increments, self.predicted, self.mean, n_std, self.lower, self.upper, self.mean_n_bar, paths,
            path_starts,
        )  # fmt: skip

    def _make_room(self, n_particles):
        conditional = self.reference.shape[0] > 0
        sizes = (n_particles, n_particles, n_particles if conditional else 0)
        *self.clouds, self.beyond = (_empty_cloud(P, self.trial, self.length) for P in sizes)
        self.clock = np.zeros(particles.N_CLOCK, dtype=np.int64)
        self.weights = np.full(n_particles, 1.0 / n_particles)


def coefficients(step, windows, length):
    """What the kernel needs of a `Step`, whose fields may have an axis of sets in front."""
    K = len(windows)
    (M,) = np.broadcast_shapes(
        (1,), *(value.shape[:-1] for value in (step.leak, step.u_rest, step.log_hazard_offset, step.synaptic_decay)),
        step.J.shape[:-2],
    )  # fmt: skip

    def sets(value, *shape):
        return np.ascontiguousarray(np.broadcast_to(value, (M, *shape)), dtype=float)

    c = np.ascontiguousarray(np.broadcast_to(mesoscopic.constants(step, windows), (M, K, mesoscopic.N_CONSTANTS)))
    decay = np.zeros((M, K, length), dtype=clouds.CELL)
    table = discretization.decay_table(step, windows)[0]
    decay[..., : table.shape[-1]] = table
    vectors = (step.u_rest, step.tau_m, step.leak, step.leak**step.release_fraction, step.synaptic_decay)
    matrices = (step.J, step.by_current, step.by_before, step.by_now, step.release_by_current,
                step.release_by_before, step.release_by_now, step.feedback)  # fmt: skip
    return clouds.Coefficients(
        c.reshape(M * K, -1),
        decay.reshape(M * K, length),
        *(sets(value, K) for value in (*vectors, step.arrive_before, step.arrive_now)),
        *(sets(value, K, K) for value in matrices),
    )


def _weighted(weights, values):
    return np.tensordot(weights, np.array(values), axes=1)


def _trial_of(observation, step, by_cohorts, first_weighted):
    T, labels = observation.n_bins, np.asarray(observation.labels, dtype=np.int64)
    K, n_observed = step.leak.shape[-1], len(observation.spikes)
    spiking = np.zeros((T, n_observed), dtype=bool)
    for i, times in enumerate(observation.spikes):
        spiking[times, i] = True
    bins = np.where(spiking, np.arange(T)[:, None], -1)
    last_spike = np.full((T, n_observed), -1)
    if T > 1 and n_observed:
        last_spike[1:] = np.maximum.accumulate(bins, axis=0)[:-1]
    member = labels[:, None] == np.arange(K)
    n_neurons = np.array(step.n_neurons, dtype=float)
    n_others = np.maximum(np.rint(n_neurons).astype(np.int64) - member.sum(axis=0), 0)
    return clouds.Trial(
        spiking,
        last_spike,
        labels,
        observation.hazard_factors,
        np.ascontiguousarray(observation.stimulus, dtype=float),
        ((last_spike < 0).astype(float) @ member) > 0,
        (spiking.astype(float) @ member).astype(np.int64),
        n_neurons,
        1.0 / (n_neurons * step.bin_size),
        n_others,
        np.asarray(step.delay_bins),
        FLOOR_RATE * n_neurons * step.bin_size,
        step.bin_size,
        by_cohorts,
        first_weighted,
    )


def _empty_cloud(n_particles, trial, length):
    rows = n_particles * len(trial.n_neurons)
    cells = (np.zeros((rows, 2 * length), dtype=clouds.CELL) for _ in range(4))
    return clouds.Cloud(
        *cells,
        np.zeros((rows, 5)),
        np.zeros((rows, mesoscopic.N_RECORDS)),
        *(np.zeros(rows) for _ in range(6)),
        np.zeros((len(trial.labels), n_particles)),
        np.zeros(n_particles, dtype=np.int64),
    )
