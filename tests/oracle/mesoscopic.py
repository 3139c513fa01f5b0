"""Slow, obvious twin of the joint likelihood: one cohort after the other, every membrane stepped by itself.

No closed form of the kernels is used where another road exists. For the second-order scheme synapses and membranes are
integrated by matrix exponentials of the pair of differential equations; every cohort has its own potential, which
starts from 0 at the moment of its mean release, instead of the never-reset potential minus a decaying share; the effect
of one spike on the rest of its bin is a quadrature. For the first-order schemes the paper's recursion is stepped for
every cohort.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.linalg import expm

CAP = math.log(20.0)
CONTAMINATION_RATE = 1e-3  # Hz, of a recorded neuron that cannot fire
NOBODY = 1e-12  # neurons; keeps ratios over an empty population at 0
WHOLE = 1e-9  # a delay or refractory time this close (in bins) to a whole number of bins is that number


class Joint(NamedTuple):
    """log p(y | n), log p(n), expected counts (T, K) and conditional variances (T, K), both before floors."""

    part_a: float
    part_b: float
    n_bar: np.ndarray
    variance: np.ndarray


def log_joint(p, n, counts, labels, history_rate, stimulus, dt, scheme, window, density, excitability=None):
    """The joint log-likelihood of one trial; `window` is one number of bins or one per population.

    `excitability`: of every recorded neuron, times whose hazard its own one is.
    """
    excitability = np.ones(len(labels)) if excitability is None else excitability
    T, K = n.shape
    network = Mesoscopic(p, history_rate, stimulus[0], dt, scheme, np.broadcast_to(window, K))
    n_bar, variance = np.zeros((T, K)), np.zeros((T, K))
    part_a = 0.0
    last = [None] * len(labels)
    for t in range(T):
        n_bar[t], variance[t] = network.expect(stimulus[t])
        for i, k in enumerate(labels):
            fired = bool(counts[t, i])
            if last[i] is None:
                h = 1.0 - (1.0 - network.h_unseen[k]) ** excitability[i]
                part_a += math.log(max(h, CONTAMINATION_RATE * dt)) if fired else math.log1p(-min(h, 1.0 - 1e-9))
            else:
                x = network.recorded_hazard(k, last[i], excitability[i])
                part_a += log_one_minus_exp(x) if fired else -x
            if fired:
                last[i] = t
        network.settle(n[t])
    part_b = 0.0
    for t in range(T):
        for k in range(K):
            given = variance[t, k] if scheme == "second-order" else None
            x, mean, N = n[t, k], n_bar[t, k], p.n_neurons[k]
            if density == "others":
                mine = [i for i, label in enumerate(labels) if label == k]
                x, mean, N = max(x - sum(counts[t, i] for i in mine), 0.0), mean * (1 - len(mine) / N), N - len(mine)
            part_b += log_density(x, mean, given, N, dt, density)
    return Joint(part_a, part_b, n_bar, variance)


def log_density(x, mean, variance, N, dt, density):
    """log p(n_t = x); `variance` None: the mean."""
    mean = min(max(mean, 1e-3 * N * dt), N * (1 - 1e-6))
    if density in ("binomial", "others"):
        choose = math.lgamma(N + 1) - math.lgamma(x + 1) - math.lgamma(N - x + 1)
        return choose + x * math.log(mean / N) + (N - x) * math.log1p(-mean / N)
    if density == "deviance":
        silent = (N - x) * math.log((N - mean) / (N - x)) if x < N else 0.0
        return silent + (x * math.log(mean / x) if x > 0 else 0.0)
    variance = mean if variance is None else max(variance, 0.05 * mean)
    log_p = -((x - mean) ** 2) / (2 * variance)
    return log_p - math.log(2 * math.pi * variance) / 2 if density == "gaussian" else log_p


def log_one_minus_exp(x):
    """log(1 - e^-x)."""
    return math.log(-math.expm1(-max(x, 1e-300)))


def hazard(log_hazard):
    """Hazard per bin: exponential, then linear."""
    return math.exp(log_hazard) if log_hazard <= CAP else 20.0 * (1.0 + log_hazard - CAP)


def tilted(w):
    """1 + w of Hermite's correction of the trapezoid, continued so that it stays positive for steep potentials."""
    return 1.0 / (1.0 - w + w**2)


