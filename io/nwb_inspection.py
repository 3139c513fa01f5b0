"""What nwbinspector and validation say about an annotated file that they did not say about the recording."""

from dataclasses import dataclass

from .nwb_content import COLUMNS, MODULE, SERIES, TABLES
from .nwb_file import damage_in_words, open_nwb, quiet_pynwb, refusal, validation_errors
from .nwb_objects import remove_column

_LARGEST = 1 << 30  # bytes of a file that is taken into memory to see it without its annotations


@dataclass(frozen=True)
class Inspection:
    """Messages about an annotation.

    Parameters
    ----------
    new : tuple of str
        Messages that come from the annotation, the most important first.
    serious : tuple of str
        Those of importance BEST_PRACTICE_VIOLATION or higher, and validation errors.
    n_inherited : int
        Messages about the recording itself.
    fits : tuple of str
        The fits in the file.
    """

    new: tuple
    serious: tuple
    n_inherited: int
    fits: tuple


def inspect_annotation(path, before=None):
    """Validate and inspect an annotated NWB file, and keep what its annotations add.

    Parameters
    ----------
    path : str or os.PathLike
        The annotated file. It is only read.
    before : str or os.PathLike, optional
        The file it was made from. Default: the file itself, taken into memory, without its annotations.

    Returns
    -------
    Inspection

    Raises
    ------
    NWBReadError
        If a file cannot be read; or if it is larger than 1 GiB and `before` is not given.
    """
    import nwbinspector

    with open_nwb(path) as nwb, damage_in_words(path), quiet_pynwb():
        objects = nwb.processing[MODULE].data_interfaces if MODULE in nwb.processing else {}
        fits = tuple(sorted(name for name in objects if _is_ours(name, TABLES["fit"][0])))
        after = _messages(nwb)
    errors = {("validation", error): nwbinspector.Importance.PYNWB_VALIDATION for error in validation_errors(path)}
    if before is None:
        inherited = _messages_without_annotations(path)
        named = [name for name, _ in (SERIES | TABLES | COLUMNS).values()]
        errors_before = {key for key in errors if not any(name in key[1] for name in named)}
    else:
        with open_nwb(before) as nwb, damage_in_words(before), quiet_pynwb():
            inherited = _messages(nwb)
        errors_before = {("validation", error) for error in validation_errors(before)}
    new = {key: importance for key, importance in after.items() if key not in inherited}
    new |= {key: importance for key, importance in errors.items() if key not in errors_before}
    ordered = sorted(new.items(), key=lambda item: -item[1].value)
    serious = nwbinspector.Importance.BEST_PRACTICE_VIOLATION.value
    return Inspection(
        new=tuple(_in_words(*item) for item in ordered),
        serious=tuple(_in_words(*item) for item in ordered if item[1].value >= serious),
        n_inherited=len(after) + len(errors) - len(new),
        fits=fits,
    )


def _messages(nwb):
    import nwbinspector

    return {
        (m.check_function_name, m.object_type, m.location, m.message): m.importance
        for m in nwbinspector.inspect_nwbfile_object(nwb)
    }


def _messages_without_annotations(path):
    """Messages about the file as it would be without our objects; they are removed in memory only."""
    import os

    import h5py
    import pynwb

    if os.path.getsize(path) > _LARGEST:
        raise refusal(path, "larger than 1 GiB; give the file it was made from as well.")
    with h5py.File(path, "r+", driver="core", backing_store=False) as file, damage_in_words(path):
        units, module = file["units"], file.get(f"processing/{MODULE}", {})
        for name, _ in COLUMNS.values():
            for column in [own for own in units if _is_ours(own, name)]:
                remove_column(units, column)
        for name, _ in (SERIES | TABLES).values():
            for own in [own for own in module if _is_ours(own, name)]:
                del module[own]
        file.flush()
        with quiet_pynwb(), pynwb.NWBHDF5IO(file=file, mode="r") as reader:
            return _messages(reader.read())


def _is_ours(name, stem):
    return name == stem or name.startswith(f"{stem}_")


def _in_words(key, importance):
    check, *where, message = key
    place = " ".join(str(part) for part in where if part)
    return f"{importance.name}: {check}{' at ' + place if place else ''}: {message}"
