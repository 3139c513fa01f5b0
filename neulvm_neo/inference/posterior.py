"""How well a recording determines the free values of a circuit: intervals, and what it leaves open, in words.

Around its maximum the likelihood times prior is taken for Gaussian in the coordinates φ of the ascent, in which its
ridges are straight. Its curvature H (`ascent`) says how wide it is
if the model is right. The mesoscopic model is an approximation, though: it is the shares of stretches of time in the
gradient that say how much the maximum would move on another recording, whatever generated it. The covariance is the
sandwich H⁻¹ (V + P) H⁻¹ [1]_, where V is the variance of the gradient, from its blocks, and P the precision of the
prior; for a model that is right, V + P = H. V of many values from few blocks is noisy, so that it is shrunk towards a
multiple of H - P, the multiple being at least 1 [2]_.

.. [1] White, Maximum likelihood estimation of misspecified models, Econometrica 50, 1-25 (1982).
.. [2] Ledoit, Wolf, A well-conditioned estimator for large-dimensional covariance matrices, J Multivar Anal 88 (2004).
"""

import numpy as np
from scipy.special import ndtri

from ..parameters import ParameterSpace, circuit_with
from ..results import BAND_LEVEL, Uncertainty
from . import ascent
from .surrogate import positive

# Directions in which the recording says less than this share of what the hidden activity itself would say count as if
# it said as much: their curvature is not told from 0.
LEAST_KNOWN = 0.02
# What is worth a word: changes that the recording allows of a coupling or a time constant (a share of it) or of a
# potential (mV). Changes below a share of the largest in a direction are left out of its sentence.
WORTH_A_WORD, WORTH_MILLIVOLTS, BESIDE = 0.25, 1.5, 0.3
MOST_SENTENCES = 4
N_SAMPLES, LEAST_INSIDE = 2000, 0.05
ROUNDS_PER_WALK = 2


def uncertainty(landscape, space, theta=None, level=BAND_LEVEL):
    """Intervals of all free values from what an ascent has seen of its maximum.

    Parameters
    ----------
    landscape : ascent.Landscape
    space : ParameterSpace
    theta : numpy.ndarray, shape (n_free,), optional
        The estimate; default the maximum of the landscape.
    level : float
        Probability of every interval by itself.

    Returns
    -------
    Uncertainty
    """
    theta = landscape.theta if theta is None else np.asarray(theta, dtype=float)
    covariance, inflation = _covariance(landscape, space)
    of = landscape.coordinates
    centre = of.straight(theta)
    samples = np.array([of.bent(centre + x) for x in _pairs(covariance)])
    method = (
        f"sandwich of curvature and block gradients from {len(landscape.points)} particle filters; "
        f"{inflation:.2f} times as wide as by the curvature alone"
    )
    return _of_samples(theta, samples, space, method, level)


def of_covariance(theta, covariance, space, method, level=BAND_LEVEL):
    """Intervals of all free values from a covariance of θ, however it came about.

    Parameters
    ----------
    theta : numpy.ndarray, shape (n_free,)
    covariance : numpy.ndarray, shape (n_free, n_free)
    space : ParameterSpace
    method : str
        How, in words.
    level : float

    Returns
    -------
    Uncertainty
    """
    return _of_samples(theta, theta + _pairs(covariance), space, method, level)


def explore(problem, theta, rng, n_rounds=4):
    """A landscape around an estimate that came about in another way, for `uncertainty`.

    Parameters
    ----------
    problem : ascent.Problem
    theta : numpy.ndarray, shape (n_free,)
    rng : numpy.random.Generator
    n_rounds : int
        Rounds of filters, see `ascent.look_around`; then `ascent.walk` along couplings that they tell little of.

    Returns
    -------
    ascent.Landscape
    """
    landscape = ascent.begin(problem, theta, ascent.draw_paths(problem, theta, rng)[1])
    landscape = landscape._replace(theta=np.asarray(theta, dtype=float))
    for child in rng.spawn(n_rounds):
        landscape = ascent.look_around(problem, landscape, child)
    while (j := ascent.flat(problem, landscape)) is not None:
        landscape = ascent.walk(problem, landscape, j, rng.spawn(1)[0])
        for child in rng.spawn(ROUNDS_PER_WALK if landscape.ridges[-1].moved else 0):
            landscape = ascent.look_around(problem, landscape, child)
    return landscape


