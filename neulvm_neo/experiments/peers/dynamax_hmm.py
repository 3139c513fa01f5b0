"""Poisson hidden Markov model, fitted with dynamax.

By EM from several random starts for each number of states; the highest log probability of each number is kept, and the
number with the lowest Bayesian information criterion. What is inferred are the probabilities of the states.
"""

import functools
import math

LIBRARY = "dynamax"
WIDTHS = (0.0, 0.02, 0.05)  # s, of bins, tried for predictions


def libraries():
    """What the fit needs; raises where it is not installed."""
    import jax
    from dynamax import hidden_markov_model

    return jax, hidden_markov_model


def fit(modules, counts, bin_size, seconds, seed, merge=5, n_states=(2, 3), n_starts=5, n_iter=50):
    """Probabilities of states in a trial, whose bins are merged by so many, and rates in a free simulation."""
    import importlib.metadata

    import numpy as np

    jax, hidden_markov_model = modules
    y = _merged(np, counts, merge)
    rng = np.random.default_rng(seed)
    found = []
    for K in n_states:
        model = hidden_markov_model.PoissonHMM(K, y.shape[1])
        p = _em(jax, np, model, y, K, rng, n_starts, n_iter)
        posterior = jax.jit(model.smoother)(p, y)
        log_likelihood = float(posterior.marginal_loglik)
        n_values = K * y.shape[1] + K * (K - 1) + K - 1
        found.append((n_values * math.log(len(y)) - 2 * log_likelihood, K, model, p, posterior))
    _, K, model, p, posterior = min(found, key=lambda one: one[0])
    n_bins = round(seconds / (merge * bin_size))
    states, _ = jax.jit(lambda p, key: model.sample(p, key, n_bins))(p, jax.random.key(seed))
    return {
        "version": f"dynamax {importlib.metadata.version('dynamax')}",
        "latents": np.asarray(posterior.smoothed_probs),
        "bin_size": merge * bin_size,
        "simulated": np.asarray(p.emissions.rates)[np.asarray(states)] / (merge * bin_size),
        "log_likelihood": float(posterior.marginal_loglik),
        "n_states": K,
    }


def predict(
    modules,
    training,
    test,
    constant,
    bin_size,
    seed,
    widths=(0.0, 0.02, 0.05),
    n_states=(2, 3, 4, 6),
    n_starts=3,
    n_iter=50,
):
    """Gains over the expected counts `constant` in every bin of `test`, given the bins before.

    Width of the bins (s; at least that of the data) and number of states are those that predict the last fifth of the
    training data best.
    """
    import importlib.metadata

    import numpy as np

    jax, hidden_markov_model = modules
    rng = np.random.default_rng(seed)
    found = []
    for merge in sorted({max(1, round(width / bin_size)) for width in widths}):
        y = _merged(np, training, merge)
        split = len(y) * 4 // 5
        for K in n_states:
            model = hidden_markov_model.PoissonHMM(K, y.shape[1])
            p = _em(jax, np, model, y[:split], K, rng, n_starts, n_iter)
            found.append((_gains(jax, np, model, p, y[split:], constant, merge).sum(), merge, K))
    _, merge, K = max(found)
    model = hidden_markov_model.PoissonHMM(K, len(constant))
    p = _em(jax, np, model, _merged(np, training, merge), K, rng, n_starts, n_iter)
    return {
        "version": f"dynamax {importlib.metadata.version('dynamax')}",
        "gain": _gains(jax, np, model, p, _merged(np, test, merge), constant, merge),
        "bin_size": merge * bin_size,
        "settings": {"states": K, "bin_size": merge * bin_size},
    }


def _merged(np, counts, merge):
    """Spikes in bins that are so many times as wide."""
    y = np.asarray(counts, dtype=float)
    return y[: len(y) // merge * merge].reshape(-1, merge, y.shape[1]).sum(axis=1)


def _gains(jax, np, model, p, y, constant, merge):
    """How much more likely every bin is, given those before, than at constant rates, in nats."""
    rates, constant = np.asarray(p.emissions.rates), merge * np.asarray(constant)
    predicted = np.asarray(jax.jit(model.filter)(p, y).predicted_probs)
    of_state = y @ np.log(rates / constant).T - (rates - constant).sum(axis=1)
    highest = of_state.max(axis=1)
    return highest + np.log(np.sum(predicted * np.exp(of_state - highest[:, None]), axis=1))


def _em(jax, np, model, y, K, rng, n_starts, n_iter):
    """The best of several starts, all of which take their steps at once."""
    jnp, stay = jax.numpy, 0.98
    transitions = jnp.full((K, K), (1 - stay) / (K - 1)) + (stay - (1 - stay) / (K - 1)) * jnp.eye(K)
    batch = jnp.asarray(y)[None]

    rates = y.mean(axis=0) * rng.uniform(0.5, 1.5, (n_starts, K, y.shape[1]))
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), n_starts)
    begun = [
        model.initialize(key, emission_rates=jnp.asarray(rate), transition_matrix=transitions)
        for key, rate in zip(keys, rates, strict=True)
    ]
    p, properties = jax.tree.map(lambda *x: jnp.stack(x), *(p for p, _ in begun)), begun[0][1]

    @jax.jit
    @jax.vmap
    def step(p):
        statistics, log_likelihood = jax.vmap(functools.partial(model.e_step, p))(batch)
        m_state = model.initialize_m_step_state(p, properties)
        q, _ = model.m_step(p, properties, statistics, m_state)
        return q, model.log_prior(p) + log_likelihood.sum()

    for _ in range(n_iter):
        p, log_p = step(p)
    best = int(np.nanargmax(np.asarray(log_p)))
    return jax.tree.map(lambda x: x[best], p)
