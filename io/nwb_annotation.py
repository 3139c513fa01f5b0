"""Annotating NWB: a copy of a recording with the fitted populations in it, everything else left byte for byte.

The new objects are written straight into a copy of the HDF5 file. PyNWB's own ways were tried and each fails on files
that exist: appending breaks files of an older schema, and exporting rewrites the whole file in the newest schema and
gives up on what it would not write today (a units table whose electrodes column has no index, for instance).
PyNWB then validates the copy and reads it back before it gets its name.
"""

import logging
import os
import shutil
import warnings

import numpy as np

from neulvm_neo.new_files import copy_unchanged, new_file

from .fit_record import record_of
from .nwb_content import (
    COLUMNS,
    MODULE,
    MODULE_DESCRIPTION,
    SERIES,
    TABLES,
    checked_names,
    intervals,
    populations,
    sample_times,
    series_of,
    summary,
    unit_columns,
)
from .nwb_file import NWBReadError, checked_units, damage_in_words, open_nwb, quiet_pynwb, validation_errors
from .nwb_intervals import observed_span
from .nwb_objects import (
    add_column,
    add_region_column,
    add_table,
    add_time_series,
    link_to_elsewhere,
    processing_module,
    remove_column,
    table_namespace,
)

logger = logging.getLogger(__name__)


def annotate_nwb(path, out, result, *, suffix="", overwrite=False):
    """Write a copy of an NWB file with a fit in it: the population of every unit, their activity, their parameters.

    Parameters
    ----------
    path : str or os.PathLike
        The NWB 2 file that was fitted. It is only read.
    out : str or os.PathLike
        The annotated file. May be `path` itself only with `overwrite`; even then the file is replaced in one step, when
        the new one is complete, valid and read back. A symbolic link of this name is replaced, not followed.
    result : neulvm_neo.FitResult
        Its `neuron_ids` must be ids of the file's units.
    suffix : str, default ""
        For several fits side by side: every name below ends in ``_<suffix>``. Letters, digits and ``_``.
    overwrite : bool, default False
        Replace `out` if it exists.

    Raises
    ------
    NWBReadError
        If `path` cannot be read (see `read_nwb`).
    FileExistsError
        If `out` exists and `overwrite` is False, or somebody else wrote to it meanwhile.
    ValueError
        If the fit does not belong to this file, its trials overlap in time, or the file holds objects of our names that
        are not ours, or keeps its units in another file.
    OSError
        If `out` cannot be written: no space, no permission, open for writing elsewhere. Nothing is left behind.
    RuntimeError
        If the copy does not validate or does not read back as written; nothing is left behind.

    Warns
    -----
    UserWarning
        If the activity reaches beyond what the file observed.

    Notes
    -----
    Added are, and nothing else changes:

    - ``units["neulvm_population"]``: name of the population, ``"unassigned"`` for units that were not fitted; and
      ``units["neulvm_distance"]`` where the fit has distances between spike trains: the mean to the others of the
      unit's population; and ``units["neulvm_threshold"]`` (mV) where units have thresholds of their own;
    - ``processing/ecephys/PopulationActivity``: TimeSeries in Hz, (time, population), stamped with the left edges of
      the bins; ``ExpectedPopulationActivity``, ``PopulationActivityStd``, and the band ``PopulationActivityLower`` and
      ``PopulationActivityUpper`` likewise where the fit has them. Several trials are stacked in time, and ``control``
      holds the trial of every sample;
    - ``processing/ecephys/Populations``: one row per population, with its units, size and parameters (a single
      population is followed by a row ``unassigned`` without parameters: a table of one row is bad practice in NWB);
    - ``processing/ecephys/PopulationParameters``: the free values with their intervals, where the fit has them;
    - ``processing/ecephys/PopulationFit``: log-likelihood, settings, seed, software, name, identifier and SHA-256 of
      the source, as text, and a ``record`` from which `read_fit` makes the fit again.

    An earlier annotation of the same suffix is replaced, those of other suffixes stay. The file keeps its NWB schema,
    whatever its age, and is copied and not rewritten, so that memory does not grow with its size. Its links to other
    files are kept as they are written, so relative ones ask for `out` in the same folder.

    Examples
    --------
    >>> from neulvm_neo.io import annotate_nwb, load_fit
    >>> annotate_nwb("rec.nwb", "rec_neulvm.nwb", load_fit("rec.npz"))  # doctest: +SKIP
    """
    import h5py

    names = checked_names(suffix)
    with new_file(out, suffixes=(".nwb",), overwrite=overwrite) as temporary:
        with open_nwb(path) as nwb, damage_in_words(path):
            table, ids = checked_units(nwb, path)
            source = {"file": os.path.basename(path), "identifier": str(nwb.identifier)}
            observed = observed_span(nwb, table, path)
        of_units = unit_columns(ids, result, path)
        series = series_of(result)
        _check_time(result, observed, path)
        # HDF5 that runs out of space ends in a crash of the process: the space is taken before, it gives back the rest
        source["sha256"] = copy_unchanged(path, temporary, reserve=_most_bytes(result, series, ids))
        with h5py.File(temporary, "r+") as file:
            _refuse_elsewhere(file, path)
            if not np.array_equal(file["units/id"][:], ids):
                raise RuntimeError(f"{os.fspath(path)}: changed while it was being read; run it again.")
            _refuse_strangers(file, names, path)
            _remove_earlier(file, names)
            _write(file, names, result, of_units, series, source)
        _check_valid(temporary, path, out)
        _check_reads_back(temporary, names, of_units["population"], series, result)
        shutil.copymode(path, temporary)
    logger.info("%s: annotated with %d populations.", os.fspath(out), len(result.names))


