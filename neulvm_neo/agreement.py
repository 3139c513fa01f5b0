"""Do the recording, its bins and the circuit agree? What does not is said aloud, before a fit."""

import logging
import warnings

import numpy as np

from .discretization import ROUNDING_SCHEMES, discretize, locked_ages
from .parameters import parameters_of

# Potentials (mV) that a stimulus may move within a bin. The spikes that come of it within the bin are not foreseen: a
# pulse of 30 mV moves potentials by 1.5 mV in 1 ms, and switches then come out right; where it moves them by 1.9 mV or
# more they do not (docs/time_step.md).
MOVED_IN_A_BIN = 1.5

logger = logging.getLogger(__name__)


class RefractoryViolationWarning(UserWarning):
    """Recorded neurons fired again within the refractory period of the circuit."""


class CoarseBinsWarning(UserWarning):
    """A stimulus moves potentials so far within a bin that the mesoscopic model does not resolve what follows."""


def say_what_bins_do(circuit, bin_size, scheme):
    """Warn of bins longer than a refractory period; log how refractory periods and delays are rounded to whole bins.

    Parameters
    ----------
    circuit : Circuit
    bin_size : float
        In s.
    scheme : {"second-order", "exponential", "euler"}

    Raises
    ------
    ValueError
        If the scheme cannot take steps of this size.
    """
    parameters = parameters_of(circuit)
    step = discretize(parameters, bin_size, scheme)
    short = (parameters.t_ref > 0) & (parameters.t_ref < bin_size * (1 - 1e-6))
    if np.any(short):
        k = int(np.argmax(short))
        warnings.warn(
            f"bin_size {1e3 * bin_size:g} ms is longer than t_ref {1e3 * parameters.t_ref[k]:g} ms of "
            f"{circuit.names[k]}: neurons may fire twice in a bin, of which the model knows nothing. Use smaller bins, "
            "or a longer t_ref.",
            UserWarning,
            stacklevel=4,
        )
    if scheme not in ROUNDING_SCHEMES:
        return
    for name, bins in (("t_ref", step.refractory_bins), ("delay", step.delay_bins)):
        given = getattr(parameters, name)
        if not np.allclose(bins * bin_size, given, rtol=0, atol=1e-3 * bin_size):
            logger.info("%s %s ms is rounded to %s bins of %g ms", name, 1e3 * given, bins, 1e3 * bin_size)


def warn_of_refractory_violations(trials, labels, circuit, bin_size, scheme):
    """Warn if recorded neurons fired within their refractory period, with count, share and remedy.

    Parameters
    ----------
    trials : neulvm_neo.trials.Trials
    labels : numpy.ndarray of int, shape (n_neurons,)
        -1 for neurons that are left out.
    circuit, bin_size, scheme
        See `say_what_bins_do`.
    """
    locked = locked_ages(discretize(parameters_of(circuit), bin_size, scheme))
    n_violations, n_spikes, worst = 0, 0, None
    for i in np.flatnonzero(labels >= 0):
        intervals = np.concatenate([np.diff(np.flatnonzero(trial[:, i])) for trial in trials.counts])
        of_neuron = int(np.sum(intervals <= locked[labels[i]]))
        n_spikes += int(sum(trial[:, i].sum() for trial in trials.counts))
        n_violations += of_neuron
        if of_neuron and (worst is None or of_neuron > worst[1]):
            worst = i, of_neuron
    if n_violations:
        name = trials.neuron_ids[worst[0]] if trials.neuron_ids else f"in column {worst[0]}"
        warnings.warn(
            f"{n_violations} spikes ({100 * n_violations / n_spikes:.2g} % of {n_spikes}) fall into the refractory "
            f"period after another one of the same neuron (most: neuron {name}, {worst[1]}). The model takes them for "
            "contamination and learns nothing from them. If they are real, give a circuit with a shorter t_ref, for "
            "instance Circuit.default(n_populations, t_ref=0 * pq.ms).",
            RefractoryViolationWarning,
            stacklevel=4,
        )


def warn_of_coarse_bins(drives, circuit, bin_size, stacklevel=4):
    """Warn if a stimulus changes so much from one bin to the next that shorter bins are needed.

    Parameters
    ----------
    drives : sequence of numpy.ndarray, each (n_bins, n_populations), mV
        External drive, one per trial.
    circuit : Circuit
    bin_size : float
        In s.
    stacklevel : int
        Of the warning: 4 from within `NeuLVM.fit`.
    """
    tau_m = parameters_of(circuit).tau_m
    steps = np.max([np.abs(np.diff(drive, axis=0)).max(axis=0, initial=0.0) for drive in drives], axis=0)
    moved = steps * -np.expm1(-bin_size / tau_m)
    k = int(np.argmax(moved))
    if moved[k] > MOVED_IN_A_BIN:
        enough = -tau_m[k] * np.log1p(-MOVED_IN_A_BIN / steps[k])
        warnings.warn(
            f"the stimulus moves potentials of {circuit.names[k]} by up to {moved[k]:.2g} mV within a bin of "
            f"{1e3 * bin_size:g} ms; what comes of it within the bin is not resolved. Use bins of "
            f"{1e3 * enough:.2g} ms or less.",
            CoarseBinsWarning,
            stacklevel=stacklevel,
        )
