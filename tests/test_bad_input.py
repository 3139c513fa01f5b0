"""Whatever is wrong with a file, an argument or a fit: one sentence says what, or one warning says what was done."""

import os
import pathlib
import shutil
import warnings

import h5py
import neo
import numpy as np
import pytest
import quantities as pq
from neulvm_neo.io import FitFileError, NWBReadError, annotate_nwb, load_fit, read, read_fit, read_nwb, write_nwb

from neulvm_neo import Circuit, PopulationActivity, SpikeRecording
from neulvm_neo.binning import MultipleSpikesWarning, SpikeTrainBinner, bin_recording

from .io_samples import make_fit, make_nwb


class Folder:
    """A folder of small files that are right, to be spoilt."""

    def __init__(self, path, template):
        self.path, self.template = path, template

    def good(self):
        return shutil.copy(self.template, self.path / "a.nwb")

    def spoilt(self, spoil):
        path = self.good()
        with h5py.File(path, "r+") as file:
            spoil(file)
        return path

    def nwb(self, spikes, intervals=None, **options):
        return make_nwb(self.path / "a.nwb", spikes, intervals, **options)

    def bytes(self, name, content):
        (self.path / name).write_bytes(content)
        return self.path / name


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "t.nwb"
    trials = {"start_time": [0.0, 5.0], "stop_time": [4.0, 9.0]}
    return make_nwb(path, [[1.0, 2.0], [3.0, 6.0]], [[[0.0, 10.0]]] * 2, {"area": ["a", "b"]}, trials=trials)


@pytest.fixture
def folder(tmp_path, template):
    return Folder(tmp_path, template)


def replaced(name, values, **attributes):
    def spoil(file):
        old = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update({**old, **attributes})

    return spoil


def _points_nowhere(file):
    replaced("units/spike_times_index", np.array([2, 99]))(file)


def _zarr(folder):
    (folder.path / "z.nwb").mkdir()
    return folder.path / "z.nwb"


def _plain_hdf5(folder):
    with h5py.File(folder.path / "p.nwb", "w") as file:
        file["spikes"] = [1.0]
    return folder.path / "p.nwb"


def _annotated(folder, **changes):
    annotate_nwb(folder.good(), folder.path / "o.nwb", make_fit([0, 1], n_bins=20, **changes))


def _fit_of(n, bin_size=0.01, t_start=0.0):
    circuit = Circuit([400], names=["E"])
    activity = PopulationActivity(np.asarray(n, dtype=float), circuit.n_neurons, bin_size, t_start, ("E",))
    return {"circuit": circuit, "labels": ("E", "E"), "activities": (activity,), "uncertainty": None, "distances": None}


def _train(**annotations):
    train = neo.SpikeTrain([1.0], units="s", t_stop=2.0)
    train.annotations.update(annotations)
    return train


def _recording(times, start=0.0, stop=1.0):
    return SpikeRecording(((np.asarray(times, dtype=float),),), np.array([start]), np.array([stop]), ("u",))


_OPEN = [[[0.0, 10.0]]]
_TWO = np.array([[1.0, 2.0], [3.0, 6.0]])

