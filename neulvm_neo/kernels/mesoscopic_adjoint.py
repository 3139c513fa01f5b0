"""Reverse sweep of `sweep` and of `mesoscopic.settled_cohorts`: same functions, same order, read side by side.

``g_`` before a name is the gradient of the objective with respect to it. The tape keeps S and E of every cell in single
precision; hazards and 1 - p follow from them, with one exponential per cell.
"""

import numpy as np
from numba import njit

from .elementary import LARGEST_CURVED_HAZARD, exp_falling, integrated_hazard
from .mesoscopic import (
    _FAST,
    CURVATURE,
    HARDLY_ANY,
    LEAK,
    OFFSET,
    PARTLY_RELEASED,
    REFRACTORY,
    RELEASE,
    RELEASE_SLOPE,
    WEIGHT_A,
    WEIGHT_B_END,
    WEIGHT_B_START,
    YOUNG,
    kept,
    tilt,
)  # fmt: skip
from .sweep import (
    A_END,
    A_START,
    AT_N,
    AT_RELEASE,
    DUE_INSIDE,
    E_B,
    E_FREE,
    F_IN,
    F_INSIDE,
    F_OUT,
    G_FREE,
    H_END,
    H_START,
    KEPT,
    KEPT_SLOPE,
    L_A,
    L_B,
    L_END,
    L_START,
    MISSING,
    MU,
    PER_FREE,
    PER_X,
    Q_A,
    Q_B,
    Q_FREE,
    RATE,
    ROW,
    S_OUT,
    SHARE,
    SLOPE,
    SQUARE_SHARE,
    TAKEN_OVER,
    TILT_B,
    TILT_END,
    TILT_START,
    X,
    Y,
    Z,
)  # fmt: skip

