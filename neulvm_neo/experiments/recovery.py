"""Does a fit recover a circuit? The three-population network, a few recorded neurons, random starts, marks to beat."""

import json
import logging
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import quantities as pq

from .. import kinds
from ..binning import bin_recording
from ..estimator import NeuLVM
from ..inference.initialization import WIDTHS, past_rates, smoothed_activity
from ..inference.particles import log_likelihood, particle_filter
from ..likelihood import Observation
from ..parameters import ParameterSpace, circuit_with, parameters_of
from ..recording import SpikeRecording
from ..simulation import simulate_mesoscopic, simulate_microscopic
from .baselines import causal_poisson_log_likelihood, constant_rates_log_likelihood
from .circuits import winner_take_all

log = logging.getLogger(__name__)

BIN_SIZE = 4 * pq.ms  # as in the paper
# A state of the winner-take-all network: the rates of its two excitatory populations, averaged over 100 ms, differ by
# more than 5 Hz.
STATE_WINDOW, STATE_DIFFERENCE = 0.1, 5.0
SESSION, TRIAL = 500.0, 10.0  # s, of the study
HISTORY_WIDTH, N_HISTORIES = 0.04, 256  # s; of the activities that held-out data may start from


def winners(activity, bin_size):
    """Which excitatory population leads in every window of 100 ms: 1, -1, or 0 where neither does clearly.

    Parameters
    ----------
    activity : numpy.ndarray, shape (n_bins, n_populations), Hz
        The first two columns compete.
    bin_size : float, s

    Returns
    -------
    numpy.ndarray of int, shape (n_windows,)
    """
    length = int(round(STATE_WINDOW / bin_size))
    n_windows = len(activity) // length
    mean = activity[: n_windows * length].reshape(n_windows, length, -1).mean(axis=1)
    difference = mean[:, 0] - mean[:, 1]
    return np.where(difference > STATE_DIFFERENCE, 1, np.where(difference < -STATE_DIFFERENCE, -1, 0))


def count_switches(activity, bin_size):
    """How often the lead changes hands; see `winners`.

    >>> a = np.repeat([[20.0, 5.0], [12.0, 11.0], [5.0, 20.0], [4.0, 20.0]], 50, axis=0)
    >>> count_switches(a, 0.002)
    1
    """
    lead = winners(activity, bin_size)
    lead = lead[lead != 0]
    return int(np.count_nonzero(np.diff(lead)))


def is_bistable(circuit, *, scheme, bin_size=BIN_SIZE, rates=(19.0, 6.0, 25.0), random_state=0):
    """Whether both winners hold on in free simulations.

    Two runs of 50 s, one started in either state. Bistable: each winner leads in at least a tenth of all windows, and
    leads last half a second or more on average. A network with one state leaves the other at once and for good; one
    that never switches stays where it was started and counts as bistable.

    Parameters
    ----------
    circuit : Circuit
        Two excitatory populations, then an inhibitory one.
    rates : (high, low, inhibitory), Hz
        Activity before the start; the first two are exchanged for the other state.

    Returns
    -------
    bool
    """
    rng = np.random.default_rng(random_state)
    high, low, inhibitory = rates
    leads, n_leads = [], 0
    for start in ((high, low, inhibitory), (low, high, inhibitory)):
        run = simulate_mesoscopic(
            circuit, duration=50 * pq.s, bin_size=bin_size, scheme=scheme, initial_rate=start * pq.Hz, random_state=rng
        )
        leads.append(winners(run.activity, run.bin_size))
        n_leads += count_switches(run.activity, run.bin_size) + 1
    leads = np.concatenate(leads)
    shares = min(np.mean(leads == 1), np.mean(leads == -1))
    return bool(shares >= 0.1 and np.count_nonzero(leads) * STATE_WINDOW / n_leads >= 0.5)


