"""Which populations of a circuit may be of one kind, and the circuit in which they are.

Two populations are alike if exchanging them changes nothing: they share their membranes, what they send to others and
what they receive. In that circuit they have one set of free values between them, which a short recording determines
where it leaves two sets open: a network that was seen in one of its states only tells by symmetry of the other.
"""

import itertools

import numpy as np

from .circuit_arguments import FREE_NAMES, RELATIVE


def groups_of(circuit):
    """Groups of populations that may be alike, by their indices.

    Parameters
    ----------
    circuit : Circuit

    Returns
    -------
    tuple of tuple of int
        By equal labels in `Circuit.kinds`; where that is not given, populations of the same known sign that nothing
        given about the circuit tells apart. Groups have two members or more.

    Examples
    --------
    >>> from neulvm_neo import Circuit
    >>> groups_of(Circuit([400, 400, 100], signs=[1, 1, -1]))
    ((0, 1),)
    >>> groups_of(Circuit([400, 300, 100], signs=[1, 1, -1]))
    ()
    >>> groups_of(Circuit([400, 300, 100], signs=[1, 1, -1], kinds=["E", "E", "I"]))
    ((0, 1),)
    """
    K = len(circuit.names)
    pairs = list(itertools.combinations(range(K), 2))
    if circuit.kinds is not None:
        same = [(a, b) for a, b in pairs if circuit.kinds[a] == circuit.kinds[b] != ""]
    else:
        same = [(a, b) for a, b in pairs if circuit.signs[a] != 0 and _exchangeable(circuit, a, b)]
    of = _joined(K, same)
    groups = (tuple(np.flatnonzero(of == i).tolist()) for i in range(K))
    return tuple(group for group in groups if len(group) > 1)


def alike(circuit, groups):
    """The circuit in which the populations of every group are alike: ties, and values that are means over them.

    Parameters
    ----------
    circuit : Circuit
    groups : sequence of sequence of int

    Returns
    -------
    Circuit

    Examples
    --------
    >>> import quantities as pq
    >>> from neulvm_neo import Circuit
    >>> circuit = Circuit([400, 400, 100], names=["E1", "E2", "I"], signs=[1, 1, -1], u_rest=[10, 12, 9] * pq.mV)
    >>> circuit = alike(circuit, [(0, 1)])
    >>> circuit.u_rest, circuit.ties["u_rest"].tolist()
    (array([11., 11.,  9.]) * mV, ['E1, E2', 'E1, E2', ''])
    """
    ties = circuit.ties | {name: _labels(circuit, name, groups) for name in circuit.free}
    values = {}
    for name in circuit.free:
        value = getattr(circuit, name)
        values[name] = _shared(value.magnitude, circuit, ties[name], name) * value.units
    return circuit.replace(**values, ties=ties)


def shared(parameters, circuit):
    """Numbers in which the tied values of a circuit are equal: the means of those given.

    Parameters
    ----------
    parameters : Parameters
    circuit : Circuit

    Returns
    -------
    Parameters
    """
    return parameters._replace(
        **{
            name: _shared(getattr(parameters, name), circuit, labels, name)
            for name, labels in circuit.ties.items()
            if name in circuit.free
        }
    )


def check(circuit):
    """Refuse `Circuit.kinds` that cannot be: populations of one kind whose values may not be equal."""
    if circuit.kinds is None:
        return
    for group in groups_of(circuit):
        for a, b in itertools.pairwise(group):
            for what, x in [("signs", circuit.signs), *_stated(circuit)]:
                if not np.array_equal(x, _exchanged(x, a, b)):
                    raise ValueError(
                        f"kinds says that {circuit.names[a]!r} and {circuit.names[b]!r} are alike, but {what} tells "
                        "them apart; make it the same for both, or give them different labels in kinds."
                    )


def _exchangeable(circuit, a, b):
    """Whether the circuit stays what it is, but for the start of free values, with populations a and b exchanged."""
    given = [circuit.n_neurons, circuit.signs, circuit.mask, circuit.t_ref, circuit.delay]
    given += [getattr(circuit, name) for name in FREE_NAMES if name not in circuit.free]
    given += [x for _, x in _stated(circuit)]
    if circuit.resistance is not None:
        given.append(circuit.resistance)
    for name in circuit.free:
        if name in circuit.ties:
            labels = circuit.ties[name]
            before, after = labels.ravel(), _exchanged(labels, a, b).ravel()
            tied, still = (x[:, None] == x[None, :] for x in (before, after))
            if not (np.array_equal(before == "", after == "") and np.array_equal(tied, still)):
                return False
    return all(np.array_equal(x, _exchanged(x, a, b)) for x in given)


def _stated(circuit):
    """What bounds and priors say of the free values."""
    for kind in ("bounds", "prior"):
        for name, pair in getattr(circuit, kind).items():
            if name in circuit.free:
                yield from ((f"{kind}[{name!r}]", end) for end in pair)


def _exchanged(x, a, b):
    """An array (K,) or (K, K) with two populations exchanged."""
    x = np.asarray(x)
    order = np.arange(len(x))
    order[[a, b]] = b, a
    return x[np.ix_(*[order] * x.ndim)]


def _labels(circuit, name, groups):
    """Labels of ties in which what was tied stays so, and the populations of every group share their values."""
    shape = getattr(circuit, name).shape
    before = circuit.ties.get(name, np.full(shape, ""))
    present = circuit.mask if name == "J" else np.ones(shape, bool)
    place, entry = np.arange(before.size).reshape(shape), np.indices(shape).reshape(len(shape), -1)
    pairs = []
    for group in groups:
        for a, b in itertools.pairwise(group):
            pairs += zip(place.flat, _exchanged(place, a, b).flat, strict=True)
    for label in np.unique(before[before != ""]):
        pairs += itertools.pairwise(place[before == label])
    allowed = present.ravel()
    of = _joined(before.size, [(i, j) for i, j in pairs if allowed[i] and allowed[j]])
    labels = np.full(before.size, "", dtype=object)
    for i in np.unique(of):
        own = np.flatnonzero((of == i) & allowed)
        if own.size > 1:
            names = (before.flat[j] or "←".join(circuit.names[k] for k in entry[:, j]) for j in own)
            labels[own] = ", ".join(dict.fromkeys(names))
    return labels.reshape(shape)


def _joined(n, pairs):
    """The first member of the set that each of n things is in, after every pair was put into one set."""
    of = np.arange(n)
    for i, j in pairs:
        first, second = sorted((of[i], of[j]))
        of[of == second] = first
    return of


def _shared(values, circuit, labels, name):
    """Values (K,) or (K, K) with the mean over equal labels in place of each; of logarithms for time constants."""
    values, present = np.array(values, dtype=float), circuit.mask if name == "J" else True
    for label in np.unique(labels[labels != ""]).tolist():
        tied = (labels == label) & present
        if np.ptp(values[tied]) > 0.0:
            values[tied] = np.exp(np.log(values[tied]).mean()) if name in RELATIVE else values[tied].mean()
    return values
