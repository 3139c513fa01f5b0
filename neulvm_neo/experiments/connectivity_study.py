"""The coupling of one population from six neurons and one second, by three methods (Wang et al. 2022, Fig. 2C, S3)."""

from typing import NamedTuple

import joblib
import numpy as np
import quantities as pq

from .. import plotting
from ..inference.tasks import run_one_by_one
from . import connectivity, figures
from .registry import Experiment

PUBLISHED = {
    "J_true": [59.0, 60.0, 61.0, 62.0, 63.0, 64.0, 65.0],
    "J_hat_mean": [58.18, 60.46, 61.20, 62.05, 62.39, 63.58, 63.66],
    "J_hat_std": [0.50, 0.71, 0.93, 0.46, 1.11, 1.59, 1.85],
    "pearson_r": 0.81,
    "pearson_p": 2.8e-17,
}
# The activity that "paper" starts from is smoothed with 1.4 ms; particles are of no use to it and "viterbi".
_LIKE_THE_PAPER = {"n_init": 1, "smoothing": 1.4 * pq.ms, "n_particles": 10}
LEVEL = 0.9  # of the intervals


class Sizes(NamedTuple):
    """How much is done: couplings (mV), data sets of each, and settings of `NeuLVM` by method."""

    couplings: tuple
    n_each: int
    between: tuple  # couplings that the paper did not try, with "smc" only
    n_between: int
    methods: dict


FULL = Sizes(connectivity.COUPLINGS, connectivity.N_DATA_SETS, connectivity.BETWEEN, 5, {
    "smc": {}, "viterbi": {"n_init": 3, "max_iter": 5, "n_particles": 10}, "paper": _LIKE_THE_PAPER,
})  # fmt: skip
QUICK = Sizes((59.0, 62.0, 65.0), 1, (), 0, {
    "smc": {"n_particles": 20, "max_iter": 3}, "viterbi": {"n_init": 1, "max_iter": 5, "n_particles": 10},
    "paper": _LIKE_THE_PAPER | {"max_iter": 4},
})  # fmt: skip
_WORDS = {
    "smc": "neulvm-neo (smc)",
    "viterbi": "neulvm-neo (viterbi)",
    "paper": "the paper's algorithm, run here (paper)",
}


def run(
    *, seed, quick, n_jobs=1, say=lambda line: None, checkpoint=lambda partial: None, run_tasks=run_one_by_one,
    sizes=None,
):  # fmt: skip
    """Simulate the data sets and fit each by every method.

    Parameters
    ----------
    seed : int
    quick : bool
        Three couplings, one data set of each, coarse fits.
    n_jobs : int
        joblib jobs over fits.
    say, checkpoint, run_tasks : callable
        See `registry.Experiment`.
    sizes : Sizes, optional
        Instead of those that `quick` chooses.

    Returns
    -------
    dict
        ``J_true``, ``J_hat_mean``, ``J_hat_std`` (mV), ``pearson_r``, ``pearson_p``, ``largest_error`` (mV),
        ``interval_coverage`` and ``fits`` of "smc"; the same of every method under ``methods``, and of the couplings
        that the paper did not try under ``off_grid``; and what every experiment has.
    """
    sizes = sizes or (QUICK if quick else FULL)
    network_seed, off_grid_seed, fit_seed = (int(x) for x in np.random.SeedSequence(seed).generate_state(3))
    sets = connectivity.data_sets(network_seed, sizes.couplings, sizes.n_each)
    jobs = [("methods", method, data_set) for data_set in sets for method in sizes.methods]
    if sizes.between:
        off_grid = connectivity.data_sets(off_grid_seed, sizes.between, sizes.n_between)
        jobs += [("off_grid", "smc", data_set) for data_set in off_grid]
    say(f"{len(jobs)} fits to data sets of 1 s and {connectivity.N_RECORDED} neurons")
    tasks = (
        joblib.delayed(connectivity.fitted_coupling)(
            data_set, seed=fit_seed + i, method=method, n_jobs=1, **sizes.methods[method]
        )
        for i, (_, method, data_set) in enumerate(jobs)
    )
    fits, result = {}, {}
    for (grid, method, data_set), found in zip(jobs, run_tasks(tasks, n_jobs), strict=True):
        fits.setdefault((grid, method), []).append({"J_true": data_set.J, **found._asdict()})
        result = _result(fits, sizes)
        say(f"{method}: J = {data_set.J:g} mV, found {found.J:.2f} mV")
        checkpoint(result)
    return result


