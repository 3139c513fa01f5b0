"""A fit as one line of text beside its activity, so that annotated files give back all of it."""

import dataclasses
import json

import numpy as np

from neulvm_neo.fit_file import packed, unpacked

FORMAT = "neulvm-fit-record"
VERSION = 1
COUNTS = ("n", "n_bar", "n_std", "n_lower", "n_upper")  # of `PopulationActivity`: kept beside the record, in Hz


class FitRecordError(ValueError):
    """A record is none, damaged, or of a newer version."""


def record_of(result):
    """Everything of a fit but the series of its activity and the state of the estimator, as JSON.

    Parameters
    ----------
    result : neulvm_neo.FitResult

    Returns
    -------
    str
        Without a brace, for dictionaries in cells of tables are bad practice in NWB: they are written as lists.
    """
    header, arrays = packed(dataclasses.replace(result, state={}))
    for entry, activity in zip(header["activities"], result.activities, strict=True):
        entry["n_bins"] = len(activity.n)
    inline = {
        name: [values.dtype.str, list(values.shape), [_plain(value) for value in values.ravel().tolist()]]
        for name, values in arrays.items()
        if name.rpartition("/")[2] not in COUNTS or not name.startswith("activities/")
    }
    text = json.dumps([FORMAT, VERSION, _listed(header), _listed(inline)], allow_nan=False)
    return text.replace("{", r"\u007b").replace("}", r"\u007d")  # what braces there are stand in quotes


def fit_of(record, rates):
    """The fit of a record.

    Parameters
    ----------
    record : str
        Of `record_of`.
    rates : callable
        Given the header's list of trials (dicts with ``t_start``, ``bin_size``, ``n_bins``, ``names``), it returns for
        each a dict from names of `COUNTS` to arrays (n_bins, n_populations) in Hz.

    Returns
    -------
    neulvm_neo.FitResult
        Counts are exact where they are whole numbers, else to the last digit of a float; `state` is empty.

    Raises
    ------
    FitRecordError
    """
    try:
        form, version, *content = json.loads(record)
    except (TypeError, ValueError) as error:
        raise FitRecordError(f"the record of the fit is damaged ({error})") from error
    if form != FORMAT or version != VERSION:
        raise FitRecordError(
            f"the record of the fit is {form} version {version}, this neulvm-neo reads {FORMAT} version {VERSION}; "
            "update neulvm-neo"
        )
    try:
        header, inline = map(_unlisted, content)
        arrays = {name: _array(*parts) for name, parts in inline.items()}
        for i, (trial, known) in enumerate(zip(header["activities"], rates(header["activities"]), strict=True)):
            scale = arrays[f"activities/{i}/n_neurons"] * trial["bin_size"]
            for name, values in known.items():
                if values.shape != (trial["n_bins"], len(trial["names"])):
                    raise ValueError(f"trial {i} has the shape {values.shape} in the file, {trial['n_bins']} bins here")
                arrays[f"activities/{i}/{name}"] = _counts(values, scale)
        return unpacked(header, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise FitRecordError(f"the record of the fit is incomplete ({type(error).__name__}: {error})") from error


def _listed(value):
    """Dictionaries as ``["dict", [[key, value], ...]]``, lists as ``["list", [...]]``."""
    if isinstance(value, dict):
        return ["dict", [[key, _listed(item)] for key, item in value.items()]]
    if isinstance(value, (list, tuple)):
        return ["list", [_listed(item) for item in value]]
    return value


def _unlisted(value):
    if not isinstance(value, list):
        return value
    kind, items = value
    if kind == "dict":
        return {key: _unlisted(item) for key, item in items}
    if kind != "list":
        raise ValueError(f"neither a dictionary nor a list: {kind!r}")
    return [_unlisted(item) for item in items]


def _plain(value):
    return value if not isinstance(value, float) or np.isfinite(value) else repr(value)


def _array(dtype, shape, values):
    dtype = np.dtype(dtype)
    if dtype.kind not in "biufU":
        raise ValueError(f"an array of {dtype}")
    return np.array([float(v) for v in values] if dtype.kind == "f" else values, dtype=dtype).reshape(shape)


def _counts(rates, scale):
    """Counts whose rates these are: the whole numbers where there are such, for dividing by `scale` has rounded."""
    counts = rates * scale
    whole = np.round(counts)
    return np.where(whole / scale == rates, whole, counts)
