"""One circuit, simulated on two scales: neuron by neuron, and as spike counts of whole populations."""

import math
from typing import NamedTuple

import numpy as np

from . import units
from .agreement import warn_of_coarse_bins
from .inference.particles import particle_filter
from .likelihood import Observation
from .network import asynchronous_start, clustered_start, run_network
from .parameters import parameters_of
from .results import PopulationActivity

INTEGRATIONS = ("exact", "euler")
_TIME_STEP = 0.0002  # s, as in the paper
_BIN_SIZE = 0.002  # s
_INITIAL_RATE = 10.0  # Hz; neither silent nor saturated
_WARM_UP = 0.5  # s, many membrane and synaptic time constants
_SAME_TIME = 1e-6  # relative; 0.3 s is not bit for bit 150 bins of 2 ms


def simulate_microscopic(
    circuit, *, duration, bin_size=None, time_step=None, integration="exact", stimulus=None, n_recorded=None,
    excitability=None, initial_rate=None, initial_clusters=None, warm_up=None, t_start=None, random_state=None,
    n_jobs=None,
):  # fmt: skip
    """Simulate every neuron of a circuit.

    The ground truth that mesoscopic models are compared with: leaky integrate-and-fire neurons with escape noise, each
    firing in a step with probability 1 - exp(-Δt exp(u - ϑ)), reset to 0 mV and silent for the refractory period (see
    `Circuit`).

    Parameters
    ----------
    circuit : Circuit
    duration : Quantity, time
        A whole number of bins.
    bin_size : Quantity, time, optional
        Width of the bins in which spikes are counted, a whole number of steps; default 2 ms.
    time_step : Quantity, time, optional
        Δt of the simulation; default 0.2 ms. Refractory periods and delays are rounded to whole steps; a spike acts on
        others in the step after it, plus the delay.
    integration : {"exact", "euler"}
        ``"exact"``: the membrane decays by exp(-Δt/τ_m) per step. ``"euler"``: by 1 - Δt/τ_m, as in the paper's
        networks, whose rates differ by a few per cent at 0.2 ms (a membrane of 19.9 instead of 20 ms).
    stimulus : None, Quantity, neo.AnalogSignal or callable, optional
        External drive, constant within each bin; `units.stimulus_millivolts` explains every form. A callable receives
        the centres of the bins.
    n_recorded : int or sequence of int, shape (n_populations,), optional
        How many neurons of every population to record; default none. A ``neo.SpikeTrain`` takes 0.1 ms and 4 kB, so
        that it is not for every one of a million neurons.
    excitability : array, shape (number of recorded neurons,), optional
        Hazards of the recorded neurons, population after population, as multiples of the hazard that other neurons of
        their population have at the same potential: thresholds of their own, lower by ln(excitability) mV. Default 1.
    initial_rate : Quantity, Hz, scalar or shape (n_populations,), optional
        Asynchronous start: until now every population fired at this constant rate, synapses and membranes are adapted
        to it, and the ages of the neurons are drawn from what renewal theory expects under that constant input.
        Default 10 Hz.
    initial_clusters : int, optional
        Start in clusters instead: the neurons of every population fire once per 1 / `initial_rate`, in so many groups
        of equal size at equal distances, each spread over 1 ms (standard deviation).
    warm_up : Quantity, time, optional
        Simulated before `t_start` under the stimulus of the first bin, and thrown away (rounded to whole steps).
        Default 500 ms, but 0 ms where `initial_rate` says how to start.
    t_start : Quantity, time, optional
        Time of the left edge of the first bin; default 0 s.
    random_state : None, int, numpy.random.Generator, numpy.random.RandomState or numpy.random.SeedSequence
        The same seed gives the same spikes. Recording more neurons does not change them, nor does `n_jobs`.
    n_jobs : int, optional
        Threads that share the neurons where these are so many that it pays (from 100,000, or fewer if all delays are
        several steps long); None is 1, -1 one per core.

    Returns
    -------
    PopulationActivity
        Spike counts ``n`` (n_bins, n_populations) of whole populations and, with `n_recorded`, ``spiketrains``:
        population after population, with annotations ``population`` and ``unit_id`` (0, 1, …); a spike lies in the
        middle of its time step.

    Raises
    ------
    TypeError, ValueError
        If a unit is missing or wrong, the times do not fit each other, or an argument does not fit the circuit.

    References
    ----------
    Wang, Schmutz, Bellec, Gerstner, NeurIPS 2022, Appendix A. Schwalger, Deger, Gerstner, PLoS Comput Biol 2017.

    Examples
    --------
    >>> import quantities as pq
    >>> from neulvm_neo import Circuit
    >>> run = simulate_microscopic(Circuit([100]), duration=1 * pq.s, n_recorded=3, random_state=1)
    >>> run.n.shape, len(run.spiketrains)
    ((500, 1), 3)
    """
    grid = _grid(duration, bin_size, time_step, warm_up, t_start, settled=initial_rate is None)
    parameters = parameters_of(circuit)
    step = _coefficients(parameters, grid.time_step, integration)
    resistance = None if circuit.resistance is None else units.to_megohms(circuit.resistance, "resistance")
    drive = units.stimulus_millivolts(
        stimulus, resistance, grid.n_bins, grid.bin_size, circuit.n_populations, grid.t_start
    )
    rate = _initial_rates(initial_rate, circuit.n_populations)
    recorded = _recorded(n_recorded, circuit)
    stamina = _stamina(excitability, recorded)
    max_threads = _threads(n_jobs)
    rng = generator_from(random_state)
    key = rng.integers(0, 2**64, size=2, dtype=np.uint64)
    before = None
    if initial_clusters is None:
        V, sleep = asynchronous_start(parameters, step, drive[0], rate, rng)
    else:
        _check_clusters(initial_clusters, initial_rate)
        V, sleep, before = clustered_start(parameters, step, rate, initial_clusters, rng, time_step=grid.time_step)
    n, spikes = run_network(
        parameters, step, drive, rate, V, sleep, recorded, time_step=grid.time_step, steps_per_bin=grid.steps_per_bin,
        warm_up=grid.warm_up, key=key, max_threads=max_threads, before=before, stamina=stamina,
    )  # fmt: skip
    trains = None if n_recorded is None else _spike_trains(spikes, recorded, circuit, grid)
    return PopulationActivity(n, circuit.n_neurons, grid.bin_size, grid.t_start, circuit.names, spiketrains=trains)


