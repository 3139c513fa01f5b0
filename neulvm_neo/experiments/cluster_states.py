"""Into how many clusters does a population split? Its coupling decides (Wang et al. 2022, Fig. 2A-B)."""

import joblib
import numpy as np
import quantities as pq

from ..inference.tasks import run_one_by_one
from ..simulation import simulate_microscopic
from . import figures
from .circuits import single_population
from .registry import Experiment

# The protocol: couplings (mV), duration (s), and the asynchronous state they start from (Hz).
COUPLINGS = tuple(np.arange(57.0, 65.01, 0.25).tolist())
DURATION = 120.0
INITIAL_RATE = 20.0
TIME_STEP = 0.001  # s, of the network and of the bins
QUICK_COUPLINGS = tuple(np.arange(57.0, 65.01, 0.5).tolist())
QUICK_DURATION = 12.0
SILENT_RATE = 1.0  # Hz; a population that fires less has fallen silent
# In every cluster state here volleys follow each other by the delay, the synapse and the way to threshold: 65 to 85 Hz.
VOLLEYS = (50.0, 110.0)  # Hz, where their frequency is sought: the harmonics lie above
WINDOW = 1.0  # s, in which clusters are counted
WHOLE = 0.2  # a ratio of frequencies further from a whole number is no number of clusters
FREQUENCY_STEP, HIGHEST_FREQUENCY = 0.5, 100.0  # Hz, of the spectra that are kept

# What the paper says: its Figure 2B has no numbers but its axis.
PUBLISHED = {"highest_silent_J": 58.0, "cluster_numbers_between_59_and_65": [1, 2, 3]}


def n_clusters(counts, n_neurons, bin_size=TIME_STEP):
    """Clusters of a population: how many volleys there are per spike of a neuron.

    In an m-cluster state the activity oscillates m times faster than a neuron fires.

    Parameters
    ----------
    counts : numpy.ndarray, shape (n_bins,)
        Spikes of all neurons.
    n_neurons : int
    bin_size : float, s

    Returns
    -------
    int or None
        0 for a silent population; None where the two frequencies have no whole ratio.

    Examples
    --------
    >>> volleys = np.where(np.arange(1000) % 14 == 0, 30, 0)  # 71 Hz; of 60 neurons every second takes part
    >>> n_clusters(volleys, 60)
    2
    """
    rate = counts.sum() / (n_neurons * len(counts) * bin_size)
    if rate < SILENT_RATE:
        return 0
    n_padded = 8 * len(counts)  # short windows resolve frequencies badly; zeros interpolate between them
    power = np.abs(np.fft.rfft((counts - counts.mean()) * np.hanning(len(counts)), n_padded)) ** 2
    frequencies = np.fft.rfftfreq(n_padded, bin_size)
    power[(frequencies < VOLLEYS[0]) | (frequencies > VOLLEYS[1])] = 0.0
    ratio = frequencies[power.argmax()] / rate
    return int(round(ratio)) if abs(ratio - round(ratio)) <= WHOLE and round(ratio) else None


def spike_train_spectrum(trains, n_bins, bin_size=TIME_STEP):
    """Power spectrum of single neurons' spike trains, averaged over neurons.

    Parameters
    ----------
    trains : list of numpy.ndarray of int
        Bins with a spike, one array per neuron.
    n_bins : int
        One segment per neuron.
    bin_size : float, s

    Returns
    -------
    frequencies : numpy.ndarray, shape (n_frequencies,), Hz
        Centres of bands of `FREQUENCY_STEP`, up to `HIGHEST_FREQUENCY`, without 0.
    power : numpy.ndarray, shape (n_frequencies,), Hz
        |Σ exp(-2πi f t)|² / duration, averaged over the band: for Poisson spikes it is their rate.
    """
    duration, total = n_bins * bin_size, 0.0
    for spikes in trains:
        row = np.zeros(n_bins)
        row[spikes] = 1.0
        total = total + np.abs(np.fft.rfft(row)) ** 2
    resolved = np.fft.rfftfreq(n_bins, bin_size)
    edges = FREQUENCY_STEP * (np.arange(int(HIGHEST_FREQUENCY / FREQUENCY_STEP) + 1) + 0.5)
    band = np.digitize(resolved, edges)  # band 0 holds frequency 0, the mean
    n_bands = len(edges) - 1
    inside = (band >= 1) & (band <= n_bands)
    power = np.bincount(band[inside] - 1, np.asarray(total + np.zeros(len(resolved)))[inside], n_bands)
    members = np.bincount(band[inside] - 1, minlength=n_bands)
    return (edges[:-1] + edges[1:]) / 2, power / np.maximum(members, 1) / (duration * max(len(trains), 1))


