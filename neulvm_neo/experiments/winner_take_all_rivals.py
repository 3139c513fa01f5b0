"""What one would use instead of neuLVM on the winner-take-all network: the models, and how they are asked.

Every rival is fitted by its own library; `rival_process` says what installs them.
"""

from typing import NamedTuple

import numpy as np

from .rival_process import answer


class Rival(NamedTuple):
    """A model, the library that fits it, the script in `peers`, and what the script is told in full and quick runs."""

    title: str
    library: str
    script: str
    settings: dict
    quick: dict


RIVALS = {
    "plds": Rival("PLDS", "dynamax", "dynamax_plds", {"n_latents": 3, "n_steps": 200}, {"n_latents": 3, "n_steps": 25}),
    "slds": Rival(
        "SLDS", "ssm", "ssm_slds",
        {"method": "bbvi", "merge": 10, "n_states": 3, "n_latents": 3, "n_iter": 1000},
        {"method": "bbvi", "merge": 10, "n_states": 3, "n_latents": 3, "n_iter": 100},
    ),
    "slds_laplace": Rival(
        "SLDS, Laplace EM", "ssm", "ssm_slds",
        {"method": "laplace_em", "merge": 10, "n_states": 3, "n_latents": 3, "n_iter": 50},
        {"method": "laplace_em", "merge": 10, "n_states": 3, "n_latents": 3, "n_iter": 20},
    ),
    "hmm": Rival(
        "Poisson HMM", "dynamax", "dynamax_hmm",
        {"merge": 5, "n_states": [2, 3], "n_starts": 5, "n_iter": 50},
        {"merge": 5, "n_states": [2], "n_starts": 3, "n_iter": 20},
    ),
    "gpfa": Rival(
        "GPFA", "elephant", "elephant_gpfa",
        {"merge": 5, "n_latents": 3, "n_iter": 100}, {"merge": 5, "n_latents": 3, "n_iter": 30},
    ),
    "glm": Rival(
        "GLM", "nemos", "nemos_glm",
        {"strengths": [1e-4, 1e-3, 1e-2], "n_iter": 500}, {"strengths": [1e-2], "n_iter": 100},
    ),
}  # fmt: skip
RUN_AWAY = 250.0  # Hz, on average over a free simulation
LIBRARIES = tuple(dict.fromkeys(rival.library for rival in RIVALS.values()))


class Answer(NamedTuple):
    """What a rival found: activities in Hz of the two excitatory populations.

    Parameters
    ----------
    inferred : numpy.ndarray, shape (n_bins, 2), or None
        The affine transformation of its latents that comes closest to the true activity; None for a GLM.
    simulated : numpy.ndarray, shape (n_simulated, 2)
        Rates of the recorded neurons of each population in a free simulation, on average.
    bin_size : float, s
        Of the simulation.
    ran_away : bool
        Whether its rates grew beyond what a neuron with a refractory period of 4 ms can do.
    details : dict
        What else it tells.
    """

    inferred: np.ndarray | None
    simulated: np.ndarray
    bin_size: float
    ran_away: bool
    details: dict


def ask(name, counts, activity, labels, *, bin_size, seconds, seed, python=None, settings=None):
    """Fit a rival to one trial and let it run freely.

    Parameters
    ----------
    name : str
        From `RIVALS`.
    counts : numpy.ndarray, shape (n_bins, n_neurons)
    activity : numpy.ndarray, shape (n_bins, 2), Hz
        The true one, which chooses the linear transformation.
    labels : numpy.ndarray of int, shape (n_neurons,)
        Populations of the neurons; 0 and 1 are the excitatory ones.
    bin_size : float, s
    seconds : float
        Of the free simulation.
    seed : int
    python : str, optional
        Interpreter that has the library; default this one.
    settings : dict, optional
        Of the script; default the full ones.

    Returns
    -------
    Answer

    Raises
    ------
    NoAnswerError
        If the library is not there, or the fit fails.
    """
    rival = RIVALS[name]
    problem = {
        "script": rival.script, "counts": np.asarray(counts, dtype=int).tolist(), "bin_size": bin_size,
        "seconds": seconds, "seed": int(seed), **(rival.settings if settings is None else settings),
    }  # fmt: skip
    found = answer(problem, python)
    latents, simulated = found.pop("latents", None), np.array(found.pop("simulated"))
    simulated = np.stack([simulated[:, labels == k].mean(axis=1) for k in range(2)], axis=1)
    width = found.pop("bin_size")
    simulated = np.nan_to_num(simulated, nan=np.inf, posinf=np.inf)
    ran_away = bool(np.any(simulated.mean(axis=0) > RUN_AWAY))
    inferred = None
    if latents is not None:
        held = np.repeat(np.array(latents), round(width / bin_size), axis=0)
        # bins that do not fill one of the model's are taken for the last one
        held = np.pad(held, ((0, max(len(activity) - len(held), 0)), (0, 0)), mode="edge")[: len(activity)]
        inferred = best_linear(held, activity)
    return Answer(inferred, np.minimum(simulated, 1e9), width, ran_away, found)


def best_linear(latents, activity):
    """The affine transformation of latents with the smallest mean squared error (the paper's way to compare them).

    Parameters
    ----------
    latents : numpy.ndarray, shape (n_bins, n_latents)
    activity : numpy.ndarray, shape (n_bins, n_populations)

    Returns
    -------
    numpy.ndarray, shape (n_bins, n_populations)

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> best_linear(x, 3 * x + 1).ravel().round(6).tolist()
    [1.0, 4.0, 7.0]
    """
    design = np.column_stack([latents, np.ones(len(latents))])
    return design @ np.linalg.lstsq(design, activity, rcond=None)[0]
