"""What a fit predicts beside its rivals: the reckoning, the rivals' answers, the command."""

import json

import numpy as np
import pytest
import quantities as pq
from sklearn.exceptions import ConvergenceWarning

from neulvm_neo import NeuLVM, SpikeRecording, cli, simulate_microscopic
from neulvm_neo.binning import bin_recording
from neulvm_neo.experiments import evaluation
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.experiments.rival_process import NoAnswerError, answer

BIN = 0.004


@pytest.fixture(scope="module")
def stretches():
    """Two parts of one recording of the three populations, and a fit to the first one that stays near the truth."""
    circuit = winner_take_all()
    run = simulate_microscopic(circuit, duration=9 * pq.s, n_recorded=3, random_state=5)
    training, held_out = ([x.time_slice(a * pq.s, b * pq.s) for x in run.spiketrains] for a, b in ((0, 6), (6, 9)))
    labels = np.repeat([0, 1, 2], 3)
    labels[8] = -1
    model = NeuLVM(
        circuit, labels=labels, bin_size=4 * pq.ms, n_init=1, max_iter=1, n_particles=50, start=circuit,
        random_state=1,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning):
        model.fit(training)
    return model, training, held_out


def _counts(trains):
    return bin_recording(SpikeRecording.from_neo(trains), BIN)[0][:, :8]


def test_gains_are_those_over_the_rates_of_the_training_data(stretches):
    model, training, held_out = stretches
    found = evaluation.evaluate(model, training, held_out, rivals=())
    seen, unseen = _counts(training), _counts(held_out)
    p = seen.mean(axis=0)
    from_bin = round(evaluation.BURN_IN / BIN)
    reference, alike, spikes = 0.0, 0.0, 0
    for i in range(8):
        members = slice(3 * (i // 3), min(3 * (i // 3) + 3, 8))
        for y in unseen[from_bin:, i]:
            reference += np.log(p[i] if y else 1 - p[i])
            alike += np.log(p[members].mean() if y else 1 - p[members].mean())
            spikes += int(y)
    ours = model.score_samples(held_out)[from_bin:].sum()
    assert found["n_spikes"] == spikes and found["n_units"] == 8
    assert found["bits_per_spike"]["neulvm"] == pytest.approx((ours - reference) / np.log(2) / spikes)
    assert found["bits_per_spike"]["population_rates"] == pytest.approx((alike - reference) / np.log(2) / spikes)
    for name, bits in found["bits"].items():
        assert np.sum(bits) / spikes == pytest.approx(found["bits_per_spike"][name])
    assert found["edges"][[0, -1]] == pytest.approx([6.5, 9.0])
    # near the truth, so better than what knows neither refractoriness nor a circuit
    assert found["bits_per_spike"]["neulvm"] > found["bits_per_spike"]["smoothed_rates"]
    lines = list(evaluation.summary(found))
    assert lines[0].startswith(f"{spikes} held-out spikes of 8 units") and lines[1].strip().startswith("neuLVM")


def test_the_standard_error_is_that_of_repeated_recordings():
    rng = np.random.default_rng(3)
    ratios, errors = [], []
    edges = np.linspace(0.5, 20.5, evaluation.PIECES + 1)
    for _ in range(200):
        counts = rng.binomial(1, 0.1, (2050, 4))
        gain = 0.3 * counts.sum(axis=1) + rng.normal(0.0, 0.5, 2050)
        ratio, error, _ = evaluation._told(gain, 0.01, counts, 0.01, edges)
        ratios.append(ratio)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.15)


def test_gains_in_wider_bins_fall_into_the_same_pieces():
    counts = np.zeros((1000, 1), dtype=int)
    counts[100::10] = 1
    edges = np.linspace(0.5, 5.0, evaluation.PIECES + 1)
    fine = evaluation._told(np.repeat(2.0, 1000), 0.005, counts, 0.005, edges)
    wide = evaluation._told(np.repeat(8.0, 250), 0.02, counts, 0.005, edges)
    assert wide[0] == pytest.approx(fine[0])
    assert wide[2].sum() == pytest.approx(fine[2].sum())


def test_rivals_that_cannot_answer_are_named_and_others_are_told(stretches, monkeypatch):
    model, training, held_out = stretches
    asked = []

    def answers(problem, python):
        asked.append((problem["script"], python))
        if problem["script"] == "nemos_glm":
            raise NoAnswerError("nemos cannot be imported", missing=True)
        assert np.array(problem["training"]).shape == (1500, 8) and np.array(problem["test"]).shape == (750, 8)
        settings = {"states": 2, "bin_size": 0.02}
        return {"gain": [0.1] * 150, "bin_size": 0.02, "settings": settings, "version": "dynamax 0"}

    monkeypatch.setattr(evaluation, "answer", answers)
    found = evaluation.evaluate(model, training, held_out, peer_pythons={"nemos": "elsewhere"})
    assert asked == [("dynamax_hmm", None), ("nemos_glm", "elsewhere")]
    (failure,) = found["failures"]
    assert failure.startswith("GLM: not installed (pip install")
    assert failure.endswith("nemos cannot be imported")
    assert found["bits_per_spike"]["hmm"] == pytest.approx(125 * 0.1 / np.log(2) / found["n_spikes"])
    assert "glm" not in found["bits_per_spike"] and found["settings"] == {"hmm": {"states": 2, "bin_size": 0.02}}
    labels = [text.get_text() for text in evaluation.figure(found).axes[0].get_yticklabels()]
    assert "Poisson HMM" in labels and "neuLVM" in labels


def test_an_interruption_ends_the_rivals_and_keeps_the_rest(stretches, monkeypatch):
    model, training, held_out = stretches

    def interrupted(problem, python):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "answer", interrupted)
    found = evaluation.evaluate(model, training, held_out)
    assert found["failures"] == ["Poisson HMM: interrupted", "GLM: interrupted"]
    assert set(found["bits_per_spike"]) == {"neulvm", "population_rates", "smoothed_rates"}


