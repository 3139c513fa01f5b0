"""Fit files: a `FitResult` as arrays and JSON in one ``.npz``, without pickle, so that anybody can open it."""

import json
import math
import os
import zipfile
import zlib

import numpy as np

from .circuit import Circuit
from .new_files import new_file
from .results import FitResult, PopulationActivity, Uncertainty

FORMAT = "neulvm-fit"
VERSION = 1  # raise it when a reader of the version before would misread the file

_HEADER = "header.json"
# what the modules for archives and arrays raise over bytes that make no sense
_OF_DAMAGE = (ArithmeticError, EOFError, IndexError, MemoryError, OSError, RuntimeError, SyntaxError, ValueError)
_ACTIVITY_ARRAYS = ("n", "n_neurons", "n_bar", "n_std", "n_lower", "n_upper")
_PLAIN = ("log_likelihood", "log_likelihood_error", "n_iter", "converged", "status", "software_version")


class FitFileError(ValueError):
    """A file is not a fit that this version can read; the message names the file, the reason and the remedy."""


def save_fit(path, result, *, overwrite=False):
    """Save a fit so that `load_fit` gives it back bit for bit.

    Parameters
    ----------
    path : str or os.PathLike
        The file to make; its name must end in ``.npz``. It appears when it is complete.
    result : neulvm_neo.FitResult
    overwrite : bool, default False
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    TypeError
        If the trace, the settings or the state hold something other than text, numbers, bools, None, arrays, lists,
        tuples, dicts.
    ValueError
        If the name does not end in ``.npz``, or an activity carries spike trains (`write_nwb` is the place for those).

    Notes
    -----
    The file is an ordinary ``numpy.savez`` archive: the arrays of trial i are ``activities/<i>/n``, …, and
    ``header.json`` holds everything else as UTF-8 bytes, the circuit as of `Circuit.to_dict`.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from neulvm_neo import Circuit, FitResult, PopulationActivity
    >>> activity = PopulationActivity(np.array([[1.0], [3.0]]), np.array([100]), 0.002, 0.0, ("E",))
    >>> fit = FitResult(Circuit([100], names=["E"]), ("E",), ("7",), (activity,), -12.5, 0.1, 3, True, "converged")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_fit(folder + "/fit.npz", fit)
    ...     load_fit(folder + "/fit.npz").log_likelihood
    -12.5
    """
    header, arrays = packed(result)
    arrays[_HEADER] = np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8)
    with new_file(path, suffixes=(".npz",), overwrite=overwrite) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def load_fit(path):
    """Load a fit that `save_fit` wrote.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    neulvm_neo.FitResult

    Raises
    ------
    FitFileError
        A ``ValueError``, if the file is something else, damaged, or written by a newer version.
    FileNotFoundError
        If there is no such file.
    """
    header, arrays = _read(path)
    try:
        return unpacked(header, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FitFileError(
            f"{os.fspath(path)}: the fit is incomplete ({type(error).__name__}: {error}); save it again."
        ) from error


def packed(result):
    """A fit as a header of plain values (dict for JSON) and the arrays (dict) it refers to; see `save_fit`."""
    arrays = {}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "circuit": result.circuit.to_dict(),
        "labels": [str(label) for label in result.labels],
        "neuron_ids": [str(neuron) for neuron in result.neuron_ids],
        **{name: _packed(getattr(result, name), name, arrays) for name in _PLAIN},
        "activities": [_packed_activity(activity, i, arrays) for i, activity in enumerate(result.activities)],
        "trace": _packed(list(result.trace), "trace", arrays),
        "settings": _packed(result.settings, "settings", arrays),
        "state": _packed(result.state, "state", arrays),
        "distances": _packed(result.distances, "distances", arrays),
        "neuron_thresholds": _packed(result.neuron_thresholds, "neuron_thresholds", arrays),
        "kinds": [str(sentence) for sentence in result.kinds],
        "uncertainty": None if result.uncertainty is None else _packed(vars(result.uncertainty), "uncertainty", arrays),
    }
    return header, arrays


