"""Neo Blocks: read any file Neo reads, add a fit to a copy of a Block, write it to a file that keeps it whole."""

import copy
import os
import warnings

import numpy as np

from neulvm_neo import units as unit_boundary
from neulvm_neo.new_files import new_file
from neulvm_neo.results import UNASSIGNED

from .fit_record import FitRecordError, fit_of, record_of
from .nwb import read_nwb
from .nwb_content import SERIES, checked_names, circuit_values, rates_of

_SIGNALS = {
    "n": "population_activity",
    "n_bar": "expected_population_activity",
    "n_std": "population_activity_std",
    "n_lower": "population_activity_lower",
    "n_upper": "population_activity_upper",
}


def read_block(path):
    """Read the first Block of any file that Neo can read.

    Parameters
    ----------
    path : str or os.PathLike
        Neo chooses the format by the suffix; for ``.nwb`` this is `read_nwb`.
        A ``.pkl`` can run code when it is opened: only from people you trust.

    Returns
    -------
    neo.Block

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If Neo knows no format with this suffix, or cannot read the file.
    """
    from neo.io import get_io

    if _suffix(path) == ".nwb":  # Neo's own reader of NWB loses units, trials and most files altogether
        return read_nwb(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{os.fspath(path)}: there is no such file; check the path.")
    try:
        reader = _nix(path, "ro") if _suffix(path) == ".nix" else get_io(os.fspath(path))
    except (ValueError, AssertionError) as error:
        raise ValueError(
            f"{os.fspath(path)}: no format of Neo fits this name ({error}); convert the file to NWB."
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a reader's own code; the user cannot act on it
            block = reader.read_block()
    except Exception as error:  # Neo's readers raise whatever their format makes them stumble over
        reason = (str(error).splitlines() or [""])[0][:300]
        name = type(reader).__name__
        raise ValueError(
            f"{os.fspath(path)}: Neo's {name} cannot read it ({type(error).__name__}: {reason}); check the file."
        ) from error
    finally:
        if hasattr(reader, "close"):
            reader.close()
    return block


def annotated_block(block, result, *, suffix=""):
    """A copy of a Block with a fit in it; the Block itself stays as it is.

    Parameters
    ----------
    block : neo.Block
        The recording that was fitted: one Segment per trial.
    result : neulvm_neo.FitResult
        Its `neuron_ids` name the trains: annotation ``unit_id``, else the train's name, else its position.
    suffix : str, default ""
        For several fits side by side: signals and annotations below end in ``_<suffix>``.

    Returns
    -------
    neo.Block
        In every Segment the activity as AnalogSignal ``population_activity`` (Hz, one channel per population),
        and as further ones what else the fit knows: ``expected_population_activity``,
        ``population_activity_std``, ``_lower`` and ``_upper``. Every train is annotated with
        ``neulvm_population`` ("unassigned" if it was not fitted) and, where the fit has them,
        ``neulvm_distance`` and ``neulvm_threshold`` (mV). One Group per population holds its trains and
        ChannelViews of its activity, and is annotated with size and parameters (s, mV). The Block is annotated
        with ``neulvm_parameters``, their ``neulvm_estimates``, ``neulvm_lower`` and ``neulvm_upper`` where the
        fit has intervals, and with ``neulvm_fit``, from which `read_fit` makes the fit again. An earlier fit of
        the same suffix is replaced.

    Raises
    ------
    ValueError
        If Block and fit have different numbers of trials, or the fit has neurons that the Block lacks.

    Examples
    --------
    >>> import neo, numpy as np
    >>> from neulvm_neo import Circuit, FitResult, PopulationActivity
    >>> segment = neo.Segment()
    >>> segment.spiketrains.append(neo.SpikeTrain([0.001], units="s", t_stop=0.004, unit_id=7))
    >>> block = neo.Block()
    >>> block.segments.append(segment)
    >>> activity = PopulationActivity(np.array([[1.0], [3.0]]), np.array([100]), 0.002, 0.0, ("E",))
    >>> fit = FitResult(Circuit([100], names=["E"]), ("E",), ("7",), (activity,), -12.5, 0.1, 3, True, "converged")
    >>> annotated_block(block, fit).groups[0].spiketrains[0].annotations["neulvm_population"]
    'E'
    """
    import neo

    if len(block.segments) != len(result.activities):
        raise ValueError(
            f"the Block has {len(block.segments)} Segments, the fit {len(result.activities)} trials; "
            "give the Block that was fitted."
        )
    ending = checked_names(suffix).ending
    block = copy.deepcopy(block)
    _remove_earlier(block, ending)
    groups = _population_groups(result, ending)
    position = {str(neuron): i for i, neuron in enumerate(result.neuron_ids)}
    for segment, activity in zip(block.segments, result.activities, strict=True):
        neurons = [_neuron_id(train, i) for i, train in enumerate(segment.spiketrains)]
        if missing := sorted(set(position) - set(neurons)):
            raise ValueError(
                f"the Block lacks the neurons {', '.join(missing[:10])} of the fit; give the Block that was fitted."
            )
        for train, neuron in zip(segment.spiketrains, neurons, strict=True):
            label = str(result.labels[position[neuron]]) if neuron in position else UNASSIGNED
            train.annotations[f"neulvm_population{ending}"] = label
            if label in groups:
                groups[label].add(train)
                if result.distances is not None:
                    distance = result.distances[position[neuron]][result.names.index(label)]
                    train.annotations[f"neulvm_distance{ending}"] = float(distance)
                if result.neuron_thresholds is not None:
                    train.annotations[f"neulvm_threshold{ending}"] = float(result.neuron_thresholds[position[neuron]])
        for kind, name in _SIGNALS.items():
            if getattr(activity, kind) is None:
                continue
            signal = _signal(activity, kind, result, f"{name}{ending}", ending)
            segment.analogsignals.append(signal)
            for channel, (population, group) in enumerate(groups.items()):
                view = population if kind == "n" else f"{population} {name}"
                group.add(neo.ChannelView(signal, index=np.array([channel]), name=view))
    block.groups.extend(groups.values())
    if result.uncertainty is not None:
        known = result.uncertainty
        own = {"parameters": list(known.names), "estimates": known.estimate, "lower": known.lower, "upper": known.upper}
        block.annotate(**{f"neulvm_{name}{ending}": values for name, values in own.items()})
    block.annotate(**{f"neulvm_fit{ending}": record_of(result)})
    return block


def fit_of_block(block, *, suffix=""):
    """The fit that `annotated_block` wrote into a Block.

    Parameters
    ----------
    block : neo.Block
    suffix : str, default ""

    Returns
    -------
    neulvm_neo.FitResult
        See `read_fit`.

    Raises
    ------
    FitRecordError
        A ``ValueError``, if there is none, or a damaged one.
    """
    ending = checked_names(suffix).ending
    if f"neulvm_fit{ending}" not in block.annotations:
        raise FitRecordError(f"the Block has no annotation neulvm_fit{ending}, so it holds no such fit")

    def rates(trials):
        if len(trials) != len(block.segments):
            raise FitRecordError(f"the fit has {len(trials)} trials, the Block {len(block.segments)} Segments")
        return [
            {
                str(signal.annotations["neulvm_kind"]): signal.rescale("Hz").magnitude
                for signal in segment.analogsignals
                if signal.annotations.get("neulvm_ending") == ending
            }
            for segment in block.segments
        ]

    return fit_of(str(block.annotations[f"neulvm_fit{ending}"]), rates)


def write_block(path, block, *, overwrite=False):
    """Write a Block with everything that hangs on it.

    Parameters
    ----------
    path : str or os.PathLike
        ``.nix`` (needs the package nixio) or ``.pkl``, see Notes.
    block : neo.Block
        Not altered (Neo's own writers would leave marks in it).
    overwrite : bool, default False
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    ValueError
        If the suffix is another one.
    ImportError
        If nixio is not installed and the suffix is ``.nix``.

    Notes
    -----
    What the formats of Neo keep of an annotated Block:

    ============================ =====================================================================================
    ``.nix`` (NixIO)             everything, in an open HDF5 layout: the file to keep
    ``.pkl`` (PickleIO)          everything, but tied to the versions that wrote it, and unsafe to open from strangers
    ``.mat`` (NeoMatlabIO)       not the array annotations (names of the channels), and so not the fit
    ``.nwb`` (Neo's NWBIO)       spikes and signals only: no unit ids, labels, groups, views, names of channels, or fit
    others (Ascii, KlustaKwik)   spikes only
    ============================ =====================================================================================

    So only the first two are written here. For exchange use `annotate_nwb`, or `write_nwb` for spike trains alone.
    """
    from neo.io import PickleIO

    with new_file(path, suffixes=(".nix", ".pkl"), overwrite=overwrite) as temporary:
        writer = _nix(temporary, "ow") if _suffix(path) == ".nix" else PickleIO(temporary)
        writer.write_block(copy.deepcopy(block))
        if hasattr(writer, "close"):
            writer.close()


def preferred_suffix():
    """``".nix"`` where nixio is installed, else ``".pkl"``."""
    import importlib.util

    return ".nix" if importlib.util.find_spec("nixio") else ".pkl"


def _remove_earlier(block, ending):
    for segment in block.segments:
        segment.analogsignals = [s for s in segment.analogsignals if s.annotations.get("neulvm_ending") != ending]
        for train in segment.spiketrains:
            for name in ("population", "distance", "threshold"):
                train.annotations.pop(f"neulvm_{name}{ending}", None)
    block.groups = [group for group in block.groups if group.annotations.get("neulvm_ending") != ending]
    for name in ("parameters", "estimates", "lower", "upper", "fit"):
        block.annotations.pop(f"neulvm_{name}{ending}", None)


def _population_groups(result, ending):
    import neo

    values = circuit_values(result.circuit, len(result.names))
    groups = {}
    for k, (name, size, recorded) in enumerate(
        zip(result.names, result.circuit.n_neurons, result.n_recorded, strict=True)
    ):
        own = {parameter: column[k].tolist() for parameter, (column, _) in values.items()}
        groups[name] = neo.Group(
            name=name, neulvm_population=name, neulvm_ending=ending, population_size=int(size),
            n_recorded=int(recorded), **own,
        )  # fmt: skip
    return groups


def _signal(activity, kind, result, name, ending):
    return unit_boundary.analog_signal(
        rates_of(activity, kind), "Hz", activity.bin_size, activity.t_start, activity.names,
        name=name, description=SERIES[kind][1],
        array_annotations={"population_size": np.asarray(activity.n_neurons), "n_recorded": result.n_recorded},
        neulvm_kind=kind, neulvm_ending=ending, neulvm_version=result.software_version,
        log_likelihood=float(result.log_likelihood), log_likelihood_error=float(result.log_likelihood_error),
    )  # fmt: skip


def _neuron_id(train, i):
    return str(train.annotations.get("unit_id", train.name or i))  # as in SpikeRecording.from_neo


def _nix(path, mode):
    try:
        from neo.io import NixIO

        return NixIO(os.fspath(path), mode)
    except (ImportError, ModuleNotFoundError) as error:
        raise ImportError(
            f"{os.fspath(path)}: .nix files need the package nixio; `pip install nixio`, or use .pkl."
        ) from error


def _suffix(path):
    return os.path.splitext(os.fspath(path))[1].lower()
