"""The joint likelihood against its slow twin, against finite differences, and known limits."""

import tracemalloc

import numpy as np
import pytest

from neulvm_neo import likelihood
from neulvm_neo.discretization import SCHEMES
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.likelihood import Observation, joint
from neulvm_neo.parameters import Parameters, parameters_of

from .oracle import mesoscopic as oracle

DT = 0.002
CASES = {  # K, refractoriness (s), delay (s), stimulus
    "one population, no refractoriness": (1, 0.0, 0.0, False),
    "one population, refractory for part of a bin": (1, 0.0011, 0.0, False),
    "one population, delay": (1, 0.002, 0.006, False),
    "two populations, stimulus": (2, 0.004, 0.0, True),
    "three populations, everything": (3, 0.004, 0.003, True),
    "three populations, parts of bins": (3, 0.0033, 0.0013, True),
}


def problem(K, t_ref, delay, with_stimulus, seed=0, T=70):
    """A small network in a regime where every term matters: fast firing, old and young cohorts, silent stretches."""
    rng = np.random.default_rng(seed)
    p = Parameters(
        J=rng.normal(0.0, 4.0, (K, K)),
        tau_m=rng.uniform(0.008, 0.012, K),
        u_rest=rng.uniform(6.0, 9.0, K),
        threshold=rng.uniform(2.0, 3.0, K),
        tau_syn=rng.uniform(0.003, 0.006, K),
        t_ref=np.full(K, t_ref),
        delay=np.full(K, delay),
        n_neurons=rng.integers(40, 80, K).astype(float),
    )
    n = rng.poisson(2.0, (T, K)) + rng.uniform(0.0, 0.5, (T, K))
    labels = np.arange(2 * K + 1) % K
    counts = rng.random((T, labels.size)) < 0.05
    counts[:, 0] = False  # a neuron that never fires
    n += counts @ (labels[:, None] == np.arange(K))  # the recorded neurons are among those counted
    stimulus = rng.normal(0.0, 1.0, (T, K)) if with_stimulus else np.zeros((T, K))
    history_rate = rng.uniform(5.0, 20.0, K)
    return p, n, counts, labels, history_rate, stimulus


def observe(counts, labels, history_rate, stimulus, excitability=None):
    return Observation.from_counts(counts, labels, stimulus.shape[1], history_rate, stimulus, excitability)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("density", likelihood.DENSITIES)