def recover(
    seed, *, seconds=10.0, n_recorded=3, scheme="second-order", method="smc", n_jobs=None, verbose=0, **settings
):
    """Simulate, fit from random starts, and compare with the truth and with what needs no model.

    Parameters
    ----------
    seed : int
        Of the simulation, the choice of neurons and the fit.
    seconds : float
        Length of the training data and of the held-out data (two stretches of one simulation).
    n_recorded : int
        Neurons per population.
    scheme, method, n_jobs, verbose, **settings
        Of `NeuLVM`. Starts are drawn from 0.4 to 2 times the true values of the twelve free parameters.

    Returns
    -------
    dict
        JSON-able: held-out log-likelihoods per stretch of `seconds` (``fit``, ``truth``, ``start`` (the best of the
        random starts), ``causal_poisson``, ``constant``), ``training`` (``fit`` and ``truth``), ``r`` over the
        excitatory populations (``fit``, ``truth``, ``smoothing`` with the width chosen by the data, ``best_smoothing``
        with hindsight), ``bistable``, ``switches_per_100s`` of the fit, of the model at the true parameters and of the
        spiking network, ``ratios`` of fitted to true values, and whether each interval of the fit has the true value
        in it (``covered``).
    """
    simulation_seed, fit_seed, score_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(3))
    session = simulate_session(simulation_seed, 2 * seconds, n_recorded)
    stretches = np.split(np.arange(len(session.counts)), 2)
    result = _fit_and_compare(
        session, stretches[0], stretches[1:], fit_seed, score_seed,
        scheme=scheme, method=method, n_jobs=n_jobs, verbose=verbose, **settings,
    )  # fmt: skip
    network = simulate_microscopic(winner_take_all(), duration=100 * pq.s, bin_size=BIN_SIZE, random_state=score_seed)
    result["switches_per_100s"]["network"] = count_switches(network.activity, network.bin_size)
    return {"seed": int(seed), **result}


