"""Hidden activity and switches of the winner-take-all network from single trials: neuLVM and rivals.

Wang et al. 2022, section 5.2, Figs. 3, 4, S6, S7 and Table 1.
"""

import time
import warnings
from typing import NamedTuple

import joblib
import numpy as np
import quantities as pq
from sklearn.exceptions import ConvergenceWarning

from ..agreement import RefractoryViolationWarning
from ..estimator import NeuLVM
from ..inference import tasks
from ..inference.initialization import WIDTHS, smoothed_activity
from ..parameters import ParameterSpace, circuit_with, parameters_of
from ..simulation import simulate_mesoscopic, simulate_microscopic
from .circuits import winner_take_all
from .recovery import BIN_SIZE, SESSION, TRIAL, count_switches, simulate_session, winners
from .registry import Experiment
from .rival_process import NoAnswerError
from .winner_take_all_report import figure, summary
from .winner_take_all_rivals import LIBRARIES, RIVALS, ask, best_linear

FREE = 100.0  # s of every free simulation
PAPER_SMOOTHING = 400 * pq.ms  # of the spikes from which the published algorithm starts
SHOWN_BIN, SHOWN_FREE = 0.02, 20.0  # s: bins of what is drawn, and how much of a free simulation
LONG_GLM, LONG_FREE = "glm_500s", 5  # the GLM that sees the whole session, and its free simulations
N_NEURONS = 9
MODELS = ("smoothing", "neulvm", *RIVALS, "neulvm_paper")  # that can be asked for
_DT = float(BIN_SIZE.rescale(pq.s))
# In the order of the table.
TITLES = {
    "neulvm": "neuLVM",
    "neulvm_paper": "neuLVM as published, best joint likelihood",
    "neulvm_paper_by_p_y": "neuLVM as published, best p(y)",
    "neulvm_before": "neuLVM before learning",
    **{name: rival.title for name, rival in RIVALS.items()},
    LONG_GLM: "GLM, 500 s",
    "smoothing": "smoothed spikes",
}
PUBLISHED = {
    "models": {
        "neulvm": {"r_mean": 0.81, "r_std": 0.02, "switches_mean": 7.8, "switches_std": 4.1},
        "plds": {"r_mean": 0.68, "r_std": 0.11, "switches_mean": None, "switches_std": None},
        "slds": {"r_mean": 0.73, "r_std": 0.02, "switches_mean": 11.9, "switches_std": 8.9},
        "glm": {"r_mean": None, "r_std": None, "switches_mean": None, "switches_std": None},
    },
    "truth_switches_mean": 10.3,
    "truth_switches_std": 2.7,
    "not_visible": ["plds", "glm"],  # what the paper writes in place of their switches
}


class Size(NamedTuple):
    """How much is done."""

    session: float = SESSION  # s
    trial: float = TRIAL  # s
    n_trials: int = 20
    n_init: int = 5
    n_truth: int = 20  # free simulations of the spiking network
    settings: dict = {}  # of NeuLVM
    paper_settings: dict = {}
    long_glm: bool = True
    quick: bool = False


FULL = Size()
QUICK = Size(
    session=60.0, trial=4.0, n_trials=1, n_init=1, n_truth=3, settings={"max_iter": 4, "n_particles": 40},
    paper_settings={"max_iter": 1, "n_particles": 40}, long_glm=False, quick=True,
)  # fmt: skip


class _Trial(NamedTuple):
    """Stretch of the session: counts (n_bins, 9), activity of E1 and E2 in Hz (n_bins, 2), labels, seeds."""

    index: int
    begin: float  # s
    counts: np.ndarray
    activity: np.ndarray
    labels: np.ndarray
    seeds: tuple


