"""What is odd about a recording: the counts behind the sheet of ``neulvm check``."""

from dataclasses import dataclass

import numpy as np

REFRACTORY = 0.002  # s; intervals between spikes of one neuron below this are hardly ever real
MULTI_UNIT = 0.02  # share of such intervals from which a unit is more than one neuron
FEW_SPIKES = 5  # units with fewer cannot be assigned to a population
# Spikes of two units this close are one spike seen twice, if there are more such pairs than slightly further apart.
COINCIDENCE = 0.0002  # s
_FLANK = 5.0  # coincidences: how far "slightly further apart" reaches; the flanks are then four times as wide
_EXCESS = 4.0  # standard deviations of a Poisson count, or more where so many pairs of units are compared
_FEW_PAIRS = 10
_SHARED = 0.01  # share of the spikes of the smaller unit below which sharing is not worth a line
SAME = 0.5  # share from which two units are probably one neuron
_MOST_NEIGHBOURS = 5000  # spikes within the flank of one spike that are looked at


@dataclass(frozen=True, eq=False)
class DataQuality:
    """Counts per unit, in the order of the recording, and pairs of units that share spikes.

    Parameters
    ----------
    neuron_ids : tuple of str
    n_spikes : numpy.ndarray of int, shape (n_neurons,)
    rates : numpy.ndarray, shape (n_neurons,)
        In Hz.
    shortest_interval : numpy.ndarray, shape (n_neurons,)
        In s; NaN with fewer than two spikes.
    n_short : numpy.ndarray of int, shape (n_neurons,)
        Intervals shorter than the refractory period.
    n_duplicates : numpy.ndarray of int, shape (n_neurons,)
        Spikes at the very time of another one of the same unit.
    n_negative : numpy.ndarray of int, shape (n_neurons,)
        Spikes before time 0 of the file's clock.
    shared : tuple of (str, str, int, float)
        Two units, the number of spikes that both have beyond chance, and their share of the spikes of the smaller unit;
        most first.
    refractory_period : float
        In s.
    """

    neuron_ids: tuple
    n_spikes: np.ndarray
    rates: np.ndarray
    shortest_interval: np.ndarray
    n_short: np.ndarray
    n_duplicates: np.ndarray
    n_negative: np.ndarray
    shared: tuple
    refractory_period: float = REFRACTORY

    @property
    def share_short(self):
        """Share of the intervals that are shorter than the refractory period, shape (n_neurons,)."""
        return self.n_short / np.maximum(self.n_spikes - 1, 1)

    @property
    def silent(self):
        """Names of units without a spike."""
        return tuple(name for name, n in zip(self.neuron_ids, self.n_spikes, strict=True) if n == 0)

    @property
    def nearly_silent(self):
        """Names of units with some spikes, but fewer than `FEW_SPIKES`."""
        return tuple(name for name, n in zip(self.neuron_ids, self.n_spikes, strict=True) if 0 < n < FEW_SPIKES)

    @property
    def multi_units(self):
        """Names of units with more than `MULTI_UNIT` of short intervals."""
        return tuple(name for name, p in zip(self.neuron_ids, self.share_short, strict=True) if p > MULTI_UNIT)


