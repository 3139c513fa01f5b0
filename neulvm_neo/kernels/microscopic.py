"""The spiking network itself: every neuron of every population, step by step (Wang et al. 2022, App. A).

Escape noise by its own clock: a neuron carries an exponentially distributed amount of patience, drawn at its last
spike, and fires in the step in which the integrated hazard has used it up. That is the law p_fire = 1 - exp(-λ Δt) of
each step, with one random number per spike instead of one per step, and leaves a loop over neurons without branches.

Patience number j of neuron i is a pure function of (key, j, i), so that neurons can be shared out among threads, every
one with its own call of `advance`, and nothing depends on how.
"""

import math

import numpy as np
from numba import njit

from .elementary import exp
from .philox import open_uniform, philox

_IN_CACHE = 1024  # neurons that are integrated, then looked over while they lie in the fastest cache
_AT_A_GLANCE = 32  # neurons whose patience is checked by one vector loop before looking for who has fired
ASLEEP = -np.inf  # mV: no leak or drive ends it, and its hazard is too small to change a patience


@njit(cache=True, nogil=True)
def patience(key, index, neuron):
    """Patience number `index` of a neuron: exponentially distributed, above 0. Key (2,) uint64, the others uint64."""
    return -math.log(open_uniform(philox(key[0], key[1], index, neuron, np.uint64(0), np.uint64(0))[0]))


@njit(cache=True, nogil=True)
def first_patience(key, wait, n_spikes_of):
    """Patience number 0 of all neurons, (N,), filled; `n_spikes_of` is set to 0."""
    for i in range(wait.size):
        wait[i] = patience(key, np.uint64(0), np.uint64(i))
        n_spikes_of[i] = 0


@njit(cache=True, nogil=True)
def integrate(leak, drive, offset, V, wait):
    """One step of some neurons of a population: membrane, then hazard. Arrays (n,), updated.

    The loop starts at 0: if it started at an argument, numba would allow for negative indices and not vectorise (6
    instead of 1 ns per neuron and step). No fast-math: what a neuron does must not depend on its place in a vector
    register.
    """
    for i in range(V.size):
        v = leak * V[i] + drive
        V[i] = v
        wait[i] -= exp(v - offset)


@njit(cache=True, nogil=True)
def n_impatient(wait):
    """How many of some neurons have run out of patience; vectorises."""
    n = 0
    for i in range(wait.size):
        n += np.int64(wait[i] < 0.0)
    return n


@njit(cache=True, nogil=True)
def fire(first, stop, step, key, stamina, before, own_until, V, wait, n_spikes_of, asleep, newest, begin, end,
         recorded_until, n_spikes, spike_step, spike_neuron):  # fmt: skip
    """Spikes of one step: who has run out of patience falls asleep, gets a new one, and is noted if recorded.

    Neurons up to `own_until` have a stamina, whose index is lower by `before`.
    """
    for i in range(first, stop):
        if wait[i] < 0.0:
            V[i] = ASLEEP
            asleep[newest] = i
            newest = newest + 1 if newest + 1 < end else begin
            n_spikes_of[i] += np.uint32(1)
            wait[i] = patience(key, np.uint64(n_spikes_of[i]), np.uint64(i))
            if i < own_until:
                wait[i] *= stamina[i - before]
            if i < recorded_until:
                spike_step[n_spikes] = step
                spike_neuron[n_spikes] = i
                n_spikes += 1
    return newest, n_spikes


