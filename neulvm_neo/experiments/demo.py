"""The whole job on a network whose truth is known: simulate, write, read back, cluster, fit, compare, annotate."""

import os
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
import quantities as pq

from ..binning import bin_recording
from ..clustering import PopulationClusterer
from ..parameters import ParameterSpace, parameters_of
from ..recording import SpikeRecording
from ..results import PopulationActivity
from .baselines import best_smoothing, bits_per_spike, correlations
from .circuits import winner_take_all

BIN_SIZE = 0.002  # s
SMOOTHING = 0.02  # s, of the activities in the picture and in the second correlation


class Plan(NamedTuple):
    """How large a demo is: seconds, neurons recorded per population, and the effort of the fit."""

    duration: float  # s, recorded and clustered
    fitted: float  # s, from the start of the recording
    held_out: float  # s, the last of the recording
    n_recorded: tuple
    n_init: int
    max_iter: int
    n_particles: int


# 25 neurons over 30 s: their populations are found in all of 20 draws. A fit needs less time than the clusters.
FULL = Plan(30.0, 10.0, 10.0, (10, 10, 5), n_init=2, max_iter=12, n_particles=100)
QUICK = Plan(20.0, 3.0, 2.0, (10, 10, 5), n_init=1, max_iter=2, n_particles=100)


@dataclass(frozen=True)
class Row:
    """A value of the circuit, or a combination of values: the truth, and what the fit found."""

    name: str
    unit: str
    truth: float
    inferred: float
    combination: bool = False

    @property
    def error(self):
        """Relative error of the inferred value."""
        return self.inferred / self.truth - 1.0


@dataclass(frozen=True)
class Report:
    """What the demo found, and where it put it."""

    rows: tuple
    correlations: dict  # population -> r with the true activity: inferred, best plain smoothing, both after smoothing
    n_pure: int  # neurons in a cluster with others of their population
    n_neurons: int
    log_likelihood: float
    log_likelihood_error: float
    bits_per_spike: float  # held-out, over constant rates
    converged: bool
    status: str
    kinds: str  # whether populations are alike
    files: dict  # what -> path


def run(folder, *, seed=1, quick=False, say=None, n_jobs=-1, verbose=0):
    """Do the whole job in `folder`.

    Parameters
    ----------
    folder : path-like
        Made if need be; files of an earlier demo are replaced.
    seed : int
    quick : bool
        Less data and a coarse fit: shows every step in well under a minute, finds little.
    say : callable, optional
        Called with one line (str) before every step.
    n_jobs, verbose : int
        Passed to `NeuLVM`; by default all processors.

    Returns
    -------
    Report
    """
    from .. import io
    from ..estimator import NeuLVM
    from ..simulation import simulate_microscopic
    from .figures import overview

    say = say or (lambda line: None)
    plan = QUICK if quick else FULL
    os.makedirs(folder, exist_ok=True)
    suffix = io.preferred_suffix()
    files = {
        "recording": "recording.nwb", "annotated": "annotated.nwb", "neo": f"annotated{suffix}", "fit": "fit.npz",
        "circuit": "fitted_circuit.toml", "picture": "demo.png",
    }  # fmt: skip
    files = {what: os.path.join(os.fspath(folder), name) for what, name in files.items()}
    simulation_seed, cluster_seed, fit_seed = np.random.SeedSequence(seed).generate_state(3).tolist()

    circuit = winner_take_all()
    sizes = ", ".join(f"{name} {n}" for name, n in zip(circuit.names, circuit.n_neurons, strict=True))
    say(f"simulate {circuit.n_neurons.sum()} spiking neurons ({sizes}) for {plan.duration:g} s, every one of them")
    truth = simulate_microscopic(
        circuit, duration=plan.duration * pq.s, bin_size=BIN_SIZE * pq.s, n_recorded=plan.n_recorded,
        random_state=simulation_seed,
    )  # fmt: skip
    say(f"record {sum(plan.n_recorded)} of them and write their spikes as NWB")
    io.write_nwb(
        files["recording"], truth.spiketrains, overwrite=True,
        session_description=f"neulvm demo: simulated winner-take-all network, seed {seed}.",
        subject={"subject_id": "simulation", "description": "No animal: a simulated network of spiking neurons."},
    )  # fmt: skip

    block = io.read_nwb(files["recording"])
    recording = SpikeRecording.from_neo(block)
    origin = [annotations["population"] for annotations in recording.annotations]
    say("read the file back and find the populations from the spikes alone")
    labels, n_pure, found = _labels(block, origin, circuit, cluster_seed)
    say(found)

    fitted = io.read_nwb(files["recording"], window=(0.0, plan.fitted))
    n_free = ParameterSpace(circuit).n_free
    say(
        f"fit {n_free} values to the first {plan.fitted:g} s, "
        f"from {plan.n_init} random start{'s' if plan.n_init > 1 else ''} (given: sizes, synapses, signs of couplings)"
    )
    model = NeuLVM(
        circuit, labels=labels, bin_size=BIN_SIZE * pq.s, n_init=plan.n_init, max_iter=plan.max_iter,
        n_particles=plan.n_particles, random_state=fit_seed, n_jobs=n_jobs, verbose=verbose,
    ).fit(fitted)  # fmt: skip
    result = model.result_

    held_out = (plan.duration - plan.held_out, plan.duration)
    say(f"score the fit on the last {plan.held_out:g} s, which it has not seen")
    unseen = io.read_nwb(files["recording"], window=held_out)
    training, test = (bin_recording(SpikeRecording.from_neo(data), BIN_SIZE) for data in (fitted, unseen))
    bits = bits_per_spike(model.score(unseen) * len(test[0]), test, training)

    say("write the annotated NWB file, the Neo file, the fit and the picture")
    io.annotate_nwb(files["recording"], files["annotated"], result, overwrite=True)
    io.write_block(files["neo"], io.annotated_block(fitted, result), overwrite=True)
    io.save_fit(files["fit"], result, overwrite=True)
    result.circuit.to_toml(files["circuit"])
    activity = result.activities[0]
    seen = _first_bins(truth, len(activity.n))
    title = f"{recording.n_neurons} recorded neurons, and the activity of their populations: inferred and true"
    figure = overview(fitted, labels, activity, seen, smooth=SMOOTHING * pq.s, title=title)
    figure.savefig(files["picture"], dpi=110)

    return Report(
        rows=tuple(compare(circuit, seen.activity, result.circuit, activity.activity)),
        correlations=_compare_activity(activity, seen, training[0], labels),
        n_pure=n_pure,
        n_neurons=recording.n_neurons,
        log_likelihood=result.log_likelihood,
        log_likelihood_error=result.log_likelihood_error,
        bits_per_spike=bits,
        converged=result.converged,
        status=result.status,
        kinds=" ".join(result.kinds),
        files=files,
    )


