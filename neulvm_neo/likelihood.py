"""log p(y, n | θ) of one trial and its exact gradients in n, θ, the history and the stimulus.

Sole caller of the adjoint kernels.
"""

import math
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from . import discretization
from .kernels import density as densities
from .kernels import mesoscopic, mesoscopic_adjoint, observed, potential, sweep

DENSITIES = ("others", "binomial", "gaussian", "noise", "deviance")
# Counts below this count as this many in the logarithm of the deviance.
LEAST_COUNT = 1e-9
# A population is never expected to fire at less than this rate (Hz): keeps log n̄ finite where the finite-size
# correction would make n̄ negative.
FLOOR_RATE = 1e-3
# The conditional variance of a count is not let below this share of its expectation: it is a difference, and may vanish
# where the ages leave no doubt who fires.
FLOOR_VARIANCE = 0.05
# Tape kept in memory at once, for all populations together; longer trials are swept again from checkpoints, so that
# memory grows with the trial's length alone.
TAPE_BYTES = 64 * 2**20
# Survivals and the parts of -log q on the tape: they may be rounded by 6e-8 without the gradients losing 1e-7 of their
# norm. What is computed from them is not.
TAPE_TYPE = np.float32
# Ages that can be tracked one by one; half a row, so that as many bins fit into a stretch.
LONGEST_WINDOW = sweep.ROW // 2
_LINE = 64  # bytes in a cache line
_left_behind = threading.local()


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
    history_rate : numpy.ndarray, shape (K,) or (n_history, K), Hz
        Activity of the populations before the first bin: constant; or bin by bin, the last row just before the first
        bin, the first row for ever before the others. Potentials up to the first bin are those of the first row, also
        where the others vary (as in a cluster state, whose mean changes little over a membrane time constant).
    start : histories.Starts, optional
        State at the first bin (of one history, M = 1), instead of the one that `history_rate` leads to. It is given:
        no gradient passes through it. It also says which ages are tracked one by one.
    excitability : numpy.ndarray, shape (n_observed,), optional
        Hazard of every recorded neuron, as a multiple of the hazard that its population has at the same potential: a
        threshold of its own, lower by ln excitability mV. Default 1.
    """

    spikes: tuple
    labels: np.ndarray
    n_bins: int
    stimulus: np.ndarray
    history_rate: np.ndarray
    start: object | None = None
    excitability: np.ndarray | None = None

    @classmethod
    def from_counts(cls, counts, labels, n_populations, history_rate, stimulus=None, excitability=None):
        """From a (n_bins, n_observed) array; every positive entry is one spike."""
        spikes = tuple(np.flatnonzero(column).astype(np.int64) for column in np.asarray(counts).T)
        if stimulus is None:
            stimulus = np.zeros((len(counts), n_populations))
        return cls(
            spikes, np.asarray(labels, dtype=np.int64), len(counts), stimulus, np.asarray(history_rate, dtype=float),
            excitability=excitability,
        )  # fmt: skip

    @cached_property
    def trains(self):
        """Bins with a spike, one neuron after the other; where each begins; bins until all neurons have fired."""
        trains = [np.asarray(times, dtype=np.int64) for times in self.spikes]
        offsets = np.cumsum([0, *(times.size for times in trains)])
        unseen = max((int(times[0]) + 1 if times.size else self.n_bins for times in trains), default=0)
        return np.concatenate([*trains, np.empty(0, dtype=np.int64)]), offsets, unseen

    @property
    def hazard_factors(self):
        """`excitability`, 1 where it was not given."""
        given = np.ones(len(self.labels)) if self.excitability is None else self.excitability
        return np.ascontiguousarray(given, dtype=float)

    @property
    def n_spikes(self):
        """Spikes of all recorded neurons."""
        return sum(times.size for times in self.spikes)


class Likelihood(NamedTuple):
    """Value of log p(y, n | θ) in nats, split as in the paper's appendix B, and what was asked for beside it."""

    part_a: float  # log p(y | n): recorded neurons
    part_b: float  # log p(n): the mesoscopic model
    n_bar: np.ndarray  # expected counts given the past (n_bins, K), before the floor
    variance: np.ndarray  # of the counts given the past (n_bins, K), before the floor
    g_n: np.ndarray | None = None  # (n_bins, K)
    g_parameters: object | None = None  # Parameters
    g_history_rate: np.ndarray | None = None  # like `history_rate`, per Hz
    g_stimulus: np.ndarray | None = None  # (n_bins, K)

    @property
    def value(self):
        """Part a plus part b."""
        return self.part_a + self.part_b


