"""From recorded spikes to a fitted circuit: which search is due, and what is to be said of what it found."""

import functools
import logging
from dataclasses import dataclass

import numpy as np

from .. import discretization
from ..likelihood import Observation, joint
from ..parameters import ParameterSpace, parameters_of
from . import (
    baum_viterbi,
    few,
    hidden_activity,
    initialization,
    monte_carlo,
    own_thresholds,
    particles,
    starts,
    structures,
)

log = logging.getLogger(__name__)

METHODS = ("smc", *baum_viterbi.METHODS)
# Where few values are free, own thresholds are refined so often at most, or until they move by less than this (mV).
REFINEMENTS, REFINED = 8, 0.05


@dataclass(frozen=True, eq=False)
class EMResult:
    """What a fit found.

    Parameters
    ----------
    circuit : Circuit
        The one that was given, with ties between the values of populations that were taken for alike.
    parameters : Parameters
    histories : numpy.ndarray, shape (M, K), Hz
        Activities that a trial may start from (rows of the smoothed training activity).
    n, n_std, n_bar : tuple of numpy.ndarray, shape (n_bins, K)
        Inferred counts per trial, their standard deviations (None entries for "viterbi") and the expected counts.
    n_band : tuple of (lower, upper)
        Ends of the band of level `results.BAND_LEVEL`, per trial (None, None for "viterbi").
    log_likelihood, log_likelihood_error : float
        log p(y | θ̂) from the particle filter and its standard error, in nats, whatever the method.
    n_iter : int
        Iterations of the chosen start.
    converged : bool
    status : str
    trace : tuple of dict
        Per iteration of the chosen start: ``iteration``, ``start``, ``log_likelihood`` (estimate of log p(y | θ) before
        a Monte-Carlo EM step, or after a step of the ascent; joint log p(y, n̂ | θ) for "viterbi"), and either the
        objectives of its steps or ``gain`` and ``gain_error`` (nats), what the step of the ascent brought.
    landscape : ascent.Landscape or None
        Surroundings of the maximum, from the ascent; None if there was none, or if something else was more probable.
    covariance : numpy.ndarray or None
        Posterior covariance of θ, where so few values are free that `few.search` has found it.
    noise : {"binomial", "cohorts"}
        How the counts scatter in the model that was fitted.
    excitability : numpy.ndarray, shape (n_observed,), or None
        Of the recorded neurons, if they have thresholds of their own (see `own_thresholds`).
    kinds : tuple of str
        Whether populations that may be of one kind are, in words (see `structures`).
    """

    circuit: object
    parameters: object
    histories: np.ndarray
    n: tuple
    n_std: tuple
    n_band: tuple
    n_bar: tuple
    log_likelihood: float
    log_likelihood_error: float
    n_iter: int
    converged: bool
    status: str
    trace: tuple
    landscape: object = None
    covariance: np.ndarray | None = None
    noise: str = "binomial"
    excitability: np.ndarray | None = None
    kinds: tuple = ()


