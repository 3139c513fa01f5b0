"""Climb to the maximum of the marginal likelihood p(y | θ): steps on a quadratic through particle filters' estimates.

EM never sees the function that it maximises, and slows down where little is observed. Here every filter gives two noisy
views of log p(y | θ) at its own θ: the estimate itself, and by Fisher's identity [1]_ the gradient of log p(y, n | θ)
along a path n that it drew. Directions that the data determine well show in the gradients, the others in the values.
Points come in pairs about the current θ, spread as widely as the likelihood is, and all of them, old and new, enter one
quadratic (`surrogate`), whose maximum is the next θ. Its curvature is the observed information. All that happens in
coordinates φ that straighten the ridges of the likelihood (`coordinates`).

Rounds explore what is worth a few nats if the activity were known, and see nothing of a ridge that is flat far beyond.
The coupling of a source whose activity hardly varies is one: it and the resting potentials shift potentials alike, so
that it may change twofold for a nat or two. EM and rounds creep along it, and stop where they happen to be; so there is
a `walk` along such couplings by themselves.

.. [1] Cappé, Moulines, Rydén, Inference in Hidden Markov Models, Springer 2005, section 10.1.
"""

import copy
import dataclasses
from typing import NamedTuple

import joblib
import numpy as np

from ..likelihood import joint
from .coordinates import DriveCoordinates
from .m_step import curvature, m_step
from .particles import particle_filter
from .surrogate import fit_quadratic, maximise_in_box, positive
from .tasks import run

# A step is taken no further than where the quadratic predicts a gain of half this squared (nats).
LARGEST_STEP = 4.0
PARTS = 0.5 ** np.arange(8)  # of a step along the edge of the box that are looked at
# Directions in which the data say less than this, relative to what they would say if the activity were known, are
# explored as if they said as much.
LEAST_CURVATURE = 0.05
# A coupling along which they say less than FLAT, mean drives held, may be a ridge that goes on a hundred times as far
# as a round explores. It is walked along by itself, in steps that double until the likelihood has fallen by so many
# nats, with more particles, because all depends on differences of a nat. The first step is so many times as far as a
# round explores. A walk takes as long as several rounds: so many along one coupling, and so many in all.
FLAT, FALLEN, FIRST_STEP, MOST_DOUBLINGS, MORE_PARTICLES = 0.3, 3.0, 2.0, 10, 5
MOST_WALKS, MOST_WALKS_IN_ALL, N_GRID = 2, 6, 2001
# Stretches of time (s), and at least how many, whose shares in the log-likelihood are kept apart.
BLOCK, LEAST_BLOCKS = 0.25, 20
# Points per round: at least these, and this many more than free values.
LEAST_POINTS, MORE_POINTS = 8, 4
N_PATHS = 4  # from which full observation's curvature is taken


class Problem(NamedTuple):
    """What a likelihood is of, and how it is estimated."""

    space: object  # ParameterSpace
    observations: tuple
    histories: np.ndarray
    bin_size: float
    scheme: str
    n_particles: int
    n_jobs: int | None


class Point(NamedTuple):
    """log p(y | θ) + log prior at one θ, and its gradient, both noisy; blocks: its share from every stretch of time."""

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    blocks: np.ndarray  # without the prior


class Ridge(NamedTuple):
    """What the last walk along a coordinate of φ has shown."""

    coordinate: int
    width: float  # s.d. of the likelihood along it; 0 if it was too narrow to be walked on
    moved: float
    n_walks: int


class Landscape(NamedTuple):
    """The surroundings of a maximum of log p(y | θ) + log prior, as far as they are known."""

    theta: np.ndarray  # the maximiser
    value: float  # there
    gain: float  # that the last step to it was worth, in nats, according to the quadratic
    gain_error: float  # how much of that is chance
    curvature: np.ndarray  # of -(log p + log prior), in units of `unit`
    error: np.ndarray  # covariance of the maximiser by chance of the filters, in units of `unit`
    value_sd: float  # of one estimate of log p
    unit: np.ndarray  # columns: steps of φ in which the curvature would be 1 if the activity were known
    coordinates: DriveCoordinates  # φ of θ
    points: tuple
    weights: np.ndarray  # of the points in the quadratic, 1 at the top
    ridges: tuple = ()  # `Ridge` of every coordinate that was walked along


