"""Is the coupling of one population recovered from six neurons and one second? (Wang et al. 2022, Table S3)."""

import warnings
from typing import NamedTuple

import joblib
import numpy as np
import quantities as pq
from sklearn.exceptions import ConvergenceWarning

from ..inference.tasks import run
from ..parameters import parameters_of
from .baselines import correlations
from .circuits import single_population

# The protocol: couplings (mV), data sets of each, neurons recorded, initial rate (Hz), duration (s), bin and step (ms).
COUPLINGS = (59.0, 60.0, 61.0, 62.0, 63.0, 64.0, 65.0)
N_DATA_SETS = 10
N_RECORDED = 6
INITIAL_RATE = 20.0 * pq.Hz
DURATION = 1.0 * pq.s
BIN_SIZE = 1.0 * pq.ms
BETWEEN = (59.5, 60.5, 61.5, 62.5, 63.5, 64.5)  # couplings (mV) that the paper did not try
# Couplings (mV) that fits start from, all far from the true ones.
STARTS = ((10.0, 30.0), (90.0, 110.0))
PRIOR = (10.0, 110.0)  # mV
N_CALIBRATION = 50


class DataSet(NamedTuple):
    """Spikes of a few neurons (n_bins, n_recorded), the true counts (n_bins, 1), and the coupling J in mV."""

    counts: np.ndarray
    n: np.ndarray
    J: float


class FittedCoupling(NamedTuple):
    """Ĵ and the ends of its 90 % interval (mV), how well the activity is inferred, and how the fit ended.

    r is the Pearson correlation of inferred and true activity in bins of 1 ms, `band` the share of bins whose true
    count lies in the 90 % band; without intervals and bands they are NaN.
    """

    J: float
    lower: float
    upper: float
    r: float
    band: float
    status: str


def data_sets(seed, couplings=COUPLINGS, n_each=N_DATA_SETS, n_recorded=N_RECORDED):
    """Simulate the protocol: for every coupling one network of 600 neurons, and several samples of its neurons.

    As in the paper, a coupling is simulated once, for one second from the asynchronous state at 20 Hz, and the data
    sets differ in the neurons that were recorded; no neuron is in two of them as long as there are enough.

    Parameters
    ----------
    seed : int
    couplings : sequence of float, mV
    n_each : int
        Data sets per coupling.
    n_recorded : int
        Neurons per data set.

    Returns
    -------
    list of DataSet
        Coupling after coupling.

    Examples
    --------
    >>> sets = data_sets(1, couplings=[60.0], n_each=2)
    >>> [(s.counts.shape, s.n.shape, s.J) for s in sets]
    [((1000, 6), (1000, 1), 60.0), ((1000, 6), (1000, 1), 60.0)]
    """
    sets = []
    for J, child in zip(couplings, np.random.SeedSequence(seed).spawn(len(couplings)), strict=True):
        rng = np.random.default_rng(child)
        sets += samples_of_one_network(float(J), n_each, n_recorded, rng, initial_rate=INITIAL_RATE)
    return sets


def random_start(rng):
    """A coupling (mV) that a fit starts from: uniform in `STARTS`, far below or far above every true one.

    >>> 10 <= random_start(np.random.default_rng(3)) <= 110
    True
    """
    low, high = STARTS[rng.integers(len(STARTS))]
    return float(rng.uniform(low, high))


def fitted_coupling(data_set, *, seed, method, **settings):
    """Ĵ (mV) of one data set, everything but J being given.

    Parameters
    ----------
    data_set : DataSet
    seed : int
    method, **settings
        See `fitted_model`.

    Returns
    -------
    FittedCoupling
    """
    return coupling_of(fitted_model(data_set, seed=seed, method=method, **settings), data_set)


