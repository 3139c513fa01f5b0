"""io/nwb_annotation.py: an annotated copy holds the fit, and everything else stays as it was."""

import os
import shutil
import warnings

import h5py
import numpy as np
import pynwb
import pytest
from neulvm_neo.io import NWBReadError, annotate_nwb, read_nwb
from numpy.testing import assert_allclose, assert_array_equal

from .io_samples import inspector_messages, make_fit, make_nwb, sha256


@pytest.fixture
def recording(tmp_path):
    rng = np.random.default_rng(5)
    spikes = [np.sort(rng.uniform(0, 10, 30)) for _ in range(5)]
    return make_nwb(
        tmp_path / "rec.nwb", spikes, [[[0.0, 10.0]]] * 5, {"population": ["x"] * 5}, ids=[10, 11, 12, 13, 14]
    )


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.nwb"


class Opened:
    """The parts of an annotated file, read by PyNWB alone."""

    def __init__(self, path):
        with warnings.catch_warnings(), pynwb.NWBHDF5IO(str(path), "r") as reader:
            warnings.simplefilter("ignore")  # one recording comes with movies that PyNWB complains about
            nwb = reader.read()
            module = nwb.processing["ecephys"]
            self.labels = list(nwb.units["neulvm_population"][:])
            self.series = {
                name: (item.data[:], item.rate, item.starting_time, item.unit, item.timestamps and item.timestamps[:])
                for name, item in module.data_interfaces.items()
                if isinstance(item, pynwb.TimeSeries)
            }
            self.control = module["PopulationActivity"].control
            self.control = None if self.control is None else self.control[:]
            table = module["Populations"]
            self.populations = {name: table[name][:] for name in table.colnames if name != "units"}
            index, region = table["units"], table["units"].target
            ends = [0, *index.data[:]]
            self.rows = [region.data[a:b].tolist() for a, b in zip(ends[:-1], ends[1:], strict=True)]
            self.regions_point_to_units = region.table is nwb.units
            fit = module["PopulationFit"]
            self.fit = dict(zip(fit["quantity"][:], fit["value"][:], strict=True))


def contents(path):
    """Everything in a file by its name, for comparison: values of datasets, and attributes without references."""
    found = {}

    def visit(name, item):
        attributes = {k: str(v) for k, v in item.attrs.items() if k != "colnames"}
        values = item[()].tolist() if isinstance(item, h5py.Dataset) and item.dtype.kind != "O" else None
        found[name] = (str(attributes), str(values))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def test_units_get_their_population_and_the_rest_is_unassigned(recording, out):
    annotate_nwb(recording, out, make_fit([14, 10, 12]))
    opened = Opened(out)
    assert opened.labels == ["I", "unassigned", "E", "unassigned", "E"]
    assert opened.rows == [[2, 4], [0]]
    assert opened.regions_point_to_units
    trains = read_nwb(out).segments[0].spiketrains
    assert [train.annotations["neulvm_population"] for train in trains] == opened.labels
    assert [train.annotations["population"] for train in trains] == ["x"] * 5


def test_the_activity_is_in_hertz_with_the_left_edge_of_the_first_bin(recording, out):
    fit = make_fit([10, 11], t_starts=(1.5,))
    annotate_nwb(recording, out, fit)
    data, rate, start, unit, _ = Opened(out).series["PopulationActivity"]
    assert_array_equal(data, fit.activities[0].n / ([400, 100] * np.array(0.01)))
    assert (rate, start, unit) == (100.0, 1.5, "Hz")
    assert_array_equal(Opened(out).series["ExpectedPopulationActivity"][0], fit.activities[0].expected_activity)
    assert_array_equal(Opened(out).series["PopulationActivityStd"][0], fit.activities[0].activity_std)


def test_what_the_fit_does_not_know_is_not_written(recording, out):
    fit = make_fit([10, 11])
    bare = type(fit.activities[0])(fit.activities[0].n, [400, 100], 0.01, 0.0, ("E", "I"))
    annotate_nwb(recording, out, make_fit([10, 11], activities=(bare,)))
    assert list(Opened(out).series) == ["PopulationActivity"]


def test_parameters_are_told_per_population(recording, out):
    fit = make_fit([10, 11, 12], n_populations=3)
    annotate_nwb(recording, out, fit)
    table = Opened(out).populations
    assert table["population_name"].tolist() == ["E", "I", "S"]
    assert table["n_neurons"].tolist() == [400, 100, 50]
    assert table["n_recorded"].tolist() == [1, 1, 1]
    assert_array_equal(table["coupling"], fit.circuit.J.magnitude)
    assert_allclose(table["synaptic_time_constant"], [0.003, 0.006, 0.012])
    assert_allclose(table["membrane_time_constant"], fit.circuit.tau_m.rescale("s").magnitude)


