"""Does a fit to spontaneous activity foretell what a pulse does to the network? (Wang et al. 2022, Fig. 5)."""

import warnings
from typing import NamedTuple

import joblib
import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from ..estimator import NeuLVM
from ..inference import tasks
from ..parameters import ParameterSpace, parameters_of
from . import pulses
from .circuits import winner_take_all
from .perturbation_report import ENOUGH, figure, summary
from .recovery import BIN_SIZE, TRIAL, count_switches, intervals_of, simulate_session
from .registry import Experiment

# mV. Set by `calibrated_amplitude` on the true network with the seeds 1 and 2, before any fit was pulsed: 19 and 17 of
# 200 trials switch after a pulse of 20 mV to the active population, 41 and 37 after one of 30 mV, 7 and 15 after none.
AMPLITUDE = 30.0
AMPLITUDES = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0)
N_CALIBRATION, SIGNIFICANT = 200, 0.01
_RULE = (
    f"the weakest of {', '.join(f'{a:g}' for a in AMPLITUDES)} mV whose pulses to the active population make "
    "rebounds: the network switches more often than without a pulse (Fisher's exact test, one-sided, "
    f"p < {SIGNIFICANT:g}, {N_CALIBRATION} trials of the true network)"
)
DIFFERENT = 0.05  # Fisher's exact test


class Plan(NamedTuple):
    """Sizes: fits, trials of every kind, whether the amplitude's rule is applied again, settings of `NeuLVM`, circuits
    drawn from what a fit leaves possible, and trials of each.

    A single fit is one to the first stretch of the simulation in which the network switches, like the paper's example.
    """

    n_fits: int
    n_trials: int
    calibrate: bool
    settings: dict
    n_draws: int = 20
    n_trials_of_draw: int = 25


FULL = Plan(20, 100, True, {"n_init": 5})
QUICK = Plan(1, 40, False, {"n_init": 1, "max_iter": 3, "n_particles": 30}, 5, 10)
SEARCHED = 10  # stretches, for one with a switch


def run(
    *, seed, quick, n_jobs=1, say=lambda line: None, checkpoint=lambda found: None, run_tasks=tasks.run_one_by_one,
    plan=None, circuits=None,
):  # fmt: skip
    """Pulse the spiking network and every fit, and count the switches.

    Parameters
    ----------
    seed : int
    quick : bool
        One fit of few iterations instead of 20.
    n_jobs : int
        Cores, over fits.
    say, checkpoint, run_tasks : callable
        See `registry.Experiment`.
    plan : Plan, optional
        Other sizes than those of `quick`.
    circuits : sequence of Circuit, optional
        Take these for fits: such as were made elsewhere, or the true one for a check.

    Returns
    -------
    dict
        ``truth_active``, ``truth_silent``, ``truth_none`` (no pulse) and the same of ``model``, the spiking networks
        with the fitted values, and of ``mesoscopic``, the fitted populations: [switches, trials], those of all fits
        added up. ``*_rebound``: switches after pulses to the active population that begin with both populations
        silenced. ``truth_interval_*``: 95 % of Clopper and Pearson. ``fits``: the same fit by fit, with ``inside``
        (both probabilities inside the truth's intervals), and fitted values. ``n_inside`` of ``n_fits``,
        ``n_inside_expected`` of perfect models, whose trials scatter, too, and ``n_compatible``: fits that Fisher's
        exact test does not tell from the truth for either pulse (p > 0.05). ``intervals`` of a fit: lower and upper end
        by value, and whether the truth is inside; ``covered``: [inside, all] over the fits. ``predicted_*``: the same
        as of ``model``, of circuits drawn from what a fit leaves possible; ``drawn`` of a fit: of each of them;
        ``bands`` of a fit: 90 % prediction bands of the truth's shares of switches (`pulses.prediction_band`);
        ``n_inside_predicted``: fits whose ``predicted_*`` are inside; ``foretold``: [shares of the truth inside the
        bands, all]; ``errors``: mean distances of the shares from the truth's. ``traces``: mean and s.d.
        of the activities around the pulse, of the truth and of the first fit that saw a switch.
    """
    plan = plan or (QUICK if quick else FULL)
    if circuits is not None:
        plan = plan._replace(n_fits=len(circuits))
    truth = pulses.pulse_trials(pulses.spiking(winner_take_all()), AMPLITUDE, plan.n_trials, [seed, 1])
    say(f"truth: {_told(truth)}")
    # the true circuit on the other scale: what is left to the fits
    populations = pulses.pulse_trials(pulses.mesoscopic(winner_take_all()), AMPLITUDE, plan.n_trials, [seed, 2])
    chosen, table = calibrated_amplitude([seed, 3], n_jobs=n_jobs) if plan.calibrate else (None, [])
    found = {
        **_counts("truth", truth),
        **_counts("mesoscopic_truth", populations),
        **{f"truth_interval_{pulsed}": _interval(truth, pulsed) for pulsed in pulses.PULSED},
        "amplitude": {"mV": AMPLITUDE, "rule": _RULE, "rule_gives_mV": chosen, "table": table},
        "traces": {"truth": _traces(truth)},
        "published": {
            "silent_above_active": True,
            "rebounds": True,
            "n_trials": 100,
            "note": "the text gives no numbers; the figure's are not in it",
        },  # fmt: skip
        "protocol": _protocol(plan, circuits is not None),
    }
    if plan.calibrate:
        say(f"amplitude: {AMPLITUDE:g} mV; by the rule, with this run's seed, {chosen} mV")
    rows = []
    for row, traces in run_tasks(_jobs(seed, plan, circuits, truth, n_jobs), min(n_jobs, plan.n_fits)):
        rows.append(row)
        if traces is not None:
            found["traces"]["model"] = traces
        said = ", ".join(f"{name} {row[f'model_{name}'][0]}/{row[f'model_{name}'][1]}" for name in pulses.PULSED)
        say(f"fit {len(rows)} of {plan.n_fits} ({row['status']}): switches after {said}; inside {row['inside']}")
        found |= _of_all(rows, truth)
        checkpoint(found)
    found["failures"] = _failures(found)
    return found


