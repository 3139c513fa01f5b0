"""What a fit of a recorded file needs before it can start: populations, a circuit, a bin size."""

import os
import pathlib

import quantities as pq

from ..circuit import Circuit
from ..results import UNASSIGNED
from .circuits import single_population, winner_take_all

READY_MADE = {"winner-take-all": winner_take_all, "single-population": single_population}
BIN_SIZES = (2.0, 5.0, 10.0)  # ms
MANY_BINS = 60_000  # a fit takes minutes up to here, and longer in proportion
MOST_POPULATIONS = 12


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
    """Bin width that keeps a fit within minutes: 2 ms where that is possible, else 5 or 10 ms.

    Parameters
    ----------
    recording : SpikeRecording

    Returns
    -------
    quantities.Quantity
    """
    seconds = float(recording.durations.sum())
    fitting = [width for width in BIN_SIZES if 1e3 * seconds / width <= MANY_BINS]
    return (fitting[0] if fitting else BIN_SIZES[-1]) * pq.ms


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
