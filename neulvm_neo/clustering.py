"""Which recorded neuron belongs to which population: clusters of spike trains by van Rossum distance."""

import logging
import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import silhouette_score
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits

from . import units
from .binning import bin_size_in_seconds
from .recording import SpikeRecording, is_recording
from .van_rossum import van_rossum_distances

logger = logging.getLogger(__name__)

# 25 neurons of the three-population network of Wang et al. 2022, 20 s, centred distance, 20 draws: 100 ms is right most
# often (20 of 20; 10 ms and 300 ms also 20; with log-normal rates, sd 0.5: 19 of 20, against 13 at 10 ms and 17 at 300
# ms).
DEFAULT_TIME_CONSTANT = 0.1  # s
# With fewer spikes a neuron's distances are chance; it is left out rather than guessed.
MIN_SPIKES = 5
# Held-out silhouette below which the data show no populations. Simulated without structure (Poisson, one population of
# a network): at most 0.05, or 0.12 for populations of ten; the three-population network in 20 s: 0.5 to 0.7.
MIN_SILHOUETTE = 0.1
MAX_CLUSTERS = 8
# The silhouette prefers few populations, for instance E1 and E2 against I when the rates of I are high. The largest
# number that comes near the best score is right more often: three populations, 9 neurons, 20 s: 12 of 12 draws instead
# of 6.
_NEARLY_BEST = 0.8

_NORMALIZATIONS = ("centered", "cosine", None)
_ALGORITHMS = ("kmeans", "agglomerative")
# Held-out scores compare halves made of alternating blocks, at most this many and none shorter than this many time
# constants.
_MAX_BLOCKS = 10
_MIN_BLOCK = 10.0


