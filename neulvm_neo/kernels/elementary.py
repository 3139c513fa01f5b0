"""The scalar functions all kernels share; branch-free, so that loops over cohorts vectorise.

numba inlines them into the calling kernel. When this file changes, the kernels that call it must be recompiled
(delete ``__pycache__``; `.ci/run` starts with an empty cache), because numba's disk cache does not see it.
"""

import math

import numpy as np
from numba import njit

# Beyond this log of the bin-integrated hazard (x = 20: the neuron fires with probability 1 - 2e-9 anyway) the hazard
# continues linearly: parameters far off then meet a slope instead of an overflow. The function stays continuously
# differentiable.
LARGEST_CURVED_HAZARD = 20.0
LOG_HAZARD_CAP = math.log(LARGEST_CURVED_HAZARD)

_LOG2_E = 1.4426950408889634
_LN2 = 0.6931471805599453

# Added to a number below 2^51, leaves its nearest whole number in the low bits of the sum.
_ROUND = 6755399441055744.0  # 1.5 * 2^52
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_FUSED = {"contract"}  # products and sums in one instruction: half the time


@njit(cache=True, fastmath=_FUSED, forceinline=True)
def exp_falling(x):
    """exp(x) for x ≤ 709; clipped below -708, where it is 3e-308.

    By argument reduction, x = k ln 2 + r, and a polynomial of degree 9 in its even and odd parts: of those that begin
    with 1 + r (so that 1 - exp(-x) is x for small x) the one with the least relative error at |r| ≤ ln 2 / 2, 1.7e-14.
    Relative error below 2e-14 where |x| < 50, below 6e-14 elsewhere (ln 2 in one number).
    """
    x = max(x, -708.0)
    shifted = x * _LOG2_E + _ROUND
    r = x - (shifted - _ROUND) * _LN2
    r2 = r * r
    odd = 2.7493105145960117e-06
    odd = odd * r2 + 0.00019841538924789167
    odd = odd * r2 + 0.00833333309526728
    odd = odd * r2 + 0.16666666667264687
    odd = odd * r2 + 1.0
    even = 2.4880795530207948e-05
    even = even * r2 + 0.001388881117253432
    even = even * r2 + 0.041666666962085076
    even = even * r2 + 0.49999999999664546
    even = even * r2 + 1.0
    # k is added to the exponent bits of a float64
    bits = np.float64(odd * r + even).view(np.int64) + np.int64(np.float64(shifted).view(np.int64) << np.int64(52))
    return np.int64(bits).view(np.float64)


@njit(cache=True, fastmath=_FUSED, forceinline=True)
def exp_falling_single(x):
    """`exp_falling` in single precision, for x ≤ 88; clipped below -87. Relative error below 3e-7."""
    x = max(x, np.float32(-87.0))
    shifted = x * np.float32(_LOG2_E) + np.float32(12582912.0)  # 1.5 * 2^23
    k = shifted - np.float32(12582912.0)
    r = (x - k * np.float32(0.693145751953125)) - k * np.float32(1.42860682030941723212e-6)
    p = np.float32(1.0 / 720.0)
    p = p * r + np.float32(1.0 / 120.0)
    p = p * r + np.float32(1.0 / 24.0)
    p = p * r + np.float32(1.0 / 6.0)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    bits = np.int32((np.float32(shifted).view(np.int32) + np.int32(127)) << np.int32(23))
    return p * np.int32(bits).view(np.float32)


@njit(cache=True, fastmath=_FUSED, forceinline=True)
def exp(x):
    """exp(x), clipped outside -708 < x < 709; see `exp_falling`."""
    return exp_falling(min(x, 709.0))


@njit(cache=True, fastmath=_FUSED, forceinline=True)
def integrated_hazard(log_hazard):
    """Hazard integrated over a bin, x = exp(log_hazard), continued linearly above `LOG_HAZARD_CAP`.

    Its derivative is min(x, `LARGEST_CURVED_HAZARD`).
    """
    capped = min(log_hazard, LOG_HAZARD_CAP)
    return exp_falling(capped) * (1.0 + (log_hazard - capped))


@njit(cache=True, fastmath=_FUSED, forceinline=True)
def log(x):
    """log x of a positive, normal x; absolute error below 3e-16 (1 + |log x|).

    x = m 2^k with m from 1/√2 to √2, and log m = 2 artanh s, s = (m - 1)/(m + 1), by its series.
    """
    bits = np.float64(x).view(np.int64)
    k = np.int64((bits - _SQRT_HALF_BITS) >> np.int64(52))
    m = np.int64(bits - np.int64(k << np.int64(52))).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    series = 1.0 / 19.0
    series = series * s2 + 1.0 / 17.0
    series = series * s2 + 1.0 / 15.0
    series = series * s2 + 1.0 / 13.0
    series = series * s2 + 1.0 / 11.0
    series = series * s2 + 1.0 / 9.0
    series = series * s2 + 1.0 / 7.0
    series = series * s2 + 1.0 / 5.0
    series = series * s2 + 1.0 / 3.0
    return np.float64(k) * _LN2 + 2.0 * (s + s * s2 * series)


@njit(cache=True, forceinline=True)
def log_one_minus_exp(x):
    """log(1 - exp(-x)) for x > 0 without cancellation."""
    if x > 0.6931471805599453:
        return math.log1p(-math.exp(-x))
    return math.log(-math.expm1(-x))
