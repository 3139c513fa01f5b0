"""Every real recording at hand is annotated without a fault: valid, fit for archives, and open to pynapple."""

import warnings

import numpy as np
import pynwb
import pytest
from neulvm_neo.io import annotate_nwb, inspect_annotation, read_fit, read_nwb
from neulvm_neo.io.nwb_file import validation_errors

from .io_samples import assert_same_fit, make_fit, sha256

_FILES = ["human_mtl.nwb", "culture_div17.nwb", "cockroach_e060817mix.nwb"]
_MORE = ["culture_div28.nwb", "multiwell_on.nwb", "hippo_linear.nwb", "cockroach_e070528spont.nwb"]


def units_of(path):
    pynapple = pytest.importorskip("pynapple")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = pynapple.load_file(str(path))
        return file["units"], file["PopulationActivity"], file["PopulationActivity_b"]


@pytest.mark.parametrize("name", [*_FILES, *(pytest.param(name, marks=pytest.mark.slow) for name in _MORE)])
def test_a_real_recording_is_annotated_as_archives_and_other_tools_want_it(shared_data, tmp_path, name):
    path, out = shared_data(name), tmp_path / name
    before = sha256(path)
    block = read_nwb(path, window=(2, 20))
    ids = [train.annotations["unit_id"] for train in block.segments[0].spiketrains]
    fit = make_fit(ids, n_populations=3, t_starts=(2.0,), n_bins=1800)
    annotate_nwb(path, out, fit)
    annotate_nwb(out, out, make_fit(ids[:2], t_starts=(2.0, 10.0)), suffix="b", overwrite=True)
    assert sha256(path) == before
    assert_same_fit(read_fit(out), fit, exact=False)

    found = inspect_annotation(out, path)
    assert found.serious == ()
    assert found.fits == ("PopulationFit", "PopulationFit_b")
    assert validation_errors(out) == []

    again = read_nwb(out, window=(2, 20)).segments[0].spiketrains
    for given, read in zip(block.segments[0].spiketrains, again, strict=True):
        assert np.array_equal(given.magnitude, read.magnitude)
        assert given.annotations.items() <= read.annotations.items()


@pytest.mark.parametrize("name", [*_FILES, *_MORE])
def test_pynapple_opens_an_annotated_file_with_our_columns_and_theirs(shared_data, tmp_path, name):
    pytest.importorskip("pynapple")
    path, out = shared_data(name), tmp_path / name
    ids = [train.annotations["unit_id"] for train in read_nwb(path, window=(2, 20)).segments[0].spiketrains]
    fit = make_fit(ids, n_populations=3, t_starts=(2.0,), n_bins=1800)
    annotate_nwb(path, out, fit)
    annotate_nwb(out, out, make_fit(ids[:2], t_starts=(2.0, 10.0)), suffix="b", overwrite=True)
    units, activity, other = units_of(out)
    n_compared = 0
    assert list(units["neulvm_population"]) == list(fit.labels)
    assert list(units["neulvm_population_b"])[:3] == ["E", "I", "unassigned"]
    with pynwb.NWBHDF5IO(str(path), "r") as reader, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = reader.read().units
        for column in theirs.colnames:
            values = np.asarray(theirs[column][:]) if type(theirs[column]).__name__ == "VectorData" else np.empty(0)
            if column in units.metadata_columns and values.ndim == 1 and values.dtype.kind in "OUSiub":
                assert list(units[column]) == list(values), column
                n_compared += 1
    assert n_compared > 0 or name == "human_mtl.nwb"  # the only one without a column of its own
    assert np.array_equal(np.asarray(activity), fit.activities[0].activity)
    assert np.allclose(activity.t, 2.0 + 0.01 * np.arange(1800))
    assert other.shape == (400, 2)
