"""A fitted circuit as a spiking network: recordings like the training data, and free runs on either scale."""

import math

import numpy as np

from . import units
from .simulation import simulate_mesoscopic, simulate_microscopic

_TIME_STEP = 0.0002  # s, at most, of microscopic simulations in continuous time
# The spiking network that a scheme stands for: how its membranes are integrated, and the longest step (s).
_NETWORK_OF = {"second-order": ("exact", _TIME_STEP), "exponential": ("exact", np.inf), "euler": ("euler", np.inf)}


def simulate_recording(
    circuit, n_samples, *, bin_size, scheme, labels, n_recorded, excitability=None, stimulus=None, random_state=None
):
    """Spikes of as many neurons as were recorded, in the network that the model's time step stands for.

    Parameters
    ----------
    circuit : Circuit
    n_samples : int
        Number of bins.
    bin_size : float, s
    scheme : {"second-order", "exponential", "euler"}
    labels : numpy.ndarray of int, shape (n_neurons,)
        Population of every column; those of -1 do not fire.
    n_recorded : tuple of int
        Neurons per population among `labels`.
    excitability : numpy.ndarray, shape (n_neurons with a label of at least 0,), optional
        Hazards of the neurons, in the order of `labels`, as multiples of their population's.
    stimulus, random_state
        See `simulate_microscopic`.

    Returns
    -------
    X : numpy.ndarray, shape (n_samples, n_neurons)
        0 or 1 spike.
    activity : numpy.ndarray, shape (n_samples, n_populations), Hz
        Of the whole populations.
    """
    integration, longest_step = _NETWORK_OF[scheme]
    labels = np.asarray(labels)
    run = simulate_microscopic(
        circuit, duration=units.seconds(n_samples * bin_size), bin_size=units.seconds(bin_size), stimulus=stimulus,
        time_step=_part_of(bin_size, longest_step), integration=integration, n_recorded=n_recorded,
        excitability=_by_population(excitability, labels), random_state=random_state,
    )  # fmt: skip
    X = np.zeros((n_samples, len(labels)))
    columns = np.argsort(np.where(labels < 0, len(circuit.names), labels), kind="stable")
    for column, train in zip(columns[: len(run.spiketrains)], run.spiketrains, strict=True):
        times, _, _ = units.spike_train_times(train)
        X[np.floor(times / bin_size).astype(int), column] = 1.0
    return X, run.activity


def simulate_freely(
    circuit, duration, *, level, bin_size, scheme, noise, labels, n_recorded, excitability=None, stimulus=None,
    random_state=None,
):  # fmt: skip
    """A run of whole populations with the time step of the fit, or of every neuron in steps of 0.2 ms or less.

    Parameters
    ----------
    circuit : Circuit
    duration : Quantity, time
    level : {"mesoscopic", "microscopic"}
    bin_size : float, s
    scheme, noise : str
        Of the mesoscopic model.
    labels, n_recorded, excitability
        See `simulate_recording`: the neurons whose spikes a microscopic run keeps, population after population.
    stimulus, random_state
        See `simulate_mesoscopic`.

    Returns
    -------
    PopulationActivity
    """
    settings = dict(
        duration=duration, bin_size=units.seconds(bin_size), stimulus=stimulus, random_state=random_state
    )  # fmt: skip
    if level == "mesoscopic":
        return simulate_mesoscopic(circuit, scheme=scheme, noise=noise, **settings)
    return simulate_microscopic(
        circuit, time_step=_part_of(bin_size, _TIME_STEP), integration="exact", n_recorded=n_recorded,
        excitability=_by_population(excitability, np.asarray(labels)), **settings,
    )  # fmt: skip


def _by_population(excitability, labels):
    """The same in the order in which `simulate_microscopic` records neurons."""
    if excitability is None:
        return None
    return np.asarray(excitability)[np.argsort(labels[labels >= 0], kind="stable")]


def _part_of(bin_size, longest):
    """The longest step that fits into a bin a whole number of times, but for rounding."""
    return units.seconds(bin_size / max(math.ceil(bin_size / longest - 1e-6), 1))