def fitted_model(data_set, *, seed, method, **settings):
    """The fit of one data set: with "smc" J is uniform in `PRIOR` beforehand, with others each start is `random_start`.

    Parameters
    ----------
    data_set : DataSet
    seed : int
    method, **settings
        Of `NeuLVM`.

    Returns
    -------
    NeuLVM
    """
    from ..estimator import NeuLVM

    circuit = single_population()
    given = parameters_of(circuit)

    def start(rng, *_):
        J = rng.uniform(*PRIOR) if method == "smc" else random_start(rng)
        return given._replace(J=np.full((1, 1), J))

    model = NeuLVM(
        circuit, labels=np.zeros(data_set.counts.shape[1], dtype=int), bin_size=BIN_SIZE, scheme="euler", method=method,
        start=start, random_state=seed, **settings,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(data_set.counts)


def coupling_of(model, data_set):
    """What a fitted model says about the coupling, and how well it knows the activity.

    Parameters
    ----------
    model : NeuLVM
    data_set : DataSet
        The one that it was fitted to.

    Returns
    -------
    FittedCoupling
    """
    found, (activity,) = model.result_.uncertainty, model.result_.activities
    inside = np.nan
    if activity.n_lower is not None:
        inside = float(np.mean((data_set.n >= activity.n_lower) & (data_set.n <= activity.n_upper)))
    return FittedCoupling(
        float(model.J_[0, 0].magnitude),
        np.nan if found is None else float(found.lower[0]),
        np.nan if found is None else float(found.upper[0]),
        float(correlations(model.activity_, data_set.n)[0]),
        inside,
        model.result_.status,
    )


def summary(true, fitted):
    """What Table S3 says about pairs of true and fitted couplings (mV), as plain values.

    >>> summary([59.0, 59.0, 65.0, 65.0], [59.0, 59.2, 64.0, 64.4])["mean"]
    {59.0: 59.1, 65.0: 64.2}
    """
    true, fitted = np.asarray(true, dtype=float), np.asarray(fitted, dtype=float)
    of = {float(J): fitted[true == J] for J in np.unique(true)}
    return {
        "pearson_r": float(np.corrcoef(true, fitted)[0, 1]),
        "largest_error": float(np.abs(fitted - true).max()),
        "mean": {J: float(np.round(values.mean(), 6)) for J, values in of.items()},
        "std": {J: float(np.round(values.std(), 6)) for J, values in of.items()},
        "n_data_sets": int(true.size),
    }


def calibration(seed, n_networks=N_CALIBRATION, n_jobs=1, **settings):
    """Do intervals and bands hold what they say? Networks that share nothing, with J uniform over the protocol's.

    Unlike in `data_sets`, every data set has a simulation of its own, so that chance in the network counts, too.

    Parameters
    ----------
    seed : int
    n_networks : int
    n_jobs : int
        joblib jobs over data sets.
    **settings
        Of `NeuLVM`, whose method is "smc".

    Returns
    -------
    dict
        ``inside``: intervals of 90 % that contain the true J, ``of`` how many; ``band``, the mean share of bins whose
        count lies in the band of 90 %; ``largest_error`` and ``bias`` (mV); ``fits``, all of `FittedCoupling` and
        ``J_true`` (mV) by data set.
    """
    network_seed, *fit_seeds = (int(x) for x in np.random.SeedSequence(seed).generate_state(n_networks + 1))
    couplings = np.random.default_rng(network_seed).uniform(COUPLINGS[0], COUPLINGS[-1], n_networks)
    sets = data_sets(network_seed, couplings, n_each=1)
    fits = run(
        (
            joblib.delayed(fitted_coupling)(data_set, seed=fit_seed, method="smc", n_jobs=1, **settings)
            for data_set, fit_seed in zip(sets, fit_seeds, strict=True)
        ),
        n_jobs,
    )
    error = np.array([fit.J - data_set.J for fit, data_set in zip(fits, sets, strict=True)])
    return {
        "inside": sum(fit.lower <= data_set.J <= fit.upper for fit, data_set in zip(fits, sets, strict=True)),
        "of": n_networks,
        "band": float(np.mean([fit.band for fit in fits])),
        "largest_error": float(np.abs(error).max()),
        "bias": float(error.mean()),
        "fits": [{"J_true": data_set.J, **fit._asdict()} for fit, data_set in zip(fits, sets, strict=True)],
    }


def samples_of_one_network(J, n_each, n_recorded, rng, **start):
    """Data sets of one simulation, whose `start` is as of `simulate_microscopic`."""
    from ..binning import bin_recording
    from ..recording import SpikeRecording
    from ..simulation import simulate_microscopic

    circuit = single_population(J * pq.mV)
    run = simulate_microscopic(
        circuit, duration=DURATION, bin_size=BIN_SIZE, time_step=BIN_SIZE, integration="euler",
        n_recorded=int(circuit.n_neurons[0]), random_state=rng, **start,
    )  # fmt: skip
    (spikes,) = bin_recording(SpikeRecording.from_neo(run.spiketrains), float(BIN_SIZE.rescale(pq.s)))
    order = [rng.permutation(spikes.shape[1]) for _ in range(-(-n_each * n_recorded // spikes.shape[1]))]
    chosen = np.concatenate(order)[: n_each * n_recorded].reshape(n_each, n_recorded)
    return [DataSet(spikes[:, neurons], run.n, J) for neurons in chosen]
