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
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts, so that x - k ln 2 loses no digits
_LN2_LOW = 1.90821492927058770002e-10


@njit(cache=True)
def exp(x):
    """exp(x) by argument reduction and a polynomial of degree 12.

    Relative error below 1e-13 for -708 < x < 709, clipped outside.
    """
    x = min(max(x, -708.0), 709.0)
    k = np.rint(x * _LOG2_E)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    two_to_k = np.int64((np.int64(k) + np.int64(1023)) << np.int64(52))  # the exponent bits of a float64
    return p * np.int64(two_to_k).view(np.float64)


@njit(cache=True)
def integrated_hazard(log_hazard):
    """Hazard integrated over a bin, x = exp(log_hazard), continued linearly above `LOG_HAZARD_CAP`."""
    return exp(min(log_hazard, LOG_HAZARD_CAP)) * (1.0 + max(log_hazard - LOG_HAZARD_CAP, 0.0))


@njit(cache=True)
def integrated_hazard_slope(log_hazard):
    """Derivative of `integrated_hazard` with respect to its argument."""
    return exp(min(log_hazard, LOG_HAZARD_CAP))


@njit(cache=True)
def log_one_minus_exp(x):
    """log(1 - exp(-x)) for x > 0 without cancellation."""
    if x > 0.6931471805599453:
        return math.log1p(-math.exp(-x))
    return math.log(-math.expm1(-x))