def begin(problem, theta, paths, *, density="others"):
    """A landscape without points: the maximum over θ at given paths, and its curvature, that of full observation.

    Parameters
    ----------
    problem : Problem
    theta : numpy.ndarray
    paths : list of list of (Observation, n)
        Per trial, as for `m_step`.
    """
    settings = {"bin_size": problem.bin_size, "scheme": problem.scheme, "density": density, "n_jobs": problem.n_jobs}
    top = m_step(theta, problem.space, paths, **settings).theta
    coordinates = DriveCoordinates(problem.space, problem.histories.mean(axis=0))
    # at a maximum, where gradients vanish, second derivatives follow the coordinates like a matrix
    back = np.linalg.inv(coordinates.slope(top))
    unit = _units_of(back.T @ curvature(top, problem.space, paths, **settings) @ back)
    d = len(theta)
    return Landscape(
        top, -np.inf, np.inf, np.inf, np.eye(d), np.zeros((d, d)), np.nan, unit, coordinates, (), np.zeros(0)
    )


def look_around(problem, landscape, rng, n_points=None):
    """Filters at new points about the maximum, then the maximum of the quadratic through all points so far.

    Parameters
    ----------
    problem : Problem
    landscape : Landscape
    rng : numpy.random.Generator
        Its children serve the points, so that the result does not depend on `problem.n_jobs`.
    n_points : int, optional

    Returns
    -------
    Landscape
    """
    if n_points is None:
        n_points = max(LEAST_POINTS, problem.space.n_free + MORE_POINTS)
    thetas, seeds = _pairs_about(problem.space, landscape, n_points, rng)
    points = (joblib.delayed(evaluate)(problem, theta, seed) for theta, seed in zip(thetas, seeds, strict=True))
    new = run(points, problem.n_jobs)
    good = (p for p in new if np.isfinite(p.value) and np.all(np.isfinite(p.gradient)))
    return settle(problem.space, landscape._replace(points=(*landscape.points, *good)))


def flat(problem, landscape):
    """A coupling, by its coordinate of φ, that rounds say little about and that is (still) to be walked along, or None.

    Where a walk went far, what it had held may be worth moving, and then the walk worth repeating.
    """
    to = np.linalg.inv(landscape.unit)
    share = np.diag(to.T @ landscape.curvature @ to) / np.sum(to**2, axis=0)
    done = {r.coordinate for r in landscape.ridges if 2 * r.moved < r.width or r.width == 0 or r.n_walks >= MOST_WALKS}
    left = [i for i, name in enumerate(problem.space.fields) if name == "J" and i not in done and share[i] < FLAT]
    tired = sum(ridge.n_walks for ridge in landscape.ridges) >= MOST_WALKS_IN_ALL
    return None if tired else min(left, key=lambda i: share[i], default=None)


def walk(problem, landscape, j, rng):
    """Go along coordinate j of φ, both ways, and then to the middle of where the likelihood is high.

    Parameters
    ----------
    problem : Problem
    landscape : Landscape
    j : int
    rng : numpy.random.Generator
        The same random numbers serve all points.

    Returns
    -------
    Landscape
        With another `theta`, and what was seen among its `ridges`.
    """
    of, (low, high) = landscape.coordinates, problem.space.bounds.T
    centre, axis = of.straight(landscape.theta), np.eye(problem.space.n_free)[j]
    precise = problem._replace(n_particles=MORE_PARTICLES * problem.n_particles)
    explored = 1.0 / np.sqrt(LEAST_CURVATURE * np.sum(np.linalg.inv(landscape.unit)[:, j] ** 2))
    steps, seen = [0.0, -FIRST_STEP * explored, FIRST_STEP * explored], {}
    for _ in range(MOST_DOUBLINGS):
        steps = np.clip(steps, low[j] - centre[j], high[j] - centre[j]).tolist()
        thetas = {x: of.bent(centre + x * axis) for x in steps if x not in seen}
        inside = {x: np.clip(theta, low, high) for x, theta in thetas.items()}
        thetas = {x: theta for x, theta in inside.items() if np.allclose(theta, thetas[x], rtol=0.0, atol=1e-9)}
        if not thetas:
            break
        tasks = [joblib.delayed(evaluate)(precise, theta, copy.deepcopy(rng)) for theta in thetas.values()]
        values = (point.value for point in run(tasks, problem.n_jobs))
        new = {x: value for x, value in zip(thetas, values, strict=True) if np.isfinite(value)}
        seen |= new
        top = max(seen.values(), default=-np.inf)
        # one low value may be chance: the one before must have fallen, too, unless it is very low
        last = {x: max(value, seen.get(x / 2, top)) for x, value in new.items()}
        steps = [2 * x for x, value in new.items() if x and value > top - 3 * FALLEN and last[x] > top - FALLEN]
    best, width = _middle(centre[j], np.array(list(seen)), np.array(list(seen.values()))) if seen else (0.0, 0.0)
    before = [ridge for ridge in landscape.ridges if ridge.coordinate == j]
    ridge = Ridge(j, width, abs(best), 1 + (before[0].n_walks if before else 0))
    others = (ridge for ridge in landscape.ridges if ridge.coordinate != j)
    theta = of.bent(centre + best * axis) if best else landscape.theta
    return landscape._replace(theta=theta, ridges=(*others, ridge))


