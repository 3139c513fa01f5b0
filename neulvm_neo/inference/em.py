"""The EM loop: several starts, the best of them carried on until its likelihood stops rising."""

import logging
from dataclasses import dataclass
from typing import NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from .. import discretization
from ..likelihood import Observation, joint
from ..parameters import ParameterSpace, parameters_of
from . import ascent, baum_viterbi, few, initialization, particles, starts
from .m_step import m_step
from .tasks import Advance, run, run_one_by_one

log = logging.getLogger(__name__)

METHODS = ("smc", *baum_viterbi.METHODS)
# Starts compete in rounds; after each, the worse half is given up. Iterations per round, L-BFGS iterations per M-step.
ITERATIONS_PER_ROUND = 5
# Trajectories per E-step of "smc", each from its own filter, so that they do not share ancestors; fewer, with half the
# particles, while starts compete.
N_TRAJECTORIES, N_TRAJECTORIES_PER_START = 4, 2
# EM converges linearly, slowed by the share of missing information, which is large here. From this iteration on its
# steps are lengthened, and keep some of the step before (heavy ball), unless the likelihood fell by more than noise.
LENGTHEN_FROM, STEP_LENGTH = 4, 1.6
MOMENTUM, NOISE = 0.6, 3.0  # NOISE in nats
# "viterbi" has converged when the mean of the last `PATIENCE` objectives exceeds that of the `PATIENCE` before by less
# than the tolerance; "smc" when, after `LEAST_ROUNDS` of ascent, the last two brought less each.
PATIENCE, LEAST_ROUNDS = 4, 3

LOST = "the particle filter loses track of the recording; do not trust activity and likelihood, raise n_particles"


class Inferred(NamedTuple):
    """Hidden activity of one trial.

    Counts n, their expectations n̄, standard deviation, and band, all (n_bins, K), log p(y_t | y_<t) (n_bins,), the
    standard error of its sum, the recorded neurons' p(y_ti = 1 | y_<t) (n_bins, n_observed), and whether the particle
    filter lost track.
    """

    n: np.ndarray
    n_bar: np.ndarray
    n_std: np.ndarray | None
    n_lower: np.ndarray | None
    n_upper: np.ndarray | None
    log_increments: np.ndarray
    error: float
    predicted: np.ndarray
    collapsed: bool


