"""Do distances of spike trains tell which population a neuron is of? (Wang et al. 2022, section 5.2)."""

import warnings
from typing import NamedTuple

import joblib
import numpy as np
import quantities as pq

from .. import plotting
from ..clustering import SilentNeuronsWarning, cluster_recording
from ..inference import tasks
from ..recording import SpikeRecording
from ..simulation import simulate_microscopic
from .circuits import winner_take_all
from .registry import Experiment

N_DRAWS, N_NEURONS = 20, 25
FEWEST = 3  # neurons of a population in a draw, and in a cluster
DURATION = 10.0  # s, a trial of the paper
# Share of its spikes that is kept of a neuron where rates are made to differ: log-uniform. A sorter misses the rest.
KEPT = (0.3, 1.0)
_CONDITIONS = {"as_simulated": "the network's spikes", "rates_differ": "a neuron keeps 30 to 100 % of its spikes"}


class Method(NamedTuple):
    """A distance: how it is normalised, its time constant in s, and what it is called."""

    normalize: str | None
    time_constant: float
    words: str


METHODS = {
    "paper": Method(None, 0.4, "paper: van Rossum, 400 ms"),
    "elephant": Method(None, 1.0, "Elephant's default: van Rossum, 1 s"),
    "ours": Method("centered", 0.1, "neulvm-neo's default: centred, 100 ms"),
}


class _Draw(NamedTuple):
    """One sample of neurons: its trains, the true populations (n_neurons,), and samples thrown away before it."""

    recording: SpikeRecording
    truth: np.ndarray
    n_redrawn: int


def run(*, seed, quick, n_jobs=1, say=lambda line: None, checkpoint=lambda found: None, n_draws=N_DRAWS):
    """Draw neurons, cluster them by three distances, and compare with their populations.

    Parameters
    ----------
    seed : int
    quick : bool
        Makes no difference: the whole experiment takes less than a minute.
    n_jobs : int
        Cores, over draws.
    say, checkpoint : callable
        See `registry.Experiment`.
    n_draws : int
        For tests.

    Returns
    -------
    dict
        ``purity`` (by condition and method, one value per draw: the share of neurons that are of the commonest
        population of their cluster), ``n_pure`` (draws in which it is 1), ``adjusted_rand``, ``smallest_cluster`` (per
        draw), ``n_clusters_chosen`` by our default where nobody says three, ``n_redrawn``, and ``example``, the spikes
        (s), true populations, labels and distances of the first draw.
    """
    children = np.random.SeedSequence(seed).spawn(n_draws)
    jobs = [joblib.delayed(_one_draw)(child, i == 0) for i, child in enumerate(children)]
    rows, example = [], None
    for row, first in tasks.run_one_by_one(jobs, n_jobs):
        rows.append(row)
        example = first or example
        pure = sum(row["purity"]["as_simulated"]["paper"] == 1 for row in rows)
        say(f"draw {len(rows)} of {n_draws}: {pure} pure by the paper's distance")
        checkpoint({"draws": rows})
    by_draw = {
        what: {c: {m: [row[what][c][m] for row in rows] for m in METHODS} for c in _CONDITIONS}
        for what in ("purity", "adjusted_rand", "smallest_cluster")
    }
    n_pure = {c: {m: sum(p == 1 for p in by_draw["purity"][c][m]) for m in METHODS} for c in _CONDITIONS}
    return {
        "n_draws": n_draws,
        "n_pure": n_pure,
        **by_draw,
        "n_clusters_chosen": {c: [row["chosen"][c] for row in rows] for c in _CONDITIONS},
        "n_redrawn": sum(row["n_redrawn"] for row in rows),
        "example": example,
        "published": {"n_draws": 20, "n_pure": 20, "smallest_cluster": 3},
        "protocol": _protocol(n_draws),
        "failures": _failures(n_pure, by_draw["smallest_cluster"], n_draws),
    }


def purity(truth, labels):
    """Share of neurons that belong to the commonest population of their cluster; a neuron without one (-1) does not.

    Parameters
    ----------
    truth, labels : array of int, shape (n_neurons,)

    Returns
    -------
    float

    Examples
    --------
    >>> purity([0, 0, 1, 1], [2, 2, 0, 2]), purity([0, 0, 1, 1], [0, 0, 1, -1])
    (0.75, 0.75)
    """
    truth, labels = np.asarray(truth), np.asarray(labels)
    commonest = [np.bincount(truth[labels == k]).max() for k in np.unique(labels[labels >= 0])]
    return float(sum(commonest) / truth.size)


