"""The command line ``neulvm``: one subcommand per step of the job, and one that shows the whole of it."""

import argparse
import logging
import os
import re
import sys
import time
import warnings
from contextlib import nullcontext

from . import __version__

_SUMMARY = """\
From a recording of a few neurons to a spiking-network model of the circuit behind it.

commands:
  demo        the whole job on a simulated network, with the truth beside it (start here)
  simulate    simulate a circuit neuron by neuron, write the spikes of a few as NWB
  cluster     which unit of a recording belongs to which population
  fit         fit a circuit to a recording, write an annotated copy of the file
  annotate    write a saved fit into a copy of the file it was made from
  bench       how fast it is here, beside what one would use instead

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
        try:
            args.run(args)
        except KeyboardInterrupt:
            return _complain("interrupted; nothing was written.", code=130)
        except Exception as error:
            if args.traceback:
                raise
            return _complain(_sentence(error))
    return 0


# --- commands ---------------------------------------------------------------------------------------------------------


def _demo(args):
    from .experiments import demo

    began = time.monotonic()
    step = 0

    def say(line):
        nonlocal step
        step += 1
        print(f"[{time.monotonic() - began:5.1f} s] {line}", flush=True)

    report = demo.run(args.out, seed=args.seed, quick=args.quick, say=say, verbose=_progress())
    print()
    print("Parameters. Many sets of values explain a short recording almost equally well: the activity of I hardly")
    print("varies, so J_i and u_rest cannot be told apart, and single values can be far off. What they do together is")
    print("determined better. Below the line: lasting input per Hz of a source, and mean input above threshold.")
    _print_table(
        ["", "unit", "true", "inferred", "error"],
        [[row.name, row.unit, f"{row.truth:.2f}", f"{row.inferred:.2f}", f"{row.error:+.0%}"] for row in report.rows],
        rule_before=sum(not row.combination for row in report.rows),
    )
    print()
    kinds = list(next(iter(report.correlations.values())))
    print("Correlation with the true activity, in bins of 2 ms. Chance within a bin cannot be seen through so few")
    print("neurons: 1 is out of reach. Smoothed spikes: the best of plain smoothings, its width chosen by the truth.")
    _print_table(
        ["", *kinds], [[name, *(f"{r[kind]:.2f}" for kind in kinds)] for name, r in report.correlations.items()]
    )
    print()
    likelihood = _with_error(report.log_likelihood, report.log_likelihood_error)
    print(f"Log-likelihood of the fitted part: {likelihood} nats; {report.status}.")
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


def _simulate(args):
    from . import io
    from .experiments.preparation import circuit_named
    from .simulation import simulate_microscopic

    _check_new(args.out, args.overwrite)
    circuit = circuit_named(args.circuit)
    record = args.record[0] if len(args.record) == 1 else args.record
    run = simulate_microscopic(circuit, duration=args.duration, n_recorded=record, random_state=args.seed)
    source = f"{args.circuit}, {circuit.n_neurons.sum()} neurons, seed {args.seed}"
    io.write_nwb(
        args.out, run.spiketrains, overwrite=args.overwrite,
        session_description=f"Simulated by neulvm: {source}.",
        subject={"subject_id": "simulation", "description": "No animal: a simulated network of spiking neurons."},
    )  # fmt: skip
    print(f"simulated {source}, {run.duration:g} s")
    recorded = [sum(train.annotations["population"] == name for train in run.spiketrains) for name in circuit.names]
    rows = zip(circuit.names, circuit.n_neurons, recorded, run.activity.mean(axis=0), strict=True)
    _print_table(
        ["population", "neurons", "recorded", "rate (Hz)"],
        [[name, str(n), str(m), f"{rate:.2f}"] for name, n, m, rate in rows],
    )
    print(f"wrote {args.out}\nnext: neulvm cluster {args.out}")


def _cluster(args):
    from .clustering import PopulationClusterer
    from .recording import SpikeRecording

    if args.png:
        _check_new(args.png, args.overwrite)
    block = _read(args)
    recording = SpikeRecording.from_neo(block)
    print(f"{args.input}: {_units(recording)}")
    clusterer = PopulationClusterer(args.k, time_constant=args.time_constant, random_state=args.seed).fit(block)
    names = [f"P{k + 1}" for k in range(clusterer.n_clusters_)]
    labels = [names[k] if k >= 0 else "unassigned" for k in clusterer.labels_]
    said = [str(annotations.get("population", "")) for annotations in recording.annotations]
    head, columns = ["unit", "spikes", "rate (Hz)", "cluster"], [recording.neuron_ids, recording.n_spikes]
    columns += [[f"{rate:.2f}" for rate in recording.rates], labels]
    if any(said):
        head, columns = [*head, "population in file"], [*columns, said]
    order = sorted(range(recording.n_neurons), key=lambda i: (labels[i] == "unassigned", labels[i]))
    _print_table(head, [[str(column[i]) for column in columns] for i in order])
    print(_found(clusterer, args.k))
    if args.png:
        from .plotting import plot_distance_matrix

        plot_distance_matrix(clusterer, names).figure.savefig(args.png, dpi=110)
        print(f"wrote {args.png}")


def _fit(args):
    from . import io
    from .binning import bin_recording
    from .estimator import NeuLVM
    from .experiments import preparation
    from .experiments.baselines import bits_per_spike
    from .recording import SpikeRecording

    _check_new(args.out, args.overwrite)
    for path in (args.save, args.png):
        if path:
            _check_new(path, args.overwrite)
    block = _read(args)
    recording = SpikeRecording.from_neo(block)
    print(f"{args.input}: {_units(recording)}")
    bin_size = _bin_size(args.bin_size, recording)
    labels, circuit = _populations(args, block, recording, bin_size)
    effort = _effort(args, preparation.n_bins(recording, bin_size))
    members = ", ".join(f"{name} {labels.count(k)}" for k, name in enumerate(circuit.names))
    left_out = f"; {labels.count(-1)} left out" if -1 in labels else ""
    print(f"units per population: {members}{left_out}")
    print(
        f"fit: {preparation.n_bins(recording, bin_size)} bins of {_ms(bin_size)}, random starts: {effort.n_init}, "
        f"iterations: {effort.max_iter} at most, particles: {effort.n_particles}, seed {args.seed}",
        flush=True,
    )
    began = time.monotonic()
    model = NeuLVM(
        circuit, labels=labels, bin_size=bin_size, **effort._asdict(), random_state=args.seed, n_jobs=args.jobs,
        verbose=_progress(),
    ).fit(block)  # fmt: skip
    result = model.result_
    io.annotate_nwb(args.input, args.out, result, overwrite=args.overwrite)

    fitted = [i for i, k in enumerate(labels) if k >= 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit has said it already
        counts = [trial[:, fitted] for trial in bin_recording(recording, bin_size.rescale("s").item())]
    print(f"\n{result.circuit!r}\n")
    advice = "" if result.converged else " (more with --iterations)"
    print(f"{result.status}{advice}; {time.monotonic() - began:.0f} s")
    likelihood = _with_error(result.log_likelihood, result.log_likelihood_error)
    alike = bits_per_spike(result.log_likelihood, counts, labels=[labels[i] for i in fitted])
    own = bits_per_spike(result.log_likelihood, counts)
    print(f"log p(spikes) = {likelihood} nats (in the data that were fitted), in bits per spike")
    print(f"  {alike:+.3f} against one constant rate per population")
    print(f"  {own:+.3f} against one constant rate per unit (the model knows one for all units of a population)")
    if alike < 0:
        warnings.warn(
            "the fit explains the spikes worse than constant rates do: do not build on it. Try other --starts, "
            "--particles and --iterations, another --bin-size, or a --circuit that says what is known.",
            UserWarning,
            stacklevel=1,
        )
    if at_bounds := preparation.at_bounds(result.circuit):
        print(f"at the end of their allowed range, so poorly determined: {', '.join(at_bounds)}")
    print(f"wrote {args.out}")
    if args.save:
        io.save_fit(args.save, result, overwrite=args.overwrite)
        print(f"wrote {args.save}")
    if args.png:
        from .experiments.figures import overview

        names = [circuit.names[k] if k >= 0 else "unassigned" for k in labels]
        title = f"{os.path.basename(args.input)}: units by population, and the activity of each"
        overview(recording, names, result.activities[0], smooth=_smoothing(bin_size), title=title).savefig(
            args.png, dpi=110
        )
        print(f"wrote {args.png}")


def _annotate(args):
    from . import io

    _check_new(args.out, args.overwrite)
    result = io.load_fit(args.fit)
    io.annotate_nwb(args.input, args.out, result, overwrite=args.overwrite)
    recorded = zip(result.names, result.n_recorded, strict=True)
    members = ", ".join(f"{name} {n}" for name, n in recorded)
    print(f"wrote {args.out}: units.neulvm_population ({members}), {len(result.activities)} trial(s) of activity")


def _bench(args):
    import json

    from .experiments import bench, bench_tables
    from .new_files import new_file

    began = time.monotonic()
    saved = new_file(args.out, suffixes=(".json",), overwrite=args.overwrite) if args.out else nullcontext()
    with saved as path:
        measured = bench.run(
            quick=args.quick, rows=args.rows, peer_pythons=dict(args.peer_python),
            say=lambda line: print(f"[{time.monotonic() - began:6.1f} s] {line}", flush=True),
        )  # fmt: skip
        if path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(measured, file, indent=1)
    machine, rows = measured["machine"], measured["rows"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    print(f"\n{machine['cpu']} ({', '.join(machine['vector_extensions'])}), one core; {versions}")
    print("Best of several calls. Floor: two vectorised exponentials per cell (age, population, bin), measured beside")
    print("the row in the same precision; distance: ours over the floor.")
    table = [cells for row in rows if (cells := bench_tables.table_row(row))]
    if table:
        _print_table(bench_tables.TABLE_HEAD, table)
    growth = [cells for row in rows if (cells := bench_tables.growth_row(row))]
    if growth:
        print("\nGrowth: a slope of 1 is in proportion, 0 is independent.")
        _print_table(bench_tables.GROWTH_HEAD, growth)
    print("\nNotes:")
    for note in bench_tables.notes(rows):
        print(f"  {note}")
    if args.out:
        print(f"\nwrote {args.out}")
    if failed := [row["row"] for row in rows if "failed" in row["ours"]]:
        raise RuntimeError(f"not measured: {', '.join(failed)}.")


# --- what commands have in common -------------------------------------------------------------------------------------


def _read(args):
    from . import io

    return io.read_nwb(args.input, trials=args.trials, window=args.window)


def _check_new(path, overwrite):
    """Before any work: a fit of minutes must not end with a name that cannot be written."""
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or add --overwrite.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: the folder {folder} does not exist; make it first.")


def _populations(args, block, recording, bin_size):
    """(index into circuit.names for every unit, -1 if left out; circuit), and says where they come from."""
    from .circuit import Circuit
    from .experiments import preparation

    circuit = None if args.circuit is None else preparation.circuit_named(args.circuit)
    if args.populations.isdecimal():
        labels, names = _clustered(args, block)
        if circuit is not None:
            if circuit.n_populations != len(names):
                raise ValueError(
                    f"{args.circuit} has {circuit.n_populations} populations, but --populations says {len(names)}."
                )
            print(f"clusters in order of their rates, highest first, are taken for {', '.join(circuit.names)}")
    else:
        labels, names = preparation.populations_of_column(recording, args.populations)
        if circuit is not None:
            labels = preparation.in_order_of(circuit, labels, names, args.populations)
    if circuit is None:
        t_ref = preparation.refractory_period_for(recording, bin_size)
        circuit = Circuit.default(len(names), args.population_size, names=names, t_ref=t_ref)
        why = "one bin" if t_ref.item() else "units fire in adjacent bins"
        print(
            f"circuit: the default one, {circuit.n_neurons[0]} neurons per population (assumed; --population-size), "
            f"no couplings known, refractory period {_ms(t_ref)} ({why})"
        )
    return labels, circuit


def _clustered(args, block):
    from .clustering import PopulationClusterer

    n_populations = int(args.populations)
    if n_populations == 0:
        raise ValueError("--populations is 0; give a number of at least 1, or a column of the units table.")
    clusterer = PopulationClusterer(n_populations, random_state=args.seed).fit(block)
    print(_found(clusterer, n_populations))
    return clusterer.labels_.tolist(), [f"P{k + 1}" for k in range(n_populations)]


def _found(clusterer, asked):
    if asked is not None or not clusterer.scores_:
        how = "as asked" if asked is not None else "no division repeats itself in the data"
    else:
        scores = ", ".join(f"{k}: {score:.2f}" for k, score in clusterer.scores_.items())
        how = f"chosen by held-out silhouette ({scores})"
    count = f"{clusterer.n_clusters_} population{'s' if clusterer.n_clusters_ > 1 else ''}"
    return f"clustering (van Rossum distance, {_ms(clusterer.time_constant_)}): {count}, {how}"


def _bin_size(given, recording):
    from .experiments import preparation

    if given is not None:
        return given
    return preparation.bin_size_for(recording)


def _effort(args, n_bins):
    from .experiments import preparation

    effort = preparation.Effort(1, 2, 50) if args.quick else preparation.effort_for(n_bins)
    given = {"n_init": args.starts, "max_iter": args.iterations, "n_particles": args.particles}
    if n_bins > 3 * preparation.MANY_BINS and not args.quick:
        print(f"{n_bins} bins are many: this may take hours (--window fits a part, --bin-size makes fewer of them)")
    return effort._replace(**{name: value for name, value in given.items() if value is not None})


def _smoothing(bin_size):
    import quantities as pq

    return max(20.0, 5 * bin_size.rescale("ms").item()) * pq.ms


def _units(recording):
    trials = f"{recording.n_trials} trials, " if recording.n_trials > 1 else ""
    span = f"{recording.t_start[0]:g}-{recording.t_stop[-1]:g} s"
    return f"{recording.n_neurons} units, {recording.n_spikes.sum()} spikes, {trials}{span}"


def _ms(time):
    return f"{time.rescale('ms').item():g} ms"


def _with_error(value, error):
    return f"{value:.1f} ± {error:.1f}"


def _progress():
    return int(sys.stderr.isatty())


def _print_table(head, rows, rule_before=None):
    """Columns as wide as they need to be: text to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    numeric = [all(re.fullmatch(r"[-+]?\d+(\.\d+)?%?", row[i]) for row in rows) for i in range(len(head))]
    rules = {0, rule_before}
    for n, row in enumerate([head, *rows]):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        if n - 1 in rules:
            print("  " + "-" * (sum(widths) + 2 * (len(widths) - 1)))
        print(("  " + "  ".join(cells)).rstrip())