def simulate_mesoscopic(
    circuit, *, duration, bin_size=None, scheme="second-order", noise="binomial", stimulus=None, initial_rate=None,
    warm_up=None, t_start=None, random_state=None,
):  # fmt: skip
    """Simulate the spike counts of whole populations, without their neurons.

    The generative model that a `NeuLVM` fits: in every bin each population fires a binomial number of spikes,
    where n̄ is expected from its past activity, the ages of its neurons and their input. It takes milliseconds per
    second simulated, whatever the population sizes.

    Parameters
    ----------
    circuit : Circuit
    duration : Quantity, time
        A whole number of bins.
    bin_size : Quantity, time, optional
        Time step of the model; default 2 ms.
    scheme : {"second-order", "exponential", "euler"}
        How time is stepped: with an error that falls as Δt², so that bins of 2 ms have the rates of the spiking network
        (``integration="exact"``); or by the first-order step of the paper, whose activity at bins of some ms differs
        markedly from the network's; or by the latter with the membrane's exact decay exp(-Δt/τ_m). The first-order
        steps round refractory periods and delays to whole bins.
    noise : {"binomial", "cohorts"}
        Whether counts scatter as if all neurons of a population were equally likely to fire, or as those of cohorts do,
        each with its own probability: less, above all where neurons fire in step (see Notes).
    stimulus, initial_rate, t_start, random_state
        As in `simulate_microscopic`.
    warm_up : Quantity, time, optional
        As in `simulate_microscopic`, rounded to whole bins.

    Warns
    -----
    CoarseBinsWarning
        If the stimulus moves potentials by more than 1.5 mV within a bin.

    Returns
    -------
    PopulationActivity
        Counts ``n`` and their expectations given the past, ``n_bar``, both (n_bins, n_populations).

    Raises
    ------
    TypeError, ValueError
        If a unit is missing or wrong, the times do not fit each other, or an argument does not fit the circuit.

    Notes
    -----
    A particle filter that sees no neuron simulates: this is one particle of it, so that the model that is simulated and
    the one that is fitted are the same code.

    ``noise="cohorts"`` keeps the mean and gives the counts the variance of cohorts that fire independently. In a
    population of 600 neurons that fires in clusters (bins of 1 ms) the variance is 0.3 times the binomial's, and the
    spiking network's is that, too. It needs spikes that do not act on the bin they fall in: a first-order scheme, or
    delays of a bin or more.

    References
    ----------
    Wang, Schmutz, Bellec, Gerstner, NeurIPS 2022, eqs. 2 to 6. Schwalger, Deger, Gerstner, PLoS Comput Biol 2017.

    Examples
    --------
    >>> import quantities as pq
    >>> from neulvm_neo import Circuit
    >>> run = simulate_mesoscopic(Circuit([100]), duration=1 * pq.s, random_state=1)
    >>> run.n.shape, bool(3 < run.activity.mean() < 7)
    ((500, 1), True)
    """
    bin_size = units.milliseconds(_BIN_SIZE) if bin_size is None else bin_size
    grid = _grid(duration, bin_size, bin_size, warm_up, t_start, settled=initial_rate is None)
    resistance = None if circuit.resistance is None else units.to_megohms(circuit.resistance, "resistance")
    drive = units.stimulus_millivolts(
        stimulus, resistance, grid.n_bins, grid.bin_size, circuit.n_populations, grid.t_start
    )
    warn_of_coarse_bins([drive], circuit, grid.bin_size, stacklevel=3)
    rate = _initial_rates(initial_rate, circuit.n_populations)
    drive = np.concatenate([np.repeat(drive[:1], grid.warm_up, axis=0), drive])
    nobody = Observation((), np.zeros(0, dtype=np.int64), len(drive), drive, rate)
    run = particle_filter(
        parameters_of(circuit), nobody, rate[None, :], bin_size=grid.bin_size, rng=generator_from(random_state),
        scheme=scheme, noise=noise, n_particles=1, clusters=False,
    )  # fmt: skip
    n, n_bar = run.n[grid.warm_up :], run.n_bar[grid.warm_up :]
    return PopulationActivity(n, circuit.n_neurons, grid.bin_size, grid.t_start, circuit.names, n_bar=n_bar)


