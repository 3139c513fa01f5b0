"""How many neurons must be recorded to find the coupling and see the clusters? (Wang et al. 2022, Fig. 2D-F, S4)."""

from typing import NamedTuple

import joblib
import numpy as np
import quantities as pq

from .. import plotting
from ..inference.tasks import run_one_by_one
from . import baselines, connectivity, figures, full_observability, hidden_fraction
from .cluster_states import n_clusters
from .registry import Experiment

PUBLISHED = {
    "n_observed": [1, 2, 5, 10, 599],
    "J_hat_mean": [60.37, 60.14, 59.33, 59.81, 59.10],
    "J_hat_std": [2.43, 1.48, 0.91, 1.25, 1.26],
    "rene_median_abs_error": None,  # drawn in Figure 2F only, where many samples are off by more than 30 mV
    "activity_r": None,
    "smoothed_r": None,
}
EARLY, LATE = slice(0, 200), slice(-300, None)  # bins of 1 ms in which the trial's clusters are counted
SHOWN = 0.6  # s of the trial that are drawn, as in the paper
N_DRAWN = 60  # neurons
FAR = 30.0  # mV, a cross in the figure


class Sizes(NamedTuple):
    """How much is done: samples and settings of "smc" by number of recorded neurons; starts of the rival.

    `beside` holds other methods of `NeuLVM`, with their settings.
    """

    samples: dict
    settings: dict
    n_starts: int
    beside: dict


# With 599 neurons a particle costs more, and leaves less to chance: fewer of them.
FULL = Sizes(
    dict.fromkeys(hidden_fraction.N_OBSERVED, hidden_fraction.N_SAMPLES),
    dict.fromkeys((1, 2, 5, 10), {}) | {599: {"n_particles": 20}},
    full_observability.N_STARTS,
    {
        "viterbi": {"n_init": 1, "max_iter": 5, "n_particles": 5},
        "paper": {"n_init": 1, "smoothing": 1.4 * pq.ms, "n_particles": 5},
    },
)
QUICK = Sizes(dict.fromkeys((1, 2, 10), 2), dict.fromkeys((1, 2, 10), {"n_particles": 20, "max_iter": 3}), 20, {})


def run(
    *, seed, quick, n_jobs=1, say=lambda line: None, checkpoint=lambda partial: None, run_tasks=run_one_by_one,
    sizes=None,
):  # fmt: skip
    """Fit one trial seen through various samples of its neurons, by neuLVM and as if the sample were everybody.

    Parameters
    ----------
    seed : int
    quick : bool
        Three numbers of neurons, two samples of each, coarse fits.
    n_jobs : int
        joblib jobs over samples.
    say, checkpoint, run_tasks : callable
        See `registry.Experiment`.
    sizes : Sizes, optional
        Instead of those that `quick` chooses.

    Returns
    -------
    dict
        ``n_observed``; ``J_hat_mean``, ``J_hat_std``, ``rene_J_hat_mean``, ``rene_median_abs_error``,
        ``median_abs_error`` (mV); ``activity_r``, ``smoothed_r`` (1.4 ms) and ``best_smoothed_r``, correlations with
        the true activity in bins of 1 ms, means over samples; all of "smc", other methods are under ``methods``;
        ``samples``, one dict per fit; ``clusters`` at the beginning and end of the trial; ``example``, what the figure
        shows; and what every experiment has.
    """
    sizes = sizes or (QUICK if quick else FULL)
    trial_seed, fit_seed = (int(x) for x in np.random.SeedSequence(seed).generate_state(2))
    everybody = hidden_fraction.trial(trial_seed)
    counts = everybody.n[:, 0].astype(float)
    clusters = [n_clusters(counts[part], everybody.counts.shape[1]) for part in (EARLY, LATE)]
    say(f"the trial goes from {clusters[0]} to {clusters[1]} clusters")
    jobs = [(q, i) for q, n_samples in sizes.samples.items() for i in range(n_samples)]
    tasks = (
        joblib.delayed(_one_sample)(
            everybody, q, hidden_fraction.observed_neurons(trial_seed, q, i), fit_seed + j, sizes
        )
        for j, (q, i) in enumerate(jobs)
    )
    samples, example, result = [], None, {}
    for (q, i), (sample, activity) in zip(jobs, run_tasks(tasks, n_jobs), strict=True):
        samples.append(sample)
        if (q, i) == (2, 0) or example is None:
            example = _example(everybody, hidden_fraction.observed_neurons(trial_seed, q, i), activity)
        result = _result(samples, clusters, example, sizes)
        say(
            f"{q} recorded, sample {i + 1}: {sample['J']:.2f} mV (naive: {sample['rene_J']:.2f}), "
            f"r = {sample['activity_r']:.2f} (smoothed spikes: {sample['smoothed_r']:.2f})"
        )
        checkpoint(result)
    return result