def fit(
    circuit,
    counts,
    labels,
    *,
    bin_size,
    rng,
    scheme="second-order",
    noise=None,
    method="smc",
    stimuli=None,
    n_init=4,
    max_iter=25,
    tol=1.0,
    n_particles=200,
    n_jobs=None,
    start=None,
    smoothing=None,
    own=False,
    verbose=0,
    watch=lambda: None,
):
    """Fit the free values of a circuit to recorded spikes.

    Parameters
    ----------
    circuit : Circuit
    counts : list of numpy.ndarray, shape (n_bins, n_observed)
        Trials, fitted jointly; every positive entry is one spike.
    labels : numpy.ndarray of int, shape (n_observed,)
        Population of every column.
    bin_size : float, s
    rng : numpy.random.Generator
        Its children seed the starts, so that the result does not depend on `n_jobs`.
    scheme : {"second-order", "exponential", "euler"}
    noise : {"binomial", "cohorts"} or None
        How counts scatter; None: see `noise_of`.
    method : {"smc", "viterbi", "paper"}
        ``"smc"``: Monte-Carlo EM with particle filters, then ascent on log p(y | θ) (see `monte_carlo`); filters whose
        particles carry the values, where at most two are free (see `few`).
        ``"viterbi"``: one most probable trajectory and the parameters with it, by annealing (see `baum_viterbi`).
        ``"paper"``: the Baum–Viterbi algorithm as published.
    stimuli : list of numpy.ndarray, shape (n_bins, K), mV, optional
    n_init : int
        Starts, each drawn from 0.4 to 2 times the circuit's values and brought near by part a of the likelihood. Every
        start gets `monte_carlo.ITERATIONS_PER_ROUND` iterations, then the worse half is given up, until one is left.
        (Starts of "paper" stay where they were drawn; it and "viterbi" keep the one that ends with the highest joint
        likelihood.)
    max_iter : int
        Iterations of the chosen start in all; a few more where populations that may be of one kind turn out otherwise
        than they began.
    tol : float
        Converged when the objective has risen by less than this (nats) in an iteration at temperature 1 ("viterbi"), or
        in each of the last two rounds of the ascent ("smc").
    n_particles : int
        Particles per filter in the E-step; the final likelihood uses `hidden_activity.MORE_PARTICLES` times as many.
    n_jobs : int, optional
        joblib jobs over starts, and over filters.
    start : Parameters, callable or None
        Starting values for all starts, or ``start(rng, circuit, counts, labels, bin_size) -> Parameters``; default as
        under `n_init`.
    smoothing : float, optional
        Standard deviation in s of the kernel that smooths spikes into a first activity. By default chosen by the data
        (`initialization.smoothed_activity`); further starts of "viterbi" then have narrower ones.
    own : bool
        Whether every recorded neuron has a threshold of its own. "smc" takes a first guess from the neurons' rates and
        refines it with every E-step, or after every narrow pass; the other methods keep the guess.
    verbose : int
        1 shows a progress bar.
    watch : callable, optional
        Called after every start and every iteration of the chosen one. A KeyboardInterrupt that it raises ends the fit.

    Returns
    -------
    EMResult
        Also after Ctrl-C, with the best parameters so far and ``status="interrupted"``.

    Raises
    ------
    ValueError
        If `method` is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; choose one of {METHODS}.")
    space, labels = ParameterSpace(circuit), np.asarray(labels, dtype=np.int64)
    K = len(circuit.names)
    activities, width = initialization.smoothed_activity(counts, labels, K, bin_size, smoothing)
    log.info("smoothed activity: Gaussian kernel of %g ms", 1e3 * width)
    stimuli = [None] * len(counts) if stimuli is None else stimuli
    excitability = own_thresholds.from_rates(counts, labels, K) if own else None
    observations = tuple(
        Observation.from_counts(trial, labels, K, activity[0], stimulus, excitability)
        for trial, activity, stimulus in zip(counts, activities, stimuli, strict=True)
    )
    histories = initialization.past_rates(counts, labels, K, bin_size, width)
    noise = noise_of(noise, circuit, space.n_free, bin_size, scheme, method)
    setting = starts.Setting(
        space, observations, tuple(activities), histories, bin_size, scheme, int(n_particles),
        monte_carlo.N_TRAJECTORIES, n_jobs,
    )  # fmt: skip
    # `start` may be a user's function of everything that a start depends on
    draw = starts.drawing(start, space, circuit, counts, labels, bin_size)
    *children, final_rng = rng.spawn(n_init + 1)
    whole = functools.partial(draw, structure=structures.Structure((), space, 0.0))
    first, shown = space.pack(parameters_of(circuit)), {"verbose": verbose, "watch": watch}
    if method in baum_viterbi.METHODS:
        problem = baum_viterbi.Problem(
            space, observations, tuple(counts), labels, bin_size, scheme, method, width, smoothing is not None, max_iter
        )
        found = baum_viterbi.search(problem, first, whole, children, tol=tol, n_jobs=n_jobs, **shown)
        return _most_probable(setting, *found, max_iter, final_rng)
    if space.n_free <= few.MOST_FREE:

        def search(observations, rng, max_iter, known=None):
            return few.search(
                space, whole, first, observations, histories, bin_size=bin_size, scheme=scheme, noise=noise, rng=rng,
                n_particles=n_particles, max_iter=max_iter, n_jobs=n_jobs, known=known, **shown,
            )  # fmt: skip

        found = search(observations, children[0], max_iter)
        if own:
            setting, found = _refined(setting, search, found, max_iter, noise, rng)
        return _of_few(setting, found, noise, final_rng)
    found = monte_carlo.search(
        setting, draw, parameters_of(circuit), children, given=start is not None, max_iter=max_iter, tol=tol,
        rng=final_rng, **shown,
    )  # fmt: skip
    setting = setting._replace(space=found.structure.space, observations=found.observations)
    return _of_monte_carlo(setting, found, max_iter, final_rng.spawn(1)[0])


def _refined(setting, search, found, max_iter, noise, rng):
    """Setting and `few.Found` after searches in turn for the excitability of the neurons and, nearby, for θ."""
    for child in rng.spawn(REFINEMENTS):
        left = max_iter - len(found.trace)
        if found.interrupted or left < few.NARROW_PASSES:
            break
        inferred = _infer(setting, found.theta, noise, child)
        observations = own_thresholds.refined(setting.observations, [trial.predicted for trial in inferred])
        change = np.abs(np.log(observations[0].hazard_factors / setting.observations[0].hazard_factors)).max()
        setting = setting._replace(observations=observations)
        found = search(observations, child, few.NARROW_PASSES, known=found)
        if change < REFINED:
            break
    return setting, found


def noise_of(noise, circuit, n_free, bin_size, scheme, method):
    """The noise of a fit, which is checked if it is given (see `discretization.check_noise`).

    None chooses "cohorts" where it is possible: where no spike acts on its own bin, and where values are sought by
    filters alone, since the gradients of the likelihood are those of "binomial".
    """
    parameters = parameters_of(circuit)
    if "J" in circuit.free:  # couplings that are still 0 may become others
        parameters = parameters._replace(J=np.ones_like(parameters.J))
    step = discretization.discretize(parameters, bin_size, scheme)
    by_filters = method == "smc" and n_free <= few.MOST_FREE
    if noise is None:
        return "cohorts" if by_filters and not np.any(step.gain_within) else "binomial"
    if discretization.check_noise(noise, step) == "cohorts" and not by_filters:
        raise ValueError(
            f"noise is 'cohorts', which fits with method='smc' and at most {few.MOST_FREE} free values know; this one "
            f"has method={method!r} and {n_free} free values. Choose noise='binomial'."
        )
    return noise


def _of_few(setting, found, noise, rng):
    """Result of a search among few free values."""
    parameters, inferred, collapsed, excitability = _inferred(setting, found.theta, noise, rng)
    value, error = _log_likelihood(inferred)
    converged = found.converged and not found.interrupted and not collapsed
    status = (
        "interrupted" if found.interrupted
        else hidden_activity.LOST if collapsed
        else "converged" if converged
        else "passes of the filter with free parameters disagree; raise n_particles"
    )  # fmt: skip
    return EMResult(
        setting.space.circuit,
        parameters,
        setting.histories,
        *_columns(inferred),
        log_likelihood=value,
        log_likelihood_error=error,
        n_iter=len(found.trace),
        converged=converged,
        status=status,
        trace=found.trace,
        covariance=found.covariance,
        noise=noise,
        excitability=excitability,
    )


def _of_monte_carlo(setting, found, max_iter, rng):
    """Result of Monte-Carlo EM."""
    parameters, inferred, collapsed, excitability = _inferred(setting, found.theta, "binomial", rng)
    value, error = found.log_likelihood, found.error
    if excitability is not None:  # they have changed since
        value, error = _log_likelihood(inferred)
    status = _status(found.converged, found.interrupted, max_iter)
    if collapsed:
        status += f"; {hidden_activity.LOST}"
    if "J" in setting.space.circuit.free and not np.any(parameters.J) and not found.interrupted:
        status += "; neurons without couplings explain the spikes better than any circuit that was found"
    return EMResult(
        setting.space.circuit,
        parameters,
        setting.histories,
        *_columns(inferred),
        log_likelihood=value,
        log_likelihood_error=error,
        n_iter=len(found.trace),
        converged=found.converged and not collapsed,
        status=status,
        trace=found.trace,
        landscape=found.landscape,
        excitability=excitability,
        kinds=found.kinds,
    )


def _most_probable(setting, state, converged, interrupted, max_iter, rng):
    """Result of "viterbi" and "paper": their own trajectories, and log p(y | θ̂) from the particle filter."""
    parameters = setting.space.unpack(state.theta)
    settings = {"bin_size": setting.bin_size, "scheme": setting.scheme}
    value, error = particles.log_likelihood(
        parameters,
        state.observations,
        setting.histories,
        rng=rng,
        n_particles=hidden_activity.MORE_PARTICLES * setting.n_particles,
        **settings,
    )
    pairs = zip(state.n, state.observations, strict=True)
    n_bar = tuple(joint(parameters, n, o, gradient=False, **settings).n_bar for n, o in pairs)
    return EMResult(
        setting.space.circuit,
        parameters,
        setting.histories,
        n=tuple(state.n),
        n_std=(None,) * len(n_bar),
        n_band=((None, None),) * len(n_bar),
        n_bar=n_bar,
        log_likelihood=value,
        log_likelihood_error=error,
        n_iter=len(state.trace),
        converged=converged,
        status=_status(converged, interrupted, max_iter),
        trace=state.trace,
        excitability=setting.observations[0].excitability,
    )


def _infer(setting, theta, noise, rng):
    """The hidden activity of every trial."""
    return hidden_activity.infer(
        setting.space.unpack(theta), setting.observations, setting.histories, bin_size=setting.bin_size,
        scheme=setting.scheme, method="smc", noise=noise, rng=rng, n_jobs=setting.n_jobs,
        n_particles=hidden_activity.MORE_PARTICLES * setting.n_particles,
    )  # fmt: skip


def _inferred(setting, theta, noise, rng):
    """Parameters, the hidden activity of every trial, whether a filter lost track of one, and the excitability."""
    inferred = _infer(setting, theta, noise, rng)
    if setting.observations[0].excitability is not None:
        observations = own_thresholds.refined(setting.observations, [trial.predicted for trial in inferred])
        setting = setting._replace(observations=observations)
        inferred = _infer(setting, theta, noise, rng)
    lost = any(trial.collapsed for trial in inferred)
    return setting.space.unpack(theta), inferred, lost, setting.observations[0].excitability


def _log_likelihood(inferred):
    """log p(y | θ) of all trials, and its standard error."""
    value = float(sum(trial.log_increments.sum() for trial in inferred))
    return value, float(np.sqrt(sum(trial.error**2 for trial in inferred)))


def _columns(inferred):
    """n, n_std, n_band and n_bar of all trials."""
    return (
        tuple(trial.n for trial in inferred),
        tuple(trial.n_std for trial in inferred),
        tuple((trial.n_lower, trial.n_upper) for trial in inferred),
        tuple(trial.n_bar for trial in inferred),
    )


def _status(converged, interrupted, max_iter):
    if interrupted:
        return "interrupted"
    return "converged" if converged else f"stopped after max_iter={max_iter} iterations"
