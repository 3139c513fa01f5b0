"""The joint likelihood written in JAX, as one would write it today, for `neulvm bench`.

Stands alone and runs in any environment with JAX: ``python jax_scan.py < problem.json > result.json``.

The problem: ``trial`` (``parameters`` with J[target][source] and voltages in mV, times in s; ``bin_size`` in s; ``n``,
counts per bin and population; ``spikes``, the bins of the spikes of every recorded neuron, and ``labels``, their
populations; ``history_rate`` in Hz; optionally ``stimulus`` in mV, per bin and population), ``scheme``
("second-order", "exponential" or "euler"), ``window`` (ages held one by one, in bins), and optionally ``dtype``
("float64" or "float32"), ``density`` ("binomial", "gaussian" or "noise"), ``repeats`` and ``plain``. Timed is the value
with its reverse-mode gradient with respect to the counts, J, tau_m, u_rest and threshold, jitted.

Written for speed, as far as that goes without an adjoint by hand. What follows from the known counts alone (synapses,
never-reset potentials) is a matrix product in blocks of bins. Cohorts are a `lax.scan` over bins whose state are arrays
(population, age); ages are a ring, so that nothing moves when cohorts grow older (shifting them costs about as much,
one packed array 20 % more). Differentiated plainly, the scan writes some twenty such arrays per bin and takes four
times as long; what is kept are states every 50 bins, and within a block every bin's. Sums over ages are products with
ones (5 %). Unrolling slows down. Recorded neurons gather the release potential of their cohort, all at once.
"""

import functools
import json
import math
import os
import sys
import time

_CAP = math.log(20.0)  # log of the hazard per bin from which it grows linearly
_CONTAMINATION_RATE = 1e-3  # Hz, of a recorded neuron that cannot fire
_FREE = ("J", "tau_m", "u_rest", "threshold")
_NOBODY = 1e-12  # neurons; keeps ratios over an empty population at 0
_BLOCK = 50  # bins between states that are kept


def main():
    """Read the problem, write the result: value, n̄, gradients, seconds of every repeat and of compiling."""
    problem = json.load(sys.stdin)
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not the result
    try:
        import jax  # noqa: F401
    except Exception as error:  # not only ImportError: shared libraries that do not fit fail in their own ways
        answer = {"skipped": f"import jax: {type(error).__name__}: {error}"}
    else:
        answer = measure(**problem)
    with result:
        json.dump(answer, result)


def measure(trial, scheme, window, dtype="float64", density="binomial", repeats=5, plain=False):
    """Compile, run, time. `plain`: the scan differentiated as it stands, all intermediate arrays kept."""
    import jax
    import numpy as np

    function, inputs, plan = prepare(trial, scheme, window, dtype, density, plain)
    began = time.perf_counter()
    run = function.lower(*inputs).compile()
    compile_seconds = time.perf_counter() - began
    (value, others), gradients = run(*inputs)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(run(*inputs))
        seconds.append(time.perf_counter() - began)
    answer = {"version": f"JAX {jax.__version__}", "dtype": dtype, "windows": plan.windows.tolist()}
    answer |= {"seconds": seconds, "compile_seconds": compile_seconds, "value": float(value)}
    answer |= {name: np.asarray(x, dtype=float).tolist() for name, x in others.items()}
    return answer | {"gradients": {name: np.asarray(g, dtype=float).tolist() for name, g in gradients.items()}}


def prepare(trial, scheme, window, dtype="float64", density="binomial", plain=False):
    """The jitted function; its arguments, a dict of n and the free parameters and a dict of the rest; the plan."""
    import jax
    import numpy as np

    jax.config.update("jax_enable_x64", dtype == "float64")
    given = {name: np.asarray(x, dtype=float) for name, x in trial["parameters"].items()}
    n = np.asarray(trial["n"], dtype=float)
    plan = Plan(given, trial["bin_size"], scheme, window, len(n), trial["spikes"], trial["labels"], density)
    plan.keep_everything = plain
    arguments = {"n": n} | {name: given[name] for name in _FREE}
    rest = {name: given[name] for name in ("tau_syn", "n_neurons")}
    rest |= {"history_rate": trial["history_rate"], "stimulus": trial.get("stimulus", np.zeros_like(n))}
    inputs = [{name: jax.numpy.asarray(x, dtype=dtype) for name, x in part.items()} for part in (arguments, rest)]
    return jax.jit(jax.value_and_grad(functools.partial(log_joint, plan=plan), has_aux=True)), inputs, plan


