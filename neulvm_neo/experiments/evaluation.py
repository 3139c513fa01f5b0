"""What a fit says of spikes that it has not seen, beside what one would use instead: bits per spike.

Every model is fitted to the same spikes of the same units and predicts every later bin from the bins before. Its gain
is how much more likely it makes the spikes than one constant rate for every unit does, taken from the training data in
the same bins. Hidden activity, states, and the past of a unit's own spikes may all help.
"""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from ..binning import bin_recording, bin_size_in_seconds
from ..constant_rates import spike_probabilities
from ..recording import SpikeRecording
from .baselines import causal_poisson
from .rival_process import NoAnswerError, answer
from .winner_take_all_rivals import RIVALS as _RIVALS

# The first held-out spikes count for nobody: until then models know too little of the past (`nemos_glm.WINDOW`).
BURN_IN = 0.5  # s
PIECES = 20  # of the held-out time, whose differences make the standard error
RIVALS = {name: _RIVALS[name] for name in ("hmm", "glm")}  # those that can say how likely the next spikes are
INSTALLED_BY = "pip install -e '.[rivals]', or --peer-python"
TITLES = {
    "neulvm": "neuLVM",
    "population_rates": "one constant rate per population",
    "smoothed_rates": "smoothed past spikes of the population",
} | {name: rival.title for name, rival in RIVALS.items()}


def evaluate(model, training, held_out, *, rivals=tuple(RIVALS), peer_pythons=None, seed=1, say=None):
    """Bits per spike that a fitted model and its rivals gain over constant rates.

    Parameters
    ----------
    model : NeuLVM
        Fitted to `training`.
    training, held_out : SpikeRecording or any Neo form
        One stretch each, of the same units.
    rivals : sequence of str
        From `RIVALS`. Their settings are chosen within the training data.
    peer_pythons : dict, optional
        Interpreters by library, where that is not installed beside this package; see `rival_process`.
    seed : int
        Of the rivals' starts.
    say : callable, optional
        ``say(line)`` reports progress.

    Returns
    -------
    dict
        For JSON. ``bits_per_spike`` and ``standard_error`` by model (names of `TITLES`); ``bits``, the gain in each of
        `PIECES` pieces of the held-out time, whose edges (s, of the recording's clock) are ``edges``; ``n_spikes`` and
        ``n_units`` that were predicted; ``bin_size`` (s); ``settings`` and ``versions`` of the rivals; ``failures``,
        those without an answer and why.

    Raises
    ------
    ValueError
        If a stretch has several trials, is too short, or holds no spikes to predict.

    Notes
    -----
    Ctrl-C ends the rivals; what is known by then is returned, and who was interrupted is among the failures.
    """
    say = say or (lambda line: None)
    peer_pythons = peer_pythons or {}
    bin_size, labels = bin_size_in_seconds(model.bin_size_), model.labels_[model.labels_ >= 0]
    seen, unseen = _Stretch.of(training, "training", model), _Stretch.of(held_out, "held_out", model)
    check_duration(unseen.duration)
    if not unseen.counts[round(BURN_IN / bin_size) :].any():
        raise ValueError("held_out holds no spikes of the units that were fitted; choose another window.")
    constant, by_population = (spike_probabilities([seen.counts], of) for of in (None, labels))
    reference = _log_likelihood(unseen.counts, constant)
    gains = {
        "neulvm": (np.ravel(model.score_samples(held_out)) - reference, bin_size),
        "population_rates": (_log_likelihood(unseen.counts, by_population) - reference, bin_size),
        "smoothed_rates": (causal_poisson(seen.counts, unseen.counts, labels, bin_size) - reference, bin_size),
    }
    settings, versions, failures = {}, {}, []
    waiting = list(rivals)
    while waiting:
        rival = RIVALS[name := waiting.pop(0)]
        say(f"{rival.title} ({rival.library})")
        problem = {
            "script": rival.script, "task": "predict", "training": seen.counts.astype(int).tolist(),
            "test": unseen.counts.astype(int).tolist(), "constant": constant.tolist(), "bin_size": bin_size,
            "seed": int(seed),
        }  # fmt: skip
        try:
            found = answer(problem, peer_pythons.get(rival.library))
        except NoAnswerError as error:
            remedy = f"not installed ({INSTALLED_BY}): " if error.missing else ""
            failures.append(f"{rival.title}: {remedy}{error}")
            continue
        except KeyboardInterrupt:  # rivals take long; what is known of the others is not lost
            failures += [f"{RIVALS[left].title}: interrupted" for left in (name, *waiting)]
            break
        gains[name] = (np.array(found["gain"]), found["bin_size"])
        settings[name], versions[name] = found["settings"], found["version"]
    edges = np.linspace(BURN_IN, unseen.duration, PIECES + 1)
    told = {name: _told(gain, width, unseen.counts, bin_size, edges) for name, (gain, width) in gains.items()}
    return {
        "bits_per_spike": {name: one[0] for name, one in told.items()},
        "standard_error": {name: one[1] for name, one in told.items()},
        "bits": {name: one[2] for name, one in told.items()},
        "edges": edges + unseen.start,
        "n_spikes": int(unseen.counts[round(BURN_IN / bin_size) :].sum()),
        "n_units": len(labels),
        "bin_size": bin_size,
        "settings": settings,
        "versions": versions,
        "failures": failures,
    }


