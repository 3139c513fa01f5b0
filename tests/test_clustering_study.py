"""The clustering experiment: what is drawn, what purity means, and the paper's finding on a few draws."""

import json

import numpy as np
import pytest

from neulvm_neo.experiments import clustering_study
from neulvm_neo.experiments.registry import plain


@pytest.fixture(scope="module")
def small():
    """Three draws, as they are read back from a file."""
    said, kept = [], []
    found = clustering_study.run(seed=3, quick=True, say=said.append, checkpoint=kept.append, n_draws=3)
    assert len(said) == len(kept) == 3
    return json.loads(json.dumps(plain(found)))


def test_purity_counts_neurons_outside_the_majority_of_their_cluster():
    truth = [0, 0, 0, 1, 1, 1, 2, 2]
    assert clustering_study.purity(truth, truth) == 1.0
    assert clustering_study.purity(truth, [5 if k == 0 else k for k in truth]) == 1.0  # names do not matter
    assert clustering_study.purity(truth, [0] * 8) == 3 / 8
    assert clustering_study.purity(truth, [0, 0, 1, 1, 1, 1, 2, 2]) == 7 / 8
    assert clustering_study.purity(truth, [-1] * 8) == 0.0


def test_a_draw_has_25_neurons_and_at_least_three_of_every_population():
    for seed in range(5):
        drawn = clustering_study._draw(np.random.default_rng(seed))
        counts = np.bincount(drawn.truth)
        assert counts.sum() == 25 and counts.size == 3 and counts.min() >= 3
        assert drawn.recording.n_neurons == 25
        assert drawn.recording.durations.tolist() == [10.0]
        assert [a["population"] for a in drawn.recording.annotations] == [["E1", "E2", "I"][k] for k in drawn.truth]


def test_a_thinned_recording_has_a_part_of_every_train():
    drawn = clustering_study._draw(np.random.default_rng(1))
    thinned = clustering_study._thinned(drawn.recording, np.random.default_rng(2))
    share = thinned.n_spikes / drawn.recording.n_spikes
    assert 0.2 < share.min() < 0.5 < share.max() < 1.01
    for whole, part in zip(drawn.recording.spike_times[0], thinned.spike_times[0], strict=True):
        assert set(part) <= set(whole)


def test_the_papers_distance_finds_the_populations_of_the_networks_own_spikes(small):
    assert small["n_pure"]["as_simulated"]["paper"] == small["n_draws"] == 3
    assert small["purity"]["as_simulated"]["paper"] == small["adjusted_rand"]["as_simulated"]["paper"] == [1.0] * 3
    assert min(small["smallest_cluster"]["as_simulated"]["paper"]) >= 3


def test_where_rates_differ_raw_distances_follow_the_rates_and_ours_does_less(small):
    mean = {name: np.mean(values) for name, values in small["adjusted_rand"]["rates_differ"].items()}
    assert mean["ours"] > mean["paper"] + 0.1
    assert mean["ours"] > mean["elephant"] + 0.1


def test_what_is_not_pure_is_said_first(small):
    lines = clustering_study.summary(small)
    assert lines[: len(small["failures"])] == small["failures"]
    impure = sum(n < 3 for of in small["n_pure"].values() for n in of.values())
    assert sum("pure in" in line for line in small["failures"]) == impure >= 1
    assert any("published: 20 of 20" in line for line in lines)


def test_the_figure_needs_the_file_only_and_clusters_have_the_colours_of_their_populations(small):
    figure = clustering_study.figure(small)
    raster = figure.axes[0]
    names = [text.get_text() for text in raster.get_yticklabels()]
    assert [name.partition(" ")[0] for name in names] == ["E1", "E2", "I"]
    n_spikes = sum(len(train) for train in small["example"]["spikes"])
    assert sum(line.get_xdata().size for line in raster.lines) == n_spikes
    assert len(figure.axes) == 6  # spikes, dots, two matrices with their scales


def test_clusters_are_named_by_their_majority_and_strangers_are_counted():
    labels, names = clustering_study._named([0, 0, 0, 1, 1, 2, 2, 2], [2, 2, 1, 1, 1, 0, 0, -1])
    assert names == ["E1", "E2 + 1", "I"]
    assert labels.tolist() == [0, 0, 1, 1, 1, 2, 2, -1]
    labels, names = clustering_study._named([0, 0, 0, 2], [0, 0, 1, 2])  # two of one population
    assert len(set(names)) == 3 and names[0].startswith("E1") and names[2].startswith("I")


def test_the_same_seed_gives_the_same_result_also_on_two_threads(small):
    again = clustering_study.run(seed=3, quick=False, n_jobs=2, n_draws=2)
    for what in ("purity", "smallest_cluster", "n_clusters_chosen"):
        for condition, values in again[what].items():
            if what == "n_clusters_chosen":
                assert values == small[what][condition][:2]
            else:
                assert all(values[name] == small[what][condition][name][:2] for name in values)
