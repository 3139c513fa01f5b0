"""Our side of every row of `neulvm bench`.

One job per process, so that each has its own memory, threads and environment, like the peers it stands beside:
``python -m neulvm_neo.experiments.measurements JOB < problem.json > result.json``. Every job makes one call first that
is not timed: it compiles, or loads what is compiled.
"""

import json
import sys
import time
from functools import partial

import numpy as np
import quantities as pq

from .. import discretization
from ..binning import bin_recording
from ..circuit import Circuit
from ..inference.particles import age_windows, particle_filter
from ..kernels import floor
from ..kernels.cloud import CELL
from ..likelihood import Observation, joint, sweep_of
from ..parameters import Parameters, parameters_of
from ..recording import SpikeRecording
from ..simulation import simulate_mesoscopic, simulate_microscopic
from .circuits import winner_take_all

_FLOORS = {"float64": floor.two_exponentials, "float32": floor.two_exponentials_single}
_LIKELIHOOD_TYPE, _PARTICLE_TYPE = "float64", np.dtype(CELL).name  # of the cells; a simulation is one particle
_FLOOR_CELLS = 1024  # 16 KB: stays in the fastest cache
_FLOOR_SWEEPS = 1000  # a few milliseconds
_FEWEST, _MOST = 3, 50  # calls that are timed, whatever the budget


def main(arguments=None):
    """Run the job that the first argument names.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default ``sys.argv[1:]``.
    """
    (job,) = sys.argv[1:] if arguments is None else arguments
    result = JOBS[job](**json.load(sys.stdin))
    json.dump(result, sys.stdout)


def example(*, duration, bin_size, n_recorded, seed):
    """The paper's three-population network, simulated neuron by neuron: what every likelihood is computed of.

    Parameters
    ----------
    duration, bin_size : float, s
    n_recorded : int
        Per population.
    seed : int

    Returns
    -------
    dict
        A trial: ``parameters`` (s, mV), ``bin_size``, ``n`` (T, K), ``spikes`` (bins of the spikes of every recorded
        neuron), ``labels`` (their populations), ``history_rate`` (K,) Hz.
    """
    circuit = winner_take_all()
    run = simulate_microscopic(
        circuit, duration=duration * pq.s, bin_size=bin_size * pq.s, n_recorded=n_recorded, random_state=seed
    )
    (counts,) = bin_recording(SpikeRecording.from_neo(run.spiketrains), bin_size)
    labels = np.repeat(np.arange(circuit.n_populations), n_recorded)
    return _trial(circuit, run.n, [np.flatnonzero(column) for column in counts.T], labels, bin_size)


def gradient(*, trial, scheme, window=None, density="binomial", budget=1.0, n_bar=False):
    """Time of a value with all gradients, and the floor of its forward sweep.

    Parameters
    ----------
    trial : dict
        See `example`.
    scheme : str
    window : int, optional
        Ages tracked; default what the time constants ask for.
    density : str
        Of the counts; see `likelihood.joint`.
    budget : float, s
        How long to repeat the call.
    n_bar : bool
        Return the expected counts, too.
    """
    problem = _problem(trial)
    run = partial(joint, *problem, bin_size=trial["bin_size"], scheme=scheme, window=window, density=density)
    outcome = run()
    windows = _windows(problem[0], trial["bin_size"], scheme, window)
    result = _timed(run, budget, cells=len(trial["n"]) * sum(windows))
    result |= {"windows": windows, "value": outcome.value}
    if n_bar:
        result["n_bar"] = outcome.n_bar.tolist()
    return result


def forward(*, trial, scheme, window=None, budget=1.0):
    """Time of a forward sweep (no gradient), of its floor, and of as many cells with ``np.exp`` in a plain loop."""
    problem = _problem(trial)
    run = partial(joint, *problem, bin_size=trial["bin_size"], scheme=scheme, window=window, gradient=False)
    run()
    windows = _windows(problem[0], trial["bin_size"], scheme, window)
    cells = len(trial["n"]) * sum(windows)
    result = _timed(run, budget, cells=cells)
    result["library_seconds"] = cells * _seconds_per_cell(floor.two_library_exponentials)
    return result | {"windows": windows}


