"""What is given of a circuit: its populations, their values, and what a fit may change about them."""

import dataclasses
import math
import numbers
import os
import tomllib
from dataclasses import dataclass

import numpy as np

from . import units

# The values of a circuit: canonical unit, and shape in populations.
_UNIT_OF = {
    "J": "mV", "tau_m": "ms", "u_rest": "mV", "threshold": "mV", "t_ref": "ms", "tau_syn": "ms", "delay": "ms",
    "resistance": "MOhm",
}  # fmt: skip
_STRIP = {"mV": units.to_millivolts, "ms": units.to_seconds, "MOhm": units.to_megohms}
FREE_NAMES = ("J", "tau_m", "u_rest", "threshold", "tau_syn")  # what a fit can change, in the order of the free values

_DEFAULT_VALUES = {  # uncoupled, these neurons fire at about 5 Hz
    "J": 0.0, "tau_m": 20.0, "u_rest": 10.0, "threshold": 8.0, "t_ref": 2.0, "tau_syn": 3.0, "delay": 0.0,
}  # fmt: skip
# Canonical units; wide enough for any cortical cell, narrow enough that no exponential overflows. A threshold below the
# reset at 0 mV is left out: such a neuron would fire most right after a spike, a burster rather than a LIF neuron.
_DEFAULT_BOUNDS = {
    "J": (-500.0, 500.0), "tau_m": (4.0, 100.0), "u_rest": (-100.0, 200.0), "threshold": (0.0, 100.0),
    "tau_syn": (0.5, 100.0),
}  # fmt: skip
# How far values of different populations lie apart (s.d.). tau_m: an excitatory and a fast-spiking inhibitory cell type
# differ by a factor of about 2, two s.d. of a difference. u_rest and threshold: by about the softness of the threshold,
# the unit of all potentials here and 1.5 to 4 mV in cortical cells; then hazards at equal potential differ by a factor
# of e between two populations and their mean, and ten-fold differences at rest are nothing special.
_DEFAULT_SPREAD = {"tau_m": 0.3, "u_rest": 1.0, "threshold": 1.0}
_RELATIVE = ("tau_m", "tau_syn")  # whose spread is that of the logarithm
_DEFAULT_SIZE = 200  # neurons per population where nothing is known
_ROUNDING = 1e-9  # relative: exp(log(bound)) is not bit for bit the bound


