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
    best_estimator : NeuLVM
        With the chosen number, fitted to all data.
    """

    n_populations: int
    candidates: tuple
    scores: np.ndarray
    best_estimator: object

    def summary(self):
        """One line per candidate: its mean score, and how far it falls short of the best, with the standard error."""
        short, error = shortfall(self.scores)
        lines = [
            f"{k} population{'s' if k > 1 else ''}: {score:.5f} nats per bin, {gap:.5f} ± {sd:.5f} below the best"
            for k, score, gap, sd in zip(self.candidates, self.scores.mean(axis=1), short, error, strict=True)
        ]
        return "\n".join([*lines, f"chosen: {self.n_populations}"])


def one_standard_error(cv_results):
    """``GridSearchCV(…, refit=one_standard_error)``: the fewest populations that predict as well as the best.

    "As well" means: over the folds, the score falls short of the best one by no more than one standard error of that
    difference. Folds differ by much more than models do (one has more spikes than another), so it is differences that
    are averaged.

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


def select_n_populations(model, X, *, n_populations=(1, 2, 3, 4), n_folds=4, trials=None, n_jobs=None):
    """Choose the number of populations by cross-validation, and fit with it.

    Every candidate is clustered and fitted without a fold of the data, and scored on it by log p(spikes | parameters),
    hidden activity integrated out. The fewest populations within one standard error of the best win
    (`one_standard_error`).

    Parameters
    ----------
    model : NeuLVM
        With ``labels=None`` and ``circuit=None``: neurons are clustered anew for every candidate and fold. Not changed.
    X : array (n_bins, n_neurons), list of arrays, or a Neo / Elephant form
        Trials are kept together. One recording is cut into `n_folds` stretches of equal length.
    n_populations : sequence of int
        Candidates.
    n_folds : int, at least 2
    trials : array, shape (n_bins,), optional
        As in `NeuLVM.fit`.
    n_jobs : int, optional
        joblib jobs over candidates and folds.

    Returns
    -------
    PopulationChoice

    Raises
    ------
    ValueError
        If the model knows its populations already, or there are fewer trials than folds.

    Notes
    -----
    len(n_populations) × n_folds + 1 fits. With one joblib backend they are spread over cores or machines::

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
    best = clone(model).set_params(**{PARAMETER: chosen}).fit(X, trials=trials)
    return PopulationChoice(chosen, candidates, scores, best)


def shortfall(scores):
    """How far every candidate falls short of the best: mean over folds and its standard error, both (n_candidates,)."""
    means = scores.mean(axis=1)
    if np.all(np.isnan(means)):
        raise ValueError("no candidate could be fitted in every fold; see the warnings of the search.")
    short = scores[int(np.nanargmax(means))] - scores
    return short.mean(axis=1), short.std(axis=1, ddof=1) / np.sqrt(scores.shape[1])


def _fewest_of_the_best(sizes, scores):
    short, error = shortfall(scores)
    good = np.flatnonzero(short <= error)  # NaN is not
    return int(good[np.argmin(sizes[good])])


def _scores(cv_results):
    folds = [key for key in cv_results if key.startswith("split") and key.endswith("_test_score")]
    if len(folds) < 2:
        raise ValueError(f"a standard error takes at least two folds; the search had {len(folds)}.")
    return np.array([cv_results[key] for key in folds], dtype=float).T