def calibrated_amplitude(seed, *, n_trials=N_CALIBRATION, amplitudes=AMPLITUDES, n_jobs=1):
    """The amplitude of the pulse, from the true network alone.

    Parameters
    ----------
    seed : int or sequence of int
    n_trials : int
    amplitudes : sequence of float, mV
        Rising.
    n_jobs : int

    Returns
    -------
    amplitude : float or None, mV
        The weakest whose pulses to the active population switch significantly more often than none; None if there is
        no such amplitude.
    table : list of dict
        For every amplitude ``mV``, ``p`` and [switches, trials] by what was pulsed.
    """
    jobs = [joblib.delayed(_of_amplitude)(amplitude, n_trials, seed) for amplitude in amplitudes]
    table = tasks.run(jobs, n_jobs)
    return next((row["mV"] for row in table if row["p"] < SIGNIFICANT), None), table


class _Fit(NamedTuple):
    circuit: object
    status: str
    log_likelihood: float
    kinds: str = ""
    intervals: dict = {}  # by value: lower end, upper end, whether the truth is inside
    draws: tuple = ()  # circuits that it leaves possible


class _Stretch(NamedTuple):
    """Training data of a fit: which stretch of the simulation, (n_bins, n_neurons), labels, switches of the network."""

    index: int
    counts: np.ndarray
    labels: np.ndarray
    n_switches: int


def _jobs(seed, plan, circuits, truth, n_jobs):
    simulation_seed, *seeds = (int(s) for s in np.random.SeedSequence(seed).generate_state(2 * plan.n_fits + 1))
    if circuits is None:
        sources = _stretches(simulation_seed, plan.n_fits)
        example = next((i for i, stretch in enumerate(sources) if stretch.n_switches), 0)
    else:
        sources, example = [_Fit(circuit, "given", float("nan")) for circuit in circuits], 0
    inner = n_jobs if plan.n_fits == 1 else 1
    for i, source in enumerate(sources):
        yield joblib.delayed(_one_fit)(source, seeds[2 * i], seeds[2 * i + 1], plan, truth, inner, i == example)


def _stretches(seed, n_fits):
    """The first and every second stretch after it, as in `recovery.study`; or the first in which something happens."""
    indices = range(SEARCHED) if n_fits == 1 else range(0, 2 * n_fits, 2)
    session = simulate_session(seed, seconds=TRIAL * (indices[-1] + 1))
    length = round(TRIAL / session.bin_size)
    found = []
    for i in indices:
        bins = slice(i * length, (i + 1) * length)
        n_switches = count_switches(session.activity[bins], session.bin_size)
        found.append(_Stretch(i, session.counts[bins], session.labels, n_switches))
    return found if n_fits > 1 else [next((stretch for stretch in found if stretch.n_switches), found[0])]