# Rows of cohorts, see `sweep.ROW`: counts and potentials at release, gradients of S, w_1 L and E, and of the first two.
# Rows of ages: γ^(age - origin) and its gradient, and what one loop over cohorts leaves for the next: derivatives of x
# by w_1 L and (over the part of x from the start of the bin) by a_0, of E by w_1 L and by a_1; that part; w_1 L; 1 - p.
AT_G_S, AT_G_L, AT_G_E, AT_G_N, AT_G_RELEASE, N_CELLS = 2 * ROW, 3 * ROW, 4 * ROW, 5 * ROW, 6 * ROW, 7 * ROW
AT_DECAY, AT_G_DECAY, N_AGES = 0, ROW, 9 * ROW
AT_X_BY_L, AT_X_BY_U, AT_E_BY_L, AT_E_BY_U, AT_X, AT_L, AT_Q = (row * ROW for row in range(2, 9))


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def minus_tilt_slope(u):
    """Derivative of -tilt(u)."""
    return (1.0 + 2.0 * u) * tilt(u) ** 2


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, inline="always")
def retreat_cohorts(m, m_in, s0, j0, count, given, cells, ages, tape_S, tape_E):
    """Adjoint of `sweep.approach_end` and `fire`.

    Parameters
    ----------
    m, m_in : int
        Rows of the tape, of this bin and the last one.
    s0, j0, count : int
        Place of the first count in `cells` and of its decay in `ages`; number of cohorts. The first column of the tape
        is j0 modulo N_AGES.
    cells : (K · N_CELLS,), ages : (K · N_AGES,), updated
        Gradients of the updated S, w_1 L and E become those of the ones that came in; others are added to.
    given : (16,)
        f, a, a0, a1, curvature, per_leak, w0, w1 as there (a is a1 of the last bin), and the gradients of the seven
        sums that it returns.

    Returns
    -------
    tuple of float
        Gradients of H_end, a0, a1, f, and of the curvature as it enters at the start and at the end.
    """
    m, m_in, column = np.uintp(m), np.uintp(m_in), np.uintp(j0 % N_AGES)
    at_n, at_release, at_S = np.uintp(s0 + AT_N), np.uintp(s0 + AT_RELEASE), np.uintp(s0 + AT_G_S)
    at_L, at_E = np.uintp(s0 + AT_G_L), np.uintp(s0 + AT_G_E)
    at_g_n, at_g_release = np.uintp(s0 + AT_G_N), np.uintp(s0 + AT_G_RELEASE)
    at_decay, at_g_decay = np.uintp(j0 + AT_DECAY), np.uintp(j0 + AT_G_DECAY)
    at_x_by_L, at_x_by_u = np.uintp(j0 + AT_X_BY_L), np.uintp(j0 + AT_X_BY_U)
    at_E_by_L, at_E_by_u = np.uintp(j0 + AT_E_BY_L), np.uintp(j0 + AT_E_BY_U)
    at_x, at_hazard, at_q = np.uintp(j0 + AT_X), np.uintp(j0 + AT_L), np.uintp(j0 + AT_Q)
    f, a, a0, a1, curvature, per_leak = given[0], given[1], given[2], given[3], given[4], given[5]
    w0, w1, g_fired, g_mass, g_fired_free = given[6], given[7], given[8], given[9], given[10]
    g_mass_free, g_square, g_square_free = given[11], given[12], given[13]
    g_rate = given[14] / w1
    curvature_start, weight_start, change = curvature * per_leak, w0 / w1 * f, f - 1.0
    largest_curved = w1 * LARGEST_CURVED_HAZARD
    g_H, g_start, g_end, g_f, g_bent_start, g_bent_end = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    g_log_weight = 0.0
    # hazards, from the tape; in a loop of its own, for a processor has no room for more than one long formula at a time
    for j in range(np.uintp(count)):
        E_in, E = float(tape_E[m_in, column + j + np.uintp(1)]), float(tape_E[m, column + j])
        G = ages[at_decay + j] * cells[at_release + j]
        u, u0, u1 = a + curvature_start * G, a0 + curvature_start * G, a1 + curvature * G
        D, D0, D1 = 1.0 + u + u * u, 1.0 - u0 + u0 * u0, 1.0 + u1 + u1 * u1
        inverse = 1.0 / (D0 * D1)
        tilt_start, tilt_end = D1 * inverse, D0 * inverse
        x_by_L = weight_start * tilt_start
        x_start = (E_in * D) * x_by_L
        ages[at_x_by_L + j], ages[at_x_by_u + j] = x_by_L, (1.0 - 2.0 * u0) * tilt_start
        ages[at_E_by_L + j], ages[at_E_by_u + j] = tilt_end, (-1.0 - 2.0 * u1) * (tilt_end * E)
        ages[at_x + j], ages[at_hazard + j] = x_start, E * D1
        ages[at_q + j] = exp_falling(-(x_start + E))
    for j in range(np.uintp(count)):
        S_in, E_in = float(tape_S[m, column + j]), float(tape_E[m_in, column + j + np.uintp(1)])
        decay, at_release_j, count_j = ages[at_decay + j], cells[at_release + j], cells[at_n + j]
        L_end, q = ages[at_hazard + j], ages[at_q + j]
        G, p = decay * at_release_j, 1.0 - q
        y = min(0.25 * change * E_in, 1.0)  # kept(change · E_in), and its derivative
        root = 1.0 - y + 0.5 * y * y
        root_2 = root * root
        c, c_slope = root_2 * root_2, (y - 1.0) * (root_2 * root)
        survival = S_in * c
        mass_j, alive = survival * count_j, 1.0 - survival
        # backward; of the sums first, what they gain by p, by v and by S n
        by_p, by_p_free, of_rate = g_fired + p * g_square, g_fired_free + p * g_square_free, g_rate * L_end
        per_free = g_mass_free + p * by_p_free
        per_mass = g_mass + p * by_p + alive * per_free + of_rate * q
        by_p += p * g_square + alive * (by_p_free + p * g_square_free)
        g_kept = cells[at_S + j]  # gradient of survival · q
        cells[at_g_n + j] += survival * per_mass
        g_survival = g_kept * q + count_j * (per_mass - survival * per_free)
        g_x = (mass_j * (by_p - of_rate) - g_kept * survival) * q
        g_E_end = cells[at_E + j] + g_x
        g_L_end = cells[at_L + j] + g_rate * (q * mass_j) + g_E_end * ages[at_E_by_L + j]
        of_x = g_x * ages[at_x + j]
        g_u0, g_u1 = of_x * ages[at_x_by_u + j], g_E_end * ages[at_E_by_u + j]
        g_u = g_L_end * min(L_end, largest_curved)
        g_change = c_slope * (S_in * g_survival)
        g_G = curvature_start * g_u0 + curvature * g_u1 - g_u
        cells[at_S + j] = c * g_survival
        cells[at_L + j] = g_x * ages[at_x_by_L + j]
        cells[at_E + j] = change * g_change
        cells[at_g_release + j] += g_G * decay
        ages[at_g_decay + j] += g_G * at_release_j
        g_H += g_u
        g_start += g_u0
        g_end += g_u1
        g_log_weight += of_x
        g_f += E_in * g_change
        g_bent_start += G * g_u0
        g_bent_end += G * g_u1
    return g_H, g_start, g_end, g_f + g_log_weight / f, g_bent_start, g_bent_end


