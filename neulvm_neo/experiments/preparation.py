"""What a fit of a recorded file needs before it can start: populations, a circuit, a bin size."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import quantities as pq

from .. import units
from ..circuit import Circuit
from ..parameters import ParameterSpace, parameters_of
from ..results import UNASSIGNED
from .circuits import single_population, winner_take_all

READY_MADE = {"winner-take-all": winner_take_all, "single-population": single_population}
BIN_SIZES = (2.0, 5.0)  # ms
MANY_BINS = 15_000  # a fit of two populations takes a few minutes up to here, and longer in proportion
SHARED = 0.02  # of the intervals between spikes may be too short for the bins
MOST_POPULATIONS = 12


class Effort(NamedTuple):
    """Settings of `NeuLVM` that decide how long a fit takes."""

    n_init: int
    max_iter: int
    n_particles: int


def circuit_named(name):
    """A ready-made circuit, or one from a TOML file.

    Parameters
    ----------
    name : str
        ``"winner-take-all"``, ``"single-population"`` or the path of a file.

    Returns
    -------
    Circuit

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it does not describe a circuit; names the file.

    Examples
    --------
    >>> circuit_named("winner-take-all").names
    ('E1', 'E2', 'I')
    """
    if name in READY_MADE:
        return READY_MADE[name]()
    if not os.path.isfile(name):
        raise FileNotFoundError(f"{name}: no such file; give a TOML file, or one of {', '.join(READY_MADE)}.")
    try:
        return Circuit.from_toml(pathlib.Path(name))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error


def bin_size_for(recording):
    """Bin width that keeps a fit within minutes and neurons at one spike per bin.

    2 ms where a recording has at most `MANY_BINS` of them, else the next of `BIN_SIZES`, as long as at most `SHARED` of
    the intervals between spikes of a neuron are shorter than the bin.

    Parameters
    ----------
    recording : SpikeRecording

    Returns
    -------
    quantities.Quantity
    """
    chosen = BIN_SIZES[0]
    for width in BIN_SIZES[1:]:
        if n_bins(recording, chosen * pq.ms) <= MANY_BINS or _share_of_intervals_below(width / 1e3, recording) > SHARED:
            break
        chosen = width
    return chosen * pq.ms


def refractory_period_for(recording, bin_size):
    """One bin, or 0 where more than `SHARED` of the intervals are shorter than two bins (fast or multi-units).

    A refractory period of one bin means that a neuron cannot fire in the bin after a spike.

    Parameters
    ----------
    recording : SpikeRecording
    bin_size : quantities.Quantity

    Returns
    -------
    quantities.Quantity
    """
    crowded = _share_of_intervals_below(2 * units.positive_seconds(bin_size, "bin_size"), recording) > SHARED
    return 0 * pq.ms if crowded else bin_size


def n_bins(recording, bin_size):
    """Bins of all trials together, int."""
    return int(np.sum(recording.durations / units.positive_seconds(bin_size, "bin_size") + 1e-6))


def effort_for(n_bins):
    """How hard a fit tries by default: the cost of an iteration grows with the number of bins.

    Parameters
    ----------
    n_bins : int

    Returns
    -------
    Effort
    """
    return Effort(2, 6, 100) if n_bins <= MANY_BINS else Effort(1, 5, 50)


def at_bounds(circuit):
    """Names of the free values that lie on a bound other than 0, where a coupling of known sign may well end.

    Parameters
    ----------
    circuit : Circuit

    Returns
    -------
    list of str

    Examples
    --------
    >>> at_bounds(Circuit([100], names=["E"], tau_m=100 * pq.ms))
    ['tau_m[E]']
    """
    space = ParameterSpace(circuit)
    theta = space.pack(parameters_of(circuit))
    near = np.isclose(theta[:, None], space.bounds, rtol=1e-6, atol=1e-9) & (space.bounds != 0)
    return [name for name, on_bound in zip(space.names, near.any(axis=1), strict=True) if on_bound]


def bursting(circuit, rates):
    """Names of the populations whose neurons fire most right after a spike: their potential falls from the reset.

    Parameters
    ----------
    circuit : Circuit
    rates : numpy.ndarray, shape (n_populations,), Hz
        At which the populations fire.

    Returns
    -------
    list of str

    Examples
    --------
    >>> bursting(Circuit([100], u_rest=-2 * pq.mV, threshold=-3 * pq.mV, names=["E"]), np.array([5.0]))
    ['E']
    """
    p = parameters_of(circuit)
    return [name for name, falls in zip(circuit.names, p.u_rest + p.tau_m * (p.J @ rates) < 0, strict=True) if falls]


def populations_of_column(recording, column):
    """Populations by what the file says of every unit.

    Parameters
    ----------
    recording : SpikeRecording
    column : str
        A column of the units table, or ``electrodes.location``.

    Returns
    -------
    labels : list of int, shape (n_neurons,)
        Index into `names`; -1 where the column is empty or says "unassigned".
    names : list of str
        The values of the column, sorted.

    Raises
    ------
    ValueError
        If there is no such column, or it holds nothing, or too many different values.
    """
    values = [annotations.get(column) for annotations in recording.annotations]
    if all(value is None for value in values):
        known = {name for annotations in recording.annotations for name in annotations} - {"unit_id", "electrodes"}
        raise ValueError(
            f"the units have no column {column!r}; they have {', '.join(sorted(known)) or 'none'} "
            "(or give the number of populations, to cluster the units)."
        )
    texts = ["" if value is None or value != value else str(value) for value in values]  # NaN is not equal to itself
    names = sorted(set(texts) - {"", UNASSIGNED})
    if not 1 <= len(names) <= MOST_POPULATIONS:
        raise ValueError(
            f"the units column {column!r} holds {len(names)} different values; expected 1 to {MOST_POPULATIONS}, "
            "the names of populations (or give their number, to cluster the units)."
        )
    return [names.index(text) if text in names else -1 for text in texts], names


def in_order_of(circuit, labels, names, column):
    """Labels that count the populations as `circuit` does, from labels that count them as `names` does."""
    unknown = sorted(set(names) - set(circuit.names))
    if unknown:
        raise ValueError(
            f"the units column {column!r} holds {', '.join(unknown)}, which is no population of the circuit "
            f"({', '.join(circuit.names)}); give them the same names."
        )
    return [circuit.names.index(names[k]) if k >= 0 else -1 for k in labels]


def _share_of_intervals_below(seconds, recording):
    intervals = np.concatenate([np.diff(times) for trial in recording.spike_times for times in trial] or [[]])
    return float(np.mean(intervals < seconds)) if intervals.size else 0.0
