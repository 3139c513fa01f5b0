"""clustering.py: which neuron belongs to which population."""

import logging
import warnings

import elephant.trials
import neo
import numpy as np
import pytest
import quantities as pq
from elephant.spike_train_dissimilarity import van_rossum_distance
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import lfilter
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from neulvm_neo import PopulationClusterer, SpikeRecording, SpikeTrainBinner, clustering
from neulvm_neo.clustering import SilentNeuronsWarning, cluster_counts, cluster_recording
from neulvm_neo.van_rossum import van_rossum_distances


def neo_train(times, t_start=0.0, t_stop=20.0, **kw):
    return neo.SpikeTrain(times, units="s", t_start=t_start, t_stop=t_stop, **kw)


def cox(rng, rates, groups, duration=20.0, time_constant=0.05, modulation=0.7):
    """Spike times of neurons whose log rate follows an Ornstein-Uhlenbeck process, one for each group."""
    step = 0.001
    decay = np.exp(-step / time_constant)
    noise = rng.normal(size=(max(groups, default=0) + 1, round(duration / step)))
    log_rate = modulation * lfilter([np.sqrt(1 - decay**2)], [1, -decay], noise)
    expected = np.array(rates)[:, None] * np.exp(log_rate[list(groups)] - modulation**2 / 2) * step
    return [(np.flatnonzero(row) + 0.5) * step for row in rng.random(expected.shape) < expected]


def recording(*trials, duration=20.0, t_start=0.0):
    spike_times = tuple(tuple(times + t_start for times in trial) for trial in trials)
    start = np.full(len(trials), t_start)
    return SpikeRecording(spike_times, start, start + duration, tuple(f"n{i}" for i in range(len(trials[0]))))


THREE = np.repeat([0, 1, 2], 8)


def heterogeneous(seed, **kw):
    rng = np.random.default_rng(seed)
    return cox(rng, rng.lognormal(2.0, 0.5, THREE.size), THREE, **kw)


@pytest.fixture(scope="module")
def easy():
    """Six neurons in two groups that never fire together, and their labels."""
    rng = np.random.default_rng(0)
    truth = np.array([0, 1, 0, 1, 1, 0])
    on = np.arange(40) * 0.5
    return [on + 0.25 * group + rng.uniform(0, 0.05, 40) for group in truth], truth


# --- distances -------------------------------------------------------------------------------------------------------


def test_without_normalisation_the_distance_is_elephants():
    trial = heterogeneous(0)
    ours = van_rossum_distances([(trial, 20.0)], 0.05, None)
    theirs = van_rossum_distance([neo_train(t) for t in trial], 50 * pq.ms)
    assert_allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("normalize", ["cosine", "centered"])
def test_normalised_distances_agree_with_smoothed_traces(normalize):
    rng = np.random.default_rng(5)
    tau, step, durations = 0.1, 0.0005, (3.0, 2.0)
    pieces = [([np.sort(rng.uniform(0, d, n)) for n in (4, 9, 15)], d) for d in durations]
    # exp(-|s - t| / τ) is 2 / τ times the scalar product of causal filters, which run on after the end of the piece
    time = np.arange(0.0, max(durations) + 12 * tau, step)
    rate = np.array([sum(times[i].size for times, _ in pieces) for i in range(3)]) / sum(durations)
    product = np.zeros((3, 3))
    for times, duration in pieces:
        traces = np.zeros((3, len(time)))
        for i in range(3):
            lag = time[:, None] - times[i]
            traces[i] = np.where(lag >= 0, np.exp(-np.clip(lag, 0, None) / tau), 0).sum(axis=1)
            if normalize == "centered":
                started = 1 - np.exp(-time / tau)
                ended = np.where(time > duration, 1 - np.exp(-np.clip(time - duration, 0, None) / tau), 0)
                traces[i] -= rate[i] * tau * (started - ended)
        product += traces @ traces.T * step
    expected = 1 - product / np.sqrt(np.outer(np.diag(product), np.diag(product)))
    np.fill_diagonal(expected, 0)
    assert_allclose(van_rossum_distances(pieces, tau, normalize), expected, atol=0.01)


