"""How faithful the mesoscopic model is at the true parameters: to the spiking network, to Δt → 0, to a long memory.

Measured on the winner-take-all network unless said otherwise. Times are floats in s, rates in Hz.
"""

from dataclasses import dataclass
from typing import NamedTuple

import joblib
import numpy as np
import quantities as pq

from .. import discretization
from ..likelihood import FLOOR_RATE, FLOOR_VARIANCE, Observation, joint
from ..parameters import circuit_with, parameters_of
from ..simulation import generator_from, simulate_mesoscopic, simulate_microscopic
from . import renewal
from .circuits import single_population, winner_take_all
from .recovery import STATE_WINDOW, count_switches, winners

TIME_STEP = 0.0001  # s, of the spiking network where single bins count: half that of `simulate_microscopic`
FLUCTUATION_WINDOW = 0.02  # s, in which the spread of the activity is measured
STATE_RATES = (19.0, 6.0, 25.0)  # Hz, near a state of the winner-take-all network
SETTLING = 0.5  # s at the start of given activity that do not count: what came before them is a guess
STILL = 1e-9  # Hz; a response that moves less is final


# ---- free simulations


class Estimate(NamedTuple):
    """A mean over independent runs and its standard error."""

    mean: float
    error: float


@dataclass(frozen=True)
class Behaviour:
    """What two competing populations and a common inhibitory one do, over several runs.

    Parameters
    ----------
    high, low, inhibitory : Estimate, Hz
        Rates of the population that leads, of the one that loses (in all windows of 100 ms with a clear lead, see
        `recovery.winners`) and of the inhibitory one (always).
    switches : Estimate, per 100 s
        See `recovery.count_switches`.
    sd_high, sd_low, sd_inhibitory : Estimate, Hz
        Standard deviations of the activities in windows of 20 ms, at the same times as the rates.
    """

    high: Estimate
    low: Estimate
    inhibitory: Estimate
    switches: Estimate
    sd_high: Estimate
    sd_low: Estimate
    sd_inhibitory: Estimate


def behaviour(activities, bin_size):
    """Rates, switches and fluctuations of several runs, by one detector.

    Parameters
    ----------
    activities : list of numpy.ndarray, shape (n_bins, 3), Hz
        Two competing populations, then the inhibitory one.
    bin_size : float, s
        Must divide 20 ms.

    Returns
    -------
    Behaviour

    Raises
    ------
    ValueError
        If 20 ms are not a whole number of bins.

    Examples
    --------
    >>> steady = np.repeat([[20.0, 5.0, 24.0], [4.0, 19.0, 24.0]], 500, axis=0)
    >>> found = behaviour([steady, steady[::-1]], 0.002)
    >>> found.high.mean, found.low.mean, found.switches.mean
    (19.5, 4.5, 50.0)
    """
    rows = np.array([_behaviour_of_one(activity, bin_size) for activity in activities])
    return Behaviour(*(_estimate(column) for column in rows.T))


def rates_and_switches(scheme, bin_size, *, n_runs=40, duration=100.0, random_state=None, circuit=None, n_jobs=None):
    """What `simulate_mesoscopic` does with the winner-take-all network.

    Parameters
    ----------
    scheme, bin_size
        See `discretization.discretize`.
    n_runs : int
    duration : float, s
        Of every run.
    random_state
        As for `simulate_mesoscopic`.
    circuit : Circuit, optional
        A variant of `winner_take_all`.
    n_jobs : int, optional
        joblib jobs over runs.

    Returns
    -------
    Behaviour
    """
    circuit = winner_take_all() if circuit is None else circuit
    run = joblib.Parallel(n_jobs=n_jobs)
    activities = run(
        joblib.delayed(mesoscopic_activity)(circuit, scheme, bin_size, duration, rng)
        for rng in generator_from(random_state).spawn(n_runs)
    )
    return behaviour(activities, bin_size)


def mesoscopic_activity(circuit, scheme, bin_size, duration, rng):
    """Activity (n_bins, n_populations) in Hz of one run of `simulate_mesoscopic`, all times being floats in s."""
    run = simulate_mesoscopic(
        circuit, duration=duration * pq.s, bin_size=bin_size * pq.s, scheme=scheme, random_state=rng
    )
    return run.n / (circuit.n_neurons * bin_size)