def figure(result):
    """Spikes of the first draw by cluster, the distances of the paper and ours, and how pure all draws are.

    Parameters
    ----------
    result : dict
        Of `run`, as it is in a file.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    example = result["example"]
    drawing = Figure(figsize=(11, 8.2), layout="constrained")
    grid = drawing.add_gridspec(2, 6, height_ratios=[1.0, 1.0])
    times = tuple(np.array(train) for train in example["spikes"])
    ids = tuple(str(i) for i in range(len(times)))
    recording = SpikeRecording((times,), np.zeros(1), np.array([example["duration"]]), ids)
    raster = plotting.plot_raster(
        recording, *_named(example["truth"], example["labels"]["paper"]), axes=drawing.add_subplot(grid[0, :4])
    )
    raster.set_title("A  one draw of 25 neurons, by cluster (paper's distance)", loc="left", fontsize="medium")
    _dots(drawing.add_subplot(grid[0, 4:]), result)
    for column, method in ((slice(0, 3), "paper"), (slice(3, 6), "ours")):
        axes = drawing.add_subplot(grid[1, column])
        labels, names = _named(example["truth"], example["labels"][method])
        found = _Distances(labels, np.array(example["distances"][method]), METHODS[method].normalize)
        plotting.plot_distance_matrix(found, names, axes=axes)
        letter = "C" if method == "paper" else "D"
        axes.set_title(f"{letter}  {METHODS[method].words}", loc="left", fontsize="medium")
    return drawing


def summary(result):
    """What was found beside what was published.

    Parameters
    ----------
    result : dict
        Of `run`, as it is in a file.

    Returns
    -------
    list of str
    """
    n = result["n_draws"]
    lines = [*result["failures"], f"Pure draws of {n} (published: 20 of 20):"]
    for condition, words in _CONDITIONS.items():
        lines.append(f"  {words}")
        for name, method in METHODS.items():
            few = min(result["smallest_cluster"][condition][name])
            mean = np.mean(result["purity"][condition][name])
            lines.append(
                f"    {method.words:<38} {result['n_pure'][condition][name]:>3}   mean purity {mean:.3f}, "
                f"smallest cluster {few}"
            )
        chosen = result["n_clusters_chosen"][condition]
        right = sum(k == 3 for k in chosen)
        lines.append(f"    number of clusters left to our default: three in {right} of {len(chosen)}")
    lines.append("This is the whole experiment, also when it is quick.")
    lines.append(f"Draws thrown away for having fewer than {FEWEST} neurons of a population: {result['n_redrawn']}.")
    return lines


def _one_draw(child, keep):
    """(what is kept of a draw, and all of it if it is the example)."""
    rng = np.random.default_rng(child)
    drawn, k_means_seed = _draw(rng), int(rng.integers(2**31 - 1))
    recordings = {"as_simulated": drawn.recording, "rates_differ": _thinned(drawn.recording, rng)}
    row = {"purity": {}, "adjusted_rand": {}, "smallest_cluster": {}, "chosen": {}, "n_redrawn": drawn.n_redrawn}
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SilentNeuronsWarning)  # such a neuron counts as wrong
        for condition, recording in recordings.items():
            found[condition] = {name: _clustered(recording, 3, name, k_means_seed) for name in METHODS}
            for what, score in _SCORES.items():
                row[what][condition] = {name: score(drawn.truth, c.labels) for name, c in found[condition].items()}
            row["chosen"][condition] = _clustered(recording, None, "ours", k_means_seed).n_clusters
    return row, _example(drawn, found["as_simulated"]) if keep else None


def _draw(rng):
    """Neurons at random. Those of a population are alike, so that only how many there are of each is drawn."""
    circuit, n_redrawn = winner_take_all(), 0
    while True:
        n_recorded = rng.multivariate_hypergeometric(circuit.n_neurons, N_NEURONS)
        if n_recorded.min() >= FEWEST:
            break
        n_redrawn += 1
    simulated = simulate_microscopic(
        circuit, duration=DURATION * pq.s, n_recorded=n_recorded.tolist(), random_state=rng
    )  # fmt: skip
    return _Draw(SpikeRecording.from_neo(simulated.spiketrains), np.repeat(np.arange(3), n_recorded), n_redrawn)


def _thinned(recording, rng):
    """The same neurons with differing shares of their spikes."""
    (trains,), (low, high) = recording.spike_times, np.log(KEPT)
    kept = np.exp(rng.uniform(low, high, len(trains)))
    thinned = tuple(train[rng.random(train.size) < share] for train, share in zip(trains, kept, strict=True))
    return SpikeRecording((thinned,), recording.t_start, recording.t_stop, recording.neuron_ids)


def _clustered(recording, n_clusters, method, seed):
    normalize, time_constant, _ = METHODS[method]
    return cluster_recording(
        recording, n_clusters, time_constant=time_constant, normalize=normalize, random_state=seed
    )  # fmt: skip


def _adjusted_rand(truth, labels):
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(truth, labels))


def _smallest(truth, labels):
    return int(np.bincount(labels[labels >= 0], minlength=3).min())


_SCORES = {"purity": purity, "adjusted_rand": _adjusted_rand, "smallest_cluster": _smallest}


def _example(drawn, found):
    (trains,) = drawn.recording.spike_times
    return {
        "duration": DURATION,
        "truth": drawn.truth.tolist(),
        "spikes": [np.round(train, 4).tolist() for train in trains],
        "labels": {name: c.labels.tolist() for name, c in found.items()},
        "distances": {name: np.round(c.distances, 5).tolist() for name, c in found.items()},
    }


def _protocol(n_draws):
    return {
        "circuit": "winner_take_all: 400, 400 and 200 neurons (the paper writes of 600 neurons, but has 1000)",
        "network": "simulated neuron by neuron in steps of 0.2 ms with the membrane's exact decay",
        "draws": f"{n_draws} of {N_NEURONS} neurons, every one from {DURATION:g} s of a simulation of its own; no "
        f"neuron twice in a draw; a draw with fewer than {FEWEST} neurons of a population is drawn again, since the "
        "paper's clusters have that many",
        "duration_s": DURATION,
        "size": "the whole experiment, also when quick",
        "departures": "the paper does not say how long its spike trains were; here they are as long as its trials",
        "clustering": "k-means (20 starts) with three clusters on the rows of the distance matrix",
        "distances": {name: method.words for name, method in METHODS.items()},
        "conditions": {
            "as_simulated": _CONDITIONS["as_simulated"] + ", as in the paper",
            "rates_differ": "not in the paper: " + _CONDITIONS["rates_differ"] + " (log-uniform), so that the rates of "
            "a population's neurons differ as those of sorted units do",
        },
        "n_clusters_chosen": "by our default, from the silhouette of held-out halves",
    }


def _failures(n_pure, smallest, n_draws):
    missed = []
    for name, method in METHODS.items():
        for condition, words in _CONDITIONS.items():
            if (pure := n_pure[condition][name]) < n_draws:
                missed.append(f"{method.words}, {words}: pure in {pure} of {n_draws} draws only.")
            if (few := min(smallest[condition][name])) < FEWEST:
                missed.append(f"{method.words}, {words}: a cluster of {few}, fewer than {FEWEST}.")
    return missed


class _Distances(NamedTuple):
    """What `plotting.plot_distance_matrix` wants of a clusterer."""

    labels_: np.ndarray
    distances_: np.ndarray
    normalize: str | None


def _named(truth, labels):
    """(labels, names) of clusters by their commonest population: "E1"; "E1 + 2" where two others are among them.

    Clusters come in the order of the circuit's populations, so that they have the colours of the other figures.
    """
    truth, labels = np.array(truth), np.array(labels)
    counts = [np.bincount(truth[labels == k], minlength=3) for k in range(labels.max() + 1)]
    order = sorted(range(len(counts)), key=lambda k: int(counts[k].argmax()))
    place = np.array([*np.argsort(order), -1])  # of cluster k; -1 stays what it is
    names = []
    for k in order:
        others = int(counts[k].sum() - counts[k].max())
        names.append(winner_take_all().names[int(counts[k].argmax())] + (f" + {others}" if others else ""))
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names)]
    return place[labels], names


def _dots(axes, result):
    """Purity of every draw, by condition and distance."""
    rng, colors = np.random.default_rng(0), plotting.population_colors(len(METHODS))
    ticks = []
    for i, condition in enumerate(_CONDITIONS):
        for j, name in enumerate(METHODS):
            values = np.array(result["purity"][condition][name])
            x = i * (len(METHODS) + 1) + j
            axes.plot(x + rng.uniform(-0.25, 0.25, values.size), values, ".", color=colors[j], alpha=0.7)
            axes.plot([x - 0.35, x + 0.35], [values.mean()] * 2, color=colors[j], lw=2,
                      label=METHODS[name].words if i == 0 else None)  # fmt: skip
        ticks.append(i * (len(METHODS) + 1) + (len(METHODS) - 1) / 2)
    axes.set_xticks(ticks, ["the network's\nspikes", "30 to 100 %\nof a neuron's spikes"])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0.3, 1.04)
    axes.set_ylabel("purity of a draw")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", fontsize="x-small", frameon=False)
    axes.set_title(f"B  {result['n_draws']} draws (bars: means)", loc="left", fontsize="medium")


EXPERIMENT = Experiment(
    name="clustering",
    title="Do distances of spike trains tell which population a neuron is of? (Sec. 5.2)",
    run=run,
    figure=figure,
    summary=summary,
    keys=("n_draws", "n_pure", "smallest_cluster"),
)