def sweep(*, trial, scheme, window=None, budget=1.0):
    """Time of the sweep over bins and cohorts alone, and of its floor: a `forward` without what comes before and after.

    As for a value: it does not leave the tape behind that gradients need.
    """
    parameters, n, observation = _problem(trial)
    windows = _windows(parameters, trial["bin_size"], scheme, window)
    run = sweep_of(parameters, n, observation, bin_size=trial["bin_size"], scheme=scheme, window=window)
    run()
    return _timed(run, budget, cells=len(n) * sum(windows)) | {"windows": windows}


def mesoscopic(*, duration, bin_size, delay, budget=1.0, seed=1):
    """Time of a mesoscopic simulation of the three populations, from an asynchronous start."""
    circuit = winner_take_all().replace(delay=delay * pq.s)
    seeds = iter(range(seed, seed + 10**6))
    rates = []

    def run():
        simulated = simulate_mesoscopic(
            circuit, duration=duration * pq.s, bin_size=bin_size * pq.s, warm_up=0 * pq.s, random_state=next(seeds)
        )
        rates.append(simulated.activity.mean(axis=0))

    run()
    windows = age_windows(discretization.discretize(parameters_of(circuit), bin_size, _default_scheme())).tolist()
    result = _timed(run, budget, cells=round(duration / bin_size) * sum(windows), dtype=_PARTICLE_TYPE)
    return result | {"windows": windows, "rates": np.mean(rates, axis=0).tolist()}


def microscopic(*, duration, time_step, delay, budget=1.0, seed=1):
    """Time of a simulation of every neuron of the three populations, from an asynchronous start."""
    circuit = winner_take_all().replace(delay=delay * pq.s)
    seeds = iter(range(seed, seed + 10**6))
    rates = []

    def run():
        simulated = simulate_microscopic(
            circuit, duration=duration * pq.s, time_step=time_step * pq.s, warm_up=0 * pq.s, random_state=next(seeds)
        )
        rates.append(simulated.activity.mean(axis=0))

    run()
    result = _timed(run, budget)
    updates = round(duration / time_step) * int(circuit.n_neurons.sum())
    return result | {"neuron_steps": updates, "rates": np.mean(rates, axis=0).tolist()}


def particles(*, trial, scheme, n_particles, budget=1.0, seed=1):
    """Time of a particle filter over a trial."""
    parameters, _, observation = _problem(trial)
    rng = np.random.default_rng(seed)

    def run():
        return particle_filter(
            parameters, observation, observation.history_rate[None, :], bin_size=trial["bin_size"], rng=rng,
            scheme=scheme, n_particles=n_particles,
        )  # fmt: skip

    outcome = run()
    windows = age_windows(discretization.discretize(parameters, trial["bin_size"], scheme)).tolist()
    result = _timed(run, budget, cells=n_particles * len(trial["n"]) * sum(windows), dtype=_PARTICLE_TYPE)
    draws = n_particles * len(trial["n"]) * len(windows)
    return result | {"windows": windows, "population_bins": draws, "log_likelihood": outcome.log_likelihood}


def growth(*, trial, scheme, along, sizes, budget=1.0):
    """Time of a value with all gradients against one size of the problem, the others kept.

    Parameters
    ----------
    trial : dict
        See `example`; where K or N grow, only its length and bin size are used.
    along : {"bins", "populations", "neurons", "ages"}
        Bins of the trial, populations, hidden neurons in all, ages tracked.
    sizes : list of int
        Bins are repeated or cut to size.

    Returns
    -------
    dict
        ``seconds``: for every size, all times; sizes take turns.
    """
    calls = []
    for size in sizes:
        problem, window = _grown(trial, along, size)
        calls.append(partial(joint, *problem, bin_size=trial["bin_size"], scheme=scheme, window=window))
    for call in calls:
        call()
    seconds = [[] for _ in sizes]
    for _ in _turns(budget):
        for times, call in zip(seconds, calls, strict=True):
            times.append(_seconds(call))
    return {"sizes": sizes, "seconds": seconds}


def memory(*, trial, scheme, duration):
    """Memory and time of one value with all gradients of a long trial: the short one, again and again.

    Returns
    -------
    dict
        ``seconds``; ``before`` and ``after``, the largest memory so far of the process, in bytes.
    """
    n_bins = round(duration / trial["bin_size"])
    joint(*_problem(trial), bin_size=trial["bin_size"], scheme=scheme)
    problem, _ = _grown(trial, "bins", n_bins)
    before = peak_memory()
    seconds = _seconds(partial(joint, *problem, bin_size=trial["bin_size"], scheme=scheme))
    return {"seconds": [seconds], "n_bins": n_bins, "before": before, "after": peak_memory()}


