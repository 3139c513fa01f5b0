"""Never-reset potential of every population from the spike counts: forward sweep and its adjoint.

Arrays are (n_populations, …), population first, so that later loops over cohorts are contiguous. Counts `n` and release
potentials `release` are per bin and begin with the bins of the history, `n_history` of them; the filtered activity I
(Hz), the synaptic drive Σ_b J_ab I_b (mV Hz) and the potential H (mV) are per edge and begin with the left edge of bin
0. `step` is a `discretization.Step`, `g_step` one with its gradients.
"""

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def rest(n, stimulus, step, current, H):
    """Fill current[:, 0] and H[:, 0] after the activity has been n[:, 0] and the stimulus stimulus[:, 0] for ever."""
    K = stimulus.shape[0]
    for b in range(K):
        current[b, 0] = n[b, 0] / (step.n_neurons[b] * step.bin_size)
    for k in range(K):
        total = 0.0
        for b in range(K):
            total += step.J[k, b] * current[b, 0]
        H[k, 0] = step.u_rest[k] + stimulus[k, 0] + step.tau_m[k] * total


@njit(cache=True, error_model="numpy", nogil=True)
def forward(n, stimulus, step, n_history, current, drive, H, release):
    """Fill `current`, `drive`, `H` (K, T + 1) and `release` (K, n_history + T); equations in `discretization.Step`.

    current[:, 0] and H[:, 0] are given; before bin 0 the potential has been H[:, 0].
    """
    K, T = stimulus.shape
    J, leak, u_rest, delay_bins = step.J, step.leak, step.u_rest, step.delay_bins
    synaptic_decay, arrive_before, arrive_now = step.synaptic_decay, step.arrive_before, step.arrive_now
    by_current, by_before, by_now = step.by_current, step.by_before, step.by_now
    release_by_current, release_by_before, release_by_now = (
        step.release_by_current, step.release_by_before, step.release_by_now
    )  # fmt: skip
    per_spike = 1.0 / (step.n_neurons * step.bin_size)
    kept = leak**step.release_fraction
    for k in range(K):
        total = 0.0
        for b in range(K):
            total += J[k, b] * current[b, 0]
        drive[k, 0] = total
        release[k, :n_history] = H[k, 0]
    before, now = np.empty(K), np.empty(K)
    for t in range(T):
        for b in range(K):
            last = n_history + t - delay_bins[b]
            before[b] = n[b, max(last - 1, 0)] * per_spike[b]
            now[b] = n[b, max(last, 0)] * per_spike[b]
            current[b, t + 1] = (
                synaptic_decay[b] * current[b, t] + arrive_before[b] * before[b] + arrive_now[b] * now[b]
            )
        for k in range(K):
            external = u_rest[k] + stimulus[k, t]
            at_end = leak[k] * H[k, t] + (1.0 - leak[k]) * external
            at_release = kept[k] * H[k, t] + (1.0 - kept[k]) * external
            total = 0.0
            for b in range(K):
                at_end += by_current[k, b] * current[b, t] + by_before[k, b] * before[b] + by_now[k, b] * now[b]
                at_release += (
                    release_by_current[k, b] * current[b, t]
                    + release_by_before[k, b] * before[b]
                    + release_by_now[k, b] * now[b]
                )
                total += J[k, b] * current[b, t + 1]
            H[k, t + 1] = at_end
            drive[k, t + 1] = total
            release[k, n_history + t] = at_release


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint(n, stimulus, step, n_history, current, drive, H, g_drive, g_H, g_release, g_n, g_stimulus, g_step,
    from_rest,
):  # fmt: skip
    """Reverse sweep of `forward`, and of `rest` if that was its start.

    From `g_drive`, `g_H` (K, T + 1) and `g_release` adds to g_n, g_stimulus and g_step; `g_H` is overwritten.
    """
    K, T = stimulus.shape
    J, leak, u_rest, delay_bins = step.J, step.leak, step.u_rest, step.delay_bins
    synaptic_decay, arrive_before, arrive_now = step.synaptic_decay, step.arrive_before, step.arrive_now
    by_current, by_before, by_now = step.by_current, step.by_before, step.by_now
    release_by_current, release_by_before, release_by_now = (
        step.release_by_current, step.release_by_before, step.release_by_now
    )  # fmt: skip
    g_J, g_leak, g_u_rest = g_step.J, g_step.leak, g_step.u_rest
    g_synaptic_decay, g_arrive_before, g_arrive_now = g_step.synaptic_decay, g_step.arrive_before, g_step.arrive_now
    g_by_current, g_by_before, g_by_now = g_step.by_current, g_step.by_before, g_step.by_now
    g_release_by_current, g_release_by_before, g_release_by_now = (
        g_step.release_by_current, g_step.release_by_before, g_step.release_by_now
    )  # fmt: skip
    per_spike = 1.0 / (step.n_neurons * step.bin_size)
    kept = leak**step.release_fraction
    kept_slope = step.release_fraction * leak ** (step.release_fraction - 1.0)
    carry = np.zeros(K)  # gradient of the filtered activity at the end of the bin
    before, now = np.empty(K), np.empty(K)
    g_before, g_now = np.empty(K), np.empty(K)
    for t in range(T - 1, -1, -1):
        for b in range(K):
            for k in range(K):
                carry[b] += g_drive[k, t + 1] * J[k, b]
                g_J[k, b] += g_drive[k, t + 1] * current[b, t + 1]
            last = n_history + t - delay_bins[b]
            before[b] = n[b, max(last - 1, 0)] * per_spike[b]
            now[b] = n[b, max(last, 0)] * per_spike[b]
            g = carry[b]
            g_synaptic_decay[b] += g * current[b, t]
            g_arrive_before[b] += g * before[b]
            g_arrive_now[b] += g * now[b]
            g_before[b] = g * arrive_before[b]
            g_now[b] = g * arrive_now[b]
            carry[b] = g * synaptic_decay[b]
        for k in range(K):
            external = u_rest[k] + stimulus[k, t]
            g_end, g_at_release = g_H[k, t + 1], g_release[k, n_history + t]
            g_kept = g_at_release * (H[k, t] - external)
            g_external = g_end * (1.0 - leak[k]) + g_at_release * (1.0 - kept[k])
            g_H[k, t] += g_end * leak[k] + g_at_release * kept[k]
            g_leak[k] += g_end * (H[k, t] - external) + g_kept * kept_slope[k]
            g_u_rest[k] += g_external
            g_stimulus[k, t] += g_external
            for b in range(K):
                g_by_current[k, b] += g_end * current[b, t]
                g_by_before[k, b] += g_end * before[b]
                g_by_now[k, b] += g_end * now[b]
                g_release_by_current[k, b] += g_at_release * current[b, t]
                g_release_by_before[k, b] += g_at_release * before[b]
                g_release_by_now[k, b] += g_at_release * now[b]
                carry[b] += g_end * by_current[k, b] + g_at_release * release_by_current[k, b]
                g_before[b] += g_end * by_before[k, b] + g_at_release * release_by_before[k, b]
                g_now[b] += g_end * by_now[k, b] + g_at_release * release_by_now[k, b]
        for b in range(K):
            last = n_history + t - delay_bins[b]
            g_n[b, max(last - 1, 0)] += g_before[b] * per_spike[b]
            g_n[b, max(last, 0)] += g_now[b] * per_spike[b]
    if not from_rest:
        return
    for k in range(K):
        g = g_H[k, 0]
        for s in range(n_history):
            g += g_release[k, s]
        g_step.u_rest[k] += g
        g_stimulus[k, 0] += g
        g_step.tau_m[k] += g * drive[k, 0]
        g_start = g * step.tau_m[k] + g_drive[k, 0]
        for b in range(K):
            g_step.J[k, b] += g_start * current[b, 0]
            carry[b] += g_start * step.J[k, b]
    for b in range(K):
        g_n[b, 0] += carry[b] * per_spike[b]
