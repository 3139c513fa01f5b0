"""How many populations: by the likelihood of held-out recordings, and no more than it asks for."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from . import units
from .binning import bin_size_in_seconds
from .trials import trials_of

PARAMETER = "n_populations"


@dataclass(frozen=True, eq=False)
class PopulationChoice:
    """A number of populations, and what speaks for it.

    Parameters
    ----------
    n_populations : int
        The chosen number.
    candidates : tuple of int
    scores : numpy.ndarray, shape (n_candidates, n_folds)
        Held-out log-likelihood per bin, in nats; NaN where a fit failed.
    best_estimator : NeuLVM or None
        With the chosen number, fitted to all data; None with ``refit=False``.
    """

    n_populations: int
    candidates: tuple
    scores: np.ndarray
    best_estimator: object

    def summary(self):
        """One line per candidate, with its mean score and how far it falls short of the best; then what was chosen."""
        short, error = shortfall(self.candidates, self.scores)
        lines = [
            f"{k} population{'s' if k > 1 else ''}: {score:.5f} nats per bin, {gap:.5f} below the best"
            for k, score, gap in zip(self.candidates, self.scores.mean(axis=1), short, strict=True)
        ]
        return "\n".join([*lines, f"chosen: {self.n_populations} (standard error: {error:.5f})"])


def one_standard_error(cv_results):
    """``GridSearchCV(…, refit=one_standard_error)``: the fewest populations that predict as well as the best.

    The one-standard-error rule of cross-validation [1]_: "as well" means that the mean score over the folds falls short
    of the best one by no more than the best one's standard error. Folds differ by much more than models do (one has
    more spikes than another), so the standard error is that of what the best one gains, in every fold, over the
    candidate with the fewest populations.

    Parameters
    ----------
    cv_results : dict
        ``GridSearchCV.cv_results_`` of a search over ``n_populations``, also that of a step of a pipeline.

    Returns
    -------
    int
        Index of the chosen candidate.

    Raises
    ------
    ValueError
        If the search was not over ``n_populations``, if there were fewer than two folds, or if every fit failed.

    References
    ----------
    .. [1] Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., section 7.10.

    Examples
    --------
    >>> one_standard_error({
    ...     "param_n_populations": [1, 2, 3],
    ...     "split0_test_score": [-0.9, -0.51, -0.50], "split1_test_score": [-1.9, -1.49, -1.50],
    ... })
    1
    """
    names = [key for key in cv_results if key == f"param_{PARAMETER}" or key.endswith(f"__{PARAMETER}")]
    if len(names) != 1:
        raise ValueError(f"the search is not over {PARAMETER}: {[key for key in cv_results if 'param_' in key]}.")
    return _fewest_of_the_best(np.asarray(cv_results[names[0]], dtype=int), _scores(cv_results))


def select_n_populations(model, X, *, n_populations=(1, 2, 3, 4), n_folds=4, trials=None, n_jobs=None, refit=True):
    """Choose the number of populations by cross-validation, and fit with it.

    Every candidate is clustered and fitted without a fold of the data, and scored on it by log p(spikes | parameters),
    hidden activity integrated out. The fewest populations within one standard error of the best win
    (`one_standard_error`).

    Parameters
    ----------
    model : NeuLVM
        With ``labels=None`` and ``circuit=None``: neurons are clustered anew for every candidate and fold. Not changed.
    X : array (n_bins, n_neurons), list of arrays, SpikeRecording, or a Neo / Elephant form
        Trials are kept together. One recording is cut into `n_folds` stretches of equal length.
    n_populations : sequence of int
        Candidates.
    n_folds : int, at least 2
    trials : array, shape (n_bins,), optional
        As in `NeuLVM.fit`.
    n_jobs : int, optional
        joblib jobs over candidates and folds.
    refit : bool
        Whether to fit once more, to all data, with the chosen number.

    Returns
    -------
    PopulationChoice

    Raises
    ------
    ValueError
        If the model knows its populations already, or there are fewer trials than folds.

    Notes
    -----
    len(n_populations) × n_folds fits, and one to refit, which a joblib backend spreads over cores or machines::

        with joblib.parallel_config(backend="dask"):
            choice = select_n_populations(model, X)

    Examples
    --------
    >>> import quantities as pq
    >>> from neulvm_neo import Circuit, NeuLVM, simulate_microscopic
    >>> recording = simulate_microscopic(Circuit([100]), duration=1 * pq.s, n_recorded=3, random_state=1).spiketrains
    >>> model = NeuLVM(bin_size=2 * pq.ms, n_init=1, max_iter=9, tol=100, method="viterbi", n_particles=5)
    >>> select_n_populations(model, recording, n_populations=[1], n_folds=2).n_populations
    1
    """
    if model.labels is not None or model.circuit is not None:
        raise ValueError("the model knows its populations (labels, circuit); give one in which both are None.")
    if n_folds < 2:
        raise ValueError(f"n_folds is {n_folds!r}; expected at least 2.")
    bin_size = bin_size_in_seconds(model.bin_size)
    data = trials_of(X, bin_size=bin_size, multiple=model.multiple, trials=trials)
    counts = list(data.counts)
    if len(counts) == 1:
        counts = np.array_split(counts[0], n_folds)
    if len(counts) < n_folds:
        raise ValueError(f"X has {len(counts)} trials, fewer than n_folds={n_folds}; lower n_folds.")
    candidates = tuple(sorted(int(k) for k in n_populations))
    model_of_counts = clone(model).set_params(bin_size=units.milliseconds(bin_size))
    grid = {PARAMETER: list(candidates)}
    search = GridSearchCV(model_of_counts, grid, cv=n_folds, n_jobs=n_jobs, refit=False).fit(counts)
    scores = _scores(search.cv_results_)
    chosen = candidates[_fewest_of_the_best(np.array(candidates), scores)]
    best = clone(model).set_params(**{PARAMETER: chosen}).fit(X, trials=trials) if refit else None
    return PopulationChoice(chosen, candidates, scores, best)


def shortfall(sizes, scores):
    """How far every candidate falls short of the best, and by how much it may.

    Parameters
    ----------
    sizes : array-like of int, shape (n_candidates,)
        Numbers of populations.
    scores : numpy.ndarray, shape (n_candidates, n_folds)
        NaN where a fit failed.

    Returns
    -------
    short : numpy.ndarray, shape (n_candidates,)
        Mean over the folds; NaN for candidates that failed.
    error : float
        Standard error of what the best gains over the one of least size that did not fail.

    Raises
    ------
    ValueError
        If every candidate failed.
    """
    means = scores.mean(axis=1)
    fitted = np.flatnonzero(~np.isnan(means))
    if fitted.size == 0:
        raise ValueError("no candidate could be fitted in every fold; see the warnings of the search.")
    best, least = int(np.nanargmax(means)), fitted[np.argmin(np.asarray(sizes)[fitted])]
    gain = scores[best] - scores[least]
    return means[best] - means, float(gain.std(ddof=1) / np.sqrt(gain.size))


def _fewest_of_the_best(sizes, scores):
    short, error = shortfall(sizes, scores)
    good = np.flatnonzero(short <= error)  # NaN is not
    return int(good[np.argmin(sizes[good])])


def _scores(cv_results):
    folds = [key for key in cv_results if key.startswith("split") and key.endswith("_test_score")]
    if len(folds) < 2:
        raise ValueError(f"a standard error takes at least two folds; the search had {len(folds)}.")
    return np.array([cv_results[key] for key in folds], dtype=float).T
