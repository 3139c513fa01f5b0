"""Binomial random numbers, many at a time: by inversion, side by side, so that the search vectorises."""

import math

from numba import njit

from .elementary import exp_falling, log

# Numbers that are searched together, and steps between two looks whether all are found.
TOGETHER, _STEPS = 64, 8
# Above this mean (of the rarer outcome) the search takes longer than rejection does, number by number.
_LARGEST_MEAN = 60.0


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def _draw_one(rng, n, share):
    """The same numbers as `draw_binomial` for one share, without arrays: what a simulation draws."""
    p = min(share, 1.0 - share)
    if n * p > _LARGEST_MEAN:
        return float(rng.binomial(int(n), share))
    u, odds, term, x = rng.random(), p / (1.0 - p), exp_falling(n * log(1.0 - p)), 0.0
    total = term
    most = min(n, math.floor(n * p + 10.0 * math.sqrt(n * p + 1.0)) + 1.0)
    while u > total and x < most:
        x += 1.0
        term *= odds * ((n - x + 1.0) * (1.0 / x))
        total += term
    return x if share <= 0.5 else n - x


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def draw_binomial(rng, n, share, counts, room):
    """Fill `counts` with draws from Binomial(n, share).

    Inversion: the count is how many terms of the cumulative distribution a uniform number exceeds.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : (P,)
        Whole numbers.
    share : (P,)
        Between 0 and 1, both excluded.
    counts : (P,), filled
    room : (≥ 6, TOGETHER)
    """
    if share.size == 1:
        counts[0] = _draw_one(rng, n[0], share[0])
        return
    uniform, odds, term, total, found, more = room[0], room[1], room[2], room[3], room[4], room[5]
    for first in range(0, share.size, TOGETHER):
        size = min(TOGETHER, share.size - first)
        largest, largest_n = 0.0, 0.0
        for j in range(size):
            p = share[first + j]
            largest = max(largest, n[first + j] * min(p, 1.0 - p))
            largest_n = max(largest_n, n[first + j])
        if largest > _LARGEST_MEAN:
            for j in range(size):
                counts[first + j] = rng.binomial(int(n[first + j]), share[first + j])
            continue
        for j in range(size):
            uniform[j] = rng.random()
        for j in range(size):
            p = min(share[first + j], 1.0 - share[first + j])
            odds[j] = p / (1.0 - p)
            term[j] = exp_falling(n[first + j] * log(1.0 - p))
            total[j] = term[j]
            found[j] = 0.0
            more[j] = n[first + j] + 1.0
        # beyond ten standard deviations, rounding would decide
        most = int(min(largest_n, math.ceil(largest + 10.0 * math.sqrt(largest + 1.0))))
        for least in range(1, most + 1, _STEPS):
            for x in range(least, min(least + _STEPS, most + 1)):
                per_x = 1.0 / x
                for j in range(size):
                    found[j] += 1.0 if uniform[j] > total[j] else 0.0
                    term[j] *= max(more[j] - x, 0.0) * per_x * odds[j]
                    total[j] += term[j]
            missing = 0.0
            for j in range(size):
                missing += 1.0 if uniform[j] > total[j] else 0.0
            if missing == 0.0:
                break
        for j in range(size):
            counts[first + j] = found[j] if share[first + j] <= 0.5 else n[first + j] - found[j]
