"""log p(y, n | θ) of one trial and its exact gradients in n, θ, the history and the stimulus.

Sole caller of the adjoint kernels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, gammaln

from . import discretization
from .kernels import mesoscopic, mesoscopic_adjoint, observed, potential

DENSITIES = ("binomial", "gaussian", "noise")
# A population is never expected to fire at less than this rate (Hz): keeps log n̄ finite where the finite-size
# correction would make n̄ negative.
FLOOR_RATE = 1e-3
# Bins of tape kept in memory at once; longer trials are swept again from checkpoints, so that memory grows with the
# trial's length alone.
TAPE_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Observation:
    """One trial as the model sees it.

    Parameters
    ----------
    spikes : tuple of numpy.ndarray of int
        Bins with a spike, one increasing array per recorded neuron.
    labels : numpy.ndarray of int, shape (n_observed,)
        Population of every recorded neuron.
    n_bins : int
    stimulus : numpy.ndarray, shape (n_bins, K), mV
        External drive R·I.
    history_rate : numpy.ndarray, shape (K,), Hz
        Constant activity of the populations before the first bin.
    """

    spikes: tuple
    labels: np.ndarray
    n_bins: int
    stimulus: np.ndarray
    history_rate: np.ndarray

    @classmethod
    def from_counts(cls, counts, labels, n_populations, history_rate, stimulus=None):
        """From a (n_bins, n_observed) array; every positive entry is one spike."""
        spikes = tuple(np.flatnonzero(column).astype(np.int64) for column in np.asarray(counts).T)
        if stimulus is None:
            stimulus = np.zeros((len(counts), n_populations))
        return cls(
            spikes, np.asarray(labels, dtype=np.int64), len(counts), stimulus, np.asarray(history_rate, dtype=float)
        )

    @property
    def n_spikes(self):
        """Spikes of all recorded neurons."""
        return sum(times.size for times in self.spikes)


class Likelihood(NamedTuple):
    """Value of log p(y, n | θ) in nats, split as in the paper's appendix B, and what was asked for beside it."""

    part_a: float  # log p(y | n): recorded neurons
    part_b: float  # log p(n): the mesoscopic model
    n_bar: np.ndarray  # expected counts (n_bins, K), before the floor
    g_n: np.ndarray | None = None  # (n_bins, K)
    g_parameters: object | None = None  # Parameters
    g_history: np.ndarray | None = None  # with respect to the history counts, (window, K)
    g_stimulus: np.ndarray | None = None  # (n_bins, K)

    @property
    def value(self):
        """Part a plus part b."""
        return self.part_a + self.part_b