def figure(result):
    """Spikes, activity, and errors of Ĵ over the number of recorded neurons, as in Fig. 2D-F.

    Parameters
    ----------
    result : dict

    Returns
    -------
    matplotlib.figure.Figure
    """
    sheet = figures.sheet(11.0, 5.0)
    grid = sheet.add_gridspec(2, 2, width_ratios=[1.5, 1], height_ratios=[1.2, 1])
    spikes = sheet.add_subplot(grid[0, 0])
    _draw_spikes(spikes, result)
    _draw_activity(sheet.add_subplot(grid[1, 0], sharex=spikes), result)
    _draw_errors(sheet.add_subplot(grid[:, 1]), result)
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
    lines, published = [], result["published"]
    ours = {q: i for i, q in enumerate(result["n_observed"])}
    J = result["protocol"]["J_mV"]
    for q, i in ours.items():
        mean = result["J_hat_mean"][i]
        if q in published["n_observed"]:
            theirs = published["J_hat_mean"][published["n_observed"].index(q)]
            if abs(mean - J) > abs(theirs - J):
                off = f"off by {mean - J:+.2f} mV on average, the paper by {theirs - J:+.2f}"
                lines.append(f"Further from the truth than the paper: {q} recorded, {off}.")
        if result["rene_median_abs_error"][i] < result["median_abs_error"][i]:
            lines.append(f"The naive rival comes closer: {q} recorded.")
    lines += [f"Did not end well: {failure}" for failure in result["failures"]]
    lines += [
        "",
        "recorded  samples  Ĵ (mV): ours      paper           naive   |error|: ours  naive   r: ours  smoothed",
    ]
    for q, i in ours.items():
        there = q in published["n_observed"]
        k = published["n_observed"].index(q) if there else None
        paper = f"{published['J_hat_mean'][k]:.2f} ± {published['J_hat_std'][k]:.2f}" if there else "–"
        lines.append(
            f"{q:8d}  {result['n_samples'][i]:7d}  {result['J_hat_mean'][i]:6.2f} ± {result['J_hat_std'][i]:.2f}"
            f"     {paper:<13}  {result['rene_J_hat_mean'][i]:6.2f}    {result['median_abs_error'][i]:8.2f}"
            f"   {result['rene_median_abs_error'][i]:6.2f}     {figures.shown(result['activity_r'][i], 2):>5}"
            f"      {figures.shown(result['smoothed_r'][i], 2):>5}"
        )
    for method, found in result["methods"].items():
        if method == "smc":
            continue
        lines += ["", f"The same by method={method!r}:"]
        for q, i in ours.items():
            lines.append(
                f"{q:8d}  {result['n_samples'][i]:7d}  {found['J_hat_mean'][i]:6.2f} ± {found['J_hat_std'][i]:.2f}"
                f"{'':30}{found['median_abs_error'][i]:8.2f}{'':14}{figures.shown(found['activity_r'][i], 2):>5}"
            )
    lines += [
        "",
        f"The truth is {J:g} mV. Errors are medians over samples; naive is maximum likelihood with the smoothed spikes",
        "of the recorded neurons as the activity of all (René et al. 2020 where most are hidden), "
        f"{result['protocol']['n_starts_of_the_rival']} starts (paper: 200).",
    ]
    return lines


def _one_sample(everybody, q, neurons, seed, sizes):
    """(what is kept of a fit and its rivals, inferred activity as counts) of one sample of neurons."""
    data_set = everybody._replace(counts=everybody.counts[:, neurons])
    model = connectivity.fitted_model(data_set, seed=seed, method="smc", n_jobs=1, **sizes.settings[q])
    found = connectivity.coupling_of(model, data_set)
    rival = full_observability.naive_coupling(data_set, seed=seed, n_starts=sizes.n_starts)
    smoothed = full_observability.smoothed_counts(data_set.counts)
    labels = np.zeros(data_set.counts.shape[1], dtype=int)
    sample = found._asdict() | {
        "n_observed": q,
        "activity_r": found.r,
        "smoothed_r": float(baselines.correlations(smoothed, data_set.n)[0]),
        "best_smoothed_r": float(baselines.best_smoothing(data_set.counts, labels, data_set.n.astype(float), 0.001)[0]),
        "rene_J": rival.J,
        "rene_agreement": rival.agreement,
    }
    del sample["r"]
    others = {"smc": found}
    for method, settings in sizes.beside.items():
        others[method] = connectivity.fitted_coupling(data_set, seed=seed, method=method, n_jobs=1, **settings)
    sample["methods"] = {method: {"J": other.J, "r": other.r} for method, other in others.items()}
    (activity,) = model.result_.activities
    return sample, activity.n[:, 0]


