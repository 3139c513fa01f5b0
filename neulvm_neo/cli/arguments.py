"""The grammar of the command line: what arguments of the subcommands have in common."""

import argparse
import re


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one sentence."""

    def error(self, message):
        self.exit(2, f"neulvm: {message} (see {self.prog} --help)\n")


def command(commands, name, run, what, example):
    """A new subcommand with what all of them take."""
    parser = commands.add_parser(
        name, description=what, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    parser.add_argument("-v", "--verbose", action="store_true", help="say more about what is being done")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    return parser


def add_input(command):
    """A recording, and which part of it."""
    command.add_argument("input", metavar="IN.nwb", help="an NWB 2 file with sorted units; it is only read")
    command.add_argument("--window", type=float, nargs=2, metavar=("A", "B"), help="only these seconds of the file")
    command.add_argument("--trials", metavar="TABLE", help="one trial per row of this interval table")


def add_out(command, metavar):
    """The file to write."""
    command.add_argument("--out", required=True, metavar=metavar, help="the file to write")
    command.add_argument("--overwrite", action="store_true", help="replace files that exist")


def add_suffix(command):
    """Which of several fits in one file."""
    command.add_argument("--suffix", default="", metavar="NAME", help="for several fits side by side in one file")


def add_seed(command):
    """The seed."""
    command.add_argument("--seed", type=int, default=1, metavar="S", help="of all random numbers (default 1)")


def read(args):
    """The recording that `add_input` asked for."""
    from .. import io

    return io.read_nwb(args.input, trials=args.trials, window=args.window)


def positive(text):
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def share(text):
    """A number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1, such as 0.2")
    return value


def name_and_path(text):
    """A pair NAME=PATH."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH, such as brian2=other/bin/python")
    return name, path


def time_of(text):
    """A positive time with its unit."""
    from ..units import parse_quantity, positive_seconds

    spaced = re.fullmatch(r"\s*([-+.\d]+(?:[eE][-+]?\d+)?)\s*(\D.*)", text)
    try:
        time = parse_quantity(" ".join(spaced.groups()) if spaced else text, "time")
        positive_seconds(time, "time")
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f'{text!r} is not a time; write it like 10s or "2 ms"') from None
    return time
