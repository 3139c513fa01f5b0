"""What may be given as the values of a circuit, read into one form: arrays of the right shape in canonical units.

All arrays are read-only. What is no such value is refused, by the name of the argument.
"""

import math
import numbers

import numpy as np

from . import units

# The values of a circuit: canonical unit, and shape in populations.
UNIT_OF = {
    "J": "mV", "tau_m": "ms", "u_rest": "mV", "threshold": "mV", "t_ref": "ms", "tau_syn": "ms", "delay": "ms",
    "resistance": "MOhm",
}  # fmt: skip
_STRIP = {"mV": units.to_millivolts, "ms": units.to_seconds, "MOhm": units.to_megohms}
FREE_NAMES = ("J", "tau_m", "u_rest", "threshold", "tau_syn")  # what a fit can change, in the order of the free values


# How far values of different populations lie apart (s.d.). tau_m: an excitatory and a fast-spiking inhibitory cell type
# differ by a factor of about 2, two s.d. of a difference. u_rest and threshold: by about the softness of the threshold,
# the unit of all potentials here and 1.5 to 4 mV in cortical cells; then hazards at equal potential differ by a factor
# of e between two populations and their mean, and ten-fold differences at rest are nothing special.
_DEFAULT_SPREAD = {"tau_m": 0.3, "u_rest": 1.0, "threshold": 1.0}
RELATIVE = ("tau_m", "tau_syn")  # whose spread is that of the logarithm


def count_populations(n_neurons, names, J):
    """Number of populations: the first length that is given; 1 if there is none."""
    for given in (n_neurons, names, J):
        if given is not None and not isinstance(given, str) and np.ndim(given):
            return len(given)
    return 1


def sizes_of(n_neurons, n_populations):
    """n_neurons, shape (n_populations,)."""
    try:
        sizes = np.array(np.broadcast_to(np.asarray(n_neurons, dtype=float), (n_populations,)))
    except (TypeError, ValueError):
        sizes = np.array([])
    whole = np.isfinite(sizes) & (sizes >= 1) & (sizes == np.rint(sizes))
    if sizes.size == 0 or not np.all(whole):
        raise ValueError(
            f"n_neurons is {n_neurons!r}; expected a whole number of at least 1 for every population ({n_populations})."
        )
    return _frozen(sizes.astype(np.int64))


def names_of(names, n_populations):
    """One name per population; P1, P2, … by default."""
    if names is None:
        return tuple(f"P{k + 1}" for k in range(n_populations))
    names = (names,) if isinstance(names, str) else tuple(str(name) for name in names)
    if len(names) != n_populations or len(set(names)) != len(names) or "" in names:
        raise ValueError(f"names is {list(names)}; expected {n_populations} different names, one per population.")
    return names


def _shape(name, n_populations):
    return (n_populations, n_populations) if name == "J" else (n_populations,)


def value_of(value, name, what, n_populations, *, finite=True):
    """A Quantity of the full shape: one value serves all populations."""
    unit = UNIT_OF[name]
    _STRIP[unit](value, what)  # refuses bare numbers and wrong dimensions, with the words all of the package uses
    magnitude = np.array(value.rescale(unit).magnitude, dtype=float)
    shape = _shape(name, n_populations)
    if magnitude.shape not in ((), shape):
        raise ValueError(
            f"{what} has the shape {magnitude.shape}; expected one value or the shape {shape} "
            f"for {n_populations} population{'s' if n_populations > 1 else ''}."
        )
    if np.any(np.isnan(magnitude)) or finite and not np.all(np.isfinite(magnitude)):
        raise ValueError(f"{what} is {magnitude.tolist()}; expected finite numbers.")
    return _frozen(units.quantity(np.broadcast_to(magnitude, shape), unit))


def pairs_of(table, kind, ends, n_populations):
    """Two Quantities per name (bounds, prior); infinite ends only where they can be."""
    out = {}
    for name in (name for name in FREE_NAMES if name in table):
        what, pair = f"{kind}[{name!r}]", table[name]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"{what} is {pair!r}; expected the two Quantities ({ends[0]}, {ends[1]}).")
        out[name] = tuple(
            value_of(given, name, f"{what} {end}", n_populations, finite=end == "mean")
            for given, end in zip(pair, ends, strict=True)
        )
    return out