def test_likelihood_settings_and_software_are_told(recording, out):
    annotate_nwb(recording, out, make_fit([10, 11]))
    fit = Opened(out).fit
    assert fit["log_likelihood"] == f"{-1234.1 / 7!r} nats"
    assert fit["log_likelihood_error"] == "0.3 nats"
    assert (fit["software"], fit["software_version"]) == ("neulvm-neo", "0.1.0")
    assert (fit["settings.method"], fit["settings.bounds"]) == ("viterbi", "tau_m=[1.0, 2.0]")
    assert fit["kinds.0"].startswith("E1 and E2 differ")


def test_trials_with_gaps_are_stacked_with_their_times(recording, out):
    fit = make_fit([10, 11], t_starts=(5.0, 1.0), n_bins=100)  # in any order
    annotate_nwb(recording, out, fit)
    opened = Opened(out)
    data, rate, _, _, times = opened.series["PopulationActivity"]
    assert rate is None
    assert_allclose(times, np.concatenate([1.0 + np.arange(100) * 0.01, 5.0 + np.arange(100) * 0.01]))
    assert_array_equal(data, np.vstack([fit.activities[1].activity, fit.activities[0].activity]))
    assert opened.control.tolist() == [1] * 100 + [0] * 100


def test_trials_that_continue_each_other_are_one_regular_series(recording, out):
    annotate_nwb(recording, out, make_fit([10, 11], t_starts=(0.0, 2.0)))
    data, rate, start, _, times = Opened(out).series["PopulationActivity"]
    assert (len(data), rate, start, times) == (400, 100.0, 0.0, None)


def test_trials_that_overlap_are_refused(recording, out):
    with pytest.raises(ValueError, match="overlap in time"):
        annotate_nwb(recording, out, make_fit([10, 11], t_starts=(0.0, 1.0)))
    assert not out.exists()


def test_the_source_keeps_its_bytes_and_the_copy_all_of_its_contents(recording, out):
    before, hash_before = contents(recording), sha256(recording)
    annotate_nwb(recording, out, make_fit([10, 11]))
    assert sha256(recording) == hash_before
    after = contents(out)
    assert {name: after[name] for name in before} == before
    ours = ("units/neulvm_", "processing/ecephys")
    assert all(name.startswith(ours) for name in set(after) - set(before))


def test_the_copy_has_the_permissions_of_the_source(recording, out):
    os.chmod(recording, 0o640)
    annotate_nwb(recording, out, make_fit([10, 11]))
    assert os.stat(out).st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("n_populations", "t_starts"), [(1, (0.0,)), (3, (0.0,)), (2, (0.0, 5.0)), (1, (0.0, 2.0))])
def test_inspection_and_validation_find_nothing_new(recording, out, n_populations, t_starts):
    annotate_nwb(recording, out, make_fit([10, 11, 12], n_populations, t_starts))
    assert not pynwb.validate(path=str(out))
    assert set(inspector_messages(out)) <= set(inspector_messages(recording))


def test_an_earlier_annotation_is_replaced(recording, out):
    annotate_nwb(recording, out, make_fit([10, 11], n_populations=2))
    first = contents(out)
    second_fit = make_fit([12, 13, 14], n_populations=3, seed=1)
    annotate_nwb(out, out, second_fit, overwrite=True)
    opened = Opened(out)
    assert opened.labels == ["unassigned", "unassigned", "E", "I", "S"]
    assert_array_equal(opened.series["PopulationActivity"][0], second_fit.activities[0].activity)
    assert set(contents(out)) == set(first)
    assert not pynwb.validate(path=str(out))


def test_objects_of_our_names_that_are_not_ours_are_left_alone(recording, out):
    with h5py.File(recording, "r+") as file:
        file["units/neulvm_population"] = np.arange(5)
        file["units/neulvm_population"].attrs["description"] = "My own labels."
    with pytest.raises(ValueError, match="units/neulvm_population was not written by neulvm-neo"):
        annotate_nwb(recording, out, make_fit([10, 11]))
    assert not out.exists()


