"""Pictures of recordings, clusters and results: data in, Matplotlib axes out, one quantity per function."""

import numpy as np

from . import units
from .recording import SpikeRecording

# Okabe & Ito (2008), told apart by colour-blind readers; without yellow, which is lost on white
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_UNASSIGNED = "#999999"
_TRUTH = "#a0a0a0"
_BAND = 2.0  # standard deviations on each side, about 95 %


def population_colors(n_populations):
    """Colours of populations 0, 1, …, the same in every figure of this package; they repeat after seven.

    >>> population_colors(2)
    ['#0072B2', '#D55E00']
    """
    return [_PALETTE[k % len(_PALETTE)] for k in range(n_populations)]


def plot_raster(data, labels=None, names=None, *, trial=0, axes=None):
    """Spikes of every neuron over time, grouped and coloured by population.

    Parameters
    ----------
    data : SpikeRecording or any Neo form
        See `units.neo_trials`.
    labels : sequence of int or str, shape (n_neurons,), optional
        Population of every neuron; -1 and "unassigned" are drawn grey and last. Without labels all are drawn alike.
    names : sequence of str, optional
        Population names, in the order of the colours; entry k names the label k if labels are whole numbers.
    trial : int, default 0
    axes : matplotlib.axes.Axes, optional
        ``None`` makes new axes.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If labels and neurons differ in number, a label has no name, or the trial does not exist.

    Examples
    --------
    >>> import neo
    >>> trains = [neo.SpikeTrain([0.1, 0.2], units="s", t_stop=1.0) for _ in range(3)]
    >>> axes = plot_raster(trains, labels=[0, 1, 0], names=["E", "I"])
    """
    recording = SpikeRecording.from_neo(data)
    if not -recording.n_trials <= trial < recording.n_trials:
        raise ValueError(f"trial is {trial}, but the recording has {recording.n_trials} trials, counted from 0.")
    if labels is None:
        labels, names, colors = np.zeros(recording.n_neurons, dtype=int), [None], [_PALETTE[-1]]
    else:
        labels, names = _as_indices(labels, names, recording.n_neurons)
        colors = population_colors(len(names))
    axes = _axes(axes, figsize=(8, 0.8 + min(max(0.14 * recording.n_neurons, 1.2), 6)))

    groups = [(k, np.flatnonzero(labels == k)) for k in [*range(len(names)), -1]]
    row, ticks, lines = 0, [], []
    for k, members in groups:
        if not members.size:
            continue
        color = colors[k] if k >= 0 else _UNASSIGNED
        times = [recording.spike_times[trial][i] for i in members]
        rows = np.repeat(row + np.arange(members.size), [t.size for t in times])
        lines += axes.plot(np.concatenate(times), rows, "|", color=color, markeredgewidth=0.8)
        ticks.append((row + (members.size - 1) / 2, names[k] if k >= 0 else "unassigned", color))
        row += members.size
    _fit_markers(axes, lines, row)
    axes.set_xlim(recording.t_start[trial], recording.t_stop[trial])
    axes.set_ylim(row - 0.5, -0.5)
    axes.set_xlabel("time (s)")
    if names == [None]:
        axes.set_ylabel("neuron")
    else:
        axes.set_yticks([position for position, _, _ in ticks], [name for _, name, _ in ticks])
        axes.tick_params(axis="y", length=0)
        _colour_ticks(axes.get_yticklabels(), [color for _, _, color in ticks])
    _open_frame(axes)
    return axes


