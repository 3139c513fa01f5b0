"""Writing NWB: spike trains as a clean new file, complete or not at all."""

import datetime
import logging
import numbers
import re
import uuid

import numpy as np
import quantities as pq

from neulvm_neo import units as unit_boundary
from neulvm_neo.new_files import new_file

from .nwb_file import quiet_pynwb
from .nwb_tables import decoded

logger = logging.getLogger(__name__)

_DESCRIPTION = "Spike trains."
# A file without a subject fails inspection, and inventing one would be worse. So: the taxonomy's own entry for
# "unidentified", and any age.
_UNKNOWN_SUBJECT = {
    "subject_id": "unknown",
    "description": "Not stated.",
    "species": "http://purl.obolibrary.org/obo/NCBITaxon_32644",
    "sex": "U",
    "age": "P0D/",
}
# What the reader derives from other parts of a file; a units column of that name would contradict them.
_NOT_A_COLUMN = {"unit_id", "electrodes", "nix_name", "spike_times", "obs_intervals", "resolution", "id"}
# Names that tables of NWB use for something else, or PyNWB for arguments; a column of that name gets a "_" behind it.
_TAKEN = {
    "colnames", "data", "description", "electrode_group", "namespace", "neurodata_type", "object_id", "waveform_mean",
    "waveform_sd", "waveforms", "tags", "timeseries", "enforce_unique_id",
}  # fmt: skip


def write_nwb(
    path,
    trains_or_block,
    *,
    session_start_time=None,
    session_description=None,
    identifier=None,
    unit_columns=None,
    subject=None,
    resolution=None,
    overwrite=False,
):
    """Write spike trains as a new NWB 2 file that `read_nwb` reads back as they were.

    Parameters
    ----------
    path : str or os.PathLike
        The file to make; its name must end in ``.nwb``.
    trains_or_block : neo.Block, neo.Segment, list of SpikeTrain, or any other form `neulvm_neo.units.neo_trials` takes
        Several Segments become a ``trials`` table with their scalar annotations. Trials whose times overlap (each with
        a clock of its own) are laid one after the other; the shift is kept in the column ``time_shift`` (s).
    session_start_time : datetime.datetime, optional
        Default: what the Block says (``session_start_time``, ``rec_datetime``), else now. Without a zone it is UTC.
    session_description, identifier : str, optional
        Default: the Block's description (or "Spike trains."), and a new UUID.
    unit_columns : dict of str to sequence, optional
        Further columns of the units table, one value per neuron. Names and scalar annotations that all trains
        share become columns by themselves; ``unit_id`` becomes the id, where it is a whole number and unique.
    subject : dict of str to str, optional
        Fields of the NWB subject, for instance ``{"subject_id": "simulation", "description": "No animal: a simulated
        network."}``. What is not given is said to be unknown.
    resolution : Quantity, optional
        Smallest possible difference between two spike times. Default: one sample, where the trains say what a sample is
        (``sampling_rate``), else the smallest difference found.
    overwrite : bool, default False
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    ValueError
        If the name does not end in ``.nwb``, or `unit_columns` do not fit the neurons.

    Notes
    -----
    Only spike trains, their annotations and the trials are written: not analog signals, events or groups. Nothing is
    invented about experiment or subject. The file appears under its name when it is complete.

    Examples
    --------
    >>> import neo, tempfile
    >>> from neulvm_neo.io import read_nwb, write_nwb
    >>> train = neo.SpikeTrain([0.1, 0.2], units="s", t_stop=1.0, population="E")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_nwb(folder + "/a.nwb", [train], session_description="A toy.")
    ...     read_nwb(folder + "/a.nwb").segments[0].spiketrains[0].annotations
    {'unit_id': 0, 'population': 'E'}
    """
    import h5py
    import pynwb

    with new_file(path, suffixes=(".nwb",), overwrite=overwrite) as temporary, quiet_pynwb():
        nwb = _nwb_file(
            trains_or_block, session_start_time, session_description, identifier, unit_columns, subject, resolution
        )
        # In memory first: HDF5 that runs out of disk space ends in a crash of the process.
        with h5py.File(temporary, "w", driver="core", backing_store=False) as memory:
            with pynwb.NWBHDF5IO(file=memory, mode="w") as writer:
                writer.write(nwb)
                memory.flush()
                content = memory.id.get_file_image()
        with open(temporary, "xb") as file:
            file.write(content)


def _nwb_file(data, session_start_time, session_description, identifier, unit_columns, subject, resolution):
    import pynwb

    trials, segments, block = _trials_and_segments(data)
    stripped = [[unit_boundary.spike_train_times(train) for train in trial] for trial in trials]
    shifts = _shifts(stripped)
    nwb = pynwb.NWBFile(
        session_description=session_description or getattr(block, "description", None) or _DESCRIPTION,
        identifier=identifier or str(uuid.uuid4()),
        session_start_time=_start_time(session_start_time, block),
        subject=pynwb.file.Subject(**{**_UNKNOWN_SUBJECT, **(subject or {})}),
    )
    seconds = (
        _resolution(trials, stripped)
        if resolution is None
        else float(unit_boundary.to_seconds(resolution, "resolution"))
    )
    nwb.units = pynwb.misc.Units(name="units", description="Sorted units.", resolution=seconds)
    columns = _unit_columns(trials[0], unit_columns)
    for name in columns:
        nwb.add_unit_column(name=name, description=f"{name.replace('_', ' ')} of the unit.")
    for i, unit_id in enumerate(_ids(trials[0])):
        nwb.add_unit(
            id=unit_id,
            spike_times=np.concatenate([trial[i][0] + shift for trial, shift in zip(stripped, shifts, strict=True)]),
            obs_intervals=[
                [trial[i][1] + shift, trial[i][2] + shift] for trial, shift in zip(stripped, shifts, strict=True)
            ],
            **{name: values[i] for name, values in columns.items()},
        )
    if len(trials) > 1:
        _add_trials(nwb, stripped, shifts, segments)
    return nwb