def _show_warning(message, category, filename, lineno, file=None, line=None):
    # Not by a filter: scikit-learn puts one of its own in front when it is imported.
    if category.__name__ == "ConvergenceWarning":
        return  # `fit` and `demo` say so in words of the command line
    print(f"neulvm: warning: {_sentence(message)}", file=sys.stderr)


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


# --- arguments --------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"neulvm: {message} (see {self.prog} --help)\n")


def _parser():
    parser = _Parser(
        prog="neulvm", usage="neulvm COMMAND …", description=_SUMMARY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"neulvm-neo {__version__}")
    commands = parser.add_subparsers(prog="neulvm", metavar="COMMAND", required=True, help=argparse.SUPPRESS)

    demo = _command(commands, "demo", _demo, "Do the whole job on a simulated network and compare with the truth.",
                    "neulvm demo --out my_demo --seed 2")  # fmt: skip
    demo.add_argument("--out", metavar="DIR", default="./neulvm_demo", help="folder of the files (%(default)s)")
    demo.add_argument("--quick", action="store_true", help="less data and a coarse fit: every step, little insight")
    _add_seed(demo)

    simulate = _command(commands, "simulate", _simulate,
                        "Simulate every neuron of a circuit and write the spikes of a few as NWB.",
                        "neulvm simulate winner-take-all --duration 10s --record 4 --out sim.nwb")  # fmt: skip
    simulate.add_argument("circuit", metavar="CIRCUIT.toml|winner-take-all|single-population", help="what to simulate")
    simulate.add_argument("--duration", type=_time, required=True, metavar="TIME", help='such as 10s or "500 ms"')
    simulate.add_argument("--record", type=int, nargs="+", default=[10], metavar="N",
                          help="neurons to record per population, one number or one each (default 10)")  # fmt: skip
    _add_out(simulate, "FILE.nwb")
    _add_seed(simulate)

    cluster = _command(commands, "cluster", _cluster, "Assign the units of a recording to populations by their spikes.",
                       "neulvm cluster rec.nwb --window 0 60 --png distances.png")  # fmt: skip
    _add_input(cluster)
    cluster.add_argument("-k", type=int, metavar="K", help="number of populations (default: chosen by the data)")
    cluster.add_argument("--time-constant", type=_time, metavar="TIME",
                         help="of the van Rossum distance (default 100 ms)")  # fmt: skip
    cluster.add_argument("--png", metavar="FILE.png", help="picture of the distances")
    cluster.add_argument("--overwrite", action="store_true", help="replace an existing picture")
    _add_seed(cluster)

    fit = _command(commands, "fit", _fit, "Fit a circuit to a recording and write an annotated copy of the file.",
                   "neulvm fit rec.nwb --populations electrodes.location --window 0 60 --out fitted.nwb")  # fmt: skip
    _add_input(fit)
    fit.add_argument("--populations", required=True, metavar="K|COLUMN",
                     help="a number: cluster the units; or a units column, or electrodes.location")  # fmt: skip
    fit.add_argument("--circuit", metavar="C.toml", help="what is known of the circuit (default: nothing)")
    fit.add_argument("--population-size", type=int, metavar="N",
                     help="neurons per population of the default circuit (default 200)")  # fmt: skip
    fit.add_argument("--bin-size", type=_time, metavar="TIME",
                     help="default 2 ms, or 5 ms for a long recording whose spikes are not too close")  # fmt: skip
    fit.add_argument("--starts", type=_positive, metavar="N", help="random starts (default 2, long recordings 1)")
    fit.add_argument("--iterations", type=_positive, metavar="N", help="at most (default 6, long recordings 5)")
    fit.add_argument("--particles", type=_positive, metavar="N", help="default 100, long recordings 50")
    fit.add_argument("--quick", action="store_true", help="1 start, 2 iterations, 50 particles: to see that it runs")
    fit.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processors (default: all)")
    fit.add_argument("--save", metavar="FIT.npz", help="also save the fit, for `neulvm annotate` and NeuLVM.load")
    fit.add_argument("--png", metavar="FILE.png", help="also draw spikes and activity")
    _add_out(fit, "OUT.nwb")
    _add_seed(fit)

    annotate = _command(commands, "annotate", _annotate, "Write a saved fit into a copy of the file it was made from.",
                        "neulvm annotate rec.nwb fit.npz --out annotated.nwb")  # fmt: skip
    annotate.add_argument("input", metavar="IN.nwb", help="the recording; it is only read")
    annotate.add_argument("fit", metavar="FIT.npz", help="from `neulvm fit --save`")
    _add_out(annotate, "OUT.nwb")

    bench = _command(commands, "bench", _bench,
                     "Measure how fast neulvm-neo is on this machine, on one core, beside what one would use instead.",
                     "neulvm bench --quick --out bench.json")  # fmt: skip
    bench.add_argument("--quick", action="store_true", help="fewer repetitions, smaller sizes: a look, not a claim")
    bench.add_argument("--rows", nargs="+", metavar="NAME", help="only these, such as forward or gradient-jax")
    bench.add_argument("--peer-python", type=_peer_python, action="append", default=[], metavar="NAME=PATH",
                       help="Python of another environment for jax, nest or brian2; may be repeated")  # fmt: skip
    bench.add_argument("--out", metavar="FILE.json", help="also save every number")
    bench.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    return parser


