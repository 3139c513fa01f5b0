"""Values beside properties: the numbers of a circuit as arrays, and the free ones among them as one vector θ."""

from typing import NamedTuple

import numpy as np

from . import units
from .circuit_arguments import FREE_NAMES

_MILLISECONDS = ("tau_m", "tau_syn", "t_ref", "delay")  # shown in ms, computed in s
_DRAW_AROUND_ZERO = 2.0  # mV; a value of 0 has no "40 to 200 %", so it is drawn from ± this


class Parameters(NamedTuple):
    """All numbers of a circuit, in s and mV; K populations.

    Also used for gradients with respect to these numbers (fields without a gradient are zeros).
    """

    J: np.ndarray  # (K, K) mV, J[target, source]
    tau_m: np.ndarray  # (K,) s
    u_rest: np.ndarray  # (K,) mV
    threshold: np.ndarray  # (K,) mV
    tau_syn: np.ndarray  # (K,) s, per source
    t_ref: np.ndarray  # (K,) s
    delay: np.ndarray  # (K,) s, per source
    n_neurons: np.ndarray  # (K,)


def parameters_of(circuit):
    """The numbers of a circuit, without units.

    Parameters
    ----------
    circuit : Circuit

    Returns
    -------
    Parameters
        Fresh float64 arrays in s and mV.

    Examples
    --------
    >>> from neulvm_neo import Circuit
    >>> parameters_of(Circuit([100])).tau_m
    array([0.02])
    """
    values = {name: np.array(getattr(circuit, name).magnitude) for name in Parameters._fields if name != "n_neurons"}
    for name in _MILLISECONDS:
        values[name] = values[name] / 1e3  # division is correctly rounded: 20 ms becomes the float 0.02
    return Parameters(**values, n_neurons=circuit.n_neurons.astype(float))


def circuit_with(circuit, parameters):
    """The circuit with new numbers in place; masks, ties, signs, bounds and priors stay.

    Numbers that did not change keep their bits, and so does every further round trip through `parameters_of`.

    Parameters
    ----------
    circuit : Circuit
    parameters : Parameters
        In s and mV.

    Returns
    -------
    Circuit

    Raises
    ------
    ValueError
        If a number breaks a rule of the circuit, for instance a free value outside its bounds.

    Examples
    --------
    >>> from neulvm_neo import Circuit
    >>> circuit = Circuit([100])
    >>> circuit_with(circuit, parameters_of(circuit)._replace(tau_m=[0.03])).tau_m
    array([30.]) * ms
    """
    before = parameters_of(circuit)
    changes = {}
    for name in Parameters._fields:
        new, old = np.asarray(getattr(parameters, name), dtype=float), getattr(before, name)
        if np.array_equal(new, old):
            continue
        if name == "n_neurons":
            changes[name] = new
            continue
        shown = getattr(circuit, name)
        values = _as_milliseconds(new) if name in _MILLISECONDS else new
        if new.shape == old.shape:
            values = np.where(new == old, shown.magnitude, values)
        changes[name] = units.quantity(values, shown.dimensionality.string)
    return circuit.replace(**changes)