class Prospect(NamedTuple):
    """What is expected of one population in the coming bin, before its counts are known."""

    n_bar: float
    v0: float  # conditional variance without feedback inside the bin
    S: list  # survivals after the bin
    L: list  # hazards at its end
    free: list  # of the free neurons after the bin: Σ S n, Σ S² n, Σ S n G, and their hazard's part of the end edge
    firing: float  # hazard times neurons at its end
    rate: float  # Λ
    missing: float  # N - M + P
    H_end: float
    rise_end: float  # slope of H at the end of the bin
    V_end: np.ndarray
    E1: float  # hazard of those just released


class Mesoscopic:
    """A network between two bins: `expect` looks one bin ahead, `settle` tells what happened in it.

    Cohorts are named by their birth bin; bins before 0 are the history, and cohort s is entry s + `before` of lists.
    """

    def __init__(self, p, history_rate, stimulus, dt, scheme, window):
        self.p, self.dt, self.scheme = p, dt, scheme
        self.window = [int(w) for w in window]
        self.second = scheme == "second-order"
        self.K = len(p.n_neurons)
        self.N = [float(N) for N in p.n_neurons]
        if self.second:
            self.d, self.psi = zip(*(whole_and_rest(x / dt) for x in p.delay), strict=True)
            self.r, self.phi = zip(*(whole_and_rest(x / dt) for x in p.t_ref), strict=True)
        else:
            self.d, self.psi = [int(np.rint(x / dt)) for x in p.delay], [0.0] * self.K
            self.r, self.phi = [int(np.rint(x / dt)) for x in p.t_ref], [0.0] * self.K
        self.history_activity = [float(rate) for rate in history_rate]
        self.counts = []  # of the bins so far, the history included
        self.before = max(self.window) + 1
        self.t = -self.before
        self.stimulus = stimulus
        self.filtered = list(self.history_activity)
        # the never-reset potential at rest, and for every cohort: survival, end-edge hazard of the last bin, potential
        self.H = [self.drive(k) + p.tau_m[k] * self.current(k) for k in range(self.K)]
        self.S, self.L, self.V = ([[] for _ in range(self.K)] for _ in range(3))
        self.x, self.z, self.y, self.x1 = ([0.0] * self.K for _ in range(4))
        self.f, self.rise_end = [1.0] * self.K, [0.0] * self.K
        history = [rate * N * dt for rate, N in zip(self.history_activity, self.N, strict=True)]
        self.predicted = history
        while self.t < 0:
            self.expect(stimulus)
            self.settle(history)
            self.predicted, self.f = history, [1.0] * self.K
            self.x, self.z, self.y, self.x1 = ([0.0] * self.K for _ in range(4))
        for k in range(self.K):
            self.start_free_neurons(k)

    def start_free_neurons(self, k):
        """Those the history's cohorts do not explain, and at least those of them that have left the window."""
        tracked = range(self.before - self.window[k], self.before)
        unexplained = self.N[k] - sum(self.S[k][i] * self.counts[i][k] for i in tracked)
        leaving = -self.window[k] - 1 + self.before  # it left the window in the last bin
        S_out, G_out = self.S[k][leaving], self.H[k] - self.V[k][leaving]
        x = max(hazard(self.H[k] - self.offset(k)), 1e-300)
        q = math.exp(-x)
        g = self.membrane(k, 1.0, self.counts[-1]) - self.membrane(k, 0.0, self.counts[-1])
        explained = min(S_out * self.counts[-1][k], self.N[k] * -math.expm1(-x))  # leaves the window in a bin
        self.x[k] = max(unexplained, explained / (-math.expm1(-x) + NOBODY))
        self.z[k] = explained * S_out / (-math.expm1(-2 * x) + NOBODY)
        self.y[k] = explained * G_out / (1.0 - q * g)

    # -- one bin -------------------------------------------------------------------------------------------------------

    def expect(self, stimulus):
        """Expected count and conditional variance of every population in the coming bin."""
        self.stimulus = stimulus
        K, dt = self.K, self.dt
        self.h_unseen = [0.0] * K
        self.prospects = [self.expect_population(k) for k in range(K)]
        n_bar = np.array([prospect.n_bar for prospect in self.prospects])
        if not self.second:
            return n_bar, n_bar.copy()
        variance = np.zeros(K)
        for k, b in itertools.product(range(K), range(K)):
            Q = n_bar[k] * self.kick_within_bin(k, b) / dt if self.d[b] == 0 else 0.0
            spread = 1.8 / (1 - self.psi[b]) - 1  # squared coefficient of variation of Q over the spike's time
            variance[k] += self.prospects[b].v0 * (((k == b) + Q) ** 2 + spread * Q**2)
        return n_bar, variance

    def expect_population(self, k):
        """`Prospect` of one population."""
        p, dt, N, r, phi = self.p, self.dt, self.N[k], self.r[k], self.phi[k]
        R, hrho = self.release(k)
        rest, off = self.drive(k), self.offset(k)
        w0, w1, weight = (0.5, 0.5, dt / 6) if self.second else (0.0, 1.0, 0.0)
        wA, w0B, w1B = self.young_weights(k)
        H, f = self.H[k], self.f[k]
        filtered_end, H_end = self.advance(k, H, self.predicted)
        V_end = self.membrane(k, np.array(self.V[k]), self.predicted)

        def slope(v):
            return (rest - v) / p.tau_m[k] + self.current(k)

        def slope_end(v):
            return (rest - v) / p.tau_m[k] + self.current(k, filtered_end)

        asymptote = rest + p.tau_m[k] * self.current(k)
        E1 = hazard(asymptote * -math.expm1(-(1 - phi) / 2 * dt / p.tau_m[k]) - off)

        fires, means, variances = [], [], []  # of the cohorts' survivors, then of the free neurons
        P0 = M0 = firing = 0.0
        S_after, L_after = list(self.S[k]), list(self.L[k])
        for s in range(max(self.t - self.window[k], -self.before), self.t):
            i = s + self.before
            age, n = self.t - s, self.counts[i][k]
            S, end = self.S[k][i], None
            if age < r:
                x = 0.0
            elif age == r:
                x = wA * E1
                firing += (1 - phi) * E1 * math.exp(-x) * n if self.second else 0.0
            elif age == r + 1:
                if R == r:
                    v_end = V_end[i]
                else:  # released in this very bin: from the potential extrapolated to that moment
                    v_end = H_end - math.exp(-(1 - hrho) * dt / p.tau_m[k]) * (H + hrho * dt * slope(H))
                end = hazard(v_end - off)
                x = w0B * E1 + w1B * end
            else:
                predicted_slope = self.rise_end[k] + (H - self.V[k][i]) / p.tau_m[k]  # at the end of the last bin
                S *= kept((f - 1) * w1 * self.L[k][i] * tilted(-weight * predicted_slope))
                end = hazard(V_end[i] - off)
                start_edge = f * self.L[k][i] * tilted(weight * slope(self.V[k][i]))
                x = w0 * start_edge + w1 * end * tilted(-weight * slope_end(V_end[i]))
            fire, m = -math.expm1(-x), S * n
            fires.append(fire)
            means.append(m)
            variances.append((1 - S) * m)
            if s < 0:
                P0, M0 = P0 + fire * m, M0 + m
            S_after[i] = S * math.exp(-x)
            L_after[i] = end
            if end is not None:
                firing += end * S_after[i] * n

        c = kept((f - 1) * self.x1[k])
        x_, z_, y_ = self.x[k] * c, self.z[k] * c**2, self.y[k] * c
        v = H - y_ / (x_ + NOBODY)
        v_end = self.membrane(k, v, self.predicted)
        end = hazard(v_end - off)
        x1 = w1 * end * tilted(-weight * slope_end(v_end))
        x = w0 * hazard(v - off) * tilted(weight * slope(v)) + x1
        fire, q = -math.expm1(-x), math.exp(-x)
        if self.t < self.window[k]:
            self.h_unseen[k] = (P0 + fire * x_) / (M0 + x_ + NOBODY)
        else:
            self.h_unseen[k] = fire
        fires.append(fire)
        means.append(x_)
        variances.append(x_ - z_)
        firing += end * q * x_

        n_bar, v0, rate, missing = given_all_are_somewhere(fires, means, variances, N)
        free = [x_ * q, z_ * q**2, x_ * q * (H_end - v_end), x1]
        i = self.t - self.window[k] + self.before
        if i >= 0:
            leaving = S_after[i] * self.counts[i][k]
            free[0] += leaving
            free[1] += leaving * S_after[i]
            free[2] += leaving * (H_end - V_end[i])
        rise_end = slope_end(H_end)
        return Prospect(n_bar, v0, S_after, L_after, free, firing, rate, missing, H_end, rise_end, V_end, E1)

    def recorded_hazard(self, k, s, excitability=1.0):
        """Hazard over the coming bin of a recorded neuron that last fired in bin s, of any age."""
        age, i, r = self.t - s, s + self.before, self.r[k]
        wA, w0B, w1B = self.young_weights(k)
        _, _, _, _, _, _, _, _, H_end, _, V_end, E1 = self.prospects[k]
        if age < r or (age == r and wA == 0):
            return CONTAMINATION_RATE * self.dt
        if age == r:
            return excitability * wA * E1
        off, tau, dt = self.offset(k), self.p.tau_m[k], self.dt
        R, hrho = self.release(k)
        if age == r + 1:
            v_end = V_end[i]
            if R > r:
                slope = (self.drive(k) - self.H[k]) / tau + self.current(k)
                v_end = H_end - math.exp(-(1 - hrho) * dt / tau) * (self.H[k] + hrho * dt * slope)
            return excitability * (w0B * E1 + w1B * hazard(v_end - off))
        v, v_end = self.V[k][i], V_end[i]
        if not self.second:
            return excitability * hazard(v_end - off)
        filtered_end, _ = self.advance(k, self.H[k], self.predicted)
        slope = (self.drive(k) - v) / tau + self.current(k)
        slope_end = (self.drive(k) - v_end) / tau + self.current(k, filtered_end)
        start, end = hazard(v - off) * tilted(dt / 6 * slope), hazard(v_end - off) * tilted(-dt / 6 * slope_end)
        return excitability * (start + end) / 2

    def settle(self, n):
        """The bin's counts are known: advance everything to its end."""
        self.counts.append([float(x) for x in n])
        filtered, predicted = None, [0.0] * self.K
        for k in range(self.K):
            then = self.prospects[k]
            V = self.membrane(k, np.array(self.V[k]), n).tolist()
            R, hrho = self.release(k)
            released = self.t - R + self.before
            if released >= 0:
                V_released = self.release_from_zero(k, hrho, n) if self.second else 0.0
                if released == len(V):
                    V.append(V_released)
                else:
                    V[released] = V_released
            if len(V) == len(self.counts) - 1:
                V.append(math.nan)  # born, not released
            filtered, H = self.advance(k, self.H[k], n)
            self.f[k] = math.exp(min(max(H - then.H_end, -20.0), 20.0))
            predicted[k] = min(max(self.f[k] * then.firing + then.rate * (then.missing - n[k]), 0.0), self.N[k])
            self.S[k], self.L[k], self.V[k] = then.S + [1.0], then.L + [None], V
            self.x[k], self.z[k], self.y[k], self.x1[k] = then.free
            self.H[k], self.rise_end[k] = H, then.rise_end
        if not self.second:
            self.f = [1.0] * self.K
        self.filtered, self.predicted = list(filtered), predicted
        self.t += 1

    # -- synapses and membranes ----------------------------------------------------------------------------------------

    def drive(self, k):
        return self.p.u_rest[k] + self.stimulus[k]

    def offset(self, k):
        return self.p.threshold[k] - math.log(self.dt)

    def current(self, k, filtered=None):
        return sum(self.p.J[k, b] * (self.filtered if filtered is None else filtered)[b] for b in range(self.K))

    def release(self, k):
        """Bins after birth in which the mean neuron of a cohort is released, and the fraction of that bin before it."""
        if not self.second:
            return self.r[k], 1.0
        rho = self.r[k] + 0.5 + self.phi[k]
        return math.floor(rho), rho - math.floor(rho)

    def young_weights(self, k):
        """Time out of refractoriness in the bins of ages r and r + 1: wA, and the shares of both edges of the second.

        A cohort is born uniformly in its bin, so that the share of it that is out at a fraction w of the first bin is
        max(0, w - φ), and of the next bin min(1, 1 - φ + w).
        """
        if not self.second:
            return 0.0, 0.0, 1.0
        phi = self.phi[k]
        first = quad(lambda w: max(0.0, w - phi), 0, 1, points=[phi])[0]
        end = quad(lambda w: w * min(1.0, 1 - phi + w), 0, 1, points=[phi])[0]
        start = quad(lambda w: (1 - w) * min(1.0, 1 - phi + w), 0, 1, points=[phi])[0]
        return (first, start, end) if self.r[k] > 0 else (0.0, start + first, end)

    def activities(self, n):
        """What arrives from every population before and after the fraction ψ of the bin, if the bin's counts are n."""
        old, new = [], []
        for b in range(self.K):
            for arriving, bin_ in ((old, self.t - self.d[b] - 1), (new, self.t - self.d[b])):
                i = bin_ + self.before
                count = n[b] if bin_ == self.t else self.counts[i][b] if i >= 0 else None
                arriving.append(self.history_activity[b] if count is None else count / (self.N[b] * self.dt))
        return old, new

    def advance(self, k, v, n, start=0.0, stop=1.0, filtered=None):
        """Filtered activities and potential of population k from fraction `start` to `stop` of the bin."""
        p = self.p
        old, new = self.activities(n)
        filtered = np.array(self.filtered if filtered is None else filtered)
        if not self.second:
            decay = np.exp(-self.dt / p.tau_syn)
            leak = 1 - self.dt / p.tau_m[k] if self.scheme == "euler" else math.exp(-self.dt / p.tau_m[k])
            kick = self.dt if self.scheme == "euler" else p.tau_m[k] * (1 - leak)
            filtered = decay * filtered + (1 - decay) * old
            return filtered, leak * v + (1 - leak) * self.drive(k) + kick * self.current(k, filtered)
        edges = sorted({start, stop, *(psi for psi in self.psi if start < psi < stop)})
        for left, right in itertools.pairwise(edges):
            arriving = [new[b] if left >= self.psi[b] else old[b] for b in range(self.K)]
            flow, response = propagator(p.tau_m[k], tuple(p.tau_syn), tuple(p.J[k]), (right - left) * self.dt)
            push = response @ [*arriving, self.drive(k)]
            v = flow[-1, -1] * v + flow[-1, :-1] @ filtered + push[-1]
            filtered = flow[:-1, :-1] @ filtered + push[:-1]
        return filtered, v

    def membrane(self, k, v, n):
        """Potentials at the end of the bin."""
        return self.advance(k, v, n)[1]

    def release_from_zero(self, k, hrho, n):
        """Potential at the end of the bin of a membrane held at 0 until fraction `hrho` of it."""
        filtered, _ = self.advance(k, 0.0, n, 0.0, hrho)
        return self.advance(k, 0.0, n, hrho, 1.0, filtered)[1]

    def kick_within_bin(self, k, b):
        """Mean over its time in the bin of the integral (mV s) by which one spike of b moves k before the bin ends."""
        p = self.p

        still = (1 - self.psi[b]) * self.dt
        return summed_response(p.tau_m[k], tuple(p.tau_syn), tuple(p.J[k]), b, still) / (self.N[b] * self.dt)


