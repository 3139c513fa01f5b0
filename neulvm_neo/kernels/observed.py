"""Likelihood of recorded neurons given their population's potential, and its adjoint.

Part a of Wang et al. 2022, App. B, with the hazard of `mesoscopic` integrated over each bin.

A neuron that last fired in bin s is one of the cohort s, and its hazard in a bin is that cohort's; before its first
recorded spike it is any of the neurons that have not fired since the recording began (probability `h_unseen`, see
`mesoscopic.forward`), so its unknown age at the start is integrated out.

Works on a stretch [start, stop) of bins. Arrays of a stretch belong to one population and begin at `start`: `H` at the
left edges of the bins and `H_end` as predicted for their right edges, both less ϑ - ln Δt; `a0` and `a1`, the slopes of
the potential times the curvature; `mu`, where the membrane is heading. `release` begins with bin 0 and holds the
potential at the release of the cohorts, by the bin of the release. `c` are `mesoscopic.constants`, `g_c` their
gradients.
"""

import math

import numpy as np
from numba import njit

from .elementary import LARGEST_CURVED_HAZARD, integrated_hazard, log_one_minus_exp
from .mesoscopic import (
    _FAST,
    BIN_SIZE,
    CURVATURE,
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
    predicted_end,
)  # fmt: skip

# A spike inside the absolute refractory period is impossible in the model but happens in recordings (multi-unit
# activity, sorting errors). It is given this rate (Hz), which is also the least rate of a first spike: a constant
# penalty of ln(1e-3 Δt) per such spike, and 1e-3 nats per second of refractory time.
CONTAMINATION_RATE = 1e-3
# A neuron not seen yet never fires for certain: its log-likelihood stays finite however wrong the parameters are.
CERTAINTY = 1.0 - 1e-9
# So many membrane time constants after a spike nothing is left of the reset (exp(-45) of it).
FORGOTTEN = 45.0


@njit(cache=True, error_model="numpy", nogil=True)
def potentials(k, start, stop, stimulus, drive, H, surprise, step, H_start, H_end, a0, a1, mu):
    """Fill the arrays of a stretch from those of the whole trial (see `mesoscopic.forward`)."""
    offset, curvature = step.log_hazard_offset[k], step.curvature[k]
    for t in range(start, stop):
        row = t - start
        external = step.u_rest[k] + stimulus[k, t]
        mu[row] = external + step.tau_m[k] * drive[k, t]
        gap_end = external + step.tau_m[k] * drive[k, t + 1] - H[k, t + 1]
        end, gap_end = predicted_end(k, t, H[k, t + 1], gap_end, surprise, step.feedback, step.feedback_gap)
        H_start[row], H_end[row] = H[k, t] - offset, end - offset
        a0[row], a1[row] = curvature * (mu[row] - H[k, t]), curvature * gap_end


@njit(cache=True, error_model="numpy", nogil=True)
def potentials_adjoint(
    k, start, stop, stimulus, drive, H, surprise, step, a0, a1, mu, g_H_start, g_H_stop, g_a0, g_a1, g_mu,
    g_H_end, g_gap_end, g_stimulus, g_drive, g_H, g_step,
):  # fmt: skip
    """Adjoint of `potentials`; what concerns the end of a bin is left to `mesoscopic_adjoint` in g_H_end, g_gap_end."""
    curvature = step.curvature[k]
    for t in range(start, stop):
        row = t - start
        g = g_mu[row] + g_a0[row] * curvature
        g_H_end[k, row] += g_H_stop[row]
        g_gap_end[k, row] += g_a1[row] * curvature
        g_H[k, t] += g_H_start[row] - g_a0[row] * curvature
        g_drive[k, t] += g * step.tau_m[k]
        g_stimulus[k, t] += g
        g_step.tau_m[k] += g * drive[k, t]
        g_step.u_rest[k] += g
        g_step.log_hazard_offset[k] -= g_H_start[row] + g_H_stop[row]
        if curvature > 0.0:
            g_step.curvature[k] += (g_a0[row] * a0[row] + g_a1[row] * a1[row]) / curvature


