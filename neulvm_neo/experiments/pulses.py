"""What a short pulse does to a network of two states: trials with and without it, and the switches that follow."""

from typing import NamedTuple

import numpy as np
import quantities as pq
from scipy import stats

from ..simulation import simulate_mesoscopic, simulate_microscopic
from .recovery import BIN_SIZE, winners

PULSE = 0.004  # s: one bin, as long as in the paper
SETTLING = 2.5  # s from the half second of warm-up to the pulse: several switches of state have died away by then
STATE = 0.3  # s before the pulse in which one population leads in every window of 100 ms, or the trial does not count
AFTER = 0.5  # s in which a switch counts: many time constants of membranes and synapses, a tenth of a spontaneous state
# A rebound: within the longer time (s) after the pulse the activity of both excitatory populations together, averaged
# over the shorter time (s), falls below half of what it was. Left alone it does not: in none of 400 trials.
SILENCED_WITHIN, SILENCED_FOR = 0.1, 0.02
SHOWN = 0.1  # s before the pulse that are kept for a picture
MOST_TRIES = 10  # per trial, for a network to be in a state
PULSED = ("none", "active", "silent")
_DT = float(BIN_SIZE.rescale(pq.s))
_ONSET = round(SETTLING / _DT)


class Trials(NamedTuple):
    """Trials of one network, every one without a pulse, with one to the population that leads, and to the one that does
    not; they are the same until the pulse.

    Parameters
    ----------
    n : int
        Trials.
    n_tries : int
        Simulations, of which the others were in no state when the pulse was due.
    n_first : int
        Trials in which the first population led.
    switched, rebound : dict of str to numpy.ndarray of bool, shape (n,)
        By what was pulsed ("none", "active", "silent"): whether the other population leads at the end, and whether both
        were silenced first and then it came back the stronger one.
    activity : dict of str to numpy.ndarray, shape (n, n_bins, 2), Hz
        Of the population that leads before the pulse and of the other, from 100 ms before the pulse on.
    """

    n: int
    n_tries: int
    n_first: int
    switched: dict
    rebound: dict
    activity: dict


def pulse_trials(simulate, amplitude, n_trials, seed, pulsed=PULSED):
    """Let a network settle and pulse the population that leads, the other one, and none.

    Parameters
    ----------
    simulate : callable
        ``simulate(stimulus, seed)`` gives activity (n_bins, 3) in Hz, two competing populations first, for a stimulus
        (n_bins, 3) in mV. What comes before a pulse must not depend on it. See `spiking` and `mesoscopic`.
    amplitude : float, mV
        Of the drive R I during the pulse.
    n_trials : int
    seed : int
        Trial i is the same for all amplitudes.
    pulsed : sequence of {"none", "active", "silent"}

    Returns
    -------
    Trials
        Fewer than `n_trials` if the network is hardly ever in a state.
    """
    n_shown = round(SHOWN / _DT) + round(AFTER / _DT)
    found = {name: [] for name in pulsed}
    n_first = n_tries = 0
    for child in np.random.SeedSequence(seed).spawn(MOST_TRIES * n_trials):
        trial_seed = int(child.generate_state(1, np.uint64)[0])
        nothing = np.zeros((_ONSET + round(AFTER / _DT), 3))
        free = simulate(nothing, trial_seed)
        n_tries += 1
        lead = state_of(free[:_ONSET])
        if not lead:
            continue
        n_first += lead > 0
        order = [0, 1] if lead > 0 else [1, 0]
        for name in pulsed:
            activity = free
            if name != "none":
                stimulus = nothing.copy()
                target = order[0] if name == "active" else order[1]
                stimulus[_ONSET : _ONSET + round(PULSE / _DT), target] = amplitude
                activity = simulate(stimulus, trial_seed)
            found[name].append(activity[-n_shown:, order])
        if len(found[pulsed[0]]) == n_trials:
            break
    activity = {name: np.array(runs).reshape(len(runs), n_shown, 2) for name, runs in found.items()}
    switched = {name: np.array([has_switched(run) for run in runs], dtype=bool) for name, runs in found.items()}
    rebound = {
        name: np.array([s and was_silenced(run) for s, run in zip(switched[name], runs, strict=True)], dtype=bool)
        for name, runs in found.items()
    }
    return Trials(len(found[pulsed[0]]), n_tries, int(n_first), switched, rebound, activity)


def spiking(circuit):
    """A `simulate` for `pulse_trials` of every neuron of a circuit."""

    def simulate(stimulus, seed):
        return simulate_microscopic(
            circuit, duration=len(stimulus) * BIN_SIZE, bin_size=BIN_SIZE, stimulus=stimulus * pq.mV, random_state=seed
        ).activity

    return simulate