@dataclass(frozen=True, eq=False)
class EMResult:
    """What a fit found.

    Parameters
    ----------
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
    """

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
    verbose=0,
    watch=None,
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
        ``"smc"``: Monte-Carlo EM, whose E-step draws trajectories of the hidden counts from particle filters, so that
        the finite-size noise keeps its size; then, for the last start left, ascent on log p(y | θ) (see `ascent`).
        ``"viterbi"``: one most probable trajectory and the parameters with it, by annealing (see `baum_viterbi`).
        ``"paper"``: the Baum–Viterbi algorithm as published.
    stimuli : list of numpy.ndarray, shape (n_bins, K), mV, optional
    n_init : int
        Starts, each drawn from 0.4 to 2 times the circuit's values and brought near by part a of the likelihood. Every
        start gets `ITERATIONS_PER_ROUND` iterations, then the worse half is given up, until one is left. (Starts of
        "paper" stay where they were drawn; it and "viterbi" keep the one that ends with the highest joint likelihood.)
    max_iter : int
        Iterations of the chosen start in all.
    tol : float
        Converged when the objective has risen by less than this (nats) over `PATIENCE` iterations ("viterbi"), or in
        each of the last two rounds of the ascent ("smc").
    n_particles : int
        Particles per filter in the E-step; the final likelihood uses four times as many.
    n_jobs : int, optional
        joblib jobs over starts, and over filters.
    start : Parameters, callable or None
        Starting values for all starts, or ``start(rng, circuit, counts, labels, bin_size) -> Parameters``; default as
        under `n_init`.
    smoothing : float, optional
        Standard deviation in s of the kernel that smooths spikes into a first activity. By default chosen by the data
        (`initialization.smoothed_activity`); further starts of "viterbi" then have narrower ones.
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
    watch = watch or _nobody
    observations = tuple(
        Observation.from_counts(trial, labels, K, activity[0], stimulus)
        for trial, activity, stimulus in zip(counts, activities, stimuli, strict=True)
    )
    histories = initialization.past_rates(counts, labels, K, bin_size, width)
    noise = noise_of(noise, circuit, space.n_free, bin_size, scheme, method)
    setting = starts.Setting(
        space,
        observations,
        tuple(activities),
        histories,
        bin_size,
        scheme,
        int(n_particles),
        N_TRAJECTORIES,
        n_jobs,
    )
    # `start` may be a user's function of everything that a start depends on
    draw = starts.drawing(start, space, circuit, counts, labels, bin_size)
    *children, final_rng = rng.spawn(n_init + 1)
    if method in baum_viterbi.METHODS:
        problem = baum_viterbi.Problem(
            space, observations, tuple(counts), labels, bin_size, scheme, method, width, smoothing is not None, max_iter
        )
        found = baum_viterbi.search(
            problem,
            space.pack(parameters_of(circuit)),
            draw,
            children,
            tol=tol,
            n_jobs=n_jobs,
            verbose=verbose,
            watch=watch,
        )
        return _most_probable(setting, *found, max_iter, final_rng)
    if space.n_free <= few.MOST_FREE:
        found = few.search(
            space, draw, space.pack(parameters_of(circuit)), observations, histories, bin_size=bin_size, scheme=scheme,
            noise=noise, rng=children[0], n_particles=n_particles, max_iter=max_iter, n_jobs=n_jobs, verbose=verbose,
            watch=watch,
        )  # fmt: skip
        return _posterior_mean(setting, found, noise, final_rng)
    rounds = _rounds(n_init, max_iter)
    interrupted = converged = False
    total = n_init + sum(n_starts * n_iter for n_starts, n_iter in rounds)
    competing = setting._replace(
        n_jobs=1, n_particles=max(n_particles // 2, 1), n_trajectories=N_TRAJECTORIES_PER_START
    )
    with tqdm(total=total, disable=not verbose, desc="neuLVM", unit="it") as bar:
        advance, done = Advance(bar), n_init
        # until a start has finished, what the circuit says is the best so far
        states = [starts.begin(setting, 0, space.pack(parameters_of(circuit)), children[0])]
        tasks = [
            joblib.delayed(starts.first_state)(competing, draw, start is not None, i, child, advance)
            for i, child in enumerate(children)
        ]
        try:
            for n_starts, n_iter in rounds[:-1]:
                finished = []
                go_on = (joblib.delayed(_go_on)(competing, task, n_iter, advance) for task in tasks)
                for state in run_one_by_one(go_on, n_jobs):
                    finished.append(state)
                    states = sorted([*finished, *(s for s in states if s.trace)], key=_objective, reverse=True)
                    bar.set_postfix_str(f"best of {n_starts} starts {_objective(states[0]):.1f} nats")
                    watch()
                done += len(finished) * n_iter
                advance.up_to(done)
                states = sorted(finished, key=_objective, reverse=True)[: max(n_starts // 2, 1)]
                tasks = states
            for _ in range(rounds[-1][1]):
                states[0] = _climb(setting, states[0])
                bar.update()
                bar.set_postfix_str(f"{_objective(states[0]):.1f} nats")
                watch()
                converged = _has_converged(states[0], tol)
                if converged:
                    break
        except KeyboardInterrupt:
            interrupted = True
    state = states[0]
    theta, value, error = _best(setting, state, final_rng)
    at_summit = state.landscape is not None and np.array_equal(theta, state.landscape.theta)
    parameters = space.unpack(theta)
    inferred = infer(
        parameters,
        observations,
        histories,
        bin_size=bin_size,
        scheme=scheme,
        method=method,
        n_particles=4 * n_particles,
        rng=final_rng.spawn(1)[0],
        n_jobs=n_jobs,
    )
    status = (
        "interrupted" if interrupted else "converged" if converged else f"stopped after max_iter={max_iter} iterations"
    )
    if any(trial.collapsed for trial in inferred):
        converged, status = False, f"{status}; {LOST}"
    if "J" in circuit.free and not np.any(parameters.J) and not interrupted:
        status += "; neurons without couplings explain the spikes better than any circuit that was found"
    return EMResult(
        parameters,
        histories,
        tuple(trial.n for trial in inferred),
        tuple(trial.n_std for trial in inferred),
        tuple((trial.n_lower, trial.n_upper) for trial in inferred),
        tuple(trial.n_bar for trial in inferred),
        value,
        error,
        len(state.trace),
        converged,
        status,
        state.trace,
        state.landscape if at_summit else None,
    )


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


def infer(
    parameters, observations, histories, *, bin_size, scheme, method, n_particles, rng, noise="binomial", counts=None,
    n_jobs=None,
):  # fmt: skip
    """Hidden activity of every trial at given parameters.

    Parameters
    ----------
    method : {"smc", "viterbi", "paper"}
        Posterior mean by the particle filter with a fixed lag, or the most probable trajectory.
    counts : tuple of numpy.ndarray, optional
        Counts that E-steps start from; default the filter's posterior mean.

    Returns
    -------
    list of Inferred
    """

    def one(observation, child, begin):
        filtered, error, collapsed = particles.posterior(
            parameters, observation, histories, bin_size=bin_size, rng=child, scheme=scheme, noise=noise,
            n_particles=n_particles,
        )  # fmt: skip
        known = filtered.log_increments, error, filtered.predicted, collapsed
        if method == "smc":
            return Inferred(filtered.n, filtered.n_bar, filtered.n_std, filtered.n_lower, filtered.n_upper, *known)
        n = filtered.n if begin is None else begin
        step = baum_viterbi.infer(n, parameters, observation, bin_size=bin_size, scheme=scheme, method=method)
        return Inferred(step.n, step.n_bar, None, None, None, *known)

    counts = [None] * len(observations) if counts is None else counts
    tasks = (
        joblib.delayed(one)(*task) for task in zip(observations, rng.spawn(len(observations)), counts, strict=True)
    )
    return run(tasks, n_jobs)


def _posterior_mean(setting, found, noise, rng):
    """Result of a search among few free values."""
    parameters = setting.space.unpack(found.theta)
    inferred = infer(
        parameters, setting.observations, setting.histories, bin_size=setting.bin_size, scheme=setting.scheme,
        method="smc", noise=noise, n_particles=4 * setting.n_particles, rng=rng, n_jobs=setting.n_jobs,
    )  # fmt: skip
    collapsed = any(trial.collapsed for trial in inferred)
    converged = found.converged and not found.interrupted and not collapsed
    status = (
        "interrupted" if found.interrupted
        else LOST if collapsed
        else "converged" if converged
        else "passes of the filter with free parameters disagree; raise n_particles"
    )  # fmt: skip
    return EMResult(
        parameters,
        setting.histories,
        tuple(trial.n for trial in inferred),
        tuple(trial.n_std for trial in inferred),
        tuple((trial.n_lower, trial.n_upper) for trial in inferred),
        tuple(trial.n_bar for trial in inferred),
        float(sum(trial.log_increments.sum() for trial in inferred)),
        float(np.sqrt(sum(trial.error**2 for trial in inferred))),
        len(found.trace),
        converged,
        status,
        found.trace,
        covariance=found.covariance,
        noise=noise,
    )


def _most_probable(setting, state, converged, interrupted, max_iter, rng):
    """Result of "viterbi" and "paper": their own trajectories, and log p(y | θ̂) from the particle filter."""
    parameters = setting.space.unpack(state.theta)
    settings = {"bin_size": setting.bin_size, "scheme": setting.scheme}
    value, error = particles.log_likelihood(
        parameters, state.observations, setting.histories, rng=rng, n_particles=4 * setting.n_particles, **settings
    )
    pairs = zip(state.n, state.observations, strict=True)
    n_bar = tuple(joint(parameters, n, o, gradient=False, **settings).n_bar for n, o in pairs)
    status = (
        "interrupted" if interrupted else "converged" if converged else f"stopped after max_iter={max_iter} iterations"
    )
    return EMResult(
        parameters,
        setting.histories,
        tuple(state.n),
        (None,) * len(n_bar),
        ((None, None),) * len(n_bar),
        n_bar,
        value,
        error,
        len(state.trace),
        converged,
        status,
        state.trace,
    )


def _nobody():
    """Watches."""


def _rounds(n_init, max_iter):
    """(starts, iterations) of every round: half of the starts go on until one is left, which gets what remains."""
    rounds, left, n_starts = [], max_iter, n_init
    while True:
        n_iter = min(ITERATIONS_PER_ROUND, left)
        rounds.append((n_starts, n_iter))
        left -= n_iter
        if n_starts == 1:
            break
        n_starts = max(n_starts // 2, 1)
    return [*rounds, (1, left)]


def _objective(state):
    """What is to be maximised: log p + log prior."""
    return state.trace[-1]["log_likelihood"] + state.trace[-1].get("log_prior", 0.0) if state.trace else -np.inf


def _go_on(setting, state, n_iter, advance):
    """More iterations of a state, or of a start that is still to be made (a joblib task)."""
    if not isinstance(state, starts.State):
        function, args, kwargs = state
        state = function(*args, **kwargs)
    for _ in range(n_iter):
        state = _iterate_smc(setting, state)
        advance()
    return state


def _iterate_smc(setting, state):
    logs, paths = ascent.draw_paths(setting, state.theta, state.rng, setting.n_trajectories)
    step = m_step(
        state.theta,
        setting.space,
        paths,
        bin_size=setting.bin_size,
        scheme=setting.scheme,
        max_iter=starts.M_STEP_ITERATIONS,
        n_jobs=setting.n_jobs,
    )
    value = float((np.logaddexp.reduce(logs, axis=1) - np.log(setting.n_trajectories)).sum())
    log_prior = setting.space.log_prior(state.theta)[0]
    move = step.theta - state.theta
    if len(state.trace) >= LENGTHEN_FROM:
        move = STEP_LENGTH * move + (
            MOMENTUM * state.velocity if value + log_prior > _objective(state) - NOISE else 0.0
        )
    theta = np.clip(state.theta + move, *setting.space.bounds.T)
    record = {
        "iteration": len(state.trace),
        "start": state.start,
        "log_likelihood": value,
        "log_prior": log_prior,
        "m_step_before": step.before,
        "m_step_after": step.after,
    }
    moved = theta - state.theta
    return state._replace(
        theta=theta, velocity=moved, trace=(*state.trace, record), thetas=(*state.thetas, state.theta)
    )


def _climb(setting, state):
    """One round of the ascent on log p(y | θ) + log prior, from where EM has led."""
    landscape = state.landscape
    if landscape is None:
        landscape = ascent.begin(setting, state.theta, ascent.draw_paths(setting, state.theta, state.rng)[1])
    landscape = ascent.look_around(setting, landscape, state.rng.spawn(1)[0])
    log_prior = setting.space.log_prior(landscape.theta)[0]
    record = {
        "iteration": len(state.trace),
        "start": state.start,
        "log_likelihood": landscape.value - log_prior,
        "log_prior": log_prior,
        "gain": landscape.gain,
        "gain_error": landscape.gain_error,
    }
    return state._replace(landscape=landscape, trace=(*state.trace, record))


def _has_converged(state, tol):
    if state.landscape is not None:
        gains = [record["gain"] for record in state.trace if "gain" in record]
        return len(gains) >= LEAST_ROUNDS and max(gains[-2:]) < tol
    if len(state.trace) < 2 * PATIENCE:
        return False
    values = np.array([record["log_likelihood"] for record in state.trace])
    return bool(values[-PATIENCE:].mean() - values[-2 * PATIENCE : -PATIENCE].mean() < tol)


def _best(setting, state, rng):
    """The most probable, by log p(y | θ) + log prior, of a few candidates: θ, log p and its error.

    The summit of the ascent and the last θ of EM; without an ascent also the mean of the last few (which
    averages the Monte-Carlo noise of the M-steps out) and the best one visited; and neurons without couplings, which a
    fit must not end below.
    """
    candidates = [state.theta]
    if state.landscape is not None:
        candidates.insert(0, state.landscape.theta)
    else:
        if len(state.thetas) >= 2 * PATIENCE:
            candidates.append(np.mean(state.thetas[-PATIENCE:], axis=0))
        values = [record["log_likelihood"] + record["log_prior"] for record in state.trace]
        if values and max(values) > values[-1] + NOISE:
            candidates.append(state.thetas[int(np.argmax(values))])
    candidates += starts.uncoupled(setting)

    def score(theta, child):
        return particles.log_likelihood(
            setting.space.unpack(theta),
            setting.observations,
            setting.histories,
            bin_size=setting.bin_size,
            scheme=setting.scheme,
            rng=child,
            n_particles=4 * setting.n_particles,
        )

    children = rng.spawn(len(candidates))
    tasks = (joblib.delayed(score)(*task) for task in zip(candidates, children, strict=True))
    scores = run(tasks, setting.n_jobs)
    priors = [setting.space.log_prior(theta)[0] for theta in candidates]
    best = int(np.argmax([value + prior for (value, _), prior in zip(scores, priors, strict=True)]))
    return candidates[best], *scores[best]
