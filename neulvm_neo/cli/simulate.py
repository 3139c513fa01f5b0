"""``neulvm simulate``: a circuit neuron by neuron, as NWB."""

from .arguments import add_out, add_seed, command, time_of
from .words import check_new, print_table


def add(commands):
    """Add the subcommand to the parser."""
    simulate = command(commands, "simulate", run,
                        "Simulate every neuron of a circuit and write the spikes of a few as NWB.",
                        "neulvm simulate winner-take-all --duration 10s --record 4 --out sim.nwb")  # fmt: skip
    simulate.add_argument("circuit", metavar="CIRCUIT.toml|winner-take-all|single-population", help="what to simulate")
    simulate.add_argument("--duration", type=time_of, required=True, metavar="TIME", help='such as 10s or "500 ms"')
    simulate.add_argument("--record", type=int, nargs="+", default=[10], metavar="N",
                          help="neurons to record per population, one number or one each (default 10)")  # fmt: skip
    add_out(simulate, "FILE.nwb")
    add_seed(simulate)


def run(args):
    """Do it."""
    from .. import io
    from ..experiments.preparation import circuit_named
    from ..simulation import simulate_microscopic

    check_new(args.out, args.overwrite)
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
    print_table(
        ["population", "neurons", "recorded", "rate (Hz)"],
        [[name, str(n), str(m), f"{rate:.2f}"] for name, n, m, rate in rows],
    )
    print(f"wrote {args.out}\nnext: neulvm cluster {args.out}")
