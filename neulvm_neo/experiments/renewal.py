"""Infinitely large populations in continuous time, from renewal theory: what a time step must converge to.

Nothing of the kernels is used here. Source: Gerstner, Kistler, Naud, Paninski, Neuronal Dynamics, chapters 9 and 14.
Times in s, rates in Hz, potentials in mV.
"""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import root

from ..parameters import parameters_of

FORGOTTEN = 15.0  # membrane time constants after release: a reset has decayed to exp(-15), neurons are all alike


def stationary_rates(circuit, guess):
    """Rates that reproduce themselves: A = 1 / ⟨interspike interval⟩ under the input that they cause.

    Under constant input a neuron released at 0 has the potential μ (1 - exp(-t/τ_m)) and the survival S' = -λ S; the
    mean interval t_ref + ∫ S dt comes from an adaptive Runge–Kutta method of order 8.

    Parameters
    ----------
    circuit : Circuit
    guess : sequence of float, Hz, shape (K,)
        One of several states may be near.

    Returns
    -------
    numpy.ndarray, shape (K,), Hz

    Raises
    ------
    RuntimeError
        If no such rates are found near `guess`.

    Examples
    --------
    >>> from .circuits import winner_take_all
    >>> stationary_rates(winner_take_all(), (19, 6, 25)).round(4)
    array([19.5866,  5.4075, 24.5148])
    """
    p = parameters_of(circuit)

    def excess(rate):
        settled = p.u_rest + p.tau_m * (p.J @ rate)
        survival = [_mean_survival(*neuron) for neuron in zip(settled, p.tau_m, p.threshold, strict=True)]
        return 1.0 / (p.t_ref + survival) - rate

    return solved(excess, guess)


def step_response(circuit, guess, *, bin_size, stimulus, onset, duration, resolution):
    """Activity around the onset of a step of the external drive.

    With the age a since the last spike (a refractory neuron's included) and ρ(a, t) the density of neurons of that age,
    ρ_t + ρ_a = -λ ρ and ρ(0, t) = A(t) = ∫ λ ρ da, where λ = exp(V - ϑ) and τ_m (V_t + V_a) = μ(t) - V from release
    on: along characteristics, by the trapezoidal rule.

    Parameters
    ----------
    circuit : Circuit
        Without delays.
    guess : sequence of float, Hz, shape (K,)
        Near the state in which the populations rest before.
    bin_size : float, s
        Over which the activity is averaged.
    stimulus : sequence of float, mV, shape (K,)
        Drive from `onset` on; none before.
    onset, duration : float, s
    resolution : float, s
        Step in age and time; must divide all other times. The error falls with its square.

    Returns
    -------
    numpy.ndarray, shape (n_bins, K), Hz

    Raises
    ------
    ValueError
        If the circuit has delays, or `resolution` does not divide the other times.
    """
    p, h, K = parameters_of(circuit), resolution, circuit.n_populations
    if np.any(p.delay > 0):
        raise ValueError(f"circuit has delays of {(p.delay * 1e3).tolist()} ms; this solution is for delays of 0 ms.")
    n_steps, first_driven = whole(duration, h, "duration"), whole(onset, h, "onset")
    per_bin = whole(bin_size, h, "bin_size")
    release = np.array([whole(t_ref, h, "t_ref") for t_ref in p.t_ref])[:, None]
    tau, threshold, leak = p.tau_m[:, None], p.threshold[:, None], np.exp(-h / p.tau_m)[:, None]
    decay = np.exp(-h / p.tau_syn)

    # ages 0, h, … at the edges of time steps; the last column of V and λ holds all older neurons together
    age = np.arange(int(np.ceil((FORGOTTEN * p.tau_m.max() + p.t_ref.max()) / h)) + 1)
    released, running = age >= release, age > release
    weight = h * np.where(age == release, 0.5, 1.0) * released  # trapezoidal: λ jumps at release
    weight[:, -1] *= 0.5
    current = stationary_rates(circuit, guess)
    rest = (p.u_rest + p.tau_m * (p.J @ current))[:, None]
    V = np.where(released, rest * -np.expm1(-(age - release) * h / tau), 0.0)
    hazard = np.exp(V - threshold) * released
    passed = np.cumsum(0.5 * h * (hazard[:, :-1] + hazard[:, 1:]) * running[:, 1:], axis=1)
    density = current[:, None] * np.exp(-np.pad(passed, ((0, 0), (1, 0))))
    older = 1.0 - h * (density.sum(axis=1) - 0.5 * (density[:, 0] + density[:, -1]))

    activities = [current]
    activity = current
    for step in range(n_steps):
        drive = p.u_rest + (np.asarray(stimulus, dtype=float) if step >= first_driven else 0.0)
        for _ in range(4):  # the activity at the end of the step acts within it, in proportion to h²: a contraction
            arrived = decay * current + (1.0 - decay) * 0.5 * (activities[-1] + activity)
            mu = (drive + p.tau_m * (p.J @ (0.5 * (current + arrived))))[:, None]
            V_next = np.where(running, leak * np.pad(V[:, :-1], ((0, 0), (1, 0))) + (1.0 - leak) * mu, 0.0)
            hazard_next = np.exp(V_next - threshold) * released
            survived = density[:, :-1] * np.exp(-0.5 * h * (hazard[:, :-1] + hazard_next[:, 1:]) * running[:, 1:])
            kept = np.exp(-0.5 * h * (hazard[:, -1] + hazard_next[:, -1]))
            older_next = (older + 0.5 * h * density[:, -1]) * kept + 0.5 * h * survived[:, -1]
            activity = np.sum(weight[:, 1:] * hazard_next[:, 1:] * survived, axis=1) + hazard_next[:, -1] * older_next
        V, hazard, older, current = V_next, hazard_next, older_next, arrived
        density = np.concatenate([activity[:, None], survived], axis=1)
        activities.append(activity)
    edges = np.array(activities)
    return (0.5 * (edges[:-1] + edges[1:])).reshape(-1, per_bin, K).mean(axis=1)


def solved(excess, guess):
    """Root of a function of rates, near a guess (Hz).

    Raises
    ------
    RuntimeError
        If none is found.
    """
    found = root(excess, np.asarray(guess, dtype=float), tol=1e-10)
    if not np.max(np.abs(found.fun)) < 1e-6:
        raise RuntimeError(f"no stationary rates near {list(guess)} Hz: still off by {found.fun} Hz ({found.message}).")
    return found.x


def whole(length, unit, name):
    """How many units (s) a length (s) has.

    Raises
    ------
    ValueError
        If that is not a whole number.

    Examples
    --------
    >>> whole(0.3, 0.002, "duration")
    150
    """
    count = int(round(length / unit))
    if count < 1 or abs(length - count * unit) > 1e-6 * unit * count:
        raise ValueError(f"{name} is {length * 1e3:g} ms; expected a whole number of {unit * 1e3:g} ms.")
    return count


def _mean_survival(settled, tau_m, threshold):
    """∫ exp(-∫ λ) dt from release on, under constant input; s."""

    def slope(t, y):  # of (∫ λ, ∫ S)
        return np.exp(settled * -np.expm1(-t / tau_m) - threshold), np.exp(-y[0])

    stop = 40.0 * tau_m  # from then on the hazard is constant
    passed, lived = solve_ivp(slope, (0.0, stop), (0.0, 0.0), method="DOP853", rtol=1e-11, atol=1e-14).y[:, -1]
    return lived + np.exp(-passed - (settled - threshold))
