"""Baum–Viterbi: the most probable activity and parameters together, by annealing; and the paper's way of seeking them.

``"viterbi"`` climbs along counts, parameters and past activity at once (`viterbi.joint_step`) while part b cools from a
temperature at which the activity follows the recorded neurons to 1, at which it follows the model. ``"paper"`` is the
algorithm of Wang et al. (2022, App. C) with the settings of their Table S5, for comparison.
"""

import logging
from dataclasses import replace
from typing import NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from .. import discretization
from . import initialization, paper
from .tasks import Advance, run_one_by_one
from .viterbi import e_step, joint_step

log = logging.getLogger(__name__)

METHODS = ("viterbi", "paper")
# Temperatures of part b, one per iteration, then 1 for good. At the first, ten standard deviations of the finite-size
# noise cost as much as one does in the end.
TEMPERATURES = (100.0, 30.0, 10.0, 3.0, 1.0)
STEPS_PER_ITERATION = 60  # of L-BFGS
# Every start has a smoothing of its own: ever narrower kernels by this factor, then the one chosen by the data, and so
# on again after so many. The data choose wide kernels where few neurons were recorded; narrow ones keep synchrony.
NARROWER, N_WIDTHS = 3.0, 4
PAST = 0.1  # s at the start of a trial whose mean activity is the first guess of the activity before
# Neurons are held one by one for this many times the longest interval of a recorded one (and their free successors in
# three sums): few survive it.
LONGEST_INTERVALS = 2.0


class Problem(NamedTuple):
    """What all starts share."""

    space: object  # ParameterSpace
    observations: tuple
    counts: tuple  # recorded, (n_bins, n_observed) per trial
    labels: np.ndarray
    bin_size: float
    scheme: str
    method: str
    width: float  # of the smoothing, s
    width_given: bool
    max_iter: int


class State(NamedTuple):
    """Where one start stands."""

    theta: np.ndarray
    n: tuple  # counts per trial
    observations: tuple  # with their past activity
    trace: tuple


class _Start(NamedTuple):
    """What one start keeps to: the anchor of θ, the medians of the past activity, and the ages tracked one by one."""

    anchor: tuple
    rates: np.ndarray
    window: np.ndarray


def search(problem, first, draw, rngs, *, tol, n_jobs=None, verbose=0, watch=lambda: None):
    """The start that ends with the highest joint objective, carried on until it has converged.

    Parameters
    ----------
    problem : Problem
    first : numpy.ndarray, shape (n_free,)
        θ that is the best so far until a start has got anywhere.
    draw : callable
        ``draw(rng)`` returns the θ of a start.
    rngs : sequence of numpy.random.Generator
        One per start.
    tol : float
        Converged when an iteration at temperature 1 raises the objective by less than this (nats).
    n_jobs : int, optional
        joblib jobs over starts.
    verbose : int

    Returns
    -------
    state : State
    converged, interrupted : bool
    """
    latest = {}  # filled by the starts themselves where they run in this process, so that nothing is lost by Ctrl-C
    with tqdm(total=len(rngs) * problem.max_iter, disable=not verbose, desc="neuLVM", unit="it") as bar:
        advance = Advance(bar)

        def one(index, rng):
            done = False
            for start, state in _iterations(problem, index, draw(rng)):
                latest[index] = (start, state)
                advance()
                done = _has_converged(state.trace, tol)
                if done or (problem.method == "viterbi" and len(state.trace) == len(_ladder(problem.max_iter))):
                    break
            return start, state, done

        converged = interrupted = False
        try:
            found, starts = [], (joblib.delayed(one)(index, rng) for index, rng in enumerate(rngs))
            for result in run_one_by_one(starts, n_jobs):
                latest[len(found)] = result[:2]
                found.append(result)
                watch()
            best = max(range(len(found)), key=lambda i: _objective(found[i][1]))
            start, state, converged = found[best]
            latest = {best: (start, state)}
            bar.set_postfix_str(f"best of {len(rngs)} starts {_objective(state):.1f} nats")
            while problem.method == "viterbi" and not converged and len(state.trace) < problem.max_iter:
                state = _iterate(problem, start, state, best)
                latest = {best: (start, state)}
                bar.update()
                watch()
                converged = _has_converged(state.trace, tol)
        except KeyboardInterrupt:
            interrupted, converged = True, False
    if not latest:
        return State(first, _smoothed(problem, problem.width)[0], problem.observations, ()), False, interrupted
    return max((state for _, state in latest.values()), key=_objective), bool(converged), interrupted


def infer(n, parameters, observation, *, bin_size, scheme, method):
    """Most probable counts of one trial at given parameters: E-steps that cool, or the paper's.

    Parameters
    ----------
    n : numpy.ndarray, shape (n_bins, K)
        Start.

    Returns
    -------
    viterbi.EStep
    """
    if method == "paper":
        return paper.e_step(n, parameters, observation, bin_size=bin_size, scheme=scheme)
    for temperature in TEMPERATURES:
        step = e_step(n, parameters, observation, bin_size=bin_size, scheme=scheme, temperature=temperature)
        n = step.n
    return step


