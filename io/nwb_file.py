"""Opening NWB: yield what PyNWB reads, refuse everything else in one sentence."""

import contextlib
import errno
import logging
import os
import warnings

import numpy as np

from .hdf5_guard import survives
from .nwb_tables import decoded

logger = logging.getLogger(__name__)

_SECONDS = ("s", "sec", "second", "seconds")
# what NumPy, h5py and hdmf raise over numbers, names and references that make no sense
_OVER_CONTENTS = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


class NWBReadError(ValueError):
    """A file cannot be read as asked; the message names the file, the field and the remedy."""


class NWBFileNotFound(NWBReadError, FileNotFoundError):
    """There is no file at this path."""


@contextlib.contextmanager
def open_nwb(path):
    """Open an NWB 2 file for reading and yield the ``pynwb.NWBFile``; raise `NWBReadError` for anything else.

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
    """Turn the warnings of PyNWB about parts of a file that are not ours into log messages."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        logger.debug("pynwb: %s", warning.message)


def checked_units(nwb, path):
    """The units table and its ids, after checking what PyNWB reads without complaint although it cannot be right.

    Returns
    -------
    table : pynwb.misc.Units
    ids : list of int
        In the order of the rows.
    """
    table = nwb.units
    if table is None or len(table.id) == 0:
        raise refusal(path, "no units table; only files with sorted units can be read.")
    if "spike_times" not in table.colnames:
        columns = ", ".join(table.colnames)
        raise refusal(path, f"units has no column spike_times (it has {columns}); only sorted spikes can be read.")
    for name in ("spike_times", "obs_intervals"):
        if name in table.colnames:
            _check_index(table, name, path)
    times = table["spike_times"].target.data
    if times.ndim != 1 or times.dtype.kind not in "fiu":
        raise refusal(
            path, f"units.spike_times has the shape {times.shape} and the type {times.dtype}; expected times in s."
        )
    unit = str(decoded(getattr(times, "attrs", {}).get("unit", "seconds")))
    if unit.lower() not in _SECONDS:
        raise refusal(path, f"units.spike_times is stated in {unit!r}; NWB has times in seconds, so convert them.")
    return table, [int(i) for i in table.id[:]]


@contextlib.contextmanager
def damage_in_words(path):
    """Whatever a library raises over the contents of a file, as one sentence: `NWBReadError`."""
    try:
        yield
    except NWBReadError:
        raise
    except _OVER_CONTENTS as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise refusal(path, f"damaged, or not what NWB says it is ({reason}); get it again, or validate it.") from error


def validation_errors(path):
    """What ``pynwb.validate`` finds, as texts: by the schema in the file, or PyNWB's own where that is incomplete."""
    import pynwb

    with quiet_pynwb():
        try:
            return [str(error) for error in pynwb.validate(path=os.fspath(path))]
        except Exception as error:
            logger.info("%s: not validated by the schema cached in the file (%r), but by PyNWB's own.", path, error)
            return [str(error) for error in pynwb.validate(path=os.fspath(path), use_cached_namespaces=False)]


def refusal(path, text):
    """The error for a file that cannot be read as asked: file, field, remedy."""
    return NWBReadError(f"{os.fspath(path)}: {text}")


def _refuse_what_is_not_nwb2(path):
    import h5py

    if not os.path.exists(path):
        raise NWBFileNotFound(f"{os.fspath(path)}: there is no such file; check the path.")
    if os.path.isdir(path):
        raise refusal(path, "a folder, not a file; NWB in Zarr cannot be read, export it to HDF5 first.")
    if not survives(path):
        raise refusal(path, "damaged so that HDF5 itself crashes or never returns; get it again.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if error.errno == errno.EACCES:
            raise refusal(path, "permission to read it is denied; change its permissions, or copy it.") from error
        if error.errno == errno.EAGAIN:  # HDF5 locks what it writes
            raise refusal(path, "open for writing in another program; close it there first.") from error
        raise refusal(path, f"not an HDF5 file, or damaged ({_first_line(error)}); expected an NWB 2 file.") from error
    with file, damage_in_words(path):
        version = file.attrs.get("nwb_version")
        if version is None and "nwb_version" in file:
            version = file["nwb_version"][()]  # NWB 1 keeps it in a dataset
    if version is None:
        raise refusal(path, "HDF5, but not NWB (no attribute nwb_version); expected an NWB 2 file.")
    version = str(decoded(version)).removeprefix("NWB-")
    if version.startswith(("0", "1")):
        raise refusal(path, f"nwb_version is {version}, that is NWB 1: convert first (MatNWB or NeuroConv can).")


def _check_index(table, name, path):
    column = table[name]
    if not hasattr(column, "target"):
        raise refusal(
            path, f"units.{name} has no {name}_index, so its values belong to no unit; write it with an index."
        )
    ends = np.asarray(column.data[:], dtype=np.int64)
    n_values = len(column.target.data)
    if len(ends) != len(table.id) or np.any(np.diff(ends, prepend=0) < 0):
        raise refusal(path, f"units.{name}_index does not fit the {len(table.id)} units; it is damaged, get it again.")
    if ends[-1] > n_values:
        raise refusal(
            path,
            f"units.{name}_index points past the end of {name} ({ends[-1]} of {n_values} values); "
            "the file is truncated, get it again.",
        )


def _unreadable(path, error):
    reason = f"{type(error).__name__}: {_first_line(error)}"
    return refusal(path, f"PyNWB cannot read it ({reason}); check it with `nwbinspector`.")


def _first_line(error):
    return (str(error).splitlines() or [""])[0][:300]