def microscopic_rates_and_switches(
    *, integration="exact", time_step=TIME_STEP, n_runs=40, duration=100.0, random_state=None, n_jobs=None
):
    """What `simulate_microscopic` does: the network that `rates_and_switches` has to agree with.

    Parameters
    ----------
    integration : {"exact", "euler"}
    time_step : float, s
    n_runs, duration, random_state, n_jobs
        As in `rates_and_switches`.

    Returns
    -------
    Behaviour
    """
    counts = microscopic_counts(
        bin_size=FLUCTUATION_WINDOW, integration=integration, time_step=time_step, n_runs=n_runs, duration=duration,
        random_state=random_state, n_jobs=n_jobs,
    )  # fmt: skip
    seconds = winner_take_all().n_neurons * FLUCTUATION_WINDOW
    return behaviour([n / seconds for n in counts], FLUCTUATION_WINDOW)


def microscopic_counts(
    *, bin_size, integration="exact", time_step=TIME_STEP, n_runs=4, duration=100.0, random_state=None, circuit=None,
    n_jobs=None,
):  # fmt: skip
    """Spike counts of independent runs of the winner-take-all network, neuron by neuron.

    Parameters
    ----------
    bin_size : float, s
    integration, time_step, n_runs, duration, random_state, n_jobs
        As in `microscopic_rates_and_switches`.
    circuit : Circuit, optional
        A variant of `winner_take_all`.

    Returns
    -------
    list of numpy.ndarray of int, shape (n_bins, 3)
    """
    circuit = winner_take_all() if circuit is None else circuit
    run = joblib.Parallel(n_jobs=n_jobs)
    return run(
        joblib.delayed(_microscopic_counts)(circuit, bin_size, integration, time_step, duration, rng)
        for rng in generator_from(random_state).spawn(n_runs)
    )


def euler_twin(circuit, time_step):
    """The continuous-time circuit that an Euler network with this step really is.

    A leak of 1 - Δt/τ per step belongs to a membrane of τ' = -Δt / ln(1 - Δt/τ); what a spike adds, J Δt, is J' τ'
    (1 - leak), so that τ J is unchanged.

    Parameters
    ----------
    circuit : Circuit
    time_step : float, s

    Returns
    -------
    Circuit

    Examples
    --------
    >>> twin = euler_twin(winner_take_all(), 0.0002)
    >>> float(twin.tau_m[0].magnitude.round(3)), float(twin.J[0, 0].magnitude.round(3))
    (19.9, 10.034)
    """
    p = parameters_of(circuit)
    tau_m = -time_step / np.log1p(-time_step / p.tau_m)
    return circuit_with(circuit, p._replace(tau_m=tau_m, J=p.J * (p.tau_m / tau_m)[:, None]))


# ---- one-step predictions of a network's own activity


@dataclass(frozen=True)
class Calibration:
    """Residuals of n̄, the count expected from the past, on activity that the model did not make. Arrays are (K,).

    Parameters
    ----------
    bias, bias_error : numpy.ndarray, per cent
        100 · mean(n - n̄) / mean(n), and its standard error by chance alone.
    spread, spread_error : numpy.ndarray
        Mean of (n - n̄)² / variance, 1 for a right variance, and its standard error by chance alone.
    lag_one : numpy.ndarray
        Correlation of the standardised residual with that of the next bin, 0 for a right model.
    log_likelihood : float
        log p(n) with the Gaussian density, in nats per s of data.
    """

    bias: np.ndarray
    bias_error: np.ndarray
    spread: np.ndarray
    spread_error: np.ndarray
    lag_one: np.ndarray
    log_likelihood: float


