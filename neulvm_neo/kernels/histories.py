"""States of populations that have fired regularly for a long time, in clusters or not: where particles start."""

import math

import numpy as np
from numba import njit

from .mesoscopic import BIN_SIZE, LEAK, OFFSET, REFRACTORY, SIZE, settled_cohorts

_HIGHEST = 30.0  # mV: neurons are between this far below their threshold and as far above within one bin
# The potential is found to so many mV, or the interval to this share, in at most so many looks.
_POTENTIAL_TOLERANCE, _INTERVAL_TOLERANCE, _MOST_LOOKS = 1e-6, 1e-6, 60


@njit(cache=True, error_model="numpy", nogil=True)
def settle(c, decay, set_of, windows, rate, n_clusters, phase, size, width, n, S, L, free, H, current):
    """Fill the states of M starts.

    The potential is the one at which neurons fire at the given mean rate; so a start agrees with itself whatever the
    couplings say. A neuron of a cluster fires once per period, and a cluster is as wide as its neurons are imprecise.

    Parameters
    ----------
    c : (sets · K, N_CONSTANTS); decay : (sets · K, ·)
        See `mesoscopic.constants` and `discretization.decay_table`.
    set_of : (M,) int
    windows : (K,) int
    rate : (M, K), Hz
    n_clusters : (M, K) int
        0: asynchronous.
    phase, size : (M, K, most clusters)
        Relative to the period and to the population.
    width : (M, K)
        Of a cluster, relative to the standard deviation of the intervals.
    n, S, L : (M, K, length), filled
        Cohorts by birth, the youngest last. Cohorts and free neurons are N together.
    free : (M, K, 5); H, current : (M, K), filled
        Sums of the free neurons, potential (mV), filtered activity (Hz).
    """
    M, K = rate.shape
    length = n.shape[2]
    for m in range(M):
        for k in range(K):
            q, window, a = set_of[m] * K + k, windows[k], length - windows[k]
            N, shortest = c[q, SIZE], c[q, REFRACTORY] + 1.5
            interval = max(1.0 / (rate[m, k] * c[q, BIN_SIZE]), shortest)
            mean = N / interval
            current[m, k] = 1.0 / (interval * c[q, BIN_SIZE])
            n[m, k, :] = mean
            S[m, k, :], L[m, k, :] = 1.0, 0.0
            gamma = decay[q, :window].astype(np.float64)
            counts, survival, hazard, rest = n[m, k, a:], S[m, k, a:], L[m, k, a:], free[m, k]
            threshold = c[q, OFFSET] + math.log(c[q, BIN_SIZE])
            low, high = threshold - _HIGHEST, (max(threshold, 0.0) + _HIGHEST) / (1.0 - c[q, LEAK])
            # the log of the interval falls with the potential, nearly in a straight line where neurons are slow:
            # secants that keep the root between them, an end that stays being counted half (the Illinois rule)
            too_long = math.log(
                settled_cohorts(q, c, window, gamma, low, counts, mean, survival, hazard, rest) / interval
            )
            too_short = math.log(
                settled_cohorts(q, c, window, gamma, high, counts, mean, survival, hazard, rest) / interval
            )
            total, stayed = 0.0, 0
            if too_long > 0.0 > too_short:
                for _ in range(_MOST_LOOKS):
                    H[m, k] = (high * too_long - low * too_short) / (too_long - too_short)
                    total = settled_cohorts(q, c, window, gamma, H[m, k], counts, mean, survival, hazard, rest)
                    away = math.log(total / interval)
                    if abs(away) < _INTERVAL_TOLERANCE or high - low < _POTENTIAL_TOLERANCE:
                        break
                    if away > 0.0:
                        low, too_long = H[m, k], away
                        too_short = 0.5 * too_short if stayed == 1 else too_short
                        stayed = 1
                    else:
                        high, too_short = H[m, k], away
                        too_long = 0.5 * too_long if stayed == -1 else too_long
                        stayed = -1
            else:  # neurons would have to fire faster, or more slowly, than is looked for
                H[m, k] = low if too_long <= 0.0 else high
                total = settled_cohorts(q, c, window, gamma, H[m, k], counts, mean, survival, hazard, rest)
            if n_clusters[m, k] == 0:
                continue
            kept, square = 0.0, 0.0
            for j in range(window):
                kept += survival[j]
                square += (2.0 * (window - j) - 1.0) * survival[j]
            spread = math.sqrt(min(max(square - total * total, 0.25), total * total)) * width[m, k]
            fill_clusters(n_clusters[m, k], interval, phase[m, k], size[m, k], spread, N, n[m, k])
            explained = 0.0
            for j in range(window):
                explained += counts[j] * survival[j]
            if explained > 0.0:
                n[m, k, :] *= max(N - mean * (total - kept), 0.0) / explained
            settled_cohorts(q, c, window, gamma, H[m, k], counts, mean, survival, hazard, rest)


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def fill_clusters(n_clusters, period, phase, size, width, n_neurons, n):
    """Counts n (length,) by birth, the youngest last, of neurons that fire once per period (bins) in clusters."""
    n[:] = 0.0
    turns = int(min(2.0 + 3.0 * width / period, 6.0))
    for j in range(n.size):
        age = n.size - j
        for i in range(n_clusters):
            away = (age - period * phase[i]) % period
            for turn in range(-turns, turns + 1):
                z = (away + turn * period) / width
                if -6.0 < z < 6.0:
                    n[j] += size[i] * math.exp(-0.5 * z * z)
    n *= n_neurons / (width * math.sqrt(2.0 * math.pi))
