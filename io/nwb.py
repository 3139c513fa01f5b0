"""Reading NWB: from the units table of a file to a Neo Block, with everything the file says about units and trials."""

import ast
import contextlib
import logging
import os
import warnings

import numpy as np
import quantities as pq

from neulvm_neo import units as unit_boundary

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20  # spike times read at a time (8 MB), so that a window of a long recording never needs the whole of it
_SLACK = 1e-6  # s; interval tables and obs_intervals are often rounded differently, never by more than a sample
_SILENT_SHARE = 0.01  # silence before the first spike that is still believed to be recorded, as a share of the recording
_NAMED = 10  # unit ids listed in a message


class NWBReadError(ValueError):
    """A file cannot be read as spike trains; the message names the file, the field and the remedy."""


class NWBFileNotFound(NWBReadError, FileNotFoundError):
    """There is no file at this path."""


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
        Once per call, if spike times were dropped (not finite, outside ``obs_intervals``) or had to be sorted, or trials
        were left out, or a window reaches beyond what was recorded.

    Notes
    -----
    What counts as observed, for the t_start and t_stop of the trains:

    - each unit has one entry in ``obs_intervals``: that interval, unit by unit;
    - units have several: one Segment per interval that all selected units share;
    - none: from the first to the last spike of the file, extended to its interval tables (without
      ``invalid_times``). The start is moved to 0 if that adds a silence no longer than 1 % of the recording (or than
      its mean interval between spikes): a recording whose clock starts at 4397 s was not silent before. Logged (info).

    A window and trials are half-open, so that a spike on the border of two trials counts once. A window must be observed
    from its first to its last moment; gaps inside split it into Segments.

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
    import neo

    limits = _window_in_seconds(window)
    notes = []
    with open_nwb(path) as nwb:
        table, ids = checked_units(nwb, path)
        rows = _selected_rows(ids, units, path)
        observed = _observed_intervals(table, rows)
        pieces = _pieces(nwb, table, observed, trials, limits, path, notes)
        annotations = _unit_annotations(table, ids, rows)
        trains = _read_trains(table, rows, ids, pieces, trials is None and limits is None, notes)
        block = neo.Block(
            name=nwb.session_id or os.path.basename(path),
            description=nwb.session_description,
            file_origin=os.path.basename(path),
            rec_datetime=nwb.session_start_time.replace(tzinfo=None),
            session_description=str(nwb.session_description),
            identifier=str(nwb.identifier),
            session_start_time=nwb.session_start_time.isoformat(),
        )
    for i, piece in enumerate(pieces):
        segment = neo.Segment(name=piece["name"], index=i)
        segment.annotate(**piece["annotations"])
        for (times, start, stop), of_unit in zip(trains[i], annotations, strict=True):
            train = unit_boundary.spike_train(times, start, stop, name=f"unit {of_unit['unit_id']}")
            train.annotate(**of_unit)  # not as arguments: a column may well be called "name" or "units"
            segment.spiketrains.append(train)
        block.segments.append(segment)
    if notes:
        warnings.warn(f"{os.fspath(path)}: " + "; ".join(notes) + ".", UserWarning, stacklevel=2)
    return block


@contextlib.contextmanager
def open_nwb(path):
    """Open an NWB 2 file for reading and yield the ``pynwb.NWBFile``; refuse anything else with the reason.

    What PyNWB has to say about the rest of the file (movies, links, old conventions) is logged, not raised.
    """
    import pynwb

    _refuse_what_is_not_nwb2(path)
    with quiet_pynwb():
        try:
            reader = pynwb.NWBHDF5IO(os.fspath(path), "r")
        except Exception as error:
            raise _unreadable(path, error) from error
        try:
            nwb = reader.read()
        except Exception as error:
            reader.close()
            raise _unreadable(path, error) from error
    try:
        yield nwb
    finally:
        reader.close()