@pytest.mark.parametrize("library, script, width", [("dynamax", "dynamax_hmm", 0.02), ("nemos", "nemos_glm", 0.02)])
def test_rivals_predict_a_neuron_that_switches_its_rate(library, script, width):
    pytest.importorskip(library)
    rng = np.random.default_rng(2)
    y = rng.poisson(np.where(np.arange(3000) // 250 % 2, 0.6, 0.1)[:, None], (3000, 3))
    y[:2900, 2] = 0  # a neuron may be silent for as long as models are fitted
    constant = np.maximum(y[:2000].mean(axis=0), 2.5e-4).tolist()
    problem = {"script": script, "task": "predict", "training": y[:2000].tolist(), "test": y[2000:].tolist(),
               "constant": constant, "bin_size": width, "seed": 1}  # fmt: skip
    found = answer(problem)
    assert len(found["gain"]) == 1000 // round(found["bin_size"] / width)
    assert np.sum(found["gain"]) > 50.0


@pytest.mark.parametrize("length, complaint", [(0.9, "expected at least 1 s"), (3.0, "no spikes of the units")])
def test_too_little_to_predict_is_refused(stretches, length, complaint):
    model, training, held_out = stretches
    end = (6 + length) * pq.s
    short = [x.time_slice(6 * pq.s, (6 + min(length, 0.4)) * pq.s) for x in held_out]
    short = [type(x)(x.times, t_start=6 * pq.s, t_stop=end, **{"name": x.name}) for x in short]
    with pytest.raises(ValueError, match=complaint):
        evaluation.evaluate(model, training, short, rivals=())


def test_the_command_leaves_its_files_and_the_recording_alone(tmp_path, capsys):
    source, out = tmp_path / "rec.nwb", tmp_path / "evaluated"
    simulate = ("simulate", "winner-take-all", "--duration", "10s", "--record", "4", "4", "4", "--out", str(source))
    assert cli.main(simulate) == 0
    before = source.read_bytes()
    command = ["evaluate", str(source), "--quick", "--bin-size", "4ms", "--held-out", "0.3", "--rivals", "--iterations",
               "1", "--populations", "population", "--window", "0", "9", "--out", str(out)]  # fmt: skip
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "fitted: 0 to 6.3 s; held out: 6.3 to 9 s" in said and "held-out spikes of 12 units" in said
    result = json.loads((out / "result.json").read_text())
    assert set(result["bits_per_spike"]) == {"neulvm", "population_rates", "smoothed_rates"}
    assert result["populations"] == {"E1": 4, "E2": 4, "I": 4} and result["failures"] == []
    assert (out / "evaluation.png").stat().st_size > 5000
    assert NeuLVM.load(out / "fit.npz").circuit_.names == ("E1", "E2", "I")
    assert source.read_bytes() == before
    assert cli.main(command) == 2 and "add --overwrite" in capsys.readouterr().err
    again = result["command"].replace("rec.nwb", str(source)).split()[1:]
    assert cli._parser().parse_args([*again, "--out", "x"]).held_out == 0.3


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("--held-out", "1.5"), "not a share between 0 and 1"),
        (("--rivals", "plds"), "choose from hmm, glm"),
        (("--peer-python", "ssm=python"), "they need dynamax, nemos"),
        (("--populations", "0", "--held-out", "0.6"), "--populations is 0"),
        (("--held-out", "0.4"), "held_out lasts 0.8 s"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_one_sentence(arguments, complaint, tmp_path, capsys):
    source = tmp_path / "rec.nwb"
    assert (
        cli.main(("simulate", "winner-take-all", "--duration", "2s", "--record", "2", "2", "2", "--out", str(source)))
        == 0
    )
    capsys.readouterr()
    try:
        code = cli.main(["evaluate", str(source), *arguments, "--out", str(tmp_path / "out")])
    except SystemExit as end:
        code = end.code
    assert code == 2 and complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
