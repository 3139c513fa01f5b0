"""Time rescaling in bins: do the spikes come when the model, given the past, expects them?"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95  # of the band of the Kolmogorov-Smirnov distance
# A spike that was certain would take an infinite time; the model itself is never surer than this.
_CERTAINTY = 1.0 - 1e-12


@dataclass(frozen=True, eq=False)
class TimeRescaling:
    """Rescaled inter-spike intervals of units, where a unit is a neuron, a population or all neurons.

    Parameters
    ----------
    residuals : tuple of numpy.ndarray, one (n_intervals,) per unit
        In (0, 1), in their order in time; independent and uniform if the model is right. Small ones are intervals that
        are shorter than expected.
    n_spikes : numpy.ndarray of int, shape (n_units,)
    expected : numpy.ndarray, shape (n_units,)
        Spikes that the model expected bin by bin, given what had happened before.
    count_p_value : numpy.ndarray, shape (n_units,)
        Two-sided probability of so many or so few spikes. A neuron that never fires has no residual, but this.
    distance : numpy.ndarray, shape (n_units,)
        Kolmogorov-Smirnov distance of the residuals from uniform ones; NaN where there is none.
    band : numpy.ndarray, shape (n_units,)
        Distance that right models exceed with probability 1 - `LEVEL`.
    p_value : numpy.ndarray, shape (n_units,)
        Of the distance.
    serial_correlation, serial_p_value : numpy.ndarray, shape (n_units,)
        Spearman's correlation of residuals with the next ones, and its p value; NaN below four residuals. Several
        neurons: the mean of theirs, or neurons that differ in their rates would look like one that changes.

    References
    ----------
    Brown, Barbieri, Ventura, Kass, Frank, Neural Comput 2002. Haslinger, Pipa, Brown, Neural Comput 2010.
    """

    residuals: tuple
    n_spikes: np.ndarray
    expected: np.ndarray
    count_p_value: np.ndarray
    distance: np.ndarray
    band: np.ndarray
    p_value: np.ndarray
    serial_correlation: np.ndarray
    serial_p_value: np.ndarray


def time_rescaling(counts, predicted, rng, groups=None):
    """Rescale the time between spikes by the probabilities that a model gave to them.

    Parameters
    ----------
    counts : sequence of numpy.ndarray, each (n_bins, n_neurons)
        Trials; every positive entry is one spike.
    predicted : sequence of numpy.ndarray, each (n_bins, n_neurons)
        Probability of a spike of the neuron in the bin, given everything before the bin.
    rng : numpy.random.Generator
        Says when within its bin a spike has come (the correction of Haslinger et al. for bins, exact, but random).
    groups : sequence of sequences of int, optional
        Neurons of every unit; default each neuron by itself.

    Returns
    -------
    TimeRescaling

    Raises
    ------
    ValueError
        If the shapes differ, or probabilities are outside 0 to 1.

    Notes
    -----
    Each neuron's rescaled time is a Poisson process of rate 1, so that its trials, and the neurons of a unit, may be
    laid end to end without a break: the interval across the seam is as good as any, and only one is cut short, at the
    very end. That of several neurons takes them for independent given the past, which is so up to spikes in one bin.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> p = np.full((5000, 1), 0.1)
    >>> right = time_rescaling([rng.random(p.shape) < p], [p], rng)
    >>> bool(right.distance[0] < right.band[0])
    True
    """
    trials = [_checked(*trial) for trial in zip(counts, predicted, strict=True)]
    spiking = np.concatenate([spikes for spikes, _ in trials])
    p = np.concatenate([chances for _, chances in trials])
    events, totals = zip(*(_rescaled(spiking[:, i], p[:, i], rng) for i in range(p.shape[1])), strict=True)
    groups = [[i] for i in range(p.shape[1])] if groups is None else groups
    residuals = [_residuals([events[i] for i in group], [totals[i] for i in group]) for group in groups]
    n_spikes = np.array([sum(events[i].size for i in group) for group in groups], dtype=np.int64)
    expected = np.array([p[:, group].sum() for group in groups])
    integrated = np.array([sum(totals[i] for i in group) for group in groups])
    fits = np.array([_against_uniform(u) for u in residuals]).reshape(-1, 3)
    own = [_with_the_next(_residuals([times], [total])) for times, total in zip(events, totals, strict=True)]
    serial = np.array([_mean_correlation([own[i] for i in group]) for group in groups]).reshape(-1, 2)
    return TimeRescaling(tuple(residuals), n_spikes, expected, _count_p_value(n_spikes, integrated), *fits.T, *serial.T)


def _checked(spikes, chances):
    spikes, chances = np.asarray(spikes) > 0, np.asarray(chances, dtype=float)
    if spikes.shape != chances.shape:
        raise ValueError(f"predicted has the shape {chances.shape}, but counts {spikes.shape}; expected the same.")
    if not np.all((chances >= 0) & (chances <= 1)):
        raise ValueError("predicted has entries that are no probabilities; expected numbers from 0 to 1.")
    return spikes, np.minimum(chances, _CERTAINTY)


def _rescaled(spiking, p, rng):
    """(rescaled times of the spikes, of the end): a bin lasts q = -log(1 - p), one with a spike until the spike."""
    q = -np.log1p(-p)
    bins = np.flatnonzero(spiking)
    q[bins] = -np.log1p(-rng.random(bins.size) * p[bins])
    ends = np.cumsum(q)
    return ends[bins], ends[-1]


def _residuals(events, totals):
    starts = np.cumsum(totals) - totals
    times = np.concatenate([[0.0], *(start + times for start, times in zip(starts, events, strict=True))])
    return -np.expm1(-np.diff(times))


def _count_p_value(n_spikes, integrated):
    lower, upper = stats.poisson.cdf(n_spikes, integrated), stats.poisson.sf(n_spikes - 1, integrated)
    return np.minimum(2 * np.minimum(lower, upper), 1.0)


def _against_uniform(u):
    if not u.size:
        return np.nan, np.nan, np.nan
    test = stats.kstest(u, "uniform")
    return test.statistic, stats.kstwo.ppf(LEVEL, u.size), test.pvalue


def _with_the_next(u):
    """(Spearman's correlation with the next, 1 / its variance where there is none)."""
    if u.size < 4 or np.ptp(u[:-1]) == 0 or np.ptp(u[1:]) == 0:
        return 0.0, 0.0
    return stats.spearmanr(u[:-1], u[1:]).statistic, u.size - 2.0


def _mean_correlation(correlations):
    r, precision = np.array(correlations, dtype=float).reshape(-1, 2).T
    if not precision.any():
        return np.nan, np.nan
    mean = np.average(r, weights=precision)
    return mean, 2 * stats.norm.sf(abs(mean) * np.sqrt(precision.sum()))