class Plan:
    """What is not differentiated and fixes shapes: whole numbers of bins, and who is recorded when."""

    def __init__(self, given, dt, scheme, window, T, spikes, labels, density):
        import numpy as np

        self.dt, self.scheme, self.density, self.T = dt, scheme, density, T
        self.second = scheme == "second-order"
        self.with_variance = self.second and density != "binomial"
        self.K = len(given["n_neurons"])
        bins = np.stack([given["t_ref"], given["delay"]]) / dt
        whole = np.floor(bins + 1e-9) if self.second else np.rint(bins)
        self.phi, self.psi = np.maximum(bins - whole, 0.0) if self.second else np.zeros((2, self.K))
        self.r, self.d = whole.astype(int)
        self.C = int(window - self.r.max() - 1)  # array cells: ages r + 2 … r + 1 + C
        if self.C < 1:
            raise ValueError(f"window is {window} bins; refractoriness alone takes {self.r.max() + 1}, so give more.")
        self.windows = self.r + 1 + self.C
        self.rho = self.r + (
            0.5 + self.phi if self.second else 1.0
        )  # mean release, in bins after the bin of birth began
        self.R = np.floor(self.rho).astype(int) if self.second else self.r
        self.hrho = self.rho - self.R
        wA, w0B = (1 - self.phi) ** 2 / 2, 0.5 - self.phi**2 / 2 + self.phi**3 / 6
        self.wA, self.w0B = np.where(self.r > 0, wA, 0.0), np.where(self.r > 0, w0B, w0B + wA)
        self.w1B = 0.5 - self.phi**3 / 6
        # recorded neurons: bin of the last spike before every bin (-1: none yet), age since, and whether it fires
        self.labels = np.asarray(labels, dtype=int)
        self.fires = np.zeros((T, len(spikes)), dtype=bool)
        for i, times in enumerate(spikes):
            self.fires[np.asarray(times, dtype=int), i] = True
        at = np.where(self.fires, np.arange(T)[:, None], -1)
        self.last = np.vstack([np.full((1, len(spikes)), -1), np.maximum.accumulate(at, axis=0)[:-1]])
        self.age = np.where(self.last >= 0, np.arange(T)[:, None] - self.last, 0)


def log_joint(arguments, rest, plan):
    """log p(y, n | θ); beside it expected counts, conditional variances (where the density needs them), both parts."""
    step = coefficients(arguments, rest, plan)
    paths = linear_part(arguments, rest, plan, step)
    swept = cohorts(arguments, rest, plan, step, paths)
    others = {"n_bar": swept["n_bar"]}
    if plan.with_variance:
        others["variance"] = conditional_variance(swept, arguments, rest, plan)
    others["part_a"] = recorded(arguments, rest, plan, step, paths, swept)
    others["part_b"] = log_density(arguments["n"], swept["n_bar"], others.get("variance"), rest["n_neurons"], plan)
    return others["part_a"] + others["part_b"], others


def hazard(log_hazard):
    """Hazard per bin: exponential, then linear."""
    import jax.numpy as jnp

    return jnp.exp(jnp.minimum(log_hazard, _CAP)) * (1.0 + jnp.maximum(log_hazard - _CAP, 0.0))


def tilt(w):
    """1 - w of Hermite's correction of the trapezoid, continued so that it stays positive."""
    return 1.0 / (1.0 + w + w * w)


def kept(y):
    """e^-y for the survival once the true end of the last bin is known, without an exponential."""
    import jax.numpy as jnp

    t = jnp.minimum(0.25 * y, 1.0)
    half = 1.0 - t + 0.5 * t * t
    return (half * half) ** 2


def summed(x):
    """Sum over ages."""
    import jax.numpy as jnp

    return x @ jnp.ones(x.shape[1], x.dtype)


# --- linear part: known counts → synapses and never-reset potentials, all bins at once --------------------------------


def step_responses(a, b, h):
    """Response of H to I = 1 at the start and to A = 1 during a time h, both per J; (target, source)."""
    import jax.numpy as jnp

    x = (b - a) * h
    small = jnp.abs(x) < 1e-3
    safe = jnp.where(small, 1.0, x)
    ratio = jnp.where(small, 1.0 - x / 2 + x**2 / 6 - x**3 / 24, -jnp.expm1(-safe) / safe)
    D1 = h * jnp.exp(-a * h) * ratio
    return D1, -jnp.expm1(-a * h) / a - D1


