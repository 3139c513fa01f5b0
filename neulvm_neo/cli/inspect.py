"""``neulvm inspect``: what validation and nwbinspector say about an annotation, and only about that."""

from .arguments import command


def add(commands):
    """Add the subcommand to the parser."""
    inspect = command(
        commands,
        "inspect",
        run,
        "Validate and inspect an annotated file, and tell what the recording did not say before.",
        "neulvm inspect annotated.nwb rec.nwb",
    )
    inspect.add_argument("input", metavar="ANNOTATED.nwb", help="it is only read")
    inspect.add_argument("before", nargs="?", metavar="IN.nwb",
                         help="the recording it was made from (default: the file without its annotations)")  # fmt: skip


def run(args):
    """Do it."""
    from .. import io

    found = io.inspect_annotation(args.input, args.before)
    print(f"{args.input}: {', '.join(found.fits) or 'no fit'}; {found.n_inherited} messages about the recording itself")
    for message in found.new:
        print(f"  {message}")
    if not found.new:
        print("nothing that comes from the annotation")
    if found.serious:
        raise RuntimeError(f"{args.input}: {len(found.serious)} of these would keep it out of an archive.")
