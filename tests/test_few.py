"""One or two free values: passes of particles that carry them."""

import numpy as np
import pytest
import quantities as pq
from sklearn.exceptions import ConvergenceWarning

from neulvm_neo import Circuit, NeuLVM, simulate_mesoscopic, simulate_microscopic
from neulvm_neo.binning import bin_recording
from neulvm_neo.experiments import connectivity
from neulvm_neo.inference import em, few
from neulvm_neo.inference.liu_west import LiuWestResult, liu_west
from neulvm_neo.likelihood import Observation
from neulvm_neo.parameters import ParameterSpace, parameters_of
from neulvm_neo.recording import SpikeRecording

CIRCUIT = Circuit([100], names=["E"], J=[[2.0]] * pq.mV, u_rest=12 * pq.mV, threshold=8 * pq.mV, free=("u_rest",))
SETTINGS = {"bin_size": 0.002, "scheme": "second-order"}


@pytest.fixture(scope="module")
def counts():
    run = simulate_microscopic(CIRCUIT, duration=2 * pq.s, n_recorded=4, random_state=3)
    return bin_recording(SpikeRecording.from_neo(run.spiketrains), 0.002)[0]


@pytest.fixture(scope="module")
def problem(counts):
    observation = Observation.from_counts(counts, np.zeros(4, dtype=np.int64), 1, [10.0])
    return ParameterSpace(CIRCUIT), [observation], np.array([[counts.mean() / 0.002]])


def search(problem, seed=0, **settings):
    space, observations, histories = problem
    settings = {"max_iter": 5, "n_particles": 8} | settings
    return few.search(
        space, space.draw, space.pack(parameters_of(CIRCUIT)), observations, histories,
        rng=np.random.default_rng(seed), **SETTINGS, **settings,
    )  # fmt: skip


def test_from_a_wide_prior_the_posterior_is_narrow_and_near_the_truth(problem):
    found = search(problem)
    spread = float(np.sqrt(found.covariance[0, 0]))
    assert 0.02 < spread < 1.0
    assert abs(found.theta[0] - 12.0) < 4 * spread
    assert len(found.trace) == 5 and not found.interrupted


def test_the_posterior_is_that_of_likelihoods_on_a_grid(problem):
    """Against the filter at fixed parameters: mean and spread of prior times likelihood."""
    from neulvm_neo.inference.particles import log_likelihood

    space, observations, histories = problem
    found = search(problem, n_particles=20)
    grid = np.linspace(found.theta[0] - 0.4, found.theta[0] + 0.4, 17)
    logs = np.array(
        [
            log_likelihood(
                space.unpack([x]), observations, histories, rng=np.random.default_rng(1), n_particles=200, **SETTINGS
            )[0]
            for x in grid
        ]
    )
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    mean = weights @ grid
    spread = np.sqrt(weights @ (grid - mean) ** 2)
    assert abs(found.theta[0] - mean) < 0.6 * spread
    assert 0.5 < np.sqrt(found.covariance[0, 0]) / spread < 2.0


def test_a_search_is_the_same_on_one_and_on_two_threads(problem):
    one, two = search(problem, seed=4), search(problem, seed=4, n_jobs=2)
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.covariance, two.covariance)


def test_few_iterations_are_few_passes(problem):
    assert len(search(problem, max_iter=1).trace) == 1
    assert len(search(problem, max_iter=4).trace) == 4


def test_ctrl_c_keeps_the_passes_that_have_ended(problem, monkeypatch):
    done = []

    def interrupted(*args, **kwargs):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(liu_west(*args, **kwargs))
        return done[-1]

    monkeypatch.setattr(few, "liu_west", interrupted)
    found = search(problem)
    assert found.interrupted and len(found.trace) == 2
    np.testing.assert_allclose(found.theta, np.mean([one.mean for one in done], axis=0), atol=1.0)


def test_later_trials_sharpen_what_earlier_ones_say(problem):
    space, observations, histories = problem
    theta = np.linspace(6.0, 20.0, 800)[:, None]
    spreads = [
        liu_west(space, theta, observations * n, histories, rng=np.random.default_rng(2), n_particles=80, **SETTINGS)
        .covariance[0, 0]
        for n in (1, 4)
    ]  # fmt: skip
    assert spreads[1] < 0.6 * spreads[0]


def test_an_estimator_with_one_free_value_reports_its_interval(counts):
    model = NeuLVM(CIRCUIT, labels=[0] * 4, bin_size=2 * pq.ms, n_particles=10, random_state=0).fit(counts)
    found = model.result_.uncertainty
    assert found.names == ("u_rest[E]",)
    assert found.lower[0] < model.u_rest_[0].magnitude < found.upper[0]
    (activity,) = model.result_.activities
    assert np.all(activity.n_lower <= activity.n_upper)


