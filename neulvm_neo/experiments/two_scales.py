"""Does the model of whole populations do what their neurons do? Rates, spectra and states over bin and network size."""

from typing import NamedTuple

import joblib
import numpy as np
from scipy import signal, stats

from .. import plotting
from ..simulation import generator_from
from . import faithfulness
from .circuits import winner_take_all
from .recovery import STATE_WINDOW, winners
from .registry import Experiment

SCHEMES = ("second-order", "euler")  # ours, and the paper's
BIN_SIZE = 0.002  # s, at which the size of the network is changed
SEGMENT = 2.0  # s, of Welch's method
COMPARED = (2.0, 100.0)  # Hz; below, switches of state decide, of which there are few
N_BANDS = 24  # of equal ratio, in which spectra are averaged
LONGEST = 40.0  # s, of the curves of how long states last
# What counts as a departure of the mesoscopic model: beyond both a share of the microscopic value and standard errors
TOLERANCE, N_ERRORS = 0.05, 3.0
_RATES = {"high": "leading", "low": "losing", "inhibitory": "inhibitory"}
_STATISTICS = (*_RATES, "switches", "sd_high", "sd_low", "sd_inhibitory")


class Plan(NamedTuple):
    """Runs of every condition, their length (s), bins (s), network sizes (1000 neurons), step of the network (s)."""

    n_runs: int
    duration: float
    bin_sizes: tuple
    sizes: tuple
    time_step: float


FULL = Plan(20, 100.0, (0.0005, 0.001, 0.002, 0.004), (0.25, 0.5, 1.0, 2.0), 0.0001)
QUICK = Plan(8, 50.0, (0.001, 0.002, 0.004), (0.5, 1.0, 2.0), 0.0002)


class _Condition(NamedTuple):
    scheme: str | None  # None: every neuron
    bin_size: float
    size: float

    @property
    def label(self):
        scale = "microscopic" if self.scheme is None else f"{self.scheme}, {1e3 * self.bin_size:g} ms"
        return scale + ("" if self.size == 1 else f", N x {self.size:g}")


def run(*, seed, quick, n_jobs=1, say=lambda line: None, checkpoint=lambda found: None, plan=None):
    """Simulate the winner-take-all network on both scales and compare, at the true parameters.

    Parameters
    ----------
    seed : int
    quick : bool
        8 runs of 50 s of every condition instead of 20 of 100 s, and fewer conditions.
    n_jobs : int
        Cores, over runs.
    say, checkpoint : callable
        See `registry.Experiment`.
    plan : Plan, optional
        Other sizes than those of `quick`.

    Returns
    -------
    dict
        By condition ("microscopic", "second-order, 2 ms", "euler, 4 ms, N x 0.5", …) ``high``, ``low``, ``inhibitory``
        (rates, Hz) and ``switches`` (per 100 s); ``spectrum_error`` (root mean square of the log ratio to the
        microscopic spectrum in the same bins) and ``duration_p`` (log-rank test of how long states last against the
        microscopic ones). ``rows`` have all of it with standard errors, the fluctuations in windows of 20 ms, the
        spectra (Hz²/Hz at ``frequencies``) and the share of states that outlast every time of ``times`` (s).
    """
    plan = plan or (QUICK if quick else FULL)
    found = {
        "frequencies": _bands(plan.bin_sizes)[1], "times": _times(),
        "published": {"switches": {"microscopic": 10.3}, "switches_sd": 2.7,
                      "note": "Table 1: 20 times 100 s of an Euler network; how switches were counted is not said"},
        "protocol": _protocol(plan),
    }  # fmt: skip
    rows = []
    for size, rng in zip(plan.sizes, generator_from(seed).spawn(len(plan.sizes)), strict=True):
        of_size = _of_one_size(size, plan, rng, n_jobs)
        for row in of_size:
            rows.append(row)
            say(f"{row['condition']}: {row['switches'][0]:.1f} switches per 100 s")
            checkpoint(found | {"rows": rows})
    by_condition = {name: {row["condition"]: row[name][0] for row in rows} for name in (*_RATES, "switches")}
    errors = {
        name: {row["condition"]: row[name] for row in rows if name in row} for name in ("spectrum_error", "duration_p")
    }
    return {**by_condition, **errors, **found, "rows": rows, "failures": _failures(rows)}


