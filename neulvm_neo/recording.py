"""What was measured: spike times of a few neurons over one or more trials."""

from dataclasses import dataclass, field

import numpy as np

from . import units


@dataclass(frozen=True, eq=False)
class SpikeRecording:
    """Spike times of the recorded neurons, in seconds, trial by trial.

    Parameters
    ----------
    spike_times : tuple of tuple of numpy.ndarray
        ``spike_times[trial][neuron]``: sorted times in s, each inside its trial's window.
    t_start, t_stop : numpy.ndarray, shape (n_trials,)
        Window of every trial, in s: the part of time that all neurons of the trial share.
    neuron_ids : tuple of str
        Names of the neurons, one per column of every trial.
    annotations : tuple of dict
        What the file says of each neuron (for instance ``{"population": "E"}``).

    Raises
    ------
    ValueError
        If the shapes disagree, a window is empty, times are not sorted, or a spike lies outside its window.

    Examples
    --------
    >>> import neo
    >>> train = neo.SpikeTrain([0.1, 0.3], units="s", t_stop=1.0)
    >>> recording = SpikeRecording.from_neo([train])
    >>> recording.n_neurons, recording.n_spikes.tolist()
    (1, [2])
    """

    spike_times: tuple
    t_start: np.ndarray
    t_stop: np.ndarray
    neuron_ids: tuple
    annotations: tuple = field(default=())

    def __post_init__(self):
        if not (len(self.spike_times) == len(self.t_start) == len(self.t_stop)):
            raise ValueError("spike_times, t_start and t_stop must have one entry per trial.")
        for i, (trial, start, stop) in enumerate(zip(self.spike_times, self.t_start, self.t_stop, strict=True)):
            if len(trial) != len(self.neuron_ids):
                raise ValueError(f"trial {i} has {len(trial)} spike trains, expected {len(self.neuron_ids)}.")
            if not stop > start:
                raise ValueError(
                    f"trial {i} has an empty window from {start:g} to {stop:g} s; its spike trains share no time."
                )
            for times, neuron in zip(trial, self.neuron_ids, strict=True):
                if not np.all(np.diff(times) >= 0):
                    raise ValueError(
                        f"trial {i}, neuron {neuron}: times must be sorted and without NaN; sort them first."
                    )
                if times.size and (times[0] < start or times[-1] > stop):
                    raise ValueError(
                        f"trial {i}, neuron {neuron}: spikes from {times[0]:g} to {times[-1]:g} s "
                        f"lie outside {start:g}-{stop:g} s."
                    )

    @classmethod
    def from_neo(cls, data):
        """Read a recording from any Neo or Elephant form (see `units.neo_trials`); one that is read stays what it is.

        Spikes outside the window that all trains of a trial share are left out.

        The neuron names are the annotation ``unit_id`` where it is present, else the train's name, else its position.
        """
        if isinstance(data, cls):
            return data
        trials = units.neo_trials(data)
        stripped = [[units.spike_train_times(train) for train in trial] for trial in trials]
        t_start = np.array([max(start for _, start, _ in trial) for trial in stripped])
        t_stop = np.array([min(stop for _, _, stop in trial) for trial in stripped])
        spike_times = tuple(
            tuple(times[(times >= start) & (times <= stop)] for times, _, _ in trial)
            for trial, start, stop in zip(stripped, t_start, t_stop, strict=True)
        )
        ids, *others = [_names(trial) for trial in trials]
        for i, other in enumerate(others, start=1):
            # merely other names (numbered per trial, say) are no contradiction
            if other != ids and sorted(other) == sorted(ids):
                raise ValueError(
                    f"trial {i} holds the neurons of trial 0 in another order; use one order for all trials."
                )
        return cls(spike_times, t_start, t_stop, ids, tuple(dict(train.annotations) for train in trials[0]))

    @property
    def n_trials(self):
        """Number of trials."""
        return len(self.spike_times)

    @property
    def n_neurons(self):
        """Number of recorded neurons."""
        return len(self.neuron_ids)

    @property
    def durations(self):
        """Length of every trial in s, shape (n_trials,)."""
        return self.t_stop - self.t_start

    @property
    def n_spikes(self):
        """Spikes of every neuron over all trials, shape (n_neurons,)."""
        return np.array([[times.size for times in trial] for trial in self.spike_times]).sum(axis=0)

    @property
    def rates(self):
        """Mean rate of every neuron in Hz, shape (n_neurons,)."""
        return self.n_spikes / self.durations.sum()


def is_recording(data):
    """Whether `data` is a `SpikeRecording` or one of the forms that it is read from (see `units.is_neo`)."""
    return isinstance(data, SpikeRecording) or units.is_neo(data)


def is_one_trial(data):
    """Whether a recording, in any of the forms of `is_recording`, is one trial (see `units.is_one_trial`)."""
    return data.n_trials == 1 if isinstance(data, SpikeRecording) else units.is_one_trial(data)


def _names(trains):
    return tuple(str(train.annotations.get("unit_id", train.name or i)) for i, train in enumerate(trains))
