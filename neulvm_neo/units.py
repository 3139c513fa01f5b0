"""The unit boundary: Quantities and Neo objects outside, float64 in seconds, millivolts and hertz inside."""

import sys

import numpy as np
import quantities as pq

_DIMENSIONS = {  # what the inside of the package computes in: unit, and an example for error messages
    "time": (pq.s, "20 * pq.ms"),
    "voltage": (pq.mV, "14.4 * pq.mV"),
    "frequency": (pq.Hz, "10 * pq.Hz"),
    "resistance": (pq.MOhm, "100 * pq.MOhm"),
}


def to_seconds(value, name):
    """Strip a time of its unit.

    Parameters
    ----------
    value : quantities.Quantity
        Scalar or array with the dimension of time.
    name : str
        Argument name, used in the error message.

    Returns
    -------
    numpy.ndarray
        float64, in s, same shape (0-d for a scalar); always a fresh copy.

    Raises
    ------
    TypeError
        If `value` is a bare number or a string: a number without a unit is never guessed at.
    ValueError
        If its dimension is not time.

    Examples
    --------
    >>> import quantities as pq
    >>> float(to_seconds(20 * pq.ms, "tau_m"))
    0.02
    """
    return _strip(value, name, "time")


def positive_seconds(value, name):
    """One positive, finite time as float in s.

    Raises
    ------
    TypeError
        If it has no unit.
    ValueError
        If its dimension is not time, or it is not one positive, finite number.

    Examples
    --------
    >>> import quantities as pq
    >>> positive_seconds(2 * pq.ms, "bin_size")
    0.002
    """
    stripped = to_seconds(value, name)
    if stripped.size != 1 or not (np.isfinite(stripped).all() and (stripped > 0).all()):
        raise ValueError(f"{name} is {value}; expected one positive, finite time such as 20 * pq.ms.")
    return float(stripped.item())


def to_millivolts(value, name):
    """Strip a voltage of its unit; see `to_seconds`.

    >>> import quantities as pq
    >>> float(to_millivolts(0.0037 * pq.V, "threshold"))
    3.7
    """
    return _strip(value, name, "voltage")


def to_hertz(value, name):
    """Strip a rate of its unit (Hz or 1/s); see `to_seconds`."""
    return _strip(value, name, "frequency")


def to_megohms(value, name):
    """Strip a resistance of its unit (MΩ, so that pA times MΩ is 1e-3 mV); see `to_seconds`."""
    return _strip(value, name, "resistance")


def seconds(values):
    """Attach the unit second to floats."""
    return np.asarray(values, dtype=float) * pq.s


def milliseconds(values_in_seconds):
    """Floats in s as a Quantity shown in ms."""
    return (np.asarray(values_in_seconds, dtype=float) * 1e3) * pq.ms


def millivolts(values):
    """Attach the unit millivolt to floats."""
    return np.asarray(values, dtype=float) * pq.mV


def hertz(values):
    """Attach the unit hertz to floats."""
    return np.asarray(values, dtype=float) * pq.Hz


def megohms(values):
    """Attach the unit megohm to floats."""
    return np.asarray(values, dtype=float) * pq.MOhm


def quantity(values, unit):
    """Floats with a unit attached as they are, bit for bit.

    >>> quantity([20.0], "ms")
    array([20.]) * ms
    """
    return pq.Quantity(np.array(values, dtype=float), unit)


def parse_quantity(text, name):
    """Read ``"20 ms"`` or ``"-19.968 mV"`` into a scalar Quantity (as written in circuit files).

    Raises
    ------
    ValueError
        If the text is not a number followed by a unit.

    Examples
    --------
    >>> parse_quantity("20 ms", "tau_m")
    array(20.) * ms
    """
    number, _, unit = str(text).strip().partition(" ")
    try:
        return float(number) * pq.Quantity(1.0, unit.strip() or None)
    except (ValueError, LookupError, SyntaxError, TypeError):
        raise ValueError(f'{name}: {text!r} is not a number and a unit; write it like "20 ms".') from None


