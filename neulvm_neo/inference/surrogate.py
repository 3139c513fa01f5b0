"""A quadratic through noisy values and gradients of a function: where its maximum lies, and how sharp it is."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, optimize

# Prior on the curvature, in coordinates in which it is expected to lie between 0 and 1: mean and s.d. of the diagonal,
# s.d. of the rest. It fills in what too few points leave open.
CURVATURE_MEAN, CURVATURE_SD, CROSS_SD = 0.5, 0.5, 0.3
# A point that lies `drop` below the maximum counts as if known to within this share of the drop: a quadratic is exact
# at the top only. Beside that stands the noise, but no more than so many nats: if the fit is bad, distant points would
# keep it bad.
NOT_QUADRATIC, LARGEST_NOISE = 0.2, 2.0
# Degrees of freedom of Student's t, which takes noise for heavy-tailed: a particle filter fails downwards.
FREEDOM = 5.0
LEAST_SD = 0.2  # of a value, nats: a few points may lie on a quadratic by chance
REWEIGHTINGS = 6


class Quadratic(NamedTuple):
    """f(x) = value + gradient·x - ½ x·curvature·x, with the posterior covariance of the gradient at x = 0."""

    value: float
    gradient: np.ndarray
    curvature: np.ndarray
    gradient_covariance: np.ndarray
    value_sd: float  # noise of one value
    weights: np.ndarray  # of every point, 1 at the top


def fit_quadratic(x, values, gradients):
    """Least squares, with prior, through values and gradients at several points.

    Parameters
    ----------
    x : numpy.ndarray, shape (n_points, d)
        In coordinates in which the curvature is of the order of 1 or less.
    values : numpy.ndarray, shape (n_points,)
        Noisy, in nats.
    gradients : numpy.ndarray, shape (n_points, d)
        Noisier, with noise of the same covariance at every point.

    Returns
    -------
    Quadratic

    Notes
    -----
    Unknown are the value, gradient and curvature at 0, in which value f(x) and gradient b - C x are linear. The size of
    the noise comes from the residuals.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(40, 2))
    >>> C = np.array([[0.9, 0.1], [0.1, 0.3]])
    >>> values, gradients = 3.0 + x[:, 0] - 0.5 * np.sum(x @ C * x, axis=1), np.array([1.0, 0.0]) - x @ C
    >>> fit = fit_quadratic(x, values, gradients)
    >>> bool(np.allclose(fit.curvature, C, atol=0.02) and np.allclose(fit.gradient, [1, 0], atol=0.02))
    True
    """
    n_points, d = x.shape
    rows, columns = np.tril_indices(d)
    n_unknown = 1 + d + rows.size
    # design of the values
    of_values = np.zeros((n_points, n_unknown))
    of_values[:, 0], of_values[:, 1 : 1 + d] = 1.0, x
    of_values[:, 1 + d :] = -x[:, rows] * x[:, columns] * np.where(rows == columns, 0.5, 1.0)
    # design of the gradients: -C x
    of_gradients = np.zeros((n_points, d, n_unknown))
    of_gradients[:, np.arange(d), 1 + np.arange(d)] = 1.0
    for j, (a, b) in enumerate(zip(rows, columns, strict=True)):
        of_gradients[:, a, 1 + d + j] -= x[:, b]
        if a != b:
            of_gradients[:, b, 1 + d + j] -= x[:, a]
    diagonal = rows == columns
    mean, precision = np.zeros(n_unknown), np.zeros(n_unknown)
    mean[1 + d :][diagonal] = CURVATURE_MEAN
    precision[1 + d :] = np.where(diagonal, CURVATURE_SD, CROSS_SD) ** -2.0
    precision[0] = 1e-12  # of the value: none, but for the sake of a single point
    precision[1 : 1 + d] = 1e-4

    # what is far below the best is far from quadratic; from the second round on, by the fit instead of by chance
    drop = values.max() - values
    value_sd, noise = 1.0, CURVATURE_MEAN * np.eye(d)
    t_value = t_gradient = np.ones(n_points)
    for _ in range(REWEIGHTINGS):
        near = 1.0 / (1.0 + (NOT_QUADRATIC * drop / min(value_sd, LARGEST_NOISE)) ** 2)
        by_value, by_gradient = near * t_value / value_sd**2, near * t_gradient
        whiten = linalg.cholesky(np.linalg.inv(noise))
        design = np.concatenate(
            [
                np.sqrt(by_value)[:, None] * of_values,
                (np.sqrt(by_gradient)[:, None, None] * (whiten @ of_gradients)).reshape(-1, n_unknown),
            ]
        )
        target = np.concatenate(
            [np.sqrt(by_value) * values, (np.sqrt(by_gradient)[:, None] * (gradients @ whiten.T)).ravel()]
        )
        normal = design.T @ design + np.diag(precision)
        size = np.sqrt(np.diag(normal))  # of the unknowns' information: values and slopes differ by many decades
        inverse = np.linalg.inv(normal / np.outer(size, size))
        solution = inverse @ ((design.T @ target + precision * mean) / size) / size
        residual, g_residual = values - of_values @ solution, gradients - of_gradients @ solution
        # degrees of freedom that the fit took from the values
        covariance = inverse / np.outer(size, size)
        taken = np.einsum("ij,jk,ik->i", of_values, covariance, of_values) * by_value
        scaled = residual**2 * near
        t_value = (FREEDOM + 1.0) / (FREEDOM + scaled / value_sd**2)
        distance = np.einsum("ij,jk,ik->i", g_residual, np.linalg.inv(noise), g_residual) * near
        t_gradient = (FREEDOM + d) / (FREEDOM + distance)
        left = max(np.sum(near) - np.sum(taken), 0.3 * np.sum(near))
        value_sd = max(np.sqrt(np.sum(t_value * scaled) / left), LEAST_SD)
        # covariance of the gradients' noise, with a few imaginary observations of the first guess
        weight = near * t_gradient
        noise = (np.einsum("i,ij,ik->jk", weight, g_residual, g_residual) + 5.0 * CURVATURE_MEAN * np.eye(d)) / (
            np.sum(near) + 5.0
        )
        fitted = of_values @ solution
        drop = np.maximum(fitted.max() - fitted, 0.0)
    curvature = np.zeros((d, d))
    curvature[rows, columns] = curvature[columns, rows] = solution[1 + d :]
    return Quadratic(
        float(solution[0]), solution[1 : 1 + d], curvature, covariance[1 : 1 + d, 1 : 1 + d], float(value_sd), near
    )


def positive(matrix, least):
    """A symmetric matrix with its eigenvalues raised to at least `least`."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, least)) @ vectors.T


def maximise_in_box(gradient, curvature, low, high):
    """argmax of g·x - ½ x·C·x over low ≤ x ≤ high, C positive definite; `scipy.optimize.lsq_linear` finds it.

    Examples
    --------
    >>> maximise_in_box(np.array([1.0, 1.0]), np.array([[1.0, 0.5], [0.5, 1.0]]), np.zeros(2), np.array([0.5, 9.0]))
    array([0.5 , 0.75])
    """
    # -½ |Rx - b|², up to a constant, where C = RᵀR and b = R⁻ᵀg
    R = np.linalg.cholesky(curvature).T
    b = np.linalg.solve(R.T, gradient)
    x = optimize.lsq_linear(R, b, (low, high), method="bvls", max_iter=50 * b.size).x
    return np.clip(x, low, high)