def interval(function, found, circuit):
    """Estimate and interval of any function of the parameters.

    Parameters
    ----------
    function : callable
        Of `Parameters` (s and mV), for instance ``lambda p: p.J[0, 0] * p.tau_m[0]``; a number or an array.
    found : Uncertainty
    circuit : Circuit
        The fitted circuit.

    Returns
    -------
    estimate, lower, upper
        In the form that the function returns; the ends are quantiles at the uncertainty's level.

    Examples
    --------
    >>> import quantities as pq
    >>> from neulvm_neo import Circuit
    >>> circuit = Circuit([100], names=["E"], u_rest=12 * pq.mV, free=("u_rest",))
    >>> ends = np.array([[12.0], [10.4], [13.6]])
    >>> samples = 12.0 + np.random.default_rng(0).normal(size=(1000, 1))
    >>> found = Uncertainty(("u_rest[E]",), ("mV",), *ends, 0.9, ends[0], np.ones((1, 1)), samples=samples)
    >>> [round(float(x)) for x in interval(lambda p: 2 * p.u_rest[0], found, circuit)]
    [24, 21, 27]
    """
    space = ParameterSpace(circuit)
    values = np.array([function(space.unpack(theta)) for theta in found.samples], dtype=float)
    lower, upper = np.quantile(values, [0.5 - found.level / 2, 0.5 + found.level / 2], axis=0)
    estimate = function(space.unpack(found.theta))
    return np.asarray(estimate, dtype=float), lower, upper


def draw_circuits(found, circuit, n_draws, rng):
    """Circuits whose free values are as probable as the uncertainty says, jointly.

    Parameters
    ----------
    found : Uncertainty
    circuit : Circuit
        The fitted circuit.
    n_draws : int
    rng : numpy.random.Generator

    Returns
    -------
    list of Circuit
    """
    space = ParameterSpace(circuit)
    chosen = rng.choice(len(found.samples), size=n_draws, replace=n_draws > len(found.samples))
    return [circuit_with(circuit, space.unpack(theta)) for theta in found.samples[chosen]]


