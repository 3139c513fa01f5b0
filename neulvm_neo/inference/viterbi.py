"""The steps of the Baum–Viterbi algorithm by quasi-Newton ascent.

Over the spike counts n given the parameters (E-step), and over counts, parameters and past activity at once.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from .. import discretization
from ..likelihood import joint
from .m_step import leave_room_for_euler

# Counts are moved in units of the finite-size noise: x = 2 √(n + 3/8) has a standard deviation of about 1 whatever n is
# (Anscombe 1948), so that the curvature of part b is about 1 in every bin.
_SHIFT = 0.375
# n stays above this (the slope of the deviance is infinite at 0) and below N by as much.
_LEAST = 1e-3
# One step of θ is the change that moves the expected counts by one standard deviation of their noise in all bins
# together, but at most this share of the anchor's width.
_LONGEST, _SHORTEST = 0.1, 1e-5
RATE_WIDTH, _RATE_STEP = 1.0, 0.1  # of the logarithm of the past activity: its prior's width, and one step
_RATES = (0.05, 1000.0)  # Hz, between which the mean past activity stays
# Variance of past counts about their mean, in units of the finite-size noise: large enough for the volleys of clusters.
_PAST_VARIANCE = 30.0
_WORSE = 1e10  # what the optimiser is told where the objective is not finite


class EStep(NamedTuple):
    """New counts (n_bins, K), the expected counts n̄ there, and the E-step's own objective before and after (nats)."""

    n: np.ndarray
    n_bar: np.ndarray
    before: float
    after: float
    n_evaluations: int


class JointStep(NamedTuple):
    """New θ, counts and observations (with their new past activity), and the objective before and after (nats)."""

    theta: np.ndarray
    n: tuple
    observations: tuple
    before: float
    after: float
    n_evaluations: int


def e_step(
    n, parameters, observation, *, bin_size, scheme, density="deviance", temperature=1.0, window=None, max_iter=60
):
    """Maximise log p(y | n) + log density(n) / temperature over 0 < n < N by L-BFGS-B with exact gradients.

    Parameters
    ----------
    n : numpy.ndarray, shape (n_bins, K)
        Start; the result is never worse.
    parameters : Parameters
    observation : Observation
    density : {"deviance", "noise", "gaussian", "binomial"}
        ``"deviance"`` and ``"noise"`` find the mode over the finite-size noise. The paper's ``"gaussian"`` keeps the
        term -½ log n̄, which rewards driving the activity to silence, and is there for comparison. See
        `likelihood.joint`.
    temperature : float
    window : array of int, optional
        Ages tracked one by one, see `likelihood.joint`.
    max_iter : int
        L-BFGS iterations.

    Returns
    -------
    EStep
    """
    if window is None:
        window = discretization.age_windows(discretization.discretize(parameters, bin_size, scheme))
    size = np.asarray(parameters.n_neurons)
    settings = {
        "bin_size": bin_size, "scheme": scheme, "window": window, "density": density, "temperature": temperature,
    }  # fmt: skip
    start = np.clip(n, _LEAST, size - _LEAST)

    def objective(x):
        x = x.reshape(n.shape)
        result = joint(parameters, _counts(x), observation, **settings)
        return result.value, (result.g_n * 0.5 * x).ravel()

    ascent = _Ascent(objective, n.shape[0])
    best, before, after = ascent.run(_noise_units(start).ravel(), _count_bounds(size, n.shape[0]), max_iter)
    best = _counts(best.reshape(n.shape))
    n_bar = joint(parameters, best, observation, gradient=False, **settings).n_bar
    return EStep(best, n_bar, before, after, ascent.n_evaluations)


