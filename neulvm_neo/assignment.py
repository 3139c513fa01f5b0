"""Which recorded neuron belongs to which population of which circuit: from what the user says, or from clusters."""

import logging
import warnings
from collections.abc import Mapping

import numpy as np

from . import units
from .circuit import Circuit
from .results import UNASSIGNED

logger = logging.getLogger(__name__)

_NOBODY = ("", "-1", "None", "nan", UNASSIGNED)  # texts by which recordings say that a neuron has no population
_SHORTEST_T_REF = 0.002  # s, of circuits made here


def assign(
    trials, bin_size, *, labels=None, circuit=None, n_populations=None, population_sizes=None, random_state=None
):
    """The circuit to fit, and the population of every column.

    Parameters
    ----------
    trials : neulvm_neo.trials.Trials
    bin_size : float
        In s.
    labels : None, str, or sequence of int or str, shape (n_neurons,)
        ``None`` clusters the columns. A text is the name of an annotation of the spike trains. Numbers are positions in
        the circuit, -1 for a neuron to leave out; texts are population names, ``"unassigned"`` likewise.
    circuit : Circuit, optional
        Wins over the two below; if they contradict it, that is an error.
    n_populations : int, optional
    population_sizes : int, sequence of int or dict from name to int, optional
    random_state : numpy.random.Generator
        For clustering.

    Returns
    -------
    circuit : Circuit
    labels : numpy.ndarray of int, shape (n_neurons,)
        -1 where a neuron belongs to no population.
    distances : numpy.ndarray, shape (n_neurons, n_neurons), or None
        Between spike trains, if the columns were clustered.

    Raises
    ------
    TypeError, ValueError
        If the statements contradict each other or the data.

    Examples
    --------
    >>> from neulvm_neo.trials import Trials
    >>> circuit, labels, _ = assign(Trials((np.ones((9, 3)),), (0.0,), True), 0.002, labels=["E", "I", "E"])
    >>> circuit.names, labels.tolist()
    (('E', 'I'), [0, 1, 0])
    """
    _check_statements(circuit, n_populations, population_sizes)
    wanted = _number_of_populations(circuit, n_populations, population_sizes)
    names, distances = None if circuit is None else circuit.names, None
    if labels is None:
        labels, distances = _clusters(trials, bin_size, wanted, circuit, population_sizes, random_state)
    else:
        labels, names = _given(labels, trials, names)
    if not np.any(labels >= 0):
        raise ValueError("no neuron belongs to a population (all labels are -1); give the labels of some.")
    if circuit is None:
        if distances is not None:
            wanted = int(labels.max()) + 1
        circuit = _default_circuit(labels, names, wanted, population_sizes, bin_size)
    if labels.max() >= circuit.n_populations or labels.min() < -1:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; expected 0 to {circuit.n_populations - 1} for the "
            f"{circuit.n_populations} populations, or -1 for a neuron to leave out."
        )
    n_recorded = np.bincount(labels[labels >= 0], minlength=circuit.n_populations)
    for name, recorded, size in zip(circuit.names, n_recorded, circuit.n_neurons, strict=True):
        if recorded > size:
            raise ValueError(
                f"{recorded} neurons of {name} were recorded, but the population has {size}; raise its size "
                "(population_sizes, or n_neurons of the circuit)."
            )
    return circuit, labels, distances


def _check_statements(circuit, n_populations, population_sizes):
    if circuit is not None and not isinstance(circuit, Circuit):
        raise TypeError(f"circuit is a {type(circuit).__name__}; expected a neulvm_neo.Circuit.")
    if n_populations is not None:
        whole = isinstance(n_populations, (int, np.integer)) and not isinstance(n_populations, bool)
        if not whole or n_populations < 1:
            raise ValueError(f"n_populations is {n_populations!r}; expected a whole number of at least 1, or None.")
        if circuit is not None and n_populations != circuit.n_populations:
            raise ValueError(
                f"n_populations is {n_populations}, but the circuit has {circuit.n_populations} populations; "
                "omit one of the two."
            )
    if population_sizes is None:
        return
    if isinstance(population_sizes, str) or np.ndim(population_sizes) > 1:
        raise ValueError(f"population_sizes is {population_sizes!r}; expected one size, or one per population.")
    if circuit is not None:
        sizes = population_sizes
        if isinstance(sizes, Mapping):
            sizes = [sizes.get(name) for name in circuit.names] if set(sizes) == set(circuit.names) else []
        if np.shape(sizes) not in ((), circuit.n_neurons.shape) or np.any(np.asarray(sizes) != circuit.n_neurons):
            raise ValueError(
                f"population_sizes is {population_sizes!r}, but the circuit has {circuit.n_neurons.tolist()} neurons; "
                "omit one of the two."
            )
    elif n_populations is not None and _length(population_sizes) not in (None, n_populations):
        raise ValueError(
            f"population_sizes names {_length(population_sizes)} sizes, but n_populations is {n_populations}; "
            "give one size per population."
        )


