"""A circuit simulated neuron by neuron by Brian2, for `neulvm bench`.

Stands alone and runs in any environment with Brian2: ``python brian_network.py < problem.json > result.json``.

The problem: ``target`` ("cython", which is what one gets; "standalone": a C++ program made of the whole simulation),
``parameters`` (J[target][source] and voltages in mV, times in s), ``time_step``, ``duration``, ``warm_up`` in s,
``repeats`` and ``seed``. Simulated are `warm_up`, then `repeats` times `duration`, each timed; every spike is recorded.
Compiling and what Brian2 prepares at the start of every run are not counted: the time of a run of one step is
subtracted. The stand-alone program starts anew every time, without `warm_up`, and times itself.

Written as Brian2 is written where all neurons of a population receive the same input: synaptic currents are variables
of the populations (one synapse per neuron and target population, not one per pair of neurons) that neurons read as
linked variables.
"""

import json
import os
import sys
import tempfile
import time


def main():
    """Read the problem, write the result: seconds of every repeat and of compiling, rates in Hz."""
    problem = json.load(sys.stdin)
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not the result
    try:
        import brian2
    except Exception as error:  # not only ImportError: Brian2 2.9 with numpy 2 fails in its own way
        answer = {"skipped": f"import brian2: {type(error).__name__}: {error}"}
    else:
        answer = simulate(brian2, problem)
    with result:
        json.dump(answer, result)


def simulate(brian2, problem):
    """Build the network, run it, count."""
    import numpy as np

    runs = {"cython": _run_cython, "standalone": _run_standalone}
    if problem["target"] not in runs:
        raise ValueError(f"target is {problem['target']!r}; expected one of {tuple(runs)}.")
    sizes = np.array(problem["parameters"]["n_neurons"], dtype=int)
    seconds, build, spikes = runs[problem["target"]](brian2, problem, sizes)
    lived = problem["duration"] * len(seconds)
    return {
        "version": f"Brian2 {brian2.__version__}",
        "model": f"NeuronGroup, {problem['target']}, currents per population",
        "seconds": seconds,
        "build_seconds": build,
        "rates": [float(n.mean()) / lived for n in np.split(spikes, np.cumsum(sizes)[:-1])],
    }


def _run_cython(brian2, problem, sizes):
    """(seconds of every repeat, seconds before, spikes of every neuron in all repeats)."""
    import numpy as np

    second = brian2.second
    brian2.prefs.codegen.target = "cython"
    began = time.perf_counter()
    network, spikes = _network(brian2, problem, sizes)
    network.run(max(problem["warm_up"], problem["time_step"]) * second)
    build = time.perf_counter() - began
    preparation = min(_seconds(network.run, problem["time_step"] * second) for _ in range(3))
    before = np.array(spikes.count)
    seconds = [_seconds(network.run, problem["duration"] * second) - preparation for _ in range(problem["repeats"])]
    return seconds, build, np.array(spikes.count) - before


def _run_standalone(brian2, problem, sizes):
    """The same by a program of its own."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        brian2.set_device("cpp_standalone", build_on_run=False, directory=folder)
        began = time.perf_counter()
        network, spikes = _network(brian2, problem, sizes)
        network.run(problem["duration"] * brian2.second)
        brian2.device.build(directory=folder, compile=True, run=False)
        build = time.perf_counter() - began
        seconds, counts = [], 0
        for _ in range(problem["repeats"]):
            brian2.device.run()
            seconds.append(float(brian2.device._last_run_time))  # there is no public name
            counts = counts + np.array(spikes.count)
    return seconds, build, counts


def _seconds(call, *arguments):
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began


def _network(brian2, problem, sizes):
    """(network, monitor of all spikes)."""
    import numpy as np

    second, parameters = brian2.second, problem["parameters"]
    brian2.defaultclock.dt = problem["time_step"] * second
    brian2.seed(problem["seed"])
    taus = sorted(set(parameters["tau_syn"]))  # one variable per synaptic time constant
    currents = "\n".join(f"dI{i}/dt = -I{i} / ({tau!r}*second) : Hz" for i, tau in enumerate(taus))
    total = " + ".join(f"I{i}" for i in range(len(taus)))
    populations = brian2.NeuronGroup(len(sizes), f"{currents}\ndrive = {total} : Hz", method="exact")
    neurons = brian2.NeuronGroup(
        int(sizes.sum()),
        """dv/dt = (u_rest - v) / tau_m + drive : 1 (unless refractory)
        drive : Hz (linked)
        u_rest : 1 (constant)
        theta : 1 (constant)
        tau_m : second (constant)
        t_ref : second (constant)""",
        threshold="rand() < 1 - exp(-dt * exp(v - theta) * Hz)",
        reset="v = 0",
        refractory="t_ref",
        method="exact",
    )
    population = np.repeat(np.arange(len(sizes)), sizes)
    neurons.drive = brian2.linked_var(populations, "drive", index=population)
    for name, unit in (("u_rest", 1), ("threshold", 1), ("tau_m", second), ("t_ref", second)):
        values = np.array(parameters[name])[population]
        setattr(neurons, "theta" if name == "threshold" else name, values * unit)
    neurons.v = "rand() * u_rest"  # not all in step

    synapses = []
    J = np.array(parameters["J"])
    for i, tau in enumerate(taus):
        source = np.flatnonzero(np.array(parameters["tau_syn"])[population] == tau)
        pairs = [(neuron, target) for neuron in source for target in range(len(sizes)) if J[target, population[neuron]]]
        if not pairs:
            continue
        pre, post = np.array(pairs).T
        synapse = brian2.Synapses(neurons, populations, "w : Hz (constant)", on_pre=f"I{i}_post += w")
        synapse.connect(i=pre, j=post)
        synapse.w = J[post, population[pre]] / sizes[population[pre]] / tau * brian2.Hz
        synapse.delay = np.array(parameters["delay"])[population[pre]] * second
        synapses.append(synapse)
    spikes = brian2.SpikeMonitor(neurons)
    return brian2.Network(populations, neurons, *synapses, spikes), spikes


if __name__ == "__main__":
    main()
