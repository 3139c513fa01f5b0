"""Monte-Carlo EM: starts that compete, the best carried on, then ascent on the likelihood itself.

The E-step draws trajectories of the hidden counts from particle filters, so that the finite-size noise keeps its size.
"""

import dataclasses
from typing import NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from ..kinds import shared
from . import ascent, own_thresholds, particles, starts, structures
from .hidden_activity import MORE_PARTICLES
from .m_step import m_step
from .tasks import Advance, run, run_one_by_one

# Starts compete in rounds; after each, the worse half is given up. Iterations per round.
ITERATIONS_PER_ROUND = 5
# Trajectories per E-step, each from its own filter, so that they do not share ancestors; fewer, with half the
# particles, while starts compete.
N_TRAJECTORIES, N_TRAJECTORIES_PER_START = 4, 2
# EM converges linearly, slowed by the share of missing information, which is large here. From this iteration on its
# steps are lengthened, and keep some of the step before (heavy ball), unless the likelihood fell by more than noise.
LENGTHEN_FROM, STEP_LENGTH = 4, 1.6
MOMENTUM, NOISE = 0.6, 3.0  # NOISE in nats
# Converged when, after `LEAST_ROUNDS` of ascent, and as many after every walk along a ridge, the last two brought less
# than the tolerance each. Where there was no ascent, the θ of the last `LAST` iterations are averaged.
LEAST_ROUNDS, LAST = 3, 4


class Found(NamedTuple):
    """Where the search ended.

    Which populations are alike, θ of that structure, the observations with the excitability that was found with it,
    log p(y | θ) and its error, a record per iteration of the chosen start, the surroundings of θ if it is the summit of
    an ascent, what was found about kinds, in words, and how the search ended.
    """

    structure: structures.Structure
    theta: np.ndarray
    observations: tuple
    log_likelihood: float
    error: float
    trace: tuple
    landscape: object
    kinds: tuple
    converged: bool
    interrupted: bool


