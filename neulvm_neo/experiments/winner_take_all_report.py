"""How a run of the winner-take-all comparison is shown: a figure in the layout of Figs. 3 and 4, and Table 1."""

import numpy as np

from .. import plotting
from ..recording import SpikeRecording

# Rows of the figure, from the top; what a run does not have is left out.
_ROWS = ("truth", "neulvm", "neulvm_paper", "plds", "slds", "slds_laplace", "hmm", "gpfa", "glm", "neulvm_before")
_NAMES = ("E1", "E2", "I")


def figure(result):
    """Spikes and activities of one trial, free simulations of all models, and the table.

    Parameters
    ----------
    result : dict
        Of `winner_take_all_study.run`, as it is in a file.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    example, titles = result["example"], {name: row["title"] for name, row in result["models"].items()}
    titles["truth"] = "spiking network"
    rows = [name for name in _ROWS if name in example["models"] and name in titles and example["models"][name]]
    drawing = Figure(figsize=(11, 4.2 + 0.85 * len(rows) + 0.2 * len(titles)), layout="constrained")
    heights = [1.5, *[0.85] * len(rows), 0.45 + 0.2 * len(titles)]
    grid = drawing.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[1.0, 1.3])
    raster = _raster(drawing.add_subplot(grid[0, 0]), example)
    _difference(drawing.add_subplot(grid[0, 1]), result, rows, titles)
    left = right = None
    for i, name in enumerate(rows):
        shown = example["models"][name]
        for column, what in enumerate(("inferred", "shown")):
            if what not in shown:
                continue
            shared = raster if column == 0 else right
            axes = drawing.add_subplot(grid[1 + i, column], sharex=shared)
            _activity(axes, shown[what])
            title = titles[name]
            if what == "inferred" and "r" in shown:
                title += f", r = {shown['r']:.2f}" if shown["r"] is not None else ""
            axes.set_title(title, loc="left", fontsize="small", pad=2)
            if column == 0:
                left = axes
                axes.set_ylabel("Hz", fontsize="small")
            else:
                right = axes
    for axes, words in ((left, "time (s); one trial, inferred"), (right, "time (s); free simulation")):
        if axes is not None:
            axes.set_xlabel(words, fontsize="small")
            axes.tick_params(labelbottom=True)
    _table(drawing.add_subplot(grid[-1, :]), result)
    return drawing


def _raster(axes, example):
    times = tuple(np.array(train) for train in example["spikes"])
    ids = tuple(str(i) for i in range(len(times)))
    recording = SpikeRecording((times,), np.zeros(1), np.array([example["duration"]]), ids)
    plotting.plot_raster(recording, [_NAMES[k] for k in example["labels"]], _NAMES, axes=axes)
    axes.set_title("recorded spikes of one trial", loc="left", fontsize="small", pad=2)
    axes.tick_params(labelbottom=False)
    axes.set_xlabel("")
    axes.set_ylabel("")
    return axes


def _activity(axes, shown):
    activity = np.array(shown["activity"], dtype=float)
    time = (np.arange(len(activity)) + 0.5) * shown["bin_size"]
    for values, color in zip(activity.T, plotting.population_colors(3), strict=False):
        axes.plot(time, values, color=color, linewidth=0.8)
    # activities that run away are cut off
    axes.set_ylim(min(0.0, np.percentile(activity, 0.5)), float(np.clip(np.nanmax(activity) * 1.05, 30.0, 60.0)))
    axes.set_xlim(0, len(activity) * shown["bin_size"])
    axes.tick_params(labelbottom=False, labelsize="x-small")
    axes.spines[["top", "right"]].set_visible(False)


def _difference(axes, result, rows, titles):
    """Switches of every trial by model, and the mean and spread of the network's."""
    names = [name for name in rows if name != "truth" and result["models"][name]["switches_mean"] is not None]
    truth, spread = result["truth_switches_mean"], result["truth_switches_std"]
    axes.axhspan(truth - spread, truth + spread, color="0.85", linewidth=0)
    axes.axhline(truth, color="0.5", linewidth=1)
    for i, name in enumerate(names):
        values = [trial["models"].get(name, {}).get("switches") for trial in result["trials"]]
        values = np.array([value for value in values if value is not None], dtype=float)
        axes.plot(i + np.linspace(-0.2, 0.2, len(values) + 2)[1:-1], values, "o", color="C0", markersize=3, alpha=0.6)
        axes.plot([i - 0.3, i + 0.3], [values.mean()] * 2, color="k", linewidth=1.5)
    axes.set_xticks(range(len(names)), [_short(titles[name]) for name in names], fontsize="x-small")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_yticks([0, 5, 10, 30, 100, 300], ["0", "5", "10", "30", "100", "300"])
    axes.set_ylim(-1, 400)
    axes.tick_params(labelsize="x-small")
    axes.set_title("switches per 100 s of free simulation (grey: spiking network)", loc="left", fontsize="small", pad=2)
    axes.spines[["top", "right"]].set_visible(False)


