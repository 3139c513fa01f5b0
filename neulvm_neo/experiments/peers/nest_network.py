"""A circuit simulated by NEST, for `neulvm bench`: population by population, or neuron by neuron.

Stands alone and runs in any environment with NEST: ``python nest_network.py < problem.json > result.json``.

The problem: ``level`` ("mesoscopic": gif_pop_psc_exp; "microscopic": gif_psc_exp, connected all to all),
``parameters`` (J[target][source] and voltages in mV, times in s), ``time_step``, ``duration``, ``warm_up`` in s,
``repeats``, ``seed``, and for "mesoscopic" optionally ``memory`` in s, the ages that a population keeps one by one
(NEST's own choice: five membrane time constants, with which the winner-take-all network's losing population fires 1.5 %
too much). Simulated are `warm_up`, then `repeats` times `duration`, each timed; population counts are
recorded, per step (mesoscopic) or spike by spike (microscopic), since that is what the other side of the row returns.
"""

import json
import os
import sys
import time

_CAPACITANCE = 250.0  # pF; any will do, weights are in proportion
_LEVELS = ("mesoscopic", "microscopic")


def main():
    """Read the problem, write the result: seconds of every repeat, seconds to build, rates in Hz."""
    problem = json.load(sys.stdin)
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # NEST greets on standard output, which is the result's
    try:
        import nest
    except Exception as error:  # not only ImportError: shared libraries that do not fit fail in their own ways
        answer = {"skipped": f"import nest: {type(error).__name__}: {error}"}
    else:
        answer = simulate(nest, problem)
    with result:
        json.dump(answer, result)


def simulate(nest, problem):
    """Build the network, run it, count."""
    level = problem["level"]
    if level not in _LEVELS:
        raise ValueError(f"level is {level!r}; expected one of {_LEVELS}.")
    _quiet(nest)
    dt, duration = problem["time_step"] * 1e3, problem["duration"] * 1e3
    nest.ResetKernel()
    nest.resolution = dt
    nest.local_num_threads = 1
    nest.rng_seed = problem["seed"]
    began = time.perf_counter()
    counts_since = _mesoscopic(nest, problem) if level == "mesoscopic" else _microscopic(nest, problem)
    nest.Simulate(max(problem["warm_up"] * 1e3, dt))
    build = time.perf_counter() - began
    seconds, spikes = [], 0.0
    for _ in range(problem["repeats"]):
        start = nest.biological_time
        began = time.perf_counter()
        nest.Simulate(duration)
        seconds.append(time.perf_counter() - began)
        spikes = spikes + counts_since(start)
    lived = problem["repeats"] * problem["duration"]
    rates = [float(n) / size / lived for n, size in zip(spikes, problem["parameters"]["n_neurons"], strict=True)]
    return {
        "version": f"NEST {nest.__version__}",
        "model": "gif_pop_psc_exp" if level == "mesoscopic" else "gif_psc_exp",
        "seconds": seconds,
        "build_seconds": build,
        "rates": rates,
        "n_connections": int(nest.num_connections),
    }


def _mesoscopic(nest, problem):
    """One node per population; returns a function that counts the spikes of every population since a time (ms)."""
    import numpy as np

    parameters = problem["parameters"]
    sizes = [int(n) for n in parameters["n_neurons"]]
    adaptation_off = {"q_sfa": (0.0,), "tau_sfa": (300.0,)}  # on by default, and an empty tuple is refused
    ages = round((problem.get("memory") or 0.0) / problem["time_step"]) or -1  # -1: NEST's own choice
    fixed = adaptation_off | {"len_kernel": ages}
    populations = [
        nest.Create("gif_pop_psc_exp", 1, _neuron(parameters, k) | fixed | {"N": n}) for k, n in enumerate(sizes)
    ]
    meters = []
    for target, population in enumerate(populations):
        _connect(nest, problem, populations, target, {"rule": "all_to_all"})
        meter = nest.Create("multimeter", params={"record_from": ["n_events"], "interval": problem["time_step"] * 1e3})
        nest.Connect(meter, population)
        meters.append(meter)

    def counts_since(start):
        events = [meter.events for meter in meters]
        return np.array([event["n_events"][event["times"] > start].sum() for event in events])

    return counts_since


def _microscopic(nest, problem):
    """Every neuron, and every connection; returns a function as `_mesoscopic` does."""
    import numpy as np

    parameters = problem["parameters"]
    sizes = [int(n) for n in parameters["n_neurons"]]
    populations = []
    for k, n in enumerate(sizes):
        neuron = _neuron(parameters, k) | {"g_L": _CAPACITANCE / (parameters["tau_m"][k] * 1e3)}
        del neuron["tau_m"]  # C_m / g_L
        population = nest.Create("gif_psc_exp", n, neuron)
        population.V_m = nest.random.uniform(0.0, max(parameters["u_rest"][k], 0.1))  # not all in step
        populations.append(population)
    for target in range(len(sizes)):
        _connect(nest, problem, populations, target, {"rule": "all_to_all", "allow_autapses": True})
    recorders = []
    for population in populations:
        recorder = nest.Create("spike_recorder")
        nest.Connect(population, recorder)
        recorders.append(recorder)

    def counts_since(start):
        return np.array([(recorder.events["times"] > start).sum() for recorder in recorders])

    return counts_since


def _neuron(parameters, k):
    """Parameters of population k that both models know, in NEST's units (ms, mV, pF)."""
    excitatory, inhibitory = _synaptic_times(parameters)
    return {
        "V_reset": 0.0, "E_L": parameters["u_rest"][k], "V_T_star": parameters["threshold"][k], "Delta_V": 1.0,
        "lambda_0": 1.0, "C_m": _CAPACITANCE, "tau_m": parameters["tau_m"][k] * 1e3,
        "t_ref": parameters["t_ref"][k] * 1e3, "tau_syn_ex": excitatory, "tau_syn_in": inhibitory,
    }  # fmt: skip


def _connect(nest, problem, populations, target, rule):
    """All sources of one population; a spike moves every neuron of it by J/N mV in all."""
    parameters = problem["parameters"]
    for source, population in enumerate(populations):
        coupling = parameters["J"][target][source]
        if coupling == 0.0:
            continue
        size, tau = int(parameters["n_neurons"][source]), parameters["tau_syn"][source] * 1e3
        delay = max(parameters["delay"][source], problem["time_step"]) * 1e3  # NEST needs one step at least
        synapse = {"weight": coupling / size * _CAPACITANCE / tau, "delay": delay}
        nest.Connect(population, populations[target], rule, synapse)


def _synaptic_times(parameters):
    """NEST knows two synaptic time constants per neuron, for excitation and inhibition; ms."""
    found = {True: set(), False: set()}
    for row in parameters["J"]:
        for source, coupling in enumerate(row):
            if coupling:
                found[coupling > 0].add(parameters["tau_syn"][source] * 1e3)
    if max(map(len, found.values())) > 1:
        raise ValueError("NEST needs one tau_syn for all excitatory and one for all inhibitory sources.")
    return max(found[True], default=3.0), max(found[False], default=6.0)


def _quiet(nest):
    try:
        nest.verbosity = nest.VerbosityLevel.ERROR
    except AttributeError:  # before NEST 3.10
        nest.set_verbosity("M_ERROR")


if __name__ == "__main__":
    main()