def _one_fit(source, fit_seed, trial_seed, plan, truth, n_jobs, is_example):
    """(what is kept of a fit, and its traces if it is the example)."""
    if isinstance(source, _Fit):
        fit, about = source, {}
    else:
        fit = _fitted(source.counts, source.labels, fit_seed, plan, n_jobs)
        about = {"stretch": source.index, "switches_in_training": source.n_switches}
    spiking = pulses.pulse_trials(pulses.spiking(fit.circuit), AMPLITUDE, plan.n_trials, [trial_seed, 1])
    populations = pulses.pulse_trials(pulses.mesoscopic(fit.circuit), AMPLITUDE, plan.n_trials, [trial_seed, 2])
    space = ParameterSpace(winner_take_all())
    values = space.values(space.pack(parameters_of(fit.circuit)))
    inside = {f"inside_{pulsed}": _is_inside(spiking, truth, pulsed) for pulsed in ("active", "silent")}
    compatible = spiking.n > 0 and all(
        pulses.differ(_count(spiking, pulsed), _count(truth, pulsed)) > DIFFERENT for pulsed in ("active", "silent")
    )
    row = {
        **about, "status": fit.status, "kinds": fit.kinds, "log_likelihood": fit.log_likelihood,
        "values": dict(zip(space.names, values.tolist(), strict=True)), "intervals": fit.intervals,
        "n_tries": spiking.n_tries, "n_first": spiking.n_first,
        **_counts("model", spiking), **_counts("mesoscopic", populations),
        **inside, "inside": all(inside.values()), "compatible": compatible,
        "silent_above_active": _silent_above_active(spiking),
        **_predicted(fit.draws, plan.n_trials_of_draw, truth, trial_seed),
    }  # fmt: skip
    return row, _traces(spiking) if is_example else None


def _predicted(draws, n_trials, truth, seed):
    """What a fit foretells of the truth's trials, by circuits that it leaves possible."""
    runs = [
        pulses.pulse_trials(pulses.spiking(circuit), AMPLITUDE, n_trials, [seed, 3, i])
        for i, circuit in enumerate(draws)
    ]
    drawn = {pulsed: [_count(run, pulsed) for run in runs] for pulsed in pulses.PULSED}
    predicted = {f"predicted_{pulsed}": np.sum([[0, 0], *counts], axis=0).tolist() for pulsed, counts in drawn.items()}
    rebounds = sum(int(run.rebound["active"].sum()) for run in runs)
    return {
        "drawn": drawn,
        "bands": {pulsed: list(pulses.prediction_band(counts, truth.n)) for pulsed, counts in drawn.items()},
        **predicted,
        "predicted_rebound": [rebounds, predicted["predicted_active"][1]],
    }


