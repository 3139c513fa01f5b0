"""``neulvm check``: the data-quality sheet of a recording."""

import math

from .arguments import add_input, command
from .words import milliseconds, print_table, units_of

_ROWS = 60  # units in the table, unless all are asked for
_PAIRS = 10


def add(commands):
    """Add the subcommand to the parser."""
    check = command(
        commands,
        "check",
        run,
        "What is odd about a recording, and what a fit of it would need: units, rates, intervals, shared spikes.",
        "neulvm check rec.nwb --window 0 60",
    )
    add_input(check)
    check.add_argument("--all", action="store_true", help=f"every unit in the table, not only the first {_ROWS}")


def run(args):
    """Do it."""
    from .. import io
    from ..quality import data_quality
    from ..recording import SpikeRecording

    block, repairs = io.read_with_repairs(args.input, trials=args.trials, window=args.window)
    recording = SpikeRecording.from_neo(block)
    quality = data_quality(recording)
    print(f"{args.input}: {units_of(recording)}")
    _intervals(recording)
    print("\nWhile reading:")
    for text in repairs or ["nothing had to be repaired"]:
        print(f"  {text}")
    print("\nUnits:")
    _units(quality, len(quality.neuron_ids) if args.all else _ROWS)
    print("\nFindings:")
    for text in _findings(quality) or ["nothing odd"]:
        print(f"  {text}")
    print("\nFor a fit:")
    for text in [*_bin_sizes(recording), *_populations(recording)]:
        print(f"  {text}")


def _intervals(recording):
    total = recording.durations.sum()
    spans = [f"{a:g}-{b:g}" for a, b in zip(recording.t_start, recording.t_stop, strict=True)]
    more = f" and {len(spans) - 5} more" if len(spans) > 5 else ""
    print(f"observed by all units: {total:g} s ({', '.join(spans[:5])}{more} s)")


def _units(quality, n_rows):
    head = ["unit", "spikes", "rate (Hz)", "shortest (ms)", f"below {1e3 * quality.refractory_period:g} ms", "twice"]
    rows = []
    for i, name in enumerate(quality.neuron_ids[:n_rows]):
        shortest = quality.shortest_interval[i]
        rows.append([
            name, str(quality.n_spikes[i]), f"{quality.rates[i]:.2f}",
            "" if math.isnan(shortest) else f"{1e3 * shortest:.2f}",
            f"{100 * quality.share_short[i]:.1f}%", str(quality.n_duplicates[i]),
        ])  # fmt: skip
    print_table(head, rows)
    if len(quality.neuron_ids) > n_rows:
        print(f"  and {len(quality.neuron_ids) - n_rows} more (--all shows them)")


def _findings(quality):
    from ..quality import FEW_SPIKES, MULTI_UNIT, SAME

    found = []
    if quality.silent:
        found.append(f"silent units: {_some(quality.silent)}")
    if quality.nearly_silent:
        found.append(f"units with fewer than {FEW_SPIKES} spikes: {_some(quality.nearly_silent)}")
    if quality.multi_units:
        period = f"{1e3 * quality.refractory_period:g} ms"
        found.append(
            f"probably more than one neuron (over {MULTI_UNIT:.0%} of intervals below {period}): "
            f"{_some(quality.multi_units)}"
        )
    if n := int(quality.n_duplicates.sum()):
        found.append(f"spikes at the very time of another one of their unit: {n}")
    if n := int(quality.n_negative.sum()):
        found.append(f"spikes before time 0: {n} (fine if 0 is an event, else look at the clock)")
    for one, other, n, share in quality.shared[:_PAIRS]:
        why = "one neuron sorted twice?" if share > SAME else "crosstalk, or some sorted twice?"
        found.append(f"units {one} and {other} share {n} spikes, {share:.0%} of the smaller: {why}")
    if len(quality.shared) > _PAIRS:
        found.append(f"and {len(quality.shared) - _PAIRS} more pairs that share spikes")
    return found


def _bin_sizes(recording):
    from ..experiments import preparation
    from ..quality import surplus_share

    widths = (0.001, 0.002, 0.005, 0.01)
    lost = ", ".join(f"{1e3 * width:g} ms {surplus_share(recording, width):.2%}" for width in widths)
    chosen = preparation.bin_size_for(recording)
    return [
        f"suggested bin size: {milliseconds(chosen)} ({preparation.n_bins(recording, chosen)} bins); "
        f"refractory period {milliseconds(preparation.refractory_period_for(recording, chosen))}",
        f"spikes that share a bin with one of their neuron, and are left out: {lost}",
    ]


def _populations(recording):
    from ..experiments import preparation

    names = dict.fromkeys(name for annotations in recording.annotations for name in annotations)
    found = []
    for name in names:
        if name in ("unit_id", "electrodes"):
            continue
        try:
            labels, populations = preparation.populations_of_column(recording, name)
        except ValueError:
            continue
        if len(populations) < len(labels):  # a name for every unit is not a population
            members = ", ".join(f"{population} {labels.count(k)}" for k, population in enumerate(populations))
            found.append(f"--populations {name}: {members}")
    return found or ["no column of the units looks like populations; --populations K clusters them"]


def _some(names):
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