_JOBS = (example, gradient, forward, sweep, mesoscopic, microscopic, particles, growth, memory)
JOBS = {job.__name__: job for job in _JOBS}


def peak_memory():
    """Largest resident memory of this process so far, in bytes; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # getrusage would count the parent's before exec
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _trial(circuit, n, spikes, labels, bin_size):
    parameters = parameters_of(circuit)
    rate = n.mean(axis=0) / (parameters.n_neurons * bin_size)
    return {
        "parameters": {name: value.tolist() for name, value in parameters._asdict().items()},
        "bin_size": bin_size,
        "n": n.tolist(),
        "spikes": [times.tolist() for times in spikes],
        "labels": labels.tolist(),
        "history_rate": rate.tolist(),
    }


def _problem(trial):
    """(parameters, n, observation), as `joint` takes them."""
    n = np.array(trial["n"], dtype=float)
    spikes = tuple(np.array(times, dtype=np.int64) for times in trial["spikes"])
    labels, rate = np.array(trial["labels"], dtype=np.int64), np.array(trial["history_rate"])
    parameters = Parameters(**{name: np.array(value) for name, value in trial["parameters"].items()})
    return parameters, n, Observation(spikes, labels, len(n), np.zeros_like(n), rate)


def _grown(trial, along, size):
    """((parameters, n, observation), window) of a problem that has `size` of what grows."""
    if along == "ages":
        return _problem(trial), size
    if along == "bins":
        times = np.arange(size) % len(trial["n"])
        n = np.array(trial["n"], dtype=float)[times]
        spiking = [np.isin(times, spikes) for spikes in trial["spikes"]]
        grown = trial | {"n": n, "spikes": [np.flatnonzero(column) for column in spiking]}
        return _problem(grown), None
    circuit = winner_take_all()
    if along == "neurons":
        circuit = circuit.replace(n_neurons=[2 * size // 5, 2 * size // 5, size // 5])
    else:
        circuit = Circuit([200] * size, J=np.full((size, size), 10.0 / size) * pq.mV)
    duration, bin_size = len(trial["n"]) * trial["bin_size"], trial["bin_size"]
    run = simulate_mesoscopic(circuit, duration=duration * pq.s, bin_size=bin_size * pq.s, random_state=1)
    labels = np.arange(circuit.n_populations)  # one neuron of each, with the spikes of the first three
    spikes = [np.array(trial["spikes"][k % len(trial["spikes"])]) for k in labels]
    return _problem(_trial(circuit, run.n, spikes, labels, bin_size)), None


def _windows(parameters, bin_size, scheme, window):
    """Ages that are tracked one by one, per population."""
    if window is not None:
        return [int(window)] * len(parameters.n_neurons)
    return discretization.age_windows(discretization.discretize(parameters, bin_size, scheme)).tolist()


def _default_scheme():
    return simulate_mesoscopic.__kwdefaults__["scheme"]


def _timed(call, budget, cells=None, dtype=_LIKELIHOOD_TYPE):
    """All times of a call within a budget, and of the floor for as many cells, in turns."""
    seconds, per_cell = [], []
    for _ in _turns(budget):
        seconds.append(_seconds(call))
        if cells is not None:
            per_cell.append(_seconds_per_cell(_FLOORS[dtype], repeats=1))
    result = {"seconds": seconds}
    if cells is not None:
        least = min(per_cell)
        result["floor"] = {"cells": cells, "dtype": dtype, "seconds": cells * least, "ns_per_cell": 1e9 * least}
    return result


def _turns(budget):
    end = time.perf_counter() + budget
    for i in range(_MOST):
        if i >= _FEWEST and time.perf_counter() > end:
            return
        yield i


def _seconds_per_cell(kernel, repeats=5):
    dtype = np.float32 if kernel is floor.two_exponentials_single else np.float64
    a, b = np.linspace(0.0, 1.0, _FLOOR_CELLS, dtype=dtype), np.linspace(1.0, 2.0, _FLOOR_CELLS, dtype=dtype)
    kernel(a, b, 1)
    return min(_seconds(partial(kernel, a, b, _FLOOR_SWEEPS)) for _ in range(repeats)) / (_FLOOR_CELLS * _FLOOR_SWEEPS)


def _seconds(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
