"""io/fit_file.py: a fit comes back from its file bit for bit, and nothing else is taken for a fit."""

import json
import zipfile

import numpy as np
import pytest
from neulvm_neo.io import FitFileError, load_fit, save_fit
from numpy.testing import assert_array_equal

from .io_samples import assert_same_fit, make_fit


@pytest.fixture
def fit():
    return make_fit([7, 8, 12], n_populations=3, t_starts=(0.1, 5.3))


def rewrite_header(path, **changes):
    with np.load(path) as archive:
        arrays = dict(archive)
    header = {**json.loads(arrays["header.json"].tobytes()), **changes}
    header = {key: value for key, value in header.items() if value is not None}
    arrays["header.json"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(path, **arrays)


def test_a_fit_comes_back_bit_for_bit(tmp_path, fit):
    save_fit(tmp_path / "fit.npz", fit)
    back = load_fit(tmp_path / "fit.npz")
    assert_same_fit(back, fit)
    assert type(back.settings["shape"]) is tuple
    assert all(activity.spiketrains is None for activity in back.activities)
    assert back.uncertainty.lower[1] == -np.inf
    assert_array_equal(back.activities[0].activity_band[1], fit.activities[0].activity_band[1])
    assert_array_equal(back.trace[0]["theta"], fit.trace[0]["theta"], strict=True)
    assert (back.trace[0]["log_likelihood"], back.trace[1]) == (-3.1, {"log_likelihood": -2.0, "step": 1})


def test_files_from_before_there_were_bands_and_intervals_still_load(tmp_path, fit):
    save_fit(tmp_path / "fit.npz", fit)
    unknown = dict.fromkeys(("uncertainty", "distances", "neuron_thresholds", "state", "kinds"))
    rewrite_header(tmp_path / "fit.npz", **unknown)
    with np.load(tmp_path / "fit.npz") as archive:
        arrays = {name: archive[name] for name in archive.files if "lower" not in name and "upper" not in name}
    np.savez(tmp_path / "fit.npz", **arrays)
    back = load_fit(tmp_path / "fit.npz")
    assert (back.uncertainty, back.distances, back.state, back.kinds) == (None, None, {}, ())
    assert back.activities[0].activity_band is None
    assert_array_equal(back.activities[0].n_std, fit.activities[0].n_std, strict=True)


def test_the_circuit_comes_back_bit_for_bit(tmp_path, fit):
    save_fit(tmp_path / "fit.npz", fit)
    circuit = load_fit(tmp_path / "fit.npz").circuit
    assert circuit.to_dict() == fit.circuit.to_dict()
    for name in ("J", "tau_m", "u_rest", "threshold", "tau_syn", "t_ref", "delay"):
        given = getattr(fit.circuit, name)
        assert_array_equal(getattr(circuit, name).rescale(given.units).magnitude, given.magnitude)


def test_infinite_and_missing_numbers_survive(tmp_path):
    fit = make_fit([1], 1, log_likelihood=float("-inf"), log_likelihood_error=float("nan"), trace=(), settings={})
    save_fit(tmp_path / "fit.npz", fit)
    back = load_fit(tmp_path / "fit.npz")
    assert back.log_likelihood == -np.inf
    assert np.isnan(back.log_likelihood_error)
    assert (back.trace, back.settings) == ((), {})


def test_what_is_not_known_stays_unknown(tmp_path, fit):
    a = fit.activities[0]
    bare = type(a)(a.n, a.n_neurons, a.bin_size, a.t_start, a.names)
    save_fit(tmp_path / "fit.npz", make_fit([7], 3, activities=(bare,)))
    (back,) = load_fit(tmp_path / "fit.npz").activities
    assert back.n_bar is None
    assert back.n_std is None


def test_the_state_of_the_estimator_comes_back_and_may_be_missing(tmp_path, fit):
    histories = np.random.default_rng(1).random((5, 3))
    save_fit(tmp_path / "fit.npz", make_fit([7], 3, state={"histories": histories, "seed": 2**90}))
    back = load_fit(tmp_path / "fit.npz").state
    assert_array_equal(back["histories"], histories, strict=True)
    assert back["seed"] == 2**90
    rewrite_header(tmp_path / "fit.npz", state=None)
    assert load_fit(tmp_path / "fit.npz").state == {}


def test_settings_may_look_like_the_tags_of_the_file(tmp_path):
    settings = {"array": "values/0", "dict": {"tuple": [1, (2, [3])]}, "list": []}
    save_fit(tmp_path / "fit.npz", make_fit([1], 1, settings=settings))
    assert load_fit(tmp_path / "fit.npz").settings == settings


def test_the_file_holds_no_pickle(tmp_path, fit):
    save_fit(tmp_path / "fit.npz", fit)
    with np.load(tmp_path / "fit.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind != "O" for name in archive.files)
        header = json.loads(archive["header.json"].tobytes())
    assert (header["format"], header["version"]) == ("neulvm-fit", 1)


def test_what_a_file_cannot_hold_is_refused_by_name(tmp_path, fit):
    with pytest.raises(TypeError, match=r"settings\['rng'\] is a Generator"):
        save_fit(tmp_path / "fit.npz", make_fit([1], 1, settings={"rng": np.random.default_rng(0)}))
    a = fit.activities[0]
    simulated = type(a)(a.n, a.n_neurons, a.bin_size, a.t_start, a.names, spiketrains=[])
    with pytest.raises(ValueError, match="spike trains"):
        save_fit(tmp_path / "fit.npz", make_fit([1], 3, activities=(simulated,)))
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path, fit):
    save_fit(tmp_path / "fit.npz", fit)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_fit(tmp_path / "fit.npz", fit)
    save_fit(tmp_path / "fit.npz", make_fit([1], 1), overwrite=True)
    assert load_fit(tmp_path / "fit.npz").neuron_ids == ("1",)
    with pytest.raises(ValueError, match="must end in .npz"):
        save_fit(tmp_path / "fit.json", fit)


def test_files_of_a_newer_version_are_refused(tmp_path, fit):
    save_fit(tmp_path / "fit.npz", fit)
    rewrite_header(tmp_path / "fit.npz", version=2)
    with pytest.raises(FitFileError, match="version 2 of the fit format, this neulvm-neo reads version 1; update"):
        load_fit(tmp_path / "fit.npz")


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_fit(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("fit")
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    with zipfile.ZipFile(tmp_path / "photos.npz", "w") as archive:
        archive.writestr("a.jpg", b"?")
    for name in ("text.npz", "other.npz", "photos.npz"):
        with pytest.raises(FitFileError, match=f"{name}: not a fit file"):
            load_fit(tmp_path / name)


def test_damaged_files_are_refused(tmp_path, fit):
    path = tmp_path / "fit.npz"
    save_fit(path, fit)
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF  # inside the first array
    (tmp_path / "flipped.npz").write_bytes(content)
    with pytest.raises(FitFileError, match="damaged"):
        load_fit(tmp_path / "flipped.npz")
    rewrite_header(path, circuit={"n_neurons": [1], "nonsense": 3})
    with pytest.raises(FitFileError, match="incomplete.*nonsense"):
        load_fit(path)
    rewrite_header(path, labels=None)
    with pytest.raises(FitFileError, match="incomplete"):
        load_fit(path)


def test_a_missing_array_is_refused(tmp_path, fit):
    save_fit(tmp_path / "fit.npz", fit)
    with np.load(tmp_path / "fit.npz") as archive:
        arrays = {name: archive[name] for name in archive.files if name != "activities/1/n"}
    np.savez(tmp_path / "fit.npz", **arrays)
    with pytest.raises(FitFileError, match="activities/1/n"):
        load_fit(tmp_path / "fit.npz")
