"""Goodness of fit: a recording against what the fitted model predicts of it, and against what the model does by itself.

Two questions. Given the past, does the next spike come when the model expects it (`rescaling`)? And do recordings that
the fitted circuit makes by itself look like the real one (posterior-predictive checks)?
"""

from dataclasses import dataclass, fields

import joblib
import numpy as np
from tqdm.auto import tqdm

from .constant_rates import bits_per_spike
from .goodness_words import failures, summary
from .predictive import predictive_checks, two_sided_p_value
from .rescaling import TimeRescaling, time_rescaling
from .spike_statistics import SpikeStatistics, spike_statistics

FEWEST_REPLICATES = 20  # below, a band of 90 % has no ends


@dataclass(frozen=True, eq=False)
class GoodnessOfFit:
    """How well a fitted circuit explains a recording.

    Parameters
    ----------
    names : tuple of str
        Populations.
    neuron_ids : tuple of str, length n_neurons
        Neurons that belong to one; others are left out of everything here.
    labels : numpy.ndarray of int, shape (n_neurons,)
        Index into `names`.
    duration : float
        Of all trials together, s.
    n_trials : int
    n_replicates : int
    correlation_window : float
        s.
    neurons, populations, pooled : TimeRescaling
        Residuals given the past of every neuron, of every population, and of all neurons.
    recorded : SpikeStatistics
        Of the recording.
    replicates : SpikeStatistics
        Of the recordings that the fitted circuit made by itself; a first axis over replicates.
    rate_p_value : numpy.ndarray, shape (n_neurons,)
        Two-sided p value of every neuron's rate among those of all neurons of its population in all replicates.
    checks : tuple of Check
        Posterior-predictive checks of populations.
    log_likelihood : float
        log p(spikes | fit), in nats.
    bits_per_spike, bits_per_spike_population : float
        Beyond constant rates, one for each neuron or one for each population, with hindsight: of this very recording.
    """

    names: tuple
    neuron_ids: tuple
    labels: np.ndarray
    duration: float
    n_trials: int
    n_replicates: int
    correlation_window: float
    neurons: TimeRescaling
    populations: TimeRescaling
    pooled: TimeRescaling
    recorded: SpikeStatistics
    replicates: SpikeStatistics
    rate_p_value: np.ndarray
    checks: tuple
    log_likelihood: float
    bits_per_spike: float
    bits_per_spike_population: float

    @property
    def failures(self):
        """What the model does not explain, one sentence each: a tuple of str, empty if nothing is found."""
        return failures(self)

    def summary(self):
        """All of it as text: two tables, and what the model does not explain in sentences.

        Returns
        -------
        str
        """
        return summary(self)

    def __repr__(self):
        n_failed = sum(check.failed for check in self.checks)
        return f"<GoodnessOfFit: {n_failed} of {len(self.checks)} checks fail; see summary()>"


def goodness_of_fit(
    counts, predicted, log_likelihood, labels, simulate, *, names, neuron_ids, bin_size, correlation_window,
    n_replicates, rng, n_jobs=None, verbose=0,
):  # fmt: skip
    """Compare a recording with the predictions and with the free behaviour of a model; see `NeuLVM.goodness_of_fit`.

    Parameters
    ----------
    counts : sequence of numpy.ndarray, each (n_bins, n_neurons)
        Trials of the neurons that belong to populations.
    predicted : sequence of numpy.ndarray, each (n_bins, n_neurons)
        Probability of a spike of the neuron in the bin, given everything before the bin.
    log_likelihood : float
        Of all trials, in nats.
    labels : numpy.ndarray of int, shape (n_neurons,)
    simulate : callable
        Gets a Generator, returns trials of the form of `counts` that the model makes by itself.
    names, neuron_ids : tuple of str
    bin_size, correlation_window : float
        In s.
    n_replicates : int
        At least `FEWEST_REPLICATES`.
    rng : numpy.random.Generator
        Residuals and replicates are the same for any `n_jobs`.
    n_jobs : int, optional
        Threads for replicates.
    verbose : int
        1 shows a progress bar.

    Returns
    -------
    GoodnessOfFit
    """
    labels, populations = np.asarray(labels), range(len(names))
    groups = [np.flatnonzero(labels == k) for k in populations]
    randomness = rng.integers(2**63)
    # the same places within bins for a neuron, whichever group it is seen in
    neurons, by_population, pooled = (
        time_rescaling(counts, predicted, np.random.default_rng(randomness), grouped)
        for grouped in (None, groups, [range(len(labels))])
    )

    def measure(trials):
        return spike_statistics(trials, labels, len(names), bin_size, correlation_window)

    recorded = measure(counts)
    run = joblib.Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    tasks = (joblib.delayed(lambda child: measure(simulate(child)))(child) for child in rng.spawn(n_replicates))
    with tqdm(total=n_replicates, disable=not verbose, desc="replicates", unit="run") as bar:
        measured = []
        for replicate in run(tasks):
            measured.append(replicate)
            bar.update()
    replicates = SpikeStatistics(
        **{field.name: np.stack([getattr(one, field.name) for one in measured]) for field in fields(SpikeStatistics)}
    )
    return GoodnessOfFit(
        names=tuple(names),
        neuron_ids=tuple(neuron_ids),
        labels=labels,
        duration=sum(len(trial) for trial in counts) * bin_size,
        n_trials=len(counts),
        n_replicates=n_replicates,
        correlation_window=correlation_window,
        neurons=neurons,
        populations=by_population,
        pooled=pooled,
        recorded=recorded,
        replicates=replicates,
        rate_p_value=np.array(
            [
                two_sided_p_value(rate, replicates.rates[:, groups[k]].ravel())
                for rate, k in zip(recorded.rates, labels, strict=True)
            ]
        ),
        checks=tuple(predictive_checks(recorded, replicates, groups, names)),
        log_likelihood=log_likelihood,
        bits_per_spike=bits_per_spike(log_likelihood, counts),
        bits_per_spike_population=bits_per_spike(log_likelihood, counts, labels=labels),
    )