def table(fits):
    """What Table S3 says about some fits.

    Parameters
    ----------
    fits : list of dict
        With ``J_true``, ``J``, ``lower`` and ``upper`` (mV; NaN or None without an interval) and ``status``.

    Returns
    -------
    dict
        Standard deviations are those of the data sets of a coupling; with fewer than two couplings there is no
        correlation (NaN).

    Examples
    --------
    >>> fits = [{"J_true": J, "J": J + 0.1, "lower": J, "upper": J + 0.2, "status": "converged"} for J in (59.0, 60.0)]
    >>> found = table(fits)
    >>> found["J_hat_mean"], round(found["pearson_r"], 6), found["interval_coverage"]["inside"]
    ([59.1, 60.1], 1.0, 2)
    """
    true, found, lower, upper = (
        np.array([fit[key] for fit in fits], dtype=float) for key in ("J_true", "J", "lower", "upper")
    )
    couplings = np.unique(true)
    r = p = np.nan
    if len(couplings) > 1 and np.ptp(found) > 0 and len(found) > 2:
        from scipy.stats import pearsonr

        r, p = pearsonr(true, found)
    elif len(couplings) > 1 and np.ptp(found) > 0:
        r = np.corrcoef(true, found)[0, 1]
    known = np.isfinite(lower)
    return {
        "J_true": couplings.tolist(),
        "J_hat_mean": [float(found[true == J].mean()) for J in couplings],
        "J_hat_std": [float(found[true == J].std()) for J in couplings],
        "pearson_r": float(r),
        "pearson_p": float(p),
        "largest_error": float(np.abs(found - true).max()),
        "interval_coverage": {
            "inside": int(np.sum((lower <= true) & (true <= upper))), "of": int(known.sum()), "level": LEVEL,
        },
        "fits": fits,
    }  # fmt: skip


def figure(result):
    """Ĵ over J with standard deviations, as in Fig. 2C, and the errors beside it.

    Parameters
    ----------
    result : dict

    Returns
    -------
    matplotlib.figure.Figure
    """
    sheet = figures.sheet(10.0, 4.8)
    left, right = sheet.subplots(1, 2, width_ratios=[1, 1.1])
    published, colors = result["published"], plotting.population_colors(3)
    ends = np.array([58.3, 65.7])
    left.plot(ends, ends, color="#bbbbbb", lw=1, zorder=0)
    right.axhline(0, color="#bbbbbb", lw=1, zorder=0)
    rows = [("published", published, "#777777", "s", -0.18)]
    rows += [
        (method, found, color, "o", shift)
        for (method, found), color, shift in zip(result["methods"].items(), colors, (-0.06, 0.06, 0.18), strict=False)
    ]
    shown = ends + np.array([-1.5, 3.0])  # room for the legend; what lies outside is in the other panel
    for name, found, color, marker, shift in rows:
        J, mean, std = (np.array(found[key], dtype=float) for key in ("J_true", "J_hat_mean", "J_hat_std"))
        style = {"color": color, "marker": marker, "ms": 4, "lw": 0}
        bars = {"elinewidth": 1.3, "capsize": 2}
        # bars that leave the panel would tell nothing
        within = np.where((mean - std > shown[0]) & (mean + std < shown[1]), std, np.nan)
        left.errorbar(J + shift, mean, within, label=_WORDS.get(name, "paper, as published"), **style, **bars)
        if name == "published":
            right.errorbar(J + shift, mean - J, std, **style, **bars)
            continue
        true, single = np.array([(fit["J_true"], fit["J"]) for fit in found["fits"]], dtype=float).T
        right.plot(true + shift + 0.04, single - true, ".", color=color, ms=3, alpha=0.5)
        right.plot(J + shift, mean - J, **style)
    if result["off_grid"]:
        true, single = np.array([(f["J_true"], f["J"]) for f in result["off_grid"]["fits"]], dtype=float).T
        left.plot(true, single, "x", color=colors[0], ms=5, label="smc, couplings the paper did not try")
        right.plot(true, single - true, "x", color=colors[0], ms=5)
    outside = sum(not shown[0] <= f["J"] <= shown[1] for _, found, *_ in rows[1:] for f in found["fits"])
    left.set(xlabel="ground truth J (mV)", ylabel="recovered Ĵ (mV)", xlim=ends, ylim=shown)
    left.legend(fontsize="x-small", frameon=False, loc="upper left")
    left.set_title("C", loc="left", fontweight="bold")
    left.set_title(f"{outside} data sets outside" if outside else "", loc="right", fontsize="small")
    # errors of hundredths and of hundreds of mV in one panel
    right.set_yscale("symlog", linthresh=0.1)
    right.axhspan(-0.1, 0.1, color="#f2f2f2", lw=0, zorder=-1)
    right.set(xlabel="ground truth J (mV)", ylabel="error Ĵ - J (mV), linear where shaded", xlim=ends)
    r = f"Pearson r {figures.shown(result['pearson_r'], 4)}, paper {published['pearson_r']}"
    right.set_title(f"{r}; dots are data sets", fontsize="medium")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
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
    published, lines = result["published"], []
    for method, found in result["methods"].items():
        r = found["pearson_r"]
        if r is not None and r < published["pearson_r"]:
            lines.append(f"Below the paper: {_WORDS[method]} reaches r = {r:.2f}, the paper {published['pearson_r']}.")
    n_ended = len(result["failures"])
    if n_ended:
        lines.append(f"{n_ended} fits did not end well, see failures; the first: {result['failures'][0]}")
    cover = result["interval_coverage"]
    if cover["of"] and cover["inside"] / cover["of"] < LEVEL - 0.1:
        lines.append(f"Intervals of 90 % that hold the truth: only {cover['inside']} of {cover['of']}.")
    lines.append("")
    rows = {"paper, as published": published} | {_WORDS[method]: found for method, found in result["methods"].items()}
    if result["off_grid"]:
        rows["neulvm-neo (smc), couplings the paper did not try"] = result["off_grid"]
    for words, found in rows.items():
        error = f", largest error {found['largest_error']:.2f} mV" if "largest_error" in found else ""
        inside = found.get("interval_coverage", {"of": 0})
        covered = f", truth in {inside['inside']} of {inside['of']} intervals of 90 %" if inside["of"] else ""
        lines.append(f"{words}: r = {figures.shown(found['pearson_r'], 4)}{error}{covered}")
        means = zip(found["J_true"], found["J_hat_mean"], found["J_hat_std"], strict=True)
        lines.append("    " + ", ".join(f"{J:g}: {mean:.2f} ± {std:.2f}" for J, mean, std in means))
    protocol = result["protocol"]
    lines += ["", f"{len(protocol['couplings_mV'])} couplings, {protocol['n_data_sets_each']} data sets of each "
              f"(paper: 7 and 10)."]  # fmt: skip
    return lines


