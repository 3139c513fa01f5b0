"""Responses of membranes to the activity of a source: what the coefficients of a second-order step are made of.

Potentials per mV of J; τ_m is the target's, τ_s the source's. Each comes with its derivatives by τ_m and τ_s.
"""

import math

import numpy as np
from numba import njit

# Spans of time over which potentials are asked for: from the start of a bin and from the arrival of a spike fired then,
# to the end of the bin; from both to the release of the cohorts.
WHOLE, LATE, RELEASE, LATE_RELEASE, N_SPANS = range(5)


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _phi(x):
    """(e^x - 1)/x and its derivative; the series where the difference would cancel."""
    if abs(x) < 0.02:
        value = 1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0)))))
        slope = 1.0 / 8.0 + x * (1.0 / 30.0 + x * (1.0 / 144.0 + x * (1.0 / 840.0 + x / 5760.0)))
        slope = 1.0 / 2.0 + x * (1.0 / 3.0 + x * slope)
        return value, slope
    rise = math.expm1(x)
    return rise / x, (rise * (x - 1.0) + x) / (x * x)


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def to_current(tau_m, tau_syn, h):
    """H(h) after I(0) = 1 Hz and silence.

    D(h) = (exp(-h/τ_m) - exp(-h/τ_s)) / (1/τ_s - 1/τ_m) = h exp(-h/τ_s) φ(x), x = h/τ_s - h/τ_m, φ(x) = (e^x - 1)/x.
    """
    a, b = 1.0 / tau_m, 1.0 / tau_syn
    phi, phi_slope = _phi((b - a) * h)
    envelope = h * math.exp(-b * h)
    value = envelope * phi
    by_a, by_b = -h * envelope * phi_slope, -h * value + h * envelope * phi_slope
    return value, -by_a * a * a, -by_b * b * b


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def to_activity(tau_m, tau_syn, h):
    """H(h) under A = 1 Hz since 0, from rest."""
    value, by_tau_m, by_tau_syn = to_current(tau_m, tau_syn, h)
    lost = math.exp(-h / tau_m)
    return tau_m * (1.0 - lost) - value, (1.0 - lost) - lost * h / tau_m - by_tau_m, -by_tau_syn


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def to_activity_integrated(tau_m, tau_syn, h):
    """Integral of `to_activity` from 0 to h: as it obeys τ_m y' + y = τ_m I, that is τ_m (∫I - y(h))."""
    y, y_by_tau_m, y_by_tau_syn = to_activity(tau_m, tau_syn, h)
    lost = math.exp(-h / tau_syn)
    current = h - tau_syn * (1.0 - lost)
    current_slope = -(1.0 - lost) + lost * h / tau_syn
    return tau_m * (current - y), (current - y) - tau_m * y_by_tau_m, tau_m * (current_slope - y_by_tau_syn)


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def span(which, bin_size, psi, fraction):
    """Span in s, of a source whose spikes are late by the fraction psi of a bin and a target released at `fraction`."""
    if which == WHOLE:
        return bin_size
    if which == LATE:
        return bin_size * (1.0 - psi)
    if which == RELEASE:
        return bin_size * fraction
    return bin_size * max(fraction - psi, 0.0)


@njit(cache=True, error_model="numpy", nogil=True)
def forward(bin_size, tau_m, tau_syn, psi, fraction, current, activity, within):
    """Fill current and activity (N_SPANS, M, K, K), [target, source], and within (M, K, K), for M sets of values.

    Parameters
    ----------
    tau_m, tau_syn : (M, K), s
    psi, fraction : (K,)
        In bins: delay of the source beyond whole bins, release of the target.
    """
    M, K = tau_m.shape
    for i in range(M):
        for k in range(K):
            for b in range(K):
                for which in range(N_SPANS):
                    h = span(which, bin_size, psi[b], fraction[k])
                    current[which, i, k, b] = to_current(tau_m[i, k], tau_syn[i, b], h)[0]
                    activity[which, i, k, b] = to_activity(tau_m[i, k], tau_syn[i, b], h)[0]
                h = span(LATE, bin_size, psi[b], fraction[k])
                within[i, k, b] = to_activity_integrated(tau_m[i, k], tau_syn[i, b], h)[0]


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint(bin_size, J, tau_m, tau_syn, n_neurons, psi, fraction, d, g_step, g_J, g_tau_m, g_tau_syn):
    """Add to g_J (K, K), g_tau_m and g_tau_syn (K,) the gradient that `g_step` says of a second-order `Step`.

    Parameters
    ----------
    d : (K,) int
        Whole bins of delay.
    g_step : Step
    """
    K = tau_m.size
    g_current, g_activity = np.empty(N_SPANS), np.empty(N_SPANS)
    for b in range(K):
        lost, late = math.exp(-bin_size / tau_syn[b]), bin_size * (1.0 - psi[b])
        now = -math.expm1(-late / tau_syn[b])
        instant = 1.0 / (n_neurons[b] * bin_size) if d[b] == 0 else 0.0
        g_before, g_now = g_step.arrive_before[b], g_step.arrive_now[b] - g_step.arrive_before[b]
        for k in range(K):
            g_gap = g_step.feedback_gap[k, b] * instant
            g_J[k, b] += g_gap * tau_m[k] * now
            g_tau_m[k] += g_gap * J[k, b] * now
            g_now += g_gap * tau_m[k] * J[k, b]
            g_current[WHOLE], g_current[LATE] = g_step.by_current[k, b], 0.0
            g_current[RELEASE], g_current[LATE_RELEASE] = g_step.release_by_current[k, b], 0.0
            g_activity[WHOLE] = g_step.by_before[k, b]
            g_activity[LATE] = g_step.by_now[k, b] - g_step.by_before[k, b] + g_step.feedback[k, b] * instant - g_gap
            g_activity[RELEASE] = g_step.release_by_before[k, b]
            g_activity[LATE_RELEASE] = g_step.release_by_now[k, b] - g_step.release_by_before[k, b]
            value, by_tau_m, by_tau_syn = to_activity_integrated(tau_m[k], tau_syn[b], late)
            g = g_step.gain_within[k, b] * instant / bin_size
            by_J, by_tau_m, by_tau_syn = g * value, g * by_tau_m, g * by_tau_syn
            for which in range(N_SPANS):
                h = span(which, bin_size, psi[b], fraction[k])
                value, of_tau_m, of_tau_syn = to_current(tau_m[k], tau_syn[b], h)
                g = g_current[which]
                by_J, by_tau_m, by_tau_syn = by_J + g * value, by_tau_m + g * of_tau_m, by_tau_syn + g * of_tau_syn
                value, of_tau_m, of_tau_syn = to_activity(tau_m[k], tau_syn[b], h)
                g = g_activity[which]
                by_J, by_tau_m, by_tau_syn = by_J + g * value, by_tau_m + g * of_tau_m, by_tau_syn + g * of_tau_syn
            g_J[k, b] += by_J
            g_tau_m[k] += J[k, b] * by_tau_m
            g_tau_syn[b] += J[k, b] * by_tau_syn
        per_tau = 1.0 / (tau_syn[b] * tau_syn[b])
        g_tau_syn[b] += (g_step.synaptic_decay[b] - g_before) * lost * bin_size * per_tau
        g_tau_syn[b] -= g_now * math.exp(-late / tau_syn[b]) * late * per_tau
    for k in range(K):
        of_rate = g_step.leak[k] * math.exp(-bin_size / tau_m[k]) - g_step.curvature[k] / 6.0
        g_tau_m[k] += (of_rate - g_step.release_slope[k] * fraction[k]) * bin_size / (tau_m[k] * tau_m[k])
