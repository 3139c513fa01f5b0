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
import uuid

import numpy as np

from neulvm_neo import units as unit_boundary

from .nwb_file import checked_units, open_nwb, quiet_pynwb
from .nwb_writer import check_suffix, new_file

logger = logging.getLogger(__name__)

UNASSIGNED = "unassigned"
_COLUMN = "neulvm_population"
_MODULE = "ecephys"
_ACTIVITY, _EXPECTED, _STD = "PopulationActivity", "ExpectedPopulationActivity", "PopulationActivityStd"
_POPULATIONS, _FIT = "Populations", "PopulationFit"
_OURS = "neuLVM"  # every description of ours contains it: by this an earlier annotation is known from somebody else's data
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
    - ``processing/ecephys/PopulationActivity``: TimeSeries in Hz, (time, population); time stamps are the left edges of the
      bins; ``ExpectedPopulationActivity`` and ``PopulationActivityStd`` likewise where the fit has them. Several trials
      are stacked in time, and ``control`` holds the trial of every sample;
    - ``processing/ecephys/Populations``: one row per population, with its units, size and parameters (a single population
      is followed by a row ``unassigned`` without parameters, for a table of one row is bad practice in NWB);
    - ``processing/ecephys/PopulationFit``: log-likelihood, settings and software, as text.

    An earlier annotation by this function is replaced. The file keeps its NWB schema, and its links to other files are
    kept as they are written, so relative ones ask for `out` in the same folder.

    Examples
    --------
    >>> from neulvm_neo.io import annotate_nwb, load_fit
    >>> annotate_nwb("rec.nwb", "rec_neulvm.nwb", load_fit("rec.npz"))  # doctest: +SKIP
    """
    import h5py

    check_suffix(out, ".nwb")
    with open_nwb(path) as nwb:
        _, ids = checked_units(nwb, path)
    labels = _labels(ids, result, path)
    series = _series(result)
    with new_file(out, overwrite=overwrite) as temporary:
        before = _validation_errors(path)
        shutil.copyfile(path, temporary)
        with h5py.File(temporary, "r+") as file:
            _remove_earlier(file, path)
            _write_column(file["units"], labels)
            _write_series(_module(file), series, result)
            _write_populations(_module(file), file["units"], labels, result)
            _write_fit(_module(file), file["units"], result)
        if new := [error for error in _validation_errors(temporary) if error not in before]:
            raise RuntimeError(f"{os.fspath(out)}: the annotated file would not be valid NWB and was not written: {'; '.join(new)}")
        _check_reads_back(temporary, labels, series, result)
        shutil.copymode(path, temporary)
    logger.info("%s: annotated with %d populations.", os.fspath(out), len(result.names))


# --- what is to be written ---------------------------------------------------------------------------------------------


def _labels(ids, result, path):
    """Population of every unit of the file, in the order of its table."""
    label_of = dict(zip(map(str, result.neuron_ids), result.labels, strict=True))
    if len(label_of) < len(result.neuron_ids):
        raise ValueError("result.neuron_ids holds duplicates, so they do not name the units of a file.")
    if unknown := sorted(set(label_of) - {str(i) for i in ids}):
        raise ValueError(
            f"{os.fspath(path)}: the fit has neurons {', '.join(unknown[:10])} that are not in units.id; "
            "annotate the file that was fitted (its neurons are named by the annotation unit_id that read_nwb gives)."
        )
    if strange := sorted(set(result.labels) - set(result.names) - {UNASSIGNED}):
        raise ValueError(f"result.labels names {', '.join(map(str, strange))}, but the populations are {', '.join(result.names)}.")
    return [str(label_of.get(str(i), UNASSIGNED)) for i in ids]


def _series(result):
    """What becomes a TimeSeries: name -> (values in Hz, description), with all trials stacked in time."""
    if not result.activities:
        raise ValueError("result.activities is empty; there is no population activity to write.")
    for activity in result.activities:
        if activity.n.ndim != 2 or activity.n.shape[1] != len(result.names):
            raise ValueError(f"result.activities have the shape {activity.n.shape}, expected (n_bins, {len(result.names)}).")
    columns = f"Columns: {', '.join(result.names)}."
    series = {_ACTIVITY: ([a.activity for a in result.activities], f"Population activity inferred by {_OURS}: spikes per neuron and second.")}
    if all(a.n_bar is not None for a in result.activities):
        series[_EXPECTED] = ([a.expected_activity for a in result.activities], f"Population activity that {_OURS} expects given the past.")
    if all(a.n_std is not None for a in result.activities):
        series[_STD] = ([a.activity_std for a in result.activities], f"Posterior standard deviation of the activity inferred by {_OURS}.")
    order = np.argsort([a.t_start for a in result.activities])
    return {name: (np.vstack([values[i] for i in order]), f"{text} {columns}") for name, (values, text) in series.items()}


def _sample_times(result):
    """Left edge of every bin (s) and its trial, in order of time; whether they form one regular series."""
    order = np.argsort([a.t_start for a in result.activities])
    bins = {a.bin_size for a in result.activities}
    if len(bins) > 1:
        raise ValueError(f"result.activities have different bin sizes {sorted(bins)} s; expected one.")
    trials = [result.activities[i] for i in order]
    steps = [(later.t_start - (earlier.t_start + earlier.duration)) / earlier.bin_size for earlier, later in zip(trials[:-1], trials[1:], strict=True)]
    if any(step < -0.5 for step in steps):
        raise ValueError("the trials of the fit overlap in time, so they cannot stand in one file; read trials with read_nwb(trials=...), which keeps the file's clock.")
    edges = np.concatenate([a.t_start + np.arange(len(a.n)) * a.bin_size for a in trials])
    trial = np.concatenate([np.full(len(result.activities[i].n), i) for i in order])
    return edges, trial, all(abs(step) < _SAME_GRID for step in steps)


def _summary(result):
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
        **{f"settings.{key}": _as_text(value) for key, value in result.settings.items()},
    }
    return list(rows), [str(value) for value in rows.values()]


def _as_text(value):
    """A setting as text; a dictionary as ``key=value``, for dictionaries in a table cell are bad practice in NWB."""
    if isinstance(value, dict):
        return "; ".join(f"{key}={_as_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        return " | ".join(_as_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


# --- HDF5 as the NWB schema has it -------------------------------------------------------------------------------------


def _write_column(units, labels):
    _vector(units, _COLUMN, labels, f"Population of the unit in the fitted {_OURS}; {UNASSIGNED!r} if it was not fitted.", _table_namespace(units))
    units.attrs["colnames"] = _texts([*units.attrs["colnames"], _COLUMN])


def _write_series(module, series, result):
    edges, trial, regular = _sample_times(result)
    for name, (values, description) in series.items():
        group = module.create_group(name)
        _describe(group, "TimeSeries", "core", description=description, comments="Time stamps are the left edges of the bins.")
        data = group.create_dataset("data", data=np.asarray(values, dtype=float), compression="gzip", chunks=True)
        data.attrs.update({"conversion": 1.0, "offset": 0.0, "resolution": -1.0, "unit": "Hz"})
        if regular:
            start = group.create_dataset("starting_time", data=float(edges[0]))
            start.attrs.update({"rate": 1.0 / float(result.activities[0].bin_size), "unit": "seconds"})
        else:
            stamps = group.create_dataset("timestamps", data=edges, compression="gzip", chunks=True)
            stamps.attrs.update({"interval": np.int32(1), "unit": "seconds"})
        if len(result.activities) > 1:
            group.create_dataset("control", data=trial.astype(np.uint32), compression="gzip", chunks=True)
            group.create_dataset("control_description", data=_texts([f"trial {i}" for i in range(len(result.activities))]))


def _write_populations(module, units, labels, result):
    names = list(result.names)
    parameters = _parameters(result.circuit, len(names))
    # A table with a single row counts as bad practice: a single population is followed by the units that are not in it.
    rows = names if len(names) > 1 else [*names, UNASSIGNED]
    members = [np.flatnonzero(np.asarray(labels) == name) for name in rows]
    namespace = _table_namespace(units)
    table = _table(module, _POPULATIONS, f"Populations of the fitted {_OURS} and their parameters.", len(rows), namespace)
    _vector(table, "population_name", rows, f"Name, as in units.{_COLUMN}.", namespace)
    n_neurons = np.zeros(len(rows), dtype=np.int64)
    n_neurons[: len(names)] = result.circuit.n_neurons
    _vector(table, "n_neurons", n_neurons, "Number of neurons in the model.", namespace)
    n_recorded = np.array([len(own) for own in members])
    _vector(table, "n_recorded", n_recorded, "Number of recorded units of the population.", namespace)
    for name, (values, description) in parameters.items():
        missing = np.full((len(rows) - len(names), *values.shape[1:]), np.nan)
        _vector(table, name, np.concatenate([values, missing]), description, namespace)
    region = _vector(
        table, "units", np.concatenate(members).astype(np.int64), "Recorded units of this population.", namespace, "DynamicTableRegion"
    )
    region.attrs["table"] = units.ref
    ends = np.cumsum(n_recorded).astype(np.uint32)
    index = _vector(table, "units_index", ends, "Index for VectorData 'units'", namespace, "VectorIndex")
    index.attrs["target"] = region.ref
    table.attrs["colnames"] = _texts(["population_name", "n_neurons", "n_recorded", *parameters, "units"])


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


def _write_fit(module, units, result):
    names, values = _summary(result)
    namespace = _table_namespace(units)
    table = _table(module, _FIT, f"How the {_OURS} was fitted, and how well.", len(names), namespace)
    _vector(table, "quantity", names, "What is stated.", namespace)
    _vector(table, "value", values, "Its value, as text, with its unit where it has one.", namespace)
    table.attrs["colnames"] = _texts(["quantity", "value"])


def _module(file):
    """The processing module, made if the file has none; ours stands beside whatever it holds."""
    processing = file.require_group("processing")
    if _MODULE not in processing:
        _describe(processing.create_group(_MODULE), "ProcessingModule", "core", description="Processed extracellular electrophysiology data.")
    return processing[_MODULE]


def _remove_earlier(file, path):
    """Remove an earlier annotation of ours; refuse to touch somebody else's object of the same name."""
    units, module = file["units"], file.get(f"processing/{_MODULE}", {})
    earlier = [(units, _COLUMN)] + [(module, name) for name in (_ACTIVITY, _EXPECTED, _STD, _POPULATIONS, _FIT)]
    for parent, name in earlier:
        if name not in parent:
            continue
        if _OURS not in str(parent[name].attrs.get("description", "")):
            raise ValueError(f"{os.fspath(path)}: {parent[name].name} was not written by neulvm-neo and is not overwritten; rename or remove it.")
        del parent[name]
    units.attrs["colnames"] = _texts([name for name in units.attrs["colnames"] if name != _COLUMN])


