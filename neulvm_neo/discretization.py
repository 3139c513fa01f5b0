"""Continuous-time parameters → coefficients of one time step, and the way back for gradients.

Every scheme is the same recursion (see `kernels.mesoscopic`) with other coefficients.
"""

from typing import NamedTuple

import numpy as np

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
        late = bin_size * (1.0 - psi)
        now = -np.expm1(-late / tau_syn)
        n_axes = max(tau_m.ndim, tau_syn.ndim, J.ndim - 1) - 1
        current, response = _responses(tau_m, tau_syn, _moments(bin_size, psi, fraction, n_axes))
        by_current, _, release_by_current, _ = J * current[0]
        by_any, by_now, release_by_any, release_by_now = J * response[0]
        instant = (d == 0) / (n_neurons * bin_size)  # Hz per spike of sources that act within the bin
        of_late = [value[1] for value in response]
        within = _integrated_step_response(tau_m, tau_syn, late, of_late)[0] * ((d == 0) / (n_neurons * bin_size**2))
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


def pull_back(g_step, parameters, bin_size, scheme="second-order"):
    """Gradient with respect to `Parameters`, given the gradient `g_step` (a `Step`) in what `discretize` returns.

    ``t_ref``, ``delay`` and ``n_neurons`` are given, not fitted: they get zero gradient.
    """
    tau_m, tau_syn = np.asarray(parameters.tau_m, dtype=float), np.asarray(parameters.tau_syn, dtype=float)
    J, n_neurons = np.asarray(parameters.J, dtype=float), np.asarray(parameters.n_neurons, dtype=float)
    zeros = np.zeros_like(tau_m)
    decay = np.exp(-bin_size / tau_syn)
    decay_slope = decay * bin_size / tau_syn**2
    g_J, g_tau_m = g_step.J.copy(), g_step.tau_m.copy()
    g_tau_syn = g_step.synaptic_decay * decay_slope

    if scheme == "second-order":
        r, phi = _whole_and_rest(np.asarray(parameters.t_ref, dtype=float) / bin_size)
        d, psi = _whole_and_rest(np.asarray(parameters.delay, dtype=float) / bin_size)
        fraction = (phi + 0.5) % 1.0
        late = bin_size * (1.0 - psi)
        instant = (d == 0) / (n_neurons * bin_size)
        now = -np.expm1(-late / tau_syn)
        g_gap = g_step.feedback_gap * instant
        g_J += g_gap * tau_m[:, None] * now
        g_tau_m += (g_gap * J * now).sum(axis=1)
        g_now = g_step.arrive_now - g_step.arrive_before + (g_gap * tau_m[:, None] * J).sum(axis=0)
        g_tau_syn += -g_step.arrive_before * decay_slope - g_now * np.exp(-late / tau_syn) * late / tau_syn**2
        g_by_now = g_step.by_now - g_step.by_before + g_step.feedback * instant - g_gap
        current, response = _responses(tau_m, tau_syn, _moments(bin_size, psi, fraction, 0))
        within = _integrated_step_response(tau_m, tau_syn, late, [value[1] for value in response])
        nothing = np.zeros_like(J)
        for (value, by_tau_m, by_tau_syn), g in (  # all are J times a response
            (current, np.stack([g_step.by_current, nothing, g_step.release_by_current, nothing])),
            (response, np.stack([
                g_step.by_before, g_by_now, g_step.release_by_before, g_step.release_by_now - g_step.release_by_before,
            ])),
            (within, g_step.gain_within * ((d == 0) / (n_neurons * bin_size**2))),
        ):  # fmt: skip
            g_J += (g * value).reshape(-1, *J.shape).sum(axis=0)
            g_tau_m += (g * J * by_tau_m).reshape(-1, *J.shape).sum(axis=(0, 2))
            g_tau_syn += (g * J * by_tau_syn).reshape(-1, *J.shape).sum(axis=(0, 1))
        g_tau_m += g_step.leak * np.exp(-bin_size / tau_m) * bin_size / tau_m**2
        g_tau_m -= g_step.curvature * bin_size / (6.0 * tau_m**2)
        g_tau_m -= g_step.release_slope * fraction * bin_size / tau_m**2
    else:
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
        table[..., k, : windows[k]] = leak**power
        slope[..., k, : windows[k]] = power * leak ** (power - 1.0)
    return table, slope


