"""What an annotation says: from a fit to the columns, series and tables that NWB has places for."""

import json
import os
import re
from typing import NamedTuple

import numpy as np

from neulvm_neo import units as unit_boundary
from neulvm_neo.results import BAND_LEVEL, UNASSIGNED

from .fit_record import record_of

MODULE, MODULE_DESCRIPTION = "ecephys", "Processed extracellular electrophysiology data."
_SAME_GRID = 1e-6  # trials whose bins continue each other to this share of a bin form one regular series
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,63}")

# What becomes a TimeSeries: counts of `PopulationActivity` -> (name, how its description begins).
SERIES = {
    "n": ("PopulationActivity", "Population activity inferred by neuLVM: spikes per neuron and second."),
    "n_bar": ("ExpectedPopulationActivity", "Population activity that neuLVM expects given the past."),
    "n_std": ("PopulationActivityStd", "Posterior standard deviation of the activity inferred by neuLVM."),
    "n_lower": ("PopulationActivityLower", f"Lower end of the band that holds the activity inferred by neuLVM with "
                f"probability {BAND_LEVEL:g} in every bin."),
    "n_upper": ("PopulationActivityUpper", f"Upper end of the band that holds the activity inferred by neuLVM with "
                f"probability {BAND_LEVEL:g} in every bin."),
}  # fmt: skip
TABLES = {
    "populations": ("Populations", "Populations of the fitted neuLVM and their parameters."),
    "parameters": ("PopulationParameters", "Free values of the fitted neuLVM and their intervals."),
    "fit": ("PopulationFit", "How the neuLVM was fitted, and how well."),
}
COLUMNS = {
    "population": ("neulvm_population",
                   f"Population of the unit in the fitted neuLVM; {UNASSIGNED!r} if it was not fitted."),
    "distance": ("neulvm_distance",
                 "Mean distance of the unit's spike train to the others of its population in the fitted neuLVM."),
    "threshold": ("neulvm_threshold",
                  "Threshold in mV of the unit in the fitted neuLVM, beside that of its population."),
}  # fmt: skip
RECORD = "record"  # row of the table of the fit


class Names(NamedTuple):
    """Names of the objects of one fit in a file: those of the tables above with a suffix."""

    ending: str

    def of(self, kind):
        """Name of a series, table or column of the tables above."""
        return (SERIES | TABLES | COLUMNS)[kind][0] + self.ending


def checked_names(suffix):
    """`Names` with a suffix that can stand in a file.

    Raises
    ------
    ValueError
        If it is anything but letters, digits and ``_``: names with ``/`` or dots are paths in HDF5.
    """
    if suffix is None or suffix == "":
        return Names("")
    if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"suffix={suffix!r} cannot end a name in NWB; use up to 64 of A-Z, a-z, 0-9 and _.")
    return Names(f"_{suffix}")


def unit_columns(ids, result, path):
    """What the fit says of every unit of the file, in the order of its table, by the kind of column.

    Its population, and where the fit has them the distance to it and its threshold (NaN if not known).
    """
    position = dict(zip(map(str, result.neuron_ids), range(len(result.neuron_ids)), strict=True))
    if len(position) < len(result.neuron_ids) or len(set(ids)) < len(ids):
        raise ValueError(
            f"{os.fspath(path)}: units.id or result.neuron_ids holds duplicates, so they do not name units; renumber."
        )
    if len(result.labels) != len(result.neuron_ids):
        raise ValueError(
            f"result.labels has {len(result.labels)} entries, expected one for each of the "
            f"{len(result.neuron_ids)} in result.neuron_ids."
        )
    if unknown := sorted(set(position) - {str(i) for i in ids}):
        raise ValueError(
            f"{os.fspath(path)}: the fit has neurons {', '.join(unknown[:10])} that are not in units.id; "
            "annotate the file that was fitted (its neurons are named by the annotation unit_id that read_nwb gives)."
        )
    if strange := sorted(set(result.labels) - set(result.names) - {UNASSIGNED}):
        raise ValueError(
            f"result.labels names {', '.join(map(str, strange))}, but the populations are {', '.join(result.names)}."
        )
    labels, distances, thresholds = [UNASSIGNED] * len(ids), np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    for row, unit in enumerate(map(str, ids)):
        if unit in position:
            i = position[unit]
            labels[row] = str(result.labels[i])
            if result.distances is not None and labels[row] in result.names:
                distances[row] = result.distances[i][result.names.index(labels[row])]
            if result.neuron_thresholds is not None:
                thresholds[row] = result.neuron_thresholds[i]
    columns = {"population": labels}
    if result.distances is not None:
        columns["distance"] = distances
    if result.neuron_thresholds is not None:
        columns["threshold"] = thresholds
    return columns


