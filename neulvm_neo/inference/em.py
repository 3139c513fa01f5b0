"""The EM loop: several starts, the best of them carried on until its likelihood stops rising."""

import dataclasses
import logging
from dataclasses import dataclass
from typing import NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from .. import discretization
from ..likelihood import Observation
from ..parameters import ParameterSpace, parameters_of
from . import initialization, particles
from .m_step import m_step
from .viterbi import e_step

log = logging.getLogger(__name__)

METHODS = ("smc", "viterbi")
# Iterations that every start gets before the best goes on alone, and L-BFGS iterations per M-step.
ITERATIONS_PER_START = 5
M_STEP_ITERATIONS = 40
# Trajectories per E-step of "smc", each from its own filter, so that they do not share ancestors; fewer, with half the
# particles, while starts compete.
N_TRAJECTORIES, N_TRAJECTORIES_PER_START = 4, 2
# Ages tracked by the filters of the E-step, in membrane time constants: n̄ is off by about 0.3 %, far below the finite-
# size noise, at 0.6 of the cost.
E_STEP_WINDOW = 6.0
# From this iteration on an EM step is lengthened: EM converges linearly, slowed by the share of missing information,
# which is large here.
LENGTHEN_FROM, STEP_LENGTH = 4, 1.6
# The loop has converged when the mean of the last `PATIENCE` objectives exceeds that of the `PATIENCE` before by less
# than the tolerance.
PATIENCE = 4
N_HISTORIES = 256