def joint(
    parameters, n, observation, *, bin_size, scheme="euler", window=None, density="binomial", gradient=True, parts="ab"
):
    """log p(y, n | θ) of one trial (Wang et al. 2022, eq. 4 and App. B).

    Parameters
    ----------
    parameters : Parameters
    n : numpy.ndarray, shape (n_bins, K)
        Spike counts of the populations (real numbers are fine).
    observation : Observation
    bin_size : float, s
    scheme : {"euler", "exponential"}
        See `discretization.discretize`.
    window : int, optional
        Cohort ages tracked one by one, in bins; default `discretization.age_window`. Keep it fixed while optimising.
    density : {"binomial", "gaussian", "noise"}
        p(n_t | past): Binomial(N, n̄/N); the paper's N(n̄, n̄); or the same without its log term, -(n - n̄)²/(2 n̄),
        whose maximum is the mode over the noise ξ in n = n̄ + √n̄ ξ and does not reward silencing the activity.
    gradient : bool
    parts : {"ab", "a"}
        ``"a"`` leaves the mesoscopic term out (part b is 0); the kernels run all the same for the age of neurons that
        have not fired yet.

    Returns
    -------
    Likelihood
    """
    step = discretization.discretize(parameters, bin_size, scheme)
    if window is None:
        window = discretization.age_window(step)
    K, T = len(step.n_neurons), observation.n_bins
    counts = np.empty((K, window + T))
    counts[:, :window] = (observation.history_rate * step.n_neurons * bin_size)[:, None]
    counts[:, window:] = np.asarray(n).T
    stimulus = np.empty((K, window + T))
    stimulus[:, :window] = observation.stimulus[0][:, None]
    stimulus[:, window:] = observation.stimulus.T
    filtered, H = np.empty_like(counts), np.empty_like(counts)
    coefficients = (
        step.leak,
        step.drive_gain,
        step.synaptic_gain,
        step.synaptic_decay,
        step.J,
        step.u_rest,
        step.delay_bins,
        step.n_neurons,
        bin_size,
    )
    potential.forward(counts, stimulus, *coefficients, filtered, H)
    sweeps = [_CohortSweep(counts[k], H[k], step, k, window) for k in range(K)]
    n_bar = np.stack([sweep.n_bar for sweep in sweeps], axis=1)

    part_a = 0.0
    for times, k in zip(observation.spikes, observation.labels, strict=True):
        part_a += observed.forward(
            times,
            T,
            H[k, window:],
            sweeps[k].h_unseen,
            step.leak[k],
            step.log_hazard_offset[k],
            step.refractory_bins[k],
            bin_size,
        )
    part_b, g_n_bar, g_n = 0.0, np.zeros((T, K)), np.zeros((T, K))
    if parts == "ab":
        part_b, g_n_bar, g_n = log_density(np.asarray(n), n_bar, step.n_neurons, bin_size, density)
    if not gradient:
        return Likelihood(part_a, part_b, n_bar)

    g_counts, g_H, g_stimulus = np.zeros_like(counts), np.zeros_like(counts), np.zeros_like(counts)
    g_h_unseen = np.zeros((K, T))
    g_scalars = np.zeros((K, 2))
    for times, k in zip(observation.spikes, observation.labels, strict=True):
        observed.adjoint(
            times,
            T,
            H[k, window:],
            sweeps[k].h_unseen,
            step.leak[k],
            step.log_hazard_offset[k],
            step.refractory_bins[k],
            bin_size,
            g_H[k, window:],
            g_h_unseen[k],
            g_scalars[k],
        )
    for k, sweep in enumerate(sweeps):
        sweep.pull_back(np.ascontiguousarray(g_n_bar[:, k]), g_h_unseen[k], g_counts[k], g_H[k], g_scalars[k])
    g_leak, g_gain, g_synaptic, g_decay, g_rest = (np.zeros(K) for _ in range(5))
    g_J = np.zeros((K, K))
    potential.adjoint(
        counts,
        stimulus,
        *coefficients,
        filtered,
        H,
        g_H,
        g_counts,
        g_stimulus,
        g_leak,
        g_gain,
        g_synaptic,
        g_decay,
        g_J,
        g_rest,
    )
    g_step = step._replace(
        leak=g_leak + g_scalars[:, 1],
        drive_gain=g_gain,
        synaptic_gain=g_synaptic,
        synaptic_decay=g_decay,
        J=g_J,
        u_rest=g_rest,
        log_hazard_offset=g_scalars[:, 0],
    )
    g_stimulus_bins = g_stimulus[:, window:].T.copy()
    g_stimulus_bins[0] += g_stimulus[:, :window].sum(axis=1)  # the history continues the first bin's stimulus backwards
    return Likelihood(
        part_a,
        part_b,
        n_bar,
        g_n=g_n + g_counts[:, window:].T,
        g_parameters=discretization.pull_back(g_step, parameters, bin_size, scheme),
        g_history=g_counts[:, :window].T.copy(),
        g_stimulus=g_stimulus_bins,
    )


