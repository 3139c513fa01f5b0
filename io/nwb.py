"""Reading NWB: from the units table of a file to a Neo Block, with everything the file says about units and trials."""

import os
import warnings

import numpy as np
import quantities as pq

from neulvm_neo import units as unit_boundary

from .nwb_file import NWBReadError, checked_units, damage_in_words, open_nwb, refusal
from .nwb_intervals import BLOCK, pieces
from .nwb_tables import unit_annotations

_NAMED = 10  # unit ids listed in a message
_MAY_BE_SAMPLES = 1000.0  # s; so many whole numbers beyond this are no chance: somebody has counted samples or ms
_ENOUGH = 20


def read_nwb(path, *, units=None, trials=None, window=None):
    """Read the sorted units of an NWB 2 file into a ``neo.Block``.

    Parameters
    ----------
    path : str or os.PathLike
        An NWB 2 file (HDF5). It is opened for reading only.
    units : sequence of int or sequence of bool, optional
        Which units: ids as in the file's ``units.id`` (integers, or their text as in `FitResult.neuron_ids`), or a
        mask with one bool per row of the table. Default: all. The order is always that of the file.
    trials : str, optional
        Name of an interval table (``"trials"``, ``"epochs"``, or any other in the file): one Segment per row, the row's
        columns as Segment annotations. Default: no trials.
    window : pair of float or Quantity, optional
        Only this part of the recording; floats are seconds of the file's clock. Times are kept, not shifted.
        Spike times are read unit by unit and only those in the window are kept. With `trials`, rows
        that lie wholly inside the window.

    Returns
    -------
    neo.Block
        Segments with one SpikeTrain per unit, in the order of the table, times in s on the file's clock.
        Trains carry ``unit_id``, every scalar column of the units table, and, where units refer to electrodes,
        ``electrodes`` (their ids), ``electrodes.location`` and ``electrodes.group``. The Block carries
        ``session_description``, ``identifier`` and ``session_start_time``.

    Raises
    ------
    NWBReadError
        A ``ValueError`` in one sentence, if the file is missing, not HDF5, not NWB 2, damaged, holds no spike times, or
        if `units`, `trials` or `window` ask for what it does not hold.

    Warns
    -----
    UserWarning
        Once per call, if spike times were dropped (not finite, outside ``obs_intervals``), had to be sorted, belong to
        no unit or seem to be no seconds; if ``obs_intervals`` or trials were left out, or a window reaches beyond what
        was recorded. `neulvm check` shows more.

    Notes
    -----
    What counts as observed, for the t_start and t_stop of the trains:

    - each unit has one entry in ``obs_intervals``: that interval, unit by unit;
    - units have several: one Segment per interval that all selected units share;
    - none: from the first to the last spike of the file, extended to its interval tables (without
      ``invalid_times``). The start is moved to 0 if that adds a silence no longer than 1 % of the recording (or than
      its mean interval between spikes): a recording whose clock starts at 4397 s was not silent before. Logged (info).

    A window and trials are half-open, so that a spike on the border of two trials counts once. A window must be
    observed at its start and its end; gaps inside split it into Segments.

    Examples
    --------
    >>> import neo, tempfile
    >>> from neulvm_neo.io import read_nwb, write_nwb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_nwb(folder + "/a.nwb", [neo.SpikeTrain([0.5, 1.5], units="s", t_stop=2.0, unit_id=7)])
    ...     block = read_nwb(folder + "/a.nwb", window=(0, 1))
    >>> train = block.segments[0].spiketrains[0]
    >>> train.annotations["unit_id"], train.magnitude.tolist(), train.t_stop
    (7, [0.5], array(1.) * s)
    """
    block, notes = read_with_repairs(path, units=units, trials=trials, window=window)
    if notes:
        warnings.warn(f"{os.fspath(path)}: " + "; ".join(notes) + ".", UserWarning, stacklevel=2)
    return block


def read_with_repairs(path, *, units=None, trials=None, window=None):
    """As `read_nwb`, but what was repaired or left out is returned and not warned of.

    Returns
    -------
    neo.Block
    list of str
        One sentence per kind of repair, with counts and units.
    """
    import neo

    limits = _window_in_seconds(window)
    notes = []
    with open_nwb(path) as nwb, damage_in_words(path):
        table, ids = checked_units(nwb, path)
        rows = _selected_rows(ids, units, path)
        stretches = pieces(nwb, table, rows, trials, limits, path, notes)
        annotations = unit_annotations(table, ids, rows)
        trains = _read_trains(table, rows, ids, stretches, trials is None and limits is None, notes)
        block = neo.Block(
            name=os.path.basename(path),
            description=str(nwb.session_description),
            file_origin=os.path.basename(path),
            rec_datetime=nwb.session_start_time.replace(tzinfo=None),  # Neo keeps no zone; the annotation does
            session_description=str(nwb.session_description),
            identifier=str(nwb.identifier),
            session_start_time=nwb.session_start_time.isoformat(),
        )
    for index, (piece, of_piece) in enumerate(zip(stretches, trains, strict=True)):
        segment = neo.Segment(name=piece.name, index=index)
        segment.annotate(**piece.annotations)
        for times, limits_of_unit, of_unit in zip(
            of_piece, map(piece.limits, range(len(rows))), annotations, strict=True
        ):
            train = unit_boundary.spike_train(times, *limits_of_unit, name=f"unit {of_unit['unit_id']}")
            train.annotate(**of_unit)  # not as arguments: a column may well be called "name" or "units"
            segment.spiketrains.append(train)
        block.segments.append(segment)
    return block, notes


