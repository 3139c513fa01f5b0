"""Plain descriptions of a recording that a fitted model has to beat: constant rates, and smoothed spikes."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..constant_rates import bits_per_spike as bits_per_spike
from ..constant_rates import constant_rates_log_likelihood as constant_rates_log_likelihood
from ..inference.initialization import WIDTHS, smoothed_activity

NARROW_WIDTHS = (0.0007, 0.0014, 0.0028)  # s, beside `WIDTHS`: clusters last a few milliseconds


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
