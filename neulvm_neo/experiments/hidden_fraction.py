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
    everybody = trial(seed, coupling)
    chosen = [observed_neurons(seed, n_observed, i, everybody.counts.shape[1]) for i in range(n_samples)]
    return [everybody._replace(counts=everybody.counts[:, neurons]) for neurons in chosen]


def trial(seed, coupling=COUPLING):
    """The trial, with the spikes of all 600 neurons.

    Parameters
    ----------
    seed : int
    coupling : float, mV

    Returns
    -------
    connectivity.DataSet
    """
    (one,) = samples_of_one_network(coupling, 1, 600, np.random.default_rng([seed]), **START)
    return one


def observed_neurons(seed, n_observed, sample, n_neurons=600):
    """Columns of `trial` that are recorded in one of the samples.

    >>> observed_neurons(1, 2, 0).shape
    (2,)
    """
    return np.random.default_rng([seed, n_observed, sample]).permutation(n_neurons)[:n_observed]