def test_the_module_ecephys_of_others_is_shared(tmp_path, out):
    def with_module(nwb):
        module = nwb.create_processing_module("ecephys", "Theirs.")
        module.add(pynwb.TimeSeries("LFP", data=np.zeros(10), unit="V", rate=10.0, description="An LFP."))

    path = make_nwb(tmp_path / "lfp.nwb", [[1.0], [2.0]], [[[0, 3]]] * 2, change=with_module)
    annotate_nwb(path, out, make_fit([0, 1]))
    with pynwb.NWBHDF5IO(str(out), "r") as reader:
        module = reader.read().processing["ecephys"]
        assert module.description == "Theirs."
        assert {"LFP", "PopulationActivity", "Populations"} <= set(module.data_interfaces)


def test_overwriting_is_refused_unless_asked_for(recording, out):
    before = sha256(recording)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        annotate_nwb(recording, recording, make_fit([10, 11]))
    assert sha256(recording) == before
    annotate_nwb(recording, recording, make_fit([10, 11]), overwrite=True)
    assert Opened(recording).labels[:2] == ["E", "I"]


def test_a_failure_leaves_the_target_and_no_rubbish(recording, monkeypatch):
    before = sha256(recording)
    monkeypatch.setattr("neulvm_neo.io.nwb_annotation._write_series", _fails)
    with pytest.raises(OSError, match="disk full"):
        annotate_nwb(recording, recording, make_fit([10, 11]), overwrite=True)
    assert sha256(recording) == before
    assert os.listdir(recording.parent) == [recording.name]


def test_an_invalid_result_is_not_given_its_name(recording, out, monkeypatch):
    inherited, new = "units: old fault", "units: broken"
    errors = {str(recording): [inherited]}
    monkeypatch.setattr(
        "neulvm_neo.io.nwb_annotation.validation_errors", lambda path: errors.get(str(path), [inherited, new])
    )
    with pytest.raises(RuntimeError, match="would not be valid NWB and was not written: units: broken"):
        annotate_nwb(recording, out, make_fit([10, 11]))
    assert os.listdir(out.parent) == [recording.name]


def test_a_fit_of_another_recording_is_refused(recording, out):
    with pytest.raises(ValueError, match="rec.nwb: the fit has neurons 99 that are not in units.id"):
        annotate_nwb(recording, out, make_fit([10, 99]))
    with pytest.raises(ValueError, match="duplicates"):
        annotate_nwb(recording, out, make_fit([10, 10]))
    twins = make_nwb(recording.parent / "twins.nwb", [[1.0], [2.0]], [[[0, 3]]] * 2, ids=[5, 5])
    with pytest.raises(ValueError, match="twins.nwb: units.id or result.neuron_ids holds duplicates"):
        annotate_nwb(twins, out, make_fit([5]))
    with pytest.raises(ValueError, match="result.labels names Z, but the populations are E, I"):
        annotate_nwb(recording, out, make_fit([10, 11], labels=("E", "Z")))
    with pytest.raises(NWBReadError, match="no such file"):
        annotate_nwb(recording.parent / "none.nwb", out, make_fit([10]))


@pytest.mark.parametrize(("name", "n_units"), [("culture_div17.nwb", 59), ("human_mtl.nwb", 35)])
def test_real_recordings_are_annotated_without_a_trace_in_the_source(shared_data, tmp_path, name, n_units):
    path = shared_data(name)
    before = sha256(path)
    block = read_nwb(path, window=(0, 60))
    ids = [train.annotations["unit_id"] for train in block.segments[0].spiketrains]
    fit = make_fit(ids, n_populations=3, n_bins=6000)
    annotate_nwb(path, tmp_path / name, fit)
    assert sha256(path) == before
    assert Opened(tmp_path / name).labels == list(fit.labels)
    assert len(ids) == n_units
    assert set(inspector_messages(tmp_path / name)) <= set(inspector_messages(path))
    again = read_nwb(tmp_path / name, window=(0, 60))
    for given, read in zip(block.segments[0].spiketrains, again.segments[0].spiketrains, strict=True):
        assert_array_equal(given.magnitude, read.magnitude)


def test_a_copy_of_a_file_of_an_older_schema_keeps_that_schema(shared_data, tmp_path):
    path = shutil.copy(shared_data("human_mtl.nwb"), tmp_path / "old.nwb")
    annotate_nwb(path, tmp_path / "new.nwb", make_fit(range(35)))
    with h5py.File(path) as old, h5py.File(tmp_path / "new.nwb") as new:
        assert old.attrs["nwb_version"] == new.attrs["nwb_version"] == "2.4.0"


def _fails(*args):
    raise OSError("disk full")
