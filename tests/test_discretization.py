"""Coefficients of a time step: limits, and gradients through them."""

import numpy as np
import pytest

from neulvm_neo.discretization import SCHEMES, Step, age_window, discretize, pull_back
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.parameters import parameters_of


def test_both_schemes_agree_for_a_fine_step_and_keep_the_same_fixed_point():
    p = parameters_of(winner_take_all())
    fine = [discretize(p, 1e-6, scheme) for scheme in SCHEMES]
    np.testing.assert_allclose(fine[0].leak, fine[1].leak, rtol=1e-8)
    np.testing.assert_allclose(fine[0].synaptic_gain, fine[1].synaptic_gain, rtol=1e-4)
    for scheme in SCHEMES:
        step = discretize(p, 0.004, scheme)
        np.testing.assert_allclose(step.synaptic_gain / (1 - step.leak), p.tau_m, rtol=1e-12)  # H∞ = U_r + τ_m Σ J A
        np.testing.assert_allclose(step.drive_gain, 1 - step.leak)


def test_whole_bins_of_refractoriness_and_delay_are_rounded_to_the_nearest():
    p = parameters_of(winner_take_all())._replace(
        t_ref=np.array([0.0, 0.0039, 0.0061]), delay=np.array([0.0, 0.0011, 0.0099])
    )
    step = discretize(p, 0.002)
    assert step.refractory_bins.tolist() == [0, 2, 3]
    assert step.delay_bins.tolist() == [0, 1, 5]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pulled_back_gradient_is_the_derivative_of_any_function_of_the_coefficients(scheme):
    p = parameters_of(winner_take_all())
    rng = np.random.default_rng(0)
    weights = Step(*(rng.normal(size=np.shape(x)) for x in discretize(p, 0.002, scheme)))

    def value(q):
        return sum(float(np.sum(w * x)) for w, x in zip(weights[:7], discretize(q, 0.002, scheme)[:7], strict=True))

    gradient = pull_back(weights, p, 0.002, scheme)
    for name, h in (("J", 1e-4), ("tau_m", 1e-7), ("u_rest", 1e-4), ("threshold", 1e-4), ("tau_syn", 1e-7)):
        direction = rng.normal(size=getattr(p, name).shape)
        plus, minus = (p._replace(**{name: getattr(p, name) + s * h * direction}) for s in (1, -1))
        slope = (value(plus) - value(minus)) / (2 * h)
        assert np.sum(getattr(gradient, name) * direction) == pytest.approx(slope, rel=1e-6)


def test_window_follows_the_slowest_membrane_and_is_limited():
    p = parameters_of(winner_take_all())
    assert age_window(discretize(p, 0.004, "exponential")) == 50 + 1
    slow = p._replace(tau_m=np.array([0.02, 0.1, 0.02]))
    assert age_window(discretize(slow, 0.004, "exponential")) == 250 + 1
    assert age_window(discretize(slow, 0.004, "exponential"), longest=100) == 100


def test_a_bin_too_wide_for_eulers_step_and_an_unknown_scheme_are_refused():
    p = parameters_of(winner_take_all())
    with pytest.raises(ValueError, match=r"bin_size 20 ms is not below tau_m 20 ms"):
        discretize(p, 0.02, "euler")
    with pytest.raises(ValueError, match="scheme 'heun' is unknown"):
        discretize(p, 0.002, "heun")
