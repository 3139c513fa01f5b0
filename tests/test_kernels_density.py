"""The binomial of real counts, and the variance with feedback, against SciPy and central differences."""

import numpy as np
import pytest
from numba import njit
from scipy.special import digamma, gammaln

from neulvm_neo.kernels import density


@njit
def log_factorials(x):
    value, slope = np.empty_like(x), np.empty_like(x)
    for i in range(x.size):
        value[i], slope[i] = density.log_factorial(x[i])
    return value, slope


def test_log_factorials_and_their_slopes_are_those_of_scipy():
    n = np.concatenate([np.linspace(-0.9, 30.0, 2001), np.logspace(-12, 7, 2001)])
    value, slope = log_factorials(n)
    np.testing.assert_allclose(value, gammaln(n + 1.0), rtol=2e-13, atol=2e-13)
    np.testing.assert_allclose(slope, digamma(n + 1.0), rtol=2e-13, atol=2e-13)


def test_counts_that_cannot_be_keep_everything_finite_and_lead_back():
    _, slope = log_factorials(np.array([-1.0, -5.0, -1e6]))
    assert np.all(slope < -100.0)


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    N, share = np.array([40.0, 300.0, 0.0]), np.array([0.9, 1.0, 0.0])
    n_bar = rng.uniform(0.5, 20.0, (3, 11))
    n_bar[0, 0], n_bar[1, 1] = -0.3, 400.0  # beyond the bounds
    return rng.uniform(0.0, 25.0, (3, 11)), n_bar, share, N, 1e-3 * N, N * (1.0 - 1e-6)


def evaluate(n, n_bar, *rest):
    g_mean, g_n = np.empty_like(n), np.empty_like(n)
    return density.binomial(n, n_bar, *rest, g_mean, g_n), g_mean, g_n


def test_the_binomial_is_that_of_gamma_functions_without_populations_that_nobody_is_left_of(counts):
    n, n_bar, share, N, floor, ceiling = (value[:2] for value in counts)
    mean = np.clip(n_bar * share[:, None], floor[:, None], ceiling[:, None])
    N = N[:, None]
    expected = (
        gammaln(N + 1) - gammaln(n + 1) - gammaln(N - n + 1) + n * np.log(mean / N) + (N - n) * np.log1p(-mean / N)
    )
    assert evaluate(*counts)[0] == pytest.approx(expected.sum(), rel=1e-11)


def test_slopes_of_the_binomial_are_central_differences_and_nothing_beyond_its_bounds(counts):
    n, n_bar, *rest = counts
    _, g_mean, g_n = evaluate(*counts)
    assert g_mean[0, 0] == g_mean[1, 1] == 0.0 and not g_mean[2].any() and not g_n[2].any()
    h = 1e-5
    for gradient, at in ((g_mean, n_bar), (g_n, n)):
        direction = np.random.default_rng(1).normal(size=n.shape)
        values = []
        for sign in (1.0, -1.0):
            moved = at + sign * h * direction
            values.append(evaluate(*((n, moved) if at is n_bar else (moved, n_bar)), *rest)[0])
        assert (values[0] - values[1]) / (2 * h) == pytest.approx(np.sum(gradient * direction), rel=1e-7)


def test_the_adjoint_of_the_variance_is_its_derivative():
    rng = np.random.default_rng(2)
    n_bar, v, gain, spread = rng.random((2, 5)), rng.random((2, 5)), rng.normal(size=(2, 2)), rng.random(2)
    weights = rng.normal(size=(2, 5))

    def weighted(n_bar, v, gain):
        variance = np.empty_like(v)
        density.conditional_variance(n_bar, v, gain, spread, variance)
        return np.sum(weights * variance)

    gradients = [np.zeros_like(value) for value in (n_bar, v, gain)]
    density.conditional_variance_adjoint(n_bar, v, gain, spread, weights, *gradients)
    h = 1e-6
    for i, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        ahead, behind = [n_bar, v, gain], [n_bar, v, gain]
        ahead[i], behind[i] = ahead[i] + h * direction, behind[i] - h * direction
        assert (weighted(*ahead) - weighted(*behind)) / (2 * h) == pytest.approx(np.sum(gradient * direction), rel=1e-7)