def _result(samples, clusters, example, sizes):
    counted = list(dict.fromkeys(sample["n_observed"] for sample in samples))

    def by_q(key, how):
        return [float(how([s[key] for s in samples if s["n_observed"] == q])) for q in counted]

    def median_error(values):
        return np.median(np.abs(np.array(values) - hidden_fraction.COUPLING))

    def by_method(method):
        found = [[s["methods"][method] for s in samples if s["n_observed"] == q] for q in counted]
        return {
            "J_hat_mean": [float(np.mean([fit["J"] for fit in fits])) for fits in found],
            "J_hat_std": [float(np.std([fit["J"] for fit in fits])) for fits in found],
            "median_abs_error": [float(median_error([fit["J"] for fit in fits])) for fits in found],
            "activity_r": [float(np.mean([fit["r"] for fit in fits])) for fits in found],
        }

    strange = [f"{s['n_observed']} recorded: {s['status']}" for s in samples if s["status"] != "converged"]
    if clusters != [4, 3]:
        strange.append(f"the trial goes from {clusters[0]} to {clusters[1]} clusters, that of the paper from 4 to 3")
    return {
        "n_observed": counted,
        "n_samples": [sum(s["n_observed"] == q for s in samples) for q in counted],
        "J_hat_mean": by_q("J", np.mean),
        "J_hat_std": by_q("J", np.std),
        "median_abs_error": by_q("J", median_error),
        "rene_J_hat_mean": by_q("rene_J", np.mean),
        "rene_median_abs_error": by_q("rene_J", median_error),
        "activity_r": by_q("activity_r", np.mean),
        "smoothed_r": by_q("smoothed_r", np.mean),
        "best_smoothed_r": by_q("best_smoothed_r", np.mean),
        "methods": {method: by_method(method) for method in samples[0]["methods"]},
        "samples": samples,
        "clusters": clusters,
        "example": example,
        "published": PUBLISHED,
        "protocol": _protocol(sizes),
        "failures": strange,
    }


def _example(everybody, observed, inferred):
    """What panels D and E show: spikes of some neurons (s), the recorded ones first, and three activities (counts)."""
    others = [i for i in range(everybody.counts.shape[1]) if i not in set(observed.tolist())]
    drawn = [*observed[:N_DRAWN].tolist(), *others[: max(N_DRAWN - len(observed), 0)]]
    spikes = [(np.flatnonzero(everybody.counts[:, i]) * 1e-3).round(3) for i in drawn]
    return {
        "n_observed": len(observed),
        "spikes_s": spikes,
        "true_counts": everybody.n[:, 0].astype(int),
        "inferred_counts": np.round(inferred, 2),
        "smoothed_counts": np.round(full_observability.smoothed_counts(everybody.counts[:, observed])[:, 0], 2),
    }