class Durations(NamedTuple):
    """How long states last, in s: from one switch to the next, and lower bounds of those that a run cut off."""

    complete: np.ndarray
    cut: np.ndarray


def state_durations(activities, bin_size):
    """Times from switch to switch, and from the last one to the end of the run.

    Parameters
    ----------
    activities : list of numpy.ndarray, shape (n_bins, 3), Hz
        Runs. What lasts from the beginning to the first switch is left out: it began before.
    bin_size : float, s

    Returns
    -------
    Durations

    Examples
    --------
    >>> lead = np.repeat([[20.0, 5.0], [5.0, 20.0], [20.0, 5.0]], [100, 250, 50], axis=0)
    >>> found = state_durations([lead], 0.004)
    >>> found.complete.round(6).tolist(), found.cut.round(6).tolist()
    ([1.0], [0.2])
    """
    complete, cut = [], []
    for activity in activities:
        lead = winners(activity, bin_size)
        clear = np.flatnonzero(lead)
        switches = clear[1:][np.diff(lead[clear]) != 0]
        complete += np.diff(switches).tolist()
        if switches.size:
            cut.append(len(lead) - switches[-1])
    return Durations(STATE_WINDOW * np.array(complete, dtype=float), STATE_WINDOW * np.array(cut, dtype=float))


def spectrum(activities, bin_size, edges):
    """Power spectra of several runs, averaged in bands.

    Parameters
    ----------
    activities : list of numpy.ndarray, shape (n_bins, 3), Hz
    bin_size : float, s
    edges : numpy.ndarray, shape (n_bands + 1,), Hz

    Returns
    -------
    dict of str to numpy.ndarray, shape (n_bands,), Hz²/Hz
        ``excitatory``, the mean of the first two populations, and ``inhibitory``; NaN where a band has no frequency.
    """
    length = round(SEGMENT / bin_size)
    power = []
    for activity in activities:
        frequencies, density = signal.welch(activity, fs=1.0 / bin_size, nperseg=length, axis=0)
        power.append(density)
    band = np.digitize(frequencies, edges) - 1
    mean = np.mean(power, axis=0)
    averaged = np.array(
        [mean[band == b].mean(axis=0) if np.any(band == b) else np.full(3, np.nan) for b in range(len(edges) - 1)]
    )
    return {"excitatory": averaged[:, :2].mean(axis=1), "inhibitory": averaged[:, 2]}


