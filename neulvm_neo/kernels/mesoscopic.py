"""Expected spike counts of populations from their cohorts: the equations, and one bin of a block of particles.

Wang et al. 2022, eqs. 2 and 6, and Schwalger et al. 2017, with hazards integrated over bins between their edges.

A cohort is what fired in one bin s; its age in bin t is t - s. S is its survival, L its hazard per bin at the last edge
reached, G = γ^(age - origin) H(release) what its potential lacks of the never-reset potential H: V = H - G. Per bin,

    x = w_0 L(t) tilt(-a_0 - κ G(t)) + w_1 L(t+1) tilt(a_1 + κ G(t+1)),    p = 1 - exp(-x),    tilt(u) = 1/(1 + u + u²),

the trapezoidal rule for the hazard, corrected by its slopes at both ends (a = κ τ_m dH/dt, so that the argument of tilt
is Δt/6 dV/dt; 1 - u would be Hermite's rule, of the same order, but negative where potentials rise by more than 6 mV
per bin). For the second-order scheme w = (1/2, 1/2), κ = Δt/(6 τ_m); the first-order ones have w = (0, 1), κ = 0: one
hazard per bin.
L(t+1) needs H at the end of the bin, hence the counts of this very bin where synapses have no delay: they are
predicted from the hazards at its start, n̄ follows, and once the counts are known the hazards are corrected by a
single factor f = exp(H - H_predicted) per population, in the next bin: L ← f L, S ← S kept(y), where kept(y) ≈ exp(-y)
and y = (f - 1) w_1 L tilt(a + κ G), with the slope a predicted then, is what the true end of the bin adds to x.

Ages up to r are refractory, a cohort is released in the course of ages r and r + 1 (its mean potential suffices there),
ages r + 2 … window are swept in a loop that vectorises, and older neurons are free: three sums per population hold all
that is left of them, x = Σ S n, z = Σ S² n and y = Σ S n G (and E, the part of L(t+1) in their -log q).

Here, cells are in single precision, for particles, and what there is one of per population is computed for a block of
particles at a time, side by side in the rows of one small array, so that it vectorises over particles. `sweep` has the
same equations in double precision for the likelihood, which knows the counts beforehand and leaves a tape.

`step` is a `discretization.Step`. Cohort arrays are in the order of birth.
"""

import numpy as np
from numba import njit

from .elementary import LOG_HAZARD_CAP, exp_falling, exp_falling_single, integrated_hazard

# Neurons. Ratios of sums over (nearly) nobody are taken for 0: they have no meaning, and no slope to speak of.
HARDLY_ANY = 1e-12
_FAST = {"contract", "reassoc", "nsz", "arcp"}  # sums over cohorts may be reordered, which lets them vectorise
# Largest correction of the predicted potential (mV) at the end of a bin: keeps absurd parameters finite.
LARGEST_CORRECTION = 20.0

# columns of `records`, per population, from which the next bin's count is predicted: sums over all neurons
M, W, V, P, B1, N_RECORDS = range(6)
# columns of `constants`
WINDOW, REFRACTORY, RELEASE, OFFSET, LEAK, CURVATURE, SIZE, YOUNG, RELEASE_SLOPE, PARTLY_RELEASED = range(10)
WEIGHT_A, WEIGHT_B_START, WEIGHT_B_END, WEIGHT_START, WEIGHT_END, DECAY_ORIGIN, BIN_SIZE, N_CONSTANTS = range(10, 18)
# rows of `potentials`, per population
MU, H_START, H_END, GAP_END, H_UNSEEN, N_POTENTIALS = range(6)
# particles in a block, and the rows of its working array: constants, then these, then two times the sums over cohorts
BLOCK = 64
AT_MU, AT_H_START, AT_H_END, AT_GAP, X, Z, Y, FREE_E, FREE_P, SLOPE, CORRECTION, MEAN = range(18, 30)
FADE, FADE_OLDEST, S_A, N_A, S_B, N_B, RELEASE_B, L_NEWBORN, YOUNGER = range(30, 39)
N_SUMS = 7
N_OLDEST, RELEASE_OLDEST, S_LEAVING, AT_STAKE, FIRED = range(39, 44)
OLD_FIRED, N_ROWS = FIRED + N_SUMS, FIRED + 2 * N_SUMS


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def tilt(u):
    """1 - u + O(u³), but positive for every u."""
    return 1.0 / (1.0 + u + u * u)


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def kept(y):
    """exp(-y) to second order; never above exp(-y) for y < 0, never below 1/16."""
    t = min(0.25 * y, 1.0)
    fourth_root = 1.0 - t + 0.5 * t * t
    return (fourth_root * fourth_root) * (fourth_root * fourth_root)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, inline="always")
