"""``neulvm fit``: a circuit fitted to a recording, and an annotated copy of its file."""

import os
import time
import warnings

from .arguments import add_input, add_out, add_seed, command, positive, read, time_of
from .words import check_new, clustering_in_words, milliseconds, progress, units_of, with_error


def add(commands):
    """Add the subcommand to the parser."""
    fit = command(commands, "fit", run, "Fit a circuit to a recording and write an annotated copy of the file.",
                   "neulvm fit rec.nwb --populations electrodes.location --window 0 60 --out fitted.nwb")  # fmt: skip
    add_input(fit)
    fit.add_argument("--populations", required=True, metavar="K|COLUMN",
                     help="a number: cluster the units; or a units column, or electrodes.location")  # fmt: skip
    fit.add_argument("--circuit", metavar="C.toml", help="what is known of the circuit (default: nothing)")
    fit.add_argument("--population-size", type=int, metavar="N",
                     help="neurons per population of the default circuit (default 200)")  # fmt: skip
    fit.add_argument("--bin-size", type=time_of, metavar="TIME",
                     help="default 2 ms, or 5 ms for a long recording whose spikes are not too close")  # fmt: skip
    fit.add_argument("--starts", type=positive, metavar="N", help="random starts (default 2, long recordings 1)")
    fit.add_argument("--iterations", type=positive, metavar="N", help="at most (default 6, long recordings 5)")
    fit.add_argument("--particles", type=positive, metavar="N", help="default 100, long recordings 50")
    fit.add_argument("--quick", action="store_true", help="1 start, 2 iterations, 50 particles: to see that it runs")
    fit.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processors (default: all)")
    fit.add_argument("--save", metavar="FIT.npz", help="also save the fit, for `neulvm annotate` and NeuLVM.load")
    fit.add_argument("--png", metavar="FILE.png", help="also draw spikes and activity")
    add_out(fit, "OUT.nwb")
    add_seed(fit)


def run(args):
    """Do it."""
    from .. import io
    from ..binning import bin_recording
    from ..estimator import NeuLVM
    from ..experiments import preparation
    from ..experiments.baselines import bits_per_spike
    from ..recording import SpikeRecording

    check_new(args.out, args.overwrite)
    for path in (args.save, args.png):
        if path:
            check_new(path, args.overwrite)
    block = read(args)
    recording = SpikeRecording.from_neo(block)
    print(f"{args.input}: {units_of(recording)}")
    bin_size = _bin_size(args.bin_size, recording)
    labels, circuit, distances = _populations(args, block, recording, bin_size)
    effort = _effort(args, preparation.n_bins(recording, bin_size))
    members = ", ".join(f"{name} {labels.count(k)}" for k, name in enumerate(circuit.names))
    left_out = f"; {labels.count(-1)} left out" if -1 in labels else ""
    print(f"units per population: {members}{left_out}")
    print(
        f"fit: {preparation.n_bins(recording, bin_size)} bins of {milliseconds(bin_size)}, "
        f"random starts: {effort.n_init}, iterations: {effort.max_iter} at most, particles: {effort.n_particles}, "
        f"seed {args.seed}",
        flush=True,
    )
    began = time.monotonic()
    model = NeuLVM(
        circuit, labels=labels, bin_size=bin_size, **effort._asdict(), random_state=args.seed, n_jobs=args.jobs,
        verbose=progress(),
    ).fit(block)  # fmt: skip
    result = model.result_ if distances is None else model.result_.with_distances(distances)
    io.annotate_nwb(args.input, args.out, result, overwrite=args.overwrite)

    fitted = [i for i, k in enumerate(labels) if k >= 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit has said it already
        counts = [trial[:, fitted] for trial in bin_recording(recording, bin_size.rescale("s").item())]
    print(f"\n{result.circuit!r}\n")
    advice = "" if result.converged else " (more with --iterations)"
    print(f"{result.status}{advice}; {time.monotonic() - began:.0f} s")
    likelihood = with_error(result.log_likelihood, result.log_likelihood_error)
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
        from ..experiments.figures import overview

        names = [circuit.names[k] if k >= 0 else "unassigned" for k in labels]
        title = f"{os.path.basename(args.input)}: units by population, and the activity of each"
        overview(recording, names, result.activities[0], smooth=_smoothing(bin_size), title=title).savefig(
            args.png, dpi=110
        )
        print(f"wrote {args.png}")


def _populations(args, block, recording, bin_size):
    """(index into circuit.names for every unit, -1 if left out; circuit; distances between units or None); says why."""
    from ..circuit import Circuit
    from ..experiments import preparation

    circuit = None if args.circuit is None else preparation.circuit_named(args.circuit)
    distances = None
    if args.populations.isdecimal():
        labels, names, distances = _clustered(args, block)
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
            f"no couplings known, refractory period {milliseconds(t_ref)} ({why})"
        )
    return labels, circuit, distances


def _clustered(args, block):
    from ..clustering import PopulationClusterer

    n_populations = int(args.populations)
    if n_populations == 0:
        raise ValueError("--populations is 0; give a number of at least 1, or a column of the units table.")
    clusterer = PopulationClusterer(n_populations, random_state=args.seed).fit(block)
    print(clustering_in_words(clusterer, n_populations))
    return clusterer.labels_.tolist(), [f"P{k + 1}" for k in range(n_populations)], clusterer.distances_


def _bin_size(given, recording):
    from ..experiments import preparation

    if given is not None:
        return given
    return preparation.bin_size_for(recording)


def _effort(args, n_bins):
    from ..experiments import preparation

    effort = preparation.Effort(1, 2, 50) if args.quick else preparation.effort_for(n_bins)
    given = {"n_init": args.starts, "max_iter": args.iterations, "n_particles": args.particles}
    if n_bins > 3 * preparation.MANY_BINS and not args.quick:
        print(f"{n_bins} bins are many: this may take hours (--window fits a part, --bin-size makes fewer of them)")
    return effort._replace(**{name: value for name, value in given.items() if value is not None})


def _smoothing(bin_size):
    import quantities as pq

    return max(20.0, 5 * bin_size.rescale("ms").item()) * pq.ms
