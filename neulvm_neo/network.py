"""The neurons of a network in time: in what state they start, and how threads share them."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from .kernels import microscopic

_SETTLED_LOG = 30.0  # a reset has decayed by exp(-30): older neurons are all alike
CLUSTER_WIDTH = 1e-3  # s, standard deviation of spike times within a cluster
_PERIODS_BEFORE = 3  # of a clustered past: synapses remember them
_SPIKES_AT_ONCE = 2_000_000  # that a thread has room for: 32 MB
_UPDATES_AT_ONCE = 200_000_000  # of neurons in one call of the kernel: some 0.3 s, after which Ctrl-C is heard
# Updates of neurons each thread needs between two barriers. A barrier takes about 30 µs: measured on two cores, two
# threads take 1.4 times as long as one for 25,000 neurons, as long for 50,000, 0.75 for 100,000, 0.6 for a million.
_UPDATES_PER_BARRIER = 50_000


def asynchronous_start(parameters, step, drive, rate, rng):
    """Neurons that have lived under one constant input for ever, each population at its own age distribution.

    Parameters
    ----------
    parameters, step
        As in `run_network`.
    drive : numpy.ndarray, shape (n_populations,), mV
    rate : numpy.ndarray, shape (n_populations,), Hz
        Constant activity of all populations.
    rng : numpy.random.Generator
        Advances.

    Returns
    -------
    V, sleep : numpy.ndarray, shape (n_neurons,)
        Potential before step 0, in mV, and steps that each neuron will be refractory.
    """
    settled = parameters.u_rest + drive + parameters.tau_m * (parameters.J @ rate)
    coefficients = zip(
        settled, step["leak"], step["offset"], step["refractory_steps"], parameters.n_neurons.astype(int), strict=True
    )
    V, sleep = zip(*(_renewal_state(*population, rng) for population in coefficients), strict=True)
    return np.concatenate(V), np.concatenate(sleep)


def clustered_start(parameters, step, rate, n_clusters, rng, *, time_step):
    """Neurons that fire one after the other in clusters, each once per period.

    Parameters
    ----------
    parameters, step
        As in `run_network`.
    rate : numpy.ndarray, shape (n_populations,), Hz
        The period of each population is 1 / rate, and its potential the one at which lone neurons fire so often.
    n_clusters : int
        Of equal size, at equal distances. Spikes of a cluster are spread by `CLUSTER_WIDTH`.
    rng : numpy.random.Generator
        Advances.
    time_step : float
        s

    Returns
    -------
    V, sleep : numpy.ndarray, shape (n_neurons,)
        As of `asynchronous_start`.
    before : numpy.ndarray, shape (n_steps, n_populations)
        Spike counts of the last steps before step 0, some periods long.
    """
    period = 1.0 / (rate * time_step)  # steps
    V, sleep, before = [], [], np.zeros((int(np.ceil(_PERIODS_BEFORE * period.max())), rate.size))
    for k, (leak, offset, r) in enumerate(zip(step["leak"], step["offset"], step["refractory_steps"], strict=True)):
        n = int(parameters.n_neurons[k])
        settled = _potential_of_interval(period[k], leak, offset, r)
        phase = (rng.random() + np.arange(n) % n_clusters / n_clusters) * period[k]
        phase = (phase + CLUSTER_WIDTH / time_step * rng.standard_normal(n)) % period[k]
        age = np.ceil(np.maximum(phase, 1e-9)).astype(np.int64)  # the last spike was in step -age
        V.append(np.where(age - 1 > r, settled * -np.expm1(np.maximum(age - 1 - r, 0) * np.log(leak)), 0.0))
        sleep.append(np.maximum(r - age + 1, 0).astype(np.int32))
        for turn in range(_PERIODS_BEFORE + 1):
            steps = len(before) - np.ceil(np.maximum(phase + turn * period[k], 1e-9)).astype(np.int64)
            np.add.at(before[:, k], steps[steps >= 0], 1.0)
    return np.concatenate(V), np.concatenate(sleep), before


def run_network(
    parameters, step, drive, rate, V, sleep, n_recorded, *, time_step, steps_per_bin, warm_up, key, max_threads=1,
    before=None, stamina=None,
):  # fmt: skip
    """Simulate every neuron; threads only change how long it takes.

    Each thread advances a share of every population by as many steps as a spike needs to arrive anywhere; then they
    wait for each other.

    Parameters
    ----------
    parameters : neulvm_neo.parameters.Parameters
        Values in s and mV.
    step : dict of numpy.ndarray
        Coefficients of a time step, named as in `kernels.microscopic.advance`.
    drive : numpy.ndarray, shape (n_bins, n_populations), mV
        Of the stimulus.
    rate : numpy.ndarray, shape (n_populations,), Hz
        Constant activity until step 0, to which the synapses are adapted.
    V, sleep : numpy.ndarray, shape (n_neurons,)
        Potential (mV) before step 0, population after population; updated. Steps (int) that each neuron will still be
        refractory.
    n_recorded : numpy.ndarray of int, shape (n_populations,)
        The first so many neurons of every population are recorded.
    time_step : float
        s
    steps_per_bin, warm_up : int
        Steps; those of the warm-up come before bin 0.
    key : numpy.ndarray of uint64, shape (2,)
        All patience of the neurons follows from it.
    max_threads : int
    before : numpy.ndarray, shape (n_steps, n_populations), optional
        Spike counts of the last steps before step 0; before them, and by default, the activity has been `rate`.
    stamina : numpy.ndarray, shape (number of recorded neurons,), optional
        Mean patience of the recorded neurons, population after population; default 1, which the others have.

    Returns
    -------
    n : numpy.ndarray of int, shape (n_bins, n_populations)
        Spike counts of whole populations.
    spikes : numpy.ndarray of int, shape (2, n_spikes)
        Step and neuron of every spike of the recorded neurons; those of a neuron are in order.
    """
    size = parameters.n_neurons.astype(np.int64)
    K, n_steps = size.size, warm_up + len(drive) * steps_per_bin
    refractory, delay = step["refractory_steps"], step["delay_steps"]
    V[sleep > 0] = microscopic.ASLEEP
    patience, n_spikes_of = np.empty(V.size), np.empty(V.size, dtype=np.uint32)
    microscopic.first_patience(key, patience, n_spikes_of)

    until_arrival = 1 + int(delay.min())
    n_threads = min(max(V.size * until_arrival // _UPDATES_PER_BARRIER, 1), max_threads)
    at_once = min(_UPDATES_AT_ONCE // V.size, _SPIKES_AT_ONCE // max(n_recorded.sum(), 1))
    at_once = max(min(at_once, until_arrival if n_threads > 1 else n_steps), 1)
    first_of = np.concatenate([[0], np.cumsum(size)[:-1]])
    stamina = np.empty(0) if stamina is None else stamina
    if stamina.size:
        who = [begin + np.arange(many) for begin, many in zip(first_of, n_recorded, strict=True)]
        patience[np.concatenate(who)] *= stamina
    border = first_of[:, None] + size[:, None] * np.arange(n_threads + 1) // n_threads
    asleep, oldest, newest, n_waking = _sleepers(sleep, border, refractory)
    past = np.zeros((n_threads, delay.max() + delay.min() + 2, K))
    past[0] = rate * size * time_step
    activity = rate
    if before is not None:
        arrived = before / (size * time_step)
        for k in range(K):  # I(0) has seen the steps up to -2 - delay
            for spikes in arrived[: len(arrived) - 1 - delay[k], k]:
                activity = np.where(
                    np.arange(K) == k,
                    step["synaptic_decay"][k] * activity + (1.0 - step["synaptic_decay"][k]) * spikes,
                    activity,
                )
        steps = np.arange(-min(past.shape[1], len(before)), 0)
        past[0, steps % past.shape[1]] = before[steps]
    filtered = np.tile(activity, (n_threads, 1))
    n = np.zeros((n_threads, len(drive), K), dtype=np.int64)

    def advance_share(thread, meet):
        first, stop = border[:, thread], border[:, thread + 1]
        room = np.sum(np.clip(first_of + n_recorded, first, stop) - first)  # for one step
        buffer = np.empty((2, min(max(_SPIKES_AT_ONCE, at_once * room), n_steps * room)), dtype=np.int64)
        pieces, n_spikes = [], 0
        for start in range(0, n_steps, at_once):
            if n_spikes + at_once * room > buffer.shape[1]:
                pieces.append(buffer[:, :n_spikes].copy())
                n_spikes = 0
            n_spikes = microscopic.advance(
                thread, start, min(start + at_once, n_steps), steps_per_bin, warm_up, time_step,
                step["leak"], step["drive_gain"], step["synaptic_gain"], step["synaptic_decay"], parameters.J,
                parameters.u_rest, step["offset"], refractory, delay, parameters.n_neurons, drive, key, border,
                n_recorded, stamina, V, patience, n_spikes_of, asleep, oldest, newest, n_waking, filtered, past, n,
                n_spikes, buffer[0], buffer[1],
            )  # fmt: skip
            meet()
        return [*pieces, buffer[:, :n_spikes]]

    pieces = _in_step(n_threads, advance_share)
    return n.sum(axis=0), np.hstack([piece for share in pieces for piece in share])


def _renewal_state(settled, leak, offset, r, n_neurons, rng):
    """Potential before step 0 and steps still refractory, of a population whose potential tends to `settled`.

    The age a at step 0 (the last spike was in step -a) has a probability proportional to S(a), the survival of the
    steps before 0 (renewal theory: Gerstner et al., Neuronal Dynamics, chapter 14). Once a reset is forgotten the
    hazard is constant, and the tail of the sum geometric.
    """
    log_leak = math.log(leak)
    n_ages = r + 2 + math.ceil(-_SETTLED_LOG / log_leak)
    since_release = np.arange(n_ages) - r  # of a neuron whose age at step -1 is 0, 1, …: at step 0 it is one more
    potential = settled * -np.expm1(np.maximum(since_release, 0) * log_leak)
    hazard = np.where(since_release > 0, np.exp(np.minimum(potential - offset, 700.0)), 0.0)
    survival = np.exp(-np.cumsum(hazard))
    p_settled = -math.expm1(-math.exp(min(settled - offset, 700.0)))
    tail = survival[-1] / p_settled if p_settled > 0 else math.inf
    if math.isinf(tail):
        share = np.append(np.zeros(n_ages), 1.0)
    else:
        share = np.append(survival, tail * (1.0 - p_settled))
    cumulative = np.cumsum(share) / np.sum(share)
    age = np.minimum(np.searchsorted(cumulative, rng.random(n_neurons), side="right"), n_ages)  # n_ages: settled
    return np.append(potential, settled)[age], np.maximum(r - age, 0).astype(np.int32)


def _potential_of_interval(interval, leak, offset, r):
    """The constant input (mV) under which a neuron's mean interval between spikes is so many steps."""

    def too_long(settled):
        ages = np.arange(int(4 * interval) + r + 1)
        potential = settled * -np.expm1(np.maximum(ages - r, 0) * np.log(leak))
        hazard = np.where(ages > r, np.exp(np.minimum(potential - offset, 700.0)), 0.0)
        return np.exp(-np.cumsum(hazard)).sum() > interval

    low, high = 0.0, 1.0
    while too_long(high):
        high *= 2.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if too_long(middle) else (low, middle)
    return high


