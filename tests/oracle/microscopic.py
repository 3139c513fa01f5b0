"""Slow twin of `neulvm_neo.kernels.microscopic`: one neuron at a time, by another road.

The potential of a neuron is not stepped but read off the never-reset potential H of its population,
V(t|s) = H(t) - γ^(t-s-r) H(s+r), and instead of integrating a hazard, the probability of having stayed silent since the
last spike is multiplied up from 1 - p_fire.
"""

import functools
import math

import numpy as np


def simulate(parameters, dt, integration, ages, rates, stimulus, patience):
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
    patience : callable
        Of a neuron, counted over all populations, and of how many spikes it has fired before: it fires the next once
        the probability of its silence falls below exp(-patience).

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
    first = [sum(map(len, ages[:k])) for k in range(K)]
    n_fired = [[0 for _ in mine] for mine in ages]
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
                if silent[k][i] < math.exp(-patience(first[k] + i, n_fired[k][i])):
                    spikes.append((t, k, i))
                    fired += 1
                    last[k][i], silent[k][i] = t, 1.0
                    n_fired[k][i] += 1
            activity[k].append(fired / (p.n_neurons[k] * dt))
    return spikes


def patience_of(key):
    """The patience of `simulate` from NumPy's own Philox: block (index, neuron, 0, 0), the upper 52 bits of a word."""

    @functools.cache
    def patience(neuron, index):
        before = (index + (neuron << 64) - 1) % 2**256  # NumPy counts up, then draws
        word = int(np.random.Philox(key=key, counter=before).random_raw(1)[0])
        return -math.log((2 * (word >> 12) + 1) / 2**53)

    return patience


def renewal_activity(parameters, dt, stimulus, longest=0.3):
    """Expected rate of the first population of a network without couplings, in continuous time.

    No neurons and no random numbers: the population is followed as shares that fired at the same time, each of which
    loses neurons by the hazard that its potential has, V' = (U_r + R I - V)/τ_m (Gerstner et al., Neuronal Dynamics,
    chapter 14).

    Parameters
    ----------
    parameters : Parameters
        In s and mV.
    dt : float
        s; fine.
    stimulus : array, shape (n_steps,)
        mV, constant over each dt.
    longest : float
        s; neurons that have been silent for so long are all alike.

    Returns
    -------
    array, shape (n_steps,)
        Hz, average over each dt. Before step 0 everybody was silent for ever under the first stimulus.
    """
    u_rest, threshold, tau_m, r = (
        float(values[0]) for values in (parameters.u_rest, parameters.threshold, parameters.tau_m, parameters.t_ref)
    )
    refractory, leak = round(r / dt), math.exp(-dt / tau_m)
    share, V = np.zeros(round(longest / dt)), np.zeros(round(longest / dt))  # by steps since they fired
    share[-1], V[-1] = 1.0, u_rest + stimulus[0]
    rate = []
    for I_ext in stimulus:
        after = leak * V + (1 - leak) * (u_rest + I_ext)
        after[:refractory] = 0.0
        hazard = (np.exp(V - threshold) + np.exp(after - threshold)) / 2
        hazard[:refractory] = 0.0
        fired = share * -np.expm1(-hazard * dt)
        share, V = share - fired, after
        rate.append(fired.sum() / dt)
        oldest = share[-2] + share[-1]
        V[-1] = (share[-2] * V[-2] + share[-1] * V[-1]) / oldest if oldest > 0 else V[-1]
        share[1:-1], V[1:-1] = share[:-2].copy(), V[:-2].copy()
        share[-1], share[0], V[0] = oldest, fired.sum(), 0.0
    return np.array(rate)