def mesoscopic(circuit, bin_size=0.5 * pq.ms):
    """A `simulate` for `pulse_trials` of whole populations.

    Parameters
    ----------
    circuit : Circuit
    bin_size : Quantity, time
        A whole part of 4 ms. The default resolves what a pulse does within a bin, also where membranes are faster
        than the true ones; 4 and 2 ms do not.
    """
    n_parts = round(float(BIN_SIZE / bin_size.rescale(BIN_SIZE.units)))

    def simulate(stimulus, seed):
        activity = simulate_mesoscopic(
            circuit, duration=len(stimulus) * BIN_SIZE, bin_size=BIN_SIZE / n_parts,
            stimulus=np.repeat(stimulus, n_parts, axis=0) * pq.mV, random_state=seed,
        ).activity  # fmt: skip
        return activity.reshape(len(stimulus), n_parts, -1).mean(axis=1)

    return simulate


def state_of(activity):
    """Which population leads in all windows of the last 300 ms: 1, -1, or 0 if none does.

    Parameters
    ----------
    activity : numpy.ndarray, shape (n_bins, n_populations), Hz

    Examples
    --------
    >>> steady = np.tile([20.0, 5.0], (100, 1))
    >>> state_of(steady), state_of(steady[:, ::-1]), state_of(np.concatenate([steady, steady[:25, ::-1]]))
    (1, -1, 0)
    """
    lead = winners(activity[-round(STATE / _DT) :], _DT)
    return int(lead[0]) if np.all(lead == lead[0]) else 0


def has_switched(activity):
    """Whether the second population has the last clear lead within half a second of the pulse.

    Parameters
    ----------
    activity : numpy.ndarray, shape (n_bins, 2), Hz
        See `Trials`.
    """
    lead = winners(activity[round(SHOWN / _DT) :], _DT)
    clear = lead[lead != 0]
    return bool(clear.size and clear[-1] < 0)


def was_silenced(activity):
    """Whether the activity of both populations falls below half of what it was, soon after the pulse.

    Parameters
    ----------
    activity : numpy.ndarray, shape (n_bins, 2), Hz
        See `Trials`.
    """
    both, onset = activity.sum(axis=1), round(SHOWN / _DT)
    after = both[onset : onset + round(SILENCED_WITHIN / _DT)]
    width = round(SILENCED_FOR / _DT)
    return bool(np.convolve(after, np.full(width, 1 / width), "valid").min() < both[:onset].mean() / 2)


def interval(switches, trials):
    """Clopper-Pearson's 95 % interval of a probability; (0, 1) without trials.

    >>> [round(end, 3) for end in interval(15, 100)]
    [0.086, 0.235]
    """
    if not trials:
        return 0.0, 1.0
    ends = stats.binomtest(int(switches), int(trials)).proportion_ci(0.95, method="exact")
    return float(ends.low), float(ends.high)


def chance_inside(switches, trials, n):
    """Probability that the share of switches in n trials of a perfect model falls inside the interval of the truth.

    The truth's probability is only known from its own trials (Jeffreys' prior), and the model's trials scatter, too.

    Parameters
    ----------
    switches, trials : int
        Of the truth; see `interval`.
    n : int
        Trials of the model.

    Returns
    -------
    float
        NaN without trials.

    Examples
    --------
    >>> round(chance_inside(50, 100, 100), 2), round(chance_inside(50, 100, 10**5), 2)
    (0.86, 0.96)
    """
    if not trials:
        return float("nan")
    low, high = interval(switches, trials)
    counts = np.arange(n + 1)
    inside = counts[(counts >= low * n) & (counts <= high * n)]
    return float(stats.betabinom(n, switches + 0.5, trials - switches + 0.5).pmf(inside).sum())


def prediction_band(counts, n, level=0.9):
    """Band that holds the share of switches in n trials with a probability of `level`, foretold by several models.

    Each model is as probable as any other, and its probability of a switch known from its own trials (Jeffreys' prior).

    Parameters
    ----------
    counts : sequence of (switches, trials)
        Per model; those without trials do not count.
    n : int
        Trials that are foretold.
    level : float

    Returns
    -------
    lower, upper : float
        (0, 1) without trials.

    Examples
    --------
    >>> prediction_band([(10, 50), (40, 50)], 100)
    (0.12, 0.88)
    """
    counts = [(k, trials) for k, trials in counts if trials]
    if not counts:
        return 0.0, 1.0
    below = np.mean([stats.betabinom(n, k + 0.5, m - k + 0.5).cdf(np.arange(n + 1)) for k, m in counts], axis=0)
    ends = np.searchsorted(below, [0.5 - level / 2, 0.5 + level / 2])
    return tuple((ends / n).tolist())


def differ(a, b):
    """Probability of two counts [switches, trials] at least this different if both networks are alike.

    Fisher's exact test, two-sided; 1 without trials.

    >>> differ([10, 100], [10, 100]), differ([10, 100], [40, 100]) < 0.001
    (1.0, True)
    """
    return float(stats.fisher_exact([[k, n - k] for k, n in (a, b)]).pvalue)
