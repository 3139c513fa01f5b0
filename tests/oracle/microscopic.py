"""Slow twin of `neulvm_neo.kernels.microscopic`: one neuron at a time, by another road.

The potential of a neuron is not stepped but read off the never-reset potential H of its population,
V(t|s) = H(t) - γ^(t-s-r) H(s+r), and instead of integrating a hazard, the probability of having stayed silent since the
last spike is multiplied up from 1 - p_fire.
"""

import math


def simulate(parameters, dt, integration, ages, rates, stimulus, uniforms, rng):
    """Spikes of every neuron.

    Parameters
    ----------
    parameters : Parameters
        In s and mV.
    dt : float
        s
    integration : {"exact", "euler"}
    ages : list of list of int
        Per population and neuron: the last spike was in step -age.
    rates : list of float
        Constant activity of the past, in Hz, to which synapses and membranes are adapted.
    stimulus : list of list of float
        mV, per step and population.
    uniforms : list of list of float
        One per neuron: it fires once the probability of silence falls below 1 - u; the next u is `rng.random()`.

    Returns
    -------
    list of (step, population, neuron)
    """
    K = len(ages)
    p = parameters
    r = [round(p.t_ref[k] / dt) for k in range(K)]
    delay = [round(p.delay[b] / dt) for b in range(K)]
    leak = [math.exp(-dt / p.tau_m[k]) if integration == "exact" else 1 - dt / p.tau_m[k] for k in range(K)]
    gain = [p.tau_m[k] * (1 - leak[k]) if integration == "exact" else dt for k in range(K)]
    before = []
    for k in range(K):
        before.append(p.u_rest[k] + stimulus[0][k] + p.tau_m[k] * sum(p.J[k][b] * rates[b] for b in range(K)))

    H, activity, filtered = [[] for _ in range(K)], [[] for _ in range(K)], list(rates)
    last = [[-age for age in mine] for mine in ages]
    silent = [[1.0 for _ in mine] for mine in ages]
    uniforms = [list(mine) for mine in uniforms]
    spikes = []
    for t in range(len(stimulus)):
        for b in range(K):
            arrival = t - 1 - delay[b]
            e = math.exp(-dt / p.tau_syn[b])
            filtered[b] = e * filtered[b] + (1 - e) * (activity[b][arrival] if arrival >= 0 else rates[b])
        for k in range(K):
            synaptic = sum(p.J[k][b] * filtered[b] for b in range(K))
            previous = H[k][t - 1] if t > 0 else before[k]
            H[k].append(leak[k] * previous + (1 - leak[k]) * (p.u_rest[k] + stimulus[t][k]) + gain[k] * synaptic)
            fired = 0
            for i, s in enumerate(last[k]):
                released = s + r[k]
                if t <= released:
                    continue
                at_release = H[k][released] if released >= 0 else before[k]
                V = H[k][t] - leak[k] ** (t - released) * at_release
                p_fire = 1 - math.exp(-math.exp(V - p.threshold[k]) * dt)
                silent[k][i] *= 1 - p_fire
                if silent[k][i] < 1 - uniforms[k][i]:
                    spikes.append((t, k, i))
                    fired += 1
                    last[k][i], silent[k][i], uniforms[k][i] = t, 1.0, rng.random()
            activity[k].append(fired / (p.n_neurons[k] * dt))
    return spikes