def calibration(counts, counts_bin_size, *, scheme, bin_size, circuit=None):
    """Predict every bin of given activity from the bins before it, at the true parameters.

    Parameters
    ----------
    counts : list of numpy.ndarray, shape (n_fine_bins, K)
        Spike counts of whole populations.
    counts_bin_size : float, s
        Bins of `counts`; `bin_size` is a whole multiple of it.
    scheme, bin_size
        See `discretization.discretize`.
    circuit : Circuit, optional
        Default `winner_take_all`.

    Returns
    -------
    Calibration
        Without the first half second of every run, whose history is only guessed.
    """
    parameters = parameters_of(winner_take_all() if circuit is None else circuit)
    skipped = int(round(SETTLING / bin_size))
    residuals, scaled, spikes, variances, log_likelihood = [], [], 0.0, 0.0, 0.0
    for fine in counts:
        n = rebinned(fine, counts_bin_size, bin_size)
        result = joint(
            parameters, n, nobody(n, parameters, bin_size), bin_size=bin_size, scheme=scheme, density="gaussian",
            gradient=False,
        )  # fmt: skip
        residual, variance = (n - result.n_bar)[skipped:], moments(result, parameters, bin_size)[1][skipped:]
        residuals.append(residual)
        scaled.append(residual / np.sqrt(variance))
        spikes += n[skipped:].sum(axis=0)
        variances += variance.sum(axis=0)
        log_likelihood += result.part_b / (len(n) * bin_size * len(counts))
    squares = np.concatenate(scaled) ** 2
    after = np.concatenate([z[1:] for z in scaled])
    before = np.concatenate([z[:-1] for z in scaled])
    return Calibration(
        bias=100 * np.concatenate(residuals).sum(axis=0) / spikes,
        bias_error=100 * np.sqrt(variances) / spikes,
        spread=squares.mean(axis=0),
        spread_error=squares.std(axis=0) / np.sqrt(len(squares)),
        lag_one=np.mean(after * before, axis=0) / squares.mean(axis=0),
        log_likelihood=float(log_likelihood),
    )


def rebinned(counts, counts_bin_size, bin_size):
    """Counts summed over wider bins; what does not fill the last bin is dropped.

    Parameters
    ----------
    counts : numpy.ndarray, shape (n_fine_bins, K)
    counts_bin_size, bin_size : float, s

    Returns
    -------
    numpy.ndarray of float, shape (n_bins, K)

    Raises
    ------
    ValueError
        If `bin_size` is not a whole multiple of `counts_bin_size`.

    Examples
    --------
    >>> rebinned(np.array([[1], [2], [3], [4], [5]]), 0.001, 0.002)
    array([[3.],
           [7.]])
    """
    factor = renewal.whole(bin_size, counts_bin_size, "bin_size")
    kept = len(counts) // factor * factor
    return np.asarray(counts[:kept], dtype=float).reshape(-1, factor, counts.shape[1]).sum(axis=1)


# ---- infinitely many neurons


def stationary_rates(scheme, bin_size, *, circuit=None, guess=STATE_RATES):
    """Rates that reproduce themselves when the populations are infinitely large; compare `renewal.stationary_rates`.

    n̄/N depends on counts per neuron only and there is no noise left, so that n̄(n, n, …) = n is to be solved. Two age
    windows of constant activity let every cohort live its whole life in it.

    Parameters
    ----------
    scheme, bin_size
        See `discretization.discretize`.
    circuit : Circuit, optional
        Default `winner_take_all`.
    guess : sequence of float, Hz, shape (K,)
        One of several states may be near.

    Returns
    -------
    numpy.ndarray, shape (K,), Hz

    Raises
    ------
    RuntimeError
        If no such rates are found near `guess`.
    """
    parameters = parameters_of(winner_take_all() if circuit is None else circuit)
    windows = discretization.age_windows(discretization.discretize(parameters, bin_size, scheme))
    T = 2 * int(np.max(windows))

    def excess(rate):
        n = np.tile(rate * parameters.n_neurons * bin_size, (T, 1))
        observation = Observation.from_counts(np.zeros((T, 0)), [], n.shape[1], rate)
        result = joint(parameters, n, observation, bin_size=bin_size, scheme=scheme, window=windows, gradient=False)
        return result.n_bar[-1] / (parameters.n_neurons * bin_size) - rate

    return renewal.solved(excess, guess)


