"""Every form in which recordings come → trials of binary counts, one column per neuron."""

import warnings
from dataclasses import dataclass

import numpy as np

from . import units
from .binning import MultipleSpikesWarning, bin_recording, describe_shared_bins
from .recording import SpikeRecording, is_one_trial, is_recording

# "merge" of the binner is missing: a model of single neurons knows one spike per neuron and bin.
MULTIPLE = ("clip", "refuse")


@dataclass(frozen=True, eq=False)
class Trials:
    """Trials as the model sees them.

    Parameters
    ----------
    counts : tuple of numpy.ndarray, each (n_bins, n_neurons)
        0 or 1, float64.
    t_start : tuple of float
        Left edge of bin 0 of every trial, s.
    together : bool
        Whether they came as one (a single array, one Segment), so that results go back as one array.
    neuron_ids : tuple of str, optional
        Names of the neurons, where the recording names them.
    annotations : tuple of dict, optional
        What the recording says of every neuron.
    """

    counts: tuple
    t_start: tuple
    together: bool
    neuron_ids: tuple | None = None
    annotations: tuple | None = None

    @property
    def n_neurons(self):
        """Number of columns."""
        return self.counts[0].shape[1]

    @property
    def n_spikes(self):
        """Spikes of every neuron over all trials, shape (n_neurons,)."""
        return sum(trial.sum(axis=0) for trial in self.counts)

    def give_back(self, per_trial):
        """Results per trial in the form of the data: one array (bins in their order), or a list."""
        return np.concatenate(per_trial) if self.together else list(per_trial)


def are_several(X):
    """Whether `X` comes as several trials: a list of two-dimensional arrays, or a Neo form that is not one trial.

    >>> are_several([np.zeros((5, 2)), np.zeros((3, 2))]), are_several([[0, 1], [1, 0]])
    (True, False)
    """
    if is_recording(X):
        return not is_one_trial(X)
    return isinstance(X, (list, tuple)) and len(X) > 0 and len(getattr(X[0], "shape", ())) == 2


def trials_of(X, *, bin_size, multiple, trials=None, validate=np.asarray):
    """Bring any form of a recording into `Trials`.

    Parameters
    ----------
    X : array (n_bins, n_neurons), list of those, SpikeRecording, or a Neo / Elephant form (see `units.neo_trials`)
        Numbers that are not whole are rounded.
    bin_size : float
        For spike trains, in s.
    multiple : {"clip", "refuse"}
        What to do where a neuron has more than one spike in a bin.
    trials : array, shape (n_bins,), optional
        Which trial every row of one array belongs to; the rows of a trial must be adjacent.
    validate : callable
        Applied to every array.

    Returns
    -------
    Trials

    Raises
    ------
    ValueError
        If `trials` does not fit, or "refuse" finds bins with several spikes.

    Examples
    --------
    >>> X = np.eye(4)[:, :2]
    >>> [len(trial) for trial in trials_of(X, bin_size=0.002, multiple="clip", trials=[7, 7, 7, 8]).counts]
    [3, 1]
    """
    if multiple not in MULTIPLE:
        raise ValueError(
            f"multiple is {multiple!r}; expected one of {', '.join(map(repr, MULTIPLE))}: the model knows at most one "
            "spike per neuron and bin."
        )
    together = not are_several(X)
    if trials is not None and (not together or is_recording(X)):
        raise ValueError("trials says which trial every row of one array belongs to, but X is not one array; omit it.")
    if is_recording(X):
        recording = SpikeRecording.from_neo(X)
        counts = bin_recording(recording, bin_size, "merge")
        counts = _at_most_one(counts, multiple, lambda: describe_shared_bins(recording, counts, bin_size))
        t_start = tuple(float(start) for start in recording.t_start)
        return Trials(tuple(counts), t_start, together, recording.neuron_ids, recording.annotations)
    counts = [np.asarray(validate(x), dtype=float) for x in ([X] if together else X)]
    counts = [_whole(x) for x in counts]
    counts = _at_most_one(counts, multiple, lambda: _describe(counts))
    if trials is not None:
        counts = _split(counts[0], trials)
    return Trials(tuple(counts), tuple(0.0 for _ in counts), together)


def stimuli_of(stimulus, trials, circuit, bin_size):
    """External drive of every trial.

    Parameters
    ----------
    stimulus : optional
        One form for all trials, or a list of one per trial (`units.stimulus_millivolts`). For trials that came as rows
        of one array, a Quantity (n_bins, n_populations) for all rows.
    trials : Trials
    circuit : Circuit
    bin_size : float
        In s.

    Returns
    -------
    list of numpy.ndarray, each (n_bins, n_populations), mV
    """
    lengths = [len(trial) for trial in trials.counts]
    is_signal = hasattr(stimulus, "t_start")  # it knows its own time, which is that of every trial
    resistance = None if circuit.resistance is None else units.to_megohms(circuit.resistance, "resistance")
    if isinstance(stimulus, (list, tuple)):
        if len(stimulus) != len(lengths):
            raise ValueError(f"stimulus is a list of {len(stimulus)}, but X has {len(lengths)} trials; give one each.")
        forms = list(stimulus)
    elif trials.together and np.ndim(stimulus) == 2 and len(stimulus) == sum(lengths) and not is_signal:
        edges = np.cumsum([0, *lengths])
        forms = [stimulus[start:stop] for start, stop in zip(edges[:-1], edges[1:], strict=True)]
    else:
        forms = [stimulus] * len(lengths)
    return [
        units.stimulus_millivolts(form, resistance, n_bins, bin_size, circuit.n_populations, t_start)
        for form, n_bins, t_start in zip(forms, lengths, trials.t_start, strict=True)
    ]


def _whole(x):
    rounded = np.rint(x)
    if not np.array_equal(rounded, x):
        warnings.warn(
            f"{100 * np.mean(rounded != x):.3g} % of the entries of X are not whole numbers; they were rounded to "
            "spike counts. Give counts per bin.",
            UserWarning,
            stacklevel=2,
        )
    return rounded


def _at_most_one(counts, multiple, describe):
    if any((x > 1).any() for x in counts):
        if multiple == "refuse":
            raise ValueError(describe() + ' Choose a smaller bin_size, or multiple="clip" to count one.')
        warnings.warn(
            describe() + ' They were left out. Alternatives: a smaller bin_size, multiple="refuse".',
            MultipleSpikesWarning,
            stacklevel=2,
        )
    return [np.minimum(x, 1.0) for x in counts]


def _describe(counts):
    n_bins = sum(int((x > 1).sum()) for x in counts)
    surplus, total = sum(np.maximum(x - 1, 0).sum() for x in counts), sum(x.sum() for x in counts)
    return (
        f"X counts more than one spike of a neuron in {n_bins} bins; {int(surplus)} spikes "
        f"({100 * surplus / total:.2g} %) share a bin with another one of the same neuron."
    )


def _split(counts, trials):
    trials = np.asarray(trials)
    if trials.shape != (len(counts),):
        raise ValueError(f"trials has the shape {trials.shape}; expected one entry for each of the {len(counts)} rows.")
    edges = np.flatnonzero(trials[1:] != trials[:-1]) + 1
    first = trials[np.concatenate([[0], edges])]
    if len(np.unique(first)) < len(first):
        raise ValueError(
            "the rows of a trial are not adjacent in trials; sort the rows by trial (in cross-validation, split by "
            "trial: GroupKFold, or a list of trials)."
        )
    return np.split(counts, edges)
