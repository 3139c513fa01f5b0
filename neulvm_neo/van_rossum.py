"""Van Rossum distances between spike trains, by Elephant, of trains in pieces and without what rates alone do."""

import warnings

import numpy as np

from . import units

# Pieces of time are laid end to end with this gap (in time constants): the filter of one piece is below 1e-17 in the
# next.
_GAP = 40.0


def van_rossum_distances(pieces, time_constant, normalize):
    """Distance matrix of spike trains given in pieces of time, from one call of Elephant's ``van_rossum_distance``.

    Parameters
    ----------
    pieces : list of (list of numpy.ndarray, float)
        Per piece, the spike times of every neuron from the start of the piece and the length of the piece, in s.
    time_constant : float
        In s.
    normalize : {"centered", "cosine", None}

    Returns
    -------
    numpy.ndarray, shape (n_neurons, n_neurons)
        Symmetric, zero diagonal. A train without spikes has distance 1 to every other one if normalised.
    """
    from elephant.spike_train_dissimilarity import van_rossum_distance

    n_neurons = len(pieces[0][0])
    starts = np.cumsum([0.0] + [length + _GAP * time_constant for _, length in pieces])
    laid_out = list(zip((times for times, _ in pieces), starts[:-1], strict=True))
    trains = [
        units.spike_train(np.concatenate([times[i] + start for times, start in laid_out]), 0.0, starts[-1])
        for i in range(n_neurons)
    ]
    empty = units.spike_train([], 0.0, starts[-1])
    with warnings.catch_warnings():
        # identical trains give squared distances of -1e-12, which Elephant sets to zero, as they should be
        warnings.filterwarnings("ignore", "van_rossum_distance: very small negative", RuntimeWarning)
        distances = van_rossum_distance(trains + [empty], units.seconds(time_constant))
    if normalize is None:
        return distances[:-1, :-1]
    norms = distances[:-1, -1] ** 2
    gram = (norms[:, None] + norms - distances[:-1, :-1] ** 2) / 2
    np.fill_diagonal(gram, norms)
    if normalize == "centered":
        gram = _centred(gram, pieces, time_constant)
    # A regular train has (almost) no fluctuation left after centring: call it uncorrelated rather than divide by
    # rounding noise
    size = np.diag(gram)
    usable = size > 1e-9 * np.maximum(norms, 1.0)
    scale = np.where(usable, 1.0 / np.sqrt(np.where(usable, size, 1.0)), 0.0)
    result = np.maximum(1.0 - gram * scale[:, None] * scale, 0.0)
    np.fill_diagonal(result, 0.0)
    return (result + result.T) / 2


def _centred(gram, pieces, tau):
    """Scalar products of the trains minus their mean rates: exact integrals of exp(-|s - t| / τ) over every piece."""
    total = sum(length for _, length in pieces)
    rates = np.array([sum(times[i].size for times, _ in pieces) for i in range(len(gram))]) / total
    with_constant = np.array(
        [sum(_overlap(times[i], length, tau).sum() for times, length in pieces) for i in range(len(gram))]
    )
    constant = sum(2 * tau * length + 2 * tau**2 * np.expm1(-length / tau) for _, length in pieces)
    cross = np.outer(rates, with_constant)
    return gram - cross - cross.T + np.outer(rates, rates) * constant


def _overlap(times, length, tau):
    """∫ exp(-|s - t| / τ) ds over [0, length], for every spike time t."""
    return tau * (2 - np.exp(-times / tau) - np.exp(-(length - times) / tau))
