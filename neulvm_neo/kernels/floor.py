"""The least that a cohort can cost in a bin: two exponentials, for its hazard and for its survival, and nothing else.

`neulvm bench` measures these loops beside the sweeps over cohorts. Like a sweep they pass again and again over arrays
that stay in cache; unlike one they need nothing from neighbours, so that the exponentials run at full width.
"""

import numpy as np
from numba import njit

from .elementary import exp_falling, exp_falling_single


@njit(cache=True, error_model="numpy")
def two_exponentials(a, b, n_sweeps):
    """a ← exp(-a) and b ← exp(-b), `n_sweeps` times, with the exponential of the kernels.

    Each sweep needs what the last one left, so that none can be optimised away.

    Parameters
    ----------
    a, b : (n_cells,) float64, updated
    n_sweeps : int
    """
    for _ in range(n_sweeps):
        for j in range(a.size):
            a[j] = exp_falling(-a[j])
            b[j] = exp_falling(-b[j])


@njit(cache=True, error_model="numpy")
def two_exponentials_single(a, b, n_sweeps):
    """`two_exponentials` in single precision; arrays are float32."""
    for _ in range(n_sweeps):
        for j in range(a.size):
            a[j] = exp_falling_single(-a[j])
            b[j] = exp_falling_single(-b[j])


@njit(cache=True, error_model="numpy")
def two_library_exponentials(a, b, n_sweeps):
    """`two_exponentials` with ``np.exp``, which a compiled loop calls for one cell at a time."""
    for _ in range(n_sweeps):
        for j in range(a.size):
            a[j] = np.exp(-a[j])
            b[j] = np.exp(-b[j])