def _selected_rows(ids, units, path):
    if units is None:
        return np.arange(len(ids))
    wanted = [units] if np.isscalar(units) else list(units)
    if not wanted:
        raise refusal(path, "units is empty; give unit ids, a mask, or None for all.")
    if all(isinstance(value, (bool, np.bool_)) for value in wanted):
        if len(wanted) != len(ids) or not any(wanted):
            raise refusal(
                path,
                f"units, as a mask, has {len(wanted)} entries and {sum(wanted)} True; it needs {len(ids)} and one.",
            )
        return np.flatnonzero(wanted)
    if len(set(ids)) < len(ids):
        raise refusal(
            path, f"units.id holds duplicates, so ids do not name units; select with a mask of {len(ids)} bools."
        )
    try:
        numbers = [int(value) for value in wanted]
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or any(
        not isinstance(value, str) and value != number for value, number in zip(wanted, numbers, strict=True)
    ):
        raise refusal(path, f"units={units!r} are neither unit ids (integers) nor a mask (bools).")
    if unknown := [number for number in numbers if number not in set(ids)]:
        raise refusal(path, f"units.id does not hold {_listed(unknown)}; it holds {_listed(ids)}.")
    return np.flatnonzero(np.isin(ids, numbers))


def _window_in_seconds(window):
    if window is None:
        return None
    try:
        low, high = (float(edge.rescale(pq.s)) if isinstance(edge, pq.Quantity) else float(edge) for edge in window)
    except (TypeError, ValueError):
        raise NWBReadError(
            f"window={window!r} is not a pair of times; give (start, stop) in s or as Quantities."
        ) from None
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        raise NWBReadError(f"window=({low:g}, {high:g}) s is empty; give (start, stop) with start before stop.")
    return low, high


def _read_trains(table, rows, ids, stretches, whole, notes):
    """trains[piece][unit]: times in s. What was repaired, or left out of a `whole` recording, goes to `notes`."""
    data, ends = table["spike_times"].target.data, np.asarray(table["spike_times"].data[:], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    low, high = min(piece.start for piece in stretches), max(piece.stop for piece in stretches)
    trains = [[] for _ in stretches]
    not_finite, unsorted, outside, latest = {}, [], {}, -np.inf
    for i, row in enumerate(rows):
        times, n_not_finite, is_sorted, n_outside, whole_until = _unit_times(data, starts[row], ends[row], low, high)
        latest = max(latest, whole_until)
        if n_not_finite:
            not_finite[ids[row]] = n_not_finite
        if not is_sorted:
            unsorted.append(ids[row])
            times = np.sort(times)
        n_kept = 0
        for piece, of_piece in zip(stretches, trains, strict=True):
            start, stop = piece.limits(i)
            first = np.searchsorted(times, start)
            last = np.searchsorted(times, stop, side="right" if piece.closed else "left")
            of_piece.append(times[first:last])
            n_kept += last - first
        if whole and n_outside + times.size > n_kept:
            outside[ids[row]] = int(n_outside + times.size - n_kept)
    if not_finite:
        notes.append(
            f"{sum(not_finite.values())} spike times that are not finite were dropped (units {_listed(not_finite)})"
        )
    if unsorted:
        notes.append(f"spike times were out of order and have been sorted (units {_listed(unsorted)})")
    if _MAY_BE_SAMPLES <= latest < np.inf and sum(ends[rows] - starts[rows]) >= _ENOUGH:
        notes.append("all spike times are whole numbers: NWB has seconds, but these may be samples or ms")
    if len(data) > ends[-1]:
        notes.append(f"{len(data) - ends[-1]} spike times at the end belong to no unit")
    if outside:
        notes.append(f"{sum(outside.values())} spikes outside obs_intervals were left out (units {_listed(outside)})")
    return trains


def _unit_times(data, first, last, low, high):
    """Times of one unit in [low, high] (s), read block by block; n not finite; whether in order; n outside.

    Last, if all are whole numbers, the latest of them, else infinity.

    A binary search in the file would read less, and lose spikes silently where a unit is out of order.
    """
    kept, n_not_finite, n_outside, is_sorted, previous, latest = [np.empty(0)], 0, 0, True, -np.inf, -np.inf
    for at in range(int(first), int(last), BLOCK):
        times = np.asarray(data[at : min(at + BLOCK, int(last))], dtype=float)
        finite = times[np.isfinite(times)]
        n_not_finite += times.size - finite.size
        if finite.size:
            is_sorted = is_sorted and finite[0] >= previous and bool(np.all(np.diff(finite) >= 0))
            previous = finite[-1]
            latest = max(latest, finite.max() if np.all(finite == np.floor(finite)) else np.inf)
        inside = finite[(finite >= low) & (finite <= high)]
        n_outside += finite.size - inside.size
        kept.append(inside)
    return np.concatenate(kept), n_not_finite, is_sorted, n_outside, latest


def _listed(ids):
    ids = list(ids)
    return ", ".join(map(str, ids[:_NAMED])) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")