def plot_population_activity(activity, truth=None, *, smooth=None, axes=None):
    """Activity of every population over time, with its uncertainty and, if known, the truth.

    Parameters
    ----------
    activity : PopulationActivity
        If it knows the uncertainty (`n_std`), a band of two standard deviations on each side is drawn.
    truth : PopulationActivity, optional
        Drawn in grey behind it; same populations, any bin size.
    smooth : quantities.Quantity, optional
        Standard deviation (time) of a Gaussian that smooths all curves; ``None`` draws every bin. The band is smoothed
        alike, which overstates the uncertainty of the smoothed activity.
    axes : matplotlib.axes.Axes or sequence of n_populations of them, optional
        One for all populations, or one for each. ``None`` makes one row for each.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes, shape (n_populations,)

    Raises
    ------
    ValueError
        If the truth has other populations, or `axes` has the wrong length.

    Examples
    --------
    >>> from neulvm_neo import PopulationActivity
    >>> n = np.random.default_rng(0).poisson(4.0, (100, 2))
    >>> axes = plot_population_activity(PopulationActivity(n, np.array([100, 50]), 0.002, 0.0, ("E", "I")))
    """
    n_populations = len(activity.names)
    if truth is not None and tuple(truth.names) != tuple(activity.names):
        raise ValueError(f"truth has the populations {tuple(truth.names)}, but activity has {tuple(activity.names)}.")
    width = 0.0 if smooth is None else units.positive_seconds(smooth, "smooth")
    axes, shared = _one_for_each(axes, n_populations)

    for k, (ax, color, name) in enumerate(zip(axes, population_colors(n_populations), activity.names, strict=True)):
        if truth is not None:
            values = _smoothed(truth.activity[:, k], truth.bin_size, width)
            label = None if shared and k else "truth"
            ax.plot(truth.times, values, color=_TRUTH, lw=2.2 if width else 0.6, label=label, zorder=1)
        mean = _smoothed(activity.activity[:, k], activity.bin_size, width)
        if activity.n_std is not None:
            spread = _BAND * _smoothed(activity.activity_std[:, k], activity.bin_size, width)
            label = None if shared else f"±{_BAND:g} s.d."
            low = np.maximum(mean - spread, 0)
            ax.fill_between(activity.times, low, mean + spread, color=color, alpha=0.3, lw=0, label=label)
        ax.plot(activity.times, mean, color=color, lw=1.2, label=name if shared else "activity")
    for k, ax in enumerate(axes):
        ax.set_xlim(activity.t_start, activity.t_start + activity.duration)
        ax.set_ylim(bottom=0)
        ax.set_ylabel("activity (Hz)" if shared else f"{activity.names[k]} (Hz)")
        _open_frame(ax)
    axes[-1].set_xlabel("time (s)")
    if shared and n_populations > 1 or truth is not None or activity.n_std is not None:
        handles, texts = axes[0].get_legend_handles_labels()
        axes[0].legend(handles, texts, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(texts), frameon=False)
    return axes


def plot_distance_matrix(clusterer, names=None, *, axes=None):
    """Distances between all pairs of neurons, sorted by population: populations are blocks along the diagonal.

    Parameters
    ----------
    clusterer : PopulationClusterer
        Fitted.
    names : sequence of str, shape (n_clusters,), optional
        Population names; default 0, 1, ….
    axes : matplotlib.axes.Axes, optional
        ``None`` makes new axes.

    Returns
    -------
    matplotlib.axes.Axes

    Notes
    -----
    The colours span the 1st to the 99th percentile of the distances between different neurons; the zero distances to
    themselves are left white, or nothing else could be seen.

    Examples
    --------
    >>> from neulvm_neo import PopulationClusterer
    >>> counts = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (50, 1))
    >>> axes = plot_distance_matrix(PopulationClusterer(2, random_state=0).fit(counts))
    """
    labels, names = _as_indices(clusterer.labels_, names, len(clusterer.labels_))
    axes = _axes(axes, figsize=(5.4, 4.4), layout="compressed")  # "constrained" cuts labels of images with a colour bar
    order = np.argsort(np.where(labels < 0, len(names), labels), kind="stable")
    distances = np.array(clusterer.distances_)[np.ix_(order, order)]
    others = distances[~np.eye(len(order), dtype=bool)]
    np.fill_diagonal(distances, np.nan)
    low, high = np.percentile(others, [1, 99]) if others.size else (0.0, 1.0)
    image = axes.imshow(distances, cmap="viridis", vmin=low, vmax=high, interpolation="none")
    normalize = {"centered": "1 - correlation", "cosine": "1 - cosine"}.get(clusterer.normalize, "van Rossum")
    axes.figure.colorbar(image, ax=axes, label=f"distance ({normalize})", shrink=0.9)

    colors = population_colors(len(names))
    start, positions, texts, inks = 0, [], [], []
    for k in [*range(len(names)), -1]:
        size = int((labels == k).sum())
        if not size:
            continue
        positions.append(start + (size - 1) / 2)
        texts.append(names[k] if k >= 0 else "unassigned")
        inks.append(colors[k] if k >= 0 else _UNASSIGNED)
        start += size
        if start < len(order):
            axes.axhline(start - 0.5, color="white", lw=1.5)
            axes.axvline(start - 0.5, color="white", lw=1.5)
    for axis, set_ticks in (("x", axes.set_xticks), ("y", axes.set_yticks)):
        set_ticks(positions, texts)
        axes.tick_params(axis=axis, length=0)
    _colour_ticks([*axes.get_xticklabels(), *axes.get_yticklabels()], 2 * inks)
    axes.set_ylabel("neurons, by population")
    return axes


