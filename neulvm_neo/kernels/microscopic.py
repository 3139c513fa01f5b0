"""The spiking network itself: every neuron of every population, step by step (Wang et al. 2022, App. A).

Escape noise by its own clock: a neuron carries an exponentially distributed amount of patience, drawn at its last
spike, and fires in the step in which the integrated hazard has used it up. That is the law p_fire = 1 - exp(-λ Δt) of
each step, with one random number per spike instead of one per step, and leaves a loop over neurons without branches.
"""

import math

from numba import njit

from .elementary import exp


@njit(cache=True)
def patience(u):
    """Exponentially distributed patience from a uniform u in [0, 1)."""
    return -math.log1p(-u)


@njit(cache=True)
def integrate(step, leak, drive, offset, release, V, wait):
    """One step of the neurons of a population: membrane, then hazard. Arrays (N,), updated.

    A refractory neuron (step ≤ release) stays at 0 and loses no patience. The loop starts at 0: if it started at an
    argument, numba would allow for negative indices and not vectorise (6 instead of 1 ns per neuron and step).
    """
    for i in range(V.size):
        awake = 1.0 if step > release[i] else 0.0
        v = awake * (leak * V[i] + drive)
        V[i] = v
        wait[i] -= awake * exp(v - offset)


@njit(cache=True)
def fire(first, stop, step, last_refractory, recorded, release, V, wait, rng, n_spikes, spike_step, spike_neuron):
    """Spikes of one step: resets, new patience, and a note of those of the neurons before `recorded`."""
    fired = 0
    for i in range(first, stop):
        if wait[i] < 0.0:
            fired += 1
            V[i] = 0.0
            release[i] = last_refractory
            wait[i] = patience(rng.random())
            if i < recorded:
                spike_step[n_spikes] = step
                spike_neuron[n_spikes] = i
                n_spikes += 1
    return fired, n_spikes


@njit(cache=True)
def advance(
    start, stop, steps_per_bin, warm_up, time_step,
    leak, drive_gain, synaptic_gain, synaptic_decay, J, u_rest, offset, refractory_steps, delay_steps, n_neurons,
    stimulus, border, V, release, wait, filtered, past, rng, n_recorded, n, spike_step, spike_neuron,
):  # fmt: skip
    """Advance the network over the steps [start, stop).

    Per step t, with d the delay in steps and A in Hz: I_b ← e_b I_b + (1 - e_b) A_b(t - 1 - d_b);
    V ← γ V + (1 - γ)(U_r + R I) + s Σ_b J_ab I_b; fire with probability 1 - exp(-Δt exp(V - ϑ)); then V = 0 for
    `refractory_steps` more steps.

    Parameters
    ----------
    start, stop : int
        Steps; `past` and `release` count from the same 0.
    steps_per_bin, warm_up : int
        Step t belongs to bin (t - warm_up) // steps_per_bin; steps before `warm_up` see the stimulus of bin 0 and are
        not counted.
    time_step : float
        Δt in s.
    leak, drive_gain, synaptic_gain, u_rest, offset, refractory_steps : (K,)
        γ; 1 - γ; s; U_r; ϑ - ln Δt; steps.
    synaptic_decay, delay_steps : (K,), per source
    J : (K, K), mV, [target, source]
    n_neurons : (K,) float
    stimulus : (n_bins, K), mV
    border : (K + 1,)
        Neurons border[k] … border[k + 1] - 1 are population k.
    V, wait : (N,), updated
        Potential in mV; patience left.
    release : (N,) int, updated
        Last step of refractoriness.
    filtered : (K,), updated
        I in Hz.
    past : (longest delay + 1, K), updated
        Spikes of step t in row t modulo its length.
    rng : numpy.random.Generator
    n_recorded : (K,) int
        The first so many neurons of every population are recorded.
    n : (n_bins, K) int, updated
        Spike counts.
    spike_step, spike_neuron : (capacity,) int, filled
        Spikes of the recorded neurons; capacity at least (stop - start) times the recorded neurons.

    Returns
    -------
    int
        Number of recorded spikes.
    """
    K, memory = past.shape[1], past.shape[0]
    n_spikes = 0
    for t in range(start, stop):
        bin_index = max(t - warm_up, 0) // steps_per_bin
        for b in range(K):
            arriving = past[(t - 1 - delay_steps[b]) % memory, b] / (n_neurons[b] * time_step)
            filtered[b] = synaptic_decay[b] * filtered[b] + (1.0 - synaptic_decay[b]) * arriving
        for k in range(K):
            synaptic = 0.0
            for b in range(K):
                synaptic += J[k, b] * filtered[b]
            drive = drive_gain[k] * (u_rest[k] + stimulus[bin_index, k]) + synaptic_gain[k] * synaptic
            mine = slice(border[k], border[k + 1])
            integrate(t, leak[k], drive, offset[k], release[mine], V[mine], wait[mine])
            recorded = border[k] + n_recorded[k] if t >= warm_up else 0
            fired, n_spikes = fire(
                border[k], border[k + 1], t, t + refractory_steps[k], recorded, release, V, wait, rng,
                n_spikes, spike_step, spike_neuron,
            )  # fmt: skip
            past[t % memory, k] = fired
            if t >= warm_up:
                n[bin_index, k] += fired
    return n_spikes
