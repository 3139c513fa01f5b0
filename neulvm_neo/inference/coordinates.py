"""Coordinates in which the likelihood is closer to a quadratic: mean drives instead of resting potentials.

What a recording determines best is how strongly each population is driven on average, u_rest - threshold + tau_m Σ J A:
couplings, time constants and potentials may change a lot as long as this sum does not. In θ such a ridge is curved,
because J and tau_m are multiplied; with the sum as a coordinate of its own it is straight.
"""

import numpy as np

_STEP = 1e-5  # of central differences, in log s and mV


class DriveCoordinates:
    """φ: θ with the mean drive, at a reference activity, in place of every free resting potential.

    Parameters
    ----------
    space : ParameterSpace
    activity : numpy.ndarray, shape (K,), Hz
        Of the populations, on average.

    Examples
    --------
    >>> import quantities as pq
    >>> from neulvm_neo import Circuit
    >>> from neulvm_neo.parameters import ParameterSpace, parameters_of
    >>> circuit = Circuit([100], J=30 * pq.mV, u_rest=10 * pq.mV, threshold=4 * pq.mV, free=("J", "u_rest"))
    >>> space = ParameterSpace(circuit)
    >>> of = DriveCoordinates(space, np.array([20.0]))
    >>> phi = of.straight(space.pack(parameters_of(circuit)))
    >>> phi.round(6)  # 10 - 4 + 0.02 · 30 · 20
    array([30., 18.])
    >>> of.bent(phi).round(6)
    array([30., 10.])
    """

    def __init__(self, space, activity):
        self.space, self.activity = space, np.asarray(activity, dtype=float)
        # which θ coordinate every population's resting potential is, found by its gradient; -1 where it is given
        start = np.zeros(space.n_free)
        zero = type(space.unpack(start))(*(np.zeros_like(field) for field in space.unpack(start)))
        self._of = np.full(self.activity.size, -1)
        for k, one in enumerate(np.eye(self.activity.size)):
            where = np.flatnonzero(space.pull_back(start, zero._replace(u_rest=one)))
            if where.size:
                self._of[k] = where[0]

    def straight(self, theta):
        """φ of a θ, (n_free,)."""
        return np.asarray(theta, dtype=float) + self._drive_beside_rest(theta)

    def bent(self, phi):
        """θ of a φ: the way back is explicit, as the added drive does not depend on the resting potentials."""
        return np.asarray(phi, dtype=float) - self._drive_beside_rest(phi)

    def slope(self, theta):
        """dφ/dθ, (n_free, n_free)."""
        steps = _STEP * np.eye(len(theta))
        return np.array([(self.straight(theta + h) - self.straight(theta - h)) / (2 * _STEP) for h in steps]).T

    def _drive_beside_rest(self, theta):
        p = self.space.unpack(theta)
        beside = p.tau_m * (p.J @ self.activity) - p.threshold
        out = np.zeros(len(theta))
        for i in set(self._of[self._of >= 0]):  # one for populations whose resting potentials are tied
            out[i] = beside[self._of == i].mean()
        return out
