"""Never-reset potential of every population from the spike counts: forward sweep and its adjoint.

Arrays are (n_populations, …), population first, so that later loops over cohorts are contiguous. Counts `n` and release
potentials `release` are per bin and begin with the bins of the history, `n_history` of them; the filtered activity I
(Hz), the synaptic drive Σ_b J_ab I_b (mV Hz) and the potential H (mV) are per edge and begin with the left edge of bin
0. `step` is a `discretization.Step`, `g_step` one with its gradients.
"""

import numpy as np
from numba import njit

from .mesoscopic import _FAST


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


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def forward(n, stimulus, step, n_history, current, drive, H, release):
    """Fill `current`, `drive`, `H` (K, T + 1) and `release` (K, n_history + T); equations in `discretization.Step`.

    current[:, 0] and H[:, 0] are given; before bin 0 the potential has been H[:, 0]. Only what decays from bin to bin
    is computed bin by bin, the rest in loops over all bins that vectorise.
    """
    K, T = stimulus.shape
    activity = np.empty((K, T + 1))  # in the bin before first
    for b in range(K):
        first, per_spike = n_history - 1 - step.delay_bins[b], 1.0 / (step.n_neurons[b] * step.bin_size)
        for t in range(T + 1):
            activity[b, t] = n[b, max(first + t, 0)] * per_spike
        arrive_before, arrive_now, decay = step.arrive_before[b], step.arrive_now[b], step.synaptic_decay[b]
        for t in range(T):
            current[b, t + 1] = arrive_before * activity[b, t] + arrive_now * activity[b, t + 1]
        for t in range(T):
            current[b, t + 1] += decay * current[b, t]
    for k in range(K):
        leak, u_rest = step.leak[k], step.u_rest[k]
        kept = leak ** step.release_fraction[k]
        release[k, :n_history] = H[k, 0]
        at_release = release[k, n_history:]
        for t in range(T):
            external = u_rest + stimulus[k, t]
            H[k, t + 1], at_release[t] = (1.0 - leak) * external, (1.0 - kept) * external
        drive[k] = 0.0
        for b in range(K):
            J = step.J[k, b]
            for t in range(T + 1):
                drive[k, t] += J * current[b, t]
            by_current, by_before, by_now = step.by_current[k, b], step.by_before[k, b], step.by_now[k, b]
            for t in range(T):
                H[k, t + 1] += by_current * current[b, t] + by_before * activity[b, t] + by_now * activity[b, t + 1]
            by_current, by_before = step.release_by_current[k, b], step.release_by_before[k, b]
            by_now = step.release_by_now[k, b]
            for t in range(T):
                at_release[t] += by_current * current[b, t] + by_before * activity[b, t] + by_now * activity[b, t + 1]
        for t in range(T):
            H[k, t + 1] += leak * H[k, t]
        for t in range(T):
            at_release[t] += kept * H[k, t]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def adjoint(n, stimulus, step, n_history, current, drive, H, g_drive, g_H, g_release, g_n, g_stimulus, g_step,
    from_rest,
):  # fmt: skip
    """Reverse sweep of `forward`, and of `rest` if that was its start.

    From `g_drive`, `g_H` (K, T + 1) and `g_release` adds to g_n, g_stimulus and g_step; `g_H` is overwritten. Only what
    decays from bin to bin is computed bin by bin, the rest in loops over all bins that vectorise.
    """
    K, T = stimulus.shape
    carry = np.zeros(K)  # gradient of the filtered activity at the start
    for k in range(K):
        leak, power, u_rest = step.leak[k], step.release_fraction[k], step.u_rest[k]
        kept, kept_slope = leak**power, power * leak ** (power - 1.0)
        g_late = g_release[k, n_history:]
        for t in range(T - 1, -1, -1):
            g_H[k, t] += g_H[k, t + 1] * leak + g_late[t] * kept
        g_leak, g_u_rest = 0.0, 0.0
        for t in range(T):
            g_end, g_at_release = g_H[k, t + 1], g_late[t]
            g_leak += (g_end + g_at_release * kept_slope) * (H[k, t] - u_rest - stimulus[k, t])
            g_u_rest += g_end * (1.0 - leak) + g_at_release * (1.0 - kept)
        for t in range(T):
            g_stimulus[k, t] += g_H[k, t + 1] * (1.0 - leak) + g_late[t] * (1.0 - kept)
        g_step.leak[k] += g_leak
        g_step.u_rest[k] += g_u_rest
    # Of one source: its activity, in the bin before first, and the gradients of that and of its filtered activity at
    # the ends of the bins
    activity, g_activity, g_current, g_kept = np.empty(T + 1), np.empty(T + 1), np.empty(T), np.empty(T)
    for b in range(K):
        first = n_history - 1 - step.delay_bins[b]
        per_spike = 1.0 / (step.n_neurons[b] * step.bin_size)
        for t in range(T + 1):
            activity[t], g_activity[t] = n[b, max(first + t, 0)] * per_spike, 0.0
        g_current[:], g_kept[:] = 0.0, 0.0
        for k in range(K):
            g_late = g_release[k, n_history:]
            J, by_current, by_release = step.J[k, b], step.by_current[k, b], step.release_by_current[k, b]
            for t in range(T):
                g_current[t] += g_drive[k, t + 1] * J
            for t in range(T):
                g_kept[t] += g_H[k, t + 1] * by_current + g_late[t] * by_release
            # sums in a loop that stores nothing: else their order, and so their last bits, may depend on the addresses
            of_J, of_current, of_before, of_now = 0.0, 0.0, 0.0, 0.0
            of_release, of_release_before, of_release_now = 0.0, 0.0, 0.0
            for t in range(T):
                g_end, g_at_release = g_H[k, t + 1], g_late[t]
                of_J += g_drive[k, t + 1] * current[b, t + 1]
                of_current += g_end * current[b, t]
                of_before += g_end * activity[t]
                of_now += g_end * activity[t + 1]
                of_release += g_at_release * current[b, t]
                of_release_before += g_at_release * activity[t]
                of_release_now += g_at_release * activity[t + 1]
            g_step.J[k, b] += of_J
            g_step.by_current[k, b] += of_current
            g_step.by_before[k, b] += of_before
            g_step.by_now[k, b] += of_now
            g_step.release_by_current[k, b] += of_release
            g_step.release_by_before[k, b] += of_release_before
            g_step.release_by_now[k, b] += of_release_now
            by_before, by_release = step.by_before[k, b], step.release_by_before[k, b]
            for t in range(T):
                g_activity[t] += g_H[k, t + 1] * by_before + g_late[t] * by_release
            by_now, by_release = step.by_now[k, b], step.release_by_now[k, b]
            for t in range(T):
                g_activity[t + 1] += g_H[k, t + 1] * by_now + g_late[t] * by_release
        decay = step.synaptic_decay[b]
        g = 0.0
        for t in range(T - 1, -1, -1):
            g_current[t] += g
            g = g_current[t] * decay + g_kept[t]
        carry[b] = g
        of_decay, of_before, of_now = 0.0, 0.0, 0.0
        for t in range(T):
            of_decay += g_current[t] * current[b, t]
            of_before += g_current[t] * activity[t]
            of_now += g_current[t] * activity[t + 1]
        g_step.synaptic_decay[b] += of_decay
        g_step.arrive_before[b] += of_before
        g_step.arrive_now[b] += of_now
        arrive_before, arrive_now = step.arrive_before[b], step.arrive_now[b]
        for t in range(T):
            g_activity[t] += g_current[t] * arrive_before
        for t in range(T):
            g_activity[t + 1] += g_current[t] * arrive_now
        for t in range(T + 1):
            g_n[b, max(first + t, 0)] += g_activity[t] * per_spike
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
        g_n[b, 0] += carry[b] / (step.n_neurons[b] * step.bin_size)