@pytest.mark.parametrize("normalize", ["centered", "cosine", None])
def test_distances_are_symmetric_non_negative_and_zero_to_oneself(normalize):
    trial = heterogeneous(1) + [np.array([]), np.arange(0.05, 20, 0.1)]
    distances = van_rossum_distances([(trial, 20.0)], 0.1, normalize)
    assert_array_equal(distances, distances.T)
    assert_array_equal(np.diag(distances), 0)
    assert (distances >= 0).all() and np.isfinite(distances).all()


def test_identical_trains_have_distance_zero_without_a_warning():
    times = np.array([0.1, 0.2, 0.7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        for normalize in ("centered", "cosine", None):
            assert_allclose(van_rossum_distances([([times, times.copy()], 1.0)], 0.1, normalize), 0, atol=1e-6)


def test_independent_neurons_are_uncorrelated_after_centring_and_not_before():
    rng = np.random.default_rng(0)
    trial = [np.sort(rng.uniform(0, 50, 2000)) for _ in range(4)]
    off = ~np.eye(4, dtype=bool)
    assert_allclose(van_rossum_distances([(trial, 50.0)], 0.1, "centered")[off], 1, atol=0.1)
    assert (van_rossum_distances([(trial, 50.0)], 0.1, "cosine")[off] < 0.2).all()


def test_when_a_recording_starts_does_not_matter(easy):
    trial, _ = easy
    early, late = recording(trial), recording(trial, t_start=4397.0)
    assert_allclose(cluster_recording(early, 2).distances, cluster_recording(late, 2).distances, atol=1e-8)


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["kmeans", "agglomerative"])
@pytest.mark.parametrize("normalize", ["centered", "cosine", None])
def test_clear_groups_are_found_by_every_method(easy, algorithm, normalize):
    trial, truth = easy
    found = cluster_recording(recording(trial), 2, algorithm=algorithm, normalize=normalize, random_state=0)
    assert adjusted_rand_score(truth, found.labels) == 1
    assert found.silhouette > 0.3


def test_normalised_distance_finds_populations_of_unequal_rates_and_the_raw_one_finds_rates():
    scores = {"centered": [], None: []}
    for seed in range(5):
        trial = recording(heterogeneous(seed))
        for normalize, score in scores.items():
            found = cluster_recording(trial, 3, normalize=normalize, time_constant=0.05, random_state=0)
            score.append(adjusted_rand_score(THREE, found.labels))
    assert np.mean(scores["centered"]) > 0.9
    assert np.mean(scores[None]) < 0.3


@pytest.fixture(scope="module")
def network():
    """40 s of all neurons of the paper's three-population network: spike times and population of every neuron."""
    from neulvm_neo.experiments.circuits import winner_take_all
    from neulvm_neo.simulation import simulate_microscopic

    circuit = winner_take_all()
    run = simulate_microscopic(circuit, duration=40 * pq.s, n_recorded=[400, 400, 200], random_state=4)
    times = [train.rescale("s").magnitude for train in run.spiketrains]
    return times, np.repeat([0, 1, 2], [400, 400, 200])


def draw(network, seed, duration=20.0, n_neurons=25):
    times, population = network
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(times), n_neurons, replace=False)
    start = rng.uniform(0, 40 - duration)
    cut = [times[i][(times[i] >= start) & (times[i] < start + duration)] - start for i in chosen]
    return recording(cut, duration=duration), population[chosen]


@pytest.mark.parametrize("normalize", ["centered", None])
def test_twenty_of_twenty_draws_from_the_three_population_network_are_pure(network, normalize):
    for seed in range(20):
        drawn, truth = draw(network, seed)
        found = cluster_recording(drawn, 3, normalize=normalize, random_state=0)
        assert adjusted_rand_score(truth, found.labels) == 1, f"draw {seed}"


def test_ten_seconds_suffice_for_elephants_distance_where_rates_are_equal_within_populations(network):
    for seed in range(20):
        drawn, truth = draw(network, seed, duration=10.0)
        found = cluster_recording(drawn, 3, normalize=None, random_state=0)
        assert adjusted_rand_score(truth, found.labels) == 1, f"draw {seed}"


