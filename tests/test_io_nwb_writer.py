"""io/nwb_writer.py: files that write_nwb makes are clean, and hold what was given."""

import datetime
import os

import neo
import numpy as np
import pynwb
import pytest
import quantities as pq
from neulvm_neo.io import read_nwb, write_nwb

from .io_samples import inspector_messages


def train(times, t_start=0.0, t_stop=5.0, **annotations):
    return neo.SpikeTrain(times, units="s", t_start=t_start, t_stop=t_stop, **annotations)


@pytest.fixture
def trains():
    rng = np.random.default_rng(3)
    return [train(np.sort(rng.uniform(0, 5, 20)), population="EI"[i % 2], depth=i / 2, good=i > 1) for i in range(4)]


def test_what_is_written_is_read_back_exactly(tmp_path, trains):
    trains = [*trains, train([], population="I", depth=9.0, good=False)]
    write_nwb(tmp_path / "a.nwb", trains)
    back = read_nwb(tmp_path / "a.nwb").segments[0].spiketrains
    for i, (given, read) in enumerate(zip(trains, back, strict=True)):
        assert read.magnitude.tolist() == given.magnitude.tolist()
        assert (read.t_start, read.t_stop) == (given.t_start, given.t_stop)
        assert read.annotations == {"unit_id": i, **given.annotations}


def test_units_of_time_and_windows_are_kept_in_seconds(tmp_path):
    in_ms = neo.SpikeTrain([-500.0, 2000.0], units="ms", t_start=-1000.0, t_stop=4000.0)
    write_nwb(tmp_path / "a.nwb", [in_ms, train([1.0], t_start=0.5, t_stop=3.0)])
    first, second = read_nwb(tmp_path / "a.nwb").segments[0].spiketrains
    assert (first.magnitude.tolist(), float(first.t_start), float(first.t_stop)) == ([-0.5, 2.0], -1.0, 4.0)
    assert (float(second.t_start), float(second.t_stop)) == (0.5, 3.0)


def test_trials_come_back_as_they_were(tmp_path, trains):
    segments = [neo.Segment(odour=odour) for odour in ("a", "b")]
    for i, segment in enumerate(segments):
        for k, given in enumerate(trains):
            segment.spiketrains.append(train(given.magnitude + 7 * i, 7 * i, 7 * i + 5, unit_id=k))
    block = neo.Block()
    block.segments.extend(segments)
    write_nwb(tmp_path / "a.nwb", block)
    back = read_nwb(tmp_path / "a.nwb", trials="trials")
    for given, read in zip(segments, back.segments, strict=True):
        assert read.annotations["odour"] == given.annotations["odour"]
        assert [t.magnitude.tolist() for t in read.spiketrains] == [t.magnitude.tolist() for t in given.spiketrains]
        assert (read.t_start, read.t_stop) == (given.t_start, given.t_stop)


def test_trials_with_a_clock_each_are_laid_one_after_the_other(tmp_path, trains):
    write_nwb(tmp_path / "a.nwb", [trains, trains])
    back = read_nwb(tmp_path / "a.nwb", trials="trials").segments
    assert [segment.annotations["time_shift"] for segment in back] == [0.0, 5.0]
    for segment in back:
        shifted = [t.magnitude - segment.annotations["time_shift"] for t in segment.spiketrains]
        np.testing.assert_allclose(np.concatenate(shifted), np.concatenate([t.magnitude for t in trains]), atol=1e-12)


@pytest.mark.parametrize("n_trials", [1, 2])
def test_the_file_is_valid_and_passes_inspection(tmp_path, trains, n_trials):
    path = tmp_path / "a.nwb"
    write_nwb(path, [trains] * n_trials)
    assert not pynwb.validate(path=str(path))
    found = {check for (check, *_), importance in inspector_messages(path).items() if importance.value >= 1}
    assert not found  # suggestions (no experimenter, no institution) stay: nothing is invented


def test_the_resolution_is_the_sample_or_else_the_smallest_difference(tmp_path):
    def resolution(name, trains, **options):
        write_nwb(tmp_path / name, trains, **options)
        with pynwb.NWBHDF5IO(str(tmp_path / name), "r") as reader:
            return reader.read().units.resolution

    sampled = neo.SpikeTrain([0.1, 0.2], units="s", t_stop=1.0, sampling_rate=20 * pq.kHz)
    assert resolution("a.nwb", [sampled]) == pytest.approx(5e-5)
    assert resolution("b.nwb", [train([0.5, 0.5, 0.75, 2.0]), train([1.0])]) == pytest.approx(0.25)
    assert resolution("c.nwb", [train([0.5])], resolution=0.2 * pq.ms) == pytest.approx(2e-4)


