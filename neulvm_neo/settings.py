"""The settings of `NeuLVM`, which are the arguments of its constructor: checked, made ready, and as plain values."""

import numpy as np

from . import discretization, units
from .circuit import Circuit
from .inference import em
from .parameters import Parameters, parameters_of


def check(model):
    """Refuse settings that no data can make right.

    Parameters
    ----------
    model : NeuLVM

    Raises
    ------
    TypeError, ValueError
        The message names the setting, what was given and what is expected.
    """
    for name, least in (("n_init", 1), ("max_iter", 1), ("n_particles", 2)):
        value = getattr(model, name)
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}; expected a whole number of at least {least}.")
    if not (np.isscalar(model.tol) and np.isreal(model.tol) and model.tol >= 0):
        raise ValueError(f"tol is {model.tol!r}; expected a number of nats of at least 0.")
    for name, choices in (("method", em.METHODS), ("scheme", discretization.SCHEMES)):
        if getattr(model, name) not in choices:
            raise ValueError(f"{name} is {getattr(model, name)!r}; expected one of {', '.join(map(repr, choices))}.")
    if model.noise is not None and model.noise not in discretization.NOISES:
        raise ValueError(
            f"noise is {model.noise!r}; expected one of {', '.join(map(repr, discretization.NOISES))} or None."
        )
    if not isinstance(model.own_thresholds, (bool, np.bool_)):
        raise TypeError(f"own_thresholds is {model.own_thresholds!r}; expected True or False.")
    start = model.start
    if start is not None and not isinstance(start, (Circuit, Parameters)) and not callable(start):
        raise TypeError(f"start is a {type(start).__name__}; expected a Circuit, Parameters, a callable or None.")


def start_of(start, circuit):
    """What `em.fit` takes as start, from what a user gave as one.

    Parameters
    ----------
    start : None, Circuit, Parameters or callable
    circuit : Circuit
        The one that is fitted.

    Returns
    -------
    None, Parameters, or a callable that returns Parameters

    Raises
    ------
    ValueError
        If `start` is a circuit with another number of populations.
    """
    if isinstance(start, Circuit):
        if start.n_populations != circuit.n_populations:
            raise ValueError(
                f"start has {start.n_populations} populations, but {circuit.n_populations} are fitted; "
                "give a circuit of the same populations."
            )
        return parameters_of(start)
    if callable(start) and not isinstance(start, Parameters):

        def parameters(*arguments):
            given = start(*arguments)
            return parameters_of(given) if isinstance(given, Circuit) else given

        return parameters
    return start


def described(model, bin_size, noise):
    """What a reader of a fit wants to know about how it came about, as a dict of plain values.

    Parameters
    ----------
    model : NeuLVM
    bin_size : float, s
    noise : str
        The one of `discretization.NOISES` that the fit used.
    """
    labels = "clustered" if model.labels is None else model.labels if isinstance(model.labels, str) else "given"
    return {
        "method": model.method, "scheme": model.scheme, "noise": noise, "bin_size": f"{1e3 * bin_size:.10g} ms",
        "labels": labels, "n_init": int(model.n_init), "max_iter": int(model.max_iter), "tol": float(model.tol),
        "n_particles": int(model.n_particles), "multiple": model.multiple,
        "own_thresholds": bool(model.own_thresholds),
        "random_state": _whole_or_none(model.random_state),
    }  # fmt: skip


def to_plain(model):
    """The constructor's arguments in values that JSON knows; `from_plain` reads them.

    A callable start and a random state that is not a whole number become None.
    """
    plain = dict(model.get_params(deep=False))
    for name in ("circuit", "start"):
        plain[name] = plain[name].to_dict() if isinstance(plain[name], Circuit) else None
    for name in ("bin_size", "smoothing"):
        if plain[name] is not None:
            plain[name] = f"{float(plain[name].magnitude)!r} {plain[name].dimensionality.string}"
    labels, sizes = plain["labels"], plain["population_sizes"]
    if labels is not None and not isinstance(labels, str):
        plain["labels"] = [x if isinstance(x, (str, int, np.integer)) else str(x) for x in labels]
    if sizes is not None and np.ndim(sizes):
        plain["population_sizes"] = [int(x) for x in sizes]
    plain["random_state"] = _whole_or_none(plain["random_state"])
    return plain


def from_plain(plain):
    """The constructor's arguments from what `to_plain` has made of them."""
    parameters = dict(plain)
    for name in ("circuit", "start"):
        if parameters[name] is not None:
            parameters[name] = Circuit.from_dict(parameters[name])
    for name in ("bin_size", "smoothing"):
        if parameters.get(name) is not None:
            parameters[name] = units.parse_quantity(parameters[name], name)
    return parameters


def _whole_or_none(random_state):
    return int(random_state) if isinstance(random_state, (int, np.integer)) else None