# --- before anything is written ---------------------------------------------------------------------------------------


def _most_bytes(result, series, ids):
    """More than the annotation can take up in the file."""
    n_samples = len(series["n"][0])
    arrays = sum(values.nbytes for values, _ in series.values()) + 12 * n_samples  # with timestamps and control
    texts = 2 * len(record_of(result)) + 100 * len(ids)
    return int(1.1 * arrays) + texts + (1 << 20)  # the last: tables, heaps, trees of chunks


def _check_time(result, observed, path):
    """Refuse activity of another time than the file's; it would be a lie that nobody can see."""
    first = min(activity.t_start for activity in result.activities)
    last = max(activity.t_start + activity.duration for activity in result.activities)
    said = (
        f"{os.fspath(path)}: the activity of the fit is of {first:g}-{last:g} s, the file observed "
        f"{observed[0]:g}-{observed[1]:g} s"
    )
    if last <= observed[0] or first >= observed[1]:
        raise ValueError(f"{said}; fit what read_nwb reads, which keeps the file's clock.")
    slack = max(activity.bin_size for activity in result.activities)
    if first < observed[0] - slack or last > observed[1] + slack:
        warnings.warn(f"{said}: where nothing was observed it is what the model expects.", UserWarning, stacklevel=3)


def _refuse_elsewhere(file, path):
    """Refuse files that keep in other files what is about to change: those would be written to."""
    for name in ("units", "units/id", "processing", f"processing/{MODULE}"):
        if where := link_to_elsewhere(file, name):
            raise ValueError(
                f"{os.fspath(path)}: {name} lies in another file ({where}), which must not change; annotate that one."
            )


def _ours(file, names):
    """(parent, name, how our description of it begins) of every object of these names in the file."""
    units, module = file["units"], file.get(f"processing/{MODULE}", {})
    places = [(units, COLUMNS), (module, SERIES), (module, TABLES)]
    return [
        (parent, names.of(kind), text)
        for parent, table in places
        for kind, (_, text) in table.items()
        if names.of(kind) in parent
    ]


def _refuse_strangers(file, names, path):
    for parent, name, text in _ours(file, names):
        if link_to_elsewhere(parent, name) or not str(parent[name].attrs.get("description", "")).startswith(text):
            raise ValueError(
                f"{os.fspath(path)}: {parent.name}/{name} was not written by neulvm-neo and is left alone; rename it, "
                "or give a suffix."
            )


# --- writing it -------------------------------------------------------------------------------------------------------


def _remove_earlier(file, names):
    for parent, name, _ in _ours(file, names):
        if parent == file["units"]:
            remove_column(parent, name)
        else:
            del parent[name]


def _write(file, names, result, of_units, series, source):
    units, module = file["units"], processing_module(file, MODULE, MODULE_DESCRIPTION)
    namespace = table_namespace(units)
    for kind, values in of_units.items():
        add_column(units, names.of(kind), values, COLUMNS[kind][1], namespace)
    _write_series(module, names, series, result)
    columns, members = populations(result, of_units["population"])
    table = add_table(module, names.of("populations"), TABLES["populations"][1], columns, namespace)
    add_region_column(table, "units", members, units, "Recorded units of this population.", namespace)
    if result.uncertainty is not None and len(result.uncertainty.names):
        columns = intervals(result.uncertainty)
        add_table(module, names.of("parameters"), TABLES["parameters"][1], columns, namespace)
    add_table(module, names.of("fit"), TABLES["fit"][1], summary(result, source), namespace)


def _write_series(module, names, series, result):
    edges, trial, regular = sample_times(result)
    n_trials = len(result.activities)
    for kind, (values, description) in series.items():
        add_time_series(
            module,
            names.of(kind),
            values,
            "Hz",
            description,
            "Time stamps are the left edges of the bins.",
            rate=1.0 / result.activities[0].bin_size if regular else None,
            times=edges,
            control=(trial, [f"trial {i}" for i in range(n_trials)]) if n_trials > 1 else None,
        )


# --- is it right? -----------------------------------------------------------------------------------------------------


def _check_valid(temporary, path, out):
    if errors := validation_errors(temporary):
        inherited = validation_errors(path)
        if new := [error for error in errors if error not in inherited]:
            raise RuntimeError(
                f"{os.fspath(out)}: the annotated file would not be valid NWB and was not written: {'; '.join(new)}"
            )


def _check_reads_back(path, names, labels, series, result):
    try:
        with open_nwb(path) as nwb, quiet_pynwb():
            module = nwb.processing[MODULE]
            same = (
                list(nwb.units[names.of("population")][:]) == labels
                and all(
                    np.array_equal(module[names.of(kind)].data[:], values, equal_nan=True)
                    for kind, (values, _) in series.items()
                )
                and list(module[names.of("populations")]["population_name"][: len(result.names)]) == list(result.names)
            )
    except NWBReadError as error:
        raise RuntimeError(
            f"the annotated file would not be readable and was not written ({error.__cause__}); do other objects of "
            "the file refer to an earlier annotation?"
        ) from error
    if not same:
        raise RuntimeError("the annotated file does not read back as written; nothing was written. Please report this.")
