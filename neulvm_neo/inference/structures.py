"""Which populations share their values, while a search finds out: those of a kind all alike, or each for itself.

More values explain the same spikes better even if there is nothing to explain. A structure therefore pays half the
logarithm of the number of spikes for each of its free values, as in Schwarz's criterion [1]_: about what a prior that
is as wide as one spike's information would take.

.. [1] Schwarz, Estimating the dimension of a model, Ann Stat 6, 461-464 (1978).
"""

from typing import NamedTuple

import numpy as np

from .. import kinds
from ..parameters import ParameterSpace


class Structure(NamedTuple):
    """A circuit in which the populations of some groups are alike, and what its free values cost (nats)."""

    together: tuple  # groups of population indices, see `kinds.groups_of`
    space: ParameterSpace
    price: float


def structures_of(space, observations):
    """Structures to begin with: all populations alike that may be, and none; only the latter where none may.

    Parameters
    ----------
    space : ParameterSpace
        Of the circuit that is given.
    observations : sequence of Observation

    Returns
    -------
    tuple of Structure
    """
    n_spikes = sum(observation.trains[0].size for observation in observations)
    groups = kinds.groups_of(space.circuit)
    return tuple(_structure(space, together, n_spikes) for together in ([groups, ()] if groups else [()]))


def other_way(group, structure, among, observations):
    """The structure that differs from one in one group: alike there and not here, or not there and here.

    Parameters
    ----------
    group : tuple of int
    structure : Structure
    among : tuple of Structure
        Of `structures_of`.
    observations : sequence of Observation

    Returns
    -------
    Structure
    """
    together = tuple(g for g in among[0].together if (g in structure.together) != (g == group))
    n_spikes = sum(observation.trains[0].size for observation in observations)
    return _structure(among[-1].space, together, n_spikes)


def _structure(space, together, n_spikes):
    own = ParameterSpace(kinds.alike(space.circuit, together)) if together else space
    return Structure(together, own, 0.5 * own.n_free * float(np.log(max(n_spikes, 1))))


def moved(theta, structure, to):
    """θ of one structure in another: values that become one are averaged."""
    parameters = structure.space.unpack(theta)
    return to.space.pack(kinds.shared(parameters, to.space.circuit))


def in_words(group, names, alike, gain, price):
    """What was found of a group of populations.

    Parameters
    ----------
    group : tuple of int
    names : sequence of str
    alike : bool
    gain, price : float, nats
        What values of their own gain (less than nothing by chance only), and what they cost.

    Returns
    -------
    str

    Examples
    --------
    >>> in_words((0, 1), ["E1", "E2", "I"], True, 2.13, 14.3)
    'E1 and E2 are taken for alike: values of their own gain 2.1 nats and cost 14.3.'
    """
    how = "are taken for alike" if alike else "differ"
    return f"{_named(group, names)} {how}: values of their own gain {max(gain, 0.0):.1f} nats and cost {price:.1f}."


def unseen_in_words(structure, among, names):
    """What is to be said of a structure that was never compared with others at its summit."""
    how = {True: "are taken for alike", False: "have values of their own"}
    return tuple(
        f"{_named(group, names)} {how[group in structure.together]}; the fit ended before it was seen whether they are "
        "alike."
        for group in among[0].together
    )


def _named(group, names):
    *first, last = [names[k] for k in group]
    return f"{', '.join(first)} and {last}"
