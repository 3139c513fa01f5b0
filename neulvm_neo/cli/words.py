"""What commands say, and how: tables, numbers with units, names that cannot be written."""

import os
import re
import sys


def print_table(head, rows, rule_before=None):
    """Columns as wide as they need to be: text to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    numeric = [all(re.fullmatch(r"[-+]?\d+(\.\d+)?%?", row[i]) for row in rows) for i in range(len(head))]
    rules = {0, rule_before}
    for n, row in enumerate([head, *rows]):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        if n - 1 in rules:
            print("  " + "-" * (sum(widths) + 2 * (len(widths) - 1)))
        print(("  " + "  ".join(cells)).rstrip())


def units_of(recording):
    """Units, spikes, trials and time of a recording."""
    trials = f"{recording.n_trials} trials, " if recording.n_trials > 1 else ""
    span = f"{recording.t_start[0]:g}-{recording.t_stop[-1]:g} s"
    return f"{recording.n_neurons} units, {recording.n_spikes.sum()} spikes, {trials}{span}"


def clustering_in_words(clusterer, asked):
    """What a clusterer found, and why so many."""
    if asked is not None or not clusterer.scores_:
        how = "as asked" if asked is not None else "no division repeats itself in the data"
    else:
        scores = ", ".join(f"{k}: {score:.2f}" for k, score in clusterer.scores_.items())
        how = f"chosen by held-out silhouette ({scores})"
    count = f"{clusterer.n_clusters_} population{'s' if clusterer.n_clusters_ > 1 else ''}"
    return f"clustering (van Rossum distance, {milliseconds(clusterer.time_constant_)}): {count}, {how}"


def milliseconds(time):
    """A time in ms."""
    return f"{time.rescale('ms').item():g} ms"


def with_error(value, error):
    """A value and its standard error."""
    return f"{value:.1f} ± {error:.1f}"


def progress():
    """1 where somebody watches, else 0."""
    return int(sys.stderr.isatty())


def check_new(path, overwrite):
    """Before any work: a fit of minutes must not end with a name that cannot be written."""
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or add --overwrite.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: the folder {folder} does not exist; make it first.")