def stimulus_millivolts(stimulus, resistance_megohms, n_bins, bin_size, n_populations, t_start=0.0):
    """External drive of every population in every bin, in mV, from any form a user may hold it in.

    Parameters
    ----------
    stimulus : None, quantities.Quantity, neo.AnalogSignal or callable
        ``None`` is no drive. A scalar or (n_populations,) Quantity is constant in time; an (n_bins, n_populations)
        Quantity gives every bin; an AnalogSignal (its channels are the populations; one channel drives all) is averaged
        over each bin, and must cover them all. A callable receives the bin centres (Quantity, s, (n_bins,)) and returns
        one of the Quantities above. A voltage is used as it is (it stands for R·I); a current is multiplied by
        `resistance_megohms`.
    resistance_megohms : numpy.ndarray, shape (n_populations,), or None
        Membrane resistance; needed for currents only.
    n_bins, bin_size, n_populations, t_start
        The time grid: number of bins, bin width (s), columns wanted, left edge of bin 0 (s).

    Returns
    -------
    numpy.ndarray, shape (n_bins, n_populations), mV

    Raises
    ------
    TypeError, ValueError
        If the stimulus has no unit, a wrong dimension or a shape that does not fit.
    """
    if stimulus is None:
        return np.zeros((n_bins, n_populations))
    centres = t_start + (np.arange(n_bins) + 0.5) * bin_size
    if callable(stimulus):
        stimulus = stimulus(centres * pq.s)
    if _is_analog_signal(stimulus):
        values = _bin_averages(_drive(stimulus, resistance_megohms), stimulus, centres, bin_size)
    else:
        values = _drive(stimulus, resistance_megohms)
    if values.ndim == 2 and values.shape[1] == 1:
        values = np.repeat(values, n_populations, axis=1)
    if (
        values.ndim < 2
        and values.shape not in ((), (n_populations,))
        or values.ndim == 2
        and values.shape != (n_bins, n_populations)
        or values.ndim > 2
    ):
        raise ValueError(
            f"stimulus has shape {values.shape}; expected a scalar, ({n_populations},) for a "
            f"constant drive of the {n_populations} populations, "
            f"or ({n_bins}, {n_populations}) for every bin and population."
        )
    if not np.all(np.isfinite(values)):
        raise ValueError("stimulus contains NaN or infinite values; give every bin a finite drive.")
    return np.broadcast_to(values, (n_bins, n_populations)).astype(float)


def is_neo(data):
    """Whether `data` is one of the Neo / Elephant forms of a recording.

    (checked before any ``np.asarray``, which would eat it).
    """
    if "neo" not in sys.modules:  # then nobody can hold an object of it; its import takes 0.1 s
        return False
    import neo

    if isinstance(
        data, (neo.SpikeTrain, neo.Segment, neo.Block, neo.spiketrainlist.SpikeTrainList)
    ) or _is_elephant_trials(data):
        return True
    if isinstance(data, np.ndarray):
        return data.dtype == object and data.size > 0 and is_neo(data.flat[0])
    if (
        hasattr(data, "__getitem__")
        and hasattr(data, "__len__")
        and not isinstance(data, (str, bytes, dict))
        and not hasattr(data, "iloc")
    ):
        return len(data) > 0 and is_neo(data[0])
    return False


def is_one_trial(data):
    """Whether a Neo form (see `neo_trials`) is one trial.

    A SpikeTrain, a flat list of them, a SpikeTrainList, a Segment.
    """
    import neo

    if isinstance(data, (neo.SpikeTrain, neo.Segment, neo.spiketrainlist.SpikeTrainList)):
        return True
    if isinstance(data, neo.Block) or _is_elephant_trials(data):
        return False
    return isinstance(data[0], neo.SpikeTrain)


def neo_trials(data):
    """Bring every Neo / Elephant form of a recording into one: a list of trials, each a list of ``neo.SpikeTrain``.

    Parameters
    ----------
    data : neo.Block, neo.Segment, SpikeTrainList, list of these, list of SpikeTrain, list of lists of SpikeTrain,
    elephant.trials.Trials
        A Block gives one trial per Segment; a flat list of SpikeTrains is one trial.

    Returns
    -------
    list of list of neo.SpikeTrain

    Raises
    ------
    TypeError
        If something in it is not a spike train.
    ValueError
        If it is empty, or trials hold different numbers of neurons.
    """
    import neo

    if isinstance(data, neo.Block):
        trials = [list(segment.spiketrains) for segment in data.segments]
    elif _is_elephant_trials(data):
        trials = [list(data.get_spiketrains_from_trial_as_list(i)) for i in range(data.n_trials)]
    elif isinstance(data, neo.Segment):
        trials = [list(data.spiketrains)]
    elif isinstance(data, neo.SpikeTrain):
        trials = [[data]]
    elif isinstance(data, neo.spiketrainlist.SpikeTrainList) or len(data) and isinstance(data[0], neo.SpikeTrain):
        trials = [list(data)]
    else:
        trials = [trial for item in data for trial in neo_trials(item)]
    for i, trial in enumerate(trials):
        for train in trial:
            if not isinstance(train, neo.SpikeTrain):
                raise TypeError(f"trial {i} holds a {type(train).__name__}; every element must be a neo.SpikeTrain.")
    if not trials or not any(trials):
        raise ValueError("the recording holds no spike trains; check the file, the window and the unit selection.")
    n_neurons = [len(trial) for trial in trials]
    if len(set(n_neurons)) > 1:
        raise ValueError(
            f"the trials hold different numbers of spike trains {sorted(set(n_neurons))}; "
            "every trial needs the same neurons in the same order."
        )
    return trials


def spike_train_times(train):
    """Times of one spike train: (times, t_start, t_stop), float64, in s; times are sorted copies."""
    times = np.sort(np.asarray(train.rescale(pq.s).magnitude, dtype=float))
    if np.isnan(times).any():
        raise ValueError(f"spike train {train.name or ''} contains NaN times; remove them first.")
    return times, float(train.t_start.rescale(pq.s)), float(train.t_stop.rescale(pq.s))


