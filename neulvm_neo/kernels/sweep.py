"""Forward sweep of the likelihood: the equations of `mesoscopic` in double precision, with a tape for the adjoint.

Counts are known here, so what depends on them alone is computed for a whole stretch of bins at once (`prepare`). Within
a bin, the exponentials of the few scalars per population are gathered in arrays, because one at a time they would take
as long as the cohorts. Each cohort also keeps E = w_1 L(t+1) tilt(a_1 + κ G), its part in -log q, which the next bin
corrects by f.
"""

import numpy as np
from numba import njit

from .elementary import LOG_HAZARD_CAP, exp_falling, integrated_hazard
from .mesoscopic import (
    _FAST,
    CURVATURE,
    HARDLY_ANY,
    LARGEST_CORRECTION,
    LEAK,
    OFFSET,
    PARTLY_RELEASED,
    REFRACTORY,
    RELEASE,
    RELEASE_SLOPE,
    SIZE,
    WEIGHT_A,
    WEIGHT_B_END,
    WEIGHT_B_START,
    WEIGHT_END,
    YOUNG,
    kept,
    tilt,
)  # fmt: skip

# Rows of `edges`: potentials at the start of the bin and as predicted for its end, both less ϑ - ln Δt; the slopes
# κ (τ_m dH/dt) there; where the membrane is heading; the hazard of cohorts at the end of age r, and their 1 - p.
H_START, H_END, A_START, A_END, MU, L_A, Q_A, N_EDGES = range(8)
# Columns of `records`, per bin and population. Corrections f of the bin before and of this one, and the slope at the
# start as the bin before predicted it; 1 where f and the expected count were within their bounds, or 0;
F_IN, F_OUT, SLOPE, F_INSIDE, DUE_INSIDE = range(5)
# all neurons: those that the cohorts leave unexplained, their p, 1 / Σ v, Σ p² v / Σ v, what of the surprise they take
# over into the next bin, and the hazard at the end;
MISSING, SHARE, PER_FREE, SQUARE_SHARE, TAKEN_OVER, RATE = range(5, 11)
# the free ones: x, z, y, corrected by KEPT (which has the derivative KEPT_SLOPE · KEPT by (f - 1) E), E as it came in,
# 1/x and mean distance from H, 1 - p, hazards and tilts at start and end;
X, Z, Y, KEPT, KEPT_SLOPE, E_FREE, PER_X, G_FREE, Q_FREE, L_START, L_END, TILT_START, TILT_END = range(11, 24)
# those of age r + 1: hazard at the end, 1 - p, E and its tilt; S of the cohort that leaves the window.
L_B, Q_B, E_B, TILT_B, S_OUT, N_RECORDS = range(24, 30)
# The cohorts of a population lie in rows of one array, the oldest first: counts, potentials at release, survivals,
# hazards at the last edge, E, and what one loop over cohorts leaves for the next. The length of the rows is a constant,
# because then the compiler sees that they do not overlap, which it would otherwise test in every bin.
ROW = 2**15 + 72  # not a power of two, lest all rows compete for the same places of the cache
AT_N, AT_RELEASE, AT_S, AT_L, AT_E, AT_X, N_CELLS = 0, ROW, 2 * ROW, 3 * ROW, 4 * ROW, 5 * ROW, 6 * ROW
_WIDTH = 8  # numbers in the widest vectors: arrays of such length are computed without a rest


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, inline="always")
def approach_end(k, m, s0, count, cells, decay, f, H_end, a0, a1, curvature, per_leak, w0, w1, tape_S, tape_E):
    """Hazards at the end of a bin for `count` cohorts in the order of birth: L and E are updated, S corrected by f.

    What remains of the bin is `fire`, a loop of its own, because its exponential waits for this one: a processor looks
    ahead by some hundred instructions, less than it takes to fill the time with the next cells.

    Parameters
    ----------
    k, m : int
        Rows of `decay` and of the tapes. Indices are unsigned and slices avoided: an index that may be negative would
        cost a test per cell and the vectorisation with it, a slice the counting of references.
    s0, count : int
        Place of the first count in `cells`; number of cohorts, best a multiple of `discretization.LANES`.
    cells : (K · N_CELLS,), updated
    decay : (K, ·)
        γ^(age - origin).
    f : float
        Correction of the last bin.
    H_end : float
        Predicted H(t+1) - ϑ + ln Δt.
    a0, a1, curvature, per_leak : float
        κ (τ_m dH/dt) at the start and, predicted, at the end; κ; 1/γ.
    tape_S, tape_E : (·, ·), filled
        Survival as it came in and E.
    """
    k, m = np.uintp(k), np.uintp(m)
    at_release, at_S, at_L = np.uintp(s0 + AT_RELEASE), np.uintp(s0 + AT_S), np.uintp(s0 + AT_L)
    at_E, at_x = np.uintp(s0 + AT_E), np.uintp(s0 + AT_X)
    curvature_start, weight_start, change = curvature * per_leak, w0 / w1 * f, f - 1.0
    for j in range(np.uintp(count)):
        S_in = cells[at_S + j]
        G = decay[k, j] * cells[at_release + j]
        u0, u1 = a0 + curvature_start * G, a1 + curvature * G
        D0, D1 = 1.0 - u0 + u0 * u0, 1.0 + u1 + u1 * u1
        weight = w1 / (D0 * D1)  # so that w_1 tilt(-u0) and w_1 tilt(u1) take one division
        L_end = integrated_hazard(H_end - G)
        E_end = L_end * (D0 * weight)
        cells[at_x + j] = weight_start * cells[at_L + j] * (D1 * weight) + E_end
        cells[at_S + j] = S_in * kept(change * cells[at_E + j])
        cells[at_L + j] = L_end
        cells[at_E + j] = E_end
        tape_S[m, j] = S_in
        tape_E[m, j] = E_end


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, inline="always")
def fire(s0, count, cells):
    """The bin for `count` cohorts after `approach_end`: S is updated.

    Returns
    -------
    tuple of float
        Σ p S n, Σ S n, Σ p v, Σ v, Σ p² S n, Σ p² v with v = (1 - S) S n, and the hazard Σ L S n at the end of the bin.
    """
    at_n, at_S, at_L, at_x = np.uintp(s0 + AT_N), np.uintp(s0 + AT_S), np.uintp(s0 + AT_L), np.uintp(s0 + AT_X)
    fired, mass, fired_free, mass_free, square, square_free, rate = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(np.uintp(count)):
        survival = cells[at_S + j]
        q = exp_falling(-cells[at_x + j])
        p = 1.0 - q
        mass_j = survival * cells[at_n + j]
        v = mass_j - survival * mass_j
        pm = p * mass_j
        pv = p * v
        fired += pm
        mass += mass_j
        fired_free += pv
        mass_free += v
        square += p * pm
        square_free += p * pv
        rate += cells[at_L + j] * (mass_j - pm)
        cells[at_S + j] = survival * q
    return fired, mass, fired_free, mass_free, square, square_free, rate


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def resume(n_history, windows, decay, release, slope, L, E, c):
    """Fill E (K, ≥ n_history) of the cohorts that are swept in the first bin, from L and the slope (K,) at its start.

    The bin before is not swept: E is what it would have left.
    """
    for k in range(windows.size):
        window, r, R = windows[k], int(c[k, REFRACTORY]), int(c[k, RELEASE])
        first = n_history - window
        curvature = c[k, CURVATURE] / c[k, LEAK]
        for j in range(window - r - 1):
            s = first + j
            E[k, s] = c[k, WEIGHT_END] * L[k, s] * tilt(slope[k] + curvature * decay[k, j] * release[k, s + R])


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def prepare(start, stop, stimulus, drive, H, step, c, edges):
    """What a stretch of bins has that does not depend on predictions: fills `edges` but for the last row.

    H and the slope at the end of the bin are those with the spikes of the bin, from which `forward` takes its surprise.
    """
    for k in range(stimulus.shape[0]):
        offset, curvature, u_rest, tau_m = c[k, OFFSET], c[k, CURVATURE], step.u_rest[k], step.tau_m[k]
        risen, weight_a = 1.0 - c[k, YOUNG], c[k, WEIGHT_A]
        for row in range(stop - start):
            t = start + row
            external = u_rest + stimulus[k, t]
            mu = external + tau_m * drive[k, t]
            edges[H_START, k, row], edges[H_END, k, row] = H[k, t] - offset, H[k, t + 1] - offset
            edges[A_START, k, row] = curvature * (mu - H[k, t])
            edges[A_END, k, row] = curvature * (external + tau_m * drive[k, t + 1] - H[k, t + 1])
            edges[MU, k, row] = mu
        for row in range(stop - start):
            L_a = integrated_hazard(risen * edges[MU, k, row] - offset)
            edges[L_A, k, row], edges[Q_A, k, row] = L_a, exp_falling(-weight_a * L_a)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def forward(
    start, stop, n_history, windows, decay, n, release, step, c, S, L, E, free, expected, f,
    n_bar, binomial_variance, h_unseen, surprise, cells, taped, tape_S, tape_E, records, edges,
):  # fmt: skip
    """Advance all populations over the bins [start, stop).

    Parameters
    ----------
    windows : (K,) int
        Ages tracked one by one.
    decay : (K, n_history)
        `discretization.decay_table`.
    n, release : (K, n_history + T)
        Counts, and potentials at the release of the cohorts; see `potential.forward`.
    c : (K, N_CONSTANTS)
        `mesoscopic.constants`.
    S, L, E : (K, n_history), updated
        Cohorts born in the last `n_history` bins.
    free : (K, 5), updated
        x, z, y, E of the free neurons, and the slope κ (τ_m dH/dt) predicted for the edge reached.
    expected, f : (K,), updated
        Prediction of the counts of bin `start`, and the correction of the bin before.
    n_bar, binomial_variance : (K, T), filled
        Expected count (not clipped), and its variance given the past but for the feedback within the bin.
    h_unseen : (K, ≤ T), filled
        Firing probability of a neuron that has not fired since the start of the recording.
    surprise : (K, T), filled
        Count minus its prediction from the start of the bin; 0 for sources whose spikes take a bin or longer.
    cells : (K · N_CELLS,), filled
        n_history + stop - start ≤ ROW cohorts.
    taped : bool
        Whether a reverse sweep follows. If not, all bins use the same rows of the tape: one bin is enough of it.
    tape_S, tape_E : (> rows·K, n_history + 1), filled; records : (rows·K, N_RECORDS), filled
        Row (stop - 1 - t) K + k, for the reverse sweep to read on and on; tape_E has K more, for the bin before.
    edges : (N_EDGES, K, ≥ stop - start)
        Of `prepare`; completed, with what is predicted for the ends of bins.
    """
    K = windows.size
    n_unseen = h_unseen.shape[1]
    delay_bins, feedback, feedback_gap = step.delay_bins, step.feedback, step.feedback_gap
    w0, w1 = step.weight_start, step.weight_end
    starts, ends, newborn, corrections = 0, K, 2 * K, 3 * K  # where they begin in `u`, exponents first, then hazards
    u, cap = np.zeros(_WIDTH * -(-4 * K // _WIDTH)), np.full(_WIDTH * -(-4 * K // _WIDTH), LOG_HAZARD_CAP)
    cap[corrections:] = LARGEST_CORRECTION
    log_q = np.zeros(_WIDTH * -(-2 * K // _WIDTH))  # then q, of the free neurons and those of age r + 1
    n_cohorts, first_bin = np.uintp(n_history + stop - start), np.uintp(start)
    for k in range(K):
        window, R, at = windows[k], int(c[k, RELEASE]), k * N_CELLS
        at_n, at_release, at_S = np.uintp(at + AT_N), np.uintp(at + AT_RELEASE), np.uintp(at + AT_S)
        at_L, at_E, first_released = np.uintp(at + AT_L), np.uintp(at + AT_E), np.uintp(start + R)
        for j in range(1, window - int(c[k, REFRACTORY])):
            tape_E[(stop - start if taped else 1) * K + k, j] = E[k, n_history - window + j - 1]
        for s in range(np.uintp(n_history)):
            cells[at_S + s], cells[at_L + s], cells[at_E + s] = S[k, s], L[k, s], E[k, s]
        for s in range(n_cohorts):
            cells[at_n + s] = n[k, first_bin + s]
        for s in range(np.uintp(n_history), n_cohorts):
            cells[at_S + s] = 1.0
        for s in range(n_cohorts - np.uintp(R)):  # the others are not released yet
            cells[at_release + s] = release[k, first_released + s]
    for t in range(start, stop):
        row = t - start
        m_row = (stop - 1 - t) * K if taped else 0
        own = n_history + row
        for b in range(K):
            surprise[b, t] = n[b, n_history + t] - expected[b] if delay_bins[b] == 0 else 0.0
        # potentials predicted for the end of the bin; the free neurons, corrected for the last one
        for k in range(K):
            m = m_row + k
            late, late_gap = 0.0, 0.0
            for b in range(K):
                late += feedback[k, b] * surprise[b, t]
                late_gap += feedback_gap[k, b] * surprise[b, t]
            H_end = edges[H_END, k, row] - late
            edges[H_END, k, row] = H_end
            edges[A_END, k, row] -= c[k, CURVATURE] * late_gap
            y = min(0.25 * (f[k] - 1.0) * free[k, 3], 1.0)  # kept(4 y)
            root = 1.0 - y + 0.5 * y * y
            corrected = (root * root) * (root * root)
            x = free[k, 0] * corrected
            per_x = 1.0 / (x + HARDLY_ANY)
            G = free[k, 2] * corrected * per_x
            records[m, X], records[m, Z], records[m, Y] = x, free[k, 1] * corrected * corrected, free[k, 2] * corrected
            records[m, KEPT], records[m, KEPT_SLOPE], records[m, E_FREE] = corrected, -(1.0 - y) / root, free[k, 3]
            records[m, PER_X], records[m, G_FREE] = per_x, G
            records[m, F_IN], records[m, SLOPE] = f[k], free[k, 4]
            records[m, F_INSIDE] = 1.0 if -LARGEST_CORRECTION < late < LARGEST_CORRECTION else 0.0
            u[starts + k], u[ends + k] = edges[H_START, k, row] - G, H_end - c[k, LEAK] * G
            r, R = int(c[k, REFRACTORY]), int(c[k, RELEASE])
            if R > r:  # released in this bin
                H_0 = edges[H_START, k, row] + c[k, OFFSET]
                at_release = H_0 + c[k, RELEASE_SLOPE] * (edges[MU, k, row] - H_0)
            else:
                at_release = release[k, n_history + t - r - 1 + R]
            u[newborn + k] = H_end - decay[k, windows[k] - r - 1] * at_release
            u[corrections + k] = min(max(late, -LARGEST_CORRECTION), LARGEST_CORRECTION)
        # the cohorts' hazards, while the scalars above become ready for vectors
        for k in range(K):
            r = int(c[k, REFRACTORY])
            approach_end(
                k, m_row + k, k * N_CELLS + own - windows[k], windows[k] - r - 1, cells, decay, f[k],
                edges[H_END, k, row], edges[A_START, k, row], edges[A_END, k, row], c[k, CURVATURE], 1.0 / c[k, LEAK],
                w0, w1, tape_S, tape_E,
            )  # fmt: skip
        for j in range(u.size):
            capped = min(u[j], cap[j])
            u[j] = exp_falling(capped) * (1.0 + (u[j] - capped))
        for k in range(K):
            m = m_row + k
            G, curvature = records[m, G_FREE], c[k, CURVATURE]
            tilt_start = tilt(-edges[A_START, k, row] - curvature * G)
            tilt_end = tilt(edges[A_END, k, row] + curvature * c[k, LEAK] * G)
            free[k, 3] = w1 * u[ends + k] * tilt_end
            log_q[k] = -(w0 * u[starts + k] * tilt_start + free[k, 3])
            log_q[K + k] = -(c[k, WEIGHT_B_START] * edges[L_A, k, row] + c[k, WEIGHT_B_END] * u[newborn + k])
            records[m, L_START], records[m, L_END] = u[starts + k], u[ends + k]
            records[m, TILT_START], records[m, TILT_END] = tilt_start, tilt_end
        for j in range(log_q.size):
            log_q[j] = exp_falling(log_q[j])
        for k in range(K):
            window, r, R = windows[k], int(c[k, REFRACTORY]), int(c[k, RELEASE])
            m = m_row + k
            leak, curvature, a1 = c[k, LEAK], c[k, CURVATURE], edges[A_END, k, row]
            unseen = t < n_unseen
            # cohorts, those from before the recording apart: the younger part first
            count = window - r - 1
            n_old = min(max(window - t, 0), count) if unseen else 0
            at = k * N_CELLS
            first, last = at + own - window, at + own - r - 1  # places of their counts in `cells`
            P0, M0, W0, V0, PP0, QQ0, B0 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            fired, mass, fired_free, mass_free, square, square_free, rate = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for part in range(2 if n_old > 0 else 1):
                lo, size = (n_old, count - n_old) if part == 0 else (0, n_old)
                add = fire(first + lo, size, cells)
                if part == 0:
                    fired, mass, fired_free, mass_free, square, square_free, rate = add
                else:
                    P0, M0, W0, V0, PP0, QQ0, B0 = add
            # age r + 1
            L_b, q_b = u[newborn + k], log_q[K + k]
            p_b = 1.0 - q_b
            survival = cells[last + AT_S]
            mass_b = survival * cells[last]
            if unseen and t < r + 1:
                P0 += p_b * mass_b
                M0 += mass_b
            else:
                fired += p_b * mass_b
                mass += mass_b
            v = (1.0 - survival) * mass_b
            fired_free += p_b * v
            mass_free += v
            square += p_b * p_b * mass_b
            square_free += p_b * p_b * v
            rate += L_b * q_b * mass_b
            tilt_b = tilt(a1 + curvature * decay[k, count] * cells[last + AT_RELEASE])
            E_b = w1 * L_b * tilt_b
            cells[last + AT_S], cells[last + AT_L], cells[last + AT_E] = survival * q_b, L_b, E_b
            records[m, L_B], records[m, Q_B], records[m, E_B], records[m, TILT_B] = L_b, q_b, E_b, tilt_b
            tape_S[m, count], tape_E[m, count] = survival, E_b
            # age r
            if r > 0:
                q_a = edges[Q_A, k, row]
                p_a = 1.0 - q_a
                mass_a = cells[last + 1]
                if unseen and t < r:
                    P0 += p_a * mass_a
                    M0 += mass_a
                else:
                    fired += p_a * mass_a
                    mass += mass_a
                square += p_a * p_a * mass_a
                rate += c[k, PARTLY_RELEASED] * edges[L_A, k, row] * q_a * mass_a
                cells[last + 1 + AT_S] = q_a
            # younger ones are mass only
            for s in range(last + 2, at + own):
                if unseen and s < at + own - t:
                    M0 += cells[s]
                else:
                    mass += cells[s]
            # free neurons
            x, z, y, q, L_free = records[m, X], records[m, Z], records[m, Y], log_q[k], u[ends + k]
            p = 1.0 - q
            if unseen:
                h_unseen[k, t] = (P0 + p * x) / (M0 + x + HARDLY_ANY) if t < window else p
            fired += P0 + p * x
            mass += M0 + x
            fired_free += W0 + p * (x - z)
            mass_free += V0 + (x - z) + HARDLY_ANY
            square += PP0 + p * p * x
            square_free += QQ0 + p * p * (x - z)
            rate += B0 + L_free * q * x
            N = c[k, SIZE]
            missing, per_free = N - mass, 1.0 / mass_free
            share, square_share = fired_free * per_free, square_free * per_free
            mean = fired + share * missing
            n_bar[k, t] = mean
            binomial_variance[k, t] = mean - square + square_free - fired_free * share - missing * square_share
            # the oldest cohort becomes free
            S_out = cells[first + AT_S]
            leaving = S_out * cells[first]
            free[k, 0] = x * q + leaving
            free[k, 1] = z * q * q + leaving * S_out
            free[k, 2] = y * q * leak + leaving * decay[k, 0] * cells[first + AT_RELEASE]
            free[k, 4] = a1
            # the count expected from the hazards at the start of the next bin
            f[k] = u[corrections + k]
            taken_over = missing + fired - n[k, n_history + t]
            due = f[k] * rate + share * taken_over
            expected[k] = min(max(due, 0.0), N)
            records[m, F_OUT], records[m, DUE_INSIDE] = f[k], 1.0 if 0.0 < due < N else 0.0
            records[m, MISSING], records[m, SHARE], records[m, PER_FREE] = missing, share, per_free
            records[m, SQUARE_SHARE], records[m, TAKEN_OVER], records[m, RATE] = square_share, taken_over, rate
            records[m, Q_FREE], records[m, S_OUT] = q, S_out
    for k in range(K):
        at = k * N_CELLS + stop - start
        for s in range(n_history):
            S[k, s], L[k, s], E[k, s] = cells[at + AT_S + s], cells[at + AT_L + s], cells[at + AT_E + s]
