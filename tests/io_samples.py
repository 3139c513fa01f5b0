"""Small NWB files and fits for the tests of io, made by PyNWB itself, not by the code under test."""

import datetime
import hashlib
import warnings

import numpy as np
import quantities as pq

from neulvm_neo import Circuit, FitResult, PopulationActivity
from neulvm_neo.results import BAND_LEVEL, Uncertainty


def make_nwb(path, spike_times, obs_intervals=None, columns=None, ids=None, trials=None, resolution=1e-4, change=None):
    """Write a file with units; `columns` and `trials` are dicts of lists, `change` gets the NWBFile before writing."""
    import pynwb

    with warnings.catch_warnings(), pynwb.NWBHDF5IO(str(path), "w") as writer:
        warnings.simplefilter("ignore")
        writer.write(_nwb_file(pynwb, spike_times, obs_intervals, columns, ids, trials, resolution, change))
    return path


def make_fit(neuron_ids, n_populations=2, t_starts=(0.0,), n_bins=200, bin_size=0.01, seed=0, **changes):
    """A fit with random activity whose neurons take turns between the populations."""
    rng = np.random.default_rng(seed)
    circuit = Circuit(
        n_neurons=[400, 100, 50][:n_populations],
        names=["E", "I", "S"][:n_populations],
        J=rng.normal(size=(n_populations, n_populations)) * pq.mV,
        tau_syn=np.array([3, 6, 12])[:n_populations] * pq.ms,
    )
    activities = tuple(
        PopulationActivity(
            rng.poisson(3.0, (n_bins, n_populations)).astype(float),
            circuit.n_neurons,
            bin_size,
            t_start,
            circuit.names,
            n_bar=rng.random((n_bins, n_populations)),
            n_std=rng.random((n_bins, n_populations)),
            n_lower=rng.random((n_bins, n_populations)),
            n_upper=3 + rng.random((n_bins, n_populations)),
        )
        for t_start in t_starts
    )
    settings = {
        "method": "viterbi",
        "bounds": {"tau_m": [1.0, 2.0]},
        "n_init": 3,
        "labels": None,
        "shape": (2, 3),
        "tol": 1e-3,
    }
    fit = {
        "circuit": circuit,
        "labels": tuple(circuit.names[i % n_populations] for i in range(len(neuron_ids))),
        "neuron_ids": tuple(map(str, neuron_ids)),
        "activities": activities,
        "log_likelihood": -1234.1 / 7,
        "log_likelihood_error": 0.3,
        "n_iter": 12,
        "converged": True,
        "status": "converged: the bound no longer moved",
        "trace": (
            {"log_likelihood": -3.1, "theta": rng.normal(size=3)},
            {"log_likelihood": np.float64(-2.0), "step": 1},
        ),
        "settings": settings,
        "software_version": "0.1.0",
        "uncertainty": make_uncertainty(circuit.names, rng),
        "distances": rng.random((len(neuron_ids), n_populations)),
        "neuron_thresholds": rng.normal(size=len(neuron_ids)),
        "kinds": ("E1 and E2 differ: values of their own gain 20.0 nats and cost 3.0.",),
    }
    return FitResult(**{**fit, **changes})


def make_uncertainty(names, rng):
    """Intervals of tau_m and u_rest of every population, one end of which is open."""
    free = [f"{what}[{name}]" for what in ("tau_m", "u_rest") for name in names]
    estimate, covariance = rng.normal(size=len(free)), rng.normal(size=(len(free), len(free)))
    return Uncertainty(
        names=tuple(free),
        units=("ms",) * len(names) + ("mV",) * len(names),
        estimate=estimate,
        lower=np.where(np.arange(len(free)) == 1, -np.inf, estimate - 0.1),
        upper=estimate + 0.1,
        level=BAND_LEVEL,
        theta=rng.normal(size=len(free)),
        covariance=covariance @ covariance.T,
        undetermined=("J of I and u_rest can be exchanged.",),
        method="made up",
    )


def assert_same_fit(a, b, exact=True):
    """That two fits say the same, bit for bit; with ``exact=False`` counts may be off by a rounding."""
    from numpy.testing import assert_allclose, assert_array_equal

    plain = "labels", "neuron_ids", "log_likelihood", "log_likelihood_error", "n_iter", "converged", "status", "kinds"
    for name in plain:
        assert getattr(a, name) == getattr(b, name), name
        assert type(getattr(a, name)) is type(getattr(b, name)), name
    assert (a.settings, a.software_version) == (b.settings, b.software_version)
    assert a.circuit.to_dict() == b.circuit.to_dict()
    assert len(a.activities) == len(b.activities)
    for one, other in zip(a.activities, b.activities, strict=True):
        assert (one.bin_size, one.t_start, tuple(one.names)) == (other.bin_size, other.t_start, tuple(other.names))
        assert_array_equal(one.n_neurons, other.n_neurons)
        for name in ("n", "n_bar", "n_std", "n_lower", "n_upper"):
            left, right = getattr(one, name), getattr(other, name)
            assert (left is None) == (right is None), name
            if left is not None and exact:
                assert_array_equal(left, right, strict=True)
            elif left is not None:
                assert_allclose(left, right, rtol=4e-16, atol=0)
    for name in ("theta", "estimate", "lower", "upper", "covariance"):
        if a.uncertainty is not None:
            assert_array_equal(getattr(a.uncertainty, name), getattr(b.uncertainty, name), strict=True)
    for name in ("names", "units", "level", "undetermined", "method"):
        assert getattr(a.uncertainty, name, None) == getattr(b.uncertainty, name, None), name
    for name in ("distances", "neuron_thresholds"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert_array_equal(left, right, strict=True)
    assert len(a.trace) == len(b.trace)
    for one, other in zip(a.trace, b.trace, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)


def sha256(path):
    """Hash of the bytes of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inspector_messages(path):
    """What nwbinspector says about a file, as {(check, object, place, message): importance}."""
    import nwbinspector
    import pynwb

    with warnings.catch_warnings(), pynwb.NWBHDF5IO(str(path), "r") as reader:
        warnings.simplefilter("ignore")
        messages = list(nwbinspector.inspect_nwbfile_object(reader.read()))
    return {(m.check_function_name, m.object_type, m.location, m.message): m.importance for m in messages}


def _nwb_file(pynwb, spike_times, obs_intervals, columns, ids, trials, resolution, change):
    nwb = pynwb.NWBFile("A test.", "test", datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC))
    nwb.units = pynwb.misc.Units(name="units", description="Units.", resolution=resolution)
    for name in columns or {}:
        nwb.add_unit_column(name=name, description=f"{name} of the unit.")
    for i, times in enumerate(spike_times):
        own = {name: values[i] for name, values in (columns or {}).items()}
        if obs_intervals is not None:
            own["obs_intervals"] = obs_intervals[i]
        nwb.add_unit(id=i if ids is None else ids[i], spike_times=times, **own)
    if trials is not None:
        for name in set(trials) - {"start_time", "stop_time"}:
            nwb.add_trial_column(name=name, description=f"{name} of the trial.")
        for row in zip(*trials.values(), strict=True):
            nwb.add_trial(**dict(zip(trials, row, strict=True)))
    if change is not None:
        change(nwb)
    return nwb