def test_binned_counts_of_the_network_give_the_same_populations(network):
    drawn, truth = draw(network, 1)
    trains = [neo_train(times, t_stop=20.0) for times in drawn.spike_times[0]]
    counts = SpikeTrainBinner(4 * pq.ms, multiple="merge").fit_transform(trains)
    clusterer = PopulationClusterer(3, bin_size=4 * pq.ms, random_state=0)
    assert adjusted_rand_score(truth, clusterer.fit_predict(counts)) == 1
    assert_allclose(clusterer.distances_, cluster_recording(drawn, 3).distances, atol=0.02)


def test_the_number_of_populations_of_the_network_is_found(network):
    numbers = [cluster_recording(draw(network, seed)[0], random_state=0).n_clusters for seed in range(6)]
    assert numbers == [3] * 6


def test_one_population_is_the_answer_where_there_is_no_structure(caplog):
    rng = np.random.default_rng(0)
    poisson = recording([np.sort(rng.uniform(0, 20, rng.poisson(20 * r))) for r in rng.lognormal(2, 0.5, 18)])
    with caplog.at_level(logging.INFO, logger="neulvm_neo.clustering"):
        found = cluster_recording(poisson, random_state=0)
    assert found.n_clusters == 1 and not found.labels.any()
    assert np.isnan(found.silhouette)
    assert max(found.scores.values()) < clustering.MIN_SILHOUETTE
    assert "one population" in caplog.text


def test_neurons_that_share_one_drive_are_one_population():
    rng = np.random.default_rng(1)
    found = cluster_recording(recording(cox(rng, [10.0] * 18, [0] * 18)), random_state=0)
    assert found.n_clusters == 1


def test_the_choice_of_the_number_is_told(caplog):
    with caplog.at_level(logging.INFO, logger="neulvm_neo.clustering"):
        found = cluster_recording(recording(heterogeneous(3)), random_state=0)
    assert found.n_clusters == 3
    assert set(found.scores) <= set(range(2, 9)) and found.scores[3] > clustering.MIN_SILHOUETTE
    assert "3 populations chosen" in caplog.text


def test_a_given_number_is_not_second_guessed(easy):
    found = cluster_recording(recording(easy[0]), 3, random_state=0)
    assert found.n_clusters == 3 and set(found.labels) == {0, 1, 2}
    assert found.scores == {}


def test_too_few_neurons_for_a_choice_are_one_population():
    found = cluster_recording(recording(heterogeneous(0)[:5]), random_state=0)
    assert found.n_clusters == 1 and found.scores == {}


def test_small_clusters_are_not_candidates(caplog):
    rng = np.random.default_rng(2)
    trial = cox(rng, [12.0] * 14, [0] * 7 + [1] * 7)
    assert cluster_recording(recording(trial), random_state=0).n_clusters == 2
    with caplog.at_level(logging.INFO, logger="neulvm_neo.clustering"):
        assert cluster_recording(recording(trial), min_cluster_size=8, random_state=0).n_clusters == 1
    assert "below min_cluster_size" in caplog.text


def test_the_order_of_the_neurons_does_not_matter():
    trial = heterogeneous(7)
    labels = cluster_recording(recording(trial), 3, random_state=0).labels
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(trial))
        shuffled = cluster_recording(recording([trial[i] for i in order]), 3, random_state=0).labels
        assert_array_equal(shuffled, labels[order])


def test_population_zero_fires_most():
    rng = np.random.default_rng(0)
    trial = cox(rng, [4.0] * 6 + [20.0] * 6 + [10.0] * 6, [0] * 6 + [1] * 6 + [2] * 6)
    found = cluster_recording(recording(trial), 3, random_state=0)
    assert_array_equal(found.labels, [2] * 6 + [0] * 6 + [1] * 6)