def joint(
    parameters,
    n,
    observation,
    *,
    bin_size,
    scheme="second-order",
    window=None,
    density="binomial",
    gradient=True,
    parts="ab",
    temperature=1.0,
):
    """log p(y, n | θ) of one trial (Wang et al. 2022, eq. 4 and App. B).

    Parameters
    ----------
    parameters : Parameters
    n : numpy.ndarray, shape (n_bins, K)
        Spike counts of the populations (real numbers are fine).
    observation : Observation
    bin_size : float, s
    scheme : {"second-order", "exponential", "euler"}
        See `discretization.discretize`.
    window : int or numpy.ndarray of int, shape (K,), optional
        Cohort ages tracked one by one, in bins; default `discretization.age_windows`. Keep it fixed while optimising.
    density : {"others", "binomial", "gaussian", "noise", "deviance"}
        p(n_t | past). ``"others"``: n_t are the spikes of the q recorded neurons, which part a accounts for, and
        Binomial(N - q, n̄/N) of the others; ``"binomial"``: Binomial(N, n̄/N), nearly the same as long as q ≪ N;
        ``"gaussian"``: N(n̄, v) with v the variance given the past (the paper's N(n̄, n̄) in the first-order schemes);
        ``"noise"``: the same without its log term, -(n - n̄)²/(2 v), whose maximum is the mode over the
        noise ξ in n = n̄ + √v ξ and does not reward silencing the activity. ``"deviance"`` is the binomial relative to
        its value at n̄ = n, that is without the share -½ log(2π n (1 - n/N)) that does not know n̄: the same idea with
        the binomial's tails (spikes where none are expected cost some nats each, not millions) and its maximum over θ,
        so that one objective serves both steps of Baum–Viterbi.
    gradient : bool
    parts : {"ab", "a"}
        ``"a"`` leaves the mesoscopic term out (part b is 0); the kernels run all the same for the age of neurons that
        have not fired yet.
    temperature : float
        Part b is divided by it: above 1 the counts may leave what the model expects by more than chance allows.

    Returns
    -------
    Likelihood
        `variance` is the variance of n given the past: of Schwalger et al.'s cohorts, which fire independently but
        differ in p, and of the feedback that spikes have on their own bin; n̄ in the first-order schemes.
    """
    if density not in DENSITIES:
        raise ValueError(f"density {density!r} is unknown; choose one of {DENSITIES}.")
    trial = _Sweep(
        parameters, n, observation, bin_size, scheme, window, density if parts == "ab" else None, temperature, gradient
    )
    trial.forward(gradient)
    if not gradient:
        return Likelihood(trial.part_a, trial.part_b, trial.n_bar.T, trial.variance.T)
    g_step, g_counts, g_stimulus = trial.backward()
    per_hz = trial.step.n_neurons * bin_size
    return Likelihood(
        trial.part_a,
        trial.part_b,
        trial.n_bar.T,
        trial.variance.T,
        g_n=g_counts[:, trial.n_history :].T,
        g_parameters=discretization.pull_back(g_step, parameters, bin_size, scheme),
        g_history_rate=trial.history_gradient(g_counts) * (per_hz if observation.start is None else 0.0),
        g_stimulus=g_stimulus.T,
    )


def scatter(parameters, n, observation, *, bin_size, scheme="second-order", window=None):
    """What is expected of every bin, and how counts scatter around it in the network, whatever the scheme's density.

    Parameters
    ----------
    parameters, n, observation, bin_size, scheme, window
        See `joint`.

    Returns
    -------
    n_bar, variance : numpy.ndarray, shape (n_bins, K)
        The variance is that of cohorts which fire independently, each with its own p, and of the feedback that spikes
        have on their own bin, if there is any.
    """
    trial = _Sweep(parameters, n, observation, bin_size, scheme, window, None, 1.0, False)
    trial.corrected = True
    trial.forward(False)
    return trial.n_bar.T, trial.variance.T


