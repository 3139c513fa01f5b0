"""M-step: the parameters that make given spike counts and the recorded spikes most probable together."""

import contextlib
from typing import NamedTuple

import joblib
import numpy as np
from scipy.optimize import minimize

from .. import discretization
from ..likelihood import joint
from .tasks import run


class MStep(NamedTuple):
    """New parameters, and the objective (mean log p(y, n | θ) + log prior, in nats) before and after."""

    theta: np.ndarray
    before: float
    after: float
    n_evaluations: int


def m_step(
    theta,
    space,
    trajectories,
    *,
    bin_size,
    scheme,
    density="others",
    parts="ab",
    anchor=None,
    max_iter=50,
    n_jobs=None,
):
    """Maximise Σ_trials mean_trajectories log p(y, n | θ) + log prior over θ by L-BFGS-B with exact gradients.

    Parameters
    ----------
    theta : numpy.ndarray, shape (n_free,)
        Start; the result is never worse.
    space : ParameterSpace
    trajectories : list of list of (Observation, n)
        For every trial, the trajectories (n_bins, K) to average over, each with the observation (and history) it
        belongs to.
    bin_size, scheme, density, parts
        See `likelihood.joint`. Only densities that contain their log term make sense here: without it a large n̄ is
        rewarded.
    anchor : (theta, width), optional
        Adds -½ Σ ((θ - anchor) / width)²: directions that the data do not determine stay near the anchor instead of
        drifting.
    max_iter : int
        L-BFGS iterations.
    n_jobs : int, optional
        joblib jobs over trajectories.

    Returns
    -------
    MStep
    """
    # The age window follows the membrane time constants of the start and stays, so that the objective is smooth. Time
    # constants may grow by half before the window falls below 6 of them (n̄ then off by 0.3 %, and the next M-step has
    # a longer one).
    window = discretization.age_windows(discretization.discretize(space.unpack(theta), bin_size, scheme))
    scale = 1.0 / sum(len(trial[0][1]) for trial in trajectories)
    last = {}

    tasks = [(observation, n, len(trial)) for trial in trajectories for observation, n in trial]

    def evaluate(parameters, n, observation):
        return joint(
            parameters, n, observation, bin_size=bin_size, scheme=scheme, window=window, density=density, parts=parts
        )

    def objective(x):
        parameters = space.unpack(x)
        value, gradient = space.log_prior(x)
        gradient = gradient.copy()
        if anchor is not None:
            away = (x - anchor[0]) / anchor[1]
            value -= 0.5 * float(away @ away)
            gradient -= away / anchor[1]
        results = [evaluate(parameters, n, observation) for observation, n, _ in tasks] if workers is None else workers(
            joblib.delayed(evaluate)(parameters, n, observation) for observation, n, _ in tasks
        )  # fmt: skip
        for result, (_, _, n_paths) in zip(results, tasks, strict=True):
            value += result.value / n_paths
            gradient += space.pull_back(x, result.g_parameters) / n_paths
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            return 1e10, np.zeros_like(x)
        last.setdefault("first", value)
        return -value * scale, -gradient * scale

    bounds = space.bounds.copy()
    if scheme == "euler":
        bounds = leave_room_for_euler(bounds, space, bin_size)
    start = np.clip(theta, bounds[:, 0], bounds[:, 1])
    # joblib costs a fraction of a millisecond per call, as much as a short trial's likelihood: only where there is
    # something to share out, and never with other processes
    shared = n_jobs not in (None, 1) and len(tasks) > 1
    with joblib.Parallel(n_jobs=n_jobs, require="sharedmem") if shared else contextlib.nullcontext() as workers:
        result = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": max_iter, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-6},
        )
    before, after = last.get("first", np.nan), -result.fun / scale
    if not after >= before:
        return MStep(start, before, before, result.nfev)
    return MStep(result.x, before, after, result.nfev)


def curvature(theta, space, trajectories, *, bin_size, scheme, density="others", n_jobs=None):
    """Second derivatives of -(Σ_trials mean_trajectories log p(y, n | θ) + log prior) in θ, from exact gradients.

    Central differences over a thousandth of 1 mV, or of 1 in a logarithm, or of the value where that is larger.

    Parameters
    ----------
    theta, space, trajectories, bin_size, scheme, density, n_jobs
        As in `m_step`. At its result the matrix is positive definite, but for values at their bounds.

    Returns
    -------
    numpy.ndarray, shape (n_free, n_free)
    """
    window = discretization.age_windows(discretization.discretize(space.unpack(theta), bin_size, scheme))

    def gradient(x):
        parameters = space.unpack(x)
        total = space.log_prior(x)[1].copy()
        for trial in trajectories:
            for observation, n in trial:
                found = joint(
                    parameters, n, observation, bin_size=bin_size, scheme=scheme, window=window, density=density
                )
                total += space.pull_back(x, found.g_parameters) / len(trial)
        return total

    steps = 1e-3 * np.diag(np.maximum(1.0, np.abs(theta)))
    ends = run((joblib.delayed(gradient)(theta + sign * step) for step in steps for sign in (1.0, -1.0)), n_jobs)
    slopes = [
        (below - above) / (2.0 * step.max()) for above, below, step in zip(ends[::2], ends[1::2], steps, strict=True)
    ]
    return 0.5 * (np.array(slopes) + np.array(slopes).T)


def leave_room_for_euler(bounds, space, bin_size):
    """Euler's step needs tau_m > Δt: membrane time constants stay above twice the bin; changes and returns `bounds`."""
    for i, name in enumerate(space.names):
        if name.startswith("tau_m"):
            bounds[i, 0] = max(bounds[i, 0], np.log(2.0 * bin_size))
    return bounds