def _pairs(covariance):
    """Gaussian steps and their opposites (N_SAMPLES, n_free); the same covariance, the same steps."""
    rng = np.random.default_rng(0)
    steps = rng.multivariate_normal(np.zeros(len(covariance)), covariance, size=N_SAMPLES // 2, method="eigh")
    return np.concatenate([steps, -steps])


def _of_samples(theta, samples, space, method, level):
    low, high = space.bounds.T
    inside = np.all((samples >= low) & (samples <= high), axis=1)
    # what the bounds exclude is not possible; unless that is nearly everything, as for estimates in several corners
    samples = samples[inside] if inside.mean() > LEAST_INSIDE else np.clip(samples, low, high)
    lower, upper = np.quantile(samples, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    lower, upper = space.values(np.minimum(lower, theta)), space.values(np.maximum(upper, theta))
    spread = np.atleast_2d(np.cov(samples.T))
    left_open = _undetermined(theta, spread, space, level)
    return Uncertainty(
        space.names, space.units, space.values(theta), lower, upper, level, theta, spread, left_open, method, samples
    )


def _covariance(landscape, space):
    """Covariance of φ, and how many times as wide as by the curvature alone it is."""
    unit, theta = landscape.unit, landscape.theta
    into = np.linalg.solve(unit, landscape.coordinates.slope(theta))  # steps in `unit` of a step in θ
    back = np.linalg.inv(into)
    P = back.T @ space.prior_precision(theta) @ back
    C = positive(landscape.curvature, LEAST_KNOWN)
    values, vectors = np.linalg.eigh(C)
    root = vectors / np.sqrt(values)  # C⁻¹ = root rootᵀ
    x, _ = ascent.positions(landscape)
    shares = _block_gradients(x, np.array([p.blocks for p in landscape.points]), landscape.weights, C - P)
    gradients, noise = shares[0] @ root, root.T @ shares[1] @ root
    n_blocks, d = gradients.shape
    gradients = gradients - gradients.mean(axis=0)
    R = gradients.T @ gradients * n_blocks / (n_blocks - 1) - noise + root.T @ P @ root
    level = max(np.trace(R) / d, 1.0)
    # Ledoit and Wolf: as much of the shrinkage target as of the distance to it is chance
    each = n_blocks * np.einsum("bi,bj->bij", gradients, gradients)
    chance = np.sum((each - each.mean(axis=0)) ** 2) / n_blocks**2
    own = 1.0 - min(chance / max(np.sum((R - level * np.eye(d)) ** 2), 1e-12), 1.0)
    R = positive(own * R + (1.0 - own) * level * np.eye(d), 1.0)  # in no direction narrower than by the curvature
    covariance = unit @ (root @ R @ root.T + landscape.error) @ unit.T
    inflation = float(np.sqrt(np.trace(R) / d))
    for ridge in landscape.ridges:  # which go on beyond what the rounds explored
        j = ridge.coordinate
        covariance[j, j] = max(covariance[j, j], (inflation * ridge.width) ** 2)
    return 0.5 * (covariance + covariance.T), inflation


def _block_gradients(x, blocks, weights, curvature):
    """Gradient at 0 of every block's share in log p, (n_blocks, d), and the sum of the covariances of their errors.

    The curvature is shared out evenly; what is left is linear in x.
    """
    n_points, n_blocks = blocks.shape
    design = np.column_stack([np.ones(n_points), x])
    straight = blocks + 0.5 * np.einsum("ij,jk,ik->i", x, curvature, x)[:, None] / n_blocks
    weighted = design * weights[:, None]
    # a weak pull to 0 where there are fewer points than values
    inverse = np.linalg.inv(weighted.T @ design + 1e-6 * np.eye(design.shape[1]))
    solution = inverse @ (weighted.T @ straight)
    residual = straight - design @ solution
    left = max(weights.sum() - design.shape[1], 0.3 * weights.sum())
    variance = np.sum(weights[:, None] * residual**2, axis=0) / left
    spread = inverse @ (weighted.T @ weighted) @ inverse
    return solution[1:].T, spread[1:, 1:] * variance.sum()


def _undetermined(theta, covariance, space, level):
    """One sentence for each direction in which values may change notably without the recording objecting."""
    values = space.values(theta)
    millivolts = np.array([unit == "mV" for unit in space.units])
    coupling = np.array([name.startswith("J") for name in space.names])
    notable = np.where(millivolts, WORTH_MILLIVOLTS, WORTH_A_WORD)
    notable = np.where(coupling, np.maximum(WORTH_A_WORD * np.abs(values), WORTH_A_WORD), notable)
    spread, directions = np.linalg.eigh(covariance / np.outer(notable, notable))
    reach = ndtri(0.5 + level / 2) * np.sqrt(np.maximum(spread, 0.0))
    precision, prior = np.linalg.pinv(covariance, hermitian=True), space.prior_precision(theta)
    sentences = []
    for i in np.argsort(-reach)[:MOST_SENTENCES]:
        if reach[i] < 1.0:
            break
        direction = directions[:, i] * np.sign(directions[np.argmax(np.abs(directions[:, i])), i])
        shown = np.flatnonzero(np.abs(direction) >= BESIDE * np.abs(direction).max())
        shown = shown[np.argsort(-np.abs(direction[shown]))]
        changes = [_change(space.names[j], reach[i] * direction[j] * notable[j], millivolts[j]) for j in shown]
        scaled = direction * notable
        by_prior = (scaled @ prior @ scaled) / (scaled @ precision @ scaled)
        because = "; here the prior says more than the recording" if by_prior > 0.5 else ""
        if len(changes) == 1:
            sentences.append(f"The recording hardly determines {changes[0]}: the opposite is as likely{because}.")
        else:
            sentences.append(
                f"The recording does not tell apart {', '.join(changes[:-1])} and {changes[-1]}: "
                f"they may change together by so much, or by the opposite{because}."
            )
    return tuple(sentences)


def _change(name, by, is_millivolts):
    return f"{name} ({by:+.2g} mV)" if is_millivolts else f"{name} ({100 * np.expm1(by):+.0f} %)"