def _fitted(counts, labels, seed, plan, n_jobs):
    model = NeuLVM(
        winner_take_all(), labels=labels, bin_size=BIN_SIZE, random_state=seed, n_jobs=n_jobs, **plan.settings
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the status tells
        model.fit(counts)
    result = model.result_
    draws = () if result.uncertainty is None else tuple(model.draw_circuits(plan.n_draws, seed))
    return _Fit(model.circuit_, result.status, float(model.log_likelihood_), " ".join(result.kinds),
                intervals_of(result.circuit, result.uncertainty), draws)  # fmt: skip


def _of_amplitude(amplitude, n_trials, seed):
    trials = pulses.pulse_trials(pulses.spiking(winner_take_all()), amplitude, n_trials, seed)
    n, active, none = trials.n, int(trials.switched["active"].sum()), int(trials.switched["none"].sum())
    p = stats.fisher_exact([[active, n - active], [none, n - none]], alternative="greater").pvalue
    row = {pulsed: _count(trials, pulsed) for pulsed in pulses.PULSED}
    return {"mV": float(amplitude), "p": float(p), **row, "rebound": [int(trials.rebound["active"].sum()), n]}


def _count(trials, pulsed):
    return [int(trials.switched[pulsed].sum()), trials.n]


def _counts(who, trials):
    counts = {f"{who}_{pulsed}": _count(trials, pulsed) for pulsed in pulses.PULSED}
    return counts | {f"{who}_rebound": [int(trials.rebound["active"].sum()), trials.n]}


def _interval(trials, pulsed):
    return list(pulses.interval(*_count(trials, pulsed)))


def _is_inside(trials, truth, pulsed):
    return _holds(_interval(truth, pulsed), _count(trials, pulsed))


def _holds(band, count):
    """Whether the share of switches, [switches, trials], is inside; without trials it is not."""
    return bool(count[1] and band[0] <= count[0] / count[1] <= band[1])


def _silent_above_active(trials):
    return bool(trials.switched["silent"].sum() > trials.switched["active"].sum())


def _of_all(rows, truth):
    """What all fits so far have together."""
    names = [key for key in rows[0] if key.startswith(("model_", "mesoscopic_", "predicted_"))]
    ends = [interval for row in rows for interval in row["intervals"].values()]
    chances = [pulses.chance_inside(*_count(truth, pulsed), truth.n) for pulsed in ("active", "silent")]
    return {
        **{name: np.sum([row[name] for row in rows], axis=0).tolist() for name in names},
        "truth_silent_above_active": _silent_above_active(truth),
        "n_fits": len(rows),
        **{f"n_{key}": sum(row[key] for row in rows)
           for key in ("inside", "inside_active", "inside_silent", "compatible", "silent_above_active")},
        "n_inside_expected": float(len(rows) * np.prod(chances)),
        "covered": [sum(inside for *_, inside in ends), len(ends)],
        **_of_predictions(rows, truth),
        "fits": list(rows),
    }  # fmt: skip


def _of_predictions(rows, truth):
    """How near the truth the fitted circuits are, and what all circuits that the fits leave possible foretell."""
    after_pulses = ("active", "silent")
    rows = [row for row in rows if row["predicted_none"][1]]
    foretold = [_holds(row["bands"][pulsed], _count(truth, pulsed)) for row in rows for pulsed in after_pulses]
    return {
        "n_predicted": len(rows),
        "n_inside_predicted": sum(
            all(_holds(_interval(truth, pulsed), row[f"predicted_{pulsed}"]) for pulsed in after_pulses) for row in rows
        ),
        "foretold": [sum(foretold), len(foretold)],
        "errors": {
            who: {pulsed: _error([row[f"{who}_{pulsed}"] for row in rows], truth, pulsed) for pulsed in after_pulses}
            for who in ("model", "predicted")
        },
    }


def _error(counts, truth, pulsed):
    """Mean distance of shares of switches from the truth's; None without any."""
    shares = [k / n for k, n in counts if n]
    return float(np.mean(np.abs(np.array(shares) - truth.switched[pulsed].mean()))) if shares else None


def _traces(trials):
    """Mean and s.d. of the trials of either outcome, by what was pulsed."""
    traces = {"start": -pulses.SHOWN, "bin_size": float(BIN_SIZE.rescale("s"))}
    for pulsed in ("active", "silent"):
        traces[pulsed] = {}
        for outcome, which in (("stay", ~trials.switched[pulsed]), ("switch", trials.switched[pulsed])):
            group = trials.activity[pulsed][which]
            traces[pulsed][outcome] = {"n": len(group), "of": trials.n}
            if len(group):
                curves = {"mean": group.mean(axis=0), "sd": group.std(axis=0)}
                traces[pulsed][outcome] |= {name: np.round(values, 2).tolist() for name, values in curves.items()}
    return traces


def _failures(found):
    missed, n_fits = [], found["n_fits"]
    if not found["truth_silent_above_active"]:
        missed.append("Truth: pulses to the silent population do not switch more often than to the active one.")
    if (n := n_fits - found["n_silent_above_active"]) > 0:
        missed.append(f"{n} of {n_fits} fits: pulses to the silent population do not switch more often.")
    needed = int(np.ceil(ENOUGH / 20 * n_fits))
    if found["n_inside"] < needed:
        missed.append(
            f"Inside both of the truth's intervals are {found['n_inside']} of {n_fits} fits, fewer than {needed}."
        )
    blind = [row for row in found["fits"] if row.get("switches_in_training") == 0]
    if blind:
        inside = sum(row["inside"] for row in blind)
        missed.append(f"{len(blind)} of {n_fits} fits saw no switch in their 10 s; {inside} of them are inside.")
    if n := sum(row["model_none"][1] == 0 for row in found["fits"]):
        missed.append(f"{n} of {n_fits} fits have no state in which one population leads.")
    ends = [row["status"] for row in found["fits"] if row["status"] not in ("converged", "given")]
    if ends:
        missed.append(f"{len(ends)} of {n_fits} fits did not end by convergence ({', '.join(sorted(set(ends)))}).")
    amplitude = found["amplitude"]
    if amplitude["table"] and amplitude["rule_gives_mV"] != amplitude["mV"]:
        missed.append(f"By its rule the amplitude is {amplitude['rule_gives_mV']} mV with this run's seed, not "
                      f"{amplitude['mV']:g} mV.")  # fmt: skip
    return missed


def _protocol(plan, given):
    settings = ", ".join(f"{name} {value}" for name, value in plan.settings.items())
    which = "the first stretch in which the network switches" if plan.n_fits == 1 else "every second stretch"
    data = f"{plan.n_fits} circuits that were given" if given else (
        f"{plan.n_fits} fit(s), each to the spikes of 3 neurons per population in {TRIAL:g} s of spontaneous activity: "
        f"{which} of one simulation of the spiking network (every neuron, steps of "
        f"0.2 ms, the membrane's exact decay), bins of {BIN_SIZE.item():g} ms; twelve values free, drawn from 0.4 to 2 "
        f"times the true ones; E1 and E2 alike unless the spikes speak for values of their own (Circuit.kinds, "
        f"default); method smc, scheme second-order, {settings}"
    )  # fmt: skip
    return {
        "circuit": "winner_take_all: 400, 400 and 200 neurons",
        "fits": data,
        "pulse": f"{AMPLITUDE:g} mV (R I) for {1e3 * pulses.PULSE:g} ms to all neurons of one excitatory population, "
        "the same in truth and fit",
        "amplitude": f"{_RULE}; fixed before any fit was pulsed",
        "trials": f"{plan.n_trials} of truth and of every fit; a trial starts from asynchronous firing at 10 Hz and "
        f"runs for {0.5 + pulses.SETTLING:g} s; it counts if in the last {1e3 * pulses.STATE:g} ms one excitatory "
        "population leads by more than 5 Hz in every window of 100 ms; then it is run again, bit for bit the same "
        "until the pulse, with a pulse to the population that leads, and with one to the other",
        "switch": f"the last clear lead in windows of 100 ms within {1e3 * pulses.AFTER:g} ms of the pulse is the "
        "other population's; spontaneous switches count, and are counted without a pulse",
        "rebound": "a switch after a pulse to the active population, before which the activity of both excitatory "
        f"populations together, averaged over {1e3 * pulses.SILENCED_FOR:g} ms, falls below half of what it was, "
        f"within {1e3 * pulses.SILENCED_WITHIN:g} ms",
        "model": "every neuron of the fitted circuit, simulated like the truth (the main figures); mesoscopic: whole "
        "populations in bins of 0.5 ms",
        "predicted": f"{plan.n_draws} circuits drawn from what each fit leaves possible (NeuLVM.draw_circuits), "
        f"{plan.n_trials_of_draw} trials of each; bands: 90 % for the shares that as many trials as those of the truth "
        "will show",
        "interval": "Clopper and Pearson, 95 %",
        "departures": "the paper shows one fit and does not give the amplitude, the time in which a switch counts, or "
        "how trials start; its fits are those of its own algorithm, the best of five starts by joint likelihood, ours "
        "the best by the likelihood of the spikes",
    }


def _told(trials):
    told = [f"{name} {int(trials.switched[name].sum())}/{trials.n}" for name in pulses.PULSED]
    return f"switches after {', '.join(told)}; rebounds {int(trials.rebound['active'].sum())}"


EXPERIMENT = Experiment(
    name="perturbation",
    title="Does a fit to spontaneous activity foretell what a pulse does to the network? (Fig. 5)",
    run=run,
    figure=figure,
    summary=summary,
    keys=(
        "truth_active",
        "truth_silent",
        "model_active",
        "model_silent",
        "truth_rebound",
        "model_rebound",
        "n_inside",
        "n_inside_predicted",
        "foretold",
        "n_compatible",
        "n_silent_above_active",
        "covered",
    ),
    resumable=True,
)
