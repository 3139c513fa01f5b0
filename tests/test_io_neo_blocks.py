"""io/neo_blocks.py: Blocks with a fit in them, and the files that keep them whole."""

import datetime
import warnings

import neo
import neo.io
import numpy as np
import pytest
from neulvm_neo.io import annotated_block, preferred_suffix, read_block, read_fit, write_block
from neulvm_neo.io.fit_record import FitRecordError
from neulvm_neo.io.neo_blocks import fit_of_block
from numpy.testing import assert_array_equal

from .io_samples import assert_same_fit, make_fit


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
        signal, *others = segment.analogsignals
        assert_array_equal(signal.magnitude, activity.activity)
        assert [other.name for other in others] == [
            "expected_population_activity", "population_activity_std", "population_activity_lower",
            "population_activity_upper",
        ]  # fmt: skip
        assert_array_equal(others[3].magnitude, activity.activity_band[1])
        assert all(str(other.units.dimensionality) == "Hz" for other in segment.analogsignals)
        assert signal.array_annotations["channel_names"].tolist() == ["E", "I"]
        assert signal.array_annotations["n_recorded"].tolist() == [2, 1]
        assert signal.annotations["log_likelihood"] == fit.log_likelihood
    excitatory = block.groups[0]
    assert [t.annotations["unit_id"] for t in excitatory.spiketrains] == [0, 3, 0, 3]
    assert len(excitatory.channelviews) == 10
    views = [view for view in excitatory.channelviews if view.name == "E"]
    assert [view.resolve().magnitude.ravel().tolist() for view in views] == [
        activity.activity[:, 0].tolist() for activity in fit.activities
    ]
    assert excitatory.spiketrains[0] is block.segments[0].spiketrains[0]


def test_groups_and_block_carry_parameters_and_intervals():
    fit = make_fit([0, 1, 3])
    block = annotated_block(make_block(), fit)
    notes = block.groups[1].annotations
    assert (notes["population_size"], notes["n_recorded"]) == (100, 1)
    assert notes["synaptic_time_constant"] == pytest.approx(0.006)
    assert notes["coupling"] == fit.circuit.J.magnitude[1].tolist()
    assert block.annotations["neulvm_parameters"] == list(fit.uncertainty.names)
    assert_array_equal(block.annotations["neulvm_upper"], fit.uncertainty.upper)
    distances = [train.annotations.get("neulvm_distance") for train in block.segments[0].spiketrains]
    assert distances == [fit.distances[0, 0], fit.distances[1, 1], None, fit.distances[2, 0]]
    thresholds = [train.annotations.get("neulvm_threshold") for train in block.segments[0].spiketrains]
    assert thresholds == [*fit.neuron_thresholds[:2], None, fit.neuron_thresholds[2]]


def test_several_fits_stand_side_by_side_and_each_replaces_only_itself():
    theirs = neo.Group(name="E", mine=True)
    block = make_block()
    block.groups.append(theirs)
    first, second = make_fit([0, 1]), make_fit([2, 3, 1], n_populations=3, seed=2)
    block = annotated_block(annotated_block(block, make_fit([1, 2], seed=4)), first)
    both = annotated_block(block, second, suffix="b")
    assert_same_fit(fit_of_block(both), first, exact=False)
    assert_same_fit(fit_of_block(both, suffix="b"), second, exact=False)
    assert [group.name for group in both.groups] == ["E", "E", "I", "E", "I", "S"]
    assert len(both.segments[0].analogsignals) == 10
    notes = both.segments[0].spiketrains[3].annotations
    assert (notes["neulvm_population"], notes["neulvm_population_b"]) == ("unassigned", "I")
    assert "neulvm_distance" not in notes and notes["neulvm_distance_b"] == second.distances[1, 1]


def test_a_block_without_a_fit_says_so(tmp_path):
    with pytest.raises(FitRecordError, match="no annotation neulvm_fit_b"):
        fit_of_block(annotated_block(make_block(), make_fit([0])), suffix="b")
    write_block(tmp_path / "a.pkl", make_block())
    with pytest.raises(ValueError, match="a.pkl: the Block has no annotation neulvm_fit"):
        read_fit(tmp_path / "a.pkl")
    cut = annotated_block(make_block(), make_fit([0]))
    cut.segments[0].analogsignals[0] = cut.segments[0].analogsignals[0][:50]
    with pytest.raises(FitRecordError, match=r"trial 0 has the shape \(50, 2\) in the file, 200 bins here"):
        fit_of_block(cut)


@pytest.mark.parametrize(
    ("writer", "suffix", "lost"),
    [
        ("NixIO", ".nix", set()),
        ("PickleIO", ".pkl", set()),
        ("NeoMatlabIO", ".mat", {"channel names", "fit"}),
        ("NWBIO", ".nwb", {"unit ids", "labels", "groups", "views", "channel names", "fit"}),
    ],
)
def test_what_every_format_of_neo_loses_is_what_the_documentation_says(tmp_path, writer, suffix, lost):
    if writer == "NixIO":
        pytest.importorskip("nixio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Neo's own writers and readers
        back = _through(getattr(neo.io, writer), str(tmp_path / f"a{suffix}"))
    train, signal = back.segments[0].spiketrains[0], back.segments[0].analogsignals[0]
    try:
        fit_of_block(back)
        fit = True
    except FitRecordError:
        fit = False
    kept = {
        "spikes": len(back.segments) == 2 and train.size == 5,
        "unit ids": "unit_id" in train.annotations,
        "labels": "neulvm_population" in train.annotations,
        "groups": len(back.groups) == 2,
        "views": any(group.channelviews for group in back.groups),
        "channel names": "channel_names" in signal.array_annotations,
        "activity": len(back.segments[0].analogsignals) == 5,
        "fit": fit,
    }
    assert {what for what, is_kept in kept.items() if not is_kept} == lost


def _through(writer, path):
    """A Block after Neo's own writer and reader of a format."""
    modes = {"NixIO": ("ow", "ro"), "NWBIO": ("w", "r")}.get(writer.__name__)
    block = annotated_block(make_block(2), make_fit([0, 1, 3], t_starts=(0.0, 0.0)))
    block.annotate(session_start_time=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    if writer.__name__ in ("NixIO", "NeoMatlabIO"):
        del block.annotations["session_start_time"]  # only NWB asks for it
    out = writer(path, modes[0]) if modes else writer(path)
    out.write_all_blocks([block]) if writer.__name__ == "NWBIO" else out.write_block(block)
    if hasattr(out, "close"):
        out.close()
    source = writer(path, modes[1]) if modes else writer(path)
    back = source.read_block()
    if hasattr(source, "close"):
        source.close()
    return back


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
    assert_same_fit(read_fit(tmp_path / f"a{suffix}"), fit, exact=False)


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