def state(J, seconds, seed):
    """One network of this coupling, from the asynchronous state on.

    Parameters
    ----------
    J : float, mV
    seconds : float
        At least 2 s.
    seed : numpy.random.SeedSequence or int

    Returns
    -------
    dict
        ``rate`` (Hz, of the second half), ``spectrum`` (Hz), ``cluster_number`` (the most frequent in windows of 1 s of
        the second half; None if most have none), ``cluster_shares`` (share of those windows by number).

    Examples
    --------
    >>> found = state(57.0, 4.0, 1)
    >>> found["cluster_number"], found["rate"]
    (0, 0.0)
    """
    circuit = single_population(J * pq.mV)
    (size,) = circuit.n_neurons
    run = simulate_microscopic(
        circuit, duration=seconds * pq.s, bin_size=TIME_STEP * pq.s, time_step=TIME_STEP * pq.s, integration="euler",
        n_recorded=int(size), initial_rate=INITIAL_RATE * pq.Hz, random_state=np.random.default_rng(seed),
    )  # fmt: skip
    counts = run.n[:, 0].astype(float)
    trains = [(train.magnitude / TIME_STEP).astype(int) for train in run.spiketrains]
    _, spectrum = spike_train_spectrum(trains, len(counts))
    settled, length = counts[len(counts) // 2 :], int(round(WINDOW / TIME_STEP))
    windows = settled[: len(settled) // length * length].reshape(-1, length)
    numbers = [n_clusters(window, size) for window in windows]
    shares = {m: numbers.count(m) / len(numbers) for m in sorted(set(numbers), key=lambda m: (m is None, m))}
    return {
        "rate": float(settled.sum() / (size * len(settled) * TIME_STEP)),
        "spectrum": spectrum,
        "cluster_number": max(shares, key=shares.get),
        "cluster_shares": {"none" if m is None else str(m): share for m, share in shares.items()},
    }


def run(*, seed, quick, n_jobs=1, say=lambda line: None, checkpoint=lambda partial: None, sizes=None):
    """Simulate every coupling.

    Parameters
    ----------
    seed : int
    quick : bool
        Fewer couplings and shorter runs.
    n_jobs : int
        joblib jobs over couplings.
    say, checkpoint : callable
        See `registry.Experiment`.
    sizes : (couplings, seconds), optional
        Instead of those that `quick` chooses.

    Returns
    -------
    dict
        ``J`` (mV), ``rate`` (Hz), ``cluster_number`` (0 silent, None none), ``cluster_shares``, ``highest_silent_J``
        (mV; None if none is silent), ``frequencies`` (Hz) and ``spectra`` (Hz, one row per coupling); and what every
        experiment has.
    """
    couplings, seconds = sizes or ((QUICK_COUPLINGS, QUICK_DURATION) if quick else (COUPLINGS, DURATION))
    seeds = np.random.SeedSequence(seed).spawn(len(couplings))
    found, result = [], {}
    tasks = (joblib.delayed(state)(float(J), seconds, child) for J, child in zip(couplings, seeds, strict=True))
    for one in run_one_by_one(tasks, n_jobs):
        found.append(one)
        J = list(couplings[: len(found)])
        silent = [coupling for coupling, row in zip(J, found, strict=True) if row["cluster_number"] == 0]
        result = {
            "J": J,
            "highest_silent_J": max(silent, default=None),
            **{key: [row[key] for row in found] for key in ("rate", "cluster_number", "cluster_shares")},
            "frequencies": spike_train_spectrum([], int(round(seconds / TIME_STEP)))[0],
            "spectra": [np.round(row["spectrum"], 4) for row in found],
            "published": PUBLISHED,
            "protocol": _protocol(couplings, seconds),
            "failures": [],
        }
        say(f"J = {J[-1]:g} mV: {one['rate']:.1f} Hz, {_in_words(one['cluster_number'])}")
        checkpoint(result)
    return result


def figure(result):
    """The network, and the spectra over the coupling with the cluster states below, as in Fig. 2A-B.

    Parameters
    ----------
    result : dict

    Returns
    -------
    matplotlib.figure.Figure
    """
    J, frequencies = np.array(result["J"]), np.array(result["frequencies"])
    power = np.array(result["spectra"], dtype=float)
    sheet = figures.sheet(9.0, 4.6)
    grid = sheet.add_gridspec(2, 2, width_ratios=[1, 3], height_ratios=[8, 1])
    figures.draw_network(sheet.add_subplot(grid[:, 0]), "600 LIF neurons", "J")
    top = sheet.add_subplot(grid[0, 1])
    edges = figures.edges(J)
    decibels = 10 * np.log10(np.maximum(power, 1e-2))
    image = top.pcolormesh(edges, figures.edges(frequencies), decibels.T, cmap="turbo", rasterized=True)
    sheet.colorbar(image, ax=top, label="power (dB re 1 Hz)")
    top.set_ylabel("frequency (Hz)")
    top.set_title("B", loc="left", fontweight="bold")
    top.set_title("spike train power spectrum", fontsize="medium")
    top.tick_params(labelbottom=False)
    below = sheet.add_subplot(grid[1, 1], sharex=top)
    for start, stop, number in _stretches(result["cluster_number"]):
        color = {0: "#dddddd", None: "white"}.get(number, f"C{number or 0}")
        below.axvspan(edges[start], edges[stop], color=color, alpha=0.6, lw=0)
        label = "silent" if number == 0 else "–" if number is None else str(number)
        below.text((edges[start] + edges[stop]) / 2, 0.5, label, ha="center", va="center", fontsize="small")
    below.set(yticks=[], xlabel="coupling J (mV)", xlim=(edges[0], edges[-1]), ylim=(0, 1))
    below.set_ylabel("clusters", rotation=0, ha="right", va="center")
    return sheet


def summary(result):
    """Lines for the reader.

    Parameters
    ----------
    result : dict

    Returns
    -------
    list of str
    """
    J, numbers = result["J"], result["cluster_number"]
    between = [m for coupling, m in zip(J, numbers, strict=True) if 59 <= coupling <= 65]
    lines = []
    strange = sorted({str(m) for m in between if m not in (1, 2, 3)})
    if strange:
        where = ", ".join(f"{c:g}" for c, m in zip(J, numbers, strict=True) if 59 <= c <= 65 and m not in (1, 2, 3))
        lines.append(
            f"Not as in the paper, which has 1 to 3 clusters from 59 to 65 mV: {' and '.join(strange)} at {where} mV."
        )
    lines += [
        f"Silent up to {_shown(result['highest_silent_J'])} mV; paper: about {PUBLISHED['highest_silent_J']:g} mV.",
        "Clusters by coupling (mV), share of the second half of the run:",
    ]
    for coupling, rate, shares in zip(J, result["rate"], result["cluster_shares"], strict=True):
        told = ", ".join(f"{_in_words(None if m == 'none' else int(m))} {share:.0%}" for m, share in shares.items())
        lines.append(f"  {coupling:6.2f}  {rate:5.1f} Hz  {told}")
    lines.append(f"{len(J)} couplings, {result['protocol']['seconds']:g} s each (paper: 120 s).")
    return lines


def _stretches(numbers):
    """(first, end, number) of runs of equal numbers."""
    ends = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1]] + [len(numbers)]
    return [(start, end, numbers[start]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _in_words(number):
    if number is None:
        return "no clear number of clusters"
    return "silent" if number == 0 else f"{number} cluster{'s' if number > 1 else ''}"


def _shown(value):
    return "–" if value is None else f"{value:g}"


def _protocol(couplings, seconds):
    return {
        "couplings_mV": list(couplings), "seconds": seconds, "n_neurons": 600, "initial_rate_Hz": INITIAL_RATE,
        "time_step_s": TIME_STEP, "integration": "euler",
        "spectrum": f"of each of 600 neurons over the whole run; mean of neurons and bands of {FREQUENCY_STEP} Hz",
        "clusters": f"frequency of the volleys ({VOLLEYS[0]:g} to {VOLLEYS[1]:g} Hz) over the rate of a neuron, in "
        f"windows of {WINDOW:g} s of the second half of a run",
        "departures": [
            "The refractory period is one bin of 1 ms where Table S2 prints 0: without it Figure 2B does not appear.",
            "The paper's 600 segments of 120 s are taken to be the 600 neurons of one run.",
            "The paper prints no list of couplings; these cover its axis.",
        ],
    }  # fmt: skip


EXPERIMENT = Experiment(
    name="cluster-states",
    title="Into how many clusters does a population split? (Fig. 2A-B)",
    run=run, figure=figure, summary=summary,
    keys=("J", "rate", "cluster_number", "highest_silent_J"),
)  # fmt: skip
