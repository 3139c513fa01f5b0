"""Figures made of several plots, shared by the command line and the demo."""

import dataclasses

import numpy as np

from .. import plotting, units
from ..recording import SpikeRecording

_ROW = 1.25  # inches for the activity of one population


def overview(data, labels, activity, truth=None, *, smooth=None, title=None):
    """Spikes by population above, the inferred activity of every population below, on one time axis.

    Parameters
    ----------
    data : SpikeRecording or any Neo form
        The recording that was fitted; its first trial is drawn.
    labels : sequence of str, shape (n_neurons,)
        Population names; "unassigned" is drawn grey.
    activity : PopulationActivity
        Inferred activity of the first trial.
    truth : PopulationActivity, optional
        Drawn in grey behind it.
    smooth : quantities.Quantity, optional
        Standard deviation (time) of a Gaussian that smooths all activities. The uncertainty, which is that of single
        bins, is drawn without smoothing only.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import neo
    >>> from neulvm_neo import PopulationActivity
    >>> train = neo.SpikeTrain([0.05, 0.15], units="s", t_stop=0.2)
    >>> n = np.random.default_rng(0).poisson(4.0, (100, 1))
    >>> figure = overview([train], ["E"], PopulationActivity(n, np.array([100]), 0.002, 0.0, ("E",)))
    >>> len(figure.axes)
    2
    """
    recording = SpikeRecording.from_neo(data)
    n_populations = len(activity.names)
    raster_height = float(np.clip(0.09 * recording.n_neurons, 1.2, 4.0))

    top = plotting.plot_raster(recording, labels, activity.names)
    figure = top.figure
    figure.set_size_inches(9, 0.9 + raster_height + _ROW * n_populations)
    grid = figure.add_gridspec(1 + n_populations, 1, height_ratios=[raster_height, *[_ROW] * n_populations])
    top.set_subplotspec(grid[0])
    rows = [figure.add_subplot(grid[1 + k], sharex=top) for k in range(n_populations)]
    drawn = activity if smooth is None else dataclasses.replace(activity, n_std=None)
    plotting.plot_population_activity(drawn, truth, smooth=smooth, axes=rows)

    for axes, name, color in zip(rows, activity.names, plotting.population_colors(n_populations), strict=True):
        axes.set_title(name, loc="left", color=color, fontweight="bold", fontsize="medium", pad=2)
        axes.set_ylabel("Hz")  # the names of brain areas are longer than an axis is high
    for axes in (top, *rows[:-1]):
        axes.tick_params(labelbottom=False)
    top.set_xlabel("")
    top.set_ylabel("recorded\nneurons")
    top.set_title(title or "", loc="left", fontsize="medium")
    if rows[0].get_legend() is not None:
        for text in rows[0].get_legend().get_texts():
            text.set_text({"activity": "inferred"}.get(text.get_text(), text.get_text()))
    if smooth is not None:
        width = 1e3 * units.positive_seconds(smooth, "smooth")
        rows[-1].set_xlabel(f"time (s); activities smoothed with a Gaussian of {width:g} ms")
    return figure


def sheet(width, height):
    """An empty figure that belongs to nobody's session: no window, no list of open figures.

    Parameters
    ----------
    width, height : float, inches

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> sheet(4.0, 3.0).axes
    []
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure, path):
    """Write a figure in the format of its name; the same figure gives the same bytes, also as SVG.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str
        Ends in .png or .svg; an existing file is replaced.
    """
    import matplotlib

    is_svg = str(path).endswith(".svg")
    with matplotlib.rc_context({"svg.hashsalt": "neulvm"}):
        figure.savefig(path, dpi=150, metadata={"Date": None} if is_svg else None)


def shown(value, digits):
    """A number in words, "–" for None or NaN (the two are the same in a result that was read from a file).

    >>> shown(0.8149, 2), shown(None, 2), shown(float("nan"), 2)
    ('0.81', '–', '–')
    """
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def edges(centres):
    """Edges of cells around increasing centres, halfway between them.

    >>> edges(np.array([1.0, 2.0, 4.0])).tolist()
    [0.5, 1.5, 3.0, 5.0]
    """
    centres = np.asarray(centres, dtype=float)
    if len(centres) == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middle = (centres[:-1] + centres[1:]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def draw_network(axes, name, coupling):
    """A population of neurons that excite each other: a circle of dots and an arrow back to it.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    name, coupling : str
    """
    from matplotlib.patches import Circle, FancyArrowPatch

    color = plotting.population_colors(1)[0]
    axes.add_patch(Circle((0, 0), 1.0, facecolor="none", edgecolor=color, lw=1.5))
    angle, radius = 2.4 * np.arange(40), 0.88 * np.sqrt((np.arange(40) + 0.5) / 40)  # sunflower: evenly spread
    axes.plot(radius * np.cos(angle), radius * np.sin(angle), "o", ms=4, color=color)
    axes.add_patch(
        FancyArrowPatch((-0.5, 0.95), (0.5, 0.95), connectionstyle="arc3,rad=-1.5", arrowstyle="-|>",
                        mutation_scale=14, lw=1.5, color="black")
    )  # fmt: skip
    axes.text(0, 1.85, coupling, ha="center", va="bottom", style="italic")
    axes.text(0, -1.15, name, ha="center", va="top")
    axes.set(xlim=(-1.3, 1.3), ylim=(-1.6, 2.3), aspect="equal")
    axes.set_axis_off()
    axes.set_title("A", loc="left", fontweight="bold")