# name: (what is done, the error it ends with, what its sentence must say)
REFUSED = {
    "no file": (lambda f: read_nwb(f.path / "none.nwb"), NWBReadError, "none.nwb: there is no such file"),
    "no folder": (lambda f: read_nwb(f.path / "no" / "a.nwb"), NWBReadError, "there is no such file"),
    "a folder": (lambda f: read_nwb(_zarr(f)), NWBReadError, "a folder, not a file; NWB in Zarr cannot be read"),
    "empty file": (lambda f: read_nwb(f.bytes("e.nwb", b"")), NWBReadError, "e.nwb: not an HDF5 file"),
    "text file": (lambda f: read_nwb(f.bytes("t.nwb", b"1 2 3\n")), NWBReadError, "not an HDF5 file"),
    "pickle called nwb": (lambda f: read_nwb(f.bytes("t.nwb", b"\x80\x04K\x01.")), NWBReadError, "not an HDF5 file"),
    "half a file": (
        lambda f: read_nwb(f.bytes("h.nwb", pathlib.Path(f.good()).read_bytes()[:20_000])), NWBReadError, "damaged",
    ),
    "HDF5 but not NWB": (lambda f: read_nwb(_plain_hdf5(f)), NWBReadError, "HDF5, but not NWB"),
    "NWB 1": (
        lambda f: read_nwb(f.spoilt(lambda file: file.attrs.update(nwb_version="NWB-1.0.6"))), NWBReadError,
        "that is NWB 1: convert first",
    ),
    "no units": (lambda f: read_nwb(f.spoilt(lambda file: file.pop("units"))), NWBReadError, "no units table"),
    "no spike times": (
        lambda f: read_nwb(f.nwb([], change=lambda nwb: nwb.add_unit(id=3, obs_intervals=[[0.0, 1.0]]))), NWBReadError,
        "units has no column spike_times",
    ),
    "index past the data": (lambda f: read_nwb(f.spoilt(_points_nowhere)), NWBReadError, "points past the end"),
    "index backwards": (
        lambda f: read_nwb(f.spoilt(replaced("units/spike_times_index", np.array([4, 2])))), NWBReadError,
        "spike_times_index does not fit the 2 units",
    ),
    "times are text": (
        lambda f: read_nwb(f.spoilt(replaced("units/spike_times", ["a", "b", "c", "d"]))), NWBReadError,
        "units.spike_times has the",
    ),
    "times are a matrix": (
        lambda f: read_nwb(f.spoilt(replaced("units/spike_times", np.ones((4, 2))))), NWBReadError,
        r"units.spike_times has the shape \(4, 2\)",
    ),
    "times are complex": (
        lambda f: read_nwb(f.spoilt(replaced("units/spike_times", np.ones(4, complex)))), NWBReadError, "complex128",
    ),
    "times in ms, and said": (
        lambda f: read_nwb(f.spoilt(lambda file: file["units/spike_times"].attrs.update(unit="milliseconds"))),
        NWBReadError, "stated in 'milliseconds'; NWB has times in seconds",
    ),
    "no spikes at all": (lambda f: read_nwb(f.nwb([[]])), NWBReadError, "fewer than two different times"),
    "one spike, no intervals": (lambda f: read_nwb(f.nwb([[1.0]])), NWBReadError, "fewer than two different times"),
    "only NaN": (lambda f: read_nwb(f.nwb([[np.nan, np.nan]])), NWBReadError, "fewer than two different times"),
    "never together": (
        lambda f: read_nwb(f.nwb([[1.0], [6.0]], [[[0, 2]], [[5, 8]]])), NWBReadError, "share no time in",
    ),
    "unknown unit": (lambda f: read_nwb(f.good(), units=[7]), NWBReadError, "units.id does not hold 7; it holds 0, 1"),
    "units by name": (lambda f: read_nwb(f.good(), units=["a"]), NWBReadError, "neither unit ids"),
    "mask too short": (lambda f: read_nwb(f.good(), units=[True]), NWBReadError, "it needs 2"),
    "unknown trials": (lambda f: read_nwb(f.good(), trials="epochs"), NWBReadError, "the file has trials"),
    "trials/../x": (lambda f: read_nwb(f.good(), trials="../units"), NWBReadError, "no interval table"),
    "empty window": (lambda f: read_nwb(f.good(), window=(3, 3)), NWBReadError, "is empty"),
    "window without end": (lambda f: read_nwb(f.good(), window=(0, np.inf)), NWBReadError, "is empty"),
    "window in mV": (lambda f: read_nwb(f.good(), window=(0, 1) * pq.mV), NWBReadError, "not a pair of times"),
    "window elsewhere": (lambda f: read_nwb(f.good(), window=(50, 60)), NWBReadError, "reaches outside what was"),
    "foreign suffix": (lambda f: read(f.bytes("a.xyz", b"?")), ValueError, "no format of Neo fits"),
    "fit that is no fit": (lambda f: load_fit(f.bytes("f.npz", b"PK?")), FitFileError, "not a fit file"),
    "NWB without fit": (lambda f: read_fit(f.good()), NWBReadError, "fits in this file: none"),
    "wrong suffix of out": (
        lambda f: annotate_nwb(f.good(), f.path / "o.h5", make_fit([0])), ValueError, "must end in .nwb",
    ),
    "no folder for out": (
        lambda f: annotate_nwb(f.good(), f.path / "no" / "o.nwb", make_fit([0])), FileNotFoundError,
        "the folder does not exist; make it first",
    ),
    "out exists": (lambda f: annotate_nwb(f.good(), f.good(), make_fit([0])), FileExistsError, "overwrite=True"),
    "fit of other units": (
        lambda f: annotate_nwb(f.good(), f.path / "o.nwb", make_fit([0, 9])), ValueError, "neurons 9 that are not in",
    ),
    "labels too short": (lambda f: _annotated(f, labels=("E",)), ValueError, "labels has 1 entries, expected one for"),
    "labels unknown": (lambda f: _annotated(f, labels=("E", "Q")), ValueError, "result.labels names Q"),
    "no activity": (lambda f: _annotated(f, activities=()), ValueError, "result.activities is empty"),
    "trial without bins": (lambda f: _annotated(f, **_fit_of(np.ones((0, 1)))), ValueError, "a trial without bins"),
    "activity of 2 columns": (lambda f: _annotated(f, **_fit_of(np.ones((9, 2)))), ValueError, r"shape \(9, 2\)"),
    "activity is flat": (lambda f: _annotated(f, **_fit_of(np.ones(9))), ValueError, r"shape \(9,\), expected"),
    "bins of no length": (lambda f: _annotated(f, **_fit_of(np.ones((9, 1)), 0.0)), ValueError, "bin_size 0.0"),
    "bins of NaN": (lambda f: _annotated(f, **_fit_of(np.ones((9, 1)), np.nan)), ValueError, "bin_size nan"),
    "starts at infinity": (
        lambda f: _annotated(f, **_fit_of(np.ones((9, 1)), t_start=np.inf)), ValueError, "t_start inf",
    ),
    "of another time": (
        lambda f: _annotated(f, **_fit_of(np.ones((9, 1)), t_start=99.0)), ValueError, "the file observed 0-10 s",
    ),
    "trials overlap": (lambda f: _annotated(f, activities=make_fit([0], n_bins=20, t_starts=(0.0, 0.1)).activities),
                       ValueError, "overlap in time"),
    "suffix is a path": (
        lambda f: annotate_nwb(f.good(), f.path / "o.nwb", make_fit([0]), suffix="../x"), ValueError, "suffix='../x'",
    ),
    "columns too short": (
        lambda f: write_nwb(f.path / "o.nwb", [_train()], unit_columns={"x": []}),
        ValueError, r"unit_columns\['x'\] has 0 values, expected one for each of the 1 neurons",
    ),
    "bins without a unit": (lambda f: SpikeTrainBinner(bin_size=2.0).fit(read_nwb(f.good())), TypeError, "bin_size"),
    "bins in mV": (lambda f: SpikeTrainBinner(bin_size=2 * pq.mV).fit(read_nwb(f.good())), (TypeError, ValueError),
                   "bin_size"),
    "negative bins": (lambda f: SpikeTrainBinner(bin_size=-2 * pq.ms).fit(read_nwb(f.good())), ValueError, "bin_size"),
    "bin beyond the recording": (lambda f: bin_recording(_recording([0.5]), 2.0), ValueError, "lasts 1 s only"),
    "bins finer than the clock": (
        lambda f: bin_recording(_recording([1e9], 1e9 - 1, 1e9 + 1), 1e-4), ValueError, "too coarse for bins",
    ),
    "unsorted": (lambda f: _recording([0.5, 0.2]), ValueError, "must be sorted and without NaN"),
    "NaN in a recording": (lambda f: _recording([0.5, np.nan]), ValueError, "must be sorted and without NaN"),
    "spike outside": (lambda f: _recording([0.5, 3.0]), ValueError, "lie outside"),
    "empty window of a recording": (lambda f: _recording([], 1.0, 1.0), ValueError, "empty window"),
    "two spikes in a bin, refused": (
        lambda f: bin_recording(_recording([0.5, 0.501]), 0.1, "refuse"), ValueError, "share a bin",
    ),
    "unknown rule": (lambda f: bin_recording(_recording([0.5]), 0.1, "drop"), ValueError, "multiple is 'drop'"),
    "not spikes": (lambda f: SpikeTrainBinner().fit(_TWO), TypeError, "X is a ndarray; expected Neo spike trains"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_one_sentence(folder, case):
    do, error, sentence = REFUSED[case]
    with pytest.raises(error, match=sentence) as caught:
        do(folder)
    text = str(caught.value)
    assert "\n" not in text.strip() and len(text) < 500
    assert text.strip().endswith((".", ")", "]"))
    assert not [name for name in os.listdir(folder.path) if name.startswith(".") or name == "o.nwb"]


# name: (what is done, the warning it comes with, spikes of every unit that are left)
WARNED = {
    "NaN": (lambda f: read_nwb(f.nwb([[1.0, np.nan, 2.0]], _OPEN)), "1 spike times that are not finite", [2]),
    "infinite": (lambda f: read_nwb(f.nwb([[1.0, np.inf, -np.inf]], _OPEN)), "2 spike times that are not finite", [1]),
    "unsorted": (lambda f: read_nwb(f.nwb([[3.0, 1.0]], _OPEN)), "out of order and have been sorted", [2]),
    "outside": (lambda f: read_nwb(f.nwb([[1.0, 11.0]], _OPEN)), "1 spikes outside obs_intervals", [1]),
    "negative, not observed": (lambda f: read_nwb(f.nwb([[-1.0, 1.0]], _OPEN)), "1 spikes outside obs_intervals", [1]),
    "samples": (
        lambda f: read_nwb(f.nwb([np.arange(0.0, 1e6, 1e4)])), "whole numbers: NWB has seconds, but these may", [100],
    ),
    "of no unit": (
        lambda f: read_nwb(f.spoilt(replaced("units/spike_times_index", np.array([2, 3])))),
        "1 spike times at the end belong to no unit", [2, 1],
    ),
    "reversed interval": (
        lambda f: read_nwb(f.nwb([[1.0, 2.0]], [[[0.0, 10.0], [20.0, 15.0]]])), "1 obs_intervals that are empty", [2],
    ),
    "interval of NaN": (
        lambda f: read_nwb(f.nwb([[1.0, 2.0]], [[[0.0, 10.0], [np.nan, 15.0]]])), "1 obs_intervals that are empty", [2],
    ),
    "interval without end": (
        lambda f: read_nwb(f.nwb([[1.0, 2.0]], [[[0.0, 10.0], [12.0, np.inf]]])), "1 obs_intervals that are empty", [2],
    ),
    "window beyond the last spike": (
        lambda f: read_nwb(f.nwb([np.arange(0, 10, 0.3)]), window=(0, 50)), "counts as silence", [34],
    ),
    "trial without end": (
        lambda f: read_nwb(
            f.nwb([[1.0]], _OPEN, trials={"start_time": [0.0, 5.0], "stop_time": [4.0, np.nan]}), trials="trials"
        ),
        "1 of 2 rows of trials left out", [1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNED)
def test_it_is_repaired_and_one_warning_says_so(folder, case):
    do, sentence, spikes = WARNED[case]
    with pytest.warns(UserWarning, match=f"a.nwb: .*{sentence}") as caught:
        block = do(folder)
    assert len(caught) == 1
    assert [train.size for train in block.segments[0].spiketrains] == spikes


# name: (what is done, what comes out); odd, but right
ACCEPTED = {
    "one unit": (lambda f: [t.size for t in read_nwb(f.nwb([[1.0]], _OPEN)).segments[0].spiketrains], [1]),
    "no spikes, but observed": (
        lambda f: [t.size for t in read_nwb(f.nwb([[], []], _OPEN * 2)).segments[0].spiketrains], [0, 0],
    ),
    "negative and observed": (
        lambda f: read_nwb(f.nwb([[-1.0, 1.0]], [[[-5.0, 5.0]]])).segments[0].spiketrains[0].magnitude.tolist(),
        [-1.0, 1.0],
    ),
    "duplicates": (lambda f: read_nwb(f.nwb([[1.0, 1.0]], _OPEN)).segments[0].spiketrains[0].size, 2),
    "overlapping intervals": (
        lambda f: float(read_nwb(f.nwb([[1.0]], [[[0.0, 6.0], [5.0, 9.0]]])).segments[0].t_stop), 9.0,
    ),
    "integer times": (
        lambda f: read_nwb(f.spoilt(replaced("units/spike_times", np.arange(4)))).segments[0].spiketrains[1].size, 2,
    ),
    "one bin": (lambda f: bin_recording(_recording([0.5]), 1.0)[0].tolist(), [[1.0]]),
    "no spikes in bins": (lambda f: bin_recording(_recording([]), 0.25)[0].tolist(), [[0.0]] * 4),
    "spike on the last edge": (lambda f: bin_recording(_recording([1.0]), 0.5)[0].ravel().tolist(), [0.0, 0.0]),
    "name with / and :": (
        lambda f: write_nwb(f.path / "o.nwb", [_train(**{"a/b:c": "x"})])
        or read_nwb(f.path / "o.nwb").segments[0].spiketrains[0].annotations["a_b_c"],
        "x",
    ),
    "name of dots": (
        lambda f: write_nwb(f.path / "o.nwb", [_train(**{".": "x", "../y": 1})])
        or sorted(read_nwb(f.path / "o.nwb").segments[0].spiketrains[0].annotations),
        [".._y", "_", "unit_id"],
    ),
    "names that mean something else in NWB": (
        lambda f: write_nwb(f.path / "o.nwb", [_train(**dict.fromkeys(["description", "data", "waveforms", "x_index",
                                                                       "x", "a/b", "a:b", "spike_times_index"], "x"))])
        or sorted(read_nwb(f.path / "o.nwb").segments[0].spiketrains[0].annotations),
        ["a_b", "a_b_", "data_", "description_", "spike_times_index_", "unit_id", "waveforms_", "x", "x_index_"],
    ),
    "activity of NaN": (
        lambda f: _annotated(f, **_fit_of(np.full((9, 1), np.nan)))
        or bool(np.isnan(read_fit(f.path / "o.nwb").activities[0].n).all()),
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_it_is_odd_but_right(folder, case):
    do, expected = ACCEPTED[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=pq.QuantitiesDeprecationWarning)
        assert do(folder) == expected


def test_surplus_spikes_are_counted_when_they_are_left_out():
    with pytest.warns(MultipleSpikesWarning, match="1 spikes .* share a bin of 100 ms"):
        assert bin_recording(_recording([0.51, 0.52]), 0.1)[0].sum() == 1


def test_there_are_enough_cases():
    assert len(REFUSED) + len(WARNED) + len(ACCEPTED) > 60
