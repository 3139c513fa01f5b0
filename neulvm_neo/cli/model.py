"""Which model `fit` and `evaluate` fit: populations, circuit, bin size and effort, from arguments and recording."""

import os

from .arguments import positive, time_of
from .words import clustering_in_words, milliseconds


def add_model(command, required):
    """The arguments; `required` says whether the populations must be named (by default their number is chosen)."""
    what = "a number: cluster the units; or a units column, or electrodes.location"
    if not required:
        what += " (default: as many clusters as the data show)"
    command.add_argument("--populations", required=required, metavar="K|COLUMN", help=what)
    command.add_argument("--circuit", metavar="C.toml", help="what is known of the circuit (default: nothing)")
    command.add_argument("--population-size", type=int, metavar="N",
                         help="neurons per population of the default circuit (default 200)")  # fmt: skip
    command.add_argument("--bin-size", type=time_of, metavar="TIME",
                         help="default 2 ms, or 5 ms for a long recording whose spikes are not too close")  # fmt: skip
    command.add_argument("--starts", type=positive, metavar="N", help="random starts (default 2, long recordings 1)")
    command.add_argument("--iterations", type=positive, metavar="N", help="at most (default 6, long recordings 5)")
    command.add_argument("--particles", type=positive, metavar="N", help="default 100, long recordings 50")
    command.add_argument("--own-thresholds", action="store_true",
                         help="every unit has a threshold of its own beside its population's")  # fmt: skip
    command.add_argument("--quick", action="store_true",
                         help="1 start, 2 iterations, 50 particles: to see that it runs")  # fmt: skip
    command.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processors (default: all)")


def fitted(args, block, recording):
    """The model that `args` asks for, fitted to a recording; says what it does.

    Returns
    -------
    model : NeuLVM
    result : FitResult
        Of the model, with the distances between the units where they were clustered.
    labels : list of int
        Index into the circuit's names for every unit, -1 if left out.
    """
    from ..estimator import NeuLVM
    from ..experiments import preparation
    from .words import progress

    bin_size = preparation.bin_size_for(recording) if args.bin_size is None else args.bin_size
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
    model = NeuLVM(
        circuit, labels=labels, bin_size=bin_size, own_thresholds=args.own_thresholds, **effort._asdict(),
        random_state=args.seed, n_jobs=args.jobs, verbose=progress(),
    ).fit(block)  # fmt: skip
    return model, model.result_ if distances is None else model.result_.with_distances(distances), labels


def _populations(args, block, recording, bin_size):
    """(index into circuit.names for every unit, -1 if left out; circuit; distances between units or None); says why."""
    from ..circuit import Circuit
    from ..experiments import preparation

    circuit = None if args.circuit is None else preparation.circuit_named(args.circuit)
    distances = None
    if args.populations is None or args.populations.isdecimal():
        labels, names, distances = _clustered(args, block)
        if circuit is not None:
            if circuit.n_populations != len(names):
                asked = "the units form" if args.populations is None else "--populations says"
                raise ValueError(f"{args.circuit} has {circuit.n_populations} populations, but {asked} {len(names)}.")
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

    n_populations = None if args.populations is None else int(args.populations)
    if n_populations == 0:
        raise ValueError("--populations is 0; give a number of at least 1, or a column of the units table.")
    clusterer = PopulationClusterer(n_populations, random_state=args.seed).fit(block)
    print(clustering_in_words(clusterer, n_populations))
    names = [f"P{k + 1}" for k in range(clusterer.n_clusters_ if n_populations is None else n_populations)]
    return clusterer.labels_.tolist(), names, clusterer.distances_


def _effort(args, n_bins):
    from ..experiments import preparation

    effort = preparation.Effort(1, 2, 50) if args.quick else preparation.effort_for(n_bins)
    given = {"n_init": args.starts, "max_iter": args.iterations, "n_particles": args.particles}
    if n_bins > 3 * preparation.MANY_BINS and not args.quick:
        print(f"{n_bins} bins are many: this may take hours (--window fits a part, --bin-size makes fewer of them)")
    return effort._replace(**{name: value for name, value in given.items() if value is not None})