def plot_trace(result, quantity=None, *, axes=None):
    """How a quantity developed over the iterations of a fit.

    Parameters
    ----------
    result : FitResult
    quantity : str, optional
        A key of the records in ``result.trace``; default "log_likelihood" if it is there, else the first numeric one.
    axes : matplotlib.axes.Axes, optional
        ``None`` makes new axes.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the trace is empty or does not hold the quantity.
    """
    numeric = [key for key in result.trace[0] if _is_number(result.trace[0][key])] if result.trace else []
    numeric = [key for key in numeric if key != "iteration"]
    if quantity is None and numeric:
        quantity = "log_likelihood" if "log_likelihood" in numeric else numeric[0]
    if quantity not in numeric:
        raise ValueError(f"the trace holds no quantity {quantity!r}; it holds {', '.join(numeric) or 'nothing'}.")
    values = np.array([record.get(quantity, np.nan) for record in result.trace], dtype=float)
    axes = _axes(axes, figsize=(5, 3))
    axes.plot(np.arange(1, len(values) + 1), values, ".-", color=_PALETTE[0], lw=1.2)
    axes.set_xlabel("iteration")
    axes.set_ylabel(quantity.replace("_", " ") + (" (nats)" if quantity == "log_likelihood" else ""))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title("converged" if result.converged else "not converged", loc="right", fontsize="medium")
    _open_frame(axes)
    return axes


def plot_connectivity(circuit, *, axes=None):
    """Couplings between populations: red excites, blue inhibits, hatched is absent by construction.

    Parameters
    ----------
    circuit : Circuit
    axes : matplotlib.axes.Axes, optional
        ``None`` makes new axes.

    Returns
    -------
    matplotlib.axes.Axes
        Rows are targets, columns are sources, values in mV.

    Examples
    --------
    >>> from neulvm_neo.experiments.circuits import winner_take_all
    >>> axes = plot_connectivity(winner_take_all())
    """
    J = units.to_millivolts(circuit.J, "J")
    size = len(J)
    axes = _axes(axes, figsize=(1.9 + 0.75 * size, 1.2 + 0.7 * size), layout="compressed")
    largest = max(np.abs(J).max(), 1e-12)
    image = axes.imshow(J, cmap="RdBu_r", vmin=-largest, vmax=largest)
    axes.figure.colorbar(image, ax=axes, label="coupling J (mV)", shrink=0.9)
    for target in range(size):
        for source in range(size):
            if circuit.mask is not None and not circuit.mask[target, source]:
                axes.add_patch(_hatched_cell(source, target))
                continue
            ink = "white" if abs(J[target, source]) > 0.6 * largest else "black"
            axes.text(source, target, f"{J[target, source]:.4g}", ha="center", va="center", color=ink)
    axes.set_xticks(range(size), circuit.names)
    axes.set_yticks(range(size), circuit.names)
    axes.tick_params(length=0)
    _colour_ticks([*axes.get_xticklabels(), *axes.get_yticklabels()], 2 * population_colors(size))
    axes.set_xlabel("from (source)")
    axes.set_ylabel("to (target)")
    return axes


def _axes(axes, figsize, layout="constrained"):
    if axes is not None:
        return axes
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout=layout)[1]


def _one_for_each(axes, n_populations):
    """(axes of every population, whether they are one and the same)."""
    if axes is None:
        import matplotlib.pyplot as plt

        size = (8, 1.0 + 1.4 * n_populations)
        rows = plt.subplots(n_populations, 1, sharex=True, figsize=size, layout="constrained", squeeze=False)[1]
        return rows[:, 0], False
    given = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    if given.size == 1:
        return np.repeat(given, n_populations), True
    if given.size != n_populations:
        raise ValueError(f"axes has {given.size} entries; expected one for all or one for each of {n_populations}.")
    return given, False


def _as_indices(labels, names, n_neurons):
    """(index of every neuron into names, -1 if unassigned; names) from labels that are whole numbers or names."""
    labels = list(np.asarray(labels).tolist())
    if len(labels) != n_neurons:
        raise ValueError(f"labels has {len(labels)} entries, but there are {n_neurons} neurons; give one per neuron.")
    assigned = [label for label in labels if label not in (-1, "unassigned")]
    if any(isinstance(label, str) for label in assigned):
        names = list(dict.fromkeys(assigned)) if names is None else list(names)
        position = {name: k for k, name in enumerate(names)}
    else:
        names = [str(k) for k in range(max(assigned, default=-1) + 1)] if names is None else list(names)
        position = {k: k for k in range(len(names))}
    missing = [label for label in assigned if label not in position]
    if missing:
        raise ValueError(f"label {missing[0]!r} has no entry in names {tuple(names)}; name every population.")
    return np.array([position.get(label, -1) for label in labels], dtype=int), names


def _smoothed(values, bin_size, width):
    if not width:
        return values
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.asarray(values, dtype=float), width / bin_size, mode="nearest")


def _fit_markers(axes, lines, n_rows):
    """Make a spike as tall as most of its row."""
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    for line in lines:
        line.set_markersize(max(0.8 * height / max(n_rows, 1), 1.0))


def _colour_ticks(texts, colors):
    for text, color in zip(texts, colors, strict=True):
        text.set_color(color)
        text.set_fontweight("bold")


def _open_frame(axes):
    axes.spines[["top", "right"]].set_visible(False)


def _hatched_cell(column, row):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#eeeeee", edgecolor="#bbbbbb", hatch="//", lw=0)


def _is_number(value):
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