@pytest.mark.parametrize("case", CASES)
def test_likelihood_equals_its_slow_twin(case, density, scheme):
    p, n, counts, labels, history_rate, stimulus = problem(*CASES[case])
    fast = joint(
        p, n, observe(counts, labels, history_rate, stimulus), bin_size=DT, scheme=scheme, window=30, density=density
    )
    slow = oracle.log_joint(p, n, counts, labels, history_rate, stimulus, DT, scheme, 30, density)
    np.testing.assert_allclose(fast.n_bar, slow.n_bar, rtol=1e-9)
    np.testing.assert_allclose(fast.variance, slow.variance, rtol=1e-8)
    # where hardly anybody is free (1e-9 neurons in these fast populations) the two round their mean distance from H
    # differently, which a neuron that has never fired feels
    assert fast.part_a == pytest.approx(slow.part_a, rel=1e-7)
    assert fast.part_b == pytest.approx(slow.part_b, rel=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("case", CASES)
def test_neurons_with_thresholds_of_their_own_have_the_hazards_of_the_twin(case, scheme):
    p, n, counts, labels, history_rate, stimulus = problem(*CASES[case])
    excitability = np.random.default_rng(2).uniform(0.2, 3.0, labels.size)
    trial = observe(counts, labels, history_rate, stimulus, excitability)
    fast = joint(p, n, trial, bin_size=DT, scheme=scheme, window=30)
    slow = oracle.log_joint(
        p, n, counts, labels, history_rate, stimulus, DT, scheme, 30, "binomial", excitability=excitability
    )
    assert fast.part_a == pytest.approx(slow.part_a, rel=1e-7)
    assert fast.part_b == pytest.approx(slow.part_b, rel=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_excitability_is_a_lower_threshold(scheme):
    """After their first spikes neurons depend on their population by its input alone, here as given by the counts."""
    p, n, counts, labels, history_rate, stimulus = problem(2, 0.004, 0.006, True)
    counts[0] = True
    excitability = np.array([0.5, 2.0])

    def after_the_first_bin(p, excitability):
        values = (
            joint(
                p, n[:T], observe(counts[:T], labels, history_rate, stimulus[:T], excitability), bin_size=DT,
                scheme=scheme, window=30, parts="a", gradient=False,
            ).part_a
            for T in (len(n), 1)
        )  # fmt: skip
        return np.subtract(*values)

    lower = p._replace(threshold=p.threshold - np.log(excitability))
    assert after_the_first_bin(p, excitability[labels]) == pytest.approx(after_the_first_bin(lower, None), rel=1e-9)
    assert after_the_first_bin(p, excitability[labels]) != pytest.approx(after_the_first_bin(p, None), rel=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_counts_scatter_as_the_twins_cohorts_do_in_every_scheme(scheme):
    p, n, counts, labels, history_rate, stimulus = problem(*CASES["three populations, everything"])
    observation = observe(counts, labels, history_rate, stimulus)
    n_bar, variance = likelihood.scatter(p, n, observation, bin_size=DT, scheme=scheme, window=30)
    network = oracle.Mesoscopic(p, history_rate, stimulus[0], DT, scheme, [30] * 3)
    for t, counted in enumerate(n):
        network.expect(stimulus[t])
        np.testing.assert_allclose(n_bar[t], [prospect.n_bar for prospect in network.prospects], rtol=1e-9)
        np.testing.assert_allclose(variance[t], [prospect.v0 for prospect in network.prospects], rtol=1e-8)
        network.settle(counted)


def central_differences(value, at, direction, steps=(4e-4, 2e-4)):
    """Slope along a direction at two step sizes, and their Richardson extrapolation, in which the h² error cancels."""
    coarse, fine = ((value(at + h * direction) - value(at - h * direction)) / (2 * h) for h in steps)
    return coarse, fine, (4 * fine - coarse) / 3


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("density", likelihood.DENSITIES)
@pytest.mark.parametrize("case", CASES)
def test_gradients_agree_with_central_differences_whose_error_falls_with_the_square_of_the_step(case, density, scheme):
    check_gradients(problem(*CASES[case], seed=3), density, scheme)


@pytest.mark.parametrize("with_stimulus", [False, True])
@pytest.mark.parametrize("delay", [0.0, 0.006])
@pytest.mark.parametrize("t_ref", [0.0, 0.004])
@pytest.mark.parametrize("K", [1, 2, 3])
def test_gradients_are_exact_with_and_without_delay_refractoriness_and_stimulus(K, t_ref, delay, with_stimulus):
    check_gradients(problem(K, t_ref, delay, with_stimulus, seed=4), "binomial", "second-order")


def test_gradients_are_exact_for_neurons_with_thresholds_of_their_own():
    for case, scheme in zip(CASES, SCHEMES, strict=False):
        check_gradients(problem(*CASES[case], seed=5), "binomial", scheme, excitability=(0.3, 2.5))


def check_gradients(given, density, scheme, excitability=None):
    p, n, counts, labels, history_rate, stimulus = given
    settings = {"bin_size": DT, "scheme": scheme, "window": 30, "density": density}
    rng = np.random.default_rng(1)
    own = None if excitability is None else rng.uniform(*excitability, labels.size)
    exact = joint(p, n, observe(counts, labels, history_rate, stimulus, own), **settings)
    scale = {"J": 1.0, "tau_m": 1e-3, "u_rest": 1.0, "threshold": 1.0, "tau_syn": 1e-3}
    targets = {name: (getattr(exact.g_parameters, name), getattr(p, name), s) for name, s in scale.items()}
    targets |= {
        "n": (exact.g_n, n, 1.0),
        "stimulus": (exact.g_stimulus, stimulus, 1.0),
        "history": (exact.g_history_rate, history_rate, 1.0),
    }
    for name, (gradient, at, size) in targets.items():

        def value(x, name=name):
            parameters = p._replace(**{name: x}) if name in scale else p
            trial = observe(
                counts, labels, x if name == "history" else history_rate, x if name == "stimulus" else stimulus, own
            )
            return joint(parameters, x if name == "n" else n, trial, gradient=False, **settings).value

        for _ in range(2):
            direction = size * rng.normal(size=at.shape)
            slope = float(np.sum(gradient * direction))
            coarse, fine, extrapolated = central_differences(value, at, direction)
            assert extrapolated == pytest.approx(slope, rel=1e-6, abs=1e-6), name
            if abs(coarse - slope) > 1e-5 * abs(slope):  # well above rounding: the error must fall fourfold
                assert (coarse - slope) / (fine - slope) == pytest.approx(4.0, rel=0.1), name


def test_a_long_trial_swept_in_stretches_gives_the_same_value_and_gradient(monkeypatch):
    p, n, counts, labels, history_rate, stimulus = problem(2, 0.002, 0.0, True, T=200)
    trial = observe(counts, labels, history_rate, stimulus)
    whole = joint(p, n, trial, bin_size=DT, window=30)
    monkeypatch.setattr(likelihood, "TAPE_BYTES", 24 * 30 * 37)
    pieces = joint(p, n, trial, bin_size=DT, window=30)
    assert pieces.value == pytest.approx(whole.value, rel=1e-12)
    np.testing.assert_allclose(pieces.g_n, whole.g_n, rtol=1e-12)
    for name in ("J", "tau_m", "u_rest", "threshold", "tau_syn"):
        np.testing.assert_allclose(getattr(pieces.g_parameters, name), getattr(whole.g_parameters, name), rtol=1e-12)


@pytest.mark.parametrize("rate", [2.0, 15.0, 30.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_first_bins_do_not_depend_on_the_window_however_active_the_past(scheme, rate):
    """Less, as, and more active than the neurons can be: then the past explains more neurons than there are."""
    p = parameters_of(winner_take_all())
    n = np.random.default_rng(0).binomial(p.n_neurons.astype(int), 0.03, size=(100, 3)).astype(float)
    nobody = Observation.from_counts(np.zeros((100, 0)), [], 3, np.full(3, rate))
    short, long = (
        joint(p, n, nobody, bin_size=0.004, scheme=scheme, window=window, gradient=False).n_bar for window in (51, 251)
    )
    np.testing.assert_allclose(short, long, rtol=2e-5)


def test_a_window_beyond_what_memory_is_laid_out_for_is_refused():
    p, n, counts, labels, history_rate, stimulus = problem(1, 0.002, 0.0, False)
    with pytest.raises(ValueError, match="window 20000 is longer than"):
        joint(p, n, observe(counts, labels, history_rate, stimulus), bin_size=DT, window=20_000)


def test_the_sweep_by_itself_does_what_the_likelihood_does_and_leaves_it_alone():
    p, n, counts, labels, history_rate, stimulus = problem(2, 0.002, 0.0, True)
    trial = observe(counts, labels, history_rate, stimulus)
    before = joint(p, n, trial, bin_size=DT, window=30)
    likelihood.sweep_of(p, n, trial, bin_size=DT, window=30)()
    after = joint(p, n, trial, bin_size=DT, window=30)
    assert after.value == before.value
    np.testing.assert_array_equal(after.g_n, before.g_n)


def test_a_value_without_a_tape_is_the_value_with_one():
    p, n, counts, labels, history_rate, stimulus = problem(2, 0.002, 0.0, True)
    trial = observe(counts, labels, history_rate, stimulus)
    taped, free = (joint(p, n, trial, bin_size=DT, window=30, gradient=gradient) for gradient in (True, False))
    assert free.value == taped.value
    np.testing.assert_array_equal(free.n_bar, taped.n_bar)


def test_memory_beside_the_tape_stays_below_half_a_kilobyte_per_bin_of_three_populations(monkeypatch):
    """What an hour in bins of 2 ms needs to stay below 1 GiB; the state of the cohorts is not kept per bin."""
    monkeypatch.setattr(likelihood, "TAPE_BYTES", 2**20)
    p, *_ = problem(3, 0.004, 0.0, False)
    T = 20_000
    n = np.random.default_rng(0).poisson(2.0, (T, 3)).astype(float)
    trial = Observation.from_counts(np.arange(T)[:, None] % 50 == 7, [0], 3, [10.0, 10.0, 10.0])
    joint(p, n[:100], Observation.from_counts(np.zeros((100, 0)), [], 3, [10.0] * 3), bin_size=DT)
    tracemalloc.start()
    joint(p, n, trial, bin_size=DT, density="gaussian")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (peak - 2 * 2**20) / T < 512


@pytest.mark.parametrize("scheme", SCHEMES)
def test_parameters_far_off_leave_value_and_gradient_finite(scheme):
    """Optimisers try them: everybody silent, everybody at the limit, couplings that overturn the network in a bin."""
    p, n, counts, labels, history_rate, stimulus = problem(2, 0.002, 0.0, False)
    ones = np.ones(2)
    wild = [
        p._replace(u_rest=-100 * ones, threshold=60 * ones),
        p._replace(u_rest=200 * ones, threshold=-10 * ones),
        p._replace(J=np.array([[150.0, -55.0], [60.0, -80.0]]), threshold=10 * ones),
        p._replace(J=np.array([[500.0, -500.0], [500.0, -500.0]])),
        p._replace(J=np.zeros((2, 2)), tau_m=0.1 * ones, u_rest=-12 * ones, threshold=32 * ones),
    ]
    for q in wild:
        result = joint(
            q, n, observe(counts, labels, history_rate, stimulus), bin_size=DT, scheme=scheme, density="gaussian",
            window=60,
        )  # fmt: skip
        everything = [result.value, result.g_n, result.g_stimulus, result.g_history_rate, *result.g_parameters]
        assert all(np.all(np.isfinite(value)) for value in everything)
        assert max(np.abs(value).max() for value in everything[1:]) < 1e15


def test_observed_spikes_of_an_uncoupled_neuron_have_the_renewal_likelihood():
    """Without coupling the intervals are independent.

    Log p is the sum of the discrete renewal density's logs, computed here from its own survivor.
    """
    p, n, _, _, history_rate, stimulus = problem(1, 0.004, 0.0, False, T=400)
    p = p._replace(J=np.zeros((1, 1)))
    n = np.full((400, 1), 2.0)
    counts = np.zeros((400, 1), dtype=bool)
    counts[[50, 60, 75, 130]] = True
    settings = {"bin_size": DT, "scheme": "euler", "window": 30, "gradient": False}
    both = joint(p, n, observe(counts, [0], history_rate, stimulus), **settings).part_a
    counts_first = counts.copy()
    counts_first[51:] = False
    first_only = joint(
        p, n, observe(counts_first, [0], history_rate, stimulus), bin_size=DT, scheme="euler", window=30, gradient=False
    ).part_a

    def log_interval(k, censored):
        v, log_s = 0.0, 0.0
        for age in range(1, k + 1):
            if age <= 2:
                log_s -= 1e-3 * DT
                continue
            v += DT / p.tau_m[0] * (p.u_rest[0] - v)
            x = np.exp(v - p.threshold[0]) * DT
            if age == k and not censored:
                return log_s + np.log(-np.expm1(-x))
            log_s -= x
        return log_s

    expected = (
        sum(log_interval(k, False) for k in (10, 15, 55))
        + log_interval(400 - 1 - 130, True)
        - log_interval(400 - 1 - 50, True)
    )
    assert both - first_only == pytest.approx(expected, rel=1e-9)


def test_neurons_are_conserved_in_a_constant_past():
    """With a history at the stationary rate of an uncoupled population the expected count stays at that rate."""
    p, _, _, _, _, _ = problem(1, 0.004, 0.0, False)
    p = p._replace(J=np.zeros((1, 1)), n_neurons=np.array([1000.0]))
    survival, mean_interval, v = 1.0, 0.0, 0.0
    for age in range(1, 5000):
        mean_interval += DT * survival
        if age > 2:
            v += DT / p.tau_m[0] * (p.u_rest[0] - v)
            survival *= np.exp(-np.exp(v - p.threshold[0]) * DT)
    rate = np.array([1.0 / mean_interval])
    T = 300
    n = np.full((T, 1), rate[0] * 1000 * DT)
    result = joint(
        p, n, Observation.from_counts(np.zeros((T, 0)), [], 1, rate), bin_size=DT, scheme="euler", window=120,
        gradient=False,
    )  # fmt: skip
    np.testing.assert_allclose(result.n_bar, n, rtol=1e-6)


@pytest.mark.parametrize(
    "t_ref, changed, least_gain",
    [(t_ref, {}, 3.5) for t_ref in (0.0, 0.0013, 0.004)]
    + [(t_ref, {"u_rest": np.array([-1.0]), "threshold": np.array([-3.0])}, 3.2) for t_ref in (0.0, 0.004)],
)
def test_a_constant_past_at_the_renewal_rate_of_continuous_time_goes_on(t_ref, changed, least_gain):
    """1 / ∫ S(a) da with S = exp(-∫ exp(u - ϑ)), by fine quadrature, up to an error that half the bin divides by 4.

    Also with a threshold below the reset, so that the hazard falls after a spike: there by 3.3 and 3.4.
    """
    p, _, _, _, _, _ = problem(1, t_ref, 0.0, False)
    p = p._replace(J=np.zeros((1, 1)), n_neurons=np.array([1000.0]), **changed)
    age = (np.arange(2_000_000) + 0.5) * 1e-6
    hazard = np.where(age > t_ref, np.exp(p.u_rest[0] * -np.expm1(-(age - t_ref) / p.tau_m[0]) - p.threshold[0]), 0.0)
    rate = np.array([1.0 / (np.exp(-np.cumsum(hazard) * 1e-6).sum() * 1e-6)])
    errors = []
    for dt in (0.002, 0.001):
        T = round(0.5 / dt)
        n = np.full((T, 1), rate[0] * 1000 * dt)
        result = joint(p, n, Observation.from_counts(np.zeros((T, 0)), [], 1, rate), bin_size=dt, gradient=False)
        errors.append(result.n_bar[-1, 0] / n[-1, 0] - 1)
    assert abs(errors[0]) < 1e-3
    assert abs(errors[1]) < abs(errors[0]) / least_gain


def test_the_deviance_differs_from_the_binomial_by_what_does_not_depend_on_the_parameters():
    p, n, *others = problem(2, 0.002, 0.0, True)
    trial = observe(*others)
    one, other = p, p._replace(u_rest=p.u_rest + 0.7, J=1.2 * p.J)
    changes = [
        np.subtract(*(joint(q, n, trial, bin_size=DT, density=density).part_b for q in (one, other)))
        for density in ("deviance", "binomial")
    ]
    assert changes[0] == pytest.approx(changes[1], rel=1e-9)
    at_expectation = joint(p, n, trial, bin_size=DT).n_bar
    value, *slopes = likelihood.log_density(at_expectation, at_expectation, at_expectation, p.n_neurons, DT, "deviance")
    assert value == pytest.approx(0.0, abs=1e-9)
    for slope in slopes:
        np.testing.assert_allclose(slope, 0.0, atol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n_history", [1, 7, 25, 45])
def test_a_past_that_varies_has_exact_gradients_and_a_constant_one_is_the_same_in_either_form(scheme, n_history):
    p, n, counts, labels, history_rate, stimulus = problem(2, 0.004, 0.003, True, seed=5)
    settings = {"bin_size": DT, "scheme": scheme, "window": 30}
    constant = joint(p, n, observe(counts, labels, history_rate, stimulus), **settings)
    past = np.tile(history_rate, (n_history, 1))
    same = joint(p, n, observe(counts, labels, past, stimulus), **settings)
    assert same.value == constant.value
    np.testing.assert_allclose(same.g_history_rate.sum(axis=0), constant.g_history_rate, rtol=1e-10)
    check_gradients(
        (p, n, counts, labels, past * np.linspace(0.6, 1.4, n_history)[:, None], stimulus), "binomial", scheme
    )


def test_spikes_just_before_the_first_bin_leave_their_neurons_refractory():
    """Of a population that fired all at once three bins ago, hardly anybody is expected to fire now."""
    p, n, counts, labels, _, stimulus = problem(1, 0.002, 0.0, False)
    quiet = p._replace(J=np.zeros((1, 1)), u_rest=np.array([8.0]), threshold=np.array([4.0]), tau_m=np.array([0.02]))
    volley = np.full((30, 1), 0.5)
    volley[-3] = 1.0 / DT
    expected = [
        joint(quiet, n, observe(counts, labels, past, stimulus), bin_size=DT, scheme="euler", gradient=False).n_bar[
            0, 0
        ]
        for past in (volley, np.full(1, volley.mean()))
    ]
    assert expected[0] < 0.5 * expected[1]


def test_temperature_divides_part_b_and_its_share_of_the_gradients():
    p, n, *others = problem(2, 0.002, 0.0, True)
    alone, cold, warm = (
        joint(p, n, observe(*others), bin_size=DT, density="deviance", **settings)
        for settings in ({"parts": "a"}, {}, {"temperature": 8.0})
    )
    assert warm.part_a == cold.part_a
    assert warm.part_b == pytest.approx(cold.part_b / 8)
    np.testing.assert_allclose(warm.g_n - alone.g_n, (cold.g_n - alone.g_n) / 8, atol=1e-9)
    np.testing.assert_allclose(
        warm.g_parameters.J - alone.g_parameters.J, (cold.g_parameters.J - alone.g_parameters.J) / 8, atol=1e-9
    )


def test_an_unknown_density_is_refused_by_name():
    p, n, counts, labels, history_rate, stimulus = problem(1, 0.0, 0.0, False)
    with pytest.raises(ValueError, match="density 'poisson' is unknown"):
        joint(p, n, observe(counts, labels, history_rate, stimulus), bin_size=DT, density="poisson")
