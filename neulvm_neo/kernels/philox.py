"""Counter-based randomness: Philox4x64-10 (Salmon, Moraes, Dror, Shaw, SC 2011).

A draw is a pure function of a key and a counter, so that it does not matter which thread draws it, in which order, or
what else is drawn.
"""

import numpy as np
from numba import njit

_MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_WEYL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)  # added to the key from round to round
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(cache=True, nogil=True)
def philox(key_0, key_1, c_0, c_1, c_2, c_3):
    """Four random words from a key and a counter, all uint64; the words of ``numpy.random.Philox``.

    (NumPy increments its counter before the first block: its first block is the one of counter + 1.)
    """
    for _ in range(10):
        high_0, low_0 = _product(_MULTIPLIERS[0], c_0)
        high_1, low_1 = _product(_MULTIPLIERS[1], c_2)
        c_0, c_1, c_2, c_3 = high_1 ^ c_1 ^ key_0, low_1, high_0 ^ c_3 ^ key_1, low_0
        key_0 += _WEYL[0]
        key_1 += _WEYL[1]
    return c_0, c_1, c_2, c_3


@njit(cache=True, nogil=True)
def _product(a, b):
    """High and low word of a b by halves, which the compiler turns into one wide multiplication (20 ns per draw)."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    across = a_high * b_low + ((a_low * b_low) >> _HALF)
    middle = a_low * b_high + (across & _LOW)
    return a_high * b_high + (across >> _HALF) + (middle >> _HALF), a * b


@njit(cache=True, nogil=True)
def open_uniform(word):
    """A number strictly between 0 and 1 from the upper 52 bits of a random word: (k + 1/2) / 2^52."""
    return (np.float64(word >> np.uint64(12)) + 0.5) * 2.0**-52