def generator_from(random_state):
    """A ``numpy.random.Generator`` from any of the forms in which users hold randomness.

    Parameters
    ----------
    random_state : None, int, numpy.random.Generator, numpy.random.RandomState or numpy.random.SeedSequence
        A Generator is used as it is (and advances); a RandomState gives the seed (and advances).

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> generator_from(3).random() == generator_from(3).random()
    True
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=4, dtype=np.uint32))
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError):
        expected = "None, a whole number of at least 0, a numpy Generator, RandomState or SeedSequence"
        raise ValueError(f"random_state is {random_state!r}; expected {expected}.") from None


class _Grid(NamedTuple):
    time_step: float  # s
    bin_size: float  # s
    steps_per_bin: int
    n_bins: int
    warm_up: int  # steps
    t_start: float  # s


def _grid(duration, bin_size, time_step, warm_up, t_start, settled):
    width = _BIN_SIZE if bin_size is None else _scalar(units.to_seconds(bin_size, "bin_size"), "bin_size", above=0.0)
    dt = _TIME_STEP if time_step is None else _scalar(units.to_seconds(time_step, "time_step"), "time_step", above=0.0)
    length = _scalar(units.to_seconds(duration, "duration"), "duration", above=0.0)
    if warm_up is None:
        before = _WARM_UP if settled else 0.0
    else:
        before = _scalar(units.to_seconds(warm_up, "warm_up"), "warm_up", least=0.0)
    start = 0.0 if t_start is None else _scalar(units.to_seconds(t_start, "t_start"), "t_start")
    steps_per_bin = _whole(width, dt, "bin_size", "time_step")
    n_bins = _whole(length, width, "duration", "bin_size")
    return _Grid(width / steps_per_bin, width, steps_per_bin, n_bins, round(before / dt), start)


def _scalar(value, name, above=-math.inf, least=-math.inf):
    if value.ndim or not np.isfinite(value) or value <= above or value < least:
        rule = "above 0" if above == 0 else "of at least 0" if least == 0 else "that is finite"
        raise ValueError(f"{name} is {value.tolist()} s; expected one time {rule}.")
    return float(value)


def _whole(length, unit, name, unit_name):
    count = round(length / unit)
    if count < 1 or abs(length - count * unit) > _SAME_TIME * unit * max(count, 1):
        raise ValueError(
            f"{name} {length * 1e3:.10g} ms is not a whole number of {unit_name} ({unit * 1e3:.10g} ms); "
            f"try {max(count, 1) * unit * 1e3:.10g} ms."
        )
    return count


def _coefficients(parameters, dt, integration):
    if integration == "exact":
        leak = np.exp(np.maximum(-dt / parameters.tau_m, math.log(np.finfo(float).tiny)))  # never 0
        synaptic_gain = -parameters.tau_m * np.expm1(-dt / parameters.tau_m)
    elif integration == "euler":
        if np.any(parameters.tau_m <= dt):
            raise ValueError(
                f"time_step {dt * 1e3:g} ms is not below tau_m {parameters.tau_m.min() * 1e3:g} ms, which Euler's "
                'method needs; take smaller steps or integration="exact".'
            )
        leak = 1.0 - dt / parameters.tau_m
        synaptic_gain = np.full_like(parameters.tau_m, dt)
    else:
        raise ValueError(f"integration is {integration!r}; expected one of {', '.join(INTEGRATIONS)}.")
    return {
        "leak": leak,
        "drive_gain": 1.0 - leak,
        "synaptic_gain": synaptic_gain,
        "synaptic_decay": np.exp(-dt / parameters.tau_syn),
        "offset": parameters.threshold - math.log(dt),
        "refractory_steps": np.rint(parameters.t_ref / dt).astype(np.int64),
        "delay_steps": np.rint(parameters.delay / dt).astype(np.int64),
    }


def _check_clusters(initial_clusters, initial_rate):
    if not isinstance(initial_clusters, (int, np.integer)) or initial_clusters < 1:
        raise ValueError(f"initial_clusters is {initial_clusters!r}; expected a whole number of at least 1.")
    if initial_rate is None:
        raise ValueError("initial_clusters needs initial_rate: clusters fire once per 1 / initial_rate.")


def _initial_rates(initial_rate, n_populations):
    rate = np.array(_INITIAL_RATE) if initial_rate is None else units.to_hertz(initial_rate, "initial_rate")
    if rate.shape not in ((), (n_populations,)) or not np.all(np.isfinite(rate)) or np.any(rate < 0):
        raise ValueError(f"initial_rate is {rate.tolist()} Hz; expected one or {n_populations} rates of at least 0.")
    return np.array(np.broadcast_to(rate, (n_populations,)))


def _recorded(n_recorded, circuit):
    recorded = np.asarray(0 if n_recorded is None else n_recorded)
    fits = recorded.shape in ((), (circuit.n_populations,)) and np.issubdtype(recorded.dtype, np.integer)
    if not fits or np.any(recorded < 0) or np.any(recorded > circuit.n_neurons):
        raise ValueError(
            f"n_recorded is {n_recorded!r}; expected one whole number, or one per population, "
            f"between 0 and the population sizes {circuit.n_neurons.tolist()}."
        )
    return np.array(np.broadcast_to(recorded, (circuit.n_populations,)), dtype=np.int64)


def _stamina(excitability, recorded):
    """Mean patience of the recorded neurons, or None if nothing is said of them."""
    if excitability is None:
        return None
    given = np.asarray(excitability, dtype=float)
    if given.shape != (recorded.sum(),):
        raise ValueError(
            f"excitability has the shape {given.shape}, expected ({recorded.sum()},): one number per recorded neuron "
            "(n_recorded)."
        )
    if not np.all((given > 0) & np.isfinite(given)):
        raise ValueError(f"excitability is {given.tolist()}; expected positive, finite numbers.")
    return 1.0 / given


def _threads(n_jobs):
    whole = n_jobs is None or isinstance(n_jobs, (int, np.integer)) and not isinstance(n_jobs, bool)
    if not whole or n_jobs == 0:
        raise ValueError(f"n_jobs is {n_jobs!r}; expected None, a number of threads, or -1 for one per core.")
    if n_jobs in (None, 1):
        return 1
    import joblib

    return joblib.effective_n_jobs(n_jobs)


def _spike_trains(spikes, recorded, circuit, grid):
    t_stop = grid.t_start + grid.n_bins * grid.bin_size
    order = np.argsort(spikes[1], kind="stable")
    times = grid.t_start + (spikes[0][order] - grid.warm_up + 0.5) * grid.time_step
    first = np.concatenate([[0], np.cumsum(circuit.n_neurons)[:-1]])
    neurons = np.concatenate([first[k] + np.arange(recorded[k]) for k in range(first.size)])
    ends = np.searchsorted(spikes[1][order], neurons, side="right")
    starts = np.concatenate([[0], ends])[:-1]
    return [
        units.spike_train(times[start:end], grid.t_start, t_stop, population=name, unit_id=i)
        for i, (start, end, name) in enumerate(zip(starts, ends, np.repeat(circuit.names, recorded), strict=True))
    ]