def _length(sizes):
    return len(sizes) if isinstance(sizes, Mapping) or np.ndim(sizes) else None


def _number_of_populations(circuit, n_populations, population_sizes):
    if circuit is not None:
        return circuit.n_populations
    return n_populations if n_populations is not None else _length(population_sizes)


def _clusters(trials, bin_size, wanted, circuit, population_sizes, random_state):
    """Clusters as labels, and the distances between all columns."""
    from .clustering import MIN_SPIKES, cluster_counts  # 0.1 s, which given labels do not need

    n_active = int(np.sum(trials.n_spikes >= MIN_SPIKES))
    possible = max(n_active, 1)
    if wanted is not None and wanted > possible:
        few = f"only {n_active} of {trials.n_neurons} neurons have {MIN_SPIKES} spikes or more"
        if circuit is not None or _length(population_sizes) is not None:
            raise ValueError(
                f"{wanted} populations are given, but {few}, too few to tell them apart; give labels, or record longer."
            )
        warnings.warn(f"n_populations was reduced from {wanted} to {possible}: {few}.", UserWarning, stacklevel=6)
        wanted = possible
    found = cluster_counts(trials.counts, bin_size, wanted, random_state=random_state)
    labels = found.labels
    n_found = int(labels.max()) + 1
    if circuit is not None:
        if n_found < circuit.n_populations:
            raise ValueError(
                f"the circuit has {circuit.n_populations} populations, but only {n_found} can be told apart; "
                "give labels, or record longer."
            )
        if circuit.n_populations > 1:
            warnings.warn(
                "labels is None, so the neurons were clustered, and the clusters became the populations "
                f"{', '.join(circuit.names)} in the order of their mean rates, highest first. If that is not the order "
                "of the circuit, cluster beforehand (PopulationClusterer) and give labels.",
                UserWarning,
                stacklevel=6,
            )
    elif wanted is not None and n_found < wanted:
        warnings.warn(
            f"n_populations was reduced from {wanted} to {n_found}: the spike trains are too alike.",
            UserWarning,
            stacklevel=6,
        )
    return labels, found.distances


def _given(labels, trials, names):
    """Labels as positions, and the names they refer to (None for numbers without a circuit)."""
    if isinstance(labels, str):
        labels = _annotation(labels, trials)
    else:
        labels = list(labels)
        if len(labels) != trials.n_neurons:
            raise ValueError(f"labels has {len(labels)} entries, but X has {trials.n_neurons} neurons; give one each.")
        if all(isinstance(x, (int, np.integer)) and not isinstance(x, (bool, np.bool_)) for x in labels):
            return np.array(labels, dtype=np.int64), names
    texts = ["" if x is None else str(x) for x in labels]
    if names is None:
        names = tuple(sorted(set(texts) - set(_NOBODY)))
    if unknown := sorted(set(texts) - set(names) - set(_NOBODY)):
        raise ValueError(f"labels names {', '.join(unknown)}, but the circuit's populations are {', '.join(names)}.")
    position = {name: k for k, name in enumerate(names)}
    return np.array([position.get(text, -1) for text in texts], dtype=np.int64), names


def _annotation(name, trials):
    if trials.annotations is None:
        raise ValueError(
            f"labels is {name!r}, the name of an annotation of spike trains, but X is an array; give one label per "
            "neuron."
        )
    missing = [
        i for i, annotations in zip(trials.neuron_ids, trials.annotations, strict=True) if name not in annotations
    ]
    if missing:
        known = sorted(set.intersection(*(set(annotations) for annotations in trials.annotations)))
        raise ValueError(
            f"labels is {name!r}, but {len(missing)} spike trains ({', '.join(missing[:5])}) have no such annotation; "
            f"all of them have {', '.join(known) or 'none'}."
        )
    return [annotations[name] for annotations in trials.annotations]


def _default_circuit(labels, names, wanted, population_sizes, bin_size):
    n_populations = len(names) if names is not None else int(labels.max()) + 1
    if wanted is not None and n_populations != wanted:
        raise ValueError(
            f"the labels name {n_populations} populations, but n_populations or population_sizes say {wanted}; "
            "give a circuit if there are populations of which nobody was recorded."
        )
    empty = sorted(set(range(n_populations)) - set(labels.tolist()))
    if empty:
        raise ValueError(
            f"no neuron has the label {empty[0]}; count populations from 0 without gaps, or give a circuit if there "
            "are populations of which nobody was recorded."
        )
    if isinstance(population_sizes, Mapping):
        names_here = names or tuple(f"P{k + 1}" for k in range(n_populations))
        if set(population_sizes) != set(names_here):
            raise ValueError(
                f"population_sizes names {', '.join(map(str, population_sizes))}, but the populations are "
                f"{', '.join(names_here)}."
            )
        population_sizes = [population_sizes[name] for name in names_here]
    # a longer bin holds one spike of a neuron, which makes it refractory for that long
    t_ref = units.milliseconds(max(_SHORTEST_T_REF, bin_size))
    return Circuit.default(n_populations, population_sizes, names=names, t_ref=t_ref)