def coefficients(arguments, rest, plan):
    """Coefficients of one time step: (K,) or (target, source), and the decay of the reset by age, from r + 1 on."""
    import jax.numpy as jnp

    dt, J, tau = plan.dt, arguments["J"], arguments["tau_m"]
    a, b = 1.0 / tau[:, None], 1.0 / rest["tau_syn"]
    e = jnp.exp(-dt * b)
    count = jnp.arange(plan.C + 1)
    if not plan.second:
        g = 1.0 - dt / tau if plan.scheme == "euler" else jnp.exp(-dt / tau)
        gain = J * (dt + 0.0 * a) if plan.scheme == "euler" else J * (tau * (1.0 - g))[:, None]
        step = {"g": g, "e": e, "C1": gain * e, "C2a": gain * (1.0 - e), "C2b": 0.0 * J, "wa": 1.0 - e, "wb": 0.0 * e}
        return step | {"decay": g[:, None] ** (count + 1), "young": 0.0 * g}

    def over(h, late):
        D1, D2 = step_responses(a, b, h)
        new = J * step_responses(a, b, late)[1]
        return J * D1, J * D2 - new, new

    late = (1.0 - plan.psi) * dt
    C1, C2a, C2b = over(dt, late)
    hrho = plan.hrho[:, None]
    C1h, C2ah, C2bh = over(hrho * dt, (hrho - plan.psi).clip(0.0) * dt)
    wb = -jnp.expm1(-late * b)
    ages = plan.r[:, None] + 1 + count
    return {
        "g": jnp.exp(-dt / tau), "e": e, "C1": C1, "C2a": C2a, "C2b": C2b, "wa": 1.0 - e - wb, "wb": wb,
        "gh": jnp.exp(-plan.hrho * dt / tau), "C1h": C1h, "C2ah": C2ah, "C2bh": C2bh,
        "decay": jnp.exp(-(ages + 1 - plan.rho[:, None]) * dt / tau[:, None]),
        "young": -jnp.expm1(-(1.0 - plan.phi) / 2 * dt / tau),
    }  # fmt: skip


def delayed(x, before, lags):
    """Column k of x (T, K) shifted by lags[k] bins, with before[k] ahead of it."""
    import jax.numpy as jnp

    lags = [min(lag, len(x)) for lag in lags]
    columns = [jnp.broadcast_to(before[k], lag) for k, lag in enumerate(lags)]
    return jnp.stack([jnp.concatenate([past, x[: len(x) - len(past), k]]) for k, past in enumerate(columns)], axis=1)


def recurrence(factor, inputs, start, block=_BLOCK):
    """x(0) = start, x(t+1) = factor x(t) + inputs(t), all (T + 1, K): a matrix product in blocks of bins."""
    import jax
    import jax.numpy as jnp

    T, K = inputs.shape
    blocks = jnp.pad(inputs, ((0, -T % block), (0, 0))).reshape(-1, block, K)
    lag = jnp.arange(block)[:, None] - jnp.arange(block)
    powers = jnp.where(lag >= 0, factor[:, None, None] ** jnp.maximum(lag, 0), 0.0)
    within = jnp.einsum("kij,cjk->cik", powers, blocks)
    decay = factor ** (jnp.arange(block)[:, None] + 1)
    _, starts = jax.lax.scan(lambda x, last: (decay[-1] * x + last, x), start, within[:, -1])
    return jnp.concatenate([start[None], (within + decay * starts[:, None]).reshape(-1, K)[:T]])


