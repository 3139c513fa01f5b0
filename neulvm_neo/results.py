"""What was inferred: the activity of populations over time, and a fit with everything needed to use or report it."""

from dataclasses import dataclass, field, replace

import numpy as np

from . import units

UNASSIGNED = "unassigned"  # label of recorded neurons that were not fitted
BAND_LEVEL = 0.9  # posterior probability of bands and intervals


@dataclass(frozen=True, eq=False)
class PopulationActivity:
    """Spike counts of whole populations, bin by bin, in one trial.

    Parameters
    ----------
    n : numpy.ndarray, shape (n_bins, n_populations)
        Spikes per bin of every population (real numbers where they were inferred).
    n_neurons : numpy.ndarray, shape (n_populations,)
        Population sizes N.
    bin_size, t_start : float
        Bin width and left edge of bin 0, in s.
    names : tuple of str
        Population names.
    n_bar : numpy.ndarray, shape (n_bins, n_populations), optional
        Expected counts given the past.
    n_std : numpy.ndarray, shape (n_bins, n_populations), optional
        Posterior standard deviation of `n`.
    n_lower, n_upper : numpy.ndarray, shape (n_bins, n_populations), optional
        Band that holds `n` with the posterior probability `BAND_LEVEL` in every bin: its lower and upper quantiles.
    spiketrains : list of neo.SpikeTrain, optional
        Spike trains of recorded neurons (microscopic simulations).

    Examples
    --------
    >>> a = PopulationActivity(np.array([[1.0], [3.0]]), np.array([100]), 0.002, 0.0, ("E",))
    >>> a.activity.ravel().tolist()
    [5.0, 15.0]
    """

    n: np.ndarray
    n_neurons: np.ndarray
    bin_size: float
    t_start: float
    names: tuple
    n_bar: np.ndarray | None = None
    n_std: np.ndarray | None = None
    n_lower: np.ndarray | None = None
    n_upper: np.ndarray | None = None
    spiketrains: list | None = None

    @property
    def activity(self):
        """Population activity n / (N Δt) in Hz, shape (n_bins, n_populations)."""
        return self._rate(self.n)

    @property
    def expected_activity(self):
        """Expected activity n̄ / (N Δt) in Hz, or None where it is not known."""
        return None if self.n_bar is None else self._rate(self.n_bar)

    @property
    def activity_std(self):
        """Posterior standard deviation of the activity in Hz, or None."""
        return None if self.n_std is None else self._rate(self.n_std)

    @property
    def activity_band(self):
        """Lower and upper end (Hz) of the band that holds the activity with probability `BAND_LEVEL`, or None."""
        return None if self.n_lower is None else (self._rate(self.n_lower), self._rate(self.n_upper))

    @property
    def times(self):
        """Bin centres in s, shape (n_bins,)."""
        return self.t_start + (np.arange(len(self.n)) + 0.5) * self.bin_size

    @property
    def duration(self):
        """Length of the trial in s."""
        return len(self.n) * self.bin_size

    def to_neo(self, n_recorded=None, **annotations):
        """The activity as ``neo.AnalogSignal`` in Hz (channels are populations), annotated with names and sizes.

        Parameters
        ----------
        n_recorded : sequence of int, optional
            Recorded neurons per population, kept as array annotation.
        **annotations
            Anything else to keep with the signal (scalars, strings, arrays).
        """
        array_annotations = {"population_size": np.asarray(self.n_neurons)}
        if n_recorded is not None:
            array_annotations["n_recorded"] = np.asarray(n_recorded)
        return units.analog_signal(
            self.activity,
            "Hz",
            self.bin_size,
            self.t_start,
            self.names,
            name="population_activity",
            description="Population activity of a neuLVM: spikes per neuron and second.",
            array_annotations=array_annotations,
            **annotations,
        )

    def _rate(self, counts):
        return counts / (np.asarray(self.n_neurons) * self.bin_size)


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How well the data determine the free values of a fit.

    Parameters
    ----------
    names : tuple of str, length n_free
        Free values, as of `parameters.ParameterSpace`: ``"J[E←I]"``, ``"tau_m[E]"``, or the label of a tie.
    units : tuple of str
        ``"mV"`` or ``"ms"``.
    estimate, lower, upper : numpy.ndarray, shape (n_free,)
        Fitted values and the ends of their intervals with probability `level`, in `units`. An end that the data do not
        determine is infinite, or the bound that the circuit sets.
    level : float
    theta : numpy.ndarray, shape (n_free,)
        The estimate as `parameters.ParameterSpace` packs it.
    covariance : numpy.ndarray, shape (n_free, n_free)
        Of `theta`.
    undetermined : tuple of str
        What the data leave open, one sentence for each direction.
    method : str
        How the intervals came about.
    samples : numpy.ndarray, shape (n_samples, n_free), optional
        Values of `theta` as probable as the intervals say, also where a Gaussian in `theta` would not do.
    """

    names: tuple
    units: tuple
    estimate: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    theta: np.ndarray
    covariance: np.ndarray
    undetermined: tuple = ()
    method: str = ""
    samples: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted neuLVM, complete enough to annotate a file, draw a figure or write a report.

    Parameters
    ----------
    circuit : neulvm_neo.Circuit
        The circuit with its fitted values.
    labels : tuple of str
        Population name of every recorded neuron, in the order of the columns of the data; ``"unassigned"`` for those
        that were not fitted.
    neuron_ids : tuple of str
        Name of every recorded neuron (NWB: the unit's id).
    activities : tuple of PopulationActivity
        Inferred activity, one per trial.
    log_likelihood, log_likelihood_error : float
        log p(y | Θ̂) over all trials from the particle filter, and its Monte-Carlo standard error, in nats.
    n_iter : int
        EM iterations of the chosen start.
    converged : bool
    status : str
        Why the loop ended, in words.
    trace : tuple of dict
        One record per iteration of the chosen start.
    settings : dict
        Estimator settings (JSON-able) that led here.
    software_version : str
    state : dict
        What the estimator needs beside all this to be itself again after loading; empty for a mere result.
    uncertainty : Uncertainty, optional
        Intervals of the free values, where they were asked for.
    distances : numpy.ndarray, shape (n_recorded, n_populations), optional
        Mean distance of every recorded neuron to the others of each population, where spike trains were compared; NaN
        where there are none. See `with_distances`.
    neuron_thresholds : numpy.ndarray, shape (n_recorded,), optional
        Threshold of every recorded neuron in mV, where they have their own; NaN for those that were not fitted.
    kinds : tuple of str
        What was found about populations that may be alike (`Circuit.kinds`), one sentence for each group of them.
    """

    circuit: object
    labels: tuple
    neuron_ids: tuple
    activities: tuple
    log_likelihood: float
    log_likelihood_error: float
    n_iter: int
    converged: bool
    status: str
    trace: tuple = ()
    settings: dict = field(default_factory=dict)
    software_version: str = ""
    state: dict = field(default_factory=dict)
    uncertainty: Uncertainty | None = None
    distances: np.ndarray | None = None
    neuron_thresholds: np.ndarray | None = None
    kinds: tuple = ()

    @property
    def names(self):
        """Population names."""
        return tuple(self.circuit.names)

    @property
    def n_recorded(self):
        """Recorded neurons of every population, shape (n_populations,)."""
        return np.array([sum(label == name for label in self.labels) for name in self.names])

    def with_distances(self, distances):
        """A copy that says how far every neuron is from each population.

        Parameters
        ----------
        distances : array, shape (n_recorded, n_recorded)
            Of every pair of neurons, such as ``distances_`` of `PopulationClusterer`.

        Returns
        -------
        FitResult
        """
        distances, n = np.array(distances, dtype=float), len(self.labels)
        if distances.shape != (n, n):
            raise ValueError(f"distances has the shape {distances.shape}, expected ({n}, {n}): all pairs of neurons.")
        np.fill_diagonal(distances, np.nan)  # a neuron is not its own neighbour
        means = np.full((n, len(self.names)), np.nan)
        for k, name in enumerate(self.names):
            others = distances[:, [label == name for label in self.labels]]
            known = np.isfinite(others)
            some = known.any(axis=1)
            means[some, k] = np.where(known, others, 0).sum(axis=1)[some] / known.sum(axis=1)[some]
        return replace(self, distances=means)

    def to_neo(self):
        """The inferred activity as a new Block: a Segment per trial with an AnalogSignal in Hz, a Group per population.

        For a copy of the recording with the fit in it, use `neulvm_neo.io.annotated_block`.

        Returns
        -------
        neo.Block
        """
        notes = {
            "neulvm_version": self.software_version,
            "log_likelihood": float(self.log_likelihood),
            "log_likelihood_error": float(self.log_likelihood_error),
        }
        signals = [activity.to_neo(self.n_recorded, **notes) for activity in self.activities]
        return units.block_of_signals(
            signals, self.names, [int(size) for size in self.circuit.n_neurons], name="neuLVM", **notes
        )