def _whole_and_rest(bins):
    whole = np.floor(bins + _WHOLE)
    return whole.astype(np.int64), np.maximum(bins - whole, 0.0)


def _first_order_leak(tau_m, bin_size, scheme):
    if scheme == "euler":
        return 1.0 - bin_size / tau_m, np.full_like(tau_m, bin_size)
    return np.exp(-bin_size / tau_m), -tau_m * np.expm1(-bin_size / tau_m)


def _current_response(tau_m, tau_syn, time):
    """H(time) per mV of J after I(0) = 1 Hz and silence, with its derivatives by τ_m and τ_syn; all (…, K, K).

    D(h) = (exp(-h/τ_m) - exp(-h/τ_s)) / (1/τ_s - 1/τ_m) = h exp(-h/τ_s) φ(x), x = h/τ_s - h/τ_m, φ(x) = (e^x - 1)/x.
    """
    a, b = 1.0 / tau_m[..., :, None], 1.0 / tau_syn[..., None, :]
    h = np.broadcast_to(time, np.broadcast_shapes(a.shape, b.shape, np.shape(time)))
    phi, phi_slope = _phi((b - a) * h)
    envelope = h * np.exp(-b * h)
    value = envelope * phi
    by_a, by_b = -h * envelope * phi_slope, -h * value + h * envelope * phi_slope
    return value, -by_a * a**2, -by_b * b**2


def _moments(bin_size, psi, fraction, n_axes):
    """Times (4, …, K, K) in s up to which responses are needed: from the start of the bin and from a spike's arrival.

    Both to the end of the bin, then both to the release; psi (K,) and fraction (K,) are in bins, … are `n_axes`.
    """
    moments = np.empty((4, fraction.size, psi.size))
    moments[0], moments[1], moments[2] = 1.0, 1.0 - psi, fraction[:, None]
    moments[3] = np.maximum(fraction[:, None] - psi, 0.0)
    return bin_size * moments.reshape(4, *n_axes * (1,), fraction.size, psi.size)


def _responses(tau_m, tau_syn, time):
    """`_current_response`, and H(time) per mV of J under A = 1 Hz since 0, from rest.

    Both with their derivatives by τ_m and τ_syn; all (…, K, K).
    """
    value, by_tau_m, by_tau_syn = _current_response(tau_m, tau_syn, time)
    tau = tau_m[..., :, None]
    h = np.broadcast_to(time, value.shape)
    lost = np.exp(-h / tau)
    response = tau * (1.0 - lost) - value, (1.0 - lost) - lost * h / tau - by_tau_m, -by_tau_syn
    return (value, by_tau_m, by_tau_syn), response


def _integrated_step_response(tau_m, tau_syn, time, response):
    """Integral from 0 to time of the second of `_responses`, with its derivatives by τ_m and τ_syn; all (…, K, K).

    The `response` obeys τ_m y' + y = τ_m I, so its integral is τ_m (∫I - y(time)).
    """
    y, y_by_tau_m, y_by_tau_syn = response
    tau, tau_s = tau_m[..., :, None], tau_syn[..., None, :]
    h = np.broadcast_to(time, y.shape)
    lost = np.exp(-h / tau_s)
    current = h - tau_s * (1.0 - lost)
    current_slope = -(1.0 - lost) + lost * h / tau_s
    return tau * (current - y), (current - y) - tau * y_by_tau_m, tau * (current_slope - y_by_tau_syn)


def _phi(x):
    """(e^x - 1)/x and its derivative; the series where the difference would cancel."""
    small = np.abs(x) < 0.02
    any_small = small.any()
    safe = np.where(small, 1.0, x) if any_small else x
    rise = np.expm1(safe)
    value, slope = rise / safe, (rise * (safe - 1.0) + safe) / safe**2
    if any_small:
        value = np.where(small, _series(x, (1.0, 2.0, 6.0, 24.0, 120.0, 720.0, 5040.0)), value)
        slope = np.where(small, _series(x, (2.0, 3.0, 8.0, 30.0, 144.0, 840.0, 5760.0)), slope)
    return value, slope


def _series(x, denominators):
    total = np.zeros_like(x)
    for denominator in reversed(denominators):
        total = total * x + 1.0 / denominator
    return total
