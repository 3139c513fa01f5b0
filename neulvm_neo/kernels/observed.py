"""Likelihood of recorded neurons given their population's potential, and its gradient.

Part a of Wang et al. 2022, App. B, with the hazard of `mesoscopic` integrated over each bin.

A neuron that last fired in bin s is one of the cohort s, and its hazard in a bin is that cohort's; before its first
recorded spike it is any of the neurons that have not fired since the recording began (probability `h_unseen`, see
`sweep.forward`), so its unknown age at the start is integrated out.

Works on a stretch [start, stop) of bins, in two passes: all bins of a neuron by one formula, in loops that vectorise;
then the few around its spikes, where the formula is another. `edges` are those of the `sweep`; `release` begins with
the bins of the history, `n_history` of them, and holds the potential at the release of the cohorts, by the bin of the
release. `c` are `mesoscopic.constants`, `g_c` their gradients.
"""

import math

import numpy as np
from numba import njit

from .elementary import LARGEST_CURVED_HAZARD, exp_falling, integrated_hazard, log_one_minus_exp
from .mesoscopic import (
    _FAST,
    BIN_SIZE,
    CURVATURE,
    DECAY_ORIGIN,
    LEAK,
    OFFSET,
    REFRACTORY,
    RELEASE,
    RELEASE_SLOPE,
    WEIGHT_A,
    WEIGHT_B_END,
    WEIGHT_B_START,
    WEIGHT_END,
    WEIGHT_START,
    YOUNG,
)  # fmt: skip
from .sweep import A_END, A_START, H_END, H_START, L_A, MU

