"""``neulvm report``: what a saved fit explains of a recording, and what it does not."""

import os
import time

from .arguments import add_input, add_seed, command, positive, read
from .words import check_new, progress, units_of


def add(commands):
    """Add the subcommand to the parser."""
    report = command(commands, "report", run, "Say what a fitted circuit explains of a recording and what it does not.",
                     "neulvm report rec.nwb fit.npz --window 60 120 --png report.png")  # fmt: skip
    add_input(report)
    report.add_argument("fit", metavar="FIT.npz", help="from `neulvm fit --save`")
    report.add_argument("--replicates", type=positive, default=100, metavar="N",
                        help="recordings for the circuit to make by itself, at least 20 (default 100)")  # fmt: skip
    report.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processors (default: all)")
    report.add_argument("--png", metavar="FILE.png", help="also draw it")
    report.add_argument("--overwrite", action="store_true", help="replace an existing picture")
    add_seed(report)


def run(args):
    """Do it."""
    from ..estimator import NeuLVM
    from ..recording import SpikeRecording

    if args.png:
        check_new(args.png, args.overwrite)
    model = NeuLVM.load(args.fit).set_params(n_jobs=args.jobs, verbose=progress())
    block = read(args)
    print(f"{args.input}: {units_of(SpikeRecording.from_neo(block))}", flush=True)
    began = time.monotonic()
    found = model.goodness_of_fit(block, n_replicates=args.replicates, random_state=args.seed)
    print(f"\n{found.summary()}\n\n{time.monotonic() - began:.0f} s")
    if args.png:
        from ..goodness_figure import plot_goodness_of_fit

        plot_goodness_of_fit(found, title=f"{os.path.basename(args.input)} and {os.path.basename(args.fit)}").savefig(
            args.png, dpi=110
        )
        print(f"wrote {args.png}")
