"""What may have happened before a trial began: random histories of the populations, each consistent with itself.

A model with memory needs the activity before the first bin, which nobody recorded. In an asynchronous network a
constant activity does. But populations may also fire in clusters, each neuron once per period and in step with a part
of the others, and then the phases decide everything that follows for a while. So a history is drawn at random: the
rates are those of the recording at a random moment, or, with the probability `AS_IT_BEGINS`, those with which this very
trial begins, as far as so few spikes tell (a trial may start in a state that does not come again); with the probability
`ASYNCHRONOUS` all populations are asynchronous, otherwise each has 1 to `MOST_CLUSTERS` clusters of random sizes and
phases, as wide as the model's neurons are imprecise.

The potential before the trial is the one at which neurons of the model fire at those rates. So a history agrees with
itself whatever the couplings are, and what these say shows from the first bin on.
"""

from typing import NamedTuple

import numpy as np

from .. import discretization
from ..kernels import histories as kernel
from ..kernels import mesoscopic

# The beginning of a trial lasts so many mean intervals between spikes of a neuron.
AS_IT_BEGINS, BEGINNING = 0.5, 2.0
ASYNCHRONOUS = 1.0 / 3.0
MOST_CLUSTERS = 6
# Clusters: log standard deviation of the rate about that of the recording; range of their width relative to the
# standard deviation of a neuron's intervals; jitter of their phases relative to their distance; concentration of the
# Dirichlet distribution of their sizes.
RATE_SPREAD, WIDTHS, PHASE_JITTER, SIZE_CONCENTRATION = 0.25, (0.3, 1.5), 0.1, 20.0


class Opening(NamedTuple):
    """What the beginning of a trial shows: spikes of recorded neurons, and their time together, by population."""

    n_spikes: np.ndarray  # (K,)
    exposure: np.ndarray  # (K,) s; 0 where nobody was recorded


class Histories(NamedTuple):
    """M histories of K populations."""

    rate: np.ndarray  # (M, K) Hz
    n_clusters: np.ndarray  # (M, K) int, 0: asynchronous
    phase: np.ndarray  # (M, K, MOST_CLUSTERS), of the period
    size: np.ndarray  # (M, K, MOST_CLUSTERS), of the population
    width: np.ndarray  # (M, K), of the standard deviation of intervals

    def of(self, chosen):
        """The chosen ones."""
        return Histories(*(value[chosen] for value in self))


class Starts(NamedTuple):
    """State at the left edge of bin 0 after every history.

    Counts n, survivals S and hazards L of the cohorts by birth, (M, K, length); the free neurons' sums (M, K, 5); the
    potential H (mV) and the filtered activity (Hz), (M, K); the ages that are tracked, (K,).
    """

    n: np.ndarray
    S: np.ndarray
    L: np.ndarray
    free: np.ndarray
    H: np.ndarray
    current: np.ndarray
    windows: np.ndarray


def opening(observation, rates, bin_size):
    """The `Opening` of a trial.

    Parameters
    ----------
    observation : likelihood.Observation
    rates : numpy.ndarray, shape (·, K), Hz
        Activities of the recording.
    bin_size : float, s
    """
    K, labels = rates.shape[1], np.asarray(observation.labels, dtype=np.int64)
    n_bins = np.ceil(BEGINNING / (np.maximum(rates.mean(axis=0), 1e-6) * bin_size))
    n_bins = np.minimum(n_bins, observation.n_bins)
    n_spikes = [np.count_nonzero(times < n_bins[k]) for times, k in zip(observation.spikes, labels, strict=True)]
    return Opening(
        np.bincount(labels, weights=n_spikes, minlength=K), np.bincount(labels, minlength=K) * n_bins * bin_size
    )


def draw(rng, rates, n_histories, bin_size, clusters=True, opening=None):
    """Random histories.

    Parameters
    ----------
    rng : numpy.random.Generator
    rates : numpy.ndarray, shape (·, K), Hz
        Activities to choose from, all equally likely.
    n_histories : int
        M.
    bin_size : float, s
    clusters : bool
        False: asynchronous histories only.
    opening : Opening, optional
        Of the trial. `AS_IT_BEGINS` of the histories have rates from the posterior of a Poisson rate given these spikes
        (Jeffreys' prior), independently for every population.

    Returns
    -------
    Histories
    """
    rate = np.asarray(rates, dtype=float)[rng.integers(len(rates), size=n_histories)]
    M, K = rate.shape
    if opening is not None and opening.exposure.any():
        known = opening.exposure > 0.0
        own = rng.gamma(opening.n_spikes + 0.5, size=(M, K)) / np.where(known, opening.exposure, 1.0)
        rate = np.where((rng.random((M, 1)) < AS_IT_BEGINS) & known, own, rate)
    n_clusters = np.zeros((M, K), dtype=np.int64)
    phase, size = np.zeros((M, K, MOST_CLUSTERS)), np.zeros((M, K, MOST_CLUSTERS))
    width = np.ones((M, K))
    if clusters:
        some = rng.random(M) >= ASYNCHRONOUS
        n_clusters[some] = rng.integers(1, MOST_CLUSTERS + 1, size=(int(some.sum()), K))
        rate = np.where(n_clusters > 0, rate * np.exp(RATE_SPREAD * rng.standard_normal((M, K))), rate)
        place = np.arange(MOST_CLUSTERS) + PHASE_JITTER * rng.standard_normal((M, K, MOST_CLUSTERS))
        phase = (rng.random((M, K, 1)) + place / np.maximum(n_clusters, 1)[:, :, None]) % 1.0
        weight = rng.gamma(SIZE_CONCENTRATION, size=(M, K, MOST_CLUSTERS))
        weight *= np.arange(MOST_CLUSTERS) < n_clusters[:, :, None]
        size = weight / np.maximum(weight.sum(axis=2, keepdims=True), 1e-300)
        width = rng.uniform(*WIDTHS, size=(M, K))
    return Histories(rate, n_clusters, phase, size, width)


def settle(histories, constants, decay, set_of, windows):
    """The state after every history.

    Parameters
    ----------
    histories : Histories
    constants, decay
        Of the sets of parameters, rows set · K + population (`mesoscopic.constants`, `discretization.decay_table`).
    set_of : numpy.ndarray of int, shape (M,)
        Whose parameters each history has.
    windows : numpy.ndarray of int, shape (K,)
        Ages tracked one by one.

    Returns
    -------
    Starts
    """
    (M, K), length = histories.rate.shape, decay.shape[1]
    cells = (M, K, length)
    starts = Starts(
        np.empty(cells), np.empty(cells), np.empty(cells), np.empty((M, K, 5)), np.empty((M, K)), np.empty((M, K)),
        windows,
    )  # fmt: skip
    kernel.settle(constants, decay, set_of, windows, *histories, *starts[:-1])
    return starts


def start(history, step, windows):
    """The state after one history (`Histories` with M = 1), for `Observation.start`.

    Parameters
    ----------
    step : discretization.Step
    windows : numpy.ndarray of int, shape (K,)

    Returns
    -------
    Starts
        With M = 1.
    """
    decay = discretization.decay_table(step, windows)[0]
    return settle(history, mesoscopic.constants(step, windows), decay, np.zeros(1, dtype=np.int64), windows)