@njit(cache=True, error_model="numpy", nogil=True)
def start_adjoint(
    n_history, settled, windows, decay, decay_slope, release, slope, H, n, S, L, step, g_S, g_L, g_E, g_free,
    g_expected, g_decay, g_c, g_release, g_H, g_n, g_step,
):  # fmt: skip
    """Adjoint of all that comes before the first bin: `sweep.resume`, then `mesoscopic.settled_cohorts` if `settled`.

    Then that of `decay_table` and of `constants`, whose gradients g_decay and g_c are complete.
    """
    resume_adjoint(n_history, windows, decay, decay_slope, release, slope, L, step, g_E, g_L, g_release, g_step)
    for k in range(windows.size):
        if settled:
            first = n_history - windows[k]
            g_potential, g_count = settled_adjoint(
                k, step, windows[k], decay[k], decay_slope[k], H[k, 0], n[k, 0], S[k, first:], L[k, first:],
                g_S[k, first:], g_L[k, first:], g_free[k], g_step,
            )  # fmt: skip
            g_H[k, 0] += g_potential
            g_n[k, 0] += g_count
            g_n[k, n_history - 1] += g_expected[k]
        g_leak = 0.0
        for j in range(n_history):
            g_leak += g_decay[k, j] * decay_slope[k, j]
        g_step.leak[k] += g_leak
    constants_adjoint(g_c, step, g_step)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def resume_adjoint(n_history, windows, decay, decay_slope, release, slope, L, step, g_E, g_L, g_release, g_step):
    """Adjoint of `sweep.resume`: g_L (K, ≥ n_history), gradients of w_1 L, become those of L; the slopes are given."""
    w1 = step.weight_end
    for k in range(windows.size):
        window, r, R = windows[k], step.refractory_bins[k], step.release_bins[k]
        first = n_history - window
        leak = step.leak[k]
        curvature = step.curvature[k] / leak
        for s in range(first, n_history):
            g_L[k, s] *= w1
        for j in range(window - r - 1):
            s = first + j
            u = slope[k] + curvature * decay[k, j] * release[k, s + R]
            g_L[k, s] += w1 * tilt(u) * g_E[k, s]
            g_u = -g_E[k, s] * w1 * L[k, s] * minus_tilt_slope(u)
            g_curvature = g_u * decay[k, j] * release[k, s + R] / leak
            g_release[k, s + R] += g_u * curvature * decay[k, j]
            g_step.curvature[k] += g_curvature
            g_step.leak[k] += g_u * curvature * decay_slope[k, j] * release[k, s + R] - curvature * g_curvature


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def settled_adjoint(k, step, window, decay, decay_slope, H, n, S, L, g_S, g_L, g_free, g_step):
    """Adjoint of `settled_cohorts` where all counts are n: from g_S, g_L (window,) and g_free (5,).

    Adds to g_step; returns the gradients of H and n.
    """
    offset, curvature, leak, power = step.log_hazard_offset[k], step.curvature[k], step.leak[k], step.young_power[k]
    r = step.refractory_bins[k]
    young = leak**power
    L_a = integrated_hazard((1.0 - young) * H - offset)
    # forward again: survival after the last age, free neurons
    L_out = integrated_hazard(H - decay[0] * H - offset)
    u1 = curvature * decay[0] * H
    survival = S[0] * exp_falling(-(step.weight_start * L[0] * tilt(-u1 / leak) + step.weight_end * L_out * tilt(u1)))
    explained = 0.0
    for j in range(window):
        explained += S[j] * n
    L_free = integrated_hazard(H - offset)
    weight = step.weight_start + step.weight_end
    q = exp_falling(-weight * L_free)
    N, per_x = step.n_neurons[k], 1.0 / (1.0 - q + HARDLY_ANY)
    leaving = min(survival * n, N * (1.0 - q))
    per_z, per_y = 1.0 / (1.0 - q * q + HARDLY_ANY), 1.0 / (1.0 - q * leak)
    g_x = g_free[0]
    g_n = 0.0
    g_leaving = g_free[1] * survival * per_z + g_free[2] * decay[0] * H * per_y
    g_survival = g_free[1] * leaving * per_z
    g_G_out = g_free[2] * leaving * per_y
    g_H = g_G_out * decay[0]
    g_q = g_free[1] * leaving * survival * 2.0 * q * per_z * per_z + g_G_out * decay[0] * H * per_y * leak
    g_leak = g_G_out * H * (decay_slope[0] + decay[0] * per_y * q)
    g_explained = 0.0
    if N - explained >= leaving * per_x:
        g_explained = -g_x
    else:
        g_leaving += g_x * per_x
        g_q += g_x * leaving * per_x * per_x
    if survival * n < N * (1.0 - q):
        g_survival += g_leaving * n
        g_n += g_leaving * survival
    else:
        g_q -= g_leaving * N
    g_L_free = g_free[3] * step.weight_end - g_q * q * weight
    g_u = g_L_free * min(L_free, LARGEST_CURVED_HAZARD)
    g_H += g_u
    g_offset = -g_u
    g_curvature = 0.0
    g_L_a = 0.0
    g_L_next = 0.0  # of the hazard at the start of the next age
    for age in range(window, 0, -1):
        j = window - age
        L_end = integrated_hazard(H - decay[j] * H - offset)
        u1 = curvature * decay[j] * H
        u0 = u1 / leak
        tilt_start, tilt_end = tilt(-u0), tilt(u1)
        if age < r:
            x_age = 0.0
        elif age == r:
            x_age = step.weight_a[k] * L_a
        elif age == r + 1:
            x_age = step.weight_b_start[k] * L_a + step.weight_b_end[k] * L_end
        else:
            x_age = step.weight_start * L[j] * tilt_start + step.weight_end * L_end * tilt_end
        passed = exp_falling(-x_age)
        g_x_age = -g_survival * S[j] * passed
        g_L_end = g_L_next
        g_L_start = 0.0
        if age == r:
            g_L_a += g_x_age * step.weight_a[k]
        elif age == r + 1:
            g_L_a += g_x_age * step.weight_b_start[k]
            g_L_end += g_x_age * step.weight_b_end[k]
        elif age > r + 1:
            g_L_start = g_x_age * step.weight_start * tilt_start
            g_L_end += g_x_age * step.weight_end * tilt_end
            g_u0 = g_x_age * step.weight_start * L[j] * minus_tilt_slope(-u0)
            g_u1 = -g_x_age * step.weight_end * L_end * minus_tilt_slope(u1) + g_u0 / leak
            g_curvature += g_u1 * decay[j] * H
            g_H += g_u1 * curvature * decay[j]
            g_leak += g_u1 * curvature * decay_slope[j] * H - g_u0 * u0 / leak
        g_u = g_L_end * min(L_end, LARGEST_CURVED_HAZARD)
        g_H += g_u * (1.0 - decay[j])
        g_offset -= g_u
        g_leak -= g_u * decay_slope[j] * H
        g_survival = g_survival * passed + g_S[j] + g_explained * n
        g_n += g_explained * S[j]
        g_L_next = g_L_start + g_L[j]
    g_u = g_L_a * min(L_a, LARGEST_CURVED_HAZARD)
    g_H += g_u * (1.0 - young)
    g_offset -= g_u
    g_leak -= g_u * H * power * leak ** (power - 1.0)
    g_step.leak[k] += g_leak
    g_step.curvature[k] += g_curvature
    g_step.log_hazard_offset[k] += g_offset
    return g_H, g_n


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def constants_adjoint(g_c, step, g_step):
    """Adjoint of `constants` for those that are fitted: adds to g_step."""
    for k in range(g_c.shape[0]):
        power = step.young_power[k]
        g_step.leak[k] += g_c[k, LEAK] + g_c[k, YOUNG] * power * step.leak[k] ** (power - 1.0)
        g_step.log_hazard_offset[k] += g_c[k, OFFSET]
        g_step.curvature[k] += g_c[k, CURVATURE]
        g_step.release_slope[k] += g_c[k, RELEASE_SLOPE]


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def prepare_adjoint(
    start, stop, drive, H, surprise, step, edges, g_edges, g_stimulus, g_drive, g_H, g_step
):  # fmt: skip
    """Adjoint of `sweep.prepare`, and of the predictions by `surprise` with which `sweep.forward` completes `edges`.

    g_edges (N_EDGES, K, ≥ stop - start) as `adjoint` leaves it; adds to the gradients after it.
    """
    K, rows = surprise.shape[0], stop - start
    for k in range(K):
        curvature, tau_m, leak, power = step.curvature[k], step.tau_m[k], step.leak[k], step.young_power[k]
        risen = 1.0 - leak**power
        per_curvature = 1.0 / curvature if curvature > 0.0 else 0.0
        g_curvature, g_offset, g_young, g_tau_m, g_u_rest = 0.0, 0.0, 0.0, 0.0, 0.0
        for row in range(rows):
            t = start + row
            mu = edges[MU, k, row]
            g_start, g_a0, g_a1 = g_edges[H_START, k, row], g_edges[A_START, k, row], g_edges[A_END, k, row]
            g_u = g_edges[L_A, k, row] * min(edges[L_A, k, row], LARGEST_CURVED_HAZARD)
            g_mu = g_edges[MU, k, row] + g_u * risen + g_a0 * curvature
            g_gap = g_a1 * curvature
            g_young -= g_u * mu
            g_offset -= g_u + g_start + g_edges[H_END, k, row]
            g_curvature += g_a0 * edges[A_START, k, row] + g_a1 * edges[A_END, k, row]
            g_H[k, t] += g_start - g_a0 * curvature
            g_drive[k, t] += g_mu * tau_m
            g_tau_m += g_mu * drive[k, t] + g_gap * drive[k, t + 1]
            g_stimulus[k, t] += g_mu + g_gap
            g_u_rest += g_mu + g_gap
        for row in range(rows):
            g_gap = g_edges[A_END, k, row] * curvature
            g_H[k, start + row + 1] += g_edges[H_END, k, row] - g_gap
            g_drive[k, start + row + 1] += g_gap * tau_m
        for b in range(K):
            g_late, g_late_gap = 0.0, 0.0
            for row in range(rows):
                g_late += surprise[b, start + row] * (g_edges[Q_A, k, row] - g_edges[H_END, k, row])
                g_late_gap -= surprise[b, start + row] * g_edges[A_END, k, row]
            g_step.feedback[k, b] += g_late
            g_step.feedback_gap[k, b] += g_late_gap * curvature
        g_step.curvature[k] += g_curvature * per_curvature
        g_step.log_hazard_offset[k] += g_offset
        g_step.leak[k] += g_young * power * leak ** (power - 1.0)
        g_step.tau_m[k] += g_tau_m
        g_step.u_rest[k] += g_u_rest


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def adjoint(
    start, stop, n_history, windows, decay, n, release, step, c, h_unseen, tape_S, tape_E, records, edges,
    g_n_bar, g_variance, g_h_unseen, g_edges, g_S, g_L, g_E, g_free, g_expected, g_f, g_n, g_release, g_decay, g_step,
    cells, ages,
):  # fmt: skip
    """Pull gradients back over the bins [start, stop) that `sweep.forward` has just taped.

    Parameters
    ----------
    g_n_bar, g_variance : (K, stop - start), g_h_unseen : (K, ≤ T)
        Gradients of what the sweep returns.
    g_edges : (N_EDGES, K, stop - start), updated
        The first five rows, those of `edges` from recorded neurons, become those from everything; filled are L_A and,
        in the row Q_A, the gradient of log f after the bin.
    g_S, g_L, g_E : (K, n_history), g_free : (K, 5), g_expected, g_f : (K,), updated
        Gradients of the state at `stop` become those of the state at `start`; g_L is that of w_1 L, g_f that of the
        correction f of the bin before.
    g_n, g_release, g_step : updated
    g_decay : (K, n_history), updated
    cells : (K · N_CELLS,), ages : (K · N_AGES,), filled
    """
    K = windows.size
    n_unseen = h_unseen.shape[1]
    w0, w1 = step.weight_start, step.weight_end
    delay_bins, feedback, feedback_gap = step.delay_bins, step.feedback, step.feedback_gap
    g_release_slope, g_leaks, g_curvatures = g_step.release_slope, g_step.leak, g_step.curvature
    g_offsets = g_step.log_hazard_offset
    g_surprise, given = np.empty(K), np.empty(16)
    rows = stop - start
    n_given, n_cohorts, first_bin = np.uintp(n_history), np.uintp(n_history + rows), np.uintp(start)
    for k in range(K):
        R, at, at_age = step.release_bins[k], k * N_CELLS, k * N_AGES
        at_n, at_g_n, at_g_S = np.uintp(at + AT_N), np.uintp(at + AT_G_N), np.uintp(at + AT_G_S)
        at_g_L, at_g_E = np.uintp(at + AT_G_L), np.uintp(at + AT_G_E)
        at_release, at_g_release = np.uintp(at + AT_RELEASE), np.uintp(at + AT_G_RELEASE)
        at_decay, at_g_decay = np.uintp(at_age + AT_DECAY), np.uintp(at_age + AT_G_DECAY)
        first_released, later = np.uintp(start + R), np.uintp(rows)
        for s in range(n_cohorts):
            cells[at_n + s] = n[k, first_bin + s]
            cells[at_g_n + s], cells[at_g_release + s] = 0.0, 0.0
        for s in range(n_cohorts - np.uintp(R)):
            cells[at_release + s] = release[k, first_released + s]
        for s in range(later):
            cells[at_g_S + s], cells[at_g_L + s], cells[at_g_E + s] = 0.0, 0.0, 0.0
        for s in range(n_given):
            cells[at_g_S + later + s] = g_S[k, s]
            cells[at_g_L + later + s] = g_L[k, s]
            cells[at_g_E + later + s] = g_E[k, s]
            ages[at_decay + s], ages[at_g_decay + s] = decay[k, s], 0.0
    for t in range(stop - 1, start - 1, -1):
        row = t - start
        m_row = (stop - 1 - t) * K
        here = n_history + t
        g_surprise[:] = 0.0
        # the prediction of the next bin's counts, and the correction f
        for k in range(K):
            m = m_row + k
            g_due = g_expected[k] * records[m, DUE_INSIDE]
            g_log_f = records[m, F_OUT] * records[m, F_INSIDE] * (g_f[k] + g_due * records[m, RATE])
            g_edges[Q_A, k, row] = g_log_f
            for b in range(K):
                g_surprise[b] += feedback[k, b] * g_log_f
            g_n[k, here] -= g_due * records[m, SHARE]
            g_expected[k] = g_due  # kept for the sums below
        for k in range(K):
            window, r, R = windows[k], int(c[k, REFRACTORY]), int(c[k, RELEASE])
            leak, curvature = c[k, LEAK], c[k, CURVATURE]
            m = m_row + k
            f = records[m, F_IN]
            a0, a1 = edges[A_START, k, row], edges[A_END, k, row]
            g_H_start, g_end, g_mu = g_edges[H_START, k, row], g_edges[H_END, k, row], g_edges[MU, k, row]
            g_a0, g_a1 = g_edges[A_START, k, row], g_edges[A_END, k, row]
            # gradients of the sums
            share, missing, per_free = records[m, SHARE], records[m, MISSING], records[m, PER_FREE]
            g_due = g_expected[k]
            g_rate = g_due * records[m, F_OUT]
            g_mean, g_var = g_n_bar[k, row] + g_variance[k, row], g_variance[k, row]
            g_share = g_mean * missing + g_due * records[m, TAKEN_OVER]
            g_fired = g_mean + g_due * share
            g_mass = -(g_mean + g_due) * share + g_var * records[m, SQUARE_SHARE]
            g_fired_free = g_share * per_free - 2.0 * g_var * share
            g_mass_free = (missing * records[m, SQUARE_SHARE] * g_var - g_share * share) * per_free
            g_mass_free += g_var * share * share
            g_square = -g_var
            g_square_free = g_var * (1.0 - missing * per_free)
            # the oldest cohort becomes free
            own = row + n_history
            count = window - r - 1
            at, at_age = k * N_CELLS, k * N_AGES
            first, last = at + own - window, at + own - r - 1
            oldest, youngest = at_age + AT_DECAY, at_age + AT_DECAY + count
            S_out = records[m, S_OUT]
            leaving = S_out * cells[first]
            g_x_out, g_z_out, g_y_out = g_free[k, 0], g_free[k, 1], g_free[k, 2]
            g_leaving = g_x_out + S_out * g_z_out + ages[oldest] * cells[first + AT_RELEASE] * g_y_out
            cells[first + AT_G_S] += g_leaving * cells[first] + leaving * g_z_out
            cells[first + AT_G_N] += g_leaving * S_out
            cells[first + AT_G_RELEASE] += g_y_out * leaving * ages[oldest]
            ages[at_age + AT_G_DECAY] += g_y_out * leaving * cells[first + AT_RELEASE]
            # free neurons: mass and probability to fire
            x, z, y = records[m, X], records[m, Z], records[m, Y]
            q, L_free = records[m, Q_FREE], records[m, L_END]
            p = 1.0 - q
            g_x = g_x_out * q + g_fired * p + g_mass + g_fired_free * p + g_mass_free + g_rate * L_free * q
            g_x += p * p * (g_square + g_square_free)
            g_z = g_z_out * q * q - g_fired_free * p - g_mass_free - g_square_free * p * p
            g_y = g_y_out * q * leak
            g_p = g_fired * x + g_fired_free * (x - z) + 2.0 * p * (g_square * x + g_square_free * (x - z))
            g_p -= g_x_out * x + 2.0 * q * g_z_out * z + g_y_out * y * leak + g_rate * L_free * x
            g_fired_old, g_mass_old, n_old = g_fired, g_mass, 0
            if t < n_unseen:
                g_h = g_h_unseen[k, t]
                if t < window:
                    n_old = min(window - t, count)
                    unseen_mass = HARDLY_ANY + x
                    for j in range(n_old):
                        left = tape_S[m, j] * kept((f - 1.0) * tape_E[m + K, j + 1])
                        unseen_mass += left * cells[first + j]
                    if t < r + 1:
                        unseen_mass += tape_S[m, count] * cells[last]
                    for s in range(last + 1, at + own - t):
                        unseen_mass += cells[s]
                    g_p += g_h * x / unseen_mass
                    g_x += g_h * (p - h_unseen[k, t]) / unseen_mass
                    g_fired_old += g_h / unseen_mass
                    g_mass_old -= g_h * h_unseen[k, t] / unseen_mass
                else:
                    g_p += g_h
            # their hazards, and the correction for the last bin
            G, tilt_start, tilt_end = records[m, G_FREE], records[m, TILT_START], records[m, TILT_END]
            u0, u1 = a0 + curvature * G, a1 + curvature * leak * G
            g_hazard = g_p * q
            g_E_free = g_free[k, 3] + g_hazard
            g_L_free = g_rate * q * x + g_E_free * w1 * tilt_end
            g_u0 = g_hazard * w0 * records[m, L_START] * (1.0 - 2.0 * u0) * tilt_start * tilt_start
            g_u1 = -g_E_free * w1 * L_free * (1.0 + 2.0 * u1) * tilt_end * tilt_end
            g_start_free = g_hazard * w0 * tilt_start * min(records[m, L_START], LARGEST_CURVED_HAZARD)
            g_end_free = g_L_free * min(L_free, LARGEST_CURVED_HAZARD)
            g_G = curvature * (g_u0 + leak * g_u1) - g_start_free - leak * g_end_free
            g_leak = g_y_out * y * q + G * (curvature * g_u1 - g_end_free)
            g_curvature = G * (g_u0 + leak * g_u1)
            g_H_start += g_start_free
            g_end += g_end_free
            g_a0 += g_u0
            g_a1 += g_u1
            g_y += g_G * records[m, PER_X]
            g_x -= g_G * G * records[m, PER_X]
            g_change = records[m, KEPT_SLOPE] * (g_x * x + 2.0 * g_z * z + g_y * y)
            c_free = records[m, KEPT]
            g_free[k, 0], g_free[k, 1], g_free[k, 2] = g_x * c_free, g_z * c_free * c_free, g_y * c_free
            g_free[k, 3] = (f - 1.0) * g_change
            g_f_in = records[m, E_FREE] * g_change
            # younger neurons are mass only
            for s in range(last + 2, at + own):
                cells[s + AT_G_N] += g_mass_old if s < at + own - t else g_mass
            # age r
            L_a, L_b = edges[L_A, k, row], records[m, L_B]
            g_L_a = 0.0
            if r > 0:
                q_a = edges[Q_A, k, row]
                p_a = 1.0 - q_a
                g_fired_a, g_mass_a = (g_fired_old, g_mass_old) if t < r else (g_fired, g_mass)
                g_rate_a = g_rate * c[k, PARTLY_RELEASED]
                mass = cells[last + 1]
                cells[last + 1 + AT_G_N] += p_a * (g_fired_a + p_a * g_square) + g_mass_a + g_rate_a * L_a * q_a
                g_p_a = mass * (g_fired_a + 2.0 * p_a * g_square - g_rate_a * L_a) - cells[last + 1 + AT_G_S]
                g_L_a += g_p_a * q_a * c[k, WEIGHT_A] + g_rate_a * q_a * mass
                cells[last + 1 + AT_G_S] = 0.0
            # age r + 1
            q_b = records[m, Q_B]
            p_b = 1.0 - q_b
            survival, count_b = tape_S[m, count], cells[last]
            mass = survival * count_b
            alive = 1.0 - survival
            g_fired_b, g_mass_b = (g_fired_old, g_mass_old) if t < r + 1 else (g_fired, g_mass)
            g_kept = cells[last + AT_G_S] + g_rate * L_b * count_b
            per_mass = g_mass_b + p_b * (g_fired_b + p_b * g_square)
            per_alive = g_mass_free + p_b * (g_fired_free + p_b * g_square_free)
            cells[last + AT_G_N] += survival * (per_mass + alive * per_alive + g_rate * L_b * q_b)
            g_p_b = (
                mass * (g_fired_b + 2.0 * p_b * g_square + alive * (g_fired_free + 2.0 * p_b * g_square_free))
                - g_kept * survival
            )
            cells[last + AT_G_S] = g_kept * q_b + count_b * (per_mass + (alive - survival) * per_alive)
            G_b = ages[youngest] * cells[last + AT_RELEASE]
            g_E_b, tilt_b = cells[last + AT_G_E], records[m, TILT_B]
            g_u_b = -g_E_b * records[m, E_B] * (1.0 + 2.0 * (a1 + curvature * G_b)) * tilt_b
            g_L_b = w1 * (cells[last + AT_G_L] + g_E_b * tilt_b)
            g_L_b += q_b * (g_rate * mass + g_p_b * c[k, WEIGHT_B_END])
            g_L_a += g_p_b * q_b * c[k, WEIGHT_B_START]
            cells[last + AT_G_L], cells[last + AT_G_E] = 0.0, 0.0
            g_a1 += g_u_b
            g_curvature += g_u_b * G_b
            g_u = g_L_b * min(L_b, LARGEST_CURVED_HAZARD)
            g_end += g_u
            if R > r:  # released in this bin
                H_0 = edges[H_START, k, row] + c[k, OFFSET]
                distance = edges[MU, k, row] - H_0
                g_at_release = -g_u * ages[youngest]
                g_mu += g_at_release * c[k, RELEASE_SLOPE]
                g_H_start += g_at_release * (1.0 - c[k, RELEASE_SLOPE])
                g_offsets[k] += g_at_release * (1.0 - c[k, RELEASE_SLOPE])
                g_release_slope[k] += g_at_release * distance
                ages[youngest + AT_G_DECAY] -= g_u * (H_0 + c[k, RELEASE_SLOPE] * distance)
                g_G = g_u_b * curvature
            else:
                g_G = g_u_b * curvature - g_u
            ages[youngest + AT_G_DECAY] += g_G * cells[last + AT_RELEASE]
            cells[last + AT_G_RELEASE] += g_G * ages[youngest]
            # cohorts, those from before the recording apart
            for part in range(2 if n_old > 0 else 1):
                lo, size = (n_old, count - n_old) if part == 0 else (0, n_old)
                given[0], given[1], given[2], given[3], given[4] = f, records[m, SLOPE], a0, a1, curvature
                given[5], given[6], given[7] = 1.0 / leak, w0, w1
                given[8], given[9] = (g_fired, g_mass) if part == 0 else (g_fired_old, g_mass_old)
                given[10], given[11], given[12], given[13] = g_fired_free, g_mass_free, g_square, g_square_free
                given[14] = g_rate
                g_H, g_start, g_stop, gf, g_bent_start, g_bent_end = retreat_cohorts(
                    m, m + K, first + lo, at_age + lo, size, given, cells, ages, tape_S, tape_E
                )
                g_end += g_H
                g_a0 += g_start
                g_a1 += g_stop
                g_f_in += gf
                g_curvature += g_bent_start / leak + g_bent_end
                g_leak -= curvature * g_bent_start / (leak * leak)
            g_edges[H_START, k, row], g_edges[H_END, k, row], g_edges[MU, k, row] = g_H_start, g_end, g_mu
            g_edges[A_START, k, row], g_edges[A_END, k, row], g_edges[L_A, k, row] = g_a0, g_a1, g_L_a
            for b in range(K):
                g_surprise[b] -= feedback[k, b] * g_end + feedback_gap[k, b] * curvature * g_a1
            g_leaks[k] += g_leak
            g_curvatures[k] += g_curvature
            g_f[k] = g_f_in
        for b in range(K):
            if delay_bins[b] == 0:
                g_n[b, here] += g_surprise[b]
                g_expected[b] = -g_surprise[b]
            else:
                g_expected[b] = 0.0
    for k in range(K):
        R, at = step.release_bins[k], k * N_CELLS
        at_g_n, at_g_release, at_g_S = np.uintp(at + AT_G_N), np.uintp(at + AT_G_RELEASE), np.uintp(at + AT_G_S)
        at_g_L, at_g_E, at_g_decay = np.uintp(at + AT_G_L), np.uintp(at + AT_G_E), np.uintp(k * N_AGES + AT_G_DECAY)
        first_released = np.uintp(start + R)
        for s in range(n_cohorts):
            g_n[k, first_bin + s] += cells[at_g_n + s]
        for s in range(n_cohorts - np.uintp(R)):
            g_release[k, first_released + s] += cells[at_g_release + s]
        for s in range(n_given):
            g_S[k, s], g_L[k, s], g_E[k, s] = cells[at_g_S + s], cells[at_g_L + s], cells[at_g_E + s]
            g_decay[k, s] += ages[at_g_decay + s]
