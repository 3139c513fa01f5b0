"""Bootstrap particle filter on the mesoscopic state: all particles advance through one trial in one compiled loop.

A particle holds, per population, its recent cohorts (count n, survival S, hazard L, potential at release), the free
neurons' sums, the filtered activity I and the never-reset potential H (see `mesoscopic`). In bin t it is weighted by
the probability of the recorded spikes, then draws its own n_t ~ Binomial(N, n̄_t/N). Rows of the cohort arrays are
particle · K + population, for the generations before and after resampling one above the other; columns slide in a
buffer longer than the window, the oldest cohort first.
"""

import math

import numpy as np
from numba import njit

from .elementary import exp, integrated_hazard, log_one_minus_exp
from .mesoscopic import (
    _FAST,
    CURVATURE,
    DECAY_ORIGIN,
    LARGEST_CORRECTION,
    LEAK,
    N_RECORDS,
    OFFSET,
    REFRACTORY,
    RELEASE,
    RELEASE_SLOPE,
    SIZE,
    WEIGHT_A,
    WEIGHT_B_END,
    WEIGHT_B_START,
    WEIGHT_END,
    WEIGHT_START,
    YOUNG,
    advance_population,
    constants,
    expect_next,
    tilt,
)  # fmt: skip
from .observed import CERTAINTY, CONTAMINATION_RATE

# Cells of the particles: rounded by 6e-8, far below the Monte-Carlo error, at half the traffic between the caches.
CELL = np.float32


@njit(cache=True, error_model="numpy", nogil=True)
def systematic_resample(weights, u, ancestors):
    """Ancestor of every particle by systematic resampling with one uniform number `u`; `weights` sum to 1."""
    n_particles = weights.size
    total = weights[0]
    i = 0
    for p in range(n_particles):
        position = (p + u) / n_particles
        while position > total and i < n_particles - 1:
            i += 1
            total += weights[i]
        ancestors[p] = i


