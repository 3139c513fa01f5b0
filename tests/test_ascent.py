"""Ascent on the marginal likelihood: points, quadratics and steps on a small circuit."""

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import Circuit, SpikeRecording, simulate_microscopic
from neulvm_neo.binning import bin_recording
from neulvm_neo.inference import ascent, posterior
from neulvm_neo.inference.coordinates import DriveCoordinates
from neulvm_neo.inference.particles import log_likelihood
from neulvm_neo.likelihood import Observation
from neulvm_neo.parameters import ParameterSpace, parameters_of

DT = 0.004
CIRCUIT = Circuit([50], names=["E"], u_rest=12 * pq.mV, J=5 * pq.mV, t_ref=4 * pq.ms, free=("u_rest", "threshold"))


@pytest.fixture(scope="module")
def problem():
    run = simulate_microscopic(CIRCUIT, duration=2 * pq.s, bin_size=4 * pq.ms, n_recorded=4, random_state=1)
    (counts,) = bin_recording(SpikeRecording.from_neo(run.spiketrains), DT)
    trials = tuple(
        Observation.from_counts(part, np.zeros(4, dtype=int), 1, [10.0]) for part in (counts[:400], counts[400:])
    )
    return ascent.Problem(ParameterSpace(CIRCUIT), trials, np.array([[8.0], [12.0]]), DT, "second-order", 30, 1)


def climbed(problem, theta, n_rounds, seed=0):
    rng = np.random.default_rng(seed)
    landscape = ascent.begin(problem, theta, ascent.draw_paths(problem, theta, rng)[1])
    for child in rng.spawn(n_rounds):
        landscape = ascent.look_around(problem, landscape, child)
    return landscape


def test_blocks_add_up_to_the_log_likelihood_and_the_gradient_is_its_slope(problem):
    theta, h = problem.space.pack(parameters_of(CIRCUIT)), 0.3
    points = [ascent.evaluate(problem, theta, child) for child in np.random.default_rng(0).spawn(60)]
    for point in points[:3]:
        assert point.value == pytest.approx(point.blocks.sum() + problem.space.log_prior(theta)[0])
    slope = np.mean([point.gradient for point in points], axis=0)
    error = np.std([point.gradient for point in points], axis=0) / np.sqrt(len(points))
    for i in range(2):
        ends = [
            log_likelihood(
                problem.space.unpack(theta + sign * h * np.eye(2)[i]), problem.observations, problem.histories,
                bin_size=DT, rng=np.random.default_rng(9), n_particles=400,
            )[0]
            for sign in (1, -1)
        ]  # fmt: skip
        assert slope[i] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=4 * error[i] + 0.5)


def test_the_climb_ends_no_lower_than_the_truth_and_knows_how_high_it_is(problem):
    start = problem.space.pack(parameters_of(CIRCUIT)._replace(u_rest=np.array([13.5])))
    landscape = climbed(problem, start, 8)

    def height(theta):
        return log_likelihood(
            problem.space.unpack(theta), problem.observations, problem.histories, bin_size=DT,
            rng=np.random.default_rng(3), n_particles=400,
        )[0] + problem.space.log_prior(theta)[0]  # fmt: skip

    top = height(landscape.theta)
    assert top > height(problem.space.pack(parameters_of(CIRCUIT))) - 0.5
    assert landscape.value == pytest.approx(top, abs=1.0)
    assert landscape.gain < 1.0 and landscape.gain_error < 1.0
    found = posterior.uncertainty(landscape, problem.space)
    assert np.all(found.lower < [12.0, 8.0]) and np.all(found.upper > [12.0, 8.0])


def test_one_job_and_two_give_the_same_landscape(problem):
    theta = problem.space.pack(parameters_of(CIRCUIT))
    one, two = climbed(problem, theta, 1), climbed(problem._replace(n_jobs=2), theta, 1)
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal([p.value for p in one.points], [p.value for p in two.points])


def test_points_come_in_pairs_about_the_current_maximum(problem):
    theta = problem.space.pack(parameters_of(CIRCUIT))
    begun = ascent.begin(problem, theta, ascent.draw_paths(problem, theta, np.random.default_rng(0))[1])
    points = ascent.look_around(problem, begun, np.random.default_rng(1), n_points=6).points
    for one, other in zip(points[::2], points[1::2], strict=True):
        np.testing.assert_allclose((one.theta + other.theta) / 2, begun.theta, rtol=1e-9)
        assert not np.allclose(one.theta, other.theta)


