"""Does a fit recover a circuit? The three-population network, a few recorded neurons, random starts, marks to beat."""

import numpy as np
import quantities as pq
from scipy.optimize import minimize

from ..parameters import ParameterSpace, parameters_of
from .baselines import constant_rates_log_likelihood
from .circuits import winner_take_all

BIN_SIZE = 4 * pq.ms  # as in the paper
# A state of the winner-take-all network: the rates of its two excitatory populations, averaged over 100 ms, differ by
# more than 5 Hz.
STATE_WINDOW, STATE_DIFFERENCE = 0.1, 5.0
TIME_CONSTANTS = (0.02, 0.05, 0.1, 0.2, 0.4)  # s, tried for the causal smoothing


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
    from ..simulation import simulate_mesoscopic

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


def causal_poisson_log_likelihood(training, test, labels, bin_size):
    """log p of `test` under Poisson neurons with rate a + b times the smoothed past spikes of their population.

    A smoothed-rate model that is a density (it predicts every bin from the bins before); a, b per population and the
    time constant are those with the highest likelihood on `training`.

    Parameters
    ----------
    training, test : numpy.ndarray, shape (n_bins, n_neurons)
    labels : numpy.ndarray of int
    bin_size : float, s

    Returns
    -------
    float, nats
    """
    labels = np.asarray(labels)
    total = 0.0
    for k in np.unique(labels):
        fits = []
        for tau in TIME_CONSTANTS:
            past, pooled = _smoothed_past(training[:, labels == k], tau, bin_size)
            cost = _poisson_cost(past, pooled, np.sum(labels == k), bin_size)
            fit = minimize(cost, [pooled.mean() / (np.sum(labels == k) * bin_size) / 2, 0.5], method="Nelder-Mead")
            fits.append((fit.fun, tau, fit.x))
        _, tau, x = min(fits, key=lambda f: f[0])
        past, pooled = _smoothed_past(test[:, labels == k], tau, bin_size)
        total -= _poisson_cost(past, pooled, np.sum(labels == k), bin_size)(x)
    return float(total)


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
        JSON-able: held-out log-likelihoods (``fit``, ``truth``, ``start`` (the best of the random starts),
        ``causal_poisson``, ``constant``), ``r`` over the excitatory populations (``fit``, ``truth``, ``smoothing`` with
        the width chosen by the data, ``best_smoothing`` with hindsight), ``bistable``, ``switches_per_100s`` of the
        fit, of the model at the true parameters and of the
        spiking network, ``ratios`` of
        fitted to true values.
    """
    from ..binning import bin_recording
    from ..estimator import NeuLVM
    from ..inference.initialization import WIDTHS, smoothed_activity
    from ..inference.particles import log_likelihood, particle_filter
    from ..likelihood import Observation
    from ..recording import SpikeRecording
    from ..simulation import simulate_mesoscopic, simulate_microscopic

    circuit = winner_take_all()
    space, dt = ParameterSpace(circuit), float(BIN_SIZE.rescale(pq.s))
    simulation_seed, fit_seed, score_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(3))
    truth = simulate_microscopic(
        circuit, duration=2 * seconds * pq.s, bin_size=BIN_SIZE, n_recorded=n_recorded, random_state=simulation_seed
    )
    (counts,) = bin_recording(SpikeRecording.from_neo(truth.spiketrains), dt)
    labels = np.repeat(np.arange(3), n_recorded)
    half = len(counts) // 2
    training, test = counts[:half], counts[half:]
    drawn = []

    def start(rng, circuit, counts, labels, bin_size):
        parameters = space.unpack(space.draw(rng))
        drawn.append(parameters)
        return parameters

    model = NeuLVM(
        circuit,
        labels=labels,
        bin_size=BIN_SIZE,
        scheme=scheme,
        method=method,
        start=start,
        random_state=fit_seed,
        n_jobs=n_jobs,
        verbose=verbose,
        **settings,
    ).fit(training)
    held_out = Observation.from_counts(test, labels, 3, np.ones(3))

    def score(parameters):
        return log_likelihood(
            parameters,
            [held_out],
            model.histories_,
            bin_size=dt,
            scheme=scheme,
            rng=np.random.default_rng(score_seed),
            n_particles=1000,
        )[0]

    true_parameters = parameters_of(circuit)
    at_truth = particle_filter(
        true_parameters,
        Observation.from_counts(training, labels, 3, np.ones(3)),
        model.histories_,
        bin_size=dt,
        scheme=scheme,
        rng=np.random.default_rng(score_seed),
        n_particles=1000,
    )
    true_activity = truth.activity[:half, :2]

    def r(inferred):
        return float(np.corrcoef(inferred[:, :2].ravel(), true_activity.ravel())[0, 1])

    smooth = {w: smoothed_activity([training], labels, 3, dt, w)[0][0] for w in WIDTHS}
    runs = {
        name: simulate_mesoscopic(c, duration=100 * pq.s, bin_size=BIN_SIZE, scheme=scheme, random_state=score_seed)
        for name, c in (("fit", model.circuit_), ("model_at_truth", circuit))
    }
    runs["network"] = simulate_microscopic(circuit, duration=100 * pq.s, bin_size=BIN_SIZE, random_state=score_seed)
    fitted = space.values(space.pack(parameters_of(model.circuit_)))
    return {
        "seed": int(seed),
        "held_out": {
            "fit": score(parameters_of(model.circuit_)),
            "truth": score(true_parameters),
            "start": max(score(parameters) for parameters in drawn),
            "causal_poisson": causal_poisson_log_likelihood(training, test, labels, dt),
            "constant": constant_rates_log_likelihood([test], [training]),
        },
        "r": {
            "fit": r(model.activity_),
            "truth": r(at_truth.n / true_parameters.n_neurons),
            "smoothing": r(smoothed_activity([training], labels, 3, dt)[0][0]),
            "best_smoothing": max(r(activity) for activity in smooth.values()),
        },
        "bistable": is_bistable(model.circuit_, scheme=scheme, random_state=score_seed),
        "switches_in_training": count_switches(truth.activity[:half], dt),
        "switches_per_100s": {name: count_switches(run.activity, run.bin_size) for name, run in runs.items()},
        "log_likelihood": model.log_likelihood_,
        "n_iter": model.n_iter_,
        "status": model.result_.status,
        "ratios": dict(zip(space.names, (fitted / space.values(space.pack(true_parameters))).tolist(), strict=True)),
    }


def _smoothed_past(counts, tau, bin_size):
    pooled = counts.sum(axis=1)
    keep = np.exp(-bin_size / tau)
    past = np.empty(len(pooled))
    level = pooled.mean()
    for t, n in enumerate(pooled):
        past[t] = level
        level = keep * level + (1 - keep) * n
    return past / (counts.shape[1] * bin_size), pooled


def _poisson_cost(past, pooled, n_neurons, bin_size):
    """-log p, where more than one spike per neuron and bin does not occur.

    Each neuron fires with probability 1 - exp(-rate Δt).
    """

    def cost(x):
        hazard = np.maximum(x[0] + x[1] * past, 0.05) * bin_size
        return -float(np.sum(pooled * np.log(-np.expm1(-hazard)) - (n_neurons - pooled) * hazard))

    return cost