def _table(module, name, description, n_rows, namespace):
    table = module.create_group(name)
    _describe(table, "DynamicTable", namespace, description=description)
    _describe(table.create_dataset("id", data=np.arange(n_rows)), "ElementIdentifiers", namespace)
    return table


def _vector(table, name, values, description, namespace, neurodata_type="VectorData"):
    values = _texts(values) if len(values) and isinstance(values[0], str) else np.asarray(values)
    dataset = table.create_dataset(name, data=values)
    _describe(dataset, neurodata_type, namespace, description=description)
    return dataset


def _describe(item, neurodata_type, namespace, **texts):
    item.attrs.update({"neurodata_type": neurodata_type, "namespace": namespace, "object_id": str(uuid.uuid4()), **texts})


def _table_namespace(units):
    """Where this file's schema keeps tables: "hdmf-common", in the first files of NWB 2 still "core"."""
    return units["id"].attrs.get("namespace", "hdmf-common")


def _texts(values):
    import h5py

    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values], dtype=h5py.string_dtype())


# --- is it right? ------------------------------------------------------------------------------------------------------


def _validation_errors(path):
    """What ``pynwb.validate`` finds, as a list of texts: by the schema in the file, or PyNWB's own where that is incomplete."""
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
            and all(np.array_equal(module[name].data[:], values, equal_nan=True) for name, (values, _) in series.items())
            and list(module[_POPULATIONS]["population_name"][: len(result.names)]) == list(result.names)
        )
    if not same:
        raise RuntimeError("the annotated file does not read back as written; nothing was written. Please report this.")
