"""Constant rates: the plainest description of a recording, and what a model knows beyond it in bits per spike."""

import numpy as np
from scipy.special import xlogy


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
    p = spike_probabilities(counts if training is None else training, labels, least=0.0 if training is None else 0.5)
    return float(np.sum(xlogy(spikes, p) + xlogy(bins - spikes, 1.0 - p)))


def spike_probabilities(counts, labels=None, least=0.5):
    """Share of bins with a spike of every neuron, or of all neurons of its population.

    Parameters
    ----------
    counts, labels
        See `constant_rates_log_likelihood`.
    least : float
        As if every neuron had fired in at least so many bins, and been silent in as many.

    Returns
    -------
    numpy.ndarray, shape (n_neurons,)

    Examples
    --------
    >>> spike_probabilities([np.array([[1, 0], [0, 0]])]).tolist()
    [0.5, 0.25]
    """
    seen, bins = _spikes_and_bins(counts)
    if labels is not None:
        labels = np.asarray(labels)
        seen = np.array([seen[labels == label].mean() for label in labels])
    return np.clip(seen, least, bins - least) / bins


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


def _spikes_and_bins(counts):
    spikes = sum((np.asarray(trial) > 0).sum(axis=0) for trial in counts).astype(float)
    return spikes, float(sum(len(trial) for trial in counts))
