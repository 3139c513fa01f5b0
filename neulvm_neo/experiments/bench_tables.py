"""What `neulvm bench` measured, as a reader sees it: cells of its tables, and remarks."""

import re


def summary(row):
    """One row in words, without its name.

    Parameters
    ----------
    row : dict

    Returns
    -------
    str
    """
    ours, peer = row["ours"], row["peer"]
    if "failed" in ours:
        return f"failed: {ours['failed']}"
    said = [f"ours {shown_time(ours['seconds'])}"]
    if peer is not None:
        for trouble in ("skipped", "failed"):
            if trouble in peer:
                said.append(f"{peer['name']} {trouble} ({peer[trouble]})")
        if "seconds" in peer:
            said.append(f"{peer['name']} {shown_time(peer['seconds'])}: {row['ratio']:.3g} times ours")
    if row["floor"] is not None:
        said.append(f"{row['distance']:.3g} times the floor")
    if "slope" in row["details"]:
        said.append(f"slope {_shown_slope(row['details'])}")
    return ", ".join(said)


TABLE_HEAD = ("row", "ours", "peer", "", "ratio", "floor", "distance", "memory: ours", "peer")
GROWTH_HEAD = ("row", "sizes", "times", "slope")


def table_row(row):
    """Cells of a row under `TABLE_HEAD`; None for a row about growth.

    Parameters
    ----------
    row : dict

    Returns
    -------
    tuple of str or None
    """
    if "along" in row["details"]:
        return None
    ours, peer = row["ours"], row["peer"] or {}
    trouble = next((trouble for trouble in ("skipped", "failed") if trouble in peer), "")
    return (
        row["row"],
        shown_time(ours["seconds"]) if "seconds" in ours else "failed",
        peer.get("version") or peer.get("name", ""),
        shown_time(peer["seconds"]) if "seconds" in peer else trouble,
        "" if row["ratio"] is None else f"{row['ratio']:.1f}",
        "" if row["floor"] is None else shown_time(row["floor"]["seconds"]),
        "" if row["distance"] is None else f"{row['distance']:.1f}",
        _shown_memory(ours),
        _shown_memory(peer),
    )


def growth_row(row):
    """Cells of a row under `GROWTH_HEAD`; None for a row that is not about growth."""
    if "along" not in row["details"]:
        return None
    details = row["details"]
    sizes = " ".join(f"{size:g}" for size in details["sizes"])
    if "slope" not in details:
        return row["row"], sizes, "failed", ""
    return row["row"], sizes, ", ".join(map(shown_time, details["seconds"])), _shown_slope(details)


def markdown(measured):
    """The tables as Markdown, for docs/speed.md.

    Parameters
    ----------
    measured : dict
        What `bench.run` returns.

    Returns
    -------
    str
    """
    lines = ["| | ours | peer | ratio | over the floor | memory |", "|---|---|---|---|---|---|"]
    for row in measured["rows"]:
        if cells := table_row(row):
            _, ours, peer, theirs, ratio, _, distance, *memory = cells
            shown = (
                row["what"].rstrip("."),
                ours,
                f"{peer} {theirs}",
                ratio,
                distance,
                " / ".join(filter(None, memory)),
            )
            lines.append(f"| {' | '.join(shown)} |")
    slopes = [
        f"{row['details']['along']} {_shown_slope(row['details'])}"
        for row in measured["rows"]
        if "slope" in row["details"]
    ]
    if slopes:
        lines += ["", f"Value and gradients grow with (exponent): {', '.join(slopes)}."]
    return re.sub(" +", " ", "\n".join(lines))


def notes(rows):
    """What the tables have no room for: whether both sides did the same, why a side is missing; a line per row.

    Parameters
    ----------
    rows : sequence of dict

    Returns
    -------
    list of str
    """
    remarks = [(row["row"], "; ".join(_remarks(row))) for row in rows]
    return [f"{name}: {said}" for name, said in remarks if said]


def _remarks(row):
    ours, peer, details = row["ours"], row["peer"] or {}, row["details"]
    for trouble in ("skipped", "failed"):
        if trouble in peer:
            yield f"{peer['name']} {trouble}: {peer[trouble]}"
    if "failed" in ours:
        yield f"ours failed: {ours['failed']}"
    if "windows" in ours:
        yield f"ages tracked: {' '.join(map(str, ours['windows']))}"
    if row["floor"]:
        yield f"floor of {row['floor']['ns_per_cell']:.2f} ns per cell in {row['floor']['dtype']}"
    if "largest_relative_difference_of_n_bar" in details:
        largest = details["largest_relative_difference_of_n_bar"]
        settled = details["largest_relative_difference_of_n_bar_once_settled"]
        later = "" if settled is None else f" (after the first second {settled:.1e})"
        yield f"largest relative difference of n_bar: {largest:.1e}{later}"
        yield f"values differ by {details['difference_of_value']:.1e} nats of {ours['value']:.1f}"
    for name, side in (("ours", ours), (peer.get("name"), peer)):
        if "rates" in side:
            yield f"mean rates, {name}: {' / '.join(f'{rate:.1f}' for rate in side['rates'])} Hz"
    if "compile_seconds" in peer:
        yield f"{peer['name']}: {shown_time(peer['compile_seconds'])} to compile, not counted"
    if "build_seconds" in peer:
        yield f"{peer['name']}: {shown_time(peer['build_seconds'])} to build, compile and warm up, not counted"
    if "seconds_per_particle_population_bin" in details:
        per_bin, per_cell = details["seconds_per_particle_population_bin"], details["seconds_per_cell"]
        yield f"{shown_time(per_bin)} per particle, population and bin; {shown_time(per_cell)} per cell"
    if "increase" in details:
        grown = "unknown" if details["increase"] is None else f"{details['increase'] / 2**20:.0f} MiB"
        yield f"{details['duration']:g} s, {ours.get('n_bins', 0)} bins: memory grew by {grown} beyond what was loaded"
    if row["row"] == "start-up":
        yield ", ".join(f"{what} {shown_time(seconds)}" for what, seconds in details.items())


def _shown_slope(details):
    return f"{round(details['slope'], 2) + 0.0:.2f}"  # + 0.0: no -0.00


def _shown_memory(side):
    return f"{side['peak_memory'] / 2**20:.0f} MiB" if side.get("peak_memory") else ""


def shown_time(seconds):
    """Seconds with three digits and the unit that suits them.

    Examples
    --------
    >>> shown_time(0.00512), shown_time(12.3), shown_time(3.4e-9)
    ('5.12 ms', '12.3 s', '3.40 ns')
    """
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
    scale, unit = next((pair for pair in units if seconds >= pair[0]), units[-1])
    value = seconds / scale
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
