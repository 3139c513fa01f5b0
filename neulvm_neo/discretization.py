"""Continuous-time parameters → coefficients of one time step, and the way back for gradients.

Every scheme is the same recursion (see `kernels.mesoscopic`) with other coefficients.
"""

import math
from typing import NamedTuple

import numpy as np

from .kernels import responses

NOISES = ("binomial", "cohorts")
SCHEMES = ("second-order", "exponential", "euler")
ROUNDING_SCHEMES = ("exponential", "euler")  # refractory periods and delays become whole bins
# The sweep over cohorts works on so many at a time (AVX-512, twice unrolled); a rest is swept one by one, which costs
# several times as much.
LANES = 16
# A refractory period of 4 ms is two bins of 2 ms even where 0.004 / 0.002 is not 2 bit for bit.
_WHOLE = 1e-9


class Step(NamedTuple):
    """Coefficients of one bin of width Δt for K populations; matrices are (K, K), [target, source].

    Potentials, synaptic activities and hazards live on the edges of the bins, spike counts in the bins. With the delay
    (d + ψ) Δt, d whole, activity A in Hz and the external drive E in mV

        I_b(t+1) = e_b I_b(t) + before_b A_b(t-d-1) + now_b A_b(t-d)
        H_k(t+1) = γ_k H_k(t) + (1 - γ_k)(U_k + E_k(t)) + Σ_b by_current I_b(t) + by_before A_b(t-d-1) + by_now A_b(t-d)

    A cohort that fired in bin s is released, on average, at the fraction ``release_fraction`` of bin s + release_bins;
    its potential is then H minus H(release) γ^(age - decay_origin) at the end of the bin in which it has that age.
    """

    bin_size: float  # s
    n_neurons: np.ndarray  # N, float, (K,)
    tau_m: np.ndarray  # s, (K,)
    J: np.ndarray  # mV
    u_rest: np.ndarray  # mV, (K,)
    log_hazard_offset: np.ndarray  # ϑ - ln(Δt / s), (K,): log of the hazard per bin is u - offset
    leak: np.ndarray  # γ, (K,)
    synaptic_decay: np.ndarray  # e, (K,), of the source
    arrive_before: np.ndarray  # (K,), of the source
    arrive_now: np.ndarray  # (K,)
    by_current: np.ndarray  # mV / Hz
    by_before: np.ndarray  # mV / Hz
    by_now: np.ndarray  # mV / Hz
    release_by_current: np.ndarray  # the same three up to the moment of release within a bin
    release_by_before: np.ndarray
    release_by_now: np.ndarray
    release_fraction: np.ndarray  # (K,), of a bin
    release_slope: np.ndarray  # release_fraction Δt/τ_m, (K,)
    release_bins: np.ndarray  # int, (K,)
    refractory_bins: np.ndarray  # int, whole bins of refractoriness r, (K,)
    delay_bins: np.ndarray  # int, whole bins of delay d, (K,)
    decay_origin: np.ndarray  # (K,), bins
    young_power: np.ndarray  # (K,): γ^young_power is the decay since the mean release, at the end of the release bin
    partly_released: np.ndarray  # (K,): share of a cohort that is released at the end of age r
    weight_a: np.ndarray  # (K,): weight of the hazard at the end of age r,
    weight_b_start: np.ndarray  # (K,): at the start
    weight_b_end: np.ndarray  # (K,): and at the end of age r + 1
    weight_start: float  # of the hazard at the start of a bin, later ages
    weight_end: float
    curvature: np.ndarray  # Δt/(6 τ_m), or 0: how the slope of the hazard enters its integral over a bin, (K,)
    feedback: np.ndarray  # mV of H at the end of a bin per spike in the same bin
    feedback_gap: np.ndarray  # mV of (τ_m dH/dt) at the end of a bin per spike in the same bin
    gain_within: np.ndarray  # relative change of a population's expected count per spike in the same bin
    emission_variance: np.ndarray  # of that over the time of the spike, per squared mean, (K,), of the source