def whole_and_rest(bins):
    """Whole bins and the fraction left over."""
    whole = math.floor(bins + WHOLE)
    return whole, max(bins - whole, 0.0)


def given_all_are_somewhere(fires, means, variances, N):
    """Mean and variance of the spikes of independent cohorts, given that their sizes sum up to N.

    Also the finite-size correction rate Λ and N - M + P, which `Mesoscopic.settle` needs.
    """
    p, m, v = np.array(fires), np.array(means), np.array(variances)
    missing, V = N - m.sum(), v.sum()
    share = v / (V + NOBODY)
    sizes = m + share * missing
    covariance = np.diag(v) - np.outer(share, v)
    n_bar = p @ sizes
    return n_bar, (p * (1 - p)) @ sizes + p @ covariance @ p, p @ share, missing + p @ m


def kept(y):
    """e^-y for the survival once the true end of the last bin is known, without an exponential."""
    t = min(y / 4, 1.0)
    return (1 - t + t**2 / 2) ** 4


@functools.cache
def propagator(tau_m, tau_syn, J, h):
    """Exact flow over a time h of (I_1 … I_K, v), and its response to constant (A_1 … A_K, drive)."""
    K = len(tau_syn)
    rates = np.zeros((2 * K + 2, 2 * K + 2))
    for b in range(K):
        rates[b, b] = -1 / tau_syn[b]
        rates[b, K + 1 + b] = 1 / tau_syn[b]
        rates[K, b] = J[b]
    rates[K, K] = -1 / tau_m
    rates[K, -1] = 1 / tau_m
    flow = expm(rates * h)
    return flow[: K + 1, : K + 1], flow[: K + 1, K + 1 :]


@functools.cache
def summed_response(tau_m, tau_syn, J, b, h):
    """Integral over a time h of the potential's response to a unit step of A_b."""
    return quad(lambda u: propagator(tau_m, tau_syn, J, u)[1][-1, b], 0.0, h, epsrel=1e-12, epsabs=0.0)[0]
