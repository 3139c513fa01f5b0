"""Slow, obvious twin of the likelihood.

Plain Python over cohorts, potentials integrated step by step, straight from the paper's appendix A.
"""

import math

import numpy as np


def potential_paths(n_all, stimulus_all, p, dt, scheme):
    """Potential of every cohort at every bin, V[k][t][s], stepping each cohort's membrane equation (never using H)."""
    K, L = n_all.shape[1], n_all.shape[0]
    rate = n_all / (p.n_neurons * dt)
    r = np.rint(p.t_ref / dt).astype(int)
    d = np.rint(p.delay / dt).astype(int)
    # filtered activity of each source population by explicit convolution with the exponential kernel
    filtered = np.zeros((L, K))
    for b in range(K):
        e = math.exp(-dt / p.tau_syn[b])
        for t in range(L):
            total = 0.0
            for lag in range(t + 1):
                source = t - lag - 1 - d[b]
                total += (1 - e) * e**lag * rate[max(source, 0), b]
            total += e ** (t + 1) * rate[0, b]
            filtered[t, b] = total
    V = np.zeros((K, L, L))
    free = np.zeros((K, L))
    for k in range(K):
        tau = p.tau_m[k]
        leak = 1 - dt / tau if scheme == "euler" else math.exp(-dt / tau)
        kick = dt if scheme == "euler" else tau * (1 - leak)
        v = p.u_rest[k] + stimulus_all[0, k] + kick / (1 - leak) * sum(p.J[k, b] * rate[0, b] for b in range(K))
        for t in range(L):
            drive = (1 - leak) * (p.u_rest[k] + stimulus_all[t, k]) + kick * sum(
                p.J[k, b] * filtered[t, b] for b in range(K)
            )
            v = leak * v + drive
            free[k, t] = v
            for s in range(t):
                if t - s > r[k]:
                    before = 0.0 if t - s == r[k] + 1 else V[k, t - 1, s]
                    V[k, t, s] = leak * before + drive
    return V, free, r


def p_fire(v, threshold, dt):
    u = v - threshold + math.log(dt)
    cap = math.log(20.0)
    x = math.exp(u) if u <= cap else 20.0 * (1 + u - cap)
    return -math.expm1(-x)


def log_joint(p, n, counts, labels, history_rate, stimulus, dt, scheme, window, density):
    """(part a, part b, n_bar) of one trial."""
    T, K = n.shape
    history = np.tile(history_rate * p.n_neurons * dt, (window, 1))
    n_all = np.vstack([history, n])
    stimulus_all = np.vstack([np.tile(stimulus[0], (window, 1)), stimulus])
    V, free, r = potential_paths(n_all, stimulus_all, p, dt, scheme)
    n_bar = np.zeros((T, K))
    h_unseen = np.zeros((T, K))
    for k in range(K):
        N = p.n_neurons[k]
        S = np.ones(window + T)
        lump_x = lump_z = 0.0
        for t in range(window + T):
            oldest = max(t - window, 0)
            if t == window:
                lump_x = max(N - sum(S[s] * n_all[s, k] for s in range(t)), 0.0)
                lump_z = lump_x * S[0] / 2
            P = M = W = Z = P0 = M0 = 0.0
            for s in range(oldest, t):
                fire = p_fire(V[k, t, s], p.threshold[k], dt) if t - s > r[k] else 0.0
                m = S[s] * n_all[s, k]
                M += m
                P += fire * m
                if t - s > r[k]:
                    W += fire * (1 - S[s]) * m
                    Z += (1 - S[s]) * m
                if s < window:
                    P0 += fire * m
                    M0 += m
                S[s] *= 1 - fire
            if t < window:
                continue
            fire = p_fire(free[k, t], p.threshold[k], dt)
            i = t - window
            h_unseen[i, k] = (P0 + fire * lump_x) / (M0 + lump_x) if t < 2 * window else fire
            P += fire * lump_x
            M += lump_x
            W += fire * (lump_x - lump_z)
            Z += lump_x - lump_z
            n_bar[i, k] = P + (W / Z if Z > 0 else 0.0) * (N - M)
            leaving = S[oldest] * n_all[oldest, k]
            lump_x = lump_x * (1 - fire) + leaving
            lump_z = lump_z * (1 - fire) ** 2 + leaving * S[oldest]
    part_a = 0.0
    contamination = 1e-3 * dt
    for column, k in zip(counts.T, labels, strict=True):
        last = None
        for t in range(T):
            if last is None:
                prob = h_unseen[t, k]
            elif t - last <= r[k]:
                prob = -math.expm1(-contamination)
            else:
                prob = p_fire(V[k, window + t, window + last], p.threshold[k], dt)
            part_a += math.log(prob) if column[t] else math.log1p(-prob)
            if column[t]:
                last = t
    part_b = 0.0
    for t in range(T):
        for k in range(K):
            N = p.n_neurons[k]
            mean = min(max(n_bar[t, k], 1e-3 * N * dt), N * (1 - 1e-6))
            x = n[t, k]
            if density == "binomial":
                part_b += (
                    math.lgamma(N + 1)
                    - math.lgamma(x + 1)
                    - math.lgamma(N - x + 1)
                    + x * math.log(mean / N)
                    + (N - x) * math.log1p(-mean / N)
                )
            else:
                part_b -= (x - mean) ** 2 / (2 * mean)
                if density == "gaussian":
                    part_b -= math.log(2 * math.pi * mean) / 2
    return part_a, part_b, n_bar
