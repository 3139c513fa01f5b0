"""The least that a cohort can cost in a bin: two exponentials, for its hazard and for its survival, and nothing else.

`neulvm bench` measures these loops beside the sweeps over cohorts. Like a sweep they pass again and again over arrays
that stay in cache; unlike one they need nothing from neighbours, so that the exponentials run at full width.
"""

import numpy as np
from numba import njit

from .elementary import exp


@njit(cache=True, error_model="numpy")
def two_exponentials(a, b, n_sweeps):
    """a ← exp(-a) and b ← exp(-b), `n_sweeps` times, with the exponential of the kernels.

    Each sweep needs what the last one left, so that none can be optimised away.

    Parameters
    ----------
    a, b : (n_cells,), updated
    n_sweeps : int
    """
    for _ in range(n_sweeps):
        for j in range(a.size):
            a[j] = exp(-a[j])
            b[j] = exp(-b[j])


@njit(cache=True, error_model="numpy")
def two_library_exponentials(a, b, n_sweeps):
    """`two_exponentials` with ``np.exp``, which a compiled loop calls for one cell at a time."""
    for _ in range(n_sweeps):
        for j in range(a.size):
            a[j] = np.exp(-a[j])
            b[j] = np.exp(-b[j])