@njit(cache=True, error_model="numpy", nogil=True)
def recorded_hazard(age, at_release, H_start, H_end, gap_end, mu, k, c):
    """Hazard integrated over a bin of a recorded neuron of population k, -1 while it cannot fire; see `observed`."""
    r, offset, curvature, leak = int(c[k, REFRACTORY]), c[k, OFFSET], c[k, CURVATURE], c[k, LEAK]
    if age < r or (age == r and c[k, WEIGHT_A] == 0.0):
        return -1.0
    if age <= r + 1:
        L_a = integrated_hazard((1.0 - c[k, YOUNG]) * mu - offset)
        if age == r:
            return c[k, WEIGHT_A] * L_a
        if c[k, RELEASE] > r:
            at_release = H_start + c[k, RELEASE_SLOPE] * (mu - H_start)
        L_b = integrated_hazard(H_end - offset - leak ** (age - c[k, DECAY_ORIGIN]) * at_release)
        return c[k, WEIGHT_B_START] * L_a + c[k, WEIGHT_B_END] * L_b
    G = leak ** (age - c[k, DECAY_ORIGIN]) * at_release
    x = c[k, WEIGHT_END] * integrated_hazard(H_end - offset - G) * tilt(curvature * (gap_end + G))
    if c[k, WEIGHT_START] > 0.0:
        slope = curvature * (mu - H_start + G / leak)
        x += c[k, WEIGHT_START] * integrated_hazard(H_start - offset - G / leak) * tilt(-slope)
    return x


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def bootstrap(
    rng, spiking, labels, stimulus, step, windows, decay, floor,
    first_history, history_n, history_H, history_S, history_L, history_free, lag, resample_below,
    log_increment, mean, mean_square, mean_n_bar, path_n, path_ancestor, weights,
):  # fmt: skip
    """Run the filter over one trial.

    Parameters
    ----------
    rng : numpy.random.Generator
    spiking : (T, n_observed) bool
    labels : (n_observed,) int
    stimulus : (T, K), mV
    step : discretization.Step
    windows, decay
        As in `mesoscopic.forward`; decay has as many columns as history_S.
    floor : (K,)
        Smallest expected count.
    first_history : (n_particles,) int
        Which of the histories below each particle starts from.
    history_n, history_H : (n_histories, K); history_S, history_L : (n_histories, K, length);
    history_free : (n_histories, K, 5)
        Stationary states before the first bin, with the youngest cohort last.
    lag : int
        Fixed lag of the smoothed moments, in bins, below `length`.
    resample_below : float
        Resample when the effective sample size falls below this fraction of the particles.
    log_increment : (T,), filled
        log p(y_t | y_<t).
    mean, mean_square, mean_n_bar : (T, K), filled
        Fixed-lag smoothed moments of n, and the filtered mean of n̄.
    path_n : (T, n_particles, K) float32 and path_ancestor : (T, n_particles) int32, filled if not empty
        Counts, and the particle of bin t - 1 that each particle of bin t descends from.
    weights : (n_particles,), filled
        Weights after the last bin.
    """
    T, n_observed = spiking.shape
    n_particles = weights.size
    K, length = history_S.shape[1], history_S.shape[2]
    rows = n_particles * K
    capacity = 2 * length
    keep_paths = path_n.shape[0] > 0
    c = constants(step, windows)
    delay, feedback = step.delay_bins, step.feedback
    u_rest, tau_m, leak, J, n_neurons = step.u_rest, step.tau_m, step.leak, step.J, step.n_neurons
    synaptic_decay, arrive_before, arrive_now = step.synaptic_decay, step.arrive_before, step.arrive_now
    by_current, by_before, by_now = step.by_current, step.by_before, step.by_now
    release_by_current, release_by_before, release_by_now = (
        step.release_by_current, step.release_by_before, step.release_by_now
    )  # fmt: skip
    kept = leak**step.release_fraction
    per_spike = 1.0 / (n_neurons * step.bin_size)
    # the state of all particles, before and after resampling
    n, S = np.zeros((2 * rows, capacity), dtype=CELL), np.ones((2 * rows, capacity), dtype=CELL)
    L, release = np.zeros((2 * rows, capacity), dtype=CELL), np.zeros((2 * rows, capacity), dtype=CELL)
    free, due = np.empty((2 * rows, 5)), np.empty((2 * rows, N_RECORDS))
    H, current, n_bar = np.empty(2 * rows), np.empty(2 * rows), np.empty(2 * rows)
    expected, f = np.empty(2 * rows), np.ones(2 * rows)
    at_release = np.zeros((2 * n_particles, n_observed))
    # scratch: potentials of the bin, h_unseen, tapes that nobody reads
    mu, H_end, gap_end, h_unseen = np.empty(rows), np.empty(rows), np.empty(rows), np.empty(rows)
    unread = np.empty((1, length), dtype=CELL)
    before, now, current_end = np.empty(K), np.empty(K), np.empty(K)
    last_spike = np.full(n_observed, -1)
    unseen = np.zeros(K, dtype=np.int64)
    for i in range(n_observed):
        unseen[labels[i]] += 1
    log_weight = np.zeros(n_particles)
    ancestors = np.arange(n_particles)
    contamination = CONTAMINATION_RATE * step.bin_size
    log_contamination = log_one_minus_exp(contamination)
    for p in range(n_particles):
        h = first_history[p]
        weights[p] = 1.0 / n_particles
        for k in range(K):
            i = p * K + k
            H[i] = history_H[h, k]
            current[i] = history_n[h, k] * per_spike[k]
            expected[i] = history_n[h, k]
            free[i] = history_free[h, k]
            n[i, :length] = history_n[h, k]
            S[i, :length] = history_S[h, k]
            L[i, :length] = history_L[h, k]
            release[i, :] = history_H[h, k]
    generation = 0
    off = 0
    for t in range(T):
        own = off + length  # column of the cohort of bin t
        base = generation * rows
        # potentials and expected counts
        for p in range(n_particles):
            first = base + p * K
            for b in range(K):
                i = first + b
                before[b] = n[i, own - delay[b] - 1] * per_spike[b]
                now[b] = (n[i, own - delay[b]] if delay[b] > 0 else expected[i]) * per_spike[b]
                current_end[b] = synaptic_decay[b] * current[i] + arrive_before[b] * before[b] + arrive_now[b] * now[b]
            for k in range(K):
                i = first + k
                scratch = p * K + k
                external = u_rest[k] + stimulus[t, k]
                start, end, potential = 0.0, 0.0, leak[k] * H[i] + (1.0 - leak[k]) * external
                for b in range(K):
                    start += J[k, b] * current[first + b]
                    end += J[k, b] * current_end[b]
                    potential += (
                        by_current[k, b] * current[first + b] + by_before[k, b] * before[b] + by_now[k, b] * now[b]
                    )
                mu[scratch] = external + tau_m[k] * start
                H_end[scratch] = potential
                gap_end[scratch] = external + tau_m[k] * end - potential
                expectation, _, h_unseen[scratch] = advance_population(
                    i, k, 0, i, t, own, 0, 0, mu[scratch], H[i], potential, gap_end[scratch], f[i],
                    unseen[k] > 0, True, c, n, S, L, release, decay, free, unread, unread, unread, due,
                )  # fmt: skip
                n_bar[i] = min(max(expectation, floor[k]), n_neurons[k] * (1.0 - 1e-6))
        # weights: the recorded neurons
        for o in range(n_observed):
            k = labels[o]
            spike = spiking[t, o]
            last = last_spike[o]
            if last < 0:
                for p in range(n_particles):
                    h = min(max(h_unseen[p * K + k], contamination), CERTAINTY)
                    log_weight[p] += math.log(h) if spike else math.log1p(-h)
            else:
                for p in range(n_particles):
                    i, scratch = base + p * K + k, p * K + k
                    x = recorded_hazard(
                        t - last, at_release[generation * n_particles + p, o], H[i], H_end[scratch], gap_end[scratch],
                        mu[scratch], k, c,
                    )  # fmt: skip
                    if x < 0.0:
                        log_weight[p] += log_contamination if spike else -contamination
                    else:
                        log_weight[p] += log_one_minus_exp(x) if spike else -x
            if spike:
                if last < 0:
                    unseen[k] -= 1
                last_spike[o] = t
        square = 0.0
        if n_observed > 0:
            largest = log_weight.max()
            total = 0.0
            for p in range(n_particles):
                weights[p] *= math.exp(log_weight[p] - largest)
                log_weight[p] = 0.0
                total += weights[p]
            log_increment[t] = largest + math.log(total)
            for p in range(n_particles):
                weights[p] /= total
                square += weights[p] * weights[p]
        else:  # a simulation: nothing to weigh
            log_increment[t] = 0.0
        for k in range(K):
            total = 0.0
            for p in range(n_particles):
                total += weights[p] * n_bar[base + p * K + k]
            mean_n_bar[t, k] = total
        # resampling
        if square * resample_below * n_particles > 1.0:
            systematic_resample(weights, rng.random(), ancestors)
            generation = 1 - generation
            base = generation * rows
            for p in range(n_particles):
                weights[p] = 1.0 / n_particles
                old = (1 - generation) * n_particles + ancestors[p]
                at_release[generation * n_particles + p] = at_release[old]
                for k in range(K):
                    i, a = base + p * K + k, old * K + k
                    H[i], current[i], n_bar[i] = H[a], current[a], n_bar[a]
                    expected[i], f[i] = expected[a], f[a]
                    for j in range(5):
                        free[i, j] = free[a, j]
                    for j in range(N_RECORDS):
                        due[i, j] = due[a, j]
                    for j in range(off, off + length):
                        n[i, j], S[i, j], L[i, j], release[i, j] = n[a, j], S[a, j], L[a, j], release[a, j]
            if keep_paths:
                path_ancestor[t, :] = ancestors
        elif keep_paths:
            for p in range(n_particles):
                path_ancestor[t, p] = p
        if own == capacity:
            for i in range(base, base + rows):
                for j in range(length):
                    n[i, j], S[i, j], L[i, j] = n[i, off + j], S[i, off + j], L[i, off + j]
                    release[i, j] = release[i, off + j]
            off = 0
            own = length
        # every particle draws its counts and completes its bin
        for p in range(n_particles):
            first = base + p * K
            for b in range(K):
                i = first + b
                drawn = rng.binomial(n_neurons[b], n_bar[i] / n_neurons[b])
                n[i, own] = drawn
                S[i, own] = 1.0
                if keep_paths:
                    path_n[t, p, b] = drawn
                before[b] = n[i, own - delay[b] - 1] * per_spike[b]
                now[b] = n[i, own - delay[b]] * per_spike[b]
            for k in range(K):
                i = first + k
                external = u_rest[k] + stimulus[t, k]
                at_end = leak[k] * H[i] + (1.0 - leak[k]) * external
                at_birth = kept[k] * H[i] + (1.0 - kept[k]) * external
                change = 0.0
                for b in range(K):
                    activity = current[first + b]
                    at_end += by_current[k, b] * activity + by_before[k, b] * before[b] + by_now[k, b] * now[b]
                    at_birth += (
                        release_by_current[k, b] * activity
                        + release_by_before[k, b] * before[b]
                        + release_by_now[k, b] * now[b]
                    )
                    if delay[b] == 0:
                        change += feedback[k, b] * (n[first + b, own] - expected[first + b])
                f[i] = exp(min(max(change, -LARGEST_CORRECTION), LARGEST_CORRECTION))
                H[i] = at_end
                R = int(c[k, RELEASE])
                release[i, own - R] = at_birth
                for o in range(n_observed):
                    if labels[o] == k and last_spike[o] >= 0 and t - last_spike[o] == R:
                        at_release[generation * n_particles + p, o] = at_birth
            for k in range(K):
                i = first + k
                current[i] = synaptic_decay[k] * current[i] + arrive_before[k] * before[k] + arrive_now[k] * now[k]
                expected[i] = expect_next(i, f[i], n[i, own], c[k, SIZE], due)
        off += 1
        # fixed-lag smoothing: the count of bin t - lag is carried along by every particle
        if t >= lag:
            _moments(n, base, weights, off + length - 1 - lag, mean[t - lag], mean_square[t - lag])
    for t in range(max(T - lag, 0), T):
        _moments(n, base, weights, off + length - (T - t), mean[t], mean_square[t])


@njit(cache=True, error_model="numpy", nogil=True)
def _moments(n, base, weights, position, mean, mean_square):
    K = mean.size
    for k in range(K):
        first = 0.0
        second = 0.0
        for p in range(weights.size):
            value = n[base + p * K + k, position]
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
