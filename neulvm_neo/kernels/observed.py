"""Likelihood of recorded neurons given their population's potential, and its adjoint.

Part a of Wang et al. 2022, App. B, with the hazard of `mesoscopic` integrated over each bin.

A neuron that last fired in bin s is one of the cohort s, and its hazard in a bin is that cohort's; before its first
recorded spike it is any of the neurons that have not fired since the recording began (probability `h_unseen`, see
`mesoscopic.forward`), so its unknown age at the start is integrated out.

Works on a stretch [start, stop) of bins. Arrays of a stretch belong to one population and begin at `start`: `H` at the
left edges of the bins and `H_end` as predicted for their right edges, both less ϑ - ln Δt; `a0` and `a1`, the slopes of
the potential times the curvature; `mu`, where the membrane is heading. `release` begins with bin 0 and holds the
potential at the release of the cohorts, by the bin of the release.
"""

import math

import numpy as np
from numba import njit

from .elementary import LARGEST_CURVED_HAZARD, integrated_hazard, log_one_minus_exp
from .mesoscopic import _FAST, predicted_end, tilt
from .mesoscopic_adjoint import minus_tilt_slope

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


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def _integrated(H_start, H_end, a0, a1, decay, release, curvature, per_leak, w0, w1):
    """Σ x over bins of ages above r + 1. Arrays (count,)."""
    total = 0.0
    for j in range(decay.size):
        G = decay[j] * release
        total += w0 * integrated_hazard(H_start[j] - per_leak * G) * tilt(-a0[j] - curvature * per_leak * G)
        total += w1 * integrated_hazard(H_end[j] - G) * tilt(a1[j] + curvature * G)
    return total


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def _integrated_adjoint(
    H_start, H_end, a0, a1, decay, decay_slope, release, curvature, per_leak, w0, w1, g_x,
    g_H_start, g_H_end, g_a0, g_a1,
):  # fmt: skip
    """Adjoint of `_integrated` times `g_x`.

    Adds to the arrays; returns the gradients of release, curvature, per_leak and of the leak in `decay`.
    """
    g_release, g_curvature, g_per_leak, g_leak = 0.0, 0.0, 0.0, 0.0
    for j in range(decay.size):
        G = decay[j] * release
        u0, u1 = a0[j] + curvature * per_leak * G, a1[j] + curvature * G
        L_start, L_end = integrated_hazard(H_start[j] - per_leak * G), integrated_hazard(H_end[j] - G)
        g_start = g_x * w0 * tilt(-u0) * min(L_start, LARGEST_CURVED_HAZARD)
        g_end = g_x * w1 * tilt(u1) * min(L_end, LARGEST_CURVED_HAZARD)
        g_u0 = g_x * w0 * L_start * minus_tilt_slope(-u0)
        g_u1 = -g_x * w1 * L_end * minus_tilt_slope(u1)
        of_start = curvature * g_u0 - g_start  # gradient of G(t)
        of_end = curvature * g_u1 - g_end  # gradient of G(t+1)
        g_G = per_leak * of_start + of_end
        g_H_start[j] += g_start
        g_H_end[j] += g_end
        g_a0[j] += g_u0
        g_a1[j] += g_u1
        g_release += g_G * decay[j]
        g_curvature += G * (per_leak * g_u0 + g_u1)
        g_per_leak += G * of_start
        g_leak += g_G * decay_slope[j] * release
    return g_release, g_curvature, g_per_leak, g_leak


@njit(cache=True, error_model="numpy", nogil=True)
def _newborn(k, birth, t, release, H_start, H_end, mu, decay, step):
    """x of a neuron in bin t of age r or r + 1, its potential at release, and its hazards (see `mesoscopic`).

    `H_start`, `H_end` and `mu` are those of bin t.
    """
    offset = step.log_hazard_offset[k]
    L_a = integrated_hazard((1.0 - step.leak[k] ** step.young_power[k]) * mu - offset)
    if t - birth == step.refractory_bins[k]:
        return step.weight_a[k] * L_a, 0.0, L_a, 0.0
    if step.release_bins[k] > step.refractory_bins[k]:  # released in this bin
        H = H_start + offset
        at_release = H + step.release_slope[k] * (mu - H)
    else:
        at_release = release[birth + step.release_bins[k]]
    L_b = integrated_hazard(H_end - decay * at_release)
    return step.weight_b_start[k] * L_a + step.weight_b_end[k] * L_b, at_release, L_a, L_b


