"""``neulvm demo``: the whole job on a simulated network."""

import time

from .arguments import add_seed, command
from .words import print_table, progress, with_error


def add(commands):
    """Add the subcommand to the parser."""
    demo = command(commands, "demo", run, "Do the whole job on a simulated network and compare with the truth.",
                    "neulvm demo --out my_demo --seed 2")  # fmt: skip
    demo.add_argument("--out", metavar="DIR", default="./neulvm_demo", help="folder of the files (%(default)s)")
    demo.add_argument("--quick", action="store_true", help="less data and a coarse fit: every step, little insight")
    add_seed(demo)


def run(args):
    """Do it."""
    from ..experiments import demo

    began = time.monotonic()
    step = 0

    def say(line):
        nonlocal step
        step += 1
        print(f"[{time.monotonic() - began:5.1f} s] {line}", flush=True)

    report = demo.run(args.out, seed=args.seed, quick=args.quick, say=say, verbose=progress())
    print()
    print("Parameters. Many sets of values explain a short recording almost equally well: the activity of I hardly")
    print("varies, so J_i and u_rest cannot be told apart, and single values can be far off. What they do together is")
    print("determined better. Below the line: lasting input per Hz of a source, and mean input above threshold.")
    print_table(
        ["", "unit", "true", "inferred", "error"],
        [[row.name, row.unit, f"{row.truth:.2f}", f"{row.inferred:.2f}", f"{row.error:+.0%}"] for row in report.rows],
        rule_before=sum(not row.combination for row in report.rows),
    )
    print()
    kinds = list(next(iter(report.correlations.values())))
    print("Correlation with the true activity, in bins of 2 ms. Chance within a bin cannot be seen through so few")
    print("neurons: 1 is out of reach. Smoothed spikes: the best of plain smoothings, its width chosen by the truth.")
    print_table(
        ["", *kinds], [[name, *(f"{r[kind]:.2f}" for kind in kinds)] for name, r in report.correlations.items()]
    )
    print()
    likelihood = with_error(report.log_likelihood, report.log_likelihood_error)
    print(f"Log-likelihood of the fitted part: {likelihood} nats; {report.status}.")
    print(report.kinds)
    print(f"Unseen part: {report.bits_per_spike:+.3f} bits per spike against constant rates.")
    print()
    print("Files:")
    width = max(map(len, report.files.values()))
    for what, said in _DEMO_FILES.items():
        print(f"  {report.files[what]:<{width}}  {said}")
    print(f"\nDone in {time.monotonic() - began:.0f} s. Open {report.files['picture']} first.")


_DEMO_FILES = {
    "picture": "raster by population, inferred against true activity",
    "recording": "the simulated recording",
    "annotated": "the same with populations, activity and parameters",
    "neo": "the fitted part as a Neo Block with AnalogSignals and Groups",
    "fit": "the fit, for `neulvm annotate` and neulvm_neo.io.load_fit",
    "circuit": "the fitted circuit, for `neulvm simulate`",
}