@njit(cache=True, error_model="numpy", nogil=True)
def decay_since_release(k, step):
    """γ^(age - origin) for ages r + 1, r + 2, … until the reset is forgotten, and its derivative by γ."""
    leak = step.leak[k]
    first = step.refractory_bins[k] + 1 - step.decay_origin[k]
    length = int(-FORGOTTEN / math.log(leak)) + 3
    decay, slope = np.empty(length), np.empty(length)
    for j in range(length):
        decay[j] = leak ** (first + j)
        slope[j] = (first + j) * leak ** (first + j - 1.0)
    return decay, slope


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def _hazards(count, H_start, H_end, a0, a1, G, curvature, per_leak, w0, w1, x):
    """x of every bin for a neuron whose potential lacks G (count,) of H at the end of the bin."""
    for j in range(count):
        u0, u1 = a0[j] + curvature * per_leak * G[j], a1[j] + curvature * G[j]
        D0, D1 = 1.0 - u0 + u0 * u0, 1.0 + u1 + u1 * u1
        start, end = w0 * integrated_hazard(H_start[j] - per_leak * G[j]), w1 * integrated_hazard(H_end[j] - G[j])
        x[j] = (start * D1 + end * D0) / (D0 * D1)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def _hazards_adjoint(
    count, H_start, H_end, a0, a1, G, curvature, per_leak, w0, w1, g_x, g_H_start, g_H_end, g_a0, g_a1, g_G
):  # fmt: skip
    """Adjoint of `_hazards`: adds to the arrays, fills g_G; returns the gradients of curvature and per_leak."""
    g_curvature, g_per_leak = 0.0, 0.0
    for j in range(count):
        u0, u1 = a0[j] + curvature * per_leak * G[j], a1[j] + curvature * G[j]
        D0, D1 = 1.0 - u0 + u0 * u0, 1.0 + u1 + u1 * u1
        inverse = 1.0 / (D0 * D1)
        tilt_start, tilt_end = D1 * inverse, D0 * inverse
        L_start, L_end = integrated_hazard(H_start[j] - per_leak * G[j]), integrated_hazard(H_end[j] - G[j])
        g_start = g_x[j] * w0 * tilt_start * min(L_start, LARGEST_CURVED_HAZARD)
        g_end = g_x[j] * w1 * tilt_end * min(L_end, LARGEST_CURVED_HAZARD)
        g_u0 = g_x[j] * w0 * L_start * (1.0 - 2.0 * u0) * tilt_start * tilt_start
        g_u1 = -g_x[j] * w1 * L_end * (1.0 + 2.0 * u1) * tilt_end * tilt_end
        of_start = curvature * g_u0 - g_start  # gradient of G(t)
        g_H_start[j] += g_start
        g_H_end[j] += g_end
        g_a0[j] += g_u0
        g_a1[j] += g_u1
        g_G[j] = per_leak * of_start + curvature * g_u1 - g_end
        g_curvature += G[j] * (per_leak * g_u0 + g_u1)
        g_per_leak += G[j] * of_start
    return g_curvature, g_per_leak


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _newborn(k, birth, t, release, H_start, H_end, mu, decay, c):
    """x of a neuron in bin t of age r or r + 1, its potential at release, and its hazards (see `mesoscopic`).

    `H_start`, `H_end` and `mu` are those of bin t.
    """
    offset = c[k, OFFSET]
    L_a = integrated_hazard((1.0 - c[k, YOUNG]) * mu - offset)
    if t - birth == int(c[k, REFRACTORY]):
        return c[k, WEIGHT_A] * L_a, 0.0, L_a, 0.0
    if int(c[k, RELEASE]) > int(c[k, REFRACTORY]):  # released in this bin
        H = H_start + offset
        at_release = H + c[k, RELEASE_SLOPE] * (mu - H)
    else:
        at_release = release[birth + int(c[k, RELEASE])]
    L_b = integrated_hazard(H_end - decay * at_release)
    return c[k, WEIGHT_B_START] * L_a + c[k, WEIGHT_B_END] * L_b, at_release, L_a, L_b


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _newborn_adjoint(
    k, birth, t, release, H_start, H_end, mu, decay, decay_slope, c, g_x,
    row, g_H_start, g_H_end, g_mu, g_release, g_c,
):  # fmt: skip
    """Adjoint of `_newborn`; adds to the arrays."""
    offset = c[k, OFFSET]
    x, at_release, L_a, L_b = _newborn(k, birth, t, release, H_start, H_end, mu, decay, c)
    youngest = t - birth == int(c[k, REFRACTORY])
    g_u = g_x * (c[k, WEIGHT_A] if youngest else c[k, WEIGHT_B_START]) * min(L_a, LARGEST_CURVED_HAZARD)
    g_mu[row] += g_u * (1.0 - c[k, YOUNG])
    g_c[k, YOUNG] -= g_u * mu
    g_c[k, OFFSET] -= g_u
    if youngest:
        return
    g_u = g_x * c[k, WEIGHT_B_END] * min(L_b, LARGEST_CURVED_HAZARD)
    g_H_end[row] += g_u
    g_at_release = -g_u * decay
    g_c[k, LEAK] -= g_u * decay_slope * at_release
    if int(c[k, RELEASE]) > int(c[k, REFRACTORY]):
        slope = c[k, RELEASE_SLOPE]
        g_H_start[row] += g_at_release * (1.0 - slope)
        g_c[k, OFFSET] += g_at_release * (1.0 - slope)  # H = H_start + offset
        g_mu[row] += g_at_release * slope
        g_c[k, RELEASE_SLOPE] += g_at_release * (mu - H_start - offset)
    else:
        g_release[birth + int(c[k, RELEASE])] += g_at_release


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _walk(k, spikes, n_bins, start, stop, release, decay, c, age, G):
    """Age (0 before the first recorded spike) and missing potential G of a neuron in the bins [start, stop).

    G is 0 where the neuron is not yet released, or the reset forgotten.
    """
    r, R = int(c[k, REFRACTORY]), int(c[k, RELEASE])
    first_spike = spikes[0] if spikes.size else n_bins
    for t in range(start, min(first_spike + 1, stop)):
        age[t - start], G[t - start] = 0, 0.0
    for i in range(max(np.searchsorted(spikes, start) - 1, 0), spikes.size):
        birth = spikes[i]
        if birth >= stop:
            break
        end = spikes[i + 1] if i + 1 < spikes.size else n_bins
        at_release = release[min(birth + R, n_bins - 1)]
        for t in range(max(birth + 1, start), min(end + 1, stop)):
            a = t - birth
            age[t - start] = a
            G[t - start] = decay[a - r - 1] * at_release if 0 < a - r - 1 < decay.size else 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def forward(k, spikes, n_bins, start, stop, H_start, H_end, a0, a1, mu, release, h_unseen, decay, c):
    """log p of one neuron's spikes and silence in the bins [start, stop).

    Parameters
    ----------
    k : int
        Its population.
    spikes : (n_spikes,) int
        Bins with a spike, increasing.
    n_bins : int
        Of the whole trial.
    H_start, H_end, a0, a1, mu : (stop - start,)
        `potentials`.
    release : (n_bins,)
    h_unseen : (at least the bins up to the first spike,)
    decay : (count,)
        `decay_since_release`.
    """
    r = int(c[k, REFRACTORY])
    locked = r if c[k, WEIGHT_A] == 0.0 else r - 1  # ages at which a neuron cannot fire
    contamination = CONTAMINATION_RATE * c[k, BIN_SIZE]
    count = stop - start
    age, G, x = np.empty(count, dtype=np.int64), np.empty(count), np.empty(count)
    _walk(k, spikes, n_bins, start, stop, release, decay, c, age, G)
    _hazards(
        count, H_start, H_end, a0, a1, G, c[k, CURVATURE], 1.0 / c[k, LEAK], c[k, WEIGHT_START], c[k, WEIGHT_END], x
    )
    log_p = 0.0
    i = np.searchsorted(spikes, start)
    for row in range(count):
        t = start + row
        fires = i < spikes.size and spikes[i] == t
        a = age[row]
        if a == 0:
            log_p += math.log(max(h_unseen[t], contamination)) if fires else math.log1p(-min(h_unseen[t], CERTAINTY))
        else:
            if a <= locked:
                x[row] = contamination
            elif a <= r + 1:
                x[row] = _newborn(k, t - a, t, release, H_start[row], H_end[row], mu[row], decay[0], c)[0]
            log_p += log_one_minus_exp(x[row]) if fires else -x[row]
        if fires:
            i += 1
    return log_p


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint(
    k, spikes, n_bins, start, stop, H_start, H_end, a0, a1, mu, release, h_unseen, decay, decay_slope, c,
    g_H_start, g_H_end, g_a0, g_a1, g_mu, g_release, g_h_unseen, g_c,
):  # fmt: skip
    """Gradient of `forward`: adds to every ``g_``."""
    r, R = int(c[k, REFRACTORY]), int(c[k, RELEASE])
    locked = r if c[k, WEIGHT_A] == 0.0 else r - 1
    curvature, per_leak, w0, w1 = c[k, CURVATURE], 1.0 / c[k, LEAK], c[k, WEIGHT_START], c[k, WEIGHT_END]
    count = stop - start
    age, G, x = np.empty(count, dtype=np.int64), np.empty(count), np.empty(count)
    _walk(k, spikes, n_bins, start, stop, release, decay, c, age, G)
    _hazards(count, H_start, H_end, a0, a1, G, curvature, per_leak, w0, w1, x)
    g_x, g_G = np.zeros(count), np.empty(count)
    i = np.searchsorted(spikes, start)
    for row in range(count):
        t = start + row
        fires = i < spikes.size and spikes[i] == t
        if fires:
            i += 1
        a = age[row]
        if a == 0:
            if not fires:
                g_h_unseen[t] -= 1.0 / (1.0 - h_unseen[t]) if h_unseen[t] < CERTAINTY else 0.0
            elif h_unseen[t] > CONTAMINATION_RATE * c[k, BIN_SIZE]:
                g_h_unseen[t] += 1.0 / h_unseen[t]
        elif locked < a <= r + 1:
            H_0, H_1 = H_start[row], H_end[row]
            here = _newborn(k, t - a, t, release, H_0, H_1, mu[row], decay[0], c)[0]
            _newborn_adjoint(
                k, t - a, t, release, H_0, H_1, mu[row], decay[0], decay_slope[0], c,
                1.0 / math.expm1(here) if fires else -1.0, row, g_H_start, g_H_end, g_mu, g_release, g_c,
            )  # fmt: skip
        elif a > r + 1:
            g_x[row] = 1.0 / math.expm1(x[row]) if fires else -1.0
    g_curvature, g_per_leak = _hazards_adjoint(
        count, H_start, H_end, a0, a1, G, curvature, per_leak, w0, w1, g_x, g_H_start, g_H_end, g_a0, g_a1, g_G
    )
    g_leak = -g_per_leak * per_leak * per_leak
    for row in range(count):
        a = age[row]
        if 0 < a - r - 1 < decay.size:
            released_in = min(start + row - a + R, n_bins - 1)
            g_release[released_in] += g_G[row] * decay[a - r - 1]
            g_leak += g_G[row] * decay_slope[a - r - 1] * release[released_in]
    g_c[k, CURVATURE] += g_curvature
    g_c[k, LEAK] += g_leak