@njit(cache=True, error_model="numpy", nogil=True)
def _newborn_adjoint(
    k, birth, t, release, H_start, H_end, mu, decay, decay_slope, step, g_x,
    row, g_H_start, g_H_end, g_mu, g_release, g_step,
):  # fmt: skip
    """Adjoint of `_newborn`; adds to the arrays and to g_step."""
    offset, power, leak = step.log_hazard_offset[k], step.young_power[k], step.leak[k]
    x, at_release, L_a, L_b = _newborn(k, birth, t, release, H_start, H_end, mu, decay, step)
    youngest = t - birth == step.refractory_bins[k]
    g_u = g_x * (step.weight_a[k] if youngest else step.weight_b_start[k]) * min(L_a, LARGEST_CURVED_HAZARD)
    g_mu[row] += g_u * (1.0 - leak**power)
    g_step.leak[k] -= g_u * mu * power * leak ** (power - 1.0)
    g_step.log_hazard_offset[k] -= g_u
    if youngest:
        return
    g_u = g_x * step.weight_b_end[k] * min(L_b, LARGEST_CURVED_HAZARD)
    g_H_end[row] += g_u
    g_at_release = -g_u * decay
    g_step.leak[k] -= g_u * decay_slope * at_release
    if step.release_bins[k] > step.refractory_bins[k]:
        slope = step.release_slope[k]
        g_H_start[row] += g_at_release * (1.0 - slope)
        g_step.log_hazard_offset[k] += g_at_release * (1.0 - slope)  # H = H_start + offset
        g_mu[row] += g_at_release * slope
        g_step.release_slope[k] += g_at_release * (mu - H_start - offset)
    else:
        g_release[birth + step.release_bins[k]] += g_at_release


