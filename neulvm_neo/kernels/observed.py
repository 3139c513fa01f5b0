"""Likelihood of recorded neurons given their population's never-reset potential, and its adjoint.

Part a of Wang et al. 2022, App. B.

A neuron that last fired in bin s has the potential H(t) - γ^(t-s-r) H(s+r); before its first recorded spike it is any
of the neurons that have not fired since the recording began (probability `h_unseen`, see `mesoscopic.forward`), so its
unknown age at the start is
integrated out.
"""

import math

import numpy as np
from numba import njit

from .elementary import integrated_hazard, integrated_hazard_slope, log_one_minus_exp
from .mesoscopic import _FAST

# A spike inside the absolute refractory period is impossible in the model but happens in recordings (multi-unit
# activity, sorting errors). It is given this rate (Hz), which is also the least rate of a first spike: a constant
# penalty of ln(1e-3 Δt) per such spike, and 1e-3 nats per second of refractory time.
CONTAMINATION_RATE = 1e-3
# A neuron not seen yet never fires for certain: its log-likelihood stays finite however wrong the parameters are.
CERTAINTY = 1.0 - 1e-9


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def _silence(H, decay, H_release, offset):
    """Σ x over silent bins with potentials H - decay · H_release."""
    total = 0.0
    for j in range(H.size):
        total += integrated_hazard(H[j] - offset - decay[j] * H_release)
    return total


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def _silence_adjoint(H, decay, decay_slope, H_release, offset, g_H):
    """Gradient of -`_silence`: adds to g_H.

    Returns the sums of g_u and g_u · d(potential)/d(leak), and the gradient of H_release.
    """
    total = 0.0
    total_leak = 0.0
    g_release = 0.0
    for j in range(H.size):
        g_u = -integrated_hazard_slope(H[j] - offset - decay[j] * H_release)
        g_H[j] += g_u
        g_release -= g_u * decay[j]
        total += g_u
        total_leak -= g_u * decay_slope[j] * H_release
    return total, total_leak, g_release


@njit(cache=True, error_model="numpy", nogil=True)
def powers(leak, length):
    """γ^k for k = 0 … length - 1, and its derivative with respect to γ."""
    decay = np.empty(length)
    slope = np.empty(length)
    decay[0] = 1.0
    slope[0] = 0.0
    for k in range(1, length):
        decay[k] = decay[k - 1] * leak
        slope[k] = k * decay[k - 1]
    return decay, slope


@njit(cache=True, error_model="numpy", nogil=True)
def forward(spikes, n_bins, H, h_unseen, leak, offset, r, bin_size):
    """log p of one neuron's spikes.

    Parameters
    ----------
    spikes : (n_spikes,) int
        Bins with a spike, increasing.
    H : (n_bins,)
        Never-reset potential of its population, history excluded.
    """
    log_p = 0.0
    decay, _ = powers(leak, n_bins + 1)
    first_spike = spikes[0] if spikes.size else n_bins
    contamination = CONTAMINATION_RATE * bin_size
    for t in range(first_spike):
        log_p += math.log1p(-min(h_unseen[t], CERTAINTY))
    if spikes.size:
        log_p += math.log(max(h_unseen[first_spike], contamination))
    for i in range(spikes.size):
        birth = spikes[i]
        end = spikes[i + 1] if i + 1 < spikes.size else n_bins
        free_from = birth + r + 1
        log_p -= contamination * (min(free_from, end) - birth - 1)
        if free_from < end:
            log_p -= _silence(H[free_from:end], decay[1 : end - birth - r], H[birth + r], offset)
        if end < n_bins:
            if end < free_from:
                log_p += log_one_minus_exp(contamination)
            else:
                log_p += log_one_minus_exp(integrated_hazard(H[end] - offset - decay[end - birth - r] * H[birth + r]))
    return log_p


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint(spikes, n_bins, H, h_unseen, leak, offset, r, bin_size, g_H, g_h_unseen, g_scalars):
    """Gradient of `forward`: adds to g_H, g_h_unseen (n_bins,) and to g_scalars (offset, leak)."""
    decay, decay_slope = powers(leak, n_bins + 1)
    first_spike = spikes[0] if spikes.size else n_bins
    for t in range(first_spike):
        if h_unseen[t] < CERTAINTY:
            g_h_unseen[t] -= 1.0 / (1.0 - h_unseen[t])
    if spikes.size and h_unseen[first_spike] > CONTAMINATION_RATE * bin_size:
        g_h_unseen[first_spike] += 1.0 / h_unseen[first_spike]
    for i in range(spikes.size):
        birth = spikes[i]
        end = spikes[i + 1] if i + 1 < spikes.size else n_bins
        free_from = birth + r + 1
        if free_from < end:
            total, total_leak, g_release = _silence_adjoint(
                H[free_from:end],
                decay[1 : end - birth - r],
                decay_slope[1 : end - birth - r],
                H[birth + r],
                offset,
                g_H[free_from:end],
            )
            g_H[birth + r] += g_release
            g_scalars[0] -= total
            g_scalars[1] += total_leak
        if end < n_bins and end >= free_from:
            base = birth + r
            u = H[end] - offset - decay[end - base] * H[base]
            x = integrated_hazard(u)
            g_u = integrated_hazard_slope(u) / math.expm1(x)
            g_H[end] += g_u
            g_H[base] -= g_u * decay[end - base]
            g_scalars[0] -= g_u
            g_scalars[1] -= g_u * decay_slope[end - base] * H[base]