@contextlib.contextmanager
def quiet_pynwb():
    """Turn the warnings PyNWB raises about parts of a file that are not ours into log messages."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        logger.debug("pynwb: %s", warning.message)


def unit_ids(nwb):
    """Ids of the units table, in its order, as a list of int."""
    return [int(i) for i in nwb.units.id[:]]


def decoded(value):
    """A cell of a table as a plain Python value: bytes and text such as ``"b'CA1'"`` become ``"CA1"``.

    >>> decoded(b"CA1"), decoded("b'CA1'"), decoded(np.int64(3))
    ('CA1', 'CA1', 3)
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and len(value) > 2 and value[:2] in ("b'", 'b"') and value[-1] == value[1]:
        with contextlib.suppress(ValueError, SyntaxError):  # text that merely looks like it stays as it is
            value = ast.literal_eval(value)
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


# --- is this a file we can read? ---------------------------------------------------------------------------------------


def _refuse_what_is_not_nwb2(path):
    import h5py

    if not os.path.exists(path):
        raise NWBFileNotFound(f"{os.fspath(path)}: there is no such file; check the path.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise NWBReadError(f"{os.fspath(path)}: not an HDF5 file, or damaged ({error}); expected an NWB 2 file.") from error
    with file:
        version = file.attrs.get("nwb_version")
        if version is None and "nwb_version" in file:
            version = file["nwb_version"][()]  # NWB 1 keeps it in a dataset
        if version is None:
            raise NWBReadError(f"{os.fspath(path)}: HDF5 but not NWB (no attribute nwb_version); expected an NWB 2 file.")
        version = str(decoded(version)).removeprefix("NWB-")
        if not version.startswith("2"):
            raise NWBReadError(f"{os.fspath(path)}: nwb_version is {version}, that is NWB 1: convert first (for instance with MatNWB or NeuroConv).")


def checked_units(nwb, path):
    """The units table and its ids, after checking what PyNWB reads without complaint although it cannot be right."""
    table = nwb.units
    if table is None or len(table.id) == 0:
        raise NWBReadError(f"{os.fspath(path)}: no units table; only files with sorted units can be read.")
    if "spike_times" not in table.colnames:
        raise NWBReadError(f"{os.fspath(path)}: units has no column spike_times (columns: {', '.join(table.colnames)}); expected sorted spike times.")
    for name in ("spike_times", "obs_intervals"):
        if name in table.colnames:
            _check_index(table, name, path)
    return table, unit_ids(nwb)


def _check_index(table, name, path):
    column = table[name]
    if not hasattr(column, "target"):
        raise NWBReadError(f"{os.fspath(path)}: units.{name} has no {name}_index, so its entries belong to no unit; rewrite the file with an index.")
    ends = np.asarray(column.data[:], dtype=np.int64)
    n_values = len(column.target.data)
    if len(ends) != len(table.id) or np.any(np.diff(ends, prepend=0) < 0):
        raise NWBReadError(f"{os.fspath(path)}: units.{name}_index does not fit the {len(table.id)} units; the file is damaged, get it again.")
    if ends[-1] > n_values:
        raise NWBReadError(
            f"{os.fspath(path)}: units.{name}_index points past the end of {name} ({ends[-1]} of {n_values} values); "
            "the file is truncated, get it again."
        )


def _unreadable(path, error):
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return NWBReadError(f"{os.fspath(path)}: PyNWB cannot read this file ({type(error).__name__}: {first_line[:300]}); check it with `nwbinspector`.")


# --- which units, which times ------------------------------------------------------------------------------------------


def _selected_rows(ids, units, path):
    if units is None:
        return np.arange(len(ids))
    wanted = list(np.atleast_1d(np.asarray(units))) if not isinstance(units, str) else [units]
    if not wanted:
        raise NWBReadError(f"{os.fspath(path)}: units is empty; give unit ids, a mask, or None for all.")
    if all(isinstance(value, (bool, np.bool_)) for value in wanted):
        if len(wanted) != len(ids):
            raise NWBReadError(f"{os.fspath(path)}: the mask units has {len(wanted)} entries, expected one for each of the {len(ids)} units.")
        rows = np.flatnonzero(wanted)
        if not rows.size:
            raise NWBReadError(f"{os.fspath(path)}: the mask units selects none of the {len(ids)} units.")
        return rows
    if len(set(ids)) < len(ids):
        raise NWBReadError(f"{os.fspath(path)}: units.id holds duplicates, so ids do not name units; select with a mask of {len(ids)} bools.")
    try:
        wanted = [_as_id(value) for value in wanted]
    except (TypeError, ValueError):
        raise NWBReadError(f"{os.fspath(path)}: units={units!r} are neither unit ids (integers) nor a mask (bools).") from None
    if unknown := [value for value in wanted if value not in set(ids)]:
        raise NWBReadError(f"{os.fspath(path)}: no units with id {_listed(unknown)}; the file has {_listed(ids)}.")
    return np.flatnonzero(np.isin(ids, wanted))


def _as_id(value):
    if isinstance(value, (float, np.floating)) and value != int(value):
        raise ValueError(value)
    return int(value)


def _window_in_seconds(window):
    if window is None:
        return None
    try:
        low, high = (float(edge.rescale(pq.s)) if isinstance(edge, pq.Quantity) else float(edge) for edge in window)
    except (TypeError, ValueError):
        raise NWBReadError(f"window={window!r} is not a pair of times; give (start, stop) in seconds or as Quantities.") from None
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        raise NWBReadError(f"window=({low:g}, {high:g}) s is empty; give (start, stop) with start before stop.")
    return low, high


def _observed_intervals(table, rows):
    """Per selected row an (n, 2) array of observed intervals in s, merged and sorted; None where the file says nothing."""
    if "obs_intervals" not in table.colnames:
        return None
    index, data = table["obs_intervals"].data, table["obs_intervals"].target.data
    ends = np.asarray(index[:], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    values = np.asarray(data[:], dtype=float).reshape(-1, 2)
    intervals = [_merged(values[starts[row] : ends[row]]) for row in rows]
    return None if not any(len(own) for own in intervals) else intervals


def _merged(intervals):
    merged = []
    for start, stop in sorted(map(tuple, intervals)):
        if merged and start <= merged[-1][1] + _SLACK:
            merged[-1][1] = max(stop, merged[-1][1])
        elif stop > start:
            merged.append([start, stop])
    return np.array(merged).reshape(-1, 2)


def _common(intervals):
    """Intersection of many lists of intervals; a unit without any is taken as always observed."""
    common = np.array([[-np.inf, np.inf]])
    for own in intervals:
        if len(own):
            start = np.maximum(common[:, None, 0], own[None, :, 0]).ravel()
            stop = np.minimum(common[:, None, 1], own[None, :, 1]).ravel()
            common = np.column_stack([start, stop])[stop > start]
    return common[np.argsort(common[:, 0])] if len(common) else common.reshape(0, 2)


def _pieces(nwb, table, observed, trials, limits, path, notes):
    """What becomes a Segment: dicts of start, stop (s), closed (a spike at stop belongs to it), name, annotations, own limits."""
    if observed is None:
        common = np.array([_assumed_interval(nwb, table, path)])
    else:
        common = _common(observed)
        if not len(common):
            raise NWBReadError(f"{os.fspath(path)}: the selected units share no time in units.obs_intervals; select units that were recorded together.")
    if trials is not None:
        return _trial_pieces(nwb, trials, common if observed is not None else None, limits, path, notes)
    if limits is not None:
        return _window_pieces(common, limits, observed is None, path, notes)
    if observed is not None and all(len(own) <= 1 for own in observed):
        own = np.array([own[0] if len(own) else common[0] for own in observed])
        return [_piece(own[:, 0].min(), own[:, 1].max(), True, "recording", own=own)]
    names = ["recording"] if len(common) == 1 else [f"interval {i}" for i in range(len(common))]
    return [_piece(start, stop, True, name) for (start, stop), name in zip(common, names, strict=True)]


def _piece(start, stop, closed, name, own=None, annotations=None):
    return {"start": float(start), "stop": float(stop), "closed": closed, "name": name, "own": own, "annotations": annotations or {}}


def _assumed_interval(nwb, table, path):
    """What a file without obs_intervals may be taken to have observed; the rule is in the Notes of `read_nwb`."""
    data = table["spike_times"].target.data
    n_spikes = int(table["spike_times"].data[-1])
    first, last = np.inf, -np.inf
    for at in range(0, n_spikes, _BLOCK):
        times = np.asarray(data[at : min(at + _BLOCK, n_spikes)], dtype=float)
        times = times[np.isfinite(times)]
        if times.size:
            first, last = min(first, times.min()), max(last, times.max())
    for name, intervals in nwb.intervals.items():
        if name != "invalid_times" and len(intervals.id):
            edges = np.concatenate([np.asarray(intervals[c].data[:], dtype=float) for c in ("start_time", "stop_time")])
            edges = edges[np.isfinite(edges)]
            if edges.size:
                first, last = min(first, edges.min()), max(last, edges.max())
    if not last > first:
        raise NWBReadError(f"{os.fspath(path)}: units.spike_times holds fewer than two times and there are no obs_intervals; nothing to read.")
    if 0 < first <= (last - first) * max(_SILENT_SHARE, 1 / max(n_spikes, 1)):
        first = 0.0
    logger.info("%s: no obs_intervals; taken as observed from %g to %g s.", path, first, last)
    return float(first), float(last)


def _window_pieces(common, limits, assumed, path, notes):
    low, high = limits
    pieces = [
        _piece(max(low, start), min(high, stop), stop < high, "window")
        for start, stop in common
        if min(high, stop) > max(low, start)
    ]
    seen = ", ".join(f"{start:g}-{stop:g}" for start, stop in common[:_NAMED])
    if not pieces or (not assumed and (pieces[0]["start"] > low + _SLACK or pieces[-1]["stop"] < high - _SLACK)):
        raise NWBReadError(f"{os.fspath(path)}: window {low:g}-{high:g} s reaches outside what was observed ({seen} s); choose a window inside.")
    if not assumed:
        return pieces
    tolerated = (common[0, 1] - common[0, 0]) * _SILENT_SHARE
    if low < common[0, 0] - tolerated or high > common[0, 1] + tolerated:
        notes.append(f"the window {low:g}-{high:g} s reaches beyond the first or last event ({seen} s), and what was not recorded counts as silence")
    return [_piece(low, high, False, "window")]


def _trial_pieces(nwb, trials, common, limits, path, notes):
    tables = nwb.intervals
    if trials not in tables:
        raise NWBReadError(f"{os.fspath(path)}: no interval table {trials!r}; the file has {', '.join(tables) or 'none'}.")
    table = tables[trials]
    start, stop = (np.asarray(table[column].data[:], dtype=float) for column in ("start_time", "stop_time"))
    usable = np.isfinite(start) & np.isfinite(stop) & (stop > start)
    if common is not None:
        inside = (start[:, None] >= common[None, :, 0] - _SLACK) & (stop[:, None] <= common[None, :, 1] + _SLACK)
        usable &= inside.any(axis=1)
    if n_unusable := int((~usable).sum()):
        notes.append(f"{n_unusable} of {len(start)} rows of {trials} left out (empty, without an end, or not observed by every unit)")
    if limits is not None:
        usable &= (start >= limits[0] - _SLACK) & (stop <= limits[1] + _SLACK)
    rows = np.flatnonzero(usable)
    if not rows.size:
        raise NWBReadError(f"{os.fspath(path)}: no row of {trials} can be used" + (f" in the window {limits[0]:g}-{limits[1]:g} s." if limits else "."))
    columns = _columns(table, rows, ragged=True)
    ids = [int(table.id[row]) for row in rows]
    annotations = [{**{name: values[i] for name, values in columns.items()}, "trial_id": ids[i]} for i in range(len(rows))]
    return [
        _piece(start[row], stop[row], False, f"{trials} {ids[i]}", annotations=annotations[i])
        for i, row in enumerate(rows)
    ]


# --- cells and spikes --------------------------------------------------------------------------------------------------


def _columns(table, rows, ragged=False):
    """Columns of plain values (and, if `ragged`, of arrays of plain values), decoded: name -> one value per row."""
    from hdmf.common import DynamicTableRegion

    columns = {}
    for name in table.colnames:
        column = table[name]
        if isinstance(column, DynamicTableRegion) or isinstance(getattr(column, "target", None), DynamicTableRegion):
            continue
        is_ragged = hasattr(column, "target") or getattr(column.data, "ndim", 1) > 1
        if is_ragged and not ragged:
            continue
        values = [decoded(column[int(row)]) for row in rows] if is_ragged else [decoded(column.data[int(row)]) for row in rows]
        if is_ragged:
            values = [_as_array(value) for value in values]
        if all(isinstance(value, (str, bool, int, float, np.ndarray)) for value in values):
            columns[name] = values
    return columns


def _as_array(values):
    values = np.asarray([decoded(value) for value in values])
    return values if values.dtype.kind in "biufU" else None


def _unit_annotations(table, ids, rows):
    columns = _columns(table, rows)
    if "unit_id" in columns:  # `unit_id` is always units.id; what the file calls so keeps its place under its full name
        columns["units.unit_id"] = columns.pop("unit_id")
    own = [{"unit_id": ids[row], **{name: values[i] for name, values in columns.items()}} for i, row in enumerate(rows)]
    if "electrodes" in table.colnames:
        for annotations, row in zip(own, rows, strict=True):
            annotations.update(_electrode_annotations(table["electrodes"], int(row)))
    return own


def _electrode_annotations(column, row):
    if hasattr(column, "target"):
        ends = column.data
        region, which = column.target, column.target.data[int(ends[row - 1]) if row else 0 : int(ends[row])]
    else:
        region, which = column, np.atleast_1d(column.data[row])
    electrodes = region.table
    which = [int(i) for i in which]
    annotations = {"electrodes": [int(electrodes.id[i]) for i in which]}
    for source, name in (("location", "electrodes.location"), ("group_name", "electrodes.group")):
        if source in electrodes.colnames and which:
            values = [str(decoded(electrodes[source].data[i])) for i in which]
            annotations[name] = ", ".join(dict.fromkeys(values))  # one text where all electrodes of the unit agree
    return annotations


def _read_trains(table, rows, ids, pieces, whole, notes):
    """trains[piece][unit] = (times, t_start, t_stop), s; what had to be repaired, or of a `whole` recording left out, goes to `notes`."""
    data, ends = table["spike_times"].target.data, np.asarray(table["spike_times"].data[:], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    low, high = min(piece["start"] for piece in pieces), max(piece["stop"] for piece in pieces)
    trains = [[] for _ in pieces]
    not_finite, unsorted, outside = {}, [], {}
    for i, row in enumerate(rows):
        times, n_not_finite, is_sorted, n_outside = _unit_times(data, starts[row], ends[row], low, high)
        if n_not_finite:
            not_finite[ids[row]] = n_not_finite
        if not is_sorted:
            unsorted.append(ids[row])
            times = np.sort(times)
        n_kept = 0
        for piece, trial in zip(pieces, trains, strict=True):
            start, stop = piece["own"][i] if piece["own"] is not None else (piece["start"], piece["stop"])
            first, last = np.searchsorted(times, start), np.searchsorted(times, stop, side="right" if piece["closed"] else "left")
            trial.append((times[first:last], float(start), float(stop)))
            n_kept += last - first
        if whole and (n_lost := n_outside + times.size - n_kept):
            outside[ids[row]] = n_lost
    if not_finite:
        notes.append(f"{sum(not_finite.values())} spike times that are not finite were dropped (units {_listed(not_finite)})")
    if unsorted:
        notes.append(f"spike times were not in order and have been sorted (units {_listed(unsorted)})")
    if outside:
        notes.append(f"{sum(outside.values())} spikes outside obs_intervals were left out (units {_listed(outside)})")
    return trains


def _unit_times(data, first, last, low, high):
    """Times of one unit in [low, high], read block by block; how many are not finite or outside, and whether all are in order.

    A binary search in the file would be quicker and silently wrong on a unit that is out of order.
    """
    kept, n_not_finite, n_outside, is_sorted, previous = [], 0, 0, True, -np.inf
    for at in range(int(first), int(last), _BLOCK):
        times = np.asarray(data[at : min(at + _BLOCK, int(last))], dtype=float)
        finite = times[np.isfinite(times)]
        n_not_finite += times.size - finite.size
        if finite.size:
            is_sorted = is_sorted and finite[0] >= previous and bool(np.all(np.diff(finite) >= 0))
            previous = finite[-1]
        inside = finite[(finite >= low) & (finite <= high)]
        n_outside += finite.size - inside.size
        kept.append(inside)
    return (np.concatenate(kept) if kept else np.empty(0)), n_not_finite, is_sorted, n_outside


def _listed(ids):
    ids = list(ids)
    return ", ".join(map(str, ids[:_NAMED])) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")
