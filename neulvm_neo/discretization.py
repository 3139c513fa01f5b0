"""Continuous-time parameters → coefficients of one time step, and the way back for gradients."""

from typing import NamedTuple

import numpy as np

SCHEMES = ("euler", "exponential")


class Step(NamedTuple):
    """Coefficients of one bin of width Δt for K populations.

    The never-reset potential obeys H ← leak·H + drive_gain·(U_r + R I) + synaptic_gain·Σ_b J_ab I_b,
    the filtered activity I_b ← synaptic_decay·I_b + (1 - synaptic_decay)·A_b (A in Hz, delayed by `delay_bins`).
    """

    leak: np.ndarray  # γ, (K,)
    drive_gain: np.ndarray  # (K,)
    synaptic_gain: np.ndarray  # s, (K,)
    synaptic_decay: np.ndarray  # per source population, (K,)
    J: np.ndarray  # mV, (K, K), [target, source]
    u_rest: np.ndarray  # mV, (K,)
    log_hazard_offset: np.ndarray  # ϑ - ln(Δt / s), (K,): log of the bin-integrated hazard is u - offset
    refractory_bins: np.ndarray  # int, (K,)
    delay_bins: np.ndarray  # int, (K,)
    n_neurons: np.ndarray  # N, float, (K,)
    bin_size: float  # s


def discretize(parameters, bin_size, scheme="euler"):
    """Coefficients of one time step.

    Parameters
    ----------
    parameters : neulvm_neo.parameters.Parameters
        Values in s and mV.
    bin_size : float
        Δt in s.
    scheme : {"euler", "exponential"}
        ``"euler"`` is the paper's first-order step (leak 1 - Δt/τ_m; Wang et al. 2022, App. A). ``"exponential"`` keeps
        the same recursion with the exact leak exp(-Δt/τ_m), which removes most of the first-order bias in the rates.

    Raises
    ------
    ValueError
        If the scheme is unknown, or Euler's step is not shorter than a membrane time constant.
    """
    tau_m = np.asarray(parameters.tau_m, dtype=float)
    if scheme == "euler":
        if np.any(bin_size >= tau_m):
            raise ValueError(
                f"bin_size {bin_size * 1e3:g} ms is not below tau_m {tau_m.min() * 1e3:g} ms; "
                "Euler's step needs smaller bins, or choose scheme='exponential'."
            )
        leak = 1.0 - bin_size / tau_m
        synaptic_gain = np.full_like(tau_m, bin_size)
    elif scheme == "exponential":
        leak = np.exp(-bin_size / tau_m)
        synaptic_gain = tau_m * (1.0 - leak)
    else:
        raise ValueError(f"scheme {scheme!r} is unknown; choose one of {SCHEMES}.")
    return Step(
        leak=leak,
        drive_gain=1.0 - leak,
        synaptic_gain=synaptic_gain,
        synaptic_decay=np.exp(-bin_size / np.asarray(parameters.tau_syn, dtype=float)),
        J=np.ascontiguousarray(parameters.J, dtype=float),
        u_rest=np.asarray(parameters.u_rest, dtype=float),
        log_hazard_offset=np.asarray(parameters.threshold, dtype=float) - np.log(bin_size),
        refractory_bins=np.rint(np.asarray(parameters.t_ref) / bin_size).astype(np.int64),
        delay_bins=np.rint(np.asarray(parameters.delay) / bin_size).astype(np.int64),
        n_neurons=np.asarray(parameters.n_neurons, dtype=float),
        bin_size=float(bin_size),
    )


def pull_back(g_step, parameters, bin_size, scheme="euler"):
    """Gradient with respect to `Parameters`, given the gradient `g_step` (a `Step`) in what `discretize` returns.

    ``t_ref``, ``delay`` (whole bins) and ``n_neurons`` get zero gradient.
    """
    tau_m = np.asarray(parameters.tau_m, dtype=float)
    if scheme == "euler":
        leak_slope = bin_size / tau_m**2
        gain_slope = np.zeros_like(tau_m)
    else:
        leak = np.exp(-bin_size / tau_m)
        leak_slope = leak * bin_size / tau_m**2
        gain_slope = (1.0 - leak) - tau_m * leak_slope
    tau_syn = np.asarray(parameters.tau_syn, dtype=float)
    decay_slope = np.exp(-bin_size / tau_syn) * bin_size / tau_syn**2
    zeros = np.zeros_like(tau_m)
    return type(parameters)(
        J=g_step.J,
        tau_m=(g_step.leak - g_step.drive_gain) * leak_slope + g_step.synaptic_gain * gain_slope,
        u_rest=g_step.u_rest,
        threshold=g_step.log_hazard_offset,
        tau_syn=g_step.synaptic_decay * decay_slope,
        t_ref=zeros,
        delay=zeros,
        n_neurons=zeros,
    )


def age_window(step, time_constants=10.0, longest=2000):
    """How many cohort ages (bins) are tracked one by one; older neurons are free: their potential has converged to H.

    Ten membrane time constants leave a relative error of about 2e-5 in n̄ in the three-population network; the window
    is common to all populations.
    """
    bins = step.refractory_bins + np.ceil(-time_constants / np.log(step.leak)).astype(np.int64)
    return int(min(max(bins.max(), step.refractory_bins.max() + 2), longest))