def discretize(parameters, bin_size, scheme="second-order"):
    """Coefficients of one time step.

    Parameters
    ----------
    parameters : neulvm_neo.parameters.Parameters
        Values in s and mV. All but ``t_ref``, ``delay`` and ``n_neurons`` may have further axes in front, for many sets
        of values at once; then so have the coefficients that depend on them.
    bin_size : float
        Δt in s.
    scheme : {"second-order", "exponential", "euler"}
        ``"second-order"``: membrane and synapses integrated exactly for activity that is constant within a bin, the
        hazard integrated over the bin between its edges, refractory periods and delays of any length; its error falls
        as Δt². ``"euler"``: the paper's first-order step (leak 1 - Δt/τ_m, one hazard per bin; Wang et al. 2022,
        App. A), exact for data that an Euler network with this step has generated. ``"exponential"``: the same
        recursion with the exact leak exp(-Δt/τ_m), which removes most of the first-order error in the rates. The two
        round refractory periods and delays to whole bins.

    Raises
    ------
    ValueError
        If the scheme is unknown, or Euler's step is not shorter than a membrane time constant.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is unknown; choose one of {SCHEMES}.")
    tau_m, tau_syn = (np.array(value, dtype=float) for value in (parameters.tau_m, parameters.tau_syn))
    J, n_neurons = np.array(parameters.J, dtype=float), np.array(parameters.n_neurons, dtype=float)
    t_ref, delay = np.asarray(parameters.t_ref, dtype=float), np.asarray(parameters.delay, dtype=float)
    shape, zeros = J.shape, np.zeros_like(tau_m)
    decay = np.exp(-bin_size / tau_syn)
    common = {
        "bin_size": float(bin_size), "n_neurons": n_neurons, "tau_m": tau_m, "J": J, "synaptic_decay": decay,
        "u_rest": np.array(parameters.u_rest, dtype=float),
        "log_hazard_offset": np.asarray(parameters.threshold, dtype=float) - np.log(bin_size),
    }  # fmt: skip
    if scheme == "second-order":
        r, phi = _whole_and_rest(t_ref / bin_size)
        d, psi = _whole_and_rest(delay / bin_size)
        release = r + 0.5 + phi
        R = np.floor(release).astype(np.int64)
        fraction = release - R
        now = -np.expm1(-bin_size * (1.0 - psi) / tau_syn)
        current, response, integrated = _responses(tau_m, tau_syn, J.ndim - 2, bin_size, psi, fraction)
        by_current, _, release_by_current, _ = J * current
        by_any, by_now, release_by_any, release_by_now = J * response
        instant = (d == 0) / (n_neurons * bin_size)  # Hz per spike of sources that act within the bin
        within = integrated * ((d == 0) / (n_neurons * bin_size**2))
        return Step(
            **common,
            leak=np.exp(-bin_size / tau_m),
            arrive_before=(1.0 - decay) - now,
            arrive_now=now,
            by_current=by_current,
            by_before=by_any - by_now,
            by_now=by_now,
            release_by_current=release_by_current,
            release_by_before=release_by_any - release_by_now,
            release_by_now=release_by_now,
            release_fraction=fraction,
            release_slope=fraction * bin_size / tau_m,
            release_bins=R,
            refractory_bins=r,
            delay_bins=d,
            decay_origin=release - 1.0,
            young_power=0.5 * (1.0 - phi),
            partly_released=1.0 - phi,
            weight_a=np.where(r > 0, 0.5 * (1.0 - phi) ** 2, 0.0),
            # With less than a bin of refractoriness a neuron may be due again within the bin in which it fired; a
            # count has no room for that, so the chance is given in the next bin.
            weight_b_start=0.5 - phi**2 / 2.0 + phi**3 / 6.0 + np.where(r > 0, 0.0, 0.5 * (1.0 - phi) ** 2),
            weight_b_end=0.5 - phi**3 / 6.0,
            weight_start=0.5,
            weight_end=0.5,
            curvature=bin_size / (6.0 * tau_m),
            feedback=by_now * instant,
            feedback_gap=(tau_m[..., :, None] * J * now[..., None, :] - by_now) * instant,
            gain_within=J * within,
            emission_variance=1.8 / (1.0 - psi) - 1.0,
        )
    if scheme == "euler" and np.any(bin_size >= tau_m):
        raise ValueError(
            f"bin_size {bin_size * 1e3:g} ms is not below tau_m {tau_m.min() * 1e3:g} ms; "
            "Euler's step needs smaller bins, or choose scheme='second-order'."
        )
    leak, gain = _first_order_leak(tau_m, bin_size, scheme)
    by_current = J * gain[..., :, None] * decay[..., None, :]
    by_before = J * gain[..., :, None] * (1.0 - decay[..., None, :])
    r = np.rint(t_ref / bin_size).astype(np.int64)
    return Step(
        **common,
        leak=leak,
        arrive_before=1.0 - decay,
        arrive_now=zeros,
        by_current=by_current,
        by_before=by_before,
        by_now=np.zeros(shape),
        release_by_current=by_current,
        release_by_before=by_before,
        release_by_now=np.zeros(shape),
        release_fraction=zeros + 1.0,
        release_slope=zeros,
        release_bins=r,
        refractory_bins=r,
        delay_bins=np.rint(delay / bin_size).astype(np.int64),
        decay_origin=r.astype(float),
        young_power=zeros,
        partly_released=zeros,
        weight_a=zeros,
        weight_b_start=zeros,
        weight_b_end=zeros + 1.0,
        weight_start=0.0,
        weight_end=1.0,
        curvature=zeros,
        feedback=np.zeros(shape),
        feedback_gap=np.zeros(shape),
        gain_within=np.zeros(shape),
        emission_variance=zeros,
    )


def check_noise(noise, step):
    """How the counts of a time step scatter around what is expected of them.

    Parameters
    ----------
    noise : {"binomial", "cohorts"}
        ``"binomial"``: Binomial(N, n̄/N), as if all neurons of a population were equally likely to fire (Schwalger et
        al. 2017). ``"cohorts"``: the same mean with the variance of cohorts that fire independently, each with its own
        probability. Where populations fire in step, this is a fraction of the binomial's: some neurons are sure to
        fire in a bin and the others sure not to. Drawn as Binomial(N', n̄/N') with the whole number N' ≤ N that comes
        nearest.
    step : Step

    Returns
    -------
    str
        `noise`.

    Raises
    ------
    ValueError
        If it is unknown, or is "cohorts" while spikes act on the bin they fall in, which widens the variance again.
    """
    if noise not in NOISES:
        raise ValueError(f"noise {noise!r} is unknown; choose one of {NOISES}.")
    if noise == "cohorts" and np.any(step.gain_within):
        raise ValueError(
            "noise is 'cohorts', but with scheme='second-order' and delays shorter than a bin spikes act on the bin "
            "they fall in, which its variance leaves out; choose noise='binomial', smaller bins or scheme='euler'."
        )
    return noise


def pull_back(g_step, parameters, bin_size, scheme="second-order"):
    """Gradient with respect to `Parameters`, given the gradient `g_step` (a `Step`) in what `discretize` returns.

    ``t_ref``, ``delay`` and ``n_neurons`` are given, not fitted: they get zero gradient.
    """
    J, tau_m, tau_syn, n_neurons = (
        np.ascontiguousarray(value, dtype=float)
        for value in (parameters.J, parameters.tau_m, parameters.tau_syn, parameters.n_neurons)
    )
    zeros = np.zeros_like(tau_m)
    g_J, g_tau_m = g_step.J.copy(), g_step.tau_m.copy()

    if scheme == "second-order":
        _, phi = _whole_and_rest(np.asarray(parameters.t_ref, dtype=float) / bin_size)
        d, psi = _whole_and_rest(np.asarray(parameters.delay, dtype=float) / bin_size)
        g_tau_syn = np.zeros_like(tau_syn)
        responses.adjoint(
            bin_size, J, tau_m, tau_syn, n_neurons, psi, (phi + 0.5) % 1.0, d, g_step, g_J, g_tau_m, g_tau_syn
        )
    else:
        decay = np.exp(-bin_size / tau_syn)
        decay_slope = decay * bin_size / tau_syn**2
        g_tau_syn = g_step.synaptic_decay * decay_slope
        leak, gain = _first_order_leak(tau_m, bin_size, scheme)
        if scheme == "euler":
            leak_slope, gain_slope = bin_size / tau_m**2, zeros
        else:
            leak_slope = leak * bin_size / tau_m**2
            gain_slope = (1.0 - leak) - tau_m * leak_slope
        g_current = g_step.by_current + g_step.release_by_current
        g_before = g_step.by_before + g_step.release_by_before
        per_J = g_current * decay + g_before * (1.0 - decay)
        g_J += per_J * gain[:, None]
        g_tau_m += (per_J * J).sum(axis=1) * gain_slope + g_step.leak * leak_slope
        g_tau_syn += ((g_current - g_before) * J * gain[:, None]).sum(axis=0) * decay_slope
        g_tau_syn -= g_step.arrive_before * decay_slope
    return type(parameters)(
        J=g_J,
        tau_m=g_tau_m,
        u_rest=g_step.u_rest,
        threshold=g_step.log_hazard_offset,
        tau_syn=g_tau_syn,
        t_ref=zeros,
        delay=zeros,
        n_neurons=zeros,
    )


def age_windows(step, time_constants=9.0, longest=4000, lanes=LANES):
    """How many cohort ages (bins) are tracked one by one, per population, int (…, K); older neurons are free.

    A free neuron's potential has almost converged to H; of all free neurons of a population three sums are kept (their
    number, its square by cohorts, and the mean distance from H). After nine membrane time constants the relative error
    of n̄ is 2e-6 in the three-population network and 3e-5 in the worst regime tried
    (`experiments.faithfulness.window_errors`).
    """
    swept = np.minimum(np.ceil(-time_constants / np.log(step.leak)), longest)
    return step.refractory_bins + 1 + lanes * np.ceil(swept / lanes).astype(np.int64)


def locked_ages(step):
    """Bins after a spike in which a neuron cannot fire again, int (K,)."""
    return step.refractory_bins - (step.weight_a > 0.0)


def decay_table(step, windows):
    """γ^(age - decay_origin) for ages windows[k], …, 1, by birth, and its derivative by γ, both (…, K, longest)."""
    K, longest = len(windows), int(windows.max())
    table = np.zeros((*step.leak.shape, longest))
    slope = np.zeros_like(table)
    for k in range(K):
        power = np.arange(windows[k], 0, -1) - step.decay_origin[k]
        leak = step.leak[..., k, None]
        decay = leak**power
        table[..., k, : windows[k]], slope[..., k, : windows[k]] = decay, power * decay / leak
    return table, slope


def _whole_and_rest(bins):
    whole = np.floor(bins + _WHOLE)
    return whole.astype(np.int64), np.maximum(bins - whole, 0.0)


def _first_order_leak(tau_m, bin_size, scheme):
    if scheme == "euler":
        return 1.0 - bin_size / tau_m, np.full_like(tau_m, bin_size)
    return np.exp(-bin_size / tau_m), -tau_m * np.expm1(-bin_size / tau_m)


def _responses(tau_m, tau_syn, n_axes, bin_size, psi, fraction):
    """`responses.forward` for arrays (…, K): two of (4, …, K, K) and one of (…, K, K), where … has at least n_axes."""
    K = tau_m.shape[-1]
    axes = np.broadcast_shapes(tau_m.shape[:-1], tau_syn.shape[:-1])
    axes = (1,) * (n_axes - len(axes)) + axes
    if math.prod(axes) > 1:
        tau_m, tau_syn = np.broadcast_to(tau_m, (*axes, K)), np.broadcast_to(tau_syn, (*axes, K))
    tau_m, tau_syn = tau_m.reshape(-1, K), tau_syn.reshape(-1, K)
    n = len(tau_m)
    current, response = np.empty((2, responses.N_SPANS, n, K, K))
    within = np.empty((n, K, K))
    responses.forward(bin_size, tau_m, tau_syn, psi, fraction, current, response, within)
    shape = (*axes, K, K)
    return current.reshape(-1, *shape), response.reshape(-1, *shape), within.reshape(shape)
