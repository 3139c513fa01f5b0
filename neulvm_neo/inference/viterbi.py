"""E-step of the Baum–Viterbi algorithm.

The most probable spike counts n given the recorded spikes and the parameters.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from .. import discretization
from ..likelihood import joint


class EStep(NamedTuple):
    """New counts (n_bins, K), the expected counts n̄ there, and the E-step's own objective before and after (nats)."""

    n: np.ndarray
    n_bar: np.ndarray
    before: float
    after: float
    n_evaluations: int


def e_step(n, parameters, observation, *, bin_size, scheme, density="noise", max_iter=60):
    """Maximise log p(y | n) + log density(n) over 0 ≤ n ≤ N by L-BFGS-B with exact gradients.

    Parameters
    ----------
    n : numpy.ndarray, shape (n_bins, K)
        Start; the result is never worse.
    parameters : Parameters
    observation : Observation
    density : {"noise", "gaussian", "binomial"}
        ``"noise"`` (default) finds the mode over the noise ξ in n = n̄ + √n̄ ξ. The paper's ``"gaussian"`` keeps the
        term -½ log n̄, which rewards driving the activity to silence, and is there for comparison.
    max_iter : int
        L-BFGS iterations.

    Returns
    -------
    EStep
    """
    window = discretization.age_windows(discretization.discretize(parameters, bin_size, scheme))
    N = np.asarray(parameters.n_neurons)
    # in units of the finite-size noise the posterior is closest to a sphere
    unit = np.sqrt(np.maximum(n.mean(axis=0), 0.1))
    scale = 1.0 / n.shape[0]
    last = {}

    def objective(x):
        counts = x.reshape(n.shape) * unit
        result = joint(
            parameters, counts, observation, bin_size=bin_size, scheme=scheme, window=window, density=density
        )
        if not (np.isfinite(result.value) and np.all(np.isfinite(result.g_n))):
            return 1e10, np.zeros_like(x)
        last.setdefault("first", result.value)
        return -result.value * scale, -(result.g_n * unit).ravel() * scale

    start = np.clip(n, 0.0, N)
    bounds = np.column_stack([np.zeros(n.size), np.broadcast_to(N / unit, n.shape).ravel()])
    result = minimize(
        objective, (start / unit).ravel(), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": max_iter, "maxcor": 10, "ftol": 1e-10, "gtol": 1e-7},
    )  # fmt: skip
    before, after = last.get("first", np.nan), -result.fun / scale
    best = np.clip(result.x.reshape(n.shape) * unit, 0.0, N) if after >= before else start
    n_bar = joint(
        parameters, best, observation, bin_size=bin_size, scheme=scheme, window=window, density=density, gradient=False
    ).n_bar
    return EStep(best, n_bar, before, max(after, before), result.nfev)