def study(seed, *, n_trials=20, trials=None, n_recorded=3, circuits=None, path=None, **settings):
    """Trials of 10 s, cut from one simulation of 500 s, each fitted by itself from random starts.

    Trial i is stretch 2 i; the held-out data of its fit are the stretch after it and the one half the simulation away.

    Parameters
    ----------
    seed : int
    n_trials : int
        Up to 25.
    trials : sequence of int, optional
        Do only these.
    n_recorded : int
        Neurons per population.
    circuits : sequence of Circuit, optional
        Take these for the fits of trials 0, 1, …: such as were made to the same stretches elsewhere, as those of the
        experiment "perturbation" with the same seed were (`circuits_of`). There are no intervals then.
    path : path-like, optional
        JSON file that is rewritten after every trial.
    **settings
        Of `NeuLVM`, with "second-order" and "smc" as defaults.

    Returns
    -------
    dict
        ``trials`` as of `recover`, and their ``summary`` (see `summary`).

    Notes
    -----
    All of it, to a file (some hours on two cores)::

        python -c "from neulvm_neo.experiments.recovery import study; study(2026, path='recovery.json', n_jobs=2)"
    """
    simulation_seed, *seeds = (int(s) for s in np.random.SeedSequence(seed).generate_state(2 * n_trials + 1))
    session = simulate_session(simulation_seed, SESSION, n_recorded)
    stretches = np.split(np.arange(len(session.counts)), int(round(SESSION / TRIAL)))
    network = count_switches(session.activity, session.bin_size) * 100.0 / SESSION
    results = []
    for i in range(n_trials) if trials is None else trials:
        held_out = [stretches[2 * i + 1], stretches[(2 * i + len(stretches) // 2) % len(stretches)]]
        begun = time.perf_counter()
        how = {"scheme": "second-order", "method": "smc"} | settings
        if circuits is None:
            result = _fit_and_compare(session, stretches[2 * i], held_out, seeds[2 * i], seeds[2 * i + 1], **how)
        else:
            counts = session.counts[stretches[2 * i]]
            fit = _inferred(circuits[i], counts, session.labels, session.bin_size, how["scheme"], seeds[2 * i])
            result = _compare(fit, session, stretches[2 * i], held_out, seeds[2 * i + 1], how["scheme"])
        result["switches_per_100s"]["network"] = network
        results.append({"trial": int(i), "seconds": time.perf_counter() - begun, **result})
        found = {"seed": int(seed), "trials": results, "summary": summary(results)}
        if path is not None:
            Path(path).write_text(json.dumps(found, indent=1))
        log.info("trial %d: %s", i, found["summary"])
    return {"seed": int(seed), "trials": results, "summary": summary(results) if results else {}}


def circuits_of(result):
    """The fitted circuits of a run of the experiment "perturbation".

    Parameters
    ----------
    result : dict
        What its ``result.json`` holds.

    Returns
    -------
    list of Circuit

    Examples
    --------
    Measure the fits of a finished run::

        result = json.load(open("docs/results/perturbation/result.json"))
        study(result["seed"], circuits=circuits_of(result), path="recovery.json")
    """
    space = ParameterSpace(winner_take_all())
    return [circuit_with(space.circuit, space.unpack(space.theta_of(fit["values"]))) for fit in result["fits"]]


class Session(NamedTuple):
    """Counts of recorded neurons (n_bins, n_observed), activity in Hz (n_bins, K), labels, and the bin in s."""

    counts: np.ndarray
    activity: np.ndarray
    labels: np.ndarray
    bin_size: float


def simulate_session(seed, seconds=SESSION, n_recorded=3, integration="exact"):
    """The winner-take-all network, neuron by neuron, of which a few are recorded in bins of 4 ms.

    Parameters
    ----------
    seed : int
    seconds : float
    n_recorded : int
        Neurons per population.
    integration : {"exact", "euler"}
        See `simulate_microscopic`; the paper's network is "euler".

    Returns
    -------
    Session

    Examples
    --------
    >>> simulate_session(1, seconds=0.4).counts.shape
    (100, 9)
    """
    run = simulate_microscopic(
        winner_take_all(), duration=seconds * pq.s, bin_size=BIN_SIZE, n_recorded=n_recorded, integration=integration,
        random_state=seed,
    )  # fmt: skip
    bin_size = float(BIN_SIZE.rescale(pq.s))
    (counts,) = bin_recording(SpikeRecording.from_neo(run.spiketrains), bin_size)
    return Session(counts, run.activity, np.repeat(np.arange(3), n_recorded), bin_size)


def summary(results):
    """Means over fits, as of `recover`, of what a fit is asked for.

    Returns
    -------
    dict
        ``r`` and ``r_sd`` of the inferred activity, ``r_above_smoothing`` (best kernel with hindsight),
        ``switch_ratio`` (mean of the fits' switches over those of the spiking network), ``switch_ratio_to_model`` (over
        the model's at the true parameters), ``n_silent_or_stuck`` (fits that never switch in 100 s or do not have both
        states), ``held_out_below_truth`` and ``training_above_truth`` (nats), ``coverage`` of the intervals, and
        ``log_ratio_rms`` of every value.
    """

    def mean(of):
        return float(np.mean([of(result) for result in results]))

    fitted = [result["switches_per_100s"]["fit"] for result in results]
    covered = [inside for result in results for inside in result["covered"].values()]
    names = results[0]["ratios"]
    return {
        "n": len(results),
        "r": mean(lambda result: result["r"]["fit"]),
        "r_sd": float(np.std([result["r"]["fit"] for result in results])),
        "r_above_smoothing": mean(lambda result: result["r"]["fit"] - result["r"]["best_smoothing"]),
        "switch_ratio": float(np.mean(fitted)) / mean(lambda result: result["switches_per_100s"]["network"]),
        "switch_ratio_to_model": float(np.mean(fitted))
        / mean(lambda result: result["switches_per_100s"]["model_at_truth"]),
        "n_silent_or_stuck": sum(not (n and result["bistable"]) for n, result in zip(fitted, results, strict=True)),
        "held_out_below_truth": mean(lambda result: result["held_out"]["truth"] - result["held_out"]["fit"]),
        "training_above_truth": mean(lambda result: result["training"]["fit"] - result["training"]["truth"]),
        "coverage": float(np.mean(covered)) if covered else None,
        "log_ratio_rms": {
            name: float(np.sqrt(mean(lambda result, name=name: np.log(max(result["ratios"][name], 1e-3)) ** 2)))
            for name in names
        },
    }


class _Fit(NamedTuple):
    """What is compared: a fitted circuit, the activity that it infers (Hz), and how it came about."""

    circuit: object
    histories: np.ndarray
    activity: np.ndarray
    log_likelihood: float
    status: str
    n_iter: int | None = None
    uncertainty: object = None
    kinds: str = ""
    starts: tuple = ()  # values that the starts were drawn at


def _fit_and_compare(session, training, held_out, fit_seed, score_seed, *, scheme, method, **settings):
    """A fit to the bins `training`, measured on them and on every stretch of `held_out`."""
    circuit = winner_take_all()
    circuit = circuit.replace(spread=settings.pop("spread", circuit.spread))
    space, drawn = ParameterSpace(circuit), []

    def start(rng, circuit, counts, labels, bin_size):
        drawn.append(space.unpack(space.draw(rng)))
        return drawn[-1]

    model = NeuLVM(
        circuit, labels=session.labels, bin_size=BIN_SIZE, scheme=scheme, method=method, start=start,
        random_state=fit_seed, **settings,
    ).fit(session.counts[training])  # fmt: skip
    fit = _Fit(
        model.circuit_, model.histories_, model.activity_, model.log_likelihood_, model.result_.status, model.n_iter_,
        model.result_.uncertainty, " ".join(model.result_.kinds), tuple(drawn),
    )  # fmt: skip
    return _compare(fit, session, training, held_out, score_seed, scheme)


def _inferred(circuit, counts, labels, bin_size, scheme, seed):
    """A `_Fit` of a circuit that was fitted elsewhere to the same counts."""
    _, width = smoothed_activity([counts], labels, 3, bin_size)
    histories = past_rates([counts], labels, 3, bin_size, width)
    own = Observation.from_counts(counts, labels, 3, np.ones(3))
    found = particle_filter(
        parameters_of(circuit), own, histories, bin_size=bin_size, scheme=scheme, rng=np.random.default_rng(seed),
        n_particles=1000,
    )  # fmt: skip
    activity = found.n / (np.asarray(circuit.n_neurons) * bin_size)
    return _Fit(circuit, histories, activity, found.log_likelihood, "given")


def intervals_of(circuit, uncertainty):
    """By free value of a fit: lower end, upper end, whether the truth is inside. Empty where there are no intervals."""
    if uncertainty is None:
        return {}
    free = ParameterSpace(circuit)  # in which populations may be alike
    true = free.values(free.pack(kinds.shared(parameters_of(winner_take_all()), circuit)))
    ends = zip(uncertainty.names, uncertainty.lower, uncertainty.upper, true, strict=True)
    return {name: [float(low), float(high), bool(low <= value <= high)] for name, low, high, value in ends}


def _compare(fit, session, training, held_out, score_seed, scheme):
    """A fit to the bins `training`, measured on them and on every stretch of `held_out`."""
    circuit, labels, dt = winner_take_all(), session.labels, session.bin_size
    circuit = circuit.replace(spread=fit.circuit.spread)
    space = ParameterSpace(circuit)
    counts, true_activity = session.counts[training], session.activity[training, :2]
    fitted, truth = parameters_of(fit.circuit), parameters_of(circuit)
    # a held-out stretch may start in a state that the training data do not know: of all states of the simulation
    (everything,), _ = smoothed_activity([session.counts], labels, 3, dt, HISTORY_WIDTH)
    histories = everything[:: max(len(everything) // N_HISTORIES, 1)]
    observed = [Observation.from_counts(session.counts[bins], labels, 3, np.ones(3)) for bins in held_out]
    own = Observation.from_counts(counts, labels, 3, np.ones(3))

    def score(parameters, observations, histories=histories):
        return log_likelihood(
            parameters, observations, histories, bin_size=dt, scheme=scheme, rng=np.random.default_rng(score_seed),
            n_particles=1000,
        )[0] / len(observations)  # fmt: skip

    def r(inferred):
        return float(np.corrcoef(inferred[:, :2].ravel(), true_activity.ravel())[0, 1])

    at_truth = particle_filter(
        truth, own, fit.histories, bin_size=dt, scheme=scheme, rng=np.random.default_rng(score_seed),
        n_particles=1000,
    )  # fmt: skip
    smooth = {w: smoothed_activity([counts], labels, 3, dt, w)[0][0] for w in WIDTHS}
    runs = {
        name: simulate_mesoscopic(c, duration=100 * pq.s, bin_size=BIN_SIZE, scheme=scheme, random_state=score_seed)
        for name, c in (("fit", fit.circuit), ("model_at_truth", circuit))
    }
    values = {name: space.values(space.pack(p)) for name, p in (("fit", fitted), ("truth", truth))}
    tests = [session.counts[bins] for bins in held_out]
    return {
        "held_out": {
            "fit": score(fitted, observed),
            "truth": score(truth, observed),
            "start": max((score(parameters, observed) for parameters in fit.starts), default=None),
            "causal_poisson": float(
                np.mean([causal_poisson_log_likelihood(counts, test, labels, dt) for test in tests])
            ),
            "constant": constant_rates_log_likelihood(tests, [counts]) / len(tests),
        },
        "training": {
            "fit": score(fitted, [own], fit.histories),
            "truth": score(truth, [own], fit.histories),
            "log_prior": float(space.log_prior(space.pack(fitted))[0]),
        },
        "r": {
            "fit": r(fit.activity),
            "truth": r(at_truth.n / truth.n_neurons),
            "smoothing": r(smoothed_activity([counts], labels, 3, dt)[0][0]),
            "best_smoothing": max(r(activity) for activity in smooth.values()),
        },
        "bistable": is_bistable(fit.circuit, scheme=scheme, random_state=score_seed),
        "switches_in_training": count_switches(session.activity[training], dt),
        "switches_per_100s": {name: count_switches(run.activity, run.bin_size) for name, run in runs.items()},
        "log_likelihood": fit.log_likelihood,
        "n_iter": fit.n_iter,
        "status": fit.status,
        "ratios": dict(zip(space.names, (values["fit"] / values["truth"]).tolist(), strict=True)),
        "covered": {name: inside for name, (*_, inside) in intervals_of(fit.circuit, fit.uncertainty).items()},
        "kinds": fit.kinds,
        "undetermined": [] if fit.uncertainty is None else list(fit.uncertainty.undetermined),
    }