def test_unit_ids_are_kept_where_they_are_ids(tmp_path):
    write_nwb(tmp_path / "a.nwb", [train([1.0], unit_id=9), train([2.0], unit_id=4)])
    write_nwb(tmp_path / "b.nwb", [train([1.0], unit_id="x"), train([2.0], unit_id="x")])
    ids = [
        [t.annotations["unit_id"] for t in read_nwb(tmp_path / n).segments[0].spiketrains] for n in ("a.nwb", "b.nwb")
    ]
    assert ids == [[9, 4], [0, 1]]


def test_names_of_trains_are_kept(tmp_path):
    write_nwb(tmp_path / "a.nwb", [train([1.0], name="E3"), train([2.0], name="I1")])
    back = read_nwb(tmp_path / "a.nwb")
    assert [t.annotations["unit_name"] for t in back.segments[0].spiketrains] == ["E3", "I1"]
    write_nwb(tmp_path / "b.nwb", [train([1.0], name="unit 0")])
    assert read_nwb(tmp_path / "b.nwb").segments[0].spiketrains[0].annotations == {"unit_id": 0}


def test_further_columns_can_be_given(tmp_path, trains):
    write_nwb(tmp_path / "a.nwb", trains, unit_columns={"population": list("abcd"), "rate": np.arange(4)})
    back = [t.annotations for t in read_nwb(tmp_path / "a.nwb").segments[0].spiketrains]
    assert [(notes["population"], notes["rate"]) for notes in back] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    with pytest.raises(ValueError, match="unit_columns.'x'. has 1 values, expected one for each of the 4 neurons"):
        write_nwb(tmp_path / "b.nwb", trains, unit_columns={"x": [1]})
    with pytest.raises(ValueError, match="mixes kinds"):
        write_nwb(tmp_path / "b.nwb", trains, unit_columns={"x": [1, "a", None, 2]})


def test_what_the_block_says_goes_into_the_file(tmp_path, trains):
    block = neo.Block(description="A slice.", rec_datetime=datetime.datetime(2021, 5, 6, 7))
    block.segments.append(neo.Segment())
    block.segments[0].spiketrains.extend(trains)
    write_nwb(tmp_path / "a.nwb", block, subject={"subject_id": "simulation"})
    with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "r") as reader:
        nwb = reader.read()
        assert nwb.session_description == "A slice."
        assert nwb.session_start_time == datetime.datetime(2021, 5, 6, 7, tzinfo=datetime.UTC)
        assert nwb.subject.subject_id == "simulation"


def test_start_time_and_zone_survive_a_round_trip(tmp_path, trains):
    zone = datetime.timezone(datetime.timedelta(hours=-8))
    write_nwb(tmp_path / "a.nwb", trains, session_start_time=datetime.datetime(2021, 5, 6, 7, tzinfo=zone))
    write_nwb(tmp_path / "b.nwb", read_nwb(tmp_path / "a.nwb"))
    assert read_nwb(tmp_path / "b.nwb").annotations["session_start_time"] == "2021-05-06T07:00:00-08:00"


def test_nothing_given_is_altered(tmp_path, trains):
    before = [(t.magnitude.tolist(), dict(t.annotations), t.name) for t in trains]
    write_nwb(tmp_path / "a.nwb", trains)
    assert [(t.magnitude.tolist(), dict(t.annotations), t.name) for t in trains] == before


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path, trains):
    path = tmp_path / "a.nwb"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_nwb(path, trains)
    assert path.read_text() == "precious"
    write_nwb(path, trains, overwrite=True)
    assert len(read_nwb(path).segments[0].spiketrains) == 4


def test_a_failed_write_leaves_nothing_behind_and_the_old_file_in_place(tmp_path, trains):
    path = tmp_path / "a.nwb"
    path.write_text("precious")
    with pytest.raises(ValueError, match="unit_columns"):
        write_nwb(path, trains, unit_columns={"x": [1]}, overwrite=True)
    assert os.listdir(tmp_path) == ["a.nwb"]
    assert path.read_text() == "precious"


def test_names_that_promise_another_format_and_missing_folders_are_refused(tmp_path, trains):
    with pytest.raises(ValueError, match="must end in .nwb"):
        write_nwb(tmp_path / "a.mat", trains)
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        write_nwb(tmp_path / "none" / "a.nwb", trains)
