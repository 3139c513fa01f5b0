"""Parameters from activity that is known: the bias of a model when nothing is hidden and nothing is missing."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .. import discretization
from ..likelihood import joint
from ..parameters import ParameterSpace, parameters_of
from ..simulation import generator_from
from .circuits import winner_take_all
from .faithfulness import TIME_STEP, microscopic_counts, moments, nobody

DIFFERENCE = 1e-5  # relative, of the differences of n̄ that make the Fisher matrix: a metric, no more has to be exact
LONGEST_STEP = 0.2  # relative: the Fisher matrix says nothing about places further away
CONVERGED = 0.01  # nats per s.d.: 5e-5 nats below the maximum


@dataclass(frozen=True)
class KnownActivityFit:
    """Maximum of p(n | θ) for given n. Arrays have one entry per free parameter.

    Parameters
    ----------
    names : tuple of str
    truth, start, values : numpy.ndarray
        In ms and mV.
    errors : numpy.ndarray, per cent
        100 (values / truth - 1).
    sd : numpy.ndarray, per cent
        Standard deviations that the Fisher matrix promises.
    gradient_norm : float, nats per s.d.
        Length of the gradient with every direction measured in its standard deviation; 0 at the maximum. Half its
        square is what is left to gain, in nats.
    gain_over_truth : float, nats
        log p at the maximum minus at the truth; for a true model half the number of parameters on average.
    n_evaluations : int
        Likelihoods with gradient.
    """

    names: tuple
    truth: np.ndarray
    start: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    sd: np.ndarray
    gradient_norm: float
    gain_over_truth: float
    n_evaluations: int


def shared_parameters(circuit):
    """The circuit with five free values, each common to all populations: J_E and J_I (by source), τ_m, U_r and ϑ.

    Examples
    --------
    >>> ParameterSpace(shared_parameters(winner_take_all())).names
    ('J_E', 'J_I', 'tau_m[all]', 'u_rest[all]', 'threshold[all]')
    """
    K = circuit.n_populations
    shared = {name: ["all"] * K for name in ("tau_m", "u_rest", "threshold")}
    sources = ["J_I" if sign < 0 else "J_E" for sign in circuit.signs]
    return circuit.replace(free=("J", *shared), ties={"J": [sources] * K, **shared})


def known_activity_fit(scheme, bin_size, *, random_state=None, duration=150.0, away=0.2, time_step=TIME_STEP):
    """Five parameters of the winner-take-all network from the activity of all its neurons.

    Parameters
    ----------
    scheme, bin_size
        See `discretization.discretize`.
    random_state
        As for `simulate_microscopic`; of the network and of the start.
    duration : float, s
    away : float
        Every parameter starts this fraction above or below its true value, by the toss of a coin.
    time_step : float, s
        Of the spiking network.

    Returns
    -------
    KnownActivityFit
    """
    network_rng, start_rng = generator_from(random_state).spawn(2)
    (n,) = microscopic_counts(
        bin_size=bin_size, time_step=time_step, n_runs=1, duration=duration, random_state=network_rng
    )
    circuit = shared_parameters(winner_take_all())
    side = start_rng.choice([-1.0, 1.0], size=ParameterSpace(circuit).n_free)
    return fit_to_activity(n, circuit, 1.0 + away * side, scheme=scheme, bin_size=bin_size)


def fit_to_activity(n, circuit, factors, *, scheme, bin_size):
    """Maximise log p(n | θ), the Gaussian density of the counts.

    The maximum lies on a narrow ridge (condition number above 10⁵) on which L-BFGS stops early, hence Fisher scoring.
    Far from it, where a model may be silent or saturated, the Gaussian density is hardly quadratic: the way there leads
    over the Binomial density of a first-order scheme.

    Parameters
    ----------
    n : numpy.ndarray, shape (n_bins, K)
        Spike counts of the whole populations.
    circuit : Circuit
        The truth, and what is free.
    factors : sequence of float, shape (n_free,)
        The start in units of the truth.
    scheme, bin_size
        See `discretization.discretize`.

    Returns
    -------
    KnownActivityFit
        Where the search ended; `gradient_norm` tells whether that is the maximum.
    """
    factors = np.asarray(factors, dtype=float)
    space, truth = ParameterSpace(circuit), parameters_of(circuit)
    true_theta = space.pack(truth)
    is_log = np.array([unit == "ms" for unit in space.units])
    start = np.where(is_log, true_theta + np.log(factors), true_theta * factors)
    scale = np.where(is_log, 1.0, np.abs(true_theta))  # θ / scale: 0.01 is one per cent of the truth
    towards = "exponential" if scheme == "second-order" else scheme
    there = _ascend(start, n, space, scale, scheme=towards, bin_size=bin_size, density="binomial", enough=1.0)
    end = _ascend(there.theta, n, space, scale, scheme=scheme, bin_size=bin_size, density="gaussian", enough=CONVERGED)
    values, true_values = space.values(end.theta), space.values(true_theta)
    return KnownActivityFit(
        names=space.names,
        truth=true_values,
        start=space.values(start),
        values=values,
        errors=100.0 * (values / true_values - 1.0),
        sd=100.0 * np.sqrt(np.diag(np.linalg.inv(end.information))),
        gradient_norm=end.gradient_norm,
        gain_over_truth=end.value - end.log_p(true_theta).value,
        n_evaluations=there.n_evaluations + end.n_evaluations,
    )


class _Ascent(NamedTuple):
    theta: np.ndarray
    value: float
    information: np.ndarray  # of θ / scale
    gradient_norm: float
    n_evaluations: int
    log_p: object  # function of θ


def _ascend(theta, n, space, scale, *, scheme, bin_size, density, enough, max_iter=100):
    """Fisher scoring, damped as by Levenberg and Marquardt, with exact gradients.

    The Fisher matrix of counts with mean n̄ and a variance is Σ ∂n̄ ∂n̄ᵀ / variance, from differences of n̄.
    """
    n, given = np.asarray(n, dtype=float), space.unpack(theta)
    observation = nobody(n, given, bin_size)
    # one window for the whole search, long enough even if the membrane becomes a good deal slower
    windows = discretization.age_windows(discretization.discretize(given, bin_size, scheme), time_constants=12.0)

    def log_p(theta, gradient=False):
        return joint(
            space.unpack(theta), n, observation, bin_size=bin_size, scheme=scheme, window=windows, density=density,
            gradient=gradient,
        )  # fmt: skip

    def fisher(theta, at):
        mean, variance = moments(at, given, bin_size)
        if density == "binomial":
            variance = mean * (1.0 - mean / given.n_neurons)
        shifted = [moments(log_p(theta + shift), given, bin_size)[0] for shift in DIFFERENCE * np.diag(scale)]
        slopes = ((np.array(shifted) - mean) / (DIFFERENCE * np.sqrt(variance))).reshape(space.n_free, -1)
        return slopes @ slopes.T

    at, damping, n_evaluations = log_p(theta, gradient=True), 1e-2, 1
    for _ in range(max_iter):
        g, information = space.pull_back(theta, at.g_parameters) * scale, fisher(theta, at)
        gradient_norm = float(np.sqrt(g @ np.linalg.solve(information, g)))
        gained = False
        while gradient_norm > enough and not gained and damping < 1e6:
            damped = information + damping * np.diag(np.diag(information))
            step = np.linalg.solve(damped, g)
            step *= min(1.0, LONGEST_STEP / np.max(np.abs(step)))
            trial = np.clip(theta + scale * step, *space.bounds.T)
            there = log_p(trial, gradient=True)
            n_evaluations += 1
            gained = there.value > at.value
            damping *= 0.1 if gained else 10.0
        if not gained:
            break
        theta, at = trial, there
    return _Ascent(theta, at.value, information, gradient_norm, n_evaluations, log_p)