def advance_cohorts(
    i, k, n0, s0, r0, j0, count, n, S, L, release, decay, corrected, f, H_end, a, a0, a1, curvature, per_leak, w0, w1
):  # fmt: skip
    """One bin for `count` cohorts in the order of birth: S and L are updated.

    Parameters
    ----------
    i, k : int
        Rows of the state arrays and of `decay`. Indices are unsigned and slices avoided: an index that may be negative
        would cost a test per cell and the vectorisation with it, a slice the counting of references.
    n0, s0, r0, j0, count : int
        First columns in n, in S and L, in `release`, and in `decay`; number of cohorts, best a multiple of
        `discretization.LANES`.
    n, S, L, release, decay : (·, ·) float32
        Counts, survivals, hazards at the last edge as predicted there, potential at release, γ^(age - origin).
    corrected, f : bool, float32
        Correction of the last bin, if there is one: a constant, so that loops without it are compiled without it.
    H_end : float32
        Predicted H(t+1) - ϑ + ln Δt.
    a, a0, a1, curvature, per_leak : float32
        κ (τ_m dH/dt) at the start as predicted in the last bin, at the start and, predicted, at the end; κ; 1/γ.

    Returns
    -------
    tuple of float32
        Σ p S n, Σ S n, Σ p v, Σ v with v = (1 - S) S n, the hazard Σ L S n at the end of the bin, Σ p² S n and Σ p² v.
    """
    i, k = np.uintp(i), np.uintp(k)
    n0, s0, r0, j0 = np.uintp(n0), np.uintp(s0), np.uintp(r0), np.uintp(j0)
    zero, one, half, quarter = np.float32(0.0), np.float32(1.0), np.float32(0.5), np.float32(0.25)
    cap = np.float32(LOG_HAZARD_CAP)
    fired, mass, fired_free, mass_free, rate, square, square_free = zero, zero, zero, zero, zero, zero, zero
    change = (f - one) * w1
    for j in range(np.uintp(count)):
        S_in, L_in = S[i, s0 + j], L[i, s0 + j]
        G = decay[k, j0 + j] * release[i, r0 + j]
        u0, u1 = a0 + curvature * per_leak * G, a1 + curvature * G
        D0, D1 = one - u0 + u0 * u0, one + u1 + u1 * u1
        weight = one / (D0 * D1)
        survival, L_start = S_in, L_in
        if corrected:
            u = a + curvature * per_leak * G
            y = min(quarter * change * L_in / (one + u + u * u), one)
            fourth_root = one - y + half * y * y
            survival = S_in * ((fourth_root * fourth_root) * (fourth_root * fourth_root))
            L_start = f * L_in
        capped = min(H_end - G, cap)
        L_end = exp_falling_single(capped) * (one + (H_end - G - capped))
        q = exp_falling_single(-(w0 * L_start * D1 + w1 * L_end * D0) * weight)
        p = one - q
        mass_j = survival * n[i, n0 + j]
        v = (one - survival) * mass_j
        pm, pv = p * mass_j, p * v
        fired += pm
        mass += mass_j
        fired_free += pv
        mass_free += v
        rate += L_end * q * mass_j
        square += p * pm
        square_free += p * pv
        S[i, s0 + j] = survival * q
        L[i, s0 + j] = L_end
    return fired, mass, fired_free, mass_free, rate, square, square_free


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def advance_free(x, z, y, E, f, H_start, H_end, a0, a1, curvature, leak, w0, w1):
    """One bin for the free neurons.

    Returns x, z, y corrected for the last bin, q = 1 - p, L(t+1) and its part E in -log q.
    """
    c = kept((f - 1.0) * E)
    x, z, y = x * c, z * c * c, y * c
    G = y / (x + HARDLY_ANY)
    L_start, L_end = integrated_hazard(H_start - G), integrated_hazard(H_end - leak * G)
    E = w1 * L_end * tilt(a1 + curvature * leak * G)
    q = exp_falling(-(w0 * L_start * tilt(-a0 - curvature * G) + E))
    return x, z, y, q, L_end, E


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def newborn_hazards(mu, H_start, H_end, release, decay, young_decay, release_slope, released_now, offset):
    """Hazards per bin of cohorts while they are released: at the end of age r (start of age r + 1), end of age r + 1.

    `mu` is U_r + R I + τ_m Σ J I, the potential that the membrane is heading for; `released_now` says that the mean
    release falls in the present bin, whose count is not known yet: then H is continued from the start of the bin.
    """
    at_release = H_start + release_slope * (mu - H_start) if released_now else release
    return (
        integrated_hazard((1.0 - young_decay) * mu - offset),
        integrated_hazard(H_end - offset - decay * at_release),
    )


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def settled_cohorts(k, c, window, decay, H, n, mean, S, L, free):
    """State at the left edge of bin 0 of a population whose potential has been constant.

    Parameters
    ----------
    k, c
        Row of `constants`.
    decay : (window,)
        γ^(age - origin) for ages window, …, 1.
    H : float
        Potential, mV.
    n : (window,)
        Counts of the cohorts that will have ages window, …, 1 in bin 0.
    mean : float
        Count per bin before.
    S, L : (window,), filled
    free : (5,), filled
        x, z, y and E of the free neurons, and the slope κ (τ_m dH/dt) predicted for the edge reached, which is 0: x is
        what the cohorts leave unexplained of the population, but at least what has left the window of a past that went
        on for ever (even if that was more active than the population can be); the unexplained rest at H.

    Returns
    -------
    float
        Mean interval between spikes at this potential, in bins.
    """
    offset, curvature, leak = c[k, OFFSET], c[k, CURVATURE], c[k, LEAK]
    w0, w1, size = c[k, WEIGHT_START], c[k, WEIGHT_END], c[k, SIZE]
    r = int(c[k, REFRACTORY])
    L_a = integrated_hazard((1.0 - c[k, YOUNG]) * H - offset)
    explained, interval = 0.0, 0.0
    survival = 1.0
    L_start = 0.0
    for age in range(1, window + 1):
        j = window - age
        S[j] = survival
        L[j] = L_start
        explained += survival * n[j]
        interval += survival
        L_end = integrated_hazard(H - decay[j] * H - offset)
        if age < r:
            x = 0.0
        elif age == r:
            x = c[k, WEIGHT_A] * L_a
        elif age == r + 1:
            x = c[k, WEIGHT_B_START] * L_a + c[k, WEIGHT_B_END] * L_end
        else:
            x = w0 * L_start * tilt(-curvature * decay[j] / leak * H) + w1 * L_end * tilt(curvature * decay[j] * H)
        survival *= exp_falling(-x)
        L_start = L_end
    L_free = integrated_hazard(H - offset)
    q = exp_falling(-(w0 + w1) * L_free)
    leaving = min(survival * mean, size * (1.0 - q))
    free[0] = max(size - explained, leaving / (1.0 - q + HARDLY_ANY))
    free[1] = leaving * survival / (1.0 - q * q + HARDLY_ANY)
    free[2] = leaving * decay[0] * H / (1.0 - q * leak)
    free[3], free[4] = w1 * L_free, 0.0
    return interval + survival / (1.0 - q + HARDLY_ANY)


