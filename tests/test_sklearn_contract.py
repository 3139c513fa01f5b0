"""scikit-learn's own checks of what an estimator must do, on models small enough to pass through all of them."""

import inspect
import pickle

import pytest
import quantities as pq
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks, estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks

from neulvm_neo import NeuLVM, PopulationClusterer, SpikeTrainBinner, simulate_microscopic
from neulvm_neo.experiments.circuits import winner_take_all

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
    models = [
        _quick(n_populations=1),
        _quick(n_populations=2, method="viterbi", scheme="euler", bin_size=4 * pq.ms),
    ]
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


# --- those that take spike trains ------------------------------------------------------------------------------------

_WITHOUT_DATA = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)
_OF_TRAINS = [
    SpikeTrainBinner(),
    SpikeTrainBinner(bin_size=4 * pq.ms, multiple="merge"),
    PopulationClusterer(),
    PopulationClusterer(2),
]


@pytest.mark.parametrize("check", _WITHOUT_DATA)
@pytest.mark.parametrize("estimator", _OF_TRAINS, ids=repr)
def test_the_checks_that_need_no_data_pass_for_those_that_take_spike_trains(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


@pytest.fixture(scope="module")
def trains():
    return simulate_microscopic(winner_take_all(), duration=1 * pq.s, n_recorded=2, random_state=1).spiketrains


@pytest.mark.parametrize("estimator", _OF_TRAINS, ids=repr)
def test_those_that_take_spike_trains_learn_in_fit_only(estimator, trains):
    fresh = clone(estimator)
    given = dict(fresh.get_params())
    assert not [name for name in vars(fresh) if name.endswith("_")]
    if hasattr(fresh, "transform"):
        with pytest.raises(NotFittedError):
            fresh.transform(trains)
    assert fresh.fit(trains) is fresh
    assert list(inspect.signature(fresh.fit).parameters)[:2] == ["X", "y"]
    assert fresh.n_features_in_ == len(trains) or not hasattr(fresh, "transform")
    assert all(fresh.get_params()[name] is value for name, value in given.items())
    again = pickle.loads(pickle.dumps(fresh))
    assert set(vars(again)) == set(vars(fresh))
    assert not [name for name in vars(clone(fresh)) if name.endswith("_")]


@pytest.mark.parametrize("estimator", [*_OF_TRAINS, NeuLVM(winner_take_all(), bin_size=2 * pq.ms)], ids=repr)
def test_notebooks_show_every_estimator(estimator):
    page = estimator_html_repr(estimator)
    assert type(estimator).__name__ in page
    if isinstance(estimator, NeuLVM):
        assert "Circuit of 3 populations" in page and "2." in page
