"""Neo Blocks: read any file Neo reads, add a fit to a copy of a Block, write it to a file that keeps it whole."""

import copy
import os
import warnings

import numpy as np

from neulvm_neo.new_files import new_file
from neulvm_neo.results import UNASSIGNED

from .nwb import read_nwb


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


def annotated_block(block, result):
    """A copy of a Block with a fit in it; the Block itself stays as it is.

    Parameters
    ----------
    block : neo.Block
        The recording that was fitted: one Segment per trial.
    result : neulvm_neo.FitResult
        Its `neuron_ids` name the trains: annotation ``unit_id``, else the train's name, else its position.

    Returns
    -------
    neo.Block
        In every Segment the activity as AnalogSignal (Hz, one channel per population) and every train annotated with
        ``neulvm_population`` ("unassigned" if it was not fitted). One Group per population holds its trains and a
        ChannelView of its activity.

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
    block = copy.deepcopy(block)
    label_of = dict(zip(map(str, result.neuron_ids), result.labels, strict=True))
    groups = {name: neo.Group(name=name) for name in result.names}
    for name, n_neurons, group in zip(result.names, result.circuit.n_neurons, groups.values(), strict=True):
        group.annotate(neulvm_population=name, population_size=int(n_neurons))
    for segment, activity in zip(block.segments, result.activities, strict=True):
        neurons = [_neuron_id(train, i) for i, train in enumerate(segment.spiketrains)]
        if missing := sorted(set(label_of) - set(neurons)):
            raise ValueError(
                f"the Block lacks the neurons {', '.join(missing[:10])} of the fit; give the Block that was fitted."
            )
        for train, neuron in zip(segment.spiketrains, neurons, strict=True):
            label = str(label_of.get(neuron, UNASSIGNED))
            train.annotate(neulvm_population=label)
            if label in groups:
                groups[label].add(train)
        signal = activity.to_neo(
            result.n_recorded,
            neulvm_version=result.software_version,
            log_likelihood=float(result.log_likelihood),
            log_likelihood_error=float(result.log_likelihood_error),
        )
        segment.analogsignals.append(signal)
        for channel, (name, group) in enumerate(groups.items()):
            group.add(neo.ChannelView(signal, index=np.array([channel]), name=name))
    block.groups.extend(groups.values())
    return block


def write_block(path, block, *, overwrite=False):
    """Write a Block with everything that hangs on it.

    Parameters
    ----------
    path : str or os.PathLike
        The suffix decides. ``.nix`` (needs the package nixio) keeps everything, also groups and channel views, in an
        open HDF5 layout: the file to keep. ``.pkl`` is Neo's pickle: as complete, but tied to the versions that wrote
        it, and unsafe to open from strangers. For exchange use `write_nwb`, which writes the spike trains only.
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
