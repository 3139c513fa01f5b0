"""Where Monte-Carlo EM starts: parameters drawn at random, then brought near, and neurons without couplings beside."""

from typing import NamedTuple

import joblib
import numpy as np

from ..kinds import shared
from ..parameters import ParameterSpace, parameters_of
from . import initialization, particles
from .m_step import m_step
from .structures import Structure, moved
from .tasks import run
from .viterbi import e_step

M_STEP_ITERATIONS = 40  # of L-BFGS
VITERBI_ITERATIONS = 4  # that bring a start near


class Setting(NamedTuple):
    """What all iterations share."""

    space: ParameterSpace  # of the circuit that is given, or of the structure that is at work
    observations: tuple
    activities: tuple  # smoothed, Hz
    histories: np.ndarray
    bin_size: float
    scheme: str
    n_particles: int
    n_trajectories: int
    n_jobs: int | None

    def of(self, state):
        """The setting for a state: with the space of its structure and its observations."""
        return self._replace(space=state.structure.space, observations=state.observations)


class State(NamedTuple):
    """Where one start stands."""

    start: int
    structure: Structure  # which populations are alike
    theta: np.ndarray
    n: tuple  # counts per trial, while Baum-Viterbi iterations bring it near
    trace: tuple
    thetas: tuple  # visited
    velocity: np.ndarray  # the last step
    anchor: tuple  # weak pull of what the data do not determine towards the start, see `initialization.anchor`
    rng: np.random.Generator
    observations: tuple  # those of the setting, with what is known by now of the excitability of the neurons
    landscape: object = None  # of the ascent, once it has begun


def drawing(start, space, circuit, counts, labels, bin_size):
    """A function of a generator and a structure that draws θ, from what a user gave as `start` (see `em.fit`)."""

    def draw(rng, structure):
        if start is None:
            return structure.space.draw(rng)
        given = start(rng, circuit, counts, labels, bin_size) if callable(start) else start
        theta = space.pack(given)  # which refuses what the circuit does not allow
        return theta if structure.space is space else structure.space.pack(shared(given, structure.space.circuit))

    return draw


def begin(setting, index, structure, theta, rng):
    """The state of start number `index` at θ, before any iteration."""
    anchor = initialization.anchor(theta, structure.space)
    counts, still = first_counts(setting._replace(space=structure.space), theta), np.zeros_like(theta)
    return State(index, structure, theta, counts, (), (theta,), still, anchor, rng, setting.observations)


def first_state(setting, structure, draw, given, index, rng, advance):
    """A start: drawn, then brought near, in several ways of which the most likely one is kept.

    The recorded neurons alone, with couplings held or not, and from each a few Baum–Viterbi iterations: those reach the
    spikes from far away, where a particle filter's own trajectories would only confirm the wrong parameters. A start
    that was given may stay where it is.
    """
    setting, drawn = setting._replace(space=structure.space), draw(rng, structure)
    settings = {"bin_size": setting.bin_size, "scheme": setting.scheme}
    begun = begin(setting, index, structure, drawn, rng)._replace(thetas=())
    candidates = [drawn] if given else []
    for hold in (True, False):
        theta = initialization.start_from_recorded_neurons(
            drawn, setting.space, setting.observations, setting.activities, hold_couplings=hold, **settings
        )
        candidates.append(theta)
        state = begun._replace(theta=theta)
        for _ in range(VITERBI_ITERATIONS):
            state = iterate_viterbi(setting, state)
        candidates.append(state.theta)
    settings |= {"n_runs": 1, "n_particles": setting.n_particles}
    values = [
        particles.log_likelihood(
            setting.space.unpack(theta), setting.observations, setting.histories, rng=seed, **settings
        )[0]
        + setting.space.log_prior(theta)[0]
        for theta, seed in zip(candidates, rng.spawn(len(candidates)), strict=True)
    ]
    advance()
    return begun._replace(theta=candidates[int(np.argmax(values))])


def restructured(state, structure):
    """A state before it climbs, at the place of another one, with other populations alike."""
    theta = state.theta if state.landscape is None else state.landscape.theta
    theta = moved(theta, state.structure, structure)
    anchor = initialization.anchor(theta, structure.space)
    return state._replace(
        structure=structure, theta=theta, thetas=(), velocity=np.zeros_like(theta), anchor=anchor, landscape=None
    )


def first_counts(setting, theta):
    n_neurons = np.asarray(setting.space.unpack(theta).n_neurons)
    return tuple(activity * n_neurons * setting.bin_size for activity in setting.activities)


def iterate_viterbi(setting, state):
    settings = {"bin_size": setting.bin_size, "scheme": setting.scheme}
    parameters = setting.space.unpack(state.theta)
    tasks = (
        joblib.delayed(e_step)(n, parameters, o, density="noise", **settings)
        for n, o in zip(state.n, setting.observations, strict=True)
    )
    e_steps = run(tasks, setting.n_jobs)
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


def uncoupled(setting):
    """[θ] of the most probable neurons that do not feel each other; [] where couplings are not free to vanish."""
    space = setting.space
    parameters = parameters_of(space.circuit)
    theta = space.pack(parameters._replace(J=np.zeros_like(parameters.J)))
    theta = np.clip(theta, space.bounds[:, 0], space.bounds[:, 1])
    if np.any(space.unpack(theta).J):
        return []
    anchor = initialization.anchor(theta, space)
    anchor[1][theta == 0.0] = 1e-6  # mV: they stay away
    counts = first_counts(setting, theta)
    trajectories = [[(observation, n)] for observation, n in zip(setting.observations, counts, strict=True)]
    step = m_step(
        theta, space, trajectories, bin_size=setting.bin_size, scheme=setting.scheme, parts="a", anchor=anchor
    )
    best = space.unpack(step.theta)
    return [space.pack(best._replace(J=np.zeros_like(best.J)))]