def sweep_of(parameters, n, observation, *, bin_size, scheme="second-order", window=None):
    """The forward sweep of `joint` by itself, for measurements: a function without arguments that repeats it.

    It leaves no tape behind. The trial must be short enough to be swept in one stretch.
    """
    trial = _Sweep(parameters, n, observation, bin_size, scheme, window, None, 1.0, False)
    trial.forward(False)
    if len(trial.stretches) > 1:
        raise ValueError(f"n has {len(n)} bins, of which {trial.stretches[0][1]} make a stretch; use fewer.")
    return lambda: trial._advance(*trial.stretches[0], trial.checkpoints[0])


def binomial(n, n_bar, share, n_neurons, bin_size):
    """Σ log Binomial(n; N, n̄ share / N) and its derivatives with respect to n̄ and n.

    Arrays are (K, n_bins); of each population some `n_neurons` (K,) are meant, which have the `share` (K,) in its n̄.
    """
    g_mean, g_n = np.empty(n.shape), np.empty(n.shape)
    value = densities.binomial(n, n_bar, share, n_neurons, *_bounds(n_neurons, bin_size), g_mean, g_n)
    return value, g_mean, g_n


def log_density(n, n_bar, variance, n_neurons, bin_size, density):
    """Σ log p(n_t | past) and its derivatives with respect to n̄, v and n; arrays (…, K).

    Densities: see `joint`, except for the binomial ones.
    """
    floor, ceiling = _bounds(n_neurons, bin_size)
    inside = (n_bar > floor) & (n_bar < ceiling)
    mean = np.clip(n_bar, floor, ceiling)
    if density == "deviance":
        log_fire, log_silent = np.log(mean / n_neurons), np.log1p(-mean / n_neurons)
        log_fired, log_rest = (np.log(np.maximum(m, LEAST_COUNT) / n_neurons) for m in (n, n_neurons - n))
        value = n * (log_fire - log_fired) + (n_neurons - n) * (log_silent - log_rest)
        g_mean = n / mean - (n_neurons - n) / (n_neurons - mean)
        g_n = log_fire - log_fired - (log_silent - log_rest)
        return float(value.sum()), np.where(inside, g_mean, 0.0), np.zeros_like(mean), g_n
    free = variance > FLOOR_VARIANCE * mean
    v = np.where(free, variance, FLOOR_VARIANCE * mean)
    deviation = n - mean
    value = -0.5 * deviation**2 / v
    g_v = 0.5 * (deviation / v) ** 2
    if density == "gaussian":
        value = value - 0.5 * np.log(2.0 * np.pi * v)
        g_v = g_v - 0.5 / v
    g_mean = deviation / v + np.where(free, 0.0, FLOOR_VARIANCE * g_v)
    return float(value.sum()), np.where(inside, g_mean, 0.0), np.where(free, g_v, 0.0), -deviation / v


def _bounds(n_neurons, bin_size):
    """Between which expected counts are kept, so that their logarithms stay finite."""
    return FLOOR_RATE * n_neurons * bin_size, n_neurons * (1.0 - 1e-6)


def conditional_variance(n_bar, binomial_variance, step):
    """Variance of the counts given the past, (K, …), with the feedback of spikes on their own bin.

    var_k = Σ_b v_b [(δ_kb + Q_kb)² + c_b Q_kb²], Q_kb = n̄_k × `step.gain_within`: v is the variance that the cohorts
    leave, Q the spikes of k in the rest of a bin that one spike of b brings about, on average over the time of its
    emission, and c_b (0.8 without delay) their relative variance over that time.
    """
    variance = np.empty_like(binomial_variance)
    densities.conditional_variance(n_bar, binomial_variance, step.gain_within, step.emission_variance, variance)
    return variance


