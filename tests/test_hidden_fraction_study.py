"""The experiment on the hidden fraction: one tiny run, and what its figure and summary say."""

import json

import numpy as np
import pytest

from neulvm_neo.experiments import hidden_fraction_study as study
from neulvm_neo.experiments.registry import plain

_SIZES = study.Sizes({2: 2}, {2: {"n_particles": 5, "max_iter": 1}}, 5, {"paper": {"max_iter": 1, "n_particles": 5}})


@pytest.fixture(scope="module")
def small():
    """Two samples of two neurons, with fits too short to be good."""
    said, kept = [], []
    found = study.run(seed=1, quick=True, say=said.append, checkpoint=kept.append, sizes=_SIZES)
    assert len(kept) == 2 and kept[0]["n_samples"] == [1]
    return json.loads(json.dumps(plain(found), allow_nan=False))


def test_means_and_medians_are_those_of_the_samples(small):
    assert small["n_observed"] == [2] and small["n_samples"] == [2]
    J = [sample["J"] for sample in small["samples"]]
    rival = [sample["rene_J"] for sample in small["samples"]]
    assert small["J_hat_mean"] == [pytest.approx(np.mean(J))] and small["J_hat_std"] == [pytest.approx(np.std(J))]
    assert small["rene_median_abs_error"] == [pytest.approx(np.median(np.abs(np.array(rival) - 60.32)))]
    assert small["methods"]["smc"]["J_hat_mean"] == small["J_hat_mean"]
    assert small["methods"]["paper"]["J_hat_mean"] != small["J_hat_mean"]


def test_the_activity_is_compared_with_smoothed_spikes(small):
    assert 0 < small["smoothed_r"][0] < 0.7
    assert small["activity_r"] == [pytest.approx(np.mean([s["activity_r"] for s in small["samples"]]))]


def test_the_trial_falls_from_four_into_three_clusters(small):
    assert small["clusters"] == [4, 3]
    assert not any("trial" in failure for failure in small["failures"])
    result = study._result(small["samples"], [4, 4], small["example"], _SIZES)
    assert any("from 4 to 4 clusters" in failure for failure in result["failures"])


def test_the_example_shows_the_recorded_neurons_first(small):
    example = small["example"]
    assert example["n_observed"] == 2 and len(example["spikes_s"]) == study.N_DRAWN
    assert len(example["true_counts"]) == len(example["inferred_counts"]) == len(example["smoothed_counts"]) == 1000
    smoothed = np.array(example["smoothed_counts"])
    recorded = np.concatenate(example["spikes_s"][:2])
    assert all(smoothed[int(round(1e3 * t))] > 10 for t in recorded)


def test_the_figure_has_the_panels_of_the_paper(small):
    axes = study.figure(small).axes
    assert [a.get_title(loc="left") for a in axes] == ["D", "E", "F"]
    assert axes[1].get_xlim() == (0.0, 0.6)
    far = json.loads(json.dumps(small))
    far["samples"][0]["rene_J"] = 500.0
    crosses = [line for line in study.figure(far).axes[2].lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert len(crosses) == 1 and crosses[0].get_ydata()[0] == study.FAR


def test_what_did_not_reach_the_paper_comes_first(small):
    worse = small | {"J_hat_mean": [70.0], "median_abs_error": [9.7], "rene_median_abs_error": [1.0]}
    lines = study.summary(worse)
    assert lines[0].startswith("Further from the truth than the paper: 2 recorded")
    assert "The naive rival comes closer" in lines[1]
    better = small | {"J_hat_mean": [60.3], "median_abs_error": [0.02], "rene_median_abs_error": [5.0], "failures": []}
    assert study.summary(better)[0] == "" and "60.14 ± 1.48" in "\n".join(study.summary(better))


def test_an_activity_that_does_not_vary_has_no_correlation(small):
    """Read from a file, NaN is None."""
    flat = {**small["methods"], "paper": {**small["methods"]["smc"], "activity_r": [None] * len(small["n_observed"])}}
    assert study.summary({**small, "methods": flat})[-4].rstrip().endswith("–")


def test_smoothing_with_hindsight_is_at_least_as_good_as_the_rivals(small):
    assert np.all(np.array(small["best_smoothed_r"]) >= np.array(small["smoothed_r"]) - 1e-12)
