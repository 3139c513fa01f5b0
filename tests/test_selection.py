"""selection.py and experiments/population_count.py: how many populations."""

import json

import joblib
import numpy as np
import pytest
import quantities as pq
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from neulvm_neo import NeuLVM, SpikeTrainBinner, one_standard_error, select_n_populations, simulate_microscopic
from neulvm_neo.experiments import population_count
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.selection import shortfall

from .test_recovery import seeds_of_commit

pytestmark = [
    pytest.mark.filterwarnings("ignore:EM has not converged"),
    pytest.mark.filterwarnings("ignore:Trial .* loses track"),
    pytest.mark.filterwarnings("ignore::neulvm_neo.agreement.RefractoryViolationWarning"),
    # in a fold of a second a population may be silent
    pytest.mark.filterwarnings("ignore::neulvm_neo.clustering.SilentNeuronsWarning"),
    pytest.mark.filterwarnings("ignore:n_populations was reduced"),
    pytest.mark.filterwarnings("ignore:Number of distinct clusters"),
]

QUICK = dict(bin_size=4 * pq.ms, method="viterbi", n_init=1, max_iter=1, n_particles=5, random_state=0)


def results(scores, sizes=(1, 2, 3), name="param_n_populations"):
    folds = {f"split{i}_test_score": fold for i, fold in enumerate(np.transpose(scores))}
    return {name: list(sizes), **folds, "mean_test_score": np.mean(scores, axis=1)}


@pytest.fixture(scope="module")
def recording():
    return simulate_microscopic(winner_take_all(), duration=2 * pq.s, n_recorded=2, random_state=1).spiketrains


def test_the_fewest_within_one_standard_error_of_the_best_win():
    clear = [[-3.0, -3.1, -3.0], [-2.0, -2.1, -2.0], [-1.0, -1.1, -1.0]]
    assert one_standard_error(results(clear)) == 2  # all gain the same in every fold
    tie = [[-3.0, -3.1, -3.2], [-1.02, -1.05, -1.03], [-1.0, -1.04, -1.01]]  # better in every fold, but by little
    assert one_standard_error(results(tie)) == 1
    assert one_standard_error(results(tie[::-1], sizes=(3, 2, 1))) == 1


def test_the_standard_error_is_that_of_the_gain_over_the_fewest_populations():
    scores = np.array([[-3.0, -3.1, -3.3], [-2.0, -2.2, -2.1], [-1.9, -2.3, -2.05]])
    short, error = shortfall([1, 2, 3], scores)
    np.testing.assert_allclose(short, [3.15 / 3, 0.05 / 3, 0.0])  # means -3.13, -2.1, -2.08
    gains = np.array([1.1, 0.8, 1.25])
    assert error == pytest.approx(np.sqrt(np.sum((gains - gains.mean()) ** 2) / 2 / 3))


def test_folds_that_differ_do_not_hide_models_that_differ():
    """Scores of the folds spread by 10, the models by 0.1 in every fold."""
    base = np.array([-10.0, -20.0, -30.0])
    assert one_standard_error(results([base, base + [0.1, 0.11, 0.09]], sizes=(1, 2))) == 1


def test_candidates_that_failed_are_not_chosen():
    assert one_standard_error(results([[np.nan, -1.0], [-2.0, -2.0], [-2.1, -2.2]])) == 1
    with pytest.raises(ValueError, match="no candidate could be fitted"):
        one_standard_error(results([[np.nan, -1.0]], sizes=(1,)))


def test_other_searches_are_refused():
    with pytest.raises(ValueError, match="not over n_populations"):
        one_standard_error(results([[-1.0, -1.0]], sizes=(1,), name="param_tol"))
    with pytest.raises(ValueError, match="at least two folds"):
        one_standard_error(results([[-1.0]], sizes=(1,)))


def test_a_grid_search_refits_what_the_rule_chooses(recording):
    counts = SpikeTrainBinner(4 * pq.ms).fit_transform(recording)
    pipeline = make_pipeline(NeuLVM(**QUICK))
    search = GridSearchCV(pipeline, {"neulvm__n_populations": [1, 2]}, cv=2, refit=one_standard_error)
    search.fit(np.array_split(counts, 2))
    assert search.best_index_ == one_standard_error(search.cv_results_)
    assert search.best_estimator_[-1].circuit_.n_populations == search.best_params_["neulvm__n_populations"]


def test_every_form_of_a_recording_leads_to_the_same_choice(recording):
    model = NeuLVM(**QUICK)
    choice = select_n_populations(model, recording, n_populations=[2, 1], n_folds=2)
    assert choice.candidates == (1, 2)
    assert choice.scores.shape == (2, 2) and np.isfinite(choice.scores).all()
    assert choice.best_estimator.circuit_.n_populations == choice.n_populations
    assert choice.best_estimator.result_.neuron_ids == tuple(str(t.annotations["unit_id"]) for t in recording)
    assert choice.summary().splitlines()[-1].startswith(f"chosen: {choice.n_populations}")
    assert not hasattr(model, "circuit_")
    without = select_n_populations(model, recording, n_populations=[2, 1], n_folds=2, refit=False)
    assert without.best_estimator is None and without.n_populations == choice.n_populations
    counts = SpikeTrainBinner(4 * pq.ms).fit_transform(recording)
    halves = np.array_split(counts, 2)
    for X, trials in ((counts, None), (halves, None), (counts, np.repeat([7, 3], 250))):
        again = select_n_populations(model, X, n_populations=[1, 2], n_folds=2, trials=trials)
        np.testing.assert_array_equal(again.scores, choice.scores)


@pytest.mark.parametrize(
    "settings, options, message",
    [
        ({"labels": [0, 1]}, {}, "knows its populations"),
        ({"circuit": winner_take_all()}, {}, "knows its populations"),
        ({}, {"n_folds": 1}, "n_folds is 1; expected at least 2"),
        ({}, {"n_folds": 3}, "2 trials, fewer than n_folds=3"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, options, message):
    with pytest.raises(ValueError, match=message):
        select_n_populations(NeuLVM(**QUICK, **settings), [np.eye(6)[:, :2]] * 2, **options)


def test_the_study_keeps_its_books(tmp_path):
    budget = {name: QUICK[name] for name in ("method", "n_init", "max_iter", "n_particles")}
    found = population_count.study(
        [1, 2], path=tmp_path / "study.json", duration=1.0, n_recorded=2, n_folds=2, budget=budget
    )
    assert json.loads((tmp_path / "study.json").read_text()) == found
    assert [one["true"] for one in found["sets"]] == [2, 3]
    assert found["n"] == 2 and found["n_right"] == sum(one["chosen"] == one["true"] for one in found["sets"])


@pytest.mark.slow
def test_nine_of_ten_recordings_tell_how_many_populations_there_are(tmp_path):
    """Ten recordings of 24 s, six neurons per population; seeds from the commit hash; two hours on two cores."""
    with joblib.parallel_config(n_jobs=2):
        found = population_count.study(seeds_of_commit(10), path=tmp_path / "population_count.json")
    print(json.dumps(found, indent=1))
    assert found["n_right"] >= 9
    assert sum(one["seconds"] for one in found["sets"]) < 7200


@pytest.mark.slow
def test_two_workers_are_faster_than_one():
    """Eight starts; needs two cores that nobody else uses."""
    pytest.importorskip("dask.distributed")
    found = population_count.speed_of_two_workers(8)
    print(found)
    assert found["identical"]
    assert found["ratio"] >= 1.6