@dataclass(frozen=True, eq=False, repr=False)
class Circuit:
    r"""Populations of spiking neurons, the couplings between them, and which of the values a fit may change.

    Every neuron is a leaky integrate-and-fire unit with escape noise; all neurons of a population :math:`\alpha` share
    their parameters and their input [1]_, [2]_. Between spikes

    .. math:: \frac{du}{dt} = \frac{U_r^\alpha + R^\alpha I^\alpha(t) - u}{\tau_m^\alpha}
              + \sum_\beta J^{\alpha\beta} (\epsilon^\beta * A^\beta)(t), \qquad
              \lambda = e^{u - \vartheta^\alpha}\ \mathrm{Hz} \quad (u, \vartheta \text{ in mV}),

    where :math:`A^\beta` is the activity of the source population (spikes per neuron and second) and
    :math:`\epsilon^\beta` an exponential of unit area with time constant `tau_syn`, shifted by `delay`. A spike resets
    u to 0 mV and holds it there, silent, for `t_ref`. Potentials are therefore measured from the reset, in units of the
    softness of the threshold (1 mV), and the base rate of the escape noise is part of the threshold.

    Parameters
    ----------
    n_neurons : int or sequence of int, shape (n_populations,)
        Population sizes N. They set the size of the finite-size fluctuations of the activity, about 1/sqrt(N).
    names : sequence of str, optional
        Population names; default ``"P1", "P2", …``.
    J : Quantity, mV, scalar or shape (n_populations, n_populations), optional
        Couplings ``J[target, source]``; a spike of one of N source neurons moves every target potential by J/N in
        total. Default 0.
    tau_m : Quantity, time, scalar or (n_populations,), optional
        Membrane time constants; default 20 ms.
    u_rest, threshold : Quantity, mV, scalar or (n_populations,), optional
        Resting potential (without input) and firing threshold, both measured from the reset; default 10 mV and 8 mV
        (about 5 Hz without couplings).
    t_ref : Quantity, time, scalar or (n_populations,), optional
        Absolute refractory period; default 2 ms.
    tau_syn, delay : Quantity, time, scalar or (n_populations,), optional
        Synaptic time constant and transmission delay per **source** population; default 3 ms and 0 ms.
    free : sequence of str
        What a fit may change, out of ``"J", "tau_m", "u_rest", "threshold", "tau_syn"``. The rest is given.
    mask : array of bool, shape (n_populations, n_populations), optional
        ``mask[target, source]``: where a coupling may exist. False is a coupling fixed at 0. Default: everywhere.
    ties : dict of str to array of labels, optional
        For a name out of the free ones, labels in the shape of that value: entries with equal labels share one free
        value. None or ``""`` is no tie.
    signs : array of {+1, -1, 0}, shape (n_populations,), optional
        Sign of the outgoing couplings of every source population (Dale's law); 0, the default, is not known.
    bounds : dict of str to (low, high), optional
        Allowed range of a free value, as Quantities, scalar or in the shape of the value. Defaults: J ±500 mV, tau_m 4
        to 100 ms, u_rest -100 to 200 mV, threshold 0 to 100 mV, tau_syn 0.5 to 100 ms. Only free values have to keep
        them. A known sign halves the range of J.
    prior : dict of str to (mean, sd), optional
        Gaussian prior on a free value, as Quantities, scalar or in the shape of the value; an infinite sd is flat, as
        is a name that is not listed.
    spread : dict of str to s.d., optional
        How far the values of different populations lie apart, before the data are seen: populations resemble each other
        unless the data say otherwise. Quantities for ``"u_rest"``, ``"threshold"`` and ``"J"`` (the free couplings from
        sources of the same known sign); for ``"tau_m"`` and ``"tau_syn"`` a number, the s.d. of the logarithm, so that
        0.3 is 30 %. Values are Gaussian about a common mean, which is unknown, so that only differences cost anything;
        a name that is not listed, or an infinite s.d., leaves the values independent of each other, ``{}`` all of them.
        Default 0.3, 1 mV and 1 mV for tau_m, u_rest and threshold. Without it a short recording in which the activity
        hardly changes is explained as well by different neurons without couplings as by similar ones with couplings.
    resistance : Quantity, MΩ, scalar or (n_populations,), optional
        Membrane resistance; needed only for stimuli given as currents.

    Raises
    ------
    TypeError
        If a value has no unit.
    ValueError
        If a unit, a shape or a size is wrong, or two statements about the circuit contradict each other.

    Notes
    -----
    A circuit is never changed: `replace` returns a new one. Its Quantities are read-only copies in mV, ms and MΩ.

    References
    ----------
    .. [1] Wang, Schmutz, Bellec, Gerstner, Mesoscopic modeling of hidden spiking neurons, NeurIPS 2022, appendix A.
    .. [2] Schwalger, Deger, Gerstner, Towards a theory of cortical columns, PLoS Comput Biol 13, e1005507 (2017).

    Examples
    --------
    >>> import quantities as pq
    >>> J = [[10, -20], [10, -20]] * pq.mV
    >>> circuit = Circuit([400, 100], names=["E", "I"], J=J, signs=[1, -1], tau_syn=[3, 6] * pq.ms)
    >>> circuit.n_populations, circuit.tau_m
    (2, array([20., 20.]) * ms)
    >>> circuit.replace(tau_m=0.03 * pq.s).tau_m
    array([30., 30.]) * ms
    """

    n_neurons: np.ndarray
    names: tuple = None
    J: object = None
    tau_m: object = None
    u_rest: object = None
    threshold: object = None
    t_ref: object = None
    tau_syn: object = None
    delay: object = None
    free: tuple = ("J", "tau_m", "u_rest", "threshold")
    mask: np.ndarray = None
    ties: dict = None
    signs: np.ndarray = None
    bounds: dict = None
    prior: dict = None
    spread: dict = None
    resistance: object = None

    def __post_init__(self):
        n_populations = _count_populations(self.n_neurons, self.names, self.J)
        self._set("n_neurons", _sizes(self.n_neurons, n_populations))
        self._set("names", _names(self.names, n_populations))
        for name, default in _DEFAULT_VALUES.items():
            given = getattr(self, name)
            value = units.quantity(default, _UNIT_OF[name]) if given is None else given
            self._set(name, _value(value, name, name, n_populations))
        if self.resistance is not None:
            self._set("resistance", _value(self.resistance, "resistance", "resistance", n_populations))
        self._set("free", _free(self.free))
        self._set("mask", _mask(self.mask, n_populations))
        self._set("signs", _signs(self.signs, n_populations))
        self._set("ties", {name: _labels(labels, name, n_populations) for name, labels in _items(self.ties, "ties")})
        bounds = {name: [units.quantity(x, _UNIT_OF[name]) for x in ends] for name, ends in _DEFAULT_BOUNDS.items()}
        bounds.update(_items(self.bounds, "bounds"))
        self._set("bounds", _pairs(bounds, "bounds", ("low", "high"), n_populations))
        self._set("prior", _pairs(dict(_items(self.prior, "prior")), "prior", ("mean", "sd"), n_populations))
        self._set("spread", _spread(self.spread))
        self._check_values()
        self._check_bounds_and_prior()
        self._check_ties()

    @classmethod
    def default(cls, n_populations, n_neurons=None, names=None, t_ref=None):
        """A start for a recording of which little is known: no couplings yet, of either sign, and ordinary membranes.

        Parameters
        ----------
        n_populations : int
        n_neurons : int or sequence of int, optional
            Population sizes; default 200 each. They are given, not fitted, and set how strongly the activity of a whole
            population fluctuates by itself, about 1/sqrt(N): a size that is too small lets chance explain what the
            circuit does, one that is too large asks the circuit to explain chance. The order of magnitude matters.
        names : sequence of str, optional
        t_ref : Quantity, time, optional
            Refractory period; default 2 ms.

        Returns
        -------
        Circuit
            J = 0 with unknown signs, tau_m 20 ms; J, tau_m, u_rest and threshold are free.

        Examples
        --------
        >>> Circuit.default(2).n_neurons.tolist()
        [200, 200]
        """
        if int(n_populations) != n_populations or n_populations < 1:
            raise ValueError(f"n_populations is {n_populations!r}; expected a whole number of at least 1.")
        sizes = np.broadcast_to(_DEFAULT_SIZE, (int(n_populations),)) if n_neurons is None else np.asarray(n_neurons)
        if sizes.ndim == 0:
            sizes = np.broadcast_to(sizes, (int(n_populations),))
        if sizes.shape != (n_populations,):
            raise ValueError(
                f"n_neurons has the shape {sizes.shape}; expected one size for each of the {n_populations} populations."
            )
        return cls(sizes, names=names, t_ref=t_ref)

    @property
    def n_populations(self):
        """Number of populations K."""
        return len(self.n_neurons)

    def replace(self, **changes):
        """A new circuit with some arguments changed.

        Examples
        --------
        >>> import quantities as pq
        >>> Circuit([100]).replace(u_rest=12 * pq.mV).u_rest
        array([12.]) * mV
        """
        known = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(f"replace has no argument {name!r}; a circuit has {', '.join(known)}.")
        return dataclasses.replace(self, **changes)

    def to_dict(self):
        """The circuit in strings, integers, lists and dicts (JSON, TOML), bit for bit.

        Every value is written as number and unit, ``"20 ms"``: one where all entries agree, else a (nested) list.

        Examples
        --------
        >>> Circuit([100]).to_dict()["tau_m"]
        '20 ms'
        """
        out = {"n_neurons": self.n_neurons.tolist(), "names": list(self.names)}
        out |= {name: _text(getattr(self, name)) for name in _UNIT_OF if getattr(self, name) is not None}
        out |= {"free": list(self.free), "mask": self.mask.tolist(), "signs": self.signs.tolist()}
        out["ties"] = {name: labels.tolist() for name, labels in self.ties.items()}
        for kind in ("bounds", "prior"):
            out[kind] = {name: [_text(x) for x in pair] for name, pair in getattr(self, kind).items()}
        out["spread"] = {name: x if name in _RELATIVE else _text(x) for name, x in self.spread.items()}
        return out

    @classmethod
    def from_dict(cls, data):
        """Read what `to_dict` wrote; anything left out takes its default.

        Raises
        ------
        ValueError
            If a name is unknown or a value is not a number and a unit.

        Examples
        --------
        >>> Circuit.from_dict({"n_neurons": [400, 100], "tau_m": ["20 ms", "10 ms"]}).tau_m
        array([20., 10.]) * ms
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in data:
            if name not in known:
                raise ValueError(f"circuit: unknown entry {name!r}; known are {', '.join(known)}.")
        if "n_neurons" not in data:
            raise ValueError("circuit: n_neurons is missing; give the population sizes, like n_neurons = [400, 100].")
        read = {name: _read_text(x, name) if name in _UNIT_OF else x for name, x in data.items()}
        for kind in ("bounds", "prior"):
            if kind in read:
                read[kind] = {
                    name: [_read_text(x, f"{kind}[{name!r}]") for x in ends] for name, ends in _items(read[kind], kind)
                }
        if "spread" in read:
            read["spread"] = {
                name: x if name in _RELATIVE else _read_text(x, f"spread[{name!r}]")
                for name, x in _items(read["spread"], "spread")
            }
        return cls(**read)

    def to_toml(self, path=None):
        """The circuit as TOML text; written to `path` if one is given.

        Parameters
        ----------
        path : path-like, optional

        Returns
        -------
        str
        """
        import tomli_w

        text = tomli_w.dumps(self.to_dict())
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return text

    @classmethod
    def from_toml(cls, path_or_text):
        """Read a circuit from a TOML file or from TOML text (anything with a line break or an equals sign).

        Examples
        --------
        >>> text = '''
        ... n_neurons = [400, 100]
        ... names = ["E", "I"]
        ... J = [["10 mV", "-20 mV"], ["10 mV", "-20 mV"]]
        ... tau_m = "20 ms"
        ... [bounds]
        ... tau_m = ["5 ms", "50 ms"]
        ... '''
        >>> Circuit.from_toml(text).names
        ('E', 'I')
        """
        text = os.fspath(path_or_text)
        if path_or_text is not text or not ("\n" in text or "=" in text):
            with open(text, encoding="utf-8") as file:
                text = file.read()
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f'circuit: {error}; expected TOML such as tau_m = "20 ms".') from None
        return cls.from_dict(data)

    def __repr__(self):
        rows = [("population", "N", *(f"{name} ({_UNIT_OF[name]})" for name in _DEFAULT_VALUES if name != "J"), "sign")]
        for k, name in enumerate(self.names):
            values = [f"{float(getattr(self, v)[k]):.6g}" for v in _DEFAULT_VALUES if v != "J"]
            rows.append((name, str(self.n_neurons[k]), *values, {1: "+", -1: "-", 0: "?"}[int(self.signs[k])]))
        couplings = [("J (mV): to, from", *self.names)]
        for k, name in enumerate(self.names):
            J = self.J.magnitude[k]
            couplings.append((name, *(f"{J[j]:.6g}" if self.mask[k, j] else "." for j in range(self.n_populations))))
        plural = "s" if self.n_populations > 1 else ""
        head = f"Circuit of {self.n_populations} population{plural}, {self.n_neurons.sum()} neurons"
        return "\n".join([head, *_table(rows), *_table(couplings), f"free: {', '.join(self.free) or 'nothing'}"])

    def _set(self, name, value):
        object.__setattr__(self, name, value)  # the dataclass is frozen; only __post_init__ calls this

    def _check_values(self):
        for name in ("tau_m", "tau_syn", "resistance"):
            if getattr(self, name) is not None:
                self._require(getattr(self, name).magnitude > 0, name, "a positive value")
        for name in ("t_ref", "delay"):
            self._require(getattr(self, name).magnitude >= 0, name, "0 or more")
        J = self.J.magnitude
        self._require(self.mask | (J == 0), "J", "0 mV where mask is False (or mask = True there)")
        self._require(J * self.signs >= 0, "J", "the sign of the source population in signs (or sign 0, unknown)")

    def _check_bounds_and_prior(self):
        for name in FREE_NAMES:
            low, high = (x.magnitude for x in self.bounds[name])
            if name in ("tau_m", "tau_syn"):
                _require(low > 0, f"bounds[{name!r}]", self.bounds[name][0], "a positive low end")
            _require(low < high, f"bounds[{name!r}]", self.bounds[name][0], "a low end below the high end")
            if name not in self.free:
                continue
            value = getattr(self, name).magnitude
            inside = (value >= low - _ROUNDING * np.abs(low)) & (value <= high + _ROUNDING * np.abs(high))
            if name == "J":
                reach = np.where(self.signs > 0, high, np.where(self.signs < 0, -low, np.inf))
                self._require((reach > 0) | ~self.mask, "J", "bounds['J'] with room for the sign of its source")
                inside |= ~self.mask
            self._require(inside, name, f"a value within bounds[{name!r}] (change one, or take {name} out of free)")
        for name, (_, sd) in self.prior.items():
            _require(sd.magnitude > 0, f"prior[{name!r}]", sd, "a positive sd")

    def _check_ties(self):
        for name, labels in self.ties.items():
            statements = [(name, getattr(self, name)), *((f"bounds[{name!r}]", end) for end in self.bounds[name])]
            statements += [(f"prior[{name!r}]", end) for end in self.prior.get(name, ())]
            present = self.mask if name == "J" else np.ones(labels.shape, bool)
            for label in np.unique(labels[present & (labels != "")]).tolist():
                tied = present & (labels == label)
                if name == "J" and np.unique(np.broadcast_to(self.signs, tied.shape)[tied]).size > 1:
                    raise ValueError(
                        f"ties['J'] shares {label!r} between sources of different signs; use one label per sign."
                    )
                for what, stated in statements:
                    values = stated.magnitude[tied]
                    if not np.allclose(values, values[0], rtol=_ROUNDING, atol=0.0):
                        raise ValueError(
                            f"{what} is {values.tolist()} where ties[{name!r}] says {label!r}, one value; "
                            "make them equal or use different labels."
                        )

    def _require(self, holds, name, expected):
        _require(holds, name, getattr(self, name), expected, self.names)


def _require(holds, what, quantity, expected, names=None):
    holds = np.broadcast_to(holds, quantity.shape)
    if np.all(holds):
        return
    where = tuple(np.argwhere(~holds)[0])
    at = ", ".join(str(i) if names is None else repr(names[i]) for i in where)
    given = f"{float(quantity.magnitude[where]):g} {quantity.dimensionality.string}"
    raise ValueError(f"{what}[{at}] is {given}; expected {expected}.")


def _count_populations(n_neurons, names, J):
    for given in (n_neurons, names, J):
        if given is not None and not isinstance(given, str) and np.ndim(given):
            return len(given)
    return 1


def _sizes(n_neurons, n_populations):
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


def _names(names, n_populations):
    if names is None:
        return tuple(f"P{k + 1}" for k in range(n_populations))
    names = (names,) if isinstance(names, str) else tuple(str(name) for name in names)
    if len(names) != n_populations or len(set(names)) != len(names) or "" in names:
        raise ValueError(f"names is {list(names)}; expected {n_populations} different names, one per population.")
    return names


def _shape(name, n_populations):
    return (n_populations, n_populations) if name == "J" else (n_populations,)


def _value(value, name, what, n_populations, *, finite=True):
    unit = _UNIT_OF[name]
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


def _pairs(table, kind, ends, n_populations):
    out = {}
    for name in (name for name in FREE_NAMES if name in table):
        what, pair = f"{kind}[{name!r}]", table[name]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"{what} is {pair!r}; expected the two Quantities ({ends[0]}, {ends[1]}).")
        out[name] = tuple(
            _value(given, name, f"{what} {end}", n_populations, finite=end == "mean")
            for given, end in zip(pair, ends, strict=True)
        )
    return out


def _spread(given):
    """s.d. per name, a float or a Quantity without axes; infinite ones left out."""
    if given is None:
        return {
            name: x if name in _RELATIVE else _frozen(x * units.quantity(1.0, "mV"))
            for name, x in _DEFAULT_SPREAD.items()
        }
    out = {}
    for name, x in _items(given, "spread"):
        what = f"spread[{name!r}]"
        if name in _RELATIVE:
            if isinstance(x, bool) or not isinstance(x, numbers.Real):
                raise TypeError(f"{what} is {x!r}; expected a number, the s.d. of the logarithm, like 0.3.")
            value, shown = float(x), f"{x:g}"
        else:
            _STRIP[_UNIT_OF[name]](x, what)
            quantity = x.rescale(_UNIT_OF[name])
            if quantity.shape != ():
                raise ValueError(f"{what} has the shape {quantity.shape}; expected one s.d. for all populations.")
            value, shown = float(quantity.magnitude), str(quantity)
        if not value > 0:
            raise ValueError(f"{what} is {shown}; expected a positive s.d.")
        if value < math.inf:
            out[name] = value if name in _RELATIVE else _frozen(units.quantity(np.array(value), _UNIT_OF[name]))
    return out


def _items(given, argument):
    given = {} if given is None else given
    if not hasattr(given, "items"):
        expected = f"a dict with keys out of {', '.join(FREE_NAMES)}"
        raise TypeError(f"{argument} is a {type(given).__name__}; expected {expected}.")
    for name in given:
        if name not in FREE_NAMES:
            raise ValueError(f"{argument} names {name!r}; expected names out of {', '.join(FREE_NAMES)}.")
    return given.items()


def _free(free):
    free = (free,) if isinstance(free, str) else tuple(free)
    for name in free:
        if name not in FREE_NAMES:
            raise ValueError(f"free names {name!r}; a fit can change {', '.join(FREE_NAMES)}, the rest is given.")
    return tuple(name for name in FREE_NAMES if name in free)


def _mask(mask, n_populations):
    shape = _shape("J", n_populations)
    mask = np.ones(shape, bool) if mask is None else np.array(mask)
    if mask.shape != shape or not np.all((mask == 0) | (mask == 1)):
        raise ValueError(f"mask is {mask.tolist()}; expected True or False in the shape {shape}, mask[target, source].")
    return _frozen(mask.astype(bool))


def _signs(signs, n_populations):
    signs = np.zeros(n_populations) if signs is None else np.array(signs)
    if signs.shape != (n_populations,) or not np.all(np.isin(signs, (-1, 0, 1))):
        raise ValueError(
            f"signs is {signs.tolist()}; expected +1, -1 or 0 (unknown) for every source population ({n_populations})."
        )
    return _frozen(signs.astype(np.int64))


def _labels(labels, name, n_populations):
    array, shape = np.array(labels, dtype=object), _shape(name, n_populations)
    if array.shape != shape:
        raise ValueError(f"ties[{name!r}] has the shape {array.shape}; expected one label per entry, shape {shape}.")
    texts = ["" if label is None else str(label) for label in array.flat]
    return _frozen(np.array(texts, dtype=str).reshape(shape))


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


def _table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _frozen(array):
    array.flags.writeable = False
    return array