class Inferred(NamedTuple):
    """Hidden activity of one trial.

    Counts n, their standard deviation, expected counts n̄, all (n_bins, K), and log p(y_t | y_<t) (n_bins,).
    """

    n: np.ndarray
    n_std: np.ndarray | None
    n_bar: np.ndarray
    log_increments: np.ndarray


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
    log_likelihood, log_likelihood_error : float
        log p(y | θ̂) from the particle filter and its standard error, in nats, whatever the method.
    n_iter : int
        Iterations of the chosen start.
    converged : bool
    status : str
    trace : tuple of dict
        Per iteration of the chosen start: ``iteration``, ``start``, ``log_likelihood`` (filter's estimate of log p(y |
        θ) before the step for "smc"; joint log p(y, n̂ | θ) for "viterbi") and the objectives of its steps.
    """

    parameters: object
    histories: np.ndarray
    n: tuple
    n_std: tuple
    n_bar: tuple
    log_likelihood: float
    log_likelihood_error: float
    n_iter: int
    converged: bool
    status: str
    trace: tuple


class _Setting(NamedTuple):
    """What all iterations share."""

    space: ParameterSpace
    observations: tuple
    activities: tuple  # smoothed, Hz
    histories: np.ndarray
    bin_size: float
    scheme: str
    method: str
    n_particles: int
    n_trajectories: int
    n_jobs: int | None


class _State(NamedTuple):
    """Where one start stands."""

    start: int
    theta: np.ndarray
    n: tuple  # "viterbi": current counts per trial
    trace: tuple
    thetas: tuple  # visited
    anchor: tuple  # weak pull of what the data do not determine towards the start, see `initialization.anchor`
    rng: np.random.Generator


def fit(
    circuit,
    counts,
    labels,
    *,
    bin_size,
    rng,
    scheme="exponential",
    method="smc",
    stimuli=None,
    n_init=4,
    max_iter=25,
    tol=1.0,
    n_particles=200,
    n_jobs=None,
    start=None,
    verbose=0,
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
    scheme : {"exponential", "euler"}
    method : {"smc", "viterbi"}
        ``"smc"``: Monte-Carlo EM; the E-step draws trajectories of the hidden counts from particle filters, so that the
        finite-size noise keeps its size. ``"viterbi"``: the paper's Baum–Viterbi algorithm (one most probable
        trajectory; hard-EM bias) with the noise-space E-step.
    stimuli : list of numpy.ndarray, shape (n_bins, K), mV, optional
    n_init : int
        Starts, each drawn from 0.4 to 2 times the circuit's values and brought near by part a of the likelihood. Every
        start gets `ITERATIONS_PER_START` iterations, then the best by log p(y | θ) goes on.
    max_iter : int
        Iterations of the chosen start in all.
    tol : float
        Converged when the objective has risen by less than this (nats) over `PATIENCE` iterations.
    n_particles : int
        Particles per filter in the E-step; the final likelihood uses four times as many.
    n_jobs : int, optional
        joblib jobs over starts, and over filters.
    start : Parameters, callable or None
        Starting values for all starts, or ``start(rng, circuit, counts, labels, bin_size) -> Parameters``; default as
        under `n_init`.
    verbose : int
        1 shows a progress bar.

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
    activities, width = initialization.smoothed_activity(counts, labels, K, bin_size)
    log.info("smoothed activity: Gaussian kernel of %g ms, chosen by leave-one-out likelihood", 1e3 * width)
    stimuli = [None] * len(counts) if stimuli is None else stimuli
    observations = tuple(
        Observation.from_counts(trial, labels, K, activity[0], stimulus)
        for trial, activity, stimulus in zip(counts, activities, stimuli, strict=True)
    )
    stacked = np.concatenate(activities)
    histories = stacked[np.unique(np.linspace(0, len(stacked) - 1, N_HISTORIES).astype(int))]
    setting = _Setting(
        space,
        observations,
        tuple(activities),
        histories,
        bin_size,
        scheme,
        method,
        int(n_particles),
        N_TRAJECTORIES,
        n_jobs,
    )
    # `start` may be a user's function of everything that a start depends on
    draw = _drawing(start, space, circuit, counts, labels, bin_size)
    *children, final_rng = rng.spawn(n_init + 1)
    warm_up = min(ITERATIONS_PER_START, max_iter)
    total = n_init * (warm_up + 1) + max(max_iter - warm_up, 0)
    interrupted = False
    with tqdm(total=total, disable=not verbose, desc="neuLVM", unit="it") as bar:
        states = []
        inner = setting._replace(
            n_jobs=1, n_particles=max(n_particles // 2, 1), n_trajectories=N_TRAJECTORIES_PER_START
        )
        run = joblib.Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
        try:
            for state in run(
                joblib.delayed(_warm_up)(inner, draw, i, child, warm_up, bar.update) for i, child in enumerate(children)
            ):
                states.append(state)
                bar.set_postfix_str(f"start {state.start + 1}/{n_init}: {state.trace[-1]['log_likelihood']:.1f} nats")
        except KeyboardInterrupt:
            interrupted = True
            if not states:  # nothing finished yet: what the circuit says is the best so far
                theta = space.pack(parameters_of(circuit))
                states.append(
                    _State(
                        0,
                        theta,
                        _first_counts(setting, theta),
                        (),
                        (theta,),
                        initialization.anchor(theta, space),
                        children[0],
                    )
                )
        state = max(states, key=lambda s: s.trace[-1]["log_likelihood"] if s.trace else -np.inf)
        converged = _has_converged(state.trace, tol)
        try:
            while not (interrupted or converged) and len(state.trace) < max_iter:
                state = _iterate(setting, state)
                converged = _has_converged(state.trace, tol)
                bar.update()
                bar.set_postfix_str(f"{state.trace[-1]['log_likelihood']:.1f} nats")
        except KeyboardInterrupt:
            interrupted = True
    theta, value, error = _best(setting, state, final_rng)
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
        starts=state.n if method == "viterbi" else None,
        n_jobs=n_jobs,
    )
    status = (
        "interrupted" if interrupted else "converged" if converged else f"stopped after max_iter={max_iter} iterations"
    )
    return EMResult(
        parameters,
        histories,
        tuple(trial.n for trial in inferred),
        tuple(trial.n_std for trial in inferred),
        tuple(trial.n_bar for trial in inferred),
        value,
        error,
        len(state.trace),
        converged,
        status,
        state.trace,
    )


def infer(parameters, observations, histories, *, bin_size, scheme, method, n_particles, rng, starts=None, n_jobs=None):
    """Hidden activity of every trial at given parameters.

    Parameters
    ----------
    method : {"smc", "viterbi"}
        Posterior mean by the particle filter with a fixed lag, or the most probable trajectory in noise space.
    starts : tuple of numpy.ndarray, optional
        Counts that "viterbi" starts from; default the filter's posterior mean.

    Returns
    -------
    list of Inferred
    """

    def one(observation, child, begin):
        filtered = particles.particle_filter(
            parameters, observation, histories, bin_size=bin_size, rng=child, scheme=scheme, n_particles=n_particles
        )
        if method == "smc":
            return Inferred(filtered.n, filtered.n_std, filtered.n_bar, filtered.log_increments)
        step = e_step(filtered.n if begin is None else begin, parameters, observation, bin_size=bin_size, scheme=scheme)
        return Inferred(step.n, None, step.n_bar, filtered.log_increments)

    starts = [None] * len(observations) if starts is None else starts
    tasks = (
        joblib.delayed(one)(*task) for task in zip(observations, rng.spawn(len(observations)), starts, strict=True)
    )
    return joblib.Parallel(n_jobs=n_jobs, prefer="threads")(tasks)


def _drawing(start, space, circuit, counts, labels, bin_size):
    if start is None:
        return space.draw
    if callable(start):
        return lambda rng: space.pack(start(rng, circuit, counts, labels, bin_size))
    return lambda rng: space.pack(start)


def _warm_up(setting, draw, index, rng, n_iter, advance):
    """A start and its first iterations."""
    drawn = draw(rng)
    # Part a ignores whether the network can produce the activity at all; where that goes wrong, asking for both is
    # better.
    settings = {"bin_size": setting.bin_size, "scheme": setting.scheme}
    candidates = [
        initialization.start_from_recorded_neurons(
            drawn, setting.space, setting.observations, setting.activities, parts=parts, **settings
        )
        for parts in ("a", "ab")
    ]
    seeds = rng.spawn(len(candidates))
    values = [
        particles.log_likelihood(
            setting.space.unpack(x),
            setting.observations,
            setting.histories,
            bin_size=setting.bin_size,
            scheme=setting.scheme,
            rng=seed,
            n_runs=1,
            n_particles=setting.n_particles,
        )[0]
        for x, seed in zip(candidates, seeds, strict=True)
    ]
    theta = candidates[int(np.argmax(values))]
    state = _State(
        index, theta, _first_counts(setting, theta), (), (), initialization.anchor(drawn, setting.space), rng
    )
    advance()
    for _ in range(n_iter):
        state = _iterate(setting, state)
        advance()
    return state


def _first_counts(setting, theta):
    n_neurons = np.asarray(setting.space.unpack(theta).n_neurons)
    return tuple(activity * n_neurons * setting.bin_size for activity in setting.activities)


def _iterate(setting, state):
    """One EM iteration."""
    return (_iterate_smc if setting.method == "smc" else _iterate_viterbi)(setting, state)


def _iterate_smc(setting, state):
    space = setting.space
    parameters = space.unpack(state.theta)
    n_trajectories = setting.n_trajectories
    window = discretization.age_window(
        discretization.discretize(parameters, setting.bin_size, setting.scheme), E_STEP_WINDOW
    )

    def draw(observation, child):
        result = particles.particle_filter(
            parameters,
            observation,
            setting.histories,
            bin_size=setting.bin_size,
            scheme=setting.scheme,
            rng=child,
            n_particles=setting.n_particles,
            n_paths=1,
            window=window,
        )
        history = setting.histories[result.path_histories[0]]
        return result.log_likelihood, (dataclasses.replace(observation, history_rate=history), result.paths[0])

    n_trials = len(setting.observations)
    children = state.rng.spawn(n_trials * n_trajectories)
    tasks = (joblib.delayed(draw)(setting.observations[i // n_trajectories], child) for i, child in enumerate(children))
    drawn = joblib.Parallel(n_jobs=setting.n_jobs, prefer="threads")(tasks)
    logs = np.array([value for value, _ in drawn]).reshape(n_trials, n_trajectories)
    trajectories = [[path for _, path in drawn[i * n_trajectories : (i + 1) * n_trajectories]] for i in range(n_trials)]
    step = m_step(
        state.theta,
        space,
        trajectories,
        bin_size=setting.bin_size,
        scheme=setting.scheme,
        anchor=state.anchor,
        max_iter=M_STEP_ITERATIONS,
        n_jobs=setting.n_jobs,
    )
    length = STEP_LENGTH if len(state.trace) >= LENGTHEN_FROM else 1.0
    theta = np.clip(state.theta + length * (step.theta - state.theta), space.bounds[:, 0], space.bounds[:, 1])
    record = {
        "iteration": len(state.trace),
        "start": state.start,
        "log_likelihood": float((np.logaddexp.reduce(logs, axis=1) - np.log(n_trajectories)).sum()),
        "m_step_before": step.before,
        "m_step_after": step.after,
    }
    return state._replace(theta=theta, trace=(*state.trace, record), thetas=(*state.thetas, state.theta))


def _iterate_viterbi(setting, state):
    settings = {"bin_size": setting.bin_size, "scheme": setting.scheme}
    parameters = setting.space.unpack(state.theta)
    tasks = (
        joblib.delayed(e_step)(n, parameters, o, **settings) for n, o in zip(state.n, setting.observations, strict=True)
    )
    e_steps = joblib.Parallel(n_jobs=setting.n_jobs, prefer="threads")(tasks)
    counts = tuple(step.n for step in e_steps)
    trajectories = [[(observation, n)] for observation, n in zip(setting.observations, counts, strict=True)]
    # the Gaussian density here, with its log term and for counts that are not whole numbers, as in the paper
    step = m_step(
        state.theta,
        setting.space,
        trajectories,
        density="gaussian",
        anchor=state.anchor,
        max_iter=M_STEP_ITERATIONS,
        **settings,
    )
    record = {
        "iteration": len(state.trace),
        "start": state.start,
        "log_likelihood": step.after,
        "e_step_before": sum(s.before for s in e_steps),
        "e_step_after": sum(s.after for s in e_steps),
        "m_step_before": step.before,
        "m_step_after": step.after,
    }
    return state._replace(theta=step.theta, n=counts, trace=(*state.trace, record), thetas=(*state.thetas, state.theta))


def _has_converged(trace, tol):
    if len(trace) < 2 * PATIENCE:
        return False
    values = np.array([record["log_likelihood"] for record in trace])
    return bool(values[-PATIENCE:].mean() - values[-2 * PATIENCE : -PATIENCE].mean() < tol)


def _best(setting, state, rng):
    """The better, by log p(y | θ), of the last θ and the mean of the last few ("smc".

    The mean averages the Monte-Carlo noise of the M-steps out).
    """
    candidates = [state.theta]
    if setting.method == "smc" and len(state.thetas) >= 2 * PATIENCE:
        candidates.append(np.mean(state.thetas[-PATIENCE:], axis=0))

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
    scores = joblib.Parallel(n_jobs=setting.n_jobs, prefer="threads")(
        joblib.delayed(score)(*task) for task in zip(candidates, children, strict=True)
    )
    best = int(np.argmax([value for value, _ in scores]))
    return candidates[best], *scores[best]
