"""The command line: what it does, what it says, how it refuses."""

import hashlib
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import neulvm_neo
from neulvm_neo import cli

_COMMANDS = ("demo", "simulate", "check", "cluster", "fit", "evaluate", "annotate", "inspect", "bench", "experiment")
_QUICK = ("--bin-size", "4ms", "--starts", "1", "--iterations", "1", "--particles", "20")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """An NWB file with 25 neurons of the three-population network, 20 s."""
    path = tmp_path_factory.mktemp("cli") / "sim.nwb"
    arguments = ("simulate", "winner-take-all", "--duration", "20s", "--record", "10", "10", "5", "--out", str(path))
    assert cli.main(arguments) == 0
    return path


def _refused(capsys, *arguments):
    """The sentence with which a command ends, after checking that it is one and nothing else."""
    try:
        code = cli.main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("neulvm: ") and error.count("\n") == 1 and "Traceback" not in error
    return error


def test_help_is_quick_and_lists_every_command():
    began = time.perf_counter()
    command = [sys.executable, "-m", "neulvm_neo.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert time.perf_counter() - began < 1.0
    assert done.returncode == 0
    for command in _COMMANDS:
        assert re.search(rf"^  {command} ", done.stdout, re.M)


def test_help_loads_nothing_heavy():
    code = "import sys; from neulvm_neo import cli; cli._parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.split()
    assert not {"numpy", "neo", "pynwb", "elephant", "matplotlib", "numba", "sklearn"} & set(loaded)


@pytest.mark.parametrize("command", _COMMANDS)
def test_the_help_of_a_command_shows_one_example_that_parses(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    examples = re.findall(r"^  neulvm (.+)$", capsys.readouterr().out.partition("example:")[2], re.M)
    assert len(examples) == 1
    arguments = cli._parser().parse_args(examples[0].split())
    assert arguments.run is getattr(cli, command).run


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.split() == ["neulvm-neo", neulvm_neo.__version__]


@pytest.mark.parametrize(
    "text, milliseconds", [("10s", 1e4), ("2 ms", 2.0), ("2ms", 2.0), ("1e-1s", 100.0), ("0.5 s", 500.0)]
)
def test_times_are_written_with_or_without_a_space(text, milliseconds):
    assert cli.arguments.time_of(text).rescale("ms").item() == pytest.approx(milliseconds)


@pytest.mark.parametrize("text", ["10", "ms", "10 mV", "-1s", "0s", "nan s", "ten s"])
def test_a_time_without_a_unit_or_sense_is_refused(text, capsys):
    arguments = ("simulate", "winner-take-all", f"--duration={text}", "--out", "x.nwb")
    assert "write it like 10s" in _refused(capsys, *arguments)


def test_simulate_writes_what_it_says(recording, capsys):
    block = neulvm_neo.io.read_nwb(recording)
    (segment,) = block.segments
    populations = [train.annotations["population"] for train in segment.spiketrains]
    assert populations == ["E1"] * 10 + ["E2"] * 10 + ["I"] * 5
    assert segment.spiketrains[0].t_stop.rescale("s").item() == pytest.approx(20)


def test_simulate_reads_a_circuit_from_toml(tmp_path, capsys):
    circuit = tmp_path / "c=1.toml"
    neulvm_neo.Circuit([50, 30], names=["A", "B"]).to_toml(circuit)
    out = tmp_path / "a.nwb"
    assert cli.main(["simulate", str(circuit), "--duration", "500ms", "--record", "2", "3", "--out", str(out)]) == 0
    assert "A" in capsys.readouterr().out
    trains = neulvm_neo.io.read_nwb(out).segments[0].spiketrains
    assert [train.annotations["population"] for train in trains] == ["A", "A", "B", "B", "B"]


def test_simulate_repeats_itself_with_the_same_seed(tmp_path, capsys):
    spikes = []
    for name in ("a.nwb", "b.nwb"):
        out = tmp_path / name
        arguments = ("simulate", "single-population", "--duration", "1s", "--record", "3", "--seed", "7")
        assert cli.main([*arguments, "--out", str(out)]) == 0
        trains = neulvm_neo.io.read_nwb(out).segments[0].spiketrains
        spikes.append(np.concatenate([train.magnitude for train in trains]))
    np.testing.assert_array_equal(*spikes)


def test_cluster_finds_the_populations_and_draws_them(recording, tmp_path, capsys):
    png = tmp_path / "d.png"
    assert cli.main(["cluster", str(recording), "--png", str(png)]) == 0
    out = capsys.readouterr().out
    assert "3 populations" in out
    rows = [line.split() for line in out.splitlines() if re.match(r"\s+\d+\s+\d+\s", line)]
    pairs = {(row[3], row[4]) for row in rows}
    assert len(rows) == 25 and len(pairs) == 3  # every cluster holds one population of the file
    assert png.read_bytes().startswith(b"\x89PNG")


def test_cluster_takes_a_number_and_a_window(recording, capsys):
    assert cli.main(["cluster", str(recording), "-k", "2", "--window", "0", "10"]) == 0
    out = capsys.readouterr().out
    assert "2 populations, as asked" in out and "0-10 s" in out


@pytest.fixture(scope="module")
def fitted(recording, tmp_path_factory):
    """(paths of a quick fit by column, source bytes before it)."""
    folder = tmp_path_factory.mktemp("fit")
    paths = {name: folder / name for name in ("out.nwb", "fit.npz", "fit.png")}
    before = hashlib.sha256(recording.read_bytes()).hexdigest()
    code = cli.main(
        ["fit", str(recording), "--populations", "population", "--window", "0", "2", "--out", str(paths["out.nwb"])]
        + ["--save", str(paths["fit.npz"]), "--png", str(paths["fit.png"]), *_QUICK]
    )
    assert code == 0
    return paths, before


def test_fit_annotates_a_copy_and_leaves_the_source_alone(fitted, recording):
    import pynwb

    paths, before = fitted
    assert hashlib.sha256(recording.read_bytes()).hexdigest() == before
    assert not pynwb.validate(path=str(paths["out.nwb"]))
    with pynwb.NWBHDF5IO(str(paths["out.nwb"]), "r") as reader:
        nwb = reader.read()
        assert list(nwb.units["neulvm_population"][:]) == list(nwb.units["population"][:])
        activity = nwb.processing["ecephys"]["PopulationActivity"]
        assert activity.data.shape == (500, 3) and activity.unit == "Hz"


def test_fit_saves_and_draws_the_fit(fitted):
    paths, _ = fitted
    result = neulvm_neo.io.load_fit(paths["fit.npz"])
    assert result.names == ("E1", "E2", "I")
    assert result.circuit.t_ref.rescale("ms").magnitude.tolist() == [4, 4, 4]  # the default circuit: one bin
    assert paths["fit.png"].read_bytes().startswith(b"\x89PNG")


def test_annotate_does_what_fit_did(fitted, recording, tmp_path, capsys):
    paths, _ = fitted
    out = tmp_path / "again.nwb"
    assert cli.main(["annotate", str(recording), str(paths["fit.npz"]), "--out", str(out)]) == 0
    again, first = (neulvm_neo.io.read_nwb(path).segments[0].spiketrains for path in (out, paths["out.nwb"]))
    for a, b in zip(again, first, strict=True):
        assert a.annotations["neulvm_population"] == b.annotations["neulvm_population"]


def test_annotations_stand_side_by_side_and_are_inspected(fitted, recording, tmp_path, capsys):
    paths, _ = fitted
    out = tmp_path / "two.nwb"
    arguments = ["annotate", str(paths["out.nwb"]), str(paths["fit.npz"]), "--suffix", "again", "--out", str(out)]
    assert cli.main(arguments) == 0
    assert "units.neulvm_population_again (E1 10, E2 10, I 5)" in capsys.readouterr().out
    for before in ([], [str(recording)]):
        assert cli.main(["inspect", str(out), *before]) == 0
        said = capsys.readouterr().out
        assert "PopulationFit, PopulationFit_again" in said
        assert "VIOLATION" not in said and "CRITICAL" not in said


def test_inspect_finds_what_an_archive_would_refuse_and_only_what_is_ours(fitted, recording, tmp_path, capsys):
    import h5py

    out = tmp_path / "bad.nwb"
    out.write_bytes(fitted[0]["out.nwb"].read_bytes())
    with h5py.File(out, "r+") as file:
        starting_time = file["processing/ecephys/PopulationActivity/starting_time"]
        starting_time.attrs["rate"] = 0.001
        del starting_time.attrs["unit"]
    for before in ([], [str(recording)]):
        assert cli.main(["inspect", str(out), *before]) == 2
        output = capsys.readouterr()
        assert "would keep it out of an archive" in output.err
        assert "PYNWB_VALIDATION: validation" in output.out and "starting_time" in output.out
        assert "check_rate_not_below_threshold" in output.out and "PopulationActivity" in output.out
        assert output.out.count("BEST_PRACTICE_VIOLATION") == 1
    assert cli.main(["inspect", str(recording)]) == 0
    assert "no fit" in capsys.readouterr().out


def test_check_prints_the_sheet_of_a_recording(tmp_path, capsys):
    from .io_samples import make_nwb

    rng = np.random.default_rng(1)
    clean, copied = np.sort(rng.uniform(1, 60, 600)), np.sort(rng.uniform(1, 60, 300))
    spikes = [[*clean[::-1], np.nan, -0.5], np.sort([*clean[:400], *copied]), [], [5.0, 5.0, 5.001, 9.0]]
    path = make_nwb(
        tmp_path / "odd.nwb", spikes, [[[-1.0, 60.0], [70.0, 69.0]]] * 4, {"area": list("aabb"), "label": list("wxyz")}
    )
    assert cli.main(["check", str(path)]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    for said in (
        "4 units, 1305 spikes", "observed by all units: 61 s", "4 obs_intervals that are empty, reversed",
        "1 spike times that are not finite were dropped (units 0)", "have been sorted (units 0)", "silent units: 2",
        "units with fewer than 5 spikes: 3", "at the very time of another one of their unit: 1", "before time 0: 1",
        "units 0 and 1 share", "one neuron sorted twice?", "suggested bin size: 2 ms (30500 bins)",
        "--populations area: a 2, b 2",
    ):  # fmt: skip
        assert said in output.out, said
    assert "label" not in output.out


def test_check_says_so_when_there_is_nothing_to_say(recording, capsys):
    assert cli.main(["check", str(recording), "--window", "0", "10"]) == 0
    said = capsys.readouterr().out
    assert "nothing had to be repaired" in said and "--populations population: E1 10, E2 10, I 5" in said


def test_fit_clusters_units_into_the_populations_of_a_given_circuit(recording, tmp_path, capsys):
    from neulvm_neo.experiments.circuits import winner_take_all

    winner_take_all().to_toml(tmp_path / "c.toml")
    arguments = ["fit", recording, "--populations", "3", "--circuit", tmp_path / "c.toml", "--window", "0", "5"]
    arguments += ["--out", tmp_path / "out.nwb", *_QUICK[:2], "--quick"]
    assert cli.main([str(a) for a in arguments]) == 0
    out = capsys.readouterr().out
    assert "bits per spike" in out and "J (mV)" in out
    (segment,) = neulvm_neo.io.read_nwb(tmp_path / "out.nwb").segments
    distances = [train.annotations["neulvm_distance"] for train in segment.spiketrains]
    assert neulvm_neo.io.read_fit(tmp_path / "out.nwb").distances.shape == (25, 3) and 0 < np.nanmean(distances) < 1.2


def test_what_cannot_be_done_is_told_in_one_sentence(recording, fitted, tmp_path, capsys):
    out = tmp_path / "out.nwb"
    fit = ("fit", recording, "--window", "0", "2", "--out", out, "--populations")
    assert "no column 'nope'" in _refused(capsys, *fit, "nope")
    assert "area" not in _refused(capsys, *fit, "unit_name")
    assert "--populations is 0" in _refused(capsys, *fit, "0")
    assert "0.5" in _refused(capsys, *fit, "population", "--iterations", "0.5")
    assert "no such file" in _refused(capsys, *fit, "2", "--circuit", tmp_path / "none.toml")
    assert "no such file" in _refused(capsys, "cluster", tmp_path / "none.nwb")
    assert "does not exist" in _refused(capsys, *fit[:5], "--populations", "2", "--out", tmp_path / "no" / "o.nwb")
    assert "--overwrite" in _refused(capsys, *fit[:5], "--populations", "2", "--out", recording)
    assert "not a fit file" in _refused(capsys, "annotate", recording, recording, "--out", out)
    assert "choose from" in _refused(capsys, "make-coffee")
    assert not out.exists()


def test_a_circuit_that_does_not_fit_the_populations_is_refused(recording, tmp_path, capsys):
    circuit = tmp_path / "c.toml"
    neulvm_neo.Circuit([50, 30], names=["A", "B"]).to_toml(circuit)
    fit = ("fit", recording, "--circuit", circuit, "--out", tmp_path / "o.nwb", "--populations")
    assert "has 2 populations, but --populations says 3" in _refused(capsys, *fit, "3")
    assert "no population of the circuit (A, B)" in _refused(capsys, *fit, "population")
    circuit.write_text("n_neurons = [1\n")
    assert "c.toml" in _refused(capsys, *fit, "3")


@pytest.mark.parametrize(
    "name, field, remedy",
    [
        ("edge_nwb1_retina.nwb", "nwb_version", "convert first"),
        ("edge_truncated_allen.nwb", "spike_times_index", "again"),
    ],
)
def test_damaged_files_are_refused_by_name_field_and_remedy(shared_data, name, field, remedy, tmp_path, capsys):
    path = shared_data(name)
    for command in (("cluster", path), ("fit", path, "--populations", "2", "--out", tmp_path / "o.nwb")):
        sentence = _refused(capsys, *command)
        assert name in sentence and field in sentence and remedy in sentence


def test_warnings_are_one_line_each(capsys):
    cli._show_warning(UserWarning("two\nlines"), UserWarning, "file.py", 1)
    assert capsys.readouterr().err == "neulvm: warning: two lines\n"


def test_that_a_fit_stopped_early_is_said_in_words_of_the_command_line(capsys):
    from sklearn.exceptions import ConvergenceWarning

    cli._show_warning(ConvergenceWarning("Raise max_iter"), ConvergenceWarning, "file.py", 1)
    assert capsys.readouterr().err == ""


def test_a_fit_worse_than_constant_rates_is_called_one(recording, tmp_path, monkeypatch, capsys):
    from neulvm_neo.experiments import baselines

    monkeypatch.setattr(baselines, "bits_per_spike", lambda *args, **options: -1.0)
    fit = ("fit", recording, "--populations", "population", "--window", "0", "1", "--out", tmp_path / "o.nwb", *_QUICK)
    assert cli.main([str(a) for a in fit]) == 0
    output = capsys.readouterr()
    assert "worse than constant rates" in output.err and "more with --iterations" in output.out


def test_traceback_shows_where_an_error_comes_from(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        cli.main(["cluster", str(tmp_path / "none.nwb"), "--traceback"])


def test_an_error_nobody_foresaw_says_so(monkeypatch, capsys):
    def broken(args):
        raise KeyError("x")

    monkeypatch.setattr(cli.demo, "run", broken)
    assert cli.main(["demo"]) == 2
    assert "unexpected KeyError" in capsys.readouterr().err


def test_interruption_ends_quietly(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.demo, "run", interrupted)
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "neulvm: interrupted; nothing was written.\n"


def test_the_quick_demo_leaves_every_file_it_promises(tmp_path, capsys):
    import pynwb

    assert cli.main(["demo", "--quick", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    names = {name for name in os.listdir(tmp_path / "demo") if not name.startswith("annotated.")}
    assert names == {"recording.nwb", "fit.npz", "fitted_circuit.toml", "demo.png"}
    assert not pynwb.validate(path=str(tmp_path / "demo" / "annotated.nwb"))
    for said in ("J_e1", "tau_m[I]", "input - threshold [E1]", "Unseen part", "25 of 25 neurons", "demo.png"):
        assert said in out
    circuit = neulvm_neo.Circuit.from_toml(tmp_path / "demo" / "fitted_circuit.toml")
    assert circuit.names == ("E1", "E2", "I")
