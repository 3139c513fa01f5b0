"""Particle filter on the mesoscopic state: all particles advance through one trial in one compiled loop.

In bin t a particle (see `cloud`) is weighted by the probability of the recorded spikes, then draws what the others do:
the recorded neurons are members of their populations, so n_t is their spikes plus Binomial(N - q, n̄_t/N).
"""

import math

import numpy as np
from numba import njit

from .binomial import draw_binomial
from .cloud import N_SOURCES, complete, copy_particles, expect, slide, weigh
from .mesoscopic import _FAST, BLOCK, N_POTENTIALS, N_ROWS

# entries of `clock`: first column of the cohorts' window, swaps of the two clouds so far
FIRST, SWAPS, N_CLOCK = range(3)
# Sums of weights below this are formed anew from logarithms: they might be 0, or have no finite inverse.
LEAST_TOTAL = 1e-200


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def systematic_resample(weights, u, ancestors):
    """Ancestor of every new particle by systematic resampling with one uniform number `u`; `weights` sum to 1."""
    n_new = ancestors.size
    total = weights[0]
    i = 0
    for p in range(n_new):
        position = (p + u) / n_new
        while position > total and i < weights.size - 1:
            i += 1
            total += weights[i]
        ancestors[p] = i


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def multinomial_resample(rng, weights, ancestors):
    """Ancestor of every particle but the first, independently of each other."""
    cumulative = np.cumsum(weights)
    for p in range(1, ancestors.size):
        ancestors[p] = min(np.searchsorted(cumulative, rng.random() * cumulative[-1]), weights.size - 1)


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _law_of_others(i, k, cloud, trial):
    """(N', p) of the binomial count of the neurons of row i, population k, that were not recorded."""
    others = float(trial.n_others[k])
    if not trial.by_cohorts:
        return others, cloud.n_bar[i] / trial.n_neurons[k]
    part = others / trial.n_neurons[k]
    mean = cloud.n_bar[i] * part
    at_stake = min(max(math.ceil(mean + 1e-6), math.floor(cloud.at_stake[i] * part + 0.5)), others)
    return at_stake, min(mean / max(at_stake, 1.0), 1.0 - 1e-9)


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _log_probability(count, n_others, at_stake, p):
    """Log of Binomial(count | at_stake, p), but for what depends on the count and `n_others` alone."""
    if count > at_stake:
        return -math.inf
    value = count * math.log(p) + (at_stake - count) * math.log1p(-p)
    if at_stake < n_others:
        value += math.lgamma(at_stake + 1.0) - math.lgamma(at_stake - count + 1.0)
        value -= math.lgamma(n_others + 1.0) - math.lgamma(n_others - count + 1.0)
    return value


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _counted(log_weight, weights, out):
    """The weights (P,) of particles, times what exp(log_weight) adds to them: fills `out`, but for a common factor.

    Returns
    -------
    log Σ weights exp(log_weight), and Σ out
    """
    largest, total = log_weight.max(), 0.0
    for p in range(weights.size):
        out[p] = weights[p] * math.exp(log_weight[p] - largest)
        total += out[p]
    if total > LEAST_TOTAL:
        return largest + math.log(total), total
    # who explains the spikes best by far has hardly any weight, as where a network that explodes meets silence
    for p in range(weights.size):
        out[p] = log_weight[p] + (math.log(weights[p]) if weights[p] > 0.0 else -math.inf)
    largest, total = out.max(), 0.0
    for p in range(weights.size):
        out[p] = math.exp(out[p] - largest)
        total += out[p]
    return largest + math.log(total), total


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _ancestor_of_reference(
    rng, t, horizon, off, here, beyond, co, trial, reference, weights, potentials, block, sources, hazard, log_future
):  # fmt: skip
    """A particle that the counts `reference` (T, K) from bin t on may continue (Lindsten, Jordan, Schön 2014).

    Drawn with the probability of the particle times that of the reference, and of the recorded spikes under it, over
    `horizon` bins: beyond, particles that have had the same counts so long predict the same.
    """
    K, length = trial.delay_bins.size, here.n.shape[1] // 2
    copy_particles(here, np.arange(weights.size), off, beyond)
    nothing = np.empty(0)
    for p in range(weights.size):
        log_future[p] = math.log(weights[p]) if weights[p] > 0.0 else -math.inf
    for s in range(t, min(t + horizon, trial.spiking.shape[0])):
        if off == length:
            slide(beyond, off)
            off = 0
        own = off + length
        if s > t:
            expect(beyond, co, trial, s, own, potentials, block, sources)
            weigh(beyond, co, trial, s, potentials, hazard, log_future, weights, nothing)
        for p in range(weights.size):
            for k in range(K):
                i = p * K + k
                others = reference[s, k] - trial.n_spikes[s, k]
                at_stake, share = _law_of_others(i, k, beyond, trial)
                log_future[p] += _log_probability(others, trial.n_others[k], at_stake, share)
                beyond.n[i, own] = reference[s, k]
        complete(beyond, co, trial, s, own, sources)
        off += 1
    largest = log_future.max()
    total = 0.0
    for p in range(weights.size):
        log_future[p] = math.exp(log_future[p] - largest)
        total += log_future[p]
    u = rng.random() * total
    for p in range(weights.size):
        u -= log_future[p]
        if u <= 0.0:
            return p
    return weights.size - 1


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def advance(
    rng, start, stop, pause, here, there, beyond, co, trial, reference, horizon, resample_below, tail, lag, weights,
    clock, log_increment, predicted, mean, mean_square, lower, upper, mean_n_bar, path_n, path_ancestor,
):  # fmt: skip
    """Advance the filter from bin `start` up to bin `stop`.

    Parameters
    ----------
    rng : numpy.random.Generator
    pause : bool
        Return after the first bin in which particles were resampled.
    here, there, beyond : Cloud
        The particles, room for resampling, and room for a look ahead (with `reference` only). The particles are in
        `there` after an odd number of swaps, counted in `clock`.
    co : Coefficients
    trial : Trial
    reference : (T, K), or empty
        Counts that the first particle is to have (conditional SMC with ancestor sampling, Lindsten et al. 2014).
    horizon : int
        Bins to look ahead for its ancestors.
    resample_below : float
        Resample when the effective sample size falls below this fraction of the particles.
    tail : float
        Of the posterior below `lower`, and above `upper`.
    lag : int
        Fixed lag of the smoothed moments, in bins, below the length of the window.
    weights : (P,), updated
    clock : (N_CLOCK,) int, updated
    log_increment : (T,), filled
        log p(y_t | y_<t).
    predicted : (T, n_observed), filled
        p(y_ti = 1 | y_<t).
    mean, mean_square, lower, upper, mean_n_bar : (T, K), filled
        Fixed-lag smoothed moments and quantiles of n, and the filtered mean of n̄.
    path_n : (≥ stop - start, P, K) float32 and path_ancestor : the same without K, int32, filled if not empty
        Counts, and the particle of the bin before that each particle descends from; row 0 is bin `start`.

    Returns
    -------
    int
        The next bin.
    """
    n_particles, n_observed = weights.size, trial.labels.size
    K, T = trial.delay_bins.size, trial.spiking.shape[0]
    length = here.n.shape[1] // 2
    keep_paths, conditional = path_n.shape[0] > 0, reference.shape[0] > 0
    potentials, hazard = np.empty((K, N_POTENTIALS, n_particles)), np.empty(n_particles)
    at_stake, share, count = np.empty(n_particles), np.empty(n_particles), np.empty(n_particles)
    block, sources = np.zeros((N_ROWS, BLOCK)), np.empty((N_SOURCES, K))
    histogram = np.zeros(int(trial.n_neurons.max()) + 2)
    log_weight, ancestors = np.zeros(n_particles), np.zeros(n_particles, dtype=np.int64)
    log_future = np.empty(n_particles if conditional else 0)
    for t in range(start, stop):
        off = clock[FIRST]
        own = off + length
        expect(here, co, trial, t, own, potentials, block, sources)
        square, log_increment[t] = 0.0, 0.0
        if n_observed > 0:
            weigh(here, co, trial, t, potentials, hazard, log_weight, weights, predicted[t])
            log_increment[t], total = _counted(log_weight, weights, hazard)
            for p in range(n_particles):
                if t >= trial.first_weighted:
                    weights[p] = hazard[p] / total
                log_weight[p] = 0.0
                square += weights[p] * weights[p]
        for k in range(K):
            total = 0.0
            for p in range(n_particles):
                total += weights[p] * here.n_bar[p * K + k]
            mean_n_bar[t, k] = total
        resampled = square * resample_below * n_particles > 1.0
        if resampled:
            if conditional:
                multinomial_resample(rng, weights, ancestors)
                ancestors[0] = _ancestor_of_reference(
                    rng, t, horizon, off, here, beyond, co, trial, reference, weights, potentials, block, sources,
                    hazard, log_future,
                )  # fmt: skip
            else:
                systematic_resample(weights, rng.random(), ancestors)
            copy_particles(here, ancestors, off, there)
            here, there = there, here
            clock[SWAPS] += 1
            weights[:] = 1.0 / n_particles
        if keep_paths:
            for p in range(n_particles):
                path_ancestor[t - start, p] = ancestors[p] if resampled else p
        if off == length:
            slide(here, off)
            off = 0
            own = length
        for k in range(K):
            for p in range(n_particles):
                at_stake[p], share[p] = _law_of_others(p * K + k, k, here, trial)
            draw_binomial(rng, at_stake, share, count, block)
            for p in range(n_particles):
                here.n[p * K + k, own] = trial.n_spikes[t, k] + count[p]
            if conditional:
                here.n[k, own] = reference[t, k]
            if keep_paths:
                for p in range(n_particles):
                    path_n[t - start, p, k] = here.n[p * K + k, own]
        complete(here, co, trial, t, own, sources)
        clock[FIRST] = off + 1
        # fixed-lag smoothing: the count of bin t - lag is carried along by every particle
        if t >= lag:
            s = t - lag
            _summarise(here.n, weights, own - lag, tail, s, histogram, mean, mean_square, lower, upper)
        if t == T - 1:
            for s in range(max(T - lag, 0), T):
                _summarise(here.n, weights, own - (t - s), tail, s, histogram, mean, mean_square, lower, upper)
        if resampled and pause:
            return t + 1
    return stop


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _summarise(n, weights, column, tail, s, histogram, mean, mean_square, lower, upper):
    """Moments and quantiles of the counts in a column, by population, into row s; `histogram` is 0 before and after."""
    K = mean.shape[1]
    for k in range(K):
        least, most = n[k, column], n[k, column]
        if weights.size == 1:
            mean[s, k], mean_square[s, k], lower[s, k], upper[s, k] = least, least * least, least, least
            continue
        first, second = 0.0, 0.0
        for p in range(weights.size):
            value = n[p * K + k, column]
            first += weights[p] * value
            second += weights[p] * value * value
            least, most = min(least, value), max(most, value)
        mean[s, k], mean_square[s, k] = first, second
        for p in range(weights.size):
            histogram[int(n[p * K + k, column] - least)] += weights[p]
        size = int(most - least) + 1
        total, lower[s, k] = 0.0, most
        for j in range(size):
            total += histogram[j]
            if total >= tail:
                lower[s, k] = least + j
                break
        total, upper[s, k] = 0.0, least
        for j in range(size - 1, -1, -1):
            total += histogram[j]
            if total >= tail:
                upper[s, k] = least + j
                break
        histogram[:size] = 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def trace_paths(path_n, path_ancestor, last, out, first):
    """Counts along the ancestry of the particles `last` (n_paths,).

    Fills out (n_paths, T, K) and `first`, their ancestors before bin 0.
    """
    T = path_n.shape[0]
    for i in range(last.size):
        p = last[i]
        for t in range(T - 1, -1, -1):
            out[i, t, :] = path_n[t, p, :]
            p = path_ancestor[t, p]
        first[i] = p
