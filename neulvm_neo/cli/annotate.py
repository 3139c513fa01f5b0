"""``neulvm annotate``: a saved fit into a copy of the file it was made from."""

from .arguments import add_out, add_suffix, command
from .words import check_new


def add(commands):
    """Add the subcommand to the parser."""
    annotate = command(
        commands,
        "annotate",
        run,
        "Write a saved fit into a copy of the file it was made from.",
        "neulvm annotate rec.nwb fit.npz --out annotated.nwb",
    )
    annotate.add_argument("input", metavar="IN.nwb", help="the recording; it is only read")
    annotate.add_argument("fit", metavar="FIT.npz", help="from `neulvm fit --save`")
    add_suffix(annotate)
    add_out(annotate, "OUT.nwb")


def run(args):
    """Do it."""
    from .. import io

    check_new(args.out, args.overwrite)
    result = io.load_fit(args.fit)
    io.annotate_nwb(args.input, args.out, result, suffix=args.suffix, overwrite=args.overwrite)
    members = ", ".join(f"{name} {n}" for name, n in zip(result.names, result.n_recorded, strict=True))
    ending = f"_{args.suffix}" if args.suffix else ""
    print(
        f"wrote {args.out}: units.neulvm_population{ending} ({members}), {len(result.activities)} trial(s) of activity"
    )
    print(f"next: neulvm inspect {args.out} {args.input}")
