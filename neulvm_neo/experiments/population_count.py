"""Does the likelihood of held-out stretches find how many populations a recording comes from?

Simulated networks of two and three competing populations, of which a few neurons are recorded; nobody tells the model
which neurons belong together, nor anything else about the circuit.
"""

import json
import time
from pathlib import Path

import numpy as np
import quantities as pq

from ..circuit import Circuit
from ..estimator import NeuLVM
from ..selection import select_n_populations, shortfall
from ..simulation import simulate_microscopic
from .circuits import winner_take_all

DURATION = 24.0  # s
N_RECORDED = 6  # neurons per population
BIN_SIZE = 0.004  # s
CANDIDATES = (1, 2, 3, 4)
N_FOLDS = 3
# What a data set may cost: 4 candidates × 3 folds × so many starts and iterations. With a single start, one of two
# networks of three populations was taken for four: all folds start alike, and a bad start is bad in all of them. Few
# iterations by the particle filter; as many of "viterbi" end in networks that the filter cannot follow, whose held-out
# scores say nothing.
BUDGET = {"method": "smc", "n_init": 3, "max_iter": 5, "n_particles": 50, "tol": 10.0}


def two_rivals():
    """Two populations that excite themselves and inhibit each other; they take turns, twice a second.

    Returns
    -------
    Circuit

    Examples
    --------
    >>> two_rivals().names
    ('A', 'B')
    """
    return Circuit(
        [400, 400], names=["A", "B"], J=[[6.3, -6.3], [-6.3, 6.3]] * pq.mV, u_rest=12.4 * pq.mV, t_ref=4 * pq.ms,
        tau_syn=3 * pq.ms,
    )  # fmt: skip


NETWORKS = {2: two_rivals, 3: winner_take_all}


def choose(seed, n_true, *, duration=DURATION, n_recorded=N_RECORDED, n_folds=N_FOLDS, n_jobs=None, budget=None):
    """Simulate a network of `n_true` populations and choose their number from its recording.

    Parameters
    ----------
    seed : int
    n_true : {2, 3}
    duration : float, s
    n_recorded : int
        Neurons per population.
    n_folds : int
    n_jobs : int, optional
    budget : dict, optional
        Settings of `NeuLVM`, instead of `BUDGET`.

    Returns
    -------
    dict
        For JSON: what was chosen, the scores of every candidate and fold (nats per bin), how far each candidate falls
        short of the best, the standard error, and the time taken (s).
    """
    started = time.perf_counter()
    run = simulate_microscopic(
        NETWORKS[n_true](), duration=duration * pq.s, n_recorded=n_recorded, random_state=seed
    )  # fmt: skip
    model = NeuLVM(bin_size=BIN_SIZE * pq.s, random_state=seed % 2**32, **(BUDGET if budget is None else budget))
    choice = select_n_populations(
        model, run.spiketrains, n_populations=CANDIDATES, n_folds=n_folds, n_jobs=n_jobs, refit=False
    )
    short, error = shortfall(choice.candidates, choice.scores)
    return {
        "seed": int(seed),
        "true": n_true,
        "chosen": choice.n_populations,
        "scores": choice.scores.tolist(),
        "short_of_best": short.tolist(),
        "standard_error": error,
        "seconds": time.perf_counter() - started,
    }


def study(seeds, *, path=None, **settings):
    """`choose` for every seed, with two and three populations in turns.

    Parameters
    ----------
    seeds : sequence of int
    path : path-like, optional
        JSON file, written after every data set.
    **settings
        See `choose`.

    Returns
    -------
    dict
        ``sets``, the results, and ``n_right`` of ``n``.
    """
    sets = []
    for i, seed in enumerate(seeds):
        sets.append(choose(seed, (2, 3)[i % 2], **settings))
        found = {"n": len(sets), "n_right": sum(one["chosen"] == one["true"] for one in sets), "sets": sets}
        if path is not None:
            Path(path).write_text(json.dumps(found, indent=1))
    return found


def speed_of_two_workers(n_starts=8, *, seed=0, duration=10.0, max_iter=5):
    """Time of one fit with `n_starts` starts on one and on two Dask workers of this machine, in turns in one run.

    But for `max_iter` the fit has the settings that `NeuLVM` has by default.

    Needs ``pip install neulvm-neo[scale]``, and two cores that nobody else uses.

    Parameters
    ----------
    n_starts : int
    seed : int
    duration : float, s
    max_iter : int
        Iterations of every start.

    Returns
    -------
    dict
        Seconds with ``one`` and ``two`` workers, their ``ratio``, and whether both fits are ``identical``.
    """
    import joblib
    from dask.distributed import Client, LocalCluster

    circuit = winner_take_all()
    trains = simulate_microscopic(circuit, duration=duration * pq.s, n_recorded=3, random_state=seed).spiketrains
    model = NeuLVM(
        circuit, labels="population", bin_size=BIN_SIZE * pq.s, n_init=n_starts, max_iter=max_iter, random_state=seed
    )
    seconds, fits = {}, {}
    for name, n_workers in (("one", 1), ("two", 2)):
        with (
            LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster),
            joblib.parallel_config(backend="dask"),
        ):
            model.set_params(max_iter=1, n_init=n_workers).fit(trains)  # kernels are loaded
            model.set_params(max_iter=max_iter, n_init=n_starts)
            started = time.perf_counter()
            model.fit(trains)
            seconds[name] = time.perf_counter() - started
            fits[name] = model.log_likelihood_, np.asarray(model.J_).tobytes()
    return {**seconds, "ratio": seconds["one"] / seconds["two"], "identical": fits["one"] == fits["two"]}
