"""How a run of the perturbation experiment is shown: a figure in the layout of Fig. 5, and a table."""

import numpy as np

from .. import plotting
from . import pulses

_OUTCOMES = {"stay": "No-switch", "switch": "Switch"}
_COLUMNS = ("truth", "mesoscopic_truth", "model", "mesoscopic", "predicted")
_CURVES = ("active before the pulse", "silent before the pulse")
ENOUGH = 15  # of 20 fits inside the interval of the truth


def figure(result):
    """Mean activities around the pulse, No-switch above Switch, of truth and fit; below, all fits beside the truth.

    Parameters
    ----------
    result : dict
        Of `perturbation.run`, as it is in a file.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 8.6), layout="constrained")
    grid = drawing.add_gridspec(3, 5, height_ratios=[1, 1, 1.15], width_ratios=[1, 1, 0.04, 1, 1])
    first = None
    for block, pulsed in enumerate(("active", "silent")):
        for column, who in enumerate(("truth", "model")):
            for row, outcome in enumerate(_OUTCOMES):
                place = grid[row, 3 * block + column]
                axes = drawing.add_subplot(place, sharex=first, sharey=first)
                first = first or axes
                _draw_traces(axes, result["traces"].get(who), pulsed, outcome)
                if row == 0:
                    letter = f"{'AB'[block]}  {pulsed} population pulsed\n" if column == 0 else "\n"
                    axes.set_title(f"{letter}{'truth: spiking network' if who == 'truth' else 'neuLVM, a fit'}",
                                   loc="left", fontsize="medium")  # fmt: skip
                    axes.tick_params(labelbottom=False)
                else:
                    axes.set_xlabel("time after the pulse (s)")
                if column == 0 and block == 0:
                    axes.set_ylabel("activity (Hz)")
                else:
                    axes.tick_params(labelleft=False)
    handles, labels = first.get_legend_handles_labels()
    told = "mean ± s.d. of trials; what answers the pulse itself is cut off"
    drawing.legend(handles, labels, loc="outside upper right", ncols=2, fontsize="small", frameon=False, title=told,
                   title_fontsize="small")  # fmt: skip
    _draw_probabilities(drawing.add_subplot(grid[2, :]), result)
    return drawing


def summary(result):
    """What did not hold first, then truth and fits side by side.

    Parameters
    ----------
    result : dict
        Of `perturbation.run`, as it is in a file.

    Returns
    -------
    list of str
    """
    n_fits, amplitude = result["n_fits"], result["amplitude"]
    columns = _COLUMNS if result.get("n_predicted") else _COLUMNS[:-1]
    lines = [*result["failures"]]
    lines.append(f"Switches after a pulse of 4 ms and {amplitude['mV']:g} mV (truth with its 95 % interval):")
    titles = ("truth", "mesoscopic", "fits", "mesoscopic", "draws of fits")
    lines.append(_table_row("pulsed", *titles[: len(columns)]))
    for pulsed in pulses.PULSED:
        low, high = result[f"truth_interval_{pulsed}"]
        truth, *others = (_share(result[f"{who}_{pulsed}"]) for who in columns)
        lines.append(_table_row(pulsed, f"{truth} ({low:.2f} to {high:.2f})", *others))
    lines.append(_table_row("rebounds", *(_share(result[f"{who}_rebound"]) for who in columns)))
    lines.append(
        f"Inside the truth's intervals for both pulses: {result['n_inside']} of {n_fits} fits (asked: {ENOUGH} of 20; "
        f"perfect models: {result['n_inside_expected']:.1f} of {n_fits} on average, since trials scatter). Not told "
        f"from the truth by Fisher's exact test, two-sided, 5 %: {result['n_compatible']} of {n_fits}."
    )
    lines.append(
        f"Silent above active: truth {_yes(result['truth_silent_above_active'])}, "
        f"{result['n_silent_above_active']} of {n_fits} fits. The paper says so of its network and its fit, without "
        "numbers, and that pulses to the active population make rebound switches in both."
    )
    inside, n_intervals = result.get("covered", (0, 0))
    if n_intervals:
        lines.append(f"90 % intervals of the values contain the truth in {inside} of {n_intervals}.")
    lines += _predictions(result)
    if not amplitude["table"]:
        lines.append(f"The amplitude was set before, on the true network: {amplitude['rule']}.")
    return lines


def _predictions(result):
    """What the fits foretell by all circuits that they leave possible; runs of earlier versions have no such thing."""
    if not result.get("n_predicted"):
        return []
    n, (inside, n_bands) = result["n_predicted"], result["foretold"]
    error = {who: " and ".join(f"{e:.2f}" for e in by.values()) for who, by in result["errors"].items()}
    return [
        f"Circuits drawn from what each fit leaves possible: their mean is inside the truth's intervals for both "
        f"pulses in {result['n_inside_predicted']} of {n} fits, and off by {error['predicted']} (active and silent "
        f"pulsed) on average, where the fitted circuits are by {error['model']}. The truth's shares of switches are "
        f"inside the fits' 90 % prediction bands in {inside} of {n_bands}."
    ]


def _share(count):
    switches, trials = count
    return f"{switches}/{trials} {switches / trials:.2f}" if trials else "no state"


def _table_row(name, truth, *others):
    return f"  {name:<9}{truth:>29}" + "".join(f"{cell:>18}" for cell in others)


def _yes(holds):
    return "yes" if holds else "NO"


def _draw_traces(axes, traces, pulsed, outcome):
    axes.axvspan(0, pulses.PULSE, color="#bbbbbb", lw=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 45)  # the answer to the pulse itself is higher
    group = None if traces is None else traces[pulsed][outcome]
    n = "" if group is None else f" {group['n']}/{group['of']}"
    axes.text(0.98, 0.8, f"{_OUTCOMES[outcome]}{n}", transform=axes.transAxes, ha="right", fontweight="bold")
    colors = plotting.population_colors(2)
    for k, (color, label) in enumerate(zip(colors, _CURVES, strict=True)):
        if group is None or not group["n"]:
            axes.plot([], [], color=color, label=label)
            continue
        mean, sd = (np.array(group[name])[:, k] for name in ("mean", "sd"))
        t = traces["start"] + (np.arange(len(mean)) + 0.5) * traces["bin_size"]
        axes.fill_between(t, mean - sd, mean + sd, color=color, alpha=0.25, lw=0)
        axes.plot(t, mean, color=color, lw=1.2, label=label)


def _draw_probabilities(axes, result):
    """Switch probability of every fit, with its prediction band or else its own interval, on the truth's interval."""
    colors = {"active": "#0072B2", "silent": "#D55E00", "none": "#777777"}
    n_fits, foretells = result["n_fits"], bool(result.get("n_predicted"))
    for pulsed, color in colors.items():
        low, high = result[f"truth_interval_{pulsed}"]
        switches, trials = result[f"truth_{pulsed}"]
        axes.axhspan(low, high, color=color, alpha=0.15, lw=0)
        axes.axhline(switches / trials, color=color, lw=1)
        x = np.arange(1, n_fits + 1) + {"active": -0.18, "silent": 0.18, "none": 0.0}[pulsed]
        counts = [row[f"model_{pulsed}"] for row in result["fits"]]
        p = np.array([k / n if n else np.nan for k, n in counts])
        label = "no pulse" if pulsed == "none" else f"{pulsed} population pulsed"
        axes.plot(x, p, ".", ms=8, color=color, label=label)
        if foretells:
            counts = [row[f"predicted_{pulsed}"] for row in result["fits"]]
            axes.plot(x, [k / n if n else np.nan for k, n in counts], "_", ms=7, color=color)
            ends = [row["bands"][pulsed] for row in result["fits"]]
        else:
            ends = [pulses.interval(k, n) for k, n in counts]
        known = np.array([n > 0 for _, n in counts])
        axes.vlines(x[known], *np.array(ends)[known].T, color=color, lw=1, alpha=0.6 if foretells else 1.0)
    axes.set_xlim(0.4, n_fits + 0.6)
    axes.set_ylim(-0.02, 1.17)  # room for the legend
    axes.set_yticks(np.linspace(0.0, 1.0, 6))
    axes.set_xticks(range(1, n_fits + 1))
    axes.set_xlabel("fit")
    axes.set_ylabel("switch probability")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", fontsize="small", frameon=False, ncols=3)
    truth = "truth (horizontal lines, bands: 95 %)"
    if foretells:
        inside, n_bands = result["foretold"]
        told = (
            f"C  fits (dots), what they foretell (bars: 90 %, dashes: mean), {truth}; inside its bands: "
            f"{result['n_inside']} of {n_fits} fits;\n    truth inside the bars: {inside} of {n_bands}"
        )
    else:
        told = f"C  all fits (dots, 95 %), {truth}; inside both bands: {result['n_inside']} of {n_fits}"
    axes.set_title(told, loc="left", fontsize="medium")
