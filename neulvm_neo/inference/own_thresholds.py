"""Recorded neurons that differ from their population in their threshold, as real ones do: how excitable each one is.

Neuron i of population k has the threshold ϑ_i = ϑ_k - ln e_i mV: at the same potential its hazard is e_i times that of
the population, whose hidden neurons are all alike. Beforehand e_i is distributed as Gamma(α, α), of mean 1; given how
often a neuron would have fired with e_i = 1 after its own last spikes, e_i is (spikes + α) / (expected + α) on average.
Expected is, bin by bin, what filters predict from the spikes before: the differences of such sums from the spikes are a
martingale at the true e, however uncertain the activity. (Sums of hazards would count what follows a spike in its bin.)
"""

import dataclasses

import numpy as np

# α: what is believed beforehand of a neuron weighs as much as this many of its spikes.
PRIOR_SPIKES = 2.0


def from_rates(counts, labels, n_populations):
    """A first guess, before there is a model: a neuron's spikes over the mean of its population's recorded neurons.

    Parameters
    ----------
    counts : sequence of numpy.ndarray, shape (n_bins, n_observed)
        Trials.
    labels : numpy.ndarray of int, shape (n_observed,)
    n_populations : int

    Returns
    -------
    numpy.ndarray, shape (n_observed,)
        Of mean 1 in every population.

    Examples
    --------
    >>> from_rates([np.array([[1, 0, 1], [1, 1, 0], [1, 0, 0]])], np.array([0, 0, 1]), 2)
    array([1.25, 0.75, 1.  ])
    """
    spikes = sum(np.asarray(trial, dtype=float).sum(axis=0) for trial in counts)
    members = np.bincount(labels, minlength=n_populations)
    mean = np.bincount(labels, weights=spikes, minlength=n_populations) / np.maximum(members, 1)
    return (spikes + PRIOR_SPIKES) / (mean[labels] + PRIOR_SPIKES)


def refined(observations, predicted):
    """Observations with a better e, by what a model with the e that they have expects: one step towards a fixed point.

    A bin has one spike at most, so that spikes grow less than e: the step falls short of the fixed point, not beyond.

    Parameters
    ----------
    observations : sequence of Observation
        With an excitability, the same in all trials.
    predicted : sequence of numpy.ndarray, shape (n_bins, n_observed)
        Probability to fire in every bin of every trial, given the spikes before.

    Returns
    -------
    tuple of Observation

    Examples
    --------
    >>> from neulvm_neo.likelihood import Observation
    >>> trial = Observation.from_counts([[1], [0], [1], [1]], [0], 1, [10.0], excitability=np.array([1.0]))
    >>> refined([trial], [np.full((4, 1), 0.25)])[0].excitability
    array([1.66666667])
    """
    before = observations[0].hazard_factors
    spikes = sum(np.array([times.size for times in trial.spikes], dtype=float) for trial in observations)
    expected = sum(p.sum(axis=0) for p in predicted) / before
    excitability = (spikes + PRIOR_SPIKES) / (expected + PRIOR_SPIKES)
    return tuple(dataclasses.replace(trial, excitability=excitability) for trial in observations)


def thresholds_of(excitability, threshold, labels):
    """Thresholds (n_neurons,), mV, of the neurons that belong to a population, in their order; NaN for the others.

    Parameters
    ----------
    excitability : numpy.ndarray, shape (n_observed,)
    threshold : numpy.ndarray, shape (K,), mV
        Of the populations.
    labels : numpy.ndarray of int, shape (n_neurons,)
        -1 for neurons that belong to none.

    Examples
    --------
    >>> thresholds_of(np.array([1.0, np.e]), np.array([3.0, 5.0]), np.array([1, -1, 0]))
    array([ 5., nan,  2.])
    """
    thresholds, own = np.full(labels.size, np.nan), labels >= 0
    thresholds[own] = threshold[labels[own]] - np.log(excitability)
    return thresholds


def excitability_of(thresholds, threshold, labels):
    """The way back from `thresholds_of`, (n_observed,)."""
    own = labels >= 0
    return np.exp(threshold[labels[own]] - thresholds[own])
