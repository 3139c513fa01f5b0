"""``neulvm cluster``: which unit belongs to which population."""

from .arguments import add_input, add_seed, command, read, time_of
from .words import check_new, clustering_in_words, print_table, units_of


def add(commands):
    """Add the subcommand to the parser."""
    cluster = command(commands, "cluster", run, "Assign the units of a recording to populations by their spikes.",
                       "neulvm cluster rec.nwb --window 0 60 --png distances.png")  # fmt: skip
    add_input(cluster)
    cluster.add_argument("-k", type=int, metavar="K", help="number of populations (default: chosen by the data)")
    cluster.add_argument("--time-constant", type=time_of, metavar="TIME",
                         help="of the van Rossum distance (default 100 ms)")  # fmt: skip
    cluster.add_argument("--png", metavar="FILE.png", help="picture of the distances")
    cluster.add_argument("--overwrite", action="store_true", help="replace an existing picture")
    add_seed(cluster)


def run(args):
    """Do it."""
    from ..clustering import PopulationClusterer
    from ..recording import SpikeRecording

    if args.png:
        check_new(args.png, args.overwrite)
    block = read(args)
    recording = SpikeRecording.from_neo(block)
    print(f"{args.input}: {units_of(recording)}")
    clusterer = PopulationClusterer(args.k, time_constant=args.time_constant, random_state=args.seed).fit(block)
    names = [f"P{k + 1}" for k in range(clusterer.n_clusters_)]
    labels = [names[k] if k >= 0 else "unassigned" for k in clusterer.labels_]
    said = [str(annotations.get("population", "")) for annotations in recording.annotations]
    head, columns = ["unit", "spikes", "rate (Hz)", "cluster"], [recording.neuron_ids, recording.n_spikes]
    columns += [[f"{rate:.2f}" for rate in recording.rates], labels]
    if any(said):
        head, columns = [*head, "population in file"], [*columns, said]
    order = sorted(range(recording.n_neurons), key=lambda i: (labels[i] == "unassigned", labels[i]))
    print_table(head, [[str(column[i]) for column in columns] for i in order])
    print(clustering_in_words(clusterer, args.k))
    if args.png:
        from ..plotting import plot_distance_matrix

        plot_distance_matrix(clusterer, names).figure.savefig(args.png, dpi=110)
        print(f"wrote {args.png}")
