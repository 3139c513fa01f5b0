"""What is given of a circuit: its populations, their values, and what a fit may change about them."""

import dataclasses
import os
from dataclasses import dataclass

import numpy as np

from . import circuit_text, kinds, units
from .circuit_arguments import (
    FREE_NAMES,
    UNIT_OF,
    count_populations,
    free_of,
    items_of,
    kinds_of,
    labels_of,
    mask_of,
    names_of,
    pairs_of,
    signs_of,
    sizes_of,
    spread_of,
    value_of,
)

_DEFAULT_VALUES = {  # uncoupled, these neurons fire at about 5 Hz
    "J": 0.0, "tau_m": 20.0, "u_rest": 10.0, "threshold": 8.0, "t_ref": 2.0, "tau_syn": 3.0, "delay": 0.0,
}  # fmt: skip
# Canonical units; wide enough for any cortical cell, narrow enough that no exponential overflows. Thresholds lie below
# the reset, too: such neurons fire most right after a spike, as units do that burst or that are several neurons.
_DEFAULT_BOUNDS = {
    "J": (-500.0, 500.0), "tau_m": (4.0, 100.0), "u_rest": (-100.0, 200.0), "threshold": (-10.0, 100.0),
    "tau_syn": (0.5, 100.0),
}  # fmt: skip
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
        (about 5 Hz without couplings). Neurons whose potential rests below 0 fire most right after a spike, as units do
        that burst or hold several neurons; their threshold lies below 0, too.
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
        to 100 ms, u_rest -100 to 200 mV, threshold -10 to 100 mV, tau_syn 0.5 to 100 ms. Only free values have to keep
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
    kinds : sequence of labels, shape (n_populations,), optional
        Populations with equal labels are of one kind unless the data say otherwise: a fit gives them the same values
        (and couplings that stay what they are if such populations are exchanged), and values of their own only where
        these are worth it (`method="smc"`; see `NeuLVM`). None or ``""`` is a kind of its own. Default: populations of
        the same known sign that nothing else given here tells apart. Different labels everywhere switch it off.

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
    kinds: tuple = None

    def __post_init__(self):
        n_populations = count_populations(self.n_neurons, self.names, self.J)
        self._set("n_neurons", sizes_of(self.n_neurons, n_populations))
        self._set("names", names_of(self.names, n_populations))
        for name, default in _DEFAULT_VALUES.items():
            given = getattr(self, name)
            value = units.quantity(default, UNIT_OF[name]) if given is None else given
            self._set(name, value_of(value, name, name, n_populations))
        if self.resistance is not None:
            self._set("resistance", value_of(self.resistance, "resistance", "resistance", n_populations))
        self._set("free", free_of(self.free))
        self._set("mask", mask_of(self.mask, n_populations))
        self._set("signs", signs_of(self.signs, n_populations))
        self._set(
            "ties", {name: labels_of(labels, name, n_populations) for name, labels in items_of(self.ties, "ties")}
        )
        bounds = {name: [units.quantity(x, UNIT_OF[name]) for x in ends] for name, ends in _DEFAULT_BOUNDS.items()}
        bounds.update(items_of(self.bounds, "bounds"))
        self._set("bounds", pairs_of(bounds, "bounds", ("low", "high"), n_populations))
        self._set("prior", pairs_of(dict(items_of(self.prior, "prior")), "prior", ("mean", "sd"), n_populations))
        self._set("spread", spread_of(self.spread))
        self._set("kinds", kinds_of(self.kinds, n_populations))
        self._check_values()
        self._check_bounds_and_prior()
        self._check_ties()
        kinds.check(self)

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
        return circuit_text.to_dict(self)

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
        return cls(**circuit_text.arguments(data, [f.name for f in dataclasses.fields(cls)]))

    def to_toml(self, path=None):
        """The circuit as TOML text; written to `path` if one is given.

        Parameters
        ----------
        path : path-like, optional

        Returns
        -------
        str
        """
        text = circuit_text.to_toml(self)
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
        return cls.from_dict(circuit_text.from_toml(text))

    def __repr__(self):
        rows = [("population", "N", *(f"{name} ({UNIT_OF[name]})" for name in _DEFAULT_VALUES if name != "J"), "sign")]
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


def _table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