def _command(commands, name, run, what, example):
    command = commands.add_parser(
        name, description=what, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.set_defaults(run=run)
    command.add_argument("-v", "--verbose", action="store_true", help="say more about what is being done")
    command.add_argument("--traceback", action="store_true", help="show where an error comes from")
    return command


def _add_input(command):
    command.add_argument("input", metavar="IN.nwb", help="an NWB 2 file with sorted units; it is only read")
    command.add_argument("--window", type=float, nargs=2, metavar=("A", "B"), help="only these seconds of the file")
    command.add_argument("--trials", metavar="TABLE", help="one trial per row of this interval table")


def _add_out(command, metavar):
    command.add_argument("--out", required=True, metavar=metavar, help="the file to write")
    command.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _add_seed(command):
    command.add_argument("--seed", type=int, default=1, metavar="S", help="of all random numbers (default 1)")


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _peer_python(text):
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH, such as brian2=other/bin/python")
    return name, path


def _time(text):
    from .units import parse_quantity, positive_seconds

    spaced = re.fullmatch(r"\s*([-+.\d]+(?:[eE][-+]?\d+)?)\s*(\D.*)", text)
    try:
        time = parse_quantity(" ".join(spaced.groups()) if spaced else text, "time")
        positive_seconds(time, "time")
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f'{text!r} is not a time; write it like 10s or "2 ms"') from None
    return time


if __name__ == "__main__":
    sys.exit(main())