def check_duration(seconds):
    """Refuse a held-out stretch that is too short, with a ValueError: before a fit is made for it."""
    if seconds < 2 * BURN_IN - 1e-6:
        raise ValueError(
            f"held_out lasts {seconds:g} s; expected at least {2 * BURN_IN:g} s (the first {BURN_IN:g} s are not "
            "counted). Hold out a larger share, or a longer window."
        )


def summary(result):
    """Lines that tell the result of `evaluate`, the best model first."""
    bits, error = result["bits_per_spike"], result["standard_error"]
    width = max(len(TITLES[name]) for name in bits)
    yield f"{result['n_spikes']} held-out spikes of {result['n_units']} units; bits per spike against constant rates:"
    for name in sorted(bits, key=lambda name: -bits[name]):
        chosen = ", ".join(f"{key} {value:g}" for key, value in result["settings"].get(name, {}).items())
        yield f"  {TITLES[name]:<{width}}  {bits[name]:+.3f} ± {error[name]:.3f}{f'  ({chosen})' if chosen else ''}"
    for line in result["failures"]:
        yield f"  {line}"


def figure(result):
    """Bits per spike as bars, and where in the held-out time they were gained.

    Parameters
    ----------
    result : dict
        Of `evaluate`, as it is in a file, too.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from .. import plotting
    from .figures import sheet

    bits, error = result["bits_per_spike"], result["standard_error"]
    names = sorted(bits, key=bits.get)
    colors = dict(zip(TITLES, plotting.population_colors(len(TITLES)), strict=True))
    drawn = sheet(9.5, 0.9 + 0.45 * max(len(names), 4))
    left, right = drawn.subplots(1, 2, width_ratios=[1.2, 1.0])
    left.barh(
        range(len(names)), [bits[name] for name in names], xerr=[error[name] for name in names],
        color=[colors[name] for name in names], height=0.65, error_kw={"lw": 1},
    )  # fmt: skip
    left.set_yticks(range(len(names)), [TITLES[name] for name in names])
    left.get_yticklabels()[names.index("neulvm")].set_fontweight("bold")
    left.axvline(0.0, color="black", lw=0.8)
    left.set_xlabel("bits per spike (0: one constant rate per unit)")
    left.set_title(f"{result['n_spikes']} held-out spikes of {result['n_units']} units", loc="left", fontsize="medium")
    edges = np.asarray(result["edges"])
    for name in names[::-1]:
        gained = np.concatenate([[0.0], np.cumsum(result["bits"][name])]) / result["n_spikes"]
        right.plot(edges, gained, color=colors[name], lw=2.2 if name == "neulvm" else 1.2)
    right.axhline(0.0, color="black", lw=0.8)
    right.set(xlabel="time (s)", xlim=(edges[0], edges[-1]))
    right.set_title("the same, as they add up", loc="left", fontsize="medium")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


class _Stretch(NamedTuple):
    counts: np.ndarray  # (n_bins, n_units) of the units that were fitted
    start: float  # s
    duration: float  # s

    @classmethod
    def of(cls, data, name, model):
        recording = SpikeRecording.from_neo(data)
        if recording.n_trials != 1:
            raise ValueError(f"{name} has {recording.n_trials} trials; expected one stretch of a recording.")
        bin_size = bin_size_in_seconds(model.bin_size_)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the binning leaves out, the fit has said
            (counts,) = bin_recording(recording, bin_size)
        counts = counts[:, model.labels_ >= 0]
        return cls(counts, float(recording.t_start[0]), len(counts) * bin_size)


def _log_likelihood(counts, p):
    """log p of every bin at constant probabilities `p` of a spike in a bin, by unit."""
    return np.sum(xlogy(counts, p) + xlogy(1.0 - counts, 1.0 - p), axis=1)


def _told(gain, width, counts, bin_size, edges):
    """(bits per spike, their standard error, bits per piece) of a gain (nats) in bins of `width`."""
    merged = round(width / bin_size)
    n = counts[: len(gain) * merged].sum(axis=1).reshape(len(gain), merged).sum(axis=1)
    middle = (np.arange(len(gain)) + 0.5) * width
    counted = middle >= edges[0]
    piece = np.clip(np.searchsorted(edges, middle[counted], side="right") - 1, 0, PIECES - 1)
    bits = np.bincount(piece, gain[counted] / np.log(2.0), PIECES)
    spikes = np.bincount(piece, n[counted], PIECES)
    ratio = bits.sum() / spikes.sum()
    error = np.sqrt(PIECES / (PIECES - 1) * np.sum((bits - ratio * spikes) ** 2)) / spikes.sum()
    return float(ratio), float(error), bits
