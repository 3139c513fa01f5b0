"""``neulvm experiment``: an experiment of the paper, with the published figures and the rivals beside ours."""

import json
import os
import shutil
import signal
import time

from . import out
from .arguments import add_seed, command, name_and_path


def add(commands):
    """Add the subcommand to the parser."""
    parser = command(commands, "experiment", run,
                      "Do an experiment of the paper; leaves DIR/result.json and a figure as PNG and SVG.",
                      "neulvm experiment connectivity --quick --out results/connectivity")  # fmt: skip
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one; see --list")
    parser.add_argument("--list", action="store_true", help="name the experiments")
    parser.add_argument("--quick", action="store_true", help="within a minute on two cores: a look, not a claim")
    add_seed(parser)
    parser.add_argument("--n-jobs", type=int, default=1, metavar="J", help="cores to use, -1 for all (default 1)")
    parser.add_argument("--peer-python", type=name_and_path, action="append", default=[], metavar="NAME=PATH",
                        help="Python of another environment for a rival; may be repeated")  # fmt: skip
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="only these of what an experiment compares")
    parser.add_argument("--resume", action="store_true",
                        help="go on with the interrupted run that DIR holds; with the same seed and sizes")  # fmt: skip
    parser.add_argument("--from", dest="source", metavar="DIR", help="take the run that DIR holds: only draw and tell")
    parser.add_argument("--beside", nargs="+", default=[], metavar="DIR",
                        help="finished runs with other seeds, to be told as repeated runs")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="folder of the files; it is made")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there")


def run(args):
    """Do it."""
    from ..experiments import registry

    if args.list:
        for name in registry.EXPERIMENTS:
            print(f"{name:<16} {registry.experiment(name).title}")
        return
    if args.name is None:
        raise ValueError(f"NAME is missing; choose from {', '.join(registry.EXPERIMENTS)} (or see --list).")
    experiment = registry.experiment(args.name)
    if args.out is None:
        raise ValueError("--out DIR is missing: the folder of the files.")
    if args.resume and not experiment.resumable:
        raise ValueError(f"--resume: {experiment.name} is short and starts anew; leave it out.")
    _check_names(args, experiment)
    folder = _Folder(args.out, experiment.name, args.overwrite, args.resume)
    given = None if args.source is None else _read(args.source, experiment)
    quick = args.quick if given is None else given["quick"]
    repeated = [_repeated_run(place, experiment, quick) for place in args.beside]
    result = _ran(args, experiment, folder) if given is None else given
    if repeated:
        result["repeated_runs"] = repeated
    folder.finish(result, experiment)
    size = "a quick look: sizes are small, see protocol" if result["quick"] else "in full"
    print(f"\n{experiment.title}\nSeed {result['seed']}, {size}; {result['seconds']:.0f} s.\n")
    if not result["complete"]:
        print("The run was interrupted: this is what was done until then.\n")
    for line in experiment.summary(result):
        print(line)
    print()
    for path in folder.files:
        print(f"wrote {path}")


def _check_names(args, experiment):
    """Refuse rivals and models that the experiment does not have."""
    if unknown := [name for name, _ in args.peer_python if name not in experiment.peers]:
        known = f"its rivals are {', '.join(experiment.peers)}" if experiment.peers else "it has no such rivals"
        raise ValueError(f"--peer-python {unknown[0]}=…: {experiment.name} has no use for it; {known}.")
    if unknown := [name for name in args.models or () if name not in experiment.models]:
        known = f"it compares {', '.join(experiment.models)}" if experiment.models else "it compares nothing by name"
        raise ValueError(f"--models {unknown[0]}: {experiment.name} has no such model; {known}.")


def _ran(args, experiment, folder):
    """The result of a run, as it is in a file."""
    from ..experiments.processes import machine
    from ..experiments.registry import plain

    pythons = dict(args.peer_python)
    began, about = time.monotonic() - folder.seconds_before(), machine()
    frame = {
        "name": experiment.name, "title": experiment.title, "command": _command(args), "seed": args.seed,
        "quick": args.quick, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": about.pop("versions") | _versions("scipy", "scikit-learn", "elephant", "neo"), "machine": about,
    }  # fmt: skip

    def say(line):
        ctrl_c.raise_again()
        print(f"[{time.monotonic() - began:6.1f} s] {line}", flush=True)

    def framed(found, complete):
        seconds = round(time.monotonic() - began, 1)
        return plain({**frame, "seconds": seconds, "complete": complete, **found, **frame})

    def keep(found):
        ctrl_c.raise_again()
        folder.keep(framed(found, complete=False))

    settings = {"seed": args.seed, "quick": args.quick, "n_jobs": args.n_jobs, "say": say, "checkpoint": keep}
    if experiment.resumable:
        same = {"name": experiment.name, "seed": args.seed, "quick": args.quick, "versions": frame["versions"]}
        same |= {"models": args.models} if args.models else {}
        settings["run_tasks"] = folder.finished(same, lambda: ctrl_c.raise_again()).run_tasks
    if experiment.peers:
        settings["peer_pythons"] = pythons
    if experiment.models:
        settings["models"] = args.models
    try:
        with _CtrlC() as ctrl_c:
            found = experiment.run(**settings)
            ctrl_c.raise_again()
    except KeyboardInterrupt:
        if folder.kept:
            go_on = "; go on with --resume" if experiment.resumable else ""
            raise KeyboardInterrupt(f"interrupted; what was done so far is in {folder.partial}{go_on}.") from None
        raise
    result = framed(found, complete=True)
    folder.keep(result)  # until the figure is drawn, too
    if missing := [key for key in experiment.keys if key not in result]:
        raise RuntimeError(f"{experiment.name} gave no {', '.join(missing)}; what it gave is in {folder.partial}.")
    return result


