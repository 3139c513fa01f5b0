"""How many neurons must be recorded to see a transition between cluster states? (Wang et al. 2022, Fig. 2D-F, S4)."""

import numpy as np
import quantities as pq

from .connectivity import samples_of_one_network

# The protocol: coupling (mV), numbers of recorded neurons, samples of each. The paper does not say how its network came
# into the four-cluster state; here it starts there, at a rate from which it falls into three clusters by itself.
COUPLING = 60.32
N_OBSERVED = (1, 2, 5, 10, 599)
N_SAMPLES = 10
START = {"initial_rate": 19.0 * pq.Hz, "initial_clusters": 4}


def data_sets(seed, n_observed, n_samples=N_SAMPLES, coupling=COUPLING):
    """One second of one network that starts in four clusters, seen through several samples of its neurons.

    Parameters
    ----------
    seed : int
        Of the simulation and of the samples: other `n_observed` see the same network.
    n_observed : int
    n_samples : int
    coupling : float, mV

    Returns
    -------
    list of connectivity.DataSet

    Examples
    --------
    >>> [s.counts.shape for s in data_sets(1, 2, n_samples=2)]
    [(1000, 2), (1000, 2)]
    """
    sets = []
    for i in range(n_samples):
        # the same stream every time: the network is the same, only the neurons differ
        rng = np.random.default_rng([seed])
        (one,) = samples_of_one_network(coupling, 1, 600, rng, **START)
        chosen = np.random.default_rng([seed, n_observed, i]).permutation(one.counts.shape[1])[:n_observed]
        sets.append(one._replace(counts=one.counts[:, chosen]))
    return sets