def test_counts_scatter_as_cohorts_do_where_that_is_possible(counts, tmp_path):
    """Few values and no spike that acts on its own bin; the fit says so, and remembers it in a file."""
    quick = {"labels": [0] * 4, "bin_size": 2 * pq.ms, "n_particles": 4, "n_init": 1, "max_iter": 1, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        model = NeuLVM(CIRCUIT, scheme="euler", **quick).fit(counts)
        assert NeuLVM(CIRCUIT, **quick).fit(counts).noise_ == "binomial"  # no delay: spikes act at once
        later = CIRCUIT.replace(delay=2 * pq.ms)
        assert NeuLVM(later, **quick).fit(counts).noise_ == "cohorts"
        assert NeuLVM(later, noise="binomial", **quick).fit(counts).noise_ == "binomial"
    loose = CIRCUIT.replace(J=[[0.0]] * pq.mV)
    assert em.noise_of(None, loose, 1, 0.002, "second-order", "smc") == "cohorts"
    free = loose.replace(free=("J",))
    assert em.noise_of(None, free, 1, 0.002, "second-order", "smc") == "binomial"  # they may come to act
    assert model.noise is None and model.noise_ == model.result_.settings["noise"] == "cohorts"
    model.save(tmp_path / "fit.npz")
    again = NeuLVM.load(tmp_path / "fit.npz")
    assert again.noise_ == "cohorts"
    np.testing.assert_array_equal(again.score_samples(counts), model.score_samples(counts))
    run = simulate_mesoscopic(
        model.circuit_, duration=1 * pq.s, bin_size=2 * pq.ms, scheme="euler", noise="cohorts", random_state=1
    )
    np.testing.assert_array_equal(model.simulate(1 * pq.s, random_state=1).n, run.n)


def test_cohorts_that_a_fit_cannot_have_are_refused(counts):
    many = CIRCUIT.replace(free=("J", "u_rest", "threshold"), delay=2 * pq.ms)
    quick = {"labels": [0] * 4, "bin_size": 2 * pq.ms}
    with pytest.raises(ValueError, match="noise is 'cohorts'.* has method='smc' and 3 free values"):
        NeuLVM(many, noise="cohorts", **quick).fit(counts)
    with pytest.raises(ValueError, match="noise is 'cohorts'.* has method='viterbi'"):
        NeuLVM(CIRCUIT.replace(delay=2 * pq.ms), noise="cohorts", method="viterbi", **quick).fit(counts)
    with pytest.raises(ValueError, match="spikes act on the bin they fall in"):
        NeuLVM(CIRCUIT, noise="cohorts", **quick).fit(counts)
    with pytest.raises(ValueError, match="noise is 'poisson'; expected one of 'binomial', 'cohorts' or None"):
        NeuLVM(CIRCUIT, noise="poisson", **quick).fit(counts)


def test_a_given_start_is_where_the_search_begins_and_not_where_it_stays(counts):
    start = CIRCUIT.replace(u_rest=15 * pq.mV)
    model = NeuLVM(CIRCUIT, labels=[0] * 4, bin_size=2 * pq.ms, n_particles=10, random_state=0, start=start).fit(counts)
    assert abs(model.u_rest_[0].magnitude - 12.0) < 1.0


def test_where_nearly_all_neurons_are_recorded_their_spikes_tell_how_the_trial_begins():
    """All but one of a population in clusters: no random history would be its own, and many spikes weigh heavily."""
    (everybody,) = connectivity.samples_of_one_network(
        60.32, 1, 600, np.random.default_rng([7]), initial_rate=19.0 * pq.Hz, initial_clusters=4
    )
    some = everybody._replace(counts=everybody.counts[:400, :599], n=everybody.n[:400])
    found = connectivity.fitted_coupling(some, seed=3, method="smc", n_particles=10, max_iter=3)
    assert found.J == pytest.approx(60.32, abs=0.25)
    assert found.r > 0.99 and found.band > 0.8
    assert "loses track" not in found.status


def test_narrow_passes_that_have_all_collapsed_do_not_replace_what_the_wide_ones_found(problem, monkeypatch):
    """As seen with one population in clusters: passes on wrong histories, each very sure of itself, and one after
    another less wrong."""
    ends = iter([
        (-5508.8, 62.72), (-4754.6, 61.35), (-264.8, 62.00),  # wide; again, with more particles
        (-2201.3, 61.43), (-272.0, 62.05), (-264.9, 61.99),
        (-1260.3, 61.33), (-289.4, 62.22),  # narrow; and again
        (-3094.1, 61.93), (-357.7, 62.36),
    ])  # fmt: skip
    sizes = []

    def one_pass(space, theta, *_, n_particles, **__):
        value, mean = next(ends)
        sizes.append(n_particles)
        draws = mean + 0.03 * np.linspace(-1.5, 1.5, 50)[:, None]
        return LiuWestResult(draws, draws.mean(axis=0), np.atleast_2d(np.cov(draws.T)), value, ())

    monkeypatch.setattr(few, "liu_west", one_pass)
    found = search(problem)
    assert next(ends, None) is None, "every stage is repeated once"
    np.testing.assert_array_equal(np.array(sizes) // sizes[0], [1, 1, 1, 3, 3, 3, 1, 1, 3, 3])
    assert found.theta[0] == pytest.approx((62.00 + 62.05 + 61.99) / 3, abs=1e-6)
    # Rubin's rule
    within, between = np.var(0.03 * np.linspace(-1.5, 1.5, 50), ddof=1), np.var([62.00, 62.05, 61.99], ddof=1)
    assert found.covariance[0, 0] == pytest.approx(few.APPROXIMATION * within + (1 + 1 / 3) * between, rel=1e-6)
    assert found.converged