class ParameterSpace:
    """The free values of a circuit as a vector θ without constraints other than a box.

    Time constants are logarithms (of s); couplings, resting potentials and thresholds are their values in mV, the sign
    of a coupling being one of its bounds (on a logarithmic axis a coupling that once became small would never find its
    way back). Tied entries share one coordinate; masked couplings have none.

    Parameters
    ----------
    circuit : Circuit

    Attributes
    ----------
    circuit : Circuit
    n_free : int
    names : tuple of str
        One per free value: ``"tau_m[E1]"``, ``"J[E1←I]"`` (target ← source), or the label of a tie.
    units : tuple of str
        Unit of every free value as shown by `values`.
    fields : tuple of str
        What every free value is of: ``"J"``, ``"tau_m"``, ….
    bounds : numpy.ndarray, shape (n_free, 2)
        The box, in θ.

    Examples
    --------
    >>> from neulvm_neo import Circuit
    >>> space = ParameterSpace(Circuit([100], names=["E"]))
    >>> space.names
    ('J[E←E]', 'tau_m[E]', 'u_rest[E]', 'threshold[E]')
    >>> theta = space.pack(parameters_of(space.circuit))
    >>> [round(float(v), 6) for v in space.values(theta)]
    [0.0, 20.0, 10.0, 8.0]
    """

    def __init__(self, circuit):
        self.circuit = circuit
        self._base = parameters_of(circuit)
        self._index = {}  # name → θ coordinate of every entry, -1 where the entry is given
        self._first = []  # θ coordinate → (name, flat index of its first entry)
        self.names = ()
        for name in FREE_NAMES:
            if name in circuit.free:
                self._add(name)
        self.n_free = len(self._first)
        self.fields = tuple(name for name, _ in self._first)
        self.units = tuple("ms" if name in _MILLISECONDS else "mV" for name, _ in self._first)
        self._shown = np.array([1e3 if unit == "ms" else 1.0 for unit in self.units])  # shown = inside value times this
        source_signs = np.broadcast_to(circuit.signs, circuit.J.shape)
        signs = [source_signs.flat[i] if name == "J" else 0 for name, i in self._first]
        self._sign = np.array(signs, dtype=float)  # of couplings; 0: not known, or no coupling
        self._log = np.array([name in _MILLISECONDS for name, _ in self._first], dtype=bool)
        self.bounds = self._box()
        self._prior_mean = self._inside(circuit.prior, 0, missing=0.0)
        self._prior_precision = 1.0 / self._inside(circuit.prior, 1, missing=np.inf) ** 2  # 0: flat
        self._contrast_precision = self._contrasts()

    def pack(self, parameters):
        """θ of given numbers.

        Parameters
        ----------
        parameters : Parameters

        Returns
        -------
        numpy.ndarray, shape (n_free,)

        Raises
        ------
        ValueError
            If tied entries differ, or a value does not fit its sign.
        """
        value = self._first_entries(parameters)
        for name, index in self._index.items():
            free = index >= 0
            if not np.allclose(np.asarray(getattr(parameters, name))[free], value[index[free]], rtol=1e-9, atol=0.0):
                raise ValueError(f"{name} has different values where the circuit ties them to one; make them equal.")
        against = value * self._sign < 0
        if np.any(against):
            worst = int(np.argmax(against))
            raise ValueError(f"{self.names[worst]} is {value[worst]:g}, against the sign the circuit gives it.")
        return self._coordinates(value)

    def unpack(self, theta):
        """All numbers of the circuit, the free ones taken from θ.

        Parameters
        ----------
        theta : array, shape (n_free,), or (…, n_free) for many at once

        Returns
        -------
        Parameters
            Given several θ, the fields with free values have their axes in front.
        """
        value = self._value(theta)
        fields = {name: np.array(x) for name, x in self._base._asdict().items()}
        for name, index in self._index.items():
            free = index >= 0
            fields[name] = np.array(np.broadcast_to(fields[name], (*value.shape[:-1], *fields[name].shape)))
            fields[name][..., free] = value[..., index[free]]
        return Parameters(**fields)

    def pull_back(self, theta, g):
        """Gradient in θ from the gradient in the numbers: every entry's share, times dvalue/dθ, summed over ties.

        Parameters
        ----------
        theta : array, shape (n_free,)
        g : Parameters
            Gradients with respect to the numbers, per s and per mV.

        Returns
        -------
        numpy.ndarray, shape (n_free,)
        """
        g_value = np.zeros(self.n_free)
        for name, index in self._index.items():
            free = index >= 0
            np.add.at(g_value, index[free], np.asarray(getattr(g, name))[free])
        return g_value * self._slope(theta)

    def draw(self, rng, low=0.4, high=2.0):
        """A random θ: every free value uniform between `low` and `high` times the circuit's (as in the paper).

        A value of 0 is drawn uniformly within ±2 mV, or between 0 and 2 mV in the direction of its known sign.
        What falls outside the bounds is moved onto them.

        Parameters
        ----------
        rng : numpy.random.Generator
        low, high : float

        Returns
        -------
        numpy.ndarray, shape (n_free,)
        """
        centre = self._first_entries(self._base)
        share = rng.random(self.n_free)
        value = centre * (low + (high - low) * share)
        around_zero = _DRAW_AROUND_ZERO * np.where(self._sign == 0, 2 * share - 1, self._sign * share)
        value = np.where(centre == 0, around_zero, value)
        theta = self._coordinates(value)
        return np.clip(theta, self.bounds[:, 0], self.bounds[:, 1])

    def log_prior(self, theta):
        """Logarithm of the circuit's `prior` and `spread`, 0 at the maximum of each, and its gradient in θ.

        A density of the values, not of θ: no Jacobian enters, so that the maximum of likelihood times prior is the same
        in any coordinates. With a spread s, the values x of m populations (logarithms of time constants) have the
        density exp(-Σ (x - mean x)² / (2 s²)): independent Gaussians about a common mean, of which nothing is known and
        which is integrated out.

        Parameters
        ----------
        theta : array, shape (n_free,)

        Returns
        -------
        value : float
        gradient : numpy.ndarray, shape (n_free,)
        """
        theta = np.asarray(theta, dtype=float)
        away = self._value(theta) - self._prior_mean
        pull = self._contrast_precision @ theta
        value = -0.5 * float(np.sum(self._prior_precision * away**2)) - 0.5 * float(theta @ pull)
        return value, -self._prior_precision * away * self._slope(theta) - pull

    def prior_precision(self, theta):
        """Second derivatives of -`log_prior` at θ, without those of the logarithm, shape (n_free, n_free)."""
        return np.diag(self._prior_precision * self._slope(theta) ** 2) + self._contrast_precision

    def values(self, theta):
        """The free values as one shows them: ms and mV (see `units`), shape (n_free,)."""
        return self._value(theta) * self._shown

    def theta_of(self, values):
        """θ of free values as one shows them: undoes `values`.

        Parameters
        ----------
        values : dict of str to float
            ms and mV, by `names`.

        Returns
        -------
        numpy.ndarray, shape (n_free,)

        Raises
        ------
        ValueError
            If a value is missing or one too many.

        Examples
        --------
        >>> from neulvm_neo import Circuit
        >>> space = ParameterSpace(Circuit([100], names=["E"], free=("tau_m", "threshold")))
        >>> theta = space.theta_of({"tau_m[E]": 10.0, "threshold[E]": 5.0})
        >>> circuit_with(space.circuit, space.unpack(theta)).tau_m
        array([10.]) * ms
        """
        if set(values) != set(self.names):
            raise ValueError(f"values has the names {sorted(values)}; expected {sorted(self.names)}.")
        return self._coordinates(np.array([values[name] for name in self.names], dtype=float) / self._shown)

    def _add(self, name):
        circuit = self.circuit
        shape = getattr(circuit, name).shape
        labels = circuit.ties.get(name, np.full(shape, ""))
        present = circuit.mask if name == "J" else np.ones(shape, bool)
        index, seen = np.full(shape, -1), {}
        for i in np.flatnonzero(present):
            where = np.unravel_index(i, shape)
            label = str(labels[where])
            if label and label in seen:
                index[where] = seen[label]
                continue
            index[where] = len(self._first)
            if label:
                seen[label] = len(self._first)
            self._first.append((name, int(i)))
            place = "←".join(circuit.names[k] for k in where)
            self.names += (label if label.startswith(name) else f"{name}[{label or place}]",)
        self._index[name] = index

    def _box(self):
        """The bounds in θ; a known sign of a coupling is a bound at 0."""
        low, high = self._inside(self.circuit.bounds, 0), self._inside(self.circuit.bounds, 1)
        low = np.where(self._sign > 0, np.maximum(low, 0.0), low)
        high = np.where(self._sign < 0, np.minimum(high, 0.0), high)
        box = np.column_stack([low, high])
        box[self._log] = np.log(box[self._log])
        return box

    def _contrasts(self):
        """Precision in θ of differences between populations (`Circuit.spread`), (n_free, n_free); θ is in s and mV."""
        precision = np.zeros((self.n_free, self.n_free))
        for name, spread in self.circuit.spread.items():
            named = np.array([name == of for of, _ in self._first], dtype=bool)  # tied values are one
            groups = [named & (self._sign == sign) for sign in (1, -1)] if name == "J" else [named]
            for own in map(np.flatnonzero, groups):
                if own.size > 1:
                    precision[np.ix_(own, own)] = (np.eye(own.size) - 1.0 / own.size) / float(spread) ** 2
        return precision

    def _first_entries(self, parameters):
        return np.array([np.asarray(getattr(parameters, name)).flat[i] for name, i in self._first], dtype=float)

    def _inside(self, table, end, missing=None):
        """One end of `bounds` or `prior`, per free value, in s and mV."""
        shown = [table[name][end].magnitude.flat[i] if name in table else missing for name, i in self._first]
        return np.array(shown, dtype=float) / self._shown

    def _value(self, theta):
        theta = np.asarray(theta, dtype=float)
        return np.where(self._log, np.exp(np.where(self._log, theta, 0.0)), theta)

    def _coordinates(self, value):
        return np.where(self._log, np.log(np.where(self._log, value, 1.0)), value)

    def _slope(self, theta):
        return np.where(self._log, self._value(theta), 1.0)


def _as_milliseconds(seconds):
    """Floats in ms that read back as the same floats in s, wherever such floats exist."""
    shown = seconds * 1e3
    for candidate in (np.nextafter(shown, np.inf), np.nextafter(shown, -np.inf)):
        shown = np.where((shown / 1e3 != seconds) & (candidate / 1e3 == seconds), candidate, shown)
    return shown
