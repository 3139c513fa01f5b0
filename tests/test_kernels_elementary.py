"""The scalar functions of the kernels against NumPy."""

import numpy as np
import pytest
from numba import njit

from neulvm_neo.kernels import elementary


@njit
def over(function, x):
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = function(x[i])
    return out


def test_exponential_is_accurate_to_1e_13_where_kernels_use_it_and_never_overflows():
    x = np.linspace(-700.0, 700.0, 200_001)
    np.testing.assert_allclose(over(elementary.exp, x), np.exp(x), rtol=1e-13)
    assert np.all(np.isfinite(over(elementary.exp, np.array([-1e6, 1e6]))))


def test_hazard_is_exponential_up_to_its_cap_then_linear_with_a_continuous_slope():
    cap = elementary.LOG_HAZARD_CAP
    below = np.linspace(-30.0, cap, 100)
    np.testing.assert_allclose(over(elementary.integrated_hazard, below), np.exp(below), rtol=1e-13)
    above = np.array([cap + 1.0, cap + 10.0])
    np.testing.assert_allclose(over(elementary.integrated_hazard, above), [40.0, 220.0], rtol=1e-12)
    x = np.array([-3.0, 0.0, cap - 1e-3, cap + 1e-3, cap + 5.0])
    h = 1e-6
    slope = (over(elementary.integrated_hazard, x + h) - over(elementary.integrated_hazard, x - h)) / (2 * h)
    expected = np.minimum(over(elementary.integrated_hazard, x), elementary.LARGEST_CURVED_HAZARD)
    np.testing.assert_allclose(expected, slope, rtol=1e-7)


def test_logarithm_is_accurate_to_its_last_digits():
    x = np.concatenate([np.logspace(-300, 300, 20_001), np.linspace(0.5, 2.0, 20_001)])
    np.testing.assert_allclose(over(elementary.log, x), np.log(x), rtol=1e-15, atol=4e-16)


def test_exponential_of_nothing_is_one_so_that_nobody_fires_where_there_is_no_hazard():
    tiny = np.array([0.0, 1e-300, 1e-17, 1e-9])
    np.testing.assert_allclose(1.0 - over(elementary.exp, -tiny), tiny, rtol=0, atol=1e-16)
    assert elementary.exp(0.0) == 1.0


@pytest.mark.parametrize("x", [1e-300, 1e-12, 0.1, 0.7, 3.0, 30.0])
def test_log_one_minus_exp_keeps_its_digits(x):
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 330
        exact = float((1 - (-Decimal(x)).exp()).ln())
    assert elementary.log_one_minus_exp(x) == pytest.approx(exact, rel=1e-14)