def _short(title):
    """A title for a tick, in two lines."""
    own = {"neuLVM as published, best joint likelihood": "neuLVM as\npublished", "SLDS, Laplace EM": "SLDS\nLaplace"}
    return own.get(title, title.replace(" ", "\n", 1))


def _table(axes, result):
    header, *cells = _cells(result)
    axes.axis("off")
    table = axes.table(cells, colLabels=header, loc="center", cellLoc="center", colWidths=[0.3, *[0.14] * 5])
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (row, column), cell in table.get_celld().items():
        cell.set_linewidth(0.4)
        cell.visible_edges = "B" if row else "TB"
        if column == 0:
            cell.set_text_props(ha="left")
        if row == 0:
            cell.set_text_props(weight="bold")


def _cells(result):
    """Table 1 as text: the header, then a row for each model, the network's first."""
    header = ["model", "r", "paper", "switches in 100 s", "paper", "undecided"]
    published = result["published"]
    rows = {"truth": {"title": "spiking network (truth)"} | _of_network(result)} | result["models"]
    paper = published["models"] | {"truth": _of_network(published)}
    cells = [header]
    for name, row in rows.items():
        if "missing" in row or "failed" in row:
            cells.append([row["title"], "not installed" if "missing" in row else "failed", "", "", "", ""])
            continue
        theirs = paper.get({"neulvm_paper": "neulvm"}.get(name, name), {})
        switches = "runs away" if row.get("n_ran_away") and row["switches_mean"] is None else _pair(row, "switches", 1)
        seen = "not visible" if name in published["not_visible"] else _pair(theirs, "switches", 1)
        undecided = _number(row.get("undecided_mean"), 2)
        cells.append([row["title"], _pair(row, "r", 2), _pair(theirs, "r", 2), switches, seen, undecided])
    return cells


def _of_network(result):
    names = [f"{what}_{of}" for what in ("switches", "undecided") for of in ("mean", "std")]
    return {name: result.get(f"truth_{name}") for name in names}


def summary(result):
    """The table of ours, the paper's and the rivals'; what did not reach the paper first.

    Parameters
    ----------
    result : dict
        Of `run`.

    Returns
    -------
    list of str
    """
    lines = [f"Not as in the paper: {miss}" for miss in _misses(result)]
    if result["protocol"]["size"] != "As in the paper.":
        lines.insert(0, result["protocol"]["size"])
    lines.append("")
    for name, r, their_r, switches, their_switches, undecided in _cells(result):
        lines.append(f"{name:<44}{r:>14}{their_r:>13}{switches:>19}{their_switches:>14}{undecided:>11}".rstrip())
    n = len(result["trials"])
    words = "one trial" if n == 1 else f"mean and standard deviation over {n} trials"
    lines.append(f"{words.capitalize()}; switches per 100 s of free simulation.")
    return lines + [f"Note: {failure}" for failure in result["failures"]]


def _misses(result):
    """What did not reach the paper, or a rival."""
    ours, paper = result["models"].get("neulvm"), result["published"]["models"]["neulvm"]
    if ours is None or ours["r_mean"] is None:
        return ["neuLVM was not fitted"]
    misses = []
    if ours["r_mean"] < paper["r_mean"]:
        misses.append(f"neuLVM's r is {ours['r_mean']:.2f}, in the paper {paper['r_mean']:.2f}")
    truth, theirs = result["truth_switches_mean"], result["published"]["truth_switches_mean"]
    if abs(ours["switches_mean"] - truth) > abs(paper["switches_mean"] - theirs):
        misses.append(
            f"neuLVM switches {ours['switches_mean']:.1f} times, the network {truth:.1f} (paper: "
            f"{paper['switches_mean']} and {theirs})"
        )
    for name in result["protocol"]["rivals"]:
        row = result["models"].get(name, {})
        if row.get("r_mean") is not None and row["r_mean"] >= ours["r_mean"]:
            misses.append(f"{row['title']} with the best linear transformation has r {row['r_mean']:.2f}, no less")
    return misses


def _pair(row, what, digits):
    mean, std = row.get(f"{what}_mean"), row.get(f"{what}_std")
    if mean is None or row.get("n") == 1:
        return _number(mean, digits)
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def _number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"