def unpacked(header, arrays):
    """The fit that `packed` took apart.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If something is missing or is something else.
    """
    uncertainty = _unpacked(header.get("uncertainty"), arrays)
    return FitResult(
        circuit=Circuit.from_dict(header["circuit"]),
        labels=tuple(header["labels"]),
        neuron_ids=tuple(header["neuron_ids"]),
        activities=tuple(_unpacked_activity(activity, i, arrays) for i, activity in enumerate(header["activities"])),
        trace=tuple(_unpacked(header["trace"], arrays)),
        settings=_unpacked(header["settings"], arrays),
        # files of the first days have none of these
        state=_unpacked(header.get("state", {"dict": {}}), arrays),
        distances=_unpacked(header.get("distances"), arrays),
        neuron_thresholds=_unpacked(header.get("neuron_thresholds"), arrays),
        kinds=tuple(header.get("kinds", ())),
        uncertainty=None if uncertainty is None else Uncertainty(**uncertainty),
        **{name: _unpacked(header[name], arrays) for name in _PLAIN},
    )


def _read(path):
    """Header and arrays of the archive, after making sure that it is one of ours and not of a later version."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{os.fspath(path)}: there is no such file; check the path.")
    foreign = (
        f"{os.fspath(path)}: not a fit file; expected an .npz that neulvm-neo saved (`neulvm fit --save`, `save_fit`)"
    )
    if not zipfile.is_zipfile(path):
        raise FitFileError(f"{foreign}.")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays[_HEADER].tobytes())
    except KeyError:
        raise FitFileError(f"{foreign}.") from None
    except (*_OF_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise FitFileError(f"{os.fspath(path)}: the fit is damaged ({reason}); save it again.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FitFileError(f"{foreign}.")
    if header.get("version") != VERSION:
        raise FitFileError(
            f"{os.fspath(path)}: written in version {header.get('version')} of the fit format, this neulvm-neo reads "
            f"version {VERSION}; update neulvm-neo."
        )
    return header, arrays


def _packed_activity(activity, i, arrays):
    if activity.spiketrains is not None:
        raise ValueError(
            "an activity of the fit carries spike trains, which fit files do not hold; write them with write_nwb."
        )
    for name in _ACTIVITY_ARRAYS:
        if getattr(activity, name) is not None:
            arrays[f"activities/{i}/{name}"] = np.asarray(getattr(activity, name))
    return {
        "bin_size": float(activity.bin_size),
        "t_start": float(activity.t_start),
        "names": [str(name) for name in activity.names],
    }


def _unpacked_activity(activity, i, arrays):
    values = {name: arrays.get(f"activities/{i}/{name}") for name in _ACTIVITY_ARRAYS}
    if values["n"] is None or values["n_neurons"] is None:
        raise KeyError(f"activities/{i}/n")
    return PopulationActivity(
        **values, bin_size=activity["bin_size"], t_start=activity["t_start"], names=tuple(activity["names"])
    )


def _packed(value, name, arrays):
    """Plain values for JSON, which keeps floats exactly; arrays go to `arrays`, containers are tagged."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}  # JSON itself knows neither infinity nor NaN
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcU":
        key = f"values/{len(arrays)}"
        arrays[key] = value
        return {"array": key}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_packed(item, f"{name}[{i}]", arrays) for i, item in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _packed(item, f"{name}[{key!r}]", arrays) for key, item in value.items()}}
    raise TypeError(
        f"{name} is a {type(value).__name__}, which a fit file cannot hold; use text, numbers, arrays, lists or dicts."
    )


def _unpacked(value, arrays):
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "array":
        return arrays[content]
    if tag == "float":
        return float(content)
    if tag == "dict":
        return {key: _unpacked(item, arrays) for key, item in content.items()}
    return {"list": list, "tuple": tuple}[tag](_unpacked(item, arrays) for item in content)