def step_response(scheme, bin_size, *, stimulus, onset, duration, circuit=None, guess=STATE_RATES):
    """Activity of infinitely large populations around the onset of a step of their drive; see `renewal.step_response`.

    Every bin gets its expected count: n ← n̄(n), repeated until nothing moves (every sweep makes one more bin final).

    Parameters
    ----------
    scheme, bin_size
        See `discretization.discretize`.
    stimulus : sequence of float, mV, shape (K,)
        Drive from `onset` on; none before.
    onset, duration : float, s
        Whole numbers of bins.
    circuit, guess
        As in `stationary_rates`: where the populations rest before.

    Returns
    -------
    numpy.ndarray, shape (n_bins, K), Hz
    """
    circuit = winner_take_all() if circuit is None else circuit
    parameters = parameters_of(circuit)
    rest = stationary_rates(scheme, bin_size, circuit=circuit, guess=guess)
    T = renewal.whole(duration, bin_size, "duration")
    drive = np.zeros((T, len(rest)))
    drive[renewal.whole(onset, bin_size, "onset") :] = stimulus
    observation = Observation.from_counts(np.zeros((T, 0)), [], len(rest), rest, stimulus=drive)
    scale = parameters.n_neurons * bin_size
    n = np.tile(rest * scale, (T, 1))
    for _ in range(T + 1):
        n_bar = joint(parameters, n, observation, bin_size=bin_size, scheme=scheme, gradient=False).n_bar
        moved = np.max(np.abs(n_bar - n) / scale)
        n = n_bar
        if moved < STILL:
            break
    return n / scale


# ---- the age window