def search(setting, draw, first, rngs, *, given, max_iter, tol, rng, verbose=0, watch=lambda: None):
    """The θ with the highest log p(y | θ) + log prior that was found, less what its free values cost.

    Where populations may be of one kind, every second start gives them values of their own, the others do not. At the
    summit each kind is reconsidered: whether some EM and ascent from there find the other way better. Then the ascent
    walks along the couplings that it has seen little of, and goes on from there.

    Parameters
    ----------
    setting : starts.Setting
    draw : callable
        ``draw(rng, structure)`` returns the θ of a start.
    first : Parameters
        The best so far until a start has got anywhere.
    rngs : sequence of numpy.random.Generator
        One per start.
    given : bool
        Whether the user gave the starts, which may then stay where they are.
    max_iter : int
        Iterations of the chosen start in all.
    tol : float
        Converged when the last two rounds of the ascent brought less than this (nats) each.
    rng : numpy.random.Generator
        Of the final comparison.
    verbose : int
        1 shows a progress bar.
    watch : callable, optional
        Called after every start and every iteration of the chosen one. A KeyboardInterrupt that it raises ends the
        search.

    Returns
    -------
    Found
    """
    n_init, n_jobs = len(rngs), setting.n_jobs
    rounds = _rounds(n_init, max_iter)
    interrupted = converged = False
    among, found_kinds = structures.structures_of(setting.space, setting.observations), ()
    competing = setting._replace(
        n_jobs=1, n_particles=max(setting.n_particles // 2, 1), n_trajectories=N_TRAJECTORIES_PER_START
    )
    total = n_init + sum(n_starts * n_iter for n_starts, n_iter in rounds)
    with tqdm(total=total, disable=not verbose, desc="neuLVM", unit="it") as bar:
        advance, done = Advance(bar), n_init
        theta = among[0].space.pack(shared(first, among[0].space.circuit))
        states = [starts.begin(setting, 0, among[0], theta, rngs[0])]
        tasks = [
            joblib.delayed(starts.first_state)(competing, among[i % len(among)], draw, given, i, child, advance)
            for i, child in enumerate(rngs)
        ]
        try:
            for n_starts, n_iter in rounds[:-1]:
                finished = []
                go_on = (joblib.delayed(_go_on)(competing, task, n_iter, advance) for task in tasks)
                for state in run_one_by_one(go_on, n_jobs):
                    finished.append(state)
                    states = sorted([*finished, *(s for s in states if s.trace)], key=_objective, reverse=True)
                    bar.set_postfix_str(f"best of {n_starts} starts {_height(states[0]):.1f} nats")
                    watch()
                done += len(finished) * n_iter
                advance.up_to(done)
                states = sorted(finished, key=_objective, reverse=True)[: max(n_starts // 2, 1)]
                tasks = states
            left = rounds[-1][1]
            while left and not converged:
                states[0] = _climb(setting, states[0])
                left -= 1
                bar.update()
                bar.set_postfix_str(f"{_height(states[0]):.1f} nats")
                watch()
                converged = _has_converged(states[0], tol)
                if (converged or not left) and len(among) > 1 and not found_kinds:
                    summit = states[0]
                    states[0], found_kinds = _reconsider(setting, summit, among, rng.spawn(1)[0], bar, watch)
                    if states[0] is not summit:
                        left, converged = max(left, 2 * LEAST_ROUNDS), False
                if converged:
                    bar.set_postfix_str(f"{_height(states[0]):.1f} nats; couplings that matter little")
                    states[0], has_moved = _walk(setting, states[0])
                    if has_moved:
                        left, converged = max(left, LEAST_ROUNDS), False
                    watch()
        except KeyboardInterrupt:
            interrupted = True
    state = states[0]
    if not found_kinds:
        found_kinds = structures.unseen_in_words(state.structure, among, setting.space.circuit.names)
    theta, observations, value, error = _best(setting._replace(space=state.structure.space), state, rng)
    at_summit = state.landscape is not None and np.array_equal(theta, state.landscape.theta)
    landscape = state.landscape if at_summit else None
    return Found(
        state.structure, theta, observations, value, error, state.trace, landscape, found_kinds, converged, interrupted
    )


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
    """What is to be maximised: log p + log prior, less what the free values cost."""
    return _height(state) - state.structure.price


def _height(state):
    """log p + log prior."""
    return state.trace[-1]["log_likelihood"] + state.trace[-1].get("log_prior", 0.0) if state.trace else -np.inf


def _reconsider(setting, state, among, rng, bar, watch):
    """The better of a state and those in which one kind is taken otherwise, and what was found of each, in words."""
    found = []
    for group in among[0].together:
        structure = structures.other_way(group, state.structure, among, setting.observations)
        bar.set_postfix_str("are populations alike?")
        other = starts.restructured(state, structure)
        # EM first: the summit of one structure can be far from that of another, and a quadratic sees what is near
        for step in (_iterate,) * ITERATIONS_PER_ROUND + (_climb,) * LEAST_ROUNDS:
            other = step(setting, other)
            watch()
        # by filters at both places, because a quadratic through few points may promise too much
        gain, price = _at(setting, other, rng) - _at(setting, state, rng), structure.price - state.structure.price
        is_better, were_alike = gain > price, group in state.structure.together
        sign = 1.0 if were_alike else -1.0  # of what the other way gains, to what values of their own do
        names = setting.space.circuit.names
        found.append(structures.in_words(group, names, is_better != were_alike, sign * gain, sign * price))
        state = other if is_better else state
    return state, tuple(found)


def _at(setting, state, rng):
    """log p + log prior at the summit that a state has reached."""
    setting, theta = setting.of(state), state.landscape.theta
    ((value, _),) = _scores(setting, [(theta, state.observations)], rng)
    return value + setting.space.log_prior(theta)[0]


def _go_on(setting, state, n_iter, advance):
    """More iterations of a state, or of a start that is still to be made (a joblib task)."""
    if not isinstance(state, starts.State):
        function, args, kwargs = state
        state = function(*args, **kwargs)
    for _ in range(n_iter):
        state = _iterate(setting, state)
        advance()
    return state


def _iterate(setting, state):
    setting = setting.of(state)
    logs, paths, predicted = ascent.draw_paths(setting, state.theta, state.rng, setting.n_trajectories)
    observations = state.observations
    if observations[0].excitability is not None:
        # before θ, which is then not moved for what neurons differ in
        observations = own_thresholds.refined(observations, predicted)
        excitability = observations[0].excitability
        paths = [[(dataclasses.replace(o, excitability=excitability), n) for o, n in trial] for trial in paths]
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
        move = STEP_LENGTH * move + (MOMENTUM * state.velocity if value + log_prior > _height(state) - NOISE else 0.0)
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
        theta=theta, velocity=moved, trace=(*state.trace, record), thetas=(*state.thetas, state.theta),
        observations=observations,
    )  # fmt: skip


def _climb(setting, state):
    """One round of the ascent on log p(y | θ) + log prior, from where EM has led; the excitability is what EM found."""
    setting, landscape = setting.of(state), state.landscape
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


def _walk(setting, state):
    """The state after a walk along a coupling that rounds saw little of, and whether that has moved it."""
    setting, landscape = setting.of(state), state.landscape
    while (j := ascent.flat(setting, landscape)) is not None:
        walked = ascent.walk(setting, landscape, j, state.rng.spawn(1)[0])
        if walked.ridges[-1].moved:
            log_prior = setting.space.log_prior(landscape.theta)[0]  # the height is that before the walk
            record = {
                "iteration": len(state.trace),
                "start": state.start,
                "log_likelihood": landscape.value - log_prior,
                "log_prior": log_prior,
                "along": setting.space.names[j],
            }
            return state._replace(landscape=walked, trace=(*state.trace, record)), True
        landscape = walked
    return state._replace(landscape=landscape), False


def _has_converged(state, tol):
    last_walk = max((i for i, record in enumerate(state.trace) if "along" in record), default=0)
    gains = [record["gain"] for record in state.trace[last_walk:] if "gain" in record]
    return len(gains) >= LEAST_ROUNDS and max(gains[-2:]) < tol


def _best(setting, state, rng):
    """The most probable, by log p(y | θ) + log prior, of a few candidates: θ, observations, log p and its error.

    The summit of the ascent, and the last θ of EM if it is clearly higher; without an ascent also the mean of the last
    few (which averages the Monte-Carlo noise of the M-steps out) and the best one visited; and neurons without
    couplings, which a fit must not end below.
    """
    candidates = [state.theta]
    if state.landscape is not None:
        candidates.insert(0, state.landscape.theta)
    else:
        if len(state.thetas) >= 2 * LAST:
            candidates.append(np.mean(state.thetas[-LAST:], axis=0))
        values = [record["log_likelihood"] + record["log_prior"] for record in state.trace]
        if values and max(values) > values[-1] + NOISE:
            candidates.append(state.thetas[int(np.argmax(values))])
    candidates = [(theta, state.observations) for theta in candidates]
    candidates += [(theta, setting.observations) for theta in starts.uncoupled(setting)]

    scores = _scores(setting, candidates, rng)
    priors = [setting.space.log_prior(theta)[0] for theta, _ in candidates]
    heights = [value + prior for (value, _), prior in zip(scores, priors, strict=True)]
    if state.landscape is not None:
        heights[1] -= 2.0 * np.hypot(scores[0][1], scores[1][1])  # must be higher than the summit by more than chance
    best = int(np.argmax(heights))
    return *candidates[best], *scores[best]


def _scores(setting, candidates, rng):
    """log p and its error at every (θ, observations), by filters with more particles."""

    def score(theta, observations, child):
        return particles.log_likelihood(
            setting.space.unpack(theta),
            observations,
            setting.histories,
            bin_size=setting.bin_size,
            scheme=setting.scheme,
            rng=child,
            n_particles=MORE_PARTICLES * setting.n_particles,
        )

    children = rng.spawn(len(candidates))
    tasks = (joblib.delayed(score)(*one, child) for one, child in zip(candidates, children, strict=True))
    return run(tasks, setting.n_jobs)