def _result(fits, sizes):
    tables = {key: table(rows) for key, rows in fits.items()}
    methods = {method: tables["methods", method] for method in sizes.methods if ("methods", method) in tables}
    strange = [
        f"{method}, J = {fit['J_true']:g} mV: {fit['status']}"
        for (_, method), rows in fits.items()
        for fit in rows
        if fit["status"] != "converged"
    ]
    return {
        **methods.get("smc", {}),
        "methods": methods,
        "off_grid": tables.get(("off_grid", "smc")),
        "published": PUBLISHED,
        "protocol": _protocol(sizes),
        "failures": strange,
    }


def _protocol(sizes):
    return {
        "couplings_mV": list(sizes.couplings), "n_data_sets_each": sizes.n_each,
        "couplings_off_grid_mV": list(sizes.between), "n_data_sets_off_grid_each": sizes.n_between,
        "n_recorded": connectivity.N_RECORDED, "seconds": float(connectivity.DURATION),
        "initial_rate_Hz": float(connectivity.INITIAL_RATE), "bin_size_ms": float(connectivity.BIN_SIZE),
        "network": "600 neurons, Euler steps of 1 ms, one simulation per coupling; data sets differ in their neurons",
        "scheme": "euler", "noise": "smc: cohorts, less than the paper's; viterbi, paper: as there",
        "free": "J; all other values are given",
        "starts": "viterbi, paper: J uniform in 10-30 and 90-110 mV; smc: particles spread over J uniform in 10-110 mV",
        "settings": {
            method: {"method": method} | {key: str(value) for key, value in settings.items()}
            for method, settings in sizes.methods.items()
        },
        "intervals": "90 %, of smc",
        "standard_deviations": "over the data sets of a coupling, divided by their number",
        "departures": [
            "The refractory period is one bin of 1 ms where Table S2 prints 0: without it Figure 2B does not appear.",
            "The caption of Figure 2 says ten trials per coupling, Appendix E ten samples of neurons: the latter.",
            "Only `paper` is the published algorithm; smc and viterbi have their own starts and effort.",
        ],
    }  # fmt: skip


EXPERIMENT = Experiment(
    name="connectivity",
    title="Is the coupling recovered from six neurons and one second? (Fig. 2C, Table S3)",
    run=run, figure=figure, summary=summary,
    keys=("J_true", "J_hat_mean", "J_hat_std", "pearson_r", "largest_error", "interval_coverage"),
    resumable=True,
)  # fmt: skip