def closure_errors(time_constants, *, scheme, bin_size, reference=60.0, duration=20.0, random_state=None):
    """What a finite age window costs: n̄ under windows of some membrane time constants against a very long one.

    The activity is the model's own, from stationary rates on (other pasts have no long memory that is right), in
    regimes that ask different things of the free neurons. ``"winner-take-all"``:
    membranes of 20 ms, 5 to 25 Hz. ``"dying"``: `single_population` with J = 57 mV, whose activity soon ends and leaves
    everybody free. ``"0.2 Hz"``, ``"0.8 Hz"``, ``"2 Hz"``: such neurons without couplings, driven to these rates, at
    which hardly anybody fires before the reset is forgotten. ``"switched off"``: those of 2 Hz, whose drive falls by 7
    mV in the middle.

    Parameters
    ----------
    time_constants : sequence of float
        Windows in units of the membrane time constant, beyond the refractory period.
    scheme, bin_size
        See `discretization.discretize`.
    reference : float
        The long window, in the same units.
    duration : float, s
    random_state
        As for `simulate_mesoscopic`.

    Returns
    -------
    dict of str to numpy.ndarray, shape (len(time_constants),)
        By regime, the largest |n̄ / n̄_reference - 1| over all bins and populations; rates below the 0.001 Hz that the
        likelihood takes for the least count as that.
    """
    alone = single_population(0 * pq.mV)
    regimes = {  # circuit, near which rates it starts, change of the drive in the middle (mV)
        "winner-take-all": (winner_take_all(), STATE_RATES, 0.0),
        "dying": (single_population(57 * pq.mV), None, 0.0),
        "0.2 Hz": (alone.replace(u_rest=48 * pq.mV), (0.2,), 0.0),
        "0.8 Hz": (alone.replace(u_rest=50 * pq.mV), (0.8,), 0.0),
        "2 Hz": (alone.replace(u_rest=52 * pq.mV), (2.0,), 0.0),
        "switched off": (alone.replace(u_rest=52 * pq.mV), (2.0,), -7.0),
    }
    n_bins, errors = renewal.whole(duration, bin_size, "duration"), {}
    for (name, (circuit, guess, change)), rng in zip(
        regimes.items(), generator_from(random_state).spawn(len(regimes)), strict=True
    ):
        before = np.array([20.0]) if guess is None else renewal.stationary_rates(circuit, guess)
        drive = np.zeros((n_bins, circuit.n_populations))
        drive[n_bins // 2 :] = change
        run = simulate_mesoscopic(
            circuit, duration=duration * pq.s, bin_size=bin_size * pq.s, scheme=scheme, initial_rate=before * pq.Hz,
            stimulus=drive * pq.mV, random_state=rng,
        )  # fmt: skip
        errors[name] = window_errors(
            circuit, run.n, before, drive, time_constants, scheme=scheme, bin_size=bin_size, reference=reference
        )
    return errors


def window_errors(circuit, n, history_rate, stimulus, time_constants, *, scheme, bin_size, reference):
    """`closure_errors` for given activity of one circuit.

    Parameters
    ----------
    circuit : Circuit
    n : numpy.ndarray, shape (n_bins, K)
    history_rate : numpy.ndarray, shape (K,), Hz
        Activity before the first bin.
    stimulus : numpy.ndarray, shape (n_bins, K), mV
    time_constants, scheme, bin_size, reference
        As in `closure_errors`.

    Returns
    -------
    numpy.ndarray, shape (len(time_constants),)
    """
    parameters, n = parameters_of(circuit), np.asarray(n, dtype=float)
    step = discretization.discretize(parameters, bin_size, scheme)
    observation = Observation.from_counts(np.zeros((len(n), 0)), [], n.shape[1], history_rate, stimulus=stimulus)

    def expected(constants):  # `discretization.age_windows` rounds up: its error is at most this
        windows = step.refractory_bins + 1 + np.ceil(-constants / np.log(step.leak)).astype(np.int64)
        result = joint(
            parameters, n, observation, bin_size=bin_size, scheme=scheme, window=windows, gradient=False
        )  # fmt: skip
        return moments(result, parameters, bin_size)[0]

    exact = expected(reference)
    return np.array([np.max(np.abs(expected(c) / exact - 1.0)) for c in time_constants])


def moments(result, parameters, bin_size):
    """Mean and variance of the counts as the Gaussian density takes them: where the model has none, the least allowed.

    Parameters
    ----------
    result : neulvm_neo.likelihood.Likelihood
    parameters : Parameters
    bin_size : float, s

    Returns
    -------
    mean, variance : numpy.ndarray, shape (n_bins, K)
    """
    mean = np.clip(result.n_bar, FLOOR_RATE * parameters.n_neurons * bin_size, parameters.n_neurons)
    return mean, np.maximum(result.variance, FLOOR_VARIANCE * mean)


def nobody(n, parameters, bin_size):
    """An observation of none of the neurons behind counts n; before it, the activity was that of its first 0.1 s.

    Parameters
    ----------
    n : numpy.ndarray, shape (n_bins, K)
    parameters : Parameters
    bin_size : float, s

    Returns
    -------
    Observation
    """
    first = np.mean(n[: int(np.ceil(0.1 / bin_size))], axis=0) / (parameters.n_neurons * bin_size)
    return Observation.from_counts(np.zeros((len(n), 0)), [], n.shape[1], first)


def _behaviour_of_one(activity, bin_size):
    length = renewal.whole(FLUCTUATION_WINDOW, bin_size, "the window of fluctuations")
    per_state = int(round(STATE_WINDOW / FLUCTUATION_WINDOW))
    lead = winners(activity, bin_size)
    short = activity[: len(lead) * per_state * length].reshape(len(lead), per_state, length, 3).mean(axis=2)
    first, second = short[lead > 0], short[lead < 0]
    groups = (
        np.concatenate([first[..., 0], second[..., 1]]),
        np.concatenate([first[..., 1], second[..., 0]]),
        short[..., 2],
    )
    rates, spreads = ([f(group) if group.size else np.nan for group in groups] for f in (np.mean, np.std))
    return *rates, count_switches(activity, bin_size) * 100.0 / (len(activity) * bin_size), *spreads


def _estimate(values):
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return Estimate(float(values.mean()), float(error))


def _microscopic_counts(circuit, bin_size, integration, time_step, duration, rng):
    return simulate_microscopic(
        circuit, duration=duration * pq.s, bin_size=bin_size * pq.s, time_step=time_step * pq.s,
        integration=integration, random_state=rng,
    ).n  # fmt: skip
