"""Annotating NWB: a copy of a recording with the fitted populations in it, everything else left byte for byte.

The new objects are written straight into a copy of the HDF5 file. PyNWB's own ways were tried and each fails on files
that exist: appending breaks files of an older schema, and exporting rewrites the whole file in the newest schema and
gives up on what it would not write today (a units table whose electrodes column has no index, for instance).
PyNWB then validates the copy and reads it back before it gets its name.
"""

import json
import logging
import os
import shutil

import numpy as np

from neulvm_neo import units as unit_boundary
from neulvm_neo.new_files import new_file

from .neo_blocks import UNASSIGNED
from .nwb_file import checked_units, open_nwb, quiet_pynwb
from .nwb_objects import (
    add_column,
    add_region_column,
    add_table,
    add_time_series,
    processing_module,
    remove_column,
    table_namespace,
)

logger = logging.getLogger(__name__)

_COLUMN = "neulvm_population"
_MODULE, _MODULE_DESCRIPTION = "ecephys", "Processed extracellular electrophysiology data."
_ACTIVITY, _EXPECTED, _STD = "PopulationActivity", "ExpectedPopulationActivity", "PopulationActivityStd"
_POPULATIONS, _FIT = "Populations", "PopulationFit"
_OURS = (
    "neuLVM"  # every description of ours contains it: by this an earlier annotation is known from somebody else's data
)
_COLUMN_DESCRIPTION = f"Population of the unit in the fitted {_OURS}; {UNASSIGNED!r} if it was not fitted."
_SAME_GRID = 1e-6  # trials whose bins continue each other to this share of a bin form one regular series


def annotate_nwb(path, out, result, *, overwrite=False):
    """Write a copy of an NWB file with a fit in it: the population of every unit, their activity, their parameters.

    Parameters
    ----------
    path : str or os.PathLike
        The NWB 2 file that was fitted. It is only read.
    out : str or os.PathLike
        The annotated file. May be `path` itself only with `overwrite`; even then the file is replaced in one step, when
        the new one is complete, valid and read back.
    result : neulvm_neo.FitResult
        Its `neuron_ids` must be ids of the file's units.
    overwrite : bool, default False
        Replace `out` if it exists.

    Raises
    ------
    NWBReadError
        If `path` cannot be read (see `read_nwb`).
    FileExistsError
        If `out` exists and `overwrite` is False.
    ValueError
        If the fit does not belong to this file, its trials overlap in time, or the file holds objects of our names that
        are not ours.
    RuntimeError
        If the copy does not validate or does not read back as written; nothing is left behind.

    Notes
    -----
    Added are, and nothing else changes:

    - ``units["neulvm_population"]``: name of the population, ``"unassigned"`` for units that were not fitted;
    - ``processing/ecephys/PopulationActivity``: TimeSeries in Hz, (time, population), stamped with the left edges of
      the bins; ``ExpectedPopulationActivity`` and ``PopulationActivityStd`` likewise where the fit has them. Several
      trials are stacked in time, and ``control`` holds the trial of every sample;
    - ``processing/ecephys/Populations``: one row per population, with its units, size and parameters (a single
      population is followed by a row ``unassigned`` without parameters: a table of one row is bad practice in NWB);
    - ``processing/ecephys/PopulationFit``: log-likelihood, settings and software, as text.

    An earlier annotation by this function is replaced. The file keeps its NWB schema, and its links to other files are
    kept as they are written, so relative ones ask for `out` in the same folder.

    Examples
    --------
    >>> from neulvm_neo.io import annotate_nwb, load_fit
    >>> annotate_nwb("rec.nwb", "rec_neulvm.nwb", load_fit("rec.npz"))  # doctest: +SKIP
    """
    import h5py

    with new_file(out, suffixes=(".nwb",), overwrite=overwrite) as temporary:
        with open_nwb(path) as nwb:
            _, ids = checked_units(nwb, path)
        labels = _labels(ids, result, path)
        series = _series(result)
        shutil.copyfile(path, temporary)
        with h5py.File(temporary, "r+") as file:
            units, module = file["units"], processing_module(file, _MODULE, _MODULE_DESCRIPTION)
            _remove_earlier(file, path)
            namespace = table_namespace(units)
            add_column(units, _COLUMN, labels, _COLUMN_DESCRIPTION, namespace)
            _write_series(module, series, result)
            _write_populations(module, units, labels, result, namespace)
            add_table(module, _FIT, f"How the {_OURS} was fitted, and how well.", _summary(result), namespace)
        if errors := _validation_errors(temporary):
            inherited = _validation_errors(path)
            if new := [error for error in errors if error not in inherited]:
                raise RuntimeError(
                    f"{os.fspath(out)}: the annotated file would not be valid NWB and was not written: {'; '.join(new)}"
                )
        _check_reads_back(temporary, labels, series, result)
        shutil.copymode(path, temporary)
    logger.info("%s: annotated with %d populations.", os.fspath(out), len(result.names))


