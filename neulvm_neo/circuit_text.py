"""The text form of a circuit: numbers with their units, for JSON and TOML, bit for bit."""

import math
import tomllib

import numpy as np

from . import units
from .circuit_arguments import RELATIVE, UNIT_OF, items_of


def to_dict(circuit):
    """A circuit in strings, integers, lists and dicts; see `Circuit.to_dict`."""
    out = {"n_neurons": circuit.n_neurons.tolist(), "names": list(circuit.names)}
    out |= {name: _text(getattr(circuit, name)) for name in UNIT_OF if getattr(circuit, name) is not None}
    out |= {"free": list(circuit.free), "mask": circuit.mask.tolist(), "signs": circuit.signs.tolist()}
    out["ties"] = {name: labels.tolist() for name, labels in circuit.ties.items()}
    for kind in ("bounds", "prior"):
        out[kind] = {name: [_text(x) for x in pair] for name, pair in getattr(circuit, kind).items()}
    out["spread"] = {name: x if name in RELATIVE else _text(x) for name, x in circuit.spread.items()}
    if circuit.kinds is not None:
        out["kinds"] = list(circuit.kinds)
    return out


def arguments(data, known):
    """Arguments of a `Circuit`, whose names are `known`, from what `to_dict` wrote."""
    for name in data:
        if name not in known:
            raise ValueError(f"circuit: unknown entry {name!r}; known are {', '.join(known)}.")
    if "n_neurons" not in data:
        raise ValueError("circuit: n_neurons is missing; give the population sizes, like n_neurons = [400, 100].")
    read = {name: _read_text(x, name) if name in UNIT_OF else x for name, x in data.items()}
    for kind in ("bounds", "prior"):
        if kind in read:
            read[kind] = {
                name: [_read_text(x, f"{kind}[{name!r}]") for x in ends] for name, ends in items_of(read[kind], kind)
            }
    if "spread" in read:
        read["spread"] = {
            name: x if name in RELATIVE else _read_text(x, f"spread[{name!r}]")
            for name, x in items_of(read["spread"], "spread")
        }
    return read


def to_toml(circuit):
    """A circuit as TOML."""
    import tomli_w

    return tomli_w.dumps(to_dict(circuit))


def from_toml(text):
    """What `to_dict` wrote, from TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f'circuit: {error}; expected TOML such as tau_m = "20 ms".') from None


def _text(quantity):
    unit = quantity.dimensionality.string
    texts = np.array([f"{_digits(x)} {unit}" for x in quantity.magnitude.flat], dtype=object).reshape(quantity.shape)
    return texts.flat[0] if len(set(texts.flat)) == 1 else texts.tolist()


def _digits(x):
    text = repr(float(x))  # the shortest text that reads back as the same float
    return text[:-2] if text.endswith(".0") and math.isfinite(x) else text


def _read_text(given, what):
    if isinstance(given, str):
        return units.parse_quantity(given, what)
    if not isinstance(given, (list, tuple)) or not given:
        raise ValueError(f'{what} is {given!r}; expected a number and a unit like "20 ms", or a list of them.')
    read = [_read_text(x, f"{what}[{i}]") for i, x in enumerate(given)]
    unit = read[0].dimensionality.string
    try:
        magnitudes = [np.asarray(x.rescale(unit).magnitude, dtype=float) for x in read]
    except ValueError:
        raise ValueError(f"{what} mixes units of different dimensions; give all in {unit}.") from None
    if len({m.shape for m in magnitudes}) > 1:
        raise ValueError(f"{what} has rows of different lengths; expected a rectangular list.")
    return units.quantity(np.array(magnitudes), unit)
