"""From spike times to counts per time bin: the array a neuLVM is fitted to."""

import logging
import math
import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from . import units
from .recording import SpikeRecording, is_one_trial, is_recording

logger = logging.getLogger(__name__)

DEFAULT_BIN_SIZE = 0.002  # s; short against the membrane, long enough for the second-order scheme (docs/time_step.md)

_MULTIPLE = ("clip", "refuse", "merge")
# A spike this close (in bins) below an edge belongs to the next bin: times on a grid (0.003 s) are inexact floats.
_EDGE_TOLERANCE = 1e-6
# Times must be known at least this well (in bins), or the assignment of spikes to bins would be rounding noise.
_MAX_TIME_SPACING = 1e-4


class MultipleSpikesWarning(UserWarning):
    """A neuron fired more than once in a bin, and the surplus spikes were left out."""


class SpikeTrainBinner(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Bin Neo spike trains into arrays (n_bins, n_neurons), as a first step of a scikit-learn pipeline.

    Parameters
    ----------
    bin_size : quantities.Quantity, optional
        Bin width (time). ``None`` means 2 ms.
    multiple : {"clip", "refuse", "merge"}, default "clip"
        What to do where a neuron fires more than once in a bin. "clip" counts one spike and warns once
        (`MultipleSpikesWarning`); "refuse" raises; "merge" keeps the counts as they are, for multi-unit activity, in
        which several neurons share one spike train.

    Attributes
    ----------
    bin_size_ : quantities.Quantity
        The bin width used, in ms.
    n_features_in_ : int
        Number of neurons.
    neuron_ids_ : tuple of str
        Their names: the annotation ``unit_id``, else the train's name, else its position.

    Raises
    ------
    TypeError
        If `bin_size` has no unit, or the data are not a Neo or Elephant form of a recording.
    ValueError
        If `bin_size` is not a positive time, exceeds a trial, or is too fine for the precision of the spike times; if
        `multiple` is unknown or "refuse" finds shared bins; if the neurons differ from those of `fit`.

    Notes
    -----
    Bins are half-open, ``[t_start + k Δt, t_start + (k + 1) Δt)``, and start where the window shared by all trains of
    the trial starts. What remains of the window after the last whole bin is dropped. The counting is Elephant's
    ``BinnedSpikeTrain``, on times measured from the start of the trial.

    Examples
    --------
    >>> import neo, quantities as pq
    >>> trial = [neo.SpikeTrain([1, 5] * pq.ms, t_stop=6 * pq.ms), neo.SpikeTrain([2] * pq.ms, t_stop=6 * pq.ms)]
    >>> SpikeTrainBinner(bin_size=2 * pq.ms).fit_transform(trial)
    array([[1., 0.],
           [0., 1.],
           [1., 0.]])
    """

    def __init__(self, bin_size=None, *, multiple="clip"):
        self.bin_size = bin_size
        self.multiple = multiple

    def fit(self, X, y=None):
        """Check the settings and learn the names of the neurons; nothing else is learned.

        Parameters
        ----------
        X : neo.Block, neo.Segment, SpikeTrainList, list of SpikeTrain, list of trials, elephant.trials.Trials,
        SpikeRecording
        y : ignored

        Returns
        -------
        SpikeTrainBinner
            self
        """
        recording = _recording(X)
        bin_size = bin_size_in_seconds(self.bin_size)
        _check_multiple(self.multiple)
        self.bin_size_ = units.milliseconds(bin_size)
        self.neuron_ids_ = recording.neuron_ids
        self.n_features_in_ = recording.n_neurons
        return self

    def transform(self, X):
        """Count the spikes in every bin.

        Parameters
        ----------
        X : see `fit`
            With the neurons of `fit`, in the same order.

        Returns
        -------
        numpy.ndarray, shape (n_bins, n_neurons), or a list of those
            One array for one trial (a SpikeTrain, a flat list of them, a SpikeTrainList, a Segment); a list with one
            array per trial for a Block, Elephant Trials or a list of trials. float64.
        """
        check_is_fitted(self)
        recording = _recording(X)
        _check_same_neurons(recording.neuron_ids, self.neuron_ids_)
        counts = bin_recording(recording, bin_size_in_seconds(self.bin_size_), self.multiple)
        return counts[0] if is_one_trial(X) else counts

    def get_feature_names_out(self, input_features=None):
        """Names of the columns: the neuron names, shape (n_neurons,)."""
        check_is_fitted(self)
        return np.array(self.neuron_ids_, dtype=object)

    def set_output(self, *, transform=None):
        """Accepted so that a whole pipeline can be configured; the counts stay NumPy arrays (or a list of them)."""
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # Neo objects, not matrices
        tags.requires_fit = True
        return tags


def bin_recording(recording, bin_size, multiple="clip"):
    """Bin every trial of a recording.

    Parameters
    ----------
    recording : SpikeRecording
    bin_size : float
        Bin width in s.
    multiple : {"clip", "refuse", "merge"}, default "clip"
        See `SpikeTrainBinner`.

    Returns
    -------
    list of numpy.ndarray
        One float64 array (n_bins, n_neurons) per trial.

    Raises
    ------
    ValueError
        See `SpikeTrainBinner`.

    Examples
    --------
    >>> import neo
    >>> recording = SpikeRecording.from_neo([neo.SpikeTrain([0.011, 0.012, 0.034], units="s", t_stop=0.05)])
    >>> bin_recording(recording, 0.01, multiple="merge")[0].ravel()
    array([0., 2., 0., 1., 0.])
    """
    _check_multiple(multiple)
    if not (np.isfinite(bin_size) and bin_size > 0):
        raise ValueError(f"bin_size is {bin_size!r} s; expected a positive, finite time such as 0.002.")
    for trial in range(recording.n_trials):
        _check_grid(recording, trial, bin_size)
    counts = [_bin_trial(recording, trial, bin_size) for trial in range(recording.n_trials)]
    if multiple != "merge" and any((trial > 1).any() for trial in counts):
        message = describe_shared_bins(recording, counts, bin_size)
        if multiple == "refuse":
            raise ValueError(message + ' Choose a smaller bin_size, multiple="clip" or multiple="merge" (multi-units).')
        warnings.warn(
            message + " They were left out."
            ' Alternatives: a smaller bin_size, multiple="refuse", multiple="merge" (multi-units).',
            MultipleSpikesWarning,
            stacklevel=2,
        )
        counts = [np.minimum(trial, 1.0) for trial in counts]
    return counts


def bin_size_in_seconds(bin_size):
    """A bin width given as Quantity, or None for the default of 2 ms, as float in s; see `units.positive_seconds`.

    >>> bin_size_in_seconds(None)
    0.002
    """
    return DEFAULT_BIN_SIZE if bin_size is None else units.positive_seconds(bin_size, "bin_size")


def _recording(X):
    if not is_recording(X):
        raise TypeError(
            f"X is a {type(X).__name__}; expected Neo spike trains (a Block, a Segment, a list of SpikeTrain, a list "
            "of trials) or elephant.trials.Trials. Binned arrays need no binner: give them to the model directly."
        )
    return SpikeRecording.from_neo(X)


def _check_multiple(multiple):
    if multiple not in _MULTIPLE:
        raise ValueError(f"multiple is {multiple!r}; expected one of {', '.join(map(repr, _MULTIPLE))}.")


def _check_same_neurons(given, fitted):
    if len(given) != len(fitted):
        raise ValueError(
            f"X has {len(given)} spike trains, but the binner was fitted to {len(fitted)}; give the same neurons."
        )
    if given != fitted and sorted(given) == sorted(fitted):
        first = next(i for i, (a, b) in enumerate(zip(given, fitted, strict=True)) if a != b)
        raise ValueError(
            f"X has the neurons of fit in another order (position {first}: {given[first]!r}, in fit "
            f"{fitted[first]!r}); reorder the trains."
        )


def _check_grid(recording, trial, bin_size):
    start, stop = recording.t_start[trial], recording.t_stop[trial]
    spacing = float(np.spacing(max(abs(start), abs(stop))))
    if spacing > _MAX_TIME_SPACING * bin_size:
        raise ValueError(
            f"trial {trial} runs from {start:.9g} to {stop:.9g} s, where float64 resolves times to {spacing:.1g} s "
            f"only: too coarse for bins of {bin_size:g} s. Measure time from the start of the recording (shift the "
            "trains) or use larger bins."
        )
    if _n_bins(stop - start, bin_size) == 0:
        raise ValueError(
            f"bin_size is {bin_size:g} s, but trial {trial} lasts {stop - start:g} s only; "
            "expected at least one bin per trial."
        )


def _n_bins(duration, bin_size):
    return math.floor(duration / bin_size + _EDGE_TOLERANCE)


def _bin_trial(recording, trial, bin_size):
    from elephant.conversion import BinnedSpikeTrain

    start = recording.t_start[trial]
    n_bins = _n_bins(recording.durations[trial], bin_size)
    stop = n_bins * bin_size
    trains, n_dropped = [], 0
    for times in recording.spike_times[trial]:
        times = times - start  # in float64 and before binning: late recordings lose precision otherwise
        inside = times[times / bin_size < n_bins - _EDGE_TOLERANCE]
        n_dropped += times.size - inside.size
        trains.append(units.spike_train(inside, 0.0, stop))
    if n_dropped:
        logger.info("trial %d: spikes dropped after the last whole bin: %d", trial, n_dropped)
    with _elephant_log_silenced():
        binned = BinnedSpikeTrain(
            trains,
            bin_size=units.seconds(bin_size),
            n_bins=n_bins,
            t_start=units.seconds(0.0),
            t_stop=units.seconds(stop),
            tolerance=_EDGE_TOLERANCE,
        )
        return np.ascontiguousarray(binned.to_array().T, dtype=float)


@contextmanager
def _elephant_log_silenced():
    """Elephant logs whenever rounding moves spikes across an edge; that rule is ours and needs no line per call."""
    import elephant.utils

    elephant_logger = logging.getLogger(elephant.utils.__file__)
    level = elephant_logger.level
    elephant_logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        elephant_logger.setLevel(level)


def describe_shared_bins(recording, counts, bin_size):
    """How many spikes share a bin with another one of their neuron, and what bin size would avoid it, in words.

    Parameters
    ----------
    recording : SpikeRecording
    counts : list of numpy.ndarray
        Of `bin_recording` with "merge"; some entry is above 1.
    bin_size : float
        In s.

    Returns
    -------
    str
    """
    surplus = sum(np.maximum(trial - 1, 0).sum(axis=0) for trial in counts)
    n_spikes = sum(trial.sum() for trial in counts)
    n_neurons = int((surplus > 0).sum())
    worst = int(np.argmax(surplus))
    intervals = [np.diff(times).min() for trial in recording.spike_times for times in trial if times.size > 1]
    shortest = min(intervals)
    if shortest > 0:
        # two spikes one bin width apart never share a bin, wherever the edges lie; rounded down, to hold as printed
        safe = _floor_to_digits(shortest * 1e3, 3)
        advice = f"Bins of {safe:g} ms or less (the shortest interval between spikes) would avoid it."
    else:
        advice = "No bin size would avoid it: a neuron has two spikes at the same time (multi-unit, or duplicates)."
    return (
        f"{int(surplus.sum())} spikes ({100 * surplus.sum() / n_spikes:.2g} % of {int(n_spikes)}) of {n_neurons} "
        f"neurons share a bin of {bin_size * 1e3:g} ms with an earlier spike of the same neuron "
        f"(most: neuron {recording.neuron_ids[worst]}, {int(surplus[worst])}). {advice}"
    )


def _floor_to_digits(value, n_digits):
    scale = 10.0 ** (n_digits - 1 - math.floor(math.log10(value)))
    return math.floor(value * scale) / scale