class SilentNeuronsWarning(UserWarning):
    """Some neurons fired too rarely to be assigned to a population."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """Populations found among recorded neurons: the attributes of `PopulationClusterer` without the underscore."""

    labels: np.ndarray
    distances: np.ndarray
    n_clusters: int
    silhouette: float
    silent: np.ndarray
    scores: dict = field(default_factory=dict)


class PopulationClusterer(ClusterMixin, BaseEstimator):
    """Assign neurons to populations by the similarity of their spike trains.

    Elephant's van Rossum distance compares every pair of spike trains, smoothed by a causal exponential; neurons whose
    distances to all others are alike form a population.

    Parameters
    ----------
    n_clusters : int, optional
        Number of populations. ``None`` chooses it (Notes).
    time_constant : quantities.Quantity, optional
        Time constant of the smoothing. ``None`` means 100 ms.
    normalize : {"centered", "cosine", None}, default "centered"
        "centered": 1 minus the correlation of the smoothed trains, so that neurons group by *when* they fire, whatever
        their rates. "cosine": 1 minus the cosine, which keeps the coincidences expected from the rates. ``None``:
        Elephant's distance as it is; it separates populations by rate as well, which helps where all neurons of a
        population fire at the same rate (the networks of the paper), and misleads where they do not.
    algorithm : {"kmeans", "agglomerative"}, default "kmeans"
        "kmeans" as in the paper, on the rows of the distance matrix (the distance to itself replaced by the mean of the
        row); "agglomerative" is average linkage on the distances.
    min_cluster_size : int, default 2
        Smallest population considered when the number is chosen.
    bin_size : quantities.Quantity, optional
        Bin width of binned arrays given to `fit`; ``None`` means 2 ms. Not used for spike trains.
    random_state : int, numpy.random.Generator, numpy.random.RandomState, optional
        Seed of k-means (20 starts).

    Attributes
    ----------
    labels_ : numpy.ndarray of int, shape (n_neurons,)
        Population of every neuron; 0 has the highest mean rate. -1 for neurons in `silent_`.
    n_clusters_ : int
        Number of populations.
    distances_ : numpy.ndarray, shape (n_neurons, n_neurons)
        Distances used: symmetric, zero diagonal; 0 to 2 if normalised.
    silhouette_ : float
        Mean silhouette of the labels on the rows of the distance matrix, -1 to 1; NaN with one population.
    scores_ : dict of int to float
        Held-out silhouette of every number of populations tried; empty if `n_clusters` was given.
    silent_ : numpy.ndarray of int
        Neurons with fewer than 5 spikes. They are named in a `SilentNeuronsWarning` and get the label -1, since a guess
        from their rate would bias the population; with a single population there is nothing to guess and they belong to
        it.
    time_constant_ : quantities.Quantity
        The time constant used, in ms.
    n_features_in_ : int
        Number of neurons.

    Raises
    ------
    TypeError, ValueError
        If a time has no unit or is not positive, an option is unknown, counts are negative or not finite, or fewer
        active neurons than populations remain.

    Notes
    -----
    Distance [1]_: with ``K_ij = Σ exp(-|t_i - t_j| / τ)`` over all pairs of spikes, Elephant's distance is
    ``√(K_ii + K_jj - 2 K_ij)``. The norms ``K_ii`` are distances to an empty train, so K, and the cosine
    ``K_ij / √(K_ii K_jj)``, follow from one call. "centered" subtracts from every train its mean rate first.

    Several trials count as one long recording with gaps; the mean rate is that of all trials, so that slow changes
    shared by a population across trials count as similarity.

    With ``n_clusters=None``, 2 to ``min(8, n_neurons // 3)`` are tried: the recording is cut into alternating blocks
    (or trials), and labels found in one half are scored by their silhouette in the other. The largest number whose mean
    score is at least 0.8 of the best is chosen. If the best is below 0.1, there is no structure that repeats itself,
    and the answer is one population. Neurons of one population that are coupled strongly and weakly to a common drive,
    or fire at very different rates, may still pass for two: look at the distance matrix.

    References
    ----------
    .. [1] van Rossum, Neural Computation 13:751 (2001); Houghton & Kreuz, Network 23:48 (2012).

    Examples
    --------
    >>> import neo, quantities as pq
    >>> rng = np.random.default_rng(1)
    >>> early, late = np.arange(20.0), np.arange(20.0) + 0.5   # two groups that take turns
    >>> trains = [neo.SpikeTrain(t + rng.uniform(0, 0.1, 20), units="s", t_stop=20.6) for t in 3 * [early] + 3 * [late]]
    >>> PopulationClusterer(n_clusters=2, random_state=0).fit(trains).labels_
    array([0, 0, 0, 1, 1, 1])
    """

    def __init__(
        self,
        n_clusters=None,
        *,
        time_constant=None,
        normalize="centered",
        algorithm="kmeans",
        min_cluster_size=2,
        bin_size=None,
        random_state=None,
    ):
        self.n_clusters = n_clusters
        self.time_constant = time_constant
        self.normalize = normalize
        self.algorithm = algorithm
        self.min_cluster_size = min_cluster_size
        self.bin_size = bin_size
        self.random_state = random_state

    def fit(self, X, y=None):
        """Find the populations.

        Parameters
        ----------
        X : Neo spike trains, SpikeRecording, array (n_bins, n_neurons), or list of arrays
            A Block, Segment, list of SpikeTrain, list of trials or Elephant Trials; or spike counts per bin of
            `bin_size`, one array per trial. The neurons are clustered: trains, or **columns**.
        y : ignored

        Returns
        -------
        PopulationClusterer
            self
        """
        time_constant = DEFAULT_TIME_CONSTANT
        if self.time_constant is not None:
            time_constant = units.positive_seconds(self.time_constant, "time_constant")
        options = dict(
            time_constant=time_constant,
            normalize=self.normalize,
            algorithm=self.algorithm,
            min_cluster_size=self.min_cluster_size,
            random_state=self.random_state,
        )
        if is_recording(X):
            found = cluster_recording(SpikeRecording.from_neo(X), self.n_clusters, **options)
        else:
            bin_size = bin_size_in_seconds(self.bin_size)
            if self.bin_size is None:
                logger.info("X is an array without bin_size: bins of %g ms assumed", 1e3 * bin_size)
            arrays = X if isinstance(X, (list, tuple)) and np.ndim(X[0]) == 2 else [X]
            found = cluster_counts(arrays, bin_size, self.n_clusters, **options)
        self.labels_ = found.labels
        self.n_clusters_ = found.n_clusters
        self.distances_ = found.distances
        self.silhouette_ = found.silhouette
        self.scores_ = found.scores
        self.silent_ = found.silent
        self.time_constant_ = units.milliseconds(time_constant)
        self.n_features_in_ = len(found.labels)
        return self


def cluster_counts(counts, bin_size, n_clusters=None, **options):
    """Cluster the columns of binned spike counts.

    Parameters
    ----------
    counts : list of numpy.ndarray, each (n_bins, n_neurons)
        Non-negative; one array per trial. Every spike is placed at the centre of its bin, n spikes of a bin n times.
        Numbers that are not whole are rounded.
    bin_size : float
        Bin width in s.
    n_clusters : int, optional
    **options
        See `cluster_recording`.

    Returns
    -------
    Clustering

    Raises
    ------
    ValueError
        If a trial is not two-dimensional, empty, negative or not finite, or if the numbers of columns differ.

    Examples
    --------
    >>> counts = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (50, 1))
    >>> cluster_counts([counts], 0.05, n_clusters=2, time_constant=0.02, random_state=0).labels
    array([0, 0, 1, 1])
    """
    return cluster_recording(_recording_of_counts(counts, bin_size), n_clusters, **options)


def cluster_recording(
    recording,
    n_clusters=None,
    *,
    time_constant=DEFAULT_TIME_CONSTANT,
    normalize="centered",
    algorithm="kmeans",
    min_cluster_size=2,
    random_state=None,
):
    """Cluster the neurons of a recording; `PopulationClusterer` in seconds and without state.

    Parameters
    ----------
    recording : SpikeRecording
    n_clusters : int, optional
    time_constant : float, default 0.1
        In s.
    normalize, algorithm, min_cluster_size, random_state
        See `PopulationClusterer`.

    Returns
    -------
    Clustering
    """
    _check_options(n_clusters, time_constant, normalize, algorithm, min_cluster_size)
    counts = recording.n_spikes
    silent = np.flatnonzero(counts < MIN_SPIKES)
    active = np.flatnonzero(counts >= MIN_SPIKES)
    if n_clusters is not None and n_clusters > max(len(active), 1):
        raise ValueError(
            f"n_clusters is {n_clusters}, but only {len(active)} of {len(counts)} neurons have {MIN_SPIKES} spikes or "
            "more; ask for fewer populations, give the labels, or record longer."
        )
    seed = _seed(random_state)
    pieces = _pieces(recording)
    distances = van_rossum_distances(pieces, time_constant, normalize)
    rows = _rows(distances, active)
    # a canonical order of the neurons makes the partition independent of the order in which they were given
    active = active[np.lexsort((rows.sum(axis=1), counts[active]))]
    cluster = _Partition(algorithm, seed)

    scores = {}
    if n_clusters is None:
        halves = [van_rossum_distances(half, time_constant, normalize) for half in _halves(pieces, time_constant)]
        scores = _held_out_scores(distances, halves, active, cluster, min_cluster_size)
        n_clusters = _choose(scores, len(active))

    labels = np.zeros(len(counts), dtype=int)
    silhouette = np.nan
    if n_clusters > 1:
        labels[silent] = -1
        labels[active] = cluster(distances, active, n_clusters)
        labels = _ordered_by_rate(labels, recording.rates)
        n_clusters = int(labels.max()) + 1  # fewer than asked for where trains are identical
        if 1 < n_clusters < len(active):
            silhouette = float(silhouette_score(_rows(distances, active), labels[active]))
        _warn_of_silent(recording, silent)
    return Clustering(labels, distances, int(n_clusters), silhouette, silent, scores)


def _rows(distances, active):
    """What k-means sees: every neuron's distances to the others. The zero to itself tells nothing and is left out."""
    rows = distances[np.ix_(active, active)].copy()
    if len(rows) > 1:
        np.fill_diagonal(rows, rows.sum(axis=1) / (len(rows) - 1))
    return rows