def compare(truth, true_activity, fitted, inferred_activity):
    """Rows of the table: every free value, then combinations that the data determine better.

    Parameters
    ----------
    truth, fitted : Circuit
    true_activity, inferred_activity : numpy.ndarray, shape (n_bins, n_populations)
        In Hz.

    Returns
    -------
    list of Row
    """
    space = ParameterSpace(truth)
    true, found = (space.values(space.pack(parameters_of(circuit))) for circuit in (truth, fitted))
    rows = [
        Row(name, unit, float(a), float(b))
        for name, unit, a, b in zip(space.names, space.units, true, found, strict=True)
    ]
    pairs = zip(_combinations(truth, true_activity), _combinations(fitted, inferred_activity), strict=True)
    return rows + [Row(name, unit, a, b, combination=True) for (name, unit, a), (_, _, b) in pairs]


def _combinations(circuit, activity):
    """(name, unit, value) of the lasting input per Hz of an excitatory source, and of the mean input above threshold.

    An inhibitory population whose activity hardly varies shifts the potential by a constant, as u_rest does, so that
    neither its couplings nor u_rest, but only their sum, can be seen.
    """
    values = parameters_of(circuit)
    for target, source in np.argwhere(circuit.mask & (circuit.signs > 0)):
        name = f"J tau_m [{circuit.names[target]}←{circuit.names[source]}]"
        yield name, "mV/Hz", float(values.J[target, source] * values.tau_m[target])
    mean_input = values.u_rest + values.tau_m * (values.J @ activity.mean(axis=0))
    for name, above in zip(circuit.names, mean_input - values.threshold, strict=True):
        yield f"input - threshold [{name}]", "mV", float(above)


def _labels(block, origin, circuit, seed):
    """(population name of every neuron, how many are right, a sentence) from the clusters of their spike trains."""
    clusterer = PopulationClusterer(random_state=seed).fit(block)
    found = f"found {clusterer.n_clusters_} populations (silhouette {clusterer.silhouette_:.2f})"
    if clusterer.n_clusters_ != circuit.n_populations:
        clusterer = PopulationClusterer(circuit.n_populations, random_state=seed).fit(block)
        found += f"; took {circuit.n_populations}, which the circuit has"
    # clusters come without names, and only a simulation knows them: the naming with the most neurons in the right place
    overlap = np.array(
        [
            [sum(name == o for o, c in zip(origin, clusterer.labels_, strict=True) if c == k) for name in circuit.names]
            for k in range(circuit.n_populations)
        ]
    )
    best = max(permutations(range(circuit.n_populations)), key=lambda p: overlap[np.arange(len(p)), p].sum())
    n_pure = int(overlap[np.arange(len(best)), best].sum())
    labels = [circuit.names[best[k]] if k >= 0 else "unassigned" for k in clusterer.labels_]
    return labels, n_pure, f"{found}: {n_pure} of {len(labels)} neurons are in the right one"


def _first_bins(activity, n_bins):
    return PopulationActivity(
        activity.n[:n_bins], activity.n_neurons, activity.bin_size, activity.t_start, tuple(activity.names)
    )


def _compare_activity(activity, truth, counts, labels):
    """r with the true activity, population by population: inferred, best plain smoothing, inferred after smoothing."""
    index = np.array([activity.names.index(label) if label in activity.names else -1 for label in labels])
    plain = best_smoothing(counts[:, index >= 0], index[index >= 0], truth.activity, activity.bin_size)
    inferred = correlations(activity.activity, truth.activity)
    smooth = correlations(activity.activity, truth.activity, SMOOTHING / activity.bin_size)
    return {
        name: {"inferred": float(inferred[k]), "smoothed spikes": float(plain[k]), "inferred, 20 ms": float(smooth[k])}
        for k, name in enumerate(activity.names)
    }
