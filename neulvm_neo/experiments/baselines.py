"""Plain descriptions of a recording that a fitted model has to beat: constant rates, and smoothed spikes."""

from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import minimize

from ..constant_rates import bits_per_spike as bits_per_spike
from ..constant_rates import constant_rates_log_likelihood as constant_rates_log_likelihood
from ..inference.initialization import WIDTHS, smoothed_activity

NARROW_WIDTHS = (0.0007, 0.0014, 0.0028)  # s, beside `WIDTHS`: clusters last a few milliseconds
TIME_CONSTANTS = (0.02, 0.05, 0.1, 0.2, 0.4)  # s, tried for the causal smoothing


def best_smoothing(counts, labels, truth, bin_size):
    """Correlation with the true activity of the Gaussian-smoothed spikes, at the width that suits the truth best.

    More than a user can have, who does not know the truth: the mark to beat for an inferred activity.

    Parameters
    ----------
    counts : numpy.ndarray, shape (n_bins, n_neurons)
        One trial.
    labels : numpy.ndarray of int, shape (n_neurons,)
    truth : numpy.ndarray, shape (n_bins, n_populations)
        True activity in any unit.
    bin_size : float
        In s.

    Returns
    -------
    numpy.ndarray, shape (n_populations,)
    """
    n_populations = truth.shape[1]
    widths = (*NARROW_WIDTHS, *WIDTHS)
    tried = [smoothed_activity([counts], labels, n_populations, bin_size, width)[0][0] for width in widths]
    return np.max([correlations(smooth, truth) for smooth in tried], axis=0)


def correlations(a, b, width=0.0):
    """Pearson correlation of the columns of two arrays (n_bins, n_populations), both smoothed by `width` bins.

    NaN where one of them does not vary.

    >>> correlations(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])).round(6)
    array([1.])
    """
    if width:
        a, b = (gaussian_filter1d(np.asarray(x, dtype=float), width, axis=0, mode="nearest") for x in (a, b))
    pairs = zip(np.transpose(a), np.transpose(b), strict=True)
    return np.array([np.corrcoef(x, y)[0, 1] if np.std(x) and np.std(y) else np.nan for x, y in pairs])


def causal_poisson_log_likelihood(training, test, labels, bin_size):
    """log p of `test` under Poisson neurons with rate a + b times the smoothed past spikes of their population.

    A smoothed-rate model that is a density (it predicts every bin from the bins before); a, b per population and the
    time constant are those with the highest likelihood on `training`.

    Parameters
    ----------
    training, test : numpy.ndarray, shape (n_bins, n_neurons)
    labels : numpy.ndarray of int
    bin_size : float, s

    Returns
    -------
    float, nats
    """
    return float(causal_poisson(training, test, labels, bin_size).sum())


def causal_poisson(training, test, labels, bin_size):
    """`causal_poisson_log_likelihood` bin by bin, numpy.ndarray (n_bins,)."""
    labels = np.asarray(labels)
    total = np.zeros(len(test))
    for k in np.unique(labels):
        fits = []
        for tau in TIME_CONSTANTS:
            past, pooled = _smoothed_past(training[:, labels == k], tau, bin_size)
            cost = partial(_poisson_cost, past, pooled, np.sum(labels == k), bin_size)
            fit = minimize(cost, [pooled.mean() / (np.sum(labels == k) * bin_size) / 2, 0.5], method="Nelder-Mead")
            fits.append((fit.fun, tau, fit.x))
        _, tau, x = min(fits, key=lambda f: f[0])
        past, pooled = _smoothed_past(test[:, labels == k], tau, bin_size)
        total += _poisson_log_likelihood(past, pooled, np.sum(labels == k), bin_size, x)
    return total


def _smoothed_past(counts, tau, bin_size):
    pooled = counts.sum(axis=1)
    keep = np.exp(-bin_size / tau)
    past = np.empty(len(pooled))
    level = pooled.mean()
    for t, n in enumerate(pooled):
        past[t] = level
        level = keep * level + (1 - keep) * n
    return past / (counts.shape[1] * bin_size), pooled


def _poisson_cost(*arguments):
    return -float(_poisson_log_likelihood(*arguments).sum())


def _poisson_log_likelihood(past, pooled, n_neurons, bin_size, x):
    """log p of every bin, where more than one spike per neuron and bin does not occur.

    Each neuron fires with probability 1 - exp(-rate Δt).
    """
    hazard = np.maximum(x[0] + x[1] * past, 0.05) * bin_size
    return pooled * np.log(-np.expm1(-hazard)) - (n_neurons - pooled) * hazard