class _Partition:
    """Labels of the active neurons from a distance matrix."""

    def __init__(self, algorithm, seed):
        self.algorithm = algorithm
        self.seed = seed

    def __call__(self, distances, active, n_clusters):
        if self.algorithm == "kmeans":
            with threadpool_limits(1):  # so little work takes several times longer when threads wait for each other
                return KMeans(n_clusters, n_init=20, random_state=self.seed).fit_predict(_rows(distances, active))
        linkage = AgglomerativeClustering(n_clusters, metric="precomputed", linkage="average")
        return linkage.fit_predict(distances[np.ix_(active, active)])


def _held_out_scores(distances, halves, active, cluster, min_cluster_size):
    scores = {}
    for k in range(2, min(MAX_CLUSTERS, len(active) // 3) + 1):
        if np.bincount(cluster(distances, active, k)).min() < min_cluster_size:
            continue
        of_half = [cluster(half, active, k) for half in halves]
        crossed = zip(of_half, reversed(halves), strict=True)
        scores[k] = float(np.mean([_silhouette(_rows(other, active), labels) for labels, other in crossed]))
    return scores


def _silhouette(rows, labels):
    return silhouette_score(rows, labels) if np.unique(labels).size > 1 else 0.0  # identical trains cannot be divided


def _choose(scores, n_active):
    if not scores:
        if n_active < 6:
            reason = f"{n_active} active neurons are too few to compare numbers of populations"
        else:
            reason = "every division leaves a population below min_cluster_size, as outliers do"
        logger.info("one population: %s", reason)
        return 1
    told = ", ".join(f"{k}: {score:.2f}" for k, score in scores.items())
    highest = max(scores.values())
    if highest < MIN_SILHOUETTE:
        logger.info("one population: held-out silhouettes (%s) are below %g", told, MIN_SILHOUETTE)
        return 1
    best = max(k for k, score in scores.items() if score >= _NEARLY_BEST * highest)
    logger.info("%d populations chosen by held-out silhouette (%s)", best, told)
    return best


def _ordered_by_rate(labels, rates):
    names = np.unique(labels[labels >= 0])
    order = sorted(names, key=lambda label: (-rates[labels == label].mean(), np.flatnonzero(labels == label)[0]))
    renamed = labels.copy()
    for new, old in enumerate(order):
        renamed[labels == old] = new
    return renamed


def _pieces(recording):
    return [
        ([times - start for times in trial], float(length))
        for trial, start, length in zip(recording.spike_times, recording.t_start, recording.durations, strict=True)
    ]


def _halves(pieces, time_constant):
    """Two halves of the recording that share its slow changes: alternating trials or, if few, alternating blocks."""
    if len(pieces) >= 4:
        blocks = pieces
    else:
        blocks = []
        for times, length in pieces:
            n_blocks = int(np.clip(length / (_MIN_BLOCK * time_constant), 2, _MAX_BLOCKS))
            edges = np.linspace(0.0, length, n_blocks + 1)
            for left, right in zip(edges[:-1], edges[1:], strict=True):
                last = right == length
                inside = [t[(t >= left) & ((t < right) | last)] - left for t in times]
                blocks.append((inside, right - left))
    return blocks[0::2], blocks[1::2]


def _recording_of_counts(counts, bin_size):
    arrays = []
    for i, trial in enumerate(counts):
        array = np.asarray(trial, dtype=float)
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"trial {i} has shape {array.shape}; expected counts with the shape (n_bins, n_neurons).")
        if not np.isfinite(array).all() or (array < 0).any():
            raise ValueError(f"trial {i} contains negative, NaN or infinite counts; expected spike counts, 0, 1, 2, …")
        arrays.append(array)
    n_neurons = {array.shape[1] for array in arrays}
    if len(n_neurons) != 1:
        raise ValueError(f"the trials have {sorted(n_neurons)} columns; expected one or more, of the same neurons.")
    if not (np.isfinite(bin_size) and bin_size > 0):
        raise ValueError(f"bin_size is {bin_size!r} s; expected a positive, finite time such as 0.002.")
    spike_times = []
    for array in arrays:
        centres = (np.arange(len(array)) + 0.5) * bin_size
        spike_times.append(tuple(np.repeat(centres, np.rint(column).astype(int)) for column in array.T))
    t_stop = np.array([len(array) * bin_size for array in arrays])
    return SpikeRecording(tuple(spike_times), np.zeros(len(arrays)), t_stop, tuple(map(str, range(n_neurons.pop()))))


def _check_options(n_clusters, time_constant, normalize, algorithm, min_cluster_size):
    whole = isinstance(n_clusters, (int, np.integer)) and not isinstance(n_clusters, bool)
    if n_clusters is not None and not (whole and n_clusters >= 1):
        raise ValueError(f"n_clusters is {n_clusters!r}; expected a positive whole number, or None to choose one.")
    if not (np.isfinite(time_constant) and time_constant > 0):
        raise ValueError(f"time_constant is {time_constant!r} s; expected a positive, finite time such as 0.1.")
    if normalize not in _NORMALIZATIONS:
        raise ValueError(f"normalize is {normalize!r}; expected one of {', '.join(map(repr, _NORMALIZATIONS))}.")
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"algorithm is {algorithm!r}; expected one of {', '.join(map(repr, _ALGORITHMS))}.")
    if min_cluster_size < 1:
        raise ValueError(f"min_cluster_size is {min_cluster_size!r}; expected 1 or more.")


def _seed(random_state):
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _warn_of_silent(recording, silent):
    if silent.size:
        names = ", ".join(recording.neuron_ids[i] for i in silent[:20]) + (", …" if silent.size > 20 else "")
        warnings.warn(
            f"{silent.size} of {recording.n_neurons} neurons fired fewer than {MIN_SPIKES} spikes and belong to no "
            f"population (label -1): {names}. Leave them out, give their labels, or use a longer recording.",
            SilentNeuronsWarning,
            stacklevel=3,
        )
