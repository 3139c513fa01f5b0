"""The quadratic through noisy values and gradients."""

import numpy as np
import pytest

from neulvm_neo.inference.surrogate import fit_quadratic, maximise_in_box, positive

D = 6


def noisy_points(rng, n_points, spread=2.0, noise=0.7):
    """A quadratic of which the data show 5 to 95 %, and values and gradients as noisy as particle filters' are."""
    Q = np.linalg.qr(rng.normal(size=(D, D)))[0]
    known = np.linspace(0.05, 0.95, D)
    C = (Q * known) @ Q.T
    top = Q @ (rng.normal(size=D) / np.sqrt(known))
    half = spread * (rng.normal(size=(n_points // 2, D)) / np.sqrt(known)) @ Q.T
    x = np.concatenate([half, -half])
    away = x - top
    values = -500.0 - 0.5 * np.einsum("ij,jk,ik->i", away, C, away) + noise * rng.normal(size=n_points)
    gradients = -away @ C + rng.normal(size=(n_points, D)) @ np.linalg.cholesky((Q * (1 - known)) @ Q.T).T
    return x, values, gradients, C, top


def test_the_summit_is_found_within_a_fraction_of_the_width_of_the_likelihood():
    """Over 10 quadratics, on average less than a third of a nat is lost, and the height is right within its noise."""
    rng = np.random.default_rng(0)
    lost, heights = [], []
    for _ in range(10):
        x, values, gradients, C, top = noisy_points(rng, 80, spread=1.0)
        fit = fit_quadratic(x, values, gradients)
        step = np.linalg.solve(positive(fit.curvature, 0.02), fit.gradient)
        lost.append(0.5 * (step - top) @ C @ (step - top))
        heights.append(fit.value + 0.5 * fit.gradient @ step)
    assert np.mean(lost) < 0.35
    assert np.mean(heights) == pytest.approx(-500.0, abs=0.3)


def test_the_curvature_is_that_of_the_values_where_gradients_are_noisy():
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(10):
        x, values, gradients, C, _ = noisy_points(rng, 120, spread=1.0)
        root = np.linalg.cholesky(np.linalg.inv(C))
        ratios.append(np.linalg.eigvalsh(root.T @ fit_quadratic(x, values, gradients).curvature @ root))
    assert 0.9 < np.mean(ratios) < 1.2
    assert np.min(ratios) > 0.5 and np.max(ratios) < 2.5


def test_the_noise_of_values_and_of_the_gradient_at_the_centre_is_known():
    rng = np.random.default_rng(2)
    deviations, sds = [], []
    for _ in range(30):
        x, values, gradients, C, top = noisy_points(rng, 80, spread=1.0)
        fit = fit_quadratic(x, values, gradients)
        off = fit.gradient - C @ top
        deviations.append(off @ np.linalg.solve(fit.gradient_covariance, off) / D)
        sds.append(fit.value_sd)
    assert np.mean(sds) == pytest.approx(0.7, rel=0.25)
    assert 0.3 < np.mean(deviations) < 1.5


def test_points_far_below_and_failed_filters_do_not_bend_the_quadratic():
    rng = np.random.default_rng(3)
    x, values, gradients, C, top = noisy_points(rng, 80, spread=1.0)
    clean = fit_quadratic(x, values, gradients)
    values[[3, 40]] -= 500.0
    gradients[[3, 40]] *= 30.0
    bent = fit_quadratic(x, values, gradients)
    np.testing.assert_allclose(bent.curvature, clean.curvature, atol=0.1)
    np.testing.assert_allclose(bent.gradient, clean.gradient, atol=0.3)


def test_fewer_points_than_unknowns_leave_the_curvature_that_was_expected():
    fit = fit_quadratic(np.zeros((1, 3)), np.array([-7.0]), np.zeros((1, 3)))
    np.testing.assert_allclose(fit.curvature, 0.5 * np.eye(3), atol=1e-6)
    assert fit.value == pytest.approx(-7.0)


def test_the_maximum_in_a_box_is_no_worse_than_any_point_of_it():
    rng = np.random.default_rng(4)
    for _ in range(20):
        A = rng.normal(size=(4, 4))
        C, g = A @ A.T + 0.3 * np.eye(4), 3 * rng.normal(size=4)
        low, high = -rng.random(4), rng.random(4)

        def f(x, g=g, C=C):
            return x @ g - 0.5 * np.einsum("...i,ij,...j->...", x, C, x)

        best = maximise_in_box(g, C, low, high)
        assert np.all((best >= low) & (best <= high))
        grid = low + (high - low) * rng.random((4000, 4))
        assert f(best) > f(grid).max() - 1e-9
