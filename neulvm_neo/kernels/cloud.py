"""A cloud of particles, each a state of the circuit, and what happens to it in one bin of a recorded trial.

A particle holds, per population, its recent cohorts (count n, survival S, hazard L, potential at release), the free
neurons' sums, the filtered activity I and the never-reset potential H (see `mesoscopic`). In a bin, `expect` predicts
its counts, `weigh` asks how probable the recorded spikes are, and `complete` goes on from the counts that were drawn.

Particles may have parameters of their own: everything that depends on parameters is kept by sets, and every particle
knows its set. Rows of the state are particle · K + population, rows of the coefficients set · K + population. Columns
of the cohort arrays slide in a buffer twice as long as the window, the oldest cohort first.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from .elementary import exp, integrated_hazard, log, log_one_minus_exp
from .mesoscopic import (
    _FAST,
    BLOCK,
    CURVATURE,
    DECAY_ORIGIN,
    GAP_END,
    H_END,
    H_START,
    H_UNSEEN,
    LARGEST_CORRECTION,
    LEAK,
    MU,
    OFFSET,
    REFRACTORY,
    RELEASE,
    RELEASE_SLOPE,
    SIZE,
    WEIGHT_A,
    WEIGHT_B_END,
    WEIGHT_B_START,
    WEIGHT_END,
    WEIGHT_START,
    WINDOW,
    YOUNG,
    advance_block,
    expect_next,
    tilt,
)  # fmt: skip
from .observed import CERTAINTY, CONTAMINATION_RATE

# Cells of the particles: rounded by 6e-8, far below the Monte-Carlo error, at half the traffic between the caches.
CELL = np.float32
# rows of `sources`: activities (Hz) of the populations whose spikes arrive
BEFORE, NOW, AT_END, N_SOURCES = range(4)


class Cloud(NamedTuple):
    """State of P particles at the left edge of a bin."""

    n: np.ndarray  # (P K, 2 length) float32, as are the next three
    S: np.ndarray
    L: np.ndarray
    release: np.ndarray  # mV
    free: np.ndarray  # (P K, 5)
    due: np.ndarray  # (P K, N_RECORDS)
    H: np.ndarray  # (P K,) mV
    current: np.ndarray  # (P K,) Hz
    expected: np.ndarray  # (P K,)
    f: np.ndarray  # (P K,)
    n_bar: np.ndarray  # (P K,)
    at_stake: np.ndarray  # (P K,), neurons
    at_release: np.ndarray  # (n_observed, P) mV, of the last spike of every recorded neuron
    set_of: np.ndarray  # (P,) int


class Coefficients(NamedTuple):
    """`discretization.Step` of M sets of parameters, as far as it concerns particles."""

    c: np.ndarray  # (M K, N_CONSTANTS)
    decay: np.ndarray  # (M K, length) float32
    u_rest: np.ndarray  # (M, K), as are the next six
    tau_m: np.ndarray
    leak: np.ndarray
    kept: np.ndarray  # γ^release_fraction
    synaptic_decay: np.ndarray
    arrive_before: np.ndarray
    arrive_now: np.ndarray
    J: np.ndarray  # (M, K, K), as are the rest
    by_current: np.ndarray
    by_before: np.ndarray
    by_now: np.ndarray
    release_by_current: np.ndarray
    release_by_before: np.ndarray
    release_by_now: np.ndarray
    feedback: np.ndarray


class Trial(NamedTuple):
    """Recorded spikes, and what is the same for all particles."""

    spiking: np.ndarray  # (T, n_observed) bool
    last_spike: np.ndarray  # (T, n_observed) int: bin of the last spike before, or -1
    labels: np.ndarray  # (n_observed,) int
    excitability: np.ndarray  # (n_observed,)
    stimulus: np.ndarray  # (T, K) mV
    unseen: np.ndarray  # (T, K) bool: somebody has not fired before
    n_spikes: np.ndarray  # (T, K) int, of the recorded neurons
    n_neurons: np.ndarray  # (K,) float
    per_spike: np.ndarray  # (K,) Hz, activity of one spike in a bin
    n_others: np.ndarray  # (K,) int, neurons that were not recorded
    delay_bins: np.ndarray  # (K,) int
    floor: np.ndarray  # (K,): smallest expected count
    bin_size: float
    by_cohorts: bool  # counts scatter as cohorts do, each with its own p; or like a binomial number of all neurons
    first_weighted: int  # bin; before, spikes say what the counts are, but nothing of how likely a particle is


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def young_hazard(age, at_release, decay, H_start, H_end, mu, k, c):
    """Hazard integrated over a bin of a recorded neuron that is being released; see `observed`."""
    offset = c[k, OFFSET]
    L_a = integrated_hazard((1.0 - c[k, YOUNG]) * mu - offset)
    if age == int(c[k, REFRACTORY]):
        return c[k, WEIGHT_A] * L_a
    if c[k, RELEASE] > c[k, REFRACTORY]:
        at_release = H_start + c[k, RELEASE_SLOPE] * (mu - H_start)
    return c[k, WEIGHT_B_START] * L_a + c[k, WEIGHT_B_END] * integrated_hazard(H_end - offset - decay * at_release)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def grown_hazard(G, H_start, H_end, gap_end, mu, offset, curvature, leak, w0, w1):
    """The same of one that was released before, whose potential lacks G of H at the end of the bin."""
    return (
        w0 * integrated_hazard(H_start - offset - G / leak) * tilt(-curvature * (mu - H_start + G / leak))
        + w1 * integrated_hazard(H_end - offset - G) * tilt(curvature * (gap_end + G))
    )  # fmt: skip


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def expect(cloud, co, trial, t, own, potentials, block, sources):
    """Potentials and expected counts of bin t, whose cohorts go to the column `own`: fills `potentials`, cloud.n_bar.

    Cohorts and free neurons are advanced. `block` and `sources` are room to work in.
    """
    n, current, expected, H = cloud.n, cloud.current, cloud.expected, cloud.H
    n_bar, set_of = cloud.n_bar, cloud.set_of
    S, L, release, free, due, correction = cloud.S, cloud.L, cloud.release, cloud.free, cloud.due, cloud.f
    c, decay = co.c, co.decay
    u_rest, tau_m, leak, J = co.u_rest, co.tau_m, co.leak, co.J
    synaptic_decay, arrive_before, arrive_now = co.synaptic_decay, co.arrive_before, co.arrive_now
    by_current, by_before, by_now = co.by_current, co.by_before, co.by_now
    delay, stimulus, unseen, floor = trial.delay_bins, trial.stimulus, trial.unseen, trial.floor
    K = delay.size
    per_spike = trial.per_spike
    for begin in range(0, set_of.size, BLOCK):
        size = min(BLOCK, set_of.size - begin)
        for p in range(begin, begin + size):
            first, q = p * K, set_of[p]
            for b in range(K):
                i = first + b
                before = n[i, own - delay[b] - 1] * per_spike[b]
                now = (n[i, own - delay[b]] if delay[b] > 0 else expected[i]) * per_spike[b]
                sources[BEFORE, b], sources[NOW, b] = before, now
                sources[AT_END, b] = (
                    synaptic_decay[q, b] * current[i] + arrive_before[q, b] * before + arrive_now[q, b] * now
                )
            for k in range(K):
                external = u_rest[q, k] + stimulus[t, k]
                start, end, potential = 0.0, 0.0, leak[q, k] * H[first + k] + (1.0 - leak[q, k]) * external
                for b in range(K):
                    activity = current[first + b]
                    start += J[q, k, b] * activity
                    end += J[q, k, b] * sources[AT_END, b]
                    potential += (
                        by_current[q, k, b] * activity
                        + by_before[q, k, b] * sources[BEFORE, b]
                        + by_now[q, k, b] * sources[NOW, b]
                    )
                potentials[k, MU, p] = external + tau_m[q, k] * start
                potentials[k, H_START, p], potentials[k, H_END, p] = H[first + k], potential
                potentials[k, GAP_END, p] = external + tau_m[q, k] * end - potential
        for k in range(K):
            advance_block(
                begin, size, k, t, own, unseen[t, k], floor[k], block, potentials, set_of, c, n, S, L, release, decay,
                free, correction, n_bar, cloud.at_stake, due,
            )  # fmt: skip


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def weigh(cloud, co, trial, t, potentials, hazard, log_weight, weights, predicted):
    """Add log p(y_t | particle) to `log_weight` (P,).

    If `predicted` (n_observed,) is not empty, it is filled with the recorded neurons' probabilities to fire: the means
    over the particles by `weights`. `hazard` (P,) is room to work in.
    """
    c, decay, set_of, at_release = co.c, co.decay, cloud.set_of, cloud.at_release
    labels, K, P = trial.labels, trial.delay_bins.size, cloud.set_of.size
    contamination = CONTAMINATION_RATE * trial.bin_size
    for o in range(labels.size):
        k, spike, last, times = labels[o], trial.spiking[t, o], trial.last_spike[t, o], trial.excitability[o]
        age = t - last
        r = int(c[k, REFRACTORY])
        if last < 0:
            for p in range(P):
                h = min(max(potentials[k, H_UNSEEN, p], contamination), CERTAINTY)
                hazard[p] = -times * log(1.0 - h)
        elif age < r or (age == r and c[k, WEIGHT_A] == 0.0):
            hazard[:] = contamination
        elif age <= r + 1:
            for p in range(P):
                q = set_of[p] * K + k
                hazard[p] = times * young_hazard(
                    age, at_release[o, p], decay[q, int(c[q, WINDOW]) - age], potentials[k, H_START, p],
                    potentials[k, H_END, p], potentials[k, MU, p], q, c,
                )  # fmt: skip
        else:
            window = int(c[k, WINDOW])
            offset, curvature, leak = c[k, OFFSET], c[k, CURVATURE], c[k, LEAK]
            w0, w1 = c[k, WEIGHT_START], c[k, WEIGHT_END]
            if c.shape[0] == K:  # one set of parameters for all
                fade = decay[k, window - age] if age <= window else leak ** (age - c[k, DECAY_ORIGIN])
                for p in range(P):
                    hazard[p] = times * grown_hazard(
                        fade * at_release[o, p], potentials[k, H_START, p], potentials[k, H_END, p],
                        potentials[k, GAP_END, p], potentials[k, MU, p], offset, curvature, leak, w0, w1,
                    )  # fmt: skip
            else:
                for p in range(P):
                    q = set_of[p] * K + k
                    fade = decay[q, window - age] if age <= window else c[q, LEAK] ** (age - c[q, DECAY_ORIGIN])
                    hazard[p] = fade * at_release[o, p]
                for p in range(P):
                    q = set_of[p] * K + k
                    hazard[p] = times * grown_hazard(
                        hazard[p], potentials[k, H_START, p], potentials[k, H_END, p], potentials[k, GAP_END, p],
                        potentials[k, MU, p], c[q, OFFSET], c[q, CURVATURE], c[q, LEAK], w0, w1,
                    )  # fmt: skip
        if spike:
            for p in range(P):
                log_weight[p] += log_one_minus_exp(hazard[p])
        else:
            for p in range(P):
                log_weight[p] -= hazard[p]
        if predicted.size > 0:
            quiet = 0.0
            for p in range(P):
                quiet += weights[p] * exp(-hazard[p])
            predicted[o] = 1.0 - quiet


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def complete(cloud, co, trial, t, own, sources):
    """Finish bin t once its counts are known (in the column `own` of cloud.n): potentials at its end, corrections."""
    n, current, expected, H = cloud.n, cloud.current, cloud.expected, cloud.H
    set_of, S, release, due, correction = cloud.set_of, cloud.S, cloud.release, cloud.due, cloud.f
    at_release = cloud.at_release
    c = co.c
    u_rest, leak, kept, feedback = co.u_rest, co.leak, co.kept, co.feedback
    synaptic_decay, arrive_before, arrive_now = co.synaptic_decay, co.arrive_before, co.arrive_now
    by_current, by_before, by_now = co.by_current, co.by_before, co.by_now
    release_by_current, release_by_before, release_by_now = (
        co.release_by_current, co.release_by_before, co.release_by_now
    )  # fmt: skip
    delay, stimulus, labels, last_spike, spiking = (
        trial.delay_bins, trial.stimulus, trial.labels, trial.last_spike, trial.spiking
    )  # fmt: skip
    K = delay.size
    per_spike = trial.per_spike
    for p in range(set_of.size):
        first, q = p * K, set_of[p]
        for b in range(K):
            i = first + b
            S[i, own] = 1.0
            sources[BEFORE, b] = n[i, own - delay[b] - 1] * per_spike[b]
            sources[NOW, b] = n[i, own - delay[b]] * per_spike[b]
        for k in range(K):
            i = first + k
            external = u_rest[q, k] + stimulus[t, k]
            at_end = leak[q, k] * H[i] + (1.0 - leak[q, k]) * external
            at_birth = kept[q, k] * H[i] + (1.0 - kept[q, k]) * external
            change = 0.0
            for b in range(K):
                activity = current[first + b]
                before, now = sources[BEFORE, b], sources[NOW, b]
                at_end += by_current[q, k, b] * activity + by_before[q, k, b] * before + by_now[q, k, b] * now
                at_birth += (
                    release_by_current[q, k, b] * activity
                    + release_by_before[q, k, b] * before
                    + release_by_now[q, k, b] * now
                )
                if delay[b] == 0:
                    change += feedback[q, k, b] * (n[first + b, own] - expected[first + b])
            correction[i] = 1.0
            if change != 0.0:
                correction[i] = exp(min(max(change, -LARGEST_CORRECTION), LARGEST_CORRECTION))
            H[i] = at_end
            R = int(c[q * K + k, RELEASE])
            release[i, own - R] = at_birth
            for o in range(labels.size):
                if labels[o] == k:
                    last = t if spiking[t, o] else last_spike[t, o]
                    if last >= 0 and t - last == R:
                        at_release[o, p] = at_birth
        for k in range(K):
            i = first + k
            current[i] = (
                synaptic_decay[q, k] * current[i]
                + arrive_before[q, k] * sources[BEFORE, k]
                + arrive_now[q, k] * sources[NOW, k]
            )
            expected[i] = expect_next(i, correction[i], n[i, own], c[q * K + k, SIZE], due)


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def copy_particles(source, ancestors, off, target):
    """Particle p of `target` becomes particle ancestors[p] of `source`; the window of the cohorts begins at `off`."""
    K = source.H.size // source.set_of.size
    length = source.n.shape[1] // 2
    for o in range(target.at_release.shape[0]):
        for p in range(ancestors.size):
            target.at_release[o, p] = source.at_release[o, ancestors[p]]
    for p in range(ancestors.size):
        target.set_of[p] = source.set_of[ancestors[p]]
        for k in range(K):
            i, a = p * K + k, ancestors[p] * K + k
            target.H[i], target.current[i], target.n_bar[i] = source.H[a], source.current[a], source.n_bar[a]
            target.expected[i], target.f[i], target.at_stake[i] = source.expected[a], source.f[a], source.at_stake[a]
            target.free[i] = source.free[a]
            target.due[i] = source.due[a]
            for j in range(off, off + length):
                target.n[i, j], target.S[i, j] = source.n[a, j], source.S[a, j]
                target.L[i, j], target.release[i, j] = source.L[a, j], source.release[a, j]


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def slide(cloud, off):
    """Move the window of the cohorts from column `off` to the front."""
    length = cloud.n.shape[1] // 2
    for i in range(cloud.H.size):
        for j in range(length):
            cloud.n[i, j], cloud.S[i, j] = cloud.n[i, off + j], cloud.S[i, off + j]
            cloud.L[i, j], cloud.release[i, j] = cloud.L[i, off + j], cloud.release[i, off + j]