def spike_train(times, t_start, t_stop, **annotations):
    """A ``neo.SpikeTrain`` from floats in s."""
    import neo

    return neo.SpikeTrain(np.asarray(times, dtype=float), units=pq.s, t_start=t_start, t_stop=t_stop, **annotations)


def analog_signal(values, unit, bin_size, t_start, names, *, name, description, array_annotations=None, **annotations):
    """A ``neo.AnalogSignal`` of values per bin; ``t_start`` is the left edge of bin 0.

    Parameters
    ----------
    values : array, shape (n_bins, n_populations)
    unit : str
        For instance ``"Hz"``.
    bin_size, t_start : float
        In s.
    names : sequence of str
        Channel names, kept as array annotation ``channel_names``.
    """
    import neo

    return neo.AnalogSignal(
        np.asarray(values, dtype=float),
        units=unit,
        sampling_rate=(1.0 / bin_size) * pq.Hz,
        t_start=t_start * pq.s,
        name=name,
        description=description,
        array_annotations={"channel_names": np.asarray(names), **(array_annotations or {})},
        **annotations,
    )


def block_of_signals(signals, names, sizes, *, name, **annotations):
    """A ``neo.Block`` with one Segment per signal and one Group per channel, which holds its views of all signals.

    Parameters
    ----------
    signals : list of neo.AnalogSignal
        One per trial; channels are populations.
    names, sizes : sequence of str, of int
        Name and number of neurons of every population.
    name : str
        Of the Block.
    """
    import neo

    block = neo.Block(name=name, **annotations)
    for population, size in zip(names, sizes, strict=True):
        block.groups.append(neo.Group(name=population, neulvm_population=population, population_size=size))
    for i, signal in enumerate(signals):
        segment = neo.Segment(name=f"trial {i}", index=i)
        segment.analogsignals.append(signal)
        block.segments.append(segment)
        for channel, group in enumerate(block.groups):
            group.add(neo.ChannelView(signal, index=np.array([channel]), name=group.name))
    return block


def _strip(value, name, dimension):
    unit, example = _DIMENSIONS[dimension]
    if not isinstance(value, pq.Quantity):
        raise TypeError(
            f"{name} has no unit: got {value!r}, expected a {dimension} such as {example} (`import quantities as pq`)."
        )
    try:
        stripped = value.rescale(unit).magnitude
    except ValueError:
        raise ValueError(
            f"{name} has the unit {value.dimensionality.string!r}; expected a {dimension} such as {example}."
        ) from None
    return np.array(stripped, dtype=float)


def _drive(stimulus, resistance_megohms):
    if not isinstance(stimulus, pq.Quantity):
        raise TypeError(
            f"stimulus has no unit: got {type(stimulus).__name__}, "
            "expected mV (the product R·I) or pA, for instance 2 * pq.mV."
        )
    simplified = stimulus.dimensionality.simplified
    if simplified == pq.mV.dimensionality.simplified:
        return np.array(stimulus.rescale(pq.mV).magnitude, dtype=float)
    if simplified == pq.pA.dimensionality.simplified:
        if resistance_megohms is None:
            raise ValueError(
                "stimulus is a current, but the circuit has no membrane resistance; "
                "give Circuit(resistance=100 * pq.MOhm) or a stimulus in mV."
            )
        return np.array(stimulus.rescale(pq.pA).magnitude, dtype=float) * resistance_megohms * 1e-3  # pA · MΩ = 1e-3 mV
    raise ValueError(
        f"stimulus has the unit {stimulus.dimensionality.string!r}; "
        "expected a voltage (mV, the product R·I) or a current (pA)."
    )


def _bin_averages(values, signal, centres, bin_size):
    start = float(signal.t_start.rescale(pq.s))
    period = float(signal.sampling_period.rescale(pq.s))
    stop = start + values.shape[0] * period
    first, last = centres[0] - bin_size / 2, centres[-1] + bin_size / 2
    slack = 1e-6 * bin_size
    if first < start - slack or last > stop + slack:
        raise ValueError(
            f"stimulus covers {start:g}-{stop:g} s, but the bins reach from {first:g} to {last:g} s; extend the signal."
        )
    # exact average of the piecewise constant signal: difference of its running integral at the bin edges
    integral = np.vstack([np.zeros(values.shape[1]), np.cumsum(values, axis=0) * period])
    sample_edges = start + np.arange(values.shape[0] + 1) * period
    edges = np.append(centres - bin_size / 2, last)
    at_edges = np.column_stack([np.interp(edges, sample_edges, column) for column in integral.T])
    return np.diff(at_edges, axis=0) / bin_size


def _is_analog_signal(data):
    if "neo" not in sys.modules:
        return False
    import neo

    return isinstance(data, neo.AnalogSignal)


def _is_elephant_trials(data):
    return hasattr(data, "get_spiketrains_from_trial_as_list") and hasattr(data, "n_trials")
