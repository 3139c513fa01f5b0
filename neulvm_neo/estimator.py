"""`NeuLVM`: the scikit-learn estimator. Validate, strip units, run EM, attach units."""

import dataclasses
import logging
import warnings

import joblib
import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from . import __version__, settings, units
from .agreement import say_what_bins_do, warn_of_coarse_bins, warn_of_refractory_violations
from .assignment import assign
from .binning import bin_size_in_seconds
from .callbacks import CallbackSupportMixin, Watch, with_callbacks
from .constant_rates import bits_per_spike
from .fit_file import load_fit, save_fit
from .fitted_network import simulate_freely, simulate_recording
from .inference import ascent, em, hidden_activity, initialization, own_thresholds, posterior
from .inference.tasks import one_blas_thread, run
from .likelihood import Observation
from .parameters import ParameterSpace, circuit_with, parameters_of
from .results import UNASSIGNED, FitResult, PopulationActivity
from .simulation import generator_from
from .trials import are_several, stimuli_of, trials_of

logger = logging.getLogger(__name__)

_CORRELATION_WINDOW = 0.05  # s
# levels from `fit` up to its caller: scikit-learn may wrap it
_FROM_FIT = 2 + hasattr(CallbackSupportMixin, "set_callbacks")
_LEVELS = ("mesoscopic", "microscopic")
_CONSTANT_RATES = ("neurons", "populations")


class _SeveralTrials:
    """Lists of trials in, lists of activities out.

    A class of its own, because scikit-learn wraps the ``transform`` of transformers for ``set_output``, and the wrapper
    knows single arrays only.
    """

    def transform(self, X, *, trials=None, stimulus=None):
        """Infer the activity of the populations.

        Parameters
        ----------
        X : array (n_bins, n_neurons), list of arrays, SpikeRecording, or a Neo / Elephant form
            The neurons of `fit`, in the same order.
        trials, stimulus
            See `fit`.

        Returns
        -------
        numpy.ndarray, shape (n_bins, n_populations), or list of those
            Spikes per neuron and second (Hz). One array for one recording, a list for several trials. With
            ``method="smc"`` the posterior mean, with ``"viterbi"`` the most probable activity. Repeated calls give the
            same values, and every trial its own, whatever other trials are given with it.
        """
        if are_several(X):
            return self._activity(X, trials, stimulus)
        return super().transform(X, trials=trials, stimulus=stimulus)

    def fit_transform(self, X, y=None, *, trials=None, stimulus=None):
        """`fit`, then `transform` of the same data."""
        return self.fit(X, y, trials=trials, stimulus=stimulus).transform(X, trials=trials, stimulus=stimulus)


class _OneRecording(TransformerMixin):
    def transform(self, X, *, trials=None, stimulus=None):
        return self._activity(X, trials, stimulus)


