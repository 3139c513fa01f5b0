"""The paper's experiments by name: what each runs, draws and says; one module each, loaded when it is asked for."""

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# name: module of this package with a constant EXPERIMENT. A new experiment is a module and a line here.
EXPERIMENTS = {
    "cluster-states": "cluster_states",
    "connectivity": "connectivity_study",
    "hidden-fraction": "hidden_fraction_study",
    "clustering": "clustering_study",
    "winner-take-all": "winner_take_all_study",
    "perturbation": "perturbation",
    "two-scales": "two_scales",
}


class Experiment(NamedTuple):
    """One experiment.

    Parameters
    ----------
    name : str
        As on the command line.
    title : str
        The question, with the figure and table of the paper.
    run : callable
        ``run(*, seed, quick, n_jobs=1, say=…, checkpoint=…)`` gives a dict that `plain` accepts; with `peers` it also
        takes ``peer_pythons``, a dict of interpreters by peer. ``say(line)`` reports progress; ``checkpoint(dict)``
        keeps what is there so far: an interrupted run loses the rest only. The dict holds `keys`, and ``published``
        (the paper's figures under the same keys), ``protocol`` (every setting, and where it departs from the paper and
        why) and ``failures`` (list of str: rivals that are not installed, fits that did not end well).
    figure : callable
        ``figure(result)`` gives a ``matplotlib.figure.Figure`` in the paper's layout, from the dict as it is in the
        file: keys are strings, arrays lists, and numbers that are none (NaN) None.
    summary : callable
        ``summary(result)`` gives lines (str), from the same dict: ours, the paper's and the rivals' side by side, what
        did not reach the paper first.
    keys : tuple of str
        The figures that a run with another seed is compared in.
    peers : tuple of str
        Rivals that may live in an environment of their own.
    models : tuple of str
        What is compared, if a run may leave some of it out: then `run` takes ``models``, those that are asked for.
    resumable : bool
        Whether `run` takes ``run_tasks``, in place of `tasks.run_one_by_one`: see `finished.Finished`.
    """

    name: str
    title: str
    run: Callable
    figure: Callable
    summary: Callable
    keys: tuple = ()
    peers: tuple = ()
    models: tuple = ()
    resumable: bool = False


def experiment(name):
    """The experiment of this name.

    Parameters
    ----------
    name : str
        From `EXPERIMENTS`.

    Returns
    -------
    Experiment

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment {name!r} is unknown; choose from {', '.join(EXPERIMENTS)}.")
    return importlib.import_module(f".{EXPERIMENTS[name]}", __package__).EXPERIMENT


def plain(value: Any):
    """A result as it is in a file: dicts with names, lists, str, numbers, None in place of numbers that are none.

    Parameters
    ----------
    value : dict, list, tuple, numpy array or scalar, str, number, bool or None

    Returns
    -------
    dict, list, str, int, float, bool or None

    Raises
    ------
    TypeError
        If something else is in it.

    Examples
    --------
    >>> plain({59.0: np.array([1.5, np.nan]), "n": (np.int64(3), True)})
    {'59.0': [1.5, None], 'n': [3, True]}
    """
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(
        f"a result holds {type(value).__name__} {value!r}; it takes dicts, lists, arrays, numbers and text."
    )
