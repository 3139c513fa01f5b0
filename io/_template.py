"""A file format in one file: copy this, keep the two functions, add one line to FORMATS in ``io/__init__.py``.

The example is a text file with one spike per line, ``<unit id> <time in s>``, headed by the observed interval:

    # observed 0.0 2.0
    3 0.25
    7 1.5

`read` must return a ``neo.Block`` whose trains carry their times in a unit, the window in which they were observed, and
a ``unit_id``; `write` must refuse what the format cannot hold instead of dropping it. `tests/test_io_formats.py` then
holds every format of the table to that.
"""

import os

import numpy as np

from neulvm_neo import units
from neulvm_neo.new_files import new_file


def read(path):
    """Read the spike trains of a text file into a ``neo.Block`` with one Segment.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    neo.Block
        Trains in the order of their ids, which must be whole numbers.

    Raises
    ------
    ValueError
        Naming file, field, and remedy.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "toy.spikes")
    ...     _ = path.write_text("# observed 0.0 2.0\\n7 1.5\\n3 0.25\\n")
    ...     [(train.annotations["unit_id"], train.magnitude.tolist()) for train in read(path).segments[0].spiketrains]
    [(3, [0.25]), (7, [1.5])]
    """
    import neo

    with open(path, encoding="utf-8") as file:
        header, lines = file.readline().split(), file.readlines()
    if header[:2] != ["#", "observed"] or len(header) != 4:
        raise ValueError(f"{os.fspath(path)}: the first line must be '# observed <start> <stop>' in s; add it.")
    start, stop = float(header[2]), float(header[3])
    table = np.loadtxt(lines, ndmin=2) if lines else np.empty((0, 2))
    block, segment = neo.Block(file_origin=os.path.basename(path)), neo.Segment(index=0)
    for unit_id in np.unique(table[:, 0]):
        times = np.sort(table[table[:, 0] == unit_id, 1])
        segment.spiketrains.append(
            units.spike_train(times, start, stop, name=f"unit {int(unit_id)}", unit_id=int(unit_id))
        )
    block.segments.append(segment)
    return block


def write(path, block, *, overwrite=False):
    """Write the spike trains of a Block with one Segment.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    ValueError
        If the Block holds what this format cannot: several trials, units without spikes, windows that differ.
    """
    trials = units.neo_trials(block)
    if len(trials) > 1:
        raise ValueError(
            f"{os.fspath(path)}: this format holds one trial, the Block has {len(trials)}; write them one by one."
        )
    trains = [units.spike_train_times(train) for train in trials[0]]
    if len({(start, stop) for _, start, stop in trains}) > 1 or not all(times.size for times, _, _ in trains):
        raise ValueError(
            f"{os.fspath(path)}: this format needs a common window and a spike in every unit; use another."
        )
    with (
        new_file(path, suffixes=(".spikes",), overwrite=overwrite) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        file.write(f"# observed {trains[0][1]!r} {trains[0][2]!r}\n")
        for i, (train, (times, _, _)) in enumerate(zip(trials[0], trains, strict=True)):
            file.writelines(f"{train.annotations.get('unit_id', i)} {float(time)!r}\n" for time in times)
