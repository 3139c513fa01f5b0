"""The coupling by a method that takes the recorded neurons for the whole population: the paper's rival.

René, Longtin and Macke (2020) maximise the likelihood of a mesoscopic model whose population activity is known. Wang et
al. (2022, App. E) apply it naively where most neurons are hidden: the activity is the smoothed spikes of the recorded
ones, taken for the truth, and Ĵ maximises log p(n | J). The objective and the optimiser are as they describe them; the
expected counts come from this package's mesoscopic model, not from the programme of René et al.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from ..inference.baum_viterbi import PAST
from ..inference.initialization import smoothed_activity
from ..likelihood import Observation, joint
from ..parameters import ParameterSpace, parameters_of
from .circuits import single_population
from .connectivity import BIN_SIZE, random_start

N_STARTS = 200
SMOOTHING = 0.0014  # s, standard deviation of the kernel
AGES = 100  # bins, the memory a_max
OPTIONS = {"maxiter": 200, "ftol": 2e-9, "gtol": 1e-5, "eps": 1e-8}  # Table S5: L-BFGS-B with finite differences
# The least share of a population that is expected to fire in a bin. With the floor of `likelihood` the objective is
# flat wherever hardly anybody is expected to fire, and no start would leave those places.
LEAST = 1e-30
SAME = 0.1  # mV; starts that end so close together have found the same


class NaiveCoupling(NamedTuple):
    """Ĵ (mV), log p(n | Ĵ) in nats, and the share of starts that ended at it."""

    J: float
    log_likelihood: float
    agreement: float


def naive_coupling(data_set, *, seed, n_starts=N_STARTS):
    """Ĵ as if the smoothed spikes of the recorded neurons were the activity of the population.

    Parameters
    ----------
    data_set : connectivity.DataSet
    seed : int
        Of the starts, `connectivity.random_start`.
    n_starts : int
        The best is taken.

    Returns
    -------
    NaiveCoupling
    """
    return coupling_from_activity(smoothed_counts(data_set.counts), seed=seed, n_starts=n_starts)


def smoothed_counts(counts, width=SMOOTHING):
    """Counts of the population as they are guessed from a few neurons (Wang et al. 2022, App. D).

    Parameters
    ----------
    counts : numpy.ndarray, shape (n_bins, n_observed)
    width : float, s

    Returns
    -------
    numpy.ndarray, shape (n_bins, 1)

    Examples
    --------
    >>> smoothed = smoothed_counts(np.eye(100)[:, 50:51])  # one spike of one neuron stands for one of all 600
    >>> int(smoothed.argmax()), round(smoothed[40:60].sum())
    (50, 601)
    """
    dt = float(BIN_SIZE.rescale("s"))
    (activity,), _ = smoothed_activity([counts], np.zeros(counts.shape[1], dtype=int), 1, dt, width)
    return activity * float(single_population().n_neurons[0]) * dt


def coupling_from_activity(n, *, seed, n_starts=N_STARTS):
    """Ĵ that maximises log p(n | J), Binomial(N, n̄), for an activity that is taken for the truth.

    Parameters
    ----------
    n : numpy.ndarray, shape (n_bins, 1)
        Counts of the population; real numbers are fine.
    seed : int
    n_starts : int

    Returns
    -------
    NaiveCoupling
    """
    circuit, dt = single_population(), float(BIN_SIZE.rescale("s"))
    given, (bounds,) = parameters_of(circuit), ParameterSpace(circuit).bounds
    (size,) = given.n_neurons
    before = n[: int(round(PAST / dt))].mean(axis=0) / (size * dt)
    nobody = Observation((), np.zeros(0, dtype=np.int64), len(n), np.zeros((len(n), 1)), before)
    counts = n[:, 0]
    ways = float(np.sum(gammaln(size + 1.0) - gammaln(counts + 1.0) - gammaln(size - counts + 1.0)))

    def cost(J):
        parameters = given._replace(J=np.reshape(J, (1, 1)).astype(float))
        settings = {"bin_size": dt, "scheme": "euler", "window": AGES, "gradient": False}
        share = np.clip(joint(parameters, n, nobody, **settings).n_bar[:, 0] / size, LEAST, 1.0 - 1e-6)
        return -ways - float(counts @ np.log(share) + (size - counts) @ np.log1p(-share))

    rng, ends = np.random.default_rng(seed), []
    for _ in range(n_starts):
        end = minimize(cost, [random_start(rng)], method="L-BFGS-B", bounds=[bounds], options=OPTIONS)
        ends.append((-float(end.fun), float(end.x[0])))
    value, J = max(ends)
    return NaiveCoupling(J, value, float(np.mean([abs(other - J) <= SAME for _, other in ends])))