def joint_step(
    theta, n, space, observations, *, bin_size, scheme, anchor, rates, window, temperature=1.0, hold_counts=False,
    max_iter=60,
):  # fmt: skip
    """Maximise log p(y | n, θ) + log p(n | θ) / temperature + log priors over n, θ and the past activity at once.

    Given the counts, the parameters are determined a hundred times better than by the spikes (couplings to 0.01 mV), so
    that steps in turn, first n, then θ, would creep along a narrow ridge. This goes along it. The density is the
    deviance, in which neither coordinate is rewarded for making the other improbable (see `likelihood.joint`).

    Parameters
    ----------
    theta : numpy.ndarray, shape (n_free,)
    n : sequence of numpy.ndarray, shape (n_bins, K)
        Per trial. The result is never worse than this start.
    space : ParameterSpace
    observations : sequence of Observation
        Their `history_rate` is part of the start, constant or bin by bin: the activity before the first bin is as
        hidden as the rest, and a wrong one costs a population in a cluster state more than any parameter can make good.
    anchor : (theta, width)
        Weak pull of what the data do not determine, see `initialization.anchor`.
    rates : sequence of numpy.ndarray, shape (K,), Hz
        Median of the past activity a priori; a factor of e away from it costs half a nat.
    window : numpy.ndarray of int, shape (K,)
    temperature : float
        May be infinite: then part b does not matter.
    hold_counts : bool
        Leave n as it is.
    max_iter : int
        L-BFGS iterations.

    Returns
    -------
    JointStep
    """
    size = np.asarray(space.unpack(theta).n_neurons)
    settings = {"bin_size": bin_size, "scheme": scheme, "window": window}
    bounds = space.bounds.copy()
    if scheme == "euler":
        bounds = leave_room_for_euler(bounds, space, bin_size)
    theta = np.clip(theta, bounds[:, 0], bounds[:, 1])
    n = [np.clip(trial, _LEAST, size - _LEAST) for trial in n]
    unit = _theta_steps(theta, n, space, observations, anchor[1], temperature, settings)
    edges = np.cumsum([space.n_free, *(trial.size for trial in n)])
    per_hz = size * bin_size
    varying = [np.atleast_2d(o.history_rate)[1:] for o in observations]
    ends = np.cumsum([edges[-1] + len(n) * size.size, *(v.size for v in varying)])

    def apart(x):
        counts = [x[a:b].reshape(trial.shape) for a, b, trial in zip(edges[:-1], edges[1:], n, strict=True)]
        log_rates = x[edges[-1] : ends[0]].reshape(len(n), -1) * _RATE_STEP
        pasts = [x[a:b].reshape(v.shape) for a, b, v in zip(ends[:-1], ends[1:], varying, strict=True)]
        return x[: space.n_free] * unit, counts, log_rates, pasts

    def history(log_rate, x_past):
        rate = np.exp(log_rate)
        return np.vstack([rate, _counts(x_past) / per_hz]) if len(x_past) else rate

    medians = np.log(np.array(rates))

    def objective(x):
        here, counts, log_rates, pasts = apart(x)
        parameters = space.unpack(here)
        value, g_theta = space.log_prior(here)
        away, ago = (here - anchor[0]) / anchor[1], (log_rates - medians) / RATE_WIDTH
        value -= 0.5 * float(away @ away) + 0.5 * float(np.sum(ago**2))
        g_theta, g_rates = g_theta - away / anchor[1], -ago / RATE_WIDTH
        g_n, g_pasts = [], []
        for i, (x_n, x_past, observation) in enumerate(zip(counts, pasts, observations, strict=True)):
            past = history(log_rates[i], x_past)
            result = joint(
                parameters, _counts(x_n), replace(observation, history_rate=past), density="deviance",
                temperature=temperature, **settings,
            )  # fmt: skip
            value += result.value
            g_theta = g_theta + space.pull_back(here, result.g_parameters)
            g_n.append((result.g_n * 0.5 * x_n).ravel())
            rate, g_past = np.exp(log_rates[i]), np.atleast_2d(result.g_history_rate)
            x_mean = _noise_units(rate * per_hz)
            apart_from_mean = (x_past - x_mean) / _PAST_VARIANCE
            value -= 0.5 * _PAST_VARIANCE * float(np.sum(apart_from_mean**2))
            g_rates[i] += (g_past[0] + apart_from_mean.sum(axis=0) * 2.0 * per_hz / x_mean) * rate
            g_pasts.append((g_past[1:] / per_hz * 0.5 * x_past - apart_from_mean).ravel())
        return value, np.concatenate([g_theta * unit, *g_n, g_rates.ravel() * _RATE_STEP, *g_pasts])

    start = np.concatenate([
        theta / unit, *(_noise_units(trial).ravel() for trial in n),
        np.log(np.clip([np.atleast_2d(o.history_rate)[0] for o in observations], *_RATES)).ravel() / _RATE_STEP,
        *(_noise_units(v * per_hz).ravel() for v in varying),
    ])  # fmt: skip
    box = np.vstack([
        bounds / unit[:, None], *(_count_bounds(size, len(trial)) for trial in n),
        np.tile(np.log(_RATES) / _RATE_STEP, (medians.size, 1)), *(_count_bounds(size, len(v)) for v in varying),
    ])  # fmt: skip
    if hold_counts:
        box[space.n_free : edges[-1]] = start[space.n_free : edges[-1], None]
    ascent = _Ascent(objective, sum(len(trial) for trial in n))
    best, before, after = ascent.run(start, box, max_iter)
    theta, counts, log_rates, pasts = apart(best)
    observations = tuple(
        replace(o, history_rate=history(r, x)) for o, r, x in zip(observations, log_rates, pasts, strict=True)
    )
    return JointStep(
        np.clip(theta, bounds[:, 0], bounds[:, 1]), tuple(_counts(x) for x in counts), observations, before, after,
        ascent.n_evaluations,
    )  # fmt: skip