class Ridge:
    """A made-up likelihood in φ that tells little of J[E←I] and much of everything else."""

    circuit = Circuit([100, 50], names=["E", "I"], signs=[1, -1], J=[[8, -40], [8, -20]] * pq.mV, free=("J", "u_rest"))

    def __init__(self, top, width, noise=0.3):
        self.space = ParameterSpace(self.circuit)
        self.of = DriveCoordinates(self.space, np.array([15.0, 30.0]))
        self.theta = self.space.pack(parameters_of(self.circuit))
        self.j, self.noise = self.space.names.index("J[E←I]"), noise
        self.top, self.width = self.of.straight(self.theta), np.full(self.space.n_free, 0.15)
        self.top[self.j], self.width[self.j] = top, width
        self.problem = ascent.Problem(self.space, (), None, DT, "second-order", 10, 1)
        d, unit = self.space.n_free, 0.1 * np.eye(self.space.n_free)  # the s.d. if the activity were known
        share = (0.1 / self.width) ** 2
        self.landscape = ascent.Landscape(
            self.theta, 0.0, 0.1, 0.1, np.diag(share), np.zeros((d, d)), 1.0, unit, self.of, (), np.zeros(0)
        )
        self.asked = []

    def evaluate(self, problem, theta, rng):
        self.asked.append(theta)
        away = (self.of.straight(theta) - self.top) / self.width
        value = -0.5 * away @ away + self.noise * (rng.standard_normal() + np.sin(1e3 * away[self.j]))
        return ascent.Point(theta, value, np.zeros_like(theta), np.zeros(1))


def test_steps_along_the_edges_of_the_box_lead_uphill():
    """Summits outside the box, likelihoods narrow across it, coordinates that bend."""
    space = ParameterSpace(Circuit([50, 50], free=("J", "tau_m", "u_rest", "threshold")))
    low, high = space.bounds.T
    of, d = DriveCoordinates(space, np.array([10.0, 20.0])), space.n_free
    edges = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        centre = np.where(rng.random(d) < 0.4, np.where(rng.random(d) < 0.5, low, high), space.draw(rng))
        unit = np.linalg.qr(rng.normal(size=(d, d)))[0] * 10.0 ** rng.uniform(-2.0, 0.5, size=d)
        curvature, summit = np.diag(rng.uniform(0.05, 1.0, size=d)), 5.0 * rng.normal(size=d)
        points = []
        for x in rng.normal(size=(30, d)):
            theta = of.bent(of.straight(centre) + unit @ x)
            gradient = of.slope(theta).T @ np.linalg.solve(unit.T, curvature @ (summit - x))
            value = -0.5 * (x - summit) @ curvature @ (x - summit)
            points.append(ascent.Point(theta, value, gradient, np.full(20, value / 20)))
        begun = ascent.Landscape(
            centre, -np.inf, np.inf, np.inf, np.eye(d), np.zeros((d, d)), np.nan, unit, of, tuple(points), np.zeros(0)
        )
        settled = ascent.settle(space, begun)
        assert np.all((settled.theta >= low) & (settled.theta <= high))
        edges += bool(np.any((settled.theta == low) | (settled.theta == high)))
        assert settled.gain >= 0
    assert edges > 20


@pytest.mark.parametrize(("top", "width"), [(-20.0, 8.0), (-45.0, 3.0), (-41.0, 0.9)])
def test_a_walk_along_a_flat_coupling_finds_its_middle_and_width_with_mean_drives_held(monkeypatch, top, width):
    ridge = Ridge(top, width)
    monkeypatch.setattr(ascent, "evaluate", ridge.evaluate)
    assert ascent.flat(ridge.problem, ridge.landscape) == ridge.j
    found = ascent.walk(ridge.problem, ridge.landscape, ridge.j, np.random.default_rng(1))
    phi = ridge.of.straight(found.theta)
    assert phi[ridge.j] == pytest.approx(top, abs=width / 2)
    np.testing.assert_allclose(np.delete(phi, ridge.j), np.delete(ridge.top, ridge.j))
    assert found.theta[ridge.space.names.index("u_rest[E]")] != ridge.theta[ridge.space.names.index("u_rest[E]")]
    ((coordinate, seen, moved, n_walks),) = found.ridges
    assert (coordinate, n_walks) == (ridge.j, 1)
    assert seen == pytest.approx(width, rel=0.3) and moved == pytest.approx(abs(top + 40), abs=width / 2)


def test_one_low_value_does_not_end_a_walk_and_bounds_do(monkeypatch):
    ridge = Ridge(-12.0, 8.0, noise=0.0)
    low = []

    def evaluate(problem, theta, rng):
        point = ridge.evaluate(problem, theta, rng)
        is_second = -39.0 < ridge.of.straight(theta)[ridge.j] < -38.0  # of the steps towards the top
        if is_second:
            low.append(theta)
        return point._replace(value=point.value - 5.0 * is_second)

    monkeypatch.setattr(ascent, "evaluate", evaluate)
    found = ascent.walk(ridge.problem, ridge.landscape, ridge.j, np.random.default_rng(1))
    assert low and ridge.of.straight(found.theta)[ridge.j] == pytest.approx(-12.0, abs=4.0)
    assert max(theta[ridge.j] for theta in ridge.asked) <= 0.0  # the coupling of an inhibitory source


def test_only_flat_couplings_are_walked_along_and_no_more_often_than_they_move():
    ridge = Ridge(-20.0, 0.15)
    assert ascent.flat(ridge.problem, ridge.landscape) is None
    ridge = Ridge(-20.0, 8.0)
    j = ridge.j
    for moved, n_walks, again in ((1.0, 1, False), (9.0, 1, True), (9.0, ascent.MOST_WALKS, False)):
        walked = ridge.landscape._replace(ridges=(ascent.Ridge(j, 8.0, moved, n_walks),))
        assert ascent.flat(ridge.problem, walked) == (j if again else None)