def _middle(coupling, steps, values):
    """How far from a coupling the middle of a likelihood is, and its s.d., both in mV; 0, 0 if few are near the top.

    The logarithm of the likelihood is straight between the noisy values. A mean, because where values differ by no more
    than their noise their highest could be anywhere. Where the sign of J is clear, it is the mean of ln |J|: what is
    known of a coupling is a factor, and in mV the likelihood has its longer tail towards strong couplings. Where it is
    Gaussian in ln |J| with s.d. σ, the mean of J is too strong by 3 σ² / 2 in ln |J|. Couplings that the likelihood
    does not tell from 0 are averaged as they are; arsinh(J / s.d.) does both.

    >>> steps = np.array([-14.0, -9.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0, 12.0, 24.0])
    >>> middle, sd = _middle(20.0, steps, 7.0 - 0.5 * (np.log((20.0 + steps) / 18.0) / 0.3) ** 2)
    >>> round(20.0 + middle, 1), round(sd, 1)
    (18.5, 5.6)
    """
    if np.count_nonzero(values > values.max() - 2.0 * FALLEN) < 4:
        return 0.0, 0.0
    order, grid = np.argsort(steps), coupling + np.linspace(steps.min(), steps.max(), N_GRID)
    likelihood = np.exp(np.interp(grid - coupling, steps[order], values[order]) - values.max())
    sd = _spread(grid, np.average(grid, weights=likelihood), likelihood)
    weights = likelihood / np.hypot(sd, grid)
    middle = sd * np.sinh(np.average(np.arcsinh(grid / sd), weights=weights))
    return float(middle - coupling), float(_spread(grid, middle, weights))


def _spread(x, middle, weights):
    return np.sqrt(np.average((x - middle) ** 2, weights=weights))


def settle(space, landscape):
    """The maximum of the quadratic through the points of a landscape, from where it was found last."""
    if not landscape.points:
        return landscape
    unit, centre, straight = landscape.unit, landscape.theta, landscape.coordinates.straight
    x, gradients = positions(landscape)
    fit = fit_quadratic(x, np.array([p.value for p in landscape.points]), gradients)
    C = positive(fit.curvature, LEAST_CURVATURE)
    step = np.linalg.solve(C, fit.gradient)
    step *= min(1.0, LARGEST_STEP / max(np.sqrt(step @ C @ step), 1e-12))
    theta = landscape.coordinates.bent(straight(centre) + unit @ step)
    low, high = space.bounds.T
    if np.any((theta < low) | (theta > high)):
        # along the edge of the box, where coordinates are taken for straight
        into = np.linalg.solve(unit, landscape.coordinates.slope(centre))
        information = into.T @ C @ into
        move = maximise_in_box(into.T @ fit.gradient, information, low - centre, high - centre)
        move *= min(1.0, LARGEST_STEP / max(np.sqrt(move @ information @ move), 1e-12))
        # no further than they gain: where they bend, the whole move may lead downhill
        ways = [np.clip(centre + part * move, low, high) for part in PARTS]
        steps = [np.linalg.solve(unit, straight(way) - straight(centre)) for way in ways]
        best = np.argmax([fit.gradient @ step - 0.5 * step @ C @ step for step in steps])
        theta, step = ways[best], steps[best]
    gain = float(fit.gradient @ step - 0.5 * step @ C @ step)
    error = np.linalg.solve(C, np.linalg.solve(C, fit.gradient_covariance).T)
    return landscape._replace(
        theta=theta,
        value=fit.value + gain,
        gain=gain,
        gain_error=0.5 * float(np.trace(C @ error)),
        curvature=fit.curvature,
        error=error,
        value_sd=fit.value_sd,
        weights=fit.weights,
    )