def data_quality(recording, refractory_period=REFRACTORY):
    """Count what is odd about a recording.

    Parameters
    ----------
    recording : SpikeRecording
    refractory_period : float, default 0.002
        In s.

    Returns
    -------
    DataQuality

    Notes
    -----
    Two units share spikes if pairs of their spikes within 0.2 ms are more frequent than pairs between 0.2 and 1 ms, by
    four standard deviations (more where there are many units) and by ten pairs: then it is neither bursts nor synapses,
    but one spike sorted twice, or seen on two electrodes. Where spike times lie on a coarser grid, its step takes the
    place of 0.2 ms.

    Examples
    --------
    >>> import neo
    >>> from neulvm_neo import SpikeRecording
    >>> trains = [neo.SpikeTrain(times, units="s", t_stop=1.0) for times in ([0.1, 0.1, 0.1015, 0.5], [])]
    >>> quality = data_quality(SpikeRecording.from_neo(trains))
    >>> quality.n_short.tolist(), quality.n_duplicates.tolist(), quality.silent
    ([2, 0], [1, 0], ('1',))
    """
    n = recording.n_neurons
    intervals = [
        np.concatenate([np.diff(trial[i]) for trial in recording.spike_times] or [np.empty(0)]) for i in range(n)
    ]
    return DataQuality(
        neuron_ids=recording.neuron_ids,
        n_spikes=recording.n_spikes,
        rates=recording.rates,
        shortest_interval=np.array([own.min() if own.size else np.nan for own in intervals]),
        n_short=np.array([int(np.sum(own < refractory_period)) for own in intervals]),
        n_duplicates=np.array([int(np.sum(own == 0)) for own in intervals]),
        n_negative=np.array([sum(int(np.sum(trial[i] < 0)) for trial in recording.spike_times) for i in range(n)]),
        shared=_shared(recording),
        refractory_period=refractory_period,
    )


def surplus_share(recording, bin_size):
    """Share of the spikes that share a bin with an earlier one of their neuron.

    Parameters
    ----------
    recording : SpikeRecording
    bin_size : float
        In s.

    Returns
    -------
    float
    """
    n_surplus = 0
    for trial, start in zip(recording.spike_times, recording.t_start, strict=True):
        for times in trial:
            n_surplus += int(np.sum(np.diff(np.floor((times - start) / bin_size + 1e-6)) == 0))
    return n_surplus / max(int(recording.n_spikes.sum()), 1)


def _shared(recording):
    """Pairs of units with more coincidences than chance, bursts and synapses give."""
    n = recording.n_neurons
    near, far = np.zeros(n * n), np.zeros(n * n)
    trials = [_merged(trial) for trial in recording.spike_times]
    width = _coincidence(trials)
    for times, units in trials:
        for shift in range(1, min(len(times), _MOST_NEIGHBOURS)):
            gap = times[shift:] - times[:-shift]
            within = gap <= _FLANK * width
            if not within.any():
                break
            first, second = units[:-shift][within], units[shift:][within]
            is_near = gap[within] <= width
            pair = np.minimum(first, second) * n + np.maximum(first, second)
            np.add.at(near, pair[is_near], 1)
            np.add.at(far, pair[~is_near], 1)
    near, chance = near.reshape(n, n), far.reshape(n, n) / (_FLANK - 1)  # the flanks are that much wider
    excess = near - chance
    smaller = np.minimum(recording.n_spikes[:, None], recording.n_spikes[None, :])
    z = max(_EXCESS, 1.5 + np.sqrt(2 * np.log(max(n * (n - 1) / 2, 1))))  # the largest of that many is sqrt(2 log n)
    found = np.triu(excess > np.maximum(_FEW_PAIRS, z * np.sqrt(chance + 1)), 1) & (excess > _SHARED * smaller)
    pairs = [
        (
            recording.neuron_ids[i],
            recording.neuron_ids[j],
            int(round(excess[i, j])),
            float(excess[i, j] / smaller[i, j]),
        )
        for i, j in np.argwhere(found)
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair[3]))


def _merged(trial):
    """All spike times of a trial in order, and the unit of each."""
    times = np.concatenate([*trial, np.empty(0)])
    units = np.repeat(np.arange(len(trial)), [own.size for own in trial])
    order = np.argsort(times, kind="stable")
    return times[order], units[order]


def _coincidence(trials):
    """How close two spikes must be, in s: half a step beyond a whole number of steps of the grid of the times."""
    gaps = np.concatenate([np.diff(times) for times, _ in trials] or [np.empty(0)])
    gaps = gaps[gaps > 1e-9]  # less is rounding
    grid = gaps.min() if gaps.size else 0.0
    if grid == 0:
        return COINCIDENCE
    return (np.floor(COINCIDENCE / grid) + 0.5) * grid