def linear_part(arguments, rest, plan, step):
    """Everything that follows from the counts without looking at cohorts, by name, (T, K) each."""
    n, J, tau, N, dt = arguments["n"], arguments["J"], arguments["tau_m"], rest["n_neurons"], plan.dt
    drive = arguments["u_rest"] + rest["stimulus"]
    past = rest["history_rate"]
    A = n / (N * dt)
    early, late = (delayed(A, past, plan.d + lag) for lag in (1, 0))
    I = recurrence(step["e"], step["wa"] * early + step["wb"] * late, past)  # noqa: E741
    H_rest = drive[0] + tau * (J @ past)
    push = I[:-1] @ step["C1"].T + early @ step["C2a"].T + late @ step["C2b"].T
    H = recurrence(step["g"], (1.0 - step["g"]) * drive + push, H_rest)
    paths = {"H": H[:-1], "H_end": H[1:], "H_rest": H_rest, "offset": arguments["threshold"] - math.log(dt)}
    if not plan.second:
        return paths | {"HR": H[1:]}
    mu = drive + tau * (I[:-1] @ J.T)
    paths["rise0"] = (mu - H[:-1]) / tau
    paths["rise1"] = (drive + tau * (I[1:] @ J.T) - H[1:]) / tau
    push = I[:-1] @ step["C1h"].T + early @ step["C2ah"].T + late @ step["C2bh"].T
    paths["HR"] = step["gh"] * H[:-1] + (1.0 - step["gh"]) * drive + push
    paths["E1"] = hazard(step["young"] * mu - paths["offset"])
    paths["E1_rest"] = hazard(step["young"] * H_rest - paths["offset"])
    return paths


# --- cohorts: one scan over bins --------------------------------------------------------------------------------------