def test_a_seed_gives_the_same_labels_in_every_form():
    trial = recording(heterogeneous(11, modulation=0.3))
    for make in (lambda: 3, lambda: np.random.default_rng(3), lambda: np.random.RandomState(3)):
        a, b = (cluster_recording(trial, 4, random_state=make()).labels for _ in range(2))
        assert_array_equal(a, b)


# --- trials ----------------------------------------------------------------------------------------------------------


def test_trials_add_up_where_each_alone_is_too_short():
    trials = [heterogeneous(9, duration=4.0)] + [
        cox(np.random.default_rng(s), np.random.default_rng(9).lognormal(2.0, 0.5, 24), THREE, duration=4.0)
        for s in range(5)
    ]

    def score(*trials):
        found = cluster_recording(recording(*trials, duration=4.0), 3, random_state=0)
        return adjusted_rand_score(THREE, found.labels)

    assert np.mean([score(trial) for trial in trials]) < 0.8
    assert score(*trials) > 0.95


def test_raw_distances_of_trials_add_in_squares():
    trials = [heterogeneous(s, duration=4.0) for s in (0, 1)]
    single = [van_rossum_distances([(t, 4.0)], 0.1, None) for t in trials]
    both = van_rossum_distances([(t, 4.0) for t in trials], 0.1, None)
    assert_allclose(both**2, single[0] ** 2 + single[1] ** 2, atol=1e-6)


def test_every_form_of_trials_gives_the_same_labels(easy):
    trial, truth = easy
    trains = [neo_train(t, t_stop=20.6) for t in trial]
    seg = neo.Segment()
    seg.spiketrains.extend(trains)
    blk = neo.Block()
    blk.segments.append(seg)
    for X in (trains, seg, seg.spiketrains, blk, [trains], elephant.trials.TrialsFromLists([trains])):
        found = PopulationClusterer(2, random_state=0).fit(X)
        assert adjusted_rand_score(truth, found.labels_) == 1
        assert found.n_features_in_ == 6


# --- silent neurons --------------------------------------------------------------------------------------------------


def test_silent_neurons_are_named_and_left_unassigned(easy):
    trial, truth = easy
    trial = [np.array([]), *trial, np.array([1.0, 2.0])]
    with pytest.warns(SilentNeuronsWarning, match="2 of 8 neurons fired fewer than 5 spikes.*: n0, n7"):
        found = cluster_recording(recording(trial), 2, random_state=0)
    assert_array_equal(found.silent, [0, 7])
    assert_array_equal(found.labels[[0, 7]], -1)
    assert adjusted_rand_score(truth, found.labels[1:-1]) == 1
    assert found.distances.shape == (8, 8) and np.isfinite(found.distances).all()


def test_silent_neurons_belong_to_the_only_population_without_a_warning(easy):
    found = cluster_recording(recording([np.array([]), *easy[0]]), 1)
    assert_array_equal(found.labels, 0)
    assert found.silent.tolist() == [0]


def test_a_wholly_silent_recording_is_one_population_and_not_two():
    nothing = recording([np.array([])] * 7)
    assert cluster_recording(nothing).n_clusters == 1
    with pytest.raises(ValueError, match="n_clusters is 2, but only 0 of 7 neurons have 5 spikes"):
        cluster_recording(nothing, 2)


# --- binned counts ---------------------------------------------------------------------------------------------------


def test_several_spikes_of_a_bin_count_several_times():
    counts = np.zeros((100, 2))
    counts[[10, 50], :] = [3, 1]
    found = cluster_counts([counts], 0.01, 1, time_constant=0.05, normalize=None)
    by_hand = van_rossum_distances([([np.repeat([0.105, 0.505], 3), np.array([0.105, 0.505])], 1.0)], 0.05, None)
    assert_allclose(found.distances, by_hand, atol=1e-7)


def test_arrays_and_lists_of_arrays_are_trials():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 2, (400, 6))
    whole = PopulationClusterer(2, random_state=0, bin_size=5 * pq.ms).fit(counts)
    listed = PopulationClusterer(2, random_state=0, bin_size=5 * pq.ms).fit([counts])
    nested = PopulationClusterer(2, random_state=0, bin_size=5 * pq.ms).fit(counts.tolist())
    assert_array_equal(whole.distances_, listed.distances_)
    assert_array_equal(whole.distances_, nested.distances_)
    assert len(PopulationClusterer(2, random_state=0).fit([counts, counts[:100]]).labels_) == 6


