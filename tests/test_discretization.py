"""Coefficients of a time step: limits, and gradients through them."""

import numpy as np
import pytest

from neulvm_neo.discretization import LANES, SCHEMES, age_windows, discretize, locked_ages, pull_back
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.parameters import parameters_of


def awkward_network():
    """Refractory periods and delays of parts of bins, and a synapse as fast as the membrane."""
    return parameters_of(winner_take_all())._replace(
        tau_syn=np.array([0.003, 0.006, 0.02]),
        t_ref=np.array([0.0039, 0.0, 0.0011]),
        delay=np.array([0, 0.0013, 0.007]),
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("p", [parameters_of(winner_take_all()), awkward_network()])
def test_constant_activity_keeps_every_scheme_at_the_fixed_point(p, scheme):
    """I = A and H = U_r + τ_m Σ J A, at the end of a bin and at the moment of release."""
    step = discretize(p, 0.004, scheme)
    A = np.array([12.0, 5.0, 30.0])
    np.testing.assert_allclose(step.synaptic_decay + step.arrive_before + step.arrive_now, 1.0, rtol=1e-13)
    gain = step.by_current + step.by_before + step.by_now
    fixed = p.u_rest + p.tau_m * (p.J @ A)
    np.testing.assert_allclose(step.leak * fixed + (1 - step.leak) * p.u_rest + gain @ A, fixed, rtol=1e-12)
    kept = step.leak**step.release_fraction
    gain = step.release_by_current + step.release_by_before + step.release_by_now
    np.testing.assert_allclose(kept * fixed + (1 - kept) * p.u_rest + gain @ A, fixed, rtol=1e-12)


def test_two_half_steps_of_the_second_order_filter_are_one_step():
    """Its linear part is exact for activity that is constant over the bin."""
    p = awkward_network()._replace(delay=np.zeros(3))
    whole, half = discretize(p, 0.004), discretize(p, 0.002)
    rng = np.random.default_rng(0)
    current, H, A = rng.uniform(0, 30, 3), rng.uniform(0, 20, 3), rng.uniform(0, 30, 3)

    def advance(step, current, H):
        H = step.leak * H + (1 - step.leak) * p.u_rest + step.by_current @ current + step.by_now @ A
        return step.synaptic_decay * current + step.arrive_now * A, H

    one, two = advance(whole, current, H), advance(half, *advance(half, current, H))
    np.testing.assert_allclose(one[0], two[0], rtol=1e-12)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-12)


def test_all_schemes_agree_for_a_fine_step():
    p = parameters_of(winner_take_all())
    fine = [discretize(p, 1e-6, scheme) for scheme in SCHEMES]
    for other in fine[1:]:
        np.testing.assert_allclose(fine[0].leak, other.leak, rtol=1e-8)
        np.testing.assert_allclose(fine[0].by_current, other.by_current, rtol=1e-3)


def test_first_order_schemes_round_refractoriness_and_delay_to_whole_bins_the_second_order_keeps_the_rest():
    p = parameters_of(winner_take_all())._replace(
        t_ref=np.array([0.0, 0.0039, 0.0061]), delay=np.array([0.0, 0.0011, 0.0099])
    )
    step = discretize(p, 0.002, "euler")
    assert step.refractory_bins.tolist() == [0, 2, 3]
    assert step.delay_bins.tolist() == [0, 1, 5]
    assert locked_ages(step).tolist() == [0, 2, 3]
    step = discretize(p, 0.002)
    assert step.refractory_bins.tolist() == [0, 1, 3]
    assert step.delay_bins.tolist() == [0, 0, 4]
    assert locked_ages(step).tolist() == [0, 0, 2]  # released in the course of the next bin
    np.testing.assert_allclose(step.partly_released, [1.0, 0.05, 0.95])


def test_weights_of_the_release_are_the_moments_of_the_released_share():
    """A share that grows linearly within two bins, integrated numerically against hazards linear between the edges."""
    for phi in (0.0, 0.2, 0.5, 0.9):
        p = parameters_of(winner_take_all())._replace(t_ref=np.full(3, (2 + phi) * 0.002))
        step = discretize(p, 0.002)
        x = (np.arange(200000) + 0.5) / 200000
        first = np.clip(x - phi, 0.0, 1.0)  # released in the bin of age r, and in the next
        second = np.clip(1.0 - phi + x, 0.0, 1.0)
        assert step.weight_a[0] == pytest.approx(first.mean(), abs=1e-9)
        assert step.weight_b_start[0] == pytest.approx(np.mean(second * (1 - x)), abs=1e-9)
        assert step.weight_b_end[0] == pytest.approx(np.mean(second * x), abs=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("p", [parameters_of(winner_take_all()), awkward_network()])
def test_pulled_back_gradient_is_the_derivative_of_any_function_of_the_coefficients(p, scheme):
    rng = np.random.default_rng(0)
    step = discretize(p, 0.002, scheme)
    real = [name for name, value in step._asdict().items() if np.ndim(value) and value.dtype.kind == "f"]
    weights = step._replace(**{name: rng.normal(size=getattr(step, name).shape) for name in real})

    def value(q):
        at = discretize(q, 0.002, scheme)
        return sum(float(np.sum(getattr(weights, name) * getattr(at, name))) for name in real)

    gradient = pull_back(weights, p, 0.002, scheme)
    for name, h in (("J", 1e-4), ("tau_m", 1e-7), ("u_rest", 1e-4), ("threshold", 1e-4), ("tau_syn", 1e-7)):
        direction = rng.normal(size=getattr(p, name).shape)
        plus, minus = (p._replace(**{name: getattr(p, name) + s * h * direction}) for s in (1, -1))
        slope = (value(plus) - value(minus)) / (2 * h)
        assert np.sum(getattr(gradient, name) * direction) == pytest.approx(slope, rel=1e-6)


def test_windows_follow_the_membranes_in_multiples_of_what_is_swept_at_once():
    p = parameters_of(winner_take_all())._replace(tau_m=np.array([0.02, 0.1, 0.02]), t_ref=np.array([0.004, 0.0, 0.0]))
    step = discretize(p, 0.004)
    windows = age_windows(step, 9.0)
    swept = windows - step.refractory_bins - 1
    assert np.all(swept % LANES == 0)
    assert np.all(swept >= [45, 225, 45]) and np.all(swept < np.array([45, 225, 45]) + LANES)
    assert age_windows(step, longest=64).tolist() == [48 + 2, 64 + 1, 48 + 1]


def test_a_bin_too_wide_for_eulers_step_and_an_unknown_scheme_are_refused():
    p = parameters_of(winner_take_all())
    with pytest.raises(ValueError, match=r"bin_size 20 ms is not below tau_m 20 ms"):
        discretize(p, 0.02, "euler")
    with pytest.raises(ValueError, match="scheme 'heun' is unknown"):
        discretize(p, 0.002, "heun")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["J", "tau_m", "tau_syn", "u_rest", "threshold"])
def test_many_sets_of_values_have_the_coefficients_of_each_by_itself(name, scheme):
    given = parameters_of(winner_take_all())
    value = getattr(given, name)
    several = np.stack([value, 1.1 * value, 0.9 * value])
    together = discretize(given._replace(**{name: several}), 0.004, scheme)
    for i in range(3):
        alone = discretize(given._replace(**{name: several[i]}), 0.004, scheme)
        for field, many, one in zip(together._fields, together, alone, strict=True):
            many = np.asarray(many)
            assert np.array_equal(many[i] if many.ndim > np.ndim(one) else many, one), field