def _trials_and_segments(data):
    import neo

    trials = unit_boundary.neo_trials(data)
    if isinstance(data, neo.Block):
        return trials, list(data.segments), data
    if isinstance(data, neo.Segment):
        return trials, [data], data.block
    segments = [trial[0].segment for trial in trials]
    return trials, segments if all(segment is not None for segment in segments) else [None] * len(trials), None


def _shifts(stripped):
    """Seconds to add to every trial so that none begins before the last has ended; zero if they do not overlap."""
    spans = [(min(start for _, start, _ in trial), max(stop for _, _, stop in trial)) for trial in stripped]
    if all(later[0] >= earlier[1] for earlier, later in zip(spans[:-1], spans[1:], strict=True)):
        return [0.0] * len(spans)
    shifts, end = [], 0.0
    for start, stop in spans:
        shifts.append(end - start)
        end += stop - start
    logger.info(
        "The %d trials overlap in time and were laid one after the other; see the column time_shift.", len(spans)
    )
    return shifts


def _start_time(time, block):
    if time is None and block is not None:
        time = block.annotations.get(
            "session_start_time", block.rec_datetime
        )  # the first, from read_nwb, knows its zone
        time = datetime.datetime.fromisoformat(time) if isinstance(time, str) else time
    if time is None:
        return datetime.datetime.now(datetime.UTC)
    return time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)


def _resolution(trials, stripped):
    rates = {
        float(train.sampling_rate.rescale(pq.Hz))
        for trial in trials
        for train in trial
        if train.sampling_rate is not None
    }
    if len(rates) == 1 and rates != {1.0}:  # 1 Hz is what Neo fills in where nobody said anything
        return 1.0 / rates.pop()
    gaps = [
        gap for trial in stripped for times, _, _ in trial if times.size > 1 for gap in [np.diff(times)] if gap.any()
    ]
    return float(min(gap[gap > 0].min() for gap in gaps)) if gaps else None


def _ids(trains):
    ids = [decoded(train.annotations.get("unit_id")) for train in trains]
    whole = all(isinstance(i, numbers.Integral) and not isinstance(i, bool) and i >= 0 for i in ids)
    return [int(i) for i in ids] if whole and len(set(ids)) == len(ids) else list(range(len(trains)))


def _unit_columns(trains, given):
    given = dict(given or {})
    for name, values in given.items():
        if len(values) != len(trains):
            raise ValueError(
                f"unit_columns[{name!r}] has {len(values)} values, expected one for each of the {len(trains)} neurons."
            )
        if _one_kind(values) is None:
            raise ValueError(
                f"unit_columns[{name!r}] mixes kinds of values; give only text, only bools or only numbers."
            )
    columns = {}
    names = [train.name for train in trains]
    if all(names) and names != [f"unit {i}" for i in _ids(trains)]:  # the names read_nwb gives say nothing new
        columns["unit_name"] = names
    for name in trains[0].annotations:
        if name in _NOT_A_COLUMN or name in given:
            continue
        values = [train.annotations.get(name) for train in trains]
        if _one_kind(values) is not None:
            columns[name] = values
        else:
            logger.info("Annotation %r is not a scalar of one kind in all trains and was not written.", name)
    return _named_for_nwb({name: _one_kind(values) for name, values in {**columns, **given}.items()})


def _one_kind(values):
    """The values as a list of one plain type, or None if they are not scalars of one kind."""
    values = [decoded(value) for value in values]
    for kind, plain in ((str, str), (bool, bool), (numbers.Integral, int), (numbers.Real, float)):
        if all(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) for value in values):
            return [plain(value) for value in values]
    return None


def _named_for_nwb(columns):
    """Columns under names that NWB allows, and no two under the same."""
    named = {}
    for name, values in columns.items():
        allowed = re.sub("[/:\0]", "_", str(name)).strip()
        if not allowed.strip("."):  # "." is the table itself
            allowed = "_" * max(len(allowed), 1)
        stem = allowed.removesuffix("_index")
        if stem != allowed and (stem in columns or stem in _NOT_A_COLUMN):
            allowed += "_"  # else it would be taken for the index of that column
        while allowed in named or allowed in _TAKEN | _NOT_A_COLUMN:
            allowed += "_"
        named[allowed] = values
    return named


def _add_trials(nwb, stripped, shifts, segments):
    columns = {}
    if all(segment is not None for segment in segments):
        for name in segments[0].annotations:
            values = _one_kind([segment.annotations.get(name) for segment in segments])
            if values is not None and name not in {
                "start_time",
                "stop_time",
                "trial_id",
                "nix_name",
                "time_shift",
                "id",
            }:
                columns[name] = values
    columns = _named_for_nwb(columns)
    if any(shifts):
        columns["time_shift"] = shifts
    for name in columns:
        nwb.add_trial_column(
            name=name,
            description="Seconds that were added to the times of the trial."
            if name == "time_shift"
            else f"{name.replace('_', ' ')} of the trial.",
        )
    for i, (trial, shift) in enumerate(zip(stripped, shifts, strict=True)):
        nwb.add_trial(
            start_time=min(start for _, start, _ in trial) + shift,
            stop_time=max(stop for _, _, stop in trial) + shift,
            **{name: values[i] for name, values in columns.items()},
        )