def test_two_milliseconds_are_assumed_aloud(caplog):
    counts = np.random.default_rng(0).integers(0, 2, (400, 6))
    with caplog.at_level(logging.INFO, logger="neulvm_neo.clustering"):
        PopulationClusterer(2, random_state=0).fit(counts)
    assert "bins of 2 ms assumed" in caplog.text


@pytest.mark.parametrize(
    "counts, message",
    [
        ([np.ones(5)], r"shape \(5,\)"),
        ([np.full((5, 2), -1)], "negative"),
        ([np.full((5, 2), np.nan)], "NaN"),
        ([np.ones((5, 2)), np.ones((5, 3))], r"\[2, 3\] columns"),
        ([], "columns"),
    ],
)
def test_arrays_that_are_no_counts_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        cluster_counts(counts, 0.002, 2)


# --- the estimator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, error, message",
    [
        (dict(n_clusters=0), ValueError, "n_clusters is 0"),
        (dict(n_clusters=2.5), ValueError, "n_clusters is 2.5"),
        (dict(n_clusters=7), ValueError, "only 6 of 6 neurons"),
        (dict(time_constant=0.1), TypeError, "time_constant has no unit"),
        (dict(time_constant=0 * pq.ms), ValueError, "time_constant is 0"),
        (dict(time_constant=np.inf * pq.ms), ValueError, "time_constant is inf"),
        (dict(time_constant=1 * pq.mV), ValueError, "expected a time"),
        (dict(normalize="raw"), ValueError, "normalize is 'raw'"),
        (dict(algorithm="dbscan"), ValueError, "algorithm is 'dbscan'"),
        (dict(min_cluster_size=0), ValueError, "min_cluster_size is 0"),
    ],
)
def test_settings_are_checked_in_fit(easy, settings, error, message):
    clusterer = PopulationClusterer(**settings)
    with pytest.raises(error, match=message):
        clusterer.fit([neo_train(t, t_stop=20.6) for t in easy[0]])


def test_it_is_an_estimator_like_others(easy):
    trial, truth = easy
    clusterer = clone(PopulationClusterer(2, time_constant=50 * pq.ms, normalize="cosine", random_state=1))
    trains = [neo_train(t, t_stop=20.6) for t in trial]
    before = [t.magnitude.copy() for t in trains]
    labels = clusterer.fit_predict(trains)
    assert_array_equal(labels, clusterer.labels_)
    assert labels.dtype == int
    assert clusterer.time_constant_ == 50 * pq.ms
    assert clusterer.distances_.shape == (6, 6)
    for train, times in zip(trains, before, strict=True):
        assert_array_equal(train.magnitude, times)


def test_three_dishes_of_a_real_recording_are_told_apart(shared_data):
    from neulvm_neo.io import read_nwb

    block = read_nwb(shared_data("multiwell_on.nwb"), window=(200.0, 500.0))
    wells = {}
    for train in block.segments[0].spiketrains:
        wells.setdefault(train.annotations["population"], []).append(train)
    busiest = sorted(wells, key=lambda well: -sum(len(t) for t in wells[well]))[:3]
    trains = [t for well in busiest for t in wells[well] if len(t) >= 100]
    truth = [str(t.annotations["population"]) for t in trains]
    found = PopulationClusterer(3, random_state=0).fit(trains)
    assert adjusted_rand_score(truth, found.labels_) > 0.9


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("n_clusters", [2, None])
def test_identical_trains_are_one_population_whatever_is_asked_for(n_clusters):
    counts = np.tile([[1.0], [0.0], [0.0], [1.0], [0.0]], (40, 8))
    found = cluster_counts([counts], 0.01, n_clusters, random_state=0)
    assert found.n_clusters == 1
    assert found.labels.tolist() == [0] * 8
