"""Gaussian-process factor analysis (GPFA) of a trial, with Elephant and its default bins of 20 ms.

A free simulation draws the latents from the fitted Gaussian processes. The model is one of square roots of counts,
whose expected squares are taken for the counts.
"""

LIBRARY = "elephant"


def libraries():
    """What the fit needs; raises where it is not installed."""
    import neo
    import quantities as pq
    from elephant.gpfa import GPFA

    return neo, pq, GPFA


def fit(modules, counts, bin_size, seconds, seed, merge=5, n_latents=3, n_iter=100):
    """Latents of a trial, in bins of so many of the data's, and rates in a free simulation."""
    import importlib.metadata

    import numpy as np

    neo, pq, GPFA = modules
    y = np.asarray(counts)
    y = y[: len(y) // merge * merge]
    trains = [
        neo.SpikeTrain(
            np.repeat(np.arange(len(y)) + 0.5, n.astype(int)) * bin_size, units="s", t_stop=len(y) * bin_size
        )
        for n in y.T
    ]
    width = merge * bin_size
    model = GPFA(bin_size=width * 1e3 * pq.ms, x_dim=n_latents, em_max_iters=n_iter)
    model.fit([trains])
    (x,) = model.transform([trains], returned_data=["latent_variable"])
    gamma, noise = (np.asarray(model.params_estimated[name]).ravel() for name in ("gamma", "eps"))
    rng = np.random.default_rng(seed)
    n_bins = round(seconds / width)
    C, d, R = (np.asarray(model.params_estimated[name]) for name in ("C", "d", "R"))
    simulated = np.stack([_process(np, rng, g, e, n_bins) for g, e in zip(gamma, noise, strict=True)], axis=1)
    root = np.maximum(simulated @ C.T + d.ravel(), 0.0)
    return {
        "version": f"elephant {importlib.metadata.version('elephant')}",
        "latents": np.asarray(x).T,
        "bin_size": width,
        "simulated": (root**2 + np.diag(R)) / width,
        "time_scales": width / np.sqrt(gamma),
    }


def _process(np, rng, gamma, noise, n_bins):
    """A stationary Gaussian process on a circle, so long that its ends do not feel each other."""
    n = 2 * n_bins
    lag = np.minimum(np.arange(n), n - np.arange(n))
    covariance = (1 - noise) * np.exp(-gamma / 2 * lag**2.0)
    covariance[0] += noise
    spectrum = np.maximum(np.fft.fft(covariance).real, 0.0)
    return np.fft.ifft(np.sqrt(spectrum) * np.fft.fft(rng.standard_normal(n))).real[:n_bins]