def log_density(n, n_bar, n_neurons, bin_size, density):
    """Σ log p(n_t | n̄_t) and its derivatives with respect to n̄ and n, all (n_bins, K) except the value.

    Densities: see `joint`.
    """
    floor = FLOOR_RATE * n_neurons * bin_size
    ceiling = n_neurons * (1.0 - 1e-6)
    inside = (n_bar > floor) & (n_bar < ceiling)
    mean = np.clip(n_bar, floor, ceiling)
    if density == "binomial":
        value = (
            gammaln(n_neurons + 1.0)
            - gammaln(n + 1.0)
            - gammaln(n_neurons - n + 1.0)
            + n * np.log(mean / n_neurons)
            + (n_neurons - n) * np.log1p(-mean / n_neurons)
        )
        g_mean = n / mean - (n_neurons - n) / (n_neurons - mean)
        g_n = digamma(n_neurons - n + 1.0) - digamma(n + 1.0) + np.log(mean / n_neurons) - np.log1p(-mean / n_neurons)
    elif density in ("gaussian", "noise"):
        deviation = n - mean
        value = -0.5 * deviation**2 / mean
        g_mean = deviation / mean + 0.5 * (deviation / mean) ** 2
        g_n = -deviation / mean
        if density == "gaussian":
            value = value - 0.5 * np.log(2.0 * np.pi * mean)
            g_mean = g_mean - 0.5 / mean
    else:
        raise ValueError(f"density {density!r} is unknown; choose one of {DENSITIES}.")
    return float(value.sum()), np.where(inside, g_mean, 0.0), g_n


class _CohortSweep:
    """Forward sweep of one population with checkpoints, kept until its adjoint has run."""

    def __init__(self, n, H, step, k, window):
        self.n, self.H, self.window = n, H, window
        self.r = int(step.refractory_bins[k])
        self.N = step.n_neurons[k]
        self.offset = step.log_hazard_offset[k]
        self.leak = step.leak[k]
        self.decay = mesoscopic.decay_by_age(self.leak, self.r, window)
        length = n.size
        self.S = np.ones(length)
        self.n_bar, self.h_unseen = np.empty(length - window), np.empty(length - window)
        rows = int(min(length, max(TAPE_BYTES // (24 * window), window)))
        self.tape = (np.empty((rows, window)), np.empty((rows, window)), np.empty((rows, window)), np.empty((rows, 8)))
        self.edges = list(range(0, length, rows)) + [length]
        self.checkpoints = []
        lump = np.zeros(2)
        for start, stop in zip(self.edges[:-1], self.edges[1:], strict=True):
            self.checkpoints.append((self.S[max(start - window, 0) : start].copy(), lump.copy()))
            self._forward(start, stop, self.S, lump)

    def _forward(self, start, stop, S, lump):
        mesoscopic.forward(
            start,
            stop,
            self.window,
            self.n,
            self.H,
            self.decay,
            self.offset,
            self.r,
            self.N,
            S,
            lump,
            self.n_bar,
            self.h_unseen,
            True,
            *self.tape,
        )

    def pull_back(self, g_n_bar, g_h_unseen, g_n, g_H, g_scalars):
        """Add the gradients of this population's cohorts; `g_scalars` is (offset, leak)."""
        ages = self.window - np.arange(self.window)
        exponent = np.maximum(ages - self.r, 0)
        decay_slope = exponent * self.decay / self.leak
        g_S, g_lump = np.zeros(self.n.size), np.zeros(2)
        for i in range(len(self.edges) - 2, -1, -1):
            start, stop = self.edges[i], self.edges[i + 1]
            if stop < self.n.size:  # the tape holds the last stretch only: sweep this one again from its checkpoint
                live, lump = self.checkpoints[i]
                first = start - live.size
                S = self.S.copy()
                S[first:start] = live
                S[start:] = 1.0
                self._forward(start, stop, S, lump.copy())
            mesoscopic_adjoint.adjoint(
                start,
                stop,
                self.window,
                self.n,
                self.H,
                self.decay,
                decay_slope,
                self.r,
                self.N,
                self.S,
                *self.tape,
                g_n_bar,
                g_h_unseen,
                self.h_unseen,
                g_S,
                g_lump,
                g_n,
                g_H,
                g_scalars,
            )
