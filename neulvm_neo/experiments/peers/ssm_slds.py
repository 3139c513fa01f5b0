"""Poisson switching linear dynamical system (SLDS), fitted with the package that the paper used (lindermanlab/ssm).

Three discrete states, three continuous latents, orthogonal emissions with an exponential link, in bins of 40 ms. With
``method="bbvi"`` by stochastic variational inference with a factorised posterior, as in the paper; with
``method="laplace_em"`` by the package's own default, which infers the latents better.
"""

LIBRARY = "ssm"
_HIGHEST = 10.0  # log of a rate in Hz, so that a simulation that runs away stays a number


def libraries():
    """What the fit needs; raises where it is not installed."""
    import ssm

    return (ssm,)


def fit(modules, counts, bin_size, seconds, seed, method="bbvi", merge=10, n_states=3, n_latents=3, n_iter=1000):
    """Latents of a trial, whose bins are merged by so many, and rates in a free simulation."""
    import importlib.metadata

    import numpy as np

    (ssm,) = modules
    y = np.asarray(counts, dtype=int)
    y = y[: len(y) // merge * merge].reshape(-1, merge, y.shape[1]).sum(axis=1)
    np.random.seed(seed % 2**32)  # the package draws from NumPy's global generator
    width = merge * bin_size
    model = ssm.SLDS(
        y.shape[1], n_states, n_latents, emissions="poisson_orthog", emission_kwargs={"link": "log", "bin_size": width}
    )
    posterior = {"bbvi": "mf", "laplace_em": "structured_meanfield"}[method]
    bounds, q = model.fit(y, method=method, variational_posterior=posterior, num_iters=n_iter, verbose=0)
    x = q.mean_continuous_states[0] if method == "laplace_em" else q.mean[0]
    states, simulated, _ = model.sample(round(seconds / width))
    log_rate = model.emissions.forward(simulated, np.zeros((len(simulated), 0)), None)[:, 0]
    return {
        "version": f"ssm {importlib.metadata.version('ssm')}",
        "latents": np.asarray(x),
        "bin_size": width,
        "simulated": np.exp(np.minimum(log_rate, _HIGHEST)),
        "lower_bound": float(bounds[-1]),
        "state_shares": np.bincount(states, minlength=n_states) / len(states),
    }