@njit(cache=True, nogil=True)
def advance(
    thread, start, stop, steps_per_bin, warm_up, time_step,
    leak, drive_gain, synaptic_gain, synaptic_decay, J, u_rest, offset, refractory_steps, delay_steps, n_neurons,
    stimulus, key, border, n_recorded,
    stamina, V, wait, n_spikes_of, asleep, oldest, newest, n_waking, filtered, past, n, n_spikes, spike_step,
    spike_neuron,
):  # fmt: skip
    """Advance one thread's share of the network over the steps [start, stop).

    Per step t, with d the delay in steps and A in Hz: I_b ← e_b I_b + (1 - e_b) A_b(t - 1 - d_b);
    V ← γ V + (1 - γ)(U_r + R I) + s Σ_b J_ab I_b; fire with probability 1 - exp(-Δt exp(V - ϑ)); then V = 0 for
    `refractory_steps` more steps.

    Every thread follows the inputs I of all populations by itself, so that threads need to wait for each other only
    when the steps [start, stop) of all are done, if there are at most 1 + min(delay_steps) of them: until then nothing
    that happened in them arrives anywhere.

    Parameters
    ----------
    thread, start, stop : int
        Which share; steps.
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
    key : (2,) uint64
    border : (K, n_threads + 1) int
        Neurons border[k, i] … border[k, i + 1] - 1 are population k's in share i.
    n_recorded : (K,) int
        The first so many neurons of every population are recorded.
    stamina : (Σ n_recorded,), or empty
        Mean patience of the recorded neurons, population after population; 1 if empty.
    V, wait, n_spikes_of : (N,), updated
        Potential in mV; patience left; how many spikes a neuron has fired (uint32).
    asleep : (N,) uint32, updated
        Refractory neurons, in a ring per population and share, in the order in which they fired.
    oldest, newest : (n_threads, K) int, updated
        Where in `asleep` the first to wake is, and where the next to fall asleep goes.
    n_waking : (n_threads, K, max(refractory_steps) + 1) int, updated
        How many wake in step t, in column t modulo (refractory_steps + 1).
    filtered : (n_threads, K), updated
        I in Hz, each thread's own.
    past : (n_threads, longest + shortest delay + 2, K), updated
        Spikes of step t of the share in row t modulo its length; all shares together make a population's.
    n : (n_threads, n_bins, K) int, updated
        Spike counts of the share.
    n_spikes : int
        Recorded spikes that the next two hold already.
    spike_step, spike_neuron : (capacity,) int, filled
        Spikes of the share's recorded neurons; room for (stop - start) times these neurons more.

    Returns
    -------
    int
        Number of recorded spikes.
    """
    n_threads, memory, K = past.shape
    for t in range(start, stop):
        bin_index = max(t - warm_up, 0) // steps_per_bin
        for b in range(K):
            spikes = 0.0
            for share in range(n_threads):
                spikes += past[share, (t - 1 - delay_steps[b]) % memory, b]
            arriving = spikes / (n_neurons[b] * time_step)
            filtered[thread, b] = synaptic_decay[b] * filtered[thread, b] + (1.0 - synaptic_decay[b]) * arriving
        n_before = 0  # recorded neurons of the populations before this one
        for k in range(K):
            synaptic = 0.0
            for b in range(K):
                synaptic += J[k, b] * filtered[thread, b]
            drive = drive_gain[k] * (u_rest[k] + stimulus[bin_index, k]) + synaptic_gain[k] * synaptic
            begin, end = border[k, thread], border[k, thread + 1]
            slot = t % (refractory_steps[k] + 1)
            for _ in range(n_waking[thread, k, slot]):
                V[asleep[oldest[thread, k]]] = 0.0
                oldest[thread, k] = oldest[thread, k] + 1 if oldest[thread, k] + 1 < end else begin
            recorded_until = border[k, 0] + n_recorded[k] if t >= warm_up else 0
            own_until = border[k, 0] + n_recorded[k] if stamina.size > 0 else 0
            n_fired = 0
            for first in range(begin, end, _IN_CACHE):
                stop_of_block = min(first + _IN_CACHE, end)
                integrate(leak[k], drive, offset[k], V[first:stop_of_block], wait[first:stop_of_block])
                for glance in range(first, stop_of_block, _AT_A_GLANCE):
                    glance_end = min(glance + _AT_A_GLANCE, stop_of_block)
                    n_of_these = n_impatient(wait[glance:glance_end])
                    if n_of_these > 0:
                        n_fired += n_of_these
                        newest[thread, k], n_spikes = fire(
                            glance, glance_end, t, key, stamina, border[k, 0] - n_before, own_until, V, wait,
                            n_spikes_of, asleep, newest[thread, k], begin, end, recorded_until, n_spikes, spike_step,
                            spike_neuron,
                        )  # fmt: skip
            n_before += n_recorded[k]
            n_waking[thread, k, slot] = n_fired
            past[thread, t % memory, k] = n_fired
            if t >= warm_up:
                n[thread, bin_index, k] += n_fired
    return n_spikes
