"""``neulvm bench``: how fast it is here."""

import time
from contextlib import nullcontext

from .arguments import command, name_and_path
from .out import write_json
from .words import print_table


def add(commands):
    """Add the subcommand to the parser."""
    bench = command(commands, "bench", run,
                     "Measure how fast neulvm-neo is on this machine, on one core, beside what one would use instead.",
                     "neulvm bench --quick --out bench.json")  # fmt: skip
    bench.add_argument("--quick", action="store_true", help="fewer repetitions, smaller sizes: a look, not a claim")
    bench.add_argument("--rows", nargs="+", metavar="NAME", help="only these, such as forward or gradient-jax")
    bench.add_argument("--peer-python", type=name_and_path, action="append", default=[], metavar="NAME=PATH",
                       help="Python of another environment for jax, nest or brian2; may be repeated")  # fmt: skip
    bench.add_argument("--out", metavar="FILE.json", help="also save every number")
    bench.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def run(args):
    from ..experiments import bench, bench_tables
    from ..new_files import new_file

    began = time.monotonic()
    saved = new_file(args.out, suffixes=(".json",), overwrite=args.overwrite) if args.out else nullcontext()
    with saved as path:
        measured = bench.run(
            quick=args.quick, rows=args.rows, peer_pythons=dict(args.peer_python),
            say=lambda line: print(f"[{time.monotonic() - began:6.1f} s] {line}", flush=True),
        )  # fmt: skip
        if path:
            write_json(measured, path)
    machine, rows = measured["machine"], measured["rows"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    print(f"\n{machine['cpu']} ({', '.join(machine['vector_extensions'])}), one core; {versions}")
    print("Best of several calls. Floor: two vectorised exponentials per cell (age, population, bin), measured beside")
    print("the row in the same precision; distance: ours over the floor.")
    table = [cells for row in rows if (cells := bench_tables.table_row(row))]
    if table:
        print_table(bench_tables.TABLE_HEAD, table)
    growth = [cells for row in rows if (cells := bench_tables.growth_row(row))]
    if growth:
        print("\nGrowth: a slope of 1 is in proportion, 0 is independent.")
        print_table(bench_tables.GROWTH_HEAD, growth)
    print("\nNotes:")
    for note in bench_tables.notes(rows):
        print(f"  {note}")
    if args.out:
        print(f"\nwrote {args.out}")
    if failed := [row["row"] for row in rows if "failed" in row["ours"]]:
        raise RuntimeError(f"not measured: {', '.join(failed)}.")
