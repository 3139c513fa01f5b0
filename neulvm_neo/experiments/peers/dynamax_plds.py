"""Poisson linear dynamical system (PLDS), fitted with dynamax.

x(t+1) = A x(t) + noise of covariance Q; the spikes of a neuron in a bin are Poisson with rate exp(C x + d). Parameters
climb the marginal likelihood of dynamax's conditional-moments Gaussian filter by Adam, from a singular-value
decomposition of smoothed log rates; latents are the means of its smoother. A is kept so that no mode outlives `LONGEST`
(s): a trial of 10 s with a switch or two otherwise gives a mode that grows, and a free simulation that runs away.
"""

import math

LIBRARY = "dynamax"
LONGEST = 10.0  # s, time constant of a mode at most: the length of a trial
SMOOTHING = 0.04  # s, of the spikes from which the first parameters are taken
_HIGHEST = 4.0  # of the log of the expected spikes in a bin
_SETTLED = 0.5  # nats in `_BETWEEN` steps: then the climb is over
_BETWEEN = 25


def libraries():
    """What the fit needs; raises where it is not installed."""
    import jax
    import optax
    import tensorflow_probability.substrates.jax as tfp
    from dynamax import generalized_gaussian_ssm

    return jax, optax, tfp, generalized_gaussian_ssm


def fit(modules, counts, bin_size, seconds, seed, n_latents=3, n_steps=200, learning_rate=0.01):
    """Latents of a trial, rates in a free simulation."""
    import importlib.metadata

    import numpy as np

    jax, optax, tfp, ggssm = modules
    jax.config.update("jax_enable_x64", True)
    jnp, y = jax.numpy, np.asarray(counts, dtype=float)
    keep = math.exp(-bin_size / LONGEST)
    integrals, data = ggssm.EKFIntegrals(), jnp.asarray(y)

    def dynamics(p):
        root = jnp.tril(p["root"])
        A = p["A"] * keep / jnp.maximum(jnp.linalg.norm(p["A"], 2), keep)
        return A, root @ root.T + 1e-9 * jnp.eye(n_latents)

    def model(p):
        A, Q = dynamics(p)

        def rate(x):
            return jnp.exp(jnp.clip(p["C"] @ x + p["d"], -20.0, _HIGHEST))

        return ggssm.ParamsGGSSM(
            jnp.zeros(n_latents), jnp.eye(n_latents), lambda x: A @ x, Q, rate, lambda x: jnp.diag(rate(x)),
            lambda mean, covariance: tfp.distributions.Poisson(rate=mean),
        )  # fmt: skip

    def cost(p):
        return -ggssm.conditional_moments_gaussian_filter(model(p), integrals, data).marginal_loglik

    optimizer = optax.adam(learning_rate)

    @jax.jit
    def step(p, state):
        value, gradient = jax.value_and_grad(cost)(p)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(p, update), state, value

    p = {name: jnp.asarray(x) for name, x in _first(np, y, bin_size, n_latents).items()}
    state, costs, best = optimizer.init(p), [], (math.inf, p)
    for i in range(n_steps):
        before = p
        p, state, value = step(p, state)
        costs.append(float(value))
        best = min(best, (costs[-1], before), key=lambda found: found[0])
        if i % _BETWEEN == 0 and i >= 2 * _BETWEEN and costs[-1 - _BETWEEN] - costs[-1] < _SETTLED:
            break
    p = best[1]
    smoother = jax.jit(lambda p: ggssm.conditional_moments_gaussian_smoother(model(p), integrals, data).smoothed_means)
    A, Q = (np.asarray(x) for x in dynamics(p))
    x = _simulated(np, A, Q, round(seconds / bin_size), seed)
    log_rate = np.minimum(x @ np.asarray(p["C"]).T + np.asarray(p["d"]), _HIGHEST)
    return {
        "version": f"dynamax {importlib.metadata.version('dynamax')}",
        "latents": np.asarray(smoother(p)),
        "bin_size": bin_size,
        "simulated": np.exp(log_rate) / bin_size,
        "log_likelihood": -best[0],
        "n_steps": len(costs),
        "slowest_mode": float(-bin_size / np.log(np.abs(np.linalg.eigvals(A)).max())),
    }


def _first(np, y, bin_size, n_latents):
    """Principal components of smoothed log rates, and a linear regression of each bin on the one before."""
    from scipy.ndimage import gaussian_filter1d

    rate = gaussian_filter1d(y, SMOOTHING / bin_size, axis=0, mode="nearest")
    log_rate = np.log(np.maximum(rate, 0.02 * y.mean() + 1e-6))
    u, s, v = np.linalg.svd(log_rate - log_rate.mean(axis=0), full_matrices=False)
    x, C = u[:, :n_latents] * np.sqrt(len(y)), (v[:n_latents].T * s[:n_latents]) / np.sqrt(len(y))
    A = np.linalg.lstsq(x[:-1], x[1:], rcond=None)[0].T
    Q = np.cov((x[1:] - x[:-1] @ A.T).T).reshape(n_latents, n_latents)
    d = np.log(np.maximum(y.mean(axis=0), 1e-4)) - 0.5 * (C**2).sum(axis=1)  # so that mean rates are those of the data
    return {"A": A, "root": np.linalg.cholesky(Q + 1e-6 * np.eye(n_latents)), "C": C, "d": d}


def _simulated(np, A, Q, n_bins, seed):
    noise = np.random.default_rng(seed).standard_normal((n_bins, len(A))) @ np.linalg.cholesky(Q).T
    x = np.zeros((n_bins + 1, len(A)))
    for t in range(n_bins):
        x[t + 1] = A @ x[t] + noise[t]
    return x[1:]