# A spike inside the absolute refractory period is impossible in the model but happens in recordings (multi-unit
# activity, sorting errors). It is given this rate (Hz), which is also the least rate of a first spike: a constant
# penalty of ln(1e-3 Δt) per such spike, and 1e-3 nats per second of refractory time.
CONTAMINATION_RATE = 1e-3
# A neuron not seen yet never fires for certain: its log-likelihood stays finite however wrong the parameters are.
CERTAINTY = 1.0 - 1e-9
# So many membrane time constants after a spike nothing is left of the reset (exp(-45) of it).
FORGOTTEN = 45.0


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def decay_since_release(k, c):
    """γ^(age - origin) for ages r + 1, r + 2, … until the reset is forgotten, and its derivative by γ."""
    leak = c[k, LEAK]
    log_leak, first = math.log(leak), c[k, REFRACTORY] + 1.0 - c[k, DECAY_ORIGIN]
    length = int(-FORGOTTEN / log_leak) + 3
    decay, slope = np.empty(length), np.empty(length)
    for j in range(length):
        decay[j] = exp_falling((first + j) * log_leak)
        slope[j] = (first + j) * decay[j] / leak
    return decay, slope


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def likelihood(
    start, stop, n_history, spikes, offsets, labels, excitability, edges, release, h_unseen, c, with_gradient,
    g_edges, g_release, g_h_unseen, g_c,
):  # fmt: skip
    """log p of all neurons' spikes and silence in the bins [start, stop), and its gradient if that is asked for.

    Parameters
    ----------
    start, stop, n_history : int
    spikes : (n_spikes,) int
        Bins with a spike, increasing for each neuron, one neuron after the other.
    offsets : (n_observed + 1,) int
        Where a neuron's spikes begin.
    labels : (n_observed,) int
        Populations.
    excitability : (n_observed,)
        Hazards, as multiples of the population's at the same potential.
    edges : (≥ 6, K, ≥ stop - start)
        See `sweep.prepare`.
    release : (K, n_history + T)
    h_unseen : (K, at least the bins up to the last first spike)
    c : (K, N_CONSTANTS)
    with_gradient : bool
        If false, the rest may be arrays of any size.
    g_edges, g_release, g_h_unseen, g_c : updated
        Gradients are added. Of `edges` the first five rows have one.
    """
    count, n_bins = stop - start, release.shape[1] - n_history
    G, x, x_start, x_end, g_x = np.empty(count), np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    log_p = 0.0
    for k in range(edges.shape[1]):
        decay, decay_slope = np.empty(0), np.empty(0)
        for o in range(labels.size):
            if labels[o] != k:
                continue
            if decay.size == 0:
                decay, decay_slope = decay_since_release(k, c)
            mine = spikes[offsets[o] : offsets[o + 1]]
            _missing_potential(k, mine, excitability[o], n_bins, n_history, start, stop, release, decay, c, G, g_x)
            log_p += _hazards(k, count, edges, G, c, g_x, x_start, x_end, x)
            log_p += _around_spikes(
                k, mine, excitability[o], n_bins, n_history, start, stop, edges, release, h_unseen, decay, decay_slope,
                c, x, g_x, with_gradient, g_edges, g_release, g_h_unseen, g_c,
            )  # fmt: skip
            if with_gradient:
                _hazards_gradient(k, count, edges, G, c, g_x, x_start, x_end, g_edges, g_c)
                _missing_potential_gradient(
                    k, mine, n_bins, n_history, start, stop, release, decay, decay_slope, c, G, g_release, g_c
                )
    return log_p


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _first_to_look_at(spikes, start):
    """Index of the last spike before `start`, or 0."""
    return max(np.searchsorted(spikes, start) - 1, 0)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def _missing_potential(k, spikes, excitability, n_bins, n_history, start, stop, release, decay, c, G, g_x):
    """Fill G, what a neuron's potential lacks of H at the end of the bins, and g_x: minus the excitability where
    `_hazards` is right, or 0.

    It is wrong before the first recorded spike and until a neuron has been released. Where the reset is forgotten, G
    is 0.
    """
    r, R = int(c[k, REFRACTORY]), int(c[k, RELEASE])
    count = stop - start
    for row in range(count):
        G[row], g_x[row] = 0.0, -excitability
    seen = min(max((spikes[0] + 1 if spikes.size else n_bins) - start, 0), count)
    g_x[:seen] = 0.0
    for i in range(_first_to_look_at(spikes, start), spikes.size):
        birth = spikes[i]
        if birth >= stop:
            break
        end = min((spikes[i + 1] if i + 1 < spikes.size else n_bins) + 1, stop)
        released = birth + r + 2  # from this bin on, the formula for older neurons
        for t in range(max(birth + 1, start), min(released, end)):
            g_x[t - start] = 0.0
        at_release = release[k, n_history + min(birth + R, n_bins - 1)]
        first = max(released, start)
        for j in range(max(min(end, birth + r + 1 + decay.size) - first, 0)):
            G[first - start + j] = decay[first - released + 1 + j] * at_release


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def _missing_potential_gradient(
    k, spikes, n_bins, n_history, start, stop, release, decay, decay_slope, c, g_G, g_release, g_c
):
    """Adjoint of `_missing_potential`; adds to g_release and g_c."""
    r, R = int(c[k, REFRACTORY]), int(c[k, RELEASE])
    g_leak = 0.0
    for i in range(_first_to_look_at(spikes, start), spikes.size):
        birth = spikes[i]
        if birth >= stop:
            break
        end = min((spikes[i + 1] if i + 1 < spikes.size else n_bins) + 1, stop)
        released = birth + r + 2
        first = max(released, start)
        by_release, by_leak = 0.0, 0.0
        for j in range(max(min(end, birth + r + 1 + decay.size) - first, 0)):
            by_release += g_G[first - start + j] * decay[first - released + 1 + j]
            by_leak += g_G[first - start + j] * decay_slope[first - released + 1 + j]
        at_release = n_history + min(birth + R, n_bins - 1)
        g_release[k, at_release] += by_release
        g_leak += by_leak * release[k, at_release]
    g_c[k, LEAK] += g_leak


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def _hazards(k, count, edges, G, c, g_x, x_start, x_end, x):
    """Fill x of every bin for a neuron that lacks G, and its parts; returns the log p of silence, Σ g_x x."""
    curvature, per_leak, w0, w1 = c[k, CURVATURE], 1.0 / c[k, LEAK], c[k, WEIGHT_START], c[k, WEIGHT_END]
    silence = 0.0
    for j in range(count):
        u0 = edges[A_START, k, j] + curvature * per_leak * G[j]
        u1 = edges[A_END, k, j] + curvature * G[j]
        D0, D1 = 1.0 - u0 + u0 * u0, 1.0 + u1 + u1 * u1
        inverse = 1.0 / (D0 * D1)
        start = w0 * integrated_hazard(edges[H_START, k, j] - per_leak * G[j])
        end = w1 * integrated_hazard(edges[H_END, k, j] - G[j])
        x_start[j], x_end[j] = start * (D1 * inverse), end * (D0 * inverse)
        x[j] = x_start[j] + x_end[j]
        silence += g_x[j] * x[j]
    return silence


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def _hazards_gradient(k, count, edges, G, c, g_x, x_start, x_end, g_edges, g_c):
    """Adjoint of `_hazards`: adds to g_edges and g_c; G becomes its gradient."""
    curvature, leak, w0, w1 = c[k, CURVATURE], c[k, LEAK], c[k, WEIGHT_START], c[k, WEIGHT_END]
    per_leak = 1.0 / leak
    g_curvature, g_per_leak = 0.0, 0.0
    for j in range(count):
        u0 = edges[A_START, k, j] + curvature * per_leak * G[j]
        u1 = edges[A_END, k, j] + curvature * G[j]
        D0, D1 = 1.0 - u0 + u0 * u0, 1.0 + u1 + u1 * u1
        inverse = 1.0 / (D0 * D1)
        tilt_start, tilt_end = D1 * inverse, D0 * inverse
        g_start, g_end = g_x[j] * x_start[j], g_x[j] * x_end[j]
        g_u0 = g_start * (1.0 - 2.0 * u0) * tilt_start
        g_u1 = -g_end * (1.0 + 2.0 * u1) * tilt_end
        # the hazard grows no faster than linearly above its cap
        g_start = g_x[j] * min(x_start[j], w0 * LARGEST_CURVED_HAZARD * tilt_start)
        g_end = g_x[j] * min(x_end[j], w1 * LARGEST_CURVED_HAZARD * tilt_end)
        of_start = curvature * g_u0 - g_start  # gradient of G(t)
        g_edges[H_START, k, j] += g_start
        g_edges[H_END, k, j] += g_end
        g_edges[A_START, k, j] += g_u0
        g_edges[A_END, k, j] += g_u1
        g_curvature += G[j] * (per_leak * g_u0 + g_u1)
        g_per_leak += G[j] * of_start
        G[j] = per_leak * of_start + curvature * g_u1 - g_end
    g_c[k, CURVATURE] += g_curvature
    g_c[k, LEAK] -= g_per_leak * per_leak * per_leak


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _around_spikes(
    k, spikes, excitability, n_bins, n_history, start, stop, edges, release, h_unseen, decay, decay_slope, c, x, g_x,
    with_gradient, g_edges, g_release, g_h_unseen, g_c,
):  # fmt: skip
    """Log p of the spikes, of the bins before the first one and of refractoriness, less what `_hazards` has for them.

    Sets g_x where a released neuron fires; elsewhere it adds to the gradients at once.
    """
    r = int(c[k, REFRACTORY])
    locked = r if c[k, WEIGHT_A] == 0.0 else r - 1  # ages at which a neuron cannot fire
    contamination = CONTAMINATION_RATE * c[k, BIN_SIZE]
    first_spike = spikes[0] if spikes.size else n_bins
    log_p = 0.0
    for t in range(start, min(first_spike, stop)):
        log_p += excitability * math.log1p(-min(h_unseen[k, t], CERTAINTY))
        if with_gradient and h_unseen[k, t] < CERTAINTY:
            g_h_unseen[k, t] -= excitability / (1.0 - h_unseen[k, t])
    if start <= first_spike < stop:
        quiet = -excitability * math.log1p(-min(h_unseen[k, first_spike], CERTAINTY))  # -log p of silence
        log_p += math.log(max(-math.expm1(-quiet), contamination))
        if with_gradient and -math.expm1(-quiet) > contamination and h_unseen[k, first_spike] < CERTAINTY:
            g_h_unseen[k, first_spike] += excitability / (math.expm1(quiet) * (1.0 - h_unseen[k, first_spike]))
    for i in range(_first_to_look_at(spikes, start), spikes.size):
        birth = spikes[i]
        if birth >= stop:
            break
        end = spikes[i + 1] if i + 1 < spikes.size else n_bins
        for t in range(max(birth + 1, start), min(birth + r + 2, end + 1, stop)):
            row = t - start
            fires = t == end
            if t - birth <= locked:
                log_p += log_one_minus_exp(contamination) if fires else -contamination
                continue
            H_0, H_1, mu, L_a = edges[H_START, k, row], edges[H_END, k, row], edges[MU, k, row], edges[L_A, k, row]
            at_release = release[k, n_history + min(birth + int(c[k, RELEASE]), n_bins - 1)]
            here, at_release, L_b = _newborn(k, t - birth, at_release, H_0, H_1, mu, L_a, decay[0], c)
            here *= excitability
            log_p += log_one_minus_exp(here) if fires else -here
            if with_gradient:
                _newborn_gradient(
                    k, birth, t, n_history, at_release, H_0, mu, L_a, L_b, decay[0], decay_slope[0], c,
                    excitability * (1.0 / math.expm1(here) if fires else -1.0), row, g_edges, g_release, g_c,
                )  # fmt: skip
        if end < stop and end > birth + r + 1 and end >= start:
            here = excitability * x[end - start]
            log_p += log_one_minus_exp(here) + here
            g_x[end - start] = excitability / math.expm1(here)
    return log_p


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _newborn(k, age, at_release, H_start, H_end, mu, L_a, decay, c):
    """x of a neuron of age r or r + 1, its potential at release, and its hazard at the end of age r + 1.

    `at_release` is its potential at the release, or whatever if that is in this very bin; `L_a` the hazard at the end
    of age r (see `mesoscopic`).
    """
    if age == int(c[k, REFRACTORY]):
        return c[k, WEIGHT_A] * L_a, 0.0, 0.0
    if int(c[k, RELEASE]) > int(c[k, REFRACTORY]):  # released in this bin
        H = H_start + c[k, OFFSET]
        at_release = H + c[k, RELEASE_SLOPE] * (mu - H)
    L_b = integrated_hazard(H_end - decay * at_release)
    return c[k, WEIGHT_B_START] * L_a + c[k, WEIGHT_B_END] * L_b, at_release, L_b


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _newborn_gradient(
    k, birth, t, n_history, at_release, H_start, mu, L_a, L_b, decay, decay_slope, c, g_x, row, g_edges, g_release, g_c
):
    """Adjoint of `_newborn`, from what it has returned; adds to the arrays."""
    youngest = t - birth == int(c[k, REFRACTORY])
    g_u = g_x * (c[k, WEIGHT_A] if youngest else c[k, WEIGHT_B_START]) * min(L_a, LARGEST_CURVED_HAZARD)
    g_edges[MU, k, row] += g_u * (1.0 - c[k, YOUNG])
    g_c[k, YOUNG] -= g_u * mu
    g_c[k, OFFSET] -= g_u
    if youngest:
        return
    g_u = g_x * c[k, WEIGHT_B_END] * min(L_b, LARGEST_CURVED_HAZARD)
    g_edges[H_END, k, row] += g_u
    g_at_release = -g_u * decay
    g_c[k, LEAK] -= g_u * decay_slope * at_release
    if int(c[k, RELEASE]) > int(c[k, REFRACTORY]):
        slope = c[k, RELEASE_SLOPE]
        g_edges[H_START, k, row] += g_at_release * (1.0 - slope)
        g_c[k, OFFSET] += g_at_release * (1.0 - slope)  # H = H_start + offset
        g_edges[MU, k, row] += g_at_release * slope
        g_c[k, RELEASE_SLOPE] += g_at_release * (mu - H_start - c[k, OFFSET])
    else:
        g_release[k, n_history + birth + int(c[k, RELEASE])] += g_at_release