def constants(step, windows):
    """What `advance_population` needs of a `Step`, (…, K, N_CONSTANTS).

    One array, because numba counts references at every access to one of many.
    """
    shape = np.broadcast_shapes(step.leak.shape, step.log_hazard_offset.shape)
    c = np.empty((*shape, N_CONSTANTS))
    for column, value in (
        (WINDOW, windows), (REFRACTORY, step.refractory_bins), (OFFSET, step.log_hazard_offset), (LEAK, step.leak),
        (RELEASE, step.release_bins), (CURVATURE, step.curvature), (SIZE, step.n_neurons),
        (YOUNG, step.leak**step.young_power), (RELEASE_SLOPE, step.release_slope),
        (PARTLY_RELEASED, step.partly_released), (WEIGHT_A, step.weight_a), (WEIGHT_B_START, step.weight_b_start),
        (WEIGHT_B_END, step.weight_b_end), (WEIGHT_START, step.weight_start), (WEIGHT_END, step.weight_end),
        (DECAY_ORIGIN, step.decay_origin), (BIN_SIZE, step.bin_size),
    ):  # fmt: skip
        c[..., column] = value
    return c


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, forceinline=True)
def advance_block(begin, size, k, t, own, unseen, floor, block, potentials, set_of, c, n, S, L, release, decay, free,
                  f, n_bar, at_stake, records):  # fmt: skip
    """One bin of population k of the particles begin … begin + size - 1: cohorts and free neurons are updated.

    Parameters
    ----------
    t : int
        Bin: cohorts of ages above t were born before the recording.
    own : int
        Column of the cohort born in bin t.
    unseen : bool
        Whether the chance of neurons that have not fired since the start is asked for.
    floor : float
        Smallest expected count.
    block : (N_ROWS, BLOCK)
        Room. Its shape is known to the compiler, which therefore sees that rows do not overlap.
    potentials : (K, N_POTENTIALS, P)
        U_r + R I + τ_m Σ J I at the start of the bin; H at its start; H and τ_m dH/dt as predicted for its end. Filled:
        the firing probability of neurons not seen yet (that of the free neurons if it was not asked for).
    set_of : (P,) int
        Whose parameters a particle has: row set · K + population of `c` and `decay`.
    c : (sets · K, N_CONSTANTS)
    n, S, L, release, free, f, n_bar, at_stake, records
        Rows particle · K + population. f is the correction of the bin before; n̄ is filled, and the number of neurons
        N' for which Binomial(N', n̄/N') has the variance of cohorts that fire independently, each with its own p; N at
        most.
    """
    K = potentials.shape[0]
    window, r, R = int(c[k, WINDOW]), int(c[k, REFRACTORY]), int(c[k, RELEASE])
    count = window - r - 1
    n_old = min(max(window - t, 0), count) if unseen else 0
    first, last = own - window, own - r - 1
    alike = c.shape[0] == K
    if alike:
        if size < 8:  # as in simulations: too few for vectors
            for j in range(size):
                for column in range(N_CONSTANTS):
                    block[column, j] = c[k, column]
        else:
            for column in range(N_CONSTANTS):
                for j in range(size):
                    block[column, j] = c[k, column]
        for j in range(size):
            block[FADE, j] = decay[k, count]
            block[FADE_OLDEST, j] = decay[k, 0]
    for j in range(size):
        p = begin + j
        i = p * K + k
        q = k if alike else set_of[p] * K + k
        if not alike:
            for column in range(N_CONSTANTS):
                block[column, j] = c[q, column]
            block[FADE, j] = decay[q, count]
            block[FADE_OLDEST, j] = decay[q, 0]
        block[AT_MU, j], block[AT_H_START, j] = potentials[k, MU, p], potentials[k, H_START, p]
        block[AT_H_END, j], block[AT_GAP, j] = potentials[k, H_END, p], potentials[k, GAP_END, p]
        block[X, j], block[Z, j], block[Y, j] = free[i, 0], free[i, 1], free[i, 2]
        block[FREE_E, j], block[SLOPE, j], block[CORRECTION, j] = free[i, 3], free[i, 4], f[i]
        block[S_B, j], block[RELEASE_B, j], block[N_B, j] = S[i, last], release[i, last], n[i, last]
        block[N_A, j] = n[i, last + 1] if r > 0 else 0.0
        younger = 0.0
        for s in range(last + 2, own):
            younger += n[i, s]
        block[YOUNGER, j] = younger
        block[N_OLDEST, j] = n[i, first]
        block[RELEASE_OLDEST, j] = release[i, first]
        # cohorts, those from before the recording apart
        curvature = block[CURVATURE, j]
        a_start = np.float32(curvature * (block[AT_MU, j] - block[AT_H_START, j]))
        a_end, slope = np.float32(curvature * block[AT_GAP, j]), np.float32(block[SLOPE, j])
        kappa, per_leak = np.float32(curvature), np.float32(1.0 / block[LEAK, j])
        w_start, w_end = np.float32(block[WEIGHT_START, j]), np.float32(block[WEIGHT_END, j])
        f_in, H_end = np.float32(block[CORRECTION, j]), np.float32(block[AT_H_END, j] - block[OFFSET, j])
        for part in range(2):
            lo, many = (n_old, count - n_old) if part == 0 else (0, n_old)
            at = first + lo
            if part == 1 and n_old == 0:
                break
            if f_in == np.float32(1.0):  # as where delays are a bin or longer
                sums = advance_cohorts(
                    i, q, at, at, at, lo, many, n, S, L, release, decay, False, f_in, H_end, slope, a_start, a_end,
                    kappa, per_leak, w_start, w_end,
                )  # fmt: skip
            else:
                sums = advance_cohorts(
                    i, q, at, at, at, lo, many, n, S, L, release, decay, True, f_in, H_end, slope, a_start, a_end,
                    kappa, per_leak, w_start, w_end,
                )  # fmt: skip
            row = FIRED if part == 0 else OLD_FIRED
            block[row, j], block[row + 1, j] = float(sums[0]), float(sums[1])
            block[row + 2, j], block[row + 3, j], block[row + 4, j] = float(sums[2]), float(sums[3]), float(sums[4])
            block[row + 5, j], block[row + 6, j] = float(sums[5]), float(sums[6])
        if n_old == 0:
            for row in range(OLD_FIRED, OLD_FIRED + N_SUMS):
                block[row, j] = 0.0
        block[S_LEAVING, j] = S[i, first]
    b_is_old, a_is_old = unseen and t < r + 1, unseen and t < r
    ask = unseen and t < window
    released_now = R > r
    for j in range(size):
        mu, H_start, H_end = block[AT_MU, j], block[AT_H_START, j], block[AT_H_END, j]
        offset, leak, curvature = block[OFFSET, j], block[LEAK, j], block[CURVATURE, j]
        w0, w1 = block[WEIGHT_START, j], block[WEIGHT_END, j]
        a0, a1 = curvature * (mu - H_start), curvature * block[AT_GAP, j]
        x, z, y, q, L_free, E = advance_free(
            block[X, j], block[Z, j], block[Y, j], block[FREE_E, j], block[CORRECTION, j], H_start - offset,
            H_end - offset, a0, a1, curvature, leak, w0, w1,
        )  # fmt: skip
        p = 1.0 - q
        # age r + 1
        L_a, L_b = newborn_hazards(
            mu, H_start, H_end, block[RELEASE_B, j], block[FADE, j], block[YOUNG, j], block[RELEASE_SLOPE, j],
            released_now, offset,
        )  # fmt: skip
        survival = block[S_B, j]
        q_b = exp_falling(-(block[WEIGHT_B_START, j] * L_a + block[WEIGHT_B_END, j] * L_b))
        p_b = 1.0 - q_b
        mass_b = survival * block[N_B, j]
        v = (1.0 - survival) * mass_b
        # age r, and younger ones, who are mass only
        q_a = exp_falling(-block[WEIGHT_A, j] * L_a)
        p_a = 1.0 - q_a
        mass_a = block[N_A, j]
        old_b, old_a = (mass_b if b_is_old else 0.0), (mass_a if a_is_old else 0.0)
        old_fired = block[OLD_FIRED, j] + p_b * old_b + p_a * old_a
        old_mass = block[OLD_FIRED + 1, j] + old_b + old_a
        fired = block[FIRED, j] + block[OLD_FIRED, j] + p_b * mass_b + p_a * mass_a + p * x
        mass = block[FIRED + 1, j] + block[OLD_FIRED + 1, j] + mass_b + mass_a + block[YOUNGER, j] + x
        fired_free = block[FIRED + 2, j] + block[OLD_FIRED + 2, j] + p_b * v + p * (x - z)
        mass_free = block[FIRED + 3, j] + block[OLD_FIRED + 3, j] + v + (x - z) + HARDLY_ANY
        rate = block[FIRED + 4, j] + block[OLD_FIRED + 4, j] + L_b * q_b * mass_b + L_free * q * x
        rate += block[PARTLY_RELEASED, j] * L_a * q_a * mass_a
        size_k = block[SIZE, j]
        share = fired_free / mass_free
        mean = min(max(fired + share * (size_k - mass), floor), size_k * (1.0 - 1e-6))
        block[MEAN, j] = mean
        # the variance that cohorts of unequal p have is this much below the mean
        square = block[FIRED + 5, j] + block[OLD_FIRED + 5, j] + p_b * p_b * mass_b + p_a * p_a * mass_a + p * p * x
        square_free = block[FIRED + 6, j] + block[OLD_FIRED + 6, j] + p_b * p_b * v + p * p * (x - z)
        below = square - square_free + fired_free * share + (size_k - mass) * square_free / mass_free
        block[AT_STAKE, j] = min(max(mean * mean / max(below, 1e-300), mean), size_k)
        block[FIRED, j], block[FIRED + 1, j], block[FIRED + 2, j] = fired, mass, fired_free
        block[FIRED + 3, j], block[FIRED + 4, j] = mass_free, rate
        block[OLD_FIRED, j], block[OLD_FIRED + 1, j] = old_fired + p * x, old_mass + x
        # the oldest cohort becomes free
        leaving = block[S_LEAVING, j] * block[N_OLDEST, j]
        block[X, j] = x * q + leaving
        block[Z, j] = z * q * q + leaving * block[S_LEAVING, j]
        block[Y, j] = y * q * leak + leaving * block[FADE_OLDEST, j] * block[RELEASE_OLDEST, j]
        block[FREE_E, j], block[SLOPE, j], block[FREE_P, j] = E, a1, p
        block[S_B, j], block[L_NEWBORN, j], block[S_A, j] = survival * q_b, L_b, q_a
    for j in range(size):
        p = begin + j
        i = p * K + k
        S[i, last], L[i, last] = block[S_B, j], block[L_NEWBORN, j]
        if r > 0:
            S[i, last + 1] = block[S_A, j]
        free[i, 0], free[i, 1], free[i, 2] = block[X, j], block[Z, j], block[Y, j]
        free[i, 3], free[i, 4] = block[FREE_E, j], block[SLOPE, j]
        records[i, P], records[i, M], records[i, W] = block[FIRED, j], block[FIRED + 1, j], block[FIRED + 2, j]
        records[i, V], records[i, B1] = block[FIRED + 3, j], block[FIRED + 4, j]
        n_bar[i], at_stake[i] = block[MEAN, j], block[AT_STAKE, j]
        if ask:
            # of the youngest, who are mass only, those born before the recording
            before = 0.0
            for s in range(last + 2, own - t):
                before += n[i, s]
            potentials[k, H_UNSEEN, p] = block[OLD_FIRED, j] / (block[OLD_FIRED + 1, j] + before + HARDLY_ANY)
        else:
            potentials[k, H_UNSEEN, p] = block[FREE_P, j]


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def expect_next(m, f, count, n_neurons, records):
    """Count expected from the hazards at the start of the next bin, once the `count` of this one is known."""
    missing = n_neurons - records[m, M] + records[m, P] - count
    due = f * records[m, B1] + records[m, W] / records[m, V] * missing
    return min(max(due, 0.0), n_neurons)
