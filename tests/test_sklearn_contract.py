"""scikit-learn's own checks of what an estimator must do, on models small enough to pass through all of them."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from neulvm_neo import NeuLVM

_TIME_MATTERS = "a time series: what is inferred of a bin depends on the bins before and after it"

# The checks feed a few rows of numbers that are not counts, without a bin size, to models that stop after one step.
_NOISE = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        "EM has not converged",
        "X is an array and bin_size is None",
        ".*of the entries of X are not whole numbers",
        "X counts more than one spike",
        ".*fall into the refractory",
        "n_populations was reduced",
        ".*belong to no population",
        "Number of distinct clusters",
    )
]


def _quick(**settings):
    return NeuLVM(n_init=1, max_iter=1, n_particles=5, **settings)


def _checked():
    models = [_quick(n_populations=1), _quick(n_populations=2, method="viterbi", scheme="euler")]
    expected = {
        "check_methods_sample_order_invariance": _TIME_MATTERS,
        "check_methods_subset_invariance": _TIME_MATTERS,
    }
    return parametrize_with_checks(models, expected_failed_checks=lambda model: expected, xfail_strict=True)


@_checked()
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


for _mark in _NOISE:
    test_scikit_learns_checks_pass = _mark(test_scikit_learns_checks_pass)