def _versions(*packages):
    import importlib.metadata

    return {package: importlib.metadata.version(package) for package in packages}


def _command(args):
    """The command that does the same again, without the files it wrote."""
    words = ["neulvm", "experiment", args.name, *["--quick"] * args.quick, "--seed", str(args.seed)]
    words += ["--n-jobs", str(args.n_jobs)]
    for name, _ in args.peer_python:
        words += ["--peer-python", f"{name}=…"]
    if args.models:
        words += ["--models", *args.models]
    return " ".join(words)


class _CtrlC:
    """Remembers Ctrl-C: a fit that is interrupted keeps its best values and ends well, but the run has to end, too."""

    def __enter__(self):
        self.pressed = False
        try:
            self.before = signal.signal(signal.SIGINT, self._note)
        except ValueError:  # not the main thread, which alone gets it
            self.before = None
        return self

    def __exit__(self, *_):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def raise_again(self):
        """End the run, before what the interrupted fit left is kept."""
        if self.pressed:
            raise KeyboardInterrupt

    def _note(self, *_):
        self.pressed = True
        raise KeyboardInterrupt


class _Folder:
    """DIR: what is there before, what is kept meanwhile, and the three files of the end."""

    def __init__(self, place, name, overwrite, resume):
        self.place, self.overwrite, self.resume, self.kept = place, overwrite, resume, resume
        self.partial, self.tasks = os.path.join(place, "partial.json"), os.path.join(place, "tasks")
        self.files = [os.path.join(place, file) for file in ("result.json", f"{name}.png", f"{name}.svg")]
        out.check(place, (*self.files, *((self.partial, self.tasks) if not resume else ())), overwrite=overwrite)
        os.makedirs(place, exist_ok=True)

    def seconds_before(self):
        """How long an interrupted run took that is gone on with."""
        if not (self.resume and os.path.exists(self.partial)):
            return 0.0
        with open(self.partial, encoding="utf-8") as file:
            return json.load(file)["seconds"]

    def finished(self, about, check):
        """What has been done of the run that `about` describes."""
        from ..experiments.finished import Finished

        return Finished(self.tasks, about, self.resume, check)

    def keep(self, result):
        """Keep a result that is not complete yet, or not drawn."""
        with out.new_files([self.partial], overwrite=self.kept or self.overwrite) as (path,):
            out.write_json(result, path)
        self.kept = True

    def finish(self, result, experiment):
        """Draw; the three files appear when all of them are written."""
        from ..experiments import figures

        figure = experiment.figure(result)
        with out.new_files(self.files, overwrite=self.overwrite) as paths:
            out.write_json(result, paths[0])
            for path in paths[1:]:
                figures.save(figure, path)
        if os.path.exists(self.partial):
            os.remove(self.partial)
        shutil.rmtree(self.tasks, ignore_errors=True)


def _read(place, experiment):
    """The result that a folder holds, or what an interrupted run has left there."""
    names = [os.path.join(place, file) for file in ("result.json", "partial.json")]
    path = next(filter(os.path.exists, names), None)
    if path is None:
        raise FileNotFoundError(f"{place}: holds no result.json; give the folder of a run.")
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    if not isinstance(result, dict) or result.get("name") != experiment.name:
        raise ValueError(f"{path}: not a result of {experiment.name}; give the folder of a run of it.")
    if missing := [key for key in (*experiment.keys, "seed", "quick", "seconds", "complete") if key not in result]:
        raise ValueError(f"{path}: holds no {', '.join(missing)}: too little was done, run it again.")
    return result


def _repeated_run(place, experiment, quick):
    """What is told of a run with another seed."""
    result = _read(place, experiment)
    if not result["complete"]:
        raise ValueError(f"--beside {place}: an interrupted run; do it again.")
    if result["quick"] != quick:
        sizes = {True: "quick", False: "full"}
        raise ValueError(f"--beside {place}: a {sizes[result['quick']]} run beside a {sizes[quick]} one; do it again.")
    return {key: result[key] for key in ("seed", "command", "date", "seconds", "versions", "machine", *experiment.keys)}
