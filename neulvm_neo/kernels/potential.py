"""Never-reset potential H of every population from the spike counts: forward sweep and its adjoint.

Arrays are (n_populations, n_bins), population first, so that later loops over cohorts are contiguous. Bins 0 …
n_history - 1 are the history.
"""

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def forward(
    n,
    stimulus,
    leak,
    drive_gain,
    synaptic_gain,
    synaptic_decay,
    J,
    u_rest,
    delay_bins,
    n_neurons,
    bin_size,
    filtered,
    H,
):
    """Fill `filtered` (I, Hz) and `H` (mV), both (K, L).

    I_b ← e_b I_b + (1 - e_b) A_b(t - 1 - d_b);   H_a ← γ_a H_a + g_a (U_a + R I_a) + c_a Σ_b J_ab I_b   (Wang et al.
    2022, eq. 5, never reset). Before the first bin the network rests at the fixed point of the first history bin.
    """
    K, L = n.shape
    previous_I = np.empty(K)
    previous_H = np.empty(K)
    for b in range(K):
        previous_I[b] = n[b, 0] / (n_neurons[b] * bin_size)
    for a in range(K):
        current = 0.0
        for b in range(K):
            current += J[a, b] * previous_I[b]
        previous_H[a] = (drive_gain[a] * (u_rest[a] + stimulus[a, 0]) + synaptic_gain[a] * current) / (1.0 - leak[a])
    for t in range(L):
        for b in range(K):
            source = max(t - 1 - delay_bins[b], 0)
            activity = n[b, source] / (n_neurons[b] * bin_size)
            previous_I[b] = synaptic_decay[b] * previous_I[b] + (1.0 - synaptic_decay[b]) * activity
            filtered[b, t] = previous_I[b]
        for a in range(K):
            current = 0.0
            for b in range(K):
                current += J[a, b] * previous_I[b]
            previous_H[a] = (
                leak[a] * previous_H[a] + drive_gain[a] * (u_rest[a] + stimulus[a, t]) + synaptic_gain[a] * current
            )
            H[a, t] = previous_H[a]


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint(
    n,
    stimulus,
    leak,
    drive_gain,
    synaptic_gain,
    synaptic_decay,
    J,
    u_rest,
    delay_bins,
    n_neurons,
    bin_size,
    filtered,
    H,
    g_H,
    g_n,
    g_stimulus,
    g_leak,
    g_drive_gain,
    g_synaptic_gain,
    g_synaptic_decay,
    g_J,
    g_u_rest,
):
    """Reverse sweep of `forward`: from `g_H` (K, L) add to every other ``g_``."""
    K, L = n.shape
    carry_H = np.zeros(K)
    carry_I = np.zeros(K)
    first_I = np.empty(K)
    for b in range(K):
        first_I[b] = n[b, 0] / (n_neurons[b] * bin_size)
    for t in range(L - 1, -1, -1):
        for a in range(K):
            g = g_H[a, t] + leak[a] * carry_H[a]
            carry_H[a] = g
            if t > 0:
                previous_H = H[a, t - 1]
            else:
                current = 0.0
                for b in range(K):
                    current += J[a, b] * first_I[b]
                previous_H = (drive_gain[a] * (u_rest[a] + stimulus[a, 0]) + synaptic_gain[a] * current) / (
                    1.0 - leak[a]
                )
            g_leak[a] += g * previous_H
            g_drive_gain[a] += g * (u_rest[a] + stimulus[a, t])
            g_u_rest[a] += g * drive_gain[a]
            g_stimulus[a, t] += g * drive_gain[a]
            current = 0.0
            for b in range(K):
                current += J[a, b] * filtered[b, t]
                g_J[a, b] += g * synaptic_gain[a] * filtered[b, t]
            g_synaptic_gain[a] += g * current
        for b in range(K):
            g = synaptic_decay[b] * carry_I[b]
            for a in range(K):
                g += carry_H[a] * synaptic_gain[a] * J[a, b]
            carry_I[b] = g
            source = max(t - 1 - delay_bins[b], 0)
            activity = n[b, source] / (n_neurons[b] * bin_size)
            previous_I = filtered[b, t - 1] if t > 0 else first_I[b]
            g_synaptic_decay[b] += g * (previous_I - activity)
            g_n[b, source] += g * (1.0 - synaptic_decay[b]) / (n_neurons[b] * bin_size)
    # the resting state before the first bin
    for b in range(K):
        carry_I[b] *= synaptic_decay[b]
    for a in range(K):
        rest = 1.0 / (1.0 - leak[a])
        g = leak[a] * carry_H[a] * rest
        current = 0.0
        for b in range(K):
            current += J[a, b] * first_I[b]
            g_J[a, b] += g * synaptic_gain[a] * first_I[b]
            carry_I[b] += g * synaptic_gain[a] * J[a, b]
        drive = u_rest[a] + stimulus[a, 0]
        g_synaptic_gain[a] += g * current
        g_drive_gain[a] += g * drive
        g_u_rest[a] += g * drive_gain[a]
        g_stimulus[a, 0] += g * drive_gain[a]
        g_leak[a] += g * (drive_gain[a] * drive + synaptic_gain[a] * current) * rest
    for b in range(K):
        g_n[b, 0] += carry_I[b] / (n_neurons[b] * bin_size)