# --- what is to be written --------------------------------------------------------------------------------------------


def _labels(ids, result, path):
    """Population of every unit of the file, in the order of its table."""
    label_of = dict(zip(map(str, result.neuron_ids), result.labels, strict=True))
    if len(label_of) < len(result.neuron_ids) or len(set(ids)) < len(ids):
        raise ValueError(
            f"{os.fspath(path)}: units.id or result.neuron_ids holds duplicates, so they do not name units; renumber."
        )
    if unknown := sorted(set(label_of) - {str(i) for i in ids}):
        raise ValueError(
            f"{os.fspath(path)}: the fit has neurons {', '.join(unknown[:10])} that are not in units.id; "
            "annotate the file that was fitted (its neurons are named by the annotation unit_id that read_nwb gives)."
        )
    if strange := sorted(set(result.labels) - set(result.names) - {UNASSIGNED}):
        raise ValueError(
            f"result.labels names {', '.join(map(str, strange))}, but the populations are {', '.join(result.names)}."
        )
    return [str(label_of.get(str(i), UNASSIGNED)) for i in ids]


def _series(result):
    """What becomes a TimeSeries: name -> (values in Hz, description), with all trials stacked in time."""
    if not result.activities:
        raise ValueError("result.activities is empty; there is no population activity to write.")
    for activity in result.activities:
        if activity.n.ndim != 2 or activity.n.shape[1] != len(result.names):
            raise ValueError(
                f"result.activities have the shape {activity.n.shape}, expected (n_bins, {len(result.names)})."
            )
    columns = f"Columns: {', '.join(result.names)}."
    series = {
        _ACTIVITY: (
            [a.activity for a in result.activities],
            f"Population activity inferred by {_OURS}: spikes per neuron and second.",
        )
    }
    if all(a.n_bar is not None for a in result.activities):
        series[_EXPECTED] = (
            [a.expected_activity for a in result.activities],
            f"Population activity that {_OURS} expects given the past.",
        )
    if all(a.n_std is not None for a in result.activities):
        series[_STD] = (
            [a.activity_std for a in result.activities],
            f"Posterior standard deviation of the activity inferred by {_OURS}.",
        )
    order = np.argsort([a.t_start for a in result.activities])
    return {
        name: (np.vstack([values[i] for i in order]), f"{text} {columns}") for name, (values, text) in series.items()
    }


def _sample_times(result):
    """Left edge of every bin (s) and its trial, in order of time; whether they form one regular series."""
    order = np.argsort([a.t_start for a in result.activities])
    bins = {a.bin_size for a in result.activities}
    if len(bins) > 1:
        raise ValueError(f"result.activities have different bin sizes {sorted(bins)} s; expected one.")
    trials = [result.activities[i] for i in order]
    steps = [
        (later.t_start - (earlier.t_start + earlier.duration)) / earlier.bin_size
        for earlier, later in zip(trials[:-1], trials[1:], strict=True)
    ]
    if any(step < -0.5 for step in steps):
        raise ValueError(
            "the trials of the fit overlap in time, so they cannot stand in one recording; "
            "read trials with read_nwb(trials=...), which keeps the file's clock."
        )
    edges = np.concatenate([a.t_start + np.arange(len(a.n)) * a.bin_size for a in trials])
    trial = np.concatenate([np.full(len(result.activities[i].n), i) for i in order])
    return edges, trial, all(abs(step) < _SAME_GRID for step in steps)


def _summary(result):
    """Columns of the table that says how the fit came about."""
    rows = {
        "software": "neulvm-neo",
        "software_version": result.software_version,
        "log_likelihood": f"{float(result.log_likelihood)!r} nats",
        "log_likelihood_error": f"{float(result.log_likelihood_error)!r} nats",
        "n_iter": str(int(result.n_iter)),
        "converged": str(bool(result.converged)),
        "status": result.status,
        "bin_size": f"{float(result.activities[0].bin_size)!r} s",
        "n_trials": str(len(result.activities)),
        "free_parameters": ", ".join(getattr(result.circuit, "free", ())),
        **{f"settings.{key}": _as_text(value) for key, value in result.settings.items()},
    }
    return {
        "quantity": (list(rows), "What is stated."),
        "value": ([str(value) for value in rows.values()], "Its value, as text, with its unit where it has one."),
    }


