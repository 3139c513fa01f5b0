"""The slow twin itself: what the equations must obey whatever kernel computes them."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from neulvm_neo.parameters import Parameters

from .oracle import mesoscopic as oracle

SCHEMES = ("euler", "exponential", "second-order")


def one_population(J=-6.0, t_ref=0.004, delay=0.0):
    """Softly firing, so that it settles within some tens of milliseconds."""
    values = {"J": [[J]], "tau_m": [0.01], "u_rest": [6.0], "threshold": [1.0], "tau_syn": [0.004]}
    values |= {"t_ref": [t_ref], "delay": [delay], "n_neurons": [500.0]}
    return Parameters(**{name: np.array(value) for name, value in values.items()})


def two_populations(t_ref=0.005, delay=(0.0, 0.0007)):
    return Parameters(
        J=np.array([[3.0, -5.0], [4.0, -2.0]]),
        tau_m=np.array([0.01, 0.013]),
        u_rest=np.array([7.0, 6.5]),
        threshold=np.array([2.0, 2.5]),
        tau_syn=np.array([0.003, 0.005]),
        t_ref=np.array([t_ref, 0.002]),
        delay=np.array(delay),
        n_neurons=np.array([80.0, 50.0]),
    )


def some_data(T, K=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(K + 1) % K
    return rng.poisson(3.0, (T, K)) + 0.25, rng.random((T, labels.size)) < 0.05, labels, rng.normal(0.0, 1.0, (T, K))


def steady_rate(p):
    """Rate (Hz) at which infinitely many neurons in continuous time agree with the input they make for themselves."""
    tau = p.tau_m[0]

    def renewal_rate(H):
        def survival(age):
            return math.exp(-quad(lambda a: math.exp(H * -math.expm1(-a / tau) - p.threshold[0]), 0.0, age)[0])

        mean_interval = sum(quad(survival, *ends, limit=200)[0] for ends in ((0.0, 2 * tau), (2 * tau, 50 * tau)))
        return 1.0 / (mean_interval + p.t_ref[0])

    return brentq(lambda A: renewal_rate(p.u_rest[0] + tau * p.J[0, 0] * A) - A, 0.1, 300.0, xtol=1e-10)


def settled_rate(p, dt, scheme="second-order", n_bins=120):
    """Rate of a population that always does what is expected of it, after `n_bins`."""
    window = math.ceil((p.t_ref[0] + 12 * p.tau_m[0]) / dt)
    network = oracle.Mesoscopic(p, [steady_rate(p)], np.zeros(1), dt, scheme, [window])
    counts = []
    for _ in range(n_bins):
        counts.append(network.expect(np.zeros(1))[0][0])
        network.settle(counts[-1:])
    assert abs(counts[-1] / counts[-2] - 1) < 1e-6
    return counts[-1] / (p.n_neurons[0] * dt)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_expected_count_does_not_know_its_own_bin(scheme):
    p, dt, T = two_populations(), 0.002, 25
    n, counts, labels, stimulus = some_data(T)
    other = n.copy()
    other[12] += 3.0
    calm, perturbed = (
        oracle.log_joint(p, x, counts, labels, [20.0, 15.0], stimulus, dt, scheme, 20, "binomial") for x in (n, other)
    )
    np.testing.assert_array_equal(calm.n_bar[:13], perturbed.n_bar[:13])
    np.testing.assert_array_equal(calm.variance[:13], perturbed.variance[:13])
    assert np.all(calm.n_bar[13] != perturbed.n_bar[13])


@pytest.mark.parametrize(
    "t_ref, delay",
    [(4.0, 0.0), (4.5, 0.0), (0.0, 0.0), (4.0, 1.3), (4.0, 0.3), (0.8, 0.0)],
    ids=["whole bins", "half a bin more", "no refractoriness", "delay 1.3", "delay 0.3", "less than a bin"],
)
def test_without_noise_the_steady_rate_converges_with_second_order(t_ref, delay):
    """Delay and refractoriness in units of the bin, so that their fractions stay the same while the bin shrinks."""
    errors = []
    for dt in (0.001, 0.0005):
        p = one_population(t_ref=t_ref * dt, delay=delay * dt)
        errors.append(settled_rate(p, dt, n_bins=round(0.1 / dt)) - steady_rate(p))
    assert abs(errors[0]) < 1e-4 * 20.0
    assert 3.6 < errors[0] / errors[1] < 5.4  # 4, and what is left of the third order


def test_without_noise_the_response_to_a_stimulus_converges_with_second_order():
    p = one_population(t_ref=0.0034, delay=0.0006)
    start, period = steady_rate(p), 0.03

    def response(dt):
        def mean_sine(t):  # over the bin, mV
            return (
                3.0
                * (math.cos(2 * math.pi * t / period) - math.cos(2 * math.pi * (t + dt) / period))
                / (2 * math.pi * dt / period)
            )

        network = oracle.Mesoscopic(p, [start], np.zeros(1), dt, "second-order", [round(0.12 / dt)])
        counts = []
        for i in range(round(0.04 / dt)):
            counts.append(network.expect(np.array([mean_sine(i * dt)]))[0][0])
            network.settle(counts[-1:])
        return np.reshape(counts, (5, -1)).sum(axis=1)

    coarse, middle, fine = (response(dt) for dt in (0.002, 0.001, 0.0005))
    assert np.abs(coarse - middle).max() < 0.02 * middle.mean()
    assert np.abs(coarse - middle).max() / np.abs(middle - fine).max() == pytest.approx(4.0, rel=0.15)


@pytest.mark.parametrize("scheme, tolerance", [("euler", 3e-2), ("exponential", 3e-3), ("second-order", 1e-4)])
def test_uncoupled_neurons_settle_at_their_renewal_rate(scheme, tolerance):
    p = one_population(J=0.0)
    assert settled_rate(p, 0.001, scheme) == pytest.approx(steady_rate(p), rel=tolerance)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_survivors_and_free_neurons_stay_the_whole_population(scheme):
    """Also in the noise of a small population, which the finite-size correction takes back."""
    p = one_population()
    dt, window, rng = 0.002, 40, np.random.default_rng(0)
    network = oracle.Mesoscopic(p, [20.0], np.zeros(1), dt, scheme, [window])
    sums = []
    for _ in range(250):
        n_bar = network.expect(np.zeros(1))[0]
        network.settle(rng.binomial(500, n_bar / 500.0))
        survivors = zip(network.S[0][-window:], network.counts[-window:], strict=True)
        sums.append(sum(S * n[0] for S, n in survivors) + network.x[0])
    assert np.mean(sums[50:]) == pytest.approx(500.0, rel=0.02)
    assert np.std(sums[50:]) < 0.1 * 500.0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_short_window_with_free_neurons_does_what_a_long_one_does(scheme):
    """Also after a history whose rate is not the one the parameters would give."""
    p, dt, T = two_populations(), 0.002, 30
    n, counts, labels, stimulus = some_data(T)

    def with_window(window):
        return oracle.log_joint(p, n, counts, labels, [30.0, 5.0], stimulus, dt, scheme, window, "gaussian")

    long, short, per_population = with_window(150), with_window(50), with_window([45, 60])
    for closed in (short, per_population):
        np.testing.assert_allclose(closed.n_bar, long.n_bar, rtol=1e-5)
        np.testing.assert_allclose(closed.variance, long.variance, rtol=1e-5)
        assert closed.part_a == pytest.approx(long.part_a, abs=1e-3)
        assert closed.part_b == pytest.approx(long.part_b, abs=1e-3)


def test_cohorts_of_unequal_hazard_vary_less_than_a_binomial_count():
    """Sizes are multivariate normal given their sum; the count's variance is estimated by drawing it."""
    fires, means, variances, N = [0.1, 0.4, 0.05], [30.0, 10.0, 50.0], [4.0, 3.0, 12.0], 95.0
    n_bar, v0, _, _ = oracle.given_all_are_somewhere(fires, means, variances, N)
    rng = np.random.default_rng(0)
    sizes = rng.normal(means, np.sqrt(variances), (200_000, 3))
    sizes += np.outer(N - sizes.sum(axis=1), np.array(variances) / np.sum(variances))
    spikes = rng.binomial(np.rint(sizes).astype(int), fires).sum(axis=1)
    assert n_bar == pytest.approx(spikes.mean(), rel=3e-3)
    assert v0 == pytest.approx(spikes.var(), rel=0.01)
    assert v0 < n_bar * (1 - n_bar / N)


def test_spikes_inside_a_bin_make_further_spikes_there_unless_they_arrive_later():
    """Mutual excitation widens the conditional variance in the bin; a delay of a bin or more takes that away."""
    n, counts, labels, stimulus = some_data(3)

    def variance_to_v0(delay):
        p = two_populations(delay=(delay, delay))._replace(J=np.full((2, 2), 40.0))
        network = oracle.Mesoscopic(p, [20.0, 15.0], stimulus[0], 0.002, "second-order", [30, 30])
        _, variance = network.expect(stimulus[0])
        return variance / [prospect.v0 for prospect in network.prospects]

    at_once, soon, later = (variance_to_v0(delay) for delay in (0.0, 0.0015, 0.002))
    assert np.all(at_once > 1.01)
    assert np.all((soon > 1.0) & (soon < 1 + 0.2 * (at_once - 1)))
    np.testing.assert_array_equal(later, 1.0)