@njit(cache=True, error_model="numpy", nogil=True)
def forward(k, spikes, n_bins, start, stop, H_start, H_end, a0, a1, mu, release, h_unseen, decay, step):
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
    r = step.refractory_bins[k]
    locked = r if step.weight_a[k] == 0.0 else r - 1  # ages at which a neuron cannot fire
    curvature, per_leak, w0, w1 = step.curvature[k], 1.0 / step.leak[k], step.weight_start, step.weight_end
    contamination = CONTAMINATION_RATE * step.bin_size
    nothing = np.zeros(stop - start)
    log_p = 0.0
    first_spike = spikes[0] if spikes.size else n_bins
    for t in range(start, min(first_spike, stop)):
        log_p += math.log1p(-min(h_unseen[t], CERTAINTY))
    if start <= first_spike < min(stop, n_bins):
        log_p += math.log(max(h_unseen[first_spike], contamination))
    for i in range(max(np.searchsorted(spikes, start) - 1, 0), spikes.size):
        birth = spikes[i]
        if birth >= stop:
            break
        end = spikes[i + 1] if i + 1 < spikes.size else n_bins
        low, high = max(birth + 1, start), min(end, stop)
        fires = start <= end < min(stop, n_bins)
        log_p -= contamination * max(min(birth + locked + 1, high) - low, 0)
        if fires and end <= birth + locked:
            log_p += log_one_minus_exp(contamination)
        for t in range(max(birth + locked + 1, low), min(birth + r + 2, high + 1)):
            if t < high or fires:
                row = t - start
                x, _, _, _ = _newborn(k, birth, t, release, H_start[row], H_end[row], mu[row], decay[0], step)
                log_p += log_one_minus_exp(x) if t == end else -x
        origin = birth + r + 1  # where the table of decays begins
        edge = origin + decay.size
        at_release = release[min(birth + step.release_bins[k], n_bins - 1)]
        for part in range(2):
            if part == 0:
                lo, hi, stays = max(origin + 1, low), min(edge, high), True
            else:
                lo, hi, stays = max(edge, low), high, False
            if lo < hi:
                left = decay[lo - origin : hi - origin] if stays else nothing[: hi - lo]
                here = slice(lo - start, hi - start)
                log_p -= _integrated(
                    H_start[here], H_end[here], a0[here], a1[here], left, at_release, curvature, per_leak, w0, w1
                )
        if fires and end > birth + r + 1:
            here = slice(end - start, end - start + 1)
            left = decay[end - origin : end - origin + 1] if end < edge else nothing[:1]
            log_p += log_one_minus_exp(
                _integrated(H_start[here], H_end[here], a0[here], a1[here], left, at_release, curvature, per_leak, w0, w1)
            )
    return log_p


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint(
    k, spikes, n_bins, start, stop, H_start, H_end, a0, a1, mu, release, h_unseen, decay, decay_slope, step,
    g_H_start, g_H_end, g_a0, g_a1, g_mu, g_release, g_h_unseen, g_step,
):  # fmt: skip
    """Gradient of `forward`: adds to every ``g_``."""
    r = step.refractory_bins[k]
    locked = r if step.weight_a[k] == 0.0 else r - 1
    curvature, per_leak, w0, w1 = step.curvature[k], 1.0 / step.leak[k], step.weight_start, step.weight_end
    nothing = np.zeros(stop - start)
    first_spike = spikes[0] if spikes.size else n_bins
    for t in range(start, min(first_spike, stop)):
        if h_unseen[t] < CERTAINTY:
            g_h_unseen[t] -= 1.0 / (1.0 - h_unseen[t])
    if start <= first_spike < min(stop, n_bins) and h_unseen[first_spike] > CONTAMINATION_RATE * step.bin_size:
        g_h_unseen[first_spike] += 1.0 / h_unseen[first_spike]
    for i in range(max(np.searchsorted(spikes, start) - 1, 0), spikes.size):
        birth = spikes[i]
        if birth >= stop:
            break
        end = spikes[i + 1] if i + 1 < spikes.size else n_bins
        low, high = max(birth + 1, start), min(end, stop)
        fires = start <= end < min(stop, n_bins)
        for t in range(max(birth + locked + 1, low), min(birth + r + 2, high + 1)):
            if t < high or fires:
                row = t - start
                x, _, _, _ = _newborn(k, birth, t, release, H_start[row], H_end[row], mu[row], decay[0], step)
                _newborn_adjoint(
                    k, birth, t, release, H_start[row], H_end[row], mu[row], decay[0], decay_slope[0], step,
                    1.0 / math.expm1(x) if t == end else -1.0, row, g_H_start, g_H_end, g_mu, g_release, g_step,
                )  # fmt: skip
        origin = birth + r + 1
        edge = origin + decay.size
        released_in = min(birth + step.release_bins[k], n_bins - 1)
        at_release = release[released_in]
        for part in range(3):
            g_x = -1.0
            if part == 0:
                lo, hi, stays = max(origin + 1, low), min(edge, high), True
            elif part == 1:
                lo, hi, stays = max(edge, low), high, False
            else:
                lo, hi, stays = end, end + (1 if fires and end > birth + r + 1 else 0), end < edge
            if lo >= hi:
                continue
            here = slice(lo - start, hi - start)
            left, left_slope = nothing[: hi - lo], nothing[: hi - lo]
            if stays:
                left, left_slope = decay[lo - origin : hi - origin], decay_slope[lo - origin : hi - origin]
            if part == 2:
                x = _integrated(
                    H_start[here], H_end[here], a0[here], a1[here], left, at_release, curvature, per_leak, w0, w1
                )
                g_x = 1.0 / math.expm1(x)
            of_release, of_curvature, of_per_leak, of_leak = _integrated_adjoint(
                H_start[here], H_end[here], a0[here], a1[here], left, left_slope, at_release, curvature, per_leak,
                w0, w1, g_x, g_H_start[here], g_H_end[here], g_a0[here], g_a1[here],
            )  # fmt: skip
            g_release[released_in] += of_release
            g_step.curvature[k] += of_curvature
            g_step.leak[k] += of_leak - of_per_leak * per_leak * per_leak
