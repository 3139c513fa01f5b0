"""Binomial numbers against their law."""

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from neulvm_neo.kernels.binomial import TOGETHER, draw_binomial

ROOM = np.empty((6, TOGETHER))


@pytest.mark.parametrize(
    "n, share",
    [(1, 0.3), (5, 0.5), (5, 1.0 - 1e-6), (40, 0.97), (399, 0.002), (399, 0.04), (797, 0.5), (100_000, 3e-4)],
)
def test_counts_have_the_binomial_law(n, share):
    counts = np.empty(40_000)
    draw_binomial(np.random.default_rng(1), np.full(counts.size, float(n)), np.full(counts.size, share), counts, ROOM)
    assert np.all((counts >= 0) & (counts <= n) & (counts == np.rint(counts)))
    cells = np.unique(binom.ppf(np.linspace(0.02, 1.0, 40), n, share))
    edges = np.concatenate([[-1.0], cells])
    expected = np.diff(binom.cdf(edges, n, share))
    observed = np.histogram(counts, bins=np.concatenate([edges + 0.5]))[0]
    some = expected * counts.size > 5
    rest = max(1.0 - expected[some].sum(), 0.0)
    seen = np.append(observed[some], counts.size - observed[some].sum())
    law = np.append(expected[some], rest) * counts.size
    if rest * counts.size < 1e-3:
        assert seen[-1] == 0
        seen, law = seen[:-1], law[:-1]
    assert seen.size == 1 or chisquare(seen, law * seen.sum() / law.sum()).pvalue > 1e-4


def test_every_number_has_its_own_law():
    share = np.linspace(0.01, 0.99, 1000)
    n = 1.0 + np.arange(1000) % 61
    counts = np.empty((400, 1000))
    rng = np.random.default_rng(2)
    for row in counts:
        draw_binomial(rng, n, share, row, ROOM)
    assert np.all((counts >= 0) & (counts <= n))
    error = np.sqrt(n * share * (1 - share) / 400)
    assert np.sum(((counts.mean(axis=0) - n * share) / error) ** 2) == pytest.approx(1000, abs=4 * np.sqrt(2000))


@pytest.mark.parametrize("n, share", [(5, 0.5), (40, 0.97), (399, 0.04), (100_000, 3e-4), (1000, 0.4)])
def test_numbers_drawn_one_by_one_are_those_drawn_together(n, share):
    together, alone = np.empty(1000), np.empty((1000, 1))
    draw_binomial(np.random.default_rng(4), np.full(1000, float(n)), np.full(1000, share), together, ROOM)
    rng = np.random.default_rng(4)
    for one in alone:
        draw_binomial(rng, np.array([float(n)]), np.array([share]), one, ROOM)
    assert np.mean(together == alone[:, 0]) > 0.999  # but for rounding


def test_nobody_is_left_to_fire():
    counts = np.full(3, -1.0)
    draw_binomial(np.random.default_rng(3), np.zeros(3), np.full(3, 0.2), counts, ROOM)
    assert counts.tolist() == [0, 0, 0]