def spread_of(given):
    """s.d. per name, a float or a Quantity without axes; infinite ones left out."""
    if given is None:
        return {
            name: x if name in RELATIVE else _frozen(x * units.quantity(1.0, "mV"))
            for name, x in _DEFAULT_SPREAD.items()
        }
    out = {}
    for name, x in items_of(given, "spread"):
        what = f"spread[{name!r}]"
        if name in RELATIVE:
            if isinstance(x, bool) or not isinstance(x, numbers.Real):
                raise TypeError(f"{what} is {x!r}; expected a number, the s.d. of the logarithm, like 0.3.")
            value, shown = float(x), f"{x:g}"
        else:
            _STRIP[UNIT_OF[name]](x, what)
            quantity = x.rescale(UNIT_OF[name])
            if quantity.shape != ():
                raise ValueError(f"{what} has the shape {quantity.shape}; expected one s.d. for all populations.")
            value, shown = float(quantity.magnitude), str(quantity)
        if not value > 0:
            raise ValueError(f"{what} is {shown}; expected a positive s.d.")
        if value < math.inf:
            out[name] = value if name in RELATIVE else _frozen(units.quantity(np.array(value), UNIT_OF[name]))
    return out


def items_of(given, argument):
    """Items of a dict whose keys are names of values."""
    given = {} if given is None else given
    if not hasattr(given, "items"):
        expected = f"a dict with keys out of {', '.join(FREE_NAMES)}"
        raise TypeError(f"{argument} is a {type(given).__name__}; expected {expected}.")
    for name in given:
        if name not in FREE_NAMES:
            raise ValueError(f"{argument} names {name!r}; expected names out of {', '.join(FREE_NAMES)}.")
    return given.items()


def free_of(free):
    """Names, in the order of `FREE_NAMES`."""
    free = (free,) if isinstance(free, str) else tuple(free)
    for name in free:
        if name not in FREE_NAMES:
            raise ValueError(f"free names {name!r}; a fit can change {', '.join(FREE_NAMES)}, the rest is given.")
    return tuple(name for name in FREE_NAMES if name in free)


def mask_of(mask, n_populations):
    """mask[target, source], all True by default."""
    shape = _shape("J", n_populations)
    mask = np.ones(shape, bool) if mask is None else np.array(mask)
    if mask.shape != shape or not np.all((mask == 0) | (mask == 1)):
        raise ValueError(f"mask is {mask.tolist()}; expected True or False in the shape {shape}, mask[target, source].")
    return _frozen(mask.astype(bool))


def signs_of(signs, n_populations):
    """+1, -1 or 0 per source population."""
    signs = np.zeros(n_populations) if signs is None else np.array(signs)
    if signs.shape != (n_populations,) or not np.all(np.isin(signs, (-1, 0, 1))):
        raise ValueError(
            f"signs is {signs.tolist()}; expected +1, -1 or 0 (unknown) for every source population ({n_populations})."
        )
    return _frozen(signs.astype(np.int64))


def labels_of(labels, name, n_populations):
    """Labels of ties as texts, "" where nothing is tied."""
    array, shape = np.array(labels, dtype=object), _shape(name, n_populations)
    if array.shape != shape:
        raise ValueError(f"ties[{name!r}] has the shape {array.shape}; expected one label per entry, shape {shape}.")
    texts = ["" if label is None else str(label) for label in array.flat]
    return _frozen(np.array(texts, dtype=str).reshape(shape))


def kinds_of(kinds, n_populations):
    """Labels of kinds as texts, "" for a kind of its own; None stays None."""
    if kinds is None:
        return None
    labels = () if isinstance(kinds, str) or np.ndim(kinds) != 1 else tuple(kinds)
    if len(labels) != n_populations:
        raise ValueError(f"kinds is {kinds!r}; expected one label for every population ({n_populations}).")
    return tuple("" if label is None else str(label) for label in labels)


def _frozen(array):
    array.flags.writeable = False
    return array