class _Sweep:
    """One trial on its way through the kernels, forth and back, in stretches whose tape fits into memory.

    Arrays are (K, …): counts and release potentials from the first bin of the history on. Only a sweep that is `taped`
    can be followed backward. One at a time per thread: the tape is in memory that the next one uses again.
    """

    def __init__(self, parameters, n, observation, bin_size, scheme, window, density, temperature, taped):
        self.step = step = discretization.discretize(parameters, bin_size, scheme)
        self.observation, self.density, self.temperature = observation, density, temperature
        self.corrected = scheme == "second-order"
        K, T = len(step.n_neurons), observation.n_bins
        self.given = observation.start
        if self.given is not None:
            window = self.given.windows
        elif window is None:
            window = discretization.age_windows(step)
        self.windows = np.maximum(np.broadcast_to(window, K), step.refractory_bins + 2).astype(np.int64)
        self.n_history = B = int(self.windows.max())
        if B > LONGEST_WINDOW:
            raise ValueError(
                f"window {B} is longer than {LONGEST_WINDOW} ages; the default follows the membrane time constants and "
                "suffices."
            )
        self.decay, self.decay_slope = discretization.decay_table(step, self.windows)
        self.constants = mesoscopic.constants(step, self.windows)
        self.counts = np.empty((K, B + T))
        past = np.atleast_2d(observation.history_rate) * step.n_neurons * bin_size
        self.n_varying = min(len(past) - 1, B - 1)
        self.counts[:, :B] = past[0][:, None]
        self.counts[:, B - self.n_varying : B] = past[len(past) - self.n_varying :].T
        if self.given is not None:
            self.counts[:, :B] = self.given.n[0]
        self.counts[:, B:] = np.asarray(n).T
        self.trains, self.offsets, unseen = observation.trains
        self.labels = np.asarray(observation.labels, dtype=np.int64)
        self.excitability = observation.hazard_factors
        self.stimulus = np.ascontiguousarray(observation.stimulus.T, dtype=float)
        self.current, self.drive, self.H = np.empty((K, T + 1)), np.empty((K, T + 1)), np.empty((K, T + 1))
        self.release = np.empty((K, B + T))
        self.n_bar, self.variance, self.surprise = np.empty((K, T)), np.empty((K, T)), np.empty((K, T))
        self.h_unseen = np.empty((K, unseen))
        rows = min(T, sweep.ROW - B)
        if taped:
            rows = min(rows, max(TAPE_BYTES // (2 * K * (B + 1) * np.dtype(TAPE_TYPE).itemsize), B))
        self.taped, on_tape = taped, rows if taped else 1
        *self.tape, self.records, self.edges = _arrays_of(
            "tape",
            ((on_tape * K, B + 1), TAPE_TYPE),
            (((on_tape + 1) * K, B + 1), TAPE_TYPE),
            ((on_tape * K, sweep.N_RECORDS), np.float64),
            ((sweep.N_EDGES, K, rows), np.float64),
        )
        sizes = (sweep.N_CELLS, mesoscopic_adjoint.N_CELLS, mesoscopic_adjoint.N_AGES)
        self.cells, self.g_cells, self.ages = _arrays_of("cells", *(((K * size,), np.float64) for size in sizes))
        self.stretches = [(start, min(start + rows, T)) for start in range(0, T, rows)]
        self.checkpoints = []
        self.part_a = self.part_b = 0.0

    def forward(self, gradient):
        """Fill n̄ and the variances; the value as well, unless `backward` will come by it with the gradient."""
        step, B, K = self.step, self.n_history, len(self.windows)
        if self.given is None:
            potential.rest(self.counts, self.stimulus, step, self.current, self.H)
        else:
            self.current[:, 0], self.H[:, 0] = self.given.current[0], self.given.H[0]
        potential.forward(self.counts, self.stimulus, step, B, self.current, self.drive, self.H, self.release)
        S, L, E, free = np.ones((K, B)), np.zeros((K, B)), np.zeros((K, B)), np.empty((K, 5))
        for k, window in enumerate(self.windows if self.given is None else ()):
            own = slice(B - window, B)
            mesoscopic.settled_cohorts(
                k, self.constants, window, self.decay[k, :window], self.H[k, 0], np.full(window, self.counts[k, 0]),
                self.counts[k, 0], S[k, own], L[k, own], free[k],
            )  # fmt: skip
        expected = self.counts[:, B - 1].copy()
        if self.given is not None:
            S[:], L[:], free[:] = self.given.S[0], self.given.L[0], self.given.free[0]
            expected = self.current[:, 0] * step.n_neurons * step.bin_size
        self.g_c = np.zeros_like(self.constants)
        size = 1 if gradient else 0  # of what only a gradient is added to
        self.g_release = np.zeros((size * K, B + self.observation.n_bins))
        self.g_h_unseen = np.zeros((size * K, self.h_unseen.shape[1]))
        self.slope = free[:, 4].copy()
        sweep.resume(B, self.windows, self.decay, self.release, self.slope, L, E, self.constants)
        state = (S, L, E, free, expected, np.ones(K))
        for i, (start, stop) in enumerate(self.stretches):
            self.checkpoints.append(state)
            state = self._advance(start, stop, state)
            if not gradient or i == len(self.stretches) - 1:  # the gradients of the last stretch come next
                self._evaluate(start, stop, gradient)

    def _advance(self, start, stop, state):
        """Sweep a stretch; the state at its end. Leaves the tape, the last survivals and the binomial variance."""
        state = tuple(value.copy() for value in state)
        here = slice(start, stop)
        sweep.prepare(start, stop, self.stimulus, self.drive, self.H, self.step, self.constants, self.edges)
        sweep.forward(
            start, stop, self.n_history, self.windows, self.decay, self.counts, self.release, self.step, self.constants,
            *state, self.n_bar, self.variance, self.h_unseen, self.surprise, self.cells, self.taped, *self.tape,
            self.records, self.edges,
        )  # fmt: skip
        self.binomial_variance = self.variance[:, here].copy()
        n_bar = self.n_bar[:, here].copy()
        self.variance[:, here] = (
            conditional_variance(n_bar, self.binomial_variance, self.step) if self.corrected else n_bar
        )
        return state

    def _evaluate(self, start, stop, gradient):
        """Add the value of the stretch just swept; its gradients too if asked for."""
        K = len(self.windows)
        self.g_edges = np.zeros((sweep.N_EDGES, K, stop - start if gradient else 0))
        self.part_a += observed.likelihood(
            start, stop, self.n_history, self.trains, self.offsets, self.labels, self.excitability,
            self.edges, self.release,
            self.h_unseen, self.constants, gradient, self.g_edges, self.g_release, self.g_h_unseen, self.g_c,
        )  # fmt: skip
        self.g_density = None
        if self.density is not None:
            value, *self.g_density = self._density(start, stop)
            self.part_b += value

    def _density(self, start, stop):
        """log p of a stretch's counts, and its derivatives by n̄, v and n, (K, bins); None where v has no part in it."""
        here, B, N = slice(start, stop), self.n_history, self.step.n_neurons
        counts, n_bar = self.counts[:, B + start : B + stop].copy(), self.n_bar[:, here].copy()
        if self.density not in ("others", "binomial"):
            value, *gradients = log_density(
                counts.T, n_bar.T, self.variance[:, here].T, N, self.step.bin_size, self.density
            )
            gradients = [np.ascontiguousarray(g.T) for g in gradients]
            if self.density == "deviance":
                gradients[1] = None
        else:
            n_others = N
            if self.density == "others":
                # the recorded neurons have their own likelihood, so the mesoscopic one is that of the others
                n_others = np.maximum(N - np.bincount(self.labels, minlength=len(N)), 0.0)
                for o, k in enumerate(self.labels):
                    times = self.trains[self.offsets[o] : self.offsets[o + 1]]
                    counts[k, times[(times >= start) & (times < stop)] - start] -= 1.0
                np.maximum(counts, 0.0, out=counts)
            value, g_n_bar, g_n = binomial(counts, n_bar, n_others / N, n_others, self.step.bin_size)
            gradients = [g_n_bar, None, g_n]
        return value / self.temperature, *(g if g is None else g / self.temperature for g in gradients)

    def backward(self):
        step, B, K = self.step, self.n_history, len(self.windows)
        self.g_step = type(step)(*(np.zeros(value.shape) if _is_real(value) else value for value in step))
        self.g_counts, self.g_decay = np.zeros(self.counts.shape), np.zeros(self.decay.shape)
        self.g_drive, self.g_H = np.zeros(self.drive.shape), np.zeros(self.H.shape)
        self.g_stimulus = np.zeros(self.stimulus.shape)
        state = (*np.zeros((3, K, B)), np.zeros((K, 5)), np.zeros(K), np.zeros(K))
        for i in range(len(self.stretches) - 1, -1, -1):
            start, stop = self.stretches[i]
            if i < len(self.stretches) - 1:  # the tape holds the last stretch only
                self._advance(start, stop, self.checkpoints[i])
                self._evaluate(start, stop, True)
            self._retreat(start, stop, state)
        S, L, *_ = self.checkpoints[0]
        g_S, g_L, g_E, g_free, g_expected, _ = state
        mesoscopic_adjoint.start_adjoint(
            B, self.given is None, self.windows, self.decay, self.decay_slope, self.release, self.slope, self.H,
            self.counts, S, L, step, g_S, g_L, g_E, g_free, g_expected, self.g_decay, self.g_c, self.g_release,
            self.g_H, self.g_counts, self.g_step,
        )  # fmt: skip
        potential.adjoint(
            self.counts, self.stimulus, step, B, self.current, self.drive, self.H, self.g_drive, self.g_H,
            self.g_release, self.g_counts, self.g_stimulus, self.g_step, self.given is None,
        )  # fmt: skip
        return self.g_step, self.g_counts, self.g_stimulus

    def history_gradient(self, g_counts):
        """Gradient in the counts of `Observation.history_rate`, in its shape, from that in all counts."""
        first_varying = self.n_history - self.n_varying
        g_past = np.zeros(np.atleast_2d(self.observation.history_rate).shape)
        g_past[0] = g_counts[:, :first_varying].sum(axis=1)
        g_past[len(g_past) - self.n_varying :] += g_counts[:, first_varying : self.n_history].T
        return g_past.reshape(self.observation.history_rate.shape)

    def _retreat(self, start, stop, state):
        """Pull the gradients back over the stretch that `_evaluate` has just been through; `state` too is updated."""
        K, B, rows = len(self.windows), self.n_history, stop - start
        g_n_bar, g_variance = np.zeros((K, rows)), np.zeros((K, rows))
        if self.g_density is not None:
            g_mean, g_v, g_n = self.g_density
            self.g_counts[:, B + start : B + stop] += g_n
            g_n_bar += g_mean
            if g_v is not None and self.corrected:
                step = self.step
                densities.conditional_variance_adjoint(
                    self.n_bar[:, start:stop].copy(), self.binomial_variance, step.gain_within,
                    step.emission_variance, g_v, g_n_bar, g_variance, self.g_step.gain_within,
                )  # fmt: skip
            elif g_v is not None:
                g_n_bar += g_v
        mesoscopic_adjoint.adjoint(
            start, stop, B, self.windows, self.decay, self.counts, self.release, self.step, self.constants,
            self.h_unseen, *self.tape, self.records, self.edges, g_n_bar, g_variance, self.g_h_unseen, self.g_edges,
            *state, self.g_counts, self.g_release, self.g_decay, self.g_step, self.g_cells, self.ages,
        )  # fmt: skip
        mesoscopic_adjoint.prepare_adjoint(
            start, stop, self.drive, self.H, self.surprise, self.step, self.edges, self.g_edges, self.g_stimulus,
            self.g_drive, self.g_H, self.g_step,
        )  # fmt: skip


def _arrays_of(name, *forms):
    """Uninitialised arrays (shape, dtype) in the memory that this thread's last call for `name` left behind.

    Fresh memory of some megabytes costs as much as the sweep: the system hands it out page by page, emptied. Arrays of
    an earlier call are invalid. Each begins a cache line, lest every vector lie across two.
    """
    sizes = [-(-math.prod(shape) * np.dtype(kind).itemsize // _LINE) * _LINE for shape, kind in forms]
    memory = getattr(_left_behind, name, None)
    if memory is None or memory.size < sum(sizes):
        memory = np.empty(sum(sizes) + _LINE, dtype=np.uint8)
        memory = memory[-memory.ctypes.data % _LINE :]
        setattr(_left_behind, name, memory)
    starts = np.cumsum([0, *sizes])
    return [
        memory[start : start + math.prod(shape) * np.dtype(kind).itemsize].view(kind).reshape(shape)
        for start, (shape, kind) in zip(starts, forms, strict=False)
    ]


def _is_real(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
