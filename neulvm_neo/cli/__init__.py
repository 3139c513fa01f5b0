"""The command line ``neulvm``: one subcommand per step of the job, and one that shows the whole of it."""

import argparse
import logging
import os
import sys
import warnings

from .. import __version__
from . import annotate, bench, check, cluster, demo, evaluate, experiment, fit, inspect, report, simulate
from .arguments import Parser

# One line per subcommand: a module with `add(commands)`, which says what it takes, and `run(args)`, which does it.
COMMANDS = (demo, simulate, check, cluster, fit, evaluate, report, annotate, inspect, bench, experiment)

_SUMMARY = """\
From a recording of a few neurons to a spiking-network model of the circuit behind it.

commands:
  demo        the whole job on a simulated network, with the truth beside it (start here)
  simulate    simulate a circuit neuron by neuron, write the spikes of a few as NWB
  check       what is odd about a recording, and what a fit of it needs
  cluster     which unit of a recording belongs to which population
  fit         fit a circuit to a recording, write an annotated copy of the file
  evaluate    how well a fit predicts later spikes of the recording, beside what one would use instead
  report      what a saved fit explains of a recording, and what it does not
  annotate    write a saved fit into a copy of the file it was made from
  inspect     what an archive would say about an annotated file, and only about what is ours
  bench       how fast it is here, beside what one would use instead
  experiment  an experiment of the paper, with its published figures and the rivals beside ours

example:
  neulvm demo
"""


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Default ``sys.argv[1:]``.

    Returns
    -------
    int
        0, or 2 after an error (told in one sentence on stderr), or 130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    os.environ.setdefault("MPLBACKEND", "Agg")  # pictures go to files
    if args.verbose:
        logging.basicConfig(level=logging.INFO, format="neulvm: %(message)s")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for noise in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", noise)  # for developers, not for users of a command
        warnings.showwarning = _show_warning
        hook, sys.unraisablehook = sys.unraisablehook, _log_unraisable
        try:
            args.run(args)
        except KeyboardInterrupt as interruption:
            return _complain(str(interruption) or "interrupted; nothing was written.", code=130)
        except Exception as error:
            if args.traceback:
                raise
            return _complain(_sentence(error))
        finally:
            sys.unraisablehook = hook
    return 0


def _parser():
    parser = Parser(
        prog="neulvm", usage="neulvm COMMAND …", description=_SUMMARY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"neulvm-neo {__version__}")
    commands = parser.add_subparsers(prog="neulvm", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    for module in COMMANDS:
        module.add(commands)
    return parser


def _show_warning(message, category, filename, lineno, file=None, line=None):
    # Not by a filter: scikit-learn puts one of its own in front when it is imported.
    if category.__name__ == "ConvergenceWarning":
        return  # `fit` and `demo` say so in words of the command line
    print(f"neulvm: warning: {_sentence(message)}", file=sys.stderr)


def _log_unraisable(what):
    # HDF5 complains again for every object of a file that it could not close; the command has said so already.
    logging.getLogger(__name__).info("while cleaning up: %s", what.exc_value)


def _complain(sentence, code=2):
    print(f"neulvm: {sentence}", file=sys.stderr)
    return code


def _sentence(error):
    text = " ".join(str(error).split())
    expected = isinstance(error, (ValueError, TypeError, OSError, ImportError, RuntimeError, Warning))
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    if not text or not expected:
        return f"unexpected {type(error).__name__}: {text} (run again with --traceback, and please report it)"
    return text