def positions(landscape):
    """Points relative to the maximum and their gradients, both (n_points, n_free), in units of `unit`."""
    unit, of = landscape.unit, landscape.coordinates
    thetas = [p.theta for p in landscape.points]
    x = np.linalg.solve(unit, np.array([of.straight(theta) - of.straight(landscape.theta) for theta in thetas]).T).T
    slopes = [np.linalg.solve(of.slope(p.theta).T, p.gradient) for p in landscape.points]
    return x, np.array(slopes) @ unit


def evaluate(problem, theta, rng):
    """A `Point`: one filter per trial, and the gradient along one of its paths."""
    space, settings = problem.space, {"bin_size": problem.bin_size, "scheme": problem.scheme}
    parameters = space.unpack(theta)
    value, gradient = space.log_prior(theta)
    gradient, blocks = gradient.copy(), []
    n_bins = sum(observation.n_bins for observation in problem.observations)
    n_blocks = max(LEAST_BLOCKS, n_bins * problem.bin_size / BLOCK)
    for observation, child in zip(problem.observations, rng.spawn(len(problem.observations)), strict=True):
        found = particle_filter(
            parameters,
            observation,
            problem.histories,
            rng=child,
            n_particles=problem.n_particles,
            n_paths=1,
            **settings,
        )
        path = dataclasses.replace(observation, start=found.path_starts[0])
        complete = joint(parameters, found.paths[0], path, density="others", **settings)
        value += found.log_likelihood
        gradient += space.pull_back(theta, complete.g_parameters)
        share = max(int(round(n_blocks * observation.n_bins / n_bins)), 1)
        blocks += [part.sum() for part in np.array_split(found.log_increments, share)]
    return Point(np.asarray(theta), float(value), gradient, np.array(blocks))


def draw_paths(problem, theta, rng, n_paths=N_PATHS):
    """Trajectories of the hidden counts given the spikes, each from its own filter, so that they share no ancestors.

    Returns
    -------
    log_likelihoods : numpy.ndarray, shape (n_trials, n_paths)
        Of every filter.
    paths : list of list of (Observation, n)
        Per trial, as for `m_step`.
    predicted : list of numpy.ndarray, shape (n_bins, n_observed)
        Per trial: probability of the recorded neurons to fire, given the spikes before; mean over the filters.
    """
    parameters, n_trials = problem.space.unpack(theta), len(problem.observations)

    def draw(observation, child):
        found = particle_filter(
            parameters,
            observation,
            problem.histories,
            bin_size=problem.bin_size,
            scheme=problem.scheme,
            rng=child,
            n_particles=problem.n_particles,
            n_paths=1,
        )
        path = dataclasses.replace(observation, start=found.path_starts[0]), found.paths[0]
        return found.log_likelihood, path, found.predicted

    tasks = zip(np.repeat(np.arange(n_trials), n_paths), rng.spawn(n_trials * n_paths), strict=True)
    drawn = run((joblib.delayed(draw)(problem.observations[i], child) for i, child in tasks), problem.n_jobs)
    trials = [drawn[i * n_paths : (i + 1) * n_paths] for i in range(n_trials)]
    logs = np.array([[value for value, _, _ in trial] for trial in trials])
    predicted = [np.mean([p for _, _, p in trial], axis=0) for trial in trials]
    return logs, [[path for _, path, _ in trial] for trial in trials], predicted


def _units_of(information):
    """Columns: steps of θ along which `information` is the unit matrix; along what it leaves open, 30 of its own."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-12))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    return vectors / np.sqrt(np.maximum(values, 1e-3)) / scale[:, None]


def _pairs_about(space, landscape, n_points, rng):
    """φ + x and φ - x for Gaussian x as wide as the likelihood; the same random numbers serve both of a pair."""
    values, vectors = np.linalg.eigh(positive(landscape.curvature, LEAST_CURVATURE))
    step = landscape.unit @ (vectors / np.sqrt(values))
    of = landscape.coordinates
    thetas, seeds = [], []
    for child in rng.spawn((n_points + 1) // 2):
        x = step @ child.standard_normal(space.n_free)
        for sign in (1.0, -1.0):
            thetas.append(np.clip(of.bent(of.straight(landscape.theta) + sign * x), *space.bounds.T))
            seeds.append(copy.deepcopy(child))
    return thetas[:n_points], seeds[:n_points]