def _iterations(problem, index, theta):
    """(start, state) after every iteration of a start."""
    narrower = 1.0 if problem.width_given else NARROWER ** ((index + 1) % N_WIDTHS)
    n, activities = _smoothed(problem, max(problem.width / narrower, problem.bin_size))
    settings = {"bin_size": problem.bin_size, "scheme": problem.scheme}
    n_first = max(int(round(PAST / problem.bin_size)), 1)
    rates = np.array([activity[:n_first].mean(axis=0) for activity in activities])
    pasts = [np.tile(rate, (1 + _varying_bins(problem, index), 1)) for rate in rates]
    observations = tuple(replace(o, history_rate=past) for o, past in zip(problem.observations, pasts, strict=True))
    start = _Start(initialization.anchor(theta, problem.space), rates, None)
    if problem.method == "viterbi":
        # the recorded neurons alone; θ first, because far from the truth the past says nothing about it
        theta = initialization.start_from_recorded_neurons(theta, problem.space, observations, activities, **settings)
        start = start._replace(window=_window(problem, theta))
        theta, n, observations, *_ = joint_step(
            theta, n, problem.space, observations, temperature=np.inf, hold_counts=True, **start._asdict(), **settings
        )
    state = State(theta, n, observations, ())
    for _ in range(problem.max_iter):
        state = _iterate(problem, start, state, index)
        yield start, state


def _iterate(problem, start, state, index):
    settings = {"bin_size": problem.bin_size, "scheme": problem.scheme}
    record = {"iteration": len(state.trace), "start": index}
    if problem.method == "paper":
        theta, n, steps = paper.iterate(
            state.theta, state.n, problem.space, state.observations, first=not state.trace, **settings
        )
        record |= {"log_likelihood": steps["m_step_after"], **steps}
        return State(theta, n, state.observations, (*state.trace, record))
    ladder = _ladder(problem.max_iter)
    temperature = ladder[min(len(state.trace), len(ladder) - 1)]
    step = joint_step(
        state.theta, state.n, problem.space, state.observations, **start._asdict(),
        temperature=temperature, max_iter=STEPS_PER_ITERATION, **settings,
    )  # fmt: skip
    at_one = step if temperature == 1.0 else joint_step(
        step.theta, step.n, problem.space, step.observations, **start._asdict(), max_iter=0, **settings,
    )  # fmt: skip
    record |= {
        "log_likelihood": at_one.after, "temperature": temperature, "m_step_before": step.before,
        "m_step_after": step.after,
    }  # fmt: skip
    return State(step.theta, step.n, step.observations, (*state.trace, record))


def _ladder(max_iter):
    """Temperatures of the first iterations; a fit of few iterations takes larger steps."""
    if max_iter >= len(TEMPERATURES):
        return TEMPERATURES
    return tuple(np.geomspace(TEMPERATURES[0], 1.0, max_iter)) if max_iter > 1 else (1.0,)


def _has_converged(trace, tol):
    """Whether the last of two iterations with the same objective raised it by less than the tolerance."""
    if len(trace) < 2 or any(record.get("temperature", 1.0) != 1.0 for record in trace[-2:]):
        return False
    return trace[-1]["log_likelihood"] - trace[-2]["log_likelihood"] < tol


def _objective(state):
    return state.trace[-1]["log_likelihood"]


def _smoothed(problem, width):
    """Counts and activities (Hz) per trial from smoothed spikes."""
    size = np.asarray(problem.space.circuit.n_neurons, dtype=float)
    activities, _ = initialization.smoothed_activity(
        problem.counts, problem.labels, len(size), problem.bin_size, width=width
    )
    return tuple(activity * size * problem.bin_size for activity in activities), activities


def _window(problem, theta):
    step = discretization.discretize(problem.space.unpack(theta), problem.bin_size, problem.scheme)
    longest = _longest_interval(problem)
    lanes = discretization.LANES
    enough = step.refractory_bins + 1 + lanes * int(np.ceil(LONGEST_INTERVALS * longest / lanes))
    whole = discretization.age_windows(step)
    return np.minimum(whole, enough) if longest else whole


def _varying_bins(problem, index):
    """Bins of the past that a start holds one by one: every second start, as long as a recorded neuron was silent."""
    return _longest_interval(problem) if problem.method == "viterbi" and index % 2 else 0


def _longest_interval(problem):
    """Bins between two spikes of a recorded neuron, at most; 0 if none fired twice."""
    intervals = (np.diff(times).max() for o in problem.observations for times in o.spikes if times.size > 1)
    return int(max(intervals, default=0))
