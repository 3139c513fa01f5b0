"""io/neo_blocks.py: Blocks with a fit in them, and the files that keep them whole."""

import neo
import numpy as np
import pytest
from neulvm_neo.io import annotated_block, preferred_suffix, read_block, write_block
from numpy.testing import assert_array_equal

from .io_samples import make_fit


def make_block(n_trials=1, n_neurons=4):
    block = neo.Block(name="slice", author="me")
    for i in range(n_trials):
        segment = neo.Segment(name=f"trial {i}", index=i, odour="ab"[i])
        for k in range(n_neurons):
            times = np.random.default_rng([i, k]).uniform(0, 2, 5)
            segment.spiketrains.append(neo.SpikeTrain(np.sort(times), units="s", t_stop=2.0, unit_id=k, name=f"u{k}"))
        block.segments.append(segment)
    return block


def test_trains_groups_and_signals_carry_the_fit():
    fit = make_fit([0, 1, 3], t_starts=(0.0, 0.0))
    block = annotated_block(make_block(2), fit)
    for segment, activity in zip(block.segments, fit.activities, strict=True):
        assert [t.annotations["neulvm_population"] for t in segment.spiketrains] == ["E", "I", "unassigned", "E"]
        (signal,) = segment.analogsignals
        assert_array_equal(signal.magnitude, activity.activity)
        assert signal.array_annotations["channel_names"].tolist() == ["E", "I"]
        assert signal.array_annotations["n_recorded"].tolist() == [2, 1]
        assert signal.annotations["log_likelihood"] == fit.log_likelihood
    excitatory = block.groups[0]
    assert [t.annotations["unit_id"] for t in excitatory.spiketrains] == [0, 3, 0, 3]
    assert [view.resolve().magnitude.ravel().tolist() for view in excitatory.channelviews] == [
        activity.activity[:, 0].tolist() for activity in fit.activities
    ]
    assert excitatory.spiketrains[0] is block.segments[0].spiketrains[0]


def test_the_block_that_is_given_stays_as_it_is():
    block = make_block()
    annotated_block(block, make_fit([0, 1]))
    assert not block.groups
    assert not block.segments[0].analogsignals
    assert all(set(t.annotations) == {"unit_id"} for t in block.segments[0].spiketrains)


def test_neurons_without_unit_id_go_by_name():
    block = make_block(n_neurons=2)
    for train in block.segments[0].spiketrains:
        del train.annotations["unit_id"]
    annotated = annotated_block(block, make_fit(["u1", "u0"]))
    assert [t.annotations["neulvm_population"] for t in annotated.segments[0].spiketrains] == ["I", "E"]


def test_a_fit_of_another_block_is_refused():
    with pytest.raises(ValueError, match="2 Segments, the fit 1 trials"):
        annotated_block(make_block(2), make_fit([0]))
    with pytest.raises(ValueError, match="lacks the neurons 77"):
        annotated_block(make_block(), make_fit([0, 77]))


@pytest.mark.parametrize("suffix", [".nix", ".pkl"])
def test_a_written_block_comes_back_whole(tmp_path, suffix):
    if suffix == ".nix":
        pytest.importorskip("nixio")
    fit = make_fit([0, 1, 3], t_starts=(0.0, 0.0))
    block = annotated_block(make_block(2), fit)
    notes = [dict(t.annotations) for t in block.segments[0].spiketrains]
    write_block(tmp_path / f"a{suffix}", block)
    assert [dict(t.annotations) for t in block.segments[0].spiketrains] == notes
    back = read_block(tmp_path / f"a{suffix}")
    assert back.annotations["author"] == "me"
    for given, read in zip(block.segments, back.segments, strict=True):
        assert read.annotations["odour"] == given.annotations["odour"]
        for train, train_read in zip(given.spiketrains, read.spiketrains, strict=True):
            assert_array_equal(train_read.magnitude, train.magnitude)
            assert {key: train_read.annotations[key] for key in train.annotations} == train.annotations
        assert_array_equal(read.analogsignals[0].magnitude, given.analogsignals[0].magnitude)
        assert read.analogsignals[0].array_annotations["channel_names"].tolist() == ["E", "I"]
    assert [group.name for group in back.groups] == ["E", "I"]
    assert_array_equal(back.groups[1].channelviews[0].resolve().magnitude, fit.activities[0].activity[:, 1:])


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path):
    path = tmp_path / "a.pkl"
    write_block(path, make_block())
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_block(path, make_block())
    write_block(path, make_block(2), overwrite=True)
    assert len(read_block(path).segments) == 2


def test_formats_that_lose_half_of_a_block_are_not_offered(tmp_path):
    with pytest.raises(ValueError, match="must end in .nix or .pkl"):
        write_block(tmp_path / "a.mat", make_block())


def test_the_preferred_file_is_one_that_can_be_written(tmp_path):
    write_block(tmp_path / f"a{preferred_suffix()}", make_block())
    assert len(read_block(tmp_path / f"a{preferred_suffix()}").segments) == 1


def test_files_that_neo_cannot_read_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_block(tmp_path / "none.pkl")
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(ValueError, match="a.xyz: no format of Neo fits this name"):
        read_block(tmp_path / "a.xyz")
    (tmp_path / "a.pkl").write_text("?")
    with pytest.raises(ValueError, match="a.pkl: Neo's PickleIO cannot read it"):
        read_block(tmp_path / "a.pkl")
