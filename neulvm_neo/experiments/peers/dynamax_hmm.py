"""Poisson hidden Markov model, fitted with dynamax.

By EM from several random starts for each number of states; the highest log probability of each number is kept, and the
number with the lowest Bayesian information criterion. What is inferred are the probabilities of the states.
"""

import functools
import math

LIBRARY = "dynamax"


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
    y = np.asarray(counts, dtype=float)
    y = y[: len(y) // merge * merge].reshape(-1, merge, y.shape[1]).sum(axis=1)
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
