"""``neulvm fit``: a circuit fitted to a recording, and an annotated copy of its file."""

import os
import time
import warnings

from .arguments import add_input, add_out, add_seed, command, read
from .model import add_model, fitted
from .words import check_new, units_of, with_error


def add(commands):
    """Add the subcommand to the parser."""
    fit = command(commands, "fit", run, "Fit a circuit to a recording and write an annotated copy of the file.",
                   "neulvm fit rec.nwb --populations electrodes.location --window 0 60 --out fitted.nwb")  # fmt: skip
    add_input(fit)
    add_model(fit, required=True)
    fit.add_argument("--save", metavar="FIT.npz", help="also save the fit, for `neulvm annotate` and NeuLVM.load")
    fit.add_argument("--png", metavar="FILE.png", help="also draw spikes and activity")
    add_out(fit, "OUT.nwb")
    add_seed(fit)


def run(args):
    """Do it."""
    import numpy as np

    from .. import io
    from ..binning import bin_recording
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
    began = time.monotonic()
    model, result, labels = fitted(args, block, recording)
    bin_size = model.bin_size_
    io.annotate_nwb(args.input, args.out, result, overwrite=args.overwrite)

    kept = [i for i, k in enumerate(labels) if k >= 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit has said it already
        counts = [trial[:, kept] for trial in bin_recording(recording, bin_size.rescale("s").item())]
    print(f"\n{result.circuit!r}\n")
    advice = "" if result.converged else " (more with --iterations)"
    print(f"{result.status}{advice}; {time.monotonic() - began:.0f} s")
    for sentence in result.kinds:
        print(sentence)
    likelihood = with_error(result.log_likelihood, result.log_likelihood_error)
    alike = bits_per_spike(result.log_likelihood, counts, labels=[labels[i] for i in kept])
    own = bits_per_spike(result.log_likelihood, counts)
    print(f"log p(spikes) = {likelihood} nats (in the data that were fitted), in bits per spike")
    print(f"  {alike:+.3f} against one constant rate per population")
    hint = "" if args.own_thresholds else " (which units alike do not have; --own-thresholds makes them differ)"
    print(f"  {own:+.3f} against one constant rate per unit{hint}")
    if result.neuron_thresholds is not None:
        print(_thresholds(result))
    if alike < 0:
        warnings.warn(
            "the fit explains the spikes worse than constant rates do: do not build on it. Try other --starts, "
            "--particles and --iterations, another --bin-size, or a --circuit that says what is known.",
            UserWarning,
            stacklevel=1,
        )
    if at_bounds := preparation.at_bounds(result.circuit):
        print(f"at the end of their allowed range, so poorly determined: {', '.join(at_bounds)}")
    rates = np.concatenate([trial.activity for trial in result.activities]).mean(axis=0)
    if bursting := preparation.bursting(result.circuit, rates):
        print(f"fire most right after a spike, as units that burst or hold several neurons do: {', '.join(bursting)}")
    print(f"wrote {args.out}")
    if args.save:
        io.save_fit(args.save, result, overwrite=args.overwrite)
        print(f"wrote {args.save}")
    if args.png:
        from ..experiments.figures import overview

        names = [result.circuit.names[k] if k >= 0 else "unassigned" for k in labels]
        title = f"{os.path.basename(args.input)}: units by population, and the activity of each"
        overview(recording, names, result.activities[0], smooth=_smoothing(bin_size), title=title).savefig(
            args.png, dpi=110
        )
        print(f"wrote {args.png}")


def _thresholds(result):
    """How the units of every population differ."""
    import numpy as np

    labels, ranges = np.array(result.labels), []
    for name in result.names:
        own = result.neuron_thresholds[labels == name]
        if own.size:
            ranges.append(f"{name} {own.min():.3g} to {own.max():.3g}")
    return f"thresholds of the units (mV): {', '.join(ranges)}"


def _smoothing(bin_size):
    import quantities as pq

    return max(20.0, 5 * bin_size.rescale("ms").item()) * pq.ms
