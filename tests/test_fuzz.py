"""Random recordings and random damage: no crash but our errors, and no wrong spike count in silence."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import quantities as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neulvm_neo.io import FitFileError, NWBReadError, load_fit, read_nwb, save_fit

from neulvm_neo import SpikeRecording
from neulvm_neo.binning import SpikeTrainBinner, bin_recording

from .io_samples import make_fit, make_nwb

_ROOT = Path(__file__).resolve().parents[1]
# few examples with a file each, many without; the same ones in every run
_FILES = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
_ARRAYS = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

_TIMES = st.one_of(
    st.floats(-100, 100),
    st.sampled_from([0.0, -0.0, 1.0, 1.0, np.nan, np.inf, -np.inf, 1e300, -1e300, 5e-324, 1e9]),
)
_TRAINS = st.lists(st.lists(_TIMES, max_size=12), min_size=1, max_size=4)
_INTERVALS = st.one_of(
    st.none(), st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)).map(list), min_size=1, max_size=3)
)


def quietly(read):
    """(result or None, the error or None, warnings as text) of reading; only our own errors are let through."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return read(), None, " ".join(str(w.message) for w in caught)
        except NWBReadError as error:
            return None, error, ""


@_FILES
@given(trains=_TRAINS, intervals=_INTERVALS, window=st.one_of(st.none(), st.tuples(_TIMES, _TIMES)))
def test_every_spike_of_a_file_is_read_or_accounted_for(tmp_path_factory, trains, intervals, window):
    path = tmp_path_factory.mktemp("fuzz") / "a.nwb"
    make_nwb(path, trains, None if intervals is None else [intervals] * len(trains))
    block, error, said = quietly(lambda: read_nwb(path, window=window))
    if error is not None:
        assert "a.nwb" in str(error) or "window" in str(error)
        return
    recording = SpikeRecording.from_neo(block)
    n_given = sum(map(len, trains))
    n_read = int(recording.n_spikes.sum())
    for i, train in enumerate(trains):
        own = np.concatenate([trial[i] for trial in recording.spike_times])
        finite = np.sort([t for t in train if np.isfinite(t)])
        inside = np.zeros(len(finite), dtype=bool)
        for start, stop in zip(recording.t_start, recording.t_stop, strict=True):
            # half-open in a window that was cut, closed at the end of the recording
            inside |= (finite >= start) & ((finite <= stop) if window is None else (finite < stop))
        if window is None:
            assert sorted(own) == sorted(finite[inside])
        else:
            assert np.isin(own, finite).all() and len(own) >= inside.sum()
    if window is None and n_read < n_given:
        assert "were dropped" in said or "were left out" in said


@_ARRAYS
@given(
    trains=st.lists(st.lists(st.integers(0, 999), max_size=30), min_size=1, max_size=4),
    width=st.integers(1, 400),
    offset=st.sampled_from([0.0, -3.5, 4397.0, 1e5, 1e6]),
)
def test_the_binner_puts_every_spike_on_a_grid_into_its_bin(trains, width, offset):
    times = tuple(np.sort(np.array(train, dtype=float)) / 1000 + offset for train in trains)
    ids = tuple(map(str, range(len(times))))
    recording = SpikeRecording((times,), np.array([offset]), np.array([offset + 1.0]), ids)
    (counts,) = bin_recording(recording, width / 1000, multiple="merge")
    n_bins = 1000 // width
    assert counts.shape == (n_bins, len(trains))
    for i, train in enumerate(trains):
        expected = np.bincount([t // width for t in train if t < n_bins * width], minlength=n_bins)
        assert counts[:, i].tolist() == expected.tolist()


@_ARRAYS
@given(
    times=st.lists(st.floats(0, 1), max_size=40),
    width=st.floats(1e-9, 10) | st.sampled_from([0.0, -1.0, np.nan, np.inf]),
    start=st.floats(-1e12, 1e12),
    multiple=st.sampled_from(["clip", "merge", "refuse"]),
)
def test_the_binner_counts_right_or_says_why_not(times, width, start, multiple):
    if 1 / max(width, 1e-9) > 1e5:
        width = 1e-5  # more bins only take longer
    spikes = np.sort(np.array(times) + start)
    try:
        recording = SpikeRecording(((spikes,),), np.array([start]), np.array([start + 1.0]), ("u",))
    except ValueError as error:
        assert "empty window" in str(error) or "lie outside" in str(error)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            (counts,) = bin_recording(recording, width, multiple)
        except ValueError as error:
            assert any(word in str(error) for word in ("bin_size", "too coarse", "share a bin")), error
            return
    end = start + len(counts) * width
    n_possible = int(np.sum(spikes < end + 2e-6 * width + 1e-9))
    assert counts.min() >= 0 and counts.sum() <= n_possible
    lost = int(np.sum(spikes < end - 2e-6 * width - 1e-9)) - counts.sum()
    assert lost <= 0 or (multiple == "clip" and "share a bin" in " ".join(str(w.message) for w in caught))


@_ARRAYS
@given(times=st.lists(st.floats(-50, 50), max_size=20), unit=st.sampled_from(["s", "ms", "us"]))
def test_units_of_time_change_nothing(times, unit):
    import neo

    # rounded, so that no time lies within the rounding of a conversion of an edge
    times = np.round(np.sort(times), 3) + 0.0003
    train = neo.SpikeTrain((times * pq.s).rescale(unit), t_start=-51 * pq.s, t_stop=51 * pq.s)
    plain = neo.SpikeTrain(times * pq.s, t_start=-51 * pq.s, t_stop=51 * pq.s)
    binner = SpikeTrainBinner(bin_size=10 * pq.ms, multiple="merge")
    assert np.array_equal(binner.fit_transform([train]), binner.fit_transform([plain]))


def check_damage(folder, seed, n_files):
    """What the reader makes of damaged files; in another process, for HDF5 itself may crash."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.io_damage", str(folder), str(seed), str(n_files)],
        cwd=_ROOT, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == n_files
    for outcome in outcomes:
        assert outcome["what"] in ("refused", "as it was", "told"), outcome
    return [outcome["what"] for outcome in outcomes]


def test_damaged_files_are_refused_or_counted_right(tmp_path):
    outcomes = check_damage(tmp_path, 1, 120)
    assert outcomes.count("refused") > 10


@pytest.mark.slow
def test_many_damaged_files_are_refused_or_counted_right(tmp_path):
    check_damage(tmp_path, 2, 5000)


@_ARRAYS
@given(data=st.data())
def test_damaged_fit_files_are_refused_or_read_whole(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fit.npz"
    if not path.exists():
        save_fit(path, make_fit([0, 1], n_bins=3))
    content = bytearray(path.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "zero"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[at:]
    elif kind == "insert":
        content[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    else:
        content[at : at + 50] = bytes(50)
    damaged = path.with_name("damaged.npz")
    damaged.write_bytes(content)
    try:
        fit = load_fit(damaged)
    except FitFileError as error:
        assert "damaged.npz" in str(error) and "\n" not in str(error)
    else:  # bytes that nobody reads: padding, dates and names of the archive
        assert np.array_equal(fit.activities[0].n, load_fit(path).activities[0].n)
        assert fit.circuit.to_dict() == load_fit(path).circuit.to_dict()
