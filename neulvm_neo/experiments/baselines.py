"""Plain descriptions of a recording that a fitted model has to beat."""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import xlogy

from ..inference.initialization import WIDTHS, smoothed_activity


def constant_rates_log_likelihood(counts, training=None, labels=None):
    """log p(y) in nats if every neuron fired in every bin with one probability: its share of bins with a spike.

    Parameters
    ----------
    counts : list of numpy.ndarray, shape (n_bins, n_neurons)
        Trials; every positive entry is one spike, as for the model.
    training : list of numpy.ndarray, optional
        Where the probabilities are taken from; default `counts` itself. A neuron silent there counts as having fired in
        half a bin, or a single later spike would be impossible.
    labels : sequence of int, shape (n_neurons,), optional
        With these, one probability for all neurons of a population: what a model can know in which they are alike.

    Returns
    -------
    float

    Examples
    --------
    >>> round(constant_rates_log_likelihood([np.array([[1], [0]])]) / float(np.log(2)), 6)
    -2.0
    """
    spikes, bins = _spikes_and_bins(counts)
    seen, seen_bins = _spikes_and_bins(counts if training is None else training)
    if labels is not None:
        labels = np.asarray(labels)
        seen = np.array([seen[labels == label].mean() for label in labels])
    p = (seen if training is None else np.clip(seen, 0.5, seen_bins - 0.5)) / seen_bins
    return float(np.sum(xlogy(spikes, p) + xlogy(bins - spikes, 1.0 - p)))


def bits_per_spike(log_likelihood, counts, training=None, labels=None):
    """How much better than constant rates a model predicts a recording, in bits per spike; 0 is no better.

    Parameters
    ----------
    log_likelihood : float
        log p(y) of the model, in nats, over all trials.
    counts, training, labels
        See `constant_rates_log_likelihood`.

    Returns
    -------
    float
        NaN if there is no spike.
    """
    n_spikes = _spikes_and_bins(counts)[0].sum()
    gain = log_likelihood - constant_rates_log_likelihood(counts, training, labels)
    return float(gain / (n_spikes * np.log(2))) if n_spikes else float("nan")


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
    tried = [smoothed_activity([counts], labels, n_populations, bin_size, width)[0][0] for width in WIDTHS]
    return np.max([correlations(smooth, truth) for smooth in tried], axis=0)


def correlations(a, b, width=0.0):
    """Pearson correlation of the columns of two arrays (n_bins, n_populations), both smoothed by `width` bins.

    >>> correlations(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])).round(6)
    array([1.])
    """
    if width:
        a, b = (gaussian_filter1d(np.asarray(x, dtype=float), width, axis=0, mode="nearest") for x in (a, b))
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(np.transpose(a), np.transpose(b), strict=True)])


def _spikes_and_bins(counts):
    spikes = sum((np.asarray(trial) > 0).sum(axis=0) for trial in counts).astype(float)
    return spikes, float(sum(len(trial) for trial in counts))