class _Ascent:
    """L-BFGS-B on an objective and its gradient, that never ends below its start."""

    def __init__(self, objective, n_bins):
        self.objective, self.scale, self.n_evaluations = objective, 1.0 / n_bins, 0
        self.first, self.best = None, (-np.inf, None)

    def run(self, start, bounds, max_iter):
        """The best point, and the objective at the start and there."""
        start = np.clip(start, bounds[:, 0], bounds[:, 1])
        minimize(
            self._cost, start, jac=True, method="L-BFGS-B", bounds=bounds,
            options={"maxiter": max_iter, "maxfun": 3 * max_iter, "maxcor": 30, "ftol": 1e-10, "gtol": 1e-7},
        )  # fmt: skip
        value, best = self.best
        return (start, self.first, self.first) if best is None else (best, self.first, value)

    def _cost(self, x):
        value, gradient = self.objective(x)
        self.n_evaluations += 1
        finite = np.isfinite(value) and np.all(np.isfinite(gradient))
        if self.first is None:
            self.first = value
        if finite and value > self.best[0]:
            self.best = (value, x.copy())
        # a cliff: the line search comes back from a high value, but not from one that is not a number
        return (-value * self.scale, -gradient * self.scale) if finite else (_WORSE, np.zeros_like(x))


def _noise_units(n):
    return 2.0 * np.sqrt(n + _SHIFT)


def _counts(x):
    return np.maximum(0.25 * x * x - _SHIFT, 0.0)


def _count_bounds(size, n_bins):
    return np.tile(np.column_stack([_noise_units(_LEAST + 0 * size), _noise_units(size - _LEAST)]), (n_bins, 1))


def _theta_steps(theta, n, space, observations, width, temperature, settings):
    """How far each θ moves the expected counts by their noise: 1/√Σ (dn̄/dθ)²/((n̄ + 1) temperature), by differences."""

    def expected(at):
        parameters = space.unpack(at)
        return np.concatenate(
            [joint(parameters, x, o, gradient=False, **settings).n_bar for x, o in zip(n, observations, strict=True)]
        )

    at_theta, steps = expected(theta), np.empty(theta.size)
    for i in range(theta.size):
        moved = theta.copy()
        h = 1e-4 * width[i] * (1.0 if theta[i] + 1e-4 * width[i] <= space.bounds[i, 1] else -1.0)
        moved[i] += h
        change = (expected(moved) - at_theta) / h
        information = np.sum(change**2 / (np.maximum(at_theta, 0.0) + 1.0)) / temperature
        steps[i] = 1.0 / np.sqrt(max(information, 1.0 / (_LONGEST * width[i]) ** 2))
    return np.maximum(steps, _SHORTEST * width)