def _draw_spikes(axes, result):
    example = result["example"]
    n_observed = min(example["n_observed"], len(example["spikes_s"]))
    # neurons in the order of their first spike stand together with those of their cluster
    order = sorted(range(len(example["spikes_s"])), key=lambda i: (example["spikes_s"][i] or [np.inf])[0])
    for row, i in enumerate(order):
        color = "#D55E00" if i < n_observed else "black"
        times = example["spikes_s"][i]
        axes.plot(times, [row] * len(times), "|", color=color, ms=4, mew=0.8)
    stars = [row for row, i in enumerate(order) if i < n_observed]
    axes.plot([-0.008] * len(stars), stars, "*", color="#D55E00", ms=9, clip_on=False)
    axes.set(xlim=(0, SHOWN), ylabel="neuron", yticks=[])
    axes.tick_params(labelbottom=False)
    axes.set_title("D", loc="left", fontweight="bold")
    early, late = ("?" if m is None else m for m in result["clusters"])
    axes.set_title(f"{len(order)} of 600 neurons; recorded ★; {early} clusters early, {late} late", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_activity(axes, result):
    example, colors = result["example"], plotting.population_colors(4)
    seconds = (np.arange(len(example["true_counts"])) + 0.5) * 1e-3
    rows = [
        ("smoothed_counts", f"smoothed spikes of {example['n_observed']}", colors[3], 1.0),
        ("true_counts", "ground truth", "#a0a0a0", 2.2),
        ("inferred_counts", "inferred", colors[0], 1.0),
    ]
    for key, label, color, width in rows:
        axes.plot(seconds, np.array(example[key], dtype=float) / 0.6, color=color, lw=width, label=label)  # 600 × 1 ms
    axes.set(xlim=(0, SHOWN), xlabel="time (s)", ylabel="activity (Hz)")
    axes.set_title("E", loc="left", fontweight="bold")
    axes.legend(fontsize="x-small", frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_errors(axes, result):
    counted, colors = result["n_observed"], plotting.population_colors(2)
    J = result["protocol"]["J_mV"]
    methods = [
        ("J", "neulvm-neo", colors[0], "median_abs_error", -0.08),
        ("rene_J", "as if all were observed\n(René et al. 2020, naive)", colors[1], "rene_median_abs_error", 0.08),
    ]
    for key, label, color, median, shift in methods:
        for x, q in enumerate(counted):
            errors = [abs(sample[key] - J) for sample in result["samples"] if sample["n_observed"] == q]
            near = [error for error in errors if error <= FAR]
            axes.plot([x + shift] * len(near), near, "o", color=color, ms=3.5, alpha=0.7)
            axes.plot([x + shift] * (len(errors) - len(near)), [FAR] * (len(errors) - len(near)), "x", color=color)
        shown = np.minimum(result[median], FAR)
        axes.plot(np.arange(len(counted)) + shift, shown, "--", color=color, lw=1.3, label=label)
    axes.set_yscale("log")
    axes.set_xticks(range(len(counted)), [str(q) for q in counted])
    axes.set(xlabel="observed neurons", ylabel="|Ĵ - J| (mV)", ylim=(None, 1.4 * FAR))
    axes.set_title("F", loc="left", fontweight="bold")
    axes.set_title("lines: medians; ×: above 30 mV", fontsize="medium")
    axes.legend(fontsize="small", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _protocol(sizes):
    return {
        "J_mV": hidden_fraction.COUPLING, "seconds": 1.0, "bin_size_ms": 1.0, "scheme": "euler",
        "noise": "cohorts, which leaves less to chance than the paper's",
        "samples": {str(q): n for q, n in sizes.samples.items()},
        "settings": {str(q): {"method": "smc", **settings} for q, settings in sizes.settings.items()},
        "network": "600 neurons, Euler steps of 1 ms; one trial, samples differ in the neurons that are recorded",
        "start_of_the_trial": "four clusters of equal size, at 19 Hz",
        "settings_of_other_methods": {
            method: {key: str(value) for key, value in settings.items()} for method, settings in sizes.beside.items()
        },
        "prior": "J uniform in 10 to 110 mV; everything else is given",
        "n_starts_of_the_rival": sizes.n_starts,
        "rival": "argmax over J of log Binomial(n; 600, n̄(J)), n the recorded spikes smoothed with 1.4 ms and scaled "
        "to 600 neurons; starts uniform in 10-30 and 90-110 mV; L-BFGS-B with finite differences (Table S5); the start "
        "that ends highest",
        "departures": [
            "The refractory period is one bin of 1 ms where Table S2 prints 0: without it Figure 2B does not appear.",
            "The paper does not say how its trial came into four clusters; here it starts in them.",
            "The rival's likelihood is that of this package, with nothing but 1e-30 to keep logarithms finite.",
            "599 recorded: fewer samples and particles, because a particle costs as much as its recorded neurons.",
        ],
    }  # fmt: skip


EXPERIMENT = Experiment(
    name="hidden-fraction",
    title="How many neurons must be recorded? Against a rival that takes them for all (Fig. 2D-F, Table S4)",
    run=run, figure=figure, summary=summary,
    keys=("n_observed", "J_hat_mean", "J_hat_std", "median_abs_error", "rene_median_abs_error", "activity_r",
          "smoothed_r"),
    resumable=True,
)  # fmt: skip
