"""Poisson generalised linear model (GLM) of the recorded neurons alone, with nemos.

Every neuron's rate is the exponential of a constant and of the past 400 ms of its own and all others' spikes, on eight
raised cosines. The strength of the ridge penalty is that which predicts the last fifth of the trial best.
"""

LIBRARY = "nemos"
WINDOW, N_BASIS = 0.4, 8  # s; functions
STRENGTHS = (1e-4, 1e-3, 1e-2)


def libraries():
    """What the fit needs; raises where it is not installed."""
    import jax
    import nemos

    return jax, nemos


def fit(modules, counts, bin_size, seconds, seed, strengths=STRENGTHS, n_iter=500):
    """Conditional rates in a free simulation that goes on from the trial's last spikes."""
    import importlib.metadata

    import numpy as np

    jax, nemos = modules
    jax.config.update("jax_enable_x64", True)
    y = np.asarray(counts, dtype=float)
    n_neurons, width = y.shape[1], round(WINDOW / bin_size)
    basis = _basis(nemos, width)
    model, best, gains = _chosen(jax, nemos, np, *_features(np, basis, y, width), strengths, n_iter)
    coupling = np.asarray(model.coef_).reshape(n_neurons, N_BASIS, n_neurons).transpose(2, 0, 1)
    n_bins = round(seconds / bin_size)
    _, simulated = nemos.simulation.simulate_recurrent(
        coupling_coef=coupling, feedforward_coef=np.zeros((n_neurons, 1)), intercepts=np.asarray(model.intercept_),
        random_key=jax.random.key(seed), feedforward_input=np.zeros((n_bins, n_neurons, 1)),
        coupling_basis_matrix=np.asarray(basis.kernel_), init_y=y[-width:], inverse_link_function=jax.numpy.exp,
    )  # fmt: skip
    return {
        "version": f"nemos {importlib.metadata.version('nemos')}",
        "bin_size": bin_size,
        "simulated": np.asarray(simulated) / bin_size,
        "held_out_gain": gains[best],  # nats over constant rates, in the last fifth
        "strength": best,
    }


def predict(modules, training, test, constant, bin_size, seed, strengths=STRENGTHS, n_iter=500):
    """Gains over the expected counts `constant` in the bins of `test`; in those of its first 400 ms 0."""
    import importlib.metadata

    import numpy as np

    jax, nemos = modules
    jax.config.update("jax_enable_x64", True)
    width = round(WINDOW / bin_size)
    y, unseen, constant = np.asarray(training, dtype=float), np.asarray(test, dtype=float), np.asarray(constant)
    # neurons silent in what the first fits see, of which there would be none, keep their constant rate
    known = y[width : width + (len(y) - width) * 4 // 5].any(axis=0)
    y, unseen, constant = y[:, known], unseen[:, known], constant[known]
    basis = _basis(nemos, width)
    model, best, _ = _chosen(jax, nemos, np, *_features(np, basis, y, width), strengths, n_iter)
    gain = np.zeros(len(unseen))
    X, target = _features(np, basis, unseen, width)
    gain[width:] = _gains(np, model, X, target, constant)
    return {
        "version": f"nemos {importlib.metadata.version('nemos')}",
        "gain": gain,
        "bin_size": bin_size,
        "settings": {"ridge": best, "past": WINDOW, "basis_functions": N_BASIS},
    }


def _basis(nemos, width):
    return nemos.basis.RaisedCosineLogConv(N_BASIS, window_size=width)


def _features(np, basis, y, width):
    """Past spikes on the basis, and the spikes that they are to explain, from the bin on that has a whole past."""
    return np.asarray(basis.compute_features(y))[width:], y[width:]


def _fitted(jax, nemos, X, target, strength, n_iter):
    model = nemos.glm.PopulationGLM(
        observation_model="Poisson", inverse_link_function=jax.numpy.exp, regularizer="Ridge",
        regularizer_strength=strength, solver_name="LBFGS", solver_kwargs={"maxiter": n_iter},
    )  # fmt: skip
    return model.fit(X, target)


def _gains(np, model, X, target, constant):
    """How much more likely every bin is than at constant rates, in nats."""
    rate = np.maximum(np.asarray(model.predict(X)), 1e-9)
    return np.sum(target * np.log(rate / constant) - rate + constant, axis=1)


def _chosen(jax, nemos, np, X, target, strengths, n_iter):
    """The fit with the best strength, that strength, and what each strength gains in the last fifth."""
    split = len(X) * 4 // 5
    constant = np.maximum(target[:split].mean(axis=0), 1e-9)

    def gain(strength):
        model = _fitted(jax, nemos, X[:split], target[:split], strength, n_iter)
        return float(_gains(np, model, X[split:], target[split:], constant).sum())

    gains = {strength: gain(strength) for strength in strengths} if len(strengths) > 1 else {strengths[0]: None}
    best = max(gains, key=gains.get)
    return _fitted(jax, nemos, X, target, best, n_iter), best, gains
