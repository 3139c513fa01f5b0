"""Fits out of annotated files: what `annotate_nwb` and `annotated_block` wrote, as `FitResult` again."""

import os

import numpy as np

from .fit_record import FitRecordError, fit_of
from .neo_blocks import fit_of_block, read_block
from .nwb_content import COLUMNS, MODULE, RECORD, SERIES, TABLES, checked_names
from .nwb_file import damage_in_words, open_nwb, refusal


def read_fit(path, *, suffix=""):
    """Read the fit that an annotated file holds.

    Parameters
    ----------
    path : str or os.PathLike
        An NWB file of `annotate_nwb`, or a ``.nix`` or ``.pkl`` file of a Block of `annotated_block`.
    suffix : str, default ""
        Which fit, where there are several.

    Returns
    -------
    neulvm_neo.FitResult
        As it was, but for two things: counts that are not whole numbers may differ in the last digit (files hold rates
        in Hz), and `state` is empty: to go on with the model itself, keep the file of `NeuLVM.save`.

    Raises
    ------
    NWBReadError
        A ``ValueError``, if the file cannot be read, holds no such fit, or one that is damaged or was changed; it lists
        the fits that there are.

    Examples
    --------
    >>> from neulvm_neo.io import read_fit
    >>> read_fit("rec_neulvm.nwb").circuit  # doctest: +SKIP
    """
    names = checked_names(suffix)
    if os.path.splitext(os.fspath(path))[1].lower() in (".nix", ".pkl"):
        try:
            return fit_of_block(read_block(path), suffix=suffix)
        except FitRecordError as error:
            raise refusal(path, f"{error}.") from error
    with open_nwb(path) as nwb, damage_in_words(path):
        module = nwb.processing[MODULE] if MODULE in nwb.processing else {}
        name = names.of("fit")
        objects = getattr(module, "data_interfaces", {})
        if name not in objects:
            there = ", ".join(sorted(_fits(objects))) or "none"
            raise refusal(path, f"no {name} in processing/{MODULE}; fits in this file: {there}.")
        table = objects[name]
        try:
            record = dict(zip(table["quantity"][:], table["value"][:], strict=True))[RECORD]
            result = fit_of(record, lambda trials: _rates(objects, names, trials))
            _check_labels(nwb, names, result)
        except (FitRecordError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
            raise refusal(path, f"{name} cannot be read ({error}); annotate the file again.") from error
    return result


def _fits(objects):
    own = TABLES["fit"][0]
    return [name for name in objects if name == own or name.startswith(f"{own}_")]


def _rates(objects, names, trials):
    """For every trial of the header the series that the file holds, in Hz."""
    series = {kind: objects[names.of(kind)] for kind in SERIES if names.of(kind) in objects}
    if "n" not in series:
        raise FitRecordError(f"there is no {names.of('n')}")
    if len(trials) == 1:
        samples = [slice(None)]
    else:
        control = np.asarray(series["n"].control[:])
        samples = [control == i for i in range(len(trials))]
    values = {kind: np.asarray(item.data[:], dtype=float) for kind, item in series.items()}
    if len({len(own) for own in values.values()}) > 1:
        raise FitRecordError("its series have different lengths")
    return [{kind: own[which] for kind, own in values.items()} for which in samples]


def _check_labels(nwb, names, result):
    column = names.of("population")
    if column not in nwb.units.colnames:
        raise FitRecordError(f"units has no column {column}, {COLUMNS['population'][0]} of the fit")
    said = dict(zip(map(str, nwb.units.id[:]), nwb.units[column][:], strict=True))
    if any(said.get(unit) != label for unit, label in zip(result.neuron_ids, result.labels, strict=True)):
        raise FitRecordError(f"units.{column} was changed since")
