"""io/nwb_fit.py: fits come back from annotated files, side by side, and nothing that is not ours is touched."""

import os
import pathlib

import h5py
import numpy as np
import pynwb
import pytest
import quantities as pq
from neulvm_neo.io import NWBReadError, annotate_nwb, read_fit, read_nwb
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from neulvm_neo import NeuLVM, PopulationActivity

from .io_samples import assert_same_fit, inspector_messages, make_fit, make_nwb, sha256


@pytest.fixture
def recording(tmp_path):
    rng = np.random.default_rng(5)
    spikes = [np.sort(rng.uniform(0, 10, 30)) for _ in range(5)]
    return make_nwb(tmp_path / "rec.nwb", spikes, [[[0.0, 10.0]]] * 5, {"mine": list("abcde")}, ids=range(10, 15))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.nwb"


def names_in(path):
    names = []
    with h5py.File(path) as file:
        file.visit(names.append)
    return set(names)


def ids_of(path):
    """Object ids by place: what was made anew has another."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item.attrs.get("object_id")}))
    return found


@pytest.mark.parametrize(
    ("n_populations", "t_starts"), [(1, (0.0,)), (3, (5.0, 1.0)), (2, (0.0, 2.0, 4.0))], ids=["one", "gaps", "adjacent"]
)
def test_a_fit_comes_back_from_an_annotated_file(recording, out, t_starts, n_populations):
    fit = make_fit([14, 10, 12], n_populations, t_starts, labels=("E", "E", "unassigned"))
    annotate_nwb(recording, out, fit)
    back = read_fit(out)
    assert_same_fit(back, fit, exact=False)
    for one, other in zip(fit.activities, back.activities, strict=True):
        assert_array_equal(one.n, other.n)  # whole numbers
        assert_array_equal(one.activity, other.activity)


def test_what_a_fit_never_knew_stays_unknown(recording, out):
    fit = make_fit([10, 11])
    bare = PopulationActivity(fit.activities[0].n, np.array([400, 100]), 0.01, 0.0, ("E", "I"))
    bare = make_fit([10, 11], activities=(bare,), uncertainty=None, distances=None, neuron_thresholds=None)
    annotate_nwb(recording, out, bare)
    back = read_fit(out)
    unknown = back.uncertainty, back.distances, back.neuron_thresholds, back.activities[0].activity_band
    assert unknown == (None,) * 4
    strange = ("Parameters", "Lower", "distance", "neulvm_threshold")
    assert not [name for name in names_in(out) if any(word in name for word in strange)]


def test_a_real_fit_comes_back_and_simulates(recording, out):
    block = read_nwb(recording)
    model = NeuLVM(
        n_populations=1, labels=[0] * 5, bin_size=10 * pq.ms, n_init=1, max_iter=2, tol=100, n_particles=10,
        method="viterbi", random_state=1,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning):
        model.fit(block)
    annotate_nwb(recording, out, model.result_)
    assert_same_fit(read_fit(out), model.result_, exact=False)
    assert read_fit(out).circuit.to_dict() == model.circuit_.to_dict()


def test_bands_intervals_and_distances_stand_in_series_and_tables(recording, out):
    fit = make_fit([10, 11, 12])
    annotate_nwb(recording, out, fit)
    with pynwb.NWBHDF5IO(str(out), "r") as reader:
        nwb = reader.read()
        module = nwb.processing["ecephys"]
        lower, upper = fit.activities[0].activity_band
        assert_array_equal(module["PopulationActivityLower"].data[:], lower)
        assert_array_equal(module["PopulationActivityUpper"].data[:], upper)
        assert "probability 0.9" in module["PopulationActivityUpper"].description
        table = module["PopulationParameters"]
        assert list(table["parameter"][:]) == list(fit.uncertainty.names)
        assert list(table["unit"][:]) == ["ms", "ms", "mV", "mV"]
        for name in ("estimate", "lower", "upper", "theta", "covariance"):
            assert_array_equal(table[name][:], getattr(fit.uncertainty, name))
        expected = [fit.distances[0, 0], fit.distances[1, 1], fit.distances[2, 0], np.nan, np.nan]
        assert_array_equal(nwb.units["neulvm_distance"][:], expected)
        assert_array_equal(nwb.units["neulvm_threshold"][:], [*fit.neuron_thresholds, np.nan, np.nan])


def test_provenance_names_software_seed_settings_and_source(recording, out):
    settings = {"random_state": 17, "method": "smc"}
    annotate_nwb(recording, out, make_fit([10], settings=settings))
    with pynwb.NWBHDF5IO(str(out), "r") as reader:
        table = reader.read().processing["ecephys"]["PopulationFit"]
        said = dict(zip(table["quantity"][:], table["value"][:], strict=True))
    assert (said["software"], said["software_version"], said["seed"]) == ("neulvm-neo", "0.1.0", "17")
    assert (said["source_file"], said["source_identifier"]) == ("rec.nwb", "test")
    assert said["source_sha256"] == sha256(recording)
    assert said["settings.method"] == "smc"
    assert said["undetermined.0"] == "J of I and u_rest can be exchanged."
    assert (said["interval_probability"], said["interval_method"]) == ("0.9", "made up")


def test_several_fits_stand_side_by_side_and_each_replaces_only_itself(recording, out):
    first, second, third = make_fit([10, 11]), make_fit([12, 13], 3, seed=1), make_fit([14], 1, seed=2)
    annotate_nwb(recording, out, first)
    annotate_nwb(out, out, second, suffix="b", overwrite=True)
    before = ids_of(out)
    annotate_nwb(out, out, third, suffix="b", overwrite=True)
    after = ids_of(out)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed and all("_b" in name for name in changed)
    assert_same_fit(read_fit(out), first, exact=False)
    assert_same_fit(read_fit(out, suffix="b"), third, exact=False)
    with pynwb.NWBHDF5IO(str(out), "r") as reader:
        units = reader.read().units
        assert list(units["neulvm_population"][:]) == ["E", "I", "unassigned", "unassigned", "unassigned"]
        assert list(units["neulvm_population_b"][:]) == ["unassigned"] * 4 + ["E"]
        assert list(units["mine"][:]) == list("abcde")
    assert not pynwb.validate(path=str(out))
    new = inspector_messages(out).items() - inspector_messages(recording).items()
    assert not [message for message, importance in new if importance.value >= 1]  # only suggestions


def test_annotating_again_takes_the_place_of_what_was_there(recording, out):
    fit = make_fit([10, 11], n_bins=900)
    annotate_nwb(recording, out, fit)
    size = os.path.getsize(out)
    assert size < os.path.getsize(recording) + 200_000  # the space that was taken to be safe has been given back
    for seed in range(3):
        annotate_nwb(out, out, make_fit([10, 11], n_bins=900, seed=seed), overwrite=True)
    # HDF5 uses the place of arrays again, but not that of some 25 kB of names and attributes
    assert os.path.getsize(out) < size + 3 * 35_000


def test_a_file_without_this_fit_lists_those_it_has(recording, out):
    with pytest.raises(NWBReadError, match="no PopulationFit in processing/ecephys; fits in this file: none"):
        read_fit(recording)
    annotate_nwb(recording, out, make_fit([10]), suffix="b")
    with pytest.raises(NWBReadError, match="fits in this file: PopulationFit_b"):
        read_fit(out)


def _rename_label(file):
    file["units/neulvm_population"][0] = "I"


def _cut_record(file):
    values = file["processing/ecephys/PopulationFit/value"]
    values[-1] = values[-1][:500]


def _newer_record(file):
    values = file["processing/ecephys/PopulationFit/value"]
    values[-1] = values[-1].replace(b'record", 1', b'record", 2')


def _nonsense(file):
    file["processing/ecephys/PopulationFit/value"][-1] = '["neulvm-fit-record", 1, ["dict", []], ["dict", []]]'


def _no_series(file):
    del file["processing/ecephys/PopulationActivity"]


def _short_series(file):
    values = file["processing/ecephys/PopulationActivity/data"][:50]
    del file["processing/ecephys/PopulationActivity/data"]
    file["processing/ecephys/PopulationActivity/data"] = values
    file["processing/ecephys/PopulationActivity/data"].attrs.update({"unit": "Hz", "conversion": 1.0})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_rename_label, "units.neulvm_population was changed since"),
        (_cut_record, "record of the fit is damaged"),
        (_newer_record, "version 2, this neulvm-neo reads neulvm-fit-record version 1"),
        (_nonsense, "record of the fit is incomplete"),
        (_no_series, "there is no PopulationActivity"),
        (_short_series, "different lengths"),
    ],
)
def test_a_fit_that_was_changed_or_damaged_is_refused(recording, out, change, reason):
    annotate_nwb(recording, out, make_fit([10, 11]))
    with h5py.File(out, "r+") as file:
        change(file)
    with pytest.raises(NWBReadError, match=f"out.nwb: PopulationFit cannot be read .*{reason}"):
        read_fit(out)


# --- nothing that is not ours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["a/b", "../x", "/x", "a:b", ".", " ", "x" * 65, "ä", "a\n", 3])
def test_a_suffix_that_could_be_a_path_is_refused(recording, out, suffix):
    with pytest.raises(ValueError, match="cannot end a name in NWB; use up to 64 of A-Z, a-z, 0-9 and _"):
        annotate_nwb(recording, out, make_fit([10]), suffix=suffix)
    assert not out.exists()


@pytest.mark.parametrize("name", ["../../etc/x", "/units/id", "E/I:{a: 1}", ".", "Ω" * 300])
def test_a_population_may_be_called_anything(recording, out, name):
    circuit = type(make_fit([10]).circuit)(n_neurons=[400, 100], names=[name, "I"])
    fit = make_fit([10, 11])
    activity = PopulationActivity(fit.activities[0].n, circuit.n_neurons, 0.01, 0.0, circuit.names)
    fit = make_fit([10, 11], circuit=circuit, labels=(name, "I"), activities=(activity,), uncertainty=None)
    before = names_in(recording)
    annotate_nwb(recording, out, fit)
    assert_same_fit(read_fit(out), fit, exact=False)
    added = names_in(out) - before
    assert all(added_name.startswith(("units/neulvm_", "processing")) for added_name in added)
    assert not pynwb.validate(path=str(out))


@pytest.mark.parametrize("place", ["units", "processing", "processing/ecephys", "units/id"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_file_that_keeps_its_parts_in_another_is_refused_and_the_other_stays(tmp_path, place, soft):
    def with_module(nwb):
        nwb.create_processing_module("ecephys", "Theirs.")

    other = make_nwb(tmp_path / "other.nwb", [[1.0], [2.0]], [[[0, 3]]] * 2, change=with_module)
    path = make_nwb(tmp_path / "links.nwb", [[1.0], [2.0]], [[[0, 3]]] * 2, change=with_module)
    with h5py.File(path, "r+") as file:
        del file[place]
        if soft:
            file["elsewhere"] = h5py.ExternalLink("other.nwb", f"/{place}")
            file[place] = h5py.SoftLink("/elsewhere")
        else:
            file[place] = h5py.ExternalLink("other.nwb", f"/{place}")
    before = sha256(other), sha256(path), os.stat(other).st_mtime_ns
    with pytest.raises(ValueError, match=r"links.nwb: .*"):
        annotate_nwb(path, tmp_path / "out.nwb", make_fit([0, 1]))
    assert (sha256(other), sha256(path), os.stat(other).st_mtime_ns) == before
    assert sorted(os.listdir(tmp_path)) == ["links.nwb", "other.nwb"]


def test_an_object_of_ours_that_is_a_link_elsewhere_is_left_alone(recording, out, tmp_path):
    other = make_nwb(tmp_path / "other.nwb", [[1.0]], [[[0, 3]]])
    annotate_nwb(recording, out, make_fit([10]))
    with h5py.File(out, "r+") as file:
        del file["processing/ecephys/PopulationActivity"]
        file["processing/ecephys/PopulationActivity"] = h5py.ExternalLink("other.nwb", "/units")
    before = sha256(other)
    with pytest.raises(ValueError, match="PopulationActivity was not written by neulvm-neo"):
        annotate_nwb(out, out, make_fit([10]), overwrite=True)
    assert sha256(other) == before


def test_a_target_that_is_a_link_is_replaced_and_what_it_points_to_stays(recording, tmp_path):
    treasure = tmp_path / "treasure.nwb"
    treasure.write_bytes(b"do not touch")
    link = tmp_path / "link.nwb"
    link.symlink_to(treasure)
    with pytest.raises(FileExistsError):
        annotate_nwb(recording, link, make_fit([10]))
    annotate_nwb(recording, link, make_fit([10]), overwrite=True)
    assert treasure.read_bytes() == b"do not touch"
    assert not link.is_symlink() and read_fit(link).labels == ("E",)
    dangling = tmp_path / "dangling.nwb"
    dangling.symlink_to(tmp_path / "nowhere.nwb")
    with pytest.raises(FileExistsError):
        annotate_nwb(recording, dangling, make_fit([10]))
    annotate_nwb(recording, dangling, make_fit([10]), overwrite=True)
    assert not (tmp_path / "nowhere.nwb").exists()
    source = tmp_path / "source.nwb"
    source.symlink_to(recording)  # reading through a link is fine
    before = sha256(recording)
    annotate_nwb(source, source, make_fit([10]), overwrite=True)
    assert sha256(recording) == before and not source.is_symlink()


def test_careless_paths_mean_what_they_say_and_write_nothing_else(recording, tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    annotate_nwb("../../rec.nwb", "../x.nwb", make_fit([10]))
    annotate_nwb(pathlib.Path("../../rec.nwb"), f"{tmp_path}/a/./b/../y.nwb", make_fit([10]))
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["a/x.nwb", "a/y.nwb", "rec.nwb"]


def test_references_of_others_to_an_earlier_annotation_are_not_broken_in_silence(recording, out):
    annotate_nwb(recording, out, make_fit([10]))
    with h5py.File(out, "r+") as file:
        units = file["units"]
        ours = file["processing/ecephys/Populations"]
        theirs = units.create_dataset("theirs", data=np.zeros(5, int))
        theirs.attrs.update({"neurodata_type": "DynamicTableRegion", "namespace": "hdmf-common", "description": "x",
                             "object_id": "0", "table": ours.ref})  # fmt: skip
        units.attrs["colnames"] = [*units.attrs["colnames"], "theirs"]
    before = sha256(out)
    with pytest.raises((RuntimeError, ValueError), match="not written|refer"):
        annotate_nwb(out, out, make_fit([11]), overwrite=True)
    assert sha256(out) == before


def test_the_time_of_a_fit_must_be_that_of_the_file(tmp_path, out):
    path = make_nwb(tmp_path / "late.nwb", [[4400.0, 4500.0]], [[[4397.0, 4600.0]]])
    with pytest.raises(ValueError, match="the fit is of 0-2 s, the file observed 4397-4600 s; fit what"):
        annotate_nwb(path, out, make_fit([0]))
    assert not out.exists()
    with pytest.warns(UserWarning, match="where nothing was observed it is what the model expects"):
        annotate_nwb(path, out, make_fit([0], t_starts=(4599.0,)))