def _as_text(value):
    """A setting as text; a dictionary as ``key=value``, for dictionaries in a table cell are bad practice in NWB."""
    if isinstance(value, dict):
        return "; ".join(f"{key}={_as_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        return " | ".join(_as_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


# --- writing it  ----------------------------------------------------------------------------------------------------


def _remove_earlier(file, path):
    """Remove an earlier annotation of ours; refuse to touch somebody else's object of the same name."""
    units, module = file["units"], file.get(f"processing/{_MODULE}", {})
    earlier = [(units, _COLUMN)] + [(module, name) for name in (_ACTIVITY, _EXPECTED, _STD, _POPULATIONS, _FIT)]
    earlier = [(parent, name) for parent, name in earlier if name in parent]
    for parent, name in earlier:
        if _OURS not in str(parent[name].attrs.get("description", "")):
            raise ValueError(
                f"{os.fspath(path)}: {parent[name].name} was not written by neulvm-neo and is left alone; rename it."
            )
    for parent, name in earlier:
        if parent == units:
            remove_column(units, name)
        else:
            del parent[name]


def _write_series(module, series, result):
    edges, trial, regular = _sample_times(result)
    n_trials = len(result.activities)
    for name, (values, description) in series.items():
        add_time_series(
            module,
            name,
            values,
            "Hz",
            description,
            "Time stamps are the left edges of the bins.",
            rate=1.0 / result.activities[0].bin_size if regular else None,
            times=edges,
            control=(trial, [f"trial {i}" for i in range(n_trials)]) if n_trials > 1 else None,
        )


def _write_populations(module, units, labels, result, namespace):
    names = list(result.names)
    # A table with a single row counts as bad practice: a single population is followed by the units that are not in it.
    rows = names if len(names) > 1 else [*names, UNASSIGNED]
    members = [np.flatnonzero(np.asarray(labels) == name) for name in rows]
    n_neurons = np.zeros(len(rows), dtype=np.int64)
    n_neurons[: len(names)] = result.circuit.n_neurons
    columns = {
        "population_name": (rows, f"Name, as in units.{_COLUMN}."),
        "n_neurons": (n_neurons, "Number of neurons in the model."),
        "n_recorded": (np.array([len(own) for own in members]), "Number of recorded units."),
    }
    for name, (values, description) in _parameters(result.circuit, len(names)).items():
        missing = np.full((len(rows) - len(names), *values.shape[1:]), np.nan)
        columns[name] = (np.concatenate([values, missing]), description)
    description = f"Populations of the fitted {_OURS} and their parameters."
    table = add_table(module, _POPULATIONS, description, columns, namespace)
    add_region_column(table, "units", members, units, "Recorded units of this population.", namespace)


def _parameters(circuit, n_populations):
    """Columns of parameters: name -> (one value per population, or one row of J, and what it is)."""

    def per_population(strip, name):
        return np.broadcast_to(strip(getattr(circuit, name), name), (n_populations,))

    s, mv = unit_boundary.to_seconds, unit_boundary.to_millivolts
    return {
        "membrane_time_constant": (per_population(s, "tau_m"), "Membrane time constant tau_m (s)."),
        "resting_potential": (per_population(mv, "u_rest"), "Resting potential u_rest (mV above the reset)."),
        "threshold": (per_population(mv, "threshold"), "Threshold of the escape rate exp(u - threshold) Hz (mV)."),
        "synaptic_time_constant": (per_population(s, "tau_syn"), "tau_syn of the currents this population evokes (s)."),
        "refractory_period": (per_population(s, "t_ref"), "Absolute refractory period t_ref (s)."),
        "transmission_delay": (per_population(s, "delay"), "Delay of the spikes this population sends (s)."),
        "coupling": (
            mv(circuit.J, "J").reshape(n_populations, n_populations),
            "Coupling J to this population from every population, in the order of the rows (mV).",
        ),
    }


# --- is it right? -----------------------------------------------------------------------------------------------------


def _validation_errors(path):
    """What ``pynwb.validate`` finds, as texts: by the schema in the file, or PyNWB's own where that is incomplete."""
    import pynwb

    with quiet_pynwb():
        try:
            return [str(error) for error in pynwb.validate(path=os.fspath(path))]
        except Exception as error:
            logger.info("%s: not validated by the schema cached in the file (%r), but by PyNWB's own.", path, error)
            return [str(error) for error in pynwb.validate(path=os.fspath(path), use_cached_namespaces=False)]


def _check_reads_back(path, labels, series, result):
    with open_nwb(path) as nwb:
        module = nwb.processing[_MODULE]
        same = (
            list(nwb.units[_COLUMN][:]) == labels
            and all(
                np.array_equal(module[name].data[:], values, equal_nan=True) for name, (values, _) in series.items()
            )
            and list(module[_POPULATIONS]["population_name"][: len(result.names)]) == list(result.names)
        )
    if not same:
        raise RuntimeError("the annotated file does not read back as written; nothing was written. Please report this.")
