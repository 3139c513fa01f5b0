"""Reverse sweep of `mesoscopic.forward`: same loops, read side by side with it."""

from numba import njit

from .mesoscopic import _FAST


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST)
def retreat_cohorts(
    n, release, decay, decay_slope, tape_S, tape_q, tape_slope, g_P, g_M, g_W, g_V, g_S, g_n, g_release
):
    """Adjoint of `advance_cohorts`; returns the sums over cohorts of g_u and of g_u · d(potential)/d(leak)."""
    total = 0.0
    total_leak = 0.0
    for j in range(n.size):
        survival = tape_S[j]
        q = tape_q[j]
        p = 1.0 - q
        per_mass = g_P * p + g_M
        per_free_mass = g_W * p + g_V
        g_p = n[j] * survival * (g_P + (1.0 - survival) * g_W) - g_S[j] * survival
        g_u = g_p * tape_slope[j]
        g_n[j] += survival * (per_mass + (1.0 - survival) * per_free_mass)
        g_S[j] = g_S[j] * q + n[j] * (per_mass + (1.0 - 2.0 * survival) * per_free_mass)
        g_release[j] -= g_u * decay[j]
        total += g_u
        total_leak -= g_u * decay_slope[j] * release[j]
    return total, total_leak


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint(
    start, stop, window, n, H, decay, decay_slope, r, n_neurons, S_final, tape_S, tape_q, tape_slope, tape_sums,
    n_bar_gradient, h_unseen_gradient, h_unseen, g_S, g_lump, g_n, g_H, g_scalars,
):  # fmt: skip
    """Pull the gradients of n̄ and of the unseen neurons' hazard back over bins [start, stop).

    Parameters
    ----------
    S_final : (L,)
        Survival of every cohort after its last tracked bin (`S` of the forward sweep once it has passed).
    n_bar_gradient, h_unseen_gradient : (L - window,)
        dL/dn̄ and dL/dh.
    g_S : (L,), g_lump : (2,), updated
        Adjoints of the state; zero before the last bin.
    g_n, g_H : (L,), updated
    g_scalars : (2,), updated
        Gradients of the offset ϑ - ln Δt and of the leak γ.
    """
    for t in range(stop - 1, start - 1, -1):
        oldest = t - window
        first = max(oldest, 0)
        last = max(t - r, first)
        row = t - start
        split = min(max(window, first), last)
        old, young, recent = first - oldest, split - oldest, last - oldest
        if t < window:
            total, total_leak = retreat_cohorts(
                n[first:last], H[first + r : last + r], decay[old:recent], decay_slope[old:recent],
                tape_S[row, old:recent], tape_q[row, old:recent], tape_slope[row, old:recent], 0.0, 0.0, 0.0, 0.0,
                g_S[first:last], g_n[first:last], g_H[first + r : last + r],
            )  # fmt: skip
            g_H[t] += total
            g_scalars[0] -= total
            g_scalars[1] += total_leak
            continue
        M, W, V, x, z, q, slope, mass_unseen = tape_sums[row, 0], tape_sums[row, 1], tape_sums[row, 2], tape_sums[row, 3], tape_sums[row, 4], tape_sums[row, 5], tape_sums[row, 6], tape_sums[row, 7]  # fmt: skip # noqa: E501
        p = 1.0 - q
        # the oldest cohort becomes free
        leaving = S_final[first]
        g_x_new, g_z_new = g_lump[0], g_lump[1]
        g_S[first] += n[first] * (g_x_new + 2.0 * leaving * g_z_new)
        g_n[first] += leaving * (g_x_new + leaving * g_z_new)
        g_x = g_x_new * q
        g_z = g_z_new * q * q
        g_q = g_x_new * x + g_z_new * 2.0 * z * q
        # n̄ = P + W / V (N - M)
        g = n_bar_gradient[t - window]
        missing = n_neurons - M
        g_P = g
        g_W = g * missing / V
        g_V = -g * W * missing / (V * V)
        g_M = -g * W / V
        g_P0 = g_P
        g_M0 = g_M
        g_h = h_unseen_gradient[t - window]
        if t < 2 * window:
            g_P0 += g_h / mass_unseen
            g_M0 -= g_h * h_unseen[t - window] / mass_unseen
            g_x += g_P0 * p + g_M0
            g_q -= g_P0 * x
        else:
            g_x += g_P * p + g_M
            g_q -= g_P * x + g_h
        g_x += g_W * p + g_V
        g_z -= g_W * p + g_V
        g_q -= g_W * (x - z)
        for s in range(last, t):
            g_n[s] += g_M0 if s < window else g_M
        total0, total_leak0 = retreat_cohorts(
            n[first:split], H[first + r : split + r], decay[old:young], decay_slope[old:young],
            tape_S[row, old:young], tape_q[row, old:young], tape_slope[row, old:young], g_P0, g_M0, g_W, g_V,
            g_S[first:split], g_n[first:split], g_H[first + r : split + r],
        )  # fmt: skip
        total, total_leak = retreat_cohorts(
            n[split:last], H[split + r : last + r], decay[young:recent], decay_slope[young:recent],
            tape_S[row, young:recent], tape_q[row, young:recent], tape_slope[row, young:recent], g_P, g_M, g_W, g_V,
            g_S[split:last], g_n[split:last], g_H[split + r : last + r],
        )  # fmt: skip
        total += total0 - g_q * slope  # dq/du = -dp/du
        g_H[t] += total
        g_scalars[0] -= total
        g_scalars[1] += total_leak + total_leak0
        if t == window:  # the neurons that the history leaves unexplained: x = max(N - Σ S n, 0), z = x S_oldest / 2
            oldest_survival = tape_S[row, 0] if last > first else 1.0
            g_S[0] += 0.5 * x * g_z
            if x > 0.0:
                g_explained = -(g_x + 0.5 * oldest_survival * g_z)
                for s in range(first, t):
                    survival = tape_S[row, s - oldest] if s < last else 1.0
                    g_S[s] += g_explained * n[s]
                    g_n[s] += g_explained * survival
            g_lump[0] = 0.0
            g_lump[1] = 0.0
        else:
            g_lump[0] = g_x
            g_lump[1] = g_z