def run(
    *, seed, quick, n_jobs=1, say=lambda line: None, checkpoint=lambda found: None, run_tasks=tasks.run_one_by_one,
    peer_pythons=None, size=None, models=None,
):  # fmt: skip
    """Cut trials out of one simulation, and give each to every model by itself.

    Parameters
    ----------
    seed : int
    quick : bool
    n_jobs : int
        Cores, over trials and models; a quick run takes two at least.
    say, checkpoint, run_tasks : callable
        See `registry.Experiment`.
    peer_pythons : dict of str, optional
        Interpreters by library of the rivals (`rival_process`).
    size : Size, optional
        In place of `FULL` or `QUICK`.
    models : sequence of str, optional
        Only these of `MODELS`.

    Returns
    -------
    dict
        ``models``: by model ``r_mean`` and ``r_std`` (Pearson correlation with the true activity of both excitatory
        populations in bins of 4 ms; of rivals with latents after the best linear transformation), ``r_linear_mean`` and
        ``r_linear_std`` (after it for all), ``switches_mean`` and ``switches_std`` per 100 s of free simulation,
        ``undecided_mean`` (share of windows in which neither population leads), ``n``, ``n_ran_away`` (free simulations
        without bounds, in which no switches are counted), and for rivals that gave nothing ``missing`` (not installed)
        or ``failed``, the reason. ``truth_switches_mean``, ``truth_switches_std``, ``truth_undecided_mean`` of the
        spiking network. ``trials``: the same one by one, with the fitted values of neuLVM. ``example``: what is drawn.
    """
    size = size or (QUICK if quick else FULL)
    pythons = peer_pythons or {}
    first, *seeds = np.random.SeedSequence(seed).spawn(2 + size.n_trials)
    session_seed, order_seed, truth_seed, glm_seed = (int(s) for s in first.generate_state(4))
    say(f"simulating {size.session:g} s of the network, and {size.n_truth} times {FREE:g} s")
    session = simulate_session(session_seed, size.session, N_NEURONS // 3, "euler")
    trials = _cut(session, size, order_seed, seeds[1:])
    truth = [_truth(int(s)) for s in np.random.SeedSequence(truth_seed).generate_state(size.n_truth)]
    asked = [name for name in MODELS if models is None or name in models]
    found = {
        "models": {},
        "truth_switches_mean": float(np.mean([t["switches"] for t in truth])),
        "truth_switches_std": float(np.std([t["switches"] for t in truth])),
        "truth_undecided_mean": float(np.mean([t["undecided"] for t in truth])),
        "truth_switches": [t["switches"] for t in truth],
        "trials": [],
        "example": _example(trials, truth[0]["shown"]),
        "published": PUBLISHED,
        "protocol": _protocol(size) | {"models": asked},
        "failures": [],
    }
    whole = _Trial(-1, 0.0, session.counts, session.activity[:, :2], session.labels, (glm_seed,) * 3)
    jobs = [joblib.delayed(_do)(name, trial, size, pythons) for trial in trials for name in asked]
    if size.long_glm and "glm" in asked:
        jobs.append(joblib.delayed(_do)(LONG_GLM, whole, size, pythons))
    if size.quick and n_jobs in (None, 1):
        n_jobs = 2
    with warnings.catch_warnings():  # here, because threads share the filters
        warnings.simplefilter("ignore", ConvergenceWarning)  # the status is in the record
        # after 4 ms, in the course of the next bin, a simulated neuron may fire again: no news, and said in every fit
        warnings.simplefilter("ignore", RefractoryViolationWarning)
        for index, records in run_tasks(jobs, n_jobs):
            _add(found, index, trials, records)
            found["models"] = _models(found)
            for name, record in records.items():
                say(_line(index, name, record))
            checkpoint(found)
    return found


def _cut(session, size, seed, seeds):
    """Trials that do not overlap, drawn at random; for a quick run first those with a switch, as few have one."""
    length = round(size.trial / session.bin_size)
    n = len(session.counts) // length
    stretches = np.split(session.activity[: n * length], n)
    order = np.random.default_rng(seed).permutation(n)
    if size.quick:
        order = sorted(order, key=lambda place: count_switches(stretches[place], session.bin_size) == 0)
    chosen = order[: size.n_trials]
    if len(chosen) < size.n_trials:
        raise ValueError(f"a session of {size.session} s has {n} trials of {size.trial} s; {size.n_trials} were asked.")
    trials = []
    for index, (place, child) in enumerate(zip(chosen, seeds, strict=True)):
        bins = slice(place * length, (place + 1) * length)
        own = tuple(int(s) for s in child.generate_state(3))
        counts, activity = session.counts[bins], session.activity[bins, :2]
        trials.append(_Trial(index, float(place * size.trial), counts, activity, session.labels, own))
    return trials


def _truth(seed):
    """A free simulation of the spiking network."""
    run = simulate_microscopic(
        winner_take_all(), duration=FREE * pq.s, bin_size=BIN_SIZE, integration="euler", random_state=seed
    )
    return _free(run.activity[:, :2], _DT)


def _do(name, trial, size, pythons):
    """Records by model of one task, with the index of the trial."""
    began = time.perf_counter()
    if name == "neulvm":
        records = _neulvm(trial, size)
    elif name == "neulvm_paper":
        records = _published(trial, size)
    elif name == "smoothing":
        records = {name: _smoothing(trial)}
    else:
        records = {name: _rival(name, trial, size, pythons)}
    for record in records.values():
        record.setdefault("seconds", round(time.perf_counter() - began, 2))
    return trial.index, records


def _fit(trial, method, scheme, n_init, random_state, **settings):
    """A fitted model, and the values that its starts were drawn at."""
    circuit, drawn = winner_take_all(), []
    space = ParameterSpace(circuit)

    def start(rng, *_):  # 0.4 to 2 times the true values
        drawn.append(space.unpack(space.draw(rng)))
        return drawn[-1]

    model = NeuLVM(
        circuit, labels=trial.labels, bin_size=BIN_SIZE, method=method, scheme=scheme, n_init=n_init, start=start,
        random_state=random_state, n_jobs=1, **settings,
    )  # fmt: skip
    model.fit(trial.counts)
    return model, drawn


def _neulvm(trial, size):
    """Our default, and one of its starts before learning."""
    fit_seed, free_seed, _ = trial.seeds
    began = time.perf_counter()
    model, drawn = _fit(trial, "smc", "second-order", size.n_init, fit_seed, **size.settings)
    seconds = round(time.perf_counter() - began, 2)
    before = circuit_with(winner_take_all(), drawn[0])
    run = _mesoscopic(before, "second-order", free_seed)
    return {
        "neulvm": _of_model(trial, model, free_seed) | {"seconds": seconds},
        "neulvm_before": _free(run.activity[:, :2], _DT),
    }


def _published(trial, size):
    """Five fits as published; the one with the highest joint likelihood, and the one with the highest p(y)."""
    _, free_seed, seed = trial.seeds
    fits = [
        _fit(trial, "paper", "euler", 1, int(s), smoothing=PAPER_SMOOTHING, **size.paper_settings)[0]
        for s in np.random.SeedSequence(seed).generate_state(size.n_init)
    ]
    joint = [float(fit.trace_[-1]["log_likelihood"]) for fit in fits]
    p_y = [float(fit.log_likelihood_) for fit in fits]
    told = {"joint_of_starts": joint, "log_likelihood_of_starts": p_y}
    by_joint, by_p_y = int(np.argmax(joint)), int(np.argmax(p_y))
    chosen = _of_model(trial, fits[by_joint], free_seed) | told
    other = chosen if by_p_y == by_joint else _of_model(trial, fits[by_p_y], free_seed) | told
    return {"neulvm_paper": dict(chosen), "neulvm_paper_by_p_y": dict(other)}


def _of_model(trial, model, seed):
    """Record of a fitted neuLVM."""
    run = _mesoscopic(model.circuit_, model.scheme, seed)
    space = ParameterSpace(winner_take_all())
    values = space.values(space.pack(parameters_of(model.circuit_)))
    return _compared(model.activity_[:, :2], trial.activity) | _free(run.activity[:, :2], _DT) | {
        "values": dict(zip(space.names, np.asarray(values).tolist(), strict=True)),
        "log_likelihood": float(model.log_likelihood_),
        "status": model.result_.status,
        "kinds": " ".join(model.result_.kinds),
    }  # fmt: skip


def _mesoscopic(circuit, scheme, seed):
    return simulate_mesoscopic(circuit, duration=FREE * pq.s, bin_size=BIN_SIZE, scheme=scheme, random_state=seed)


def _smoothing(trial):
    """Spikes smoothed by the Gaussian that suits the truth best: more than a user can have (Fig. S6)."""
    tried = [smoothed_activity([trial.counts], trial.labels, 3, _DT, width)[0][0][:, :2] for width in WIDTHS]
    return max((_compared(inferred, trial.activity) for inferred in tried), key=lambda record: record["r"])


def _rival(name, trial, size, pythons):
    """Record of a rival, or why there is none."""
    rival = RIVALS["glm" if name == LONG_GLM else name]
    n_free = LONG_FREE if name == LONG_GLM else 1
    try:
        answer = ask(
            "glm" if name == LONG_GLM else name, trial.counts, trial.activity, trial.labels, bin_size=_DT,
            seconds=n_free * FREE, seed=trial.seeds[1], python=pythons.get(rival.library),
            settings=rival.quick if size.quick else None,
        )  # fmt: skip
    except NoAnswerError as error:
        return {"missing" if error.missing else "failed": str(error)}
    record = {} if answer.inferred is None else _compared(answer.inferred, trial.activity)
    parts = [_free(part, answer.bin_size) for part in np.array_split(answer.simulated, n_free)]
    record |= parts[0]
    if answer.ran_away:  # then there are no states to switch between
        del record["switches"], record["undecided"]
        record["ran_away"] = True
    elif n_free > 1:
        record |= {"switches": [part["switches"] for part in parts]}
        record["undecided"] = float(np.mean([part["undecided"] for part in parts]))
    return record | answer.details


def _compared(inferred, activity):
    """Correlation with the true activity over both populations, as it is and after the best linear transformation."""
    return {
        "r": _r(inferred, activity),
        "r_linear": _r(best_linear(inferred, activity), activity),
        "inferred": _coarse(inferred, _DT),
    }


def _r(inferred, activity):
    if np.std(inferred) == 0:
        return float("nan")
    return float(np.corrcoef(inferred.ravel(), activity.ravel())[0, 1])


def _free(activity, bin_size):
    """Switches per 100 s and undecided windows of a free simulation."""
    return {
        "switches": count_switches(activity, bin_size) * 100.0 / (len(activity) * bin_size),
        "undecided": float(np.mean(winners(activity, bin_size) == 0)),
        "shown": _coarse(activity[: round(SHOWN_FREE / bin_size)], bin_size),
    }


def _coarse(activity, bin_size):
    """In bins for drawing, or in its own if they are wider."""
    merge = max(round(SHOWN_BIN / bin_size), 1)
    n = len(activity) // merge
    mean = activity[: n * merge].reshape(n, merge, -1).mean(axis=1)
    return {"bin_size": merge * bin_size, "activity": np.round(mean, 1)}


def _example(trials, free):
    """What is drawn: the first trial with a switch, if there is one."""
    trial = next((trial for trial in trials if count_switches(trial.activity, _DT)), trials[0])
    times = [((np.flatnonzero(n) + 0.5) * _DT).round(4) for n in trial.counts.T]
    return {
        "trial": trial.index,
        "duration": len(trial.counts) * _DT,
        "spikes": times,
        "labels": trial.labels,
        "models": {"truth": {"inferred": _coarse(trial.activity, _DT), "shown": free}},
    }


def _add(found, index, trials, records):
    """Put records in their places; activities are kept of the example only."""
    for name, record in records.items():
        shown = {what: record.pop(what) for what in ("inferred", "shown") if what in record}
        if index == found["example"]["trial"] or name == LONG_GLM:
            found["example"]["models"][name] = shown | {what: record[what] for what in ("r",) if what in record}
        for kind in ("missing", "failed"):
            if kind in record:
                where = "" if kind == "missing" else f" (trial {index})"
                line = f"{TITLES[name]}{where}: {record[kind]}"
                if line not in found["failures"]:
                    found["failures"].append(line)
        if "ran_away" in record:
            found["failures"].append(f"{TITLES[name]} (trial {index}): its free simulation runs away")
        if "converged" not in record.get("status", "converged"):
            found["failures"].append(f"{TITLES[name]} (trial {index}): {record['status']}")
        if index < 0:
            found[name] = record
            continue
        while len(found["trials"]) <= index:
            at = trials[len(found["trials"])]
            switches = count_switches(at.activity, _DT)
            found["trials"].append({"trial": at.index, "begin": at.begin, "switches": switches, "models": {}})
        found["trials"][index]["models"][name] = record


def _models(found):
    """Means and standard deviations over trials, by model."""
    models = {}
    for name, title in TITLES.items():
        records = [trial["models"][name] for trial in found["trials"] if name in trial["models"]]
        if name in found:
            records = [found[name] | {"switches": s} for s in found[name].get("switches", [np.nan])]
        if not records:
            continue
        row = {"title": title, "n": sum("missing" not in r and "failed" not in r for r in records)}
        row["n_ran_away"] = sum("ran_away" in r for r in records)
        for what in ("r", "r_linear", "switches", "undecided"):
            values = np.array([record.get(what, np.nan) for record in records], dtype=float)
            values = values[np.isfinite(values)]
            row[f"{what}_mean"] = float(values.mean()) if len(values) else None
            row[f"{what}_std"] = float(values.std()) if len(values) else None
        if not row["n"]:
            row |= {kind: records[0][kind] for kind in ("missing", "failed") if kind in records[0]}
        models[name] = row
    return models


def _line(index, name, record):
    where = "session" if index < 0 else f"trial {index + 1}"
    if "missing" in record or "failed" in record:
        return f"{where}: {TITLES[name]}: {record.get('missing') or record['failed']}"
    parts = [f"r {record['r']:.2f}"] if "r" in record else []
    if "switches" in record:
        parts.append(f"switches per 100 s {np.round(record['switches'], 1)}")
    if "ran_away" in record:
        parts.append("its free simulation runs away")
    return f"{where}: {TITLES[name]}: {', '.join(parts)} ({record['seconds']:.0f} s)"


def _protocol(size):
    settings = {name: rival.quick if size.quick else rival.settings for name, rival in RIVALS.items()}
    n = "one trial" if size.n_trials == 1 else f"{size.n_trials} trials"
    quick = (
        f"A quick run: {n} of {size.trial:g} s, few starts and iterations, short fits of the rivals, no "
        "GLM of the whole session. It shows that all runs, no more."
    )
    return {
        "size": quick if size.quick else "As in the paper.",
        "network": "winner-take-all, Euler steps of 0.2 ms; tau_m 20 ms and tau_syn 6 ms of the inhibitory population "
        "in place of the printed 50 and 3 ms, with which the network does not switch",
        "session_s": size.session,
        "trial_s": size.trial,
        "n_trials": size.n_trials,
        "trials": "drawn at random from the session, without overlap"
        + ", those with a switch first" * size.quick
        + "; every model is fitted to each by itself",
        "neurons": "9, 3 of each population; their populations are given",
        "bin_ms": 1e3 * _DT,
        "n_starts": size.n_init,
        "start": "every free value uniform between 0.4 and 2 times the true one",
        "neulvm": {
            "method": "smc", "scheme": "second-order", **size.settings,
            "selection": "by p(y | theta): starts compete in rounds, which departs from the paper, because the joint "
            "likelihood of a posterior mean is none",
        },
        "neulvm_paper": {
            "method": "paper: Baum-Viterbi with the settings of Table S5, Euler step of 4 ms", **size.paper_settings,
            "smoothing_ms": 400, "selection": "best joint likelihood, and beside it best p(y | theta)",
        },
        "neulvm_before": "free simulation of the model at the first start (Fig. S7)",
        "smoothing": "Gaussian with the width that suits the truth best (Fig. S6)",
        "rivals": settings,
        "rivals_departures": [
            "PLDS: dynamax's moment-matching filter and gradient ascent in place of variational EM (Matlab)",
            "SLDS: as in the paper (stochastic variational inference, factorised posterior, orthogonal Poisson "
            "emissions, exponential link, 40 ms, 3 states), and beside it by Laplace EM",
            "GLM: the paper gives no details; nemos, history of 400 ms on 8 raised cosines, ridge chosen on the last "
            "fifth",
            "Poisson HMM and GPFA are not in the paper",
        ],
        "r": "Pearson correlation over both excitatory populations in bins of 4 ms; latents of rivals after the best "
        "affine transformation to the true activity (values in wider bins are held), neuLVM and smoothing as they are; "
        "r_linear: after it for all. A GLM has no hidden activity",
        "switches": "per 100 s of free simulation: rates in windows of 100 ms, a switch when E1 - E2 goes from beyond "
        "+5 to beyond -5 Hz or back. Of rivals: rates of the recorded neurons, averaged by population. The paper does "
        "not describe its detector; where it says not visible (PLDS, GLM), this one may count fluctuations: see "
        "undecided, the share of windows in which neither population leads",
    }  # fmt: skip


EXPERIMENT = Experiment(
    "winner-take-all",
    "Is hidden activity inferred, and are switches learnt, from one trial of 10 s? (Figs. 3, 4, S6, S7, Table 1)",
    run,
    figure,
    summary,
    keys=("models", "truth_switches_mean"),
    peers=LIBRARIES,
    models=MODELS,
    resumable=True,
)