def figure(result):
    """Rates and switches over the bin and the size of the network, how long states last, and spectra.

    Parameters
    ----------
    result : dict
        Of `run`, as it is in a file.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(12, 7.2), layout="constrained")
    axes = drawing.subplots(2, 3)
    rows = result["rows"]
    whole = [row for row in rows if row["size"] == 1]
    at_bin = [row for row in rows if row["scheme"] == "second-order" and row["bin_size_ms"] == 1e3 * BIN_SIZE]
    at_size = [row for row in rows if row["scheme"] is None] + at_bin
    _draw_over(axes[0, 0], whole, "bin_size_ms", _RATES, "A  rates in a state, by the bin of the model")
    _draw_over(axes[0, 1], whole, "bin_size_ms", ["switches"], "B  switches, by the bin of the model")
    _draw_durations(axes[0, 2], whole, result["times"])
    _draw_over(axes[1, 0], at_size, "size", _RATES, f"D  rates, by network size (bins of {1e3 * BIN_SIZE:g} ms)")
    _draw_over(axes[1, 1], at_size, "size", ["switches"], "E  switches, by network size")
    _draw_spectra(axes[1, 2], whole, result["frequencies"])
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return drawing


def summary(result):
    """Departures first, then all conditions.

    Parameters
    ----------
    result : dict
        Of `run`, as it is in a file.

    Returns
    -------
    list of str
    """
    lines = [*result["failures"]]
    lines.append(
        f"{'':<28}{'leading (Hz)':>15}{'losing (Hz)':>15}{'inhib. (Hz)':>15}{'switches/100 s':>17}{'spectrum':>10}"
        f"{'durations':>11}"
    )
    for row in result["rows"]:
        cells = [f"{row[name][0]:.2f} ±{_or_dash(row[name][1], '.2f')}" for name in _RATES]
        switches = f"{row['switches'][0]:.1f} ±{_or_dash(row['switches'][1], '.1f')}"
        error = "" if row["scheme"] is None else f"{row['spectrum_error']:.3f}"
        p = "" if row["scheme"] is None else f"p {_or_dash(row['duration_p'], '.2g')}"
        lines.append(
            f"{row['condition']:<28}" + "".join(f"{cell:>15}" for cell in cells) + f"{switches:>17}{error:>10}{p:>11}"
        )
    lines.append(
        f"Spectrum: root mean square of the log ratio to the microscopic one, {COMPARED[0]:g} to {COMPARED[1]:g} Hz. "
        "Durations: log-rank test against the microscopic states. Published: 10.3 ± 2.7 switches per 100 s of an Euler "
        "network, by another count."
    )
    return lines


def _of_one_size(size, plan, rng, n_jobs):
    """Rows of the network and, as they come, of the model at every bin and scheme."""
    circuit = winner_take_all()
    circuit = circuit.replace(n_neurons=np.rint(size * circuit.n_neurons).astype(int))
    finest, edges = min(plan.bin_sizes), _bands(plan.bin_sizes)[0]
    conditions = [
        _Condition(scheme, bin_size, size)
        for scheme in SCHEMES for bin_size in plan.bin_sizes
        if size == 1 or (scheme == "second-order" and bin_size == BIN_SIZE)
    ]  # fmt: skip
    network_rng, *rngs = rng.spawn(1 + len(conditions))
    counts = faithfulness.microscopic_counts(
        bin_size=finest, time_step=plan.time_step, n_runs=plan.n_runs, duration=plan.duration, circuit=circuit,
        random_state=network_rng, n_jobs=n_jobs,
    )  # fmt: skip

    def network(bin_size):
        return [faithfulness.rebinned(n, finest, bin_size) / (circuit.n_neurons * bin_size) for n in counts]

    row, network_durations = _described(_Condition(None, finest, size), network(finest), edges)
    yield row
    for condition, own in zip(conditions, rngs, strict=True):
        activities = joblib.Parallel(n_jobs=n_jobs)(
            joblib.delayed(faithfulness.mesoscopic_activity)(
                circuit, condition.scheme, condition.bin_size, plan.duration, one
            )
            for one in own.spawn(plan.n_runs)
        )
        row, durations = _described(condition, activities, edges)
        reference = spectrum(network(condition.bin_size), condition.bin_size, edges)
        row["spectrum_error"] = _spectrum_error(row["spectrum"], reference, edges)
        row["duration_p"] = _log_rank(durations, network_durations)
        yield row


def _described(condition, activities, edges):
    durations = state_durations(activities, condition.bin_size)
    found = faithfulness.behaviour(activities, condition.bin_size)
    power = spectrum(activities, condition.bin_size, edges)
    row = {
        "condition": condition.label, "scheme": condition.scheme, "bin_size_ms": 1e3 * condition.bin_size,
        "size": condition.size, **{name: list(getattr(found, name)) for name in _STATISTICS},
        "n_states": len(durations.complete),
        "outlast": _outlast(durations), "spectrum": {name: values.tolist() for name, values in power.items()},
    }  # fmt: skip
    return row, durations


def _outlast(durations):
    """Share of the states that last longer than every one of `_times`: Kaplan and Meier; NaN where nobody knows."""
    times = np.array(_times())
    if not durations.complete.size:
        return np.full(times.size, np.nan).tolist()
    share = stats.ecdf(_censored(durations)).sf.evaluate(times)
    return np.where(times <= np.max(np.concatenate(durations)), share, np.nan).tolist()


def _log_rank(a, b):
    if not (a.complete.size and b.complete.size):
        return float("nan")
    return float(stats.logrank(_censored(a), _censored(b)).pvalue)


def _censored(durations):
    return stats.CensoredData(uncensored=durations.complete, right=durations.cut)


def _spectrum_error(power, reference, edges):
    inside = (edges[:-1] >= COMPARED[0]) & (edges[1:] <= COMPARED[1] * (1 + 1e-9))
    ratios = [np.log(np.array(power[name])[inside] / reference[name][inside]) for name in reference]
    return float(np.sqrt(np.nanmean(np.square(ratios))))


def _bands(bin_sizes):
    """(edges, centres) of the bands, in Hz, up to where the widest bins can see."""
    highest = min(COMPARED[1], 0.5 / max(bin_sizes))
    edges = np.geomspace(1.0 / SEGMENT, highest, N_BANDS + 1)
    return edges, np.sqrt(edges[1:] * edges[:-1]).tolist()


def _times():
    return np.linspace(0.0, LONGEST, 81).tolist()


def _failures(rows):
    """Departures of our scheme from the network of the same size."""
    missed = []
    networks = {row["size"]: row for row in rows if row["scheme"] is None}
    for row in rows:
        if row["scheme"] in (None, "euler"):
            continue
        network = networks[row["size"]]
        for name in (*_RATES, "switches"):
            (a, a_error), (b, b_error) = row[name], network[name]
            error = np.hypot(a_error, b_error)
            if abs(a - b) > max(TOLERANCE * abs(b), N_ERRORS * error):  # not where an error is unknown
                what = "switches per 100 s" if name == "switches" else f"Hz of the {_RATES[name]} population"
                missed.append(f"{row['condition']}: {a:.2f} {what}, the network {b:.2f} (error {error:.2f}).")
    return missed


def _protocol(plan):
    return {
        "circuit": "winner_take_all at the true parameters; N x f: all populations f times as large, J as it is (the "
        "input J A of a neuron stays, its noise does not)",
        "runs": f"{plan.n_runs} of {plan.duration:g} s of every condition, each from asynchronous firing at 10 Hz, "
        "without the first 0.5 s",
        "microscopic": f"every neuron, steps of {1e3 * plan.time_step:g} ms, the membrane's exact decay",
        "mesoscopic": "second-order: the default of NeuLVM; euler: the paper's first-order step (its bins: 4 ms)",
        "bin_sizes_ms": [1e3 * bin_size for bin_size in plan.bin_sizes],
        "sizes": list(plan.sizes),
        "states": "a population leads where it is more than 5 Hz above the other in a window of 100 ms; rates of the "
        "leading and the losing one in such windows, of the inhibitory one always",
        "durations": "from switch to switch, the last of a run as a lower bound (Kaplan and Meier; log-rank test)",
        "spectra": f"Welch, segments of {SEGMENT:g} s, averaged in {N_BANDS} bands; the network's in the same bins",
        "departures": f"listed as such: beyond {100 * TOLERANCE:g} % and {N_ERRORS:g} standard errors; none of this is "
        "in the paper, which compares the scales through fits only",
    }


def _or_dash(value, form):
    return "–" if value is None or not np.isfinite(value) else format(value, form)


def _styles(rows):
    """Colour, marker and label of the network and of every scheme."""
    colors = plotting.population_colors(len(SCHEMES))
    styles = {scheme: (color, "o", scheme) for scheme, color in zip(SCHEMES, colors, strict=True)}
    return {None: ("black", "s", "every neuron"), **styles}


def _draw_over(axes, rows, along, names, title):
    """Statistics over bin or size; the network, which has no bin of a model, is a line across."""
    for scheme, (color, marker, label) in _styles(rows).items():
        own = [row for row in rows if row["scheme"] == scheme]
        for name in names:
            x = np.array([row[along] for row in own])
            y, error = np.array([row[name] for row in own], dtype=float).reshape(-1, 2).T
            if scheme is None and along == "bin_size_ms":
                axes.axhline(y[0], color=color, lw=1, label=label)
                axes.axhspan(y[0] - 2 * error[0], y[0] + 2 * error[0], color=color, alpha=0.15, lw=0)
            elif own:
                axes.errorbar(x, y, yerr=2 * np.nan_to_num(error), color=color, marker=marker, ms=4, lw=1, label=label)
            label = None
    axes.set_xscale("log", base=2)
    ticks = sorted({row[along] for row in rows if along == "size" or row["scheme"] is not None})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    axes.set_xlabel("bin of the model (ms)" if along == "bin_size_ms" else "network size (1000 neurons)")
    axes.set_ylabel("switches per 100 s" if "switches" in names else "rate (Hz)")
    if "switches" not in names:
        places = {name: rows[0][name][0] for name in names}
        for name, place in places.items():
            axes.annotate(_RATES[name], (0.02, place + 0.6), xycoords=("axes fraction", "data"), fontsize="small")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(fontsize="x-small", frameon=False, loc="center right" if "switches" not in names else "best")


def _shown(rows):
    """The network and every bin of our scheme, and the paper's own step: (row, colour, line, label)."""
    ours = [row for row in rows if row["scheme"] == "second-order"]
    shades = np.linspace(0.35, 1.0, len(ours))
    color = plotting.population_colors(2)
    for row in rows:
        if row["scheme"] is None:
            yield row, "black", 1.0, "-", "every neuron"
        elif row["scheme"] == "second-order":
            yield row, color[0], float(shades[ours.index(row)]), "-", row["condition"]
        elif row["bin_size_ms"] == max(other["bin_size_ms"] for other in rows):
            yield row, color[1], 1.0, "--", row["condition"] + " (the paper's)"


