"""Pictures of a `GoodnessOfFit`: residuals, rates, spectra, all checks, and one figure of these."""

import numpy as np

from .plotting import _axes, _colour_ticks, _one_for_each, _open_frame, population_colors
from .predictive import BAND
from .rescaling import LEVEL

_BAND_COLOR = "#cccccc"
_FAILED = "#b2182b"
_FARTHEST = 6.0  # half bands from the median; what is beyond is drawn as an arrow
_PER_DECADE = 12  # groups of frequencies
_FONT = "small"


def plot_goodness_of_fit(found, *, title=None):
    """One figure of everything: which checks fail, and residuals, rates and spectra behind them.

    Parameters
    ----------
    found : GoodnessOfFit
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    n_populations, n_rows = len(found.names), len(found.checks)
    figure = plt.figure(figsize=(12, max(7.0, 1.6 + 0.2 * n_rows)), layout="constrained")
    grid = figure.add_gridspec(3, 1 + n_populations, width_ratios=[1.1, *[1.3 / n_populations] * n_populations])
    checks = plot_checks(found, axes=figure.add_subplot(grid[:, 0]))
    residuals = plot_residuals(found, axes=figure.add_subplot(grid[0, 1:]))
    rates = plot_rates(found, axes=figure.add_subplot(grid[1, 1:]))
    first = figure.add_subplot(grid[2, 1])
    others = [figure.add_subplot(grid[2, 2 + k], sharey=first) for k in range(n_populations - 1)]
    spectra = plot_spectra(found, axes=[first, *others])
    for axes in others:
        axes.tick_params(labelleft=False)
        axes.set_ylabel("")
    n_failed = sum(check.failed for check in found.checks)
    for axes, words in (
        (checks, f"The fitted circuit by itself: {n_failed} of {n_rows} checks fail"),
        (residuals, "Intervals between spikes, given the past"),
        (rates, "Rates, by itself"),
        (spectra[0], "Spectra, by itself"),
    ):
        axes.set_title(words, loc="left", fontsize="medium", fontweight="bold")
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def plot_residuals(found, *, axes=None):
    """How far the rescaled intervals are from what a right model gives: their distribution minus the uniform one.

    A curve above 0 at its left means more short intervals than predicted. A right model stays between the dashed lines
    of its colour with a probability of 95 %; thin lines are single neurons, which may stray farther.

    Parameters
    ----------
    found : GoodnessOfFit
    axes : matplotlib.axes.Axes, optional
        ``None`` makes new axes.

    Returns
    -------
    matplotlib.axes.Axes
    """
    axes = _axes(axes, figsize=(6, 3))
    colors = population_colors(len(found.names))
    for u, k in zip(found.neurons.residuals, found.labels, strict=True):
        if u.size:
            axes.plot(*_minus_uniform(u), color=colors[k], lw=0.5, alpha=0.35)
    highest = np.nanmax([0.0, *found.neurons.distance, *found.populations.band])
    for k, (u, color, name) in enumerate(zip(found.populations.residuals, colors, found.names, strict=True)):
        if u.size:
            band = found.populations.band[k]
            axes.plot(*_minus_uniform(u), color=color, lw=1.8, label=name)
            axes.hlines([-band, band], 0, 1, color=color, lw=1, linestyles="dashed")
    axes.axhline(0, color="black", lw=0.6)
    axes.set_xlim(0, 1)
    if highest > 0:
        axes.set_ylim(-1.6 * highest, 1.1 * highest)  # the legend is below
    axes.set_xlabel("rescaled interval (0: shorter than predicted, 1: longer)")
    axes.set_ylabel("share of intervals,\nrecorded - predicted")
    axes.plot([], [], color="grey", lw=1, ls="dashed", label=f"{LEVEL:.0%} of right models")
    axes.legend(loc="lower right", frameon=False, fontsize=_FONT, ncols=len(found.names) + 1)
    _open_frame(axes)
    return axes


def plot_rates(found, *, axes=None):
    """Rate of every recorded neuron over the band of the model's neurons of its population.

    Parameters
    ----------
    found : GoodnessOfFit
    axes : matplotlib.axes.Axes, optional
        ``None`` makes new axes.

    Returns
    -------
    matplotlib.axes.Axes
    """
    axes = _axes(axes, figsize=(6, 3))
    first, middles = 0, []
    for k, color in enumerate(population_colors(len(found.names))):
        members = np.flatnonzero(found.labels == k)
        if not members.size:
            continue
        low, high = np.quantile(found.replicates.rates[:, members], [(1 - BAND) / 2, (1 + BAND) / 2])
        left, right = first - 0.4, first + members.size - 0.6
        label = f"model, {BAND:.0%} of its neurons" if not middles else None
        axes.fill_between([left, right], low, high, color=_BAND_COLOR, lw=0, label=label)
        axes.plot([left, right], [np.median(found.replicates.rates[:, members])] * 2, color="grey", lw=1)
        rates = np.sort(found.recorded.rates[members])
        axes.plot(first + np.arange(members.size), rates, "o", color=color, ms=4)
        middles.append(((left + right) / 2, found.names[k], color))
        first += members.size + 1
    axes.plot([], [], "o", color="black", ms=4, label="recorded, sorted")
    axes.set_ylim(bottom=0)
    axes.set_xticks([x for x, _, _ in middles], [name for _, name, _ in middles])
    axes.tick_params(axis="x", length=0)
    _colour_ticks(axes.get_xticklabels(), [color for _, _, color in middles])
    axes.set_ylabel("rate (Hz)")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, frameon=False, fontsize=_FONT, ncols=2)
    _open_frame(axes)
    return axes


def plot_spectra(found, *, axes=None):
    """Power spectrum of the pooled spikes of every population, over the band of the replicates; 1 is Poisson's.

    High frequencies are averaged in steps of equal ratio.

    Parameters
    ----------
    found : GoodnessOfFit
    axes : sequence of n_populations matplotlib.axes.Axes, optional
        ``None`` makes one row for each.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes, shape (n_populations,)
    """
    axes, _ = _one_for_each(axes, len(found.names))
    frequencies, groups = _log_spaced(found.recorded.frequencies)
    for k, (ax, color, name) in enumerate(zip(axes, population_colors(len(found.names)), found.names, strict=True)):
        replicates = _averaged(found.replicates.spectrum[:, :, k], groups)
        replicates = replicates[np.isfinite(replicates).all(axis=1)]
        if len(replicates):
            low, high = np.quantile(replicates, [(1 - BAND) / 2, (1 + BAND) / 2], axis=0)
            ax.fill_between(frequencies, low, high, color=_BAND_COLOR, lw=0, label=f"model, {BAND:.0%}")
        recorded = _averaged(found.recorded.spectrum[:, k], groups)
        if np.isfinite(recorded).all():
            ax.plot(frequencies, recorded, color=color, lw=1.2, label="recorded")
        ax.axhline(1, color="black", lw=0.6, ls="dotted")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(frequencies[0], frequencies[-1])
        ax.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
        ax.set_xlabel(f"{name}: frequency (Hz)")
        ax.set_ylabel("power / Poisson")
        _open_frame(ax)
    with_spikes = [ax for ax in axes if ax.get_legend_handles_labels()[0]]
    for ax in with_spikes[:1]:
        ax.legend(loc="best", frameon=False, fontsize=_FONT)
    return axes


def plot_checks(found, *, axes=None):
    """All checks in a column: the recording (dot) in units of the band of the replicates (grey).

    Parameters
    ----------
    found : GoodnessOfFit
    axes : matplotlib.axes.Axes, optional
        ``None`` makes new axes.

    Returns
    -------
    matplotlib.axes.Axes
        Arrows are farther away than the axis reaches; crosses fail; what has too few spikes is empty.
    """
    axes = _axes(axes, figsize=(5, 1.2 + 0.2 * len(found.checks)))
    rows = np.arange(len(found.checks))
    known = np.array([check.is_known for check in found.checks], dtype=bool)
    axes.barh(rows[known], 2, left=-1, height=0.7, color=_BAND_COLOR, label=f"{BAND:.0%} of replicates")
    axes.axvline(0, color="grey", lw=1)
    for row, check in zip(rows, found.checks, strict=True):
        if not check.is_known:
            continue
        place = _in_half_bands(check)
        marker = (">" if place > 0 else "<") if abs(place) == _FARTHEST else "X" if check.failed else "o"
        axes.plot(place, row, marker, color=_FAILED if check.failed else "black", ms=6 if check.failed else 4)
    axes.plot([], [], "o", color="black", ms=4, label="recorded")
    axes.plot([], [], "X", color=_FAILED, ms=6, label="recorded, fails")
    axes.set_yticks(rows, [check.label for check in found.checks], fontsize=_FONT)
    axes.tick_params(axis="y", length=0)
    colors = dict(zip(found.names, population_colors(len(found.names)), strict=True))
    for text, check in zip(axes.get_yticklabels(), found.checks, strict=True):
        text.set_color(colors[check.populations[0]] if len(check.populations) == 1 else "black")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-_FARTHEST - 0.5, _FARTHEST + 0.5)
    axes.set_xticks([-4, -1, 0, 1, 4], ["recorded less", "", "model", "", "recorded more"])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.045), frameon=False, fontsize=_FONT, ncols=3)
    _open_frame(axes)
    return axes


def _minus_uniform(u):
    """(x, y) of the empirical distribution minus the uniform one, with its steps."""
    x = np.concatenate([[0.0], np.repeat(np.sort(u), 2), [1.0]])
    return x, np.repeat(np.arange(u.size + 1) / u.size, 2) - x


def _log_spaced(frequencies):
    """(mean frequency of every group, first index of every group): groups of equal ratio, or of one frequency."""
    group = np.floor(_PER_DECADE * np.log10(frequencies))
    first = np.flatnonzero(np.diff(group, prepend=-np.inf))
    return _averaged(frequencies, first), first


def _averaged(values, first):
    sizes = np.diff([*first, values.shape[-1]])
    return np.add.reduceat(values, first, axis=-1) / sizes


def _in_half_bands(check):
    """How far the recording is from the median of the replicates, in units of the half of the band on its side."""
    distance = check.recorded - check.median
    half = check.upper - check.median if distance > 0 else check.median - check.lower
    if half > 0:
        return float(np.clip(distance / half, -_FARTHEST, _FARTHEST))
    return _FARTHEST * float(np.sign(distance))
