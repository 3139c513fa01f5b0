"""Bootstrap particle filter on the mesoscopic state: all particles advance through one trial in one compiled loop.

A particle holds, per population, its recent cohorts (count n, survival S, potential at release), the free neurons' sums
x and z, the filtered activity I and the never-reset potential H. In bin t it is weighted by the probability of the
recorded spikes, then draws its own n_t ~ Binomial(N, n̄_t/N). Cohort arrays are (particle, population, age) with the
oldest cohort first, sliding in a
buffer longer than the window.
"""

import math

import numpy as np
from numba import njit

from .elementary import exp, integrated_hazard, log_one_minus_exp
from .mesoscopic import TINY, advance_cohorts
from .observed import CERTAINTY, CONTAMINATION_RATE


@njit(cache=True, error_model="numpy", nogil=True)
def systematic_resample(weights, u, ancestors):
    """Ancestor of every particle by systematic resampling with one uniform number `u`; `weights` sum to 1."""
    P = weights.size
    total = weights[0]
    i = 0
    for p in range(P):
        position = (p + u) / P
        while position > total and i < P - 1:
            i += 1
            total += weights[i]
        ancestors[p] = i


@njit(cache=True, error_model="numpy", nogil=True)
def bootstrap(
    rng,
    spiking,
    labels,
    stimulus,
    leak,
    drive_gain,
    synaptic_gain,
    synaptic_decay,
    J,
    u_rest,
    offset,
    refractory,
    delay,
    n_neurons,
    bin_size,
    floor,
    decay,
    first_history,
    history_n,
    history_S,
    history_H,
    history_lump,
    lag,
    resample_below,
    log_increment,
    mean,
    mean_square,
    mean_n_bar,
    path_n,
    path_ancestor,
    weights,
):
    """Run the filter over one trial.

    Parameters
    ----------
    rng : numpy.random.Generator
    spiking : (T, n_observed) bool
    labels : (n_observed,) int
    stimulus : (T, K), mV
    decay : (K, window)
        `mesoscopic.decay_by_age` of every population.
    first_history : (P,) int
        Which of the histories below each particle starts from.
    history_n, history_H : (M, K); history_S : (M, K, window); history_lump : (M, K, 2)
        Stationary states before the first bin.
    lag : int
        Fixed lag of the smoothed moments, in bins, below the window.
    resample_below : float
        Resample when the effective sample size falls below this fraction of the particles.
    log_increment : (T,), filled
        log p(y_t | y_<t).
    mean, mean_square, mean_n_bar : (T, K), filled
        Fixed-lag smoothed moments of n, and the filtered mean of n̄.
    path_n : (T, P, K) float32 and path_ancestor : (T, P) int32, filled if not empty
        Counts, and the particle of bin t - 1 that each particle of bin t descends from.
    weights : (P,), filled
        Weights after the last bin.
    """
    T, n_observed = spiking.shape
    P = weights.size
    K = leak.size
    window = decay.shape[1]
    capacity = 2 * window
    keep_paths = path_n.shape[0] > 0
    n = np.zeros((2, P, K, capacity))
    S = np.ones((2, P, K, capacity))
    release = np.zeros((2, P, K, capacity))
    H = np.zeros((2, P, K))
    current = np.zeros((2, P, K))
    lump = np.zeros((2, P, K, 2))
    release_observed = np.zeros((2, P, n_observed))
    n_bar = np.zeros((2, P, K))
    h_unseen = np.zeros((P, K))
    last_spike = np.full(n_observed, -1)
    unseen = np.zeros(K, dtype=np.int64)
    for i in range(n_observed):
        unseen[labels[i]] += 1
    log_weight = np.zeros(P)
    ancestors = np.arange(P)
    contamination = CONTAMINATION_RATE * bin_size
    log_contamination = log_one_minus_exp(contamination)
    now = 0
    for p in range(P):
        m = first_history[p]
        weights[p] = 1.0 / P
        for k in range(K):
            H[0, p, k] = history_H[m, k]
            current[0, p, k] = history_n[m, k] / (n_neurons[k] * bin_size)
            lump[0, p, k, 0] = history_lump[m, k, 0]
            lump[0, p, k, 1] = history_lump[m, k, 1]
            for j in range(window):
                n[0, p, k, j] = history_n[m, k]
                S[0, p, k, j] = history_S[m, k, j]
                release[0, p, k, j] = history_H[m, k]
    off = 0
    for t in range(T):
        # potentials, expected counts
        for p in range(P):
            for b in range(K):
                activity = n[now, p, b, off + window - 1 - delay[b]] / (n_neurons[b] * bin_size)
                current[now, p, b] = synaptic_decay[b] * current[now, p, b] + (1.0 - synaptic_decay[b]) * activity
            for k in range(K):
                total = 0.0
                for b in range(K):
                    total += J[k, b] * current[now, p, b]
                H_t = leak[k] * H[now, p, k] + drive_gain[k] * (u_rest[k] + stimulus[t, k]) + synaptic_gain[k] * total
                H[now, p, k] = H_t
                r = refractory[k]
                if r > 0:
                    release[now, p, k, off + window - r] = H_t
                H_t -= offset[k]
                active = window - r
                cohorts_n = n[now, p, k, off : off + window]
                cohorts_S = S[now, p, k, off : off + window]
                cohorts_release = release[now, p, k, off : off + window]
                split = min(max(window - t, 0), active) if unseen[k] > 0 else 0
                P0, M0, W0, V0 = advance_cohorts(
                    cohorts_n[:split], cohorts_S[:split], cohorts_release[:split], decay[k, :split], H_t
                )
                fired, mass, fired_free, mass_free = advance_cohorts(
                    cohorts_n[split:active],
                    cohorts_S[split:active],
                    cohorts_release[split:active],
                    decay[k, split:active],
                    H_t,
                )
                for j in range(active, window):
                    if j < window - t:
                        M0 += cohorts_n[j]
                    else:
                        mass += cohorts_n[j]
                x, z = lump[now, p, k, 0], lump[now, p, k, 1]
                q = exp(-integrated_hazard(H_t))
                fire = 1.0 - q
                unseen_fire = (P0 + fire * x) / (M0 + x + TINY) if t < window else fire
                h_unseen[p, k] = min(max(unseen_fire, contamination), CERTAINTY)
                fired += P0 + fire * x
                mass += M0 + x
                fired_free += W0 + fire * (x - z)
                mass_free += V0 + (x - z) + TINY
                expected = fired + fired_free / mass_free * (n_neurons[k] - mass)
                n_bar[now, p, k] = min(max(expected, floor[k]), n_neurons[k] * (1.0 - 1e-6))
                leaving = cohorts_S[0] * cohorts_n[0]
                lump[now, p, k, 0] = x * q + leaving
                lump[now, p, k, 1] = z * q * q + leaving * cohorts_S[0]
        # weights: the recorded neurons
        for i in range(n_observed):
            k = labels[i]
            spike = spiking[t, i]
            last = last_spike[i]
            if last < 0:
                for p in range(P):
                    log_weight[p] += math.log(h_unseen[p, k]) if spike else math.log1p(-h_unseen[p, k])
            elif t - last <= refractory[k]:
                for p in range(P):
                    log_weight[p] += log_contamination if spike else -contamination
            else:
                factor = leak[k] ** (t - last - refractory[k])
                if spike:
                    for p in range(P):
                        u = H[now, p, k] - offset[k] - factor * release_observed[now, p, i]
                        log_weight[p] += log_one_minus_exp(integrated_hazard(u))
                else:
                    for p in range(P):
                        log_weight[p] -= integrated_hazard(
                            H[now, p, k] - offset[k] - factor * release_observed[now, p, i]
                        )
            if spike:
                if last < 0:
                    unseen[k] -= 1
                last_spike[i] = t
            if t - last_spike[i] == refractory[k] and last_spike[i] >= 0:
                for p in range(P):
                    release_observed[now, p, i] = H[now, p, k]
        largest = log_weight.max()
        total = 0.0
        for p in range(P):
            weights[p] *= math.exp(log_weight[p] - largest)
            log_weight[p] = 0.0
            total += weights[p]
        log_increment[t] = largest + math.log(total)
        square = 0.0
        for p in range(P):
            weights[p] /= total
            square += weights[p] * weights[p]
        for k in range(K):
            total = 0.0
            for p in range(P):
                total += weights[p] * n_bar[now, p, k]
            mean_n_bar[t, k] = total
        # resampling
        if 1.0 / square < resample_below * P:
            systematic_resample(weights, rng.random(), ancestors)
            new = 1 - now
            for p in range(P):
                a = ancestors[p]
                weights[p] = 1.0 / P
                for i in range(n_observed):
                    release_observed[new, p, i] = release_observed[now, a, i]
                for k in range(K):
                    H[new, p, k] = H[now, a, k]
                    current[new, p, k] = current[now, a, k]
                    n_bar[new, p, k] = n_bar[now, a, k]
                    lump[new, p, k, 0] = lump[now, a, k, 0]
                    lump[new, p, k, 1] = lump[now, a, k, 1]
                    for j in range(off, off + window):
                        n[new, p, k, j] = n[now, a, k, j]
                        S[new, p, k, j] = S[now, a, k, j]
                        release[new, p, k, j] = release[now, a, k, j]
            now = new
            if keep_paths:
                path_ancestor[t, :] = ancestors
        elif keep_paths:
            for p in range(P):
                path_ancestor[t, p] = p
        # every particle draws its counts
        if off + window == capacity:
            for p in range(P):
                for k in range(K):
                    for j in range(window):
                        n[now, p, k, j] = n[now, p, k, off + j]
                        S[now, p, k, j] = S[now, p, k, off + j]
                        release[now, p, k, j] = release[now, p, k, off + j]
            off = 0
        for p in range(P):
            for k in range(K):
                drawn = rng.binomial(n_neurons[k], n_bar[now, p, k] / n_neurons[k])
                n[now, p, k, off + window] = drawn
                S[now, p, k, off + window] = 1.0
                if refractory[k] == 0:
                    release[now, p, k, off + window] = H[now, p, k]
                if keep_paths:
                    path_n[t, p, k] = drawn
        off += 1
        # fixed-lag smoothing: the count of bin t - lag is carried along by every particle
        if t >= lag:
            _moments(n[now], weights, off + window - 1 - lag, mean[t - lag], mean_square[t - lag])
    for t in range(max(T - lag, 0), T):
        _moments(n[now], weights, off + window - (T - t), mean[t], mean_square[t])


@njit(cache=True, error_model="numpy", nogil=True)
def _moments(n, weights, position, mean, mean_square):
    P, K, _ = n.shape
    for k in range(K):
        first = 0.0
        second = 0.0
        for p in range(P):
            value = n[p, k, position]
            first += weights[p] * value
            second += weights[p] * value * value
        mean[k] = first
        mean_square[k] = second


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