def _draw_durations(axes, rows, times):
    for row, color, alpha, line, label in _shown(rows):
        share = np.array(row["outlast"], dtype=float)
        known = np.isfinite(share) & (share > 0)
        label += "" if known.any() else ": no switch, or one"
        axes.plot(np.array(times)[known], share[known], line, color=color, alpha=alpha, lw=1.4, label=label)
    axes.set_yscale("log")
    axes.set_ylim(0.02, 1.1)
    axes.set_xlim(0, LONGEST / 2)
    axes.set_xlabel("time since a switch (s)")
    axes.set_ylabel("share of states that last longer")
    axes.set_title("C  how long states last", loc="left", fontsize="medium")
    axes.legend(fontsize="x-small", frameon=False)


def _draw_spectra(axes, rows, frequencies):
    for row, color, alpha, line, label in _shown(rows):
        for name, width in (("excitatory", 1.4), ("inhibitory", 0.8)):
            power = np.array(row["spectrum"][name], dtype=float)
            known = np.isfinite(power)
            axes.loglog(np.array(frequencies)[known], power[known], line, color=color, alpha=alpha, lw=width,
                        label=label if name == "excitatory" else None)  # fmt: skip
    axes.set_xlabel("frequency (Hz)")
    axes.set_ylabel("power (Hz²/Hz)")
    axes.set_ylim(top=50 * axes.get_ylim()[1] ** 0.5)
    axes.set_title("F  spectra (thick: excitatory, thin: inhibitory)", loc="left", fontsize="medium")
    axes.legend(fontsize="x-small", frameon=False, loc="upper right")


EXPERIMENT = Experiment(
    name="two-scales",
    title="Does the model of whole populations do what their neurons do, at the true parameters?",
    run=run,
    figure=figure,
    summary=summary,
    keys=("high", "low", "inhibitory", "switches", "spectrum_error"),
)