def cohorts(arguments, rest, plan, step, paths):
    """Expected counts, and per bin and population what recorded neurons and the variance need; (T, K) each.

    State of the scan, per population and cell of the ring: Σ S n, Σ S² n (S: survival), reset of the potential and,
    second order only, half the hazard at the start edge; the same sums of the free neurons, and the predicted count.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    C, r, second, tau = plan.C, plan.r, plan.second, arguments["tau_m"]
    N, offset, g = rest["n_neurons"], paths["offset"], step["g"]
    n_past = rest["history_rate"] * N * plan.dt
    columns = young_cohorts(arguments, rest, plan, step, paths)
    columns |= {"n": arguments["n"], "H": paths["H"] - offset, "H_end": paths["H_end"] - offset}
    if second:
        sigma = plan.dt / 6
        columns |= {"a0": sigma * paths["rise0"], "a1": sigma * paths["rise1"]}
        kappa = sigma / tau
        same_bin = (plan.d == 0) / (N * plan.dt)
        feedback = step["C2b"] * same_bin
        feedback_rise = sigma * (arguments["J"] * step["wb"] * same_bin - feedback / tau[:, None])
    names = tuple(columns)
    rows = jnp.stack(list(columns.values()), axis=1)
    ring = np.arange(C)

    def bin_of(carry, row_and_t, early):
        row, t = row_and_t
        now = dict(zip(names, row, strict=True))
        cells, (free, free_w, free_G), predicted = carry
        m, w, G = cells[:3]
        H_end, S_B, n_B = now["H_end"], now["S_B"], now["n_B"]
        G_free = free_G / (free + _NOBODY)
        if second:
            L = cells[3]
            surprise = now["n"] - predicted
            shift = (feedback * surprise).sum(axis=1)
            H_end = H_end - shift
            a0, a1 = now["a0"], now["a1"] - (feedback_rise * surprise).sum(axis=1)
        end = hazard(H_end[:, None] - G)
        end_free, end_B = hazard(H_end - g * G_free), hazard(H_end - now["G_B"])
        if second:
            x1 = 0.5 * end * tilt(a1[:, None] + kappa[:, None] * G)  # the end edge's part
            x1_free = 0.5 * end_free * tilt(a1 + kappa * g * G_free)
            x = L * tilt(-(a0[:, None] + (kappa / g)[:, None] * G)) + x1
            x_free = 0.5 * hazard(now["H"] - G_free) * tilt(-(a0 + kappa * G_free)) + x1_free
            x_B = now["start_B"] + plan.w1B * end_B
        else:
            x, x_free, x_B = end, end_free, end_B
        q, q_free, q_B = jnp.exp(-x), jnp.exp(-x_free), jnp.exp(-x_B)
        p, p_free, p_B = 1.0 - q, 1.0 - q_free, 1.0 - q_B
        m_B = S_B * n_B
        v, v_B, v_free = m - w, (1.0 - S_B) * m_B, free - free_w
        P = summed(p * m) + p_B * m_B + p_free * free + now["P_A"]
        M = summed(m) + m_B + free + now["n_young"]
        W = summed(p * v) + p_B * v_B + p_free * v_free
        V = summed(v) + v_B + v_free + _NOBODY
        rate = W / V
        n_bar = P + rate * (N - M)
        out = {"n_bar": n_bar, "h_unseen": p_free}
        slot = t % C  # of the oldest cell, which makes room for cohort B
        if early:  # cells born before the recording: not yet overwritten, or overwritten by such
            born_in_history = ring < (r + 1)[:, None]
            past = jnp.where(t < C, (ring >= t) | born_in_history, (ring >= t - C) & born_in_history)
            P_past = now["P_past"] + summed(p * m * past) + p_B * m_B * (t < r + 1) + p_free * free
            M_past = now["M_past"] + summed(m * past) + m_B * (t < r + 1) + free
            out["h_unseen"] = jnp.where(t < plan.windows, P_past / (M_past + _NOBODY), p_free)
        if plan.with_variance:
            P2 = summed(p * p * m) + p_B**2 * m_B + p_free**2 * free + now["P2_A"]
            Q2 = summed(p * p * v) + p_B**2 * v_B + p_free**2 * v_free
            out["v0"] = n_bar - P2 + Q2 - W * rate - (N - M) * Q2 / V

        m, w, m_B, w_B = m * q, w * q * q, m_B * q_B, S_B * m_B * q_B**2
        free, free_w, free_G = free * q_free, free_w * q_free**2, free_G * q_free * g
        state, B = [m, w, G * g[:, None]], [m_B, w_B, now["G_next"]]
        if second:
            f = jnp.exp(jnp.clip(shift, -20.0, 20.0))
            firing = summed(end * m) + end_B * m_B + end_free * free + now["firing_A"]
            out["predicted"] = predicted
            predicted = jnp.clip(f * firing + rate * (N - M + P - now["n"]), 0.0, N)
        oldest = [jax.lax.dynamic_index_in_dim(x, slot, 1, keepdims=False) for x in (m, w, G)]
        free, free_w, free_G = free + oldest[0], free_w + oldest[1], free_G + oldest[0] * oldest[2]
        if second:
            x1_B = 0.5 * end_B * tilt(a1 + kappa / g * now["G_next"])
            c, c_B, c_free = kept((f - 1.0)[:, None] * x1), kept((f - 1.0) * x1_B), kept((f - 1.0) * x1_free)
            free, free_w, free_G = free * c_free, free_w * c_free**2, free_G * c_free
            state = [m * c, w * c * c, state[2], (0.5 * f)[:, None] * end]
            B = [m_B * c_B, w_B * c_B**2, B[2], 0.5 * f * end_B]
        cells = tuple(jnp.where(ring == slot, young[:, None], x) for young, x in zip(B, state, strict=True))
        return (cells, (free, free_w, free_G), predicted), out

    carry = (*start_of_cohorts(arguments, rest, plan, step, paths), n_past)
    n_blocks = -(-plan.T // _BLOCK)
    rows = jnp.pad(rows, ((0, n_blocks * _BLOCK - plan.T), (0, 0), (0, 0)), mode="edge")
    rows = rows.reshape(n_blocks, _BLOCK, *rows.shape[1:]), jnp.arange(n_blocks * _BLOCK).reshape(n_blocks, _BLOCK)
    split = min(-(-int(plan.windows.max()) // _BLOCK), n_blocks)
    pieces = []
    for early, a, b in ((True, 0, split), (False, split, n_blocks)):
        if b > a:
            kept_sparsely = (lambda f: f) if plan.keep_everything else jax.checkpoint
            one_bin = kept_sparsely(functools.partial(bin_of, early=early))
            one_block = kept_sparsely(functools.partial(jax.lax.scan, one_bin))
            carry, out = jax.lax.scan(one_block, carry, jax.tree.map(lambda x, a=a, b=b: x[a:b], rows))
            pieces.append(out)
    swept = {name: jnp.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    swept = {name: x.reshape(-1, plan.K)[: plan.T] for name, x in swept.items()}
    return swept | {"G_B": columns["G_B"]}


def young_cohorts(arguments, rest, plan, step, paths):
    """Of ages 1 … r + 1, all that does not depend on the prediction inside the bin; (T, K) each."""
    import jax.numpy as jnp
    import numpy as np

    n, N, r, one = arguments["n"], rest["n_neurons"], plan.r, [1] * plan.K
    n_past = rest["history_rate"] * N * plan.dt
    t = np.arange(plan.T)[:, None]
    n_A, n_B = delayed(n, n_past, r), delayed(n, n_past, r + 1)
    total = jnp.cumsum(n, axis=0)
    M_past = n_past * np.maximum(r - t, 0)
    released = delayed(paths["HR"], paths["H_rest"], one)
    columns = {"n_B": n_B, "M_past": M_past}
    columns["n_young"] = delayed(total, 0.0 * N, one) - delayed(total, 0.0 * N, r + 1) + M_past
    if not plan.second:
        none = jnp.zeros_like(n)
        columns |= {"S_B": none + 1.0, "P_A": none, "P_past": none, "G_B": step["decay"][:, 0] * released}
        return columns | {"G_next": step["decay"][:, 1] * released}
    E1 = paths["E1"]
    x_A = plan.wA * E1
    p_A = -jnp.expm1(-x_A)
    late = plan.R > r  # released in the bin in which the cohort is B: from the potential extrapolated to that moment
    release_B = jnp.where(late, paths["H"] + plan.hrho * plan.dt * paths["rise0"], released)
    columns |= {"S_B": jnp.exp(-delayed(x_A, plan.wA * paths["E1_rest"], one)), "start_B": plan.w0B * E1}
    columns |= {"P_A": p_A * n_A, "P2_A": p_A**2 * n_A, "P_past": p_A * n_A * (t < r)}
    columns["firing_A"] = (1.0 - plan.phi) * (r > 0) * E1 * (1.0 - p_A) * n_A
    columns["G_B"] = step["decay"][:, 0] * release_B
    return columns | {"G_next": step["decay"][:, 1] * jnp.where(late, paths["HR"], released)}


def start_of_cohorts(arguments, rest, plan, step, paths):
    """Cells of the ring and sums of the free neurons after a past of constant activity."""
    import jax.numpy as jnp

    second, g, dt, N = plan.second, step["g"], plan.dt, rest["n_neurons"]
    H_rest, offset = paths["H_rest"], paths["offset"]
    n_past = (rest["history_rate"] * N * dt)[:, None]
    reset = step["decay"] * H_rest[:, None]
    end = hazard(H_rest[:, None] - reset - offset[:, None])  # at the end edge of ages r + 1 …
    x_free = hazard(H_rest - offset)
    G = reset[:, 1:]
    if second:
        x_A = plan.wA * paths["E1_rest"]
        x_B = plan.w0B * paths["E1_rest"] + plan.w1B * end[:, 0]
        k = dt / 6 / arguments["tau_m"][:, None]
        x = 0.5 * end[:, :-1] * tilt(-k * G / g[:, None]) + 0.5 * end[:, 1:] * tilt(k * G)
    else:
        x_A, x_B, x = 0.0 * N, end[:, 0], end[:, 1:]
    S = jnp.exp(-jnp.concatenate([(x_A + x_B)[:, None], x], axis=1).cumsum(axis=1))  # after ages r + 1 …
    S, S_out = S[:, :-1], S[:, -1]
    n_past_each = n_past[:, 0]
    unexplained = N - (plan.r + jnp.exp(-x_A)) * n_past_each - n_past_each * S.sum(axis=1)
    explained = jnp.minimum(S_out * n_past_each, -N * jnp.expm1(-x_free))  # leaves the window in a bin
    free = jnp.maximum(unexplained, explained / (_NOBODY - jnp.expm1(-x_free)))
    free_w = -explained * S_out / (jnp.expm1(-2.0 * x_free) - _NOBODY)
    free_G = explained * G[:, -1] / (1.0 - jnp.exp(-x_free) * g)
    cells = [S * n_past, S * S * n_past, G] + ([0.5 * end[:, :-1]] if second else [])
    return tuple(x[:, ::-1] for x in cells), (free, free_w, free_G)


# --- recorded neurons and densities -----------------------------------------------------------------------------------


def recorded(arguments, rest, plan, step, paths, swept):
    """log p(y | n): all bins of all recorded neurons at once."""
    import jax.numpy as jnp
    import numpy as np

    dt, labels, age, fires = plan.dt, plan.labels, plan.age, plan.fires
    if not labels.size:
        return jnp.zeros(())
    N, r = rest["n_neurons"], plan.r[labels]
    H_end, offset = paths["H_end"], paths["offset"]
    if plan.second:
        surprise = (arguments["n"] - swept["predicted"]) * (plan.d == 0) / (N * dt)
        shift = surprise @ step["C2b"].T
        H_end = H_end - shift
        a0 = dt / 6 * paths["rise0"]
        a1 = dt / 6 * (paths["rise1"] - surprise @ (arguments["J"] * step["wb"]).T + shift / arguments["tau_m"])
    E2 = hazard(H_end - swept["G_B"] - offset)

    def of_neuron(x):  # (T, K) → (T, neurons)
        return jnp.stack([x[:, k] for k in labels], axis=1)

    release = np.clip(plan.last + plan.R[labels], 0, plan.T - 1)
    HR = paths["HR"][release, labels]
    g = step["g"][labels]
    G1 = g ** (np.maximum(age, r + 2) + 1 - plan.rho[labels]) * HR
    end = hazard(of_neuron(H_end - offset) - G1)
    contamination = _CONTAMINATION_RATE * dt
    if plan.second:
        kappa = (dt / 6 / arguments["tau_m"])[labels]
        G0 = G1 / g
        x = 0.5 * hazard(of_neuron(paths["H"] - offset) - G0) * tilt(-(of_neuron(a0) + kappa * G0))
        x = x + 0.5 * end * tilt(of_neuron(a1) + kappa * G1)
        x = jnp.where(age == r + 1, of_neuron(plan.w0B * paths["E1"] + plan.w1B * E2), x)
        x = jnp.where((age == r) & (plan.wA[labels] > 0), of_neuron(plan.wA * paths["E1"]), x)
        cannot = (age < r) | ((age == r) & (plan.wA[labels] == 0))
    else:
        x = jnp.where(age == r + 1, of_neuron(E2), end)
        cannot = age <= r
    unseen = plan.last < 0
    x = jnp.where(cannot & ~unseen, contamination, x)
    x = jnp.maximum(x, jnp.finfo(x.dtype).tiny)
    log_p = jnp.where(fires & ~unseen, log_one_minus_exp(jnp.where(fires, x, 1.0)), -x)
    h = of_neuron(swept["h_unseen"])
    certain = 1.0 - max(1e-9, float(jnp.finfo(x.dtype).eps))
    log_unseen = jnp.where(fires, jnp.log(jnp.maximum(h, contamination)), jnp.log1p(-jnp.minimum(h, certain)))
    return jnp.where(unseen, log_unseen, log_p).sum()


def log_one_minus_exp(x):
    """log(1 - e^-x) for x > 0 without cancellation."""
    import jax.numpy as jnp

    small = x < math.log(2.0)
    return jnp.where(
        small, jnp.log(-jnp.expm1(-jnp.where(small, x, 1.0))), jnp.log1p(-jnp.exp(-jnp.where(small, 1.0, x)))
    )


def conditional_variance(swept, arguments, rest, plan):
    """Variance of the counts, with the spikes that spikes of the same bin make."""
    import jax.numpy as jnp
    import numpy as np

    dt, J, N = plan.dt, arguments["J"], rest["n_neurons"]
    a, b = 1.0 / arguments["tau_m"][:, None], 1.0 / rest["tau_syn"]
    nodes, weights = np.polynomial.legendre.leggauss(10)  # the response is close to a parabola
    late = (1.0 - plan.psi) * dt
    summed = sum(
        w / 2 * late * step_responses(a, b, (x + 1) / 2 * late)[1] for x, w in zip(nodes, weights, strict=True)
    )
    q = J * summed * (plan.d == 0) / (N * dt**2)
    Q = swept["n_bar"][:, :, None] * q
    spread = 1.8 / (1.0 - plan.psi) - 1.0
    return (swept["v0"][:, None, :] * ((jnp.eye(plan.K) + Q) ** 2 + spread * Q**2)).sum(axis=2)


def log_density(n, n_bar, variance, N, plan):
    """Σ log p(n | n̄)."""
    import jax.numpy as jnp
    from jax.scipy.special import gammaln

    mean = jnp.clip(n_bar, 1e-3 * N * plan.dt, N * (1.0 - 1e-6))
    if plan.density == "binomial":
        choose = gammaln(N + 1.0) - gammaln(n + 1.0) - gammaln(N - n + 1.0)
        return (choose + n * jnp.log(mean / N) + (N - n) * jnp.log1p(-mean / N)).sum()
    variance = mean if variance is None else jnp.maximum(variance, 0.05 * mean)
    log_p = -0.5 * (n - mean) ** 2 / variance
    return (log_p - 0.5 * jnp.log(2.0 * math.pi * variance) if plan.density == "gaussian" else log_p).sum()


if __name__ == "__main__":
    main()