def series_of(result):
    """Kind of series -> (values in Hz, description), with all trials stacked in the order of time."""
    if not result.activities:
        raise ValueError("result.activities is empty; there is no population activity to write.")
    for activity in result.activities:
        for kind in SERIES:
            values = getattr(activity, kind)
            if values is None and kind != "n":
                continue
            if np.ndim(values) != 2 or np.shape(values)[1] != len(result.names) or len(values) != len(activity.n):
                raise ValueError(
                    f"result.activities hold {kind} of the shape {np.shape(values)}, expected "
                    f"(n_bins, {len(result.names)})."
                )
        if not len(activity.n):
            raise ValueError("result.activities hold a trial without bins; leave it out.")
        if not (np.isfinite(activity.bin_size) and activity.bin_size > 0 and np.isfinite(activity.t_start)):
            raise ValueError(
                f"result.activities have bin_size {activity.bin_size!r} and t_start {activity.t_start!r}; "
                "expected finite times in s, the first positive."
            )
    columns = f"Columns: {', '.join(result.names)}."
    order = np.argsort([activity.t_start for activity in result.activities], kind="stable")
    trials = [result.activities[i] for i in order]
    return {
        kind: (np.vstack([rates_of(trial, kind) for trial in trials]), f"{text} {columns}")
        for kind, (_, text) in SERIES.items()
        if all(getattr(trial, kind) is not None for trial in trials)
    }


def rates_of(activity, kind):
    """Counts of `PopulationActivity` in Hz, shape (n_bins, n_populations)."""
    return getattr(activity, kind) / (np.asarray(activity.n_neurons) * activity.bin_size)


def sample_times(result):
    """Left edge of every bin (s) and its trial, in order of time; whether they form one regular series."""
    order = np.argsort([a.t_start for a in result.activities], kind="stable")
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


def summary(result, source):
    """Columns of the table that says how the fit came about.

    Parameters
    ----------
    result : neulvm_neo.FitResult
    source : dict of str to str
        What is known of the file that was fitted.
    """
    rows = {
        "software": "neulvm-neo",
        "software_version": result.software_version,
        **{f"source_{name}": value for name, value in source.items()},
        "log_likelihood": f"{float(result.log_likelihood)!r} nats",
        "log_likelihood_error": f"{float(result.log_likelihood_error)!r} nats",
        "n_iter": str(int(result.n_iter)),
        "converged": str(bool(result.converged)),
        "status": result.status,
        "seed": _as_text(result.settings.get("random_state")),
        "bin_size": f"{float(result.activities[0].bin_size)!r} s",
        "n_trials": str(len(result.activities)),
        "free_parameters": ", ".join(getattr(result.circuit, "free", ())),
        **{f"settings.{key}": _as_text(value) for key, value in result.settings.items()},
    }
    rows |= {f"kinds.{i}": sentence for i, sentence in enumerate(result.kinds)}
    if result.uncertainty is not None:
        rows["interval_probability"] = f"{result.uncertainty.level:g}"
        rows["interval_method"] = result.uncertainty.method
        rows |= {f"undetermined.{i}": text for i, text in enumerate(result.uncertainty.undetermined)}
    rows[RECORD] = record_of(result)
    return {
        "quantity": (list(rows), "What is stated."),
        "value": (
            [str(value) for value in rows.values()],
            f"Its value, as text, with its unit where it has one; {RECORD}: all of the fit, for neulvm-neo.",
        ),
    }


def populations(result, labels):
    """Columns of the table of populations, and the rows of the units table that belong to each."""
    names = list(result.names)
    # A table with a single row counts as bad practice: a single population is followed by the units that are not in it.
    rows = names if len(names) > 1 else [*names, UNASSIGNED]
    members = [np.flatnonzero(np.asarray(labels) == name) for name in rows]
    n_neurons = np.zeros(len(rows), dtype=np.int64)
    n_neurons[: len(names)] = result.circuit.n_neurons
    columns = {
        "population_name": (rows, f"Name, as in units.{COLUMNS['population'][0]}."),
        "n_neurons": (n_neurons, "Number of neurons in the model."),
        "n_recorded": (np.array([len(own) for own in members]), "Number of recorded units."),
    }
    for name, (values, description) in circuit_values(result.circuit, len(names)).items():
        missing = np.full((len(rows) - len(names), *values.shape[1:]), np.nan)
        columns[name] = (np.concatenate([values, missing]), description)
    return columns, members


def circuit_values(circuit, n_populations):
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


def intervals(uncertainty):
    """Columns of the table of free values and their intervals."""
    probability = f"of the interval that holds it with probability {uncertainty.level:g}"
    columns = {
        "parameter": (list(map(str, uncertainty.names)), "Free value, or the label of those that are tied."),
        "unit": (list(map(str, uncertainty.units)), "Its unit."),
        "estimate": (uncertainty.estimate, "Fitted value."),
        "lower": (uncertainty.lower, f"Lower end {probability}; infinite if the data do not determine it."),
        "upper": (uncertainty.upper, f"Upper end {probability}; infinite if the data do not determine it."),
        "theta": (uncertainty.theta, "The estimate on the scale on which it is fitted: positive values as logarithms."),
        "covariance": (uncertainty.covariance, "Covariance of theta: a row per value."),
    }
    n_free = len(uncertainty.names)
    for name, (values, _) in columns.items():
        if len(values) != n_free:
            raise ValueError(f"result.uncertainty.{name} has {len(values)} entries, expected {n_free} as of names.")
    return columns


def _as_text(value):
    """A setting as text; a dictionary as ``key=value``, for dictionaries in a table cell are bad practice in NWB."""
    if isinstance(value, dict):
        return "; ".join(f"{key}={_as_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        return " | ".join(_as_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, default=str)
