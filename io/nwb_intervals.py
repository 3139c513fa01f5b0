"""When a recording was observed: from obs_intervals, trials and windows to the pieces of time that become Segments."""

import logging
from dataclasses import dataclass, field

import numpy as np

from .nwb_file import refusal
from .nwb_tables import plain_columns

logger = logging.getLogger(__name__)

BLOCK = 1 << 20  # spike times read at once (8 MB): a window of a long recording never needs the whole of it in memory
_SLACK = 1e-6  # s; interval tables and obs_intervals are often rounded differently, never by more than a sample
_SILENT_SHARE = 0.01  # of the recording: how long a silence at its edges is still believed to have been recorded
_NAMED = 10  # intervals listed in a message


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of time (s) that becomes a Segment.

    A spike at `stop` belongs to it only if it is `closed`. `own`, (n_units, 2), holds limits that differ between units.
    """

    start: float
    stop: float
    closed: bool
    name: str
    own: np.ndarray | None = None
    annotations: dict = field(default_factory=dict)

    def limits(self, i):
        """Start and stop of unit i."""
        start, stop = (self.start, self.stop) if self.own is None else self.own[i]
        return float(start), float(stop)


def pieces(nwb, table, rows, trials, window, path, notes):
    """Pieces of time asked for by `trials` and `window`, by the rules in the Notes of `read_nwb`.

    Parameters
    ----------
    nwb, table : pynwb.NWBFile, pynwb.misc.Units
    rows : numpy.ndarray of int
        Selected rows of the units table.
    trials : str or None
    window : (float, float) or None
        In s.
    path : path-like
        For messages.
    notes : list of str
        What the user should know is appended.

    Returns
    -------
    list of Piece
    """
    observed = _observed_intervals(table, rows, notes)
    if observed is None:
        common = np.array([_assumed_interval(nwb, table, path)])
    else:
        common = _common(observed)
        if not len(common):
            raise refusal(
                path, "the selected units share no time in units.obs_intervals; select units recorded together."
            )
    if trials is not None:
        return _trial_pieces(nwb, trials, None if observed is None else common, window, path, notes)
    if window is not None:
        return _window_pieces(common, window, observed is None, path, notes)
    if observed is not None and all(len(own) <= 1 for own in observed):
        own = np.array([own[0] if len(own) else common[0] for own in observed])
        return [Piece(own[:, 0].min(), own[:, 1].max(), True, "recording", own=own)]
    names = ["recording"] if len(common) == 1 else [f"interval {i}" for i in range(len(common))]
    return [Piece(start, stop, True, name) for (start, stop), name in zip(common, names, strict=True)]


def observed_span(nwb, table, path):
    """First and last moment (s) that a file observed, by the rules in the Notes of `read_nwb`."""
    observed = _observed_intervals(table, range(len(table.id)), [])
    if observed is None:
        return _assumed_interval(nwb, table, path)
    limits = np.concatenate([own for own in observed if len(own)])
    return float(limits[:, 0].min()), float(limits[:, 1].max())


def _observed_intervals(table, rows, notes):
    """Per selected row an (n, 2) array of intervals in s, sorted and merged; None where the file says nothing."""
    if "obs_intervals" not in table.colnames:
        return None
    ends = np.asarray(table["obs_intervals"].data[:], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    values = np.asarray(table["obs_intervals"].target.data[:], dtype=float).reshape(-1, 2)
    usable = np.isfinite(values).all(axis=1) & (values[:, 1] > values[:, 0])
    of_rows = [np.arange(starts[row], ends[row]) for row in rows]
    if n_unusable := int(sum((~usable[own]).sum() for own in of_rows)):
        notes.append(f"{n_unusable} obs_intervals that are empty, reversed or not finite were left out")
    intervals = [_merged(values[own[usable[own]]]) for own in of_rows]
    return intervals if any(len(own) for own in intervals) else None


def _merged(intervals):
    merged = []
    for start, stop in sorted(map(tuple, intervals)):
        if merged and start <= merged[-1][1] + _SLACK:
            merged[-1][1] = max(stop, merged[-1][1])
        elif stop > start:
            merged.append([start, stop])
    return np.array(merged).reshape(-1, 2)


def _common(intervals):
    """Intersection of lists of intervals, (n, 2), in s; a unit without any counts as observed when the others are."""
    common = np.array([[-np.inf, np.inf]])
    for own in intervals:
        if len(own):
            start = np.maximum(common[:, None, 0], own[None, :, 0]).ravel()
            stop = np.minimum(common[:, None, 1], own[None, :, 1]).ravel()
            common = np.column_stack([start, stop])[stop > start]
    return common[np.argsort(common[:, 0])]


def _assumed_interval(nwb, table, path):
    """What a file without obs_intervals may be taken to have observed."""
    data, n_spikes = table["spike_times"].target.data, int(table["spike_times"].data[-1])
    first, last = np.inf, -np.inf
    for at in range(0, n_spikes, BLOCK):
        first, last = _extended(first, last, data[at : min(at + BLOCK, n_spikes)])
    for name, intervals in nwb.intervals.items():
        if name != "invalid_times":
            for column in ("start_time", "stop_time"):
                first, last = _extended(first, last, intervals[column].data[:])
    if not last > first:
        raise refusal(path, "units.spike_times holds fewer than two different times and there are no obs_intervals.")
    if 0 < first <= (last - first) * max(_SILENT_SHARE, 1 / max(n_spikes, 1)):
        first = 0.0
    logger.info("%s: no obs_intervals; taken as observed from %g to %g s.", path, first, last)
    return float(first), float(last)


def _extended(first, last, times):
    times = np.asarray(times, dtype=float)
    times = times[np.isfinite(times)]
    return (min(first, times.min()), max(last, times.max())) if times.size else (first, last)


def _window_pieces(common, window, assumed, path, notes):
    low, high = window
    inside = [(max(low, a), min(high, b)) for a, b in common if min(high, b) > max(low, a)]
    seen = ", ".join(f"{start:g}-{stop:g}" for start, stop in common[:_NAMED])
    if not inside or (not assumed and (inside[0][0] > low + _SLACK or inside[-1][1] < high - _SLACK)):
        raise refusal(
            path, f"window {low:g}-{high:g} s reaches outside what was observed ({seen} s); choose a window inside."
        )
    if not assumed:
        inside[0], inside[-1] = (low, inside[0][1]), (inside[-1][0] if len(inside) > 1 else low, high)
        return [Piece(start, stop, stop < high, "window") for start, stop in inside]
    tolerated = (common[0, 1] - common[0, 0]) * _SILENT_SHARE
    if low < common[0, 0] - tolerated or high > common[0, 1] + tolerated:
        notes.append(
            f"the window {low:g}-{high:g} s reaches beyond the first or last event ({seen} s), "
            "and what may not have been recorded counts as silence"
        )
    return [Piece(low, high, False, "window")]


def _trial_pieces(nwb, trials, common, window, path, notes):
    if trials not in nwb.intervals:
        raise refusal(path, f"no interval table {trials!r}; the file has {', '.join(nwb.intervals) or 'none'}.")
    table = nwb.intervals[trials]
    start, stop = (np.asarray(table[column].data[:], dtype=float) for column in ("start_time", "stop_time"))
    usable = np.isfinite(start) & np.isfinite(stop) & (stop > start)
    if common is not None:
        after = start[:, None] >= common[None, :, 0] - _SLACK
        before = stop[:, None] <= common[None, :, 1] + _SLACK
        usable &= (after & before).any(axis=1)
    if n_unusable := int((~usable).sum()):
        notes.append(
            f"{n_unusable} of {len(start)} rows of {trials} left out (empty, endless, or not observed by all units)"
        )
    if window is not None:
        usable &= (start >= window[0] - _SLACK) & (stop <= window[1] + _SLACK)
    rows = np.flatnonzero(usable)
    if not rows.size:
        where = "" if window is None else f" in the window {window[0]:g}-{window[1]:g} s"
        raise refusal(path, f"no row of {trials}{where} can be used; choose another table or window.")
    columns = plain_columns(table, rows, arrays=True)
    own = [{name: values[i] for name, values in columns.items()} for i in range(len(rows))]
    return [
        Piece(
            start[row],
            stop[row],
            False,
            f"{trials} {int(table.id[row])}",
            annotations={**own[i], "trial_id": int(table.id[row])},
        )
        for i, row in enumerate(rows)
    ]