class NeuLVM(CallbackSupportMixin, _SeveralTrials, _OneRecording, DensityMixin, BaseEstimator):
    """Spiking-network model of a circuit of which a few neurons were recorded.

    A neuLVM [1]_ explains the spikes of recorded neurons by the activity of the populations they belong to, which is
    hidden, and that activity by the circuit: couplings and membrane parameters of spiking neurons. `fit` finds the
    parameters, `transform` the hidden activity, `simulate` lets the fitted circuit run by itself.

    Parameters
    ----------
    circuit : Circuit, optional
        What is known: sizes, which couplings exist, their signs, and which values are free. ``None`` makes
        `Circuit.default`, with a refractory period of 2 ms or one bin, if that is longer.
    n_populations : int, optional
        Number of populations if there is neither a circuit nor labels. ``None`` chooses it by clustering. Fewer are
        fitted, with a warning, if too few neurons are active.
    labels : None, str, or sequence of int or str, shape (n_neurons,)
        Population of every recorded neuron. ``None`` clusters the training data (`PopulationClusterer`). A text is the
        name of an annotation of the SpikeTrains, such as ``"population"`` or ``"electrodes.location"``. Numbers are
        positions, and texts names of the circuit's populations; -1 or ``"unassigned"`` leaves a neuron out.
    population_sizes : int, sequence of int, or dict from name to int, optional
        Number of neurons in every population, if there is no circuit; default 200 (see `Circuit.default`).
    bin_size : Quantity, time, optional
        Width of the bins of X, or in which spike trains are binned. ``None`` means 2 ms.
    method : {"smc", "viterbi", "paper"}
        ``"smc"``: Monte-Carlo EM with particle filters. ``"viterbi"``: one most probable activity, and the parameters
        with it, instead of many activities; more biased. ``"paper"``: the Baum-Viterbi algorithm as published [1]_,
        which stays near its start, for comparison.
    scheme : {"second-order", "exponential", "euler"}
        Time step of the model: faithful to the spiking network in continuous time (the error falls with the square of
        the bin); or the paper's first-order step (``"euler"``), which distorts the parameters at bins of some ms but is
        the right one for data generated by it, also with an exact decay of the membrane (``"exponential"``).
    noise : {"binomial", "cohorts"} or None
        How hidden counts scatter around what is expected: as if all neurons of a population were equally likely to
        fire, or as cohorts do, each with its own probability: less where neurons fire in step (see
        `simulate_mesoscopic`). ``None`` takes "cohorts" where it can: with at most two free values, ``method="smc"``,
        and spikes that do not act on the bin they fall in (a first-order scheme, or delays of a bin or more).
    n_init : int, default 4
        Starts; the best after a few iterations is carried on.
    max_iter : int, default 25
        EM iterations of the chosen start.
    tol : float, default 1.0
        Converged when the log-likelihood rises by less than this, in nats, over a few iterations.
    n_particles : int, default 200
        Particles per filter during EM; results use four times as many.
    multiple : {"clip", "refuse"}
        Where a neuron has more than one spike in a bin: count one and warn, or refuse the data.
    start : None, Circuit, Parameters or callable
        Where EM starts. ``None`` draws free values between 0.4 and 2 times those of the circuit and improves them on
        the recorded neurons. A callable gets ``(rng, circuit, counts, labels, bin_size)`` and returns a Circuit or
        Parameters, once per start.
    smoothing : Quantity, time, optional
        Standard deviation of the Gaussian kernel that makes the first guess of the activity from the spikes. ``None``
        lets the data choose.
    own_thresholds : bool, default False
        Whether every recorded neuron has a threshold of its own, as the neurons of real populations do. ``False`` makes
        all neurons of a population alike, and differences between their rates are then explained by nothing. What
        the hidden neurons have in common stays ``threshold_``. Intervals of the circuit's values take them for known.
    warm_start : bool, default False
        A further `fit` goes on from the fitted values of the one before, in a single start, with its `labels_` and
        circuit if the recording has as many neurons. Where one or two values are free it makes no difference: they are
        sought everywhere anyway.
    random_state : int, Generator, RandomState or None
        The same seed gives the same fit, for any `n_jobs` and any joblib backend on machines of one kind.
    n_jobs : int, optional
        joblib jobs, over starts, filters and trials: threads, or what ``joblib.parallel_config`` says.
    verbose : int, default 0
        1 shows a progress bar.

    Attributes
    ----------
    circuit_ : Circuit
        With the fitted values, and with ties between those of populations that were taken for alike.
    J_, tau_m_, u_rest_, threshold_ : Quantity
        The fitted values; ``J_[target, source]``.
    neuron_thresholds_ : Quantity, shape (n_neurons,), or None
        Of the recorded neurons, with `own_thresholds`; NaN for those left out.
    labels_ : numpy.ndarray of int, shape (n_neurons,)
        Population of every neuron, -1 for those left out.
    label_names_ : numpy.ndarray of str, shape (n_neurons,)
        The same as names; ``"unassigned"`` for those left out.
    activity_ : numpy.ndarray, shape (n_bins, n_populations), or list of those
        Inferred activity of the training data in Hz, in their form.
    result_ : FitResult
        The fit with everything needed to annotate a file, plot or report it.
    log_likelihood_ : float
        log p(spikes | parameters) of the training data from the particle filter, in nats.
    histories_ : numpy.ndarray, shape (n_histories, n_populations)
        Activities (Hz) that a trial may start from.
    noise_ : {"binomial", "cohorts"}
        How counts scatter in the fitted model.
    n_iter_ : int
    converged_ : bool
    trace_ : tuple of dict
        One record per iteration.
    bin_size_ : Quantity
    n_features_in_ : int
        Number of neurons.
    feature_names_in_ : numpy.ndarray of str
        Column names, if X was a data frame.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` was too small.
    RefractoryViolationWarning
        If neurons fired within the refractory period.
    MultipleSpikesWarning
        If neurons fired more than once in a bin.
    CoarseBinsWarning
        If a stimulus moves potentials by more than 1.5 mV within a bin.

    Notes
    -----
    What a few neurons tell about single parameters is limited: combinations such as ``J tau_m`` and
    ``u_rest - threshold`` are determined much better than each value by itself. Along a coupling that hardly changes
    the likelihood while mean drives stay, a fit ends in the middle of where the likelihood is high.

    Populations of one kind (`Circuit.kinds`) have the same values unless the spikes speak for others: every second
    start, and the first, takes them for alike, and at the end the fit looks whether values of their own gain more
    log-likelihood than half the logarithm of the number of spikes for each, as in Schwarz's criterion.
    ``result_.kinds`` tells what was found. ``"viterbi"``, ``"paper"``, and fits of one or two values do not do this.

    Cross-validation: give a list of trials, or one array with ``trials=`` and a splitter that respects trials
    (GroupKFold), or TimeSeriesSplit. With ``labels=None`` every training fold is clustered anew.

    References
    ----------
    .. [1] Wang, Schmutz, Bellec, Gerstner, Mesoscopic modeling of hidden spiking neurons, NeurIPS 2022.

    Examples
    --------
    >>> import quantities as pq
    >>> from neulvm_neo import Circuit, NeuLVM, simulate_microscopic
    >>> circuit = Circuit([100], names=["E"], u_rest=12 * pq.mV, free=("u_rest",))
    >>> recording = simulate_microscopic(circuit, duration=1 * pq.s, n_recorded=3, random_state=1).spiketrains
    >>> model = NeuLVM(circuit, labels="population", n_init=1, max_iter=8, tol=50, n_particles=20, random_state=1)
    >>> model.fit_transform(recording).shape
    (500, 1)
    >>> bool(10 * pq.mV < model.u_rest_[0] < 14 * pq.mV)
    True
    """

    def __init__(
        self,
        circuit=None,
        *,
        n_populations=None,
        labels=None,
        population_sizes=None,
        bin_size=None,
        method="smc",
        scheme="second-order",
        noise=None,
        n_init=4,
        max_iter=25,
        tol=1.0,
        n_particles=200,
        multiple="clip",
        start=None,
        smoothing=None,
        own_thresholds=False,
        warm_start=False,
        random_state=None,
        n_jobs=None,
        verbose=0,
    ):
        self.circuit = circuit
        self.n_populations = n_populations
        self.labels = labels
        self.population_sizes = population_sizes
        self.bin_size = bin_size
        self.method = method
        self.scheme = scheme
        self.noise = noise
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.n_particles = n_particles
        self.multiple = multiple
        self.start = start
        self.smoothing = smoothing
        self.own_thresholds = own_thresholds
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y=None, *, trials=None, stimulus=None):
        """Fit the circuit to recorded spikes.

        Parameters
        ----------
        X : array (n_bins, n_neurons), list of arrays, SpikeRecording, or a Neo / Elephant form
            Spike counts per bin, one array per trial; or spike trains: a Block, Segments, lists of SpikeTrain (a flat
            list is one trial), Elephant Trials. Trials are fitted jointly. Never changed.
        y : ignored
        trials : array, shape (n_bins,), optional
            For one array: the trial of every row. The rows of a trial must be adjacent.
        stimulus : optional
            External drive, one form for all trials (in the time of each, which for arrays starts at 0), or a list of
            one per trial; `units.stimulus_millivolts` explains every form. With `trials`, a Quantity
            (n_bins, n_populations) for all rows.

        Returns
        -------
        NeuLVM
            self

        Raises
        ------
        TypeError, ValueError
            If arguments contradict each other or do not fit the data; the message names the remedy.
        """
        settings.check(self)
        watch = Watch(self, X)
        bin_size = bin_size_in_seconds(self.bin_size)
        smoothing = None if self.smoothing is None else units.positive_seconds(self.smoothing, "smoothing")
        rng = generator_from(self.random_state)
        data = self._read(X, trials, bin_size, reset=True)
        if self.bin_size is None:
            _say_which_bins(bin_size, assumed=data.neuron_ids is None)
        circuit, labels, distances, start, n_init = self._point_of_departure(data, bin_size, rng)
        if ParameterSpace(circuit).n_free == 0:
            raise ValueError(
                "the circuit has no free values, so there is nothing to fit; name some in free, for instance "
                'free=("J", "u_rest"), or allow couplings in mask.'
            )
        own = labels >= 0
        say_what_bins_do(circuit, bin_size, self.scheme)
        warn_of_refractory_violations(data, labels, circuit, bin_size, self.scheme)
        stimuli = stimuli_of(stimulus, data, circuit, bin_size)
        warn_of_coarse_bins(stimuli, circuit, bin_size)
        with one_blas_thread():
            found = em.fit(
                circuit, [trial[:, own] for trial in data.counts], labels[own], bin_size=bin_size, scheme=self.scheme,
                noise=self.noise, method=self.method, stimuli=stimuli, n_init=n_init, max_iter=self.max_iter,
                tol=self.tol, n_particles=self.n_particles, rng=rng, n_jobs=self.n_jobs, start=start,
                smoothing=smoothing, own=bool(self.own_thresholds), verbose=self.verbose, watch=watch,
            )  # fmt: skip
        if watch.stopped:
            found = dataclasses.replace(found, status=found.status.replace("interrupted", "stopped by a callback"))
        result = self._result(found, data, labels, bin_size, seed=int(rng.integers(2**63)))
        self._adopt(result if distances is None else result.with_distances(distances))
        if not self.converged_:
            advice = (
                f"Raise max_iter (now {self.max_iter}), or tol (now {self.tol}) if the log-likelihood in trace_ has "
                "levelled off."
            )
            if found.status.startswith(("interrupted", "stopped by a callback")):
                advice = "The best parameters so far are kept."
            warnings.warn(f"EM has not converged ({found.status}). {advice}", ConvergenceWarning, stacklevel=_FROM_FIT)
        watch.end()
        return self

    def score_samples(self, X, *, trials=None, stimulus=None):
        """Log-likelihood of every bin given all bins before it in its trial.

        Parameters
        ----------
        X, trials, stimulus
            As in `transform`.

        Returns
        -------
        numpy.ndarray, shape (n_bins,), or list of those
            log p(spikes of the bin | past spikes), in nats, from the particle filter, whatever the `method`. Hidden
            activity is integrated out.
        """
        data, inferred = self._infer(X, trials, stimulus, method="smc")
        return data.give_back([trial.log_increments for trial in inferred])

    def score(self, X, y=None, *, trials=None, stimulus=None):
        """Mean log-likelihood per bin, over all bins of all trials, in nats.

        Parameters
        ----------
        X, trials, stimulus
            As in `transform`.
        y : ignored

        Returns
        -------
        float
        """
        _, inferred = self._infer(X, trials, stimulus, method="smc")
        return float(np.concatenate([trial.log_increments for trial in inferred]).mean())

    def bits_per_spike(self, X, *, against="neurons", training=None, trials=None, stimulus=None):
        """How much better than constant rates the model predicts spikes, in bits per spike; 0 is no better.

        Parameters
        ----------
        X, trials, stimulus
            As in `transform`; best data that the fit has not seen.
        against : {"neurons", "populations"}
            One constant rate for each neuron, or one for all neurons of a population, which is all that the model can
            know in which they are alike.
        training : optional
            Where the constant rates are taken from, in any form of X: the data that the model was fitted to, if X was
            held out. Default X itself, which favours the constant rates.

        Returns
        -------
        float
            (log p of the model - log p of the constant rates) / (number of spikes · log 2), over all trials and all
            neurons that belong to a population. NaN if there is no spike.
        """
        if against not in _CONSTANT_RATES:
            raise ValueError(f"against is {against!r}; expected one of {', '.join(map(repr, _CONSTANT_RATES))}.")
        data, inferred = self._infer(X, trials, stimulus, method="smc")
        own = self.labels_ >= 0
        counts, seen = [trial[:, own] for trial in data.counts], None
        if training is not None:
            seen = [trial[:, own] for trial in self._read(training, None, self._bin_size, reset=False).counts]
        log_likelihood = float(sum(trial.log_increments.sum() for trial in inferred))
        return bits_per_spike(log_likelihood, counts, seen, self.labels_[own] if against == "populations" else None)

    def goodness_of_fit(
        self, X, *, trials=None, stimulus=None, n_replicates=100, correlation_window=None, random_state=0
    ):
        """What the fitted circuit explains of a recording, and what it does not.

        Two questions. *Given the past*, do spikes come when the model expects them? From the probability of a spike in
        the next bin, with the hidden activity integrated out by the particle filter, intervals between spikes are
        rescaled so that they are uniform and independent if the model is right. *By itself*, does the model behave like
        the recording? The fitted circuit is simulated neuron by neuron, as long as the data and with as many neurons
        recorded, and compared in rates, regularity of intervals, power spectra and correlations.

        Parameters
        ----------
        X, trials, stimulus
            As in `transform`: the training data, or better, data that the fit has not seen.
        n_replicates : int, default 100
            Simulated recordings, at least 20. Each takes as long as `sample` does.
        correlation_window : Quantity, time, optional
            Windows in which spikes are counted for correlations between neurons; default 50 ms.
        random_state : int, Generator, RandomState or None
            Of the simulations, and of the times of spikes within their bins. None draws new ones every time.

        Returns
        -------
        GoodnessOfFit
            ``summary()`` is a text, ``failures`` the sentences in it that say what is not explained, and
            `neulvm_neo.goodness_figure.plot_goodness_of_fit` draws it.

        Notes
        -----
        Neurons that belong to no population are left out. Parameters are the fitted ones, without their uncertainty, so
        that bands are narrower than those of a full posterior. Simulations start from a settled state: where trials
        begin far from one, rates and slow fluctuations may differ for this reason. In the training data all checks
        are a little too lenient, because the parameters were fitted to them.

        References
        ----------
        Brown et al., Neural Comput 2002 (time rescaling). Haslinger, Pipa, Brown, Neural Comput 2010 (in bins). Gelman,
        Meng, Stern, Stat Sin 1996 (posterior-predictive checks).

        Examples
        --------
        >>> import quantities as pq
        >>> from neulvm_neo import Circuit, NeuLVM, simulate_microscopic
        >>> circuit = Circuit([100], names=["E"], u_rest=12 * pq.mV, free=("u_rest",))
        >>> recording = simulate_microscopic(circuit, duration=1 * pq.s, n_recorded=3, random_state=1).spiketrains
        >>> model = NeuLVM(circuit, labels="population", n_init=1, max_iter=8, tol=50, n_particles=20, random_state=1)
        >>> found = model.fit(recording).goodness_of_fit(recording, n_replicates=20)
        >>> found.neurons.n_spikes.size, found.replicates.rates.shape
        (3, (20, 3))
        """
        from .goodness import FEWEST_REPLICATES, goodness_of_fit  # 0.1 s, which a fit does not need

        if not isinstance(n_replicates, (int, np.integer)) or n_replicates < FEWEST_REPLICATES:
            raise ValueError(
                f"n_replicates is {n_replicates!r}; expected a whole number of {FEWEST_REPLICATES} or more."
            )
        window = _CORRELATION_WINDOW
        if correlation_window is not None:
            window = units.positive_seconds(correlation_window, "correlation_window")
        data, inferred = self._infer(X, trials, stimulus, method="smc")
        own = self.labels_ >= 0
        counts = [trial[:, own] for trial in data.counts]
        drives = [units.millivolts(drive) for drive in stimuli_of(stimulus, data, self.circuit_, self._bin_size)]

        def simulate(rng):
            return [
                self._recording(len(trial), drive, rng)[0][:, own] for trial, drive in zip(counts, drives, strict=True)
            ]

        return goodness_of_fit(
            counts, [trial.predicted for trial in inferred],
            float(sum(trial.log_increments.sum() for trial in inferred)), self.labels_[own], simulate,
            names=self.circuit_.names,
            neuron_ids=tuple(name for name, is_own in zip(self.result_.neuron_ids, own, strict=True) if is_own),
            bin_size=self._bin_size, correlation_window=window, n_replicates=n_replicates,
            rng=generator_from(random_state), n_jobs=self.n_jobs, verbose=self.verbose,
        )  # fmt: skip

    def sample(self, n_samples=1, random_state=None):
        """Draw a recording like the training data from the fitted circuit.

        Every neuron is simulated, at the time step of the model (in which the network and the model it was fitted with
        agree), without stimulus, from a settled state; then as many neurons as were recorded are looked at.

        Parameters
        ----------
        n_samples : int, default 1
            Number of bins.
        random_state : int, Generator, RandomState or None
            None draws a new recording every time.

        Returns
        -------
        X : numpy.ndarray, shape (n_samples, n_neurons)
            0 or 1 spike. Columns as in the training data; neurons that were left out do not fire.
        activity : numpy.ndarray, shape (n_samples, n_populations)
            In Hz, of the whole populations.
        """
        check_is_fitted(self)
        if not (isinstance(n_samples, (int, np.integer)) and n_samples >= 1):
            raise ValueError(f"n_samples is {n_samples!r}; expected a whole number of bins, at least 1.")
        return self._recording(n_samples, None, random_state)

    def simulate(self, duration, stimulus=None, *, level="mesoscopic", bin_size=None, n_trials=1, random_state=None):
        """Let the fitted circuit run by itself.

        Parameters
        ----------
        duration : Quantity, time
            A whole number of bins.
        stimulus : optional
            See `units.stimulus_millivolts`.
        level : {"mesoscopic", "microscopic"}
            Whole populations (`simulate_mesoscopic`, with the time step of the fit), or every neuron in steps of 0.2 ms
            or less (`simulate_microscopic`), of which as many are recorded as in the training data.
        bin_size : Quantity, time, optional
            Default that of the fit. Short stimuli take shorter bins, 1 ms for instance; a first-order scheme is another
            model there, and refused.
        n_trials : int, default 1
        random_state : int, Generator, RandomState or None

        Returns
        -------
        PopulationActivity, or a list of them if `n_trials` is above 1
        """
        check_is_fitted(self)
        if level not in _LEVELS:
            raise ValueError(f"level is {level!r}; expected one of {', '.join(map(repr, _LEVELS))}.")
        if not (isinstance(n_trials, (int, np.integer)) and n_trials >= 1):
            raise ValueError(f"n_trials is {n_trials!r}; expected a whole number of at least 1.")
        width = self._bin_size if bin_size is None else units.positive_seconds(bin_size, "bin_size")
        if level == "mesoscopic" and self.scheme != "second-order" and not np.isclose(width, self._bin_size):
            raise ValueError(
                f'bin_size is {1e3 * width:g} ms; with the scheme "{self.scheme}" the fit is a model at '
                f'{1e3 * self._bin_size:g} ms only. Leave bin_size out, or fit with scheme="second-order".'
            )
        rng = generator_from(random_state)
        runs = [
            simulate_freely(
                self.circuit_, duration, level=level, bin_size=width, scheme=self.scheme, noise=self.noise_,
                labels=self.labels_, n_recorded=self.result_.n_recorded, excitability=self._excitability(),
                stimulus=stimulus, random_state=rng,
            )
            for _ in range(n_trials)
        ]  # fmt: skip
        return runs[0] if n_trials == 1 else runs

    def uncertainty(self, X=None, *, trials=None, stimulus=None):
        """Intervals of the free values, and what the recording leaves open.

        Parameters
        ----------
        X, trials, stimulus : optional
            The training data, as in `fit`: needed where the fit itself did not come as far as to know, which takes
            ``method="smc"`` and enough iterations. Then particle filters are run around the fitted values.

        Returns
        -------
        Uncertainty
            Also kept in ``result_.uncertainty``.

        Raises
        ------
        ValueError
            If the data are needed and not given.
        """
        check_is_fitted(self)
        if self.result_.uncertainty is None:
            if X is None:
                raise ValueError("the fit holds no uncertainty yet; give the training data: uncertainty(X).")
            bin_size, own, circuit = self._bin_size, self.labels_ >= 0, self.circuit_
            data = self._read(X, trials, bin_size, reset=False)
            labels, K = self.labels_[own], circuit.n_populations
            observations = tuple(
                Observation.from_counts(counts[:, own], labels, K, self.histories_[0], drive, self._excitability())
                for counts, drive in zip(data.counts, stimuli_of(stimulus, data, circuit, bin_size), strict=True)
            )
            space = ParameterSpace(circuit)
            problem = ascent.Problem(
                space, observations, self.histories_, bin_size, self.scheme, self.n_particles, self.n_jobs
            )
            theta, rng = space.pack(parameters_of(circuit)), np.random.default_rng(self.result_.state["seed"])
            with one_blas_thread():
                found = posterior.uncertainty(posterior.explore(problem, theta, rng), space, theta)
            self.result_ = dataclasses.replace(self.result_, uncertainty=found)
        return self.result_.uncertainty

    def interval(self, function):
        """Estimate and interval of any function of the parameters, after `uncertainty`.

        Parameters
        ----------
        function : callable
            Of `Parameters` (s and mV), for instance ``lambda p: p.J[0, 0] * p.tau_m[0]``; a number or an array.

        Returns
        -------
        estimate, lower, upper
            In the form that the function returns.
        """
        return posterior.interval(function, self.uncertainty(), self.circuit_)

    def draw_circuits(self, n_draws=20, random_state=None):
        """Circuits that the recording leaves possible, as probable as the intervals of `uncertainty` say.

        What an experiment would do to the network is foretold with its uncertainty by doing it to each of them.

        Parameters
        ----------
        n_draws : int, default 20
        random_state : int, Generator, RandomState or None

        Returns
        -------
        list of Circuit
            Like `circuit_`, with other free values.

        Raises
        ------
        ValueError
            If the fit holds no uncertainty yet; see `uncertainty`.
        """
        check_is_fitted(self)
        if not (isinstance(n_draws, (int, np.integer)) and n_draws >= 1):
            raise ValueError(f"n_draws is {n_draws!r}; expected a whole number of at least 1.")
        return posterior.draw_circuits(self.uncertainty(), self.circuit_, n_draws, generator_from(random_state))

    def to_neo(self):
        """The inferred activity of the training data as a new ``neo.Block``; see `FitResult.to_neo`.

        Returns
        -------
        neo.Block
            One Segment per trial with an AnalogSignal in Hz that starts at the left edge of the first bin (in the clock
            of the recording), and one Group per population.
        """
        check_is_fitted(self)
        return self.result_.to_neo()

    def save(self, path, *, overwrite=False):
        """Save the fitted model as ``.npz`` without pickle, so that `load` gives back a model that does the same.

        Parameters
        ----------
        path : path-like
            Must end in ``.npz``. The file also serves as fit file (`neulvm_neo.io.load_fit`, ``neulvm annotate``).
        overwrite : bool, default False
            Replace an existing file.

        Notes
        -----
        A callable `start` and a `random_state` that is not a whole number are not kept; they matter for new fits only.
        """
        check_is_fitted(self)
        state = {**self.result_.state, "parameters": settings.to_plain(self)}  # as they are now
        save_fit(path, dataclasses.replace(self.result_, state=state), overwrite=overwrite)

    @classmethod
    def load(cls, path):
        """Load a model that `save` wrote.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        NeuLVM
            Fitted.

        Raises
        ------
        ValueError
            If the file is no fit, is damaged, or holds the results of a fit without the model.
        """
        result = load_fit(path)
        if not result.state:
            raise ValueError(f"{path}: holds the results of a fit, but not the model; save it with NeuLVM.save.")
        model = cls(**settings.from_plain(result.state["parameters"]))
        model._adopt(result)
        return model

    def get_feature_names_out(self, input_features=None):
        """Names of the populations, shape (n_populations,).

        Parameters
        ----------
        input_features : sequence of str, optional
            Only checked, as scikit-learn asks for.
        """
        check_is_fitted(self)
        known = getattr(self, "feature_names_in_", None)
        if input_features is not None and known is not None and not np.array_equal(input_features, known):
            raise ValueError("input_features is not equal to feature_names_in_")
        if input_features is not None and len(input_features) != self.n_features_in_:
            raise ValueError(f"input_features should have length equal to number of features ({self.n_features_in_}).")
        return np.array(self.circuit_.names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags

    def _point_of_departure(self, data, bin_size, rng):
        """Circuit, labels, distances between neurons if they were clustered just now, start and number of starts."""
        if self.warm_start and hasattr(self, "result_") and len(self.labels_) == data.n_neurons:
            before, circuit = self.circuit_, self.circuit or self.circuit_
            if circuit.names == before.names and np.array_equal(circuit.n_neurons, before.n_neurons):
                return circuit, self.labels_, None, parameters_of(before), 1
        circuit, labels, distances = assign(
            data, bin_size, labels=self.labels, circuit=self.circuit, n_populations=self.n_populations,
            population_sizes=self.population_sizes, random_state=rng,
        )  # fmt: skip
        return circuit, labels, distances, settings.start_of(self.start, circuit), self.n_init

    def _result(self, found, data, labels, bin_size, seed):
        """The fit with everything that is to be known about it."""
        circuit = found.circuit
        activities = (
            PopulationActivity(
                n,
                circuit.n_neurons,
                bin_size,
                t_start,
                circuit.names,
                n_bar=n_bar,
                n_std=n_std,
                n_lower=band[0],
                n_upper=band[1],
            )  # fmt: skip
            for n, n_bar, n_std, band, t_start in zip(
                found.n, found.n_bar, found.n_std, found.n_band, data.t_start, strict=True
            )
        )
        features = tuple(str(name) for name in getattr(self, "feature_names_in_", ()))
        return FitResult(
            circuit=circuit_with(circuit, found.parameters),
            labels=tuple(circuit.names[k] if k >= 0 else UNASSIGNED for k in labels),
            neuron_ids=data.neuron_ids or features or tuple(str(i) for i in range(data.n_neurons)),
            activities=tuple(activities),
            log_likelihood=float(found.log_likelihood),
            log_likelihood_error=float(found.log_likelihood_error),
            n_iter=int(found.n_iter),
            converged=bool(found.converged),
            status=str(found.status),
            trace=tuple(found.trace),
            uncertainty=_uncertainty(found, ParameterSpace(circuit)),
            neuron_thresholds=None
            if found.excitability is None
            else own_thresholds.thresholds_of(found.excitability, found.parameters.threshold, labels),
            kinds=tuple(found.kinds),
            settings=settings.described(self, bin_size, found.noise),
            software_version=__version__,
            state={
                "parameters": settings.to_plain(self),
                "histories": np.array(found.histories, dtype=float),
                "seed": seed,
                "noise": found.noise,
                "together": data.together,
                "named": data.neuron_ids is not None,
                "feature_names": list(features),
            },
        )

    def _adopt(self, result):
        """Take over a fit, just made or loaded: all fitted attributes come from it."""
        circuit, state = result.circuit, result.state
        self.result_ = result
        self.circuit_ = circuit
        self.J_, self.tau_m_ = circuit.J, circuit.tau_m
        self.u_rest_, self.threshold_ = circuit.u_rest, circuit.threshold
        own = result.neuron_thresholds
        self.neuron_thresholds_ = None if own is None else units.quantity(own, "mV")
        position = {name: k for k, name in enumerate(circuit.names)}
        self.labels_ = np.array([position.get(name, -1) for name in result.labels], dtype=np.int64)
        self.label_names_ = np.array(result.labels, dtype=object)
        activities = [trial.activity for trial in result.activities]
        self.activity_ = np.concatenate(activities) if state["together"] else activities
        self.log_likelihood_ = result.log_likelihood
        self.histories_ = state["histories"]
        self.noise_ = state.get("noise", "binomial")  # fits of earlier versions do not say
        self.n_iter_ = result.n_iter
        self.converged_ = result.converged
        self.trace_ = result.trace
        self._bin_size = result.activities[0].bin_size
        self.bin_size_ = units.milliseconds(self._bin_size)
        self.n_features_in_ = len(result.labels)
        if state["feature_names"]:
            self.feature_names_in_ = np.array(state["feature_names"], dtype=object)

    def _recording(self, n_samples, stimulus, random_state):
        """(spikes, activity), see `sample`, with a stimulus."""
        return simulate_recording(
            self.circuit_, n_samples, bin_size=self._bin_size, scheme=self.scheme, labels=self.labels_,
            n_recorded=self.result_.n_recorded, excitability=self._excitability(), stimulus=stimulus,
            random_state=random_state,
        )  # fmt: skip

    def _excitability(self):
        """Of the neurons that belong to a population, in the order of the columns; None if they are alike."""
        if self.result_.neuron_thresholds is None:
            return None
        threshold = parameters_of(self.circuit_).threshold
        return own_thresholds.excitability_of(self.result_.neuron_thresholds, threshold, self.labels_)

    def _activity(self, X, trials, stimulus):
        data, inferred = self._infer(X, trials, stimulus, method=self.method)
        size = self.circuit_.n_neurons * self._bin_size
        return data.give_back([trial.n / size for trial in inferred])

    def _infer(self, X, trials, stimulus, method):
        """Every trial by itself and with the same random numbers, so that its result does not depend on the others."""
        check_is_fitted(self)
        bin_size, own = self._bin_size, self.labels_ >= 0
        data = self._read(X, trials, bin_size, reset=False)
        parameters, labels, K = parameters_of(self.circuit_), self.labels_[own], self.circuit_.n_populations
        histories, seed, excitability = self.histories_, self.result_.state["seed"], self._excitability()
        options = dict(
            bin_size=bin_size, scheme=self.scheme, noise=self.noise_, method=method,
            n_particles=hidden_activity.MORE_PARTICLES * self.n_particles,
        )  # fmt: skip

        def one(counts, drive):  # without `self`, which would have to travel with every trial
            (smoothed,), _ = initialization.smoothed_activity([counts], labels, K, bin_size)
            observation = Observation.from_counts(counts, labels, K, smoothed[0], drive, excitability)
            rng = np.random.default_rng(seed)
            (trial,) = hidden_activity.infer(parameters, [observation], histories, rng=rng, n_jobs=1, **options)
            return trial

        stimuli = stimuli_of(stimulus, data, self.circuit_, bin_size)
        trials_and_drives = zip(data.counts, stimuli, strict=True)
        with one_blas_thread():
            inferred = run((joblib.delayed(one)(x[:, own], drive) for x, drive in trials_and_drives), self.n_jobs)
        lost = [i for i, trial in enumerate(inferred) if trial.collapsed]
        if lost:
            warnings.warn(
                f"Trial {lost[0]} of {len(inferred)}: {hidden_activity.LOST}.", ConvergenceWarning, stacklevel=4
            )
        return data, inferred

    def _read(self, X, trials, bin_size, reset):
        """The data as `Trials`, checked against the fit unless they are to be fitted (`reset`)."""
        first = reset

        def validate(x):
            nonlocal first
            valid = validate_data(
                self, x, reset=first, dtype=np.float64, ensure_non_negative=True, ensure_min_samples=2 if reset else 1
            )
            first = False
            return valid

        data = trials_of(X, bin_size=bin_size, multiple=self.multiple, trials=trials, validate=validate)
        if data.neuron_ids is None:
            return data
        if reset:
            self.n_features_in_ = data.n_neurons
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_  # of an earlier fit to a data frame
        elif data.n_neurons != self.n_features_in_:
            raise ValueError(
                f"X has {data.n_neurons} spike trains, but NeuLVM is expecting {self.n_features_in_} neurons as input."
            )
        elif self.result_.state["named"]:
            fitted = self.result_.neuron_ids
            if data.neuron_ids != fitted and sorted(data.neuron_ids) == sorted(fitted):
                raise ValueError("X has the neurons of fit in another order; reorder the spike trains.")
        return data


def _uncertainty(found, space):
    if found.covariance is not None and np.all(np.isfinite(found.covariance)):
        how = f"spread within and between {len(found.trace)} particle filters whose particles carry the free values"
        return posterior.of_covariance(space.pack(found.parameters), found.covariance, space, how)
    return None if found.landscape is None else posterior.uncertainty(found.landscape, space)


def _say_which_bins(bin_size, assumed):
    if assumed:
        warnings.warn(
            f"X is an array and bin_size is None: bins of {1e3 * bin_size:g} ms were assumed. Give bin_size, for "
            "instance bin_size=2 * pq.ms.",
            UserWarning,
            stacklevel=_FROM_FIT + 1,
        )
    else:
        logger.info("spike trains are counted in bins of %g ms", 1e3 * bin_size)
