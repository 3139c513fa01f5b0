"""Where a fit starts: activity from smoothed spikes, parameters from the recorded neurons alone."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .m_step import m_step

# Widths (s) of the Gaussian kernel that are tried, and the least rate (Hz) that a smoothed activity may have.
WIDTHS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
LEAST_RATE = 0.1
N_PASTS = 256
ANCHOR_WIDTH, HELD_WIDTH = 0.5, 0.02  # of the value


def smoothed_activity(counts, labels, n_populations, bin_size, width=None):
    """Population activity by Gaussian smoothing of spikes (Wang et al. 2022, App. D), with a width chosen by the data.

    Parameters
    ----------
    counts : list of numpy.ndarray, shape (n_bins, n_observed)
        Trials.
    labels : numpy.ndarray of int, shape (n_observed,)
    n_populations : int
    bin_size : float, s
    width : float, optional
        Standard deviation of the kernel in s. By default the one of `WIDTHS` with the highest leave-one-out Poisson
        likelihood: every spike count is predicted from the smoothed spikes of its population without itself (its own
        bin's contribution is taken out).

    Returns
    -------
    activities : list of numpy.ndarray, shape (n_bins, K), Hz
    width : float
    """
    pooled = [np.stack([trial[:, labels == k].sum(axis=1) for k in range(n_populations)], axis=1) for trial in counts]
    members = np.array([np.sum(labels == k) for k in range(n_populations)], dtype=float)
    if width is None:
        width = max(WIDTHS, key=lambda w: _leave_one_out(pooled, members, w / bin_size, bin_size))
    activities = []
    for trial in pooled:
        smooth = gaussian_filter1d(trial.astype(float), width / bin_size, axis=0, mode="reflect")
        activities.append(np.maximum(smooth / (np.maximum(members, 1.0) * bin_size), LEAST_RATE))
    # a population nobody recorded from starts at the mean of the others
    for k in np.flatnonzero(members == 0):
        for activity in activities:
            activity[:, k] = activity[:, members > 0].mean()
    return activities, float(width)


def past_rates(counts, labels, n_populations, bin_size, width):
    """Activities that a trial may have begun from: the smoothed activity at moments spread over all trials.

    Smoothed by `width` (s), but by no less than the mean interval between spikes of a neuron: a past that is constant
    stands for many spikes of everybody.

    Returns
    -------
    numpy.ndarray, shape (≤ N_PASTS, K), Hz
    """
    n_bins = sum(len(trial) for trial in counts)
    mean_rate = max(sum(float(trial.sum()) for trial in counts) / (n_bins * bin_size * len(labels)), LEAST_RATE)
    width = min(max(width, 1.0 / mean_rate), 0.25 * n_bins * bin_size / len(counts))
    stacked = np.concatenate(smoothed_activity(counts, labels, n_populations, bin_size, width)[0])
    return stacked[np.unique(np.linspace(0, len(stacked) - 1, N_PASTS).astype(int))]


def anchor(theta, space, coupling_width=ANCHOR_WIDTH):
    """A weak pull towards a start: `m_step`'s anchor with a width of half of each value, at least 2.5 mV.

    A short recording determines some combinations of the parameters a thousand times better than others; along the rest
    an optimiser drifts to wherever (for instance to no coupling at all when a bistable network happened not to switch).
    One width away costs half a nat, so that whatever the data say anything about wins.

    Parameters
    ----------
    theta : numpy.ndarray
    space : ParameterSpace
    coupling_width : float
        Width for couplings, relative to their size.
    """
    logarithmic = np.array([unit == "ms" for unit in space.units], dtype=bool)
    width = np.where(logarithmic, ANCHOR_WIDTH, ANCHOR_WIDTH * np.maximum(np.abs(theta), 5.0))
    coupling = np.array([name.startswith("J") for name in space.names], dtype=bool)
    return theta, np.where(coupling, width * coupling_width / ANCHOR_WIDTH, width)


def _leave_one_out(pooled, members, width, bin_size):
    """Poisson log-likelihood of every bin's count given its smoothed surroundings without the bin itself."""
    impulse = np.zeros(2 * int(5 * width) + 11)
    impulse[impulse.size // 2] = 1.0
    centre = gaussian_filter1d(impulse, width).max()
    total = 0.0
    for trial in pooled:
        smooth = gaussian_filter1d(trial.astype(float), width, axis=0, mode="reflect")
        rate = np.maximum((smooth - centre * trial) / (1.0 - centre), LEAST_RATE * bin_size * np.maximum(members, 1.0))
        total += float(np.sum(trial * np.log(rate) - rate))
    return total


def start_from_recorded_neurons(
    theta, space, observations, activities, *, bin_size, scheme, hold_couplings=False, max_iter=100
):
    """θ that explains the recorded neurons best if the smoothed activity were true: part a of the likelihood alone.

    Far from the truth the full objective is a plateau (nothing fires) or a cliff; part a is close to unimodal and
    cheap. But smoothed activity misleads about couplings: it has lost the fluctuations that the neurons really felt and
    has some of its own, so that couplings shrink like any slope on a noisy regressor.

    Parameters
    ----------
    theta : numpy.ndarray
        Start, and anchor of what the data do not determine.
    activities : list of numpy.ndarray, shape (n_bins, K), Hz
    hold_couplings : bool
        Keep the couplings near the start.

    Returns
    -------
    numpy.ndarray
    """
    n_neurons = np.asarray(space.unpack(theta).n_neurons)
    trajectories = [
        [(observation, activity * n_neurons * bin_size)]
        for observation, activity in zip(observations, activities, strict=True)
    ]
    pull = anchor(theta, space, HELD_WIDTH if hold_couplings else ANCHOR_WIDTH)
    return m_step(
        theta, space, trajectories, bin_size=bin_size, scheme=scheme, parts="a", anchor=pull, max_iter=max_iter
    ).theta
