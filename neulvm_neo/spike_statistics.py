"""What a physiologist reads off binned spike trains: rates, intervals, spectra, correlations."""

from dataclasses import dataclass

import numpy as np
from scipy import signal

# Fewer intervals than these say little of how regular a neuron is.
MIN_INTERVALS = 5
SEGMENT = 2.0  # s, of Welch's method; shorter where a trial is
# Hz; the usual rhythms. What a trial is too short or a bin too long for is left out.
BANDS = ((0.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 80.0))


@dataclass(frozen=True, eq=False)
class SpikeStatistics:
    """Statistics of a recording; NaN where it has too few spikes for one.

    Parameters
    ----------
    rates : numpy.ndarray, shape (n_neurons,)
        Hz.
    cv : numpy.ndarray, shape (n_neurons,)
        Coefficient of variation of the intervals within trials; needs `MIN_INTERVALS` of them.
    lv : numpy.ndarray, shape (n_neurons,)
        Local variation (Shinomoto et al. 2003) of successive intervals, which slow changes of the rate hardly affect;
        1 for a Poisson process.
    frequencies : numpy.ndarray, shape (n_frequencies,)
        Hz, above 0.
    spectrum : numpy.ndarray, shape (n_frequencies, n_populations)
        Power of the pooled spikes of each population, divided by that of as many independent Poisson spikes.
    band_power : numpy.ndarray, shape (len(BANDS), n_populations)
        Mean of `spectrum` within each of the `BANDS`.
    correlation : numpy.ndarray, shape (n_populations, n_populations)
        Mean Pearson correlation over pairs of different neurons, of their spike counts in windows.
    """

    rates: np.ndarray
    cv: np.ndarray
    lv: np.ndarray
    frequencies: np.ndarray
    spectrum: np.ndarray
    band_power: np.ndarray
    correlation: np.ndarray


def spike_statistics(counts, labels, n_populations, bin_size, width):
    """Statistics of binned spikes.

    Parameters
    ----------
    counts : sequence of numpy.ndarray, each (n_bins, n_neurons)
        Trials; every positive entry is one spike.
    labels : numpy.ndarray of int, shape (n_neurons,)
    n_populations : int
    bin_size : float
        In s.
    width : float
        Of the windows in which spikes are counted for correlations, in s; rounded to whole bins.

    Returns
    -------
    SpikeStatistics

    Examples
    --------
    >>> every_tenth_bin = (np.arange(1000) % 10 == 0)[:, None]
    >>> regular = spike_statistics([every_tenth_bin], np.array([0]), 1, 0.002, 0.05)
    >>> regular.rates.round(6).tolist(), regular.cv.tolist(), regular.lv.tolist()
    ([50.0], [0.0], [0.0])
    """
    counts = [(np.asarray(trial) > 0).astype(float) for trial in counts]
    duration = sum(len(trial) for trial in counts) * bin_size
    cv, lv = _of_intervals(counts)
    frequencies, spectrum = _spectrum(counts, labels, n_populations, bin_size)
    return SpikeStatistics(
        rates=sum(trial.sum(axis=0) for trial in counts) / duration,
        cv=cv,
        lv=lv,
        frequencies=frequencies,
        spectrum=spectrum,
        band_power=_within_bands(frequencies, spectrum),
        correlation=_correlation(counts, labels, n_populations, max(round(width / bin_size), 1)),
    )


def mean_of(values, axis=None):
    """Mean of what is not NaN; NaN, without a warning, if there is nothing.

    >>> float(mean_of(np.array([1.0, np.nan, 3.0])))
    2.0
    """
    known = np.isfinite(values)
    n_known = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.divide(total, n_known, out=np.full(np.shape(total), np.nan), where=n_known > 0)[()]


def _of_intervals(counts):
    """CV and local variation of every neuron; intervals never reach from one trial into the next."""
    from elephant import statistics

    n_neurons = counts[0].shape[1]
    cv, lv = np.full(n_neurons, np.nan), np.full(n_neurons, np.nan)
    for i in range(n_neurons):
        trials = [np.diff(np.flatnonzero(trial[:, i])) for trial in counts]
        intervals = np.concatenate(trials)
        if intervals.size < MIN_INTERVALS:
            continue
        cv[i] = statistics.cv(intervals)
        pairs = np.array([max(trial.size - 1, 0) for trial in trials])
        if pairs.any():
            local = [statistics.lv(trial) for trial, n in zip(trials, pairs, strict=True) if n]
            lv[i] = np.average(local, weights=pairs[pairs > 0])
    return cv, lv


def _spectrum(counts, labels, n_populations, bin_size):
    n_bins = np.array([len(trial) for trial in counts])
    length = int(min(round(SEGMENT / bin_size), np.median(n_bins)))
    long_enough = [trial for trial in counts if len(trial) >= length]
    power, weights = [], []
    for trial in long_enough:
        pooled = np.stack([trial[:, labels == k].sum(axis=1) for k in range(n_populations)], axis=1)
        frequencies, density = signal.welch(pooled, fs=1.0 / bin_size, nperseg=length, axis=0)
        power.append(density)
        weights.append(len(trial))
    mean = np.average(power, axis=0, weights=weights)
    rate = np.average([trial.mean(axis=0) for trial in long_enough], axis=0, weights=weights)
    # n independent neurons that fire with probability p in a bin have the variance n p (1 - p), spread over fs / 2
    poisson = np.array([np.sum((rate * (1 - rate))[labels == k]) for k in range(n_populations)]) * 2 * bin_size
    relative = np.divide(mean, poisson, out=np.full_like(mean, np.nan), where=poisson > 0)
    return frequencies[1:], relative[1:]


def _within_bands(frequencies, spectrum):
    rows = [spectrum[(frequencies > low) & (frequencies <= high)] for low, high in BANDS]
    nothing = np.full(spectrum.shape[1], np.nan)
    return np.array([row.mean(axis=0) if len(row) else nothing for row in rows])


def _correlation(counts, labels, n_populations, n_bins):
    windows = [
        trial[: len(trial) // n_bins * n_bins].reshape(-1, n_bins, trial.shape[1]).sum(axis=1) for trial in counts
    ]
    x = np.concatenate(windows)
    varies = np.ptp(x, axis=0) > 0 if len(x) else np.zeros(x.shape[1], dtype=bool)
    r = np.full((x.shape[1], x.shape[1]), np.nan)
    if varies.any():
        r[np.ix_(varies, varies)] = np.corrcoef(x[:, varies], rowvar=False)
    np.fill_diagonal(r, np.nan)
    members = [np.flatnonzero(labels == k) for k in range(n_populations)]
    return np.array([[mean_of(r[np.ix_(a, b)]) for b in members] for a in members])
