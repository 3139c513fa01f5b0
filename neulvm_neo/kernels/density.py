"""Binomial density of counts that are real numbers, with its derivatives; loops that vectorise."""

import math

from numba import njit

from .elementary import log

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
# Counts are not let closer to -1, where their factorial is infinite: a count beyond N has no density, and only the
# slope that leads back matters.
_LEAST = -0.999


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def log_factorial(n):
    """log Γ(n + 1) and its derivative, for n > -1; absolute errors below 1e-13 (1 + their sizes).

    Stirling's series for n + 8, and back by log Γ(z + 8) = log Γ(z) + log z(z + 1)…(z + 7).
    """
    z = max(n, _LEAST) + 1.0
    product, slope = z, 1.0
    for i in range(1, 8):
        slope = slope * (z + i) + product
        product *= z + i
    w = z + 8.0
    per_w = 1.0 / w
    v = per_w * per_w
    log_w = log(w)
    series = 1.0 / 12.0 + v * (-1.0 / 360.0 + v * (1.0 / 1260.0 + v * (-1.0 / 1680.0 + v * (1.0 / 1188.0))))
    slopes = v * (1.0 / 12.0 + v * (-1.0 / 120.0 + v * (1.0 / 252.0 + v * (-1.0 / 240.0 + v * (1.0 / 132.0)))))
    value = (w - 0.5) * log_w - w + _HALF_LOG_TWO_PI + per_w * series - log(product)
    return value, log_w - 0.5 * per_w - slopes - slope / product


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
def binomial(n, n_bar, share, n_neurons, floor, ceiling, g_mean, g_n):
    """Σ log Binomial(n; N, n̄ share / N) and its derivatives.

    Parameters
    ----------
    n, n_bar : (K, bins)
    share, n_neurons, floor, ceiling : (K,)
        What of n̄ is meant; N (populations with 0 are left out); bounds of n̄ share.
    g_mean, g_n : (K, bins), filled
        By n̄ (0 beyond the bounds) and n.

    Returns
    -------
    float
    """
    total = 0.0
    for k in range(n.shape[0]):
        N, factor, lowest, highest = n_neurons[k], share[k], floor[k], ceiling[k]
        if N <= 0.0:
            g_mean[k], g_n[k] = 0.0, 0.0
            continue
        per_N, of_all = 1.0 / N, log_factorial(N)[0]
        for t in range(n.shape[1]):
            unbounded = factor * n_bar[k, t]
            mean = min(max(unbounded, lowest), highest)
            silent = N - n[k, t]
            log_fire, log_silent = log(mean * per_N), log((N - mean) * per_N)
            value, slope = log_factorial(n[k, t])
            value_silent, slope_silent = log_factorial(silent)
            total += n[k, t] * log_fire + silent * log_silent + (of_all - value - value_silent)
            inside = factor if mean == unbounded else 0.0
            g_mean[k, t] = inside * (n[k, t] / mean - silent / (N - mean))
            g_n[k, t] = slope_silent - slope + log_fire - log_silent
    return total


@njit(cache=True, error_model="numpy", nogil=True)
def conditional_variance(n_bar, v, gain, spread, variance):
    """Fill `variance`, see `likelihood.conditional_variance`; (K, bins), but gain is (K, K) and spread (K,)."""
    for k in range(n_bar.shape[0]):
        variance[k] = 0.0
        for b in range(n_bar.shape[0]):
            own, g, s = 1.0 if b == k else 0.0, gain[k, b], spread[b]
            for t in range(n_bar.shape[1]):
                Q = g * n_bar[k, t]
                variance[k, t] += v[b, t] * ((own + Q) * (own + Q) + s * Q * Q)


@njit(cache=True, error_model="numpy", nogil=True)
def conditional_variance_adjoint(n_bar, v, gain, spread, g_variance, g_n_bar, g_v, g_gain):
    """Adjoint of `conditional_variance`: adds to g_n_bar, g_v (K, bins) and g_gain (K, K)."""
    for k in range(n_bar.shape[0]):
        for b in range(n_bar.shape[0]):
            own, g, s = 1.0 if b == k else 0.0, gain[k, b], spread[b]
            total = 0.0
            for t in range(n_bar.shape[1]):
                Q = g * n_bar[k, t]
                g_v[b, t] += g_variance[k, t] * ((own + Q) * (own + Q) + s * Q * Q)
                g_Q = 2.0 * g_variance[k, t] * v[b, t] * (own + (1.0 + s) * Q)
                g_n_bar[k, t] += g_Q * g
                total += g_Q * n_bar[k, t]
            g_gain[k, b] += total
