"""Expected spike counts of one population from its cohorts: forward sweep.

Wang et al. 2022, eqs. 2 and 6; Schwalger et al. 2017.

Given the counts n and the never-reset potential H, populations do not interact, so every kernel here sees one
population: 1-D arrays over n_history + n_bins bins. A cohort is named by its birth bin s; its age is a = t - s; it is
refractory up to age r, then has the potential H(t) - γ^(a-r) H(s+r). Cohorts older than the window (its length is
n_history) are free: their potential is H, and two sums x = Σ S n and z = Σ S² n hold all that is left of them.
"""

import numpy as np
from numba import njit

from .elementary import exp, integrated_hazard, integrated_hazard_slope

TINY = 1e-100  # keeps 0/0 of an empty population at 0; its square is still a number
_FAST = {"contract", "reassoc", "nsz"}  # sums over cohorts may be reordered, which lets them vectorise


@njit(cache=True, error_model="numpy", nogil=True)
def decay_by_age(leak, refractory_bins, window):
    """γ^(a-r) for ages a = window, window - 1, …, 1, that is in the order of the birth bins; 0 while refractory."""
    decay = np.zeros(window)
    for j in range(window):
        age = window - j
        if age > refractory_bins:
            decay[j] = leak ** (age - refractory_bins)
    return decay


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def advance_cohorts(n, S, release, decay, H_t):
    """One bin for a run of cohorts: survivals are updated; returns Σ p S n, Σ S n, Σ p (1-S) S n, Σ (1-S) S n.

    Parameters
    ----------
    n, S, release, decay : (count,)
        Counts, survivals, potential H(s+r) at release and γ^(a-r), in the order of birth. Loops run from 0 over
        contiguous views: an index that might be negative would cost numba a wrap-around test per cell and the
        vectorisation with it.
    H_t : float
        H(t) - ϑ + ln Δt.
    """
    fired = 0.0
    mass = 0.0
    fired_free = 0.0
    mass_free = 0.0
    for j in range(n.size):
        q = exp(-integrated_hazard(H_t - decay[j] * release[j]))
        survival = S[j]
        m = survival * n[j]
        pm = (1.0 - q) * m
        fired += pm
        mass += m
        fired_free += pm * (1.0 - survival)
        mass_free += m * (1.0 - survival)
        S[j] = survival * q
    return fired, mass, fired_free, mass_free


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def advance_cohorts_taped(n, S, release, decay, H_t, tape_S, tape_q, tape_slope):
    """`advance_cohorts` that keeps the survival before the bin, q = 1 - p and dp/du of every cohort for the adjoint."""
    fired = 0.0
    mass = 0.0
    fired_free = 0.0
    mass_free = 0.0
    for j in range(n.size):
        u = H_t - decay[j] * release[j]
        q = exp(-integrated_hazard(u))
        survival = S[j]
        tape_S[j] = survival
        tape_q[j] = q
        tape_slope[j] = q * integrated_hazard_slope(u)
        m = survival * n[j]
        pm = (1.0 - q) * m
        fired += pm
        mass += m
        fired_free += pm * (1.0 - survival)
        mass_free += m * (1.0 - survival)
        S[j] = survival * q
    return fired, mass, fired_free, mass_free


@njit(cache=True, error_model="numpy", nogil=True)
def forward(
    start,
    stop,
    window,
    n,
    H,
    decay,
    offset,
    r,
    n_neurons,
    S,
    lump,
    n_bar,
    h_unseen,
    taped,
    tape_S,
    tape_q,
    tape_slope,
    tape_sums,
):
    """Advance one population over bins [start, stop) of the extended time axis (bins 0 … window - 1 are the history).

    Parameters
    ----------
    n, H : (L,)
        Counts and never-reset potential.
    decay : (window,)
        `decay_by_age`.
    offset : float
        ϑ - ln Δt.
    S : (L,), updated
        Survival of every cohort so far (1 at birth).
    lump : (2,), updated
        x and z of the free neurons. Set at the first bin after the history: the neurons that the history leaves
        unexplained are free, x = max(N - Σ S n, 0), z = x S_oldest / 2 (a constant past with rare firing).
    n_bar, h_unseen : (L - window,), filled
        Expected count n̄ (eq. 6b, not clipped), and the firing probability of a neuron that has not fired since the
        start of the recording.
    taped : bool
        Whether to fill the tapes, row t - start: tape_S, tape_q, tape_slope (·, window); tape_sums (·, 8).
    """
    for t in range(start, stop):
        oldest = t - window
        first = max(oldest, 0)
        last = max(t - r, first)
        row = t - start
        if t == window:
            explained = 0.0
            for s in range(first, t):
                explained += S[s] * n[s]
            lump[0] = max(n_neurons - explained, 0.0)
            lump[1] = 0.5 * lump[0] * S[0]
        split = min(max(window, first), last)  # cohorts before it were born in the history
        H_t = H[t] - offset
        if taped:
            young, old = split - oldest, first - oldest
            P0, M0, W0, V0 = advance_cohorts_taped(
                n[first:split],
                S[first:split],
                H[first + r : split + r],
                decay[old:young],
                H_t,
                tape_S[row, old:young],
                tape_q[row, old:young],
                tape_slope[row, old:young],
            )
            P, M, W, V = advance_cohorts_taped(
                n[split:last],
                S[split:last],
                H[split + r : last + r],
                decay[young : last - oldest],
                H_t,
                tape_S[row, young : last - oldest],
                tape_q[row, young : last - oldest],
                tape_slope[row, young : last - oldest],
            )
        else:
            P0, M0, W0, V0 = advance_cohorts(
                n[first:split], S[first:split], H[first + r : split + r], decay[first - oldest : split - oldest], H_t
            )
            P, M, W, V = advance_cohorts(
                n[split:last], S[split:last], H[split + r : last + r], decay[split - oldest : last - oldest], H_t
            )
        if t < window:
            continue
        for s in range(last, t):  # refractory neurons count as mass only
            if s < window:
                M0 += n[s]
            else:
                M += n[s]
        x, z = lump[0], lump[1]
        q = exp(-integrated_hazard(H_t))
        p = 1.0 - q
        if t < 2 * window:  # until then every free neuron stems from the history
            mass_unseen = M0 + x + TINY
            h_unseen[t - window] = (P0 + p * x) / mass_unseen
        else:
            mass_unseen = 1.0
            h_unseen[t - window] = p
        P += P0 + p * x
        M += M0 + x
        W += W0 + p * (x - z)
        V += V0 + (x - z) + TINY
        n_bar[t - window] = P + W / V * (n_neurons - M)
        if taped:
            tape_sums[row, 0] = M
            tape_sums[row, 1] = W
            tape_sums[row, 2] = V
            tape_sums[row, 3] = x
            tape_sums[row, 4] = z
            tape_sums[row, 5] = q
            tape_sums[row, 6] = q * integrated_hazard_slope(H_t)
            tape_sums[row, 7] = mass_unseen
        # the oldest cohort becomes free
        leaving = S[first] * n[first]
        lump[0] = x * q + leaving
        lump[1] = z * q * q + leaving * S[first]
