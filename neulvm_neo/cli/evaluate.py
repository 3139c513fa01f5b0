"""``neulvm evaluate``: how well a fit predicts later spikes of its recording, beside what one would use instead."""

import os
import time

from . import out
from .arguments import add_seed, command, name_and_path, share
from .model import add_model, fitted
from .words import units_of


def add(commands):
    """Add the subcommand to the parser."""
    evaluate = command(commands, "evaluate", run,
                       "Fit the first part of a recording, predict the rest, beside rivals; leaves DIR/result.json, "
                       "evaluation.png, fit.npz.",
                       "neulvm evaluate rec.nwb --window 0 100 --out evaluated")  # fmt: skip
    evaluate.add_argument("input", metavar="IN.nwb", help="an NWB 2 file with sorted units; it is only read")
    evaluate.add_argument("--window", type=float, nargs=2, metavar=("A", "B"), help="only these seconds of the file")
    evaluate.add_argument("--held-out", type=share, default=0.2, metavar="SHARE",
                          help="of the time, at its end, that no model is fitted to (default 0.2)")  # fmt: skip
    add_model(evaluate, required=False)
    evaluate.add_argument("--rivals", nargs="*", metavar="NAME", help="of hmm and glm (default: both)")
    evaluate.add_argument("--peer-python", type=name_and_path, action="append", default=[], metavar="NAME=PATH",
                          help="Python of another environment, for dynamax (hmm) or nemos (glm)")  # fmt: skip
    evaluate.add_argument("--out", required=True, metavar="DIR", help="folder of the files; it is made")
    evaluate.add_argument("--overwrite", action="store_true", help="replace files that exist")
    add_seed(evaluate)


def run(args):
    """Do it."""
    from .. import io
    from ..experiments import evaluation, figures, processes, registry
    from ..recording import SpikeRecording

    rivals, pythons = _rivals(args, evaluation.RIVALS)
    files = [os.path.join(args.out, name) for name in ("result.json", "evaluation.png", "fit.npz")]
    out.check(args.out, files, overwrite=args.overwrite)
    recording = SpikeRecording.from_neo(io.read_nwb(args.input, window=args.window))
    print(f"{args.input}: {units_of(recording)}")
    begin, end = float(recording.t_start[0]), float(recording.t_stop[-1])
    split = end - args.held_out * (end - begin)
    evaluation.check_duration(end - split)
    print(f"fitted: {begin:g} to {split:g} s; held out: {split:g} to {end:g} s")
    training, held_out = (io.read_nwb(args.input, window=part) for part in ((begin, split), (split, end)))
    began, about = time.monotonic(), processes.machine()
    model, fit, labels = fitted(args, training, SpikeRecording.from_neo(training))
    print(f"{fit.status}; {time.monotonic() - began:.0f} s", flush=True)
    found = evaluation.evaluate(
        model, training, held_out, rivals=rivals, peer_pythons=pythons, seed=args.seed,
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
    names = fit.circuit.names
    result = registry.plain(
        {
            "name": "evaluation", "file": os.path.basename(args.input), "command": _command(args), "seed": args.seed,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "training": [begin, split],
            "held_out": [split, end], "populations": {name: labels.count(k) for k, name in enumerate(names)},
            "left_out": labels.count(-1), "status": fit.status, "settings_of_the_fit": _settings(model),
            **found, "versions": about.pop("versions") | found["versions"], "machine": about,
            "seconds": round(time.monotonic() - began, 1),
        }
    )  # fmt: skip
    with out.new_files(files[:2], overwrite=args.overwrite) as paths:
        out.write_json(result, paths[0])
        figures.save(evaluation.figure(result), paths[1])
        io.save_fit(files[2], fit, overwrite=args.overwrite)
    print()
    for line in evaluation.summary(result):
        print(line)
    print()
    for path in files:
        print(f"wrote {path}")


def _rivals(args, known):
    """Names of the rivals that are asked for, and interpreters by library."""
    rivals = list(known) if args.rivals is None else args.rivals
    if unknown := [name for name in rivals if name not in known]:
        raise ValueError(f"--rivals {unknown[0]}: unknown; choose from {', '.join(known)}.")
    libraries = [rival.library for rival in known.values()]
    pythons = dict(args.peer_python)
    if unknown := [name for name in pythons if name not in libraries]:
        raise ValueError(f"--peer-python {unknown[0]}=…: no rival needs it; they need {', '.join(libraries)}.")
    return rivals, pythons


def _settings(model):
    return {
        name: getattr(model, name)
        for name in ("method", "scheme", "n_init", "max_iter", "n_particles", "own_thresholds")
    }


def _command(args):
    """The command that does the same again, without the places of files."""
    words = ["neulvm", "evaluate", os.path.basename(args.input)]
    if args.window:
        words += ["--window", *(f"{edge:g}" for edge in args.window)]
    words += ["--held-out", f"{args.held_out:g}"]
    for name in ("populations", "population_size", "starts", "iterations", "particles"):
        if (value := getattr(args, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--circuit", os.path.basename(args.circuit)] if args.circuit else []
    words += ["--bin-size", f"{args.bin_size.rescale('ms').item():g}ms"] if args.bin_size is not None else []
    words += ["--own-thresholds"] * args.own_thresholds
    words += ["--quick"] * args.quick + (["--rivals", *args.rivals] if args.rivals is not None else [])
    return " ".join([*words, "--seed", str(args.seed)])
