"""The Baum–Viterbi algorithm as published (Wang et al. 2022, App. C, Table S5), for comparison with what came after.

E-step: the Gaussian density N(n̄, n̄) with its log term, ascended by Adam and stopped early. M-step: L-BFGS-B. The first
E-step is the smoothed activity, the past activity is given, and a start is where it was drawn.
"""

import numpy as np

from .. import discretization
from ..likelihood import joint
from .m_step import m_step
from .viterbi import EStep

# Table S5. The learning rate is in units of the share of a population that fires in a bin, n/N; the tolerance in nats
# per bin.
LEARNING_RATE, MAX_ITER_E, TOLERANCE_E, PATIENCE_E = 1e-3, 200, 3e-4, 3
MAX_ITER_M = 200
_MOMENT, _SECOND_MOMENT, _TINY = 0.9, 0.999, 1e-8  # Kingma and Ba 2015


def iterate(theta, n, space, observations, *, bin_size, scheme, first):
    """One E-step (none at `first`, where n is the smoothed activity) and one M-step.

    Returns
    -------
    theta : numpy.ndarray
    n : tuple of numpy.ndarray, shape (n_bins, K)
    steps : dict
        Objectives before and after each step, in nats.
    """
    record = {}
    if not first:
        parameters = space.unpack(theta)
        steps = [
            e_step(x, parameters, o, bin_size=bin_size, scheme=scheme) for x, o in zip(n, observations, strict=True)
        ]
        n = tuple(step.n for step in steps)
        record = {"e_step_before": sum(s.before for s in steps), "e_step_after": sum(s.after for s in steps)}
    trajectories = [[(observation, x)] for observation, x in zip(observations, n, strict=True)]
    step = m_step(theta, space, trajectories, bin_size=bin_size, scheme=scheme, density="gaussian", max_iter=MAX_ITER_M)
    return step.theta, n, record | {"m_step_before": step.before, "m_step_after": step.after}


def e_step(n, parameters, observation, *, bin_size, scheme):
    """Ascend log p(y | n) + log N(n; n̄, n̄) in n by Adam; the best point visited.

    Parameters
    ----------
    n : numpy.ndarray, shape (n_bins, K)
        Start; the result is never worse.
    parameters : Parameters
    observation : Observation

    Returns
    -------
    viterbi.EStep
    """
    window = discretization.age_windows(discretization.discretize(parameters, bin_size, scheme))
    size = np.asarray(parameters.n_neurons)
    share = np.clip(n / size, 0.0, 1.0)
    mean, square = np.zeros_like(share), np.zeros_like(share)
    best, values = None, []
    for i in range(1, MAX_ITER_E + 2):
        result = joint(
            parameters, share * size, observation, bin_size=bin_size, scheme=scheme, window=window, density="gaussian"
        )
        values.append(result.value)
        if best is None or result.value > best[0]:
            best = (result.value, share, result.n_bar)
        rise = result.value - values[-1 - PATIENCE_E] if i > PATIENCE_E else np.inf
        if i > MAX_ITER_E or not np.all(np.isfinite(result.g_n)) or rise < TOLERANCE_E * len(n):
            break
        gradient = result.g_n * size
        mean = _MOMENT * mean + (1.0 - _MOMENT) * gradient
        square = _SECOND_MOMENT * square + (1.0 - _SECOND_MOMENT) * gradient**2
        move = mean / (1.0 - _MOMENT**i) / (np.sqrt(square / (1.0 - _SECOND_MOMENT**i)) + _TINY)
        share = np.clip(share + LEARNING_RATE * move, 0.0, 1.0)
    return EStep(best[1] * size, best[2], values[0], best[0], len(values))