def _sleepers(sleep, border, refractory):
    """The rings of refractory neurons at step 0 from the steps that each has still to sleep (N,)."""
    K, n_threads = border.shape[0], border.shape[1] - 1
    asleep, oldest = np.empty(sleep.size, dtype=np.uint32), border[:, :-1].T.copy()
    newest, n_waking = oldest.copy(), np.zeros((n_threads, K, refractory.max() + 1), dtype=np.int64)
    for thread, k in np.ndindex(n_threads, K):
        first, stop = border[k, thread], border[k, thread + 1]
        sleepers = first + np.flatnonzero(sleep[first:stop])
        sleepers = sleepers[np.argsort(sleep[sleepers], kind="stable")]
        asleep[first : first + sleepers.size] = sleepers
        newest[thread, k] = first + sleepers.size % max(stop - first, 1)
        n_waking[thread, k] = np.bincount(sleep[sleepers], minlength=n_waking.shape[2])
    return asleep, oldest, newest, n_waking


def _in_step(n_threads, work):
    """Results of work(thread, meet) in as many threads, where ``meet()`` returns once all of them have called it."""
    if n_threads == 1:
        return [work(0, lambda: None)]
    barrier = threading.Barrier(n_threads)

    def guarded(thread):
        try:
            return work(thread, barrier.wait)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(n_threads) as pool:
        futures = [pool.submit(guarded, thread) for thread in range(n_threads)]
        try:
            wait(futures)
        finally:
            barrier.abort()  # after Ctrl-C, threads end when they meet next
    failures = [future.exception() for future in futures if future.exception()]
    for failure in sorted(failures, key=lambda failure: isinstance(failure, threading.BrokenBarrierError)):
        raise failure  # the cause, not the barrier that others found broken
    return [future.result() for future in futures]
